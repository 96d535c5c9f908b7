//! `Disturbed`: a force field with an error of a known kind and size added to it.
//!
//! Judgements are validated on it, since its answer is known, and a drift of known size is made with it on purpose.
//! Its place among the wrappers (see [`ForceField`]) is inside of 1 and 2, as that of the model's own errors.
//!
//! | disturbance | added to the force on atom i | what it does |
//! |---|---|---|
//! | bias | b_i, fixed in the laboratory | an equivariance error of size \|b_i\|, all in l = 1; it has a potential |
//! | curl | c × r_i | no potential: a turn about c by 2π does the work 2π c Σ d_i², d_i the distance from the axis |
//! | cycle | c (r_j − r_k), (i, j, k) the first three atoms in turn | no potential, but it turns with the molecule |
//! | whirl | ± s ẑ × u_ij at the ends of each given pair, u_ij = (r_i − r_j)/\|r_i − r_j\| | pushes every pair around the laboratory's z axis: no potential, no net force; a pair of length r takes up 2π s r of work in a turn across z; vanishes on average over orientations |
//! | noise | σ ξ, new in every component and call | heats by 3 σ² h / 2m_i per time with timestep h |

use crate::force_field::{ForceField, ForceFieldError, by_structure};
use crate::force_jacobian::ForceJacobian;
use crate::random::{Purpose, RandomStream};
use crate::structure::{Structure, distance};
use rand::RngExt;
use rand_distr::StandardNormal;

/// What is added to the forces.
#[derive(Debug, Clone, PartialEq)]
pub enum Disturbance {
    /// A force of the laboratory on every atom of every structure, eV/Å.
    Bias(Vec<[f64; 3]>),
    /// A whirl about an axis through the origin: the vector c, eV/Å².
    Curl([f64; 3]),
    /// A force that drives the first three atoms around each other: c, eV/Å².
    Cycle(f64),
    /// A push of every pair around the laboratory's z axis.
    Whirl {
        /// Size s at each end of a pair that lies across z, eV/Å.
        size_ev_per_angstrom: f64,
        /// Pairs of atoms of every structure.
        pairs: Vec<[usize; 2]>,
    },
    /// White noise.
    Noise {
        /// Standard deviation σ of a component, eV/Å.
        sigma_ev_per_angstrom: f64,
        /// Seed of the draws, which are a function of it and the number of calls before.
        seed: u64,
    },
}

/// The forces of `inner` and a disturbance.
#[derive(Debug, Clone)]
pub struct Disturbed<F> {
    /// The force field that is disturbed.
    pub inner: F,
    /// What is added.
    pub disturbance: Disturbance,
    n_calls: u64,
}

impl<F> Disturbed<F> {
    /// `inner` with a disturbance.
    pub fn new(inner: F, disturbance: Disturbance) -> Self {
        Self { inner, disturbance, n_calls: 0 }
    }
}

impl<F: ForceField> ForceField for Disturbed<F> {
    /// # Panics
    /// When there is not one bias per atom of every structure, or a cycle lacks its three atoms.
    fn forces(&mut self, batch: &[Structure], forces: &mut [[f64; 3]]) -> Result<(), ForceFieldError> {
        self.inner.forces(batch, forces)?;
        if let Disturbance::Noise { sigma_ev_per_angstrom, seed } = self.disturbance {
            let stream = RandomStream { seed, purpose: Purpose::Analysis, replica: 0 };
            let mut generator = stream.at_step(self.n_calls);
            self.n_calls += 1;
            for component in forces.as_flattened_mut() {
                *component += sigma_ev_per_angstrom * generator.sample::<f64, _>(StandardNormal);
            }
            return Ok(());
        }
        for (structure, forces) in by_structure(batch, forces) {
            self.disturbance.add_to(structure.positions(), forces);
        }
        Ok(())
    }
}

