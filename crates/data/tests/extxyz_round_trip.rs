//! What is written is read back as it was, to the last bit, whatever the numbers and texts.

// clippy.toml allows unwrap in `#[test]` functions only, not in what they call.
#![allow(clippy::unwrap_used)]

use std::io;
use std::path::Path;

use mdet_data::{Frame, FrameReader, FrameView, write_frame};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

fn written(frame: &FrameView<'_>) -> String {
    let mut bytes = Vec::new();
    write_frame(&mut bytes, frame).unwrap();
    String::from_utf8(bytes).unwrap()
}

fn read(text: &str) -> Vec<Frame> {
    FrameReader::new(text.as_bytes(), Path::new("test.xyz")).collect::<Result<_, _>>().unwrap()
}

fn bits(vectors: &[[f64; 3]]) -> Vec<[u64; 3]> {
    vectors.iter().map(|vector| vector.map(f64::to_bits)).collect()
}

/// Any finite number, subnormal and negative zero included.
fn finite() -> impl Strategy<Value = f64> {
    any::<f64>().prop_filter("finite", |x| x.is_finite())
}

fn vectors(n_atoms: usize) -> impl Strategy<Value = Vec<[f64; 3]>> {
    vec([finite(), finite(), finite()], n_atoms)
}

/// Texts of the characters that mean something in a comment line, and any others. Such a key may be bare or empty.
fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-cT=,\"'{}\\[\\]\\\\ \n\r\t\u{a0}ö]{0,8}", any::<String>()]
}

prop_compose! {
    fn key_value()(key in text(), value in text()) -> (String, String) {
        // An underscore in front keeps a random key from being one of the frame's own fields.
        (format!("_{key}"), value)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, rng_seed: RngSeed::Fixed(7), ..ProptestConfig::with_cases(400) })]

    #[test]
    fn a_frame_is_read_back_as_it_was_written(
        (numbers, positions, velocities, forces, masses_u) in (1_usize..6).prop_flat_map(|n_atoms| (
            vec(1_u8..=100, n_atoms),
            vectors(n_atoms),
            option::of(vectors(n_atoms)),
            option::of(vectors(n_atoms)),
            option::of(vec(1e-300..1e300, n_atoms)),
        )),
        energy_ev in option::of(finite()),
        charge in option::of(any::<i32>()),
        multiplicity in option::of(1_u32..200),
        key_values in vec(key_value(), 0..4),
    ) {
        let view = FrameView {
            numbers: &numbers,
            positions: &positions,
            velocities: velocities.as_deref(),
            forces: forces.as_deref(),
            masses_u: masses_u.as_deref(),
            energy_ev,
            charge,
            multiplicity,
            key_values: &key_values,
        };
        let text = written(&view);
        let frames = read(&format!("{text}{text}"));
        prop_assert_eq!(frames.len(), 2);
        let back = &frames[1];
        prop_assert_eq!(&back.numbers, &numbers);
        prop_assert_eq!(bits(&back.positions), bits(&positions));
        prop_assert_eq!(back.velocities.as_deref().map(bits), velocities.as_deref().map(bits));
        prop_assert_eq!(back.forces.as_deref().map(bits), forces.as_deref().map(bits));
        prop_assert_eq!(&back.masses_u, &masses_u);
        prop_assert_eq!(back.energy_ev.map(f64::to_bits), energy_ev.map(f64::to_bits));
        prop_assert_eq!((back.charge, back.multiplicity), (charge, multiplicity));
        prop_assert_eq!(&back.key_values, &key_values);
        prop_assert_eq!(written(&back.into()), text);
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "[0-3HC=:\"'{}\\[\\]\\\\ \n\r\tProeisxyz.-]{0,80}") {
        for frame in FrameReader::new(text.as_bytes(), Path::new("test.xyz")) {
            let _ = frame;
        }
    }
}

#[test]
fn a_written_frame_looks_as_documented() {
    let view = FrameView {
        numbers: &[8, 17],
        positions: &[[0.0, -1.5, 1e-9], [0.1, 2.0, 3.0]],
        velocities: Some(&[[0.01, 0.0, 0.0]; 2]),
        forces: Some(&[[0.5, 0.25, -0.125]; 2]),
        charge: Some(-1),
        multiplicity: Some(1),
        key_values: &[
            ("step".into(), "10".into()),
            ("name".into(), "a \"b\"".into()),
            ("flag".into(), "T".into()),
        ],
        ..FrameView::default()
    };
    let expected = r#"2
Properties=species:S:1:pos:R:3:velo:R:3:forces:R:3 charge=-1 multiplicity=1 step=10 name="a \"b\"" flag pbc="F F F"
O  0.0 -1.5 1e-9 0.01 0.0 0.0 0.5 0.25 -0.125
Cl 0.1 2.0 3.0 0.01 0.0 0.0 0.5 0.25 -0.125
"#;
    assert_eq!(written(&view), expected);
}

#[test]
fn a_number_that_is_not_finite_is_not_written() {
    let view = FrameView {
        numbers: &[1],
        positions: &[[0.0; 3]],
        forces: Some(&[[0.0, f64::NAN, 0.0]]),
        ..FrameView::default()
    };
    let mut bytes = Vec::new();
    let error = write_frame(&mut bytes, &view).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert_eq!(error.to_string(), "forces: expected finite numbers, found [0.0, NaN, 0.0] at atom 0");
    assert!(bytes.is_empty());
}

#[test]
#[should_panic(expected = "charge is a field of the frame")]
fn a_key_that_a_reader_would_take_for_a_field_is_a_mistake_of_the_caller() {
    let key_values = [("charge".to_owned(), "1".to_owned())];
    let view =
        FrameView { numbers: &[1], positions: &[[0.0; 3]], key_values: &key_values, ..Default::default() };
    written(&view);
}
