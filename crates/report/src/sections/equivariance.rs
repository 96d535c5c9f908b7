//! Rotational symmetry: how far forces turn with the molecule.

use super::{Section, plots, table};
use crate::plot::{Axis, Plot, short};
use mdet_analysis::equivariance::{MIN_BASES, SinglePrecision, StructureEquivariance};
use mdet_analysis::sphere::SphereMap;
use mdet_analysis::{Equivariance, Estimate, Spread};

pub(super) fn section(found: &Equivariance) -> Section {
    let (outside, inside): (Vec<_>, Vec<_>) =
        found.structures.iter().partition(|s| s.inside_domain == Some(false));
    // A molecule that the model does not know says nothing of those that it does.
    let (judged, unknown) = if inside.is_empty() { (&outside, &inside) } else { (&inside, &outside) };
    let error = mean(judged, |s| s.error_mev_per_angstrom.mean);
    let share = 100.0 * error / mean(judged, |s| s.force_mev_per_angstrom);
    let single: Vec<_> = judged.iter().filter_map(|s| s.single.as_ref()).collect();
    let rounding = mean(&single, |s| s.rounding_mev_per_angstrom.mean);
    let good = share < 0.1;
    let verdict = format!(
        "Turning a molecule changes its forces by {error:.2} meV/Å on average ({share:.1} % of the force). Rounding to f32 changes them by {rounding:.4} meV/Å: {}.{}",
        if rounding < 0.1 * error {
            "the error is the model's, not the arithmetic's"
        } else {
            "the arithmetic matters here"
        },
        match unknown.len() {
            0 => String::new(),
            n => {
                let error = mean(unknown, |s| s.error_mev_per_angstrom.mean);
                format!(" {n} outside of the training domain, not counted in this: {error:.0} meV/Å.")
            }
        }
    );
    let rows = found.structures.iter().take(40).map(|s| {
        let single = |value: fn(&SinglePrecision) -> String| s.single.as_ref().map_or("–".into(), value);
        let angle = |angle: Option<f64>| angle.map_or("–".into(), |angle| format!("{angle:.3}"));
        let inside = s.inside_domain.map_or("?", |inside| if inside { "inside" } else { "outside" });
        vec![
            s.name.clone(),
            s.n_atoms.to_string(),
            inside.into(),
            format!("{:.0}", s.force_mev_per_angstrom),
            format!("{:.3}", s.error_mev_per_angstrom),
            single(|single| format!("{:.3}", single.error_mev_per_angstrom.mean)),
            single(|single| short(single.rounding_mev_per_angstrom.mean)),
            format!("{:.2}", s.magnitude_mev_per_angstrom),
            single(|single| format!("{:.2}", single.magnitude_mev_per_angstrom)),
            angle(s.angle_degrees),
            angle(s.single.and_then(|single| single.angle_degrees)),
        ]
    });
    let head = [
        "structure",
        "atoms",
        "training domain",
        "mean |F| meV/Å",
        "error f64 meV/Å",
        "f32",
        "rounding f32 meV/Å",
        "sd of |F| f64 meV/Å",
        "f32",
        "angle f64 °",
        "f32",
    ];
    let mut body = table(&head, rows);
    if found.structures.len() > 40 {
        let n = found.structures.len();
        body += &format!("<p class=\"soft\">The first 40 of {n}; the result file has all.</p>");
    }
    if found.groups.len() > 1 {
        body += "<h3>Over many structures (quartiles)</h3>";
        body += &groups(found);
    }
    let averages: Vec<(f64, Vec<f64>)> = found.structures.first().map_or(Vec::new(), |first| {
        let column = |index: usize| {
            found.structures.iter().map(|s| s.averaged[index].error_mev_per_angstrom.mean).collect()
        };
        first.averaged.iter().enumerate().map(|(index, a)| (a.n_rotations as f64, column(index))).collect()
    });
    let y = Axis::logarithmic(
        "equivariance error / meV/Å",
        averages.iter().flat_map(|a| a.1.clone()).filter(|e| *e > 1e-9),
    );
    let mut averaging = Plot::new(Axis::logarithmic("rotations averaged over", [1.0, 60.0]), y);
    for (k, s) in found.structures.iter().take(5).enumerate() {
        averaging = averaging.line(k, &s.name, averages.iter().map(|(m, errors)| (*m, errors[k])));
    }
    let shares: Vec<f64> =
        (0..mdet_analysis::equivariance::MAX_L).map(|l| 100.0 * mean(judged, |s| s.share_per_l[l])).collect();
    body += &plots([
        averaging.figure("Error of frame averages (the 4 and 12 are the tetrahedron's groups, the 60 the 600-cell's; up to five structures)."),
        per_l(&shares, found.n_bases),
        sphere(&found.bias_map_mev_per_angstrom),
        bias_per_l(&found.bias_percent_per_l),
        by_size(found),
    ]);
    Section { title: "Rotational symmetry".into(), good: Some(good), verdict, body }
}

/// 0 of nothing.
fn mean<T>(of: &[&T], pick: impl Fn(&T) -> f64) -> f64 {
    of.iter().map(|item| pick(item)).sum::<f64>() / of.len().max(1) as f64
}

