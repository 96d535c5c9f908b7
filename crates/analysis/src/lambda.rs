//! Whether forces have a potential: the antisymmetric part of the force Jacobian.
//!
//! ```text
//! λ = ‖(J − Jᵀ)/2‖_F / ‖J‖_F,     J = ∂F/∂r
//! ```
//!
//! λ is 0 for forces with a potential, 1/√2 for a Jacobian whose entries know nothing of their transposes, and 1 for
//! a pure curl. It is taken of the forces as they are predicted, with net force and torque. Intervals are over molecules; of
//! one molecule over its structures, and too narrow where these follow each other in time.

use crate::loops::LoopWork;
use crate::statistics::{Estimate, Spread, bootstrap, rank_correlation};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// λ of one structure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StructureLambda {
    /// Its name.
    pub name: String,
    /// The class it is of (a series, a source); empty if none.
    pub class: String,
    /// Number of atoms.
    pub n_atoms: usize,
    /// Whether it is like what the model was trained on; `None` if unknown.
    pub inside_domain: Option<bool>,
    /// The antisymmetric share λ.
    pub lambda: f64,
    /// ‖J‖_F, eV/Å².
    pub jacobian_norm_ev_per_angstrom2: f64,
}

/// Mean λ of a class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClassLambda {
    /// The class.
    pub class: String,
    /// Structures in it.
    pub n_structures: usize,
    /// Mean over its structures.
    pub lambda: Estimate,
}

/// What `mdet judge lambda` finds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Lambda {
    /// Mean over structures.
    pub mean: Estimate,
    /// By class, if there are several.
    pub by_class: Vec<ClassLambda>,
    /// Spearman's rank correlation of λ with the number of atoms.
    pub rank_correlation_with_size: Option<f64>,
    /// Per structure, in the order of the file: along a trajectory, in the order of time.
    pub structures: Vec<StructureLambda>,
    /// The work around closed loops of the first structures.
    pub loops: Vec<LoopWork>,
}

impl Lambda {
    /// Summarises the structures. The bootstrap's draws are a function of `seed`.
    ///
    /// # Panics
    /// When there are no structures.
    pub fn of(structures: Vec<StructureLambda>, loops: Vec<LoopWork>, seed: u64) -> Self {
        let mean = |of: &[&StructureLambda]| mean_of(of, seed);
        let lambdas: Vec<f64> = structures.iter().map(|s| s.lambda).collect();
        let sizes: Vec<f64> = structures.iter().map(|s| s.n_atoms as f64).collect();
        let mut classes: BTreeMap<&str, Vec<&StructureLambda>> = BTreeMap::new();
        structures.iter().for_each(|s| classes.entry(&s.class).or_default().push(s));
        let class = |(class, members): (&&str, &Vec<&StructureLambda>)| ClassLambda {
            class: class.to_string(),
            n_structures: members.len(),
            lambda: mean(members),
        };
        let by_class = if classes.len() > 1 { classes.iter().map(class).collect() } else { Vec::new() };
        let rank_correlation_with_size = rank_correlation(&lambdas, &sizes);
        let all: Vec<&StructureLambda> = structures.iter().collect();
        Self { mean: mean(&all), by_class, rank_correlation_with_size, structures, loops }
    }
}

/// Units below which a bootstrap's interval is too narrow.
const MIN_UNITS: usize = 20;

/// Mean λ; its interval is a bootstrap's over molecules, by Student's t where they are few; of one molecule over structures.
fn mean_of(structures: &[&StructureLambda], seed: u64) -> Estimate {
    let units = units(structures);
    let found = bootstrap(&units, |[sum, n]| [sum / n], seed)[0];
    if units.len() >= MIN_UNITS {
        return found;
    }
    let means: Vec<f64> = units.iter().map(|[sum, n]| sum / n).collect();
    let half_width = Spread::of(&means).and_then(|spread| spread.half_width());
    Estimate { interval: half_width.map(|half| [(found.value - half).max(0.0), found.value + half]), ..found }
}

/// Σλ and number of the structures of each molecule; of one molecule, λ and 1 of each structure.
fn units(structures: &[&StructureLambda]) -> Vec<[f64; 2]> {
    let mut molecules: BTreeMap<&str, [f64; 2]> = BTreeMap::new();
    for structure in structures {
        let [sum, n] = molecules.entry(&structure.name).or_default();
        (*sum, *n) = (*sum + structure.lambda, *n + 1.0);
    }
    match molecules.len() {
        1 => structures.iter().map(|structure| [structure.lambda, 1.0]).collect(),
        _ => molecules.into_values().collect(),
    }
}

/// λ and ‖J‖_F, in the unit of J, of a Jacobian `[size, size]` row-major. λ is 0 of a Jacobian of zeros.
///
/// # Panics
/// When the Jacobian is not square.
pub fn antisymmetric_share(jacobian: &[f64]) -> (f64, f64) {
    let size = jacobian.len().isqrt();
    assert_eq!(size * size, jacobian.len(), "a square Jacobian");
    let (mut antisymmetric, mut all) = (0.0, 0.0);
    for (a, b) in (0..size).flat_map(|a| (0..size).map(move |b| (a, b))) {
        let (entry, transposed) = (jacobian[a * size + b], jacobian[b * size + a]);
        antisymmetric += (0.5 * (entry - transposed)).powi(2);
        all += entry * entry;
    }
    (if all > 0.0 { (antisymmetric / all).sqrt() } else { 0.0 }, all.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_over_molecules_and_of_one_molecule_over_its_structures() {
        let structure = |name: &str, lambda: f64| StructureLambda {
            name: name.into(),
            class: String::new(),
            n_atoms: 3,
            inside_domain: None,
            lambda,
            jacobian_norm_ev_per_angstrom2: 1.0,
        };
        let interval =
            |structures: Vec<StructureLambda>| Lambda::of(structures, Vec::new(), 1).mean.interval.unwrap();
        // 0.2 ± 12.7 · 0.1 of two molecules, however many structures they have.
        let of = |name: &'static str, lambda: f64| (0..50).map(move |_| structure(name, lambda));
        let [low, high] = interval(of("a", 0.1).chain(of("b", 0.3)).collect());
        assert!(low == 0.0 && (high - 1.4706).abs() < 5e-5, "{low} {high}");
        let [low, high] = interval(of("a", 0.1).chain(of("a", 0.3)).collect());
        assert!(0.15 < low && high < 0.25, "{low} {high}");
    }
}
