//! The store gives back what was put in, grows without touching what is there, and notices damage.

#![allow(clippy::unwrap_used)] // clippy's allowance for tests does not reach their helper functions

use mdet_data::store::Manifest;
use mdet_data::{Dataset, ReadOptions, Reader, StoreWriter};
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn read(paths: &[PathBuf]) -> Dataset {
    Dataset::read(paths, ReadOptions::default()).unwrap()
}

fn add(writer: &mut StoreWriter, name: &str) -> usize {
    let path = fixture(name);
    writer.add(&path, Reader::open(&path, ReadOptions::default()).unwrap(), &mut |_| true).unwrap()
}

#[test]
fn a_store_holds_what_its_sources_hold_and_grows_by_shards() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("set");
    let mut writer = StoreWriter::create(&store).unwrap();
    assert_eq!((add(&mut writer, "spice.hdf5"), add(&mut writer, "rmd17_ethanol.npz")), (5, 4));
    writer.finish().unwrap();
    let first = std::fs::read(store.join("00000.safetensors")).unwrap();
    let mut writer = StoreWriter::append(&store).unwrap();
    add(&mut writer, "aimnet.h5");
    let manifest = writer.finish().unwrap();
    assert_eq!((manifest.n_structures(), manifest.shards.len(), manifest.sources.len()), (15, 2, 3));
    assert_eq!(std::fs::read(store.join("00000.safetensors")).unwrap(), first);

    let stored = read(&[store]);
    let direct = read(&["spice.hdf5", "rmd17_ethanol.npz", "aimnet.h5"].map(fixture));
    assert_eq!(stored.len(), 15);
    for b in 0..15 {
        assert_eq!(stored.get(b), direct.get(b), "structure {b}");
        assert_eq!(stored.n_atoms(b), direct.get(b).numbers.len());
    }
    let some = stored.select(&[14, 0, 7]).select(&[2, 1]);
    assert_eq!((some.len(), some.get(0), some.get(1)), (2, direct.get(7), direct.get(0)));
}

#[test]
fn what_was_not_finished_does_not_count() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("set");
    let mut writer = StoreWriter::create(&store).unwrap();
    add(&mut writer, "spice.hdf5");
    writer.finish().unwrap();
    let mut interrupted = StoreWriter::append(&store).unwrap();
    add(&mut interrupted, "aimnet.h5");
    drop(interrupted);
    assert_eq!(read(std::slice::from_ref(&store)).len(), 5);
    assert_eq!(Manifest::read(&store).unwrap().n_structures(), 5);
    assert!(StoreWriter::create(&store).is_err(), "a store is not made over another");
}

#[test]
fn a_chosen_part_is_stored_alone() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("set");
    let mut writer = StoreWriter::create(&store).unwrap();
    let path = fixture("spice.hdf5");
    let reader = Reader::open(&path, ReadOptions::default()).unwrap();
    assert_eq!(writer.add(&path, reader, &mut |index| index % 2 == 1).unwrap(), 2);
    writer.finish().unwrap();
    let direct = read(&[path]);
    let stored = read(&[store]);
    assert_eq!((stored.get(0), stored.get(1)), (direct.get(1), direct.get(3)));
}
