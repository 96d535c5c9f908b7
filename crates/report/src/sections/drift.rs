//! Energy drift: what NVE pumps into a molecule, beside what the force errors predict.

use super::{SHORT_PS, Section, plots, table};
use crate::plot::{Axis, Plot, escape, short};
use mdet_analysis::drift::{ConditionDrift, ReplicaDrift};
use mdet_analysis::heating::{CURL_WIDTHS_PER_CM, PredictedHeating};
use mdet_analysis::{Drift, Spread, Stability};

/// 3/2 k_B, meV/K: the kinetic energy of an atom per kelvin.
const KINETIC_MEV_PER_K: f64 = 1.5 * 0.086_173_33;

/// Heating is harmless if it needs this time for 10 % of the kinetic energy, ps.
const HARMLESS_PS: f64 = 1e3;

/// Friction of a Langevin thermostat in common use, 0.01/fs, in 1/ps.
const FRICTION_PER_PS: f64 = 10.0;

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

pub(super) fn section(found: &Drift, stability: Option<&Stability>) -> Section {
    let (good, verdict) = verdict(found, stability);
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

/// Which condition surely heats least, and what that means for NVE and NVT.
fn verdict(found: &Drift, stability: Option<&Stability>) -> (Option<bool>, String) {
    let early = ended(found);
    let good = |good: Option<bool>| if early.is_empty() { good } else { Some(false) };
    let Some((best, least)) = best(found) else {
        let words = if early.is_empty() { "The runs are too short for a drift." } else { early.trim_end() };
        return (good(None), words.to_string());
    };
    let planned = short(found.planned_ps);
    if found.planned_ps < SHORT_PS {
        let words = format!(
            "{early}Runs of {planned} ps are too short to tell heating from energy that flows between modes; the smallest slope was {least:.3} meV per atom and ps with {}.",
            best.name
        );
        return (good(None), words);
    }
    let temperature = best.temperature_k.map_or(found.starting_temperature_k, |spread| spread.mean);
    let tenth = 0.1 * kinetic_mev_per_atom(found.n_atoms, temperature);
    let rate = bound(&least).unwrap_or(least.mean.abs());
    let lasting = tenth / rate.max(1e-9);
    let bounded = bound(&least).map_or("one replica, which has no bound".to_string(), |bound| {
        format!("at most {} with 95 % confidence, {} replicas", short(bound), least.n)
    });
    let ran_away = |c: &&ConditionDrift| c.replicas.iter().any(|r| r.runaway_ps.is_some());
    let words = format!(
        "{early}NVE of {}: {} heats least, by {least:.3} meV per atom and ps ({bounded}). That is 10 % of the kinetic energy at the run's {temperature:.0} K in {} {} ps{}. {} {} of {} conditions ran away within {planned} ps.",
        found.molecule,
        best.name,
        if bound(&least).is_some() { "no less than" } else { "about" },
        short(lasting),
        if lasting > found.planned_ps { ", by extrapolation" } else { "" },
        nvt(rate, stability),
        found.conditions.iter().filter(ran_away).count(),
        found.conditions.len(),
    );
    (good(is_harmless(&least, tenth)), words)
}

/// Kinetic energy per atom of a molecule that neither moves nor turns as a whole.
fn kinetic_mev_per_atom(n_atoms: usize, temperature_k: f64) -> f64 {
    let free = if n_atoms == 2 { 1 } else { 3 * n_atoms - 6 };
    KINETIC_MEV_PER_K * temperature_k * free as f64 / (3 * n_atoms) as f64
}

/// Of the conditions that ran to their end, the one whose heating has the smallest upper bound; without bounds the smallest.
fn best(found: &Drift) -> Option<(&ConditionDrift, Spread)> {
    let whole = found.conditions.iter().filter(|c| c.ended.is_none());
    let heating = whole.filter_map(|c| Some((c, c.heating_mev_per_atom_per_ps?)));
    let key = |spread: &Spread| [bound(spread).unwrap_or(f64::INFINITY), spread.mean.abs()];
    heating.min_by(|(_, a), (_, b)| {
        let [a, b] = [key(a), key(b)];
        a[0].total_cmp(&b[0]).then(a[1].total_cmp(&b[1]))
    })
}

/// How large a drift may be, by size, with 95 % confidence; `None` of one replica.
fn bound(spread: &Spread) -> Option<f64> {
    Some(spread.mean.abs() + spread.half_width()?)
}

/// Whether heating surely needs a long time for `tenth` meV per atom; `None` where it may or may not.
fn is_harmless(heating: &Spread, tenth: f64) -> Option<bool> {
    let change = |rate: f64| rate * HARMLESS_PS;
    let half_width = heating.half_width()?;
    if change(heating.mean.abs() + half_width) < tenth {
        return Some(true);
    }
    (change(heating.mean.abs() - half_width) > tenth).then_some(false)
}

/// "2 of 5 conditions ended early, …", with a space after it; empty if none did.
fn ended(found: &Drift) -> String {
    let early = found.conditions.iter().filter_map(|c| Some((run_ps(c), c.ended.as_ref()?)));
    let Some((first, why)) = early.clone().min_by(|a, b| a.0.total_cmp(&b.0)) else { return String::new() };
    let (n, of) = (early.count(), found.conditions.len());
    format!("{n} of {of} conditions ended early, the first after {} ps ({why}). ", short(first))
}

/// Time that a condition ran, ps.
fn run_ps(condition: &ConditionDrift) -> f64 {
    condition.replicas.iter().map(|r| r.time_ps).fold(0.0, f64::max)
}

/// What NVE heating at a rate of the kinetic energy implies for NVT, and what was run of it.
fn nvt(rate: f64, stability: Option<&Stability>) -> String {
    let run = stability.map_or("NVT was not run here: ".into(), |s| {
        let (lost, n, planned) = (s.n_unstable, s.replicas.len(), short(s.planned_ps));
        format!(
            "NVT was run of {} at {} K: {lost} of {n} runs of up to {planned} ps became unstable. ",
            s.molecule, s.temperature_k
        )
    });
    // Twice the rate heats K and U; friction γ takes 2γ of the kinetic energy beyond the thermostat's.
    let excess_k = rate / FRICTION_PER_PS / KINETIC_MEV_PER_K;
    format!(
        "{run}Such heating, {} meV per atom and ps of K and U, would hold the molecule {} K above a Langevin thermostat of 0.01/fs.",
        short(2.0 * rate),
        short(excess_k)
    )
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
            if run_ps(c) < SHORT_PS { "–".into() } else { first(|r| r.ten_percent_ps) },
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
    let ended = found.conditions.iter().filter_map(|c| Some((c, c.ended.as_ref()?)));
    let ended: String = ended
        .map(|(c, why)| {
            let (name, why) = (escape(&c.name), escape(why));
            format!("<p>{name} ended early, after {} ps: {why}.</p>", short(run_ps(c)))
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
            p.curl_growth.map_or("–".into(), short),
            format!("{p:.4}"),
            format!("{:.4}", run.measured),
        ]
    });
    let [narrow, wide] = CURL_WIDTHS_PER_CM;
    let head =
        ["meV/atom/ps", "orientation redrawn", "rounding", "curl", "of it growth ×", "predicted", "measured"];
    format!(
        "<h3>How the force errors become drift</h3><p>Errors that are new at every step heat by Σ|δF|²·h/2m, the antisymmetric part of the Jacobian through pairs of normal modes that are close in frequency; half of it shows in the kinetic energy. The curl's part is for modes {narrow} to {wide} cm⁻¹ wide, which was not measured; it is the start's, times how the antisymmetric part's mean square has grown along the run. The derivation, and where it fails, is in docs/drift.md.</p>"
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

/// Measured against predicted heating of many runs, by condition; those whose curl was not measured have no whole
/// prediction and are left out.
pub(crate) fn against(all: &[Compared]) -> String {
    let runs: Vec<&Compared> =
        all.iter().filter(|run| run.predicted.curl_mev_per_atom_per_ps.is_some()).collect();
    let left_out = match all.len() - runs.len() {
        0 => String::new(),
        n => format!("{n} of {} runs are left out: the curl's part was not predicted.", all.len()),
    };
    if runs.is_empty() {
        return if all.is_empty() { left_out } else { format!("<p class=\"soft\">{left_out}</p>") };
    }
    let error = |run: &Compared| if run.measured.n > 1 { run.measured.standard_error() } else { 0.0 };
    let ends = |run: &Compared| [run.measured.mean - error(run), run.measured.mean + error(run)];
    let predicted = |run: &Compared| run.predicted.middle_mev_per_atom_per_ps();
    // From hundredths to thousands in one picture; what cools, and what nothing is predicted for, is on the edge.
    let positive = |value: &f64| *value > 0.0;
    let all_predicted: Vec<f64> = runs.iter().map(|run| predicted(run)).filter(positive).collect();
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
    plot.figure(&format!(
        "Measured against predicted heating (the middle between the two widths of modes); bars are standard errors over replicas. Runs that cool stand on the lower edge. {left_out}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(name: &str, heating: &[f64], time_ps: f64, ended: Option<&str>) -> ConditionDrift {
        let replica = |&rate: &f64| ReplicaDrift {
            time_ps,
            heating_mev_per_atom_per_ps: Some(rate),
            balance_mev_per_atom_per_ps: None,
            ten_percent_ps: None,
            runaway_ps: None,
            temperature_k: Some(200.0),
        };
        ConditionDrift {
            name: name.into(),
            heating_mev_per_atom_per_ps: Spread::of(heating),
            predicted: None,
            balance_mev_per_atom_per_ps: None,
            temperature_k: Spread::of(&[200.0]),
            ended: ended.map(String::from),
            replicas: heating.iter().map(replica).collect(),
            curve_time_ps: vec![0.0],
            curve_temperature_k: vec![200.0],
            steps_per_second: 1.0,
        }
    }

    fn drift(conditions: Vec<ConditionDrift>) -> Drift {
        Drift {
            molecule: "octane".into(),
            n_atoms: 26,
            timestep_fs: 1.0,
            planned_ps: 10.0,
            starting_temperature_k: 400.0,
            conditions,
        }
    }

    #[test]
    fn runs_that_all_ended_early_do_not_hold() {
        let ended = [0.3, 0.2].map(|time| condition("f32", &[9.0, 8.0], time, Some("forces not finite")));
        let found = verdict(&drift(ended.to_vec()), None);
        let words = "2 of 2 conditions ended early, the first after 0.2 ps (forces not finite).";
        assert_eq!(found, (Some(false), words.to_string()));
        assert_eq!(verdict(&drift(Vec::new()), None).0, None);
    }

    #[test]
    fn the_best_condition_ran_to_its_end_and_has_the_smallest_upper_bound() {
        let conditions = vec![
            condition("small mean, large error", &[-2.0, 2.0], 10.0, None),
            condition("sure", &[0.29, 0.31], 10.0, None),
            condition("ended", &[0.001, 0.001], 1.0, Some("forces not finite")),
        ];
        assert_eq!(best(&drift(conditions)).unwrap().0.name, "sure");
    }

    #[test]
    fn a_tenth_of_the_kinetic_energy_is_at_the_temperature_of_the_run_and_one_replica_has_no_bound() {
        // 0.1 · 1.5 k_B · 200 K · 72/78 is 2.386 meV: 4.77 ps at 0.5 meV per atom and ps.
        let (good, words) = verdict(&drift(vec![condition("f64", &[0.5], 10.0, None)]), None);
        assert_eq!(good, None);
        assert!(words.contains("no bound") && words.contains("in about 4.77 ps. NVT was not run"), "{words}");
        let (good, words) = verdict(&drift(vec![condition("f64", &[0.1, 0.1], 10.0, None)]), None);
        assert_eq!(good, Some(false));
        // 0.2 meV per atom and ps of K and U against 2 · 10/ps · 1.5 k_B.
        assert!(words.contains("in no less than 23.9 ps, by extrapolation"), "{words}");
        assert!(
            words.contains("0.2 meV per atom and ps of K and U") && words.contains("0.0774 K"),
            "{words}"
        );
        assert_eq!(verdict(&drift(vec![condition("f64", &[1e-3, 1e-3], 10.0, None)]), None).0, Some(true));
    }

    #[test]
    fn runs_without_the_curls_prediction_are_not_plotted_but_counted() {
        let run = |curl_mev_per_atom_per_ps| Compared {
            condition: "f64".into(),
            measured: Spread::of(&[0.1, 0.2]).unwrap(),
            predicted: PredictedHeating {
                orientation_mev_per_atom_per_ps: 0.1,
                rounding_mev_per_atom_per_ps: 0.0,
                curl_mev_per_atom_per_ps,
                curl_growth: None,
            },
        };
        assert!(against(&[run(None), run(Some([0.1, 0.2]))]).contains("1 of 2 runs are left out"));
        assert!(!against(&[run(None)]).contains("<svg") && against(&[]).is_empty());
    }
}
