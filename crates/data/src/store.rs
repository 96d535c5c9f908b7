//! The store: a training set larger than memory, as a folder of safetensors files and a manifest.
//!
//! | file | content |
//! |---|---|
//! | `store.json` | units, sources, and each shard's number of structures and SHA-256, as `sha256sum` prints it |
//! | `00000.safetensors`, … | the columns of some structures each: see `columns.rs` |
//!
//! Safetensors because a shard is then mapped and used as it lies, and a Python user opens it with
//! `safetensors.numpy.load_file("00000.safetensors")`; the crate is here for the weights anyway. HDF5 has no writer in
//! pure Rust that is as plain, Arrow's files have to be copied out of record batches to be indexed by atom, and Zarr is
//! made for compressed chunks.
//!
//! Append-only: shards are never changed. New ones are written beside, and count once the manifest, which is replaced
//! as a whole, names them. So an interrupted `convert` leaves the store as it was, and `store.part.json`, which says
//! where to go on.

use crate::columns::{Columns, Shard};
use crate::dataset::labelled;
use crate::{About, DataError, Reader, Record};
use mdet_core::atomic_write;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// The manifest's name, which makes a folder a store.
const MANIFEST: &str = "store.json";
/// Says how far an unfinished writer came.
const UNFINISHED: &str = "store.part.json";
const FORMAT: &str = "mdet store 1";
/// A shard is closed when its columns reach this size.
const SHARD_BYTES: usize = 1 << 26;

/// The columns of a shard, by name.
pub const ARRAYS: [&str; 9] = [
    "first_atom",
    "energy",
    "molecule",
    "positions",
    "forces",
    "dipole",
    "charge",
    "multiplicity",
    "numbers",
];

/// What `store.json` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Name and version of the format.
    pub format: String,
    /// Units of the columns, in words.
    pub units: String,
    /// Where the structures come from, in order.
    pub sources: Vec<SourceFile>,
    /// The files, in order.
    pub shards: Vec<ShardFile>,
}

/// One file that was put into a store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceFile {
    /// Its name when it was read.
    pub path: PathBuf,
    /// Its structures.
    pub n_structures: usize,
    /// Format, units and labels.
    pub about: About,
}

/// One shard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardFile {
    /// Its name in the folder.
    pub file: String,
    /// Its structures.
    pub n_structures: usize,
    /// Its atoms.
    pub n_atoms: usize,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
}

/// Whether a path is a store.
pub fn is_store(path: &Path) -> bool {
    manifest_path(path).is_file()
}

/// Whether a writer left a store unfinished here.
pub(crate) fn is_unfinished(path: &Path) -> bool {
    path.join(UNFINISHED).is_file()
}

/// Where a store's manifest is.
pub fn manifest_path(store: &Path) -> PathBuf {
    store.join(MANIFEST)
}

impl Manifest {
    /// Reads the manifest of a store.
    ///
    /// # Errors
    /// [`DataError`] when it is unreadable or of another version.
    pub fn read(store: &Path) -> Result<Self, DataError> {
        let path = store.join(MANIFEST);
        let text = std::fs::read_to_string(&path).map_err(DataError::io(&path))?;
        let manifest: Self =
            serde_json::from_str(&text).map_err(DataError::container(&path, "the manifest of a store"))?;
        if manifest.format != FORMAT {
            return Err(DataError::wrong(&path, "format", FORMAT, manifest.format));
        }
        Ok(manifest)
    }

    /// Number of structures.
    pub fn n_structures(&self) -> usize {
        self.shards.iter().map(|shard| shard.n_structures).sum()
    }

    /// Compares every shard with its checksum.
    ///
    /// # Errors
    /// [`DataError::Wrong`] with the first shard that differs, [`DataError::Io`] when one is not there.
    pub fn verify(&self, store: &Path) -> Result<(), DataError> {
        for shard in &self.shards {
            let path = store.join(&shard.file);
            let found = sha256(&path)?;
            if found != shard.sha256 {
                let expected = format!("SHA-256 {}", shard.sha256);
                return Err(DataError::wrong(&path, "whole file", expected, found));
            }
        }
        Ok(())
    }

    pub(crate) fn map(&self, store: &Path) -> Result<Vec<Shard>, DataError> {
        let map = |file: &ShardFile| {
            let path = store.join(&file.file);
            let shard = Shard::map(&path)?;
            if shard.len() != file.n_structures {
                let expected = format!("{} structures", file.n_structures);
                return Err(DataError::wrong(&path, "charge", expected, shard.len().to_string()));
            }
            Ok(shard)
        };
        self.shards.iter().map(map).collect()
    }

