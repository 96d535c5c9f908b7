//! `mdet eval`: force errors of a model against reference forces.

use crate::input::{at, check_output};
use crate::judgement::{Judge, JudgeArgs};
use crate::labelled::{self, Labelled};
use crate::model_choice::Precision;
use crate::progress::Progress;
use crate::{AnyError, Done, interrupt};
use clap::Args;
use mdet_analysis::Estimate;
use mdet_analysis::accuracy::{Accuracy, Errors, Sample};
use mdet_core::constants::KCAL_PER_MOL_IN_EV;
use mdet_core::{ForceField, ForceFieldError, NetForceRemoved, Structure, atomic_write};
use mdet_data::{FrameView, write_frame};
use mdet_report::Judgement;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

/// Compare a model's forces with reference forces: errors by element, charge, size, source and molecule.
///
/// Intervals are 95 % bootstrap intervals over molecules, or over structures where there are fewer than 20 molecules.
/// Net force and torque are removed unless --raw, as dynamics does. Beside the result file stand the worst frames as
/// extended XYZ with the reference forces. `mdet report` draws the parity plot and the histogram.
///
/// Example: mdet eval built-in val.npz
#[derive(Args)]
pub(crate) struct EvalArgs {
    #[command(flatten)]
    judge: JudgeArgs,
    /// Structures with reference forces: any format that `mdet data info` reads, or a part of a split, FILE.json#NAME.
    #[arg(value_name = "DATA")]
    data: PathBuf,
    /// Precision of the network.
    #[arg(long, value_enum, default_value = "f32")]
    precision: Precision,
    /// Leave net force and torque in.
    #[arg(long)]
    raw: bool,
    /// Only this many structures, evenly spaced through the data.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
}

/// Structures between looks at Ctrl-C.
const BATCH: usize = 64;

pub(crate) fn run(args: &EvalArgs) -> Result<Done, AnyError> {
    let mut judge = Judge::start(&args.judge, "eval", &args.data)?;
    let worst = judge.out.with_extension("worst.xyz");
    check_output(&worst, args.judge.overwrite)?;
    judge.note_input(&args.data)?;
    let items = labelled::limited(labelled::read(&args.data, args.judge.read.options())?, args.limit);
    if let Some(item) = items.iter().find(|item| item.forces.is_none()) {
        return Err(format!("{}: expected reference forces, found none", item.place).into());
    }
    let inside = labelled::inside_domain(&judge.cards(), &items);
    let raw = judge.force_field(args.precision)?;
    let force_field: Box<dyn ForceField> = if args.raw { raw } else { Box::new(NetForceRemoved::new(raw)) };
    let Some(predicted) = predict(force_field, &items)? else { return Ok(Done::Interrupted) };
    let samples: Vec<Sample<'_>> = items
        .iter()
        .zip(&predicted)
        .map(|(item, predicted)| Sample {
            structure: &item.structure,
            predicted,
            reference: item.forces.as_deref().unwrap_or_default(),
            source: &item.source,
            molecule: &item.molecule,
        })
        .collect();
    let mut accuracy = Accuracy::of(&samples, judge.seed)?;
    let n_inside = inside.into_iter().map(|inside| inside.map(usize::from)).sum::<Option<usize>>();
    accuracy.n_outside_domain = n_inside.map(|n_inside| items.len() - n_inside);
    print(&accuracy);
    atomic_write(&worst, &worst_frames(&accuracy, &items)?).map_err(at(&worst))?;
    println!("worst frames  {}", worst.display());
    let first = &accuracy.worst[0];
    let caption = format!(
        "The worst structure: {}, {:.0} meV/Å per atom.",
        first.molecule, first.euclidean_mev_per_angstrom
    );
    judge.show(&caption, [&items[first.index].structure]);
    judge.finish(Judgement::Accuracy(Box::new(accuracy)))
}

/// Forces of every structure; `None` when Ctrl-C came first.
fn predict(
    mut force_field: Box<dyn ForceField>,
    items: &[Labelled],
) -> Result<Option<Vec<Vec<[f64; 3]>>>, AnyError> {
    let stop = interrupt::flag()?;
    let mut progress = Progress::new(items.len() as u64);
    let mut predicted = Vec::with_capacity(items.len());
    for chunk in items.chunks(BATCH) {
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let batch: Vec<Structure> = chunk.iter().map(|item| item.structure.clone()).collect();
        let mut forces = vec![[0.0; 3]; batch.iter().map(Structure::n_atoms).sum()];
        force_field.forces(&batch, &mut forces).map_err(|error| match error {
            ForceFieldError::NonFinite { structure, .. } => labelled::failed(&chunk[structure], error),
            error => error.into(),
        })?;
        let mut rest = forces.as_slice();
        for structure in &batch {
            let (own, later) = rest.split_at(structure.n_atoms());
            predicted.push(own.to_vec());
            rest = later;
        }
        progress.at(predicted.len() as u64, || "structures".to_string());
    }
    progress.finish();
    Ok(Some(predicted))
}

fn worst_frames(accuracy: &Accuracy, items: &[Labelled]) -> Result<Vec<u8>, AnyError> {
    let mut bytes = Vec::new();
    for frame in &accuracy.worst {
        let Labelled { structure, forces, molecule, .. } = &items[frame.index];
        let key_values = [
            ("index".to_string(), frame.index.to_string()),
            ("molecule".to_string(), molecule.clone()),
            ("error_mev_per_angstrom".to_string(), format!("{:.3}", frame.euclidean_mev_per_angstrom)),
        ];
        let view = FrameView {
            numbers: structure.numbers(),
            positions: structure.positions(),
            velocities: None,
            masses_u: None,
            forces: forces.as_deref(),
            energy_ev: None,
            charge: Some(structure.charge()),
            multiplicity: Some(structure.multiplicity()),
            key_values: &key_values,
        };
        write_frame(&mut bytes, &view)?;
    }
    Ok(bytes)
}

/// Groups printed per property; the result file has all.
const PRINTED: usize = 8;

fn print(accuracy: &Accuracy) {
    let all = &accuracy.overall;
    let (mae, euclidean) = (&all.component_mae_mev_per_angstrom, &all.euclidean_mev_per_angstrom);
    println!(
        "structures    {} of {} molecules, {} atoms; 95 % intervals over {}",
        all.n_structures, accuracy.n_molecules, all.n_atoms, accuracy.intervals_over
    );
    let kcal = |mev: &Estimate| {
        let of = |value: f64| value * 1e-3 / KCAL_PER_MOL_IN_EV;
        Estimate { value: of(mev.value), interval: mev.interval.map(|ends| ends.map(of)) }
    };
    for (name, estimate) in
        [("component MAE", mae), ("per atom", euclidean), ("RMSE", &all.rmse_mev_per_angstrom)]
    {
        println!("{name:<13} {estimate} meV/Å = {:.3} kcal/mol/Å", kcal(estimate));
    }
    if let Some(relative) = all.relative_percent {
        println!("relative      {relative} %");
    }
    if let Some(angle) = all.angle_degrees {
        println!("angle         {angle} degrees");
    }
    for grouping in &accuracy.groupings {
        println!("by {}", grouping.by);
        for Errors { name, n_structures, component_mae_mev_per_angstrom: mae, .. } in
            grouping.groups.iter().take(PRINTED)
        {
            println!("  {name:<26} {:<28} meV/Å  {n_structures} structures", mae.to_string());
        }
        if let Some(more) = grouping.groups.len().checked_sub(PRINTED + 1) {
            println!("  and {} more in the result file", more + 1);
        }
    }
}
