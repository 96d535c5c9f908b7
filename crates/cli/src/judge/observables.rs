//! `mdet judge observables`: from which drift on the errors of spectrum, dihedrals and temperatures show.

use super::nve::runaway_k;
use super::parts::Parts;
use crate::judgement::{Judge, JudgeArgs};
use crate::labelled;
use crate::model_choice::Precision;
use crate::progress::Progress;
use crate::{AnyError, Done, interrupt, units};
use clap::Args;
use mdet_analysis::drift::Series;
use mdet_analysis::motion::{Band, Look, Motion};
use mdet_analysis::observables::{ConditionRun, DriftOf, EnsembleErrors, ObservableErrors, ReplicaRun};
use mdet_analysis::torsions::torsions;
use mdet_analysis::trajectory::Observed;
use mdet_core::disturbed::{Disturbance, Disturbed};
use mdet_core::elements::masses_u;
use mdet_core::rigid::remove_net_force_and_torque;
use mdet_core::{ForceField, ForceJacobian, FrameAveraged, NetForceRemoved, RotationSet, Structure, bonds};
use mdet_md::normal_modes::normal_modes;
use mdet_md::{Config, Conserved, Ensemble, Orientation, Simulation, Snapshot, StartingVelocities};
use mdet_report::Judgement;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

/// Which drift is harmless: one molecule under conditions of growing drift, in NVE and NVT.
///
/// The conditions: f64 with frame averaging and a fresh random orientation at every step (the best, that the others are
/// compared with), f64 and f32 with and without that orientation, and f32 with an added error of known size that
/// depends on the orientation and has no potential (every bond is pushed around the laboratory's z axis), as the
/// molecule lies and, for the largest, turned. All start from the same positions and velocities, equilibrated at the
/// temperature; NVT is Bussi's thermostat with the same noise. For every condition: the drift (NVE: slope of the
/// kinetic energy; NVT: heat that the thermostat takes away; meV per atom and ps), and how far density of states, pair
/// distances, dihedrals, RMSD and the temperatures of the elements and of the normal modes by wavenumber differ from
/// the best condition's, beside what noise alone would make of it. The threshold of an observable lies between the
/// largest drift that does not show (difference within two standard deviations of the noise) and the smallest that
/// does. Definitions: docs/judging.md.
///
/// Finished conditions are kept when the command is ended, and not run again.
///
/// Example: mdet judge observables built-in ethanol.xyz --time "20 ps" --bias 10,30,100
#[derive(Args)]
pub(crate) struct ObservablesArgs {
    #[command(flatten)]
    judge: JudgeArgs,
    /// The molecule: the file's first structure, best at its minimum.
    #[arg(value_name = "STRUCTURE")]
    data: PathBuf,
    /// Simulated time of a run; a bare number is in ps.
    #[arg(long, default_value = "10 ps", value_parser = units::duration_in_fs)]
    time: f64,
    /// Time of the equilibration before; a bare number is in ps.
    #[arg(long, default_value = "1 ps", value_parser = units::duration_in_fs)]
    equilibration: f64,
    /// Time step; a bare number is in fs.
    #[arg(long, default_value = "0.5 fs", value_parser = units::time_in_fs)]
    timestep: f64,
    /// Temperature of equilibration and thermostat; a bare number is in K.
    #[arg(long, default_value = "300 K", value_parser = units::temperature_in_k)]
    temperature: f64,
    /// Replicas of every condition, with velocities of their own.
    #[arg(long, default_value = "4", value_parser = clap::value_parser!(u32).range(1..=1000))]
    replicas: u32,
    /// Rotations that the best condition averages over; 1 leaves averaging out.
    #[arg(long, default_value = "4", value_parser = clap::value_parser!(u16).range(1..))]
    frames: u16,
    /// Sizes of the added error, meV/Å at each end of a bond across z.
    #[arg(long, value_delimiter = ',', value_name = "MEV/A", default_value = "10,30,100,300")]
    bias: Vec<f64>,
    /// Width at half maximum of a sharp line in the spectrum, cm⁻¹; wider where blocks are too short for it.
    #[arg(long, default_value_t = 30.0)]
    resolution: f64,
}

