//! What the report says of stability: how long runs held, and h(r) beside the reference.

use super::{SHORT_PS, Section, held, over_replicas, plots, table};
use crate::plot::{Axis, Plot, short};
use mdet_analysis::Stability;
use mdet_analysis::stability::{Instability, ReplicaStability};

pub(super) fn section(found: &Stability) -> Section {
    let [shortest, longest] = run_ps(found);
    let mut verdict = format!(
        "{} at {} K: {}. Pair distances differ from the reference by {} of at most 2 (± sd over replicas); two halves of the reference itself by {:.3}.",
        found.molecule,
        found.temperature_k,
        runs(found),
        over_replicas(&found.distance_error, 3),
        found.reference_noise
    );
    if found.n_unstable == 0 && shortest < SHORT_PS {
        verdict += " Too short to say that it holds.";
    }
    if found.inside_domain == Some(false) {
        verdict += " The molecule is outside of what the model was trained on.";
    }
    let row = |name: &str, value: String| vec![name.to_string(), value];
    let mut body = table(
        &["", ""],
        [
            row("stable, ps (mean ± sd over replicas)", stable_ps(found)),
            row(
                "longest run, ps of those planned",
                format!("{} of {}", short(longest), short(found.planned_ps)),
            ),
            row("∫|h − h_ref| dr", over_replicas(&found.distance_error, 4)),
            row("the same between even and odd reference frames", format!("{:.4}", found.reference_noise)),
            row("frames per second, all replicas", format!("{:.0}", found.frames_per_second)),
            row("dynamics", format!("{}, {} fs steps", found.dynamics, found.timestep_fs)),
            row("reference frames", found.n_reference.to_string()),
        ],
    );
    body += "<p class=\"soft\">Unstable: the first sample (every 50 fs) where a bond of the first reference frame departs by more than 0.5 Å from its mean over the reference. h(r): all pair distances of the samples before, 500 bins on 0 to 10 Å.</p>";
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
    let rows = found.replicas.iter().enumerate().map(|(index, r)| {
        let end = match r.unstable {
            Some(Instability::Bond) => "a bond gave way",
            Some(Instability::NonFiniteForce) => "forces not finite",
            None if !is_complete(found, r) => "stopped early",
            None => "stable",
        };
        let bound = if r.unstable.is_none() { "≥ " } else { "" };
        let (time, error) = (format!("{bound}{:.2}", r.stable_ps), format!("{:.4}", r.distance_error));
        vec![(index + 1).to_string(), time, end.into(), error, format!("{:.0}", r.temperature_k)]
    });
    body += &table(&["replica", "stable ps", "end", "∫|h − h_ref| dr", "mean T K"], rows);
    Section {
        title: format!("Stability: {}", found.molecule),
        good: held(found.n_unstable == 0, shortest),
        verdict,
        body,
    }
}

/// Mean time until unstable over replicas, ps; a lower bound where some stayed stable, of which no spread is known where
/// all did.
pub(crate) fn stable_ps(found: &Stability) -> String {
    match found.n_unstable {
        0 => format!("≥ {:.2}", found.stable_ps.mean),
        lost if lost < found.replicas.len() => format!("≥ {}", over_replicas(&found.stable_ps, 2)),
        _ => over_replicas(&found.stable_ps, 2),
    }
}

/// The shortest and the longest run, ps.
fn run_ps(found: &Stability) -> [f64; 2] {
    let times = || found.replicas.iter().map(|r| r.stable_ps);
    [times().fold(f64::INFINITY, f64::min), times().fold(0.0, f64::max)]
}

fn is_complete(found: &Stability, replica: &ReplicaStability) -> bool {
    replica.stable_ps >= found.planned_ps - 1e-9
}

/// How the runs ended.
fn runs(found: &Stability) -> String {
    let n = found.replicas.len();
    let [shortest, longest] = run_ps(found).map(short);
    let unstable = found.replicas.iter().filter(|r| r.unstable.is_some());
    let first = unstable.map(|r| r.stable_ps).fold(f64::INFINITY, f64::min);
    match found.n_unstable {
        0 if found.replicas.iter().all(|r| is_complete(found, r)) => {
            format!("all {n} runs of {longest} ps kept their bonds")
        }
        0 => format!(
            "no bond gave way in {n} runs, stopped after {shortest} to {longest} of {} ps",
            short(found.planned_ps)
        ),
        lost => format!(
            "{lost} of {n} runs of up to {longest} ps became unstable, the first after {} ps",
            short(first)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mdet_analysis::Spread;

    fn stability(planned_ps: f64, ends: &[(f64, Option<Instability>)]) -> Stability {
        let replica = |&(stable_ps, unstable): &(f64, Option<Instability>)| ReplicaStability {
            stable_ps,
            unstable,
            distance_error: 0.1,
            temperature_k: 500.0,
        };
        let replicas: Vec<ReplicaStability> = ends.iter().map(replica).collect();
        let spread = |values: Vec<f64>| Spread::of(&values).unwrap();
        Stability {
            molecule: "C2H6O".into(),
            n_atoms: 9,
            inside_domain: None,
            dynamics: "f32".into(),
            temperature_k: 500.0,
            timestep_fs: 0.5,
            planned_ps,
            n_reference: 10,
            stable_ps: spread(replicas.iter().map(|r| r.stable_ps).collect()),
            distance_error: spread(replicas.iter().map(|r| r.distance_error).collect()),
            reference_noise: 0.1,
            n_unstable: replicas.iter().filter(|r| r.unstable.is_some()).count(),
            frames_per_second: 1.0,
            replicas,
            bin_angstrom: 0.02,
            distances_per_angstrom: vec![1.0],
            reference_per_angstrom: vec![1.0],
        }
    }

    #[test]
    fn runs_that_were_stopped_early_do_not_hold_and_their_times_are_bounds() {
        let stopped = stability(300.0, &[(0.1, None), (0.2, None)]);
        let section = section(&stopped);
        assert_eq!(section.good, None);
        assert!(section.verdict.contains("stopped after 0.1 to 0.2 of 300 ps"), "{}", section.verdict);
        assert!(section.verdict.contains("Too short"), "{}", section.verdict);
        assert_eq!(stable_ps(&stopped), "≥ 0.15");
    }

    #[test]
    fn one_replica_has_no_spread_and_the_first_loss_is_of_those_that_lost_a_bond() {
        let broken = Some(Instability::Bond);
        assert_eq!(stable_ps(&stability(9.0, &[(2.0, broken)])), "2.00 (one)");
        let mixed = stability(9.0, &[(1.0, None), (3.0, broken), (9.0, None)]);
        assert!(runs(&mixed).contains("1 of 3 runs of up to 9 ps became unstable, the first after 3 ps"));
        assert!(stable_ps(&mixed).starts_with("≥ 4.33 ±"));
        assert_eq!(section(&mixed).good, Some(false));
        assert_eq!(section(&stability(9.0, &[(9.0, None)])).good, Some(true));
    }
}
