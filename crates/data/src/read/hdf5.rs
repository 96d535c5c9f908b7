//! HDF5 files of one group per molecule or size: SPICE, ANI-1x, QM7-X, AIMNet2.
//!
//! Groups are read in blocks of conformations, so that a file need not fit in memory. SPICE gives no charge: it is
//! the sum of the formal charges in the mapped SMILES string.

use super::arrays::{Array, Block, Convention};
use super::npz::{listed, refuse_other_units};
use super::{About, ReadOptions, Reader, Records};
use crate::DataError;
use crate::extent::Extent;
use crate::units::Units;
use hdf5_reader::error::ByteOrder;
use hdf5_reader::group::Group;
use hdf5_reader::messages::datatype::Datatype;
use hdf5_reader::{H5Type, Hdf5File, SliceInfo, SliceInfoElem, dtype_element_size};
use mdet_core::constants::BOHR_IN_ANGSTROM;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// SPICE (Eastman et al. 2023).
const SPICE: Convention = Convention {
    format: "SPICE hdf5",
    numbers: "atomic_numbers",
    positions: "conformations",
    forces: "dft_total_gradient",
    force_sign: -1.0,
    energy: "dft_total_energy",
    dipole: Some(("scf_dipole", BOHR_IN_ANGSTROM)),
    units: Some(Units::HartreeBohr),
    has_gaps: false,
};

/// ANI-1x (Smith et al. 2020); many conformations have no labels at this level.
const ANI_1X: Convention = Convention {
    format: "ANI-1x h5, ωB97x/6-31G*",
    numbers: "atomic_numbers",
    positions: "coordinates",
    forces: "wb97x_dz.forces",
    force_sign: 1.0,
    energy: "wb97x_dz.energy",
    dipole: Some(("wb97x_dz.dipole", 1.0)),
    units: Some(Units::HartreeAngstrom),
    has_gaps: true,
};

/// QM7-X (Hoja et al. 2021): one conformation per group.
const QM7_X: Convention = Convention {
    format: "QM7-X hdf5, PBE0+MBD",
    numbers: "atNUM",
    positions: "atXYZ",
    forces: "totFOR",
    force_sign: 1.0,
    energy: "ePBE0+MBD",
    dipole: None,
    units: Some(Units::EvAngstrom),
    has_gaps: false,
};

/// The sets of AIMNet2 (Anstine et al. 2025): one group per number of atoms.
const AIMNET: Convention = Convention {
    format: "AIMNet2 h5",
    numbers: "numbers",
    positions: "coord",
    forces: "forces",
    force_sign: 1.0,
    energy: "energy",
    dipole: Some(("dipole", 1.0)),
    units: Some(Units::EvAngstrom),
    has_gaps: false,
};

/// Atoms of the conformations that are read at once.
const BLOCK_ATOMS: u64 = 1 << 17;
/// No deflated byte becomes more bytes than this: a shape beyond it is damage, not data.
const MAX_DEFLATION: u64 = 1032;
/// Groups nested deeper than this are no data set.
const MAX_DEPTH: usize = 8;

pub(super) fn open(path: &Path, options: ReadOptions) -> Result<Reader, DataError> {
    let file = Hdf5File::open(path).map_err(damaged(path))?;
    let mut groups = Vec::new();
    gather_groups(path, file.root_group().map_err(damaged(path))?, "", 0, &mut groups)?;
    let Some((first_name, first)) = groups.first() else {
        return Err(DataError::missing(path, "a group of arrays", "none"));
    };
    let names = dataset_names(path, first)?;
    let known = [&SPICE, &ANI_1X, &QM7_X, &AIMNET].into_iter().find(|convention| convention.fits(&names));
    let Some(convention) = known else {
        let expected = "the arrays of SPICE (conformations, dft_total_gradient), ANI-1x (coordinates, \
                        wb97x_dz.forces), QM7-X (atXYZ, totFOR) or AIMNet2 (coord, forces)";
        let found = format!("{} in group {first_name}", listed(&names));
        return Err(DataError::missing(path, expected, found));
    };
    let units = convention.units.expect("every HDF5 format has its units");
    refuse_other_units(path, units, options.units)?;
    let labels = convention.labels(&names);
    let about = About { format: convention.format.into(), units: units.to_string(), keys: names, labels };
    let path: Arc<Path> = Arc::from(path);
    let extent = Extent::new(groups.len() as u64);
    let records = extent.counting(groups.into_iter()).flat_map(move |(name, group)| {
        let source = Source { path: Arc::clone(&path), name, group, convention, units };
        source.records()
    });
    Ok(Reader { about, records: Box::new(records), extent })
}

