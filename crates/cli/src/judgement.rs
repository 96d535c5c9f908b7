//! What all judgements share: the model, the labelled structures, and the result file with its provenance.

use crate::data::ReadArgs;
use crate::input::{at, check_output};
use crate::model_choice::{Precision, load_committee};
use crate::{AnyError, Done};
use clap::Args;
use mdet_core::atomic_write;
use mdet_core::{Committee, ForceField, Structure, elements};
use mdet_data::split::PartOfSplit;
use mdet_kernels::Real;
use mdet_model::{Card, Model, NetworkForceField};
use mdet_report::{Judgement, Provenance, Record, View};
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Units of numbers whose names do not end in one.
const UNITS: &str = "Å, fs, eV, u, K, e; intervals are 95 %";

/// Options of every judgement.
#[derive(Args, Clone)]
pub(crate) struct JudgeArgs {
    /// Model file, or `built-in`; several with commas between them are a committee, whose mean force is judged.
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// Result file, JSON for `mdet report` [default: the judgement's name and that of the data].
    #[arg(short, long, value_name = "RESULT.json")]
    out: Option<PathBuf>,
    /// Replace the result file if it exists.
    #[arg(long)]
    pub overwrite: bool,
    /// Seed of all draws.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Threads; the result does not depend on it [default: all cores].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    #[command(flatten)]
    pub read: ReadArgs,
}

/// A judgement under way.
pub(crate) struct Judge {
    models: Vec<Model>,
    /// The result file.
    pub out: PathBuf,
    pub seed: u64,
    model_name: String,
    n_threads: usize,
    inputs: Vec<(String, String)>,
    view: Option<View>,
    started: Instant,
}

impl Judge {
    /// Loads the model and makes sure that the result can be written.
    ///
    /// `kind` and `data` name the result file where the user does not.
    pub fn start(args: &JudgeArgs, kind: &str, data: &Path) -> Result<Self, AnyError> {
        let out = result_file(args.out.as_ref(), args.overwrite, kind, data)?;
        let (models, names): (Vec<Model>, Vec<String>) = load_committee(&args.model)?.into_iter().unzip();
        let model_name = names.join(",");
        let n_threads = args.threads.map_or(0, usize::from);
        let (inputs, view, started) = (Vec::new(), None, Instant::now());
        Ok(Self { models, out, seed: args.seed, model_name, n_threads, inputs, view, started })
    }

    /// What is said of each model.
    pub fn cards(&self) -> Vec<&Card> {
        self.models.iter().map(|model| &model.card).collect()
    }

    /// The model as a force field in f32: raw forces.
    pub fn single(&self) -> Result<Committee<NetworkForceField<f32>>, AnyError> {
        self.committee()
    }

    /// The model as a force field in f64: raw forces.
    pub fn double(&self) -> Result<Committee<NetworkForceField<f64>>, AnyError> {
        self.committee()
    }

    fn committee<T: Real>(&self) -> Result<Committee<NetworkForceField<T>>, AnyError> {
        let member = |model: &Model| Ok(NetworkForceField::new(model.network()?, self.n_threads)?);
        Ok(Committee { members: self.models.iter().map(member).collect::<Result<_, AnyError>>()? })
    }

    /// What tells this judgement from another: its fields, command, model and the files noted.
    pub fn key(&self) -> Result<String, AnyError> {
        // Neither threads nor the result's place change what is found.
        let mut words = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
        let mut kept = Vec::new();
        while let Some(word) = words.next() {
            match word.split_once('=').map_or((word.as_str(), false), |(option, _)| (option, true)) {
                ("--threads" | "-o" | "--out", false) => drop(words.next()),
                ("--threads" | "--out" | "--overwrite", _) => {}
                _ => kept.push(word),
            }
        }
        let inputs: Vec<&str> = self.inputs.iter().map(|(_, sha256)| sha256.as_str()).collect();
        let (schema, model) = (Record::SCHEMA, self.model_sha256()?);
        Ok(format!("{schema} {} {model} {}", kept.join(" "), inputs.join(" ")))
    }

    /// The model as a force field in a precision: raw forces.
    pub fn force_field(&self, precision: Precision) -> Result<Box<dyn ForceField>, AnyError> {
        Ok(match precision {
            Precision::F32 => Box::new(self.single()?),
            Precision::F64 => Box::new(self.double()?),
        })
    }

    /// SHA-256 of the model's file, or of each member's of a committee with commas between them.
    pub fn model_sha256(&self) -> Result<String, AnyError> {
        let hash = |model: &Model| Ok(hex(&Sha256::digest(model.to_bytes()?)));
        Ok(self.models.iter().map(hash).collect::<Result<Vec<_>, AnyError>>()?.join(","))
    }

    /// The files read so far, with their SHA-256.
    pub fn inputs(&self) -> &[(String, String)] {
        &self.inputs
    }

