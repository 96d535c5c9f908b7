//! Structures from the user's file, checked against the model's domain before anything is done.

use crate::AnyError;
use clap::Args;
use mdet_core::Structure;
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
    charge: Option<i32>,
    /// Spin multiplicity 2S + 1 of every frame, over what the file says [default: the file's, else the lowest].
    #[arg(long)]
    multiplicity: Option<u32>,
    /// Go on with a warning where the model was not trained: other elements, charges, multiplicities.
    #[arg(long)]
    force: bool,
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

/// An error that names the file a write failed on.
pub(crate) fn at(path: &Path) -> impl Fn(std::io::Error) -> AnyError {
    let path = path.to_path_buf();
    move |error| format!("{}: {error}", path.display()).into()
}