/// Time between samples, fs: fine enough for all vibrations.
const SAMPLE_FS: f64 = 2.0;
/// Blocks of one replica.
const N_BLOCKS: usize = 2;
/// Relaxation time of the thermostat, fs.
const TIME_CONSTANT_FS: f64 = 100.0;

/// How forces are computed.
struct Condition {
    name: String,
    precision: Precision,
    frames: u16,
    bias_mev_per_angstrom: f64,
    orientation: Orientation,
}

pub(crate) fn run(args: &ObservablesArgs) -> Result<Done, AnyError> {
    let mut judge = Judge::start(&args.judge, "observables", &args.data)?;
    judge.note_input(&args.data)?;
    let item = labelled::read(&args.data, args.judge.read.options())?.swap_remove(0);
    let mut plan = args.plan(&item.structure, judge.seed)?;
    let conditions = args.conditions();
    labelled::inside_domain(&judge.cards(), std::slice::from_ref(&item));
    plan.look.bands = bands(&item.structure, &judge)?;
    let stop = interrupt::flag()?;
    let ensembles = plan.ensembles();
    let jobs: Vec<_> = ensembles.iter().flat_map(|e| conditions.iter().map(move |c| (e, c))).collect();
    let mut parts: Parts<Outcome> = Parts::open(&judge.out, &judge.key()?)?;
    let force_field = NetForceRemoved::new(judge.single()?);
    let Some(start) = plan.equilibrate(force_field, args.equilibration, &stop)? else {
        return Ok(Done::Interrupted);
    };
    let work = |n: usize| plan.n_steps * jobs[..n].iter().map(|(_, condition)| condition.cost()).sum::<u64>();
    let mut progress = Progress::resumed(work(parts.done.len()), work(jobs.len()));
    for (index, ((ensemble, name, drift), condition)) in jobs.iter().enumerate().skip(parts.done.len()) {
        let force_field = condition.force_field(&judge, &plan.bonds)?;
        let at = |step: u64| {
            let done = work(index) + condition.cost() * step;
            progress.at(done, || format!("{name}, {}", condition.name));
        };
        match plan.run(&start, (*ensemble, *drift), condition.orientation, force_field, &stop, at)? {
            Some(outcome) => parts.push(outcome)?,
            None => return Ok(Done::Interrupted),
        }
    }
    progress.finish();
    let compared = |((_, name, drift), outcomes): (&(Ensemble, &str, DriftOf), &[Outcome])| {
        let run = |(condition, outcome): (&Condition, &Outcome)| ConditionRun {
            name: condition.name.clone(),
            bias_mev_per_angstrom: condition.bias_of(&item.structure, &plan.bonds),
            replicas: outcome.replicas.clone(),
            observed: outcome.observed.clone(),
            ended: outcome.ended.clone(),
        };
        let runs: Vec<ConditionRun> = conditions.iter().zip(outcomes).map(run).collect();
        EnsembleErrors::of(name, *drift, &runs, judge.seed)
    };
    let ensembles = ensembles.iter().zip(parts.done.chunks(conditions.len())).map(compared).collect();
    let found = ObservableErrors {
        molecule: item.molecule.clone(),
        n_atoms: item.structure.n_atoms(),
        planned_ps: plan.n_steps as f64 * args.timestep * 1e-3,
        timestep_fs: args.timestep,
        temperature_k: args.temperature,
        n_replicas: args.replicas as usize,
        n_blocks: args.replicas as usize * N_BLOCKS,
        ensembles,
    };
    print(&found);
    let done = judge.finish(Judgement::Observables(found))?;
    parts.remove()?;
    Ok(done)
}

