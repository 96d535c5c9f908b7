//! Frames of one molecule at even spacing, and what is one number per frame.
//!
//! | quantity | definition |
//! |---|---|
//! | RMSD | [`superposition`](mdet_core::superposition), all atoms, from the first frame |
//! | temperature | 2 K/(k_B g) of the frame's velocities, of all atoms and of each element |
//! | energies | kinetic from velocities; potential where the trajectory gives it |
//!
//! g is 3N − 6 (3N − 5 of two atoms) when the velocities have no translation and rotation, each atom counted with its
//! own share of that at the first frame that is not linear, and 3N otherwise. The velocities are those of the frames:
//! under velocity Verlet and all its thermostatted relatives they are too cold by 1 − (ω h)²/4 for a vibration ω and a
//! timestep h.
//!
//! Deliberately absent: files, and the removal of an equilibration; the caller knows what to leave out.

use crate::spectra::SpectrumSetting;
use mdet_core::constants::{BOLTZMANN_IN_EV_PER_K, EV_PER_U_IN_ANGSTROM2_PER_FS2};
use mdet_core::elements::{mass_u, symbol};
use mdet_core::rigid::{remove_translation_and_rotation, rigid_degrees_of_freedom, rigid_shares};
use mdet_core::superposition::rmsd;
use serde::{Deserialize, Serialize};

/// Share of the kinetic energy below which translation and rotation count as removed.
const NO_RIGID_MOTION: f64 = 1e-4;
/// Frames of a block that make a spectrum at all.
const MIN_BLOCK_FRAMES: usize = 16;

/// Frames of one molecule at even spacing.
#[derive(Debug, Clone, Default)]
pub struct Motion {
    /// Atomic numbers.
    pub numbers: Vec<u8>,
    /// Masses in u, where they are not those of the natural elements.
    pub masses_u: Option<Vec<f64>>,
    /// Time between frames, fs.
    pub spacing_fs: f64,
    /// Positions of every frame, Å.
    pub positions: Vec<Vec<[f64; 3]>>,
    /// Velocities of every frame, Å/fs; empty if unknown.
    pub velocities: Vec<Vec<[f64; 3]>>,
    /// Potential energy of every frame, eV; empty if unknown.
    pub potential_ev: Vec<f64>,
}

/// How a [`Motion`] is looked at: the same for all that are compared.
#[derive(Debug, Clone, PartialEq)]
pub struct Look {
    /// Blocks of one trajectory.
    pub n_blocks: usize,
    /// Width of a sharp line in the spectrum, cm⁻¹; wider where blocks are too short for it.
    pub resolution_per_cm: f64,
    /// The dihedrals, as [`torsions`](crate::torsions::torsions) finds them.
    pub torsions: Vec<[usize; 4]>,
    /// What the RMSD is from, Å.
    pub reference: Vec<[f64; 3]>,
}

/// A quantity that is one number per frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scalar {
    /// What it is.
    pub name: String,
    /// Its unit.
    pub unit: String,
}

impl Motion {
    /// The mass of every atom, u.
    pub(crate) fn masses_u(&self) -> Vec<f64> {
        let natural = || self.numbers.iter().map(|&z| mass_u(z)).collect();
        self.masses_u.clone().unwrap_or_else(natural)
    }

    /// How its spectrum is taken in `n_blocks` blocks; `None` without velocities or with too few frames.
    pub fn spectrum_setting(&self, look: &Look) -> Option<SpectrumSetting> {
        let block = self.velocities.len() / look.n_blocks;
        (block >= MIN_BLOCK_FRAMES)
            .then(|| SpectrumSetting::of_resolution(self.spacing_fs, look.resolution_per_cm, block / 2))
    }

