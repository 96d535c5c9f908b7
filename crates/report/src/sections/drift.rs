//! Energy drift: what NVE pumps into a molecule, beside what the force errors predict.

use super::{SHORT_PS, Section, plots, table};
use crate::plot::{Axis, Plot, short};
use mdet_analysis::drift::{ConditionDrift, ReplicaDrift};
use mdet_analysis::heating::{CURL_WIDTHS_PER_CM, PredictedHeating};
use mdet_analysis::{Drift, Spread};

/// 3 k_B, meV/K: the thermal energy of a harmonic atom per kelvin.
const THERMAL_MEV_PER_K: f64 = 3.0 * 0.086_173_33;

/// Heating that a run of 1 ns turns into 10 % of the thermal energy at 300 K, meV/atom/ps.
const HARMLESS_HEATING: f64 = 0.1 * 300.0 * THERMAL_MEV_PER_K / 1e3;

/// One run's heating, measured and predicted.
pub(crate) struct Compared {
    pub condition: String,
    pub measured: Spread,
    pub predicted: PredictedHeating,
}

/// The runs of a result that have both.
pub(crate) fn compared(found: &Drift) -> Vec<Compared> {
    let both = |c: &ConditionDrift| {
        Some(Compared {
            condition: c.name.clone(),
            measured: c.heating_mev_per_atom_per_ps?,
            predicted: c.predicted?,
        })
    };
    found.conditions.iter().filter_map(both).collect()
}

pub(super) fn section(found: &Drift) -> Section {
    let (good, verdict) = verdict(found);
    let n_replicas = found.conditions.first().map_or(0, |c| c.replicas.len());
    let body = format!(
        "<p class=\"soft\">{} atoms, {} ps of NVE in steps of {} fs from {} K; all conditions from the same positions and velocities, {n_replicas} replicas; ± standard error over replicas. The paper (arXiv 2503.01431): of 500 ps of n-octane, only f64 with a random rotation offset stays.</p>",
        found.n_atoms,
        short(found.planned_ps),
        found.timestep_fs,
        found.starting_temperature_k,
    ) + &conditions(found)
        + &predictions(found)
        + &plots([temperatures(found), against(&compared(found))]);
    Section { title: format!("Energy drift: {}", found.molecule), good, verdict, body }
}

/// Which condition heats least, and what that means for NVE and NVT.
fn verdict(found: &Drift) -> (Option<bool>, String) {
    let heating = |c: &'_ ConditionDrift| c.heating_mev_per_atom_per_ps;
    let all: Vec<_> = found.conditions.iter().filter_map(|c| Some((c, heating(c)?))).collect();
    let size = |spread: &Spread| spread.mean.abs();
    let Some((best, least)) = all.iter().min_by(|a, b| size(&a.1).total_cmp(&size(&b.1))) else {
        return (None, "The runs are too short for a drift.".to_string());
    };
    if found.planned_ps < SHORT_PS {
        let words = format!(
            "Runs of {} ps are too short to tell heating from energy that flows between modes; the smallest slope was {least:.3} meV per atom and ps with {}.",
            short(found.planned_ps),
            best.name
        );
        return (None, words);
    }
    let thermal = THERMAL_MEV_PER_K * found.starting_temperature_k;
    // What is not resolved may be as large as twice its error.
    let error = if least.n > 1 { least.standard_error() } else { least.mean.abs() };
    let rate = size(least).max(2.0 * error);
    let lasting = 0.1 * thermal / rate.max(1e-9);
    let resolved = size(least) > 2.0 * error;
    let n_runaway = all.iter().filter(|(c, _)| c.replicas.iter().any(|r| r.runaway_ps.is_some())).count();
    let words = format!(
        "Use of {} for NVE: up to about {} ps with {}, where heating of {least:.3} meV per atom and ps{} is 10 % of the thermal energy. For NVT: {}. {n_runaway} of {} conditions ran away within {} ps.",
        found.molecule,
        short(lasting),
        best.name,
        if resolved { "" } else { " (not told from zero; twice its error is taken)" },
        if rate < thermal {
            format!("yes, if the thermostat takes up {} meV per atom and ps", short(rate))
        } else {
            "no, more than the thermal energy is pumped in every ps".to_string()
        },
        all.len(),
        short(found.planned_ps),
    );
    (Some(rate < HARMLESS_HEATING), words)
}

