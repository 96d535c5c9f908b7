//! A store of any size costs the memory of its index alone, being written as well as being read.
//!
//! `MDET_STRUCTURES=30000000 cargo test --release -p mdet-data --test memory -- --nocapture` measures a large one.

#![cfg(target_os = "linux")] // where /proc says what is resident
#![allow(clippy::unwrap_used)] // clippy's allowance for tests does not reach their helper functions

use mdet_data::{About, Dataset, ReadOptions, Record, StoreWriter};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// 7 MB of structures, in shards of 256 kB.
const STRUCTURES: usize = 60_000;

/// Memory of this process that no file backs, in bytes: mapped pages of the store can be dropped at any time.
fn anonymous_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

fn water(index: usize, path: &Arc<Path>) -> Record {
    let x = 0.96 + 1e-7 * index as f64;
    Record {
        numbers: vec![8, 1, 1],
        positions: vec![[0.0; 3], [x, 0.0, 0.0], [-0.24, 0.93, 0.0]],
        forces: Some(vec![[index as f64, 0.0, 0.0]; 3]),
        energy_ev: Some(index as f64),
        dipole_e_angstrom: None,
        charge: 0,
        multiplicity: 1,
        molecule: index as u64,
        name: None,
        origin: None,
        path: Arc::clone(path),
        place: String::new(),
    }
}

#[test]
fn writing_and_reading_a_store_keep_neither_in_memory() {
    let (n, shard_bytes) = match std::env::var("MDET_STRUCTURES") {
        Ok(n) => (n.parse().unwrap(), 1 << 26),
        Err(_) => (STRUCTURES, 1 << 18),
    };
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("set");
    let before = anonymous_bytes();
    let about =
        About { format: "synthetic".into(), units: String::new(), keys: Vec::new(), labels: Vec::new() };
    let path: Arc<Path> = Arc::from(PathBuf::from("synthetic"));
    let mut writer = StoreWriter::create(&store).unwrap().with_shards_of(shard_bytes);
    writer.begin(&path, &about).unwrap();
    (0..n).for_each(|index| writer.push(Ok(water(index, &path))).unwrap());
    writer.end();
    let manifest = writer.finish().unwrap();
    let written = anonymous_bytes();

    let dataset = Dataset::read(&[store], ReadOptions::default()).unwrap();
    // Every structure once, in an order that jumps between shards; the stride shares no factor with the numbers used.
    for step in 0..n {
        let index = step * 7_919 % n;
        let structure = dataset.get(index);
        assert_eq!((structure.molecule, structure.forces[2][0]), (index as u64, index as f32));
    }
    let read = anonymous_bytes();
    let bytes = 119 * n;
    println!(
        "{n} structures, {} shards, {} MB: {:.1} MB more after writing, {:.1} MB more after reading",
        manifest.shards.len(),
        bytes / 1_000_000,
        (written.saturating_sub(before)) as f64 * 1e-6,
        (read.saturating_sub(before)) as f64 * 1e-6
    );
    // The shard being written, its file's bytes, and what the allocator keeps; per shard some hundred bytes.
    let allowed = 8 * shard_bytes + 1_000 * manifest.shards.len();
    assert!(read.saturating_sub(before) < allowed, "{} bytes more, allowed {allowed}", read - before);
}
