//! Files in and out: XYZ frames as users bring them, and the training corpus.
//!
//! `extxyz` reads, `extxyz_write` writes, `corpus` holds a training set in memory. Every reader checks what it
//! reads and says where a file is wrong. Periodic cells are deliberately absent: MD-ET is a model of molecules.

pub mod corpus;
pub mod extxyz;
pub mod extxyz_write;

pub use corpus::{CorpusError, Dataset, Labelled};
pub use extxyz::{Frame, FrameReader, Place, Problem, ReadError, read_file};
pub use extxyz_write::{FrameView, write_frame};
