//! `mdet data split`: parts for training, validation and test.

use super::{ReadArgs, each_record, some_of};
use crate::input::check_output;
use crate::{AnyError, Done};
use clap::{Args, ValueEnum};
use mdet_data::fingerprint::{Fingerprint, Fingerprints};
use mdet_data::split::{self, Size, Split};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// Make parts for training, validation and test, and save them.
///
/// The file names structures of the data, which stay where they are. Commands that read data of any format take a part in
/// place of a file, as FILE.json#NAME; md, opt, freq, predict and traj read XYZ alone. A part is so many structures (950), a
/// share (10%), the rest (rest), or a list: a text file of indices from 0, one a line. None may be empty. A warning says
/// when two parts share frames, up to motion, reflection and rounding.
/// Needs about 60 bytes of memory per structure.
///
/// Example: mdet data split aspirin.npz -o split.json --part train=950 --part validation=50 --part test=rest
#[derive(Args)]
pub(crate) struct SplitArgs {
    /// Files or stores, whose structures are counted one after another.
    #[arg(required = true, value_name = "DATA")]
    data: Vec<PathBuf>,
    /// The split.
    #[arg(short, long, value_name = "SPLIT.json")]
    out: PathBuf,
    /// Replace it if it exists.
    #[arg(long)]
    overwrite: bool,
    /// Name and size of a part: a number, a percentage, `rest` or a file of indices.
    #[arg(long = "part", required = true, value_name = "NAME=SIZE")]
    parts: Vec<String>,
    /// What is kept together.
    #[arg(long, value_enum, default_value = "structure")]
    by: By,
    /// Seed of the draw.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    read: ReadArgs,
}

#[derive(Clone, Copy, ValueEnum)]
enum By {
    /// Nothing: each structure is drawn on its own.
    Structure,
    /// A molecule: by its SMILES string or its group in the source where the data have one, else by composition and charge.
    Molecule,
    /// All structures of one composition and charge.
    Composition,
}

/// What is needed of every structure.
#[derive(Default)]
struct Index {
    molecules: Vec<u64>,
    compositions: Vec<u64>,
    fingerprints: Vec<Fingerprint>,
}

pub(crate) fn run(args: &SplitArgs) -> Result<Done, AnyError> {
    check_output(&args.out, args.overwrite)?;
    let sizes = args.parts.iter().map(|part| parse(part)).collect::<Result<Vec<_>, AnyError>>()?;
    let mut index = Index::default();
    let mut sources = Vec::new();
    for path in &args.data {
        let n_before = index.molecules.len();
        each_record(path, args.read.options(), |record| {
            let record = record?;
            index.molecules.push(record.molecule);
            if let By::Composition = args.by {
                index.compositions.push(record.composition_hash());
            }
            index.fingerprints.push(Fingerprint::of(&record));
            Ok(())
        })?;
        sources.push((path.clone(), index.molecules.len() - n_before));
    }
    let n_structures = index.molecules.len();
    let (groups, kept) = match args.by {
        By::Structure => (None, "structures"),
        By::Molecule => (Some(&index.molecules[..]), "molecules"),
        By::Composition => (Some(&index.compositions[..]), "compositions"),
    };
    let is_list = |(_, size): &(String, Size)| matches!(size, Size::List(_) | Size::Rest);
    let method = if sizes.iter().all(is_list) {
        "given lists".to_owned()
    } else {
        format!("{kept} drawn with seed {}", args.seed)
    };
    let parts = split::draw(n_structures, groups, &sizes, args.seed)?;
    let split = Split::new(method, args.read.options(), &sources, parts)?;
    split.write(&args.out)?;
    println!("structures    {n_structures}");
    let named: Vec<(&str, Vec<u32>)> = sizes
        .iter()
        .map(|(name, _)| Ok((name.as_str(), split.part(&args.out, name)?)))
        .collect::<Result<_, AnyError>>()?;
    for (name, list) in &named {
        let molecules: HashSet<u64> = list.iter().map(|&b| index.molecules[b as usize]).collect();
        println!("{name:<13} {} structures of {} molecules", list.len(), molecules.len());
    }
    warn_of_shared(&named, &index);
    println!("split         {}: read a part as {}#{}", args.out.display(), args.out.display(), named[0].0);
    Ok(Done::Completed)
}

/// Frames that two parts have in common.
fn warn_of_shared(parts: &[(&str, Vec<u32>)], index: &Index) {
    for (later, (name, list)) in parts.iter().enumerate() {
        for (earlier, others) in &parts[..later] {
            let other: Fingerprints = others.iter().map(|&b| index.fingerprints[b as usize]).collect();
            let copy = |&b: &u32| {
                let first = other.same_as(&index.fingerprints[b as usize]).min()?;
                Some(format!("{b} = {}", others[first]))
            };
            let shared: Vec<String> = list.iter().filter_map(copy).collect();
            if !shared.is_empty() {
                let (n, which) = (shared.len(), some_of(shared.into_iter(), 5));
                eprintln!("mdet: warning: {n} frames of {name} are in {earlier} too: structures {which}");
            }
        }
    }
}

/// "train=950", "test=10%", "validation=rest", "train=index_train_01.csv".
fn parse(text: &str) -> Result<(String, Size), AnyError> {
    let expected = "expected NAME=NUMBER, NAME=SHARE%, NAME=rest or NAME=FILE";
    let refused = || format!("--part {text}: {expected}");
    let (name, size) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(refused)?;
    let size = if size == "rest" {
        Size::Rest
    } else if let Ok(number) = size.parse::<usize>() {
        Size::Structures(number)
    } else if let Some(percent) =
        size.strip_suffix('%').and_then(|percent| percent.trim().parse::<f64>().ok())
    {
        if !(0.0..=100.0).contains(&percent) {
            return Err(format!("--part {text}: expected a share from 0 to 100 %").into());
        }
        Size::Share(percent / 100.0)
    } else if Path::new(size).is_file() {
        Size::List(indices(Path::new(size))?)
    } else {
        return Err(format!("{}; there is no file {size}", refused()).into());
    };
    Ok((name.to_owned(), size))
}

/// Indices from 0, one a line.
fn indices(path: &Path) -> Result<Vec<u32>, AnyError> {
    let text = std::fs::read_to_string(path).map_err(crate::input::at(path))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(at, line)| {
            line.trim().parse().map_err(|_| {
                format!("{}:{}: expected an index from 0, found {line:?}", path.display(), at + 1).into()
            })
        })
        .collect()
}