/// Conformations of a group and how many of them are read at once.
struct Blocks {
    n_frames: u64,
    step: u64,
    /// The molecule's SMILES string, where there is one.
    smiles: Option<String>,
}

/// One group that holds arrays.
struct Source {
    path: Arc<Path>,
    name: String,
    group: Group,
    convention: &'static Convention,
    units: Units,
}

impl Source {
    /// The group's conformations, block by block; an error is the last item.
    fn records(self) -> Records {
        match self.blocks() {
            Err(error) => Box::new(std::iter::once(Err(error))),
            Ok(Blocks { n_frames, step, smiles }) => {
                Box::new((0..n_frames.div_ceil(step)).flat_map(move |block| -> Records {
                    let rows = block * step..(block * step + step).min(n_frames);
                    match self.block(rows) {
                        Err(error) => Box::new(std::iter::once(Err(error))),
                        Ok(mut block) => {
                            if let Some(smiles) = &smiles {
                                block.name(smiles, formal_charge(smiles));
                            }
                            Box::new(block.into_records())
                        }
                    }
                }))
            }
        }
    }

    fn blocks(&self) -> Result<Blocks, DataError> {
        let names = dataset_names(&self.path, &self.group)?;
        if !self.convention.fits(&names) {
            let expected = format!("arrays {} and {}", self.convention.numbers, self.convention.positions);
            let place = format!("group {}", self.name);
            return Err(DataError::wrong(&self.path, place, expected, listed(&names)));
        }
        let positions = self.group.dataset(self.convention.positions).map_err(damaged(&self.path))?;
        let (n_frames, n_atoms) = match *positions.shape() {
            [n_frames, n_atoms, _] => (n_frames, n_atoms),
            _ => (1, 1),
        };
        self.refuse_impossible(self.convention.positions, positions.shape())?;
        let mut smiles = None;
        if names.iter().any(|name| name == "smiles") {
            let found = self.group.dataset("smiles").and_then(|dataset| dataset.read_strings());
            smiles = found.map_err(damaged(&self.path))?.into_iter().next();
        }
        let step = (BLOCK_ATOMS / n_atoms.max(1)).max(1);
        Ok(Blocks { n_frames, step, smiles })
    }

    /// Refuses a shape that the file is too short to fill: damage that would ask for all memory there is.
    fn refuse_impossible(&self, name: &str, shape: &[u64]) -> Result<(), DataError> {
        let file_bytes = std::fs::metadata(&self.path).map_err(DataError::io(&self.path))?.len();
        let possible = file_bytes.saturating_mul(MAX_DEFLATION);
        let n_entries = shape.iter().try_fold(1_u64, |product, &n| product.checked_mul(n.max(1)));
        if n_entries.is_some_and(|n_entries| n_entries <= possible) {
            return Ok(());
        }
        let place = format!("group {}, {name}", self.name);
        let expected = format!("what {file_bytes} bytes can hold");
        Err(DataError::wrong(&self.path, place, expected, format!("shape {shape:?}")))
    }

    fn block(&self, rows: Range<u64>) -> Result<Block, DataError> {
        let positions = self.group.dataset(self.convention.positions).map_err(damaged(&self.path))?;
        let n_frames = positions.shape().first().copied();
        let names = dataset_names(&self.path, &self.group)?;
        let mut read = |name: &str| -> Result<Option<Array>, DataError> {
            if !names.iter().any(|found| found == name) {
                return Ok(None);
            }
            let dataset = self.group.dataset(name).map_err(damaged(&self.path))?;
            let shape = dataset.shape();
            self.refuse_impossible(name, shape)?;
            let mut selection = SliceInfo::all(shape.len());
            // Atomic numbers may be given once for all conformations.
            let per_frame = name != self.convention.numbers || shape.len() > 1;
            let sliced = per_frame && shape.first().copied() == n_frames && rows != (0..1);
            if sliced {
                selection.selections[0] = SliceInfoElem::Slice { start: rows.start, end: rows.end, step: 1 };
            }
            let array = if sliced {
                dataset.read_slice::<Number>(&selection)
            } else {
                dataset.read_array::<Number>()
            };
            let array = array.map_err(|error| {
                let place = format!("group {}, {name}", self.name);
                DataError::wrong(&self.path, place, "an array of numbers", error.to_string())
            })?;
            Ok(Some(Array {
                shape: array.shape().to_vec(),
                values: array.iter().map(|number| number.0).collect(),
            }))
        };
        let place = format!("group {}, conformation", self.name);
        Block::gather(&self.path, place, rows.start as usize, self.convention, self.units, &mut read)
    }
}

