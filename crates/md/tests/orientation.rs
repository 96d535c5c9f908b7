//! The rotation offset and the trust monitor: nothing for forces that turn with the molecule, and what they should be
//! for forces that do not.

#![allow(clippy::unwrap_used)] // clippy's allowance for tests does not reach their helper functions

mod common;

use std::num::NonZeroU64;
use std::sync::atomic::AtomicBool;

use common::{each_atom, langevin, molecule, nve, watch};
use mdet_core::potentials::Morse;
use mdet_core::{ForceField, ForceFieldError, FrameAveraged, ReferenceBonds, RotationSet, Structure};
use mdet_md::{
    Config, Ending, Frame, Monitor, Orientation, Reading, Schedule, Simulation, Sink, SinkError, Snapshot,
    StopCondition,
};

fn water() -> Structure {
    molecule(&[8, 1, 1], &[[0.0; 3], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]])
}

fn bonds() -> Morse {
    Morse { depth_ev: 4.0, width_per_angstrom: 2.0, length_angstrom: 0.97, bonds: vec![[0, 1], [0, 2]] }
}

/// The bonds of water, and a pull of the same direction whatever the orientation.
#[derive(Debug, Clone)]
struct Pulled(f64);

impl ForceField for Pulled {
    fn forces(&mut self, batch: &[Structure], forces: &mut [[f64; 3]]) -> Result<(), ForceFieldError> {
        each_atom(batch, forces, |_| [self.0, 0.0, 0.0]);
        let mut bound = vec![[0.0; 3]; forces.len()];
        bonds().forces(batch, &mut bound)?;
        for (force, bound) in forces.iter_mut().zip(bound) {
            (0..3).for_each(|axis| force[axis] += bound[axis]);
        }
        Ok(())
    }
}

fn turned(config: Config) -> Config {
    Config { orientation: Orientation::RandomEveryStep, ..config }
}

fn path(force_field: impl ForceField, config: Config, n_steps: u64) -> Vec<[f64; 3]> {
    let mut simulation = Simulation::new(vec![water()], force_field, config).unwrap();
    watch(&mut simulation, n_steps, |_| {});
    simulation.frame(0).structure.positions().to_vec()
}

