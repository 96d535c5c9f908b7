//! Analytic potentials with exact forces and Jacobians: what dynamics and analysis are tested against.
//!
//! Deliberately absent: parameters of real substances, cutoffs, speed.

use crate::force_field::{ForceField, ForceFieldError, by_structure, check_finite};
use crate::force_jacobian::ForceJacobian;
use crate::structure::{Structure, distance};

/// Every atom in a harmonic well of its own, an external field: E = Σ_i ½ k |r_i − w_i|².
#[derive(Debug, Clone, PartialEq)]
pub struct Harmonic {
    /// Stiffness k, eV/Å².
    pub stiffness_ev_per_angstrom2: f64,
    /// Centres w of the wells, one per atom of every structure, Å.
    pub wells: Vec<[f64; 3]>,
}

/// Pairs bound by Morse's potential: E = Σ_bonds D (1 − exp(−a (r − r₀)))².
#[derive(Debug, Clone, PartialEq)]
pub struct Morse {
    /// Depth D, eV.
    pub depth_ev: f64,
    /// Inverse width a, 1/Å.
    pub width_per_angstrom: f64,
    /// Length r₀ of the bond at rest, Å.
    pub length_angstrom: f64,
    /// Bonded pairs.
    pub bonds: Vec<[usize; 2]>,
}

/// All pairs attract and repel by Lennard-Jones: E = Σ_{i<j} 4ε ((σ/r)¹² − (σ/r)⁶).
#[derive(Debug, Clone, PartialEq)]
pub struct LennardJones {
    /// Depth ε, eV.
    pub depth_ev: f64,
    /// Distance σ of zero energy, Å.
    pub sigma_angstrom: f64,
}

impl Harmonic {
    /// Potential energy, eV.
    ///
    /// # Panics
    /// When there is not one well per atom.
    pub fn energy(&self, structure: &Structure) -> f64 {
        assert_eq!(self.wells.len(), structure.n_atoms(), "one well per atom");
        let squares = structure.positions().iter().zip(&self.wells).map(|(r, w)| distance(r, w).powi(2));
        0.5 * self.stiffness_ev_per_angstrom2 * squares.sum::<f64>()
    }
}

impl Morse {
    /// Potential energy, eV; zero with every bond at rest.
    ///
    /// # Panics
    /// When a bond names an atom that the structure does not have.
    pub fn energy(&self, structure: &Structure) -> f64 {
        pair_energy(structure, self.bonds.iter().copied(), |r| self.pair(r)[0])
    }

    /// Energy and its first two derivatives at distance r: eV, eV/Å, eV/Å².
    fn pair(&self, r: f64) -> [f64; 3] {
        let (depth, width) = (self.depth_ev, self.width_per_angstrom);
        let decay = (-width * (r - self.length_angstrom)).exp();
        [
            depth * (1.0 - decay).powi(2),
            2.0 * depth * width * (1.0 - decay) * decay,
            2.0 * depth * width * width * (2.0 * decay - 1.0) * decay,
        ]
    }
}

impl LennardJones {
    /// Potential energy, eV; zero with all atoms far apart.
    pub fn energy(&self, structure: &Structure) -> f64 {
        pair_energy(structure, all_pairs(structure.n_atoms()), |r| self.pair(r)[0])
    }

    /// Energy and its first two derivatives at distance r: eV, eV/Å, eV/Å².
    fn pair(&self, r: f64) -> [f64; 3] {
        let sixth = (self.sigma_angstrom / r).powi(6);
        [
            4.0 * self.depth_ev * (sixth * sixth - sixth),
            4.0 * self.depth_ev * (6.0 * sixth - 12.0 * sixth * sixth) / r,
            4.0 * self.depth_ev * (156.0 * sixth * sixth - 42.0 * sixth) / (r * r),
        ]
    }
}

impl ForceField for Harmonic {
    fn forces(&mut self, batch: &[Structure], forces: &mut [[f64; 3]]) -> Result<(), ForceFieldError> {
        for (structure, forces) in by_structure(batch, forces) {
            assert_eq!(self.wells.len(), structure.n_atoms(), "one well per atom");
            for ((force, r), w) in forces.iter_mut().zip(structure.positions()).zip(&self.wells) {
                *force = std::array::from_fn(|k| self.stiffness_ev_per_angstrom2 * (w[k] - r[k]));
            }
        }
        check_finite(batch, forces)
    }
}

