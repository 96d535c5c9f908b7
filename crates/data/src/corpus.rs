//! A training corpus in memory: structures with the force on every atom, one after another.
//!
//! The files are NumPy archives with these arrays, S structures and A atoms in all:
//!
//! | array | type and shape | meaning |
//! |---|---|---|
//! | `n_atoms` | u8 `[S]` | atoms of each structure |
//! | `numbers` | u8 `[A]` | atomic numbers |
//! | `positions` | i16 `[A, 3]` | positions in units of 1/2048 Å, exact |
//! | `forces` | f16 `[A, 3]` | forces in eV/Å |
//! | `charge` | i8 `[S]` | total charge in e |
//! | `source` | u8 `[S]` | how the geometry was made |
//! | `species` | u32 `[S]` | which molecule, an index into the corpus's list of species |
//! | `disagreement` | f16 `[S]` | RMS difference of two labellers' forces in eV/Å |
//!
//! Every structure is closed-shell. Deliberately absent: the archives' `energy`, which compares only within one
//! composition and which no force model trains on, and `temperature`.

mod npz;

use std::path::{Path, PathBuf};

use half::f16;
use mdet_core::elements::MAX_ATOMIC_NUMBER;

use npz::Archive;

/// Positions are stored in units of this fraction of an Å.
const POSITION_UNITS_PER_ANGSTROM: f32 = 2048.0;

/// Labelled structures in a few long arrays, so that a corpus costs little more than its numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    /// Atom `offsets[b]..offsets[b + 1]` belong to structure b.
    offsets: Vec<usize>,
    numbers: Vec<u8>,
    positions: Vec<[f32; 3]>,
    forces: Vec<[f32; 3]>,
    charges: Vec<i32>,
    multiplicities: Vec<u32>,
    sources: Vec<u8>,
    species: Vec<u32>,
    disagreements: Vec<f32>,
}

/// One structure of a [`Dataset`] with its labels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Labelled<'a> {
    /// Atomic numbers, one per atom.
    pub numbers: &'a [u8],
    /// Positions in Å, one per atom.
    pub positions: &'a [[f32; 3]],
    /// Forces in eV/Å, one per atom.
    pub forces: &'a [[f32; 3]],
    /// Total charge in e.
    pub charge: i32,
    /// Spin multiplicity 2S + 1.
    pub multiplicity: u32,
    /// How the geometry was made, by the corpus's own numbering.
    pub source: u8,
    /// Which molecule it is, an index into the corpus's list of species. A split never parts a species.
    pub species: u32,
    /// RMS difference of two labellers' forces in eV/Å: how far the labels can be trusted.
    pub disagreement_ev_per_angstrom: f32,
}

/// Why a corpus could not be read. Structures and atoms are counted from 0 within their file.
#[derive(Debug, thiserror::Error)]
pub enum CorpusError {
    /// The file cannot be opened.
    #[error("{} cannot be opened", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is no archive, or an array in it cannot be unpacked.
    #[error("{}: expected a NumPy archive (.npz)", path.display())]
    Archive {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: zip::result::ZipError,
    },
    /// An array is not there.
    #[error("{}: expected an array {key}, found {found}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// The array.
        key: &'static str,
        /// The arrays that are there, by name.
        found: String,
    },
    /// An array cannot be read.
    #[error("{}: {key} cannot be read", path.display())]
    Array {
        /// The file.
        path: PathBuf,
        /// The array.
        key: &'static str,
        /// What is wrong with it.
        source: std::io::Error,
    },
    /// An array has another type than expected.
    #[error("{}: {key}: expected type {expected}, found {found}", path.display())]
    Type {
        /// The file.
        path: PathBuf,
        /// The array.
        key: &'static str,
        /// Its type, in NumPy's words.
        expected: &'static str,
        /// The type found, in NumPy's notation.
        found: String,
    },
    /// An array does not have the shape that the others and `n_atoms` ask for.
    #[error("{}: {key}: expected shape {expected}, found {found}", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// The array.
        key: &'static str,
        /// Its shape.
        expected: String,
        /// The shape found.
        found: String,
    },
    /// An entry of an array is impossible.
    #[error("{}: {key}[{index}]: expected {expected}, found {found}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The array.
        key: &'static str,
        /// The entry's index along the array's first axis.
        index: usize,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
}

impl Dataset {
    /// Reads one or more files into one data set, in the order given.
    ///
    /// # Errors
    /// [`CorpusError`] of the first file and array that is wrong.
    pub fn read(paths: &[PathBuf]) -> Result<Self, CorpusError> {
        let mut dataset = Self::empty();
        for path in paths {
            dataset.append(path)?;
        }
        Ok(dataset)
    }

    /// Number of structures.
    pub fn len(&self) -> usize {
        self.charges.len()
    }