/// The normal modes of the structure, as it lies.
fn bands(structure: &Structure, judge: &Judge) -> Result<Vec<Band>, AnyError> {
    let masses_u = masses_u(structure.numbers());
    let jacobian = judge.double()?.jacobian(structure)?;
    let modes = normal_modes(&jacobian, &masses_u, structure.positions());
    Ok(Band::of_modes(&modes.wavenumbers_per_cm, &modes.displacements, &masses_u))
}

impl ObservablesArgs {
    fn plan(&self, structure: &Structure, seed: u64) -> Result<Plan, AnyError> {
        let every = (SAMPLE_FS / self.timestep).round().max(1.0);
        let n_steps = (self.time / (every * self.timestep)).round() as u64 * every as u64;
        let least = N_BLOCKS as u64 * 16 * every as u64;
        if self.timestep <= 0.0 || n_steps < least {
            return Err(format!("expected a time of at least {least} steps, found {} fs", self.time).into());
        }
        let wrong = |size: &&f64| !(**size > 0.0 && size.is_finite());
        if let Some(size) = self.bias.iter().find(wrong) {
            return Err(format!("expected sizes of the added error above 0 meV/Å, found {size}").into());
        }
        if !(self.resolution > 0.0 && self.resolution.is_finite()) {
            return Err(format!("expected a resolution above 0 cm⁻¹, found {}", self.resolution).into());
        }
        Ok(Plan {
            look: Look {
                n_blocks: N_BLOCKS,
                resolution_per_cm: self.resolution,
                torsions: torsions(structure.numbers(), structure.positions()),
                reference: structure.positions().to_vec(),
                bands: Vec::new(),
            },
            bonds: bonds(structure.numbers(), structure.positions()),
            structure: structure.clone(),
            n_replicas: self.replicas,
            n_steps,
            every: every as u64,
            timestep_fs: self.timestep,
            temperature_k: self.temperature,
            seed,
        })
    }

    /// The best one first.
    fn conditions(&self) -> Vec<Condition> {
        use Orientation::{AsItLies, RandomEveryStep};
        use Precision::{F32, F64};
        let condition = |precision, frames: u16, bias: f64, orientation| {
            let mut name = if precision == F64 { "f64" } else { "f32" }.to_string();
            if frames > 1 {
                name += &format!(", {frames} frames");
            }
            if bias > 0.0 {
                name += &format!(", bias {bias} meV/Å");
            }
            if orientation == RandomEveryStep {
                name += " + offset";
            }
            Condition { name, precision, frames, bias_mev_per_angstrom: bias, orientation }
        };
        let mut all = vec![condition(F64, self.frames, 0.0, RandomEveryStep)];
        if self.frames > 1 {
            all.push(condition(F64, 1, 0.0, RandomEveryStep));
        }
        all.push(condition(F64, 1, 0.0, AsItLies));
        all.push(condition(F32, 1, 0.0, RandomEveryStep));
        all.push(condition(F32, 1, 0.0, AsItLies));
        all.extend(self.bias.iter().map(|&bias| condition(F32, 1, bias, AsItLies)));
        let largest = self.bias.iter().copied().max_by(f64::total_cmp);
        all.extend(largest.map(|bias| condition(F32, 1, bias, RandomEveryStep)));
        all
    }
}

impl Condition {
    /// What a step costs, in steps in f32.
    fn cost(&self) -> u64 {
        self.precision.cost() * u64::from(self.frames)
    }

    fn force_field(&self, judge: &Judge, bonds: &[[usize; 2]]) -> Result<Box<dyn ForceField>, AnyError> {
        let mut inner = judge.force_field(self.precision)?;
        if self.bias_mev_per_angstrom > 0.0 {
            inner = Box::new(Disturbed::new(inner, self.whirl(bonds)));
        }
        if self.frames > 1 {
            let rotations = RotationSet::of_size(usize::from(self.frames), judge.seed).rotations();
            inner = Box::new(FrameAveraged { inner, rotations });
        }
        Ok(Box::new(NetForceRemoved::new(inner)))
    }

