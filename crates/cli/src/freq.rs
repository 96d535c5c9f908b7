//! `mdet freq`: vibrational wavenumbers and modes of a molecule from the exact force Jacobian.

use crate::input::{InputArgs, at, check_output, masses_of, off_z, refuse_fixed_atoms};
use crate::md::{FRICTION_PER_FS, TEMPERATURE_K};
use crate::model_choice::{ModelArgs, Precision};
use crate::{AnyError, Done};
use clap::Args;
use mdet_analysis::heating::CurlPairs;
use mdet_core::constants::SPEED_OF_LIGHT_IN_CM_PER_FS;
use mdet_core::rigid::remove_net_force_and_torque;
use mdet_core::{ForceField, ForceJacobian, NetForceRemoved, Structure, atomic_write};
use mdet_data::{FrameView, write_frame};
use mdet_md::normal_modes::{NormalModes, normal_modes};
use std::path::PathBuf;

/// Vibrational frequencies of the one frame of an XYZ file, which should be a minimum: see mdet opt.
///
/// The Hessian is the symmetric part of the exact Jacobian of the model's forces; the antisymmetric share, which no
/// potential could have, is printed, with the energy that it pumps into Langevin dynamics (docs/drift.md). Translations and rotations are projected out. Imaginary frequencies are
/// negative. The precision is f64 unless asked otherwise.
///
/// Example: mdet freq minimum.xyz --modes modes.xyz
#[derive(Args)]
pub(crate) struct FreqArgs {
    #[command(flatten)]
    input: InputArgs,
    #[command(flatten)]
    model: ModelArgs,
    /// Write every mode as an animation of one period, extended XYZ.
    #[arg(long, value_name = "MODES.xyz")]
    modes: Option<PathBuf>,
    /// Replace the file of modes if it exists.
    #[arg(long)]
    overwrite: bool,
}

/// Frames of one period, and the largest displacement of an atom in Å.
const FRAMES_PER_PERIOD: usize = 20;
const AMPLITUDE_ANGSTROM: f64 = 0.4;

/// Forces above this, in eV/Å, are those of no minimum: frequencies mean little there.
const MINIMUM_FORCE: f64 = 0.05;

pub(crate) fn run(args: &FreqArgs) -> Result<Done, AnyError> {
    if let Some(path) = &args.modes {
        check_output(path, args.overwrite)?;
    }
    let (model, _) = args.model.load()?;
    let frames = args.input.read(&model.card)?;
    let [(frame, structure)] = frames.as_slice() else {
        let (file, found) = (args.input.file.display(), frames.len());
        return Err(format!("{file}: expected one frame, found {found}").into());
    };
    refuse_fixed_atoms(std::slice::from_ref(frame))?;
    let (structure, rotation) = off_z([structure]).swap_remove(0);
    let precision = args.model.precision.unwrap_or(Precision::F64);
    let mut force_field = args.model.force_jacobian_in(precision, &model)?;
    let jacobian = force_field.jacobian(&structure)?;
    warn_off_minimum(force_field, &structure)?;
    let masses_u = masses_of(frame);
    let mut modes = normal_modes(&jacobian, &masses_u, structure.positions());
    println!("mode  wavenumber/cm⁻¹");
    for (index, wavenumber) in modes.wavenumbers_per_cm.iter().enumerate() {
        println!("{:>4}  {wavenumber:>9.1}", index + 1);
    }
    let imaginary = modes.wavenumbers_per_cm.iter().filter(|&&wavenumber| wavenumber < 0.0).count();
    println!("imaginary             {imaginary} (negative wavenumbers)");
    println!("zero-point energy     {:.4} eV", modes.zero_point_energy_ev);
    println!(
        "antisymmetric share   {:.2} % of the Jacobian (0 for forces with a potential)",
        100.0 * modes.antisymmetric_share
    );
    let moving = without_net_force(jacobian, structure.positions());
    let pairs = CurlPairs::new(&moving, &masses_u, &modes.wavenumbers_per_cm, &modes.displacements);
    let width_per_cm = FRICTION_PER_FS / (std::f64::consts::TAU * SPEED_OF_LIGHT_IN_CM_PER_FS);
    let pumped = pairs.power_ev_per_fs(width_per_cm, TEMPERATURE_K) * 1e6 / structure.n_atoms() as f64;
    println!(
        "it pumps in NVT       {pumped:.2} meV/atom/ps, harmonic, in Langevin dynamics at {TEMPERATURE_K} K and {FRICTION_PER_FS}/fs"
    );
    if let Some(path) = &args.modes {
        if let Some(rotation) = rotation {
            modes.displacements.iter_mut().for_each(|mode| rotation.apply_inverse(mode));
        }
        atomic_write(path, &animations(&frames[0].1, &modes)?).map_err(at(path))?;
    }
    Ok(Done::Completed)
}

/// The Jacobian `[3n, 3n]` of the forces that move a molecule in dynamics: every column without its net force and torque.
fn without_net_force(mut jacobian: Vec<f64>, positions: &[[f64; 3]]) -> Vec<f64> {
    let size = 3 * positions.len();
    for column in 0..size {
        let mut forces: Vec<[f64; 3]> = (0..positions.len())
            .map(|i| std::array::from_fn(|axis| jacobian[(3 * i + axis) * size + column]))
            .collect();
        remove_net_force_and_torque(positions, &mut forces);
        for (row, force) in forces.as_flattened().iter().enumerate() {
            jacobian[row * size + column] = *force;
        }
    }
    jacobian
}

fn warn_off_minimum(force_field: impl ForceField, structure: &Structure) -> Result<(), AnyError> {
    let mut forces = vec![[0.0; 3]; structure.n_atoms()];
    NetForceRemoved::new(force_field).forces(std::slice::from_ref(structure), &mut forces)?;
    let largest = forces.iter().map(|f| f.iter().map(|x| x * x).sum::<f64>()).fold(0.0, f64::max).sqrt();
    if largest > MINIMUM_FORCE {
        eprintln!("mdet: warning: the largest force is {largest:.3} eV/Å: no minimum; mdet opt finds one");
    }
    Ok(())
}

/// One period of every mode, one after another.
fn animations(structure: &Structure, modes: &NormalModes) -> Result<Vec<u8>, AnyError> {
    let mut bytes = Vec::new();
    for (index, (wavenumber, mode)) in modes.wavenumbers_per_cm.iter().zip(&modes.displacements).enumerate() {
        let longest = mode.iter().map(|d| d.iter().map(|x| x * x).sum::<f64>()).fold(0.0, f64::max).sqrt();
        for frame in 0..FRAMES_PER_PERIOD {
            let phase = std::f64::consts::TAU * frame as f64 / FRAMES_PER_PERIOD as f64;
            let factor = AMPLITUDE_ANGSTROM / longest * phase.sin();
            let moved: Vec<[f64; 3]> = structure
                .positions()
                .iter()
                .zip(mode)
                .map(|(r, d)| std::array::from_fn(|axis| r[axis] + factor * d[axis]))
                .collect();
            let key_values = [
                ("mode".to_string(), (index + 1).to_string()),
                ("wavenumber_per_cm".to_string(), format!("{wavenumber:.2}")),
            ];
            let view = FrameView {
                numbers: structure.numbers(),
                positions: &moved,
                charge: Some(structure.charge()),
                multiplicity: Some(structure.multiplicity()),
                key_values: &key_values,
                ..FrameView::default()
            };
            write_frame(&mut bytes, &view)?;
        }
    }
    Ok(bytes)
}
