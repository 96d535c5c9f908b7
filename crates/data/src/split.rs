//! Splits of data sets: named parts that are lists of structures, made once, saved as a small file and used by name.
//!
//! Wherever a file of data is taken, `FILE.json#NAME` is the part NAME of the split in FILE.json. The file says from which
//! sources, in order, the structures are counted from 0; each source's checksum, so that a list never means other structures
//! than it did; and what had to be said to read them.
//!
//! One part may be the rest: all structures in no other part. It is not written out, which keeps the file of a large set small.

use crate::store::{self, sha256};
use crate::{DataError, Labels, ReadOptions};
use mdet_core::{Purpose, RandomStream, atomic_write};
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

const FORMAT: &str = "mdet split 1";

/// Parts of a data set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// Name and version of the format.
    pub format: String,
    /// How it was made, in words.
    pub method: String,
    /// What is needed to read the sources.
    pub reading: ReadOptions,
    /// Files or stores, whose structures are counted one after another.
    pub sources: Vec<Source>,
    /// The parts by name.
    pub parts: BTreeMap<String, Members>,
}

/// A file or store that structures are taken from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Where it is, from the folder of the split.
    pub path: PathBuf,
    /// Its structures.
    pub n_structures: usize,
    /// SHA-256 of the file, or of a store's manifest.
    pub sha256: String,
}

/// The structures of a part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Members {
    /// These, ascending.
    List(Vec<u32>),
    /// All that are in no other part.
    Rest,
}

/// How large a part is to be.
#[derive(Debug, Clone, PartialEq)]
pub enum Size {
    /// So many structures.
    Structures(usize),
    /// A share from 0 to 1 of all.
    Share(f64),
    /// All that no other part takes.
    Rest,
    /// These structures.
    List(Vec<u32>),
}

/// `FILE.json#NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartOfSplit {
    /// The split.
    pub file: PathBuf,
    /// The part.
    pub name: String,
}

impl PartOfSplit {
    /// What a path names, if not a file of its own.
    pub fn named(path: &Path) -> Option<Self> {
        let (file, name) = path.to_str()?.rsplit_once('#')?;
        (!path.exists() && Path::new(file).is_file()).then(|| Self { file: file.into(), name: name.into() })
    }
}

/// Draws parts at random. Structures with the same entry in `groups` stay together; without groups, each is on its own.
///
/// Parts of a number or share of structures are filled in the order given; with groups, until they have at least as many.
///
/// # Errors
/// In words, when the parts ask for more than there is, overlap, are empty, or several are the rest.
pub fn draw(
    n_structures: usize,
    groups: Option<&[u64]>,
    sizes: &[(String, Size)],
    seed: u64,
) -> Result<BTreeMap<String, Members>, String> {
    if sizes.iter().filter(|(_, size)| *size == Size::Rest).count() > 1 {
        return Err("expected one part at most to be the rest".into());
    }
    let mut owner: Vec<Option<&str>> = vec![None; n_structures];
    for (name, size) in sizes {
        let Size::List(list) = size else { continue };
        for &index in list {
            let Some(owner) = owner.get_mut(index as usize) else {
                return Err(format!("part {name}: expected structures below {n_structures}, found {index}"));
            };
            if let Some(other) = owner.replace(name) {
                return Err(format!("structure {index} is in {other} and again in {name}"));
            }
        }
    }
    if let Some(groups) = groups {
        refuse_divided(groups, &owner)?;
    }
    let units = shuffled_units(n_structures, groups, seed, |index| owner[index].is_none());
    let mut units = units.into_iter();
    let mut parts = BTreeMap::new();
    for (name, size) in sizes {
        let members = match size {
            Size::Rest => Members::Rest,
            Size::List(list) => Members::List(list.clone()),
            Size::Structures(wanted) => Members::List(take(&mut units, *wanted, name)?),
            Size::Share(share) => {
                Members::List(take(&mut units, (share * n_structures as f64).round() as usize, name)?)
            }
        };
        let members = match members {
            Members::List(mut list) => {
                list.sort_unstable();
                Members::List(list)
            }
            Members::Rest => Members::Rest,
        };
        if parts.insert(name.clone(), members).is_some() {
            return Err(format!("part {name} is given twice"));
        }
    }
    refuse_empty(n_structures, &parts)?;
    Ok(parts)
}

