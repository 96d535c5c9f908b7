//! `mdet judge lambda`: whether forces have a potential.

use crate::judgement::{Judge, JudgeArgs};
use crate::labelled;
use crate::progress::Progress;
use crate::{AnyError, Done, interrupt};
use clap::Args;
use mdet_analysis::lambda::{Lambda, StructureLambda, antisymmetric_share};
use mdet_analysis::loops::{LoopKind, LoopWork, loop_works};
use mdet_core::ForceJacobian;
use mdet_core::frames::rotation_off_z;
use mdet_report::Judgement;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

/// Do the forces have a potential? λ = ‖(J − Jᵀ)/2‖ / ‖J‖ of the exact Jacobian in f64, and the work around loops.
///
/// λ is 0 for forces with a potential. Of a trajectory, all frames are judged in order. Loops: the molecule turned once
/// about x, y and z, every open bond turned once, every bonded atom led around a circle of 0.05 Å.
///
/// Example: mdet judge lambda built-in molecules.xyz --loops 3
#[derive(Args)]
pub(crate) struct LambdaArgs {
    #[command(flatten)]
    judge: JudgeArgs,
    /// Structures: extended XYZ (a data set or a trajectory) or any other data file.
    #[arg(value_name = "STRUCTURES")]
    data: PathBuf,
    /// Only this many structures, evenly spaced through the file.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Structures, from the first, whose closed loops are computed too.
    #[arg(long, value_name = "N", default_value_t = 1)]
    loops: usize,
}

pub(crate) fn run(args: &LambdaArgs) -> Result<Done, AnyError> {
    let mut judge = Judge::start(&args.judge, "lambda", &args.data)?;
    judge.note_input(&args.data)?;
    let items = labelled::limited(labelled::read(&args.data, args.judge.read.options())?, args.limit);
    let inside = labelled::inside_domain(&judge.cards(), &items);
    let mut force_field = judge.double()?;
    let stop = interrupt::flag()?;
    // The loops of a structure call for some twenty times the forces of its Jacobian.
    let loops = |index| if index < args.loops { 20.0 } else { 1.0 };
    let costs = items.iter().enumerate();
    let costs = costs.map(|(index, item)| loops(index) * (item.structure.n_atoms() as f64).powi(3));
    let mut progress = Progress::weighted(0, costs);
    let (mut structures, mut works) = (Vec::new(), Vec::new());
    for (done, (item, inside_domain)) in items.iter().zip(inside).enumerate() {
        if stop.load(Ordering::Relaxed) {
            return Ok(Done::Interrupted);
        }
        let failed = |error| labelled::failed(item, error);
        let jacobian = force_field.jacobian(&item.structure).map_err(failed)?;
        let (lambda, norm) = antisymmetric_share(&jacobian);
        structures.push(StructureLambda {
            name: item.molecule.clone(),
            class: item.source.clone(),
            n_atoms: item.structure.n_atoms(),
            inside_domain,
            lambda,
            jacobian_norm_ev_per_angstrom2: norm,
        });
        if done < args.loops {
            let found = loop_works(&item.molecule, &item.structure, &mut force_field);
            works.extend(found.map_err(failed)?);
        }
        progress.at(done as u64 + 1, || format!("λ {lambda:.4}"));
    }
    progress.finish();
    let lambda = Lambda::of(structures, works, judge.seed);
    print(&lambda);
    let off_z =
        items.iter().zip(&lambda.structures).filter(|(item, _)| rotation_off_z(&item.structure).is_none());
    let off_z: Vec<StructureLambda> = off_z.map(|(_, structure)| structure.clone()).collect();
    match off_z.len() {
        n if n == items.len() => {}
        0 => println!(
            "along z       a pair of atoms of every structure, where the model's directions jump: λ is of these axes"
        ),
        n => println!(
            "off z         {:.4}, mean over the {n} without a pair of atoms along z, where the model's directions jump",
            Lambda::of(off_z, Vec::new(), judge.seed).mean
        ),
    }
    judge.finish(Judgement::Lambda(lambda))
}

fn print(lambda: &Lambda) {
    println!("lambda        {:.4}, mean over {} structures", lambda.mean, lambda.structures.len());
    if let Some(correlation) = lambda.rank_correlation_with_size {
        println!("with size     rank correlation {correlation:+.2}");
    }
    for class in &lambda.by_class {
        println!(
            "  {:<24} {:<26} {} structures",
            class.class,
            format!("{:.4}", class.lambda),
            class.n_structures
        );
    }
    let kinds =
        [(LoopKind::Turn, "turns"), (LoopKind::Torsion, "torsions"), (LoopKind::Bond, "bond circles")];
    for (kind, name) in kinds {
        let of_kind: Vec<&LoopWork> = lambda.loops.iter().filter(|work| work.kind == kind).collect();
        if of_kind.is_empty() {
            continue;
        }
        let mean = |value: fn(&LoopWork) -> f64| {
            of_kind.iter().map(|work| value(work)).sum::<f64>() / of_kind.len() as f64
        };
        println!(
            "{name:<13} mean |work| {:.3} meV of {:.3} meV without regard of sign; quadrature {:.1e} meV; {} loops",
            mean(|work| work.work_mev.abs()),
            mean(|work| work.absolute_work_mev),
            mean(|work| work.quadrature_error_mev),
            of_kind.len()
        );
    }
}