    /// Every quantity that is one number per frame.
    pub fn scalars(&self, look: &Look) -> Vec<(Scalar, Vec<f64>)> {
        let named = |name: &str, unit: &str| Scalar { name: name.into(), unit: unit.into() };
        let deviation = self.positions.iter().map(|frame| rmsd(frame, &look.reference)).collect();
        let mut scalars = vec![(named("RMSD", "Å"), deviation)];
        if !self.velocities.is_empty() {
            let masses_u = self.masses_u();
            let energies: Vec<Vec<f64>> =
                self.velocities.iter().map(|frame| kinetic_energies_ev(frame, &masses_u)).collect();
            let degrees = self.degrees_of_freedom(&masses_u);
            let temperature = |of: &dyn Fn(u8) -> bool| -> Vec<f64> {
                let atoms = || (0..self.numbers.len()).filter(|&i| of(self.numbers[i]));
                let per_ev = 2.0 / (BOLTZMANN_IN_EV_PER_K * atoms().map(|i| degrees[i]).sum::<f64>());
                energies.iter().map(|frame| per_ev * atoms().map(|i| frame[i]).sum::<f64>()).collect()
            };
            scalars.push((named("temperature", "K"), temperature(&|_| true)));
            let mut elements = self.numbers.clone();
            elements.sort_unstable();
            elements.dedup();
            for z in elements.iter().copied().filter(|_| elements.len() > 1) {
                let name = format!("temperature of {}", symbol(z));
                scalars.push((named(&name, "K"), temperature(&|number| number == z)));
            }
            let kinetic: Vec<f64> = energies.iter().map(|frame| frame.iter().sum()).collect();
            scalars.push((named("kinetic energy", "eV"), kinetic.clone()));
            if !self.potential_ev.is_empty() {
                let total = kinetic.iter().zip(&self.potential_ev).map(|(k, u)| k + u).collect();
                scalars.push((named("total energy", "eV"), total));
            }
        }
        if !self.potential_ev.is_empty() {
            scalars.push((named("potential energy", "eV"), self.potential_ev.clone()));
        }
        scalars
    }

    /// Degrees of freedom of each atom.
    fn degrees_of_freedom(&self, masses_u: &[f64]) -> Vec<f64> {
        let rigid_share = |frame: usize| {
            let mut internal = self.velocities[frame].clone();
            remove_translation_and_rotation(masses_u, &self.positions[frame], &mut internal);
            let energy = |v: &[[f64; 3]]| kinetic_energies_ev(v, masses_u).iter().sum::<f64>();
            1.0 - energy(&internal) / energy(&self.velocities[frame]).max(f64::MIN_POSITIVE)
        };
        let has_rigid_motion =
            [0, self.velocities.len() - 1].into_iter().any(|f| rigid_share(f) > NO_RIGID_MOTION);
        if has_rigid_motion {
            return vec![3.0; masses_u.len()];
        }
        // A molecule that starts linear is bent as soon as it moves.
        let is_bent = |frame: &&Vec<[f64; 3]>| rigid_degrees_of_freedom(frame) == 6;
        let positions = self.positions.iter().find(is_bent).unwrap_or(&self.positions[0]);
        rigid_shares(masses_u, positions).iter().map(|share| 3.0 - share).collect()
    }
}

/// ½ m v² of every atom in eV, of velocities in Å/fs.
fn kinetic_energies_ev(velocities: &[[f64; 3]], masses_u: &[f64]) -> Vec<f64> {
    let square = |v: &[f64; 3]| v.iter().map(|x| x * x).sum::<f64>();
    let energy = |(v, mass_u): (&[f64; 3], &f64)| 0.5 * mass_u * square(v) / EV_PER_U_IN_ANGSTROM2_PER_FS2;
    velocities.iter().zip(masses_u).map(energy).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_molecule_that_starts_linear_has_six_degrees_of_freedom_less_than_its_atoms_and_two_atoms_five() {
        let degrees = |numbers: &[u8], positions: Vec<Vec<[f64; 3]>>| {
            let masses_u: Vec<f64> = numbers.iter().map(|&z| mass_u(z)).collect();
            let mut velocities: Vec<[f64; 3]> =
                (0..numbers.len()).map(|i| [1e-3 * i as f64, 0.0, 0.0]).collect();
            remove_translation_and_rotation(&masses_u, &positions[0], &mut velocities);
            let velocities = vec![velocities; positions.len()];
            let motion = Motion { numbers: numbers.to_vec(), positions, velocities, ..Motion::default() };
            motion.degrees_of_freedom(&masses_u).iter().sum::<f64>()
        };
        let carbon_dioxide = |bent: f64| vec![[-1.16, 0.0, 0.0], [0.0, bent, 0.0], [1.16, 0.0, 0.0]];
        let motion = vec![carbon_dioxide(0.0), carbon_dioxide(0.01), carbon_dioxide(0.0)];
        assert!((degrees(&[8, 6, 8], motion) - 3.0).abs() < 1e-9);
        let nitrogen = vec![vec![[0.0; 3], [1.1, 0.0, 0.0]]; 2];
        assert!((degrees(&[7, 7], nitrogen) - 1.0).abs() < 1e-9);
    }
}
