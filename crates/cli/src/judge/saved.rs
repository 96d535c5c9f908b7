//! A replica as it stands in the state file of a long judgement.
//!
//! Numbers are written with the digits that read back as the same `f64`, so that it goes on bit for bit.

use mdet_core::elements::masses_u;
use mdet_core::{Structure, StructureError};
use mdet_md::{Progress, Snapshot};
use serde::{Deserialize, Serialize};

/// What of a [`Snapshot`] the molecule does not tell.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SavedSnapshot {
    positions_angstrom: Vec<[f64; 3]>,
    velocities_angstrom_per_fs: Vec<[f64; 3]>,
    progress: Progress,
}

impl SavedSnapshot {
    pub fn of(snapshot: &Snapshot) -> Self {
        Self {
            positions_angstrom: snapshot.structure.positions().to_vec(),
            velocities_angstrom_per_fs: snapshot.velocities.clone(),
            progress: snapshot.progress,
        }
    }

    /// The replica of this molecule.
    ///
    /// # Errors
    /// [`StructureError`] when the positions are none of it.
    pub fn restored(self, molecule: &Structure) -> Result<Snapshot, StructureError> {
        let numbers = molecule.numbers().to_vec();
        let masses_u = masses_u(&numbers);
        let (charge, multiplicity) = (molecule.charge(), molecule.multiplicity());
        let structure = Structure::new(numbers, self.positions_angstrom, charge, multiplicity)?;
        Ok(Snapshot {
            structure,
            masses_u,
            velocities: self.velocities_angstrom_per_fs,
            progress: self.progress,
        })
    }
}
