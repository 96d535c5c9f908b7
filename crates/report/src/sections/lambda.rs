//! Whether forces have a potential: λ over structures, and the work around closed loops.

use super::{Section, interval, plots, table};
use crate::plot::{Axis, Plot, short};
use mdet_analysis::lambda::StructureLambda;
use mdet_analysis::loops::LoopKind;
use mdet_analysis::statistics::rank_correlation_interval;
use mdet_analysis::{Histogram, Lambda, LoopWork, Spread};
use std::collections::BTreeSet;

/// λ below which forces have a potential, for all that dynamics shows.
const POTENTIAL: f64 = 1e-3;

/// Loops of the list; the table by kind has all.
const N_LISTED: usize = 24;

pub(super) fn section(found: &Lambda) -> Section {
    let mean = found.mean;
    let mut verdict = format!(
        "{:.1} % of the force Jacobian is antisymmetric (λ = {mean:.4}; 0 with a potential), over {} structures.",
        100.0 * mean.value,
        found.structures.len()
    );
    let outside = |s: &&StructureLambda| s.inside_domain == Some(false);
    let outside: Vec<f64> = found.structures.iter().filter(outside).map(|s| s.lambda).collect();
    if let Some(of_these) = Spread::of(&outside) {
        verdict +=
            &format!(" {} of them are outside of the training domain ({:.4}).", of_these.n, of_these.mean);
    }
    let turn = |w: &LoopWork| (w.kind == LoopKind::Turn).then_some(w.work_mev.abs());
    if let Some(turn) = over_molecules(&found.loops, turn) {
        verdict +=
            &format!(" A full turn of the molecule does {turn:.1} meV of work, where it should do none.");
    }
    let mut body = plots([histogram(found), over_structures(found)]);
    if !found.by_class.is_empty() {
        let rows = found.by_class.iter().map(|c| {
            let class = if c.class.is_empty() { "unnamed".into() } else { c.class.clone() };
            vec![class, c.n_structures.to_string(), interval(&c.lambda, 4)]
        });
        body += &table(&["class", "structures", "λ"], rows);
    }
    body += &loops(&found.loops);
    let title = "Energy conservation: the force Jacobian".into();
    let [low, high] = mean.interval.unwrap_or([mean.value; 2]);
    let good = (high < POTENTIAL || low > POTENTIAL).then_some(high < POTENTIAL);
    Section { title, good, verdict, body }
}

fn histogram(found: &Lambda) -> String {
    let lambdas = || found.structures.iter().map(|s| s.lambda);
    let (low, high) = lambdas().fold((f64::INFINITY, 0.0_f64), |(low, high), l| (low.min(l), high.max(l)));
    let high = if high > low { high } else { low + 1e-6 };
    let histogram = Histogram::linear(lambdas(), low, high, 24);
    let bars = histogram.counts.iter().zip(histogram.edges.windows(2));
    let bars: Vec<_> = bars.map(|(&count, edge)| (edge[0], edge[1], count as f64)).collect();
    let y = Axis::from_zero("structures", bars.iter().map(|bar| bar.2));
    Plot::new(Axis::over("λ", [low, high]), y).bars(0, bars).figure("λ over structures.")
}

/// λ by size; of structures that are all of one molecule, in their order. Whether they are frames of one trajectory the
/// result does not say.
fn over_structures(found: &Lambda) -> String {
    let structures = &found.structures;
    let y = Axis::from_zero("λ", structures.iter().map(|s| s.lambda));
    let alike = |pair: &[StructureLambda]| pair[0].name == pair[1].name && pair[0].n_atoms == pair[1].n_atoms;
    if structures.len() > 2 && structures.windows(2).all(alike) {
        let points = structures.iter().zip(1..).map(|(s, k)| (f64::from(k), s.lambda, s.lambda, s.lambda));
        let x = Axis::over("structure, in the order of the file", [1.0, structures.len() as f64]);
        return Plot::new(x, y).points(0, "", points).figure("λ of every structure, all of one molecule.");
    }
    let points = |inside: bool| {
        let chosen = structures.iter().filter(move |s| (s.inside_domain != Some(false)) == inside);
        chosen.map(|s| (s.n_atoms as f64, s.lambda, s.lambda, s.lambda))
    };
    let molecules: BTreeSet<&str> = structures.iter().map(|s| s.name.as_str()).collect();
    let correlation = found.rank_correlation_with_size.map_or("unknown".into(), |r| {
        let interval = rank_correlation_interval(r, molecules.len());
        interval.map_or(format!("{r:+.2}"), |[low, high]| {
            format!(
                "{r:+.2} [{low:+.2}, {high:+.2}], 95 % by Fisher's z over molecules, taken as independent"
            )
        })
    });
    Plot::new(Axis::over("atoms", structures.iter().map(|s| s.n_atoms as f64)), y)
        .points(0, "like the training data", points(true))
        .points(1, "outside of it", points(false))
        .figure(&format!("λ by size; rank correlation {correlation}."))
}

