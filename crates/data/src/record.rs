//! One labelled structure as every reader gives it, and what is known of the file it comes from.

use crate::{DataError, Frame};
use mdet_core::{Structure, elements, lowest_multiplicity};
use sha2::{Digest, Sha256};
use std::path::Path;
use std::sync::Arc;

/// A structure with its labels, in the program's units.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Atomic numbers, one per atom.
    pub numbers: Vec<u8>,
    /// Positions in Å, one per atom.
    pub positions: Vec<[f64; 3]>,
    /// Forces in eV/Å, one per atom.
    pub forces: Option<Vec<[f64; 3]>>,
    /// Energy in eV.
    pub energy_ev: Option<f64>,
    /// Dipole moment in e·Å.
    pub dipole_e_angstrom: Option<[f64; 3]>,
    /// Total charge in e; 0 where the file is silent.
    pub charge: i32,
    /// Spin multiplicity 2S + 1; the lowest possible one where the file is silent.
    pub multiplicity: u32,
    /// Which molecule it is, as a hash of the source's name of it (SMILES, species) or else of composition and
    /// charge. A split by molecule never parts equal ones.
    pub molecule: u64,
    /// The source's name of the molecule.
    pub name: Option<String>,
    /// How or whence the source has it: a series, a kind of sampling.
    pub origin: Option<String>,
    /// The file.
    pub path: Arc<Path>,
    /// Where in the file: "frame 17", "group 103147721, conformation 3".
    pub place: String,
}

impl Record {
    /// Whether atoms, charge, multiplicity and labels make a molecule that can be trained on.
    ///
    /// # Errors
    /// [`DataError::Structure`] or [`DataError::Wrong`] with file and frame.
    pub fn check(&self) -> Result<(), DataError> {
        let (path, place) = (self.path.to_path_buf(), self.place.clone());
        Structure::new(self.numbers.clone(), self.positions.clone(), self.charge, self.multiplicity)
            .map_err(|source| DataError::Structure { path: path.clone(), place, source })?;
        let not_finite = |force: &[f64; 3]| !force.iter().all(|f| (*f as f32).is_finite());
        let forces = self.forces.as_deref().unwrap_or_default();
        if let Some(atom) = forces.iter().position(not_finite) {
            let found = format!("{:?} on atom {atom}", forces[atom]);
            return Err(DataError::wrong(&path, &self.place, "finite forces in eV/Å", found));
        }
        Ok(())
    }

    /// Composition and charge as a number: [`molecule`](Self::molecule) where the source names none.
    pub fn composition_hash(&self) -> u64 {
        Self::molecule_of(&self.numbers, self.charge)
    }

    /// The molecule of composition and charge, for sources that name none.
    pub(crate) fn molecule_of(numbers: &[u8], charge: i32) -> u64 {
        molecule(&format!("{} {charge:+}", composition(numbers)))
    }

    /// A frame of an XYZ file; dipoles stand under `dipole` in e·Å, as ASE writes them.
    pub(crate) fn from_frame(frame: Frame) -> Self {
        let value = |names: &[&str]| {
            let named =
                |(key, _): &&(String, String)| names.iter().any(|name| key.eq_ignore_ascii_case(name));
            frame.key_values.iter().find(named).map(|(_, value)| value.clone())
        };
        let dipole = value(&["REF_dipole", "dipole"]).and_then(|text| {
            let numbers: Option<Vec<f64>> = text.split_whitespace().map(|word| word.parse().ok()).collect();
            <[f64; 3]>::try_from(numbers?).ok()
        });
        let charge = frame.charge.unwrap_or(0);
        Self {
            name: value(&["name"]).or_else(|| value(&["smiles"])),
            origin: value(&["series"]).or_else(|| value(&["source"])),
            multiplicity: frame.multiplicity.unwrap_or_else(|| lowest_multiplicity(&frame.numbers, charge)),
            molecule: value(&["smiles"])
                .map_or_else(|| Self::molecule_of(&frame.numbers, charge), |smiles| molecule(&smiles)),
            positions: frame.positions,
            forces: frame.forces,
            energy_ev: frame.energy_ev,
            dipole_e_angstrom: dipole,
            charge,
            place: format!("frame {} (line {})", frame.place.frame, frame.place.line),
            path: frame.place.path,
            numbers: frame.numbers,
        }
    }
}

/// A source's name of a molecule as a number.
pub(crate) fn molecule(name: &str) -> u64 {
    let digest = Sha256::digest(name.as_bytes());
    u64::from_le_bytes(*digest.first_chunk().expect("a digest of 32 bytes"))
}

/// The sum formula in Hill's order, "C9H8O4".
pub fn composition(numbers: &[u8]) -> String {
    let mut counts = [0_usize; 1 + elements::MAX_ATOMIC_NUMBER as usize];
    let mut foreign = 0;
    for &z in numbers {
        match counts.get_mut(usize::from(z)) {
            Some(count) if z > 0 => *count += 1,
            _ => foreign += 1,
        }
    }
    let symbol = |z: usize| elements::symbol(z as u8);
    let mut order: Vec<usize> = (1..counts.len()).filter(|&z| counts[z] > 0).collect();
    let organic = counts[6] > 0;
    order.sort_by_key(|&z| {
        (
            if organic && z == 6 {
                0
            } else if organic && z == 1 {
                1
            } else {
                2
            },
            symbol(z),
        )
    });
    let mut text = String::new();
    for z in order {
        text.push_str(symbol(z));
        if counts[z] > 1 {
            text.push_str(&counts[z].to_string());
        }
    }
    if foreign > 0 {
        text.push_str(&format!("?{foreign}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_follow_hill() {
        assert_eq!(composition(&[8, 1, 6, 1, 1, 1]), "CH4O");
        assert_eq!(composition(&[1, 8, 1]), "H2O");
        assert_eq!(composition(&[17, 11]), "ClNa");
    }
}
