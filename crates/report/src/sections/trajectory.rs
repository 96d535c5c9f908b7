//! What the report says of trajectories: spectrum, distributions and series, two of them over each other.

use super::{Section, plots, table};
use crate::plot::{Axis, Plot, short};
use mdet_analysis::blocks::{Curve, Difference};
use mdet_analysis::trajectory::{Named, Series, Trajectories, Trajectory};

/// Excess over the noise, in its standard deviations, that makes a difference real.
const REAL: f64 = 2.0;

pub(super) fn section(found: &Trajectories) -> Section {
    let names: Vec<String> = found.trajectories.iter().map(|t| t.name.clone()).collect();
    let time = |t: &Trajectory| t.n_frames as f64 * t.spacing_fs * 1e-3;
    let lengths = |t: &Trajectory| format!("{} ({} ps)", t.name, short(time(t)));
    let lengths: Vec<String> = found.trajectories.iter().map(lengths).collect();
    let mut verdict = format!("{}: {}.", found.molecule, lengths.join(" and "));
    if !found.differences.is_empty() {
        let real = |d: &&Named<Difference>| d.value.excess().is_some_and(|excess| excess > REAL);
        let real: Vec<&str> = found.differences.iter().filter(real).map(|d| d.name.as_str()).collect();
        let n = found.differences.iter().filter(|d| d.value.excess().is_some()).count();
        let blocks: Vec<String> =
            found.trajectories.iter().map(|t| short(time(t) / t.n_blocks as f64)).collect();
        verdict += &match real[..] {
            [] if n == 0 => " Whether they differ is not known: it takes two blocks of each.".to_string(),
            [] => format!(" The two do not differ beyond their noise in any of {n} quantities."),
            _ => format!(
                " They differ beyond their noise in {} of {n} quantities ({}); one in twenty of many comparisons does by chance, and more where blocks, of {} ps here, are too short to forget each other.",
                real.len(),
                real.join("; "),
                blocks.join(" and ")
            ),
        };
    }
    let curves = |pick: &dyn Fn(&Trajectory) -> Option<Curve>| -> Vec<(String, Curve)> {
        let both = names.iter().zip(&found.trajectories);
        both.filter_map(|(name, t)| Some((name.clone(), pick(t)?))).collect()
    };
    let first = &found.trajectories[0];
    let mut figures = Vec::new();
    if let Some(resolution) = first.resolution_per_cm {
        let caption = format!(
            "Vibrational density of states with its standard error, ∫ = 1; a sharp line is {} cm⁻¹ wide.",
            short(resolution)
        );
        let spectra = curves(&|t| t.spectrum_per_cm.clone());
        figures.push(densities(&spectra, "wavenumber / cm⁻¹", "density / cm", 4200.0, &caption));
    }
    for (index, distances) in first.distances_angstrom.iter().enumerate() {
        let pairs = curves(&|t| t.distances_angstrom.get(index).map(|named| named.value.clone()));
        let caption = format!("Pair distances, {}, ∫ = 1.", distances.name);
        figures.push(densities(&pairs, "distance / Å", "density / 1/Å", f64::INFINITY, &caption));
    }
    for (index, dihedral) in first.dihedrals_degrees.iter().enumerate() {
        let angles = curves(&|t| t.dihedrals_degrees.get(index).map(|named| named.value.clone()));
        let caption = format!("Dihedral {}, ∫ = 1.", dihedral.name);
        figures.push(densities(&angles, "dihedral / °", "density / 1/°", f64::INFINITY, &caption));
    }
    let over_time = plots(first.series.iter().map(|series| over_time(found, series)));
    let body = means(found) + &differences(&found.differences) + &plots(figures) + &over_time;
    Section { title: format!("Trajectory: {}", found.molecule), good: None, verdict, body }
}

