//! Energy drift of NVE runs: what forces without a potential pump into a molecule.
//!
//! With velocity Verlet the work-integrated total energy balances for any forces whatever, so it tests the integrator
//! and the bookkeeping (`balance`). What forces without a potential pump shows in the kinetic energy K:
//!
//! | number | definition |
//! |---|---|
//! | heating | least-squares slope of K per atom over the run; mean over replicas, with their standard deviation |
//! | time to 10 % | when the running mean of K first departs by 10 % from that of the first window |
//! | runaway | when the running mean of the temperature first exceeds twice the starting temperature |
//!
//! Beside the measured heating stands the one that the force errors predict ([`crate::heating`]).
//!
//! Running means are over a tenth of the time that was run. The first twentieth is left out of all of them: started from
//! a minimum, K gives half of itself to the potential energy there.

use crate::heating::PredictedHeating;
use crate::statistics::Spread;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Share of the run that is left out at the start.
const SETTLING: f64 = 0.05;
/// Share of the run that a running mean is over.
const WINDOW: f64 = 0.1;
/// Relative change of the mean kinetic energy that counts as a changed energy.
const CHANGE: f64 = 0.1;
/// Times the starting temperature that count as a runaway.
const RUNAWAY: f64 = 2.0;
/// Points kept of a series, for the plot.
const N_POINTS: usize = 200;

/// What one NVE run gave, at evenly spaced times from 0 on.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Series {
    /// Times, fs.
    pub time_fs: Vec<f64>,
    /// Kinetic energy, eV.
    pub kinetic_ev: Vec<f64>,
    /// Temperature, K.
    pub temperature_k: Vec<f64>,
    /// Work-integrated total energy, eV.
    pub total_ev: Vec<f64>,
}

/// One replica's drift. `None` where the run was too short for the number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplicaDrift {
    /// Simulated time, ps.
    pub time_ps: f64,
    /// Slope of the kinetic energy, meV per atom and ps.
    pub heating_mev_per_atom_per_ps: Option<f64>,
    /// Slope of the work-integrated total energy, meV per atom and ps.
    pub balance_mev_per_atom_per_ps: Option<f64>,
    /// When the kinetic energy had changed by 10 %, ps; `None` if it never did.
    pub ten_percent_ps: Option<f64>,
    /// When the temperature had doubled, ps; `None` if it never did.
    pub runaway_ps: Option<f64>,
    /// Mean temperature after settling, K.
    pub temperature_k: Option<f64>,
}

/// The drift under one condition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConditionDrift {
    /// The condition: "f64 + offset".
    pub name: String,
    /// Over replicas, meV per atom and ps.
    pub heating_mev_per_atom_per_ps: Option<Spread>,
    /// What the force errors predict for it; `None` where they were not measured.
    pub predicted: Option<PredictedHeating>,
    /// Over replicas, meV per atom and ps.
    pub balance_mev_per_atom_per_ps: Option<Spread>,
    /// Over replicas, K.
    pub temperature_k: Option<Spread>,
    /// Why the run ended before its time, if it did.
    pub ended: Option<String>,
    /// Each replica.
    pub replicas: Vec<ReplicaDrift>,
    /// Times of the curve, ps.
    pub curve_time_ps: Vec<f64>,
    /// Temperature, mean over replicas, K, smoothed over the space between points.
    pub curve_temperature_k: Vec<f64>,
    /// Steps of one replica per second of wall time.
    pub steps_per_second: f64,
}

/// What `mdet judge drift` finds. All conditions start from the same positions and velocities.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Drift {
    /// The molecule.
    pub molecule: String,
    /// Atoms.
    pub n_atoms: usize,
    /// Timestep, fs.
    pub timestep_fs: f64,
    /// Planned time of a run, ps.
    pub planned_ps: f64,
    /// Temperature of the starting velocities, K.
    pub starting_temperature_k: f64,
    /// Each condition.
    pub conditions: Vec<ConditionDrift>,
}

