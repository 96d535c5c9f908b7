//! The processes that train together, and what they tell each other. The only place that knows MPI.
//!
//! Every method but [`Ranks::alone`] and [`Ranks::abort`] is collective where there are several: all ranks call the same
//! ones in the same order. A process that nobody launched together with others is alone, and nothing happens.

#[cfg(feature = "mpi")]
use mpi::{collective::SystemOperation, environment::Universe, traits::*};

/// f32 and f64.
#[cfg(feature = "mpi")]
pub use mpi::datatype::Equivalence as Number;
/// f32 and f64.
#[cfg(not(feature = "mpi"))]
pub trait Number {}
#[cfg(not(feature = "mpi"))]
impl<T: Into<f64>> Number for T {}

/// How launchers tell a process how many they started: Open MPI; MPICH, Intel MPI and Slurm's PMI.
const SIZES: [&str; 2] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE"];

/// The processes of a run, as one of them sees them.
pub struct Ranks {
    rank: usize,
    size: usize,
    #[cfg(feature = "mpi")]
    universe: Option<Universe>,
}

/// Processes were launched together that cannot work together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RanksError {
    /// This program knows no MPI.
    #[error(
        "started as one of {size} processes ({variable}), but this mdet was built without MPI: build it with \
         `--features mpi`, or start one process"
    )]
    NoMpi {
        /// Processes launched.
        size: usize,
        /// The variable that says so.
        variable: &'static str,
    },
    /// The MPI library does not see the launcher's processes.
    #[error(
        "started as one of {launched} processes ({variable}), but the MPI library that mdet was built with sees {found}: \
         use the mpirun of that library"
    )]
    OtherMpi {
        /// Processes launched.
        launched: usize,
        /// The variable that says so.
        variable: &'static str,
        /// Processes that the library sees.
        found: usize,
    },
    /// The MPI library cannot be used from threads.
    #[error("this MPI library does not let a thread other than the first call it (MPI_THREAD_SERIALIZED)")]
    Threads,
}

impl Ranks {
    /// This process by itself.
    pub fn alone() -> Self {
        Self {
            rank: 0,
            size: 1,
            #[cfg(feature = "mpi")]
            universe: None,
        }
    }

    /// The processes that `mpirun` or the like started together with this one; alone without it. Once in a process.
    ///
    /// # Errors
    /// [`RanksError`], where there are several that cannot find each other.
    pub fn launched() -> Result<Self, RanksError> {
        match launched() {
            Some((size, variable)) if size > 1 => Self::joined(size, variable),
            _ => Ok(Self::alone()),
        }
    }

    #[cfg(not(feature = "mpi"))]
    fn joined(size: usize, variable: &'static str) -> Result<Self, RanksError> {
        Err(RanksError::NoMpi { size, variable })
    }

    #[cfg(feature = "mpi")]
    fn joined(launched: usize, variable: &'static str) -> Result<Self, RanksError> {
        // Training runs on a thread of its pool, which is not the first thread of the process.
        let (universe, threading) = mpi::initialize_with_threading(mpi::Threading::Serialized)
            .expect("the first call in this process");
        if threading < mpi::Threading::Serialized {
            return Err(RanksError::Threads);
        }
        let world = universe.world();
        let (rank, found) = (world.rank() as usize, world.size() as usize);
        if found != launched {
            return Err(RanksError::OtherMpi { launched, variable, found });
        }
        Ok(Self { rank, size: found, universe: Some(universe) })
    }

    /// This process's number, from 0.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// Number of processes.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Whether this is the one that writes files and prints.
    pub fn is_first(&self) -> bool {
        self.rank == 0
    }

    /// Adds the values of all ranks, element by element; all get the same bits (MPI 4.0, section 6.9.6).
    pub fn sum<T: Number + Clone>(&self, values: &mut [T]) {
        #[cfg(feature = "mpi")]
        if let Some(universe) = &self.universe {
            let own = values.to_vec();
            universe.world().all_reduce_into(&own[..], values, SystemOperation::sum());
        }
        let _ = values;
    }

    /// The sum of one value of each rank.
    pub fn sum_of(&self, value: f64) -> f64 {
        let mut sum = [value];
        self.sum(&mut sum);
        sum[0]
    }

    /// Whether any rank says so.
    pub fn any(&self, is_so: bool) -> bool {
        self.sum_of(f64::from(u8::from(is_so))) > 0.0
    }

    /// Gives every rank the first one's values.
    pub fn broadcast<T: Number>(&self, values: &mut [T]) {
        #[cfg(feature = "mpi")]
        if let Some(universe) = &self.universe {
            universe.world().process_at_rank(0).broadcast_into(values);
        }
        let _ = values;
    }

    /// What each rank made, if all succeeded. Else the lowest rank that failed gets its error, and the others `None`:
    /// there is nothing left to do or say for them.
    ///
    /// # Errors
    /// As `result`.
    pub fn agree<T, E>(&self, result: Result<T, E>) -> Result<Option<T>, E> {
        let mut failed = vec![0.0; self.size];
        failed[self.rank] = f64::from(u8::from(result.is_err()));
        self.sum(&mut failed);
        match failed.iter().position(|&f| f > 0.0) {
            None => result.map(Some),
            Some(lowest) if lowest == self.rank => result.map(Some),
            Some(_) => Ok(None),
        }
    }

    /// Ends all ranks at once, with exit code 1: for an error that the others do not know of. Returns where this process
    /// is alone.
    pub fn abort(&self) {
        #[cfg(feature = "mpi")]
        if let Some(universe) = &self.universe {
            universe.world().abort(1);
        }
    }
}

impl Drop for Ranks {
    /// The others would wait for ever for a process that panicked.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.abort();
        }
    }
}

/// How many processes the launcher started, and the variable that says so.
fn launched() -> Option<(usize, &'static str)> {
    SIZES.into_iter().find_map(|name| Some((std::env::var(name).ok()?.parse().ok()?, name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_agrees_with_itself() {
        let ranks = Ranks::alone();
        assert_eq!((ranks.rank(), ranks.size(), ranks.is_first()), (0, 1, true));
        assert!(ranks.any(true) && !ranks.any(false));
        assert_eq!(ranks.agree(Err::<(), _>("wrong")), Err("wrong"));
        assert_eq!(ranks.agree(Ok::<_, ()>(3)), Ok(Some(3)));
        let mut values = [-0.0_f32, 2.5];
        ranks.sum(&mut values);
        ranks.broadcast(&mut values);
        assert_eq!(values.map(f32::to_bits), [-0.0_f32, 2.5].map(f32::to_bits));
    }
}
