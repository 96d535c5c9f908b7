//! Finished parts of a long judgement, kept beside its result file until that is written: one JSON line each, so that
//! an interrupted judgement goes on where it was. The first line says what they are parts of.

use crate::AnyError;
use crate::input::at;
use mdet_core::atomic_write;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The parts of one judgement.
pub(super) struct Parts<T> {
    path: PathBuf,
    /// The first line.
    key: String,
    /// Those finished, in their order.
    pub done: Vec<T>,
}

impl<T: Serialize + DeserializeOwned> Parts<T> {
    /// Those kept beside the result file `out` by the same judgement (`key`: its command and model), or none.
    pub fn open(out: &Path, key: &str) -> Result<Self, AnyError> {
        let path = out.with_extension("parts.jsonl");
        let key = serde_json::to_string(key)? + "\n";
        let mut done = Vec::new();
        if path.exists() {
            let text = std::fs::read_to_string(&path).map_err(at(&path))?;
            // A line without its end was being written when the program was killed.
            let mut lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
            if lines.next() != Some(&key) {
                let path = path.display();
                return Err(format!("{path}: parts of another judgement; remove it to start anew").into());
            }
            let mut kept = key.clone();
            for line in lines {
                done.push(
                    serde_json::from_str(line).map_err(|error| format!("{}: {error}", path.display()))?,
                );
                kept += line;
            }
            atomic_write(&path, kept.as_bytes()).map_err(at(&path))?;
            eprintln!("mdet: {} finished parts found in {}", done.len(), path.display());
        }
        Ok(Self { path, key, done })
    }

    /// Keeps one more.
    pub fn push(&mut self, part: T) -> Result<(), AnyError> {
        let line = serde_json::to_string(&part)? + "\n";
        let text = if !self.path.exists() { format!("{}{line}", self.key) } else { line };
        let file = OpenOptions::new().append(true).create(true).truncate(false).open(&self.path);
        file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(at(&self.path))?;
        self.done.push(part);
        Ok(())
    }

    /// Removes the file: the result has them all.
    pub fn remove(self) -> Result<(), AnyError> {
        if self.path.exists() { std::fs::remove_file(&self.path).map_err(at(&self.path)) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finished_parts_are_found_again_but_not_torn_ones_or_another_judgements() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("map-x.json");
        let mut parts: Parts<f64> = Parts::open(&out, "judge map").unwrap();
        parts.push(0.1).unwrap();
        parts.push(0.2).unwrap();
        let file = folder.path().join("map-x.parts.jsonl");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text + "0.").unwrap();
        let mut parts: Parts<f64> = Parts::open(&out, "judge map").unwrap();
        assert_eq!(parts.done, [0.1, 0.2]);
        parts.push(0.3).unwrap();
        let parts: Parts<f64> = Parts::open(&out, "judge map").unwrap();
        assert_eq!(parts.done, [0.1, 0.2, 0.3]);
        let other = Parts::<f64>::open(&out, "judge drift").err().unwrap().to_string();
        assert!(other.contains("parts of another judgement"), "{other}");
        parts.remove().unwrap();
        assert!(Parts::<f64>::open(&out, "judge drift").unwrap().done.is_empty());
    }
}
