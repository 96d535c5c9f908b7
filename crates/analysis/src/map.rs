//! Which structural features go with failure: judgements over a series of molecules, and their rank correlations with
//! [`Features`].
//!
//! A correlation is Spearman's, with the 95 % interval of a bootstrap over molecules where they are
//! enough. Molecules of a series resemble
//! each other and features go together (large molecules are saturated here), so a correlation is no cause.

use crate::features::Features;
use crate::heating::PredictedHeating;
use crate::statistics::{Estimate, Spread, quantile, rank_correlation};
use mdet_core::{Purpose, RandomStream};
use rand::RngExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Molecules needed for an interval: draws from fewer repeat too few orders.
const MIN_MOLECULES: usize = 20;

/// Molecules that must differ from what most have, in the feature and in the measure, for an interval.
const MIN_APART: usize = 6;

/// Draws of the bootstrap.
const N_RESAMPLES: u64 = 400;

/// What was found of one molecule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MappedMolecule {
    /// Its name.
    pub name: String,
    /// The series it is of.
    pub series: String,
    /// What it is like.
    pub features: Features,
    /// Why it is outside of what the model was trained on; `None` inside, or where the model does not say.
    pub outside: Option<String>,
    /// Equivariance error, f64, meV/Å.
    pub equivariance_mev_per_angstrom: f64,
    /// Rounding error of f32, meV/Å.
    pub rounding_mev_per_angstrom: f64,
    /// Mean length of the mean forces, for scale, meV/Å.
    pub force_mev_per_angstrom: f64,
    /// Antisymmetric share λ of the Jacobian.
    pub lambda: f64,
    /// Mean |work| of the loops other than turns, share of the work without regard of sign; `None` without such loops.
    pub loop_share: Option<f64>,
    /// Heating in NVE, f64 + offset, over replicas, meV per atom and ps.
    pub heating_mev_per_atom_per_ps: Option<Spread>,
    /// What the force errors predict for it.
    pub predicted: Option<PredictedHeating>,
    /// When the first bond of any replica broke in NVE, ps; `None` if none did.
    pub broken_ps: Option<f64>,
    /// Replicas with a bond broken in NVE.
    pub n_broken: usize,
    /// Why the NVE of all replicas ended before its time, if it did.
    pub ended: Option<String>,
    /// When the first replica became unstable in NVT at 500 K, as stability has it but with the lengths of the
    /// starting structure, ps; `None` if none did.
    pub unstable_ps: Option<f64>,
    /// Replicas that became unstable.
    pub n_unstable: usize,
}

impl MappedMolecule {
    /// The prediction, where all of its parts were measured: without the curl's it says little.
    pub fn whole_prediction(&self) -> Option<&PredictedHeating> {
        self.predicted.as_ref().filter(|predicted| predicted.curl_mev_per_atom_per_ps.is_some())
    }
}

/// A molecule whose forces are not finite, so that it has no numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FailedMolecule {
    /// Its name.
    pub name: String,
    /// The series it is of.
    pub series: String,
    /// What failed.
    pub why: String,
}

/// One measure against one feature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Correlation {
    /// What was measured.
    pub measure: String,
    /// The feature.
    pub feature: String,
    /// Molecules that have both.
    pub n_molecules: usize,
    /// Spearman's rank correlation; `None` where one side is constant.
    pub rank_correlation: Option<Estimate>,
}

/// What `mdet judge map` finds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StructureMap {
    /// Simulated time of a run, ps.
    pub planned_ps: f64,
    /// Replicas of each molecule.
    pub n_replicas: usize,
    /// Temperature of the starting velocities, K.
    pub starting_temperature_k: f64,
    /// Molecules left out as larger than asked for, or outside of the domain.
    pub n_left_out: usize,
    /// Different surroundings in the training data; `None` where these were not given.
    pub n_training_surroundings: Option<usize>,
    /// Every molecule, in the order of the file.
    pub molecules: Vec<MappedMolecule>,
    /// Those that have no numbers.
    pub failed: Vec<FailedMolecule>,
    /// Every measure against every feature.
    pub correlations: Vec<Correlation>,
}

/// The measures that are yes or no.
pub const BROKEN: &str = "bond broken in NVE";
/// Likewise.
pub const UNSTABLE: &str = "unstable at 500 K";

type Pick = fn(&MappedMolecule) -> Option<f64>;

/// What is measured, by name.
pub const MEASURES: [(&str, Pick); 7] = [
    ("equivariance error", |m| Some(m.equivariance_mev_per_angstrom)),
    ("rounding", |m| Some(m.rounding_mev_per_angstrom)),
    ("λ", |m| Some(m.lambda)),
    ("loop work", |m| m.loop_share),
    ("heating", |m| m.heating_mev_per_atom_per_ps.map(|spread| spread.mean)),
    (BROKEN, |m| Some(f64::from(u8::from(m.broken_ps.is_some() || m.ended.is_some())))),
    (UNSTABLE, |m| Some(f64::from(u8::from(m.unstable_ps.is_some())))),
];