/// Shares per angular momentum: sums over pairs of bases, which are noise where there are few.
fn per_l(shares: &[f64], n_bases: usize) -> String {
    if n_bases < MIN_BASES {
        return String::new();
    }
    let rest = 100.0 - shares.iter().sum::<f64>();
    let plot = Plot::new(
        Axis::over("angular momentum l", [0.6, 8.4]),
        Axis::from_zero("share of squared error / %", shares.iter().copied()),
    );
    let bars = shares.iter().enumerate().map(|(l, share)| (l as f64 + 0.6, l as f64 + 1.4, share.max(0.0)));
    plot.bars(0, bars).figure(&format!(
        "Share of the squared error per angular momentum (estimates from {n_bases} base rotations); {rest:.1} % is above l = 8 or noise."
    ))
}

/// What all molecules have in common of the error along the force.
fn bias_per_l(shares: &[Estimate]) -> String {
    let ends = |share: &Estimate| share.interval.unwrap_or([share.value; 2]);
    if shares.is_empty() {
        return String::new();
    }
    let points = shares.iter().zip(1..).map(|(share, l)| {
        let [low, high] = ends(share);
        (f64::from(l), share.value, low, high)
    });
    let all: f64 = shares.iter().map(|share| share.value).sum();
    Plot::new(
        Axis::over("angular momentum l", [0.6, 8.4]),
        Axis::over("share of squared error along the force / %", shares.iter().flat_map(ends).chain([0.0])),
    )
    .points(0, "", points)
    .figure(&format!(
        "Of the squared error along the force, what is the same function of the force's direction for all molecules: {all:.1} % in all; bars are 95 % intervals over molecules, which were judged at the same rotations."
    ))
}

fn groups(found: &Equivariance) -> String {
    let quartiles =
        |[low, median, high]: [f64; 3]| format!("{} ({} – {})", short(median), short(low), short(high));
    let rows = found.groups.iter().map(|g| {
        let or_none = |of: Option<[f64; 3]>| of.map_or("–".into(), quartiles);
        vec![
            g.name.clone(),
            g.n_structures.to_string(),
            quartiles(g.error_quartiles_mev_per_angstrom),
            or_none(g.single_quartiles_mev_per_angstrom),
            or_none(g.rounding_quartiles_mev_per_angstrom),
            or_none(g.angle_quartiles_degrees),
        ]
    });
    table(
        &["", "structures", "error f64 meV/Å", "error f32 meV/Å", "rounding f32 meV/Å", "angle f64 °"],
        rows,
    )
}

/// Errors of every structure by its size, f32's rounding beside f64's error.
fn by_size(found: &Equivariance) -> String {
    if found.structures.len() < 3 {
        return String::new();
    }
    let rounding = |s: &StructureEquivariance| Some(s.single?.rounding_mev_per_angstrom);
    let spreads = || found.structures.iter().flat_map(|s| [Some(s.error_mev_per_angstrom), rounding(s)]);
    let x = Axis::over("atoms", found.structures.iter().map(|s| s.n_atoms as f64));
    let y = Axis::logarithmic("meV/Å", spreads().flatten().map(|s| s.mean).filter(|e| *e > 1e-9));
    let point = |s: &StructureEquivariance, e: Spread| (s.n_atoms as f64, e.mean, e.mean, e.mean);
    let inside = |inside: bool| {
        let chosen = found.structures.iter().filter(move |s| (s.inside_domain != Some(false)) == inside);
        chosen.map(move |s| point(s, s.error_mev_per_angstrom))
    };
    Plot::new(x, y)
        .points(0, "error f64", inside(true))
        .points(1, "error f64, outside of the domain", inside(false))
        .points(2, "rounding f32", found.structures.iter().filter_map(|s| Some(point(s, rounding(s)?))))
        .figure("Equivariance and rounding errors by size, one point a structure.")
}

fn sphere(map: &SphereMap) -> String {
    if map.cells.iter().all(Option::is_none) {
        return String::new();
    }
    let largest = map.cells.iter().flatten().map(|cell| cell.mean.abs()).fold(0.0, f64::max);
    let mut plot = Plot::new(
        Axis::over("azimuth of the force / °", [-180.0, 180.0]),
        Axis::over("z of its direction", [-1.0, 1.0]),
    );
    for (index, cell) in map.cells.iter().enumerate() {
        let Some(cell) = cell else { continue };
        let (row, column) = ((index / map.n_azimuths) as f64, (index % map.n_azimuths) as f64);
        let edges = |k: f64, n: usize, low: f64, high: f64| {
            [low + (high - low) * k / n as f64, low + (high - low) * (k + 1.0) / n as f64]
        };
        let (x, y) = (edges(column, map.n_azimuths, -180.0, 180.0), edges(row, map.n_heights, -1.0, 1.0));
        plot = plot.cell(x, y, if largest > 0.0 { cell.mean / largest } else { 0.0 });
    }
    plot.figure(&format!(
        "Bias along the force by its direction in the laboratory (equal areas): blue is too strong, orange too weak, full colour {largest:.1} meV/Å."
    ))
}