impl ForceField for Morse {
    fn forces(&mut self, batch: &[Structure], forces: &mut [[f64; 3]]) -> Result<(), ForceFieldError> {
        for (structure, forces) in by_structure(batch, forces) {
            pair_forces(structure, self.bonds.iter().copied(), |r| self.pair(r)[1], forces);
        }
        check_finite(batch, forces)
    }
}

impl ForceField for LennardJones {
    fn forces(&mut self, batch: &[Structure], forces: &mut [[f64; 3]]) -> Result<(), ForceFieldError> {
        for (structure, forces) in by_structure(batch, forces) {
            pair_forces(structure, all_pairs(structure.n_atoms()), |r| self.pair(r)[1], forces);
        }
        check_finite(batch, forces)
    }
}

impl ForceJacobian for Harmonic {
    fn jacobian(&mut self, structure: &Structure) -> Result<Vec<f64>, ForceFieldError> {
        let size = 3 * structure.n_atoms();
        let mut jacobian = vec![0.0; size * size];
        jacobian.iter_mut().step_by(size + 1).for_each(|entry| *entry = -self.stiffness_ev_per_angstrom2);
        Ok(jacobian)
    }
}

impl ForceJacobian for Morse {
    fn jacobian(&mut self, structure: &Structure) -> Result<Vec<f64>, ForceFieldError> {
        Ok(pair_jacobian(structure, self.bonds.iter().copied(), |r| self.pair(r)))
    }
}

impl ForceJacobian for LennardJones {
    fn jacobian(&mut self, structure: &Structure) -> Result<Vec<f64>, ForceFieldError> {
        Ok(pair_jacobian(structure, all_pairs(structure.n_atoms()), |r| self.pair(r)))
    }
}

fn all_pairs(n_atoms: usize) -> impl Iterator<Item = [usize; 2]> {
    (0..n_atoms).flat_map(|j| (0..j).map(move |i| [i, j]))
}

fn pair_energy(
    structure: &Structure,
    pairs: impl Iterator<Item = [usize; 2]>,
    energy: impl Fn(f64) -> f64,
) -> f64 {
    let positions = structure.positions();
    pairs.map(|[i, j]| energy(distance(&positions[i], &positions[j]))).sum()
}

/// F_i = −∂E/∂r_i = E′(r) (r_j − r_i)/r, and F_j = −F_i.
fn pair_forces(
    structure: &Structure,
    pairs: impl Iterator<Item = [usize; 2]>,
    derivative: impl Fn(f64) -> f64,
    forces: &mut [[f64; 3]],
) {
    let positions = structure.positions();
    forces.fill([0.0; 3]);
    for [i, j] in pairs {
        let r = distance(&positions[i], &positions[j]);
        let slope = derivative(r) / r;
        for k in 0..3 {
            let force = slope * (positions[j][k] - positions[i][k]);
            forces[i][k] += force;
            forces[j][k] -= force;
        }
    }
}

