//! Reading XYZ text as programs write it.

// clippy.toml allows unwrap in `#[test]` functions only, not in what they call.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use mdet_data::{Frame, FrameReader, ReadError};

fn read(text: &str) -> Result<Vec<Frame>, ReadError> {
    FrameReader::new(text.as_bytes(), Path::new("water.xyz")).collect()
}

fn read_one(text: &str) -> Frame {
    let mut frames = read(text).unwrap();
    assert_eq!(frames.len(), 1);
    frames.remove(0)
}

/// One hydrogen atom under this comment.
fn comment(line: &str) -> Result<Frame, ReadError> {
    read(&format!("1\n{line}\nH 0 0 0\n")).map(|mut frames| frames.remove(0))
}

fn pair(key: &str, value: &str) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

/// As ASE 3.29 writes a molecule with a calculator, with `info` of every kind.
const ASE: &str = r#"3
Properties=species:S:1:pos:R:3:tags:I:1:forces:R:3 charge=-1 spin=1 name="a \"b\" c" label=w=1 flag=T list="1 2" json="_JSON [[1, 2], {\"k\": 1}]" energy=-14.25 dipole="0.0 0.0 0.25" pbc="F F F"
O        0.00000000       0.00000000       0.11926200        0       0.00000000       0.10000000      -0.50000000
H        0.00000000       0.76323900      -0.47704700        1       1.00000000       0.20000000      -0.60000000
H        0.00000000      -0.76323900      -0.47704700        0       2.00000000       0.30000000      -0.70000000
"#;

