//! Langevin dynamics samples the canonical ensemble: exact averages, exact laws, by element and at any timestep.

mod common;

use common::{Free, langevin, molecule, observe, spread, thermal_energy_ev, watch, wells_at};
use mdet_core::Structure;
use mdet_core::constants::EV_PER_U_IN_ANGSTROM2_PER_FS2;
use mdet_core::elements::mass_u;
use mdet_core::potentials::{Harmonic, Morse};
use mdet_md::observables::kinetic_energy_ev;
use mdet_md::statistics::blocked_mean;
use mdet_md::{Config, Simulation, Summary};

const TEMPERATURE_K: f64 = 300.0;

/// The stiffness at which an atom of mass m has ω h = 1: far from the limit of small timesteps.
fn stiff(mass_u: f64, timestep_fs: f64) -> f64 {
    mass_u / EV_PER_U_IN_ANGSTROM2_PER_FS2 / timestep_fs.powi(2)
}

fn two_carbons() -> Structure {
    molecule(&[6, 6], &[[0.5, 0.0, 0.0], [-0.5, 0.0, 0.0]])
}

/// Samples of one number per step after `n_skipped` steps.
fn sample<F: mdet_core::ForceField>(
    mut simulation: Simulation<F>,
    n_skipped: u64,
    n_steps: u64,
    mut measure: impl FnMut(&mdet_md::Frame<'_>) -> f64,
) -> Vec<f64> {
    let mut samples = Vec::new();
    watch(&mut simulation, n_skipped + n_steps, |frame| {
        if frame.step > n_skipped {
            samples.push(measure(frame));
        }
    });
    samples
}

/// Four standard errors: one seed in 16 000 fails by chance. The error must itself be below `resolution`.
#[track_caller]
fn assert_mean(samples: &[f64], expected: f64, resolution: f64) {
    let mean = blocked_mean(samples).expect("samples");
    assert!(mean.standard_error < resolution * expected.abs(), "unresolved: {mean:?}, expected {expected}");
    assert!((mean.value - expected).abs() < 4.0 * mean.standard_error, "{mean:?}, expected {expected}");
}

fn squared_deviations(samples: &[f64], mean: f64) -> Vec<f64> {
    samples.iter().map(|sample| (sample - mean).powi(2)).collect()
}

#[test]
fn kinetic_and_potential_energy_of_oscillators_follow_the_gamma_law_at_any_timestep() {
    let config = langevin(1.0, TEMPERATURE_K, 0.05, 11);
    let wells = wells_at(&two_carbons(), stiff(mass_u(6), config.timestep_fs));
    let simulation = || Simulation::new(vec![two_carbons()], wells.clone(), config).unwrap();
    let kinetic = sample(simulation(), 200, 200_000, |frame| frame.observables.kinetic_ev);
    let potential = sample(simulation(), 200, 200_000, |frame| wells.energy(frame.structure));
    let thermal = thermal_energy_ev(TEMPERATURE_K);
    // Six Gaussian coordinates: mean 6/2 k_B T, variance 6/2 (k_B T)². The velocities of the step would give 3/4 of
    // the kinetic mean at ω h = 1.
    for energy_ev in [kinetic, potential] {
        assert_mean(&energy_ev, 3.0 * thermal, 0.01);
        assert_mean(&squared_deviations(&energy_ev, 3.0 * thermal), 3.0 * thermal * thermal, 0.03);
    }
}

#[test]
fn velocities_of_the_step_are_colder_by_the_known_factor() {
    let config = langevin(1.0, TEMPERATURE_K, 0.05, 12);
    let wells = wells_at(&two_carbons(), stiff(mass_u(6), config.timestep_fs));
    let simulation = Simulation::new(vec![two_carbons()], wells, config).unwrap();
    let on_step =
        sample(simulation, 200, 200_000, |frame| kinetic_energy_ev(frame.velocities, frame.masses_u));
    // 1 − (ω h)²/4 with ω h = 1: the reason for sampling the middle of the step.
    assert_mean(&on_step, 0.75 * 3.0 * thermal_energy_ev(TEMPERATURE_K), 0.01);
}

#[test]
fn a_free_atom_forgets_its_velocity_exponentially_and_diffuses() {
    let config = langevin(2.0, TEMPERATURE_K, 0.1, 13);
    let helium = molecule(&[2], &[[0.0; 3]]);
    let mut simulation = Simulation::new(vec![helium], Free, config).unwrap();
    let (mut velocities, mut positions) = (Vec::new(), Vec::new());
    watch(&mut simulation, 400_000, |frame| {
        velocities.push(frame.velocities[0]);
        positions.push(frame.structure.positions()[0]);
    });
    let variance = thermal_energy_ev(TEMPERATURE_K) * EV_PER_U_IN_ANGSTROM2_PER_FS2 / mass_u(2);
    for lag in [0_usize, 1, 5] {
        let products: Vec<f64> = velocities
            .iter()
            .zip(&velocities[lag..])
            .map(|(now, later)| (0..3).map(|axis| now[axis] * later[axis]).sum::<f64>() / 3.0)
            .collect();
        assert_mean(&products, variance * (-0.1 * 2.0 * lag as f64).exp(), 0.02);
    }
    // Displacement over 50 times 1/γ: Δx = (h/2) Σ_k (v_k + v_{k+1}) with ⟨v_k v_l⟩ = σ² c₁^|k−l|, summed exactly.
    let (n, kept) = (250_usize, (-0.2_f64).exp());
    let pair = |d: i32| 2.0 * kept.powi(d.abs()) + kept.powi((d - 1).abs()) + kept.powi((d + 1).abs());
    let sum: f64 = (0..n as i32).flat_map(|k| (0..n as i32).map(move |l| k - l)).map(pair).sum();
    let squares: Vec<f64> = positions
        .chunks_exact(n + 1)
        .map(|walk| (0..3).map(|axis| (walk[n][axis] - walk[0][axis]).powi(2)).sum::<f64>() / 3.0)
        .collect();
    assert_mean(&squares, variance * config.timestep_fs.powi(2) / 4.0 * sum, 0.04);
}

#[test]
fn every_degree_of_freedom_has_its_share_of_kinetic_and_potential_energy() {
    let config = langevin(0.5, TEMPERATURE_K, 0.05, 14);
    let numbers = [1, 8, 53];
    let chain = molecule(&numbers, &[[1.0, 0.0, 0.0], [0.0; 3], [0.0, 2.0, 0.0]]);
    let wells = wells_at(&chain, 5.0);
    let mut simulation = Simulation::new(vec![chain], wells.clone(), config).unwrap();
    let mut samples = [const { Vec::new() }; 9];
    watch(&mut simulation, 1_000_000, |frame| {
        for (k, samples) in samples.iter_mut().enumerate() {
            let (atom, axis) = (k / 3, k % 3);
            let moved = frame.structure.positions()[atom][axis] - wells.wells[atom][axis];
            let speed = frame.velocities[atom][axis];
            let kinetic_ev = 0.5 * frame.masses_u[atom] * speed * speed / EV_PER_U_IN_ANGSTROM2_PER_FS2;
            samples.push((kinetic_ev, 0.5 * wells.stiffness_ev_per_angstrom2 * moved * moved));
        }
    });
    for (k, samples) in samples.into_iter().enumerate() {
        let (kinetic_ev, potential_ev): (Vec<f64>, Vec<f64>) = samples.into_iter().unzip();
        // The velocities of the step, cold by (ω h)²/4: ω² = k/m. Positions are exact.
        let omega_squared = 5.0 * EV_PER_U_IN_ANGSTROM2_PER_FS2 / mass_u(numbers[k / 3]);
        let cold = 1.0 - omega_squared * 0.5_f64.powi(2) / 4.0;
        let share = 0.5 * thermal_energy_ev(TEMPERATURE_K);
        assert_mean(&kinetic_ev, share * cold, 0.03);
        assert_mean(&potential_ev, share, 0.06);
    }
}

#[test]
fn the_temperature_of_a_molecule_is_the_one_of_the_bath() {
    let config = langevin(1.0, TEMPERATURE_K, 0.05, 15);
    let chain = molecule(&[6; 4], &[[0.0; 3], [1.5, 0.0, 0.0], [2.0, 1.4, 0.0], [3.5, 1.4, 0.3]]);
    let bonds = vec![[0, 1], [1, 2], [2, 3]];
    let morse = Morse { depth_ev: 4.0, width_per_angstrom: 1.8, length_angstrom: 1.5, bonds };
    let mut simulation = Simulation::new(vec![chain], morse, config).unwrap();
    let observed = observe(&mut simulation, 400_000);
    let temperatures: Vec<f64> = observed.iter().map(|o| o.temperature_k).collect();
    // 3N = 12 degrees of freedom, anharmonic and free to tumble: counting 3N − 6 would read 600 K.
    assert_mean(&temperatures, TEMPERATURE_K, 0.01);
    assert_eq!(Summary::of(&observed, 4).temperature_k, blocked_mean(&temperatures));
}

#[test]
fn heat_from_the_thermostat_accounts_for_all_energy_of_a_free_atom() {
    let config = Config { initial_temperature_k: 50.0, ..langevin(1.0, TEMPERATURE_K, 0.1, 16) };
    let neon = molecule(&[10], &[[0.0; 3]]);
    let observed = observe(&mut Simulation::new(vec![neon], Free, config).unwrap(), 2_000);
    // Rounding of 2000 sums of about 0.04 eV; the kinetic energy itself moves by 0.1 eV.
    assert!(spread(observed.iter().map(|o| o.conserved_ev)) < 1e-13);
    assert!(spread(observed.iter().map(|o| o.kinetic_ev)) > 0.05);
}

#[test]
fn conserved_energy_of_langevin_dynamics_is_kept_to_second_order_in_the_timestep() {
    let deviation = |timestep_fs: f64| {
        let config = Config { initial_temperature_k: 600.0, ..langevin(timestep_fs, 0.0, 0.01, 17) };
        let wells = wells_at(&two_carbons(), 20.0);
        let mut simulation = Simulation::new(vec![two_carbons()], wells, config).unwrap();
        let observed = observe(&mut simulation, (100.0 / timestep_fs) as u64);
        spread(observed.iter().map(|o| o.conserved_ev))
    };
    // At zero temperature there is no noise, so that two timesteps follow one path; measured 4.0.
    let ratio = deviation(1.0) / deviation(0.5);
    assert!((3.6..4.4).contains(&ratio), "{ratio}");
}

#[test]
fn without_friction_langevin_dynamics_is_velocity_verlet() {
    let final_positions = |config: Config| {
        // Both begin at rest, each atom half an ångström from its well.
        let wells = Harmonic { stiffness_ev_per_angstrom2: 20.0, wells: vec![[0.0; 3]; 2] };
        let mut simulation = Simulation::new(vec![two_carbons()], wells, config).unwrap();
        observe(&mut simulation, 500);
        simulation.frame(0).structure.positions().to_vec()
    };
    let newton = Config { initial_temperature_k: 0.0, ..common::nve(0.5, 0.0, 18) };
    let bath = Config { initial_temperature_k: 0.0, ..langevin(0.5, TEMPERATURE_K, 0.0, 18) };
    for (newton, bath) in final_positions(newton).iter().zip(final_positions(bath)) {
        // Two half drifts round differently from one whole, 500 times.
        assert!((0..3).all(|axis| (newton[axis] - bath[axis]).abs() < 1e-12), "{newton:?} {bath:?}");
    }
}
