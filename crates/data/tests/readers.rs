//! Every format gives the numbers that its file holds, in Å and eV; a file that does not say what is needed is refused.

#![allow(clippy::unwrap_used)] // clippy's allowance for tests does not reach their helper functions

use mdet_core::constants::{
    BOHR_IN_ANGSTROM, HARTREE_IN_EV, HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM, KCAL_PER_MOL_IN_EV,
};
use mdet_data::{DataError, Dataset, Labels, ReadOptions, Reader, Record, Units};
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn read(name: &str, options: ReadOptions) -> Vec<Record> {
    Reader::open(&fixture(name), options).unwrap().collect::<Result<_, _>>().unwrap()
}

#[track_caller]
fn assert_close(found: [f64; 3], expected: [f64; 3], unit: f64) {
    for (f, e) in found.iter().zip(expected) {
        // The same product in another order of f64 operations.
        assert!((f - e * unit).abs() <= 1e-12 * (e * unit).abs(), "{found:?} {expected:?} · {unit}");
    }
}

#[test]
fn revised_md17_is_in_kcal_and_has_two_sets_of_labels() {
    let new = read("rmd17_ethanol.npz", ReadOptions::default());
    let old = read("rmd17_ethanol.npz", ReadOptions { labels: Labels::Old, ..ReadOptions::default() });
    assert_eq!((new.len(), &new[3].numbers[..]), (4, &[6, 6, 8, 1, 1, 1, 1, 1, 1][..]));
    assert_close(new[3].positions[8], [1.35608725, 0.56051382, -0.94232262], 1.0);
    let forces = |record: &Record| record.forces.as_ref().unwrap()[8];
    let printed = [-10.759968232334986, -15.786771558371951, 3.7211443903446346];
    assert_close(forces(&new[3]), printed, KCAL_PER_MOL_IN_EV);
    let printed = [-10.412877982149999, -17.8441910714, 2.6409404630499997];
    assert_close(forces(&old[3]), printed, KCAL_PER_MOL_IN_EV);
    let energies = [new[3].energy_ev.unwrap(), old[3].energy_ev.unwrap(), 0.0];
    assert_close(energies, [-97084.36308179732, -97202.92600613263, 0.0], KCAL_PER_MOL_IN_EV);
    assert_eq!((new[0].charge, new[0].multiplicity, new[0].molecule), (0, 1, old[0].molecule));
}

#[test]
fn md17_like_archives_say_their_units_or_are_asked_for_them() {
    let frames = read("qm22_ethanol.npz", ReadOptions::default());
    assert_close(frames[3].positions[8], [-1.885451316833496, -0.22459350526332855, -0.172960102558136], 1.0);
    let printed = [0.3566685914993286, 1.0538438558578491, 0.21734565496444702];
    assert_close(frames[3].forces.as_ref().unwrap()[8], printed, 1.0);
    assert_eq!(frames[3].energy_ev, Some(-4217.2564595672775));
    let contradicted = ReadOptions { units: Some(Units::KcalAngstrom), ..ReadOptions::default() };
    let error = Reader::open(&fixture("qm22_ethanol.npz"), contradicted).unwrap_err().to_string();
    assert!(error.contains("kcal/mol/Å as asked, found Å, eV, eV/Å by its format"), "{error}");
}

#[test]
fn spice_is_in_atomic_units_with_gradients_and_charges_from_smiles() {
    let frames = read("spice.hdf5", ReadOptions::default());
    assert_eq!((frames.len(), &frames[4].numbers[..]), (5, &[6, 6, 1, 1, 11][..]));
    assert_eq!((frames[4].charge, frames[4].multiplicity), (1, 1));
    assert_close(
        frames[4].positions[4],
        [0.0759480893611908, 2.808681011199951, 1.824965238571167],
        BOHR_IN_ANGSTROM,
    );
    let gradient = [-0.0036682942882180214, -0.0006670011789537966, -0.0015909787034615874];
    assert_close(frames[4].forces.as_ref().unwrap()[4], gradient, -HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM);
    assert_close([frames[4].energy_ev.unwrap(), 0.0, 0.0], [-239.52013294205506, 0.0, 0.0], HARTREE_IN_EV);
    let dipole = [0.6351757049560547, 2.9103341102600098, 2.0675110816955566];
    assert_close(frames[4].dipole_e_angstrom.unwrap(), dipole, BOHR_IN_ANGSTROM);
    assert_eq!(frames[4].place, "group C#C.[Na+], conformation 4");
}

