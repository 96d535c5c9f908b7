//! Flat arrays of equally large structures, as npz archives and HDF5 groups hold them, to records.
//!
//! | array | shape, F frames of N atoms |
//! |---|---|
//! | atomic numbers | `[N]` or `[F, N]` |
//! | positions, forces | `[F, N, 3]`, or `[N, 3]` for one frame |
//! | energies | `[F]`, `[F, 1]` or a scalar |
//! | dipole | `[F, 3]` |
//! | charge, multiplicity | a scalar or `[F]` |

use crate::record::molecule;
use crate::units::Units;
use crate::{DataError, Record};
use mdet_core::{elements::MAX_ATOMIC_NUMBER, lowest_multiplicity};
use std::path::Path;
use std::sync::Arc;

/// A numeric array as f64, row-major.
pub(super) struct Array {
    pub shape: Vec<usize>,
    pub values: Vec<f64>,
}

/// Under which names a format keeps what.
#[derive(Debug)]
pub(super) struct Convention {
    pub format: &'static str,
    pub numbers: &'static str,
    pub positions: &'static str,
    pub forces: &'static str,
    /// −1 where `forces` is a gradient.
    pub force_sign: f64,
    pub energy: &'static str,
    /// The dipole, and one of its units in e·Å.
    pub dipole: Option<(&'static str, f64)>,
    /// Units of the format, where it has any.
    pub units: Option<Units>,
    /// Frames without labels have NaN for them and are passed over.
    pub has_gaps: bool,
}

/// Names of charge and multiplicity, which formats share.
const CHARGE: [&str; 2] = ["charge", "total_charge"];
const MULTIPLICITY: [&str; 5] = ["mult", "multiplicity", "spin_multiplicity", "spin", "total_spin"];
/// Names of periodic cells, which are refused; a cell of zeros is none.
const CELL: [&str; 2] = ["lattice", "cell"];

impl Convention {
    /// Whether the arrays there are those of this format.
    pub fn fits(&self, names: &[String]) -> bool {
        [self.numbers, self.positions].iter().all(|name| names.iter().any(|found| found == name))
    }

    /// "forces", "energy", "dipole" with the arrays they are taken from.
    pub fn labels(&self, names: &[String]) -> Vec<String> {
        let sign = if self.force_sign < 0.0 { "−" } else { "" };
        let dipole = self.dipole.map_or("", |(name, _)| name);
        [("forces", sign, self.forces), ("energy", "", self.energy), ("dipole", "", dipole)]
            .into_iter()
            .filter(|(_, _, name)| names.iter().any(|found| found == name))
            .map(|(label, sign, name)| format!("{label} = {sign}{name}"))
            .collect()
    }
}

/// Frames of one shape, not yet split into records.
pub(super) struct Block {
    path: Arc<Path>,
    /// "frame" or "group 12, conformation", put before a frame's number.
    place: String,
    first_frame: usize,
    n_frames: usize,
    n_atoms: usize,
    numbers: Vec<u8>,
    positions: Vec<f64>,
    forces: Option<Vec<f64>>,
    energies: Option<Vec<f64>>,
    dipoles: Option<Vec<f64>>,
    charges: Vec<f64>,
    multiplicities: Vec<f64>,
    /// The source's name of the molecule, and its hash.
    molecule: Option<(u64, String)>,
    has_gaps: bool,
}

impl Block {
    /// Gathers and converts the arrays that `read` gives by name.
    pub fn gather(
        path: &Arc<Path>,
        place: String,
        first_frame: usize,
        convention: &Convention,
        units: Units,
        read: &mut dyn FnMut(&str) -> Result<Option<Array>, DataError>,
    ) -> Result<Self, DataError> {
        let required = |name: &str, array: Option<Array>| {
            array.ok_or_else(|| DataError::missing(path, format!("an array {name}"), "none"))
        };
        for name in CELL {
            if read(name)?.is_some_and(|cell| cell.values.iter().any(|&x| x != 0.0)) {
                let found = "a periodic cell: periodic cells are not supported, cut a cluster out";
                return Err(DataError::wrong(path, format!("{place}, {name}"), "a molecule", found));
            }
        }
        let positions = required(convention.positions, read(convention.positions)?)?;
        let (n_frames, n_atoms) = match positions.shape[..] {
            [n_frames, n_atoms, 3] => (n_frames, n_atoms),
            [n_atoms, 3] => (1, n_atoms),
            _ => return Err(shape(path, &place, convention.positions, "[frames, atoms, 3]", &positions)),
        };
        if n_atoms == 0 {
            return Err(shape(path, &place, convention.positions, "with at least one atom", &positions));
        }
        let numbers = required(convention.numbers, read(convention.numbers)?)?;
        if ![n_atoms, n_frames * n_atoms].contains(&numbers.values.len()) {
            let expected = format!("[{n_atoms}] or [{n_frames}, {n_atoms}]");
            return Err(shape(path, &place, convention.numbers, &expected, &numbers));
        }
        let mut column = |name: &str, width: usize, unit: f64| -> Result<Option<Vec<f64>>, DataError> {
            let Some(array) = read(name)? else { return Ok(None) };
            if array.values.len() != n_frames * width {
                let expected = if width == 3 * n_atoms {
                    format!("[{n_frames}, {n_atoms}, 3]")
                } else {
                    format!("[{n_frames}, {width}]")
                };
                return Err(shape(path, &place, name, &expected, &array));
            }
            Ok(Some(array.values.into_iter().map(|value| value * unit).collect()))
        };
        let force_unit = convention.force_sign * units.force_ev_per_angstrom();
        let forces = column(convention.forces, 3 * n_atoms, force_unit)?;
        let energies = column(convention.energy, 1, units.energy_ev())?;
        let dipoles = match convention.dipole {
            Some((name, unit)) => column(name, 3, unit)?,
            None => None,
        };
        let mut scalars = |names: &[&str]| -> Result<Vec<f64>, DataError> {
            for name in names {
                let Some(array) = read(name)? else { continue };
                if ![1, n_frames].contains(&array.values.len()) {
                    return Err(shape(path, &place, name, &format!("[] or [{n_frames}]"), &array));
                }
                return Ok(array.values);
            }
            Ok(Vec::new())
        };
        let (charges, multiplicities) = (scalars(&CHARGE)?, scalars(&MULTIPLICITY)?);
        let length = units.length_angstrom();
        Ok(Self {
            path: Arc::clone(path),
            first_frame,
            n_frames,
            n_atoms,
            numbers: whole(path, &place, convention.numbers, &numbers.values)?,
            positions: positions.values.into_iter().map(|x| x * length).collect(),
            forces,
            energies,
            dipoles,
            charges,
            multiplicities,
            molecule: None,
            has_gaps: convention.has_gaps,
            place,
        })
    }

