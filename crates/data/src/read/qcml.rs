//! QCML (Ganscha et al., Sci. Data 12, 406, 2025): TFRecord shards as TensorFlow Datasets writes them.
//!
//! A shard is a sequence of
//!
//! ```text
//! length: u64 | masked CRC of the length: u32 | data | masked CRC of the data: u32
//! ```
//!
//! little-endian, with CRC-32C rotated right by 15 bits plus 0xa282ead8; the data are a protocol buffer `tf.train.Example`, a
//! map from names to lists of bytes, f32 or i64.
//!
//! | feature of `dft_force_field` | kind | read into |
//! |---|---|---|
//! | `atomic_numbers` | i64 `[N]` | atomic numbers |
//! | `positions` | f32 `[N, 3]` | positions, Bohr |
//! | `pbe0_forces` | f32 `[N, 3]` | forces, Hartree/Bohr |
//! | `pbe0_energy` | f32 | energy, Hartree |
//! | `charge`, `multiplicity` | i64 | the same |
//! | `is_outlier` | i64 | 1: the record is passed over |
//! | `key_hash` | bytes | compared with that of `dft_metadata` |
//!
//! Of `dft_metadata`, which has the same records in the same order in other shards, `smiles` names the molecule. It is
//! used for a folder `…/dft_force_field/VERSION` beside which there is `…/dft_metadata/VERSION`; a shard alone has
//! none, and its molecules are known by composition. No file of QCML itself has been read by this code: names, kinds
//! and units are those of the publication and of programs that read them.

use super::{About, ReadOptions, Reader, Records};
use crate::extent::Extent;
use crate::read::npz::refuse_other_units;
use crate::record::molecule;
use crate::units::Units;
use crate::{DataError, Record};
use mdet_core::elements::MAX_ATOMIC_NUMBER;
use prost::Message;
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes of a record's head: length and its checksum.
pub(super) const HEAD: usize = 12;
/// A record is refused beyond this size: some hundred atoms with forces take a few thousand bytes.
const MAX_RECORD_BYTES: u64 = 1 << 26;
const UNITS: Units = Units::HartreeBohr;
const FORCE_FIELD: &str = "dft_force_field";
const METADATA: &str = "dft_metadata";

#[derive(Clone, PartialEq, Message)]
struct Example {
    #[prost(message, optional, tag = "1")]
    features: Option<Features>,
}

#[derive(Clone, PartialEq, Message)]
struct Features {
    #[prost(map = "string, message", tag = "1")]
    feature: HashMap<String, Feature>,
}

#[derive(Clone, PartialEq, Message)]
struct Feature {
    #[prost(message, optional, tag = "1")]
    bytes: Option<BytesList>,
    #[prost(message, optional, tag = "2")]
    floats: Option<FloatList>,
    #[prost(message, optional, tag = "3")]
    integers: Option<Int64List>,
}

#[derive(Clone, PartialEq, Message)]
struct BytesList {
    #[prost(bytes = "vec", repeated, tag = "1")]
    value: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct FloatList {
    #[prost(float, repeated, tag = "1")]
    value: Vec<f32>,
}

#[derive(Clone, PartialEq, Message)]
struct Int64List {
    #[prost(int64, repeated, tag = "1")]
    value: Vec<i64>,
}

/// Whether a file begins with the head of a record.
pub(super) fn is_head(start: &[u8]) -> bool {
    start.first_chunk().is_some_and(|head| length(head).is_some())
}

/// The shards of a folder, in order; none where it is no folder of shards.
pub(super) fn shards(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let is_shard = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().contains(".tfrecord")) && path.is_file()
    };
    let mut shards: Vec<PathBuf> =
        entries.filter_map(Result::ok).map(|entry| entry.path()).filter(is_shard).collect();
    shards.sort_unstable();
    shards
}

