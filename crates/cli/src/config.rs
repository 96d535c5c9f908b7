//! Configurations of training runs: read with the place of what is wrong, changed by `--set key=value`, and
//! `mdet config`.

mod place;
mod template;

use crate::input::at;
use crate::{AnyError, Done};
use clap::{Args, Subcommand};
use mdet_train::TrainConfig;
use place::Place;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

#[derive(Subcommand)]
pub(crate) enum ConfigVerb {
    Template(TemplateArgs),
    Check(CheckArgs),
    /// Print the JSON schema (draft 2020-12) of a training configuration, for editors and other programs.
    ///
    /// Example: mdet config schema > mdet.schema.json
    Schema,
}

/// Print a training configuration with every key explained.
///
/// Without --start it is the recipe of the built-in model, from random parameters; with --start the paper's recipe for
/// fine-tuning. What it prints can be trained as it is, if DATA are there.
///
/// Example: mdet config template molecules.xyz > run.toml
#[derive(Args)]
pub(crate) struct TemplateArgs {
    /// Files or stores to train on.
    #[arg(value_name = "DATA", default_value = "data.xyz")]
    data: Vec<PathBuf>,
    /// Model to start from: a file, or `built-in`.
    #[arg(long, value_name = "MODEL")]
    start: Option<PathBuf>,
}

/// Check a training configuration, without reading its data.
///
/// What is wrong is said with file, line, key and what was expected, with exit code 1. `mdet train --dry-run` reads
/// and checks the data too.
///
/// Example: mdet config check run.toml
#[derive(Args)]
pub(crate) struct CheckArgs {
    /// The configuration.
    #[arg(value_name = "RUN.toml")]
    config: PathBuf,
}

pub(crate) fn run(verb: &ConfigVerb) -> Result<Done, AnyError> {
    match verb {
        ConfigVerb::Template(TemplateArgs { data, start }) => {
            let config = match start {
                Some(start) => TrainConfig::finetune(start.clone(), data.clone()),
                None => TrainConfig::pretrain(data.clone()),
            };
            print!("{}", template::template(&config));
        }
        ConfigVerb::Check(CheckArgs { config: path }) => {
            let config = read(path, &[])?;
            println!(
                "{}: sound; {} steps of {} structures in {} orientations",
                path.display(),
                config.n_steps,
                config.structures_per_step,
                config.copies
            );
        }
        ConfigVerb::Schema => println!("{}", serde_json::to_string_pretty(&TrainConfig::schema())?),
    }
    Ok(Done::Completed)
}

/// The configuration of a file, with settings of the form `key=value` over it.
///
/// # Errors
/// With the line and the key that are wrong.
pub(crate) fn read(path: &Path, settings: &[String]) -> Result<TrainConfig, AnyError> {
    let text = std::fs::read_to_string(path).map_err(at(path))?;
    let place = Place { path, text: &text };
    // Parsed on its own first: then an error has its line.
    let parsed: Result<TrainConfig, _> = toml::from_str(&text);
    if settings.is_empty() {
        let config = parsed.map_err(|error| place.of_span(&error))?;
        config.validate().map_err(|error| place.of_key(&error))?;
        return Ok(config);
    }
    let table = toml::from_str(&text).map_err(|error| place.of_span(&error))?;
    configured(table, settings).map_err(|error| format!("{}: {error}", path.display()).into())
}

/// The configuration of a table, with settings of the form `key=value` over it; dots lead into tables.
pub(crate) fn configured(mut table: Table, settings: &[String]) -> Result<TrainConfig, AnyError> {
    for setting in settings {
        set(&mut table, setting).map_err(|error| format!("--set {setting}: {error}"))?;
    }
    // By way of text, whose errors have a place: the line that is wrong.
    let text = toml::to_string(&table)?;
    let config: TrainConfig =
        toml::from_str(&text).map_err(|error| place::line_and_message(&text, &error))?;
    config.validate()?;
    Ok(config)
}

fn set(table: &mut Table, setting: &str) -> Result<(), String> {
    let (path, text) = setting.split_once('=').ok_or("expected key=value")?;
    let (text, mut keys) = (text.trim(), path.trim().split('.').peekable());
    // What is no TOML value is a text: names need no quotes.
    let value = toml::from_str::<Table>(&format!("value = {text}"))
        .ok()
        .and_then(|mut parsed| parsed.remove("value"))
        .unwrap_or_else(|| Value::String(text.into()));
    let mut place = table;
    while let Some(key) = keys.next() {
        if key.is_empty() {
            return Err("expected key=value".into());
        }
        if keys.peek().is_none() {
            place.insert(key.into(), value);
            return Ok(());
        }
        let entry = place.entry(key).or_insert_with(|| Value::Table(Table::new()));
        // A plain value gives way to a table: schedule = "cosine" to schedule.trapezoid.decay_steps = 100.
        if !entry.is_table() {
            *entry = Value::Table(Table::new());
        }
        place = entry.as_table_mut().expect("it was made a table");
    }
    Err("expected key=value".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use mdet_train::{OptimiserName, Schedule};

    fn with(settings: &[&str]) -> Result<TrainConfig, AnyError> {
        let base = TrainConfig::finetune("built-in".into(), vec!["data.xyz".into()]);
        let settings: Vec<String> = settings.iter().map(|s| s.to_string()).collect();
        configured(Table::try_from(base)?, &settings)
    }

    #[test]
    fn settings_replace_numbers_names_lists_and_tables() {
        let config = with(&[
            "n_steps=300",
            "optimiser = muon",
            "data=[\"a.npz\", \"b.npz\"]",
            "schedule.trapezoid.decay_steps=10",
            "reading.labels=old",
        ]);
        let config = config.expect("settings in range");
        assert_eq!((config.n_steps, config.optimiser, config.data.len()), (300, OptimiserName::Muon, 2));
        assert_eq!(config.schedule, Schedule::Trapezoid { decay_steps: 10 });
        assert_eq!(config.reading.labels, mdet_data::Labels::Old);
    }

    #[test]
    fn wrong_settings_are_named() {
        for (setting, expected) in [
            ("n_stepz=3", "n_stepz"),
            ("n_steps", "expected key=value"),
            ("=3", "expected key=value"),
            ("n_steps=many", "n_steps"),
            ("optimiser=sgd", "sgd"),
            ("learning_rate=-1", "learning_rate"),
        ] {
            let error = with(&[setting]).expect_err("a wrong setting").to_string();
            assert!(error.contains(expected), "{setting}: {error}");
        }
    }
}