    /// Notes a file as read.
    pub fn note_input(&mut self, path: &Path) -> Result<(), AnyError> {
        self.inputs.push(input(path)?);
        Ok(())
    }

    /// Adds frames of one molecule to look at.
    pub fn show<'a>(&mut self, caption: &str, frames: impl IntoIterator<Item = &'a Structure>) {
        self.view = Some(view(caption, frames));
    }

    /// Writes the result file and says where it is.
    pub fn finish(self, judgement: Judgement) -> Result<Done, AnyError> {
        let model_sha256 = self.model_sha256()?;
        let mut trained_on: Vec<&str> =
            self.models.iter().map(|model| model.card.trained_on.as_str()).collect();
        trained_on.sort_unstable();
        trained_on.dedup();
        let trained_on = trained_on.join("; ");
        let provenance = Provenance {
            command: command_line(),
            mdet_version: env!("CARGO_PKG_VERSION").to_string(),
            machine: machine(),
            model: self.model_name,
            model_sha256,
            trained_on,
            inputs: self.inputs,
            seed: self.seed,
            seconds: self.started.elapsed().as_secs_f64(),
            units: UNITS.to_string(),
        };
        write(&self.out, &Record::new(provenance, judgement, self.view))
    }
}

/// Where a result goes: as asked, else named by what it is and of; in a folder that is there, over nothing.
pub(crate) fn result_file(
    asked: Option<&PathBuf>,
    overwrite: bool,
    kind: &str,
    data: &Path,
) -> Result<PathBuf, AnyError> {
    let out = asked.cloned().unwrap_or_else(|| {
        let stem = |path: &Path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let name = match PartOfSplit::named(data) {
            Some(part) => format!("{}-{}", stem(&part.file), part.name),
            None => stem(data),
        };
        PathBuf::from(format!("{kind}-{name}.json"))
    });
    check_output(&out, overwrite)?;
    Ok(out)
}

/// A file or store that is read, with its SHA-256.
pub(crate) fn input(path: &Path) -> Result<(String, String), AnyError> {
    // A store is a folder; its manifest holds the checksums of what is in it, and a split those of what it parts.
    let file = match PartOfSplit::named(path) {
        Some(part) => part.file,
        None if path.is_dir() => path.join("store.json"),
        None => path.to_path_buf(),
    };
    let bytes = std::fs::read(&file).map_err(at(&file))?;
    Ok((path.display().to_string(), hex(&Sha256::digest(bytes))))
}

/// Frames of one molecule to look at.
pub(crate) fn view<'a>(caption: &str, frames: impl IntoIterator<Item = &'a Structure>) -> View {
    let mut xyz = String::new();
    for frame in frames {
        let _ = writeln!(xyz, "{}\n", frame.n_atoms());
        for (&z, [x, y, w]) in frame.numbers().iter().zip(frame.positions()) {
            let _ = writeln!(xyz, "{} {x:.4} {y:.4} {w:.4}", elements::symbol(z));
        }
    }
    View { caption: caption.to_string(), xyz }
}

/// The provenance of what was found in files alone, without a model.
pub(crate) fn provenance_of_files(inputs: Vec<(String, String)>, seconds: f64) -> Provenance {
    Provenance {
        command: command_line(),
        mdet_version: env!("CARGO_PKG_VERSION").to_string(),
        machine: machine(),
        model: String::new(),
        model_sha256: String::new(),
        trained_on: String::new(),
        inputs,
        seed: 0,
        seconds,
        units: UNITS.to_string(),
    }
}

/// Writes a result file and says where it is.
pub(crate) fn write(out: &Path, record: &Record) -> Result<Done, AnyError> {
    atomic_write(out, record.to_json().as_bytes()).map_err(at(out))?;
    println!("result        {}", out.display());
    Ok(Done::Completed)
}

fn machine() -> String {
    format!("{} {}", std::env::consts::ARCH, std::env::consts::OS)
}

/// The command line as it can be given to a shell again.
fn command_line() -> String {
    let quoted = |word: String| {
        let plain = |c: char| c.is_alphanumeric() || "-_./=:,+%@".contains(c);
        if !word.is_empty() && word.chars().all(plain) {
            word
        } else {
            format!("'{}'", word.replace('\'', "'\\''"))
        }
    };
    let words = std::env::args_os().skip(1).map(|word| quoted(word.to_string_lossy().into_owned()));
    std::iter::once("mdet".to_string()).chain(words).collect::<Vec<_>>().join(" ")
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_the_parts_of_a_split_have_names_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let split = folder.path().join("sp.json");
        std::fs::write(&split, "").unwrap();
        let name = |data: &str| result_file(None, false, "eval", Path::new(data)).unwrap();
        assert_eq!(name(&format!("{}#a", split.display())), Path::new("eval-sp-a.json"));
        assert_eq!(name("data/val.npz"), Path::new("eval-val.json"));
    }
}
