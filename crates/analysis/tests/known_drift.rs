//! Drift of force fields whose answer is known: an equivariant potential, the same with a bias of the laboratory, with
//! a curl, and with white noise. Dynamics is that of the md crate, as the command runs it.

#![allow(clippy::unwrap_used)] // clippy's allowance for tests does not reach their helper functions

use mdet_analysis::Spread;
use mdet_analysis::drift::{ConditionDrift, Series};
use mdet_analysis::heating::{
    CurlForce, CurlWork, correlated_power_ev_per_fs, kinetic_mev_per_atom_per_ps,
    uncorrelated_power_ev_per_fs,
};
use mdet_core::constants::EV_PER_U_IN_ANGSTROM2_PER_FS2;
use mdet_core::potentials::{Harmonic, Morse};
use mdet_core::{
    CentralDifferences, Disturbance, Disturbed, ForceField, ForceJacobian, NetForceRemoved, Structure,
};
use mdet_md::{Config, Conserved, Ensemble, Orientation, Simulation, Snapshot, StartingVelocities};

const SQUARE: f64 = 1.2 * std::f64::consts::FRAC_1_SQRT_2;

/// Four carbons at the corners of a regular tetrahedron with edges of 1.2 Å, bound to each other.
fn tetrahedron() -> Structure {
    let h = 0.5 * SQUARE;
    let positions = vec![[h, h, h], [h, -h, -h], [-h, h, -h], [-h, -h, h]];
    Structure::new(vec![6; 4], positions, 0, 1).unwrap()
}

fn bound() -> Morse {
    let bonds = vec![[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]];
    Morse { depth_ev: 4.0, width_per_angstrom: 1.5, length_angstrom: 1.2, bonds }
}

fn nve(timestep_fs: f64, initial_temperature_k: f64, orientation: Orientation) -> Config {
    let starting_velocities = StartingVelocities::Drawn;
    Config {
        ensemble: Ensemble::Nve,
        timestep_fs,
        initial_temperature_k,
        starting_velocities,
        orientation,
        forces_conserve: Conserved::default(),
        seed: 5,
    }
}

/// Series of every replica, sampled at every step; `energy` adds the known potential energy, eV.
fn run(
    force_field: impl ForceField,
    config: Config,
    n_replicas: usize,
    n_steps: usize,
    energy: impl Fn(&Structure) -> f64,
) -> Vec<Series> {
    let structures = vec![tetrahedron(); n_replicas];
    let mut simulation = Simulation::new(structures, force_field, config).unwrap();
    let mut series = vec![Series::default(); n_replicas];
    for step in 0..=n_steps {
        for (b, series) in series.iter_mut().enumerate() {
            let frame = simulation.frame(b);
            series.time_fs.push(frame.observables.time_fs);
            series.kinetic_ev.push(frame.observables.kinetic_ev);
            series.temperature_k.push(frame.observables.temperature_k);
            series.total_ev.push(frame.observables.kinetic_ev + energy(frame.structure));
        }
        if step < n_steps {
            simulation.step().unwrap();
        }
    }
    series
}

fn largest_departure(series: &Series) -> f64 {
    series.total_ev.iter().map(|e| (e - series.total_ev[0]).abs()).fold(0.0, f64::max)
}

/// Mean over replicas of what the total energy rose by, per fs, with its standard error.
fn rise(series: &[Series]) -> Spread {
    let rates = series.iter().map(|s| {
        let last = s.time_fs.len() - 1;
        (s.total_ev[last] - s.total_ev[0]) / s.time_fs[last]
    });
    Spread::of(&rates.collect::<Vec<_>>()).unwrap()
}

#[track_caller]
fn assert_within_errors(found: Spread, expected: f64, resolved: f64) {
    let error = found.standard_error();
    assert!(error < resolved * expected, "unresolved: {found:?}, expected {expected}");
    assert!((found.mean - expected).abs() < 4.0 * error, "{found:?} ± {error}, expected {expected}");
}

#[test]
fn an_equivariant_potential_does_not_drift_and_its_energy_departs_with_the_square_of_the_timestep() {
    let departure = |timestep: f64, orientation| {
        let n_steps = (1000.0 / timestep) as usize;
        let series = run(bound(), nve(timestep, 600.0, orientation), 1, n_steps, |s| bound().energy(s));
        let drift = ConditionDrift::of("", &series, 4, 1000.0, 600.0, None, 1.0);
        (largest_departure(&series[0]), drift)
    };
    for orientation in [Orientation::AsItLies, Orientation::RandomEveryStep] {
        let ((coarse, drift), (fine, _)) = (departure(1.0, orientation), departure(0.5, orientation));
        // Halving h divides by 4, to O(h²) = a tenth: the fastest mode has ωh = 0.3 at 1 fs.
        assert!((coarse / fine - 4.0).abs() < 0.5, "{coarse} {fine}");
        // The energy swings by `coarse`; over 1 ps of swings of tens of fs a slope of 1 % of it per ps is left.
        let balance = drift.balance_mev_per_atom_per_ps.unwrap().mean;
        assert!(balance.abs() < 1e3 * coarse * 0.02, "{balance} {coarse}");
        assert_eq!(drift.replicas[0].runaway_ps, None);
    }
}

