//! Where in a configuration file something is wrong.

use mdet_train::ConfigError;
use std::path::Path;
use toml::de::{DeTable, DeValue, Error};

/// A file and its text.
pub(crate) struct Place<'a> {
    pub path: &'a Path,
    pub text: &'a str,
}

impl Place<'_> {
    /// `file:line: what stands there: what is wrong with it`, for what is no configuration.
    pub fn of_span(&self, error: &Error) -> String {
        // What is missing has the whole text for its place.
        let line = error.span().filter(|span| span.len() < self.text.len());
        let line = line.map_or(String::new(), |span| format!(":{}", self.line_at(span.start)));
        format!("{}{line}: {}", self.path.display(), line_and_message(self.text, error))
    }

    /// `file:line: key: what is wrong with it`, for a setting out of range.
    pub fn of_key(&self, error: &ConfigError) -> String {
        let line = error.key().and_then(|key| self.start_of(&key));
        let line = line.map_or(String::new(), |start| format!(":{}", self.line_at(start)));
        format!("{}{line}: {error}", self.path.display())
    }

    fn line_at(&self, byte: usize) -> usize {
        self.text[..byte].matches('\n').count() + 1
    }

    /// Where the key stands, dots leading into tables.
    fn start_of(&self, key: &str) -> Option<usize> {
        let document = DeTable::parse(self.text).ok()?;
        let mut table = document.get_ref();
        let mut start = None;
        for part in key.split('.') {
            let (found, value) = table.iter().find(|(name, _)| name.get_ref() == part)?;
            start = Some(found.span().start);
            match value.get_ref() {
                DeValue::Table(inner) => table = inner,
                _ => break,
            }
        }
        start
    }
}

/// The wrong line itself and what is wrong with it; the message alone, if that names the key.
pub(crate) fn line_and_message(text: &str, error: &Error) -> String {
    let message = error.message();
    if message.starts_with("unknown field") || message.starts_with("missing field") {
        return message.into();
    }
    let start = error.span().map_or(0, |span| span.start);
    let line = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
    let line = text[line..].lines().next().unwrap_or_default();
    format!("{}: {message}", line.trim())
}
