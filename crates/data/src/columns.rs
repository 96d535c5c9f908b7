//! The columns of labelled structures, S with A atoms in all, in memory or in a mapped file.
//!
//! | column | type and shape | meaning |
//! |---|---|---|
//! | `first_atom` | u64 `[S + 1]` | atoms `first_atom[b]..first_atom[b + 1]` belong to structure b |
//! | `energy` | f64 `[S]` | energy in eV, NaN where there is none |
//! | `molecule` | u64 `[S]` | which molecule, a hash |
//! | `positions` | f32 `[A, 3]` | Å |
//! | `forces` | f32 `[A, 3]` | eV/Å |
//! | `dipole` | f32 `[S, 3]` | dipole moment in e·Å, NaN where there is none |
//! | `charge` | i32 `[S]` | total charge in e |
//! | `multiplicity` | i32 `[S]` | 2S + 1 |
//! | `numbers` | u8 `[A]` | atomic numbers |
//!
//! f32 resolves 10⁻⁶ Å in a molecule of 10 Å, and forces to 7 digits: far below any label's own error.

use crate::{DataError, Labelled, Record};
use mdet_core::elements::MAX_ATOMIC_NUMBER;
use mmap_io::MemoryMappedFile;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::ops::Range;
use std::path::Path;

/// Columns in memory.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Columns {
    first_atom: Vec<u64>,
    energy: Vec<f64>,
    molecule: Vec<u64>,
    positions: Vec<[f32; 3]>,
    forces: Vec<[f32; 3]>,
    dipole: Vec<[f32; 3]>,
    charge: Vec<i32>,
    multiplicity: Vec<i32>,
    numbers: Vec<u8>,
}

impl Default for Columns {
    fn default() -> Self {
        Self {
            first_atom: vec![0],
            energy: Vec::new(),
            molecule: Vec::new(),
            positions: Vec::new(),
            forces: Vec::new(),
            dipole: Vec::new(),
            charge: Vec::new(),
            multiplicity: Vec::new(),
            numbers: Vec::new(),
        }
    }
}

/// Names, types and trailing dimensions of the columns, and whether they count structures, atoms or bounds.
const COLUMNS: [(&str, Dtype, usize, Rows); 9] = [
    ("first_atom", Dtype::U64, 1, Rows::Bounds),
    ("energy", Dtype::F64, 1, Rows::Structures),
    ("molecule", Dtype::U64, 1, Rows::Structures),
    ("positions", Dtype::F32, 3, Rows::Atoms),
    ("forces", Dtype::F32, 3, Rows::Atoms),
    ("dipole", Dtype::F32, 3, Rows::Structures),
    ("charge", Dtype::I32, 1, Rows::Structures),
    ("multiplicity", Dtype::I32, 1, Rows::Structures),
    ("numbers", Dtype::U8, 1, Rows::Atoms),
];

#[derive(Clone, Copy, PartialEq)]
enum Rows {
    Structures,
    Atoms,
    Bounds,
}

impl Columns {
    /// Adds a checked record with forces.
    pub fn push(&mut self, record: &Record) {
        let narrow = |vector: &[f64; 3]| vector.map(|x| x as f32);
        let forces = record.forces.as_deref().expect("records are pushed with forces");
        self.numbers.extend(&record.numbers);
        self.positions.extend(record.positions.iter().map(narrow));
        self.forces.extend(forces.iter().map(narrow));
        self.first_atom.push(self.numbers.len() as u64);
        self.energy.push(record.energy_ev.unwrap_or(f64::NAN));
        self.dipole.push(record.dipole_e_angstrom.map_or([f32::NAN; 3], |dipole| narrow(&dipole)));
        self.charge.push(record.charge);
        self.multiplicity.push(record.multiplicity as i32);
        self.molecule.push(record.molecule);
    }

    pub fn n_structures(&self) -> usize {
        self.charge.len()
    }

    pub fn n_atoms(&self) -> usize {
        self.numbers.len()
    }

    /// Bytes of all columns.
    pub fn n_bytes(&self) -> usize {
        25 * self.n_atoms() + 44 * self.n_structures()
    }

    /// The columns as a safetensors file, little-endian.
    pub fn to_safetensors(&self) -> Result<Vec<u8>, safetensors::SafeTensorError> {
        let bytes: [&[u8]; COLUMNS.len()] = [
            bytemuck::cast_slice(&self.first_atom),
            bytemuck::cast_slice(&self.energy),
            bytemuck::cast_slice(&self.molecule),
            bytemuck::cast_slice(&self.positions),
            bytemuck::cast_slice(&self.forces),
            bytemuck::cast_slice(&self.dipole),
            bytemuck::cast_slice(&self.charge),
            bytemuck::cast_slice(&self.multiplicity),
            &self.numbers,
        ];
        let mut views = Vec::with_capacity(COLUMNS.len());
        for ((name, dtype, width, rows), bytes) in COLUMNS.into_iter().zip(bytes) {
            let n_rows = rows.count(self.n_structures(), self.n_atoms());
            let shape = if width == 1 { vec![n_rows] } else { vec![n_rows, width] };
            views.push((name, TensorView::new(dtype, shape, bytes)?));
        }
        safetensors::serialize(views, None)
    }
}

impl Rows {
    fn count(self, n_structures: usize, n_atoms: usize) -> usize {
        match self {
            Self::Structures => n_structures,
            Self::Atoms => n_atoms,
            Self::Bounds => n_structures + 1,
        }
    }
}

