//! XYZ text that must be refused, with the place and what was expected.

// clippy.toml allows unwrap in `#[test]` functions only, not in what they call.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use mdet_data::{Frame, FrameReader, Problem, ReadError, read_file};

fn read(text: &str) -> Result<Vec<Frame>, ReadError> {
    FrameReader::new(text.as_bytes(), Path::new("water.xyz")).collect()
}

/// The line, the frame and the problem of a text that must be refused.
fn refused(text: &str) -> (usize, usize, Problem) {
    match read(text).unwrap_err() {
        ReadError::Frame { place, problem } => (place.line, place.frame, problem),
        other => panic!("expected a problem with a frame, found {other:?}"),
    }
}

fn refused_comment(line: &str) -> Problem {
    refused(&format!("1\n{line}\nH 0 0 0\n")).2
}

#[test]
fn an_empty_file_is_refused() {
    for text in ["", "\n \n"] {
        let error = read(text).unwrap_err();
        assert_eq!(error.to_string(), "water.xyz: expected at least one frame, found an empty file");
    }
}

#[test]
fn a_missing_file_is_named() {
    let error = read_file(Path::new("no/such.xyz")).unwrap_err();
    assert_eq!(error.to_string(), "no/such.xyz cannot be opened");
}

#[test]
fn a_bad_atom_count_is_refused_with_its_line() {
    for found in ["three", "-1", "0", "1.5", "99999999999999999999999"] {
        let problem = refused(&format!("{found}\n\nH 0 0 0\n"));
        assert_eq!(problem, (1, 0, Problem::AtomCount { found: found.to_owned() }));
    }
    // One atom more than announced: its line stands where the next count should.
    let problem = refused("1\n\nH 0 0 0\nH 0 0 1\n");
    assert_eq!(problem, (4, 1, Problem::AtomCount { found: "H 0 0 1".to_owned() }));
}

#[test]
fn a_truncated_frame_says_how_many_atoms_are_missing() {
    let truncated = |found| Problem::Truncated { expected: 3, found };
    assert_eq!(refused("1\n\nH 0 0 0\n3\n\nH 0 0 0\nH 0 0 1\n"), (7, 1, truncated(2)));
    assert_eq!(refused("3\n\nH 0 0 0\n\nH 0 0 0\n"), (4, 0, truncated(1)));
    assert_eq!(refused("3\n"), (1, 0, truncated(0)));
}

#[test]
fn a_huge_atom_count_costs_no_memory_before_it_is_refuted() {
    let (_, _, problem) = refused("9999999999999\n\nH 0 0 0\n");
    assert_eq!(problem, Problem::Truncated { expected: 9_999_999_999_999, found: 1 });
}

#[test]
fn wrong_column_counts_are_refused_with_their_line() {
    let declared = "2\nProperties=species:S:1:pos:R:3:forces:R:3\nH 0 0 0 1 1 1\n";
    for (line, found) in [("H 0 0 0 1 1", 6), ("H 0 0 0 1 1 1 1", 8)] {
        let problem = refused(&format!("{declared}{line}\n"));
        assert_eq!(problem, (4, 0, Problem::ColumnCount { expected: 7, found }));
    }
    assert_eq!(refused("1\n\nH 0 0\n"), (3, 0, Problem::PlainColumnCount { found: 3 }));
    let error = read(&format!("{declared}H 0\n")).unwrap_err().to_string();
    assert_eq!(error, "water.xyz:4: frame 0 (from 0): expected 7 columns, as Properties declares, found 2");
}

#[test]
fn unknown_elements_are_refused() {
    for found in ["X", "C1", "0", "119", "256", "-1", "6.0"] {
        let problem = refused(&format!("2\n\nH 0 0 0\n{found} 0 0 1\n"));
        assert_eq!(problem, (4, 0, Problem::Element { found: found.to_owned() }));
    }
}

