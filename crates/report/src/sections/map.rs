//! The structure map: which molecules fail, and which features go with it. Tables whose cells are shaded by rank.

use super::drift::Compared;
use super::{Section, held};
use crate::plot::{escape, short};
use mdet_analysis::map::{BROKEN, FEATURES, MEASURES, MappedMolecule, StructureMap, UNSTABLE};
use std::fmt::Write;

/// The runs that have a measured and a predicted heating.
pub(crate) fn compared(found: &StructureMap) -> Vec<Compared> {
    let both = |m: &MappedMolecule| {
        Some(Compared {
            condition: "f64 + offset".to_string(),
            measured: m.heating_mev_per_atom_per_ps?,
            predicted: m.predicted?,
        })
    };
    found.molecules.iter().filter_map(both).collect()
}

pub(super) fn section(found: &StructureMap) -> Section {
    let n = found.molecules.len() + found.failed.len();
    let fails = |m: &&MappedMolecule| m.broken_ps.is_some() || m.ended.is_some() || m.unstable_ps.is_some();
    let n_failed = found.molecules.iter().filter(fails).count() + found.failed.len();
    let strongest = |measure: &str| {
        let of_measure = found.correlations.iter().filter(|c| c.measure == measure);
        let resolved = of_measure.filter_map(|c| {
            let estimate = c.rank_correlation?;
            let [low, high] = estimate.interval?;
            (low > 0.0 || high < 0.0).then_some((c, estimate))
        });
        resolved
            .max_by(|a, b| a.1.value.abs().total_cmp(&b.1.value.abs()))
            .map_or(format!("{measure} with none of the features"), |(c, estimate)| {
                format!("{measure} with {} ({estimate:+.2})", c.feature)
            })
    };
    let verdict = format!(
        "Of {n} molecules {n_failed} broke a bond or failed within {} ps of NVE, or of NVT at 500 K. What goes together most (Spearman's rank correlation, 95 % interval): {}; {}; {}.",
        short(found.planned_ps),
        strongest("equivariance error"),
        strongest("λ"),
        strongest("heating")
    );
    let mut body = format!(
        "<p class=\"soft\">NVE of every molecule in f64, forces turned anew at every step, {} replicas from {} K; NVT (Nosé–Hoover, 500 K, τ = 10 fs) in f32, as it lies, unstable where a bond departs by more than 0.5 Å from its starting length; {} molecules left out. Shades are ranks among the molecules: the darker, the worse.</p>",
        found.n_replicas, found.starting_temperature_k, found.n_left_out
    );
    for failed in &found.failed {
        body += &format!("<p>{} has no numbers: {}.</p>", escape(&failed.name), escape(&failed.why));
    }
    body += "<h3>Rank correlations of failures with features</h3>";
    body += &correlations(found);
    body += "<h3>By series (medians)</h3>";
    body += &by_series(found);
    body += &format!(
        "<details><summary>All {} molecules</summary>{}</details>",
        found.molecules.len(),
        molecules(found)
    );
    Section { title: "Structure map".into(), good: held(n_failed == 0, found.planned_ps), verdict, body }
}

/// A cell shaded by a strength from −1 to 1.
fn cell(text: &str, strength: f64) -> String {
    let class = if strength < 0.0 { "low" } else { "high" };
    let strength = 70.0 * strength.abs().min(1.0);
    format!("<td class=\"{class}\" style=\"--shade:{strength:.0}%\">{}</td>", escape(text))
}

fn head(cells: &[&str]) -> String {
    let cells: String = cells.iter().map(|cell| format!("<th>{}</th>", escape(cell))).collect();
    format!("<div class=\"table\"><table class=\"heat\"><tr>{cells}</tr>\n")
}

fn correlations(found: &StructureMap) -> String {
    let mut names = vec![""];
    names.extend(FEATURES.map(|(feature, _)| feature));
    let mut out = head(&names);
    for (measure, _) in MEASURES {
        let _ = write!(out, "<tr><td>{measure}</td>");
        for (feature, _) in FEATURES {
            let of = |c: &&mdet_analysis::map::Correlation| c.measure == measure && c.feature == feature;
            let estimate = found.correlations.iter().find(of).and_then(|c| c.rank_correlation);
            out += &estimate.map_or("<td>–</td>".into(), |e| cell(&format!("{e:+.2}"), e.value));
        }
        out += "</tr>\n";
    }
    out + "</table></div>\n<p class=\"soft\">Blue rises with the feature, orange falls; – where one side is the same for all or unknown.</p>"
}

