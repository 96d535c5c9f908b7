//! The run loop: which frames are written, how a run ends, and that replicas do not know of one another.

mod common;

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{Free, langevin, molecule, nve, watch};
use mdet_core::potentials::{Harmonic, LennardJones};
use mdet_core::{ForceField, ForceFieldError, Structure};
use mdet_md::{
    Config, ConfigError, Ending, Ensemble, Frame, Orientation, Schedule, Simulation, SimulationError,
    Snapshot, StartError,
};

/// Forces between all atoms, for molecules of any size.
const FORCE_FIELD: LennardJones = LennardJones { depth_ev: 0.5, sigma_angstrom: 0.9 };

fn water(shift: f64) -> Structure {
    molecule(&[8, 1, 1], &[[0.0, 0.0, shift], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]])
}

/// All ensembles, in both orientations.
fn every_ensemble(seed: u64) -> Vec<Config> {
    let (temperature_k, time_constant_fs) = (300.0, 50.0);
    let ensembles = [
        Ensemble::Nve,
        Ensemble::NvtLangevin { temperature_k, friction_per_fs: 0.01 },
        Ensemble::NvtBussi { temperature_k, time_constant_fs },
        Ensemble::NvtNoseHoover { temperature_k, time_constant_fs },
    ];
    let of = |ensemble| {
        [Orientation::AsItLies, Orientation::RandomEveryStep]
            .map(|orientation| Config { orientation, ..common::config(ensemble, 0.5, temperature_k, seed) })
    };
    ensembles.into_iter().flat_map(of).collect()
}

fn never() -> AtomicBool {
    AtomicBool::new(false)
}

fn every(n: u64) -> Schedule {
    Schedule::frames(NonZeroU64::new(n).expect("not zero"))
}

/// Steps at which a run wrote frames.
fn framed_steps(simulation: &mut Simulation<impl ForceField>, n_steps: u64, n: u64) -> Vec<u64> {
    let mut steps = Vec::new();
    let mut sink = |frame: &Frame<'_>| {
        steps.push(frame.step);
        Ok(())
    };
    assert_eq!(
        simulation.run(n_steps, &every(n), &mut sink, &never()).expect("no errors"),
        Ending::Completed
    );
    steps
}

#[test]
fn frames_come_at_the_start_at_multiples_and_at_the_end_but_never_twice() {
    let mut simulation = Simulation::new(vec![water(0.0)], FORCE_FIELD, nve(0.5, 300.0, 1)).unwrap();
    assert_eq!(framed_steps(&mut simulation, 10, 4), [0, 4, 8, 10]);
    assert_eq!(framed_steps(&mut simulation, 2, 4), [12]);
    assert!(framed_steps(&mut simulation, 0, 4).is_empty());
    let mut resumed = Simulation::resume(simulation.snapshots(), FORCE_FIELD, nve(0.5, 300.0, 1)).unwrap();
    assert!(framed_steps(&mut resumed, 0, 4).is_empty());
    assert_eq!(framed_steps(&mut resumed, 5, 4), [16, 17]);
}

#[test]
fn a_replica_alone_and_among_others_moves_the_same_to_the_last_bit() {
    for config in every_ensemble(2) {
        let three: Vec<Snapshot> = [(water(0.1), 4), (molecule(&[18], &[[0.5; 3]]), 0), (water(0.2), 7)]
            .into_iter()
            .map(|(structure, replica)| Snapshot::start(structure, replica, &config).unwrap())
            .collect();
        let mut together = Simulation::resume(three.clone(), FORCE_FIELD, config).unwrap();
        watch(&mut together, 200, |_| {});
        for (b, snapshot) in three.into_iter().enumerate() {
            let mut alone = Simulation::resume(vec![snapshot], FORCE_FIELD, config).unwrap();
            watch(&mut alone, 200, |_| {});
            assert_eq!(alone.snapshots()[0], together.snapshots()[b]);
        }
    }
}

