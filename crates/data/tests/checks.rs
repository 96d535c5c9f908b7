//! What is wrong with a set is found, and what is right is not; parts of a split are what they were when it was made.

#![allow(clippy::unwrap_used)] // clippy's allowance for tests does not reach their helper functions

use mdet_data::energy_check::{EnergyCheck, Verdict, force_size};
use mdet_data::findings::{Checks, Findings, Kind};
use mdet_data::split::{self, Members, Size, Split};
use mdet_data::{Dataset, ReadOptions, Reader, Record, StoreWriter, shared_frames};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn records(name: &str) -> Vec<Record> {
    Reader::open(&fixture(name), ReadOptions::default()).unwrap().collect::<Result<_, _>>().unwrap()
}

/// Frames of methane that a force field of springs between all atoms labels, in eV and eV/Å.
fn springs(n_frames: usize) -> Vec<Record> {
    let mut template = records("rmd17_ethanol.npz").remove(0);
    template.numbers = vec![6, 1, 1, 1, 1];
    let rest =
        [[0.0; 3], [0.63, 0.63, 0.63], [-0.63, -0.63, 0.63], [-0.63, 0.63, -0.63], [0.63, -0.63, -0.63]];
    let frame = |f: usize| {
        let mut record = template.clone();
        let wave = |i: usize, k: usize| 0.05 * ((1 + 3 * i + k) as f64 * (1.0 + 0.37 * f as f64)).sin();
        let moved = |(i, r): (usize, &[f64; 3])| std::array::from_fn(|k| r[k] + wave(i, k));
        record.positions = rest.iter().enumerate().map(moved).collect();
        let (mut energy, mut forces) = (-40.0, vec![[0.0; 3]; 5]);
        for i in 0..5 {
            for j in 0..i {
                let d: [f64; 3] = std::array::from_fn(|k| record.positions[j][k] - record.positions[i][k]);
                let length = d.iter().map(|x| x * x).sum::<f64>().sqrt();
                let stretch = length - if j == 0 { 1.09 } else { 1.78 };
                energy += 10.0 * stretch * stretch;
                for k in 0..3 {
                    let force = 20.0 * stretch * d[k] / length;
                    forces[i][k] += force;
                    forces[j][k] -= force;
                }
            }
        }
        (record.energy_ev, record.forces) = (Some(energy), Some(forces));
        record
    };
    (0..n_frames).map(frame).collect()
}

fn verdict(records: &[Record], force_factor: f64) -> Verdict {
    let mut check = EnergyCheck::default();
    for record in records {
        let mut record = record.clone();
        record.forces.iter_mut().flatten().flatten().for_each(|f| *f *= force_factor);
        check.add(&record);
    }
    check.verdict()
}

#[test]
fn forces_of_a_wrong_sign_or_unit_are_noticed_and_right_ones_are_not() {
    let frames = springs(40);
    let Verdict::Agree { slope, .. } = verdict(&frames, 1.0) else { panic!("{}", verdict(&frames, 1.0)) };
    // The trapezoid rule on nearly harmonic springs between neighbours 0.1 Å apart.
    assert!((slope - 1.0).abs() < 0.02, "{slope}");
    let cases = [
        (-1.0, "wrong sign"),
        (23.06, "eV and kcal/mol"),
        (-1.0 / 23.06, "wrong sign and are in the wrong unit"),
        (0.529_177, "Bohr and Å"),
        (1.0 / 51.42, "Hartree/Bohr and eV/Å"),
    ];
    for (factor, expected) in cases {
        let verdict = verdict(&frames, factor);
        assert!(
            matches!(verdict, Verdict::Differ { .. }) && verdict.to_string().contains(expected),
            "{verdict}"
        );
    }
    let mut silent = frames.clone();
    silent.iter_mut().for_each(|record| record.energy_ev = Some(1.0));
    assert!(matches!(verdict(&silent, 1.0), Verdict::Unknown(_)));
    assert!(matches!(verdict(&records("spice.hdf5"), 1.0), Verdict::Unknown(_) | Verdict::Agree { .. }));
    assert!(force_size(29.1).is_some() && force_size(0.02).is_some() && force_size(1.2).is_none());
}