/// Forces of the laboratory of different directions and no sum, eV/Å.
fn biases() -> Vec<[f64; 3]> {
    vec![[0.15, 0.0, 0.05], [-0.05, 0.1, 0.0], [0.0, -0.1, 0.1], [-0.1, 0.0, -0.15]]
}

#[test]
fn a_bias_of_the_laboratory_has_a_potential_and_does_not_drift_as_the_molecule_lies() {
    let biased = Disturbed::new(bound(), Disturbance::Bias(biases()));
    let linear = |s: &Structure| -> f64 {
        let pairs = s.positions().iter().zip(biases());
        -pairs.map(|(r, b)| (0..3).map(|a| b[a] * r[a]).sum::<f64>()).sum::<f64>()
    };
    let energy = |s: &Structure| bound().energy(s) + linear(s);
    let series = run(biased, nve(0.5, 300.0, Orientation::AsItLies), 1, 8000, energy);
    // Velocity Verlet's swing; 4 ps of the same heating as below would be 30 meV.
    let departure = largest_departure(&series[0]);
    assert!(departure < 2e-3, "{departure}");
}

#[test]
fn the_offset_turns_a_bias_into_heat_of_half_its_square_times_the_timestep_over_the_mass() {
    let timestep = 0.5;
    let biased = Disturbed::new(bound(), Disturbance::Bias(biases()));
    let series =
        run(biased, nve(timestep, 0.0, Orientation::RandomEveryStep), 100, 1500, |s| bound().energy(s));
    let squares: Vec<f64> = biases().iter().map(|b| b.iter().map(|x| x * x).sum()).collect();
    let expected = uncorrelated_power_ev_per_fs(&squares, &[12.011; 4], timestep);
    // 9 degrees of freedom heated from rest: every one of 100 energies has a relative deviation of √(2/9) or so.
    assert_within_errors(rise(&series), expected, 0.06);
}

#[test]
fn white_noise_heats_by_its_square_and_half_of_it_shows_in_the_kinetic_energy() {
    let (sigma, timestep, n_replicas, n_steps) = (0.1, 0.5, 100, 1500);
    let wells = Harmonic { stiffness_ev_per_angstrom2: 20.0, wells: tetrahedron().positions().to_vec() };
    let noise = Disturbance::Noise { sigma_ev_per_angstrom: sigma, seed: 9 };
    let noisy = Disturbed::new(wells.clone(), noise);
    let series =
        run(noisy, nve(timestep, 0.0, Orientation::AsItLies), n_replicas, n_steps, |s| wells.energy(s));
    let expected = uncorrelated_power_ev_per_fs(&[3.0 * sigma * sigma; 4], &[12.011; 4], timestep);
    // 12 oscillators heated from rest, each with an exponentially distributed energy: 1/√1200 = 3 %.
    assert_within_errors(rise(&series), expected, 0.04);
    let planned = n_steps as f64 * timestep;
    let drift = ConditionDrift::of("", &series, 4, planned, 300.0, None, 1.0);
    let kinetic = kinetic_mev_per_atom_per_ps(expected, 4);
    assert_within_errors(drift.heating_mev_per_atom_per_ps.unwrap(), kinetic, 0.08);
}