impl ReplicaDrift {
    /// Judges one run of `n_atoms` atoms that started at a temperature.
    pub fn of(series: &Series, n_atoms: usize, starting_temperature_k: f64) -> Self {
        let run_fs = series.time_fs.last().copied().unwrap_or(0.0);
        let settled = series.time_fs.iter().take_while(|&&time| time < SETTLING * run_fs).count();
        let (time, kinetic) = (&series.time_fs[settled..], &series.kinetic_ev[settled..]);
        let temperature = &series.temperature_k[settled..];
        let n_spacings = series.time_fs.len().saturating_sub(1) as f64;
        let window = ((WINDOW * n_spacings).round() as usize).max(1);
        let per_atom_and_ps = |slope: f64| slope * 1e6 / n_atoms as f64;
        let kinetic_means = running_means(kinetic, window);
        let when = |departed: &dyn Fn(&f64) -> bool, means: &[f64]| {
            means.iter().position(departed).map(|index| time[index + window - 1] * 1e-3)
        };
        let first = kinetic_means.first().copied().unwrap_or(f64::NAN);
        Self {
            time_ps: run_fs * 1e-3,
            heating_mev_per_atom_per_ps: slope(time, kinetic).map(per_atom_and_ps),
            balance_mev_per_atom_per_ps: slope(time, &series.total_ev[settled..]).map(per_atom_and_ps),
            ten_percent_ps: when(&|mean| (mean / first - 1.0).abs() > CHANGE, &kinetic_means),
            runaway_ps: when(
                &|mean| *mean > RUNAWAY * starting_temperature_k,
                &running_means(temperature, window),
            ),
            temperature_k: Spread::of(temperature).map(|spread| spread.mean),
        }
    }
}

impl ConditionDrift {
    /// Summarises the replicas of one condition.
    pub fn of(
        name: &str,
        series: &[Series],
        n_atoms: usize,
        starting_temperature_k: f64,
        ended: Option<String>,
        steps_per_second: f64,
    ) -> Self {
        let replicas: Vec<ReplicaDrift> =
            series.iter().map(|s| ReplicaDrift::of(s, n_atoms, starting_temperature_k)).collect();
        let over = |pick: fn(&ReplicaDrift) -> Option<f64>| {
            Spread::of(&replicas.iter().filter_map(pick).collect::<Vec<_>>())
        };
        let n_samples = series.iter().map(|s| s.time_fs.len()).min().unwrap_or(0);
        let mean = |k: usize| series.iter().map(|s| s.temperature_k[k]).sum::<f64>() / series.len() as f64;
        let means: Vec<f64> = (0..n_samples).map(mean).collect();
        let block = n_samples.div_ceil(N_POINTS).max(1);
        let average = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let times = series.first().map_or(&[] as &[f64], |s| &s.time_fs[..n_samples]);
        Self {
            name: name.to_string(),
            heating_mev_per_atom_per_ps: over(|r| r.heating_mev_per_atom_per_ps),
            predicted: None,
            balance_mev_per_atom_per_ps: over(|r| r.balance_mev_per_atom_per_ps),
            temperature_k: over(|r| r.temperature_k),
            ended,
            curve_time_ps: times.chunks(block).map(|block| average(block) * 1e-3).collect(),
            curve_temperature_k: means.chunks(block).map(average).collect(),
            replicas,
            steps_per_second,
        }
    }
}

/// Least-squares slope of y over x; `None` for fewer than three points.
pub(crate) fn slope(x: &[f64], y: &[f64]) -> Option<f64> {
    if x.len() < 3 {
        return None;
    }
    let n = x.len() as f64;
    let (x_mean, y_mean) = (x.iter().sum::<f64>() / n, y.iter().sum::<f64>() / n);
    let spread: f64 = x.iter().map(|x| (x - x_mean).powi(2)).sum();
    let product: f64 = x.iter().zip(y).map(|(x, y)| (x - x_mean) * (y - y_mean)).sum();
    (spread > 0.0).then(|| product / spread)
}

