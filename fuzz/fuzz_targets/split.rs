//! Splits: any bytes as the file, and every part it names.
#![no_main]

use mdet_data::split::Split;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), bytes).expect("a writable temporary file");
    if let Ok(split) = Split::read(file.path()) {
        for name in split.parts.keys() {
            let _ = split.part(file.path(), name);
        }
    }
});
