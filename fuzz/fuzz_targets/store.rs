//! Stores: a shard of any bytes, with the manifest that its own checksum would have.
#![no_main]

use mdet_data::store::sha256;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((&n_structures, shard)) = bytes.split_first() else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("00000.safetensors");
    std::fs::write(&file, shard).expect("a writable temporary folder");
    let sum = sha256(&file).expect("a readable file");
    let manifest = format!(
        r#"{{"format":"mdet store 1","units":"","sources":[],"shards":[{{"file":"00000.safetensors",
        "n_structures":{n_structures},"n_atoms":0,"sha256":"{sum}"}}]}}"#
    );
    std::fs::write(folder.path().join("store.json"), manifest).expect("a writable temporary folder");
    mdet_fuzz::read(folder.path());
});