/// Opens the shards of a data set, with their metadata if these lie beside.
pub(super) fn open(path: &Path, shards: Vec<PathBuf>, options: ReadOptions) -> Result<Reader, DataError> {
    refuse_other_units(path, UNITS, options.units)?;
    let mut total = 0;
    for shard in &shards {
        total += std::fs::metadata(shard).map_err(DataError::io(shard))?.len();
    }
    let extent = Extent::new(total);
    let metadata = metadata_folder(path).map(|folder| self::shards(&folder)).unwrap_or_default();
    let mut keys = Vec::new();
    if let Some(first) = Examples::of(shards.clone(), Extent::new(0)).next() {
        keys = first?.features.into_keys().collect();
        keys.sort_unstable();
    }
    for needed in ["atomic_numbers", "positions", "pbe0_forces"] {
        if !keys.iter().any(|key| key == needed) {
            return Err(DataError::missing(
                path,
                format!("features of QCML's {FORCE_FIELD}"),
                keys.join(", "),
            ));
        }
    }
    let mut labels = vec!["forces = pbe0_forces".into(), "energy = pbe0_energy".into()];
    labels.push("records marked is_outlier are left out".into());
    if !metadata.is_empty() {
        labels.push(format!("molecule = smiles of {METADATA}"));
    }
    let about = About { format: "QCML TFRecord, PBE0".into(), units: UNITS.to_string(), keys, labels };
    let mut metadata = (!metadata.is_empty()).then(|| Examples::of(metadata, Extent::new(0)));
    let mut failed = false;
    let records = Examples::of(shards, extent.clone()).map_while(move |example| {
        // Behind a record whose metadata are not its own, no record has its own.
        if failed {
            return None;
        }
        let record = example.and_then(|example| {
            let smiles = metadata.as_mut().map(|metadata| smiles_of(&example, metadata.next())).transpose();
            failed = smiles.is_err();
            example.into_record(smiles.map_err(DataError::stopped)?)
        });
        Some(record.transpose())
    });
    let records: Records = Box::new(records.flatten());
    Ok(Reader { about, records, extent })
}

/// `…/dft_metadata/VERSION` for `…/dft_force_field/VERSION`.
fn metadata_folder(folder: &Path) -> Option<PathBuf> {
    let whole = folder.canonicalize().ok()?;
    let (version, set) = (whole.file_name()?, whole.parent()?);
    (set.file_name()? == FORCE_FIELD)
        .then(|| set.with_file_name(METADATA).join(version))
        .filter(|folder| folder.is_dir())
}

fn smiles_of(example: &Located, metadata: Option<Result<Located, DataError>>) -> Result<String, DataError> {
    let Some(metadata) = metadata.transpose()? else {
        return Err(DataError::wrong(
            &example.path,
            &example.place,
            format!("a record of {METADATA}"),
            "its end",
        ));
    };
    let (own, other) = (example.bytes("key_hash")?, metadata.bytes("key_hash")?);
    if own != other {
        let expected = format!("the key_hash of {}: {}", metadata.path.display(), metadata.place);
        return Err(DataError::wrong(&example.path, &example.place, expected, "another"));
    }
    Ok(String::from_utf8_lossy(metadata.bytes("smiles")?).into_owned())
}

/// The examples of shards, one after another; an error is the last of its shard.
struct Examples {
    shards: std::vec::IntoIter<PathBuf>,
    extent: Extent,
    current: Option<Shard>,
}

struct Shard {
    path: Arc<Path>,
    input: BufReader<File>,
    n_read: usize,
}

/// An example and where it stands.
struct Located {
    features: HashMap<String, Feature>,
    path: Arc<Path>,
    place: String,
}

impl Examples {
    fn of(shards: Vec<PathBuf>, extent: Extent) -> Self {
        Self { shards: shards.into_iter(), extent, current: None }
    }
}

impl Iterator for Examples {
    type Item = Result<Located, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(shard) = &mut self.current {
                match shard.next(&self.extent).transpose() {
                    Some(Ok(example)) => return Some(Ok(example)),
                    Some(Err(error)) => {
                        self.current = None;
                        return Some(Err(error.stopped()));
                    }
                    None => self.current = None,
                }
            }
            let path = self.shards.next()?;
            match File::open(&path) {
                Ok(file) => {
                    self.current =
                        Some(Shard { path: Arc::from(path), input: BufReader::new(file), n_read: 0 });
                }
                Err(error) => return Some(Err(DataError::io(&path)(error))),
            }
        }
    }
}

impl Shard {
    /// The next example, or `None` at the shard's end.
    fn next(&mut self, extent: &Extent) -> Result<Option<Located>, DataError> {
        let place = format!("record {}", self.n_read);
        let wrong = |expected: &str, found: &str| DataError::wrong(&self.path, &place, expected, found);
        let mut head = Vec::new();
        self.input.by_ref().take(HEAD as u64).read_to_end(&mut head).map_err(DataError::io(&self.path))?;
        if head.is_empty() {
            return Ok(None);
        }
        let length = head.first_chunk().and_then(length).ok_or_else(|| {
            wrong("the length of a TFRecord with its checksum", "something else, or the file's end")
        })?;
        if length > MAX_RECORD_BYTES {
            return Err(wrong("a record of some thousand bytes", &format!("one of {length}")));
        }
        let mut data = Vec::new();
        self.input.by_ref().take(length + 4).read_to_end(&mut data).map_err(DataError::io(&self.path))?;
        let Some((data, checksum)) =
            data.split_last_chunk::<4>().filter(|(data, _)| data.len() as u64 == length)
        else {
            return Err(wrong(&format!("{length} bytes"), "the file's end"));
        };
        if u32::from_le_bytes(*checksum) != masked_crc(data) {
            return Err(wrong("data with their checksum", "other data"));
        }
        let example =
            Example::decode(data).map_err(|error| wrong("a tf.train.Example", &error.to_string()))?;
        extent.advance(length + HEAD as u64 + 4);
        self.n_read += 1;
        let features = example.features.map(|features| features.feature).unwrap_or_default();
        Ok(Some(Located { features, path: Arc::clone(&self.path), place }))
    }
}

