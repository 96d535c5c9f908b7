//! The network against the authors' PyTorch model: forces, intermediates, gradients and Jacobian.
//!
//! Origin of the numbers: tests/fixtures/README.md. Tolerances are relative to a tensor's largest entry.

#![allow(clippy::unwrap_used)] // clippy's allowance for tests does not reach their helper functions

use mdet_model::{Frequencies, Model, ModelError, Molecule, Network, Tape};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::path::PathBuf;

const MOLECULES: [(&str, i32, u32); 5] = [
    ("water_cation", 1, 2),
    ("ethanol", 0, 1),
    ("benzene_dianion_triplet", -2, 3),
    ("aspirin", 0, 1),
    ("octane", 0, 1),
];

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)).unwrap()
}

fn tensor(file: &[u8], name: &str) -> Vec<f64> {
    let tensors = SafeTensors::deserialize(file).unwrap();
    let tensor = tensors.tensor(name).unwrap();
    match tensor.dtype() {
        safetensors::Dtype::F64 => {
            tensor.data().chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect()
        }
        safetensors::Dtype::F32 => {
            tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()) as f64).collect()
        }
        _ => tensor.data().iter().map(|&b| b as f64).collect(),
    }
}

/// A molecule of the fixture, owned.
struct Case {
    numbers: Vec<u8>,
    positions_bohr: Vec<[f64; 3]>,
    charge: i32,
    multiplicity: u32,
}

impl Case {
    fn new(name: &str) -> Self {
        let file = fixture("forward.safetensors");
        let &(_, charge, multiplicity) = MOLECULES.iter().find(|m| m.0 == name).unwrap();
        let numbers = tensor(&file, &format!("{name}.atomic_numbers")).iter().map(|&z| z as u8).collect();
        let positions = tensor(&file, &format!("{name}.positions_bohr"));
        let positions_bohr = positions.chunks_exact(3).map(|p| [p[0], p[1], p[2]]).collect();
        Self { numbers, positions_bohr, charge, multiplicity }
    }

    fn molecule(&self) -> Molecule<'_> {
        let Self { numbers, positions_bohr, charge, multiplicity } = self;
        Molecule { numbers, positions_bohr, charge: *charge, multiplicity: *multiplicity }
    }
}

fn model(first_atom_quirk: bool) -> Model {
    let config = String::from_utf8(fixture("config.json")).unwrap();
    let mut model = Model::import(&fixture("model.safetensors"), &config).unwrap();
    model.config.first_atom_quirk = first_atom_quirk;
    model
}

/// Largest difference over the reference's largest entry.
fn relative(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let scale = expected.iter().fold(0.0, |a: f64, b| a.max(b.abs()));
    let worst = found.iter().zip(expected).fold(0.0, |a: f64, (x, y)| a.max((x - y).abs()));
    if scale == 0.0 { worst } else { worst / scale }
}

#[test]
fn f64_forces_of_both_variants_match_to_1e_9() {
    let file = fixture("forward.safetensors");
    for (variant, quirk) in [("symmetric", false), ("first_atom_quirk", true)] {
        let network: Network<f64> = model(quirk).network().unwrap();
        for (name, ..) in MOLECULES {
            let case = Case::new(name);
            let mut forces = vec![0.0; 3 * case.numbers.len()];
            network.forward(&[case.molecule()], &mut Tape::default(), &mut forces);
            let error = relative(&forces, &tensor(&file, &format!("{variant}.f64.{name}.forces")));
            assert!(error < 1e-9, "{variant} {name}: {error:e}");
        }
    }
}

#[test]
fn f32_forces_stay_within_1e_4_of_f64() {
    let file = fixture("forward.safetensors");
    let network: Network<f32> = model(false).network().unwrap();
    for (name, ..) in MOLECULES {
        let case = Case::new(name);
        let mut forces = vec![0.0; 3 * case.numbers.len()];
        network.forward(&[case.molecule()], &mut Tape::default(), &mut forces);
        let forces: Vec<f64> = forces.iter().map(|&f| f.into()).collect();
        let error = relative(&forces, &tensor(&file, &format!("symmetric.f64.{name}.forces")));
        assert!(error < 1e-4, "{name}: {error:e}");
    }
}

