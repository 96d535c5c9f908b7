//! `mdet predict`: the forces of every frame of a file.

use crate::input::{InputArgs, at, check_output};
use crate::model_choice::ModelArgs;
use crate::progress::Progress;
use crate::{AnyError, Done, interrupt};
use clap::Args;
use mdet_core::{ForceField, NetForceRemoved, Structure, atomic_write};
use mdet_data::{FrameView, write_frame};
use std::path::PathBuf;
use std::sync::atomic::Ordering;

/// Write the predicted forces of every frame of an XYZ file, eV/Å, as extended XYZ.
///
/// Net force and torque are removed unless --raw. The output is written when all frames are done, or not at all.
///
/// Example: mdet predict frames.xyz -o forces.xyz
#[derive(Args)]
pub(crate) struct PredictArgs {
    #[command(flatten)]
    input: InputArgs,
    #[command(flatten)]
    model: ModelArgs,
    /// File to write.
    #[arg(short, long, value_name = "OUT.xyz")]
    out: PathBuf,
    /// Leave net force and torque in.
    #[arg(long)]
    raw: bool,
    /// Replace the output file if it exists.
    #[arg(long)]
    overwrite: bool,
}

/// Frames between looks at Ctrl-C.
const BATCH: usize = 64;

pub(crate) fn run(args: &PredictArgs) -> Result<Done, AnyError> {
    check_output(&args.out, args.overwrite)?;
    let (model, _) = args.model.load()?;
    let (frames, structures): (Vec<_>, Vec<Structure>) = args.input.read(&model.card)?.into_iter().unzip();
    let raw = args.model.force_field(&model)?;
    let mut force_field: Box<dyn ForceField> =
        if args.raw { raw } else { Box::new(NetForceRemoved::new(raw)) };
    let stop = interrupt::flag()?;
    let mut progress = Progress::new(frames.len() as u64);
    let mut bytes = Vec::new();
    for (index, (frames, structures)) in frames.chunks(BATCH).zip(structures.chunks(BATCH)).enumerate() {
        if stop.load(Ordering::Relaxed) {
            return Ok(Done::Interrupted);
        }
        let mut forces = vec![[0.0; 3]; structures.iter().map(Structure::n_atoms).sum()];
        force_field.forces(structures, &mut forces)?;
        let mut rest = forces.as_slice();
        for (frame, structure) in frames.iter().zip(structures) {
            let (own, later) = rest.split_at(structure.n_atoms());
            rest = later;
            let view = FrameView {
                forces: Some(own),
                // The file's energy belongs to the file's forces.
                energy_ev: None,
                charge: Some(structure.charge()),
                multiplicity: Some(structure.multiplicity()),
                ..FrameView::from(frame)
            };
            write_frame(&mut bytes, &view)?;
        }
        progress.at((index * BATCH + frames.len()) as u64, || format!("{} atoms", structures[0].n_atoms()));
    }
    progress.finish();
    atomic_write(&args.out, &bytes).map_err(at(&args.out))?;
    Ok(Done::Completed)
}