/// Means over `window` neighbours, from the first to the last that are complete.
fn running_means(values: &[f64], window: usize) -> Vec<f64> {
    values.windows(window).map(|values| values.iter().sum::<f64>() / window as f64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// K(t) = 1 eV + rate · t with an oscillation whose mean over any window of 100 fs is zero.
    fn heated(rate_ev_per_fs: f64) -> Series {
        let time_fs: Vec<f64> = (0..=1000).map(|k| 10.0 * f64::from(k)).collect();
        let wave = |t: &f64| 0.3 * (std::f64::consts::TAU * t / 100.0).sin();
        let kinetic_ev: Vec<f64> = time_fs.iter().map(|t| 1.0 + rate_ev_per_fs * t + wave(t)).collect();
        let temperature_k = kinetic_ev.iter().map(|k| 300.0 * k).collect();
        let total_ev = vec![2.0; time_fs.len()];
        Series { time_fs, kinetic_ev, temperature_k, total_ev }
    }

    #[test]
    fn a_steady_rise_is_heating_of_its_rate_with_its_times() {
        // 2e-4 eV/fs on 10 atoms: 20 meV/atom/ps, 2 eV in 10 ps.
        let drift = ReplicaDrift::of(&heated(2e-4), 10, 300.0);
        // The oscillation leaves 0.3 eV · 6/(2π · 95 periods · 9.5 ps) about 0.06 meV/atom/ps.
        assert!((drift.heating_mev_per_atom_per_ps.unwrap() - 20.0).abs() < 0.1, "{drift:?}");
        assert_eq!(drift.balance_mev_per_atom_per_ps, Some(0.0));
        // The first window, 0.5 to 1.5 ps, has K = 1.2 eV; a tenth more is 0.6 ps later, at 2.1 ps; 2 eV at 5.5 ps.
        assert!((drift.ten_percent_ps.unwrap() - 2.1).abs() < 0.1, "{drift:?}");
        assert!((drift.runaway_ps.unwrap() - 5.5).abs() < 0.1, "{drift:?}");
    }

    #[test]
    fn a_run_that_ended_early_is_judged_over_the_time_that_it_had() {
        // 2 ps of a run planned for 100 ps: the first window, 0.1 to 0.3 ps, has K = 1.04 eV; a tenth more is 0.52 ps
        // later; 2 eV at 5 ps it never reached.
        let mut early = heated(2e-4);
        for series in
            [&mut early.time_fs, &mut early.kinetic_ev, &mut early.temperature_k, &mut early.total_ev]
        {
            series.truncate(201);
        }
        let drift = ReplicaDrift::of(&early, 10, 300.0);
        assert!((drift.heating_mev_per_atom_per_ps.unwrap() - 20.0).abs() < 2.0, "{drift:?}");
        assert!((drift.ten_percent_ps.unwrap() - 0.82).abs() < 0.1, "{drift:?}");
        assert_eq!((drift.time_ps, drift.runaway_ps), (2.0, None));
    }

    #[test]
    fn a_steady_energy_has_neither_and_short_runs_have_no_numbers() {
        let drift = ReplicaDrift::of(&heated(0.0), 10, 300.0);
        assert!(drift.heating_mev_per_atom_per_ps.unwrap().abs() < 0.1);
        assert_eq!((drift.ten_percent_ps, drift.runaway_ps), (None, None));
        let mut short = heated(0.0);
        short.time_fs.truncate(2);
        short.kinetic_ev.truncate(2);
        short.temperature_k.truncate(2);
        short.total_ev.truncate(2);
        let drift = ReplicaDrift::of(&short, 10, 300.0);
        assert_eq!((drift.heating_mev_per_atom_per_ps, drift.ten_percent_ps), (None, None));
        let condition = ConditionDrift::of("f32", &[short], 10, 300.0, None, 1.0);
        assert_eq!(condition.heating_mev_per_atom_per_ps, None);
    }
}