#[test]
fn f64_intermediates_of_ethanol_match_to_1e_9() {
    let file = fixture("forward.safetensors");
    let network: Network<f64> = model(false).network().unwrap();
    let mut tape = Tape::default();
    let case = Case::new("ethanol");
    network.forward(&[case.molecule()], &mut tape, &mut [0.0; 27]);
    let intermediates = tape.intermediates();
    assert_eq!(intermediates.len(), 4 + 2 * network.config().n_layers);
    for (name, found) in intermediates {
        let error = relative(&found, &tensor(&file, &format!("symmetric.f64.ethanol.{name}")));
        assert!(error < 1e-9, "{name}: {error:e}");
    }
}

#[test]
fn f64_gradients_match_to_1e_8() {
    let file = fixture("training.safetensors");
    let network: Network<f64> = model(false).network().unwrap();
    let names = ["water_cation", "ethanol", "benzene_dianion_triplet"];
    let cases: Vec<Case> = names.iter().map(|name| Case::new(name)).collect();
    let molecules: Vec<Molecule<'_>> = cases.iter().map(Case::molecule).collect();
    let targets: Vec<f64> =
        names.iter().flat_map(|name| tensor(&file, &format!("{name}.target_forces"))).collect();
    let mut tape = Tape::default();
    let mut forces = vec![0.0; targets.len()];
    network.forward(&molecules, &mut tape, &mut forces);
    let n_atoms = (targets.len() / 3) as f64;
    let mut dforces = vec![0.0; targets.len()];
    for ((f, t), d) in forces.chunks_exact(3).zip(targets.chunks_exact(3)).zip(dforces.chunks_exact_mut(3)) {
        let norm = (0..3).map(|a| (f[a] - t[a]).powi(2)).sum::<f64>().sqrt();
        (0..3).for_each(|a| d[a] = (f[a] - t[a]) / (norm * n_atoms));
    }
    let mut gradient = vec![0.0; network.values().len()];
    network.backward(&molecules, &mut tape, &dforces, &mut gradient, None);
    let layout = network.layout();
    for tensor_of in layout.tensors().iter().filter(|t| t.range.end <= layout.n_trainable()) {
        let expected = tensor(&file, &format!("f64.grad.{}", tensor_of.name));
        let error = relative(&gradient[tensor_of.range.clone()], &expected);
        assert!(error < 1e-8, "{}: {error:e}", tensor_of.name);
    }
    assert!(gradient[layout.n_trainable()..].iter().all(|&g| g == 0.0));
}

#[test]
fn f64_jacobian_of_ethanol_matches_to_1e_8_and_lambda_to_six_digits() {
    let network: Network<f64> = model(false).network().unwrap();
    let case = Case::new("ethanol");
    let jacobian = network.jacobian(&case.molecule());
    let error = relative(&jacobian, &tensor(&fixture("jacobian.safetensors"), "ethanol.jacobian"));
    assert!(error < 1e-8, "{error:e}");
    let n = 27;
    let (mut antisymmetric, mut all) = (0.0_f64, 0.0_f64);
    for (a, b) in (0..n).flat_map(|a| (0..n).map(move |b| (a, b))) {
        antisymmetric += (0.5 * (jacobian[a * n + b] - jacobian[b * n + a])).powi(2);
        all += jacobian[a * n + b].powi(2);
    }
    let lambda = (antisymmetric / all).sqrt();
    assert!((lambda - 0.7043688508124079).abs() < 5e-7, "{lambda}");
}

#[test]
fn the_authors_frequencies_are_the_published_ones() {
    let model = model(true);
    assert!(model.has_frequencies(Frequencies::Published) && !model.has_frequencies(Frequencies::Integer));
}

#[test]
fn weights_whose_frequencies_are_a_scalar_are_refused() {
    let scalar = TensorView::new(Dtype::F32, Vec::new(), &[0; 4]).unwrap();
    let file =
        safetensors::serialize([("embedding.directional_embed.angular_freqs_azimuthal", scalar)], None);
    let config = String::from_utf8(fixture("config.json")).unwrap();
    let error = Model::import(&file.unwrap(), &config).unwrap_err();
    let ModelError::Tensors(problems) = &error else { panic!("{error}") };
    assert!(problems.iter().any(|p| p.ends_with("azimuthal: expected F32 [64], found F32 []")), "{error}");
}
