//! Force errors against reference forces, overall and by group, with bootstrap intervals.
//!
//! | error | definition, over the atoms i and axes a of a group |
//! |---|---|
//! | component MAE | mean of \|F_ia − F*_ia\| |
//! | Euclidean | mean of \|F_i − F*_i\| |
//! | RMSE | root of the mean of (F_ia − F*_ia)² |
//! | relative | Σ \|F_i − F*_i\| / Σ \|F*_i\| |
//! | angle | mean angle between F_i and F*_i, over atoms with \|F*_i\| ≥ 0.1 eV/Å |
//!
//! F is predicted, F* the reference. Frames of one molecule resemble each other, so intervals are over molecules
//! where there are enough of them, else over structures.

use crate::statistics::{Estimate, Histogram, bootstrap};
use mdet_core::{Structure, elements};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Reference forces below this have no direction worth an angle, eV/Å.
const ANGLE_MIN_FORCE: f64 = 0.1;

/// Molecules needed to draw from: with fewer the interval of a mean over molecules is itself unknown.
const MIN_MOLECULES: usize = 20;

/// Upper ends of the classes of size, atoms.
const SIZES: [usize; 7] = [4, 8, 16, 24, 32, 64, 128];

/// Worst frames kept.
const N_WORST: usize = 20;

const PARITY_BINS: usize = 64;
const HISTOGRAM_BINS: usize = 48;

/// One labelled structure with the forces predicted for it.
#[derive(Debug, Clone, Copy)]
pub struct Sample<'a> {
    /// The structure.
    pub structure: &'a Structure,
    /// Predicted forces, eV/Å, one per atom.
    pub predicted: &'a [[f64; 3]],
    /// Reference forces, eV/Å, one per atom.
    pub reference: &'a [[f64; 3]],
    /// How or where the structure was made; empty if unknown.
    pub source: &'a str,
    /// Which molecule it is.
    pub molecule: &'a str,
}

/// The errors of one group of atoms. Percentages and angles as their names say, the rest meV/Å.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Errors {
    /// Name of the group.
    pub name: String,
    /// Structures with at least one atom of the group.
    pub n_structures: usize,
    /// Atoms.
    pub n_atoms: usize,
    /// Mean absolute error of a component.
    pub component_mae_mev_per_angstrom: Estimate,
    /// Mean length of an atom's error.
    pub euclidean_mev_per_angstrom: Estimate,
    /// Root mean square error of a component.
    pub rmse_mev_per_angstrom: Estimate,
    /// Sum of the lengths of errors over that of reference forces, %; `None` when all of these are zero.
    pub relative_percent: Option<Estimate>,
    /// Mean angle between predicted and reference force, degrees; `None` when all reference forces are small.
    pub angle_degrees: Option<Estimate>,
    /// Mean length of the reference forces, for scale.
    pub reference_mev_per_angstrom: Estimate,
}

/// Errors by one property.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Grouping {
    /// The property: element, charge, size, source or molecule.
    pub by: String,
    /// Its groups: in the property's order, molecules by descending error.
    pub groups: Vec<Errors>,
}

/// Counts over reference (columns) and predicted (rows) force components.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Parity {
    /// The square runs from −limit to limit, eV/Å; 99.9 % of reference components lie within.
    pub limit_ev_per_angstrom: f64,
    /// Bins per side.
    pub n_bins: usize,
    /// Counts `[n_bins, n_bins]`, row-major, rows from the most negative predicted component up.
    pub counts: Vec<u32>,
}

/// One of the structures with the largest mean error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorstFrame {
    /// Index of the sample, from 0.
    pub index: usize,
    /// Which molecule it is.
    pub molecule: String,
    /// Mean length of an atom's error, meV/Å.
    pub euclidean_mev_per_angstrom: f64,
}

/// What `mdet eval` finds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Accuracy {
    /// Over all atoms.
    pub overall: Errors,
    /// By element, charge, size, source, molecule; properties with one value only are left out.
    pub groupings: Vec<Grouping>,
    /// What the intervals are drawn over: molecules or structures.
    pub intervals_over: String,
    /// Number of different molecules.
    pub n_molecules: usize,
    /// Structures outside of what the model was trained on; `None` where that is not known.
    pub n_outside_domain: Option<usize>,
    /// Predicted against reference components.
    pub parity: Parity,
    /// Atoms by the length of their error, meV/Å.
    pub error_histogram_mev_per_angstrom: Histogram,
    /// The worst structures, worst first.
    pub worst: Vec<WorstFrame>,
}

