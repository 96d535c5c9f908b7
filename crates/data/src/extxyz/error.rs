//! What can be wrong with an XYZ file, and where.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mdet_core::StructureError;

/// A line of a file and the frame it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file, as it was named when it was opened.
    pub path: Arc<Path>,
    /// The line, counted from 1, as editors do.
    pub line: usize,
    /// The frame, counted from 0, as in `ase.io.read(path, index)`.
    pub frame: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: frame {} (from 0)", self.path.display(), self.line, self.frame)
    }
}

/// Why a file's frames could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file cannot be opened.
    #[error("{} cannot be opened", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Reading failed on the way.
    #[error("{place}: reading failed after this line")]
    Io {
        /// The last line that could be read.
        place: Place,
        /// The system's reason.
        source: io::Error,
    },
    /// The file has no frame.
    #[error("{}: expected at least one frame, found an empty file", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A line is not what the format asks for.
    #[error("{place}: {problem}")]
    Frame {
        /// The line.
        place: Place,
        /// What is wrong with it.
        problem: Problem,
    },
    /// A frame was read, but is no molecule.
    #[error("{place}: the frame is no molecule")]
    Structure {
        /// The frame's first line.
        place: Place,
        /// Why not.
        source: StructureError,
    },
}

impl ReadError {
    /// Whether nothing behind the error is read, as where the next frame begins is not known.
    pub fn ends_reading(&self) -> bool {
        match self {
            Self::Open { .. } | Self::Io { .. } | Self::Empty { .. } => true,
            Self::Frame { problem, .. } => matches!(problem, Problem::AtomCount { .. }),
            Self::Structure { .. } => false,
        }
    }
}

/// What is wrong with a line of an XYZ file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A frame does not begin with its number of atoms.
    #[error("expected the number of atoms, which every frame of an XYZ file begins with, found {found:?}")]
    AtomCount {
        /// The line.
        found: String,
    },
    /// The file, a blank line or the next frame's number of atoms ends a frame early.
    #[error("expected {expected} atoms, found {found} before the frame ends")]
    Truncated {
        /// Atoms announced.
        expected: usize,
        /// Atoms there.
        found: usize,
    },
    /// An atom's line does not have the columns that `Properties` declares.
    #[error("expected {expected} columns, as Properties declares, found {found}")]
    ColumnCount {
        /// Columns declared.
        expected: usize,
        /// Columns there.
        found: usize,
    },
    /// An atom's line of a plain XYZ frame is too short.
    #[error("expected an element and three coordinates, found {found} columns")]
    PlainColumnCount {
        /// Columns there.
        found: usize,
    },
    /// Neither an element's symbol nor an atomic number.
    #[error("expected an element's symbol or atomic number, found {found:?}")]
    Element {
        /// The column.
        found: String,
    },
    /// A column or value is no finite number: unparsable, NaN or infinite.
    #[error("{name}: expected a finite number, found {found:?}")]
    Number {
        /// Column or key.
        name: String,
        /// Its text.
        found: String,
    },
    /// A charge is no integer.
    #[error("{key}: expected an integer, the total charge in e, found {found:?}")]
    Charge {
        /// The key.
        key: String,
        /// Its value.
        found: String,
    },
    /// A multiplicity is no positive integer.
    #[error("{key}: expected a positive integer, the spin multiplicity 2S + 1, found {found:?}")]
    Multiplicity {
        /// The key.
        key: String,
        /// Its value.
        found: String,
    },
    /// Two spellings of one quantity give different values.
    #[error("expected one value, found {first} and {second}")]
    Conflict {
        /// The first key with its value.
        first: String,
        /// The second key with its value.
        second: String,
    },
    /// `Properties` is not of the form `name:type:columns:…`, or lacks or repeats what a frame needs.
    #[error("Properties: expected {expected}, found {found:?}")]
    Properties {
        /// What should stand there.
        expected: &'static str,
        /// What does.
        found: String,
    },
    /// A quoted value does not end.
    #[error("{key}: expected the value to end with {close}, found the end of the line")]
    Unclosed {
        /// The key.
        key: String,
        /// The closing quote or bracket.
        close: char,
    },
    /// `pbc` is not a list of booleans.
    #[error("pbc: expected T or F for each direction, found {found:?}")]
    Pbc {
        /// The value.
        found: String,
    },
    /// The frame is periodic.
    #[error(
        "expected a molecule, found a periodic cell ({found}): periodic cells are not supported. If the molecule \
         is isolated, write the frame with pbc=\"F F F\" (in ASE: atoms.pbc = False); otherwise cut a cluster out"
    )]
    Periodic {
        /// The key that says so.
        found: &'static str,
    },
}

/// As much of a text as an error message can take.
pub(super) fn excerpt(text: &str) -> String {
    const MAX_CHARS: usize = 60;
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
