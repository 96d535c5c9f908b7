//! What the report says of each kind of result: a verdict in plain words, tables, plots.

pub(crate) mod drift;
mod equivariance;
mod lambda;
pub(crate) mod map;
mod observables;
pub(crate) mod stability;
mod trajectory;

use crate::plot::{Axis, Plot, escape};
use crate::record::{Judgement, Record};
use mdet_analysis::accuracy::{Errors, Parity};
use mdet_analysis::{Accuracy, Estimate, Spread, Stability};

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

/// What is said of a judgement, beside the others of its page.
pub(crate) fn section(record: &Record, records: &[(String, Record)]) -> Section {
    match &record.judgement {
        Judgement::Accuracy(found) => accuracy(found),
        Judgement::Equivariance(found) => equivariance::section(found),
        Judgement::Lambda(found) => lambda::section(found),
        Judgement::Drift(found) => {
            drift::section(found, stability_of(&record.provenance.model_sha256, records))
        }
        Judgement::Map(found) => map::section(found),
        Judgement::Stability(found) => stability::section(found),
        Judgement::Observables(found) => observables::section(found),
        Judgement::Trajectories(found) => trajectory::section(found),
    }
}

/// The stability of a model among the results, for what NVT is known of.
fn stability_of<'a>(model_sha256: &str, records: &'a [(String, Record)]) -> Option<&'a Stability> {
    records.iter().find_map(|(_, record)| match &record.judgement {
        Judgement::Stability(found) if record.provenance.model_sha256 == model_sha256 => Some(found),
        _ => None,
    })
}

/// Verdict on dynamics of at least `run_ps` picoseconds: a failure is one however early, but only a long run says that it
/// holds.
fn held(without_failure: bool, run_ps: f64) -> Option<bool> {
    (!without_failure || run_ps >= SHORT_PS).then_some(without_failure)
}

/// "1.20 ± 0.30", mean and standard deviation of one replica; "1.20 (one)" of a single one.
pub(crate) fn over_replicas(spread: &Spread, digits: usize) -> String {
    match spread.n {
        1 => format!("{:.digits$} (one)", spread.mean),
        _ => format!("{:.digits$} ± {:.digits$}", spread.mean, spread.standard_deviation),
    }
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
    let mut verdict = format!(
        "Force components are off by {mae:.1} meV/Å on average ({:.2} kcal/mol/Å), {} of the force; {} structures of {} molecules, 95 % interval over {}.",
        mae.value / KCAL_PER_MOL_IN_MEV,
        all.relative_percent.map_or("an unknown share".into(), |r| format!("{r:.1} %")),
        all.n_structures,
        found.n_molecules,
        found.intervals_over
    );
    if let Some(n) = found.n_outside_domain.filter(|&n| n > 0) {
        verdict += &format!(" {n} of the structures are outside of what the model was trained on.");
    }
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
        // Molecules come by their error, and may be thousands.
        let n_shown = if grouping.by == "molecule" { 15 } else { usize::MAX };
        body += &table(&head, grouping.groups.iter().take(n_shown).map(row));
        if grouping.groups.len() > n_shown {
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
