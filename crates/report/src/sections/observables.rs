//! What the report says of harmless drift: errors of observables over drift, with their thresholds.

use super::{Section, plots, table};
use crate::plot::{Axis, Plot, short};
use mdet_analysis::Spread;
use mdet_analysis::observables::{Compared, ConditionErrors, EnsembleErrors, ObservableErrors};

pub(super) fn section(found: &ObservableErrors) -> Section {
    let sentences: Vec<String> = found.ensembles.iter().map(sentence).collect();
    let mut verdict = format!(
        "{}, {} ps for each condition: {}",
        found.molecule,
        short(found.planned_ps),
        sentences.join(" ")
    );
    if found.ensembles.iter().flat_map(|ensemble| &ensemble.conditions).any(ConditionErrors::is_compared) {
        verdict += " One in twenty of many comparisons shows by chance.";
    }
    let mut body = format!(
        "<p class=\"soft\">{} atoms, steps of {} fs, {} K, {} replicas, {} blocks for each condition; all from the same positions and velocities. Errors are differences from the first condition: ∫|a − b| of distributions (0 to 2), |a − b| of means; one shows when it exceeds what noise alone would give by two of its standard deviations. ± of a drift is its standard error over replicas.</p>",
        found.n_atoms, found.timestep_fs, found.temperature_k, found.n_replicas, found.n_blocks
    );
    for ensemble in &found.ensembles {
        body += &of_ensemble(ensemble);
    }
    Section { title: format!("Which drift is harmless: {}", found.molecule), good: None, verdict, body }
}

/// From which drift on the observables of an ensemble show it.
fn sentence(ensemble: &EnsembleErrors) -> String {
    let name = &ensemble.name;
    let compared: Vec<&ConditionErrors> = ensemble.conditions.iter().filter(|c| c.is_compared()).collect();
    let showing = compared.iter().filter(|c| c.shows_beyond_chance());
    let showing = showing.filter_map(|c| Some((c, c.drift_mev_per_atom_per_ps?, c.showing().next()?)));
    let smallest = showing.min_by(|a, b| a.1.mean.abs().total_cmp(&b.1.mean.abs()));
    let mut words = match smallest {
        _ if compared.is_empty() => format!("In {name} nothing could be compared."),
        None => {
            let n = compared.len();
            format!("In {name} no drift of {n} conditions shows in more observables than chance brings.")
        }
        Some((condition, drift, first)) => format!(
            "In {name} the smallest drift that shows is {} meV per atom and ps ({}), in {} of {} observables, {} among them.",
            with_error(&drift),
            condition.name,
            condition.n_showing(),
            condition.errors.len(),
            first.name
        ),
    };
    let ended = ensemble.conditions.iter().filter(|c| c.ended.is_some());
    let ended: Vec<&str> = ended.map(|c| c.name.as_str()).collect();
    if !ended.is_empty() {
        words += &format!(" Ended early in {name}: {}.", ended.join("; "));
    }
    words
}

/// Size of a drift with its standard error over replicas.
fn with_error(drift: &Spread) -> String {
    match drift.n {
        1 => format!("{} (one)", short(drift.mean.abs())),
        _ => format!("{} ± {}", short(drift.mean.abs()), short(drift.standard_error())),
    }
}

fn of_ensemble(ensemble: &EnsembleErrors) -> String {
    let rows = ensemble.conditions.iter().map(|c| {
        let drift = c.drift_mev_per_atom_per_ps;
        let showing: Vec<&str> = c.showing().map(|error| error.name.as_str()).collect();
        vec![
            c.name.clone(),
            drift.map_or("–".into(), |d| format!("{d:+.3}")),
            short(c.bias_mev_per_angstrom),
            c.temperature_k.map_or("–".into(), |t| format!("{t:.0}")),
            c.ended.clone().unwrap_or_else(|| format!("{} of {}", showing.len(), c.errors.len())),
        ]
    });
    let head = ["condition", "drift meV/atom/ps", "added error, rms meV/Å", "mean T K", "shows in"];
    let drifts: Vec<Spread> =
        ensemble.conditions.iter().filter_map(|c| c.drift_mev_per_atom_per_ps).collect();
    let number = |value: Option<f64>| {
        let drift = drifts.iter().find(|drift| Some(drift.mean.abs()) == value);
        drift.map_or("none".into(), with_error)
    };
    let thresholds = ensemble
        .thresholds
        .iter()
        .map(|t| vec![t.observable.clone(), number(t.harmless_up_to), number(t.harmful_from)]);
    let heads = ["observable", "largest drift that is hidden", "smallest that shows, meV/atom/ps"];
    let kinds: [(&str, &str, &str); 4] = [
        ("spectrum", "∫|a − b|", "Error of the vibrational density of states"),
        ("dihedral", "∫|a − b|", "Error of the dihedral distributions"),
        ("temperature of", "|a − b| / K", "Error of the temperatures of the elements"),
        ("mode temperature", "|a − b| / K", "Error of the temperatures of normal modes by wavenumber"),
    ];
    let figures = kinds.iter().filter_map(|&(kind, unit, caption)| curve(ensemble, kind, unit, caption));
    let compared = match ensemble.compared {
        Compared::Replicas => {
            "Replicas of the same start are compared one by one; the noise is that of their differences, with Student's t."
        }
        Compared::Blocks => "The noise is of blocks, taken as independent.",
    };
    let name = &ensemble.name;
    format!("<h3>{name}</h3><p class=\"soft\">{compared}</p>")
        + &table(&head, rows)
        + &table(&heads, thresholds)
        + &plots(figures)
}

