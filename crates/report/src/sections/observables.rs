//! What the report says of harmless drift: errors of observables over drift, with their thresholds.

use super::{Section, plots, table};
use crate::plot::{Axis, Plot, short};
use mdet_analysis::observables::{EnsembleErrors, ObservableErrors};

pub(super) fn section(found: &ObservableErrors) -> Section {
    let sentence = |ensemble: &EnsembleErrors| {
        let shows = ensemble.thresholds.iter().filter_map(|t| Some((t.harmful_from?, t.observable.as_str())));
        match shows.min_by(|a, b| a.0.total_cmp(&b.0)) {
            None => format!("In {} no drift shows in any observable.", ensemble.name),
            Some((drift, observable)) => format!(
                "In {} the smallest drift that shows is {} meV per atom and ps, in: {observable}.",
                ensemble.name,
                short(drift)
            ),
        }
    };
    let sentences: Vec<String> = found.ensembles.iter().map(sentence).collect();
    let verdict = format!(
        "{}, {} ps for each condition: {} One in twenty of many comparisons shows by chance.",
        found.molecule,
        short(found.planned_ps),
        sentences.join(" ")
    );
    let mut body = format!(
        "<p class=\"soft\">{} atoms, steps of {} fs, {} K, {} replicas, {} blocks for each condition; all from the same positions and velocities. Errors are differences from the first condition: ∫|a − b| of distributions (0 to 2), |a − b| of means; one shows when it exceeds what noise alone would give by two of its standard deviations.</p>",
        found.n_atoms, found.timestep_fs, found.temperature_k, found.n_replicas, found.n_blocks
    );
    for ensemble in &found.ensembles {
        body += &of_ensemble(ensemble);
    }
    Section { title: format!("Which drift is harmless: {}", found.molecule), good: None, verdict, body }
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
    let number = |value: Option<f64>| value.map_or("none".into(), short);
    let thresholds = ensemble
        .thresholds
        .iter()
        .map(|t| vec![t.observable.clone(), number(t.harmless_up_to), number(t.harmful_from)]);
    let heads = ["observable", "largest drift that is hidden", "smallest that shows, meV/atom/ps"];
    let kinds: [(&str, &str, &str); 3] = [
        ("spectrum", "∫|a − b|", "Error of the vibrational density of states"),
        ("dihedral", "∫|a − b|", "Error of the dihedral distributions"),
        ("temperature of", "|a − b| / K", "Error of the temperatures of the elements"),
    ];
    let figures = kinds.iter().filter_map(|&(kind, unit, caption)| curve(ensemble, kind, unit, caption));
    format!("<h3>{}</h3>", ensemble.name) + &table(&head, rows) + &table(&heads, thresholds) + &plots(figures)
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
