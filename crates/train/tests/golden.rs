//! Five AdamW steps against the authors' PyTorch model. Origin: crates/model/tests/fixtures/README.md.

#![allow(clippy::unwrap_used)] // clippy's allowance for tests does not reach their helper functions

use mdet_model::{Model, Network, Rounding};
use mdet_train::{BatchGradient, Loss, Optimiser, Sample, Trained, clip_to_norm};
use safetensors::SafeTensors;

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/../model/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn vectors(file: &[u8], name: &str) -> Vec<[f64; 3]> {
    let tensors = SafeTensors::deserialize(file).unwrap();
    let data = tensors.tensor(name).unwrap().data().to_vec();
    let values: Vec<f64> =
        data.chunks_exact(4).map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap()))).collect();
    values.chunks_exact(3).map(|v| [v[0], v[1], v[2]]).collect()
}

#[test]
fn five_adamw_steps_match_to_1e_8() {
    let config = String::from_utf8(fixture("config.json")).unwrap();
    let mut model = Model::import(&fixture("model.safetensors"), &config).unwrap();
    model.config.first_atom_quirk = false;
    let mut network: Network<f64> = model.network().unwrap();
    let (inputs, targets) = (fixture("forward.safetensors"), fixture("training.safetensors"));
    let molecules = [("water_cation", 1, 2), ("ethanol", 0, 1), ("benzene_dianion_triplet", -2, 3)];
    let samples = molecules.map(|(name, charge, multiplicity)| Sample {
        numbers: SafeTensors::deserialize(&inputs)
            .unwrap()
            .tensor(&format!("{name}.atomic_numbers"))
            .unwrap()
            .data()
            .to_vec(),
        positions_bohr: vectors(&inputs, &format!("{name}.positions_bohr")),
        forces: vectors(&targets, &format!("{name}.target_forces")),
        rotation: mdet_core::Rotation::IDENTITY,
        charge,
        multiplicity,
    });
    let reference: serde_json::Value = serde_json::from_slice(&fixture("reference.json")).unwrap();
    let reference = &reference["training"]["f64"];
    let expected = |key: &str, step: usize| reference[key][step].as_f64().unwrap();
    let close = |found: f64, expected: f64, what: &str| {
        assert!((found / expected - 1.0).abs() < 1e-8, "{what}: found {found}, expected {expected}");
    };
    let n_atoms = samples.iter().map(|sample| sample.numbers.len()).sum();
    let mut gradients = BatchGradient::new(&network, Loss::Euclidean, Rounding::default(), Trained::All);
    let mut optimiser = Optimiser::adamw(network.layout().n_trainable(), 1e-7);
    for step in 0..5 {
        let (loss, gradient) = gradients.compute(&network, &samples, n_atoms);
        close(loss, expected("losses_before_each_step", step), "loss");
        let norm = clip_to_norm(gradient, 1.0);
        close(norm, expected("grad_norms_before_clip", step), "gradient norm");
        optimiser.step(network.trainable_mut(), gradient, 5e-4);
    }
    let (loss, _) = gradients.compute(&network, &samples, n_atoms);
    close(loss, reference["loss_after_5_steps"].as_f64().unwrap(), "loss after five steps");
}
