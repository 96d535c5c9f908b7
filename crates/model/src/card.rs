//! The model card: where parameters come from, what they were trained on, and the domain they are good for.

use mdet_core::{Structure, elements};
use serde::{Deserialize, Serialize};

/// What travels with a model's parameters.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// Short name.
    pub name: String,
    /// Data and level of theory.
    pub trained_on: String,
    /// How it was trained: tool, steps, time.
    pub provenance: String,
    /// Licence of the parameters.
    pub licence: String,
    /// Force errors on structures that were not trained on.
    pub validation: Vec<ValidationError>,
    /// What the training data cover; `None` if unknown.
    pub domain: Option<Domain>,
}

/// One measured force error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValidationError {
    /// Which structures.
    pub on: String,
    /// How many.
    pub n_structures: usize,
    /// Mean absolute error of a force component, meV/Å.
    pub component_mae_mev_per_angstrom: f64,
    /// Mean Euclidean norm of an atom's force error, meV/Å.
    pub euclidean_mev_per_angstrom: f64,
}

/// What a model has seen in training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Domain {
    /// Atomic numbers, ascending.
    pub elements: Vec<u8>,
    /// Total charges, ascending.
    pub charges: Vec<i32>,
    /// Spin multiplicities, ascending.
    pub multiplicities: Vec<u32>,
    /// Largest structure.
    pub max_atoms: usize,
}

/// A structure outside a model's domain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("outside the model's domain: {found}; it was trained on {covered}")]
pub struct OutsideDomain {
    found: String,
    covered: String,
}

impl Card {
    /// The card of weights that came without one.
    pub(crate) fn imported() -> Self {
        let unknown = "unknown: imported weights";
        Self {
            name: "imported".into(),
            trained_on: unknown.into(),
            provenance: unknown.into(),
            licence: unknown.into(),
            ..Self::default()
        }
    }
}

impl Domain {
    /// Refuses what the model never saw: an element, a charge or a multiplicity. Size is not refused.
    ///
    /// # Errors
    /// [`OutsideDomain`] names what is new and what is covered.
    pub fn check(&self, structure: &Structure) -> Result<(), OutsideDomain> {
        let symbol = |z: u8| elements::symbol(z).to_string();
        let mut foreign: Vec<u8> =
            structure.numbers().iter().copied().filter(|z| !self.elements.contains(z)).collect();
        foreign.sort_unstable();
        foreign.dedup();
        let found = if !foreign.is_empty() {
            format!("element {}", foreign.into_iter().map(symbol).collect::<Vec<_>>().join(", "))
        } else if !self.charges.contains(&structure.charge()) {
            format!("charge {:+}", structure.charge())
        } else if !self.multiplicities.contains(&structure.multiplicity()) {
            format!("multiplicity {}", structure.multiplicity())
        } else {
            return Ok(());
        };
        Err(OutsideDomain { found, covered: self.to_string() })
    }
}

impl std::fmt::Display for Domain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let list = |items: Vec<String>| items.join(", ");
        write!(
            f,
            "elements {}; charges {}; multiplicities {}; up to {} atoms",
            list(self.elements.iter().map(|&z| elements::symbol(z).to_string()).collect()),
            list(self.charges.iter().map(|c| format!("{c:+}")).collect()),
            list(self.multiplicities.iter().map(u32::to_string).collect()),
            self.max_atoms
        )
    }
}
