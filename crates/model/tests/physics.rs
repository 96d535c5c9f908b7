//! What a network's forces must obey whatever its parameters: identity in any batch and on any number of threads,
//! permutation and translation, derivatives, and the model file.

#![allow(clippy::unwrap_used)] // clippy's allowance for tests does not reach their helper functions

use mdet_core::{ForceField, RandomStream, Structure, lowest_multiplicity};
use mdet_model::{Frequencies, Layout, Model, ModelConfig, Molecule, Network, NetworkForceField, Tape};
use rand::RngExt;

fn small() -> ModelConfig {
    let published = ModelConfig::published();
    ModelConfig { n_layers: 2, width: 32, n_heads: 4, n_gaussians: 12, n_frequencies: 8, ..published }
}

fn network<T: mdet_kernels::Real>(config: ModelConfig) -> Network<T> {
    Model::random(config, Frequencies::Integer, 5).unwrap().network().unwrap()
}

/// `n` atoms of H, C, N, O at random places, 1 to 3 Å apart from their neighbours on a line.
fn structure(n: usize, seed: u64) -> Structure {
    let stream = RandomStream { seed, purpose: mdet_core::Purpose::Analysis, replica: 0 };
    let mut generator = stream.at_step(0);
    let mut place = |i: usize| {
        let mut shift = || 0.5 * generator.random::<f64>();
        [1.5 * i as f64 + shift(), shift() * 3.0, shift() * 3.0]
    };
    let positions: Vec<[f64; 3]> = (0..n).map(&mut place).collect();
    let numbers: Vec<u8> = (0..n).map(|i| [1, 6, 7, 8][(i + seed as usize) % 4]).collect();
    let multiplicity = lowest_multiplicity(&numbers, 0);
    Structure::new(numbers, positions, 0, multiplicity).unwrap()
}

fn forces<T: mdet_kernels::Real>(
    network: &Network<T>,
    n_threads: usize,
    batch: &[Structure],
) -> Vec<[f64; 3]> {
    let mut field = NetworkForceField::new(network.clone(), n_threads).unwrap();
    let mut forces = vec![[0.0; 3]; batch.iter().map(Structure::n_atoms).sum()];
    field.forces(batch, &mut forces).unwrap();
    forces
}

fn check_identity<T: mdet_kernels::Real>() {
    let network = network::<T>(small());
    let batch: Vec<Structure> =
        [1, 2, 3, 9, 4, 17, 1, 26, 5].iter().map(|&n| structure(n, n as u64)).collect();
    let together = forces(&network, 1, &batch);
    let alone: Vec<[f64; 3]> =
        batch.iter().flat_map(|s| forces(&network, 1, std::slice::from_ref(s))).collect();
    assert_eq!(together, alone);
    for n_threads in [2, 3, 5] {
        assert_eq!(together, forces(&network, n_threads, &batch), "{n_threads} threads");
        let large = structure(26, 26);
        let one = forces(&network, 1, std::slice::from_ref(&large));
        assert_eq!(one, forces(&network, n_threads, &[large]), "one molecule, {n_threads} threads");
    }
    // The pass that keeps a tape for training gives the same bits as the one that does not.
    for structure in &batch {
        let bohr = mdet_core::constants::BOHR_IN_ANGSTROM;
        let positions_bohr: Vec<[f64; 3]> =
            structure.positions().iter().map(|r| r.map(|x| x / bohr)).collect();
        let molecule = Molecule {
            numbers: structure.numbers(),
            positions_bohr: &positions_bohr,
            charge: structure.charge(),
            multiplicity: structure.multiplicity(),
        };
        let (mut kept, mut not_kept) =
            (vec![T::ZERO; 3 * structure.n_atoms()], vec![T::ZERO; 3 * structure.n_atoms()]);
        network.forward(&[molecule], &mut Tape::default(), &mut kept);
        network.infer(&[molecule], 1, &mut Tape::default(), &mut not_kept);
        assert_eq!(kept, not_kept);
    }
}

#[test]
fn forces_are_the_same_bits_alone_in_a_batch_and_on_any_number_of_threads() {
    check_identity::<f32>();
    check_identity::<f64>();
}

#[test]
fn permuting_atoms_permutes_forces() {
    let network = network::<f64>(small());
    let original = structure(11, 3);
    let order = [4, 0, 10, 2, 7, 1, 9, 3, 8, 5, 6];
    let numbers = order.iter().map(|&i| original.numbers()[i]).collect();
    let positions = order.iter().map(|&i| original.positions()[i]).collect();
    let permuted = Structure::new(numbers, positions, 0, original.multiplicity()).unwrap();
    let (f, g) = (forces(&network, 1, &[original]), forces(&network, 1, &[permuted]));
    let largest = f.iter().flatten().fold(0.0, |a: f64, x| a.max(x.abs()));
    for (place, &i) in order.iter().enumerate() {
        for axis in 0..3 {
            // Sums over atoms run in another order: a few rounding errors of f64. Measured 3e-15.
            assert!((f[i][axis] - g[place][axis]).abs() < 1e-12 * largest);
        }
    }
}

