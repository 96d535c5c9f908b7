//! `mdet config` as a user meets it: the template trains, wrong files are told line and key, the schema explains all.

#![allow(clippy::unwrap_used)] // clippy's allowance for tests does not reach their helper functions

use std::path::Path;
use std::process::{Command, Output};

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../data/tests/fixtures/corpus.npz");

fn mdet(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mdet")).current_dir(folder).args(arguments).output().unwrap()
}

#[track_caller]
fn done(folder: &Path, arguments: &[&str]) -> String {
    let output = mdet(folder, arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn templates_pass_the_check_and_can_be_trained() {
    let folder = tempfile::tempdir().unwrap();
    for start in [&[][..], &["--start", "built-in"]] {
        let template = done(folder.path(), &[&["config", "template", DATA], start].concat());
        assert!(template.contains("\n# Optimiser steps in all.\nn_steps = "), "{template}");
        assert!(
            template.lines().all(|line| line.chars().count() < 110 || !line.starts_with('#')),
            "{template}"
        );
        std::fs::write(folder.path().join("run.toml"), &template).unwrap();
        done(folder.path(), &["config", "check", "run.toml"]);
        let settings = ["--set", "hold_out=2", "--set", "allow_new=true"];
        done(folder.path(), &[&["train", "run.toml", "--dry-run"], &settings[..]].concat());
    }
}

#[test]
fn what_is_wrong_is_told_with_file_line_and_key() {
    let folder = tempfile::tempdir().unwrap();
    let template = done(folder.path(), &["config", "template"]);
    let line_of = |key: &str| template.lines().position(|line| line.starts_with(key)).unwrap() + 1;
    for (key, wrong, expected) in [
        ("n_steps = 7200", "n_steps = \"many\"", "n_steps = \"many\": invalid type"),
        ("n_steps = 7200", "n_stepz = 7200", "unknown field `n_stepz`"),
        ("n_steps = 7200", "n_steps = 0", "n_steps = 0: expected at least 1"),
        ("learning_rate = ", "learning_rate = -", "learning_rate = -"),
        ("width = 96", "width = 97", "width = 97: expected a multiple of n_heads"),
        ("seed = 0", "seed = ", "seed ="),
    ] {
        std::fs::write(
            folder.path().join("run.toml"),
            template.replacen(&format!("\n{key}"), &format!("\n{wrong}"), 1),
        )
        .unwrap();
        let output = mdet(folder.path(), &["config", "check", "run.toml"]);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), stderr.lines().count()), (Some(1), 1), "{stderr}");
        let place = format!("run.toml:{}: ", line_of(key));
        assert!(stderr.contains(&place) && stderr.contains(expected), "{place}{expected}: {stderr}");
    }
}

#[test]
fn the_schema_explains_every_key_and_knows_those_of_the_committed_configurations() {
    let folder = tempfile::tempdir().unwrap();
    let schema: serde_json::Value =
        serde_json::from_str(&done(folder.path(), &["config", "schema"])).unwrap();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    let properties = schema["properties"].as_object().unwrap();
    let unexplained = properties.iter().filter(|(_, property)| !property["description"].is_string());
    assert_eq!(unexplained.map(|(name, _)| name).collect::<Vec<_>>(), Vec::<&String>::new());
    let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs");
    let files = std::fs::read_dir(configs).unwrap().map(|entry| entry.unwrap().path());
    for path in files.filter(|path| path.extension().is_some_and(|ending| ending == "toml")) {
        done(folder.path(), &["config", "check", path.to_str().unwrap()]);
        let table: toml::Table = toml::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        assert!(table.keys().all(|key| properties.contains_key(key)), "{}", path.display());
        let required = schema["required"].as_array().unwrap();
        assert!(required.iter().all(|key| table.contains_key(key.as_str().unwrap())), "{}", path.display());
    }
}