#[test]
fn a_curl_drives_a_degenerate_mode_at_its_analytic_rate() {
    let (stiffness, curl, timestep, n_steps) = (20.0, 0.05, 0.25, 8000);
    let wells = Harmonic { stiffness_ev_per_angstrom2: stiffness, wells: vec![[0.0; 3]] };
    let field = Disturbed::new(wells, Disturbance::Curl([0.0, 0.0, curl]));
    // One atom on a circle about z: with s = x + iy, m s̈ = (−k + ic) s, s ∝ exp(iωt), ω² = (k − ic)/m; the circle in
    // the sense of the curl grows as exp(γt), γ = −Im ω ≈ c / 2√(km).
    let mass = 12.011 / EV_PER_U_IN_ANGSTROM2_PER_FS2;
    let modulus = (stiffness * stiffness + curl * curl).sqrt() / mass;
    let (real, growth) =
        ((0.5 * (modulus + stiffness / mass)).sqrt(), (0.5 * (modulus - stiffness / mass)).sqrt());
    let atom = Structure::new(vec![6], vec![[0.1, 0.0, 0.0]], 0, 1).unwrap();
    let config = nve(timestep, 0.0, Orientation::AsItLies);
    let mut start = Snapshot::start(atom, 0, &config).unwrap();
    start.velocities = vec![[0.1 * growth, 0.1 * real, 0.0]];
    let mut simulation = Simulation::resume(vec![start], field, config).unwrap();
    let kinetic = |simulation: &Simulation<_>| simulation.frame(0).observables.kinetic_ev;
    let before = kinetic(&simulation);
    for _ in 0..n_steps {
        simulation.step().unwrap();
    }
    let expected = (2.0 * growth * f64::from(n_steps) * timestep).exp();
    assert!(expected > 1.3, "{expected}");
    // Velocity Verlet's own error: (ωh)²/24 of γ and (ωh)²/4 of the kinetic energy's swing, ωh = 0.03.
    assert!((kinetic(&simulation) / before / expected - 1.0).abs() < 1e-3, "{expected}");
}

#[test]
fn a_curl_that_turns_with_the_molecule_heats_as_the_fluctuations_of_its_work_predict() {
    const WINDOW: u32 = 800;
    const N_WINDOWS: u32 = 5;
    const HALVES: u32 = 2 * N_WINDOWS;
    // Four elements, so that no two modes have one frequency by symmetry; hot, so that they lose their phases.
    let molecule = Structure::new(vec![6, 7, 8, 9], tetrahedron().positions().to_vec(), 0, 1).unwrap();
    let masses = vec![12.011, 14.007, 15.999, 18.998];
    let disturbed = || NetForceRemoved::new(Disturbed::new(bound(), Disturbance::Cycle(0.3)));
    let mut differences = CentralDifferences { inner: disturbed(), step_angstrom: 1e-4 };
    let jacobian = differences.jacobian(&molecule).unwrap();
    let curl = CurlForce::new(&jacobian, molecule.positions().to_vec(), masses);
    let config = nve(0.5, 2000.0, Orientation::AsItLies);
    let structures = vec![molecule.clone(); 120];
    let replicas = 0..structures.len();

    // The prediction is made of dynamics without the curl.
    let mut simulation = Simulation::new(structures.clone(), bound(), config).unwrap();
    let mut works = vec![CurlWork::start(&curl, molecule.positions()); structures.len()];
    let (mut halves, mut temperatures): (Vec<Vec<f64>>, _) = (Vec::new(), Vec::new());
    for half in 0..2 + HALVES {
        let before: Vec<f64> = works.iter().map(|work| work.work_ev).collect();
        for _ in 0..WINDOW / 2 {
            simulation.step().unwrap();
            let there = |b: usize| simulation.frame(b).structure.positions();
            works.iter_mut().enumerate().for_each(|(b, work)| work.go_to(&curl, there(b)));
        }
        if half >= 2 {
            halves.push(works.iter().zip(before).map(|(work, before)| work.work_ev - before).collect());
            temperatures.extend(replicas.clone().map(|b| simulation.frame(b).observables.temperature_k));
        }
    }
    let windows: Vec<[f64; 2]> = halves
        .chunks_exact(2)
        .flat_map(|pair| pair[0].iter().zip(&pair[1]).map(|(&first, &second)| [first, second]))
        .collect();
    let temperature = Spread::of(&temperatures).unwrap().mean;
    let predicted = correlated_power_ev_per_fs(&windows, f64::from(WINDOW) * 0.5, temperature).unwrap();

    let mut simulation = Simulation::new(structures, disturbed(), config).unwrap();
    let mut energies = Vec::new();
    for _ in 0..=N_WINDOWS {
        (0..WINDOW).for_each(|_| simulation.step().unwrap());
        let energy = |b: usize| {
            let frame = simulation.frame(b);
            frame.observables.kinetic_ev + bound().energy(frame.structure)
        };
        energies.push(replicas.clone().map(energy).collect::<Vec<f64>>());
    }
    let time = f64::from(N_WINDOWS * WINDOW) * 0.5;
    let rises =
        energies[N_WINDOWS as usize].iter().zip(&energies[0]).map(|(end, start)| (end - start) / time);
    let measured = Spread::of(&rises.collect::<Vec<_>>()).unwrap();
    let error = predicted.standard_error().hypot(measured.standard_error());
    // A lost ½ or 2 would be three errors or more.
    assert!(error < 0.3 * predicted.mean, "unresolved: {predicted:?} {measured:?}");
    assert!((predicted.mean - measured.mean).abs() < 2.0 * error, "{predicted:?} {measured:?}");
}
