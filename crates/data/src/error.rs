//! What can be wrong with a data set, and where.

use crate::ReadError;
use mdet_core::StructureError;
use std::path::{Path, PathBuf};

/// Why a data set cannot be read or written. Frames, structures and atoms are counted from 0 within their file.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The system refuses to read or write.
    #[error("{} cannot be read or written", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is not of the format that it seems to be, or is damaged.
    #[error("{}: expected {expected}", path.display())]
    Container {
        /// The file.
        path: PathBuf,
        /// The format.
        expected: &'static str,
        /// What its reader says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Something that the file as a whole should have.
    #[error("{}: expected {expected}, found {found}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// What should be there.
        expected: String,
        /// What is.
        found: String,
    },
    /// An array, frame or entry that is not as it should be.
    #[error("{}: {place}: expected {expected}, found {found}", path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// Array, group, frame.
        place: String,
        /// What should be there.
        expected: String,
        /// What is.
        found: String,
    },
    /// A frame that is no molecule.
    #[error("{}: {place}", path.display())]
    Structure {
        /// The file.
        path: PathBuf,
        /// The frame.
        place: String,
        /// Why it is none.
        source: StructureError,
    },
    /// An XYZ file that is wrong in a line.
    #[error(transparent)]
    Text(#[from] ReadError),
    /// What is wrong hides what follows in the file.
    #[error("{0}; reading stopped here")]
    Stopped(Box<DataError>),
}

impl DataError {
    /// Whether what follows in the file is not read.
    pub fn ends_reading(&self) -> bool {
        matches!(self, Self::Io { .. } | Self::Text(ReadError::Io { .. }) | Self::Stopped(_))
    }

    /// This error, behind which nothing is read.
    pub(crate) fn stopped(self) -> Self {
        if self.ends_reading() { self } else { Self::Stopped(Box::new(self)) }
    }

    /// The system's error on a file.
    pub(crate) fn io(path: &Path) -> impl Fn(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { path: path.clone(), source }
    }

    pub(crate) fn container<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
        path: &Path,
        expected: &'static str,
    ) -> impl Fn(E) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Container { path: path.clone(), expected, source: source.into() }
    }

    pub(crate) fn missing(path: &Path, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self::Missing { path: path.into(), expected: expected.into(), found: found.into() }
    }

    pub(crate) fn wrong(
        path: &Path,
        place: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self::Wrong { path: path.into(), place: place.into(), expected: expected.into(), found: found.into() }
    }
}