/// Why there is no accuracy to report.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum AccuracyError {
    /// No samples.
    #[error("expected at least one structure with reference forces, found none")]
    Empty,
    /// A reference force is NaN or infinite.
    #[error("structure {structure}: the reference force on atom {atom} is not finite")]
    NonFinite {
        /// Index of the sample, from 0.
        structure: usize,
        /// Index of the atom, from 0.
        atom: usize,
    },
}

/// Sums over atoms that the errors are made of: atoms, |Δ|₁, |Δ|, Δ², |F*|, angle, atoms with an angle.
type Sums = [f64; 7];

impl Accuracy {
    /// Judges predictions. The bootstrap's draws are a function of `seed`.
    ///
    /// # Errors
    /// [`AccuracyError`] when there are no samples or a reference is not finite.
    ///
    /// # Panics
    /// When a sample has not one predicted and one reference force per atom.
    pub fn of(samples: &[Sample<'_>], seed: u64) -> Result<Self, AccuracyError> {
        if samples.is_empty() {
            return Err(AccuracyError::Empty);
        }
        for (structure, sample) in samples.iter().enumerate() {
            let n = sample.structure.n_atoms();
            assert_eq!((n, n), (sample.predicted.len(), sample.reference.len()), "sample {structure}");
            if let Some(atom) = sample.reference.iter().position(|f| !f.iter().all(|x| x.is_finite())) {
                return Err(AccuracyError::NonFinite { structure, atom });
            }
        }
        let mut molecules: Vec<&str> = samples.iter().map(|sample| sample.molecule).collect();
        molecules.sort_unstable();
        molecules.dedup();
        let by_molecule = molecules.len() >= MIN_MOLECULES;
        let everything = Selection::by(samples, |_| "all".to_string());
        let overall = everything.into_values().map(|group| group.errors("all", by_molecule, seed)).next();
        Ok(Self {
            overall: overall.ok_or(AccuracyError::Empty)?,
            groupings: groupings(samples, by_molecule, seed),
            intervals_over: if by_molecule { "molecules" } else { "structures" }.to_string(),
            n_molecules: molecules.len(),
            n_outside_domain: None,
            parity: parity(samples),
            error_histogram_mev_per_angstrom: error_histogram(samples),
            worst: worst(samples),
        })
    }
}

fn groupings(samples: &[Sample<'_>], by_molecule: bool, seed: u64) -> Vec<Grouping> {
    let grouping = |by: &str, groups: BTreeMap<(i64, String), Selection>, over_molecules: bool| Grouping {
        by: by.to_string(),
        groups: groups.iter().map(|((_, name), group)| group.errors(name, over_molecules, seed)).collect(),
    };
    let size = |sample: &Sample<'_>| {
        let n = sample.structure.n_atoms();
        let class = SIZES.partition_point(|&upper| upper < n);
        let lower = class.checked_sub(1).map_or(1, |below| SIZES[below] + 1);
        let name = SIZES
            .get(class)
            .map_or(format!("over {} atoms", lower - 1), |upper| format!("{lower}–{upper} atoms"));
        (class as i64, name)
    };
    let charge = |sample: &Sample<'_>| {
        let charge = i64::from(sample.structure.charge());
        (charge, if charge == 0 { "neutral".to_string() } else { format!("{charge:+}") })
    };
    let named = |name: &str| (0, if name.is_empty() { "unknown".to_string() } else { name.to_string() });
    let mut molecules = grouping("molecule", Selection::by(samples, |s| named(s.molecule)), false);
    let error = |group: &Errors| group.euclidean_mev_per_angstrom.value;
    molecules.groups.sort_by(|a, b| error(b).total_cmp(&error(a)));
    let all = [
        grouping("element", Selection::by_element(samples), by_molecule),
        grouping("charge", Selection::by(samples, charge), by_molecule),
        grouping("size", Selection::by(samples, size), by_molecule),
        grouping("source", Selection::by(samples, |s| named(s.source)), by_molecule),
        molecules,
    ];
    all.into_iter().filter(|grouping| grouping.groups.len() > 1).collect()
}

/// The structures that have atoms of a group, each with its molecule and the sums over these atoms.
#[derive(Debug, Default)]
struct Selection {
    parts: Vec<(String, Sums)>,
}

impl Selection {
    /// Whole structures by a key.
    fn by<K: Ord>(samples: &[Sample<'_>], key: impl Fn(&Sample<'_>) -> K) -> BTreeMap<K, Self> {
        let mut groups: BTreeMap<K, Self> = BTreeMap::new();
        for sample in samples {
            let sums = sums(sample, |_| true);
            groups.entry(key(sample)).or_default().parts.push((sample.molecule.to_string(), sums));
        }
        groups
    }

