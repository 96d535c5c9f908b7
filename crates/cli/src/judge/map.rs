//! `mdet judge map`: which structural features go with failure, over a series of molecules.

use super::nve::{self, CURL_ORIENTATIONS, Condition, EVERY, Plan};
use super::parts::Parts;
use super::stability::SAMPLE_FS;
use crate::judgement::{Judge, JudgeArgs};
use crate::labelled::{self, Labelled};
use crate::model_choice::Precision;
use crate::progress::Progress;
use crate::{AnyError, Done, interrupt, units};
use clap::Args;
use mdet_analysis::equivariance::{EquivarianceJudge, Orientations, StructureEquivariance, Subject};
use mdet_analysis::features::{Features, Surroundings};
use mdet_analysis::lambda::antisymmetric_share;
use mdet_analysis::loops::{LoopKind, loop_works};
use mdet_analysis::map::{FailedMolecule, MappedMolecule, StructureMap, correlations};
use mdet_analysis::stability::WatchedBonds;
use mdet_core::{ForceFieldError, ForceJacobian, NetForceRemoved, RotationSet, Structure};
use mdet_data::{ReadOptions, Reader};
use mdet_md::{
    Config, Conserved, Ensemble, Orientation, Simulation, SimulationError, Snapshot, StartingVelocities,
};
use mdet_report::Judgement;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// Equivariance, λ, loop work, heating in NVE (f64, turned anew at every step) and stability in NVT (500 K, Nosé–Hoover) of
/// every molecule of a file.
///
/// Each measure is held against structural features: size, branching, ring strain, polarity, unsaturation, distance from
/// the training data (--training: share of atoms in surroundings that it does not have), being outside of the model's
/// domain. Finished molecules are kept when the command is ended, and not judged again.
///
/// Example: mdet judge map built-in examples/series.xyz --max-atoms 32 --time "0.5 ps"
#[derive(Args)]
pub(crate) struct MapArgs {
    #[command(flatten)]
    judge: JudgeArgs,
    /// Structures: extended XYZ with `name` and `series`, or any other data file.
    #[arg(value_name = "STRUCTURES")]
    data: PathBuf,
    /// Labelled or bare structures that the model was trained on, for the distance from them.
    #[arg(long, value_name = "DATA")]
    training: Option<PathBuf>,
    /// Leave out molecules of more atoms than this [default: none].
    #[arg(long, value_name = "N")]
    max_atoms: Option<usize>,
    /// Only this many structures, evenly spaced through the file.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Judge molecules that the model was not trained for (elements, charges, multiplicities) too, and mark them.
    #[arg(long)]
    force: bool,
    /// Simulated time of a run, NVE and NVT alike; a bare number is in ps.
    #[arg(long, default_value = "1 ps", value_parser = units::duration_in_fs)]
    time: f64,
    /// Time step; a bare number is in fs.
    #[arg(long, default_value = "0.5 fs", value_parser = units::time_in_fs)]
    timestep: f64,
    /// Temperature of the starting velocities in NVE; a bare number is in K.
    #[arg(long, default_value = "300 K", value_parser = units::temperature_in_k)]
    temperature: f64,
    /// Replicas of every molecule.
    #[arg(long, default_value = "2", value_parser = clap::value_parser!(u32).range(1..))]
    replicas: u32,
    /// Rotations of the equivariance test after each of two uniform ones.
    #[arg(long, default_value = "12", value_parser = clap::value_parser!(u16).range(1..))]
    rotations: u16,
    /// Predict the curl's heating of molecules of up to this many atoms; it costs 72 force calls an atom.
    #[arg(long, value_name = "N", default_value_t = 32)]
    curl_up_to: usize,
}

