//! QCML's TFRecord shards: an odd first byte takes the rest as a shard, an even one as the records of a sound shard,
//! whose checksums would keep most changes away from the protocol buffers.
#![no_main]

fn masked(bytes: &[u8]) -> [u8; 4] {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((&kind, bytes)) = bytes.split_first() else { return };
    if kind % 2 == 1 {
        return mdet_fuzz::read_bytes(bytes);
    }
    let mut shard = Vec::new();
    for piece in mdet_fuzz::pieces(bytes, 4) {
        let length = (piece.len() as u64).to_le_bytes();
        for part in [&length[..], &masked(&length), piece, &masked(piece)] {
            shard.extend_from_slice(part);
        }
    }
    mdet_fuzz::read_bytes(&shard);
});
