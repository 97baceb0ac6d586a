//! Compression caps: snappy blocks, gzip, deflate and zstd, each decoded under a byte ceiling.
//!
//! Room: `wire`. The only place that decompresses bytes from outside. A size that the input declares is
//! checked before anything is allocated for it; what declares nothing is read up to the ceiling and refused
//! beyond it, never cut. Functions with a `scratch` keep its memory between calls.

use std::io::{self, Read, Write};

/// Ceiling of a decoded remote write request (upstream `maxDecodedSize`), bytes.
pub const REMOTE_WRITE_LIMIT: usize = 32 * 1024 * 1024;

/// Most output bytes that one snappy input byte can give: a copy of 64 bytes takes three.
const SNAPPY_RATIO: usize = 22;

/// Why bytes could not be decoded. `Display` gives upstream's texts where it has one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CapError {
    /// More bytes than the caller allows; HTTP 400 for remote write, a failed scrape for a body.
    #[error("decoded size exceeds the {limit} bytes limit")]
    TooLarge { limit: usize },
    #[error("s2: corrupt input")]
    Snappy,
    #[error("gzip: invalid header")]
    GzipHeader,
    #[error("unexpected EOF")]
    Truncated,
    #[error("{0}")]
    Corrupt(String),
}

/// Decoded size that a snappy block declares.
pub fn snappy_len(input: &[u8]) -> Result<usize, CapError> {
    if input.is_empty() {
        return Err(CapError::Snappy);
    }
    snap::raw::decompress_len(input).map_err(|_| CapError::Snappy)
}

/// Decodes a snappy block of at most `limit` decoded bytes; the result lies in `scratch`, whose memory (and
/// initialised length) is kept for the next call.
pub fn unsnappy<'a>(input: &[u8], limit: usize, scratch: &'a mut Vec<u8>) -> Result<&'a [u8], CapError> {
    let len = snappy_len(input)?;
    if len > limit {
        return Err(CapError::TooLarge { limit });
    }
    if len > input.len().saturating_mul(SNAPPY_RATIO) {
        return Err(CapError::Snappy);
    }
    if scratch.len() < len {
        scratch.resize(len, 0);
    }
    let written = snap::raw::Decoder::new().decompress(input, scratch).map_err(|_| CapError::Snappy)?;
    Ok(scratch.get(..written).unwrap_or_default())
}

/// Encodes snappy blocks; keeps the table of the encoder and its output between calls.
pub struct SnappyEncoder {
    encoder: snap::raw::Encoder,
    out: Vec<u8>,
}

impl SnappyEncoder {
    pub fn new() -> Self {
        SnappyEncoder { encoder: snap::raw::Encoder::new(), out: Vec::new() }
    }

    /// The block of `input`; valid until the next call. Inputs over 4 GiB cannot be encoded.
    pub fn encode(&mut self, input: &[u8]) -> Result<&[u8], CapError> {
        let most = snap::raw::max_compress_len(input.len());
        if most == 0 {
            return Err(CapError::TooLarge { limit: u32::MAX as usize });
        }
        if self.out.len() < most {
            self.out.resize(most, 0);
        }
        let written = self
            .encoder
            .compress(input, &mut self.out)
            .map_err(|error| CapError::Corrupt(format!("snappy: {error}")))?;
        Ok(self.out.get(..written).unwrap_or_default())
    }
}

impl Default for SnappyEncoder {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for SnappyEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnappyEncoder").field("held", &self.out.capacity()).finish()
    }
}

/// The snappy block of `input`.
pub fn snappy(input: &[u8]) -> Result<Vec<u8>, CapError> {
    SnappyEncoder::new().encode(input).map(<[u8]>::to_vec)
}

/// Decodes gzip (all members, as Go's reader does) of at most `limit` decoded bytes.
pub fn gunzip(input: &[u8], limit: usize) -> Result<Vec<u8>, CapError> {
    let mut out = Vec::new();
    gunzip_into(input, limit, &mut out)?;
    Ok(out)
}

/// As [`gunzip`], into a buffer that is cleared first and keeps its memory.
pub fn gunzip_into(input: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), CapError> {
    if !input.starts_with(&[0x1f, 0x8b]) {
        return Err(if input.len() < 2 { CapError::Truncated } else { CapError::GzipHeader });
    }
    // Nothing to declare its size: deflate gives at most about a thousandfold.
    out.clear();
    out.reserve(input.len().saturating_mul(4).min(limit.saturating_add(1)));
    read_capped(flate2::bufread::MultiGzDecoder::new(input), limit, out, "gzip")
}

/// Encodes gzip at the default level.
pub fn gzip(input: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(
        Vec::with_capacity(input.len() / 4 + 64),
        flate2::Compression::default(),
    );
    // Writing to memory cannot fail.
    let _ = encoder.write_all(input);
    encoder.finish().unwrap_or_default()
}

/// Decodes HTTP's `deflate` (a zlib stream) of at most `limit` decoded bytes.
pub fn inflate(input: &[u8], limit: usize) -> Result<Vec<u8>, CapError> {
    let mut out = Vec::new();
    read_capped(flate2::bufread::ZlibDecoder::new(input), limit, &mut out, "zlib")?;
    Ok(out)
}

/// Encodes HTTP's `deflate` (a zlib stream).
pub fn deflate(input: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(
        Vec::with_capacity(input.len() / 4 + 64),
        flate2::Compression::default(),
    );
    let _ = encoder.write_all(input);
    encoder.finish().unwrap_or_default()
}