    fn write(&self, store: &Path) -> Result<(), DataError> {
        let path = store.join(MANIFEST);
        let text = serde_json::to_string_pretty(self).expect("a manifest is plain data");
        atomic_write(&path, text.as_bytes()).map_err(DataError::io(&path))
    }
}

/// Adds structures to a store.
#[derive(Debug)]
pub struct StoreWriter {
    store: PathBuf,
    progress: Progress,
    columns: Columns,
    shard_bytes: usize,
}

/// What `store.part.json` says while structures are added: the store as it is to be, as far as its shards are written.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Progress {
    manifest: Manifest,
    /// Sources that were there before.
    n_sources_before: usize,
    /// The source that is being read.
    reading: Option<Reading>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reading {
    source: SourceFile,
    /// Records of it that were read, stored or not.
    n_read: usize,
}

impl StoreWriter {
    /// Makes a store in a folder that is not there or empty.
    ///
    /// # Errors
    /// [`DataError`] when something is there already or nothing can be written.
    pub fn create(store: &Path) -> Result<Self, DataError> {
        refuse_unfinished(store)?;
        let occupied = std::fs::read_dir(store).is_ok_and(|mut entries| entries.next().is_some());
        if occupied || store.is_file() {
            return Err(DataError::missing(store, "a new or empty folder", "something there already"));
        }
        std::fs::create_dir_all(store).map_err(DataError::io(store))?;
        let manifest = Manifest {
            format: FORMAT.into(),
            units: "positions Å, forces eV/Å, energy eV, dipole e·Å, charge e".into(),
            sources: Vec::new(),
            shards: Vec::new(),
        };
        Ok(Self::of(store, Progress { manifest, n_sources_before: 0, reading: None }))
    }

    /// Adds to a store that is there.
    ///
    /// # Errors
    /// [`DataError`] when it is none, or was left unfinished.
    pub fn append(store: &Path) -> Result<Self, DataError> {
        refuse_unfinished(store)?;
        let manifest = Manifest::read(store)?;
        let n_sources_before = manifest.sources.len();
        Ok(Self::of(store, Progress { manifest, n_sources_before, reading: None }))
    }

    /// Goes on where an earlier writer ended without [`finish`](Self::finish).
    ///
    /// # Errors
    /// [`DataError`] when none did.
    pub fn resume(store: &Path) -> Result<Self, DataError> {
        let path = store.join(UNFINISHED);
        if !path.exists() {
            return Err(DataError::missing(
                store,
                "an unfinished store",
                "none, so there is nothing to resume",
            ));
        }
        let text = std::fs::read_to_string(&path).map_err(DataError::io(&path))?;
        let progress = serde_json::from_str(&text)
            .map_err(DataError::container(&path, "the state of an unfinished store"))?;
        Ok(Self::of(store, progress))
    }

    fn of(store: &Path, progress: Progress) -> Self {
        Self { store: store.into(), progress, columns: Columns::default(), shard_bytes: SHARD_BYTES }
    }

    /// Closes a shard when its columns have this many bytes, instead of 64 MiB.
    pub fn with_shards_of(self, bytes: usize) -> Self {
        Self { shard_bytes: bytes, ..self }
    }

    /// Whether [`resume`](Self::resume) would go on from here: shards were closed, though not finished.
    pub fn is_resumable(&self) -> bool {
        is_unfinished(&self.store)
    }

    /// Sources that are added as a whole, since the store was made or appended to.
    pub fn finished_sources(&self) -> &[SourceFile] {
        &self.progress.manifest.sources[self.progress.n_sources_before..]
    }

    /// Begins with a source; returns how many of its records are in already, which must not be pushed again.
    ///
    /// # Errors
    /// [`DataError::Missing`] when another source was left unfinished, or this one in other units or with other labels.
    pub fn begin(&mut self, path: &Path, about: &About) -> Result<usize, DataError> {
        match &self.progress.reading {
            Some(reading) if reading.source.path == path && reading.source.about == *about => {
                Ok(reading.n_read)
            }
            Some(reading) if reading.source.path == path => {
                let words = |about: &About| {
                    format!("{} in {}, {}", about.format, about.units, about.labels.join(", "))
                };
                let expected =
                    format!("{} to be read on as {}", path.display(), words(&reading.source.about));
                Err(DataError::missing(&self.store, expected, words(about)))
            }
            Some(reading) => {
                let expected = format!("{} next, which was left unfinished", reading.source.path.display());
                Err(DataError::missing(&self.store, expected, path.display().to_string()))
            }
            None => {
                let source = SourceFile { path: path.into(), n_structures: 0, about: about.clone() };
                self.progress.reading = Some(Reading { source, n_read: 0 });
                Ok(0)
            }
        }
    }