/// Error over drift of the observables whose names start alike, with the noise as a bar from its mean to two standard
/// deviations above.
fn curve(ensemble: &EnsembleErrors, kind: &str, unit: &str, caption: &str) -> Option<String> {
    let mut names: Vec<&str> = ensemble.thresholds.iter().map(|t| t.observable.as_str()).collect();
    names.retain(|name| name.starts_with(kind));
    let points = |name: &str| -> Vec<(f64, f64, f64, f64)> {
        let mut points: Vec<_> = ensemble
            .conditions
            .iter()
            .filter_map(|c| {
                let error = c.errors.iter().find(|error| error.name == name)?;
                let noise = error.value.noise?;
                let drift = c.drift_mev_per_atom_per_ps?.mean.abs();
                let limit = noise.mean + 2.0 * noise.standard_deviation;
                Some((drift, error.value.value, noise.mean, limit))
            })
            .collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        points
    };
    let curves: Vec<_> = names.iter().map(|name| (name, points(name))).filter(|c| !c.1.is_empty()).collect();
    if curves.is_empty() {
        return None;
    }
    let all = || curves.iter().flat_map(|curve| &curve.1);
    let mut plot = Plot::new(
        Axis::logarithmic("|drift| / meV per atom and ps", all().map(|p| p.0)),
        Axis::from_zero(&format!("error: {unit}"), all().flat_map(|p| [p.1, p.3])),
    );
    for (index, (name, points)) in curves.iter().enumerate() {
        let limits: Vec<_> = points.iter().map(|p| (p.0, p.2, p.3)).collect();
        plot = plot.band(index, &limits).line(index, name, points.iter().map(|p| (p.0, p.1))).points(
            index,
            "",
            points.iter().map(|p| (p.0, p.1, p.1, p.1)),
        );
    }
    Some(plot.figure(&format!(
        "{caption}, {}. Band: what noise alone gives, from its mean to two standard deviations above.",
        ensemble.name
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mdet_analysis::blocks::Difference;
    use mdet_analysis::trajectory::Named;

    fn condition(name: &str, drift: f64, value: Option<f64>, ended: Option<&str>) -> ConditionErrors {
        let noise = Some(Spread { mean: 0.1, standard_deviation: 0.02, n: 200 });
        let named = |value| Named { name: "spectrum".to_string(), value: Difference { value, noise } };
        ConditionErrors {
            name: name.into(),
            bias_mev_per_angstrom: 0.0,
            drift_mev_per_atom_per_ps: Spread::of(&[drift - 0.1, drift + 0.1]),
            temperature_k: None,
            errors: value.map(named).into_iter().collect(),
            ended: ended.map(String::from),
        }
    }

    fn ensemble(conditions: Vec<ConditionErrors>) -> EnsembleErrors {
        let name = "NVE".to_string();
        EnsembleErrors { name, conditions, thresholds: Vec::new(), compared: Compared::Replicas }
    }

    #[test]
    fn nothing_to_compare_is_not_that_nothing_shows() {
        let best = || condition("best", 0.0, None, None);
        let gone = || condition("gone", 70.0, None, Some("runaway"));
        let words = sentence(&ensemble(vec![best(), gone()]));
        assert_eq!(words, "In NVE nothing could be compared. Ended early in NVE: gone.");
        let hidden = condition("hidden", 1.0, Some(0.1), None);
        let words = sentence(&ensemble(vec![best(), hidden.clone()]));
        assert_eq!(words, "In NVE no drift of 1 conditions shows in more observables than chance brings.");
        // Of eighteen, two show by chance in one condition of four, three in one of seventeen.
        let of_eighteen = |n: usize| {
            let one = condition("some", 2.0, Some(0.1), None);
            let mut errors = vec![one.errors[0].clone(); 18];
            errors[..n].iter_mut().for_each(|error| error.value.value = 0.9);
            ConditionErrors { errors, ..one }.shows_beyond_chance()
        };
        assert_eq!([0, 1, 2, 4].map(of_eighteen), [false, false, false, true]);
        let shown = condition("shown", -5.0, Some(0.9), None);
        let words = sentence(&ensemble(vec![best(), hidden, shown, gone()]));
        assert!(words.contains("shows is 5 ± 0.1 meV per atom and ps (shown), in 1 of 1"), "{words}");
    }
}