/// The length in a record's head, if its checksum fits.
fn length(head: &[u8; HEAD]) -> Option<u64> {
    let (length, checksum) = head.split_first_chunk::<8>()?;
    (masked_crc(length) == u32::from_le_bytes(checksum.try_into().ok()?)).then(|| u64::from_le_bytes(*length))
}

/// TFRecord's masked CRC-32C.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

impl Located {
    fn wrong(&self, feature: &str, expected: impl Into<String>, found: impl Into<String>) -> DataError {
        DataError::wrong(&self.path, format!("{}, {feature}", self.place), expected, found)
    }

    fn bytes(&self, name: &str) -> Result<&[u8], DataError> {
        let list = self.features.get(name).and_then(|feature| feature.bytes.as_ref());
        let value = list.and_then(|list| list.value.first());
        value.map(Vec::as_slice).ok_or_else(|| self.wrong(name, "bytes", "none"))
    }

    fn floats(&self, name: &str, n: usize) -> Result<&[f32], DataError> {
        let list = self.features.get(name).and_then(|feature| feature.floats.as_ref());
        let values = list.map(|list| list.value.as_slice()).unwrap_or_default();
        if values.len() == n {
            return Ok(values);
        }
        Err(self.wrong(name, format!("{n} floats"), values.len().to_string()))
    }

    fn integer(&self, name: &str) -> Result<Option<i64>, DataError> {
        let Some(feature) = self.features.get(name) else { return Ok(None) };
        match feature.integers.as_ref().map(|list| list.value.as_slice()) {
            Some(&[value]) => Ok(Some(value)),
            other => Err(self.wrong(name, "one integer", format!("{:?}", other.map(<[i64]>::len)))),
        }
    }

    /// The structure, or `None` when it is marked as an outlier.
    fn into_record(self, smiles: Option<String>) -> Result<Option<Record>, DataError> {
        if self.integer("is_outlier")?.is_some_and(|mark| mark != 0) {
            return Ok(None);
        }
        let list = self.features.get("atomic_numbers").and_then(|feature| feature.integers.as_ref());
        let number = |&z: &i64| {
            let valid = (1..=i64::from(MAX_ATOMIC_NUMBER)).contains(&z);
            if valid {
                Ok(z as u8)
            } else {
                Err(self.wrong("atomic_numbers", "an atomic number", z.to_string()))
            }
        };
        let values = list.map(|list| list.value.as_slice()).unwrap_or_default();
        let numbers: Vec<u8> = values.iter().map(number).collect::<Result<_, _>>()?;
        let vectors = |name: &str, unit: f64| -> Result<Vec<[f64; 3]>, DataError> {
            let rows = self.floats(name, 3 * numbers.len())?.as_chunks().0;
            Ok(rows.iter().map(|row: &[f32; 3]| row.map(|x| f64::from(x) * unit)).collect())
        };
        let whole = |name: &str| -> Result<i32, DataError> {
            let value = self.integer(name)?.ok_or_else(|| self.wrong(name, "an integer", "none"))?;
            i32::try_from(value).map_err(|_| self.wrong(name, "a small integer", value.to_string()))
        };
        let charge = whole("charge")?;
        let energy = self.floats("pbe0_energy", 1)?[0];
        Ok(Some(Record {
            positions: vectors("positions", UNITS.length_angstrom())?,
            forces: Some(vectors("pbe0_forces", UNITS.force_ev_per_angstrom())?),
            energy_ev: Some(f64::from(energy) * UNITS.energy_ev()).filter(|energy| energy.is_finite()),
            dipole_e_angstrom: None,
            charge,
            // What is negative is refused as 0 is, when the record is checked.
            multiplicity: u32::try_from(whole("multiplicity")?).unwrap_or(0),
            molecule: smiles.as_deref().map_or_else(|| Record::molecule_of(&numbers, charge), molecule),
            name: smiles,
            origin: None,
            path: Arc::clone(&self.path),
            place: self.place.clone(),
            numbers,
        }))
    }
}
