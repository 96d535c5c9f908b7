//! `mdet judge drift`: what forces without a potential pump into a molecule in NVE, under several conditions.

use super::nve::{self, CURL_ORIENTATIONS, Condition, EVERY, Plan, StateFile};
use super::parts::Parts;
use crate::judgement::{Judge, JudgeArgs};
use crate::model_choice::Precision::{F32, F64};
use crate::progress::Progress;
use crate::{AnyError, Done, interrupt, labelled, units};
use clap::Args;
use mdet_analysis::drift::{ConditionDrift, Drift};
use mdet_analysis::heating::CURL_WIDTHS_PER_CM;
use mdet_core::Structure;
use mdet_md::Orientation::{AsItLies, RandomEveryStep};
use mdet_report::Judgement;
use std::path::PathBuf;

/// NVE under four conditions, f32 or f64, as it lies or turned anew at every step, and with frame averaging.
///
/// Every condition starts from the same positions and velocities, several replicas each; net force and torque are
/// removed. Work-integrated energy balances for any forces under velocity Verlet, so the drift is that of the kinetic
/// energy: its slope per atom and ps over replicas, when it has changed by 10 %, when the temperature has doubled.
/// Beside it stands what the force errors predict: those of the orientation where it is drawn anew, rounding, and the
/// antisymmetric part of the Jacobian. When the command is ended, by Ctrl-C or a crash, the same command goes on where it
/// was, bit for bit.
///
/// Example: mdet judge drift built-in octane.xyz --time "20 ps" --replicas 4
#[derive(Args)]
pub(crate) struct DriftArgs {
    #[command(flatten)]
    judge: JudgeArgs,
    /// The molecule: the file's first structure, best at its minimum.
    #[arg(value_name = "STRUCTURE")]
    data: PathBuf,
    /// Simulated time of a run; a bare number is in ps.
    #[arg(long, default_value = "10 ps", value_parser = units::duration_in_fs)]
    time: f64,
    /// Time step; a bare number is in fs.
    #[arg(long, default_value = "0.5 fs", value_parser = units::time_in_fs)]
    timestep: f64,
    /// Temperature of the starting velocities; a bare number is in K.
    #[arg(long, default_value = "300 K", value_parser = units::temperature_in_k)]
    temperature: f64,
    /// Replicas of every condition, with velocities of their own.
    #[arg(long, default_value = "4", value_parser = clap::value_parser!(u32).range(1..))]
    replicas: u32,
    /// Rotations of the condition with frame averaging; 0 leaves it out.
    #[arg(long, default_value_t = 4)]
    frames: usize,
    /// Orientations that the Jacobian of turned forces is averaged over, for the prediction; 0 leaves its part out.
    #[arg(long, value_name = "N", default_value_t = CURL_ORIENTATIONS)]
    curl_orientations: usize,
}