/// Share of the molecules with a smaller value.
fn rank(all: &[f64], value: f64) -> f64 {
    all.iter().filter(|&&other| other < value).count() as f64 / all.len().max(2) as f64
}

fn values(found: &StructureMap) -> Vec<Vec<f64>> {
    MEASURES.iter().map(|(_, pick)| found.molecules.iter().filter_map(pick).collect()).collect()
}

fn by_series(found: &StructureMap) -> String {
    let mut series: Vec<&str> = found.molecules.iter().map(|m| m.series.as_str()).collect();
    let mut seen = std::collections::BTreeSet::new();
    series.retain(|name| seen.insert(*name));
    let mut names = vec!["series", "molecules", "outside"];
    names.extend(MEASURES.map(|(measure, _)| measure));
    let mut out = head(&names);
    let all = values(found);
    for name in series {
        let members: Vec<&MappedMolecule> = found.molecules.iter().filter(|m| m.series == name).collect();
        let n_outside = members.iter().filter(|m| m.outside.is_some()).count();
        let shown = if name.is_empty() { "unnamed" } else { name };
        let _ = write!(out, "<tr><td>{}</td><td>{}</td><td>{n_outside}</td>", escape(shown), members.len());
        for ((measure, pick), all) in MEASURES.iter().zip(&all) {
            let mut own: Vec<f64> = members.iter().filter_map(|m| pick(m)).collect();
            own.sort_by(f64::total_cmp);
            out += &match mdet_analysis::statistics::quantile(&own, 0.5) {
                None => "<td>–</td>".to_string(),
                Some(_) if [BROKEN, UNSTABLE].contains(measure) => {
                    let n = own.iter().sum::<f64>();
                    cell(&format!("{n:.0} of {}", own.len()), n / own.len() as f64)
                }
                Some(median) => cell(&short(median), rank(all, median)),
            };
        }
        out += "</tr>\n";
    }
    out + "</table></div>\n<p class=\"soft\">Equivariance error and rounding in meV/Å, loop work as a share of the |work|, heating in meV/atom/ps.</p>"
}

fn molecules(found: &StructureMap) -> String {
    let mut out = head(&[
        "molecule",
        "series",
        "atoms",
        "outside",
        "novelty",
        "E_eq meV/Å",
        "rounding meV/Å",
        "λ",
        "loop work",
        "heating meV/atom/ps",
        "predicted",
        "broken in NVE",
        "unstable at 500 K",
    ]);
    let all = values(found);
    for m in &found.molecules {
        let _ = write!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>",
            escape(&m.name),
            escape(&m.series),
            m.features.atoms,
            if m.outside.is_some() { "yes" } else { "" },
            m.features.novelty.map_or("–".into(), short)
        );
        let shaded = |index: usize, text: &dyn Fn(f64) -> String| {
            let value = (MEASURES[index].1)(m);
            value.map_or("<td>–</td>".into(), |value| cell(&text(value), rank(&all[index], value)))
        };
        for index in 0..4 {
            out += &shaded(index, &short);
        }
        let heating = m.heating_mev_per_atom_per_ps.map_or("–".into(), |h| format!("{h:.2}"));
        out += &shaded(4, &|_| heating.clone());
        let predicted = m.whole_prediction().map_or("–".into(), |p| short(p.middle_mev_per_atom_per_ps()));
        let first = |ps: Option<f64>, n: usize| {
            ps.map_or(String::new(), |ps| format!("{ps:.2} ps, {n} of {}", found.n_replicas))
        };
        let (broken, unstable) = (first(m.broken_ps, m.n_broken), first(m.unstable_ps, m.n_unstable));
        let broken = m.ended.as_ref().unwrap_or(&broken);
        let _ = writeln!(out, "<td>{predicted}</td><td>{broken}</td><td>{unstable}</td></tr>");
    }
    out + "</table></div>\n"
}
