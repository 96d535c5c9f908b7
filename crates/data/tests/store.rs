//! The store gives back what was put in, grows without touching what is there, and notices damage.

#![allow(clippy::unwrap_used)] // clippy's allowance for tests does not reach their helper functions

use mdet_data::store::Manifest;
use mdet_data::{About, Dataset, ReadOptions, Reader, StoreWriter};
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

#[test]
fn an_interrupted_store_is_refused_until_it_is_resumed_and_then_is_as_if_it_never_was() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, store) = (folder.path().join("whole"), folder.path().join("set"));
    let names = ["rmd17_ethanol.npz", "spice.hdf5", "aimnet.h5"];
    let open = |name: &str| Reader::open(&fixture(name), ReadOptions::default()).unwrap();
    // Two structures of nine atoms fill a shard.
    let bytes = 500;
    let mut writer = StoreWriter::create(&whole).unwrap().with_shards_of(bytes);
    for name in names {
        add(&mut writer, name);
    }
    let expected = writer.finish().unwrap();

    let mut writer = StoreWriter::create(&store).unwrap().with_shards_of(bytes);
    add(&mut writer, names[0]);
    let reader = open(names[1]);
    writer.begin(&fixture(names[1]), &reader.about).unwrap();
    reader.take(4).for_each(|record| writer.push(record).unwrap());
    drop(writer);
    let error = Dataset::read(std::slice::from_ref(&store), ReadOptions::default()).unwrap_err().to_string();
    assert!(Manifest::read(&store).is_err() && error.contains("a store that is not finished"), "{error}");
    for refused in [StoreWriter::create(&store), StoreWriter::append(&store)] {
        assert!(refused.unwrap_err().to_string().contains("--resume goes on with it"));
    }

    let mut writer = StoreWriter::resume(&store).unwrap().with_shards_of(bytes);
    assert_eq!(writer.finished_sources().len(), 1);
    let about = open(names[1]).about;
    assert!(writer.begin(&fixture(names[2]), &about).unwrap_err().to_string().contains("spice.hdf5 next"));
    let other = About { units: "kcal/mol, Å".into(), ..about.clone() };
    assert!(writer.begin(&fixture(names[1]), &other).unwrap_err().to_string().contains("to be read on as"));
    let unfinished = StoreWriter::resume(&store).unwrap().finish().unwrap_err().to_string();
    assert!(unfinished.contains("spice.hdf5 to be read to its end"), "{unfinished}");
    let n_done = writer.begin(&fixture(names[1]), &about).unwrap();
    assert_eq!(n_done, 3, "the fourth conformation was in no shard yet");
    open(names[1]).skip(n_done).for_each(|record| writer.push(record).unwrap());
    assert_eq!(writer.end(), 5);
    add(&mut writer, names[2]);
    assert_eq!(writer.finish().unwrap(), expected);
    assert_eq!(std::fs::read_dir(&store).unwrap().count(), 1 + expected.shards.len());
    assert!(StoreWriter::resume(&store).is_err(), "nothing is unfinished");
}
