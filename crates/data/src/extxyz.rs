//! Reader of XYZ and extended XYZ files, frame by frame.
//!
//! The format is that of <https://github.com/libAtoms/extxyz> as ASE writes it: an atom count, a comment line of
//! `key=value` pairs, one line per atom with the columns that `Properties` declares. Without `Properties` a frame is
//! plain XYZ, `symbol x y z`, and whatever follows on an atom's line is ignored, as many programs put their own
//! columns there. With `Properties` the column count is exact.
//!
//! Lengths are Å, energies eV, forces eV/Å, as in ASE. Velocities are read from the column `velo` in Å/fs, the one
//! [`crate::extxyz_write`] writes. Keys and column names are compared without case.
//!
//! | read into | keys or columns, the first present wins |
//! |---|---|
//! | forces | `REF_forces`, `forces`, `force` |
//! | energy | `REF_energy`, `energy` |
//! | charge | `charge`, `total_charge` |
//! | multiplicity | `multiplicity`, `spin_multiplicity`, `mult`, `spin`, `total_spin` |
//! | masses, u | `masses` |
//!
//! `spin` and `total_spin` are taken as the multiplicity 2S + 1, as SPICE, fairchem and MACE write them, not as S or as a number of
//! unpaired electrons. Two keys that give different charges or multiplicities are an error.
//!
//! Deliberately absent: periodic cells (refused), ASE `momenta`, `VEC` lines, per-atom charges.

mod columns;
mod comment;
mod error;

pub(crate) use comment::is_reserved;
pub use error::{Place, Problem, ReadError};

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;

use mdet_core::{Structure, lowest_multiplicity};

use columns::{Columns, Row};
use comment::Comment;

/// One frame as the file gives it: a geometry and what was known about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    /// Atomic numbers, one per atom; every one is an element of [`mdet_core::elements`].
    pub numbers: Vec<u8>,
    /// Positions in Å, one per atom.
    pub positions: Vec<[f64; 3]>,
    /// Forces in eV/Å, one per atom.
    pub forces: Option<Vec<[f64; 3]>>,
    /// Velocities in Å/fs, one per atom.
    pub velocities: Option<Vec<[f64; 3]>>,
    /// Masses in u, one per atom, where they are not those of the natural elements.
    pub masses_u: Option<Vec<f64>>,
    /// Energy in eV.
    pub energy_ev: Option<f64>,
    /// Total charge in e.
    pub charge: Option<i32>,
    /// Spin multiplicity 2S + 1.
    pub multiplicity: Option<u32>,
    /// The comment line's other keys and values, in order, unquoted. A key without a value has the value `T`. The
    /// free text of a plain XYZ comment comes out as such keys, one per word.
    pub key_values: Vec<(String, String)>,
    /// The columns as `Properties` declares them; `None` for plain XYZ.
    pub properties: Option<String>,
    /// Where the frame begins.
    pub place: Place,
}

impl Frame {
    /// The frame as a molecule.
    ///
    /// What the caller gives (the command line) wins over what the file says; where both are silent the charge is 0
    /// and the multiplicity the lowest one that the number of electrons allows.
    ///
    /// # Errors
    /// [`ReadError::Structure`] with the frame's place when atoms, charge and multiplicity are no molecule.
    pub fn into_structure(
        self,
        charge_override: Option<i32>,
        multiplicity_override: Option<u32>,
    ) -> Result<Structure, ReadError> {
        let charge = charge_override.or(self.charge).unwrap_or(0);
        let multiplicity = multiplicity_override
            .or(self.multiplicity)
            .unwrap_or_else(|| lowest_multiplicity(&self.numbers, charge));
        Structure::new(self.numbers, self.positions, charge, multiplicity)
            .map_err(|source| ReadError::Structure { place: self.place, source })
    }
}

/// All frames of a file.
///
/// # Errors
/// [`ReadError`] of the first frame that is wrong; frames before it are not returned.
pub fn read_file(path: &Path) -> Result<Vec<Frame>, ReadError> {
    FrameReader::open(path)?.collect()
}

/// Reads a file's frames one after another, so that a long trajectory need not fit in memory.
///
/// Goes on behind a frame that is wrong; ends after an error that [ends reading](ReadError::ends_reading). A blank line or
/// a number on its own among the atoms, which the next frame begins with, ends a frame early. Blank lines between and after
/// frames are skipped, Windows line endings, a byte order mark and a missing last newline accepted; bytes that are not
/// UTF-8 (a comment in another encoding) are replaced.
#[derive(Debug)]
pub struct FrameReader<R> {
    input: R,
    place: Place,
    bytes: Vec<u8>,
    text: String,
    /// The line was seen to be the next frame's, and is read again.
    again: bool,
    finished: bool,
}

impl FrameReader<BufReader<File>> {
    /// Opens a file.
    ///
    /// # Errors
    /// [`ReadError::Open`] when it cannot be opened.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        let file = File::open(path).map_err(|source| ReadError::Open { path: path.into(), source })?;
        Ok(Self::new(BufReader::new(file), path))
    }
}

