//! What the report says of each kind of result: a verdict in plain words, tables, plots.

use crate::plot::{Axis, Plot, escape, short};
use crate::record::Judgement;
use mdet_analysis::accuracy::{Errors, Parity};
use mdet_analysis::loops::LoopKind;
use mdet_analysis::sphere::SphereMap;
use mdet_analysis::{Accuracy, Drift, Equivariance, Estimate, Lambda, Spread, Stability};

/// A result in the reader's words.
pub(crate) struct Section {
    pub title: String,
    /// Short verdict; `None` where the number alone decides nothing.
    pub good: Option<bool>,
    pub verdict: String,
    pub body: String,
}

/// Heating that a run of 1 ns turns into 10 % of the thermal energy at 300 K (3 k_B T = 78 meV per atom), meV/atom/ps.
const HARMLESS_HEATING: f64 = 0.0078;

pub(crate) fn section(judgement: &Judgement) -> Section {
    match judgement {
        Judgement::Accuracy(found) => accuracy(found),
        Judgement::Equivariance(found) => equivariance(found),
        Judgement::Lambda(found) => lambda(found),
        Judgement::Drift(found) => drift(found),
        Judgement::Stability(found) => stability(found),
    }
}

fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
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

fn mean_and_error(spread: &Spread, digits: usize) -> String {
    if spread.n < 2 {
        return format!("{:.digits$} (one)", spread.mean);
    }
    format!("{:.digits$} ± {:.digits$}", spread.mean, spread.standard_error())
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

fn equivariance(found: &Equivariance) -> Section {
    let n = found.structures.len() as f64;
    let mean = |pick: &dyn Fn(usize) -> f64| (0..found.structures.len()).map(pick).sum::<f64>() / n;
    let error = mean(&|k| found.structures[k].error_mev_per_angstrom.mean);
    let share = 100.0 * error / mean(&|k| found.structures[k].force_mev_per_angstrom);
    let single = || found.structures.iter().filter_map(|s| s.single.as_ref());
    let rounding =
        single().map(|s| s.rounding_mev_per_angstrom.mean).sum::<f64>() / single().count().max(1) as f64;
    let good = share < 0.1;
    let verdict = format!(
        "Turning a molecule changes its forces by {error:.2} meV/Å on average ({share:.1} % of the force). Rounding to f32 changes them by {rounding:.4} meV/Å: {}.",
        if rounding < 0.1 * error {
            "the error is the model's, not the arithmetic's"
        } else {
            "the arithmetic matters here"
        }
    );
    let rows = found.structures.iter().take(40).map(|s| {
        let rounding = s.single.map_or("–".into(), |single| short(single.rounding_mev_per_angstrom.mean));
        let inside = s.inside_domain.map_or("?", |inside| if inside { "inside" } else { "outside" });
        vec![
            s.name.clone(),
            s.n_atoms.to_string(),
            inside.into(),
            format!("{:.0}", s.force_mev_per_angstrom),
            mean_and_error(&s.error_mev_per_angstrom, 3),
            rounding,
            format!("{:.2}", s.magnitude_mev_per_angstrom),
            s.angle_degrees.map_or("–".into(), |angle| format!("{angle:.3}")),
        ]
    });
    let head = [
        "structure",
        "atoms",
        "training domain",
        "mean |F| meV/Å",
        "error f64 meV/Å",
        "rounding f32 meV/Å",
        "sd of |F| meV/Å",
        "angle °",
    ];
    let mut body = table(&head, rows);
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
    let shares: Vec<f64> = (0..mdet_analysis::equivariance::MAX_L)
        .map(|l| 100.0 * mean(&|k| found.structures[k].share_per_l[l]))
        .collect();
    let rest = 100.0 - shares.iter().sum::<f64>();
    let per_l = Plot::new(
        Axis::over("angular momentum l", [0.6, 8.4]),
        Axis::from_zero("share of squared error / %", shares.iter().copied()),
    );
    let bars = shares.iter().enumerate().map(|(l, share)| (l as f64 + 0.6, l as f64 + 1.4, share.max(0.0)));
    body += &plots([
        averaging.figure("Error of frame averages (the 4 and 12 are the tetrahedron's groups, the 60 the 600-cell's; up to five structures)."),
        per_l.bars(0, bars).figure(&format!("Share of the squared error per angular momentum; {rest:.1} % is above l = 8 or noise.")),
        sphere(&found.bias_map_mev_per_angstrom),
    ]);
    Section { title: "Rotational symmetry".into(), good: Some(good), verdict, body }
}

fn sphere(map: &SphereMap) -> String {
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
    let mut body = plots([
        counts.bars(0, bars).figure("λ over structures."),
        sizes.figure(&format!("λ by size; rank correlation {correlation}.")),
    ]);
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

fn drift(found: &Drift) -> Section {
    let best = found.conditions.iter().filter_map(|c| Some((c, c.heating_mev_per_atom_per_ps?)));
    let best = best.min_by(|a, b| a.1.mean.abs().total_cmp(&b.1.mean.abs()));
    let (good, verdict) = match best {
        None => (None, "The runs are too short for a drift.".to_string()),
        Some((condition, heating)) => {
            let rate = heating.mean.abs().max(heating.standard_deviation.min(heating.standard_error()));
            let thermal_mev = 3.0 * 0.086_173_33 * found.starting_temperature_k;
            let lasting = 0.1 * thermal_mev / rate.max(1e-9);
            let words = format!(
                "{}: NVE heats by {} meV per atom and ps at best ({}), 10 % of the thermal energy within about {} ps.",
                found.molecule,
                mean_and_error(&heating, 3),
                condition.name,
                short(lasting)
            );
            (Some(rate < HARMLESS_HEATING), words)
        }
    };
    let times = found.conditions.iter().flat_map(|c| c.curve_time_ps.clone());
    let temperatures = found.conditions.iter().flat_map(|c| c.curve_temperature_k.clone());
    let mut plot = Plot::new(Axis::over("time / ps", times), Axis::over("temperature / K", temperatures));
    for (k, c) in found.conditions.iter().enumerate() {
        plot =
            plot.line(k, &c.name, c.curve_time_ps.iter().copied().zip(c.curve_temperature_k.iter().copied()));
    }
    let rows = found.conditions.iter().map(|c| {
        let over =
            |s: &Option<Spread>, digits| s.as_ref().map_or("–".into(), |s| mean_and_error(s, digits));
        let n = c.replicas.len();
        let first = |pick: fn(&mdet_analysis::drift::ReplicaDrift) -> Option<f64>| {
            let hits: Vec<f64> = c.replicas.iter().filter_map(pick).collect();
            let mean = hits.iter().sum::<f64>() / hits.len() as f64;
            if hits.is_empty() {
                format!("0 of {n}")
            } else {
                format!("{} of {n}, at {mean:.1} ps", hits.len())
            }
        };
        vec![
            c.name.clone(),
            over(&c.heating_mev_per_atom_per_ps, 3),
            over(&c.balance_mev_per_atom_per_ps, 4),
            over(&c.temperature_k, 0),
            first(|r| r.ten_percent_ps),
            first(|r| r.runaway_ps),
            format!("{:.0}", c.steps_per_second),
        ]
    });
    let head = [
        "condition",
        "heating meV/atom/ps",
        "work balance meV/atom/ps",
        "mean T K",
        "10 % changed",
        "runaway",
        "steps/s",
    ];
    let body = format!(
        "<p class=\"soft\">{} atoms, {} ps of NVE in steps of {} fs from {} K; all conditions from the same positions and velocities, {} replicas; ± standard error over replicas. The paper (arXiv 2503.01431): of 500 ps of n-octane, only f64 with a random rotation offset stays.</p>",
        found.n_atoms,
        short(found.planned_ps),
        found.timestep_fs,
        found.starting_temperature_k,
        found.conditions.first().map_or(0, |c| c.replicas.len())
    ) + &table(&head, rows)
        + &plots([plot.figure("Temperature, mean over replicas.")]);
    Section { title: format!("Energy drift: {}", found.molecule), good, verdict, body }
}

fn stability(found: &Stability) -> Section {
    let n = found.replicas.len();
    let verdict = format!(
        "{} at {} K: {} of {n} runs of {} ps kept all bonds; h(r) differs from the reference by {:.3} ± {:.3} (of at most 2; ± sd over replicas).",
        found.molecule,
        found.temperature_k,
        n - found.n_unstable,
        short(found.planned_ps),
        found.distance_error.mean,
        found.distance_error.standard_deviation
    );
    let row = |name: &str, value: String| vec![name.to_string(), value];
    let (stable, error) = (found.stable_ps, found.distance_error);
    let mut body = table(
        &["", ""],
        [
            row(
                "stable, ps (mean ± sd over replicas)",
                format!("{:.1} ± {:.1}", stable.mean, stable.standard_deviation),
            ),
            row("∫|h − h_ref| dr", format!("{:.3} ± {:.3}", error.mean, error.standard_deviation)),
            row("frames per second, all replicas", format!("{:.0}", found.frames_per_second)),
            row("thermostat", format!("{}, {} fs steps", found.thermostat, found.timestep_fs)),
            row("reference frames", found.n_reference.to_string()),
        ],
    );
    let curve = |h: &[f64]| {
        h.iter().enumerate().map(|(k, &h)| ((k as f64 + 0.5) * found.bin_angstrom, h)).collect::<Vec<_>>()
    };
    let (own, reference) = (curve(&found.distances_per_angstrom), curve(&found.reference_per_angstrom));
    let both = own.iter().chain(&reference).filter(|point| point.1 > 0.0);
    let x = Axis::from_zero("pair distance / Å", both.clone().map(|point| point.0));
    let last = both.clone().map(|point| point.0).fold(0.0, f64::max);
    let within = |curve: Vec<(f64, f64)>| curve.into_iter().filter(move |point| point.0 <= last + 0.1);
    let plot = Plot::new(x, Axis::from_zero("h(r) / 1/Å", both.map(|point| point.1)));
    let plot = plot.line(0, "model", within(own)).line(1, "reference", within(reference));
    body += &plots([plot.figure("Distribution of pair distances, ∫h dr = 1.")]);
    Section {
        title: format!("Stability: {}", found.molecule),
        good: Some(found.n_unstable == 0),
        verdict,
        body,
    }
}