#[test]
fn the_first_atom_quirk_breaks_permutation_symmetry_and_nothing_else_does() {
    let quirky = ModelConfig { first_atom_quirk: true, ..small() };
    let network = network::<f64>(quirky);
    let original = structure(6, 3);
    let reversed = Structure::new(
        original.numbers().iter().rev().copied().collect(),
        original.positions().iter().rev().copied().collect(),
        0,
        original.multiplicity(),
    )
    .unwrap();
    let (f, g) = (forces(&network, 1, &[original]), forces(&network, 1, &[reversed]));
    assert!((f[0][0] - g[5][0]).abs() > 1e-6);
}

#[test]
fn translating_the_molecule_does_nothing() {
    let network = network::<f64>(small());
    let original = structure(9, 1);
    let mut moved = original.clone();
    // A shift that is exact in binary: differences of positions then differ by rounding of the positions alone.
    moved.positions_mut().iter_mut().for_each(|r| *r = [r[0] + 8.0, r[1] - 4.0, r[2] + 0.5]);
    let (f, g) = (forces(&network, 1, &[original]), forces(&network, 1, &[moved]));
    let largest = f.iter().flatten().fold(0.0, |a: f64, x| a.max(x.abs()));
    for (f, g) in f.iter().flatten().zip(g.iter().flatten()) {
        // Positions of 10 Å lose four bits; the highest frequency here is 8 rad⁻¹. Measured 1e-14.
        assert!((f - g).abs() < 1e-11 * largest);
    }
}

#[test]
fn the_jacobian_matches_central_differences() {
    let network = network::<f64>(small());
    let structure = structure(4, 2);
    let positions = structure.positions().to_vec();
    let at = |positions: &[[f64; 3]]| {
        let mut forces = vec![0.0; 12];
        let molecule = Molecule {
            numbers: structure.numbers(),
            positions_bohr: positions,
            charge: 0,
            multiplicity: structure.multiplicity(),
        };
        network.forward(&[molecule], &mut Tape::default(), &mut forces);
        (forces, network.jacobian(&molecule))
    };
    let (_, jacobian) = at(&positions);
    let largest = jacobian.iter().fold(0.0, |a: f64, x| a.max(x.abs()));
    let step = 1e-5;
    for component in 0..12 {
        let moved = |sign: f64| {
            let mut moved = positions.clone();
            moved[component / 3][component % 3] += sign * step;
            at(&moved).0
        };
        let (up, down) = (moved(1.0), moved(-1.0));
        for row in 0..12 {
            let slope = (up[row] - down[row]) / (2.0 * step);
            // Truncation step²·f''' and rounding 1e-16/step meet near 1e-9.
            assert!((slope - jacobian[12 * row + component]).abs() < 1e-7 * largest);
        }
    }
}

#[test]
fn a_model_file_is_read_back_bit_for_bit_and_broken_ones_are_named() {
    let model = Model::random(small(), Frequencies::Integer, 7).unwrap();
    let bytes = model.to_bytes().unwrap();
    let again = Model::from_bytes(&bytes).unwrap();
    assert_eq!((&again.config, &again.values, &again.card), (&model.config, &model.values, &model.card));
    // Run folders name a model by the hash of its file; a hash-ordered header gave another one half of the time.
    for _ in 0..8 {
        assert!(again.to_bytes().unwrap() == bytes, "the file's bytes are a function of the model");
    }

    let error = |bytes: &[u8]| Model::from_bytes(bytes).unwrap_err().to_string();
    assert!(error(&bytes[..bytes.len() - 5]).contains("truncated"));
    assert!(error(b"no model at all").contains("truncated or foreign"));
    let foreign =
        std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/model.safetensors")).unwrap();
    assert!(error(&foreign).contains("mdet model import"));
}

#[test]
fn a_deepened_model_has_the_same_forces() {
    let mut model = Model::random(small(), Frequencies::Integer, 7).unwrap();
    let layout = Layout::new(&model.config);
    let mut generator =
        RandomStream { seed: 1, purpose: mdet_core::Purpose::Analysis, replica: 0 }.at_step(0);
    for value in &mut model.values[..layout.n_trainable()] {
        *value += 0.2 * (generator.random::<f32>() - 0.5); // norms that are no identity
    }
    let deeper = model.deepened(4, 3).unwrap();
    assert_eq!(deeper.config.n_layers, 4);
    let batch = [structure(9, 2), structure(4, 1)];
    let [own, deep] = [&model, &deeper].map(|m| forces::<f64>(&m.network().unwrap(), 1, &batch));
    let largest = own.iter().flatten().fold(0.0_f64, |a, f| a.max(f.abs()));
    for (own, deep) in own.iter().flatten().zip(deep.iter().flatten()) {
        // A norm adds 1e-5 to the variance, 1, of rows that are normalised already.
        assert!((own - deep).abs() < 1e-4 * largest, "{own} {deep}");
    }
    assert_eq!(model.deepened(2, 3).unwrap().values, model.values);
    assert!(model.deepened(1, 3).unwrap_err().to_string().contains("n_layers = 1: expected at least 2"));
}

