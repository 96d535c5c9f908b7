//! What the report says of stability: how long runs held, and h(r) beside the reference.

use super::{SHORT_PS, Section, held, plots, table};
use crate::plot::{Axis, Plot, short};
use mdet_analysis::Stability;
use mdet_analysis::stability::{Instability, ReplicaStability};

pub(super) fn section(found: &Stability) -> Section {
    let n = found.replicas.len();
    let shortest = found.replicas.iter().map(|r| r.stable_ps).fold(f64::INFINITY, f64::min);
    let complete = |r: &&ReplicaStability| r.unstable.is_some() || r.stable_ps >= found.planned_ps - 1e-9;
    let n_complete = found.replicas.iter().filter(complete).count();
    let runs = match found.n_unstable {
        0 if n_complete == n => format!("all {n} runs of {} ps kept their bonds", short(found.planned_ps)),
        0 => format!(
            "no bond gave way in {n} runs of {} to {} ps, stopped early",
            short(shortest),
            short(found.planned_ps)
        ),
        lost => format!(
            "{lost} of {n} runs of up to {} ps lost a bond, the first after {} ps",
            short(found.planned_ps),
            short(shortest)
        ),
    };
    let error = found.distance_error;
    let mut verdict = format!(
        "{} at {} K: {runs}. Pair distances differ from the reference by {:.3} ± {:.3} of at most 2 (± sd over replicas); two halves of the reference itself by {:.3}.",
        found.molecule, found.temperature_k, error.mean, error.standard_deviation, found.reference_noise
    );
    if found.planned_ps < SHORT_PS {
        verdict += " Too short to say that it holds.";
    }
    if found.inside_domain == Some(false) {
        verdict += " The molecule is outside of what the model was trained on.";
    }
    let row = |name: &str, value: String| vec![name.to_string(), value];
    let stable = found.stable_ps;
    let mut body = table(
        &["", ""],
        [
            row(
                "stable, ps (mean ± sd over replicas)",
                format!("{:.2} ± {:.2}", stable.mean, stable.standard_deviation),
            ),
            row("∫|h − h_ref| dr", format!("{:.4} ± {:.4}", error.mean, error.standard_deviation)),
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
            None if r.stable_ps < found.planned_ps - 1e-9 => "stopped early",
            None => "stable",
        };
        let numbers = [format!("{:.2}", r.stable_ps), format!("{:.4}", r.distance_error)];
        let [time, error] = numbers;
        vec![(index + 1).to_string(), time, end.into(), error, format!("{:.0}", r.temperature_k)]
    });
    body += &table(&["replica", "stable ps", "end", "∫|h − h_ref| dr", "mean T K"], rows);
    Section {
        title: format!("Stability: {}", found.molecule),
        good: held(found.n_unstable == 0, found.planned_ps),
        verdict,
        body,
    }
}
