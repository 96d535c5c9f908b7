//! Reference data in whatever format it comes, as a stream of [`Record`]s.
//!
//! | format | recognised by | units |
//! |---|---|---|
//! | XYZ, extended XYZ | neither of the below | Å, eV by ASE's convention, or as asked |
//! | revised MD17 `.npz` | `nuclear_charges`, `coords` | Å, kcal/mol |
//! | MD17, MD22, sGDML `.npz` | `z`, `R` | as `r_unit` and `e_unit` or `units` say; MD17's own are kcal/mol; or as asked |
//! | mdet corpus `.npz` | `n_atoms` | see [`corpus`] |
//! | SPICE `.hdf5` | `conformations` | Bohr, Hartree; forces are minus the gradient |
//! | ANI-1x `.h5` | `wb97x_dz.forces` | Å, Hartree |
//! | QM7-X `.hdf5` | `atXYZ` | Å, eV |
//! | AIMNet2 `.h5` | `numbers`, `coord` | Å, eV |
//! | QCML TFRecord shards | a record's checksummed length, or a folder of such files | Bohr, Hartree |
//! | mdet store | a folder with `store.json` | Å, eV |
//!
//! XYZ and HDF5 files are streamed, frame by frame and in blocks of conformations; the arrays of an npz archive are
//! unpacked as a whole, since they are compressed as a whole.

mod arrays;
mod corpus;
mod hdf5;
mod npz;
mod qcml;

use crate::extent::{Counted, Extent};
use crate::split::{PartOfSplit, Split};
use crate::units::Units;
use crate::{DataError, Dataset, FrameReader, Problem, ReadError, Record, store};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

/// What a user may have to say about a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ReadOptions {
    /// Units, where the file does not say.
    pub units: Option<Units>,
    /// Which of two sets of labels.
    pub labels: Labels,
}

/// Which labels of a file that has two sets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Labels {
    /// The file's own: of revised MD17 the recomputed PBE/def2-SVP ones.
    #[default]
    New,
    /// `old_forces` and `old_energies` of revised MD17: the labels of the original MD17 (PBE+vdW-TS).
    Old,
}

/// What a file is, as far as it is known before its records are read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The format.
    pub format: String,
    /// Units of the file, before conversion.
    pub units: String,
    /// Arrays, columns and keys found.
    pub keys: Vec<String>,
    /// Where forces, energy and dipole are taken from.
    pub labels: Vec<String>,
}

/// An open data set.
pub struct Reader {
    /// What it is.
    pub about: About,
    records: Records,
    extent: Extent,
}

/// A stream of records; after an error there may be more.
type Records = Box<dyn Iterator<Item = Result<Record, DataError>> + Send>;

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("about", &self.about).finish_non_exhaustive()
    }
}

impl Reader {
    /// Opens a file, a store or a part of a [split](crate::split), `FILE.json#NAME`, by what it contains, whatever its
    /// name.
    ///
    /// # Errors
    /// [`DataError`] when it cannot be opened, is of no known format, or does not say its units and `options` neither.
    pub fn open(path: &Path, options: ReadOptions) -> Result<Self, DataError> {
        if let Some(part) = PartOfSplit::named(path) {
            return Self::of_part(&part, options);
        }
        if store::is_store(path) {
            return Self::of_store(path);
        }
        let shards = qcml::shards(path);
        if !shards.is_empty() {
            refuse_old_labels(path, options)?;
            return qcml::open(path, shards, options);
        }
        if path.is_dir() {
            let found = if store::is_unfinished(path) {
                "a store that is not finished: mdet data convert --resume goes on with it"
            } else {
                "a folder without store.json and without shards"
            };
            return Err(DataError::missing(path, "a file, a store or a folder of TFRecord shards", found));
        }
        let mut start = [0; qcml::HEAD];
        let mut file = File::open(path).map_err(DataError::io(path))?;
        let n_read = file.read(&mut start).map_err(DataError::io(path))?;
        let start = &start[..n_read];
        if start.starts_with(b"PK") {
            return npz::open(path, options);
        }
        refuse_old_labels(path, options)?;
        match start {
            [b'\x89', b'H', b'D', b'F', b'\r', b'\n', b'\x1a', b'\n', ..] => hdf5::open(path, options),
            start if qcml::is_head(start) => qcml::open(path, vec![path.to_path_buf()], options),
            _ => Self::of_xyz(path, options),
        }
    }

    /// How much has been read, from 0 to 1, as far as it can be told.
    pub fn fraction(&self) -> f64 {
        self.extent.fraction()
    }

    /// Of records that are counted as they come.
    fn counted(about: About, n_records: usize, records: Records) -> Self {
        let extent = Extent::new(n_records as u64);
        Self { about, records: Box::new(extent.counting(records)), extent }
    }

    /// The structures of a part of a split, in the order of its sources.
    fn of_part(part: &PartOfSplit, options: ReadOptions) -> Result<Self, DataError> {
        let split = Split::read(&part.file)?;
        let chosen = split.part(&part.file, &part.name)?;
        let options = split.reading(options);
        let sources = split.verified_sources(&part.file)?;
        let about = match sources.first() {
            Some(first) => Self::open(first, options)?.about,
            None => return Err(DataError::missing(&part.file, "sources", "none")),
        };
        let all = sources.into_iter().flat_map(move |source| -> Records {
            match Self::open(&source, options) {
                Ok(reader) => reader.records,
                // Where the indices of the next source begin is not known.
                Err(error) => Box::new(std::iter::once(Err(error.stopped()))),
            }
        });
        let extent = Extent::new(split.n_structures() as u64);
        let mut wanted = chosen.into_iter().peekable();
        let records = extent.counting(all).enumerate().filter_map(move |(index, record)| {
            let is_wanted = wanted.next_if(|&wanted| wanted as usize == index).is_some();
            let ends = record.as_ref().is_err_and(DataError::ends_reading);
            (is_wanted || ends).then_some(record)
        });
        Ok(Self { about, records: Box::new(records), extent })
    }

