//! Frames of one molecule at even spacing, and what is one number per frame.
//!
//! | quantity | definition |
//! |---|---|
//! | RMSD | [`superposition`](mdet_core::superposition), all atoms, from the first frame |
//! | temperature | 2 K/(k_B g) of the frame's velocities, of all atoms and of each element |
//! | temperature of modes | (Σ_i √m_i w_i · R v_i)²/k_B in the mean over the normal modes w of a band, R the rotation that brings the frame closest to the reference |
//! | energies | kinetic from velocities; potential where the trajectory gives it |
//!
//! g is 3N − 6 (3N − 5 of two atoms) when the velocities have no translation and rotation, each atom counted with its
//! own share of that at the first frame that is not linear, and 3N otherwise. The velocities are those of the frames:
//! under velocity Verlet and all its thermostatted relatives they are too cold by 1 − (ω h)²/4 for a vibration ω and a
//! timestep h. Temperatures of modes are of a fixed frame: where a molecule changes its shape they mix with its turning.
//!
//! Deliberately absent: files, and the removal of an equilibration; the caller knows what to leave out.

use crate::spectra::SpectrumSetting;
use mdet_core::constants::{BOLTZMANN_IN_EV_PER_K, EV_PER_U_IN_ANGSTROM2_PER_FS2};
use mdet_core::elements::{masses_u, symbol};
use mdet_core::rigid::{remove_translation_and_rotation, rigid_degrees_of_freedom, rigid_shares};
use mdet_core::superposition::{rmsd, superposition};
use schemars::JsonSchema;
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
    /// Normal modes of the reference whose temperatures are taken; empty where these are not known.
    pub bands: Vec<Band>,
}

/// Normal modes of like wavenumber.
#[derive(Debug, Clone, PartialEq)]
pub struct Band {
    /// "up to 500 cm⁻¹", ….
    name: String,
    /// Mass-weighted vectors of length one, `[n_atoms]` each.
    modes: Vec<Vec<[f64; 3]>>,
}

/// Wavenumbers between bands, cm⁻¹: torsions and skeleton, stretches of single bonds, bends with double bonds, X–H stretches.
const BAND_EDGES_PER_CM: [f64; 3] = [500.0, 1000.0, 2000.0];

impl Band {
    /// Modes by wavenumber (cm⁻¹; imaginary ones negative), their displacements `[n_atoms]` not mass-weighted, of any length.
    ///
    /// # Panics
    /// When the numbers of modes or of atoms do not fit.
    pub fn of_modes(
        wavenumbers_per_cm: &[f64],
        displacements: &[Vec<[f64; 3]>],
        masses_u: &[f64],
    ) -> Vec<Self> {
        assert_eq!(wavenumbers_per_cm.len(), displacements.len(), "one displacement of every mode");
        let [first, second, third] = BAND_EDGES_PER_CM;
        let names = [
            format!("up to {first} cm⁻¹"),
            format!("{first} to {second} cm⁻¹"),
            format!("{second} to {third} cm⁻¹"),
            format!("above {third} cm⁻¹"),
        ];
        let mut bands = names.map(|name| Self { name, modes: Vec::new() });
        for (wavenumber, displacement) in wavenumbers_per_cm.iter().zip(displacements) {
            assert_eq!(displacement.len(), masses_u.len(), "one mass of every atom");
            let weighted = displacement.iter().zip(masses_u).map(|(d, mass)| d.map(|x| x * mass.sqrt()));
            let mut mode: Vec<[f64; 3]> = weighted.collect();
            let length = mode.iter().flatten().map(|x| x * x).sum::<f64>().sqrt();
            mode.iter_mut().flatten().for_each(|x| *x /= length);
            bands[BAND_EDGES_PER_CM.partition_point(|edge| edge < wavenumber)].modes.push(mode);
        }
        bands.into_iter().filter(|band| !band.modes.is_empty()).collect()
    }

    /// Twice the mean kinetic energy of its modes over k_B, K: `weighted` is √m v of every atom in the frame of the reference.
    fn temperature_k(&self, weighted: &[[f64; 3]]) -> f64 {
        let along = |mode: &Vec<[f64; 3]>| -> f64 {
            mode.iter().flatten().zip(weighted.iter().flatten()).map(|(w, v)| w * v).sum()
        };
        let squares: f64 = self.modes.iter().map(|mode| along(mode).powi(2)).sum();
        squares / (EV_PER_U_IN_ANGSTROM2_PER_FS2 * BOLTZMANN_IN_EV_PER_K * self.modes.len() as f64)
    }
}