pub(crate) fn run(args: &DriftArgs) -> Result<Done, AnyError> {
    let mut judge = Judge::start(&args.judge, "drift", &args.data)?;
    judge.note_input(&args.data)?;
    let item = labelled::read(&args.data, args.judge.read.options())?.swap_remove(0);
    let n_steps = (args.time / args.timestep).round() as u64;
    if n_steps < 40 * EVERY {
        let found = args.time;
        return Err(format!("expected a time of at least {} steps, found {found} fs", 40 * EVERY).into());
    }
    let condition = |name: &str, precision, orientation| Condition {
        name: name.to_string(),
        precision,
        frames: 0,
        orientation,
    };
    let mut conditions = vec![
        condition("f32", F32, AsItLies),
        condition("f32 + offset", F32, RandomEveryStep),
        condition("f64", F64, AsItLies),
        condition("f64 + offset", F64, RandomEveryStep),
    ];
    if args.frames > 0 {
        let name = format!("f32, {} frames + offset", args.frames);
        conditions.push(Condition { frames: args.frames, ..condition(&name, F32, RandomEveryStep) });
    }
    let plan = Plan {
        structure: &item.structure,
        n_replicas: args.replicas as usize,
        n_steps,
        timestep_fs: args.timestep,
        temperature_k: args.temperature,
        curl_orientations: args.curl_orientations,
    };
    labelled::inside_domain(&judge.cards(), std::slice::from_ref(&item));
    let stop = interrupt::flag()?;
    let key = judge.key()?;
    let mut parts: Parts<(ConditionDrift, Vec<Vec<[f64; 3]>>)> = Parts::open(&judge.out, &key)?;
    let state_file = StateFile::beside(&judge.out, key);
    let work = |n: usize| n_steps * conditions[..n].iter().map(Condition::cost).sum::<u64>();
    let mut progress = Progress::resumed(work(parts.done.len()), work(conditions.len()));
    for (index, condition) in conditions.iter().enumerate().skip(parts.done.len()) {
        let name = &condition.name;
        let at = |step, temperature: f64| {
            progress.at(work(index) + condition.cost() * step, || format!("{name}: T {temperature:.0} K"));
        };
        let Some(outcome) = nve::run(&plan, condition, &judge, &stop, Some(&state_file), at)? else {
            println!("interrupted; the same command goes on");
            return Ok(Done::Interrupted);
        };
        // One trajectory is shown.
        let shown = if index == 0 { outcome.frames } else { Vec::new() };
        parts.push((outcome.drift, shown))?;
        state_file.remove()?;
    }
    progress.finish();
    let frame = |positions: &Vec<[f64; 3]>| {
        let mut frame = item.structure.clone();
        frame.positions_mut().copy_from_slice(positions);
        frame
    };
    let frames: Vec<Structure> = parts.done.iter().flat_map(|part| part.1.iter().map(frame)).collect();
    let drift = Drift {
        molecule: item.molecule.clone(),
        n_atoms: item.structure.n_atoms(),
        timestep_fs: args.timestep,
        planned_ps: args.time * 1e-3,
        starting_temperature_k: args.temperature,
        conditions: parts.done.iter().map(|part| part.0.clone()).collect(),
    };
    print(&drift);
    judge.show("The first replica in f32 as it lies.", &frames);
    let done = judge.finish(Judgement::Drift(drift))?;
    parts.remove()?;
    state_file.remove()?;
    Ok(done)
}

fn print(drift: &Drift) {
    println!(
        "{}, {} atoms, {} ps of NVE from {} K, {} fs steps; ± standard error over replicas",
        drift.molecule, drift.n_atoms, drift.planned_ps, drift.starting_temperature_k, drift.timestep_fs
    );
    println!(
        "{:<24} {:>26} {:>18} {:>10} {:>14} {:>10}",
        "condition", "heating meV/atom/ps", "predicted", "mean T", "10 % changed", "runaway"
    );
    for condition in &drift.conditions {
        let heating =
            condition.heating_mev_per_atom_per_ps.map_or("too short".into(), |h| format!("{h:+.3}"));
        let predicted = condition.predicted.map_or("–".into(), |p| format!("{p:+.3}"));
        let n = condition.replicas.len();
        let count = |hit: fn(&mdet_analysis::drift::ReplicaDrift) -> bool| {
            format!("{} of {n}", condition.replicas.iter().filter(|replica| hit(replica)).count())
        };
        let temperature = condition.temperature_k.map_or(f64::NAN, |spread| spread.mean);
        println!(
            "{:<24} {heating:>26} {predicted:>18} {temperature:>8.0} K {:>14} {:>10}",
            condition.name,
            count(|replica| replica.ten_percent_ps.is_some()),
            count(|replica| replica.runaway_ps.is_some())
        );
        if let Some(ended) = &condition.ended {
            println!("  ended early: {ended}");
        }
    }
    if drift.conditions.iter().all(|c| c.predicted.is_none_or(|p| p.curl_mev_per_atom_per_ps.is_none())) {
        return;
    }
    let [narrow, wide] = CURL_WIDTHS_PER_CM;
    println!(
        "predicted: of modes {narrow} to {wide} cm⁻¹ wide, through which the curl along the run heats; how wide they are is not known"
    );
}
