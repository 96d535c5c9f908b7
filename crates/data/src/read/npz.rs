//! NumPy archives: MD17, revised MD17, MD22 and the like, and this project's corpus.

use super::arrays::{Array, Block, Convention};
use super::{About, Labels, ReadOptions, Reader, corpus};
use crate::DataError;
use crate::units::{self, Units};
use half::f16;
use npyz::{DType, NpyHeader, Order, TypeChar};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zip::ZipArchive;

/// Revised MD17 (Christensen & von Lilienfeld 2020).
const REVISED_MD17: Convention = Convention {
    format: "revised MD17 npz",
    numbers: "nuclear_charges",
    positions: "coords",
    forces: "forces",
    force_sign: 1.0,
    energy: "energies",
    dipole: None,
    units: Some(Units::KcalAngstrom),
    has_gaps: false,
};

/// The labels that revised MD17 carries over from MD17.
const REVISED_MD17_OLD: Convention = Convention {
    format: "revised MD17 npz, labels of the original MD17",
    forces: "old_forces",
    energy: "old_energies",
    ..REVISED_MD17
};

/// MD17, MD22 and what else sGDML's scripts read and write.
const MD17: Convention = Convention {
    format: "MD17 npz",
    numbers: "z",
    positions: "R",
    forces: "F",
    energy: "E",
    units: None,
    ..REVISED_MD17
};

/// Opens an archive by the arrays in it.
pub(super) fn open(path: &Path, options: ReadOptions) -> Result<Reader, DataError> {
    let mut archive = Archive::open(path)?;
    let names = archive.names();
    if names.iter().any(|name| name == "n_atoms") && options.labels == Labels::New {
        return corpus::open(archive, names);
    }
    let known = match options.labels {
        Labels::New => [&REVISED_MD17, &MD17].into_iter().find(|convention| convention.fits(&names)),
        Labels::Old => {
            Some(&REVISED_MD17_OLD).filter(|old| old.fits(&names) && names.iter().any(|n| n == old.forces))
        }
    };
    let Some(convention) = known else {
        let expected = match options.labels {
            Labels::New => {
                "arrays z, R, F, E (MD17) or nuclear_charges, coords, forces, energies (revised MD17)"
            }
            Labels::Old => "arrays nuclear_charges, coords, old_forces, old_energies (revised MD17)",
        };
        return Err(DataError::missing(path, expected, listed(&names)));
    };
    let units = match convention.units {
        Some(units) => units,
        None => units_of(&mut archive, &names, options.units)?,
    };
    refuse_other_units(path, units, options.units)?;
    let path: Arc<Path> = Arc::from(path);
    let mut read = |name: &str| archive.array(name);
    let block = Block::gather(&path, "frame".into(), 0, convention, units, &mut read)?;
    let labels = convention.labels(&names);
    let about = About { format: convention.format.into(), units: units.to_string(), keys: names, labels };
    Ok(Reader::counted(about, block.n_frames(), Box::new(block.into_records())))
}

/// The units of a file of `z`, `R`, `F`, `E`: by its own words, by the marks of the originals, or as asked.
fn units_of(archive: &mut Archive, names: &[String], asked: Option<Units>) -> Result<Units, DataError> {
    let has = |name: &str| names.iter().any(|found| found == name);
    let mut words = None;
    if has("r_unit") && has("e_unit") {
        words = Some((archive.text("e_unit")?, archive.text("r_unit")?));
    } else if has("units") {
        // "Angstrom, eV/Angstrom, eV": of positions, forces, energies.
        let text = archive.text("units")?;
        let parts: Vec<&str> = text.split(',').map(str::trim).collect();
        if let [length, force, energy, ..] = parts[..] {
            let of_forces =
                force.rsplit_once('/').and_then(|(energy, length)| Units::from_words(energy, length));
            if of_forces.is_some() && of_forces != Units::from_words(energy, length) {
                let expected = format!("{energy}/{length}");
                return Err(DataError::missing(
                    &archive.path,
                    format!("units with forces in {expected}"),
                    force,
                ));
            }
            words = Some((energy.to_string(), length.to_string()));
        }
    }
    if let Some((energy, length)) = &words {
        let known = Units::from_words(energy, length);
        return known.or(asked).ok_or_else(|| {
            let expected = format!("{}, or units to be given ({})", units::WORDS, units::names());
            DataError::missing(&archive.path, expected, format!("{energy:?} and {length:?}"))
        });
    }
    // The archives at quantum-machine.org and sgdml.org carry a checksum or their level of theory, and are in kcal/mol.
    let is_original = has("md5") || (has("theory") && has("name") && has("type"));
    match asked {
        Some(units) => Ok(units),
        None if is_original => Ok(Units::KcalAngstrom),
        None => {
            let found = format!("no word of them among {}", listed(names));
            Err(DataError::missing(&archive.path, format!("units to be given ({})", units::names()), found))
        }
    }
}

/// Units that a user gives must not contradict the file.
pub(super) fn refuse_other_units(path: &Path, units: Units, asked: Option<Units>) -> Result<(), DataError> {
    match asked {
        Some(asked) if asked != units => {
            Err(DataError::missing(path, format!("{asked} as asked"), format!("{units} by its format")))
        }
        _ => Ok(()),
    }
}

pub(super) fn listed(names: &[String]) -> String {
    if names.is_empty() { "no arrays".to_owned() } else { names.join(", ") }
}