#[test]
fn replicas_of_one_structure_differ_by_their_index_and_runs_by_their_seed() {
    let velocities_after_a_step = |config: Config| {
        let mut simulation = Simulation::new(vec![water(0.0), water(0.0)], FORCE_FIELD, config).unwrap();
        watch(&mut simulation, 1, |_| {});
        simulation.snapshots().into_iter().map(|snapshot| snapshot.velocities).collect::<Vec<_>>()
    };
    // By their starting velocities alone, and by the thermostat's noise alone.
    let noisy = |seed| Config { initial_temperature_k: 0.0, ..langevin(0.5, 300.0, 0.01, seed) };
    for [one, two] in [[nve(0.5, 300.0, 3), nve(0.5, 300.0, 4)], [noisy(3), noisy(4)]] {
        let (one, two) = (velocities_after_a_step(one), velocities_after_a_step(two));
        assert_ne!(one[0], one[1]);
        assert_ne!(one[0], two[0]);
    }
}

#[test]
fn an_interrupted_run_resumes_to_the_last_bit() {
    for config in every_ensemble(5) {
        let mut whole = Simulation::new(vec![water(0.0)], FORCE_FIELD, config).unwrap();
        watch(&mut whole, 100, |_| {});
        let mut first = Simulation::new(vec![water(0.0)], FORCE_FIELD, config).unwrap();
        watch(&mut first, 40, |_| {});
        let mut second = Simulation::resume(first.snapshots(), FORCE_FIELD, config).unwrap();
        watch(&mut second, 60, |_| {});
        assert_eq!(second.snapshots(), whole.snapshots());
        assert_eq!(second.frame(0).observables, whole.frame(0).observables);
    }
}

/// Somebody presses Ctrl-C after the given number of force evaluations.
struct Interrupted {
    calls_left: u64,
    stop: Arc<AtomicBool>,
}

impl ForceField for Interrupted {
    fn forces(&mut self, batch: &[Structure], forces: &mut [[f64; 3]]) -> Result<(), ForceFieldError> {
        match self.calls_left {
            0 => self.stop.store(true, Ordering::Relaxed),
            _ => self.calls_left -= 1,
        }
        FORCE_FIELD.clone().forces(batch, forces)
    }
}

#[test]
fn a_raised_flag_ends_the_run_after_a_whole_step_with_its_frame_written() {
    let stop = Arc::new(AtomicBool::new(false));
    let interrupted = Interrupted { calls_left: 4, stop: Arc::clone(&stop) };
    let mut simulation =
        Simulation::new(vec![water(0.0), water(0.1)], interrupted, nve(0.5, 300.0, 6)).unwrap();
    let mut steps = Vec::new();
    let mut sink = |frame: &Frame<'_>| {
        steps.push((frame.replica, frame.step));
        Ok(())
    };
    assert_eq!(simulation.run(100, &every(3), &mut sink, &stop).unwrap(), Ending::Stopped);
    // The fifth evaluation, after that of the start, is in the middle of step 4.
    assert_eq!(steps, [(0, 0), (1, 0), (0, 3), (1, 3), (0, 4), (1, 4)]);

    let mut n_frames = 0;
    let mut sink = |_: &Frame<'_>| {
        n_frames += 1;
        Ok(())
    };
    assert_eq!(simulation.run(100, &every(3), &mut sink, &stop).unwrap(), Ending::Stopped);
    assert_eq!((simulation.step_number(), n_frames), (4, 0));
}

/// Forces that fail after the given number of calls: silently, or with an error.
struct Failing {
    calls_left: u64,
    how: fn(&mut [[f64; 3]]) -> Result<(), ForceFieldError>,
}

impl ForceField for Failing {
    fn forces(&mut self, batch: &[Structure], forces: &mut [[f64; 3]]) -> Result<(), ForceFieldError> {
        FORCE_FIELD.clone().forces(batch, forces)?;
        if self.calls_left == 0 {
            return (self.how)(forces);
        }
        self.calls_left -= 1;
        Ok(())
    }
}

