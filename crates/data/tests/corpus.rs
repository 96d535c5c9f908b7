//! The corpus reader on a piece of the corpus, and on archives with one thing wrong.

// clippy.toml allows unwrap in `#[test]` functions only, not in what they call.
#![allow(clippy::unwrap_used)]
// The corpus's float16 values are written out exactly, as NumPy prints them.
#![allow(clippy::excessive_precision)]

use std::fs::File;
use std::path::{Path, PathBuf};

use half::f16;
use mdet_data::{DataError, Dataset, ReadOptions};
use npyz::{AutoSerialize, WriterBuilder};
use tempfile::TempDir;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

fn read(paths: &[PathBuf]) -> Result<Dataset, DataError> {
    Dataset::read(paths, ReadOptions::default())
}

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/corpus.npz")
}

#[test]
fn the_corpus_is_read_with_every_label() {
    let dataset = read(&[fixture()]).unwrap();
    assert_eq!(dataset.len(), 6);
    assert_eq!((0..6).map(|b| dataset.n_atoms(b)).collect::<Vec<_>>(), [10, 12, 16, 11, 12, 11]);
    assert_eq!(dataset.iter().map(|s| s.charge).collect::<Vec<_>>(), [0, -1, 0, 0, 1, 0]);
    assert!(dataset.iter().all(|s| s.multiplicity == 1));

    // Values as NumPy prints them.
    let first = dataset.get(0);
    assert_eq!(first.numbers, [7, 6, 6, 6, 6, 6, 8, 1, 1, 1]);
    assert_eq!(first.positions[0], [7450.0 / 2048.0, -993.0 / 2048.0, 1245.0 / 2048.0]);
    assert_eq!(first.forces[0], [-0.900390625, 0.712890625, -0.48388671875]);
    let last = dataset.get(5);
    assert_eq!(last.numbers, [7, 6, 7, 6, 8, 1, 1, 1, 1, 1, 1]);
    assert_eq!(last.positions[10], [-2.224609375, -0.876953125, -0.5849609375]);
    assert_eq!(last.forces[10], [-0.2142333984375, -0.040985107421875, 0.56103515625]);
    // Two conformers of one species, of which the file says so; the others are different molecules.
    let molecules: Vec<u64> = dataset.iter().map(|s| s.molecule).collect();
    let n_species = molecules.iter().collect::<std::collections::HashSet<_>>().len();
    assert_eq!((molecules.len(), n_species), (6, 6));
}

#[test]
fn several_files_are_one_dataset_in_their_order() {
    let once = read(&[fixture()]).unwrap();
    let twice = read(&[fixture(), fixture()]).unwrap();
    assert_eq!(twice.len(), 12);
    for b in 0..6 {
        assert_eq!(twice.get(b), once.get(b));
        assert_eq!(twice.get(b + 6), once.get(b));
    }
    assert!(read(&[]).unwrap().is_empty());
}

/// The arrays of two structures, H2 and HF, for a test to spoil.
struct Arrays {
    n_atoms: Vec<u8>,
    numbers: Vec<u8>,
    positions: Vec<i16>,
    forces: Vec<f16>,
    charge: Vec<i8>,
    without: Option<&'static str>,
}

impl Arrays {
    fn right() -> Self {
        Self {
            n_atoms: vec![2, 2],
            numbers: vec![1, 1, 1, 9],
            positions: vec![0, 0, 0, 0, 0, 1516, 0, 0, 0, 0, 0, 1880],
            forces: vec![f16::ONE; 12],
            charge: vec![0, 0],
            without: None,
        }
    }

    /// Reads the arrays from a file of theirs.
    fn read(&self) -> Result<Dataset, DataError> {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("corpus.npz");
        let mut zip = ZipWriter::new(File::create(&path).unwrap());
        let n_vectors = (self.forces.len() / 3) as u64;
        self.add(&mut zip, "n_atoms", &[self.n_atoms.len() as u64], &self.n_atoms);
        self.add(&mut zip, "numbers", &[self.numbers.len() as u64], &self.numbers);
        self.add(&mut zip, "positions", &[self.positions.len() as u64 / 3, 3], &self.positions);
        self.add(&mut zip, "forces", &[n_vectors, 3], &self.forces);
        self.add(&mut zip, "charge", &[self.charge.len() as u64], &self.charge);
        self.add(&mut zip, "species", &[2], &[0_u32, 1]);
        zip.finish().unwrap();
        read(&[path])
    }

    fn add<T: AutoSerialize + Copy>(
        &self,
        zip: &mut ZipWriter<File>,
        key: &str,
        shape: &[u64],
        entries: &[T],
    ) {
        if self.without == Some(key) {
            return;
        }
        zip.start_file(format!("{key}.npy"), SimpleFileOptions::default()).unwrap();
        let mut array =
            npyz::WriteOptions::new().default_dtype().shape(shape).writer(zip).begin_nd().unwrap();
        array.extend(entries.iter().copied()).unwrap();
        array.finish().unwrap();
    }

    /// The message of the error that reading these arrays gives, without the path.
    fn error(&self) -> String {
        let message = self.read().unwrap_err().to_string();
        message.split_once("corpus.npz: ").expect("the message names the file").1.to_owned()
    }
}

#[test]
fn the_arrays_that_the_next_tests_spoil_are_right() {
    assert_eq!(Arrays::right().read().unwrap().len(), 2);
}

#[test]
fn a_missing_array_is_named() {
    assert_eq!(
        Arrays { without: Some("forces"), ..Arrays::right() }.error(),
        "expected an array forces, found charge, n_atoms, numbers, positions, species"
    );
}

#[test]
fn arrays_that_do_not_fit_n_atoms_are_refused() {
    assert_eq!(
        Arrays { n_atoms: vec![2, 3], ..Arrays::right() }.error(),
        "numbers: expected shape [5], found [4]"
    );
    assert_eq!(
        Arrays { positions: vec![0; 9], ..Arrays::right() }.error(),
        "positions: expected shape [4, 3], found [3, 3]"
    );
    assert_eq!(
        Arrays { charge: vec![0; 3], ..Arrays::right() }.error(),
        "charge: expected shape [2], found [3]"
    );
}

#[test]
fn impossible_values_are_refused_with_their_index() {
    assert_eq!(
        Arrays { n_atoms: vec![4, 0], ..Arrays::right() }.error(),
        "n_atoms[1]: expected at least one atom, found 0"
    );
    assert_eq!(
        Arrays { numbers: vec![1, 1, 0, 9], ..Arrays::right() }.error(),
        "corpus, numbers[2]: expected an atomic number from 1 to 100, found 0"
    );
    let mut forces = vec![f16::ONE; 12];
    forces[4] = f16::INFINITY;
    assert_eq!(
        Arrays { forces, ..Arrays::right() }.error(),
        "structure 0: expected finite forces in eV/Å, found [1.0, inf, 1.0] on atom 1"
    );
    let odd = Arrays { charge: vec![0, 1], ..Arrays::right() }.read().unwrap_err();
    let reason = std::error::Error::source(&odd).unwrap().to_string();
    assert!(
        odd.to_string().ends_with("structure 1") && reason.contains("for 9 electrons"),
        "{odd}: {reason}"
    );
}

#[test]
fn files_that_are_no_archives_are_refused() {
    let missing = read(&[PathBuf::from("no/such.npz")]).unwrap_err();
    assert_eq!(missing.to_string(), "no/such.npz cannot be read or written");
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("half.npz");
    let bytes = std::fs::read(fixture()).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let half = read(&[path]).unwrap_err();
    assert!(matches!(half, DataError::Container { .. }), "{half:?}");
}