fn conditions(found: &Drift) -> String {
    let rows = found.conditions.iter().map(|c| {
        let over = |s: &Option<Spread>, digits| s.as_ref().map_or("–".into(), |s| format!("{s:.digits$}"));
        let n = c.replicas.len();
        let first = |pick: fn(&ReplicaDrift) -> Option<f64>| {
            let hits: Vec<f64> = c.replicas.iter().filter_map(pick).collect();
            let mean = hits.iter().sum::<f64>() / hits.len() as f64;
            match hits.len() {
                0 => format!("0 of {n}"),
                hits => format!("{hits} of {n}, at {mean:.1} ps"),
            }
        };
        vec![
            c.name.clone(),
            over(&c.heating_mev_per_atom_per_ps, 3),
            c.predicted.map_or("–".into(), |p| format!("{p:.3}")),
            over(&c.balance_mev_per_atom_per_ps, 4),
            over(&c.temperature_k, 0),
            if found.planned_ps < SHORT_PS { "–".into() } else { first(|r| r.ten_percent_ps) },
            first(|r| r.runaway_ps),
            format!("{:.0}", c.steps_per_second),
        ]
    });
    let head = [
        "condition",
        "heating meV/atom/ps",
        "predicted",
        "work balance meV/atom/ps",
        "mean T K",
        "10 % changed",
        "runaway",
        "steps/s",
    ];
    let ended = found.conditions.iter().filter_map(|c| Some((&c.name, c.ended.as_ref()?)));
    let ended: String = ended
        .map(|(name, why)| {
            format!("<p>{} ended early: {}.</p>", crate::plot::escape(name), crate::plot::escape(why))
        })
        .collect();
    table(&head, rows) + &ended
}

fn predictions(found: &Drift) -> String {
    let compared = compared(found);
    if compared.is_empty() {
        return String::new();
    }
    let rows = compared.iter().map(|run| {
        let p = run.predicted;
        vec![
            run.condition.clone(),
            short(p.orientation_mev_per_atom_per_ps),
            short(p.rounding_mev_per_atom_per_ps),
            p.curl_mev_per_atom_per_ps.map_or("–".into(), |[a, b]| format!("{a:.4} to {b:.4}")),
            format!("{p:.4}"),
            format!("{:.4}", run.measured),
        ]
    });
    let [narrow, wide] = CURL_WIDTHS_PER_CM;
    let head = ["meV/atom/ps", "orientation redrawn", "rounding", "curl", "predicted", "measured"];
    format!(
        "<h3>How the force errors become drift</h3><p>Errors that are new at every step heat by Σ|δF|²·h/2m, the antisymmetric part of the Jacobian through pairs of normal modes that are close in frequency; half of it shows in the kinetic energy. The curl's part is for modes {narrow} to {wide} cm⁻¹ wide, which was not measured. The derivation, and where it fails, is in docs/drift.md.</p>"
    ) + &table(&head, rows)
}

fn temperatures(found: &Drift) -> String {
    let times = found.conditions.iter().flat_map(|c| c.curve_time_ps.clone());
    let temperatures = found.conditions.iter().flat_map(|c| c.curve_temperature_k.clone());
    let mut plot = Plot::new(Axis::over("time / ps", times), Axis::over("temperature / K", temperatures));
    for (k, c) in found.conditions.iter().enumerate() {
        plot =
            plot.line(k, &c.name, c.curve_time_ps.iter().copied().zip(c.curve_temperature_k.iter().copied()));
    }
    plot.figure("Temperature, mean over replicas.")
}

/// Measured against predicted heating of many runs, by condition.
pub(crate) fn against(runs: &[Compared]) -> String {
    if runs.is_empty() {
        return String::new();
    }
    let error = |run: &Compared| if run.measured.n > 1 { run.measured.standard_error() } else { 0.0 };
    let ends = |run: &Compared| [run.measured.mean - error(run), run.measured.mean + error(run)];
    let predicted = |run: &Compared| run.predicted.middle_mev_per_atom_per_ps();
    // From hundredths to thousands in one picture; what cools, and what nothing is predicted for, is on the edge.
    let positive = |value: &f64| *value > 0.0;
    let all_predicted: Vec<f64> = runs.iter().map(predicted).filter(positive).collect();
    let all_measured: Vec<f64> =
        runs.iter().flat_map(|run| [run.measured.mean, ends(run)[1]]).filter(positive).collect();
    let smallest = |of: &[f64]| of.iter().copied().fold(f64::INFINITY, f64::min);
    let largest = |of: &[f64]| of.iter().copied().fold(0.0, f64::max);
    let from = smallest(&all_predicted).max(smallest(&all_measured));
    let to = largest(&all_predicted).min(largest(&all_measured));
    let x = Axis::logarithmic("predicted heating / meV/atom/ps", all_predicted);
    let y = Axis::logarithmic("measured / meV/atom/ps", all_measured);
    let mut plot = Plot::new(x, y);
    if from < to {
        plot = plot.line(5, "equality", [(from, from), (to, to)]);
    }
    let mut names: Vec<&str> = runs.iter().map(|run| run.condition.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    for (k, name) in names.iter().enumerate() {
        let of_name = runs.iter().filter(|run| run.condition == *name);
        plot = plot.points(
            k,
            name,
            of_name.map(|run| {
                let [low, high] = ends(run);
                (predicted(run), run.measured.mean, low, high)
            }),
        );
    }
    plot.figure("Measured against predicted heating (the middle between the two widths of modes); bars are standard errors over replicas. Runs that cool stand on the lower edge.")
}
