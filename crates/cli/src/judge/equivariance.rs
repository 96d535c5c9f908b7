//! `mdet judge equivariance`: how far forces turn with the molecule.

use crate::judgement::{Judge, JudgeArgs};
use crate::labelled;
use crate::progress::Progress;
use crate::{AnyError, Done, interrupt};
use clap::Args;
use mdet_analysis::equivariance::{Equivariance, EquivarianceJudge, MIN_BASES, Orientations, Subject};
use mdet_core::RotationSet;
use mdet_report::Judgement;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

/// Rotate, predict, rotate back: how far do forces turn with the molecule?
///
/// Forces are computed in f64 and f32 at the same orientations: every rotation of the set after each of some uniform
/// rotations. The spread of the f64 forces is the equivariance error, the difference of f32 and f64 at one orientation
/// the rounding error.
///
/// Example: mdet judge equivariance built-in molecules.xyz
#[derive(Args)]
pub(crate) struct EquivarianceArgs {
    #[command(flatten)]
    judge: JudgeArgs,
    /// Structures: extended XYZ or any other data file.
    #[arg(value_name = "STRUCTURES")]
    data: PathBuf,
    /// Rotations of the set: 60 are those of the 600-cell, 12 and 4 its subgroups, any other number random.
    #[arg(long, default_value = "60", value_parser = clap::value_parser!(u16).range(1..))]
    rotations: u16,
    /// Uniform rotations that the set is applied after.
    #[arg(long, default_value = "8", value_parser = clap::value_parser!(u16).range(2..))]
    bases: u16,
    /// Let half of the uniform rotations be reflections too.
    #[arg(long)]
    reflections: bool,
    /// Only this many structures, evenly spaced through the file.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
}

pub(crate) fn run(args: &EquivarianceArgs) -> Result<Done, AnyError> {
    let mut judge = Judge::start(&args.judge, "equivariance", &args.data)?;
    judge.note_input(&args.data)?;
    let items = labelled::limited(labelled::read(&args.data, args.judge.read.options())?, args.limit);
    let inside = labelled::inside_domain(&judge.cards(), &items);
    let (mut double, mut single) = (judge.double()?, judge.single()?);
    let set = RotationSet::of_size(usize::from(args.rotations), judge.seed);
    let orientations = Orientations::new(set, usize::from(args.bases), args.reflections, judge.seed);
    let mut found = EquivarianceJudge::new(orientations);
    let stop = interrupt::flag()?;
    let costs = items.iter().map(|item| (item.structure.n_atoms() as f64).powi(2));
    let mut progress = Progress::weighted(0, costs);
    for (done, (item, inside_domain)) in items.iter().zip(inside).enumerate() {
        if stop.load(Ordering::Relaxed) {
            return Ok(Done::Interrupted);
        }
        let (name, class) = (item.molecule.as_str(), item.source.as_str());
        let subject = Subject { name, class, inside_domain, structure: &item.structure };
        let failed = |error| labelled::failed(item, error);
        found.add(subject, &mut double, Some(&mut single)).map_err(failed)?;
        progress.at(done as u64 + 1, || name.to_string());
    }
    progress.finish();
    let found = found.finish();
    print(&found);
    judge.finish(Judgement::Equivariance(found))
}

/// Structures printed; the result file has all.
const PRINTED: usize = 20;

fn print(found: &Equivariance) {
    println!(
        "orientations  {} rotations after {} uniform ones; errors in meV/Å, ± over these",
        found.n_rotations, found.n_bases
    );
    println!(
        "{:<28} {:>5} {:>9} {:>18} {:>10} {:>10}",
        "structure", "atoms", "mean |F|", "error f64", "rounding", "angle"
    );
    for s in found.structures.iter().take(PRINTED) {
        let error = s.error_mev_per_angstrom;
        let rounding = s.single.map_or(f64::NAN, |single| single.rounding_mev_per_angstrom.mean);
        let angle = s.angle_degrees.map_or(String::from("–"), |angle| format!("{angle:.3}°"));
        println!(
            "{:<28} {:>5} {:>9.1} {:>18} {rounding:>10.5} {angle:>10}",
            s.name.chars().take(28).collect::<String>(),
            s.n_atoms,
            s.force_mev_per_angstrom,
            format!("{error:.3}"),
        );
    }
    if found.structures.len() > PRINTED {
        println!("and {} more in the result file", found.structures.len() - PRINTED);
    }
    let n = found.structures.len() as f64;
    let mean = |value: &dyn Fn(usize) -> f64| (0..found.structures.len()).map(value).sum::<f64>() / n;
    for (index, averaged) in found.structures[0].averaged.iter().enumerate() {
        let error = mean(&|k| found.structures[k].averaged[index].error_mev_per_angstrom.mean);
        println!(
            "averaged over {:>3} rotations: {error:.4} meV/Å, mean over structures",
            averaged.n_rotations
        );
    }
    if found.n_bases < MIN_BASES {
        println!("share of the squared error per angular momentum: from {MIN_BASES} bases on");
    } else {
        let shares = (0..found.structures[0].share_per_l.len())
            .map(|l| format!("l={} {:.1} %", l + 1, 100.0 * mean(&|k| found.structures[k].share_per_l[l])));
        println!("share of the squared error: {}", shares.collect::<Vec<_>>().join(", "));
    }
    if !found.bias_percent_per_l.is_empty() {
        let common = (1..).zip(&found.bias_percent_per_l).map(|(l, share)| format!("l={l} {share:.1} %"));
        println!(
            "of the squared error along the force, common to all molecules: {}",
            common.collect::<Vec<_>>().join(", ")
        );
    }
}