impl Disturbance {
    /// Adds what there is besides noise: positions in Å, forces in eV/Å, one of each per atom.
    ///
    /// # Panics
    /// When there is not one bias per atom, or a cycle or a pair lacks an atom.
    pub fn add_to(&self, r: &[[f64; 3]], forces: &mut [[f64; 3]]) {
        if let Self::Whirl { size_ev_per_angstrom, pairs } = self {
            for &[i, j] in pairs {
                let scale = size_ev_per_angstrom / distance(&r[i], &r[j]);
                for (atom, sign) in [(i, scale), (j, -scale)] {
                    forces[atom][0] -= sign * (r[i][1] - r[j][1]);
                    forces[atom][1] += sign * (r[i][0] - r[j][0]);
                }
            }
            return;
        }
        let added = |i: usize| match self {
            Self::Bias(biases) => {
                assert_eq!(biases.len(), r.len(), "one bias per atom");
                biases[i]
            }
            Self::Curl([x, y, z]) => {
                [y * r[i][2] - z * r[i][1], z * r[i][0] - x * r[i][2], x * r[i][1] - y * r[i][0]]
            }
            Self::Cycle(c) if i < 3 => std::array::from_fn(|a| c * (r[(i + 1) % 3][a] - r[(i + 2) % 3][a])),
            Self::Cycle(_) | Self::Whirl { .. } | Self::Noise { .. } => [0.0; 3],
        };
        for (i, force) in forces.iter_mut().enumerate() {
            let added = added(i);
            (0..3).for_each(|a| force[a] += added[a]);
        }
    }
}