/// Columns, wherever they are.
#[derive(Debug)]
pub(crate) enum Shard {
    Memory(Columns),
    Mapped {
        file: MemoryMappedFile,
        n_structures: usize,
        /// Where in the file each column is, in the order of [`COLUMNS`].
        ranges: [Range<usize>; COLUMNS.len()],
    },
}

impl From<Columns> for Shard {
    fn from(columns: Columns) -> Self {
        Self::Memory(columns)
    }
}

// The files are little-endian and their columns are used as they lie.
const _: () = assert!(cfg!(target_endian = "little"), "stores are read on little-endian machines only");

impl Shard {
    /// Maps a file and checks that its columns fit together and hold elements.
    pub fn map(path: &Path) -> Result<Self, DataError> {
        let container = |error: Box<dyn std::error::Error + Send + Sync>| {
            DataError::container::<Box<_>>(path, "an intact shard of a store")(error)
        };
        let file = MemoryMappedFile::open_ro(path).map_err(|error| container(error.into()))?;
        let bytes = file.as_slice_bytes(0, file.len()).map_err(|error| container(error.into()))?;
        let tensors = SafeTensors::deserialize(bytes).map_err(|error| container(error.into()))?;
        let column = |name: &str| tensors.tensor(name).map_err(|error| container(error.into()));
        let n_structures = column("charge")?.shape().iter().product();
        let n_atoms = column("numbers")?.shape().iter().product();
        let mut ranges = [const { 0..0 }; COLUMNS.len()];
        for ((name, dtype, width, rows), range) in COLUMNS.into_iter().zip(&mut ranges) {
            let view = column(name)?;
            let n_rows = rows.count(n_structures, n_atoms);
            let expected = if width == 1 { vec![n_rows] } else { vec![n_rows, width] };
            if view.dtype() != dtype || view.shape() != expected {
                let found = format!("{:?} {:?}", view.dtype(), view.shape());
                return Err(DataError::wrong(path, name, format!("{dtype:?} {expected:?}"), found));
            }
            let start = view.data().as_ptr().addr() - bytes.as_ptr().addr();
            *range = start..start + view.data().len();
            if !view.data().as_ptr().addr().is_multiple_of(dtype.bitsize() / 8) {
                return Err(DataError::wrong(path, name, "an aligned column", format!("offset {start}")));
            }
        }
        let shard = Self::Mapped { file, n_structures, ranges };
        shard.check(path, n_atoms)?;
        Ok(shard)
    }

    /// Whether every structure's atoms are inside the columns and are elements.
    fn check(&self, path: &Path, n_atoms: usize) -> Result<(), DataError> {
        let bounds = self.column::<u64>(0);
        let ascending = bounds.windows(2).all(|pair| pair[0] < pair[1]);
        if bounds.first() != Some(&0) || !ascending || bounds.last() != Some(&(n_atoms as u64)) {
            let expected = format!("ascending from 0 to {n_atoms}");
            return Err(DataError::wrong(path, "first_atom", expected, "something else"));
        }
        let numbers = self.column::<u8>(8);
        match numbers.iter().position(|z| !(1..=MAX_ATOMIC_NUMBER).contains(z)) {
            None => Ok(()),
            Some(atom) => {
                let found = numbers[atom].to_string();
                Err(DataError::wrong(path, format!("numbers[{atom}]"), "an atomic number", found))
            }
        }
    }

    pub fn len(&self) -> usize {
        match self {
            Self::Memory(columns) => columns.n_structures(),
            Self::Mapped { n_structures, .. } => *n_structures,
        }
    }

    /// Where the atoms of structure `b` are in the columns.
    pub fn atoms(&self, b: usize) -> Range<usize> {
        let bounds = match self {
            Self::Memory(columns) => &columns.first_atom,
            Self::Mapped { .. } => self.column::<u64>(0),
        };
        bounds[b] as usize..bounds[b + 1] as usize
    }

    /// Structure `b`, counted within the shard.
    pub fn get(&self, b: usize) -> Labelled<'_> {
        let atoms = self.atoms(b);
        let (energy, dipole, charge, multiplicity, molecule, numbers, positions, forces) = match self {
            Self::Memory(c) => (
                c.energy[b],
                c.dipole[b],
                c.charge[b],
                c.multiplicity[b],
                c.molecule[b],
                &c.numbers[..],
                &c.positions[..],
                &c.forces[..],
            ),
            Self::Mapped { .. } => (
                self.column::<f64>(1)[b],
                self.column::<[f32; 3]>(5)[b],
                self.column::<i32>(6)[b],
                self.column::<i32>(7)[b],
                self.column::<u64>(2)[b],
                self.column::<u8>(8),
                self.column::<[f32; 3]>(3),
                self.column::<[f32; 3]>(4),
            ),
        };
        Labelled {
            numbers: &numbers[atoms.clone()],
            positions: &positions[atoms.clone()],
            forces: &forces[atoms],
            energy_ev: Some(energy).filter(|energy| energy.is_finite()),
            dipole_e_angstrom: Some(dipole).filter(|dipole| dipole.iter().all(|d| d.is_finite())),
            charge,
            multiplicity: multiplicity as u32,
            molecule,
        }
    }

    /// A column of a mapped file.
    fn column<T: bytemuck::AnyBitPattern>(&self, index: usize) -> &[T] {
        let Self::Mapped { file, ranges, .. } = self else { unreachable!("columns in memory are fields") };
        let Range { start, end } = ranges[index];
        let bytes = file
            .as_slice_bytes(start as u64, (end - start) as u64)
            .expect("the range was found in the file when it was mapped");
        bytemuck::cast_slice(bytes)
    }
}
