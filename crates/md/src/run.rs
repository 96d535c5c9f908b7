//! The run loop: many steps; frames, readings and checkpoints to a sink; and an end on request or condition.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, Ordering};

use mdet_core::{ForceField, ReferenceBonds};

use crate::monitor::{Monitor, Reading, StopCondition};
use crate::simulation::{Frame, Simulation, SimulationError};
use crate::system::Snapshot;

/// What a sink may fail with.
pub type SinkError = Box<dyn std::error::Error + Send + Sync>;

/// Where a run's results go: files, a table, a viewer. Closures `FnMut(&Frame) -> Result` take frames alone.
pub trait Sink {
    /// Takes one frame of one replica. Frames of a step come in the order of the batch.
    ///
    /// # Errors
    /// Whatever keeps the frame from being kept; the run ends with it.
    fn frame(&mut self, frame: &Frame<'_>) -> Result<(), SinkError>;

    /// Takes the monitor's reading of one replica.
    ///
    /// # Errors
    /// As [`Sink::frame`].
    fn reading(&mut self, _frame: &Frame<'_>, _reading: &Reading) -> Result<(), SinkError> {
        Ok(())
    }

    /// Keeps what the run can be resumed from; everything of this step was handed over before.
    ///
    /// # Errors
    /// As [`Sink::frame`].
    fn checkpoint(&mut self, _snapshots: &[Snapshot]) -> Result<(), SinkError> {
        Ok(())
    }
}

impl<S> Sink for S
where
    S: FnMut(&Frame<'_>) -> Result<(), SinkError>,
{
    fn frame(&mut self, frame: &Frame<'_>) -> Result<(), SinkError> {
        self(frame)
    }
}

/// What happens at which steps.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// Steps between frames.
    pub frames_every: NonZeroU64,
    /// The trust monitor.
    pub monitor: Option<Monitor>,
    /// What ends the run.
    pub stop_on: Vec<StopCondition>,
    /// The bonds of each replica's first frame, in the order of the batch; for monitor and stop conditions alone.
    pub bonds: Vec<ReferenceBonds>,
    /// Steps between checkpoints.
    pub checkpoint_every: Option<NonZeroU64>,
}

impl Schedule {
    /// Frames alone.
    pub fn frames(every: NonZeroU64) -> Self {
        let (stop_on, bonds) = (Vec::new(), Vec::new());
        Self { frames_every: every, monitor: None, stop_on, bonds, checkpoint_every: None }
    }
}

/// How a run without error ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Ending {
    /// All steps were done.
    Completed,
    /// The stop flag was found raised, after a whole step.
    Stopped,
    /// A stop condition was met.
    Condition {
        /// The first replica that met one.
        replica: u32,
        /// The condition.
        condition: StopCondition,
    },
}

impl<F: ForceField> Simulation<F> {
    /// [`Simulation::advance`], then [`Simulation::conclude`].
    ///
    /// # Errors
    /// As these.
    pub fn run(
        &mut self,
        n_steps: u64,
        schedule: &Schedule,
        sink: &mut impl Sink,
        stop: &AtomicBool,
    ) -> Result<Ending, SimulationError> {
        let ending = self.advance(n_steps, schedule, sink, stop)?;
        self.conclude(schedule, sink)?;
        Ok(ending)
    }

    /// Does `n_steps` steps, or fewer when `stop` is raised, which is looked at before every step, or a stop condition
    /// is met, which is looked at after every step.
    ///
    /// Frames, readings and checkpoints are due at step 0 and at every multiple of their number of steps. A resumed
    /// simulation holds what was due at its first step as done.
    ///
    /// # Errors
    /// [`SimulationError`] when forces or the sink fail. Of a failed step nothing is written; the step before it is.
    pub fn advance(
        &mut self,
        n_steps: u64,
        schedule: &Schedule,
        sink: &mut impl Sink,
        stop: &AtomicBool,
    ) -> Result<Ending, SimulationError> {
        if self.step_number() == 0
            && self.framed_step.is_none()
            && let Some(met) = self.do_what_is_due(schedule, sink)?
        {
            return Ok(met);
        }
        for _ in 0..n_steps {
            if stop.load(Ordering::Relaxed) {
                return Ok(Ending::Stopped);
            }
            if let Err(error) = self.step() {
                // The cause of the end is the error of the step, also when this frame cannot be written.
                let _ = self.write_frames(sink);
                return Err(error);
            }
            if let Some(met) = self.do_what_is_due(schedule, sink)? {
                return Ok(met);
            }
        }
        Ok(Ending::Completed)
    }

    /// Writes the present step as the last frame and takes a last checkpoint. No step is written twice, also not by the
    /// run after.
    ///
    /// # Errors
    /// [`SimulationError`] when the sink fails.
    pub fn conclude(&mut self, schedule: &Schedule, sink: &mut impl Sink) -> Result<(), SimulationError> {
        self.write_frames(sink)?;
        if schedule.checkpoint_every.is_some() {
            self.checkpoint(sink)?;
        }
        Ok(())
    }

    fn do_what_is_due(
        &mut self,
        schedule: &Schedule,
        sink: &mut impl Sink,
    ) -> Result<Option<Ending>, SimulationError> {
        let step = self.step_number();
        if step.is_multiple_of(schedule.frames_every.get()) {
            self.write_frames(sink)?;
        }
        let mut readings = Vec::new();
        if let Some(monitor) = schedule.monitor.filter(|monitor| step.is_multiple_of(monitor.every.get())) {
            readings = self.read(monitor.n_rotations, &schedule.bonds)?;
            for (b, reading) in readings.iter().enumerate() {
                let frame = self.frame(b);
                let replica = frame.replica;
                sink.reading(&frame, reading).map_err(|source| SimulationError::Sink {
                    replica,
                    step,
                    source,
                })?;
            }
        }
        let met = self.first_met(schedule, &readings);
        if met.is_none() && schedule.checkpoint_every.is_some_and(|every| step.is_multiple_of(every.get())) {
            self.checkpoint(sink)?;
        }
        Ok(met)
    }

    /// The first stop condition that a replica meets.
    fn first_met(&self, schedule: &Schedule, readings: &[Reading]) -> Option<Ending> {
        if schedule.stop_on.is_empty() {
            return None;
        }
        (0..self.n_replicas()).find_map(|b| {
            let (frame, bonds, reading) = (self.frame(b), &schedule.bonds[b], readings.get(b));
            let condition = *schedule.stop_on.iter().find(|c| c.is_met(&frame, bonds, reading))?;
            Some(Ending::Condition { replica: frame.replica, condition })
        })
    }

    fn checkpoint(&mut self, sink: &mut impl Sink) -> Result<(), SimulationError> {
        let (snapshots, step) = (self.snapshots(), self.step_number());
        sink.checkpoint(&snapshots).map_err(|source| SimulationError::Checkpoint { step, source })
    }

    /// Writes the present step, unless the sink has it.
    fn write_frames(&mut self, sink: &mut impl Sink) -> Result<(), SimulationError> {
        let step = self.step_number();
        if self.framed_step == Some(step) {
            return Ok(());
        }
        for b in 0..self.n_replicas() {
            let frame = self.frame(b);
            let replica = frame.replica;
            sink.frame(&frame).map_err(|source| SimulationError::Sink { replica, step, source })?;
        }
        self.framed_step = Some(step);
        Ok(())
    }
}
