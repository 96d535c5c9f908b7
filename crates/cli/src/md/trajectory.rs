//! Files that only grow: trajectories in their formats, and tables. A file can be cut back to an earlier length.
//!
//! Every piece is appended by opening the file anew, so that thousands of replicas do not exhaust the system's open
//! files, and is whole once the next one is asked for.

use super::config::{Column, Format, RunConfig};
use super::folder::short;
use crate::AnyError;
use crate::input::at;
use mdet_core::Structure;
use mdet_core::elements::mass_u;
use mdet_data::amber_netcdf::{self, Columns};
use mdet_data::{FrameView, dcd, write_frame};
use mdet_md::Frame;
use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::PathBuf;

/// A file that grows, and its length.
pub(crate) struct Growing {
    path: PathBuf,
    length: u64,
}

impl Growing {
    /// A new file that begins with `header`.
    pub fn create(path: PathBuf, header: &[u8]) -> Result<Self, AnyError> {
        std::fs::write(&path, header).map_err(at(&path))?;
        Ok(Self { path, length: header.len() as u64 })
    }

    /// An old file, cut back to `length`; one that is shorter has lost what the checkpoint counts on.
    pub fn cut_back(path: PathBuf, length: u64) -> Result<Self, AnyError> {
        let file = OpenOptions::new().write(true).open(&path).map_err(at(&path))?;
        let found = file.metadata().map_err(at(&path))?.len();
        if found < length {
            let path = path.display();
            return Err(format!(
                "{path}: expected at least {length} bytes, as at the checkpoint, found {found}"
            )
            .into());
        }
        file.set_len(length).map_err(at(&path))?;
        Ok(Self { path, length })
    }

    pub fn append(&mut self, bytes: &[u8]) -> Result<(), AnyError> {
        let append = || -> std::io::Result<()> {
            let mut file = OpenOptions::new().append(true).open(&self.path)?;
            file.write_all(bytes).inspect_err(|_| {
                // On a full disk part of it may be there; the first error is what matters.
                let _ = file.set_len(self.length);
            })
        };
        append().map_err(at(&self.path))?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    fn overwrite(&self, offset: u64, bytes: &[u8]) -> Result<(), AnyError> {
        let overwrite = || -> std::io::Result<()> {
            let mut file = OpenOptions::new().write(true).open(&self.path)?;
            file.seek(SeekFrom::Start(offset))?;
            file.write_all(bytes)
        };
        overwrite().map_err(at(&self.path))
    }

    /// Waits until what was appended is on disk.
    pub fn sync(&self) -> Result<(), AnyError> {
        File::open(&self.path).and_then(|file| file.sync_data()).map_err(at(&self.path))
    }

    pub fn length(&self) -> u64 {
        self.length
    }
}

/// The trajectory of one replica.
pub(crate) struct Trajectory {
    file: Growing,
    format: Format,
    columns: Columns,
    n_frames: u32,
}

impl Trajectory {
    /// The name of a trajectory, with the label of its replica.
    pub fn name(label: &str, format: Format) -> String {
        let extension = match format {
            Format::Xyz => "xyz",
            Format::Netcdf => "nc",
            Format::Dcd => "dcd",
        };
        format!("trajectory{label}.{extension}")
    }

    /// A new file at `path`.
    pub fn create(path: PathBuf, structure: &Structure, config: &RunConfig) -> Result<Self, AnyError> {
        let columns = columns(config);
        let header = match config.format {
            Format::Xyz => Vec::new(),
            Format::Netcdf => amber_netcdf::header(structure.numbers(), columns),
            Format::Dcd => dcd::header(structure.n_atoms(), config.every.get(), config.dynamics.timestep_fs),
        };
        Ok(Self { file: Growing::create(path, &header)?, format: config.format, columns, n_frames: 0 })
    }

    /// The file at `path` as it was with `n_frames` frames in `length` bytes.
    pub fn cut_back(path: PathBuf, config: &RunConfig, length: u64, n_frames: u32) -> Result<Self, AnyError> {
        let file = Growing::cut_back(path, length)?;
        let trajectory = Self { file, format: config.format, columns: columns(config), n_frames };
        trajectory.count()?;
        Ok(trajectory)
    }

    /// Appends a frame.
    pub fn write(&mut self, frame: &Frame<'_>) -> Result<(), AnyError> {
        let positions = frame.structure.positions();
        let velocities = self.columns.velocities.then_some(frame.velocities);
        let forces = self.columns.forces.then_some(frame.forces);
        let time_fs = frame.observables.time_fs;
        let bytes = match self.format {
            Format::Xyz => {
                let key_values = [
                    ("time_fs".to_string(), short(time_fs).to_string()),
                    ("step".into(), frame.step.to_string()),
                ];
                let mut bytes = Vec::new();
                let numbers = frame.structure.numbers();
                let view = FrameView {
                    numbers,
                    masses_u: isotopes(numbers, frame.masses_u),
                    positions,
                    velocities,
                    forces,
                    energy_ev: None,
                    charge: Some(frame.structure.charge()),
                    multiplicity: Some(frame.structure.multiplicity()),
                    key_values: &key_values,
                };
                write_frame(&mut bytes, &view)?;
                bytes
            }
            Format::Netcdf => amber_netcdf::frame(time_fs, positions, velocities, forces),
            Format::Dcd => dcd::frame(positions),
        };
        self.file.append(&bytes)?;
        self.n_frames += 1;
        self.count()
    }

    /// Brings the header's count of frames up to date: after the frame, so that it never counts one that is not there.
    fn count(&self) -> Result<(), AnyError> {
        match self.format {
            Format::Xyz => Ok(()),
            Format::Netcdf => {
                self.file.overwrite(amber_netcdf::COUNT_OFFSET, &amber_netcdf::count(self.n_frames))
            }
            Format::Dcd => self.file.overwrite(dcd::COUNT_OFFSET, &dcd::count(self.n_frames)),
        }
    }

    pub fn file(&self) -> &Growing {
        &self.file
    }

    pub fn n_frames(&self) -> u32 {
        self.n_frames
    }
}

/// The masses, where they are not those of the natural elements.
pub(crate) fn isotopes<'a>(numbers: &[u8], masses_u: &'a [f64]) -> Option<&'a [f64]> {
    let is_natural = |(&z, &mass): (&u8, &f64)| mass == mass_u(z);
    (!numbers.iter().zip(masses_u).all(is_natural)).then_some(masses_u)
}

fn columns(config: &RunConfig) -> Columns {
    Columns { velocities: config.writes(Column::Velocities), forces: config.writes(Column::Forces) }
}