fn findings(text: &str) -> Findings {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("set.xyz");
    std::fs::write(&path, text).unwrap();
    let mut checks = Checks::new(None);
    Reader::open(&path, ReadOptions::default()).unwrap().for_each(|record| checks.add(record));
    checks.finish()
}

/// Water as extended XYZ: the second hydrogen at `x`, with `force` along x on the oxygen.
fn water(x: f64, force: &str, key: &str) -> String {
    format!(
        "3\nProperties=species:S:1:pos:R:3:forces:R:3 {key}\nO 0 0 0 {force} 0 0\nH 0.96 0 0 0 0 0\nH {x} 0.93 0 0 0 0\n"
    )
}

#[test]
fn every_kind_of_wrong_structure_is_listed_with_its_place() {
    let sound: String = (0..8).map(|k| water(-0.24 + 0.01 * f64::from(k), "1", "")).collect();
    let text = [
        sound.as_str(),
        &water(-0.24, "nan", ""),             // 8: NaN, and reading goes on behind it
        &water(-0.23, "1", "multiplicity=2"), // 9: parity
        &water(-0.22, "1", "").replace("0.96 0 0", "0.06 0 0"), // 10: overlap
        &water(-0.21, "50", ""),              // 11: outlier, and a copy of 3
        &water(-0.05, "1", "charge=1 multiplicity=2"), // 12: an ion, sound
    ]
    .concat();
    let found = findings(&text);
    let listed: Vec<_> = found.list.iter().map(|finding| (finding.structure, finding.kind)).collect();
    let expected =
        [(8, Kind::Wrong), (9, Kind::Wrong), (10, Kind::Wrong), (11, Kind::Duplicate), (11, Kind::Outlier)];
    assert_eq!((found.n_structures, listed), (13, expected.to_vec()));
    let messages = [
        "NaN\"",
        "expected an odd multiplicity",
        "atoms 0 and 1: expected a distance",
        "structure 3",
        "50.00 eV/Å",
    ];
    for (finding, expected) in found.list.iter().zip(messages) {
        let message = finding.message.replace("nan", "NaN");
        assert!(message.contains(expected), "{message}");
    }
    assert!(found.list[0].message.contains("set.xyz:43: frame 8"), "{}", found.list[0].message);
}

#[test]
fn a_wrong_first_frame_is_listed_and_where_reading_stops_is_told() {
    let text = [water(-0.24, "nan", ""), water(-0.24, "1", ""), "O 0 0 0\n".into(), water(-0.2, "1", "")];
    let found = findings(&text.concat());
    let listed: Vec<_> = found.list.iter().map(|finding| (finding.structure, finding.kind)).collect();
    assert_eq!(listed, [(0, Kind::Wrong), (2, Kind::Wrong)]);
    assert!(found.warnings.iter().any(|stop| stop.contains("set.xyz:11") && stop.ends_with("stopped here")));
}

