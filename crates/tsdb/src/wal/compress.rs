//! Compression of single records, as upstream does it: the fragment header says how.

use super::record::RecordError;

/// Longest record after decompression; upstream's own are a few MiB.
const MAX_RECORD_BYTES: usize = 1 << 30;

/// How new records are written. All kinds are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    None,
    /// Upstream's default.
    #[default]
    Snappy,
    Zstd,
}

impl Compression {
    /// Upstream's name, as in flags and metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Snappy => "snappy",
            Compression::Zstd => "zstd",
        }
    }

    /// Bit in the fragment header.
    pub(super) const fn flag(self) -> u8 {
        match self {
            Compression::None => 0,
            Compression::Snappy => 1 << 3,
            Compression::Zstd => 1 << 4,
        }
    }

    pub(super) const fn of_header(header: u8) -> Compression {
        if header & Compression::Snappy.flag() != 0 {
            Compression::Snappy
        } else if header & Compression::Zstd.flag() != 0 {
            Compression::Zstd
        } else {
            Compression::None
        }
    }
}

/// Compresses records; keeps its tables between calls.
pub(super) struct Compressor {
    kind: Compression,
    snappy: snap::raw::Encoder,
    zstd: Option<zstd::bulk::Compressor<'static>>,
    /// Compressed records back to back.
    pub(super) bytes: Vec<u8>,
    pub(super) parts: Vec<Part>,
}

/// How one record of a batch will be framed.
pub(super) struct Part {
    /// Its place among the compressed bytes, when compression made it shorter.
    pub(super) packed: Option<std::ops::Range<usize>>,
    pub(super) raw_len: usize,
}

impl Part {
    /// Bytes that go to the log, without fragment headers.
    pub(super) fn len(&self) -> usize {
        self.packed.as_ref().map_or(self.raw_len, |range| range.len())
    }
}

impl Compressor {
    pub(super) fn new(kind: Compression) -> Self {
        let zstd = match kind {
            Compression::Zstd => zstd::bulk::Compressor::new(3).ok(),
            _ => None,
        };
        Compressor { kind, snappy: snap::raw::Encoder::new(), zstd, bytes: Vec::new(), parts: Vec::new() }
    }

    /// Prepares one more record of a batch.
    pub(super) fn add(&mut self, record: &[u8]) {
        let from = self.bytes.len();
        let packed = if self.pack(record) { Some(from..self.bytes.len()) } else { None };
        self.parts.push(Part { packed, raw_len: record.len() });
    }

    /// Appends the compressed record to `bytes`; false, and nothing appended, when it would not be shorter.
    fn pack(&mut self, record: &[u8]) -> bool {
        let start = self.bytes.len();
        let room = match self.kind {
            Compression::None => return false,
            Compression::Snappy => snap::raw::max_compress_len(record.len()),
            Compression::Zstd => zstd::zstd_safe::compress_bound(record.len()),
        };
        self.bytes.resize(start + room, 0);
        let packed = match (self.kind, &mut self.zstd) {
            (Compression::Zstd, Some(zstd)) => {
                zstd.compress_to_buffer(record, &mut self.bytes[start..]).unwrap_or(usize::MAX)
            }
            (Compression::Snappy, _) => {
                self.snappy.compress(record, &mut self.bytes[start..]).unwrap_or(usize::MAX)
            }
            _ => usize::MAX,
        };
        let shorter = packed < record.len();
        self.bytes.truncate(if shorter { start + packed } else { start });
        shorter
    }
}

/// Decompresses into `out` (cleared first).
pub(crate) fn unpack(kind: Compression, packed: &[u8], out: &mut Vec<u8>) -> Result<(), RecordError> {
    const BAD: RecordError = RecordError::Truncated("compressed data");
    match kind {
        Compression::None => {
            out.clear();
            out.extend_from_slice(packed);
        }
        Compression::Snappy => {
            let len = snap::raw::decompress_len(packed).map_err(|_| BAD)?;
            // Snappy cannot shrink more than about 21 times, so a lying length claims no memory.
            if len > MAX_RECORD_BYTES || len / 32 > packed.len() {
                return Err(BAD);
            }
            // What is there is overwritten, so only what is missing has to be zeros.
            out.resize(len, 0);
            let got = snap::raw::Decoder::new().decompress(packed, out).map_err(|_| BAD)?;
            out.truncate(got);
        }
        Compression::Zstd => {
            use std::io::Read;
            out.clear();
            let decoder = zstd::stream::read::Decoder::with_buffer(packed).map_err(|_| BAD)?;
            decoder.take(MAX_RECORD_BYTES as u64).read_to_end(out).map_err(|_| BAD)?;
        }
    }
    Ok(())
}
