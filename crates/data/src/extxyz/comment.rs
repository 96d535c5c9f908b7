//! The comment line: its `key=value` pairs, and those of them that mean something to us.
//!
//! Free text is welcome where it cannot be mistaken for a pair: a quote or bracket opens a quotation only at the
//! beginning of a key or value, so `don't` and `5' end` are words.

use std::iter::Peekable;
use std::str::CharIndices;

use super::columns::number;
use super::error::{Problem, excerpt};

/// What a key without `=` is worth: true, as in ASE.
const TRUE: &str = "T";

/// Keys read, in order of preference, compared without case.
const ENERGY: &[&str] = &["REF_energy", "energy"];
const CHARGE: &[&str] = &["charge", "total_charge"];
const MULTIPLICITY: &[&str] = &["multiplicity", "spin_multiplicity", "mult", "spin", "total_spin"];
const PROPERTIES: &[&str] = &["Properties"];
const LATTICE: &[&str] = &["Lattice"];
const PBC: &[&str] = &["pbc"];

/// Whether a key with a value is read into a field of the frame, and so never stands among its other keys.
///
/// Without a value, a word like `charge` is free text.
pub(crate) fn is_reserved(key: &str) -> bool {
    [ENERGY, CHARGE, MULTIPLICITY, PROPERTIES, LATTICE, PBC].iter().any(|names| named(key, names))
}

/// A comment line's meaning.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Comment {
    /// The value of `Properties`, not yet parsed.
    pub properties: Option<String>,
    /// Energy in eV.
    pub energy_ev: Option<f64>,
    pub charge: Option<i32>,
    pub multiplicity: Option<u32>,
    /// Every other pair, in order.
    pub key_values: Vec<(String, String)>,
}

impl Comment {
    /// Reads a comment line and refuses a periodic one.
    pub fn parse(line: &str) -> Result<Self, Problem> {
        let mut known = Vec::new();
        let mut key_values = Vec::new();
        for (key, value) in pairs(line)? {
            match value {
                Some(value) if is_reserved(&key) => known.push((key, value)),
                value => key_values.push((key, value.unwrap_or_else(|| TRUE.to_owned()))),
            }
        }
        refuse_periodic(&known)?;
        let energy_ev = present(&known, ENERGY).next().map(|(key, value)| number(key, value)).transpose()?;
        Ok(Self {
            properties: present(&known, PROPERTIES).next().map(|(_, value)| value.clone()),
            energy_ev,
            charge: agreed(&known, CHARGE, charge)?,
            multiplicity: agreed(&known, MULTIPLICITY, multiplicity)?,
            key_values,
        })
    }
}

fn named(key: &str, names: &[&str]) -> bool {
    names.iter().any(|name| key.eq_ignore_ascii_case(name))
}

/// The pairs with one of these names, the most preferred name first.
fn present<'a>(
    pairs: &'a [(String, String)],
    names: &'a [&str],
) -> impl Iterator<Item = &'a (String, String)> {
    names.iter().flat_map(move |name| pairs.iter().filter(move |(key, _)| key.eq_ignore_ascii_case(name)))
}

/// The one value that all pairs with these names give.
fn agreed<T: PartialEq>(
    pairs: &[(String, String)],
    names: &[&str],
    parse: fn(&str, &str) -> Result<T, Problem>,
) -> Result<Option<T>, Problem> {
    let mut agreed: Option<(T, &(String, String))> = None;
    for pair in present(pairs, names) {
        let value = parse(&pair.0, &pair.1)?;
        match &agreed {
            Some((first, first_pair)) if *first != value => {
                let show = |pair: &(String, String)| format!("{}={}", pair.0, pair.1);
                return Err(Problem::Conflict { first: show(first_pair), second: show(pair) });
            }
            Some(_) => {}
            None => agreed = Some((value, pair)),
        }
    }
    Ok(agreed.map(|(value, _)| value))
}

fn charge(key: &str, text: &str) -> Result<i32, Problem> {
    integer(text).ok_or_else(|| Problem::Charge { key: key.to_owned(), found: excerpt(text) })
}

