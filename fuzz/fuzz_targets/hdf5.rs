//! HDF5 of SPICE, ANI-1x, QM7-X and AIMNet2: bytes behind the signature.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut file = bytes.to_vec();
    let signature = b"\x89HDF\r\n\x1a\n";
    let n = file.len().min(signature.len());
    file[..n].copy_from_slice(&signature[..n]);
    mdet_fuzz::read_bytes(&file);
});