#[test]
fn numbers_that_are_not_finite_or_not_numbers_are_refused() {
    for found in ["NaN", "nan", "inf", "-Infinity", "1e999", "*******", "1,5", "0x10"] {
        let (line, _, problem) = refused(&format!("1\n\nH 0 {found} 0\n"));
        assert_eq!((line, problem), (3, Problem::Number { name: "y".to_owned(), found: found.to_owned() }));
    }
    let (_, _, problem) = refused("1\nProperties=species:S:1:pos:R:3:forces:R:3\nH 0 0 0 0 0 NaN\n");
    assert_eq!(problem, Problem::Number { name: "force z".to_owned(), found: "NaN".to_owned() });
    assert_eq!(
        refused_comment("energy=nan"),
        Problem::Number { name: "energy".to_owned(), found: "nan".to_owned() }
    );
}

#[test]
fn bad_properties_are_refused() {
    for line in [
        "Properties=species:S:1:pos:R",
        "Properties=species:S:1:pos:R:x",
        "Properties=species:S:1:pos:R:3:a:R:0",
        "Properties=species:S:1:pos:R:99999999999",
        "Properties=species:S:1:pos:X:3",
        "Properties=species:S:1:pos:R:2",
        "Properties=species:S:2:pos:R:3",
        "Properties=species:S:1:pos:R:3:forces:R:1",
        "Properties=species:S:1:pos:R:3:pos:R:3",
        "Properties=pos:R:3",
        "Properties=species:S:1",
        "Properties=",
    ] {
        let problem = refused_comment(line);
        assert!(matches!(problem, Problem::Properties { .. }), "{line}: {problem:?}");
    }
}

#[test]
fn charges_and_multiplicities_that_are_no_integers_are_refused() {
    for found in ["0.5", "one", "", "T", "1 2", "1e300"] {
        let problem = refused_comment(&format!("charge=\"{found}\""));
        assert_eq!(problem, Problem::Charge { key: "charge".to_owned(), found: found.to_owned() });
    }
    for found in ["0", "-1", "1.5", "singlet"] {
        let problem = refused_comment(&format!("spin={found}"));
        assert_eq!(problem, Problem::Multiplicity { key: "spin".to_owned(), found: found.to_owned() });
    }
}

#[test]
fn two_spellings_that_disagree_are_refused() {
    let conflict =
        |first: &str, second: &str| Problem::Conflict { first: first.to_owned(), second: second.to_owned() };
    assert_eq!(refused_comment("total_charge=1 charge=0"), conflict("charge=0", "total_charge=1"));
    assert_eq!(refused_comment("charge=0 charge=1"), conflict("charge=0", "charge=1"));
    assert_eq!(refused_comment("spin=2 multiplicity=1"), conflict("multiplicity=1", "spin=2"));
}

#[test]
fn a_value_whose_quote_never_closes_is_refused() {
    assert_eq!(refused_comment("name=\"water"), Problem::Unclosed { key: "name".to_owned(), close: '"' });
    assert_eq!(refused_comment("cell=[1 [2]"), Problem::Unclosed { key: "cell".to_owned(), close: ']' });
}

#[test]
fn a_periodic_cell_is_refused_and_a_box_without_periodicity_is_not() {
    const LATTICE: &str = "Lattice=\"9 0 0 0 9 0 0 0 9\"";
    for line in [LATTICE, "pbc=\"F T F\"", &format!("{LATTICE} pbc=\"T T T\""), "pbc=[true, 0, 0]"] {
        let problem = refused_comment(line);
        assert!(matches!(problem, Problem::Periodic { .. }), "{line}: {problem:?}");
        assert!(problem.to_string().contains("pbc=\"F F F\""));
    }
    for line in [&format!("{LATTICE} pbc=\"F F F\""), "pbc=\"False False False\"", "pbc=[0,0,0]"] {
        assert_eq!(read(&format!("1\n{line}\nH 0 0 0\n")).unwrap()[0].key_values, []);
    }
    assert_eq!(refused_comment("pbc=\"no\""), Problem::Pbc { found: "no".to_owned() });
}
