//! A file of `chunks_head/`, under a log that speaks of its series.
#![no_main]
mod store;
use disk::crc::crc32c;
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((how, data)) = data.split_first() else { return };
    if *how == 0 {
        return store::exercise("chunks_head", "000001", false, data.to_vec());
    }
    let mut file = vec![0x01, 0x30, 0xbc, 0x91, 1, 0, 0, 0];
    for piece in store::pieces(data) {
        // Series, times relative to those of the log, encoding, bytes.
        let Some((head, bytes)) = piece.split_at_checked(7) else { continue };
        let from = file.len();
        let time = |b: &[u8]| 1_699_999_200_000 + i64::from(i16::from_le_bytes([b[0], b[1]])) * 1000;
        file.extend_from_slice(&u64::from(head[0] % 5).to_be_bytes());
        file.extend_from_slice(&time(&head[1..3]).to_be_bytes());
        file.extend_from_slice(&time(&head[3..5]).to_be_bytes());
        file.push(head[5] % 8 | head[6] & 0x80);
        chunk::varint::put_u64(&mut file, bytes.len() as u64);
        file.extend_from_slice(bytes);
        let crc = crc32c(&file[from..]);
        file.extend_from_slice(&crc.to_be_bytes());
    }
    store::exercise("chunks_head", "000001", false, file);
});
