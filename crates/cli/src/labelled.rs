//! Structures of any data file, with reference forces where it has them, as judgements take them.

use crate::AnyError;
use mdet_core::{Structure, elements};
use mdet_data::{Dataset, Frame, read_file};
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

/// Reads every structure of a file.
pub(crate) fn read(path: &Path) -> Result<Vec<Labelled>, AnyError> {
    if path.extension().is_some_and(|extension| extension == "npz") {
        return Dataset::read(&[path.to_path_buf()])?.iter().map(of_corpus).collect();
    }
    read_file(path)?.into_iter().map(of_frame).collect()
}

fn of_frame(frame: Frame) -> Result<Labelled, AnyError> {
    let value = |name: &str| {
        frame
            .key_values
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.clone())
    };
    let formula = formula(&frame.numbers);
    let molecule = value("name").or_else(|| value("smiles")).unwrap_or(formula);
    let source = value("series").or_else(|| value("source")).unwrap_or_default();
    let forces = frame.forces.clone();
    Ok(Labelled { structure: frame.into_structure(None, None)?, forces, molecule, source })
}

fn of_corpus(item: mdet_data::Labelled<'_>) -> Result<Labelled, AnyError> {
    let wide = |vectors: &[[f32; 3]]| vectors.iter().map(|v| v.map(f64::from)).collect::<Vec<_>>();
    let structure =
        Structure::new(item.numbers.to_vec(), wide(item.positions), item.charge, item.multiplicity)?;
    let molecule = format!("{} (species {})", formula(item.numbers), item.species);
    let source = format!("{}", item.source);
    Ok(Labelled { structure, forces: Some(wide(item.forces)), molecule, source })
}

/// Warns of structures outside the model's domain: they are judged all the same, and the result says so.
pub(crate) fn outside_domain(card: &Card, structures: &[Labelled]) -> Vec<bool> {
    let outside = |item: &Labelled| {
        let domain = card.domain.as_ref();
        domain.is_some_and(|d| d.check(&item.structure).is_err() || item.structure.n_atoms() > d.max_atoms)
    };
    structures.iter().map(outside).collect()
}

/// The sum formula in Hill's order, "C9H8O4".
fn formula(numbers: &[u8]) -> String {
    let mut symbols: Vec<&str> = numbers.iter().map(|&z| elements::symbol(z)).collect();
    let organic = symbols.contains(&"C");
    symbols.sort_by_key(|&s| (!(organic && s == "C"), !(organic && s == "H"), s));
    let count = |chunk: &[&str]| match chunk.len() {
        1 => chunk[0].to_string(),
        n => format!("{}{n}", chunk[0]),
    };
    symbols.chunk_by(|a, b| a == b).map(count).collect()
}

#[cfg(test)]
mod tests {
    use super::formula;

    #[test]
    fn formulas_follow_hill() {
        assert_eq!(formula(&[8, 1, 6, 1, 1, 1]), "CH4O");
        assert_eq!(formula(&[17, 11]), "ClNa");
    }
}