#[test]
fn a_force_that_is_not_finite_ends_the_run_by_replica_step_and_atom_after_the_last_whole_step() {
    let silently = |forces: &mut [[f64; 3]]| {
        forces[4] = [0.0, f64::NAN, 0.0];
        Ok(())
    };
    let with_an_error = |_: &mut [[f64; 3]]| Err(ForceFieldError::NonFinite { structure: 1, atom: 1 });
    let config = langevin(0.5, 300.0, 0.01, 7);
    let mut good = Simulation::new(vec![water(0.0), water(0.1)], FORCE_FIELD, config).unwrap();
    watch(&mut good, 5, |_| {});
    for how in [silently as fn(&mut [[f64; 3]]) -> _, with_an_error] {
        let force_field = Failing { calls_left: 6, how };
        let mut simulation = Simulation::new(vec![water(0.0), water(0.1)], force_field, config).unwrap();
        let mut last = 0;
        let mut sink = |frame: &Frame<'_>| {
            last = frame.step;
            Ok(())
        };
        let error = simulation.run(100, &every(50), &mut sink, &never()).unwrap_err();
        assert!(
            matches!(error, SimulationError::NonFiniteForce { replica: 1, step: 6, atom: 1, .. }),
            "{error:?}"
        );
        assert_eq!(last, 5);
        assert_eq!(simulation.snapshots(), good.snapshots());
        assert_eq!(simulation.frame(1).observables, good.frame(1).observables);
    }
}

#[test]
fn failures_of_the_force_field_and_of_the_sink_are_passed_on_with_the_step() {
    let how = |_: &mut [[f64; 3]]| Err(ForceFieldError::Other("the engine is gone".into()));
    let mut simulation =
        Simulation::new(vec![water(0.0)], Failing { calls_left: 3, how }, nve(0.5, 300.0, 8)).unwrap();
    let mut keep = |_: &Frame<'_>| Ok(());
    let error = simulation.run(10, &every(1), &mut keep, &never()).unwrap_err();
    assert!(matches!(error, SimulationError::ForceField { step: 3, .. }), "{error:?}");

    let mut simulation = Simulation::new(vec![water(0.0)], FORCE_FIELD, nve(0.5, 300.0, 8)).unwrap();
    let mut full = |frame: &Frame<'_>| if frame.step < 2 { Ok(()) } else { Err("disk full".into()) };
    let error = simulation.run(10, &every(1), &mut full, &never()).unwrap_err();
    assert!(matches!(error, SimulationError::Sink { replica: 0, step: 2, .. }), "{error:?}");
}

#[test]
fn a_next_stage_starts_from_where_the_last_one_ended_without_its_drift() {
    let bath = langevin(0.5, 300.0, 0.01, 10);
    let mut equilibration = Simulation::new(vec![water(0.0)], FORCE_FIELD, bath).unwrap();
    watch(&mut equilibration, 50, |_| {});
    let end = equilibration.snapshots().remove(0);
    let again = end.clone().next_stage(&bath).unwrap();
    assert_eq!((again.progress.step, again.progress.degrees_of_freedom), (0, 9));
    assert_eq!((&again.structure, &again.velocities), (&end.structure, &end.velocities));
    assert_eq!((again.progress.potential_ev, again.progress.heat_ev), (0.0, 0.0));

    let free = end.clone().next_stage(&nve(0.5, 300.0, 11)).unwrap();
    assert_eq!((&free.structure, free.progress.degrees_of_freedom), (&end.structure, 3));
    let momentum = |snapshot: &Snapshot| -> f64 {
        snapshot.velocities.iter().zip(&snapshot.masses_u).map(|(v, mass_u)| mass_u * v[0]).sum()
    };
    // Momenta of atoms are about 0.1 u Å/fs.
    assert!(momentum(&end).abs() > 1e-3 && momentum(&free).abs() < 1e-14);
    assert!(Simulation::resume(vec![free], FORCE_FIELD, nve(0.5, 300.0, 11)).is_ok());
}

