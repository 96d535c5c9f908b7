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
//! as a whole, names them. So an interrupted `convert` leaves the store as it was.

use crate::columns::{Columns, Shard};
use crate::dataset::labelled;
use crate::{About, DataError, Reader};
use mdet_core::atomic_write;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// The manifest's name, which makes a folder a store.
const MANIFEST: &str = "store.json";
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
    path.join(MANIFEST).is_file()
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
    manifest: Manifest,
    columns: Columns,
}

impl StoreWriter {
    /// Makes a store in a folder that is not there or empty.
    ///
    /// # Errors
    /// [`DataError`] when something is there already or nothing can be written.
    pub fn create(store: &Path) -> Result<Self, DataError> {
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
        Ok(Self { store: store.into(), manifest, columns: Columns::default() })
    }

    /// Goes on with a store that is there.
    ///
    /// # Errors
    /// [`DataError`] when it is none.
    pub fn append(store: &Path) -> Result<Self, DataError> {
        Ok(Self { store: store.into(), manifest: Manifest::read(store)?, columns: Columns::default() })
    }

    /// Adds the structures of a reader that `choose` wants, by their index in it; returns how many.
    ///
    /// # Errors
    /// [`DataError`] of the first structure that is wrong or has no forces. The store then is as it was.
    pub fn add(
        &mut self,
        path: &Path,
        mut reader: Reader,
        choose: &mut dyn FnMut(usize) -> bool,
    ) -> Result<usize, DataError> {
        let (mut n_structures, mut index) = (0, 0);
        while let Some(record) = reader.next() {
            let record = record?;
            if choose(index) {
                self.columns.push(&labelled(record, &reader)?);
                n_structures += 1;
            }
            index += 1;
            if self.columns.n_bytes() >= SHARD_BYTES {
                self.close_shard()?;
            }
        }
        self.manifest.sources.push(SourceFile { path: path.into(), n_structures, about: reader.about });
        Ok(n_structures)
    }

    /// Writes what is left and then the manifest, which makes everything added count.
    ///
    /// # Errors
    /// [`DataError::Io`].
    pub fn finish(mut self) -> Result<Manifest, DataError> {
        self.close_shard()?;
        self.manifest.write(&self.store)?;
        Ok(self.manifest)
    }

    fn close_shard(&mut self) -> Result<(), DataError> {
        if self.columns.n_structures() == 0 {
            return Ok(());
        }
        let columns = std::mem::take(&mut self.columns);
        let file = format!("{:05}.safetensors", self.manifest.shards.len());
        let path = self.store.join(&file);
        let bytes =
            columns.to_safetensors().map_err(DataError::container(&path, "columns that fit together"))?;
        atomic_write(&path, &bytes).map_err(DataError::io(&path))?;
        self.manifest.shards.push(ShardFile {
            file,
            n_structures: columns.n_structures(),
            n_atoms: columns.n_atoms(),
            sha256: hex(&Sha256::digest(&bytes)),
        });
        Ok(())
    }
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
