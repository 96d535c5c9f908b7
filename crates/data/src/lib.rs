//! Files in and out: XYZ frames as users bring them, reference data of every format, and the store of training sets.
//!
//! `extxyz` reads frames, `extxyz_write` writes them; `read` turns any format into a stream of `Record`s, `dataset`
//! holds them at random access, `store` keeps them on disk. Every reader checks what it reads and says where a file is
//! wrong. Periodic cells are deliberately absent: MD-ET is a model of molecules.

pub mod amber_netcdf;
mod columns;
mod dataset;
pub mod dcd;
pub mod energy_check;
mod error;
mod extent;
pub mod extxyz;
pub mod extxyz_write;
pub mod findings;
pub mod fingerprint;
mod read;
mod record;
pub mod split;
pub mod store;
pub mod survey;
mod units;

pub use dataset::{Dataset, Labelled};
pub use error::DataError;
pub use extxyz::{Frame, FrameReader, Place, Problem, ReadError, read_file};
pub use extxyz_write::{FrameView, write_frame};
pub use fingerprint::shared_frames;
pub use read::{About, Labels, ReadOptions, Reader};
pub use record::{Record, composition};
pub use store::StoreWriter;
pub use units::Units;