/// A quantity that is one number per frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
        self.masses_u.clone().unwrap_or_else(|| masses_u(&self.numbers))
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
            for band in &look.bands {
                let name = format!("mode temperature, {}", band.name);
                let frames = self.positions.iter().zip(&self.velocities);
                let values = frames.map(|(positions, velocities)| {
                    let mut weighted: Vec<[f64; 3]> =
                        velocities.iter().zip(&masses_u).map(|(v, m)| v.map(|x| x * m.sqrt())).collect();
                    superposition(positions, &look.reference).apply(&mut weighted);
                    band.temperature_k(&weighted)
                });
                scalars.push((named(&name, "K"), values.collect()));
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
            let all = energy(&self.velocities[frame]);
            if all > 0.0 { 1.0 - energy(&internal) / all } else { 0.0 }
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
    use mdet_core::{Purpose, RandomStream, Rotation};
    use rand::RngExt;

    #[test]
    fn a_molecule_that_starts_linear_has_six_degrees_of_freedom_less_than_its_atoms_and_two_atoms_five() {
        let degrees = |numbers: &[u8], positions: Vec<Vec<[f64; 3]>>| {
            let masses_u = masses_u(numbers);
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

    #[test]
    fn bands_of_modes_share_the_kinetic_energy_however_the_molecule_lies() {
        let reference = vec![[0.0, 0.7, 0.0], [0.1, -0.75, 0.0], [0.8, 0.9, 0.4], [-0.8, -0.9, 0.5]];
        let numbers = vec![8, 8, 1, 1];
        let masses_u = masses_u(&numbers);
        let mut generator = RandomStream { seed: 2, purpose: Purpose::Analysis, replica: 0 }.at_step(0);
        let mut draw = || {
            let mut draw = || std::array::from_fn(|_| generator.random_range(-0.02..0.02));
            let mut velocities: Vec<[f64; 3]> = numbers.iter().map(|_| draw()).collect();
            remove_translation_and_rotation(&masses_u, &reference, &mut velocities);
            velocities
        };
        // Six vectors of internal motion, each orthogonal to those before in mass-weighted coordinates.
        let product = |a: &[[f64; 3]], b: &[[f64; 3]]| -> f64 {
            (0..12).map(|k| masses_u[k / 3] * a[k / 3][k % 3] * b[k / 3][k % 3]).sum()
        };
        let mut modes: Vec<Vec<[f64; 3]>> = Vec::new();
        while modes.len() < 6 {
            let mut mode = draw();
            for other in &modes {
                let share = product(&mode, other) / product(other, other);
                (0..12).for_each(|k| mode[k / 3][k % 3] -= share * other[k / 3][k % 3]);
            }
            modes.push(mode);
        }
        let bands = Band::of_modes(&[-30.0, 200.0, 700.0, 1400.0, 3000.0, 3100.0], &modes, &masses_u);
        let sizes: Vec<usize> = bands.iter().map(|band| band.modes.len()).collect();
        assert_eq!(sizes, [2, 1, 1, 2]);
        let (mut positions, mut velocities) = (reference.clone(), draw());
        let rotation = Rotation::random(
            &mut RandomStream { seed: 3, purpose: Purpose::Analysis, replica: 0 }.at_step(0),
        );
        rotation.apply(&mut positions);
        rotation.apply(&mut velocities);
        let motion =
            Motion { numbers, positions: vec![positions], velocities: vec![velocities], ..Motion::default() };
        let look = Look { n_blocks: 1, resolution_per_cm: 10.0, torsions: Vec::new(), reference, bands };
        let scalars = motion.scalars(&look);
        let value = |name: &str| scalars.iter().find(|(s, _)| s.name == name).unwrap().1[0];
        let bands =
            look.bands.iter().map(|b| b.modes.len() as f64 * value(&format!("mode temperature, {}", b.name)));
        assert!((bands.sum::<f64>() / 6.0 - value("temperature")).abs() < 1e-9 * value("temperature"));
    }
}
