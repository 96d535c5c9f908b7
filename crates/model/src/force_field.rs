//! A network as a `ForceField` with an exact Jacobian: units, threads and grouping.

use crate::{Molecule, Network, Tape};
use mdet_core::constants::{BOHR_IN_ANGSTROM, HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM};
use mdet_core::force_field::check_finite;
use mdet_core::{ForceField, ForceFieldError, ForceJacobian, Structure};
use mdet_kernels::Real;
use rayon::prelude::*;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Edge rows that small structures are gathered to, so that the matrix products have rows to work on.
const GROUP_ROWS: usize = 512;

/// Raw network forces in eV/Å: net force and torque are left in.
///
/// With several groups of structures each thread takes whole groups; with fewer groups than threads all threads
/// share one group's rows. The forces are the same bit for bit.
#[derive(Debug)]
pub struct NetworkForceField<T> {
    network: Network<T>,
    pool: rayon::ThreadPool,
    /// One per thread of the pool.
    tapes: Vec<Mutex<Tape<T>>>,
    positions_bohr: Vec<[f64; 3]>,
    raw: Vec<T>,
}

impl<T: Real> NetworkForceField<T> {
    /// A force field that computes on `n_threads` threads of its own (0: as many as there are cores).
    ///
    /// # Errors
    /// When the system does not give the threads.
    pub fn new(network: Network<T>, n_threads: usize) -> Result<Self, rayon::ThreadPoolBuildError> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build()?;
        // Here, so that the first step takes no longer than others.
        network.packed();
        let tapes = (0..pool.current_num_threads()).map(|_| Mutex::default()).collect();
        Ok(Self { network, pool, tapes, positions_bohr: Vec::new(), raw: Vec::new() })
    }

    /// The network.
    pub fn network(&self) -> &Network<T> {
        &self.network
    }
}

impl<T: Real> ForceField for NetworkForceField<T> {
    fn forces(&mut self, batch: &[Structure], forces: &mut [[f64; 3]]) -> Result<(), ForceFieldError> {
        self.positions_bohr.clear();
        let positions = batch.iter().flat_map(Structure::positions);
        self.positions_bohr.extend(positions.map(|r| r.map(|x| x / BOHR_IN_ANGSTROM)));
        self.raw.resize(3 * self.positions_bohr.len(), T::ZERO);
        let mut groups = Vec::new();
        let mut rest = (batch, self.positions_bohr.as_slice(), self.raw.as_mut_slice());
        for range in group_ranges(batch) {
            let (structures, later) = rest.0.split_at(range.len());
            let n_atoms = structures.iter().map(Structure::n_atoms).sum();
            let (positions, later_positions) = rest.1.split_at(n_atoms);
            let (raw, later_raw) = rest.2.split_at_mut(3 * n_atoms);
            groups.push((molecules(structures, positions), raw));
            rest = (later, later_positions, later_raw);
        }
        let (network, tapes) = (&self.network, &self.tapes);
        let n_threads = tapes.len();
        let infer = |molecules: &[Molecule<'_>], n_threads, raw: &mut [T]| {
            let thread = rayon::current_thread_index().expect("runs inside the pool");
            // A tape is scratch memory: what a panicking pass left in it does not matter.
            let mut tape = tapes[thread].lock().unwrap_or_else(PoisonError::into_inner);
            network.infer(molecules, n_threads, &mut tape, raw);
        };
        self.pool.install(|| {
            if groups.len() >= n_threads {
                groups.into_par_iter().for_each(|(molecules, raw)| infer(&molecules, 1, raw));
            } else {
                groups.into_iter().for_each(|(molecules, raw)| infer(&molecules, n_threads, raw));
            }
        });
        for (force, raw) in forces.iter_mut().zip(self.raw.chunks_exact(3)) {
            *force = std::array::from_fn(|axis| raw[axis].to_f64() * HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM);
        }
        check_finite(batch, forces)
    }
}

impl<T: Real> ForceJacobian for NetworkForceField<T> {
    /// [`Network::jacobian`] in eV/Å², its rows dealt to the threads.
    fn jacobian(&mut self, structure: &Structure) -> Result<Vec<f64>, ForceFieldError> {
        let size = 3 * structure.n_atoms();
        let positions: Vec<_> =
            structure.positions().iter().map(|r| r.map(|x| x / BOHR_IN_ANGSTROM)).collect();
        let molecule = molecules(std::slice::from_ref(structure), &positions)[0];
        let mut jacobian = self.pool.install(|| self.network.jacobian(&molecule));
        for entry in &mut jacobian {
            *entry *= HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM / BOHR_IN_ANGSTROM;
        }
        match jacobian.iter().position(|entry| !entry.is_finite()) {
            Some(entry) => Err(ForceFieldError::NonFinite { structure: 0, atom: entry / size / 3 }),
            None => Ok(jacobian),
        }
    }
}

/// Consecutive structures of at most [`GROUP_ROWS`] edge rows together; a larger one goes alone.
fn group_ranges(batch: &[Structure]) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    let mut rows = 0;
    for (index, structure) in batch.iter().enumerate() {
        let own = structure.n_atoms() * structure.n_atoms();
        rows += own;
        match ranges.last_mut() {
            Some(range) if rows <= GROUP_ROWS => range.end = index + 1,
            _ => {
                ranges.push(index..index + 1);
                rows = own;
            }
        }
    }
    ranges
}

fn molecules<'a>(structures: &'a [Structure], positions_bohr: &'a [[f64; 3]]) -> Vec<Molecule<'a>> {
    let mut first = 0;
    let molecule = |structure: &'a Structure| {
        let own = first..first + structure.n_atoms();
        first = own.end;
        Molecule {
            numbers: structure.numbers(),
            positions_bohr: &positions_bohr[own],
            charge: structure.charge(),
            multiplicity: structure.multiplicity(),
        }
    };
    structures.iter().map(molecule).collect()
}
