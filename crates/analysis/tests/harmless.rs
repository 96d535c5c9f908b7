//! The judgement of harmless drift on force fields whose answer is known: a pair that a whirl turns, an equivariant
//! potential in any orientation, and the same with white noise that heats.

#![allow(clippy::unwrap_used)] // clippy's allowance for tests does not reach their helper functions

use mdet_analysis::drift::Series;
use mdet_analysis::motion::{Look, Motion};
use mdet_analysis::observables::{ConditionRun, DriftOf, EnsembleErrors};
use mdet_analysis::trajectory::Observed;
use mdet_core::constants::EV_PER_U_IN_ANGSTROM2_PER_FS2;
use mdet_core::disturbed::{Disturbance, Disturbed};
use mdet_core::elements::mass_u;
use mdet_core::potentials::Morse;
use mdet_core::{ForceField, NetForceRemoved, Structure};
use mdet_md::{Config, Conserved, Ensemble, Orientation, Simulation, Snapshot, StartingVelocities};

const TIMESTEP_FS: f64 = 0.5;
const EVERY: u64 = 4;

fn config(ensemble: Ensemble, orientation: Orientation, initial_temperature_k: f64) -> Config {
    Config {
        ensemble,
        timestep_fs: TIMESTEP_FS,
        initial_temperature_k,
        forces_conserve: Conserved::default(),
        starting_velocities: StartingVelocities::Drawn,
        orientation,
        seed: 5,
    }
}

fn morse(bonds: &[[usize; 2]]) -> Morse {
    Morse { depth_ev: 4.0, width_per_angstrom: 2.0, length_angstrom: 1.2, bonds: bonds.to_vec() }
}

/// NVE from snapshots, sampled every 2 fs, as a condition.
fn run(
    name: &str,
    start: &[Snapshot],
    orientation: Orientation,
    n_steps: u64,
    forces: impl ForceField,
) -> (ConditionRun, Vec<Series>) {
    let config = config(Ensemble::Nve, orientation, 0.0);
    let snapshots = start.iter().map(|s| s.clone().next_stage(&config).unwrap()).collect();
    let mut simulation = Simulation::resume(snapshots, forces, config).unwrap();
    let numbers = start[0].structure.numbers().to_vec();
    let empty = Motion { numbers, spacing_fs: EVERY as f64 * TIMESTEP_FS, ..Motion::default() };
    let mut motions = vec![empty; start.len()];
    let mut series = vec![Series::default(); start.len()];
    while simulation.step_number() < n_steps {
        simulation.step().unwrap();
        if !simulation.step_number().is_multiple_of(EVERY) {
            continue;
        }
        for (b, (motion, series)) in motions.iter_mut().zip(&mut series).enumerate() {
            let frame = simulation.frame(b);
            motion.positions.push(frame.structure.positions().to_vec());
            motion.velocities.push(frame.velocities.to_vec());
            series.time_fs.push(frame.observables.time_fs);
            series.kinetic_ev.push(frame.observables.kinetic_ev);
            series.temperature_k.push(frame.observables.temperature_k);
            series.total_ev.push(frame.observables.total_ev);
        }
    }
    let reference = start[0].structure.positions().to_vec();
    let look = Look { n_blocks: 2, resolution_per_cm: 50.0, torsions: vec![], reference, bands: vec![] };
    let observed = motions.iter().map(|motion| Observed::of(motion, &look)).reduce(|mut all, next| {
        all.extend(next);
        all
    });
    let replicas =
        series.iter().map(|s| DriftOf::KineticEnergy.replica(s, start[0].structure.n_atoms())).collect();
    let run = ConditionRun { name: name.into(), bias_mev_per_angstrom: 0.0, replicas, observed, ended: None };
    (run, series)
}

#[test]
fn a_pair_at_rest_under_a_whirl_takes_up_the_known_energy() {
    let oxygen = Structure::new(vec![8, 8], vec![[0.0; 3], [1.2, 0.0, 0.0]], 0, 3).unwrap();
    let pairs = vec![[0, 1]];
    let at_rest = config(Ensemble::Nve, Orientation::AsItLies, 0.0);
    let start = [Snapshot::start(oxygen, 0, &at_rest).unwrap()];
    let whirl = Disturbance::Whirl { size_ev_per_angstrom: 0.05, pairs: pairs.clone() };
    let forces = Disturbed::new(morse(&pairs), whirl);
    let (_, series) = run("whirl", &start, Orientation::AsItLies, 400, forces);
    // The torque s r on the moment μ r²: K = s² t²/2μ after t = 200 fs. Its turning stretches the pair by below 1 %.
    let expected = 0.5 * (0.05f64 * 200.0).powi(2) * EV_PER_U_IN_ANGSTROM2_PER_FS2 / (0.5 * mass_u(8));
    let found = *series[0].kinetic_ev.last().unwrap();
    assert!((found / expected - 1.0).abs() < 0.02, "{found} {expected}");
}

#[test]
fn an_equivariant_potential_has_no_errors_in_any_orientation_and_noise_that_heats_shows() {
    let positions = vec![[0.0, 0.6, 0.0], [0.1, -0.6, 0.0], [1.1, 0.9, 0.4], [-1.0, -0.9, 0.5]];
    let molecule = Structure::new(vec![8, 8, 1, 1], positions, 0, 1).unwrap();
    let cage = [[0, 1], [0, 2], [1, 3], [0, 3], [1, 2], [2, 3]];
    let bath = Ensemble::NvtBussi { temperature_k: 300.0, time_constant_fs: 100.0 };
    let bath = config(bath, Orientation::AsItLies, 300.0);
    let mut simulation =
        Simulation::new(vec![molecule; 4], NetForceRemoved::new(morse(&cage)), bath).unwrap();
    (0..2000).for_each(|_| simulation.step().unwrap());
    let start = simulation.snapshots();
    let noisy = |sigma_ev_per_angstrom: f64| {
        let noise = Disturbance::Noise { sigma_ev_per_angstrom, seed: 1 };
        NetForceRemoved::new(Disturbed::new(morse(&cage), noise))
    };
    let runs = [
        run("best", &start, Orientation::RandomEveryStep, 4000, noisy(0.0)),
        run("as it lies", &start, Orientation::AsItLies, 4000, noisy(0.0)),
        run("noise", &start, Orientation::AsItLies, 4000, noisy(0.3)),
    ]
    .map(|(run, _)| run);
    let found = EnsembleErrors::of("NVE", DriftOf::KineticEnergy, &runs, 0);
    let drift = |k: usize| found.conditions[k].drift_mev_per_atom_per_ps.unwrap();
    // Without noise K fluctuates and does not drift.
    assert!(drift(1).mean.abs() < 4.0 * drift(1).standard_error().max(0.1), "{:?}", drift(1));
    assert_eq!(found.conditions[1].n_showing(), 0, "{:?}", found.conditions[1].errors);
    // 3 σ² h/2m over all atoms is 340 meV per atom and ps, of which the removal takes most from the outer hydrogens, and
    // K has half; σ = 0.1 eV/Å gave 3, which 2 ps hide, and three times that size nine times as much.
    assert!((10.0..100.0).contains(&drift(2).mean), "{:?}", drift(2));
    let threshold = found.thresholds.iter().find(|t| t.observable == "temperature, K").unwrap();
    assert_eq!(threshold.harmful_from, Some(drift(2).mean));
    assert_eq!(threshold.harmless_up_to, Some(drift(1).mean.abs()));
}
