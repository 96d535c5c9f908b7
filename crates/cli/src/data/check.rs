//! `mdet data check`: structures that are wrong, doubled or out of proportion.

use super::{ReadArgs, each_record};
use crate::input::{at, check_output};
use crate::{AnyError, Done};
use clap::Args;
use mdet_core::atomic_write;
use mdet_data::findings::{Checks, Findings, Kind};
use std::path::PathBuf;

/// Look for structures that are wrong, doubled or out of proportion, and for forces of a wrong sign or unit.
///
/// Wrong are atoms on top of each other (below 0.2 Å), numbers that are not finite, multiplicities that the number of
/// electrons cannot have, missing forces and lines that cannot be read. Doubled are frames that differ by motion, reflection
/// or rounding alone. An outlier has a force beyond 10 times the median of the structures' largest forces, and beyond
/// 20 eV/Å. Energies of neighbouring frames are compared with the work of the forces between them.
/// Where the next frame cannot be found behind a wrong one, it says where reading stopped.
/// The exit code is 1 when anything is found. Needs about 50 bytes of memory per structure.
///
/// Example: mdet data check aspirin.xyz -o findings.tsv
#[derive(Args)]
pub(crate) struct CheckArgs {
    /// Files, stores or parts of splits; copies are looked for across all.
    #[arg(required = true, value_name = "DATA")]
    data: Vec<PathBuf>,
    #[command(flatten)]
    read: ReadArgs,
    /// Largest force on an atom in eV/Å, instead of one from the data.
    #[arg(long, value_name = "EV_PER_ANGSTROM")]
    max_force: Option<f64>,
    /// File for all findings, one a line: structure, kind, what, separated by tabs.
    #[arg(short, long, value_name = "FINDINGS.tsv")]
    out: Option<PathBuf>,
    /// Replace the file if it exists.
    #[arg(long)]
    overwrite: bool,
}

/// Findings of a kind shown on the terminal.
const SHOWN: usize = 20;

pub(crate) fn run(args: &CheckArgs) -> Result<Done, AnyError> {
    if let Some(out) = &args.out {
        check_output(out, args.overwrite)?;
    }
    let mut checks = Checks::new(args.max_force);
    let mut n_before = 0;
    for path in &args.data {
        let mut n_records = 0;
        let about = each_record(path, args.read.options(), |record| {
            checks.add(record);
            n_records += 1;
            Ok(())
        })?;
        let n_after = n_before + n_records;
        let span = match n_records {
            0 => "no structures".to_owned(),
            _ => format!("structures {n_before} to {}", n_after - 1),
        };
        println!("data          {}: {span}; {}; {}", path.display(), about.format, about.units);
        n_before = n_after;
    }
    let findings = checks.finish();
    print(&findings, args.out.is_some());
    if let Some(out) = &args.out {
        let line = |f: &mdet_data::findings::Finding| format!("{}\t{}\t{}\n", f.structure, f.kind, f.message);
        let text: String = findings.list.iter().map(line).collect();
        atomic_write(out, text.as_bytes()).map_err(at(out))?;
        println!("findings      {}", out.display());
    }
    let n_findings = findings.list.len();
    if n_findings == 0 && findings.warnings.is_empty() {
        return Ok(Done::Completed);
    }
    let sets = findings.warnings.join("; ");
    let found = match (n_findings, sets.is_empty()) {
        (0, _) => sets,
        (_, true) => format!("{n_findings} findings"),
        (_, false) => format!("{n_findings} findings; {sets}"),
    };
    Err(format!("{}: {found}", super::some_of(args.data.iter().map(|p| p.display().to_string()), 3)).into())
}

fn print(findings: &Findings, all_in_file: bool) {
    println!("structures    {}", findings.n_structures);
    for kind in Kind::ALL {
        let own: Vec<_> = findings.list.iter().filter(|finding| finding.kind == kind).collect();
        let title = match kind {
            Kind::Outlier => format!("{} (beyond {:.1} eV/Å)", own.len(), findings.outlier_ev_per_angstrom),
            _ => own.len().to_string(),
        };
        println!("{kind:<13} {title}");
        for finding in own.iter().take(SHOWN) {
            println!("  structure {}: {}", finding.structure, finding.message);
        }
        if own.len() > SHOWN {
            let where_all = if all_in_file { "in the file" } else { "with -o FILE" };
            println!("  and {} more {where_all}", own.len() - SHOWN);
        }
    }
    println!("energies      {}", findings.energies);
}
