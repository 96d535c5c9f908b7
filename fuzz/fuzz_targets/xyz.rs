//! XYZ and extended XYZ: text as it comes.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mdet_fuzz::read_bytes(bytes));
