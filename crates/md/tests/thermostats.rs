//! Every thermostat samples the canonical ensemble of a molecule; its conserved energy tells of the timestep alone.

#![allow(clippy::unwrap_used)] // clippy's allowance for tests does not reach their helper functions

mod common;

use common::{config, molecule, observe, spread, thermal_energy_ev, watch};
use mdet_core::potentials::Morse;
use mdet_core::{ForceField, ForceFieldError, ReferenceBonds, Structure};
use mdet_md::statistics::blocked_mean;
use mdet_md::{Config, Conserved, Ensemble, Simulation, Snapshot, StartingVelocities};

/// A tetrahedron of two elements held by six strong bonds: anharmonic, and it cannot fall apart.
fn tetrahedron() -> Structure {
    let positions = [[0.0; 3], [2.2, 0.0, 0.0], [1.1, 1.9, 0.0], [1.1, 0.6, 1.8]];
    molecule(&[7, 7, 15, 15], &positions)
}

fn bonds() -> Morse {
    let bonds = vec![[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]];
    Morse { depth_ev: 3.0, width_per_angstrom: 1.6, length_angstrom: 2.2, bonds }
}

fn bussi(temperature_k: f64, seed: u64) -> Config {
    config(Ensemble::NvtBussi { temperature_k, time_constant_fs: 20.0 }, 1.0, temperature_k, seed)
}

fn chain(temperature_k: f64, seed: u64) -> Config {
    config(Ensemble::NvtNoseHoover { temperature_k, time_constant_fs: 20.0 }, 1.0, temperature_k, seed)
}

fn langevin(temperature_k: f64, seed: u64) -> Config {
    common::langevin(1.0, temperature_k, 0.02, seed)
}

/// Steps between samples: a few relaxation times, so that samples are independent.
const STRIDE: u64 = 100;

/// Kinetic and potential energies in eV, one sample per stride of each of several replicas after equilibration.
fn sample(config: Config, n_samples: usize) -> (Vec<f64>, Vec<f64>) {
    const N_REPLICAS: usize = 4;
    let mut simulation = Simulation::new(vec![tetrahedron(); N_REPLICAS], bonds(), config).unwrap();
    let (mut kinetic, mut potential) = (Vec::new(), Vec::new());
    let n_steps = STRIDE * (20 + n_samples / N_REPLICAS) as u64;
    watch(&mut simulation, n_steps, |frame| {
        if frame.step > 20 * STRIDE && frame.step % STRIDE == 0 {
            kinetic.push(frame.observables.kinetic_ev);
            potential.push(bonds().energy(frame.structure));
        }
    });
    (kinetic, potential)
}

/// The law of the kinetic energy in k_B T: Gamma with shape g/2, a whole number here.
fn gamma_law(x: f64, shape: u32) -> f64 {
    let mut term = 1.0;
    let mut sum = 0.0;
    for k in 0..shape {
        sum += term;
        term *= x / f64::from(k + 1);
    }
    1.0 - (-x).exp() * sum
}

#[test]
fn kinetic_energies_follow_the_gamma_law() {
    for (config, shape) in [(langevin(600.0, 51), 6), (bussi(600.0, 52), 3), (chain(600.0, 53), 3)] {
        let (mut kinetic, _) = sample(config, 4000);
        kinetic.sort_by(f64::total_cmp);
        let n = kinetic.len() as f64;
        let distances = kinetic.iter().enumerate().map(|(k, energy_ev)| {
            let law = gamma_law(energy_ev / thermal_energy_ev(600.0), shape);
            (law - k as f64 / n).abs().max((law - (k + 1) as f64 / n).abs())
        });
        let largest = distances.fold(0.0, f64::max);
        // Kolmogorov–Smirnov: exceeded by one seed in a thousand.
        assert!(largest < 1.95 / n.sqrt(), "{:?}: {largest}", config.ensemble);
    }
}

#[test]
fn potential_energies_at_two_temperatures_are_of_one_density_of_states() {
    // Shirts, J. Chem. Theory Comput. 9, 909 (2013): ln p₂(U)/p₁(U) is linear in U with slope β₁ − β₂, for any
    // potential. Its maximum-likelihood estimate is logistic regression of the temperature on the energy.
    for thermostat in [langevin as fn(f64, u64) -> Config, bussi, chain] {
        let (cold_k, hot_k) = (500.0, 600.0);
        let (_, cold) = sample(thermostat(cold_k, 61), 4000);
        let (_, hot) = sample(thermostat(hot_k, 62), 4000);
        let expected = 1.0 / thermal_energy_ev(cold_k) - 1.0 / thermal_energy_ev(hot_k);
        let (slope, error) = logistic_slope(&cold, &hot);
        assert!(error < 0.15 * expected, "unresolved: {error} of {expected}");
        let ensemble = thermostat(cold_k, 0).ensemble;
        assert!(
            (slope - expected).abs() < 4.0 * error,
            "{ensemble:?}: {slope} ± {error}, expected {expected}"
        );
    }
}

