//! The report: one HTML file that needs nothing else, made of result files.

use crate::paper;
use crate::plot::escape;
use crate::record::{Judgement, Provenance, Record};
use crate::sections::{Section, drift, map, section, table};
use std::fmt::Write;
use std::path::Path;

pub(crate) const STYLE: &str = include_str!("../assets/style.css");
const VIEWER: &str = include_str!("../assets/3Dmol-min.js");
const VIEW: &str = include_str!("../assets/view.js");
const LICENCE: &str = include_str!("../assets/3Dmol-LICENSE");

/// The page of these results, in their order; `missing` says what was to be judged and has no result, a line each.
pub fn html(records: &[(String, Record)], missing: &[String]) -> String {
    // Without the folders of the machine it was made on: the whole path stands with each result.
    let name = |p: &Provenance| {
        // A single file may have a comma in its name.
        let n_members = p.model_sha256.split(',').count();
        let members = p.model.splitn(n_members, ',').filter_map(|member| Path::new(member).file_name());
        members.map(|name| name.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" + ")
    };
    // Files of one name may be different models: their bytes tell.
    let mut judged: Vec<&Provenance> = Vec::new();
    for (_, Record { provenance, .. }) in
        records.iter().filter(|(_, record)| !record.provenance.model.is_empty())
    {
        if judged.iter().all(|known| known.model_sha256 != provenance.model_sha256) {
            judged.push(provenance);
        }
    }
    let models: Vec<String> = judged
        .iter()
        .map(|p| match judged.iter().filter(|other| name(other) == name(p)).count() {
            1 => name(p),
            _ => format!("{} ({:.8})", name(p), p.model_sha256),
        })
        .collect();
    let question = match models[..] {
        [] => "What do the trajectories show?".to_string(),
        _ => format!("How far can the model {} be trusted?", models.join(", ")),
    };
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>mdet report: {0}</title>\n<style>{STYLE}</style></head><body>\n<h1>{0}</h1>\n",
        escape(&question)
    );
    for (model, provenance) in models.iter().zip(&judged) {
        let whose = if models.len() > 1 { format!("{model}, trained") } else { "Trained".to_string() };
        let _ = writeln!(
            page,
            "<p class=\"soft\">{} on: {}.</p>",
            escape(&whose),
            escape(&provenance.trained_on)
        );
    }
    // Of several models each section and row says of which it is.
    let label = |record: &Record| {
        let place = judged.iter().position(|p| p.model_sha256 == record.provenance.model_sha256);
        place.filter(|_| models.len() > 1).map_or(String::new(), |place| format!("{}: ", models[place]))
    };
    let labelled = |(_, record): &(String, Record)| {
        let section = section(record, records);
        Section { title: label(record) + &section.title, ..section }
    };
    let sections: Vec<_> = records.iter().map(labelled).collect();
    page += "<ul class=\"verdicts\">\n";
    for (index, section) in sections.iter().enumerate() {
        let (class, word) = match section.good {
            Some(true) => ("good", " – holds"),
            Some(false) => ("bad", " – does not hold"),
            None => ("", ""),
        };
        let (title, verdict) = (escape(&section.title), escape(&section.verdict));
        let _ = writeln!(
            page,
            "<li class=\"{class}\"><b><a href=\"#s{index}\">{title}</a>{word}</b>{verdict}</li>"
        );
    }
    for line in missing {
        let _ = writeln!(page, "<li><b>Not judged</b>{}</li>", escape(line));
    }
    page += "</ul>\n";
    let rows: Vec<_> = records
        .iter()
        .flat_map(|judged| {
            let of_model = label(&judged.1);
            paper::rows(std::slice::from_ref(judged))
                .into_iter()
                .map(move |[about, paper, ours]| [format!("{of_model}{about}"), paper, ours])
        })
        .collect();
    if !rows.is_empty() {
        page += "<h2>Beside the paper</h2>\n<p class=\"soft\">MD-ET, arXiv 2503.01431: a model of 4.6 million parameters trained on about 30 million structures.</p>\n";
        page += &table(&["", "the paper", "this model"], rows.into_iter().map(Vec::from))
            .replace("class=\"table\"", "class=\"words\"");
    }
    let mut has_view = false;
    for (index, (section, (file, record))) in sections.iter().zip(records).enumerate() {
        let _ = writeln!(
            page,
            "<h2 id=\"s{index}\">{}</h2>\n<p>{}</p>",
            escape(&section.title),
            escape(&section.verdict)
        );
        page += &section.body;
        if let Some(view) = &record.view {
            has_view = true;
            let _ = writeln!(
                page,
                "<figure><div class=\"view\" data-xyz=\"x{index}\"></div><figcaption>{}</figcaption></figure>\n<script type=\"text/plain\" id=\"x{index}\">{}</script>",
                escape(&view.caption),
                view.xyz.replace('<', " ")
            );
        }
        page += &provenance(file, record);
    }
    page += &predictions(records);
    if has_view {
        let _ = write!(
            page,
            "<script>/*\n{}\n*/{VIEWER}</script><script>{VIEW}</script>",
            LICENCE.replace("*/", "* /")
        );
    }
    page + "</body></html>\n"
}

