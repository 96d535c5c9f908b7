//! Which drift is harmless: the errors of what is observed, against the drift that goes with them.
//!
//! One molecule runs under conditions of growing drift, from the same positions and velocities. Every observable of
//! every condition is compared with the best one as [`blocks`](crate::blocks) compares: a difference, and what noise
//! alone would make of it. In NVE each replica is compared with the one of the same start; in NVT, where a replica's parts
//! forget each other, all blocks are independent. The errors over the drifts are a curve for each observable, with a
//! threshold:
//!
//! | number | definition |
//! |---|---|
//! | drift, NVE | slope of the kinetic energy per atom ([`drift`](crate::drift)); about half of what is pumped in, as the potential energy takes its share |
//! | drift, NVT | − slope of kinetic plus work-integrated potential energy per atom: the heat that the thermostat takes away |
//! | harmful from | the smallest drift, by size, of a condition whose difference exceeds the noise by more than two of its standard deviations |
//! | harmless up to | the largest drift, by size, of a condition whose difference does not |
//!
//! A condition whose run ended early was compared in nothing and counts in neither. Of a clean threshold the second is the
//! smaller one; if not, the threshold is known no better than between the two. Among many observables and conditions one
//! in twenty exceeds by chance.

use crate::blocks::Difference;
use crate::drift::{ReplicaDrift, Series, slope};
use crate::statistics::Spread;
use crate::trajectory::{Named, Observed};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use statrs::distribution::{Binomial, DiscreteCDF};

/// Excess over the noise, in its standard deviations, that counts.
const EXCESS: f64 = 2.0;

/// Share of errors that exceed their noise so far by chance.
const SHOWING_BY_CHANCE: f64 = 0.05;

/// One condition in one ensemble.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConditionErrors {
    /// "f32 + offset", "f32, bias 30 meV/Å", ….
    pub name: String,
    /// Size of the added bias on an atom, root mean square at the starting structure after the removal of net force and
    /// torque, meV/Å; 0 without.
    pub bias_mev_per_angstrom: f64,
    /// Over replicas, meV per atom and ps; see the module.
    pub drift_mev_per_atom_per_ps: Option<Spread>,
    /// Mean temperature over replicas, K.
    pub temperature_k: Option<Spread>,
    /// Difference of every observable from the best condition; empty for that one itself.
    pub errors: Vec<Named<Difference>>,
    /// Why the run ended before its time, if it did.
    pub ended: Option<String>,
}

/// The conditions in one ensemble, the best first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EnsembleErrors {
    /// "NVE" or "NVT, Bussi …".
    pub name: String,
    /// Each condition.
    pub conditions: Vec<ConditionErrors>,
    /// For each observable.
    pub thresholds: Vec<Threshold>,
    /// What the noise is of.
    pub compared: Compared,
}

/// What is taken as independent where a condition is compared with the best one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Compared {
    /// The blocks of all replicas.
    Blocks,
    /// Replicas of the same start, one by one.
    Replicas,
}

/// Where the drift begins to show in an observable, meV per atom and ps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Threshold {
    /// The observable.
    pub observable: String,
    /// Largest drift, by size, of a condition whose difference does not exceed the noise by more than two of its standard
    /// deviations; `None` if every condition's does.
    pub harmless_up_to: Option<f64>,
    /// Smallest drift, by size, of a condition whose difference does; `None` if none does.
    pub harmful_from: Option<f64>,
}

/// What `mdet judge observables` finds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ObservableErrors {
    /// The molecule.
    pub molecule: String,
    /// Atoms.
    pub n_atoms: usize,
    /// Time of a run, ps.
    pub planned_ps: f64,
    /// Timestep, fs.
    pub timestep_fs: f64,
    /// Temperature of equilibration and thermostat, K.
    pub temperature_k: f64,
    /// Replicas of every condition.
    pub n_replicas: usize,
    /// Blocks of every condition, over all replicas.
    pub n_blocks: usize,
    /// NVE and NVT, as far as they were run.
    pub ensembles: Vec<EnsembleErrors>,
}

/// Which drift an ensemble has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DriftOf {
    /// Slope of the kinetic energy.
    KineticEnergy,
    /// Heat taken away by a thermostat.
    Heat,
}