/// Decodes zstd frames of at most `limit` decoded bytes; the window that a frame asks for is bounded by the
/// same ceiling. `out` is cleared first and keeps its memory.
pub fn unzstd_into(input: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), CapError> {
    out.clear();
    match zstd::zstd_safe::get_frame_content_size(input) {
        Ok(Some(declared)) => {
            let declared = usize::try_from(declared).unwrap_or(usize::MAX);
            if declared > limit {
                return Err(CapError::TooLarge { limit });
            }
            // A declaration is a claim: reserve for it only as far as the input makes it likely.
            out.reserve(declared.min(input.len().saturating_mul(64)));
        }
        Ok(None) => {}
        Err(_) => return Err(CapError::Corrupt("zstd: magic number mismatch".into())),
    }
    let window_log = (usize::BITS - limit.leading_zeros()).clamp(10, 27);
    let corrupt = |error: io::Error| CapError::Corrupt(format!("zstd: {error}"));
    let mut decoder = zstd::stream::read::Decoder::with_buffer(input).map_err(corrupt)?;
    decoder.window_log_max(window_log).map_err(corrupt)?;
    read_capped(decoder, limit, out, "zstd")
}

/// As [`unzstd_into`], into new memory.
pub fn unzstd(input: &[u8], limit: usize) -> Result<Vec<u8>, CapError> {
    let mut out = Vec::new();
    unzstd_into(input, limit, &mut out)?;
    Ok(out)
}

/// Encodes one zstd frame; `level` 1 (fast) to 22.
pub fn zstd(input: &[u8], level: i32) -> Result<Vec<u8>, CapError> {
    zstd::bulk::compress(input, level).map_err(|error| CapError::Corrupt(format!("zstd: {error}")))
}

fn read_capped(reader: impl Read, limit: usize, out: &mut Vec<u8>, what: &str) -> Result<(), CapError> {
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    match reader.take(most).read_to_end(out) {
        Ok(_) if out.len() > limit => Err(CapError::TooLarge { limit }),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(CapError::Truncated),
        Err(error) => Err(CapError::Corrupt(format!("{what}: {error}"))),
    }
}

/// Fuzz entry: every decoder on the same bytes.
pub fn fuzz_decode(input: &[u8]) {
    let limit = 1 << 20;
    let mut scratch = Vec::new();
    let _ = unsnappy(input, limit, &mut scratch);
    let _ = gunzip(input, limit);
    let _ = inflate(input, limit);
    let _ = unzstd(input, limit);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn declared_size_is_checked_first() {
        let mut scratch = Vec::new();
        // 64 MiB declared by four bytes.
        let got = unsnappy(&[0x80, 0x80, 0x80, 0x20], REMOTE_WRITE_LIMIT, &mut scratch);
        assert_eq!(got, Err(CapError::TooLarge { limit: REMOTE_WRITE_LIMIT }));
        assert_eq!(got.unwrap_err().to_string(), "decoded size exceeds the 33554432 bytes limit");
        // 16 MiB declared by four bytes: allowed by the ceiling, impossible for the format.
        assert_eq!(
            unsnappy(&[0x80, 0x80, 0x80, 0x08], REMOTE_WRITE_LIMIT, &mut scratch),
            Err(CapError::Snappy)
        );
        assert_eq!(scratch.capacity(), 0);
    }

    #[test]
    fn bad_input_is_named() {
        let mut scratch = Vec::new();
        for bad in [&b""[..], b"hello", b"\xff\xff\xff\xff\x7f"] {
            assert_eq!(unsnappy(bad, 1 << 20, &mut scratch).unwrap_err().to_string(), "s2: corrupt input");
        }
        assert_eq!(gunzip(b"hello", 10), Err(CapError::GzipHeader));
        let cut = gzip(&[7; 1000]);
        assert_eq!(gunzip(&cut[..cut.len() - 9], 2000), Err(CapError::Truncated));
        assert!(unzstd(b"hello", 10).is_err());
        assert!(inflate(b"hello", 10).is_err());
    }

    #[test]
    fn bombs_are_refused() {
        let zeros = vec![0u8; 100_000];
        let want = Err(CapError::TooLarge { limit: 99_999 });
        assert_eq!(gunzip(&gzip(&zeros), 99_999), want);
        assert_eq!(inflate(&deflate(&zeros), 99_999), want);
        assert_eq!(unzstd(&zstd(&zeros, 1).unwrap(), 99_999), want);
        assert_eq!(gunzip(&gzip(&zeros), 100_000).map(|v| v.len()), Ok(100_000));
    }

    #[test]
    fn gzip_members_are_joined() {
        let two = [gzip(b"one "), gzip(b"two")].concat();
        assert_eq!(gunzip(&two, 100).unwrap(), b"one two");
    }

    proptest! {
        #[test]
        fn round_trips(data in prop::collection::vec(any::<u8>(), 0..3000)) {
            let mut scratch = vec![1; 100];
            let packed = snappy(&data).unwrap();
            prop_assert_eq!(unsnappy(&packed, 3000, &mut scratch).unwrap(), &data[..]);
            prop_assert_eq!(&gunzip(&gzip(&data), 3000).unwrap(), &data);
            prop_assert_eq!(&inflate(&deflate(&data), 3000).unwrap(), &data);
            prop_assert_eq!(&unzstd(&zstd(&data, 3).unwrap(), 3000).unwrap(), &data);
        }

        #[test]
        fn any_bytes_are_harmless(data in prop::collection::vec(any::<u8>(), 0..300)) {
            fuzz_decode(&data);
        }
    }
}
