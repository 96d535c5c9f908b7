//! Structures of any data file, with reference forces where it has them, as judgements take them.

use crate::AnyError;
use mdet_core::{ForceFieldError, Structure};
use mdet_data::{ReadOptions, Reader, composition};
use mdet_model::Card;
use std::path::Path;

/// A structure and what its file says of it.
#[derive(Debug, Clone)]
pub(crate) struct Labelled {
    pub structure: Structure,
    /// Reference forces, eV/Å.
    pub forces: Option<Vec<[f64; 3]>>,
    /// Name of the molecule: the file's, else its formula.
    pub molecule: String,
    /// Where it comes from or which series it is of; empty if unknown.
    pub source: String,
    /// The file and its place there, for messages.
    pub place: String,
}

/// Reads every structure of a file or store of any format; at least one.
pub(crate) fn read(path: &Path, options: ReadOptions) -> Result<Vec<Labelled>, AnyError> {
    let mut structures = Vec::new();
    for record in Reader::open(path, options)? {
        let record = record?;
        record.check()?;
        let formula = composition(&record.numbers);
        let place = format!("{}: {}", record.path.display(), record.place);
        let structure = Structure::new(record.numbers, record.positions, record.charge, record.multiplicity)?;
        let molecule = match record.name {
            Some(name) if name.starts_with("species") => format!("{formula} ({name})"),
            Some(name) => name,
            None => formula,
        };
        let source = record.origin.unwrap_or_default();
        structures.push(Labelled { structure, forces: record.forces, molecule, source, place });
    }
    match structures.is_empty() {
        true => Err(format!("{}: expected structures, found none", path.display()).into()),
        false => Ok(structures),
    }
}

/// Whether each structure is like what the model, or every member of a committee, was trained on, with a warning of those
/// that are not; `None` where that is not said.
pub(crate) fn inside_domain(cards: &[&Card], items: &[Labelled]) -> Vec<Option<bool>> {
    let why: Vec<Option<String>> = items.iter().map(|item| outside(cards, item)).collect();
    let mut outside = items.iter().zip(&why).filter_map(|(item, why)| Some((&item.molecule, why.as_ref()?)));
    if let Some((molecule, why)) = outside.next() {
        let more = match outside.count() {
            0 => String::new(),
            n => format!("; {n} more of {} are outside too", items.len()),
        };
        eprintln!("mdet: warning: {molecule}: {why}{more}");
    }
    let is_known = cards.iter().all(|card| card.domain.is_some());
    why.iter().map(|why| (is_known || why.is_some()).then_some(why.is_none())).collect()
}

/// What of a molecule the model never saw, size apart.
pub(crate) fn foreign(cards: &[&Card], item: &Labelled) -> Option<String> {
    let domains = cards.iter().filter_map(|card| card.domain.as_ref());
    domains.filter_map(|domain| domain.check(&item.structure).err()).map(|outside| outside.to_string()).next()
}

/// Why a molecule is outside of the domain, its size included.
pub(crate) fn outside(cards: &[&Card], item: &Labelled) -> Option<String> {
    let largest = cards.iter().filter_map(|card| Some(card.domain.as_ref()?.max_atoms)).min();
    let n_atoms = item.structure.n_atoms();
    foreign(cards, item).or_else(|| {
        let largest = largest.filter(|&largest| n_atoms > largest)?;
        Some(format!("{n_atoms} atoms: the model was trained on molecules of up to {largest}"))
    })
}

/// A failure of forces, told of the structure in its file, not of its place in a batch.
pub(crate) fn failed(item: &Labelled, error: ForceFieldError) -> AnyError {
    let what = match error {
        ForceFieldError::NonFinite { atom, .. } => {
            format!("the predicted force on atom {atom} is not finite")
        }
        error => crate::one_line(&error),
    };
    format!("{} ({}): {what}", item.place, item.molecule).into()
}

/// At most `limit` of the items, evenly spaced.
pub(crate) fn limited(items: Vec<Labelled>, limit: Option<u32>) -> Vec<Labelled> {
    let n = items.len();
    let kept = limit.map_or(n, |limit| n.min(limit as usize));
    let mut wanted = (0..kept).map(|k| k * n / kept).peekable();
    let mut keep = |index: usize| wanted.next_if_eq(&index).is_some();
    items.into_iter().enumerate().filter(|(index, _)| keep(*index)).map(|(_, item)| item).collect()
}
