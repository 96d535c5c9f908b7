//! `mdet data convert`: data of any format into a store.

use super::ReadArgs;
use crate::progress::Progress;
use crate::{AnyError, Done, interrupt};
use clap::Args;
use mdet_data::{Reader, StoreWriter};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// Put data of any format into a store, which may be larger than memory.
///
/// A store is a folder of safetensors files with checksums, mapped as they are read: Python opens them with
/// safetensors.numpy.load_file. Positions are in Å, forces in eV/Å, energies in eV. The data are streamed; after Ctrl-C
/// or a crash, --resume goes on behind the last 64 MiB written, and until the end nothing added counts.
///
/// Example: mdet data convert SPICE.hdf5 extra.xyz -o spice
#[derive(Args)]
pub(crate) struct ConvertArgs {
    /// Files, stores or parts of splits, one after another.
    #[arg(required = true, value_name = "DATA")]
    data: Vec<PathBuf>,
    /// The store, a folder.
    #[arg(short, long, value_name = "STORE")]
    out: PathBuf,
    /// Add to a store that is there.
    #[arg(long, conflicts_with = "resume")]
    append: bool,
    /// Go on where the same command was interrupted.
    #[arg(long)]
    resume: bool,
    /// Pass over structures that `mdet data check` calls wrong, instead of ending at the first; what hides the rest of a
    /// file is an error all the same.
    #[arg(long)]
    skip_wrong: bool,
    #[command(flatten)]
    read: ReadArgs,
}

/// Structures passed over that are named.
const SHOWN: usize = 5;

pub(crate) fn run(args: &ConvertArgs) -> Result<Done, AnyError> {
    refuse_itself(args)?;
    // What cannot be opened is found before anything is made.
    for path in &args.data {
        Reader::open(path, args.read.options())?;
    }
    let writer = match (args.append, args.resume) {
        (true, _) => StoreWriter::append(&args.out)?,
        (_, true) => StoreWriter::resume(&args.out)?,
        _ => StoreWriter::create(&args.out)?,
    };
    let done = fill(writer, args);
    // A folder in which nothing was stored is not left behind; one that is not empty stays.
    let _ = std::fs::remove_dir(&args.out);
    done
}

/// A store put into itself would only have everything twice.
fn refuse_itself(args: &ConvertArgs) -> Result<(), AnyError> {
    let Ok(out) = args.out.canonicalize() else { return Ok(()) };
    let is_out = |path: &&PathBuf| path.canonicalize().is_ok_and(|path| path == out);
    args.data.iter().find(is_out).map_or(Ok(()), |path| {
        Err(format!("{}: expected data to add to the store, found the store itself", path.display()).into())
    })
}

fn fill(mut writer: StoreWriter, args: &ConvertArgs) -> Result<Done, AnyError> {
    let stop = interrupt::flag()?;
    let n_finished = writer.finished_sources().len();
    for (finished, path) in writer.finished_sources().iter().zip(&args.data) {
        if finished.path != *path {
            let expected = finished.path.display();
            return Err(format!(
                "{}: expected the same data, first {expected}, found {}",
                args.out.display(),
                path.display()
            )
            .into());
        }
    }
    for path in args.data.iter().skip(n_finished) {
        let Some(n_structures) = add(&mut writer, path, args, &stop)? else {
            let how = if writer.is_resumable() { "--resume goes on" } else { "nothing was stored yet" };
            println!("interrupted; {how}");
            return Ok(Done::Interrupted);
        };
        if n_structures == 0 {
            return Err(format!("{}: expected structures to store, found none", path.display()).into());
        }
        println!("added         {n_structures} structures of {}", path.display());
    }
    let manifest = writer.finish()?;
    let (n_structures, n_shards) = (manifest.n_structures(), manifest.shards.len());
    println!("store         {}: {n_structures} structures in {n_shards} files", args.out.display());
    Ok(Done::Completed)
}

/// Adds a source; the number of its structures in the store, or `None` after Ctrl-C.
fn add(
    writer: &mut StoreWriter,
    path: &Path,
    args: &ConvertArgs,
    stop: &AtomicBool,
) -> Result<Option<usize>, AnyError> {
    let mut reader = Reader::open(path, args.read.options())?;
    println!("reading       {}: {}; {}", path.display(), reader.about.format, reader.about.units);
    let n_before = writer.begin(path, &reader.about)?;
    let mut progress = Progress::new(100);
    let (mut index, mut n_wrong) = (0, 0);
    while let Some(record) = reader.next() {
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        index += 1;
        if index <= n_before {
            continue;
        }
        match writer.push(record) {
            Err(error) if args.skip_wrong && !error.ends_reading() => {
                n_wrong += 1;
                if n_wrong <= SHOWN {
                    eprintln!("mdet: warning: passed over: {}", crate::one_line(&error));
                }
            }
            other => other?,
        }
        progress.at((100.0 * reader.fraction()) as u64, || format!("{index} structures"));
    }
    progress.finish();
    if n_wrong > 0 {
        eprintln!("mdet: warning: {}: {n_wrong} of {index} structures passed over", path.display());
    }
    Ok(Some(writer.end()))
}
