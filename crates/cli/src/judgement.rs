//! What all judgements share: the model, the labelled structures, and the result file with its provenance.

use crate::input::at;
use crate::model_choice::load;
use crate::{AnyError, Done};
use clap::Args;
use mdet_core::atomic_write;
use mdet_core::{Structure, elements};
use mdet_model::{Model, NetworkForceField};
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
    /// Model file, or `built-in`.
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// Result file, JSON for `mdet report` [default: the judgement's name and that of the data].
    #[arg(short, long, value_name = "RESULT.json")]
    out: Option<PathBuf>,
    /// Replace the result file if it exists.
    #[arg(long)]
    overwrite: bool,
    /// Seed of all draws.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Threads; the result does not depend on it [default: all cores].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

/// A judgement under way.
pub(crate) struct Judge {
    pub model: Model,
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
        let out = args.out.clone().unwrap_or_else(|| {
            let stem = data.file_stem().unwrap_or_default().to_string_lossy();
            PathBuf::from(format!("{kind}-{stem}.json"))
        });
        if out.exists() && !args.overwrite {
            return Err(format!("{}: exists; --overwrite replaces it", out.display()).into());
        }
        if let Some(folder) = out.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir())
        {
            return Err(format!("{}: expected a folder to write into, found none", folder.display()).into());
        }
        let path = Some(&args.model).filter(|path| path.as_os_str() != "built-in");
        let (model, model_name) = load(path)?;
        let n_threads = args.threads.map_or(0, usize::from);
        let (inputs, view, started) = (Vec::new(), None, Instant::now());
        Ok(Self { model, out, seed: args.seed, model_name, n_threads, inputs, view, started })
    }

    /// The model as a force field in f32: raw forces.
    pub fn single(&self) -> Result<NetworkForceField<f32>, AnyError> {
        Ok(NetworkForceField::new(self.model.network()?, self.n_threads)?)
    }

    /// The model as a force field in f64: raw forces.
    pub fn double(&self) -> Result<NetworkForceField<f64>, AnyError> {
        Ok(NetworkForceField::new(self.model.network()?, self.n_threads)?)
    }

    /// What tells this judgement from another: its command and its model.
    pub fn key(&self) -> Result<String, AnyError> {
        Ok(format!("{} {}", command_line(), hex(&Sha256::digest(self.model.to_bytes()?))))
    }

    /// Notes a file as read.
    pub fn note_input(&mut self, path: &Path) -> Result<(), AnyError> {
        // A store is a folder; its manifest holds the checksums of what is in it.
        let file = if path.is_dir() { path.join("store.json") } else { path.to_path_buf() };
        let bytes = std::fs::read(&file).map_err(at(&file))?;
        self.inputs.push((path.display().to_string(), hex(&Sha256::digest(bytes))));
        Ok(())
    }

    /// Adds frames of one molecule to look at.
    pub fn show<'a>(&mut self, caption: &str, frames: impl IntoIterator<Item = &'a Structure>) {
        let mut xyz = String::new();
        for frame in frames {
            let _ = writeln!(xyz, "{}\n", frame.n_atoms());
            for (&z, [x, y, w]) in frame.numbers().iter().zip(frame.positions()) {
                let _ = writeln!(xyz, "{} {x:.4} {y:.4} {w:.4}", elements::symbol(z));
            }
        }
        self.view = Some(View { caption: caption.to_string(), xyz });
    }

    /// Writes the result file and says where it is.
    pub fn finish(self, judgement: Judgement) -> Result<Done, AnyError> {
        let provenance = Provenance {
            command: command_line(),
            mdet_version: env!("CARGO_PKG_VERSION").to_string(),
            machine: format!("{} {}", std::env::consts::ARCH, std::env::consts::OS),
            model: self.model_name,
            model_sha256: hex(&Sha256::digest(self.model.to_bytes()?)),
            trained_on: self.model.card.trained_on.clone(),
            inputs: self.inputs,
            seed: self.seed,
            seconds: self.started.elapsed().as_secs_f64(),
            units: UNITS.to_string(),
        };
        let json = Record::new(provenance, judgement, self.view).to_json();
        atomic_write(&self.out, json.as_bytes()).map_err(at(&self.out))?;
        println!("result        {}", self.out.display());
        Ok(Done::Completed)
    }
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
