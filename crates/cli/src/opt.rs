//! `mdet opt`: geometry optimisation of every frame of a file, on forces alone.

use crate::input::{InputArgs, at, check_output, off_z, refuse_fixed_atoms};
use crate::model_choice::ModelArgs;
use crate::progress::Progress;
use crate::{AnyError, Done, interrupt, units};
use clap::{Args, ValueEnum};
use mdet_core::frames::turned;
use mdet_core::{ForceField, ForceFieldError, NetForceRemoved, Rotation, Structure, atomic_write};
use mdet_data::{FrameView, write_frame};
use mdet_md::optimise::Optimiser;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

/// Optimise the geometry of every frame of an XYZ file until the largest force on an atom is small.
///
/// The model gives no energy, so that there is no line search: steps are limited to 0.2 Å per atom, and L-BFGS drops
/// its memory where forces grow. All frames are optimised, as one batch. The last geometries are written also when
/// some did not converge; the exit code is then 1. A frame whose forces are not finite ends at the geometry before, or
/// as it was given, then without forces.
///
/// Example: mdet opt guess.xyz -o minimum.xyz --max-force 0.005
#[derive(Args)]
pub(crate) struct OptArgs {
    #[command(flatten)]
    input: InputArgs,
    #[command(flatten)]
    model: ModelArgs,
    /// File to write: the optimised geometries with their forces.
    #[arg(short, long, value_name = "OUT.xyz")]
    out: PathBuf,
    /// Replace the output file if it exists.
    #[arg(long)]
    overwrite: bool,
    /// Method.
    #[arg(long, value_enum, default_value = "lbfgs")]
    method: Method,
    /// Converged when no force on an atom is longer than this; a bare number is in eV/Å.
    #[arg(long, default_value = "0.01 eV/A", value_parser = units::force_in_ev_per_angstrom)]
    max_force: f64,
    /// Steps after which to give up.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    max_steps: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Method {
    /// Limited-memory quasi-Newton: fewest steps.
    Lbfgs,
    /// Fast inertial relaxation: more steps, hard to lead astray.
    Fire,
}

/// A structure on its way down.
struct Descent {
    structure: Structure,
    /// From the file's orientation to this one.
    rotation: Option<Rotation>,
    optimiser: Optimiser,
    /// Where the forces are of, Å.
    positions: Vec<[f64; 3]>,
    forces: Vec<[f64; 3]>,
    /// The longest of the forces; infinite before there are any.
    largest: f64,
    n_steps: u64,
    /// The atom whose force was not finite after the last step, which was taken back.
    not_finite: Option<usize>,
}

impl Descent {
    /// To the orientation of the file, when it is done.
    fn turn_back(&mut self) {
        if let Some(rotation) = self.rotation.take() {
            self.structure = turned(&self.structure, &rotation.inverse());
            rotation.apply_inverse(&mut self.forces);
        }
    }

    /// Back to where the forces were finite.
    fn fail(&mut self, atom: usize) {
        self.structure.positions_mut().copy_from_slice(&self.positions);
        self.not_finite = Some(atom);
    }

    /// The forces after a step, or before all.
    fn take(&mut self, forces: &[[f64; 3]], step: u64) {
        let length = |f: &[f64; 3]| f.iter().map(|x| x * x).sum::<f64>().sqrt();
        self.positions.copy_from_slice(self.structure.positions());
        self.forces.copy_from_slice(forces);
        self.largest = forces.iter().map(length).fold(0.0, f64::max);
        self.n_steps = step;
    }
}

