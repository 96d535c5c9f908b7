//! `mdet report`: one HTML file of result files.

use crate::input::{at, check_output};
use crate::{AnyError, Done};
use clap::Args;
use mdet_core::atomic_write;
use mdet_report::{Record, html};
use std::path::PathBuf;

/// Make one self-contained HTML page of result files: verdicts, tables, plots, a 3-D view, how each was made.
///
/// The page opens offline, on a phone too, light or dark. It only shows what the files say.
///
/// Example: mdet report eval-val.json equivariance-molecules.json -o report.html
#[derive(Args)]
pub(crate) struct ReportArgs {
    /// Result files of `mdet eval`, `mdet judge` and `mdet traj`, in the order of the page.
    #[arg(value_name = "RESULT.json", required_unless_present = "schema")]
    results: Vec<PathBuf>,
    /// Print the JSON schema (draft 2020-12) of result files, every field with its meaning and unit, and make no page.
    #[arg(long, conflicts_with = "results")]
    schema: bool,
    /// Page to write.
    #[arg(short, long, value_name = "REPORT.html", default_value = "report.html")]
    out: PathBuf,
    /// Replace the page if it exists.
    #[arg(long)]
    overwrite: bool,
}

pub(crate) fn run(args: &ReportArgs) -> Result<Done, AnyError> {
    if args.schema {
        println!("{}", serde_json::to_string_pretty(&Record::schema())?);
        return Ok(Done::Completed);
    }
    check_output(&args.out, args.overwrite)?;
    let read = |path: &PathBuf| Ok((path.display().to_string(), Record::read(path)?));
    let records = args.results.iter().map(read).collect::<Result<Vec<_>, AnyError>>()?;
    atomic_write(&args.out, html(&records, &[]).as_bytes()).map_err(at(&args.out))?;
    println!("report        {}", args.out.display());
    Ok(Done::Completed)
}
