//! Labelled structures at random access, whether in memory or mapped from a store.
//!
//! A data set is a list of shards, each a few long columns: read from files of any format into memory, or mapped from
//! a [store](crate::store), whose pages the system reads and drops as it likes. A store of any size so costs the
//! memory of its index alone.

use crate::columns::{Columns, Shard};
use crate::split::{PartOfSplit, Split};
use crate::{About, DataError, ReadOptions, Reader, Record, store};
use std::path::PathBuf;
use std::sync::Arc;

/// Labelled structures.
#[derive(Debug, Clone)]
pub struct Dataset {
    shards: Vec<Arc<Shard>>,
    /// The first structure of each shard, and the number of all.
    starts: Vec<usize>,
    /// Which structures these are, where they are a part of the shards'.
    selection: Option<Arc<[u32]>>,
}

/// One structure of a [`Dataset`] with its labels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Labelled<'a> {
    /// Atomic numbers, one per atom.
    pub numbers: &'a [u8],
    /// Positions in Å, one per atom.
    pub positions: &'a [[f32; 3]],
    /// Forces in eV/Å, one per atom.
    pub forces: &'a [[f32; 3]],
    /// Energy in eV.
    pub energy_ev: Option<f64>,
    /// Dipole moment in e·Å.
    pub dipole_e_angstrom: Option<[f32; 3]>,
    /// Total charge in e.
    pub charge: i32,
    /// Spin multiplicity 2S + 1.
    pub multiplicity: u32,
    /// Which molecule it is, as a hash: [`Record::molecule`].
    pub molecule: u64,
}

impl Dataset {
    /// Reads files of any format, stores and parts of [splits](crate::split) into one data set, in the order given. Stores are mapped, after their
    /// checksums were verified; anything else is read into memory.
    ///
    /// # Errors
    /// [`DataError`] of the first file and structure that is wrong or has no forces.
    pub fn read(paths: &[PathBuf], options: ReadOptions) -> Result<Self, DataError> {
        let mut dataset = Self { shards: Vec::new(), starts: vec![0], selection: None };
        for path in paths {
            // A part of stores is mapped; of anything else only its structures are kept.
            if let Some(part) = PartOfSplit::named(path)
                && let split = Split::read(&part.file)?
                && split.is_of_stores(&part.file)
            {
                let chosen = split.part(&part.file, &part.name)?;
                let whole = Self::read(&split.verified_sources(&part.file)?, options)?;
                if whole.len() != split.n_structures() {
                    let expected = format!("{} structures", split.n_structures());
                    return Err(DataError::missing(&part.file, expected, whole.len().to_string()));
                }
                dataset.append(whole.select(&chosen));
                continue;
            }
            if store::is_store(path) {
                let manifest = store::Manifest::read(path)?;
                manifest.verify(path)?;
                manifest.map(path)?.into_iter().for_each(|shard| dataset.push(shard));
                continue;
            }
            let mut reader = Reader::open(path, options)?;
            let mut columns = Columns::default();
            while let Some(record) = reader.next() {
                columns.push(&labelled(record?, &reader.about)?);
            }
            dataset.push(Shard::from(columns));
        }
        Ok(dataset)
    }

    /// Number of structures.
    pub fn len(&self) -> usize {
        match &self.selection {
            Some(selection) => selection.len(),
            None => self.starts[self.shards.len()],
        }
    }

    /// Whether there are no structures.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of atoms of structure `b`, without touching its coordinates: batches are made up by size.
    ///
    /// # Panics
    /// When `b` is not below [`len`](Self::len).
    pub fn n_atoms(&self, b: usize) -> usize {
        let (shard, own) = self.locate(b);
        shard.atoms(own).len()
    }

    /// Structure `b` with its labels.
    ///
    /// # Panics
    /// When `b` is not below [`len`](Self::len).
    pub fn get(&self, b: usize) -> Labelled<'_> {
        let (shard, own) = self.locate(b);
        shard.get(own)
    }

    /// Where structure `b` is among those that were read, before some of them were chosen: what messages name.
    ///
    /// # Panics
    /// When `b` is not below [`len`](Self::len).
    pub fn index_in_files(&self, b: usize) -> usize {
        self.selection.as_ref().map_or(b, |selection| selection[b] as usize)
    }

    /// All structures, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Labelled<'_>> {
        (0..self.len()).map(|b| self.get(b))
    }

    /// The structures with these indices, in this order, without copying them.
    ///
    /// # Panics
    /// When an index is not below [`len`](Self::len).
    pub fn select(&self, indices: &[u32]) -> Self {
        let inner = |&index: &u32| match &self.selection {
            Some(selection) => selection[index as usize],
            None => {
                assert!((index as usize) < self.len(), "structure {index} of {}", self.len());
                index
            }
        };
        Self { selection: Some(indices.iter().map(inner).collect()), ..self.clone() }
    }

    fn push(&mut self, shard: Shard) {
        self.append(Self { starts: vec![0, shard.len()], shards: vec![Arc::new(shard)], selection: None });
    }

    /// Adds the structures of another set behind these.
    fn append(&mut self, other: Self) {
        let first = self.starts[self.shards.len()];
        if self.selection.is_some() || other.selection.is_some() {
            let chosen = |set: &Self| match &set.selection {
                Some(selection) => selection.to_vec(),
                None => (0..set.len() as u32).collect(),
            };
            let added = chosen(&other).into_iter().map(|index| first as u32 + index);
            self.selection = Some(chosen(self).into_iter().chain(added).collect());
        }
        for shard in other.shards.into_iter().filter(|shard| shard.len() > 0) {
            self.starts.push(self.starts[self.shards.len()] + shard.len());
            self.shards.push(shard);
        }
    }

    fn locate(&self, b: usize) -> (&Shard, usize) {
        assert!(b < self.len(), "structure {b} of {}", self.len());
        let b = self.selection.as_ref().map_or(b, |selection| selection[b] as usize);
        let shard = self.starts.partition_point(|&start| start <= b) - 1;
        (&self.shards[shard], b - self.starts[shard])
    }
}

/// The record, if it can be trained on.
pub(crate) fn labelled(record: Record, about: &About) -> Result<Record, DataError> {
    record.check()?;
    if record.forces.is_none() {
        let expected = "forces on the atoms (in XYZ a column forces:R:3)";
        let found = format!("none among {}", about.keys.join(", "));
        return Err(DataError::wrong(&record.path, &record.place, expected, found));
    }
    Ok(record)
}
