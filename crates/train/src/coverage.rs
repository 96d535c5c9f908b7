//! What data sets cover, and what of it a start model has not seen.

use crate::TrainError;
use mdet_core::elements;
use mdet_data::Dataset;
use mdet_model::Domain;
use std::collections::BTreeMap;

/// Elements, charges and multiplicities of data sets, each with the first structure that has it.
#[derive(Debug, Default)]
pub(crate) struct Coverage {
    elements: BTreeMap<u8, String>,
    charges: BTreeMap<i32, String>,
    multiplicities: BTreeMap<u32, String>,
    max_atoms: usize,
}

impl Coverage {
    /// Adds the structures of a data set called `name` in messages.
    pub fn add(&mut self, name: &str, dataset: &Dataset) {
        for (index, structure) in dataset.iter().enumerate() {
            let place = || format!("{name} structure {}", dataset.index_in_files(index));
            for &z in structure.numbers {
                self.elements.entry(z).or_insert_with(place);
            }
            self.charges.entry(structure.charge).or_insert_with(place);
            self.multiplicities.entry(structure.multiplicity).or_insert_with(place);
            self.max_atoms = self.max_atoms.max(structure.numbers.len());
        }
    }

    /// What was found as a domain, together with what a start model has seen.
    pub fn domain(&self, start: Option<&Domain>) -> Domain {
        let mut domain = Domain {
            elements: self.elements.keys().copied().collect(),
            charges: self.charges.keys().copied().collect(),
            multiplicities: self.multiplicities.keys().copied().collect(),
            max_atoms: self.max_atoms,
        };
        if let Some(start) = start {
            domain.elements = union(&domain.elements, &start.elements);
            domain.charges = union(&domain.charges, &start.charges);
            domain.multiplicities = union(&domain.multiplicities, &start.multiplicities);
            domain.max_atoms = domain.max_atoms.max(start.max_atoms);
        }
        domain
    }

    /// Refuses what a model trained on `seen` does not know.
    pub fn check(&self, seen: &Domain) -> Result<(), TrainError> {
        let elements = self.elements.iter().filter(|(z, _)| !seen.elements.contains(z));
        let charges = self.charges.iter().filter(|(charge, _)| !seen.charges.contains(charge));
        let states = self.multiplicities.iter().filter(|(m, _)| !seen.multiplicities.contains(m));
        let found: Vec<String> = elements
            .map(|(&z, place)| format!("element {} ({place})", elements::symbol(z)))
            .chain(charges.map(|(charge, place)| format!("charge {charge:+} ({place})")))
            .chain(states.map(|(m, place)| format!("multiplicity {m} ({place})")))
            .collect();
        if found.is_empty() {
            return Ok(());
        }
        Err(TrainError::NewToModel { found: found.join(", "), covered: seen.to_string() })
    }
}

fn union<T: Copy + Ord>(one: &[T], other: &[T]) -> Vec<T> {
    let mut all = [one, other].concat();
    all.sort_unstable();
    all.dedup();
    all
}