pub(crate) fn run(args: &OptArgs) -> Result<Done, AnyError> {
    if args.max_force <= 0.0 {
        return Err(format!("--max-force: expected a force above zero, found {} eV/Å", args.max_force).into());
    }
    check_output(&args.out, args.overwrite)?;
    let (model, _) = args.model.load()?;
    let frames = args.input.read(&model.card)?;
    frames.iter().try_for_each(|(frame, _)| refuse_fixed_atoms(std::slice::from_ref(frame)))?;
    let mut force_field = NetForceRemoved::new(args.model.force_field(&model)?);
    let descent = |(structure, rotation): (Structure, Option<Rotation>)| Descent {
        rotation,
        optimiser: match args.method {
            Method::Lbfgs => Optimiser::lbfgs(),
            Method::Fire => Optimiser::fire(),
        },
        positions: structure.positions().to_vec(),
        forces: vec![[0.0; 3]; structure.n_atoms()],
        largest: f64::INFINITY,
        n_steps: 0,
        not_finite: None,
        structure,
    };
    let mut descents: Vec<Descent> =
        off_z(frames.iter().map(|(_, structure)| structure)).into_iter().map(descent).collect();
    let stop = interrupt::flag()?;
    descend(args, &mut force_field, &mut descents, &stop)?;
    let interrupted = stop.load(Ordering::Relaxed);
    descents.iter_mut().for_each(Descent::turn_back);
    let mut bytes = Vec::new();
    for ((frame, _), descent) in frames.iter().zip(&descents) {
        let view = FrameView {
            positions: descent.structure.positions(),
            // Not those of a given geometry that has none.
            forces: Some(descent.forces.as_slice()).filter(|_| descent.largest.is_finite()),
            // What the file says of velocities and energy belongs to the old geometry.
            velocities: None,
            energy_ev: None,
            charge: Some(descent.structure.charge()),
            multiplicity: Some(descent.structure.multiplicity()),
            ..FrameView::from(frame)
        };
        write_frame(&mut bytes, &view)?;
    }
    atomic_write(&args.out, &bytes).map_err(at(&args.out))?;
    let open = descents.iter().filter(|descent| descent.largest > args.max_force).count();
    for (index, descent) in (1..).zip(&descents) {
        let verdict = if descent.largest > args.max_force { "NOT converged" } else { "converged" };
        let (n_steps, largest) = (descent.n_steps, descent.largest);
        match descent.not_finite {
            None => println!("frame {index}: {verdict}, {n_steps} steps, largest force {largest:.5} eV/Å"),
            Some(atom) => {
                let place = match largest.is_finite() {
                    true => format!("step {}, which is taken back", n_steps + 1),
                    false => "the given geometry, which is written without forces".to_string(),
                };
                println!(
                    "frame {index}: NOT converged, the force on atom {atom} (from 0) is not finite at {place}"
                );
            }
        }
    }
    match (interrupted, open) {
        (true, _) => Ok(Done::Interrupted),
        (false, 0) => Ok(Done::Completed),
        (false, open) => Err(format!("{open} of {} frames did not converge", descents.len()).into()),
    }
}

/// Steps until all have converged, the steps are used up, or `stop` is raised.
fn descend(
    args: &OptArgs,
    force_field: &mut impl ForceField,
    descents: &mut [Descent],
    stop: &AtomicBool,
) -> Result<(), AnyError> {
    let mut progress = Progress::new(args.max_steps);
    for step in 0..=args.max_steps {
        let mut open: Vec<&mut Descent> =
            descents.iter_mut().filter(|d| d.largest > args.max_force && d.not_finite.is_none()).collect();
        // The first forces are always computed, and no step is left without: what is written belongs together.
        if open.is_empty() || (step > 0 && stop.load(Ordering::Relaxed)) {
            break;
        }
        if step > 0 {
            for descent in &mut open {
                descent.optimiser.step(descent.structure.positions_mut(), &descent.forces);
            }
        }
        let forces = finite_forces(force_field, &mut open)?;
        let mut rest = forces.as_slice();
        for descent in &mut open {
            let (own, others) = rest.split_at(descent.forces.len());
            rest = others;
            descent.take(own, step);
        }
        let largest = open.iter().map(|descent| descent.largest).fold(0.0, f64::max);
        progress.at(step, || format!("{} open, largest force {largest:.4} eV/Å", open.len()));
    }
    progress.finish();
    Ok(())
}