pub(crate) fn run(args: &MapArgs) -> Result<Done, AnyError> {
    let mut judge = Judge::start(&args.judge, "map", &args.data)?;
    judge.note_input(&args.data)?;
    let n_steps = (args.time / args.timestep).round() as u64;
    if n_steps < 40 * EVERY {
        let found = args.time;
        return Err(format!("expected a time of at least {} steps, found {found} fs", 40 * EVERY).into());
    }
    let options = args.judge.read.options();
    let all = labelled::limited(labelled::read(&args.data, options)?, args.limit);
    let n_all = all.len();
    let max_atoms = args.max_atoms.unwrap_or(usize::MAX);
    let wanted = |item: &Labelled| {
        let may_be_judged = args.force || labelled::foreign(&judge.cards(), item).is_none();
        item.structure.n_atoms() <= max_atoms && may_be_judged
    };
    let items: Vec<Labelled> = all.into_iter().filter(wanted).collect();
    if items.is_empty() {
        let file = args.data.display();
        return Err(format!(
            "{file}: expected molecules in the model's domain of up to {max_atoms} atoms, found none of {n_all}"
        )
        .into());
    }
    if items.len() < n_all {
        let left_out = n_all - items.len();
        eprintln!(
            "mdet: {left_out} of {n_all} molecules left out: too large, or outside the domain (--force)"
        );
    }
    labelled::inside_domain(&judge.cards(), &items);
    let training = args.training.as_deref().map(|path| surroundings(path, options)).transpose()?;
    if let Some(path) = &args.training {
        judge.note_input(path)?;
    }
    let stop = interrupt::flag()?;
    let mut parts: Parts<Judged> = Parts::open(&judge.out, &judge.key()?)?;
    let costs = items.iter().map(|item| (item.structure.n_atoms() as f64).powi(2));
    let mut progress = Progress::weighted(parts.done.len(), costs);
    for (item, index) in items.iter().zip(0..).skip(parts.done.len()) {
        progress.at(index, || item.molecule.clone());
        let judged = match molecule(args, item, training.as_ref(), &judge, &stop) {
            Ok(None) => return Ok(Done::Interrupted),
            Ok(Some(molecule)) => Judged::Mapped(Box::new(molecule)),
            Err(error) => Judged::Failed(FailedMolecule {
                name: item.molecule.clone(),
                series: item.source.clone(),
                why: not_finite(&error).ok_or(error)?,
            }),
        };
        parts.push(judged)?;
    }
    progress.finish();
    let (mut molecules, mut failed) = (Vec::new(), Vec::new());
    for judged in &parts.done {
        match judged {
            Judged::Mapped(molecule) => molecules.push((**molecule).clone()),
            Judged::Failed(molecule) => failed.push(molecule.clone()),
        }
    }
    let map = StructureMap {
        planned_ps: args.time * 1e-3,
        n_replicas: args.replicas as usize,
        starting_temperature_k: args.temperature,
        n_left_out: n_all - items.len(),
        n_training_surroundings: training.map(|training| training.count()),
        correlations: correlations(&molecules, judge.seed),
        molecules,
        failed,
    };
    print(&map);
    let done = judge.finish(Judgement::Map(map))?;
    parts.remove()?;
    Ok(done)
}

/// What came of a molecule.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Judged {
    Mapped(Box<MappedMolecule>),
    Failed(FailedMolecule),
}

/// Which force is not finite, where that is what failed.
fn not_finite(error: &AnyError) -> Option<String> {
    if let Some(ForceFieldError::NonFinite { atom, .. }) = error.downcast_ref() {
        return Some(format!("the predicted force on atom {atom} is not finite"));
    }
    let error = error.downcast_ref::<SimulationError>()?;
    matches!(error, SimulationError::NonFiniteForce { .. }).then(|| crate::one_line(error))
}

fn surroundings(path: &Path, options: ReadOptions) -> Result<Surroundings, AnyError> {
    let mut training = Surroundings::default();
    for record in Reader::open(path, options)? {
        let record = record?;
        let (numbers, positions) = (record.numbers, record.positions);
        training.add(&Structure::new(numbers, positions, record.charge, record.multiplicity)?);
    }
    Ok(training)
}

/// Judges one molecule; `None` when `stop` was raised.
fn molecule(
    args: &MapArgs,
    item: &Labelled,
    training: Option<&Surroundings>,
    judge: &Judge,
    stop: &AtomicBool,
) -> Result<Option<MappedMolecule>, AnyError> {
    let structure = &item.structure;
    let equivariance = equivariance(args, item, judge)?;
    let mut double = judge.double()?;
    let (lambda, _) = antisymmetric_share(&double.jacobian(structure)?);
    if stop.load(Ordering::Relaxed) {
        return Ok(None);
    }
    let loops = loop_works(&item.molecule, structure, &mut double)?;
    let inner = loops.iter().filter(|work| work.kind != LoopKind::Turn);
    let (sum, absolute) =
        inner.fold((0.0, 0.0), |(sum, all), work| (sum + work.work_mev.abs(), all + work.absolute_work_mev));
    let plan = Plan {
        structure,
        n_replicas: args.replicas as usize,
        n_steps: (args.time / args.timestep).round() as u64,
        timestep_fs: args.timestep,
        temperature_k: args.temperature,
        curl_orientations: if structure.n_atoms() <= args.curl_up_to { CURL_ORIENTATIONS } else { 0 },
    };
    let condition = Condition {
        name: "f64 + offset".to_string(),
        precision: Precision::F64,
        frames: 0,
        orientation: Orientation::RandomEveryStep,
    };
    let Some(outcome) = nve::run(&plan, &condition, judge, stop, None, |_, _| ())? else { return Ok(None) };
    let broken_ps: Vec<f64> = outcome.broken_ps.into_iter().flatten().collect();
    let Some(unstable_ps) = unstable_ps(args, structure, judge, stop)? else { return Ok(None) };
    let single = equivariance.single.map_or(f64::NAN, |single| single.rounding_mev_per_angstrom.mean);
    Ok(Some(MappedMolecule {
        name: item.molecule.clone(),
        series: item.source.clone(),
        features: Features::of(structure, training),
        outside: labelled::outside(&judge.cards(), item),
        equivariance_mev_per_angstrom: equivariance.error_mev_per_angstrom.mean,
        rounding_mev_per_angstrom: single,
        force_mev_per_angstrom: equivariance.force_mev_per_angstrom,
        lambda,
        loop_share: (absolute > 0.0).then(|| sum / absolute),
        heating_mev_per_atom_per_ps: outcome.drift.heating_mev_per_atom_per_ps,
        predicted: outcome.drift.predicted,
        broken_ps: broken_ps.iter().copied().min_by(f64::total_cmp),
        n_broken: broken_ps.len(),
        ended: outcome.drift.ended,
        unstable_ps: unstable_ps.iter().copied().min_by(f64::total_cmp),
        n_unstable: unstable_ps.len(),
    }))
}