#[test]
fn aimnet_gives_charge_and_multiplicity_of_every_conformation() {
    let frames = read("aimnet.h5", ReadOptions::default());
    assert_eq!(
        frames.iter().map(|f| (f.charge, f.multiplicity)).collect::<Vec<_>>()[..3],
        [(-1, 1), (0, 1), (-1, 3)]
    );
    let last = &frames[5];
    assert_eq!(last.numbers, [7, 8, 8, 8, 8, 16, 1, 1]);
    assert_close(last.positions[7], [-0.3067774176597595, 0.9524644613265991, -1.4208904504776], 1.0);
    assert_close(
        last.forces.as_ref().unwrap()[7],
        [0.7946458458900452, -0.7563194036483765, 0.27529487013816833],
        1.0,
    );
    assert_eq!(last.energy_ev, Some(-20549.574455651953));
    assert!(frames.iter().all(|frame| frame.check().is_ok()));
}

#[test]
fn ani_1x_and_qm7x_layouts_give_the_frames_written_in_them() {
    let truth = read("rmd17_ethanol.npz", ReadOptions::default());
    let ani = read("ani1x.h5", ReadOptions::default());
    // The second conformation has no labels at this level.
    assert_eq!(ani.iter().map(|f| f.place.as_str()).collect::<Vec<_>>().len(), 3);
    assert_eq!(ani[1].place, "group C2H6O1, conformation 2");
    let qm7x = read("qm7x.hdf5", ReadOptions::default());
    assert_eq!(qm7x.len(), 2);
    for (frames, indices, tolerance) in [(ani, vec![0, 2, 3], 1e-6), (qm7x, vec![0, 1], 1e-8)] {
        for (frame, index) in frames.iter().zip(indices) {
            assert_eq!(frame.numbers, truth[index].numbers);
            let pairs = frame.forces.iter().flatten().zip(truth[index].forces.iter().flatten());
            // float32 in ANI-1x, constants of nine digits in the fixture.
            assert!(pairs.flat_map(|(a, b)| a.iter().zip(b)).all(|(a, b)| (a - b).abs() < tolerance * 4.0));
            assert!((frame.energy_ev.unwrap() / truth[index].energy_ev.unwrap() - 1.0).abs() < 1e-8);
        }
    }
}

#[test]
fn xyz_files_may_be_in_other_units_and_carry_a_dipole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("water.xyz");
    let text = "1\nProperties=species:S:1:pos:R:3:forces:R:3 energy=2 dipole=\"1 2 3\" multiplicity=2\nH 1 0 0 0 0 3\n";
    std::fs::write(&path, text).unwrap();
    let asked = ReadOptions { units: Some(Units::HartreeBohr), ..ReadOptions::default() };
    let record = Reader::open(&path, asked).unwrap().next().unwrap().unwrap();
    assert_close(record.positions[0], [1.0, 0.0, 0.0], BOHR_IN_ANGSTROM);
    assert_close(record.forces.unwrap()[0], [0.0, 0.0, 3.0], HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM);
    assert_eq!(record.energy_ev, Some(2.0 * HARTREE_IN_EV));
    assert_eq!(record.dipole_e_angstrom, Some([1.0, 2.0, 3.0]));
}

#[test]
fn data_without_forces_name_what_was_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("water.xyz");
    std::fs::write(&path, "1\nProperties=species:S:1:pos:R:3:dft_forces:R:3 spin=2\nH 1 0 0 0 0 3\n")
        .unwrap();
    let error = Dataset::read(&[path], ReadOptions::default()).unwrap_err().to_string();
    let expected = "frame 0 (line 1): expected forces on the atoms (in XYZ a column forces:R:3), found none among species, pos, dft_forces";
    assert!(error.ends_with(expected), "{error}");
}

