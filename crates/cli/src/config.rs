//! Settings of a training run over those of its file: `--set key=value`.

use crate::AnyError;
use mdet_train::TrainConfig;
use toml::{Table, Value};

/// The configuration of a table, with settings of the form `key=value` over it; dots lead into tables.
pub(crate) fn configured(mut table: Table, settings: &[String]) -> Result<TrainConfig, AnyError> {
    for setting in settings {
        set(&mut table, setting).map_err(|error| format!("--set {setting}: {error}"))?;
    }
    // By way of text, whose errors have a place: the line that is wrong.
    let text = toml::to_string(&table)?;
    let config: TrainConfig = toml::from_str(&text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        let line = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line = text[line..].lines().next().unwrap_or_default();
        format!("{line}: {}", error.message())
    })?;
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