#[test]
fn import_names_every_tensor_that_does_not_fit() {
    let fixture =
        |name: &str| std::fs::read(format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let config = String::from_utf8(fixture("config.json")).unwrap();
    let weights = fixture("model.safetensors");
    let error = |config: &str| Model::import(&weights, config).unwrap_err().to_string();
    let fewer_layers = error(&config.replace("\"n_layers\": 3", "\"n_layers\": 2"));
    assert!(fewer_layers.contains("layers.2.attention.qlin.weight is not part of this architecture"));
    let more_layers = error(&config.replace("\"n_layers\": 3", "\"n_layers\": 4"));
    assert!(more_layers.contains("layers.3.attention.qlin.weight is missing"));
    let narrower = error(&config.replace("\"num_3d_kernels\": 16", "\"num_3d_kernels\": 8"));
    assert!(narrower.contains("gbf.means.weight: expected F32 [1, 8], found F32 [1, 16]"), "{narrower}");
    assert!(error(&config.replace("\"gelu\"", "\"relu\"")).contains("activation"));
    assert!(error(&config.replace("\"num_heads\": 4", "\"num_heads\": 5")).contains("n_heads = 5"));
    assert!(error(&config.replace("\"n_layers\": 3", "\"n_layers\": 0")).contains("n_layers = 0"));
}

#[test]
fn a_structure_outside_the_domain_is_refused_with_what_is_covered() {
    let mut model = Model::random(small(), Frequencies::Integer, 7).unwrap();
    model.card.domain = Some(mdet_model::Domain {
        elements: vec![1, 6, 8],
        charges: vec![-1, 0],
        multiplicities: vec![1],
        max_atoms: 10,
    });
    let domain = model.card.domain.unwrap();
    let check = |numbers: &[u8], charge, multiplicity| {
        let positions = (0..numbers.len()).map(|i| [1.5 * i as f64, 0.0, 0.0]).collect();
        let structure = Structure::new(numbers.to_vec(), positions, charge, multiplicity).unwrap();
        domain.check(&structure).map_err(|e| e.to_string())
    };
    assert_eq!(check(&[1, 1, 8], 0, 1), Ok(()));
    let error = check(&[1, 9], 0, 1).unwrap_err();
    assert!(error.contains("element F") && error.contains("H, C, O"), "{error}");
    assert!(check(&[1, 1, 8], 1, 2).unwrap_err().contains("charge +1"));
    assert!(check(&[1, 1, 8], 0, 3).unwrap_err().contains("multiplicity 3"));
}

/// The Jacobian by a whole forward and backward pass for each row, parameters' gradients and all.
fn row_by_row(network: &Network<f64>, molecule: &Molecule<'_>) -> Vec<f64> {
    let n = molecule.numbers.len();
    let mut gradient = vec![0.0; network.values().len()];
    let rows = (0..3 * n).flat_map(|component| {
        let (mut tape, mut forces, mut row) = (Tape::default(), vec![0.0; 3 * n], vec![[0.0; 3]; n]);
        network.forward(&[*molecule], &mut tape, &mut forces);
        forces.fill(0.0);
        forces[component] = 1.0;
        network.backward(&[*molecule], &mut tape, &forces, &mut gradient, Some(&mut row));
        row
    });
    rows.flatten().collect()
}

#[test]
fn the_force_fields_jacobian_is_that_of_whole_passes_row_by_row_on_any_number_of_threads() {
    use mdet_core::constants::{BOHR_IN_ANGSTROM, HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM};
    use mdet_core::{CentralDifferences, ForceJacobian};
    let network = network::<f64>(small());
    for n in [1, 5, 12] {
        let structure = structure(n, 3);
        let positions: Vec<[f64; 3]> =
            structure.positions().iter().map(|r| r.map(|x| x / BOHR_IN_ANGSTROM)).collect();
        let molecule = Molecule {
            numbers: structure.numbers(),
            positions_bohr: &positions,
            charge: structure.charge(),
            multiplicity: structure.multiplicity(),
        };
        let scale = HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM / BOHR_IN_ANGSTROM;
        let expected: Vec<f64> = row_by_row(&network, &molecule).iter().map(|entry| scale * entry).collect();
        for n_threads in [1, 3] {
            let mut field = NetworkForceField::new(network.clone(), n_threads).unwrap();
            assert_eq!(field.jacobian(&structure).unwrap(), expected, "{n} atoms, {n_threads} threads");
        }
        let field = NetworkForceField::new(network.clone(), 1).unwrap();
        let twin = CentralDifferences { inner: field, step_angstrom: 1e-5 }.jacobian(&structure).unwrap();
        let largest = expected.iter().fold(0.0_f64, |largest, entry| largest.max(entry.abs()));
        for (exact, twin) in expected.iter().zip(twin) {
            // Measured 3e-7 of the largest entry: directional frequencies make third derivatives large.
            assert!((exact - twin).abs() <= 1e-5 * largest, "{exact} {twin}, largest {largest}");
        }
    }
}