fn loops(works: &[LoopWork]) -> String {
    if works.is_empty() {
        return String::new();
    }
    let head = ["structure", "loop", "work meV", "of |work| %", "quadrature error meV"];
    let listed: Vec<&LoopWork> = works.iter().filter(|work| work.kind != LoopKind::Bond).collect();
    let rows = listed.iter().take(N_LISTED).map(|w| {
        let kind = if w.kind == LoopKind::Turn { "turn about" } else { "torsion" };
        vec![
            w.structure.clone(),
            format!("{kind} {}", w.path),
            format!("{:+.1}", w.work_mev),
            format!("{:+.1}", relative_percent(w)),
            short(w.quadrature_error_mev),
        ]
    });
    let cut = match listed.len() {
        n if n > N_LISTED => format!(
            "<p class=\"soft\">The first {N_LISTED} of {n} turns and torsions; the result file has all, and the bonds' circles.</p>"
        ),
        _ => "<p class=\"soft\">Turns and torsions; the result file has the bonds' circles too.</p>".into(),
    };
    format!("<h3>Work around closed loops</h3>{}{}{cut}", by_kind(works), table(&head, rows))
}

/// Mean |work| of every kind of loop, over molecules.
fn by_kind(works: &[LoopWork]) -> String {
    let kinds = [(LoopKind::Bond, "bond"), (LoopKind::Torsion, "torsion"), (LoopKind::Turn, "turn")];
    let rows = kinds.into_iter().filter_map(|(kind, name)| {
        let of_kind = |pick: fn(&LoopWork) -> f64| {
            over_molecules(works, |w: &LoopWork| (w.kind == kind).then(|| pick(w)))
        };
        let work = of_kind(|w| w.work_mev.abs())?;
        let relative = of_kind(|w| relative_percent(w).abs())?;
        let n_loops = works.iter().filter(|w| w.kind == kind).count();
        let error = of_kind(|w| w.quadrature_error_mev)?;
        Some(vec![
            name.to_string(),
            n_loops.to_string(),
            work.n.to_string(),
            format!("{work:.2}"),
            format!("{relative:.2}"),
            short(error.mean),
        ])
    });
    let head = ["loop", "loops", "molecules", "mean |W| meV", "of ∮|F·dr| %", "quadrature error meV"];
    table(&head, rows) + "<p class=\"soft\">± standard error over molecules, each the mean of its loops.</p>"
}

fn relative_percent(work: &LoopWork) -> f64 {
    100.0 * work.work_mev / work.absolute_work_mev.max(f64::MIN_POSITIVE)
}

/// Over the molecules' means of what is picked of their loops; `None` where there is nothing.
fn over_molecules(works: &[LoopWork], pick: impl Fn(&LoopWork) -> Option<f64>) -> Option<Spread> {
    let molecules: BTreeSet<&str> = works.iter().map(|work| work.structure.as_str()).collect();
    let mean = |molecule: &&str| {
        let of_molecule = works.iter().filter(|work| work.structure == *molecule);
        Some(Spread::of(&of_molecule.filter_map(&pick).collect::<Vec<_>>())?.mean)
    };
    Spread::of(&molecules.iter().filter_map(mean).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(structure: &str, kind: LoopKind, work_mev: f64) -> LoopWork {
        let (structure, path) = (structure.to_string(), "z".to_string());
        LoopWork { structure, kind, path, work_mev, absolute_work_mev: 100.0, quadrature_error_mev: 0.0 }
    }

    #[test]
    fn loop_work_by_kind_is_of_molecules_and_a_list_that_is_cut_says_so() {
        let mut works = vec![work("a", LoopKind::Turn, 1.0), work("a", LoopKind::Turn, -3.0)];
        works.push(work("b", LoopKind::Turn, 4.0));
        // Molecules of 2 and 4 meV: 3 ± 1.
        assert!(loops(&works).contains("<td>turn</td><td>3</td><td>2</td><td>3.00 ± 1.00</td>"));
        assert!(!loops(&works).contains("The first"));
        works.extend(vec![work("a", LoopKind::Torsion, 1.0); N_LISTED]);
        assert!(loops(&works).contains(&format!("The first {N_LISTED} of {}", N_LISTED + 3)));
    }

    #[test]
    fn structures_of_one_molecule_are_not_called_a_trajectory() {
        let structure = |name: &str, n_atoms, lambda| StructureLambda {
            name: name.into(),
            class: String::new(),
            n_atoms,
            inside_domain: None,
            lambda,
            jacobian_norm_ev_per_angstrom2: 1.0,
        };
        let frames = (0..5).map(|k| structure("CH4", 5, 0.01 * f64::from(k))).collect();
        let found = Lambda::of(frames, Vec::new(), 0);
        assert!(section(&found).body.contains("in the order of the file"));
        let sizes = (0..5).map(|k| structure(&k.to_string(), 5 + k, 0.01 * (k % 3) as f64)).collect();
        assert!(section(&Lambda::of(sizes, Vec::new(), 0)).body.contains("95 % by Fisher"));
    }
}
