//! What the report says of each kind of result: a verdict in plain words, tables, plots.

pub(crate) mod drift;
mod equivariance;
pub(crate) mod map;
mod observables;
mod stability;
mod trajectory;

use crate::plot::{Axis, Plot, escape, short};
use crate::record::Judgement;
use mdet_analysis::accuracy::{Errors, Parity};
use mdet_analysis::loops::LoopKind;
use mdet_analysis::{Accuracy, Estimate, Lambda};

/// Dynamics shorter than this decide nothing: energies fluctuate by 10 % over a tenth of a run, whatever the forces, and bonds
/// have hardly been tried.
pub(crate) const SHORT_PS: f64 = 5.0;

/// A result in the reader's words.
pub(crate) struct Section {
    pub title: String,
    /// Short verdict; `None` where the number alone decides nothing.
    pub good: Option<bool>,
    pub verdict: String,
    pub body: String,
}

pub(crate) fn section(judgement: &Judgement) -> Section {
    match judgement {
        Judgement::Accuracy(found) => accuracy(found),
        Judgement::Equivariance(found) => equivariance::section(found),
        Judgement::Lambda(found) => lambda(found),
        Judgement::Drift(found) => drift::section(found),
        Judgement::Map(found) => map::section(found),
        Judgement::Stability(found) => stability::section(found),
        Judgement::Observables(found) => observables::section(found),
        Judgement::Trajectories(found) => trajectory::section(found),
    }
}

/// Verdict on dynamics of `planned_ps` picoseconds: a failure is one however early, but only a long run says that it holds.
fn held(without_failure: bool, planned_ps: f64) -> Option<bool> {
    (!without_failure || planned_ps >= SHORT_PS).then_some(without_failure)
}

pub(crate) fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let cells = |tag: &str, cells: &[String]| {
        cells.iter().map(|cell| format!("<{tag}>{}</{tag}>", escape(cell))).collect::<String>()
    };
    let head: Vec<String> = head.iter().map(|cell| cell.to_string()).collect();
    let rows: String = rows.into_iter().map(|row| format!("<tr>{}</tr>\n", cells("td", &row))).collect();
    format!("<div class=\"table\"><table><tr>{}</tr>\n{rows}</table></div>\n", cells("th", &head))
}

fn plots(figures: impl IntoIterator<Item = String>) -> String {
    format!("<div class=\"plots\">{}</div>\n", figures.into_iter().collect::<String>())
}

fn interval(estimate: &Estimate, digits: usize) -> String {
    format!("{estimate:.digits$}")
}

fn accuracy(found: &Accuracy) -> Section {
    const KCAL_PER_MOL_IN_MEV: f64 = 43.364_104;
    let all = &found.overall;
    let mae = all.component_mae_mev_per_angstrom;
    let verdict = format!(
        "Force components are off by {mae:.1} meV/Å on average ({:.2} kcal/mol/Å), {} of the force; {} structures of {} molecules, 95 % interval over {}.",
        mae.value / KCAL_PER_MOL_IN_MEV,
        all.relative_percent.map_or("an unknown share".into(), |r| format!("{r:.1} %")),
        all.n_structures,
        found.n_molecules,
        found.intervals_over
    );
    let head = [
        "",
        "structures",
        "atoms",
        "component MAE meV/Å",
        "per atom meV/Å",
        "RMSE meV/Å",
        "relative %",
        "angle °",
    ];
    let row = |e: &Errors| {
        let option = |e: &Option<Estimate>| e.as_ref().map_or("–".into(), |e| interval(e, 2));
        vec![
            e.name.clone(),
            e.n_structures.to_string(),
            e.n_atoms.to_string(),
            interval(&e.component_mae_mev_per_angstrom, 1),
            interval(&e.euclidean_mev_per_angstrom, 1),
            interval(&e.rmse_mev_per_angstrom, 1),
            option(&e.relative_percent),
            option(&e.angle_degrees),
        ]
    };
    let mut body = table(&head, [row(all)]);
    let histogram = &found.error_histogram_mev_per_angstrom;
    let bars = histogram.counts.iter().zip(histogram.edges.windows(2));
    let bars: Vec<_> = bars.map(|(&count, edge)| (edge[0], edge[1], count as f64)).collect();
    let filled: Vec<f64> = bars.iter().filter(|bar| bar.2 > 0.0).flat_map(|bar| [bar.0, bar.1]).collect();
    let errors = Plot::new(
        Axis::logarithmic("error of an atom's force / meV/Å", filled),
        Axis::from_zero("atoms", bars.iter().map(|bar| bar.2)),
    );
    let shown = bars.into_iter().filter(|bar| bar.2 > 0.0);
    body += &plots([
        parity(&found.parity),
        errors.bars(0, shown).figure("Lengths of the force errors of all atoms."),
    ]);
    for grouping in &found.groupings {
        body += &format!("<h3>By {}</h3>", grouping.by);
        body += &table(&head, grouping.groups.iter().take(15).map(row));
        if grouping.groups.len() > 15 {
            let (n, by) = (grouping.groups.len(), &grouping.by);
            body += &format!("<p class=\"soft\">The 15 worst of {n}; the result file has every {by}.</p>");
        }
    }
    Section { title: "Accuracy of forces".into(), good: None, verdict, body }
}

