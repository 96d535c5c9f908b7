//! The corpus of the built-in model: NumPy archives of S structures with A atoms in all, one after another.
//!
//! | array | type and shape | meaning |
//! |---|---|---|
//! | `n_atoms` | u8 `[S]` | atoms of each structure |
//! | `numbers` | u8 `[A]` | atomic numbers |
//! | `positions` | i16 `[A, 3]` | positions in units of 1/2048 Å, exact |
//! | `forces` | f16 `[A, 3]` | forces in eV/Å |
//! | `charge` | i8 `[S]` | total charge in e |
//! | `source` | u8 `[S]` | how the geometry was made; may be absent |
//! | `species` | u32 `[S]` | which molecule, an index into the corpus's list of species |
//!
//! Every structure is closed-shell. Deliberately absent: the archives' `energy`, which compares only within one
//! composition and bonding, and how far two labellers disagree.

use super::arrays::{Array, whole};
use super::npz::{Archive, listed};
use super::{About, Reader};
use crate::record::molecule;
use crate::{DataError, Record};
use std::path::Path;
use std::sync::Arc;

/// Positions are stored in units of this fraction of an Å.
const POSITION_UNITS_PER_ANGSTROM: f64 = 2048.0;

pub(super) fn open(mut archive: Archive, names: Vec<String>) -> Result<Reader, DataError> {
    let n_atoms = column(&mut archive, "n_atoms", None, &names)?;
    let path: Arc<Path> = Arc::from(archive.path.as_path());
    let sizes = n_atoms.iter().enumerate().map(|(index, &n)| {
        if n >= 1.0 && n.fract() == 0.0 && n < 1e6 {
            return Ok(n as usize);
        }
        Err(DataError::wrong(&path, format!("n_atoms[{index}]"), "at least one atom", n.to_string()))
    });
    let sizes: Vec<usize> = sizes.collect::<Result<_, _>>()?;
    let (n_structures, total) = (sizes.len(), sizes.iter().sum());
    let numbers = column(&mut archive, "numbers", Some((total, 1)), &names)?;
    let numbers = whole(&path, "corpus", "numbers", &numbers)?;
    let positions = column(&mut archive, "positions", Some((total, 3)), &names)?;
    let forces = column(&mut archive, "forces", Some((total, 3)), &names)?;
    let charges = column(&mut archive, "charge", Some((n_structures, 1)), &names)?;
    let species = column(&mut archive, "species", Some((n_structures, 1)), &names)?;

    let has_sources = names.iter().any(|name| name == "source");
    let sources =
        has_sources.then(|| column(&mut archive, "source", Some((n_structures, 1)), &names)).transpose()?;

    let mut first_atom = 0;
    let mut all = Vec::with_capacity(n_structures);
    for (b, &n) in sizes.iter().enumerate() {
        let atoms = first_atom..first_atom + n;
        first_atom += n;
        let vectors = |values: &[f64]| -> Vec<[f64; 3]> {
            values[3 * atoms.start..3 * atoms.end].as_chunks().0.to_vec()
        };
        let scaled = |position: [f64; 3]| position.map(|x| x / POSITION_UNITS_PER_ANGSTROM);
        all.push(Record {
            numbers: numbers[atoms.clone()].to_vec(),
            positions: vectors(&positions).into_iter().map(scaled).collect(),
            forces: Some(vectors(&forces)),
            energy_ev: None,
            dipole_e_angstrom: None,
            charge: charges[b] as i32,
            multiplicity: 1,
            molecule: molecule(&format!("corpus species {}", species[b])),
            name: Some(format!("species {}", species[b])),
            origin: sources.as_ref().map(|sources| sources[b].to_string()),
            path: Arc::clone(&path),
            place: format!("structure {b}"),
        });
    }
    let about = About {
        format: "mdet corpus npz".into(),
        units: "Å/2048, eV/Å".into(),
        keys: names,
        labels: vec!["forces = forces".into()],
    };
    Ok(Reader::counted(about, n_structures, Box::new(all.into_iter().map(Ok))))
}

/// An array of `shape` rows and columns, or of any length.
fn column(
    archive: &mut Archive,
    name: &str,
    shape: Option<(usize, usize)>,
    names: &[String],
) -> Result<Vec<f64>, DataError> {
    let Some(Array { shape: found, values }) = archive.array(name)? else {
        return Err(DataError::missing(&archive.path, format!("an array {name}"), listed(names)));
    };
    let expected = match shape {
        None => vec![values.len()],
        Some((rows, 1)) => vec![rows],
        Some((rows, columns)) => vec![rows, columns],
    };
    if found == expected {
        return Ok(values);
    }
    Err(DataError::wrong(&archive.path, name, format!("shape {expected:?}"), format!("{found:?}")))
}
