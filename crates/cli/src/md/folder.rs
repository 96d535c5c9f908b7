//! The folder of a dynamics run: what the run hands over goes into files that a restart can go on with.
//!
//! | file | content |
//! |---|---|
//! | `config.toml` | the resolved configuration |
//! | `checkpoint.json` | the state to restart from, replaced whole |
//! | `trajectory.xyz` (`.nc`, `.dcd`) | positions Å, velocities Å/fs (`velo`), forces eV/Å, time |
//! | `observables.csv` | time, temperature, energies of every written frame |
//! | `monitor.csv` | the trust monitor's readings |
//! | `summary.toml` | averages and drifts with their errors |
//! | `offending.xyz` | the frame that ended the run, if one did |
//! | `lock` | empty; held by the process that runs |
//!
//! With several frames or replicas the names carry numbers: `trajectory-002-r003.xyz` is frame 2, replica 3.

use super::checkpoint::{Checkpoint, FileState, ReplicaState};
use super::config::{Format, RunConfig};
use super::trajectory::{Growing, Trajectory};
use crate::AnyError;
use crate::input::at;
use mdet_core::{ReferenceBonds, Structure, elements, lock_folder, structure::distance};
use mdet_data::{FrameView, write_frame};
use mdet_md::{Frame, Reading, Sink, SinkError, Snapshot};
use std::fs::File;
use std::path::{Path, PathBuf};

const TABLE_HEADER: &str =
    "time_fs,temperature_k,kinetic_ev,potential_ev,total_ev,conserved_ev,max_force_ev_per_angstrom\n";

/// A run folder that is being written.
pub(crate) struct RunFolder {
    path: PathBuf,
    config: RunConfig,
    pub replicas: Vec<ReplicaFiles>,
    /// Keeps a second process out.
    _lock: File,
}

/// A time in fs, and the bonds that are broken there.
pub(crate) type BrokenBonds = (f64, Vec<String>);

/// The files of one replica.
pub(crate) struct ReplicaFiles {
    pub label: String,
    pub bonds: ReferenceBonds,
    /// The first frame with a broken bond: its time, and each bond with its length there.
    pub broken: Option<BrokenBonds>,
    pub last_temperature_k: f64,
    trajectory: Trajectory,
    table: Growing,
    monitor: Growing,
    /// How far the files were when every frame in them was due: a last frame that was not is cut off by a restart,
    /// and what it broke is forgotten.
    regular: FileState,
    regular_broken: Option<BrokenBonds>,
    /// How far they were before the first frame: step 0 is done again by a restart.
    empty: FileState,
}