/// One replica of a run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ReplicaRun {
    /// Drift of the ensemble's kind, meV per atom and ps; `None` of too few samples.
    pub drift_mev_per_atom_per_ps: Option<f64>,
    /// Mean temperature, K.
    pub temperature_k: Option<f64>,
}

/// What was run under one condition.
#[derive(Debug, Clone)]
pub struct ConditionRun {
    /// As in [`ConditionErrors`].
    pub name: String,
    /// As in [`ConditionErrors`].
    pub bias_mev_per_angstrom: f64,
    /// Each replica.
    pub replicas: Vec<ReplicaRun>,
    /// The blocks of all replicas; `None` if the run ended too early for any.
    pub observed: Option<Observed>,
    /// As in [`ConditionErrors`].
    pub ended: Option<String>,
}

impl ConditionErrors {
    /// Whether any of its errors has a noise to be compared with.
    pub fn is_compared(&self) -> bool {
        self.ended.is_none() && self.errors.iter().any(|error| error.value.excess().is_some())
    }

    /// The errors that exceed their noise.
    pub fn showing(&self) -> impl Iterator<Item = &Named<Difference>> {
        self.errors.iter().filter(|error| error.value.excess().is_some_and(|excess| excess > EXCESS))
    }

    /// Their number.
    pub fn n_showing(&self) -> usize {
        self.showing().count()
    }

    /// Whether more of its errors show than chance brings: were they independent, as many in one condition of twenty at most.
    pub fn shows_beyond_chance(&self) -> bool {
        let Some(without) = self.n_showing().checked_sub(1) else { return false };
        let by_chance = Binomial::new(SHOWING_BY_CHANCE, self.errors.len() as u64);
        // A single error that shows is at the bound itself.
        by_chance.is_ok_and(|binomial| binomial.sf(without as u64) < SHOWING_BY_CHANCE + 1e-9)
    }
}

impl EnsembleErrors {
    /// Compares every condition with the first one.
    pub fn of(name: &str, drift: DriftOf, runs: &[ConditionRun], seed: u64) -> Self {
        let best = runs.first().and_then(|run| run.observed.as_ref());
        let compared = drift.compared();
        let condition = |(index, run): (usize, &ConditionRun)| {
            let over = |value: fn(&ReplicaRun) -> Option<f64>| {
                Spread::of(&run.replicas.iter().filter_map(value).collect::<Vec<_>>())
            };
            let errors = match (best, &run.observed) {
                (Some(best), Some(own)) if index > 0 => {
                    compared.differences(best, own, run.replicas.len(), seed)
                }
                _ => Vec::new(),
            };
            ConditionErrors {
                name: run.name.clone(),
                bias_mev_per_angstrom: run.bias_mev_per_angstrom,
                drift_mev_per_atom_per_ps: over(|replica| replica.drift_mev_per_atom_per_ps),
                temperature_k: over(|replica| replica.temperature_k),
                errors,
                ended: run.ended.clone(),
            }
        };
        let conditions: Vec<ConditionErrors> = runs.iter().enumerate().map(condition).collect();
        let thresholds = thresholds(&conditions);
        Self { name: name.to_string(), conditions, thresholds, compared }
    }
}

impl Compared {
    /// Of every observable that both have.
    fn differences(
        self,
        best: &Observed,
        own: &Observed,
        n_replicas: usize,
        seed: u64,
    ) -> Vec<Named<Difference>> {
        // The temperature says what the kinetic energy would.
        let both = best.in_common(own).filter(|(name, ..)| !name.starts_with("kinetic"));
        let both = both.map(|(name, a, b)| {
            let value = match self {
                Self::Blocks => a.difference(b, seed),
                Self::Replicas => a.paired_difference(b, n_replicas, seed),
            };
            Named { name, value }
        });
        both.collect()
    }
}

impl DriftOf {
    /// NVE keeps what a replica started with; a thermostat forgets it.
    fn compared(self) -> Compared {
        match self {
            Self::KineticEnergy => Compared::Replicas,
            Self::Heat => Compared::Blocks,
        }
    }