    /// Gives all frames the charge and the molecule that the source names.
    pub fn name(&mut self, name: &str, charge: i32) {
        self.molecule = Some((molecule(name), name.to_owned()));
        self.charges = vec![charge.into()];
    }

    /// Frames, with or without labels.
    pub fn n_frames(&self) -> usize {
        self.n_frames
    }

    /// The frames, one by one.
    pub fn into_records(self) -> impl Iterator<Item = Result<Record, DataError>> + Send {
        (0..self.n_frames).filter_map(move |frame| self.record(frame).transpose())
    }

    /// Frame `frame`, or `None` when it is one without labels.
    fn record(&self, frame: usize) -> Result<Option<Record>, DataError> {
        let n = self.n_atoms;
        let vectors = |values: &[f64]| values[3 * n * frame..3 * n * (frame + 1)].as_chunks().0.to_vec();
        let forces = self.forces.as_deref().map(vectors);
        let unlabelled = |forces: &Vec<[f64; 3]>| forces.iter().flatten().all(|f| f.is_nan());
        if self.has_gaps && forces.as_ref().is_none_or(unlabelled) {
            return Ok(None);
        }
        let own = if self.numbers.len() == n { 0..n } else { n * frame..n * (frame + 1) };
        let numbers = self.numbers[own].to_vec();
        let place = format!("{} {}", self.place, self.first_frame + frame);
        let scalar = |values: &[f64], what: &str| -> Result<Option<i32>, DataError> {
            let Some(&value) = values.get(frame).or_else(|| values.first().filter(|_| values.len() == 1))
            else {
                return Ok(None);
            };
            let exact = value.fract() == 0.0 && value.abs() < 1e6;
            let wrong =
                || DataError::wrong(&self.path, format!("{place}, {what}"), "an integer", value.to_string());
            if exact { Ok(Some(value as i32)) } else { Err(wrong()) }
        };
        let charge = scalar(&self.charges, "charge")?.unwrap_or(0);
        let multiplicity = scalar(&self.multiplicities, "multiplicity")?;
        let finite = |value: &f64| value.is_finite();
        Ok(Some(Record {
            molecule: match &self.molecule {
                Some((hash, _)) => *hash,
                None => Record::molecule_of(&numbers, charge),
            },
            name: self.molecule.as_ref().map(|(_, name)| name.clone()),
            origin: None,
            multiplicity: match multiplicity {
                // What is negative is refused as 0 is, when the record is checked.
                Some(multiplicity) => u32::try_from(multiplicity).unwrap_or(0),
                None => lowest_multiplicity(&numbers, charge),
            },
            charge,
            numbers,
            positions: vectors(&self.positions),
            forces,
            energy_ev: self.energies.as_ref().map(|energies| energies[frame]).filter(finite),
            dipole_e_angstrom: self
                .dipoles
                .as_ref()
                .map(|dipoles| [dipoles[3 * frame], dipoles[3 * frame + 1], dipoles[3 * frame + 2]])
                .filter(|dipole| dipole.iter().all(finite)),
            path: Arc::clone(&self.path),
            place,
        }))
    }
}

/// Atomic numbers out of an array of any type.
pub(super) fn whole(path: &Path, place: &str, name: &str, values: &[f64]) -> Result<Vec<u8>, DataError> {
    let number = |(index, &value): (usize, &f64)| {
        let valid = value.fract() == 0.0 && (1.0..=f64::from(MAX_ATOMIC_NUMBER)).contains(&value);
        if valid {
            return Ok(value as u8);
        }
        let expected = format!("an atomic number from 1 to {MAX_ATOMIC_NUMBER}");
        Err(DataError::wrong(path, format!("{place}, {name}[{index}]"), expected, value.to_string()))
    };
    values.iter().enumerate().map(number).collect()
}

fn shape(path: &Path, place: &str, name: &str, expected: &str, found: &Array) -> DataError {
    let found = format!("{:?}", found.shape);
    DataError::wrong(path, format!("{place}, {name}"), format!("shape {expected}"), found)
}