fn means(found: &Trajectories) -> String {
    let head: Vec<&str> = std::iter::once("mean ± standard error over blocks")
        .chain(found.trajectories.iter().map(|t| t.name.as_str()))
        .collect();
    let rows = found.trajectories[0].series.iter().map(|series| {
        let value = |t: &Trajectory| {
            let own = t.series.iter().find(|own| own.scalar == series.scalar);
            own.map_or("–".into(), |own| format!("{:.4}", own.blocks))
        };
        let name = format!("{}, {}", series.scalar.name, series.scalar.unit);
        std::iter::once(name).chain(found.trajectories.iter().map(value)).collect()
    });
    table(&head, rows)
}

fn differences(differences: &[Named<Difference>]) -> String {
    if differences.is_empty() {
        return String::new();
    }
    let rows = differences.iter().map(|d| {
        let noise =
            d.value.noise.map_or("–".into(), |n| format!("{:.4} ± {:.4}", n.mean, n.standard_deviation));
        let excess = d.value.excess();
        let word = excess.map_or("–", |excess| if excess > REAL { "real" } else { "noise" });
        let excess = excess.map_or("–".into(), |excess| format!("{excess:+.1}"));
        vec![d.name.clone(), format!("{:.4}", d.value.value), noise, excess, word.into()]
    });
    let head =
        ["difference: ∫|a − b| (0 to 2), or |a − b| of means", "found", "by noise alone", "excess / sd", ""];
    table(&head, rows)
}

/// Curves over each other with their errors, where they are not zero and up to `limit`.
fn densities(curves: &[(String, Curve)], x: &str, y: &str, limit: f64, caption: &str) -> String {
    let points = |curve: &Curve| -> Vec<(f64, f64, f64)> {
        let error = |k: usize| curve.standard_error.get(k).copied().unwrap_or(0.0);
        let points = curve.mean.iter().enumerate();
        points.map(|(k, mean)| (curve.first + k as f64 * curve.width, *mean, error(k))).collect()
    };
    let all: Vec<Vec<(f64, f64, f64)>> = curves.iter().map(|(_, curve)| points(curve)).collect();
    let filled = all.iter().flatten().filter(|p| p.1.abs() > 1e-6 && p.0 <= limit).map(|p| p.0);
    let (low, high) =
        filled.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)));
    let within: Vec<Vec<_>> = all
        .into_iter()
        .map(|c| c.into_iter().filter(|p| (low - 0.2..=high + 0.2).contains(&p.0)).collect())
        .collect();
    let tops = within.iter().flatten().map(|p| p.1 + p.2);
    let mut plot = Plot::new(Axis::over(x, [low, high]), Axis::from_zero(y, tops));
    for (index, ((name, _), points)) in curves.iter().zip(&within).enumerate() {
        let edges: Vec<_> = points.iter().map(|p| (p.0, p.1 - p.2, p.1 + p.2)).collect();
        let label = if curves.len() > 1 { name } else { "" };
        plot = plot.band(index, &edges).line(index, label, points.iter().map(|p| (p.0, p.1)));
    }
    plot.figure(caption)
}

fn over_time(found: &Trajectories, series: &Series) -> String {
    let both: Vec<&Series> = found
        .trajectories
        .iter()
        .filter_map(|t| t.series.iter().find(|s| s.scalar == series.scalar))
        .collect();
    let x = Axis::over("time / ps", both.iter().flat_map(|s| s.time_ps.iter().copied()));
    let label = format!("{} / {}", series.scalar.name, series.scalar.unit);
    let mut plot = Plot::new(x, Axis::over(&label, both.iter().flat_map(|s| s.values.iter().copied())));
    for (index, s) in both.iter().enumerate() {
        let name = if both.len() > 1 { &found.trajectories[index].name } else { "" };
        plot = plot.line(index, name, s.time_ps.iter().copied().zip(s.values.iter().copied()));
    }
    plot.figure(&format!("{}, each point the mean of the frames it stands for.", series.scalar.name))
}