    /// Adds the next record of the source, or counts what its reader says instead as read.
    ///
    /// # Errors
    /// [`DataError`] when the record is wrong or has no forces, which may be passed over, or [`DataError::Io`].
    ///
    /// # Panics
    /// When no source was begun.
    pub fn push(&mut self, record: Result<Record, DataError>) -> Result<(), DataError> {
        let reading = self.progress.reading.as_mut().expect("a source was begun");
        reading.n_read += 1;
        self.columns.push(&labelled(record?, &reading.source.about)?);
        reading.source.n_structures += 1;
        if self.columns.n_bytes() >= self.shard_bytes { self.close_shard() } else { Ok(()) }
    }

    /// Ends the source; returns how many structures were added of it.
    ///
    /// # Panics
    /// When no source was begun.
    pub fn end(&mut self) -> usize {
        let reading = self.progress.reading.take().expect("a source was begun");
        let n_structures = reading.source.n_structures;
        self.progress.manifest.sources.push(reading.source);
        n_structures
    }

    /// Adds the structures of a reader that `choose` wants, by their index in it; returns how many.
    ///
    /// # Errors
    /// [`DataError`] of the first structure that is wrong or has no forces. The store then is as it was.
    pub fn add(
        &mut self,
        path: &Path,
        reader: Reader,
        choose: &mut dyn FnMut(usize) -> bool,
    ) -> Result<usize, DataError> {
        self.begin(path, &reader.about)?;
        for (index, record) in reader.enumerate() {
            if record.is_err() || choose(index) {
                self.push(record)?;
            }
        }
        Ok(self.end())
    }

    /// Writes what is left and then the manifest, which makes everything added count.
    ///
    /// # Errors
    /// [`DataError::Io`], and [`DataError::Missing`] when a source was left unfinished.
    pub fn finish(mut self) -> Result<Manifest, DataError> {
        if let Some(reading) = &self.progress.reading {
            let expected = format!("{} to be read to its end", reading.source.path.display());
            return Err(DataError::missing(&self.store, expected, "an end without it"));
        }
        self.close_shard()?;
        self.progress.manifest.write(&self.store)?;
        let unfinished = self.store.join(UNFINISHED);
        if unfinished.exists() {
            std::fs::remove_file(&unfinished).map_err(DataError::io(&unfinished))?;
        }
        Ok(self.progress.manifest)
    }

    fn close_shard(&mut self) -> Result<(), DataError> {
        if self.columns.n_structures() == 0 {
            return Ok(());
        }
        let columns = std::mem::take(&mut self.columns);
        let shards = &mut self.progress.manifest.shards;
        let file = format!("{:05}.safetensors", shards.len());
        let path = self.store.join(&file);
        let bytes =
            columns.to_safetensors().map_err(DataError::container(&path, "columns that fit together"))?;
        atomic_write(&path, &bytes).map_err(DataError::io(&path))?;
        shards.push(ShardFile {
            file,
            n_structures: columns.n_structures(),
            n_atoms: columns.n_atoms(),
            sha256: hex(&Sha256::digest(&bytes)),
        });
        let path = self.store.join(UNFINISHED);
        let text = serde_json::to_string(&self.progress).expect("progress is plain data");
        atomic_write(&path, text.as_bytes()).map_err(DataError::io(&path))
    }
}

fn refuse_unfinished(store: &Path) -> Result<(), DataError> {
    if is_unfinished(store) {
        return Err(DataError::missing(
            store,
            "a finished store",
            "one that is not: --resume goes on with it",
        ));
    }
    Ok(())
}

/// SHA-256 of a file, hexadecimal.
///
/// # Errors
/// [`DataError::Io`].
pub fn sha256(path: &Path) -> Result<String, DataError> {
    let mut file = std::fs::File::open(path).map_err(DataError::io(path))?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match std::io::Read::read(&mut file, &mut buffer).map_err(DataError::io(path))? {
            0 => return Ok(hex(&digest.finalize())),
            n => digest.update(&buffer[..n]),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