/// The forces of all that have finite ones; the others take their step back and are left out of `open`.
fn finite_forces(
    force_field: &mut impl ForceField,
    open: &mut Vec<&mut Descent>,
) -> Result<Vec<[f64; 3]>, AnyError> {
    while !open.is_empty() {
        let batch: Vec<Structure> = open.iter().map(|descent| descent.structure.clone()).collect();
        let mut forces = vec![[0.0; 3]; batch.iter().map(Structure::n_atoms).sum()];
        match force_field.forces(&batch, &mut forces) {
            Ok(()) => return Ok(forces),
            Err(ForceFieldError::NonFinite { structure, atom }) => open.remove(structure).fail(atom),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;
    use mdet_core::force_field::check_finite;

    /// A spring to x = 0 for each of two atoms, whose force is no number below x = 0.5 for oxygen.
    struct Cliff;

    impl ForceField for Cliff {
        fn forces(&mut self, batch: &[Structure], forces: &mut [[f64; 3]]) -> Result<(), ForceFieldError> {
            let atoms = batch.iter().flat_map(|s| s.numbers().iter().zip(s.positions()));
            for ((&z, r), force) in atoms.zip(&mut *forces) {
                *force = [if z == 8 && r[0] < 0.5 { f64::NAN } else { -5.0 * r[0] }, 0.0, 0.0];
            }
            check_finite(batch, forces)
        }
    }

    #[test]
    fn a_turned_descent_is_written_as_it_lay_with_forces_of_its_geometry() {
        let turn = Rotation::from_quaternion([0.4, -0.2, 0.7, 0.5]);
        let as_it_lay = [[0.0; 3], [0.0, 0.0, 1.2]];
        let (forces, moved) = ([[0.0, 1.0, -2.0], [3.0, -1.0, 2.0]], [[5.0, 0.0, 0.0], [0.0; 3]]);
        let start = Structure::new(vec![6, 8], as_it_lay.to_vec(), 0, 1).unwrap();
        let mut descent = Descent {
            structure: turned(&start, &turn),
            rotation: Some(turn),
            optimiser: Optimiser::fire(),
            positions: vec![[0.0; 3]; 2],
            forces: vec![[0.0; 3]; 2],
            largest: f64::INFINITY,
            n_steps: 0,
            not_finite: None,
        };
        let mut in_its_frame = forces;
        turn.apply(&mut in_its_frame);
        descent.take(&in_its_frame, 3);
        // The next step leads where there are no forces.
        descent.structure.positions_mut().copy_from_slice(&moved);
        descent.fail(1);
        descent.turn_back();
        let near = |found: &[[f64; 3]], expected: &[[f64; 3]]| {
            let pairs = found.as_flattened().iter().zip(expected.as_flattened());
            pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) < 1e-14
        };
        assert!(near(descent.structure.positions(), &as_it_lay), "{:?}", descent.structure);
        assert!(near(&descent.forces, &forces), "{:?}", descent.forces);
    }

    #[test]
    fn a_force_that_is_not_finite_ends_its_own_frame_at_the_geometry_before() {
        use clap::Parser;
        let words = ["mdet", "opt", "a.xyz", "-o", "b.xyz", "--max-steps", "200"];
        let crate::Verb::Opt(args) = crate::Cli::try_parse_from(words).unwrap().verb else { panic!() };
        let descent = |number, x| {
            let structure =
                Structure::new(vec![number; 2], vec![[x, 0.0, 0.0], [x, 2.0, 0.0]], 0, 1).unwrap();
            Descent {
                rotation: None,
                optimiser: Optimiser::lbfgs(),
                positions: structure.positions().to_vec(),
                forces: vec![[0.0; 3]; 2],
                largest: f64::INFINITY,
                n_steps: 0,
                not_finite: None,
                structure,
            }
        };
        let mut descents = [descent(6, 1.0), descent(8, 1.0), descent(8, 0.1)];
        descend(&args, &mut Cliff, &mut descents, &AtomicBool::new(false)).unwrap();
        let [whole, fallen, wrong] = descents;
        assert!(whole.largest <= args.max_force && whole.not_finite.is_none());
        let x = fallen.structure.positions()[0][0];
        assert!(fallen.not_finite == Some(0) && fallen.n_steps > 0 && (0.5..1.0).contains(&x), "{x}");
        assert_eq!(fallen.forces[0][0], -5.0 * x);
        assert_eq!((wrong.not_finite, wrong.n_steps, wrong.largest), (Some(0), 0, f64::INFINITY));
        assert_eq!(wrong.structure.positions()[0][0], 0.1);
    }
}
