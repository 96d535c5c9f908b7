//! The run loop: many steps, frames to a sink, and an end on request.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, Ordering};

use mdet_core::ForceField;

use crate::simulation::{Frame, Simulation, SimulationError};

/// Where frames go: a trajectory file, a table, a viewer. Closures `FnMut(&Frame) -> Result` are sinks.
pub trait Sink {
    /// Takes one frame of one replica. Frames of a step come in the order of the batch.
    ///
    /// # Errors
    /// Whatever keeps the frame from being kept; the run ends with it.
    fn frame(&mut self, frame: &Frame<'_>) -> Result<(), Box<dyn std::error::Error + Send + Sync>>;
}

impl<S> Sink for S
where
    S: FnMut(&Frame<'_>) -> Result<(), Box<dyn std::error::Error + Send + Sync>>,
{
    fn frame(&mut self, frame: &Frame<'_>) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        self(frame)
    }
}

/// How a run without error ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// All steps were done.
    Completed,
    /// The stop flag was found raised, after a whole step.
    Stopped,
}

impl<F: ForceField> Simulation<F> {
    /// Does `n_steps` steps, or fewer when `stop` is raised, which is looked at before every step.
    ///
    /// Frames are written at step 0, at every multiple of `every`, and at the last step done, whatever ended the run;
    /// no step is written twice, also not by the run after. A resumed simulation holds the frame it starts from as
    /// written already.
    ///
    /// # Errors
    /// [`SimulationError`] when forces or the sink fail. Of a failed step nothing is written; the step before it is.
    pub fn run(
        &mut self,
        n_steps: u64,
        every: NonZeroU64,
        sink: &mut impl Sink,
        stop: &AtomicBool,
    ) -> Result<Ending, SimulationError> {
        if self.step_number() == 0 {
            self.write_frames(sink)?;
        }
        for _ in 0..n_steps {
            if stop.load(Ordering::Relaxed) {
                self.write_frames(sink)?;
                return Ok(Ending::Stopped);
            }
            if let Err(error) = self.step() {
                // The cause of the end is the error of the step, also when this frame cannot be written.
                let _ = self.write_frames(sink);
                return Err(error);
            }
            if self.step_number().is_multiple_of(every.get()) {
                self.write_frames(sink)?;
            }
        }
        self.write_frames(sink)?;
        Ok(Ending::Completed)
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