    /// What one replica of a molecule of `n_atoms` atoms did.
    pub fn replica(self, series: &Series, n_atoms: usize) -> ReplicaRun {
        ReplicaRun {
            drift_mev_per_atom_per_ps: self.rate(series, n_atoms),
            temperature_k: Spread::of(&series.temperature_k).map(|spread| spread.mean),
        }
    }

    /// meV per atom and ps.
    fn rate(self, series: &Series, n_atoms: usize) -> Option<f64> {
        match self {
            // The starting temperature matters for runaways alone, which are not asked for here.
            Self::KineticEnergy => ReplicaDrift::of(series, n_atoms, 1.0).heating_mev_per_atom_per_ps,
            Self::Heat => slope(&series.time_fs, &series.total_ev).map(|slope| -slope * 1e6 / n_atoms as f64),
        }
    }
}

fn thresholds(conditions: &[ConditionErrors]) -> Vec<Threshold> {
    let Some(with_errors) = conditions.iter().find(|c| !c.errors.is_empty()) else { return Vec::new() };
    let of = |observable: &str| {
        let judged = conditions.iter().filter(|c| c.ended.is_none()).filter_map(|c| {
            let drift = c.drift_mev_per_atom_per_ps?.mean.abs();
            let error = c.errors.iter().find(|error| error.name == observable)?;
            Some((drift, error.value.excess()? > EXCESS))
        });
        let drifts = |exceeds: bool| judged.clone().filter(move |j| j.1 == exceeds).map(|j| j.0);
        Threshold {
            observable: observable.to_string(),
            harmless_up_to: drifts(false).max_by(f64::total_cmp),
            harmful_from: drifts(true).min_by(f64::total_cmp),
        }
    };
    with_errors.errors.iter().map(|error| of(&error.name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(drift: f64, value: f64) -> ConditionErrors {
        let noise = Some(Spread { mean: 0.1, standard_deviation: 0.02, n: 200 });
        let difference = Difference { value, noise };
        ConditionErrors {
            name: format!("{drift}"),
            bias_mev_per_angstrom: 0.0,
            drift_mev_per_atom_per_ps: Spread::of(&[drift, drift]),
            temperature_k: None,
            errors: vec![Named { name: "spectrum".into(), value: difference }],
            ended: None,
        }
    }

    #[test]
    fn the_threshold_lies_between_the_drifts_that_show_and_those_that_do_not() {
        let best = ConditionErrors { errors: Vec::new(), ..condition(0.0, 0.0) };
        // Noise ends at 0.1 + 2 · 0.02.
        let conditions = [
            best.clone(),
            condition(0.3, 0.12),
            condition(-2.0, 0.139),
            condition(9.0, 0.15),
            condition(-5.0, 0.9),
        ];
        let expected =
            Threshold { observable: "spectrum".into(), harmless_up_to: Some(2.0), harmful_from: Some(5.0) };
        assert_eq!(thresholds(&conditions), [expected]);
        assert_eq!(thresholds(&conditions[..2])[0].harmful_from, None);
        let ended =
            ConditionErrors { ended: Some("runaway".into()), errors: Vec::new(), ..condition(70.0, 0.0) };
        let with_ended = [conditions[0].clone(), conditions[1].clone(), ended];
        assert_eq!(thresholds(&with_ended)[0].harmful_from, None);
        assert!(thresholds(&[best]).is_empty());
    }

    #[test]
    fn the_heat_that_a_thermostat_takes_away_is_the_drift_in_nvt() {
        let time_fs: Vec<f64> = (0..100).map(|k| 10.0 * f64::from(k)).collect();
        // 10 atoms lose 1e-4 eV per fs to the bath.
        let total_ev = time_fs.iter().map(|t| 5.0 - 1e-4 * t).collect();
        let series =
            Series { kinetic_ev: vec![1.0; 100], temperature_k: vec![300.0; 100], time_fs, total_ev };
        assert!((DriftOf::Heat.rate(&series, 10).unwrap() - 10.0).abs() < 1e-9);
        assert!(DriftOf::KineticEnergy.rate(&series, 10).unwrap().abs() < 1e-9);
    }
}
