//! `mdet data`: what reference data hold, whether they are sound, how they are stored, split and fetched.

mod check;
mod convert;
mod download;
mod fetch;
mod info;
mod registry;
mod split;

use crate::progress::Progress;
use crate::{AnyError, Done};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand, ValueEnum};
use mdet_data::{DataError, Labels, ReadOptions, Reader, Record, Units};
use std::path::Path;

// Each verb is described by its arguments.
#[derive(Subcommand)]
pub(crate) enum DataVerb {
    Info(info::InfoArgs),
    Check(check::CheckArgs),
    Convert(convert::ConvertArgs),
    Split(split::SplitArgs),
    Fetch(fetch::FetchArgs),
}

pub(crate) fn run(verb: &DataVerb) -> Result<Done, AnyError> {
    match verb {
        DataVerb::Info(args) => info::run(args),
        DataVerb::Check(args) => check::run(args),
        DataVerb::Convert(args) => convert::run(args),
        DataVerb::Split(args) => split::run(args),
        DataVerb::Fetch(args) => fetch::run(args),
    }
}

/// What files do not say themselves.
#[derive(Args, Clone, Copy)]
pub(crate) struct ReadArgs {
    /// Units of the files where they do not say [default for XYZ: ev-angstrom].
    #[arg(long, value_name = "UNITS", ignore_case = true, value_parser = units())]
    units: Option<Units>,
    /// Labels of revised MD17: its own, or those of the original MD17.
    #[arg(long, value_enum, default_value = "new")]
    labels: LabelsArg,
}

#[derive(Clone, Copy, ValueEnum)]
enum LabelsArg {
    New,
    Old,
}

impl ReadArgs {
    pub fn options(self) -> ReadOptions {
        let labels = match self.labels {
            LabelsArg::New => Labels::New,
            LabelsArg::Old => Labels::Old,
        };
        ReadOptions { units: self.units, labels }
    }
}

fn units() -> impl TypedValueParser<Value = Units> {
    PossibleValuesParser::new(Units::NAMES.map(|(name, _)| name)).try_map(|name| name.parse::<Units>())
}

/// Reads a file, store or part to its end, with progress.
fn each_record(
    path: &Path,
    options: ReadOptions,
    mut take: impl FnMut(Result<Record, DataError>) -> Result<(), AnyError>,
) -> Result<mdet_data::About, AnyError> {
    let mut reader = Reader::open(path, options)?;
    let mut progress = Progress::new(100);
    let mut n_records = 0;
    while let Some(record) = reader.next() {
        take(record)?;
        n_records += 1;
        progress.at((100.0 * reader.fraction()) as u64, || format!("{n_records} structures"));
    }
    progress.finish();
    Ok(reader.about)
}

/// "a, b, c and 7 more".
fn some_of(items: impl ExactSizeIterator<Item = String>, most: usize) -> String {
    let more = items.len().saturating_sub(most);
    let shown = items.take(most).collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}
