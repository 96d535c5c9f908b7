//! Structures from the user's file, checked against the model's domain before anything is done.

use crate::AnyError;
use clap::Args;
use mdet_core::elements::masses_u;
use mdet_core::frames::{rotation_off_z, turned};
use mdet_core::{Rotation, Structure, bonds};
use mdet_data::{Frame, read_file};
use mdet_model::Card;
use std::path::{Path, PathBuf};

/// Which molecules to compute.
#[derive(Args)]
pub(crate) struct InputArgs {
    /// XYZ or extended XYZ file, positions in Å; all its frames are used.
    #[arg(value_name = "FILE.xyz")]
    pub file: PathBuf,
    #[command(flatten)]
    electrons: ElectronArgs,
}

/// What the file may leave open about its molecules, and whether they must be of the model's domain.
#[derive(Args)]
pub(crate) struct ElectronArgs {
    /// Total charge in e of every frame, over what the file says [default: the file's `charge`, else 0].
    #[arg(long, allow_negative_numbers = true)]
    pub charge: Option<i32>,
    /// Spin multiplicity 2S + 1 of every frame, over what the file says [default: the file's, else the lowest].
    #[arg(long)]
    pub multiplicity: Option<u32>,
    /// Go on with a warning where the model was not trained: other elements, charges, multiplicities.
    #[arg(long)]
    pub force: bool,
}

impl InputArgs {
    /// The file's frames, each with its molecule.
    ///
    /// Refuses what the model never saw, unless forced; warns of what is merely unusual, each kind once.
    pub fn read(&self, card: &Card) -> Result<Vec<(Frame, Structure)>, AnyError> {
        self.electrons.read(&self.file, card)
    }
}

impl ElectronArgs {
    /// As [`InputArgs::read`], of a file.
    pub fn read(&self, file: &Path, card: &Card) -> Result<Vec<(Frame, Structure)>, AnyError> {
        let mut warnings = Vec::new();
        let mut structures = Vec::new();
        for frame in read_file(file)? {
            let place = frame.place.clone();
            let structure = frame.clone().into_structure(self.charge, self.multiplicity)?;
            if let Some(domain) = &card.domain {
                match domain.check(&structure) {
                    Err(outside) if !self.force => {
                        return Err(format!("{place}: {outside}; --force runs it all the same").into());
                    }
                    Err(outside) => warnings.push(outside.to_string()),
                    Ok(()) => {}
                }
                if structure.n_atoms() > domain.max_atoms {
                    let (n, covered) = (structure.n_atoms(), domain.max_atoms);
                    warnings
                        .push(format!("{n} atoms: the model was trained on molecules of up to {covered}"));
                }
            } else {
                warnings.push("the model does not say what it was trained on".to_string());
            }
            if structure.n_atoms() > 1 && bonds(structure.numbers(), structure.positions()).is_empty() {
                warnings.push(
                    "no two atoms are near enough to be bonded: positions are taken to be in Å".to_string(),
                );
            }
            structures.push((frame, structure));
        }
        warnings.sort();
        warnings.dedup();
        for warning in warnings {
            eprintln!("mdet: warning: {warning}");
        }
        Ok(structures)
    }
}

/// The structures to compute, each with the rotation that made it where atoms lie along z ([`rotation_off_z`]); said in one line.
pub(crate) fn off_z<'a>(
    structures: impl IntoIterator<Item = &'a Structure>,
) -> Vec<(Structure, Option<Rotation>)> {
    let turn = |structure: &Structure| {
        let rotation = rotation_off_z(structure);
        (rotation.map_or_else(|| structure.clone(), |rotation| turned(structure, &rotation)), rotation)
    };
    let all: Vec<_> = structures.into_iter().map(turn).collect();
    let n_turned = all.iter().filter(|(_, rotation)| rotation.is_some()).count();
    if n_turned > 0 {
        let n_all = all.len();
        eprintln!(
            "mdet: {n_turned} of {n_all} molecules have atoms along z, where the model's directions jump: computed turned, written as they lay"
        );
    }
    all
}

/// The masses in u of a frame's atoms: its own, else those of the natural elements.
pub(crate) fn masses_of(frame: &Frame) -> Vec<f64> {
    frame.masses_u.clone().unwrap_or_else(|| masses_u(&frame.numbers))
}

/// ASE writes its constraints as a column `move_mask`; nothing here holds an atom fixed.
pub(crate) fn refuse_fixed_atoms(frames: &[Frame]) -> Result<(), AnyError> {
    let is_fixed = |frame: &&Frame| frame.properties.as_deref().is_some_and(|p| p.contains("move_mask"));
    frames.iter().find(is_fixed).map_or(Ok(()), |frame| {
        let place = &frame.place;
        Err(format!("{place}: expected atoms that are free to move, found a column `move_mask`").into())
    })
}

/// Refuses a file that cannot be written: before the work, not after it.
pub(crate) fn check_output(path: &Path, overwrite: bool) -> Result<(), AnyError> {
    if path.is_dir() {
        return Err(format!("{}: expected a file to write, found a folder", path.display()).into());
    }
    if path.exists() && !overwrite {
        return Err(format!("{}: exists; --overwrite replaces it", path.display()).into());
    }
    match path.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()) {
        Some(folder) => {
            Err(format!("{}: expected a folder to write into, found none", folder.display()).into())
        }
        None => Ok(()),
    }
}

/// An error that names the file a write failed on.
pub(crate) fn at(path: &Path) -> impl Fn(std::io::Error) -> AnyError {
    let path = path.to_path_buf();
    move |error| format!("{}: {error}", path.display()).into()
}