    /// Whether there are no structures.
    pub fn is_empty(&self) -> bool {
        self.charges.is_empty()
    }

    /// Number of atoms of structure `b`, without touching its coordinates: batches are made up by size.
    ///
    /// # Panics
    /// When `b` is not below [`len`](Self::len).
    pub fn n_atoms(&self, b: usize) -> usize {
        self.offsets[b + 1] - self.offsets[b]
    }

    /// Structure `b` with its labels.
    ///
    /// # Panics
    /// When `b` is not below [`len`](Self::len).
    pub fn get(&self, b: usize) -> Labelled<'_> {
        let atoms = self.offsets[b]..self.offsets[b + 1];
        Labelled {
            numbers: &self.numbers[atoms.clone()],
            positions: &self.positions[atoms.clone()],
            forces: &self.forces[atoms],
            charge: self.charges[b],
            multiplicity: self.multiplicities[b],
            source: self.sources[b],
            species: self.species[b],
            disagreement_ev_per_angstrom: self.disagreements[b],
        }
    }

    /// All structures, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Labelled<'_>> {
        (0..self.len()).map(|b| self.get(b))
    }

    fn empty() -> Self {
        Self {
            offsets: vec![0],
            numbers: Vec::new(),
            positions: Vec::new(),
            forces: Vec::new(),
            charges: Vec::new(),
            multiplicities: Vec::new(),
            sources: Vec::new(),
            species: Vec::new(),
            disagreements: Vec::new(),
        }
    }

    /// Reads one file behind what is there.
    fn append(&mut self, path: &Path) -> Result<(), CorpusError> {
        let mut archive = Archive::open(path)?;
        let n_atoms: Vec<u8> = archive.column("n_atoms", "uint8", None)?;
        let n_structures = n_atoms.len();
        let total_atoms = n_atoms.iter().map(|&n| usize::from(n)).sum();
        let numbers: Vec<u8> = archive.column("numbers", "uint8", Some(total_atoms))?;
        let positions: Vec<i16> = archive.vectors("positions", "int16", total_atoms)?;
        let forces: Vec<f16> = archive.vectors("forces", "float16", total_atoms)?;
        let charges: Vec<i8> = archive.column("charge", "int8", Some(n_structures))?;
        let sources: Vec<u8> = archive.column("source", "uint8", Some(n_structures))?;
        let species: Vec<u32> = archive.column("species", "uint32", Some(n_structures))?;
        let disagreements: Vec<f16> = archive.column("disagreement", "float16", Some(n_structures))?;

        archive.check("n_atoms", "at least one atom", &n_atoms, |&n| n > 0)?;
        archive.check("numbers", "an element's atomic number", &numbers, |z| {
            (1..=MAX_ATOMIC_NUMBER).contains(z)
        })?;
        archive.check("forces", "finite components", forces.as_chunks().0, |force: &[f16; 3]| {
            force.iter().all(|component| component.is_finite())
        })?;
        archive.check("disagreement", "a finite number, not negative", &disagreements, |value| {
            value.is_finite() && *value >= f16::ZERO
        })?;
        let odd = first_odd_electron_count(&n_atoms, &numbers, &charges);
        if let Some(b) = odd {
            return Err(CorpusError::Value {
                path: path.into(),
                key: "charge",
                index: b,
                expected: "an even number of electrons, as the corpus is closed-shell",
                found: format!("charge {} and an odd number", charges[b]),
            });
        }

        let first_atom = self.numbers.len();
        self.offsets.extend(n_atoms.iter().scan(first_atom, |end, &n| {
            *end += usize::from(n);
            Some(*end)
        }));
        self.numbers.extend(numbers);
        self.positions.extend(
            positions
                .as_chunks()
                .0
                .iter()
                .map(|p: &[i16; 3]| p.map(|x| f32::from(x) / POSITION_UNITS_PER_ANGSTROM)),
        );
        self.forces.extend(forces.as_chunks().0.iter().map(|f: &[f16; 3]| f.map(f16::to_f32)));
        self.charges.extend(charges.into_iter().map(i32::from));
        self.multiplicities.resize(self.charges.len(), 1);
        self.sources.extend(sources);
        self.species.extend(species);
        self.disagreements.extend(disagreements.into_iter().map(f16::to_f32));
        Ok(())
    }
}

/// The first structure whose electrons cannot all be paired.
fn first_odd_electron_count(n_atoms: &[u8], numbers: &[u8], charges: &[i8]) -> Option<usize> {
    let mut rest = numbers;
    n_atoms.iter().zip(charges).position(|(&n, &charge)| {
        let (own, others) = rest.split_at(usize::from(n));
        rest = others;
        let protons: i32 = own.iter().map(|&z| i32::from(z)).sum();
        (protons - i32::from(charge)) % 2 != 0
    })
}