#[test]
fn unknown_formats_say_what_was_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("set.npz");
    let mut renamed = std::fs::read(fixture("qm22_ethanol.npz")).unwrap();
    // The names stand uncompressed in the archive: the positions go by another one.
    let find = |bytes: &[u8]| bytes.windows(5).position(|w| w == b"R.npy");
    while let Some(at) = find(&renamed) {
        renamed[at] = b'Q';
    }
    std::fs::write(&path, &renamed).unwrap();
    let error = Reader::open(&path, ReadOptions::default()).unwrap_err();
    assert!(matches!(error, DataError::Missing { .. }), "{error}");
    assert!(
        error.to_string().contains("nuclear_charges") && error.to_string().contains("E, F, Q, charge"),
        "{error}"
    );
    std::fs::write(&path, "{\"format\": 1}").unwrap();
    let error = Reader::open(&path, ReadOptions::default()).unwrap_err().to_string();
    assert!(error.contains("expected XYZ, npz, HDF5, TFRecord, a store or a part of a split"), "{error}");
    let old = ReadOptions { labels: Labels::Old, ..ReadOptions::default() };
    for name in ["spice.hdf5", "qcml/dft_force_field/1.0.0", "qm22_ethanol.npz"] {
        let error = Reader::open(&fixture(name), old).unwrap_err().to_string();
        assert!(error.contains("revised MD17"), "{error}");
    }
}

#[test]
fn qcml_shards_are_in_atomic_units_leave_outliers_out_and_take_molecules_from_their_metadata() {
    let truth = read("rmd17_ethanol.npz", ReadOptions::default());
    let folder = read("qcml/dft_force_field/1.0.0", ReadOptions::default());
    let shard = read("qcml/dft_force_field/1.0.0/qcml-full.tfrecord-00000-of-00002", ReadOptions::default());
    assert_eq!((folder.len(), shard.len()), (3, 2), "record 2 is marked as an outlier");
    for (frame, index) in folder.iter().zip([0, 1, 3]) {
        assert_eq!((&frame.numbers, frame.charge, frame.multiplicity), (&truth[index].numbers, 0, 1));
        assert_eq!(frame.name.as_deref(), Some("CCO"));
        // The shards hold f32, 24 bits.
        let pairs = frame.positions.iter().flatten().zip(truth[index].positions.iter().flatten());
        assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() < 4e-7));
        let pairs =
            frame.forces.iter().flatten().flatten().zip(truth[index].forces.iter().flatten().flatten());
        assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-6));
        assert!((frame.energy_ev.unwrap() / truth[index].energy_ev.unwrap() - 1.0).abs() < 1e-7);
    }
    assert_eq!(shard[0].name, None);
    assert_eq!(shard[1].place, "record 1");
    assert_eq!(shard[0].molecule, truth[0].molecule);
}

#[test]
fn qcml_metadata_of_other_records_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let from = fixture("qcml");
    for set in ["dft_force_field", "dft_metadata"] {
        std::fs::create_dir_all(folder.path().join(set).join("1.0.0")).unwrap();
    }
    let (first, second) = ("qcml-full.tfrecord-00000-of-00002", "qcml-full.tfrecord-00001-of-00002");
    let set = folder.path().join("dft_force_field/1.0.0");
    // The shards change places.
    std::fs::copy(from.join("dft_force_field/1.0.0").join(first), set.join(second)).unwrap();
    std::fs::copy(from.join("dft_force_field/1.0.0").join(second), set.join(first)).unwrap();
    let metadata = "dft_metadata/1.0.0/qcml-full.tfrecord-00000-of-00001";
    std::fs::copy(from.join(metadata), folder.path().join(metadata)).unwrap();
    let mut reader = Reader::open(&set, ReadOptions::default()).unwrap();
    let error = reader.next().unwrap().unwrap_err().to_string();
    assert!(error.contains("record 0: expected the key_hash of") && reader.next().is_none(), "{error}");
}

#[test]
fn periodic_cells_are_refused_with_what_to_do() {
    let error = Reader::open(&fixture("lattice.npz"), ReadOptions::default()).unwrap_err().to_string();
    assert!(error.contains("frame, lattice: expected a molecule, found a periodic cell"), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let text = "1\nLattice=\"9 0 0 0 9 0 0 0 9\" Properties=species:S:1:pos:R:3:forces:R:3\nH 0 0 0 0 0 0\n";
    let path = folder.path().join("cell.xyz");
    std::fs::write(&path, text).unwrap();
    let error = Reader::open(&path, ReadOptions::default()).unwrap_err().to_string();
    assert!(error.contains("periodic cells are not supported"), "{error}");
}