/// ∂F_i/∂r_j = E″ u uᵀ + (E′/r) (1 − u uᵀ) with u from i to j; the same for j, i; the negative for i, i and j, j.
fn pair_jacobian(
    structure: &Structure,
    pairs: impl Iterator<Item = [usize; 2]>,
    derivatives: impl Fn(f64) -> [f64; 3],
) -> Vec<f64> {
    let positions = structure.positions();
    let size = 3 * structure.n_atoms();
    let mut jacobian = vec![0.0; size * size];
    for [i, j] in pairs {
        let r = distance(&positions[i], &positions[j]);
        let [_, slope, curvature] = derivatives(r);
        let along: [f64; 3] = std::array::from_fn(|k| (positions[j][k] - positions[i][k]) / r);
        for (a, b) in (0..3).flat_map(|a| (0..3).map(move |b| (a, b))) {
            let parallel = along[a] * along[b];
            let across = if a == b { 1.0 - parallel } else { -parallel };
            let entry = curvature * parallel + slope / r * across;
            for (first, second, sign) in [(i, j, 1.0), (j, i, 1.0), (i, i, -1.0), (j, j, -1.0)] {
                jacobian[(3 * first + a) * size + 3 * second + b] += sign * entry;
            }
        }
    }
    jacobian
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::force_jacobian::CentralDifferences;

    fn structure() -> Structure {
        let positions = vec![[0.0, 0.1, -0.2], [1.1, 0.3, 0.0], [0.4, 1.3, 0.9], [-0.8, 0.2, 1.2]];
        Structure::new(vec![10; 4], positions, 0, 1).unwrap()
    }

    fn check_forces(mut force_field: impl ForceJacobian + Clone, energy: impl Fn(&Structure) -> f64) {
        let mut forces = [[0.0; 3]; 4];
        force_field.forces(&[structure()], &mut forces).unwrap();
        let step = 1e-6;
        for i in 0..4 {
            for k in 0..3 {
                let at = |shift: f64| {
                    let mut moved = structure();
                    moved.positions_mut()[i][k] += shift;
                    energy(&moved)
                };
                let expected = (at(-step) - at(step)) / (2.0 * step);
                // Energies of order 1 eV: rounding 1e-16/h = 1e-10; truncation E‴h²/6 < 1e-9, as E‴ < 1e3 eV/Å³.
                assert!(
                    (forces[i][k] - expected).abs() < 1e-8,
                    "atom {i}, axis {k}: {} {expected}",
                    forces[i][k]
                );
            }
        }
        let exact = force_field.jacobian(&structure()).unwrap();
        let twin = CentralDifferences { inner: force_field, step_angstrom: 1e-5 }.jacobian(&structure());
        for (entry, (exact, twin)) in exact.iter().zip(twin.unwrap()).enumerate() {
            // Lennard-Jones' F‴ of 2e4 eV/Å⁴ leaves F‴h²/6 = 3e-7 eV/Å²; entries reach 100.
            assert!((exact - twin).abs() < 1e-6, "entry {entry}: {exact} {twin}");
        }
    }

    #[test]
    fn harmonic_forces_and_jacobian_match_central_differences() {
        let wells = vec![[0.1, 0.0, 0.3], [1.0, 0.0, 0.0], [0.0, 1.0, 1.0], [-1.0, 0.5, 1.0]];
        let harmonic = Harmonic { stiffness_ev_per_angstrom2: 3.0, wells };
        check_forces(harmonic.clone(), |structure| harmonic.energy(structure));
    }

    #[test]
    fn morse_forces_and_jacobian_match_central_differences() {
        let bonds = vec![[0, 1], [2, 0], [2, 3]];
        let morse = Morse { depth_ev: 2.0, width_per_angstrom: 1.5, length_angstrom: 1.2, bonds };
        check_forces(morse.clone(), |structure| morse.energy(structure));
    }

    #[test]
    fn lennard_jones_forces_and_jacobian_match_central_differences() {
        let lennard_jones = LennardJones { depth_ev: 0.5, sigma_angstrom: 1.1 };
        check_forces(lennard_jones.clone(), |structure| lennard_jones.energy(structure));
    }

    #[test]
    fn pairs_at_rest_have_the_minimal_energy_and_no_force() {
        let pair = |r: f64| Structure::new(vec![2; 2], vec![[0.0; 3], [0.0, 0.0, r]], 0, 1).unwrap();
        let mut lennard_jones = LennardJones { depth_ev: 0.5, sigma_angstrom: 1.0 };
        let mut morse =
            Morse { depth_ev: 2.0, width_per_angstrom: 1.5, length_angstrom: 1.2, bonds: vec![[0, 1]] };
        let lennard_jones_rest = pair(2f64.powf(1.0 / 6.0));
        assert!((lennard_jones.energy(&lennard_jones_rest) + 0.5).abs() < 1e-15);
        assert_eq!(morse.energy(&pair(1.2)), 0.0);
        let mut forces = [[1.0; 3]; 2];
        lennard_jones.forces(&[lennard_jones_rest], &mut forces).unwrap();
        // ε/σ = 0.5 eV/Å times a few roundings of the twelfth power.
        assert!(forces.as_flattened().iter().all(|f| f.abs() < 1e-13), "{forces:?}");
        morse.forces(&[pair(1.2)], &mut forces).unwrap();
        assert_eq!(forces, [[0.0; 3]; 2]);
    }
}