/// The features, by name.
pub const FEATURES: [(&str, Pick); 7] = [
    ("atoms", |m| Some(m.features.atoms as f64)),
    ("branching", |m| Some(m.features.branching)),
    ("ring strain", |m| Some(m.features.ring_strain_degrees)),
    ("polarity", |m| Some(m.features.polarity)),
    ("unsaturation", |m| Some(m.features.unsaturation)),
    ("novelty", |m| m.features.novelty),
    ("outside the domain", |m| Some(f64::from(u8::from(m.outside.is_some())))),
];

/// Rank correlations of every measure with every feature; the bootstrap's draws are a function of `seed`.
pub fn correlations(molecules: &[MappedMolecule], seed: u64) -> Vec<Correlation> {
    let mut found = Vec::new();
    for (measure, measured) in MEASURES {
        for (feature, featured) in FEATURES {
            let pairs: Vec<[f64; 2]> =
                molecules.iter().filter_map(|m| Some([measured(m)?, featured(m)?])).collect();
            found.push(Correlation {
                measure: measure.to_string(),
                feature: feature.to_string(),
                n_molecules: pairs.len(),
                rank_correlation: with_interval(&pairs, seed),
            });
        }
    }
    found
}

/// How many values differ from the most frequent one.
fn n_apart(values: impl Iterator<Item = f64>) -> usize {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.len() - values.chunk_by(|a, b| a == b).map(<[f64]>::len).max().unwrap_or(0)
}

fn with_interval(pairs: &[[f64; 2]], seed: u64) -> Option<Estimate> {
    let correlation = |pairs: &[[f64; 2]]| {
        let [x, y] = [0, 1].map(|k| pairs.iter().map(|pair| pair[k]).collect::<Vec<f64>>());
        rank_correlation(&x, &y)
    };
    let value = correlation(pairs)?;
    let stream = RandomStream { seed, purpose: Purpose::Analysis, replica: 0 };
    let draw = |resample| {
        let mut generator = stream.at_step(resample);
        let drawn: Vec<[f64; 2]> =
            (0..pairs.len()).map(|_| pairs[generator.random_range(0..pairs.len())]).collect();
        correlation(&drawn)
    };
    let mut draws: Vec<f64> = (0..N_RESAMPLES).filter_map(draw).collect();
    draws.sort_by(f64::total_cmp);
    let ends = quantile(&draws, 0.025).zip(quantile(&draws, 0.975));
    // Where a few molecules alone differ from the rest, the draws say nothing of others like them.
    let fewest = [0, 1].map(|k| n_apart(pairs.iter().map(|pair| pair[k]))).into_iter().min();
    let is_enough = pairs.len() >= MIN_MOLECULES && fewest >= Some(MIN_APART);
    let interval = ends.filter(|_| is_enough).map(|(low, high)| [low, high]);
    Some(Estimate { value, interval })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn molecule(atoms: usize, lambda: f64) -> MappedMolecule {
        let features = Features {
            atoms,
            branching: 0.0,
            ring_strain_degrees: 0.0,
            polarity: 0.3,
            unsaturation: 0.0,
            novelty: None,
        };
        MappedMolecule {
            name: String::new(),
            series: String::new(),
            features,
            outside: None,
            equivariance_mev_per_angstrom: 1.0,
            rounding_mev_per_angstrom: 1.0,
            force_mev_per_angstrom: 1.0,
            lambda,
            loop_share: None,
            heating_mev_per_atom_per_ps: None,
            predicted: None,
            broken_ps: None,
            n_broken: 0,
            ended: None,
            unstable_ps: None,
            n_unstable: 0,
        }
    }

    #[test]
    fn a_measure_that_rises_with_a_feature_correlates_and_constants_do_not() {
        let molecules: Vec<MappedMolecule> = (0..24).map(|k| molecule(3 + k, 0.1 * (k * k) as f64)).collect();
        let found = correlations(&molecules, 1);
        let of = |measure: &str, feature: &str| {
            found.iter().find(|c| (c.measure.as_str(), c.feature.as_str()) == (measure, feature)).unwrap()
        };
        let size = of("λ", "atoms").rank_correlation.unwrap();
        assert_eq!((size.value, size.interval), (1.0, Some([1.0, 1.0])));
        assert_eq!(of("λ", "branching").rank_correlation, None);
        assert_eq!(
            (of("heating", "atoms").n_molecules, of("heating", "atoms").rank_correlation.is_none()),
            (0, true)
        );
        assert_eq!(found.len(), MEASURES.len() * FEATURES.len());
        // Three that stand out are these three, and no rule.
        let mut odd = molecules.clone();
        odd[..3].iter_mut().for_each(|molecule| molecule.features.branching = 1.0);
        let found = correlations(&odd, 1);
        let three = found.iter().find(|c| c.measure == "λ" && c.feature == "branching").unwrap();
        assert!(
            three.rank_correlation.unwrap().value < 0.0 && three.rank_correlation.unwrap().interval.is_none()
        );
        let few = correlations(&molecules[..19], 1);
        assert!(few.iter().all(|c| c.rank_correlation.is_none_or(|found| found.interval.is_none())));
    }
}