/// When replicas become unstable in NVT, ps, of those that do; `None` when `stop` was raised.
fn unstable_ps(
    args: &MapArgs,
    structure: &Structure,
    judge: &Judge,
    stop: &AtomicBool,
) -> Result<Option<Vec<f64>>, AnyError> {
    let config = Config {
        ensemble: Ensemble::NvtNoseHoover { temperature_k: 500.0, time_constant_fs: 10.0 },
        timestep_fs: args.timestep,
        initial_temperature_k: 500.0,
        starting_velocities: StartingVelocities::Drawn,
        orientation: Orientation::AsItLies,
        forces_conserve: Conserved::default(),
        seed: judge.seed,
    };
    let bonds = WatchedBonds::of(structure);
    let n_steps = (args.time / args.timestep).round() as u64;
    let between_samples = (SAMPLE_FS / args.timestep).round().max(1.0) as u64;
    let mut force_field = NetForceRemoved::new(judge.single()?);
    let mut unstable_ps = Vec::new();
    // One by one, so that one whose forces are not finite ends no other.
    for replica in 0..args.replicas {
        let start = Snapshot::start(structure.clone(), replica, &config)?;
        let mut simulation = Simulation::resume(vec![start], &mut force_field, config)?;
        while simulation.step_number() < n_steps {
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let stepped = simulation.step();
            let step = simulation.step_number();
            let is_sample = step.is_multiple_of(between_samples) || step == n_steps;
            let unstable_step = match stepped {
                Ok(()) if is_sample && !bonds.hold(simulation.frame(0).structure.positions()) => step,
                Ok(()) => continue,
                Err(SimulationError::NonFiniteForce { step, .. }) => step,
                Err(error) => return Err(error.into()),
            };
            unstable_ps.push(unstable_step as f64 * args.timestep * 1e-3);
            break;
        }
    }
    Ok(Some(unstable_ps))
}

fn equivariance(args: &MapArgs, item: &Labelled, judge: &Judge) -> Result<StructureEquivariance, AnyError> {
    let set = RotationSet::of_size(usize::from(args.rotations), judge.seed);
    let mut found = EquivarianceJudge::new(Orientations::new(set, 2, false, judge.seed));
    let (name, class) = (item.molecule.as_str(), item.source.as_str());
    let subject = Subject { name, class, inside_domain: None, structure: &item.structure };
    Ok(found.add(subject, &mut judge.double()?, Some(&mut judge.single()?))?.clone())
}

fn print(map: &StructureMap) {
    println!(
        "{:<24} {:>5} {:>12} {:>8} {:>9} {:>24} {:>10} {:>8} {:>8}",
        "molecule",
        "atoms",
        "E_eq meV/Å",
        "λ",
        "loops %",
        "heating meV/atom/ps",
        "predicted",
        "broken",
        "unstable"
    );
    for m in &map.molecules {
        let heating = m.heating_mev_per_atom_per_ps.map_or("–".into(), |h| format!("{h:+.2}"));
        let predicted =
            m.whole_prediction().map_or("–".into(), |p| format!("{:+.2}", p.middle_mev_per_atom_per_ps()));
        let [broken, unstable] =
            [m.broken_ps, m.unstable_ps].map(|ps| ps.map_or("–".into(), |ps| format!("{ps:.2} ps")));
        println!(
            "{:<24} {:>5} {:>12.2} {:>8.4} {:>9.2} {heating:>24} {predicted:>10} {broken:>8} {unstable:>8}{}",
            m.name.chars().take(24).collect::<String>(),
            m.features.atoms,
            m.equivariance_mev_per_angstrom,
            m.lambda,
            100.0 * m.loop_share.unwrap_or(0.0),
            if m.outside.is_some() { "  outside the domain" } else { "" }
        );
    }
    for molecule in &map.failed {
        println!("{:<24} failed: {}", molecule.name.chars().take(24).collect::<String>(), molecule.why);
    }
    println!("rank correlations with 95 % intervals, where these do not hold zero");
    for c in &map.correlations {
        let Some(estimate) = c.rank_correlation else { continue };
        if estimate.interval.is_some_and(|[low, high]| low > 0.0 || high < 0.0) {
            println!("  {:<20} {:<20} {estimate:+.2}, {} molecules", c.measure, c.feature, c.n_molecules);
        }
    }
}