/// Measured against predicted heating over all results that have both, where they are several.
fn predictions(records: &[(String, Record)]) -> String {
    let compared = |(_, record): &(String, Record)| match &record.judgement {
        Judgement::Drift(found) => drift::compared(found),
        Judgement::Map(found) => map::compared(found),
        _ => Vec::new(),
    };
    let runs: Vec<Vec<_>> = records.iter().map(compared).filter(|runs| !runs.is_empty()).collect();
    if runs.len() < 2 {
        return String::new();
    }
    let runs: Vec<_> = runs.into_iter().flatten().collect();
    format!(
        "<h2>Predicted and measured drift</h2>\n<p>{} runs of all results above; the derivation is in docs/drift.md.</p>\n<div class=\"plots\">{}</div>\n",
        runs.len(),
        drift::against(&runs)
    )
}

fn provenance(file: &str, record: &Record) -> String {
    let p = &record.provenance;
    let mut list = String::new();
    let mut add = |name: &str, value: &str| {
        let _ = write!(list, "<dt>{name}</dt><dd>{}</dd>", escape(value));
    };
    add("result file", file);
    if !p.model.is_empty() {
        add("model", &format!("{} (SHA-256 {})", p.model, p.model_sha256));
    }
    for (input, hash) in &p.inputs {
        add("input", &format!("{input} (SHA-256 {hash})"));
    }
    add("mdet", &format!("{} on {}", p.mdet_version, p.machine));
    add("seed", &p.seed.to_string());
    add("took", &format!("{:.1} s", p.seconds));
    add("units", &p.units);
    let command = escape(&p.command);
    format!("<details><summary>How this was made</summary><pre>{command}</pre><dl>{list}</dl></details>\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use mdet_analysis::Lambda;
    use mdet_analysis::lambda::StructureLambda;

    /// λ of one water by a model of this hash, always under the same name.
    fn judged(model_sha256: &str) -> (String, Record) {
        let water = StructureLambda {
            name: "water".into(),
            class: String::new(),
            n_atoms: 3,
            inside_domain: None,
            lambda: 0.01,
            jacobian_norm_ev_per_angstrom2: 1.0,
        };
        let provenance = Provenance {
            command: String::new(),
            mdet_version: String::new(),
            machine: String::new(),
            model: format!("runs/{model_sha256}/best.safetensors"),
            model_sha256: model_sha256.into(),
            trained_on: "molecules".into(),
            inputs: Vec::new(),
            seed: 0,
            seconds: 1.0,
            units: String::new(),
        };
        let found = Judgement::Lambda(Lambda::of(vec![water], Vec::new(), 0));
        ("lambda.json".into(), Record::new(provenance, found, None))
    }

    #[test]
    fn models_of_one_name_are_told_apart_and_every_section_says_of_which_it_is() {
        let alone = html(&[judged("0123456789"), judged("0123456789")], &[]);
        assert!(alone.contains("<h1>How far can the model best.safetensors be trusted?</h1>"));
        assert!(!alone.contains("01234567)"));
        let both = html(&[judged("0123456789"), judged("abcdefabcd"), judged("0123456789")], &[]);
        let names = "best.safetensors (01234567), best.safetensors (abcdefab)";
        assert!(both.contains(&format!("<h1>How far can the model {names} be trusted?</h1>")));
        assert_eq!(both.matches("<h2 id=\"s1\">best.safetensors (abcdefab): Energy").count(), 1);
        assert_eq!(both.matches("<td>best.safetensors (01234567): antisymmetric").count(), 2);
    }

    #[test]
    fn what_was_not_judged_stands_on_the_page() {
        let page = html(&[], &["drift: no result, its <command> failed".to_string()]);
        assert!(
            page.contains("<b>Not judged</b>drift: no result, its &lt;command&gt; failed</li>"),
            "{page}"
        );
    }
}