    fn whirl(&self, bonds: &[[usize; 2]]) -> Disturbance {
        let size_ev_per_angstrom = 1e-3 * self.bias_mev_per_angstrom;
        Disturbance::Whirl { size_ev_per_angstrom, pairs: bonds.to_vec() }
    }

    /// Root mean square of the added error on an atom without its net force and torque, meV/Å.
    fn bias_of(&self, structure: &Structure, bonds: &[[usize; 2]]) -> f64 {
        let mut forces = vec![[0.0; 3]; structure.n_atoms()];
        self.whirl(bonds).add_to(structure.positions(), &mut forces);
        remove_net_force_and_torque(structure.positions(), &mut forces);
        let squares: f64 = forces.iter().flatten().map(|f| f * f).sum();
        1e3 * (squares / structure.n_atoms() as f64).sqrt()
    }
}

/// What every condition has in common.
struct Plan {
    structure: Structure,
    bonds: Vec<[usize; 2]>,
    look: Look,
    n_replicas: u32,
    n_steps: u64,
    /// Steps between samples.
    every: u64,
    timestep_fs: f64,
    temperature_k: f64,
    seed: u64,
}

/// What a run gave.
#[derive(Serialize, Deserialize)]
struct Outcome {
    replicas: Vec<ReplicaRun>,
    /// The observables' blocks.
    observed: Option<Observed>,
    /// Why it ended early.
    ended: Option<String>,
}

impl Plan {
    fn thermostat(&self) -> Ensemble {
        Ensemble::NvtBussi { temperature_k: self.temperature_k, time_constant_fs: TIME_CONSTANT_FS }
    }