impl<F: ForceJacobian> ForceJacobian for Disturbed<F> {
    /// Of the forces without noise, which has none.
    fn jacobian(&mut self, structure: &Structure) -> Result<Vec<f64>, ForceFieldError> {
        let mut jacobian = self.inner.jacobian(structure)?;
        let size = 3 * structure.n_atoms();
        let mut add = |row: usize, column: usize, value: f64| jacobian[row * size + column] += value;
        match &self.disturbance {
            Disturbance::Bias(_) | Disturbance::Noise { .. } => {}
            Disturbance::Whirl { size_ev_per_angstrom, pairs } => {
                // ∂(s ẑ × u)/∂r_i = s/r ẑ × (1 − u uᵀ), the negative for r_j.
                for &[i, j] in pairs {
                    let (from, to) = (structure.positions()[j], structure.positions()[i]);
                    let r = distance(&from, &to);
                    let u: [f64; 3] = std::array::from_fn(|a| (to[a] - from[a]) / r);
                    let across = |a: usize, b: usize| f64::from(u8::from(a == b)) - u[a] * u[b];
                    for b in 0..3 {
                        for (a, value) in [(0, -across(1, b)), (1, across(0, b))] {
                            for (row, column, sign) in [(i, i, 1.0), (j, j, 1.0), (i, j, -1.0), (j, i, -1.0)]
                            {
                                let entry = sign * size_ev_per_angstrom / r * value;
                                add(3 * row + a, 3 * column + b, entry);
                            }
                        }
                    }
                }
            }
            Disturbance::Curl(c) => {
                for (first, a) in (0..size).step_by(3).flat_map(|first| (0..3).map(move |a| (first, a))) {
                    // (c × r)_a = c_b r_c − c_c r_b for a, b, c in turn.
                    let (b, d) = ((a + 1) % 3, (a + 2) % 3);
                    add(first + a, first + d, c[b]);
                    add(first + a, first + b, -c[d]);
                }
            }
            Disturbance::Cycle(c) => {
                for (i, a) in (0..3).flat_map(|i| (0..3).map(move |a| (i, a))) {
                    add(3 * i + a, 3 * ((i + 1) % 3) + a, *c);
                    add(3 * i + a, 3 * ((i + 2) % 3) + a, -*c);
                }
            }
        }
        Ok(jacobian)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::potentials::LennardJones;
    use crate::{CentralDifferences, Rotation};

    fn structure() -> Structure {
        let positions = vec![[0.0, 0.1, -0.2], [1.1, 0.3, 0.0], [0.4, 1.3, 0.9], [-0.8, 0.2, 1.2]];
        Structure::new(vec![10; 4], positions, 0, 1).unwrap()
    }

    #[test]
    fn jacobians_match_central_differences() {
        let biases = vec![[0.1, 0.2, 0.3]; 4];
        let whirl = Disturbance::Whirl { size_ev_per_angstrom: 0.3, pairs: vec![[0, 1], [3, 2]] };
        for disturbance in
            [Disturbance::Bias(biases), Disturbance::Curl([0.3, -0.2, 0.7]), Disturbance::Cycle(0.4), whirl]
        {
            let inner = LennardJones { depth_ev: 0.01, sigma_angstrom: 1.0 };
            let mut disturbed = Disturbed::new(inner, disturbance);
            let exact = disturbed.jacobian(&structure()).unwrap();
            let twin = CentralDifferences { inner: disturbed, step_angstrom: 1e-5 }.jacobian(&structure());
            for (exact, twin) in exact.iter().zip(twin.unwrap()) {
                // Lennard-Jones' F‴ of 1e2 eV/Å⁴ leaves F‴h²/6 = 2e-9 eV/Å²; what is added is linear, or a whirl of F‴ ≈ 1.
                assert!((exact - twin).abs() < 1e-7, "{exact} {twin}");
            }
        }
    }

    #[test]
    fn a_cycle_has_no_net_force_and_noise_is_new_at_every_call_and_the_same_in_every_run() {
        let still = || LennardJones { depth_ev: 0.0, sigma_angstrom: 1.0 };
        let mut forces = [[0.0; 3]; 4];
        Disturbed::new(still(), Disturbance::Cycle(0.4)).forces(&[structure()], &mut forces).unwrap();
        let net: [f64; 3] = std::array::from_fn(|a| forces.iter().map(|f| f[a]).sum());
        assert!(net.iter().all(|f| f.abs() < 1e-15) && forces[0] != [0.0; 3], "{forces:?}");
        let noise = || Disturbance::Noise { sigma_ev_per_angstrom: 0.1, seed: 3 };
        let run = || {
            let mut noisy = Disturbed::new(still(), noise());
            [(); 2].map(|()| {
                let mut forces = [[0.0; 3]; 4];
                noisy.forces(&[structure()], &mut forces).unwrap();
                forces
            })
        };
        let [first, second] = run();
        assert_ne!(first, second);
        assert_eq!(run(), [first, second]);
    }

    #[test]
    fn a_whirl_does_the_work_of_the_known_loop_has_no_net_force_and_vanishes_over_orientations() {
        let whirl = Disturbance::Whirl { size_ev_per_angstrom: 0.05, pairs: vec![[0, 1]] };
        let on = |u: [f64; 3]| {
            let mut forces = [[0.0; 3]; 2];
            whirl.add_to(&[u.map(|x| 0.6 * x), u.map(|x| -0.6 * x)], &mut forces);
            assert!((0..3).all(|a| (forces[0][a] + forces[1][a]).abs() < 1e-15));
            forces
        };
        let n = 200;
        let [mut about_z, mut about_x] = [0.0; 2];
        for k in 0..n {
            let (sin, cos) = (std::f64::consts::TAU * f64::from(k) / f64::from(n)).sin_cos();
            let step = 1.2 * std::f64::consts::TAU / f64::from(n);
            let [across_z, across_x] = [on([cos, sin, 0.0])[0], on([0.0, cos, sin])[0]];
            about_z += step * (across_z[1] * cos - across_z[0] * sin);
            about_x += step * (across_x[2] * cos - across_x[1] * sin);
        }
        // 2π s r; a sum over a circle of few harmonics is exact.
        assert!((about_z - std::f64::consts::TAU * 0.05 * 1.2).abs() < 1e-12 && about_x.abs() < 1e-12);
        let mut generator = RandomStream { seed: 1, purpose: Purpose::RotationOffset, replica: 0 }.at_step(0);
        let (mut mean, draws) = ([0.0; 3], 4000);
        for _ in 0..draws {
            let rotation = Rotation::random(&mut generator);
            let mut u = [[0.6, 0.0, 0.8]];
            rotation.apply(&mut u);
            let mut force = [on(u[0])[0]];
            rotation.apply_inverse(&mut force);
            (0..3).for_each(|a| mean[a] += force[0][a] / f64::from(draws));
        }
        // 0.05 eV/Å · √(2/9) over √4000 draws is 4e-4 per component; five of it.
        assert!(mean.iter().all(|m| m.abs() < 2e-3), "{mean:?}");
    }
}