#[test]
fn parts_are_disjoint_complete_reproducible_and_keep_groups_together() {
    let groups: Vec<u64> = (0..100).map(|b| b % 10).collect();
    let named = |sizes: &[(&str, Size)]| -> Vec<(String, Size)> {
        sizes.iter().map(|(name, size)| ((*name).to_owned(), size.clone())).collect()
    };
    let sizes = named(&[("train", Size::Share(0.5)), ("test", Size::Structures(13)), ("rest", Size::Rest)]);
    let alone = split::draw(100, None, &sizes, 7).unwrap();
    assert_eq!(alone, split::draw(100, None, &sizes, 7).unwrap());
    assert_ne!(alone, split::draw(100, None, &sizes, 8).unwrap());
    let together = split::draw(100, Some(&groups), &sizes, 7).unwrap();
    let list = |parts: &BTreeMap<String, Members>, name: &str| match &parts[name] {
        Members::List(list) => list.clone(),
        Members::Rest => panic!("{name} is the rest"),
    };
    assert_eq!((list(&alone, "train").len(), list(&alone, "test").len()), (50, 13));
    // Groups have ten members each: 13 structures take two of them.
    assert_eq!((list(&together, "train").len(), list(&together, "test").len()), (50, 20));
    let group_of =
        |list: Vec<u32>| list.into_iter().map(|b| b % 10).collect::<std::collections::BTreeSet<_>>();
    assert!(group_of(list(&together, "train")).is_disjoint(&group_of(list(&together, "test"))));
    for (sizes, expected) in [
        (named(&[("a", Size::Structures(101))]), "expected 101 structures, found 100 left"),
        (named(&[("a", Size::List(vec![1, 100]))]), "below 100, found 100"),
        (
            named(&[("a", Size::List(vec![1, 2])), ("b", Size::List(vec![2]))]),
            "structure 2 is in a and again in b",
        ),
        (named(&[("a", Size::Rest), ("b", Size::Rest)]), "one part at most"),
        (named(&[("a", Size::Structures(1)), ("a", Size::Structures(1))]), "a is given twice"),
        (named(&[("a", Size::Share(0.001))]), "part a: expected at least one structure, found none"),
        (named(&[("a", Size::Share(1.0)), ("b", Size::Rest)]), "part b: expected at least one structure"),
    ] {
        let error = split::draw(100, None, &sizes, 0).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_part_is_read_as_a_file_is_from_files_and_stores_and_notices_changed_sources() {
    let folder = tempfile::tempdir().unwrap();
    let (store, copy, file) =
        (folder.path().join("store"), folder.path().join("copy.h5"), folder.path().join("split.json"));
    let mut writer = StoreWriter::create(&store).unwrap();
    writer
        .add(
            &fixture("spice.hdf5"),
            Reader::open(&fixture("spice.hdf5"), ReadOptions::default()).unwrap(),
            &mut |_| true,
        )
        .unwrap();
    writer.finish().unwrap();
    std::fs::copy(fixture("aimnet.h5"), &copy).unwrap();
    let parts = BTreeMap::from([
        ("test".to_owned(), Members::List(vec![1, 4, 5, 10])),
        ("train".to_owned(), Members::Rest),
    ]);
    let sources = [(store, 5), (copy.clone(), 6)];
    Split::new("by hand".into(), ReadOptions::default(), &sources, parts).unwrap().write(&file).unwrap();
    let named = |name: &str| PathBuf::from(format!("{}#{name}", file.display()));
    let read = |path: PathBuf| Dataset::read(&[path], ReadOptions::default());
    let whole =
        Dataset::read(&[fixture("spice.hdf5"), fixture("aimnet.h5")], ReadOptions::default()).unwrap();
    let (test, train) = (read(named("test")).unwrap(), read(named("train")).unwrap());
    assert_eq!(test.iter().collect::<Vec<_>>(), [1, 4, 5, 10].map(|b| whole.get(b)));
    assert_eq!(train.iter().collect::<Vec<_>>(), [0, 2, 3, 6, 7, 8, 9].map(|b| whole.get(b)));
    let streamed: Vec<Record> =
        Reader::open(&named("test"), ReadOptions::default()).unwrap().collect::<Result<_, _>>().unwrap();
    assert_eq!(
        streamed.iter().map(|r| r.molecule).collect::<Vec<_>>(),
        test.iter().map(|s| s.molecule).collect::<Vec<_>>()
    );
    assert!(shared_frames(&train, &test).is_empty());
    assert_eq!(shared_frames(&whole, &test), [(0, 1), (1, 4), (2, 5), (3, 10)]);
    // A part beside a whole file, and a part of which nothing is known.
    let both = Dataset::read(&[fixture("qm22_ethanol.npz"), named("test")], ReadOptions::default()).unwrap();
    assert_eq!((both.len(), both.get(5)), (8, whole.get(4)));
    let error = read(named("validation")).unwrap_err().to_string();
    assert!(error.ends_with("expected a part \"validation\", found test, train"), "{error}");
    let mut bytes = std::fs::read(&copy).unwrap();
    bytes.push(0);
    std::fs::write(&copy, bytes).unwrap();
    let error = read(named("test")).unwrap_err().to_string();
    assert!(error.contains("copy.h5: whole file: expected the file that"), "{error}");
}