impl RunFolder {
    /// Makes the folder, which must not be there or be empty, with the files of `structures` labelled by `labels`.
    pub fn create(
        path: &Path,
        config: RunConfig,
        structures: &[Structure],
        labels: &[String],
    ) -> Result<Self, AnyError> {
        let occupied = std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some());
        if occupied {
            let path = path.display();
            return Err(format!(
                "{path}: exists and is not empty; choose another with --out, or go on with it by --restart {path}"
            )
            .into());
        }
        std::fs::create_dir_all(path).map_err(at(path))?;
        let lock = Self::lock(path)?;
        config.write(path)?;
        let replica = |(structure, label): (&Structure, &String)| -> Result<ReplicaFiles, AnyError> {
            let trajectory = path.join(Trajectory::name(label, config.format));
            let trajectory = Trajectory::create(trajectory, structure, &config)?;
            let table =
                Growing::create(path.join(format!("observables{label}.csv")), TABLE_HEADER.as_bytes())?;
            let header = monitor_header(structure);
            let monitor = Growing::create(path.join(format!("monitor{label}.csv")), header.as_bytes())?;
            let regular = file_state(&trajectory, &table, &monitor);
            Ok(ReplicaFiles {
                label: label.clone(),
                bonds: ReferenceBonds::of(structure),
                broken: None,
                last_temperature_k: 0.0,
                trajectory,
                table,
                monitor,
                regular,
                regular_broken: None,
                empty: regular,
            })
        };
        let replicas = structures.iter().zip(labels).map(replica).collect::<Result<_, _>>()?;
        Ok(Self { path: path.to_path_buf(), config, replicas, _lock: lock })
    }

    /// Opens the folder of an earlier run at its checkpoint: everything after it is cut off.
    pub fn reopen(
        path: &Path,
        lock: File,
        config: RunConfig,
        checkpoint: &Checkpoint,
    ) -> Result<Self, AnyError> {
        let replica = |state: &ReplicaState| -> Result<ReplicaFiles, AnyError> {
            let (label, files) = (&state.label, state.files);
            let trajectory = path.join(Trajectory::name(label, config.format));
            Ok(ReplicaFiles {
                label: label.clone(),
                bonds: state.reference_bonds(),
                broken: state.broken.clone(),
                last_temperature_k: 0.0,
                trajectory: Trajectory::cut_back(
                    trajectory,
                    &config,
                    files.trajectory_bytes,
                    files.n_frames,
                )?,
                table: Growing::cut_back(path.join(format!("observables{label}.csv")), files.table_bytes)?,
                monitor: Growing::cut_back(path.join(format!("monitor{label}.csv")), files.monitor_bytes)?,
                regular: files,
                regular_broken: state.broken.clone(),
                empty: files,
            })
        };
        let replicas = checkpoint.replicas.iter().map(replica).collect::<Result<_, _>>()?;
        Ok(Self { path: path.to_path_buf(), config, replicas, _lock: lock })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the folder for this process.
    pub fn lock(path: &Path) -> Result<File, AnyError> {
        lock_folder(path).map_err(at(path))
    }

    /// `why` a run ended, with the file that its last frame went into; `moving` has what is known beside the structure.
    pub fn with_frame(&self, structure: &Structure, moving: FrameView<'_>, why: String) -> AnyError {
        // Positions that are not finite have no place in a file, and the disk may be full: the cause is what matters.
        match self.write_offending(structure, moving, &why) {
            Ok(path) => format!("{why}; the frame is {}", path.display()).into(),
            Err(_) => why.into(),
        }
    }

    fn write_offending(
        &self,
        structure: &Structure,
        moving: FrameView<'_>,
        why: &str,
    ) -> Result<PathBuf, AnyError> {
        let path = self.path.join("offending.xyz");
        let mut bytes = Vec::new();
        let key_values = [("reason".to_string(), why.to_string())];
        let view = FrameView {
            numbers: structure.numbers(),
            positions: structure.positions(),
            charge: Some(structure.charge()),
            multiplicity: Some(structure.multiplicity()),
            key_values: &key_values,
            ..moving
        };
        write_frame(&mut bytes, &view)?;
        mdet_core::atomic_write(&path, &bytes).map_err(at(&path))?;
        Ok(path)
    }
}

impl Sink for RunFolder {
    fn frame(&mut self, frame: &Frame<'_>) -> Result<(), SinkError> {
        let is_due = frame.step.is_multiple_of(self.config.every.get());
        self.replicas[frame.replica as usize].write(frame, is_due, self.config.format)
    }

    fn reading(&mut self, frame: &Frame<'_>, reading: &Reading) -> Result<(), SinkError> {
        let replica = &mut self.replicas[frame.replica as usize];
        let o = frame.observables;
        let mut row = format!(
            "{},{:.6},{:.6}",
            short(o.time_fs),
            reading.spread_ev_per_angstrom,
            o.max_force_ev_per_angstrom
        );
        row += &format!(",{},{:.4}", reading.broken_bonds.len(), reading.longest_stretch);
        for (_, temperature_k) in &reading.temperatures_k {
            row += &format!(",{temperature_k:.3}");
        }
        replica.monitor.append((row + "\n").as_bytes())?;
        replica.regular.monitor_bytes = replica.monitor.length();
        replica.look_for_broken_bonds(frame);
        replica.regular_broken = replica.broken.clone();
        Ok(())
    }

    fn checkpoint(&mut self, snapshots: &[Snapshot]) -> Result<(), SinkError> {
        for replica in &self.replicas {
            for file in [replica.trajectory.file(), &replica.table, &replica.monitor] {
                file.sync()?;
            }
        }
        let state = |(snapshot, files): (&Snapshot, &ReplicaFiles)| {
            let written = if snapshot.progress.step == 0 { files.empty } else { files.regular };
            ReplicaState::new(snapshot, &files.label, &files.bonds, files.regular_broken.clone(), written)
        };
        let replicas = snapshots.iter().zip(&self.replicas).map(state).collect();
        Checkpoint { replicas }.write(&self.path)
    }
}