    fn ensembles(&self) -> [(Ensemble, &'static str, DriftOf); 2] {
        [
            (Ensemble::Nve, "NVE", DriftOf::KineticEnergy),
            (self.thermostat(), "NVT (Bussi, 100 fs)", DriftOf::Heat),
        ]
    }

    fn config(&self, ensemble: Ensemble, orientation: Orientation, seed: u64) -> Config {
        Config {
            ensemble,
            timestep_fs: self.timestep_fs,
            initial_temperature_k: self.temperature_k,
            forces_conserve: Conserved::default(),
            starting_velocities: StartingVelocities::Drawn,
            orientation,
            seed,
        }
    }

    /// Positions and velocities that all conditions start from; `None` when `stop` was raised.
    fn equilibrate(
        &self,
        force_field: impl ForceField,
        time_fs: f64,
        stop: &AtomicBool,
    ) -> Result<Option<Vec<Snapshot>>, AnyError> {
        let config = self.config(self.thermostat(), Orientation::RandomEveryStep, self.seed);
        let structures = vec![self.structure.clone(); self.n_replicas as usize];
        let mut simulation = Simulation::new(structures, force_field, config)?;
        for _ in 0..(time_fs / self.timestep_fs).round() as u64 {
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            simulation.step()?;
        }
        Ok(Some(simulation.snapshots()))
    }

    /// Runs all replicas of a condition; `at` is told of steps done. `None` when `stop` was raised.
    fn run(
        &self,
        start: &[Snapshot],
        (ensemble, drift): (Ensemble, DriftOf),
        orientation: Orientation,
        force_field: impl ForceField,
        stop: &AtomicBool,
        mut at: impl FnMut(u64),
    ) -> Result<Option<Outcome>, AnyError> {
        // Noise of its own, not that of the equilibration.
        let config = self.config(ensemble, orientation, self.seed.wrapping_add(1));
        let snapshots: Result<Vec<_>, _> =
            start.iter().map(|snapshot| snapshot.clone().next_stage(&config)).collect();
        let mut simulation = Simulation::resume(snapshots?, force_field, config)?;
        let spacing_fs = self.every as f64 * self.timestep_fs;
        let empty = Motion { numbers: self.structure.numbers().to_vec(), spacing_fs, ..Motion::default() };
        let mut motions = vec![empty; start.len()];
        let mut series = vec![Series::default(); start.len()];
        let mut ended = None;
        while simulation.step_number() < self.n_steps {
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            if let Err(error) = simulation.step() {
                ended = Some(crate::one_line(&error));
                break;
            }
            if simulation.step_number().is_multiple_of(self.every) {
                for (b, (motion, series)) in motions.iter_mut().zip(&mut series).enumerate() {
                    let frame = simulation.frame(b);
                    motion.positions.push(frame.structure.positions().to_vec());
                    motion.velocities.push(frame.velocities.to_vec());
                    series.time_fs.push(frame.observables.time_fs);
                    series.kinetic_ev.push(frame.observables.kinetic_ev);
                    series.temperature_k.push(frame.observables.temperature_k);
                    series.total_ev.push(frame.observables.total_ev);
                }
                at(simulation.step_number());
                let hottest =
                    series.iter().filter_map(|s| s.temperature_k.last().copied()).fold(0.0, f64::max);
                if hottest > runaway_k(self.temperature_k) {
                    let time_ps = simulation.step_number() as f64 * self.timestep_fs * 1e-3;
                    ended = Some(format!("runaway: {hottest:.0} K after {time_ps:.2} ps"));
                    break;
                }
            }
        }
        // A run that ended early has other bins, and is no sample of the ensemble.
        let observed = match ended {
            Some(_) => None,
            None => motions.iter().map(|motion| Observed::of(motion, &self.look)).reduce(|mut all, next| {
                all.extend(next);
                all
            }),
        };
        let n_atoms = self.structure.n_atoms();
        let replicas = series.iter().map(|series| drift.replica(series, n_atoms)).collect();
        Ok(Some(Outcome { replicas, observed, ended }))
    }
}

fn print(found: &ObservableErrors) {
    println!(
        "{}, {} atoms, {} ps each, {} fs steps, {} K, {} replicas; errors against the first condition",
        found.molecule,
        found.n_atoms,
        found.planned_ps,
        found.timestep_fs,
        found.temperature_k,
        found.n_replicas
    );
    for ensemble in &found.ensembles {
        println!("{}", ensemble.name);
        println!(
            "{:<34} {:>24} {:>9} {:>18}  shows in",
            "condition", "drift meV/atom/ps", "mean T", "spectrum error"
        );
        for condition in &ensemble.conditions {
            let drift = condition.drift_mev_per_atom_per_ps;
            let drift = drift.map_or("–".into(), |d| format!("{d:+.3}"));
            let temperature = condition.temperature_k.map_or(f64::NAN, |spread| spread.mean);
            let spectrum = condition.errors.iter().find(|error| error.name == "spectrum");
            let spectrum = spectrum.and_then(|error| Some((error.value.value, error.value.noise?.mean)));
            let spectrum = spectrum.map_or("–".into(), |(value, noise)| format!("{value:.3} ({noise:.3})"));
            let (n, of) = (condition.n_showing(), condition.errors.len());
            println!("{:<34} {drift:>24} {temperature:>7.0} K {spectrum:>18}  {n} of {of}", condition.name);
            if let Some(ended) = &condition.ended {
                println!("  ended early: {ended}");
            }
        }
        println!(
            "{:<38} {:>24} {:>24}",
            "threshold, |drift| meV/atom/ps", "largest that is hidden", "smallest that shows"
        );
        for threshold in &ensemble.thresholds {
            let number = |value: Option<f64>| value.map_or("none".into(), |value| format!("{value:.3}"));
            let (hidden, shows) = (number(threshold.harmless_up_to), number(threshold.harmful_from));
            println!("{:<38} {hidden:>24} {shows:>24}", threshold.observable);
        }
    }
    println!("spectrum error: ∫|a − b|, in brackets that of noise alone");
}