/// Lists may not divide a group: what is left of it would be drawn for another part.
fn refuse_divided(groups: &[u64], owner: &[Option<&str>]) -> Result<(), String> {
    let mut owner_of: HashMap<u64, (usize, Option<&str>)> = HashMap::new();
    for (index, (&group, &owner)) in groups.iter().zip(owner).enumerate() {
        let (first, first_owner) = *owner_of.entry(group).or_insert((index, owner));
        if first_owner != owner {
            let (part, listed, other) = match owner {
                Some(part) => (part, index, first),
                None => (first_owner.unwrap_or_default(), first, index),
            };
            return Err(format!(
                "part {part}: expected whole groups in its list, found structure {listed} without structure {other}, which belongs to it"
            ));
        }
    }
    Ok(())
}

/// No part may be without structures, the rest neither.
fn refuse_empty(n_structures: usize, parts: &BTreeMap<String, Members>) -> Result<(), String> {
    let listed = |members: &Members| match members {
        Members::List(list) => list.len(),
        Members::Rest => 0,
    };
    let n_left = n_structures - parts.values().map(listed).sum::<usize>();
    for (name, members) in parts {
        let n_members = if *members == Members::Rest { n_left } else { listed(members) };
        if n_members == 0 {
            return Err(format!("part {name}: expected at least one structure, found none"));
        }
    }
    Ok(())
}

/// Free structures in random order, those of a group together.
fn shuffled_units(
    n_structures: usize,
    groups: Option<&[u64]>,
    seed: u64,
    is_free: impl Fn(usize) -> bool,
) -> Vec<Vec<u32>> {
    let mut units: Vec<Vec<u32>> = Vec::new();
    let mut unit_of: HashMap<u64, usize> = HashMap::new();
    for index in (0..n_structures).filter(|&index| is_free(index)) {
        match groups {
            None => units.push(vec![index as u32]),
            Some(groups) => {
                let unit = *unit_of.entry(groups[index]).or_insert(units.len());
                if unit == units.len() {
                    units.push(Vec::new());
                }
                units[unit].push(index as u32);
            }
        }
    }
    let stream = RandomStream { seed, purpose: Purpose::Splitting, replica: 0 };
    units.shuffle(&mut stream.at_step(0));
    units
}

fn take(units: &mut impl Iterator<Item = Vec<u32>>, wanted: usize, name: &str) -> Result<Vec<u32>, String> {
    let mut list = Vec::new();
    while list.len() < wanted {
        match units.next() {
            Some(unit) => list.extend(unit),
            None => {
                return Err(format!("part {name}: expected {wanted} structures, found {} left", list.len()));
            }
        }
    }
    Ok(list)
}

impl Split {
    /// A split of these sources, which were read to the end: their paths and numbers of structures.
    ///
    /// # Errors
    /// [`DataError::Io`] when a source cannot be read for its checksum.
    pub fn new(
        method: String,
        reading: ReadOptions,
        sources: &[(PathBuf, usize)],
        parts: BTreeMap<String, Members>,
    ) -> Result<Self, DataError> {
        let source = |(path, n_structures): &(PathBuf, usize)| {
            Ok(Source { path: path.clone(), n_structures: *n_structures, sha256: checksum(path)? })
        };
        let sources = sources.iter().map(source).collect::<Result<_, DataError>>()?;
        Ok(Self { format: FORMAT.into(), method, reading, sources, parts })
    }

