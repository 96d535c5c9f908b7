//! Drift of force fields whose answer is known: an equivariant potential, the same with a bias of the laboratory, with
//! a curl, and with white noise. Dynamics is that of the md crate, as the command runs it.

#![allow(clippy::unwrap_used)] // clippy's allowance for tests does not reach their helper functions

use mdet_analysis::Spread;
use mdet_analysis::drift::{ConditionDrift, Series};
use mdet_analysis::heating::{CurlPairs, kinetic_mev_per_atom_per_ps, uncorrelated_power_ev_per_fs};
use mdet_analysis::loops::loop_works;
use mdet_core::constants::{EV_PER_U_IN_ANGSTROM2_PER_FS2, SPEED_OF_LIGHT_IN_CM_PER_FS};
use mdet_core::elements::mass_u;
use mdet_core::potentials::{Harmonic, Morse};
use mdet_core::{
    CentralDifferences, Disturbance, Disturbed, ForceField, ForceJacobian, NetForceRemoved, Structure,
};
use mdet_md::normal_modes::normal_modes;
use mdet_md::{Config, Conserved, Ensemble, Orientation, Simulation, Snapshot, StartingVelocities};
use std::f64::consts::TAU;

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
        let drift = ConditionDrift::of("", &series, 4, 600.0, None, 1.0);
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
    let drift = ConditionDrift::of("", &series, 4, 300.0, None, 1.0);
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
fn a_curl_that_turns_with_the_molecule_does_the_work_that_its_pairs_of_modes_predict() {
    const N_STEPS: u32 = 3000;
    const START: u32 = 1000;
    // Four elements, so that no two modes have one frequency by symmetry; cold, so that they are harmonic, and the bath
    // alone takes their phases, at the rate of the friction.
    let molecule = Structure::new(vec![6, 7, 8, 9], tetrahedron().positions().to_vec(), 0, 1).unwrap();
    let masses = [6, 7, 8, 9].map(mass_u);
    let (temperature_k, friction_per_fs, timestep) = (20.0, 0.01, 0.5);
    let disturbed = || NetForceRemoved::new(Disturbed::new(bound(), Disturbance::Cycle(0.3)));
    let mut differences = CentralDifferences { inner: disturbed(), step_angstrom: 1e-4 };
    let jacobian = differences.jacobian(&molecule).unwrap();
    let modes = normal_modes(&jacobian, &masses, molecule.positions());
    let pairs = CurlPairs::new(&jacobian, &masses, &modes.wavenumbers_per_cm, &modes.displacements);
    let width_per_cm = friction_per_fs / (TAU * SPEED_OF_LIGHT_IN_CM_PER_FS);
    let predicted = pairs.power_ev_per_fs(width_per_cm, temperature_k);

    let ensemble = Ensemble::NvtLangevin { temperature_k, friction_per_fs };
    let config = Config { ensemble, ..nve(timestep, temperature_k, Orientation::AsItLies) };
    let mut simulation = Simulation::new(vec![molecule; 400], disturbed(), config).unwrap();
    // Of the work of all forces the potential's part is known.
    let works = |simulation: &Simulation<_>| -> Vec<f64> {
        let work = |b: usize| {
            let frame = simulation.frame(b);
            bound().energy(frame.structure) - frame.observables.potential_ev
        };
        (0..400).map(work).collect()
    };
    (0..START).for_each(|_| simulation.step().unwrap());
    let before = works(&simulation);
    (0..N_STEPS).for_each(|_| simulation.step().unwrap());
    let powers = works(&simulation)
        .iter()
        .zip(before)
        .map(|(after, before)| (after - before) / (f64::from(N_STEPS) * timestep))
        .collect::<Vec<_>>();
    assert_within_errors(Spread::of(&powers).unwrap(), predicted, 0.1);
}

#[test]
fn a_bias_that_has_a_curl_does_the_work_of_a_loop_for_every_turn_and_none_without_net_torque() {
    const N_STEPS: u32 = 8000;
    const PERIOD_FS: f64 = 1000.0;
    let pairs = vec![[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]];
    let whirling = || {
        let disturbance = Disturbance::Whirl { size_ev_per_angstrom: 2e-4, pairs: pairs.clone() };
        Disturbed::new(bound(), disturbance)
    };
    let turn = loop_works("", &tetrahedron(), &mut whirling()).unwrap().remove(2);
    assert_eq!(turn.path, "z");
    // Energy gained, and the angle turned by about z.
    let spun = |force_field: &mut dyn ForceField, forces_conserve| {
        let config = Config { forces_conserve, ..nve(0.5, 0.0, Orientation::AsItLies) };
        let mut start = Snapshot::start(tetrahedron(), 0, &config).unwrap();
        let spin = TAU / PERIOD_FS;
        start.velocities =
            tetrahedron().positions().iter().map(|r| [-spin * r[1], spin * r[0], 0.0]).collect();
        let mut simulation = Simulation::resume(vec![start], force_field, config).unwrap();
        let energy = |simulation: &Simulation<_>| {
            let frame = simulation.frame(0);
            frame.observables.kinetic_ev + bound().energy(frame.structure)
        };
        let azimuth = |simulation: &Simulation<_>| {
            let r = simulation.frame(0).structure.positions()[0];
            f64::atan2(r[1], r[0])
        };
        let (before, mut last, mut angle) = (energy(&simulation), azimuth(&simulation), 0.0);
        for _ in 0..N_STEPS {
            simulation.step().unwrap();
            let now = azimuth(&simulation);
            angle += (now - last).rem_euclid(TAU);
            last = now;
        }
        (1e3 * (energy(&simulation) - before), angle / TAU)
    };
    let (gained, turns) = spun(&mut whirling(), Conserved::Momentum);
    assert!(turns > 4.0, "{turns}");
    // Spinning stretches the bonds, and with them the work, by a thousandth or two.
    assert!((gained / (turns * turn.work_mev) - 1.0).abs() < 0.01, "{gained} {turns} {}", turn.work_mev);
    let (gained, _) = spun(&mut NetForceRemoved::new(whirling()), Conserved::default());
    assert!(gained.abs() < 0.01 * turn.work_mev, "{gained}");
}