/// Groups with arrays, by their path, in the file's order.
fn gather_groups(
    path: &Path,
    group: Group,
    name: &str,
    depth: usize,
    found: &mut Vec<(String, Group)>,
) -> Result<(), DataError> {
    if depth > MAX_DEPTH {
        return Err(DataError::wrong(path, name, format!("at most {MAX_DEPTH} nested groups"), "more"));
    }
    let (groups, datasets) = group.member_names().map_err(damaged(path))?;
    for child in groups {
        let own = group.group(&child).map_err(damaged(path))?;
        let name = if name.is_empty() { child } else { format!("{name}/{child}") };
        gather_groups(path, own, &name, depth + 1, found)?;
    }
    if !datasets.is_empty() {
        found.push((if name.is_empty() { "/".into() } else { name.to_owned() }, group));
    }
    Ok(())
}

fn dataset_names(path: &Path, group: &Group) -> Result<Vec<String>, DataError> {
    let (_, mut names) = group.member_names().map_err(damaged(path))?;
    names.sort_unstable();
    Ok(names)
}

fn damaged(path: &Path) -> impl Fn(hdf5_reader::error::Error) -> DataError {
    DataError::container(path, "an intact HDF5 file")
}

/// Sum of the formal charges of a SMILES string: those in brackets, before the atom map, as `[N+:9]`, `[O-]`,
/// `[Fe+2]`, `[Fe++]`.
fn formal_charge(smiles: &str) -> i32 {
    let brackets = smiles.split('[').skip(1).filter_map(|rest| rest.split(']').next());
    let charge = |atom: &str| {
        let atom = atom.split(':').next().unwrap_or_default();
        let Some(at) = atom.find(['+', '-']) else { return 0 };
        let sign = if atom[at..].starts_with('+') { 1 } else { -1 };
        let number: String = atom[at + 1..].chars().take_while(char::is_ascii_digit).collect();
        let repeated = atom[at..].chars().take_while(|c| atom[at..].starts_with(*c)).count() as i32;
        sign * number.parse().unwrap_or(repeated)
    };
    brackets.map(charge).sum()
}

/// A number of any of HDF5's integer and floating-point types.
#[derive(Clone)]
struct Number(f64);

impl H5Type for Number {
    fn hdf5_type() -> Datatype {
        f64::hdf5_type()
    }

    fn from_bytes(bytes: &[u8], dtype: &Datatype) -> hdf5_reader::error::Result<Self> {
        let (order, size) = match dtype {
            Datatype::FloatingPoint { size, byte_order } => (*byte_order, *size),
            Datatype::FixedPoint { size, byte_order, .. } => (*byte_order, *size),
            other => return Err(hdf5_reader::error::Error::Other(format!("found type {other:?}"))),
        };
        let mut little = [0_u8; 8];
        let size = usize::from(size);
        let unreadable = || hdf5_reader::error::Error::Other(format!("found entries of {size} bytes"));
        let entry = bytes.get(..size).filter(|_| matches!(size, 1 | 2 | 4 | 8)).ok_or_else(unreadable)?;
        little[..size].copy_from_slice(entry);
        if order == ByteOrder::BigEndian {
            little[..size].reverse();
        }
        let raw = u64::from_le_bytes(little);
        Ok(Self(match dtype {
            Datatype::FloatingPoint { .. } => match size {
                2 => half::f16::from_bits(raw as u16).to_f64(),
                4 => f32::from_bits(raw as u32).into(),
                8 => f64::from_bits(raw),
                _ => return Err(unreadable()),
            },
            Datatype::FixedPoint { signed: true, .. } => {
                let unused = 64 - 8 * size as u32;
                ((raw << unused) as i64 >> unused) as f64
            }
            _ => raw as f64,
        }))
    }

    fn element_size(dtype: &Datatype) -> usize {
        // One byte for what has no size: the entry is then refused.
        dtype_element_size(dtype).unwrap_or(1)
    }
}

#[cfg(test)]
mod tests {
    use super::formal_charge;

    #[test]
    fn charges_in_a_smiles_string_add_up() {
        assert_eq!(formal_charge("[H:3][C:1]#[C:2][H:4].[Na+:5]"), 1);
        assert_eq!(formal_charge("[O-:1][S:2](=[O:3])(=[O:4])[O-:5]"), -2);
        assert_eq!(formal_charge("[Fe+2].[Cl-].[Cl-].[Fe++:3].[Al+++]"), 5);
        assert_eq!(formal_charge("C[N+](=O)[O-]"), 0);
        assert_eq!(formal_charge("c1ccccc1"), 0);
    }
}