    fn of_xyz(path: &Path, options: ReadOptions) -> Result<Self, DataError> {
        let file = File::open(path).map_err(DataError::io(path))?;
        let extent = Extent::new(file.metadata().map_err(DataError::io(path))?.len());
        let input = Counted { input: BufReader::new(file), extent: extent.clone() };
        let mut frames = FrameReader::new(input, path);
        // Wrong frames before the first sound one, which tells what the others are like.
        let mut begin = Vec::new();
        while begin.len() < MAX_WRONG_AT_START
            && begin.last().is_none_or(Result::is_err)
            && let Some(frame) = frames.next()
        {
            begin.push(frame);
        }
        let Some(Ok(first)) = begin.last() else {
            let error = begin.into_iter().find_map(Result::err);
            return Err(no_xyz(path, error.expect("an XYZ file without frames is an error")));
        };
        let columns = first.properties.clone().unwrap_or_else(|| "species:S:1:pos:R:3".into());
        let mut keys: Vec<String> = columns.split(':').step_by(3).map(str::to_owned).collect();
        keys.extend(first.key_values.iter().map(|(key, _)| key.clone()));
        let mut labels = Vec::new();
        labels.extend(first.forces.is_some().then(|| "forces".to_owned()));
        labels.extend(first.energy_ev.is_some().then(|| "energy".to_owned()));
        let units = options.units.unwrap_or(Units::EvAngstrom);
        let by = if options.units.is_some() { "as asked" } else { "by ASE's convention" };
        let about = About { format: "XYZ".into(), units: format!("{units} ({by})"), keys, labels };
        let records = begin.into_iter().chain(frames).map(move |frame| match frame {
            Ok(frame) => Ok(in_units(Record::from_frame(frame), units)),
            Err(error) if error.ends_reading() => Err(DataError::from(error).stopped()),
            Err(error) => Err(error.into()),
        });
        Ok(Self { about, records: Box::new(records), extent })
    }

    fn of_store(path: &Path) -> Result<Self, DataError> {
        let dataset = Dataset::read(&[path.to_path_buf()], ReadOptions::default())?;
        let about = About {
            format: "mdet store".into(),
            units: Units::EvAngstrom.to_string(),
            keys: store::ARRAYS.map(str::to_owned).into(),
            labels: vec!["forces".into(), "energy".into(), "dipole".into()],
        };
        let path = std::sync::Arc::from(path);
        let n_structures = dataset.len();
        let records = (0..n_structures).map(move |b| {
            let wide = |vectors: &[[f32; 3]]| vectors.iter().map(|v| v.map(f64::from)).collect();
            let structure = dataset.get(b);
            Ok(Record {
                numbers: structure.numbers.to_vec(),
                positions: wide(structure.positions),
                forces: Some(wide(structure.forces)),
                energy_ev: structure.energy_ev,
                dipole_e_angstrom: structure.dipole_e_angstrom.map(|d| d.map(f64::from)),
                charge: structure.charge,
                multiplicity: structure.multiplicity,
                molecule: structure.molecule,
                name: None,
                origin: None,
                path: std::sync::Arc::clone(&path),
                place: format!("structure {b}"),
            })
        });
        Ok(Self::counted(about, n_structures, Box::new(records)))
    }
}

impl Iterator for Reader {
    type Item = Result<Record, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.records.next()
    }
}

/// Wrong frames at the start of an XYZ file after which no sound one is looked for.
const MAX_WRONG_AT_START: usize = 1000;

/// The old labels that were asked for are of revised MD17. A store is read whatever is asked: it may be of them.
fn refuse_old_labels(path: &Path, options: ReadOptions) -> Result<(), DataError> {
    match options.labels {
        Labels::New => Ok(()),
        Labels::Old => {
            Err(DataError::missing(path, "revised MD17 (npz), for its old labels", "another format"))
        }
    }
}

/// Why a file has no frame: in most cases it is of a format that is not read.
fn no_xyz(path: &Path, error: ReadError) -> DataError {
    match error {
        ReadError::Frame { place, problem: Problem::AtomCount { found } } if place.frame == 0 => {
            let expected = "XYZ, npz, HDF5, TFRecord, a store or a part of a split (FILE.json#NAME)";
            DataError::missing(path, expected, format!("{found:?} in line {}", place.line))
        }
        error => error.into(),
    }
}

/// A record that was read as Å and eV and is in other units.
fn in_units(mut record: Record, units: Units) -> Record {
    let length = units.length_angstrom();
    let force = units.force_ev_per_angstrom();
    record.positions.iter_mut().flatten().for_each(|x| *x *= length);
    record.forces.iter_mut().flatten().flatten().for_each(|f| *f *= force);
    record.energy_ev = record.energy_ev.map(|energy| energy * units.energy_ev());
    record
}