    /// Writes the file. Sources below its folder are written relative to it, others in full.
    ///
    /// # Errors
    /// [`DataError::Io`].
    pub fn write(&self, path: &Path) -> Result<(), DataError> {
        let folder = folder_of(path).canonicalize().map_err(DataError::io(path))?;
        let mut split = self.clone();
        for source in &mut split.sources {
            let whole = source.path.canonicalize().map_err(DataError::io(&source.path))?;
            source.path = whole.strip_prefix(&folder).map_or(whole.clone(), Path::to_path_buf);
        }
        let mut text = serde_json::to_string(&split).expect("a split is plain data");
        text.push('\n');
        atomic_write(path, text.as_bytes()).map_err(DataError::io(path))
    }

    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`DataError`] when it is unreadable, of another version, or its parts are no parts of its sources.
    pub fn read(path: &Path) -> Result<Self, DataError> {
        let text = std::fs::read_to_string(path).map_err(DataError::io(path))?;
        let split: Self = serde_json::from_str(&text)
            .map_err(DataError::container(path, "a split as mdet data split writes it"))?;
        if split.format != FORMAT {
            return Err(DataError::wrong(path, "format", FORMAT, split.format));
        }
        let n_structures = split.n_structures();
        let mut taken = vec![false; n_structures];
        for (name, members) in &split.parts {
            let Members::List(list) = members else { continue };
            let mut previous = None;
            for &index in list {
                let is_new = taken.get_mut(index as usize).is_some_and(|t| !std::mem::replace(t, true));
                if !is_new || previous.is_some_and(|previous| previous >= index) {
                    let expected = format!("ascending structures below {n_structures}, each in one part");
                    return Err(DataError::wrong(path, format!("part {name}"), expected, index.to_string()));
                }
                previous = Some(index);
            }
        }
        Ok(split)
    }

    /// Structures of all sources.
    pub fn n_structures(&self) -> usize {
        self.sources.iter().map(|source| source.n_structures).sum()
    }

    /// Structures of a part, ascending; `path` is where the split is, for errors.
    ///
    /// # Errors
    /// [`DataError::Missing`] when there is no such part.
    pub fn part(&self, path: &Path, name: &str) -> Result<Vec<u32>, DataError> {
        match self.parts.get(name) {
            Some(Members::List(list)) => Ok(list.clone()),
            Some(Members::Rest) => {
                let mut is_free = vec![true; self.n_structures()];
                for members in self.parts.values() {
                    let Members::List(list) = members else { continue };
                    list.iter().for_each(|&index| is_free[index as usize] = false);
                }
                Ok((0_u32..).zip(is_free).filter(|(_, is_free)| *is_free).map(|(index, _)| index).collect())
            }
            None => {
                let names = self.parts.keys().cloned().collect::<Vec<_>>().join(", ");
                Err(DataError::missing(path, format!("a part {name:?}"), names))
            }
        }
    }

    /// How the sources are read: as asked, and in what is not asked, as when the split was made.
    pub(crate) fn reading(&self, asked: ReadOptions) -> ReadOptions {
        ReadOptions {
            units: asked.units.or(self.reading.units),
            labels: if asked.labels == Labels::default() { self.reading.labels } else { asked.labels },
        }
    }

    /// Whether all sources are stores; `path` is where the split is.
    pub(crate) fn is_of_stores(&self, path: &Path) -> bool {
        self.sources.iter().all(|source| store::is_store(&folder_of(path).join(&source.path)))
    }

    /// Where the sources are, after their checksums were compared; `path` is where the split is.
    ///
    /// # Errors
    /// [`DataError::Wrong`] with the first source that is not what it was, [`DataError::Io`] when one is not there.
    pub(crate) fn verified_sources(&self, path: &Path) -> Result<Vec<PathBuf>, DataError> {
        let verified = |source: &Source| {
            let place = folder_of(path).join(&source.path);
            let found = checksum(&place)?;
            if found == source.sha256 {
                return Ok(place);
            }
            let expected = format!("the file that {} was made of, SHA-256 {}", path.display(), source.sha256);
            Err(DataError::wrong(&place, "whole file", expected, found))
        };
        self.sources.iter().map(verified).collect()
    }
}

/// SHA-256 of a file; of a store, that of the manifest, which has those of the rest.
fn checksum(path: &Path) -> Result<String, DataError> {
    if store::is_store(path) { sha256(&store::manifest_path(path)) } else { sha256(path) }
}

/// The folder a file is in.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
