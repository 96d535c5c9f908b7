//! What the paper (arXiv 2503.01431) says, beside what the results say. Of the paper stands here only what its abstract
//! states or what the programme follows; nothing is guessed.

use crate::plot::short;
use crate::record::{Judgement, Record};
use crate::sections::stability::stable_ps;
use crate::sections::{SHORT_PS, over_replicas};
use mdet_analysis::Drift;
use mdet_analysis::drift::{ConditionDrift, ReplicaDrift};

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
                let paper = "fine-tuned, state of the art on several benchmarks; value not stated in what could be read";
                add("force MAE per component", paper, format!("{mae:.1} meV/Å, {n} structures"));
            }
            Judgement::Equivariance(found) => {
                let median =
                    found.groups.first().map_or(f64::NAN, |all| all.error_quartiles_mev_per_angstrom[1]);
                let n = found.structures.len();
                let paper = "approximately equivariant; value not stated in what could be read";
                add(
                    &format!("equivariance error, {} rotations", found.n_rotations),
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
                let ours = format!(
                    "{} of {} ps; h(r) {}",
                    stable_ps(found),
                    short(found.planned_ps),
                    over_replicas(&found.distance_error, 3)
                );
                add(&format!("stability of {}", found.molecule), not_stated, ours);
            }
            Judgement::Observables(_) | Judgement::Trajectories(_) => {}
        }
    }
    rows
}

/// Length of the paper's runs, ps, and the part of it that ours must have to be compared.
const PAPER_PS: f64 = 500.0;
const COMPARABLE: f64 = 0.5;

/// How many replicas of each condition kept their kinetic energy.
fn staying(found: &Drift) -> String {
    let planned = short(found.planned_ps);
    if found.planned_ps < SHORT_PS {
        return format!("{planned} ps are too short to say");
    }
    let staying = |c: &ConditionDrift| {
        let stays = |r: &&ReplicaDrift| c.ended.is_none() && r.ten_percent_ps.is_none();
        let n = c.replicas.iter().filter(stays).count();
        format!("{} {n} of {}", c.name, c.replicas.len())
    };
    let conditions: Vec<String> = found.conditions.iter().map(staying).collect();
    let length = match found.planned_ps < COMPARABLE * PAPER_PS {
        true => format!(" (not the paper's {PAPER_PS} ps: not compared)"),
        false => String::new(),
    };
    let conditions = conditions.join("; ");
    format!("replicas whose kinetic energy is within 10 % after {planned} ps{length}: {conditions}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_runs_are_counted_but_not_compared_with_the_papers() {
        let replica = |ten_percent_ps| ReplicaDrift {
            time_ps: 6.0,
            heating_mev_per_atom_per_ps: None,
            balance_mev_per_atom_per_ps: None,
            ten_percent_ps,
            runaway_ps: None,
            temperature_k: None,
        };
        let condition = ConditionDrift {
            name: "f64".into(),
            heating_mev_per_atom_per_ps: None,
            predicted: None,
            balance_mev_per_atom_per_ps: None,
            temperature_k: None,
            ended: None,
            replicas: vec![replica(None), replica(Some(5.0))],
            curve_time_ps: Vec::new(),
            curve_temperature_k: Vec::new(),
            steps_per_second: 1.0,
        };
        let mut found = Drift {
            molecule: "octane".into(),
            n_atoms: 26,
            timestep_fs: 1.0,
            planned_ps: 6.0,
            starting_temperature_k: 300.0,
            conditions: vec![condition],
        };
        let words = staying(&found);
        assert!(words.contains("not compared") && words.ends_with("f64 1 of 2"), "{words}");
        found.planned_ps = 500.0;
        assert!(!staying(&found).contains("not compared"));
    }
}
