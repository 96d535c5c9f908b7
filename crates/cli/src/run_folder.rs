//! The folder of a dynamics run: trajectory and table of every structure, and what its summary needs.
//!
//! | file | content |
//! |---|---|
//! | `config.toml` | the resolved configuration |
//! | `trajectory.xyz` | extended XYZ: positions Å, velocities Å/fs (`velo`), forces eV/Å, time |
//! | `observables.csv` | time, temperature, energies of every written frame |
//!
//! With several structures the two carry a number: `trajectory-001.xyz`.

use crate::AnyError;
use crate::input::at;
use mdet_core::{ReferenceBonds, Structure, elements, structure::distance};
use mdet_data::{FrameView, write_frame};
use mdet_md::{Frame, Observables};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

const CSV_HEADER: &str =
    "time_fs,temperature_k,kinetic_ev,potential_ev,total_ev,conserved_ev,max_force_ev_per_angstrom";

/// Makes the folder, which must not be there or be empty.
pub(crate) fn create(folder: &Path) -> Result<(), AnyError> {
    let occupied = std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some());
    if occupied {
        return Err(
            format!("{}: exists and is not empty; choose another with --out", folder.display()).into()
        );
    }
    std::fs::create_dir_all(folder).map_err(at(folder))
}

/// The files of one structure, and its frames as far as the summary needs them.
pub(crate) struct Record {
    pub label: String,
    pub observables: Vec<Observables>,
    pub bonds: ReferenceBonds,
    /// The first frame with a broken bond: its time, and each bond with its length there.
    pub broken: Option<(f64, Vec<String>)>,
    trajectory: (BufWriter<File>, PathBuf),
    table: (BufWriter<File>, PathBuf),
}

impl Record {
    /// Opens the files of structure `index` of `count`.
    pub fn open(folder: &Path, index: usize, count: usize, structure: &Structure) -> Result<Self, AnyError> {
        let number = if count == 1 { String::new() } else { format!("-{:03}", index + 1) };
        let open = |name: String| -> Result<(BufWriter<File>, PathBuf), AnyError> {
            let path = folder.join(name);
            Ok((BufWriter::new(File::create(&path).map_err(at(&path))?), path))
        };
        let mut table = open(format!("observables{number}.csv"))?;
        writeln!(table.0, "{CSV_HEADER}").map_err(at(&table.1))?;
        Ok(Self {
            label: if count == 1 { String::new() } else { format!("structure {}: ", index + 1) },
            observables: Vec::new(),
            bonds: ReferenceBonds::of(structure),
            broken: None,
            trajectory: open(format!("trajectory{number}.xyz"))?,
            table,
        })
    }

    /// Writes one frame; both files are complete up to it afterwards.
    pub fn write(&mut self, frame: &Frame<'_>) -> Result<(), AnyError> {
        let observed = frame.observables;
        let key_values =
            [("time_fs".to_string(), observed.time_fs.to_string()), ("step".into(), frame.step.to_string())];
        let view = FrameView {
            numbers: frame.structure.numbers(),
            positions: frame.structure.positions(),
            velocities: Some(frame.velocities),
            forces: Some(frame.forces),
            energy_ev: None,
            charge: Some(frame.structure.charge()),
            multiplicity: Some(frame.structure.multiplicity()),
            key_values: &key_values,
        };
        let (file, path) = &mut self.trajectory;
        write_frame(file, &view).and_then(|()| file.flush()).map_err(at(path))?;
        let Observables { time_fs, temperature_k, kinetic_ev, potential_ev, total_ev, conserved_ev, .. } =
            observed;
        let force = observed.max_force_ev_per_angstrom;
        let (file, path) = &mut self.table;
        let row = writeln!(
            file,
            "{time_fs},{temperature_k:.3},{kinetic_ev:.8},{potential_ev:.8},{total_ev:.8},{conserved_ev:.8},{force:.6}"
        );
        row.and_then(|()| file.flush()).map_err(at(path))?;
        self.observables.push(observed);
        if self.broken.is_none() {
            let broken = self.bonds.broken(frame.structure.positions());
            let named = broken.iter().map(|&[i, j]| self.describe(frame.structure, i, j)).collect::<Vec<_>>();
            self.broken = (!named.is_empty()).then_some((time_fs, named));
        }
        Ok(())
    }

    /// "C1–H5 (1.09 → 2.31 Å)", atoms counted from 1 as viewers do.
    fn describe(&self, structure: &Structure, i: usize, j: usize) -> String {
        let name = |atom: usize| format!("{}{}", elements::symbol(structure.numbers()[atom]), atom + 1);
        let positions = structure.positions();
        let reference = self.bonds.pairs.iter().position(|&pair| pair == [i, j]);
        let before = reference.map_or(f64::NAN, |place| self.bonds.lengths_angstrom[place]);
        format!("{}–{} ({before:.2} → {:.2} Å)", name(i), name(j), distance(&positions[i], &positions[j]))
    }
}
