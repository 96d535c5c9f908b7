//! What the paper (arXiv 2503.01431) says, beside what the results say. Of the paper stands here only what its abstract
//! states or what the programme follows; nothing is guessed.

use crate::plot::short;
use crate::record::{Judgement, Record};
use crate::sections::SHORT_PS;
use mdet_analysis::Drift;

/// One statement: what about, the paper's, ours.
pub(crate) type Row = [String; 3];

/// The table's rows; empty when nothing of it was judged.
pub(crate) fn rows(records: &[(String, Record)]) -> Vec<Row> {
    let not_stated = "not stated in what could be read";
    let mut rows = Vec::new();
    let mut add = |about: &str, paper: &str, ours: String| rows.push([about, paper, &ours].map(String::from));
    for (_, record) in records {
        match &record.judgement {
            Judgement::Accuracy(found) => {
                let mae = found.overall.component_mae_mev_per_angstrom;
                let n = found.overall.n_structures;
                add("force MAE per component", not_stated, format!("{mae:.1} meV/Å, {n} structures"));
            }
            Judgement::Equivariance(found) => {
                let median =
                    found.groups.first().map_or(f64::NAN, |all| all.error_quartiles_mev_per_angstrom[1]);
                let n = found.structures.len();
                let paper = "approximately equivariant; value not stated in what could be read";
                add(
                    "equivariance error, 60 rotations",
                    paper,
                    format!("{} meV/Å, median of {n} structures", short(median)),
                );
            }
            Judgement::Lambda(found) => {
                add("antisymmetric share λ", not_stated, format!("{:.4}", found.mean));
            }
            Judgement::Drift(found) => {
                let paper = if found.molecule.contains("octane") {
                    "of 500 ps, only f64 with a random rotation offset stays"
                } else {
                    "small structures: approximately conserved"
                };
                add(&format!("NVE of {}", found.molecule), paper, staying(found));
            }
            Judgement::Map(found) => {
                let size = found.correlations.iter().find(|c| c.measure == "heating" && c.feature == "atoms");
                let size = size.and_then(|c| c.rank_correlation);
                let ours = size.map_or("too few molecules".into(), |e| {
                    format!("heating with size: rank correlation {e:+.2}")
                });
                add("NVE of larger structures", "energy runs away", ours);
            }
            Judgement::Stability(found) => {
                let (stable, error) = (found.stable_ps, found.distance_error);
                let ours = format!(
                    "{:.1} ± {:.1} of {} ps; h(r) {:.3} ± {:.3}",
                    stable.mean,
                    stable.standard_deviation,
                    short(found.planned_ps),
                    error.mean,
                    error.standard_deviation
                );
                add(&format!("stability of {}", found.molecule), not_stated, ours);
            }
            Judgement::Observables(_) | Judgement::Trajectories(_) => {}
        }
    }
    rows
}

/// Which conditions kept their kinetic energy.
fn staying(found: &Drift) -> String {
    if found.planned_ps < SHORT_PS {
        return format!("{} ps are too short to say", short(found.planned_ps));
    }
    let stays = |c: &&mdet_analysis::drift::ConditionDrift| {
        c.ended.is_none() && c.replicas.iter().all(|r| r.ten_percent_ps.is_none())
    };
    let names: Vec<&str> = found.conditions.iter().filter(stays).map(|c| c.name.as_str()).collect();
    let which = if names.is_empty() { "no condition".to_string() } else { names.join("; ") };
    format!("of {} ps, the kinetic energy stays within 10 % in: {which}", short(found.planned_ps))
}