fn farthest(a: &[[f64; 3]], b: &[[f64; 3]]) -> f64 {
    a.as_flattened().iter().zip(b.as_flattened()).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

#[test]
fn offset_and_frames_change_nothing_of_an_equivariant_potential() {
    for config in [nve(0.5, 300.0, 1), langevin(0.5, 300.0, 0.01, 1)] {
        let plain = path(bonds(), config, 200);
        // Rounding of 1e-16 Å a step, multiplied along 200 steps of anharmonic motion.
        assert!(farthest(&plain, &path(bonds(), turned(config), 200)) < 1e-10);
        for count in [4, 60] {
            let rotations = RotationSet::of_size(count, 0).rotations();
            let averaged = FrameAveraged { inner: bonds(), rotations };
            assert!(farthest(&plain, &path(averaged.clone(), config, 200)) < 1e-10);
            assert!(farthest(&plain, &path(averaged, turned(config), 200)) < 1e-10);
        }
    }
}

#[test]
fn the_offset_turns_a_steady_push_into_noise() {
    let drift = |config: Config| {
        let end = path(Pulled(0.05), config, 2000);
        let centre = |axis: usize| (16.0 * end[0][axis] + end[1][axis] + end[2][axis]) / 18.0;
        (0..3).map(|axis| centre(axis).powi(2)).sum::<f64>().sqrt()
    };
    let (pushed, shaken) = (drift(nve(0.5, 0.0, 2)), drift(turned(nve(0.5, 0.0, 2))));
    // A constant acceleration goes with t²/2; random ones of the same size, with √(t³ h/9): fifty times less.
    assert!(pushed > 10.0 * shaken && shaken > 0.0, "{pushed} {shaken}");
}

fn bonds_of_water() -> Vec<ReferenceBonds> {
    vec![ReferenceBonds::of(&water())]
}

#[test]
fn the_spread_is_that_of_the_part_that_does_not_turn() {
    let mut equivariant = Simulation::new(vec![water()], bonds(), nve(0.5, 300.0, 3)).unwrap();
    // Forces of an electronvolt per ångström, rounded.
    assert!(equivariant.read(3, &bonds_of_water()).unwrap()[0].spread_ev_per_angstrom < 1e-13);
    let mut pulled = Simulation::new(vec![water()], Pulled(0.3), nve(0.5, 300.0, 3)).unwrap();
    let squares: Vec<f64> = (0..2000)
        .map(|_| {
            pulled.step().unwrap();
            pulled.read(3, &bonds_of_water()).unwrap()[0].spread_ev_per_angstrom.powi(2)
        })
        .collect();
    // A vector of length 0.3 in a random direction has variance 0.3²/3 per component.
    let mean = mdet_md::statistics::blocked_mean(&squares).unwrap();
    assert!(mean.standard_error < 0.02 * 0.03, "unresolved: {mean:?}");
    assert!((mean.value - 0.03).abs() < 4.0 * mean.standard_error, "{mean:?}");
}

#[derive(Default)]
struct Kept {
    frames: Vec<u64>,
    readings: Vec<(u64, Reading)>,
    checkpoints: Vec<u64>,
}

impl Sink for Kept {
    fn frame(&mut self, frame: &Frame<'_>) -> Result<(), SinkError> {
        self.frames.push(frame.step);
        Ok(())
    }

    fn reading(&mut self, frame: &Frame<'_>, reading: &Reading) -> Result<(), SinkError> {
        self.readings.push((frame.step, reading.clone()));
        Ok(())
    }

    fn checkpoint(&mut self, snapshots: &[Snapshot]) -> Result<(), SinkError> {
        self.checkpoints.push(snapshots[0].progress.step);
        Ok(())
    }
}

fn schedule(stop_on: Vec<StopCondition>) -> Schedule {
    let every = |n| NonZeroU64::new(n).unwrap();
    let monitor = Some(Monitor { every: every(5), n_rotations: 3 });
    let (frames_every, checkpoint_every) = (every(4), Some(every(6)));
    Schedule { frames_every, monitor, stop_on, bonds: bonds_of_water(), checkpoint_every }
}

#[test]
fn frames_readings_and_checkpoints_come_when_they_are_due_and_change_nothing() {
    let mut simulation = Simulation::new(vec![water()], bonds(), nve(0.5, 300.0, 4)).unwrap();
    let mut kept = Kept::default();
    let ending = simulation.run(13, &schedule(Vec::new()), &mut kept, &AtomicBool::new(false)).unwrap();
    assert_eq!(ending, Ending::Completed);
    assert_eq!(kept.frames, [0, 4, 8, 12, 13]);
    assert_eq!(kept.readings.iter().map(|(step, _)| *step).collect::<Vec<_>>(), [0, 5, 10]);
    assert_eq!(kept.checkpoints, [0, 6, 12, 13]);
    assert_eq!(simulation.frame(0).structure.positions(), path(bonds(), nve(0.5, 300.0, 4), 13));
}

#[test]
fn a_condition_ends_the_run_at_the_first_step_that_meets_it() {
    // A pull that tears: equal forces on unequal masses stretch the bonds past breaking, and heat.
    let torn = |frame: &Frame<'_>| !bonds_of_water()[0].broken(frame.structure.positions()).is_empty();
    for condition in [StopCondition::BrokenBond, StopCondition::TemperatureAbove(2000.0)] {
        let is_met = |frame: &Frame<'_>| match condition {
            StopCondition::BrokenBond => torn(frame),
            _ => frame.observables.temperature_k > 2000.0,
        };
        let start = || Simulation::new(vec![water()], Pulled(12.0), nve(0.5, 0.0, 5)).unwrap();
        let mut first = None;
        watch(&mut start(), 200, |frame| first = first.or(is_met(frame).then_some(frame.step)));
        let first = first.unwrap();
        assert!(!first.is_multiple_of(5), "choose another pull: {first} is a step of the monitor");
        let mut simulation = start();
        let mut kept = Kept::default();
        let schedule = schedule(vec![condition]);
        let ending = simulation.run(200, &schedule, &mut kept, &AtomicBool::new(false)).unwrap();
        assert_eq!(ending, Ending::Condition { replica: 0, condition });
        assert_eq!(simulation.step_number(), first);
    }
}

#[test]
fn a_spread_ends_the_run_at_the_reading_that_meets_it() {
    let condition = StopCondition::SpreadAbove(0.1);
    let ending_of = |pulled: Pulled| {
        let mut simulation = Simulation::new(vec![water()], pulled, nve(0.5, 300.0, 6)).unwrap();
        let mut kept = Kept::default();
        let ending =
            simulation.run(20, &schedule(vec![condition]), &mut kept, &AtomicBool::new(false)).unwrap();
        (ending, simulation.step_number())
    };
    assert_eq!(ending_of(Pulled(0.0)), (Ending::Completed, 20));
    assert_eq!(ending_of(Pulled(1.0)), (Ending::Condition { replica: 0, condition }, 0));
}