/// Slope and its standard error of the log odds that an energy is of `hot`, by Newton's method.
fn logistic_slope(cold: &[f64], hot: &[f64]) -> (f64, f64) {
    let all = || cold.iter().map(|&u| (u, 0.0)).chain(hot.iter().map(|&u| (u, 1.0)));
    let mean = all().map(|(u, _)| u).sum::<f64>() / (cold.len() + hot.len()) as f64;
    let (mut offset, mut slope, mut error) = (0.0, 0.0, f64::INFINITY);
    for _ in 0..20 {
        let (mut g, mut h) = ([0.0; 2], [0.0; 3]);
        for (u, is_hot) in all() {
            let x = u - mean;
            let p = 1.0 / (1.0 + f64::exp(-offset - slope * x));
            g[0] += is_hot - p;
            g[1] += (is_hot - p) * x;
            for (h, term) in h.iter_mut().zip([1.0, x, x * x]) {
                *h += p * (1.0 - p) * term;
            }
        }
        let determinant = h[0] * h[2] - h[1] * h[1];
        offset += (h[2] * g[0] - h[1] * g[1]) / determinant;
        slope += (h[0] * g[1] - h[1] * g[0]) / determinant;
        error = (h[0] / determinant).sqrt();
    }
    (slope, error)
}

#[test]
fn every_element_has_the_temperature_of_the_bath() {
    for config in [langevin(600.0, 71), bussi(600.0, 72), chain(600.0, 73)] {
        let mut simulation = Simulation::new(vec![tetrahedron()], bonds(), config).unwrap();
        let no_bonds = [ReferenceBonds { pairs: Vec::new(), lengths_angstrom: Vec::new() }];
        let mut temperatures = [const { Vec::new() }; 2];
        for _ in 0..80_000 {
            simulation.step().unwrap();
            simulation.step().unwrap();
            let reading = simulation.read(2, &no_bonds).unwrap().remove(0);
            for (series, (_, temperature_k)) in temperatures.iter_mut().zip(reading.temperatures_k) {
                series.push(temperature_k);
            }
        }
        for series in &temperatures {
            // Counting 3 degrees of freedom per atom without translation and rotation would read 300 K.
            let mean = blocked_mean(series).unwrap();
            assert!(mean.standard_error < 12.0, "unresolved: {mean:?}");
            assert!(
                (mean.value - 600.0).abs() < 4.0 * mean.standard_error,
                "{:?}: {mean:?}",
                config.ensemble
            );
        }
    }
}

#[test]
fn the_chain_conserves_its_energy_to_second_order_in_the_timestep() {
    let deviation = |timestep_fs: f64| {
        let config = Config { timestep_fs, ..chain(600.0, 81) };
        let mut simulation = Simulation::new(vec![tetrahedron()], bonds(), config).unwrap();
        let observed = observe(&mut simulation, (400.0 / timestep_fs) as u64);
        assert!(spread(observed.iter().map(|o| o.total_ev)) > 0.05);
        spread(observed.iter().map(|o| o.conserved_ev))
    };
    let ratio = deviation(1.0) / deviation(0.5);
    assert!((3.5..4.5).contains(&ratio), "{ratio}");
}

#[test]
fn heat_accounts_for_the_energy_that_rescaling_brings() {
    let observed =
        observe(&mut Simulation::new(vec![tetrahedron()], bonds(), bussi(600.0, 91)).unwrap(), 5000);
    let (total, conserved) =
        (spread(observed.iter().map(|o| o.total_ev)), spread(observed.iter().map(|o| o.conserved_ev)));
    // Measured 250; without the heat it is 1.
    assert!(total > 50.0 * conserved, "{total} {conserved}");
}

#[test]
fn rescaling_and_chains_leave_the_molecule_without_momentum() {
    for config in [bussi(600.0, 92), chain(600.0, 93)] {
        let mut simulation = Simulation::new(vec![tetrahedron()], bonds(), config).unwrap();
        observe(&mut simulation, 1000);
        let frame = simulation.frame(0);
        let momentum: f64 = frame.velocities.iter().zip(frame.masses_u).map(|(v, m)| m * v[0]).sum();
        // Momenta of atoms are about 0.1 u Å/fs; a thousand roundings.
        assert!(momentum.abs() < 1e-12, "{momentum}");
    }
}

