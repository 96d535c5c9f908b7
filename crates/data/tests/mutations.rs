//! Damaged files of every format: an error or a data set, never a panic, a hang or a huge allocation.
//!
//! Each fixture is cut, and its bytes flipped, set and repeated at seeded places; `MUTATIONS` per format.
//! `MDET_MUTATIONS=100000 cargo test --release -p mdet-data --test mutations` looks longer.

#![allow(clippy::unwrap_used)] // clippy's allowance for tests does not reach their helper functions

use mdet_core::{Purpose, RandomStream};
use mdet_data::{Dataset, ReadOptions, Reader, StoreWriter};
use rand::{Rng, RngExt};
use std::path::{Path, PathBuf};

/// Enough to meet the errors of every part of a format within a second or two.
const MUTATIONS: u64 = 300;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn n_mutations() -> u64 {
    std::env::var("MDET_MUTATIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(MUTATIONS)
}

/// The bytes with one to eight small injuries.
fn mutate(bytes: &[u8], random: &mut impl Rng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..random.random_range(1..=8) {
        if bytes.is_empty() {
            break;
        }
        let at = random.random_range(0..bytes.len());
        match random.random_range(0..6) {
            0 => bytes.truncate(at),
            1 => bytes[at] ^= 1 << random.random_range(0..8),
            2 => bytes[at] = [0, 0xff, 0x7f, 0x80, b'0', b'9', b'-', b'\n'][random.random_range(0..8)],
            3 => {
                let end = (at + random.random_range(1..16)).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            4 => {
                let end = (at + random.random_range(1..16)).min(bytes.len());
                bytes.drain(at..end);
            }
            _ => {
                let end = (at + 8).min(bytes.len());
                bytes[at..end].fill(0xff);
            }
        }
    }
    bytes
}

fn survives(name: &str, original: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    let stream = RandomStream { seed: 1, purpose: Purpose::Analysis, replica: 0 };
    let mut n_errors = 0;
    for round in 0..n_mutations() {
        std::fs::write(&path, mutate(original, &mut stream.at_step(round))).unwrap();
        let read = Reader::open(&path, ReadOptions::default());
        let failed = read.is_err() || read.unwrap().any(|record| record.and_then(|r| r.check()).is_err());
        n_errors += u64::from(failed);
    }
    assert!(n_errors > n_mutations() / 20, "the injuries to {name} were noticed {n_errors} times only");
}

#[test]
fn files_that_fuzzing_found_tricky_are_refused() {
    for entry in std::fs::read_dir(fixture("../tricky")).unwrap() {
        let path = entry.unwrap().path();
        let read = Reader::open(&path, ReadOptions::default());
        let failed = read.is_err() || read.unwrap().any(|record| record.and_then(|r| r.check()).is_err());
        assert!(failed, "{}", path.display());
    }
}

#[test]
fn damaged_npz_archives_are_survived() {
    for name in ["corpus.npz", "rmd17_ethanol.npz", "qm22_ethanol.npz"] {
        survives(name, &std::fs::read(fixture(name)).unwrap());
    }
}

#[test]
fn damaged_hdf5_files_are_survived() {
    for name in ["spice.hdf5", "aimnet.h5", "ani1x.h5", "qm7x.hdf5"] {
        survives(name, &std::fs::read(fixture(name)).unwrap());
    }
}

#[test]
fn damaged_tfrecord_shards_are_survived() {
    let shard = "qcml/dft_force_field/1.0.0/qcml-full.tfrecord-00000-of-00002";
    survives("shard.tfrecord", &std::fs::read(fixture(shard)).unwrap());
}

#[test]
fn damaged_xyz_files_are_survived() {
    let text =
        "3\nProperties=species:S:1:pos:R:3:forces:R:3 energy=-1.5 charge=0 smiles=\"O\" pbc=\"F F F\"\n\
                O 0 0 0 0.1 0 0\nH 0.96 0 0 -0.1 0.1 0\nH -0.24 0.93 0 0 -0.1 0\n"
            .repeat(2);
    survives("water.xyz", text.as_bytes());
}

#[test]
fn every_change_of_a_stores_files_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let mut writer = StoreWriter::create(&store).unwrap();
    let path = fixture("spice.hdf5");
    writer.add(&path, Reader::open(&path, ReadOptions::default()).unwrap(), &mut |_| true).unwrap();
    writer.finish().unwrap();
    for file in ["00000.safetensors", "store.json"] {
        let path = store.join(file);
        let original = std::fs::read(&path).unwrap();
        let stream = RandomStream { seed: 2, purpose: Purpose::Analysis, replica: 0 };
        for round in 0..n_mutations() {
            let mutated = mutate(&original, &mut stream.at_step(round));
            std::fs::write(&path, &mutated).unwrap();
            let read = Dataset::read(std::slice::from_ref(&store), ReadOptions::default());
            // What the manifest says of sources may read as something else that is as valid.
            assert!(read.is_err() || mutated == original || file == "store.json", "round {round}");
        }
        std::fs::write(&path, &original).unwrap();
    }
}