#[test]
fn a_frame_written_by_ase_is_read_with_its_labels() {
    let frame = read_one(ASE);
    assert_eq!(frame.numbers, [8, 1, 1]);
    assert_eq!(frame.positions[1], [0.0, 0.763239, -0.477047]);
    assert_eq!(frame.forces.unwrap(), [[0.0, 0.1, -0.5], [1.0, 0.2, -0.6], [2.0, 0.3, -0.7]]);
    assert_eq!((frame.energy_ev, frame.charge, frame.multiplicity), (Some(-14.25), Some(-1), Some(1)));
    assert_eq!(frame.velocities, None);
    assert_eq!((frame.place.line, frame.place.frame), (1, 0));
    let expected = [
        pair("name", r#"a "b" c"#),
        pair("label", "w=1"),
        pair("flag", "T"),
        pair("list", "1 2"),
        pair("json", r#"_JSON [[1, 2], {"k": 1}]"#),
        pair("dipole", "0.0 0.0 0.25"),
    ];
    assert_eq!(frame.key_values, expected);
}

#[test]
fn plain_xyz_has_free_text_and_columns_of_other_programs() {
    let frame =
        read_one("2\n Peter's total charge: don't know, {x\n  H 0.0 0 0  0.41 12\n CL\t1.0D-3 -1.2E+0 3d0\n");
    assert_eq!(frame.numbers, [1, 17]);
    assert_eq!(frame.positions[1], [0.001, -1.2, 3.0]);
    assert_eq!((frame.charge, frame.energy_ev, frame.forces), (None, None, None));
    assert_eq!(frame.key_values[0], pair("Peter's", "T"));
}

#[test]
fn an_empty_comment_is_a_comment() {
    assert_eq!(read_one("1\n\nHe 1 2 3").key_values, []);
}

#[test]
fn columns_may_stand_in_any_order_and_unknown_ones_are_skipped() {
    let frame = read_one(
        "1\nProperties=force:R:3:velo:R:3:fixed:L:1:tag:S:2:pos:R:3:Z:I:1\n1 2 3 4 5 6 T a b 7 8 9 16\n",
    );
    assert_eq!(frame.numbers, [16]);
    assert_eq!(frame.positions, [[7.0, 8.0, 9.0]]);
    assert_eq!(frame.forces.unwrap(), [[1.0, 2.0, 3.0]]);
    assert_eq!(frame.velocities.unwrap(), [[4.0, 5.0, 6.0]]);
}

#[test]
fn reference_labels_win_over_those_of_a_model() {
    let frame = read_one(
        "1\nenergy=1 REF_energy=2 Properties=species:S:1:forces:R:3:pos:R:3:REF_forces:R:3\nH 1 1 1 0 0 0 2 2 2\n",
    );
    assert_eq!(frame.energy_ev, Some(2.0));
    assert_eq!(frame.forces.unwrap(), [[2.0, 2.0, 2.0]]);
    assert_eq!(frame.key_values, []);
}

#[test]
fn species_may_be_atomic_numbers() {
    assert_eq!(read_one("2\n\n17 0 0 0\n6 0 0 2\n").numbers, [17, 6]);
}

#[test]
fn every_spelling_of_charge_and_multiplicity_is_read() {
    for line in ["charge=-2", "total_charge = -2", "Charge=-2.0", "total_charge=\"-2\"", "charge={-2}"] {
        assert_eq!(comment(line).unwrap().charge, Some(-2), "{line}");
    }
    for line in ["multiplicity=3", "mult=+3", "spin=3", "spin_multiplicity='3'", "spin=3.0 mult=3"] {
        assert_eq!(comment(line).unwrap().multiplicity, Some(3), "{line}");
    }
}

#[test]
fn quotations_and_bare_keys_are_told_apart() {
    let frame =
        comment(r#"a='it is' b={x {y} z} c=[1, [2]] d="" "my key"="k=v" e f= g h="a\nb\\" i=5'"#).unwrap();
    let expected = [
        pair("a", "it is"),
        pair("b", "x {y} z"),
        pair("c", "1, [2]"),
        pair("d", ""),
        pair("my key", "k=v"),
        pair("e", "T"),
        pair("f", "g"),
        pair("h", "a\nb\\"),
        pair("i", "5'"),
    ];
    assert_eq!(frame.key_values, expected);
}

#[test]
fn line_endings_blank_lines_and_a_byte_order_mark_do_not_matter() {
    let unix = read("1\ncharge=1\nH 0 0 0\n2\nx\nH 0 0 1\nF 0 0 0\n").unwrap();
    for text in [
        "1\r\ncharge=1\r\nH 0 0 0\r\n2\r\nx\r\nH 0 0 1\r\nF 0 0 0\r\n",
        "1\ncharge=1\nH 0 0 0\n2\nx\nH 0 0 1\nF 0 0 0",
        "\u{feff}1\ncharge=1\nH 0 0 0\n2\nx\nH 0 0 1\nF 0 0 0\n\n \t\r\n\n",
    ] {
        assert_eq!(read(text).unwrap(), unix);
    }
    assert_eq!(
        unix.iter().map(|frame| (frame.place.line, frame.place.frame)).collect::<Vec<_>>(),
        [(1, 0), (4, 1)]
    );
    assert_eq!(read("1\n\nH 0 0 0\n\n1\n\nH 0 0 0\n").unwrap()[1].place.line, 5);
}

#[test]
fn a_comment_in_another_encoding_is_no_obstacle() {
    let bytes: &[u8] = b"1\nL\xf6sung charge=1\nH 0 0 0\n";
    let frame = FrameReader::new(bytes, Path::new("a.xyz")).next().unwrap().unwrap();
    assert_eq!(frame.charge, Some(1));
}

#[test]
fn the_reader_goes_on_behind_a_wrong_atom_and_ends_where_a_frame_has_no_end() {
    let text = "1\n\nH 0 0 0\n1\n\nXx 0 0 0\n1\n\nH 0 0 0\nnone\n\nH 0 0 0\n1\n\nH 0 0 0\n";
    let mut frames = FrameReader::new(text.as_bytes(), Path::new("a"));
    assert!(frames.next().unwrap().is_ok());
    assert!(frames.next().unwrap().is_err());
    assert_eq!(frames.next().unwrap().unwrap().place.line, 7);
    assert!(frames.next().unwrap().is_err());
    assert!(frames.next().is_none());
}

#[test]
fn the_reader_goes_on_behind_a_wrong_comment_and_frames_that_end_early() {
    let periodic = "1\npbc=T\nH 0 0 0\n";
    let one_atom_short = "3\n\nH 0 0 0\nH 0 0 1\n";
    let blank_line = "2\n\nH 0 0 x\n\n";
    let sound = "1\n\nH 0 0 0\n";
    let cut_off = "2\n\nH 0 0 0\n";
    let text = [periodic, one_atom_short, blank_line, sound, cut_off].concat();
    let lines: Vec<_> = FrameReader::new(text.as_bytes(), Path::new("a"))
        .map(|frame| frame.map(|frame| (frame.place.line, frame.place.frame)).map_err(|e| e.to_string()))
        .collect();
    assert_eq!(lines.len(), 5, "{lines:?}");
    assert_eq!(lines[3], Ok((12, 3)));
    for (index, expected) in
        [(0, "a:2: frame 0"), (1, "a:8: frame 1"), (2, "a:10: frame 2"), (4, "a:17: frame 4")]
    {
        assert!(lines[index].as_ref().unwrap_err().contains(expected), "{lines:?}");
    }
}

#[test]
fn overrides_win_over_the_file_and_the_file_over_defaults() {
    let ammonium = "5\nCHARGE\nN 0 0 0\nH 1 0 0\nH -1 0 0\nH 0 1 0\nH 0 -1 0\n";
    let structure = |line: &str, charge, multiplicity| {
        let structure =
            read_one(&ammonium.replace("CHARGE", line)).into_structure(charge, multiplicity).unwrap();
        (structure.charge(), structure.multiplicity())
    };
    // NH4 has 11 electrons.
    assert_eq!(structure("", None, None), (0, 2));
    assert_eq!(structure("charge=1", None, None), (1, 1));
    assert_eq!(structure("charge=1 spin=3", None, None), (1, 3));
    assert_eq!(structure("charge=1 spin=3", Some(-1), Some(5)), (-1, 5));
    assert_eq!(structure("charge=1", Some(0), None), (0, 2));
}

#[test]
fn a_frame_that_is_no_molecule_is_named_with_its_place() {
    let mut frames = read("1\n\nH 0 0 0\n2\n\nH 0 0 0\nH 0 0 0\n").unwrap();
    let error = frames.remove(1).into_structure(None, None).unwrap_err();
    assert_eq!(error.to_string(), "water.xyz:4: frame 1 (from 0): the frame is no molecule");
    assert!(std::error::Error::source(&error).is_some());
}