#[test]
fn scaled_starts_have_the_temperature_exactly() {
    for ensemble in [Ensemble::Nve, bussi(0.0, 0).ensemble, langevin(0.0, 0).ensemble] {
        let drawn = config(ensemble, 0.5, 600.0, 94);
        let scaled = Config { starting_velocities: StartingVelocities::Scaled, ..drawn };
        let temperature = |config: &Config| {
            let start = Snapshot::start(tetrahedron(), 0, config).unwrap();
            let kinetic_ev = mdet_md::observables::kinetic_energy_ev(&start.velocities, &start.masses_u);
            mdet_md::observables::temperature_k(kinetic_ev, start.progress.degrees_of_freedom)
        };
        assert!((temperature(&scaled) - 600.0).abs() < 1e-9);
        assert!((temperature(&drawn) - 600.0).abs() > 1.0);
    }
}

/// Two atoms on a spring that keeps its direction, which conserves momentum and no angular momentum; and each, where
/// asked for, in a well, which conserves neither. All rest where the molecule starts.
#[derive(Debug, Clone)]
struct Springs {
    between_ev_per_angstrom2: f64,
    wells_ev_per_angstrom2: f64,
}

const PLACES: [[f64; 3]; 2] = [[0.0; 3], [0.0, 0.0, 1.5]];

impl Springs {
    /// Energy in eV and forces in eV/Å.
    fn evaluate(&self, structure: &Structure) -> (f64, [[f64; 3]; 2]) {
        let (mut energy_ev, mut forces) = (0.0, [[0.0; 3]; 2]);
        for axis in 0..3 {
            let moved = [0, 1].map(|i| structure.positions()[i][axis] - PLACES[i][axis]);
            let stretch = moved[1] - moved[0];
            let pull = self.between_ev_per_angstrom2 * stretch;
            energy_ev += 0.5 * pull * stretch;
            for (i, sign) in [(0, 1.0), (1, -1.0)] {
                energy_ev += 0.5 * self.wells_ev_per_angstrom2 * moved[i].powi(2);
                forces[i][axis] = sign * pull - self.wells_ev_per_angstrom2 * moved[i];
            }
        }
        (energy_ev, forces)
    }
}

impl ForceField for Springs {
    fn forces(&mut self, batch: &[Structure], forces: &mut [[f64; 3]]) -> Result<(), ForceFieldError> {
        for (structure, forces) in batch.iter().zip(forces.chunks_exact_mut(2)) {
            forces.copy_from_slice(&self.evaluate(structure).1);
        }
        Ok(())
    }
}

#[test]
fn what_the_forces_do_not_conserve_is_heated_and_counted() {
    // The mean potential energy of springs is that of motion, k_B T/2 for each of them that moves: counting one
    // degree of freedom, of a molecule without translation and rotation, would leave a third and a sixth of it.
    for (forces_conserve, wells_ev_per_angstrom2, n_degrees) in
        [(Conserved::Momentum, 0.0, 3), (Conserved::Nothing, 5.0, 6)]
    {
        let springs = Springs { between_ev_per_angstrom2: 20.0, wells_ev_per_angstrom2 };
        let pair = molecule(&[6, 8], &PLACES);
        for config in [bussi(600.0, 95), langevin(600.0, 96)] {
            let config = Config { forces_conserve, ..config };
            let mut simulation = Simulation::new(vec![pair.clone()], springs.clone(), config).unwrap();
            let mut potential = Vec::new();
            watch(&mut simulation, 30_000, |frame| potential.push(springs.evaluate(frame.structure).0));
            let mean = blocked_mean(&potential).unwrap();
            let expected = 0.5 * f64::from(n_degrees) * thermal_energy_ev(600.0);
            assert!(mean.standard_error < 0.04 * expected, "unresolved: {mean:?}");
            assert!(
                (mean.value - expected).abs() < 4.0 * mean.standard_error,
                "{mean:?}, expected {expected}"
            );
            let no_bonds = [ReferenceBonds { pairs: Vec::new(), lengths_angstrom: Vec::new() }];
            let reading = simulation.read(2, &no_bonds).unwrap().remove(0);
            let by_element = reading.temperatures_k.iter().map(|(_, temperature_k)| temperature_k);
            assert!(by_element.clone().all(|t| t.is_finite() && *t > 0.0), "{reading:?}");
        }
    }
}