fn parity(parity: &Parity) -> String {
    let limit = parity.limit_ev_per_angstrom;
    let width = 2.0 * limit / parity.n_bins as f64;
    let axis = |label: &str| Axis::over(label, [-limit, limit]);
    let most = parity.counts.iter().copied().max().unwrap_or(1).max(1);
    let scale = f64::from(most).ln_1p();
    let mut plot = Plot::new(axis("reference force component / eV/Å"), axis("predicted / eV/Å"));
    for (index, &count) in parity.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let edges = |k: usize| [-limit + width * k as f64, -limit + width * (k + 1) as f64];
        let (row, column) = (index / parity.n_bins, index % parity.n_bins);
        plot = plot.cell(edges(column), edges(row), f64::from(count).ln_1p() / scale);
    }
    plot.line(1, "", [(-limit, -limit), (limit, limit)])
        .figure("Predicted against reference components; darker is more, on a logarithmic scale. The line is equality.")
}

fn lambda(found: &Lambda) -> Section {
    let mean = found.mean;
    let turns = || found.loops.iter().filter(|work| work.kind == LoopKind::Turn);
    let turn = turns().map(|work| work.work_mev.abs()).sum::<f64>() / turns().count().max(1) as f64;
    let mut verdict = format!(
        "{:.1} % of the force Jacobian is antisymmetric (λ = {mean:.4}; 0 with a potential), over {} structures.",
        100.0 * mean.value,
        found.structures.len()
    );
    if turns().count() > 0 {
        verdict +=
            &format!(" A full turn of the molecule does {turn:.1} meV of work, where it should do none.");
    }
    let (low, high) = found
        .structures
        .iter()
        .fold((f64::INFINITY, 0.0_f64), |(low, high), s| (low.min(s.lambda), high.max(s.lambda)));
    let high = if high > low { high } else { low + 1e-6 };
    let histogram =
        mdet_analysis::Histogram::linear(found.structures.iter().map(|s| s.lambda), low.min(high), high, 24);
    let bars: Vec<_> = histogram
        .counts
        .iter()
        .zip(histogram.edges.windows(2))
        .map(|(&c, e)| (e[0], e[1], c as f64))
        .collect();
    let counts =
        Plot::new(Axis::over("λ", [low, high]), Axis::from_zero("structures", bars.iter().map(|b| b.2)));
    let sizes = Plot::new(
        Axis::over("atoms", found.structures.iter().map(|s| s.n_atoms as f64)),
        Axis::from_zero("λ", found.structures.iter().map(|s| s.lambda)),
    );
    let points = |inside: bool| {
        let chosen = found.structures.iter().filter(move |s| (s.inside_domain != Some(false)) == inside);
        chosen.map(|s| (s.n_atoms as f64, s.lambda, s.lambda, s.lambda))
    };
    let correlation = found.rank_correlation_with_size.map_or("unknown".into(), |r| format!("{r:+.2}"));
    let sizes =
        sizes.points(0, "like the training data", points(true)).points(1, "outside of it", points(false));
    let is_trajectory = found.structures.len() > 2
        && found
            .structures
            .windows(2)
            .all(|pair| pair[0].name == pair[1].name && pair[0].n_atoms == pair[1].n_atoms);
    let second = if is_trajectory {
        let along = found.structures.iter().enumerate().map(|(k, s)| (k as f64, s.lambda));
        let frames = Axis::over("frame", [0.0, found.structures.len() as f64]);
        let lambdas = Axis::from_zero("λ", found.structures.iter().map(|s| s.lambda));
        Plot::new(frames, lambdas).line(0, "", along).figure("λ along the trajectory.")
    } else {
        sizes.figure(&format!("λ by size; rank correlation {correlation}."))
    };
    let mut body = plots([counts.bars(0, bars).figure("λ over structures."), second]);
    if !found.by_class.is_empty() {
        let rows = found.by_class.iter().map(|c| {
            vec![
                if c.class.is_empty() { "unnamed".into() } else { c.class.clone() },
                c.n_structures.to_string(),
                interval(&c.lambda, 4),
            ]
        });
        body += &table(&["class", "structures", "λ"], rows);
    }
    if !found.loops.is_empty() {
        body += "<h3>Work around closed loops</h3>";
        let loops = found.loops.iter().filter(|work| work.kind != LoopKind::Bond).take(24);
        let kind = |kind| match kind {
            LoopKind::Turn => "turn about",
            LoopKind::Torsion => "torsion",
            LoopKind::Bond => "circle of",
        };
        let rows = loops.map(|w| {
            let relative = 100.0 * w.work_mev / w.absolute_work_mev.max(f64::MIN_POSITIVE);
            vec![
                w.structure.clone(),
                format!("{} {}", kind(w.kind), w.path),
                format!("{:+.1}", w.work_mev),
                format!("{relative:+.1}"),
                short(w.quadrature_error_mev),
            ]
        });
        body += &table(&["structure", "loop", "work meV", "of |work| %", "quadrature error meV"], rows);
    }
    Section {
        title: "Energy conservation: the force Jacobian".into(),
        good: Some(mean.value < 1e-3),
        verdict,
        body,
    }
}
