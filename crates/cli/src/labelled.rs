//! Structures of any data file, with reference forces where it has them, as judgements take them.

use crate::AnyError;
use mdet_core::Structure;
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
}

/// Reads every structure of a file or store of any format.
pub(crate) fn read(path: &Path) -> Result<Vec<Labelled>, AnyError> {
    let mut structures = Vec::new();
    for record in Reader::open(path, ReadOptions::default())? {
        let record = record?;
        record.check()?;
        let formula = composition(&record.numbers);
        let structure = Structure::new(record.numbers, record.positions, record.charge, record.multiplicity)?;
        let molecule = match record.name {
            Some(name) if name.starts_with("species") => format!("{formula} ({name})"),
            Some(name) => name,
            None => formula,
        };
        let source = record.origin.unwrap_or_default();
        structures.push(Labelled { structure, forces: record.forces, molecule, source });
    }
    Ok(structures)
}

/// Whether each structure is like what the model was trained on; `None` where the model does not say.
pub(crate) fn inside_domain(card: &Card, items: &[Labelled]) -> Vec<Option<bool>> {
    let inside = |item: &Labelled| {
        let domain = card.domain.as_ref()?;
        Some(domain.check(&item.structure).is_ok() && item.structure.n_atoms() <= domain.max_atoms)
    };
    items.iter().map(inside).collect()
}

/// At most `limit` of the items, evenly spaced.
pub(crate) fn limited(items: Vec<Labelled>, limit: Option<usize>) -> Vec<Labelled> {
    let n = items.len();
    let kept = limit.unwrap_or(n).clamp(1, n);
    let mut wanted = (0..kept).map(|k| k * n / kept).peekable();
    let mut keep = |index: usize| wanted.next_if_eq(&index).is_some();
    items.into_iter().enumerate().filter(|(index, _)| keep(*index)).map(|(_, item)| item).collect()
}