#[test]
fn observables_are_those_of_a_calculation_by_hand() {
    let config = langevin(2.0, 0.0, 0.0, 12);
    let mut start = Snapshot::start(molecule(&[10], &[[0.3, 0.0, -0.4]]), 0, &config).unwrap();
    start.velocities = vec![[0.0, 0.01, 0.0]];
    let wells = Harmonic { stiffness_ev_per_angstrom2: 4.0, wells: vec![[0.0; 3]] };
    let simulation = Simulation::resume(vec![start], wells, config).unwrap();
    let observed = simulation.frame(0).observables;
    // The kick of half a step changes the velocity by 1 fs · 2 eV/Å / 20.1797 u · 9.648533e-3 = 9.56261e-4 Å/fs, at
    // right angles to the velocity: K = ½ · 20.1797 u · (1e-4 + 9.14436e-7) Å²/fs² / 9.648533e-3, and T = 2 K / (3 · 8.617333e-5).
    // The figures given have seven digits.
    assert!((observed.kinetic_ev / 0.1055302 - 1.0).abs() < 1e-6, "{observed:?}");
    assert!((observed.temperature_k / 816.418 - 1.0).abs() < 1e-6, "{observed:?}");
    assert!((observed.conserved_ev / 0.104_573_9 - 1.0).abs() < 1e-6, "{observed:?}");
    assert!((observed.max_force_ev_per_angstrom - 2.0).abs() < 1e-15);
    assert_eq!((observed.time_fs, observed.potential_ev), (0.0, 0.0));
}

#[test]
fn a_million_steps_take_exactly_a_million_timesteps() {
    let config = nve(0.1, 0.0, 13);
    let mut start = Snapshot::start(molecule(&[10], &[[0.0; 3]]), 0, &config).unwrap();
    start.progress.step = 999_999;
    let mut simulation = Simulation::resume(vec![start], Free, config).unwrap();
    simulation.step().unwrap();
    // A running sum of 0.1 would be off by 1.3e-6.
    assert_eq!(simulation.frame(0).observables.time_fs, 100_000.0);
}

#[test]
fn starts_that_make_no_simulation_are_refused() {
    let config = nve(0.5, 300.0, 9);
    let refuse = |snapshots: Vec<Snapshot>| match Simulation::resume(snapshots, Free, config) {
        Err(SimulationError::Start(error)) => error,
        other => panic!("accepted: {other:?}"),
    };
    let good = Snapshot::start(water(0.0), 0, &config).unwrap();
    assert_eq!(refuse(vec![]), StartError::NoStructures);
    assert_eq!(refuse(vec![good.clone(), good.clone()]), StartError::ReplicaTwice { replica: 0 });

    let mut late = Snapshot::start(water(0.0), 1, &config).unwrap();
    late.progress.step = 3;
    let expected = StartError::StepsDiffer { replica: 1, expected: 0, found: 3 };
    assert_eq!(refuse(vec![good.clone(), late]), expected);

    let bath = Snapshot::start(water(0.0), 2, &langevin(0.5, 300.0, 0.01, 9)).unwrap();
    assert_eq!(refuse(vec![bath]), StartError::OtherEnsemble { replica: 2 });

    let mut short = good.clone();
    short.velocities.pop();
    let expected = StartError::Count { replica: 0, quantity: "velocity", expected: 3, found: 2 };
    assert_eq!(refuse(vec![short]), expected);

    let mut wild = good.clone();
    wild.velocities[2][1] = f64::INFINITY;
    assert_eq!(refuse(vec![wild]), StartError::NonFiniteVelocity { replica: 0, atom: 2 });

    let mut weightless = good;
    weightless.masses_u[1] = 0.0;
    assert_eq!(refuse(vec![weightless]), StartError::Mass { replica: 0, atom: 1, found: 0.0 });

    let backwards = Config { timestep_fs: -0.5, ..config };
    let error = Simulation::new(vec![water(0.0)], Free, backwards).unwrap_err();
    let expected = StartError::Config(ConfigError::Timestep { found: -0.5 });
    assert!(matches!(error, SimulationError::Start(found) if found == expected));
}