fn multiplicity(key: &str, text: &str) -> Result<u32, Problem> {
    integer(text)
        .and_then(|value| u32::try_from(value).ok())
        .filter(|&value| value > 0)
        .ok_or_else(|| Problem::Multiplicity { key: key.to_owned(), found: excerpt(text) })
}

/// An integer, also written as `1.0`, as Python programs do with what went through a float array.
fn integer(text: &str) -> Option<i32> {
    let text = text.trim();
    text.parse().ok().or_else(|| {
        let value = text.parse::<f64>().ok()?;
        let exact = value.fract() == 0.0 && value.abs() <= f64::from(i32::MAX);
        exact.then_some(value as i32)
    })
}

/// A cell is periodic unless `pbc` says otherwise, as in ASE.
fn refuse_periodic(pairs: &[(String, String)]) -> Result<(), Problem> {
    let Some((_, text)) = present(pairs, PBC).next() else {
        return match present(pairs, LATTICE).next() {
            Some(_) => Err(Problem::Periodic { found: "Lattice without pbc" }),
            None => Ok(()),
        };
    };
    let mut periodic = false;
    for word in text.split([' ', '\t', ',']).filter(|word| !word.is_empty()) {
        match word.to_ascii_lowercase().as_str() {
            "t" | "true" | "1" => periodic = true,
            "f" | "false" | "0" => {}
            _ => return Err(Problem::Pbc { found: excerpt(text) }),
        }
    }
    if periodic { Err(Problem::Periodic { found: "pbc has a T" }) } else { Ok(()) }
}

/// Splits a comment line into keys and, behind a `=`, values, both without their quotes.
fn pairs(line: &str) -> Result<Vec<(String, Option<String>)>, Problem> {
    let mut chars = line.char_indices().peekable();
    let mut pairs = Vec::new();
    loop {
        skip_spaces(&mut chars);
        let Some(&(start, _)) = chars.peek() else { return Ok(pairs) };
        let mut ahead = chars.clone();
        let key = match quoted(&mut ahead) {
            Some(key) => {
                chars = ahead;
                key
            }
            // An apostrophe that opens a word and is never closed is free text, not a mistake.
            None => bare(&mut chars, line, start, |c| c.is_whitespace() || c == '='),
        };
        skip_spaces(&mut chars);
        if chars.next_if(|&(_, c)| c == '=').is_none() {
            pairs.push((key, None));
            continue;
        }
        skip_spaces(&mut chars);
        let value = match chars.peek().copied() {
            None => String::new(),
            Some((start, first)) => match closing(first) {
                Some(close) => {
                    quoted(&mut chars).ok_or_else(|| Problem::Unclosed { key: excerpt(&key), close })?
                }
                None => bare(&mut chars, line, start, char::is_whitespace),
            },
        };
        pairs.push((key, Some(value)));
    }
}

fn skip_spaces(chars: &mut Peekable<CharIndices<'_>>) {
    while chars.next_if(|(_, c)| c.is_whitespace()).is_some() {}
}

/// What closes a quotation that this character opens.
fn closing(open: char) -> Option<char> {
    match open {
        '"' | '\'' => Some(open),
        '{' => Some('}'),
        '[' => Some(']'),
        _ => None,
    }
}

/// The word from `start` up to a character that ends it.
fn bare(chars: &mut Peekable<CharIndices<'_>>, line: &str, start: usize, ends: fn(char) -> bool) -> String {
    while chars.next_if(|&(_, c)| !ends(c)).is_some() {}
    let end = chars.peek().map_or(line.len(), |&(end, _)| end);
    line[start..end].to_owned()
}

/// A quotation's contents, `None` where none begins or none ends: `\n` is a newline, a backslash before anything else is dropped, brackets may nest.
fn quoted(chars: &mut Peekable<CharIndices<'_>>) -> Option<String> {
    let (_, open) = chars.next()?;
    let close = closing(open)?;
    let mut depth = 1_usize;
    let mut text = String::new();
    while let Some((_, c)) = chars.next() {
        if c == '\\' {
            let (_, escaped) = chars.next()?;
            text.push(if escaped == 'n' { '\n' } else { escaped });
            continue;
        }
        if c == close {
            depth -= 1;
            if depth == 0 {
                return Some(text);
            }
        } else if c == open {
            depth += 1;
        }
        text.push(c);
    }
    None
}