impl<R: BufRead> FrameReader<R> {
    /// A reader of `input`; `path` only names it in errors.
    pub fn new(input: R, path: &Path) -> Self {
        let place = Place { path: Arc::from(path), line: 0, frame: 0 };
        Self { input, place, bytes: Vec::new(), text: String::new(), again: false, finished: false }
    }

    /// Moves on to the next line, without its end in `self.text`; false at the end of the file.
    fn next_line(&mut self) -> Result<bool, ReadError> {
        if std::mem::take(&mut self.again) {
            return Ok(true);
        }
        self.bytes.clear();
        let n_read = self
            .input
            .read_until(b'\n', &mut self.bytes)
            .map_err(|source| ReadError::Io { place: self.place.clone(), source })?;
        self.text.clear();
        if n_read == 0 {
            return Ok(false);
        }
        let text = String::from_utf8_lossy(&self.bytes);
        let text = if self.place.line == 0 { text.trim_start_matches('\u{feff}') } else { &text };
        self.text.push_str(text.trim_end_matches(['\n', '\r']));
        self.place.line += 1;
        Ok(true)
    }

    fn problem(&self, problem: Problem) -> ReadError {
        ReadError::Frame { place: self.place.clone(), problem }
    }

    fn next_frame(&mut self) -> Result<Option<Frame>, ReadError> {
        let Some(n_atoms) = self.atom_count()? else { return Ok(None) };
        let place = self.place.clone();

        if !self.next_line()? {
            return Err(self.problem(Problem::Truncated { expected: n_atoms, found: 0 }));
        }
        let declared = Comment::parse(&self.text).and_then(|comment| {
            let columns = Columns::declared(comment.properties.as_deref())?;
            Ok((comment, columns))
        });
        let (comment, columns) = match declared {
            Ok(declared) => declared,
            Err(problem) => return Err(self.skip(problem, n_atoms)),
        };

        let mut frame = Frame {
            numbers: Vec::new(),
            positions: Vec::new(),
            forces: columns.has_forces().then(Vec::new),
            velocities: columns.has_velocities().then(Vec::new),
            masses_u: columns.has_masses().then(Vec::new),
            energy_ev: comment.energy_ev,
            charge: comment.charge,
            multiplicity: comment.multiplicity,
            key_values: comment.key_values,
            properties: comment.properties,
            place,
        };
        for atom in 0..n_atoms {
            if !self.next_atom()? {
                return Err(self.problem(Problem::Truncated { expected: n_atoms, found: atom }));
            }
            match columns.row(&self.text) {
                Ok(row) => frame.push(row),
                Err(problem) => return Err(self.skip(problem, n_atoms - atom - 1)),
            }
        }
        Ok(Some(frame))
    }

    /// Moves on to an atom's line; false where the frame ends before it.
    fn next_atom(&mut self) -> Result<bool, ReadError> {
        if !self.next_line()? {
            return Ok(false);
        }
        let text = self.text.trim();
        self.again = text.parse::<usize>().is_ok();
        Ok(!self.again && !text.is_empty())
    }

    /// The error of a frame that is wrong, after going on to its end over at most `n_atoms` atoms.
    fn skip(&mut self, problem: Problem, n_atoms: usize) -> ReadError {
        let error = self.problem(problem);
        for _ in 0..n_atoms {
            match self.next_atom() {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => return error,
            }
        }
        error
    }

    /// The next frame's number of atoms, or `None` when only blank lines are left.
    fn atom_count(&mut self) -> Result<Option<usize>, ReadError> {
        while self.next_line()? {
            let text = self.text.trim();
            if text.is_empty() {
                continue;
            }
            return match text.parse() {
                Ok(n_atoms) if n_atoms > 0 => Ok(Some(n_atoms)),
                _ => Err(self.problem(Problem::AtomCount { found: error::excerpt(text) })),
            };
        }
        if self.place.frame == 0 {
            return Err(ReadError::Empty { path: self.place.path.to_path_buf() });
        }
        Ok(None)
    }
}

impl Frame {
    fn push(&mut self, row: Row) {
        self.numbers.push(row.number);
        self.positions.push(row.position);
        if let Some((forces, force)) = self.forces.as_mut().zip(row.force) {
            forces.push(force);
        }
        if let Some((velocities, velocity)) = self.velocities.as_mut().zip(row.velocity) {
            velocities.push(velocity);
        }
        if let Some((masses_u, mass_u)) = self.masses_u.as_mut().zip(row.mass) {
            masses_u.push(mass_u);
        }
    }
}

impl<R: BufRead> Iterator for FrameReader<R> {
    type Item = Result<Frame, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.finished {
            return None;
        }
        let frame = self.next_frame().transpose();
        self.finished = match &frame {
            Some(Ok(_)) => false,
            Some(Err(error)) => error.ends_reading(),
            None => true,
        };
        self.place.frame += 1;
        frame
    }
}

impl<R: BufRead> std::iter::FusedIterator for FrameReader<R> {}