/// An open `.npz` file.
pub(super) struct Archive {
    pub path: PathBuf,
    zip: ZipArchive<BufReader<File>>,
}

impl Archive {
    pub fn open(path: &Path) -> Result<Self, DataError> {
        let file = File::open(path).map_err(DataError::io(path))?;
        let zip = ZipArchive::new(BufReader::new(file))
            .map_err(DataError::container(path, "a NumPy archive (.npz)"))?;
        Ok(Self { path: path.into(), zip })
    }

    /// The arrays there are, in alphabetical order.
    pub fn names(&self) -> Vec<String> {
        let files = self.zip.file_names().filter_map(Result::ok);
        let mut names: Vec<String> =
            files.filter_map(|file| npyz::npz::array_name_from_file_name(&file).map(str::to_owned)).collect();
        names.sort_unstable();
        names
    }

    /// A numeric array, or `None` when there is none of the name.
    pub fn array(&mut self, name: &str) -> Result<Option<Array>, DataError> {
        let Some(bytes) = self.unpacked(name)? else { return Ok(None) };
        let (header, data) = self.header(name, &bytes)?;
        let wrong = |expected: &str, found: String| Err(DataError::wrong(&self.path, name, expected, found));
        if header.order() != Order::C {
            return wrong("a row-major array", "a column-major one".into());
        }
        let dtype = header.dtype();
        let Some((decode, size)) = decoder(&dtype) else { return wrong("numbers", dtype.descr()) };
        let shape: Vec<usize> = header.shape().iter().map(|&n| n as usize).collect();
        let n_bytes = shape.iter().try_fold(size, |product, &n| product.checked_mul(n));
        if n_bytes != Some(data.len()) {
            return wrong(&format!("{shape:?} entries of {size} bytes"), format!("{} bytes", data.len()));
        }
        Ok(Some(Array { shape, values: data.chunks_exact(size).map(decode).collect() }))
    }

    /// A text.
    pub fn text(&mut self, name: &str) -> Result<String, DataError> {
        let bytes = self.unpacked(name)?.unwrap_or_default();
        let (header, data) = self.header(name, &bytes)?;
        let text = match &header.dtype() {
            DType::Plain(plain) if plain.type_char() == TypeChar::UnicodeStr => data
                .chunks_exact(4)
                .filter_map(|c| char::from_u32(u32::from_le_bytes([c[0], c[1], c[2], c[3]])))
                .collect(),
            DType::Plain(plain) if plain.type_char() == TypeChar::ByteStr => {
                String::from_utf8_lossy(data).into_owned()
            }
            other => return Err(DataError::wrong(&self.path, name, "a text", other.descr())),
        };
        Ok(text.trim_end_matches('\0').trim().to_owned())
    }

    fn header<'a>(&self, name: &str, bytes: &'a [u8]) -> Result<(NpyHeader, &'a [u8]), DataError> {
        let mut rest = bytes;
        let header = NpyHeader::from_reader(&mut rest)
            .map_err(|error| DataError::wrong(&self.path, name, "a NumPy array", error.to_string()))?;
        Ok((header, rest))
    }

    /// An array's file, decompressed as a whole.
    fn unpacked(&mut self, name: &str) -> Result<Option<Vec<u8>>, DataError> {
        let Some(index) = self.zip.index_for_name(&npyz::npz::file_name_from_array_name(name)) else {
            return Ok(None);
        };
        let damaged =
            DataError::container::<zip::result::ZipError>(&self.path, "a whole NumPy archive (.npz)");
        let mut file = self.zip.by_index(index).map_err(damaged)?;
        let mut bytes = Vec::new();
        match file.read_to_end(&mut bytes) {
            Ok(_) => Ok(Some(bytes)),
            Err(error) => Err(DataError::wrong(&self.path, name, "an intact array", error.to_string())),
        }
    }
}

type Decode = fn(&[u8]) -> f64;

/// How an entry becomes a number, and its bytes.
fn decoder(dtype: &DType) -> Option<(Decode, usize)> {
    macro_rules! little {
        ($type:ty, $widen:expr) => {{
            const SIZE: usize = size_of::<$type>();
            let decode: Decode = |bytes| {
                let bytes = bytes.try_into().expect("an entry's bytes");
                $widen(<$type>::from_le_bytes(bytes))
            };
            (decode, SIZE)
        }};
    }
    let DType::Plain(plain) = dtype else { return None };
    if plain.endianness() == npyz::Endianness::Big {
        return None;
    }
    Some(match (plain.type_char(), plain.size_field()) {
        (TypeChar::Float, 2) => little!(f16, f16::to_f64),
        (TypeChar::Float, 4) => little!(f32, f64::from),
        (TypeChar::Float, 8) => little!(f64, f64::from),
        (TypeChar::Int, 1) => little!(i8, f64::from),
        (TypeChar::Int, 2) => little!(i16, f64::from),
        (TypeChar::Int, 4) => little!(i32, f64::from),
        (TypeChar::Int, 8) => little!(i64, |value| value as f64),
        (TypeChar::Uint, 1) => little!(u8, f64::from),
        (TypeChar::Uint, 2) => little!(u16, f64::from),
        (TypeChar::Uint, 4) => little!(u32, f64::from),
        (TypeChar::Uint, 8) => little!(u64, |value| value as f64),
        _ => return None,
    })
}