    fn by_element(samples: &[Sample<'_>]) -> BTreeMap<(i64, String), Self> {
        let mut groups: BTreeMap<(i64, String), Self> = BTreeMap::new();
        for sample in samples {
            let mut numbers = sample.structure.numbers().to_vec();
            numbers.sort_unstable();
            numbers.dedup();
            for z in numbers {
                let sums = sums(sample, |i| sample.structure.numbers()[i] == z);
                let key = (i64::from(z), elements::symbol(z).to_string());
                groups.entry(key).or_default().parts.push((sample.molecule.to_string(), sums));
            }
        }
        groups
    }

    fn errors(&self, name: &str, over_molecules: bool, seed: u64) -> Errors {
        let units: Vec<Sums> = if over_molecules {
            let mut by_molecule: BTreeMap<&str, Sums> = BTreeMap::new();
            for (molecule, sums) in &self.parts {
                let total = by_molecule.entry(molecule).or_default();
                total.iter_mut().zip(sums).for_each(|(total, part)| *total += part);
            }
            by_molecule.into_values().collect()
        } else {
            self.parts.iter().map(|(_, sums)| *sums).collect()
        };
        let statistics = |&[n, absolute, length, square, reference, angle, n_angles]: &Sums| {
            [
                1e3 * absolute / (3.0 * n),
                1e3 * length / n,
                1e3 * (square / (3.0 * n)).sqrt(),
                1e2 * length / reference,
                (angle / n_angles).to_degrees(),
                1e3 * reference / n,
            ]
        };
        let [mae, euclidean, rmse, relative, angle, reference] = bootstrap(&units, statistics, seed);
        Errors {
            name: name.to_string(),
            n_structures: self.parts.len(),
            n_atoms: self.parts.iter().map(|(_, sums)| sums[0]).sum::<f64>() as usize,
            component_mae_mev_per_angstrom: mae,
            euclidean_mev_per_angstrom: euclidean,
            rmse_mev_per_angstrom: rmse,
            relative_percent: relative.value.is_finite().then_some(relative),
            angle_degrees: angle.value.is_finite().then_some(angle),
            reference_mev_per_angstrom: reference,
        }
    }
}

/// The sums over a structure's atoms that `chosen` picks.
fn sums(sample: &Sample<'_>, chosen: impl Fn(usize) -> bool) -> Sums {
    let mut sums = [0.0; 7];
    for (i, (predicted, reference)) in sample.predicted.iter().zip(sample.reference).enumerate() {
        if !chosen(i) {
            continue;
        }
        let difference: [f64; 3] = std::array::from_fn(|a| predicted[a] - reference[a]);
        let (error, length) = (norm(&difference), norm(reference));
        sums[0] += 1.0;
        sums[1] += difference.iter().map(|x| x.abs()).sum::<f64>();
        sums[2] += error;
        sums[3] += error * error;
        sums[4] += length;
        if length >= ANGLE_MIN_FORCE {
            sums[5] += angle(predicted, reference);
            sums[6] += 1.0;
        }
    }
    sums
}

fn parity(samples: &[Sample<'_>]) -> Parity {
    let mut sizes: Vec<f64> =
        samples.iter().flat_map(|s| s.reference.as_flattened()).map(|x| x.abs()).collect();
    let last = ((sizes.len() - 1) as f64 * 0.999) as usize;
    let limit = sizes.select_nth_unstable_by(last, f64::total_cmp).1.max(f64::MIN_POSITIVE);
    let bin = |x: f64| ((x / limit + 1.0) * 0.5 * PARITY_BINS as f64).floor();
    let mut counts = vec![0; PARITY_BINS * PARITY_BINS];
    let inside = 0.0..PARITY_BINS as f64;
    for sample in samples {
        let components = sample.predicted.as_flattened().iter().zip(sample.reference.as_flattened());
        for (row, column) in components.map(|(&predicted, &reference)| (bin(predicted), bin(reference))) {
            if inside.contains(&row) && inside.contains(&column) {
                counts[row as usize * PARITY_BINS + column as usize] += 1;
            }
        }
    }
    Parity { limit_ev_per_angstrom: limit, n_bins: PARITY_BINS, counts }
}

fn error_histogram(samples: &[Sample<'_>]) -> Histogram {
    let errors = samples.iter().flat_map(|sample| {
        let pairs = sample.predicted.iter().zip(sample.reference);
        pairs.map(|(p, r)| 1e3 * norm(&std::array::from_fn(|a| p[a] - r[a])))
    });
    Histogram::logarithmic(errors, 0.1, 1e4, HISTOGRAM_BINS)
}

fn worst(samples: &[Sample<'_>]) -> Vec<WorstFrame> {
    let frame = |(index, sample): (usize, &Sample<'_>)| {
        let sums = sums(sample, |_| true);
        let euclidean_mev_per_angstrom = 1e3 * sums[2] / sums[0];
        WorstFrame { index, molecule: sample.molecule.to_string(), euclidean_mev_per_angstrom }
    };
    let mut frames: Vec<WorstFrame> = samples.iter().enumerate().map(frame).collect();
    frames.sort_by(|a, b| b.euclidean_mev_per_angstrom.total_cmp(&a.euclidean_mev_per_angstrom));
    frames.truncate(N_WORST);
    frames
}

pub(crate) fn norm(v: &[f64; 3]) -> f64 {
    v.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// Angle between two vectors, radians; right for small ones and for parallel ones, π/2 with a zero vector.
pub(crate) fn angle(a: &[f64; 3], b: &[f64; 3]) -> f64 {
    let cross = [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
    let dot = a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
    if norm(a) == 0.0 || norm(b) == 0.0 { std::f64::consts::FRAC_PI_2 } else { norm(&cross).atan2(dot) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_two_waters_are_those_computed_by_hand() {
        let water = Structure::new(vec![8, 1, 1], vec![[0.0; 3], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]], 0, 1)
            .unwrap();
        let reference = [[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 0.01]];
        // Errors: (0, 1, 0) on O, at 45°; (0.3, 0, 0.4) on H; none on the other H, whose force has no direction.
        let predicted = [[1.0, 1.0, 0.0], [0.3, 2.0, 0.4], [0.0, 0.0, 0.01]];
        let sample = Sample {
            structure: &water,
            predicted: &predicted,
            reference: &reference,
            source: "",
            molecule: "water",
        };
        let exact = Sample { predicted: &reference, ..sample };
        let accuracy = Accuracy::of(&[sample, exact], 1).unwrap();
        let close =
            |found: f64, expected: f64| assert!((found / expected - 1.0).abs() < 1e-12, "{found} {expected}");
        let all = &accuracy.overall;
        close(all.component_mae_mev_per_angstrom.value, 1.7e3 / 18.0);
        close(all.euclidean_mev_per_angstrom.value, 1.5e3 / 6.0);
        close(all.rmse_mev_per_angstrom.value, 1e3 * (1.25f64 / 18.0).sqrt());
        close(all.relative_percent.unwrap().value, 1e2 * 1.5 / 6.02);
        let on_h = (0.5f64 / 2.0).atan().to_degrees();
        close(all.angle_degrees.unwrap().value, (45.0 + on_h) / 4.0);
        assert_eq!(all.euclidean_mev_per_angstrom.interval, None);
        let often = Accuracy::of(&[sample, exact, sample, exact, sample, exact], 1).unwrap();
        let [low, high] = often.overall.euclidean_mev_per_angstrom.interval.unwrap();
        assert!((0.0..250.0).contains(&low) && (250.0..=500.0).contains(&high), "{low} {high}");
        let elements = &accuracy.groupings[0];
        assert_eq!((elements.by.as_str(), accuracy.groupings.len()), ("element", 1));
        let names: Vec<_> = elements.groups.iter().map(|g| (g.name.as_str(), g.n_atoms)).collect();
        assert_eq!(names, [("H", 4), ("O", 2)]);
        close(elements.groups[1].euclidean_mev_per_angstrom.value, 500.0);
        assert_eq!(accuracy.worst[0].index, 0);
        let n_counted: u32 = accuracy.parity.counts.iter().sum();
        // 2 eV/Å is the limit itself, outside of the last half-open bin, twice.
        assert_eq!(n_counted, 16);
    }

    #[test]
    fn what_cannot_be_judged_is_refused() {
        assert_eq!(Accuracy::of(&[], 0), Err(AccuracyError::Empty));
        let atom = Structure::new(vec![2], vec![[0.0; 3]], 0, 1).unwrap();
        let sample = Sample {
            structure: &atom,
            predicted: &[[0.0; 3]],
            reference: &[[0.0, f64::NAN, 0.0]],
            source: "",
            molecule: "He",
        };
        let error = Accuracy::of(&[sample], 0).unwrap_err();
        assert_eq!(error.to_string(), "structure 0: the reference force on atom 0 is not finite");
    }
}