impl ReplicaFiles {
    /// Writes one frame; both files are complete up to it afterwards.
    fn write(&mut self, frame: &Frame<'_>, is_due: bool, format: Format) -> Result<(), AnyError> {
        // DCD knows one interval between frames alone: a last one that is not due would get a wrong time.
        if is_due || format != Format::Dcd {
            self.trajectory.write(frame)?;
        }
        let o = frame.observables;
        let row = format!(
            "{},{:.3},{:.10},{:.10},{:.10},{:.10},{:.6}\n",
            short(o.time_fs),
            o.temperature_k,
            o.kinetic_ev,
            o.potential_ev,
            o.total_ev,
            o.conserved_ev,
            o.max_force_ev_per_angstrom
        );
        self.table.append(row.as_bytes())?;
        self.last_temperature_k = o.temperature_k;
        self.look_for_broken_bonds(frame);
        if is_due {
            self.regular = file_state(&self.trajectory, &self.table, &self.monitor);
            self.regular_broken = self.broken.clone();
        }
        Ok(())
    }

    /// Remembers the broken bonds of the first frame that has some.
    pub fn look_for_broken_bonds(&mut self, frame: &Frame<'_>) {
        if self.broken.is_some() {
            return;
        }
        let broken = self.bonds.broken(frame.structure.positions());
        let named: Vec<String> =
            broken.iter().map(|&bond| describe_bond(&self.bonds, frame.structure, bond)).collect();
        self.broken = (!named.is_empty()).then_some((frame.observables.time_fs, named));
    }

    /// " of 002-r003", or nothing where there is one replica.
    pub fn of_name(&self) -> String {
        match self.label.trim_start_matches('-') {
            "" => String::new(),
            name => format!(" of {name}"),
        }
    }
}

/// "C1–H5 (1.09 → 2.31 Å)".
pub(crate) fn describe_bond(reference: &ReferenceBonds, structure: &Structure, [i, j]: [usize; 2]) -> String {
    let name = |atom| name_of_atom(structure, atom);
    let positions = structure.positions();
    let place = reference.pairs.iter().position(|&pair| pair == [i, j]);
    let before = place.map_or(f64::NAN, |place| reference.lengths_angstrom[place]);
    format!("{}–{} ({before:.2} → {:.2} Å)", name(i), name(j), distance(&positions[i], &positions[j]))
}

/// "C1", counted from 1 as viewers do.
pub(crate) fn name_of_atom(structure: &Structure, atom: usize) -> String {
    format!("{}{}", elements::symbol(structure.numbers()[atom]), atom + 1)
}

/// A time without the rounding of step × timestep: 0.3 for 3 × 0.1.
pub(crate) fn short(time: f64) -> f64 {
    // Thirteen digits of sixteen: a picosecond in steps of a hundredth of a femtosecond a hundred million times.
    format!("{time:.12e}").parse().expect("a number just printed")
}

/// Where a run folder has the table of a replica.
pub(crate) fn table_path(folder: &Path, label: &str) -> PathBuf {
    folder.join(format!("observables{label}.csv"))
}

fn file_state(trajectory: &Trajectory, table: &Growing, monitor: &Growing) -> FileState {
    FileState {
        n_frames: trajectory.n_frames(),
        trajectory_bytes: trajectory.file().length(),
        table_bytes: table.length(),
        monitor_bytes: monitor.length(),
    }
}

fn monitor_header(structure: &Structure) -> String {
    let mut numbers = structure.numbers().to_vec();
    numbers.sort_unstable();
    numbers.dedup();
    let temperatures: String =
        numbers.into_iter().map(|z| format!(",temperature_{}_k", elements::symbol(z))).collect();
    format!(
        "time_fs,spread_ev_per_angstrom,max_force_ev_per_angstrom,broken_bonds,longest_stretch{temperatures}\n"
    )
}
