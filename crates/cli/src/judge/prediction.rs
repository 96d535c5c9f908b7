//! The heating that the force errors along an NVE run predict: docs/drift.md.

use super::nve::{Condition, Plan};
use crate::AnyError;
use crate::judgement::Judge;
use crate::model_choice::Precision;
use mdet_analysis::heating::{
    CURL_WIDTHS_PER_CM, CurlPairs, PredictedHeating, antisymmetric_square, kinetic_mev_per_atom_per_ps,
    mean_squares, uncorrelated_power_ev_per_fs,
};
use mdet_core::elements::masses_u;
use mdet_core::frames::{forces_in_frames, rotation_off_z};
use mdet_core::{
    CentralDifferences, ForceField, ForceJacobian, FrameAveraged, Purpose, RandomStream, Rotation,
    RotationSet, Structure,
};
use mdet_md::Orientation;
use mdet_md::normal_modes::normal_modes;
use std::sync::atomic::{AtomicBool, Ordering};

/// Rotations in each frame that force errors are measured in.
const N_ROTATIONS: usize = 16;

/// Displacement of the central differences, Å: f64 leaves eight digits.
const STEP_ANGSTROM: f64 = 1e-3;

/// What the force errors at the probes predict for a run at a mean temperature; `None` without probes.
pub(super) fn predicted(
    plan: &Plan<'_>,
    condition: &Condition,
    judge: &Judge,
    stop: &AtomicBool,
    probes: &[Vec<[f64; 3]>],
    measured_k: f64,
) -> Result<Option<PredictedHeating>, AnyError> {
    let (molecule, n_atoms) = (plan.structure, plan.structure.n_atoms());
    let mut exact = condition.force_field(judge, Precision::F64)?;
    let mut rounded = condition.force_field(judge, condition.precision)?;
    let Some(errors) = errors(condition, molecule, probes, judge.seed, &mut exact, &mut rounded)? else {
        return Ok(None);
    };
    let masses = masses_u(molecule.numbers());
    let [orientation, rounding] = errors.map(|squares| {
        let power = uncorrelated_power_ev_per_fs(&squares, &masses, plan.timestep_fs);
        kinetic_mev_per_atom_per_ps(power, n_atoms)
    });
    let mut heating = PredictedHeating {
        orientation_mev_per_atom_per_ps: orientation,
        rounding_mev_per_atom_per_ps: rounding,
        curl_mev_per_atom_per_ps: None,
        curl_growth: None,
    };
    if plan.curl_orientations > 0 {
        let start = jacobian(plan, condition.orientation, molecule.positions(), &mut exact)?;
        let modes = normal_modes(&start, &masses, molecule.positions());
        let pairs = CurlPairs::new(&start, &masses, &modes.wavenumbers_per_cm, &modes.displacements);
        // As many Jacobians of molecules that are turned as of others.
        let spacing = match condition.orientation {
            Orientation::AsItLies => 1,
            Orientation::RandomEveryStep => plan.curl_orientations,
        };
        let mut squares = Vec::new();
        for probe in probes.iter().rev().step_by(spacing) {
            // Where the displaced forces of a probe are not finite the others tell.
            if let Ok(jacobian) = jacobian(plan, condition.orientation, probe, &mut exact) {
                squares.push(antisymmetric_square(&jacobian, &masses));
            }
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
        }
        let mean = squares.iter().sum::<f64>() / squares.len() as f64;
        let growth = Some(mean / antisymmetric_square(&start, &masses)).filter(|growth| growth.is_finite());
        heating.curl_growth = growth;
        heating.curl_mev_per_atom_per_ps = Some(CURL_WIDTHS_PER_CM.map(|width| {
            let power = growth.unwrap_or(1.0) * pairs.power_ev_per_fs(width, measured_k);
            kinetic_mev_per_atom_per_ps(power, n_atoms)
        }));
    }
    Ok(Some(heating))
}

/// The Jacobian of the forces at a geometry: as it lies, or of their average over orientations where they are turned.
fn jacobian(
    plan: &Plan<'_>,
    orientation: Orientation,
    positions: &[[f64; 3]],
    exact: &mut dyn ForceField,
) -> Result<Vec<f64>, AnyError> {
    let mut structure = plan.structure.clone();
    structure.positions_mut().copy_from_slice(positions);
    // Of a pair along z the Jacobian is one of the axes, and the molecule moves out of it.
    let off_z = rotation_off_z(&structure).unwrap_or(Rotation::IDENTITY);
    let rotations = match orientation {
        Orientation::AsItLies => vec![off_z],
        Orientation::RandomEveryStep => {
            let all = RotationSet::of_size(plan.curl_orientations, 0).rotations();
            all.iter().map(|rotation| rotation.after(&off_z)).collect()
        }
    };
    let inner = FrameAveraged { inner: exact, rotations };
    Ok(CentralDifferences { inner, step_angstrom: STEP_ANGSTROM }.jacobian(&structure)?)
}

/// ⟨|δF_i|²⟩ of the orientation's error and of rounding at the probes, (eV/Å)²; `None` without probes.
fn errors(
    condition: &Condition,
    molecule: &Structure,
    probes: &[Vec<[f64; 3]>],
    seed: u64,
    exact: &mut dyn ForceField,
    rounded: &mut dyn ForceField,
) -> Result<Option<[Vec<f64>; 2]>, AnyError> {
    let (mut orientation, mut rounding) = (Vec::new(), Vec::new());
    let n_atoms = molecule.n_atoms();
    for (positions, index) in probes.iter().zip(0..) {
        let mut structure = molecule.clone();
        structure.positions_mut().copy_from_slice(positions);
        let mut generator = RandomStream { seed, purpose: Purpose::Analysis, replica: 1 }.at_step(index);
        let rotations: Vec<Rotation> = match condition.orientation {
            Orientation::AsItLies => vec![Rotation::IDENTITY],
            Orientation::RandomEveryStep => {
                (0..N_ROTATIONS).map(|_| Rotation::random(&mut generator)).collect()
            }
        };
        let copies = vec![structure; rotations.len()];
        let mut forces = vec![[0.0; 3]; n_atoms * rotations.len()];
        let mut in_precision = forces.clone();
        forces_in_frames(exact, &copies, &rotations, &mut forces)?;
        if condition.precision == Precision::F32 {
            forces_in_frames(rounded, &copies, &rotations, &mut in_precision)?;
        } else {
            in_precision.copy_from_slice(&forces);
        }
        let n = rotations.len() as f64;
        let mean = |i: usize, a: usize| forces.iter().skip(i).step_by(n_atoms).map(|f| f[a]).sum::<f64>() / n;
        let means: Vec<[f64; 3]> = (0..n_atoms).map(|i| std::array::from_fn(|a| mean(i, a))).collect();
        // The mean is of the same samples: n − 1 of their n squares are left.
        let unbiased = if n > 1.0 { (n / (n - 1.0)).sqrt() } else { 0.0 };
        for (exact, rounded) in forces.chunks(n_atoms).zip(in_precision.chunks(n_atoms)) {
            let difference = |a: &[[f64; 3]], b: &[[f64; 3]], factor: f64| -> Vec<[f64; 3]> {
                a.iter().zip(b).map(|(a, b)| std::array::from_fn(|k| factor * (a[k] - b[k]))).collect()
            };
            orientation.push(difference(exact, &means, unbiased));
            rounding.push(difference(rounded, exact, 1.0));
        }
    }
    Ok((!probes.is_empty()).then(|| [mean_squares(&orientation), mean_squares(&rounding)]))
}
