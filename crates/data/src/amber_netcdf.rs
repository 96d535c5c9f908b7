//! The AMBER NetCDF trajectory (conventions 1.0, <https://ambermd.org/netcdf/nctraj.xhtml>), single precision, as
//! MDAnalysis, ASE, cpptraj, VMD and OVITO read: positions, velocities and forces.
//!
//! NetCDF-3 with 64-bit offsets, big-endian: a header, the atomic numbers (`atom_types`, for ASE), then one record of
//! fixed size per frame. The header counts the records: write [`count`] at [`COUNT_OFFSET`] after every frame.
//! Velocities are in Å/ps and forces in kcal/mol/Å, as the conventions have it; time in ps.
//!
//! Deliberately absent: a cell (its lengths are zero) and reading.

use mdet_core::constants::KCAL_PER_MOL_IN_EV;

/// Where the header counts the frames.
pub const COUNT_OFFSET: u64 = 4;

const FS_PER_PS: f64 = 1000.0;

/// NetCDF's types: character, integer, float, double.
const CHAR: u32 = 2;
const INT: u32 = 4;
const FLOAT: u32 = 5;
const DOUBLE: u32 = 6;

/// NetCDF's dimensions, by their place in the header.
const FRAME: u32 = 0;
const ATOM: u32 = 1;
const SPATIAL: u32 = 2;

/// What a file holds beside positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Columns {
    /// Velocities.
    pub velocities: bool,
    /// Forces.
    pub forces: bool,
}

struct Variable {
    name: &'static str,
    dimensions: &'static [u32],
    units: Option<&'static str>,
    kind: u32,
    size: usize,
}

/// The bytes that begin a file of one molecule.
pub fn header(numbers: &[u8], columns: Columns) -> Vec<u8> {
    let variables = variables(numbers.len(), columns);
    let length = encode(numbers.len(), &variables, 0).len();
    let mut bytes = encode(numbers.len(), &variables, length);
    bytes.extend(numbers.iter().flat_map(|&z| i32::from(z).to_be_bytes()));
    bytes
}

/// The bytes of one frame: time in fs, positions in Å, velocities in Å/fs and forces in eV/Å if the file has them.
pub fn frame(
    time_fs: f64,
    positions: &[[f64; 3]],
    velocities: Option<&[[f64; 3]]>,
    forces: Option<&[[f64; 3]]>,
) -> Vec<u8> {
    let mut bytes = ((time_fs / FS_PER_PS) as f32).to_be_bytes().to_vec();
    let columns = [(Some(positions), 1.0), (velocities, FS_PER_PS), (forces, 1.0 / KCAL_PER_MOL_IN_EV)];
    for (column, factor) in columns {
        let numbers = column.into_iter().flatten().flatten();
        bytes.extend(numbers.flat_map(|x| ((x * factor) as f32).to_be_bytes()));
    }
    bytes.extend([0.0, 0.0, 0.0, 90.0, 90.0, 90.0_f64].iter().flat_map(|x| x.to_be_bytes()));
    bytes
}

/// The header's count of frames.
pub fn count(n_frames: u32) -> [u8; 4] {
    n_frames.to_be_bytes()
}

fn variables(n_atoms: usize, columns: Columns) -> Vec<Variable> {
    let vectors = |name, units| Variable {
        name,
        dimensions: &[FRAME, ATOM, SPATIAL],
        units: Some(units),
        kind: FLOAT,
        size: 12 * n_atoms,
    };
    let cell = |name, units| Variable {
        name,
        dimensions: &[FRAME, SPATIAL],
        units: Some(units),
        kind: DOUBLE,
        size: 24,
    };
    let atoms =
        Variable { name: "atom_types", dimensions: &[ATOM], units: None, kind: INT, size: 4 * n_atoms };
    let time =
        Variable { name: "time", dimensions: &[FRAME], units: Some("picosecond"), kind: FLOAT, size: 4 };
    let mut all = vec![atoms, time, vectors("coordinates", "angstrom")];
    all.extend(columns.velocities.then(|| vectors("velocities", "angstrom/picosecond")));
    all.extend(columns.forces.then(|| vectors("forces", "kilocalorie/mole/angstrom")));
    all.extend([cell("cell_lengths", "angstrom"), cell("cell_angles", "degree")]);
    all
}

/// The header, in which the data begin at `data_start`.
fn encode(n_atoms: usize, variables: &[Variable], data_start: usize) -> Vec<u8> {
    let mut bytes = b"CDF\x02".to_vec();
    word(&mut bytes, 0);
    list(&mut bytes, 0x0A, 3);
    for (name, size) in [("frame", 0), ("atom", n_atoms), ("spatial", 3)] {
        text(&mut bytes, name);
        word(&mut bytes, size as u32);
    }
    let attributes = [
        ("title", "mdet"),
        ("program", "mdet"),
        ("programVersion", env!("CARGO_PKG_VERSION")),
        ("Conventions", "AMBER"),
        ("ConventionVersion", "1.0"),
    ];
    list(&mut bytes, 0x0C, attributes.len());
    for (name, value) in attributes {
        attribute(&mut bytes, name, value);
    }
    list(&mut bytes, 0x0B, variables.len());
    let mut begin = data_start;
    for variable in variables {
        text(&mut bytes, variable.name);
        word(&mut bytes, variable.dimensions.len() as u32);
        variable.dimensions.iter().for_each(|&dimension| word(&mut bytes, dimension));
        match variable.units {
            Some(units) => {
                list(&mut bytes, 0x0C, 1);
                attribute(&mut bytes, "units", units);
            }
            None => list(&mut bytes, 0, 0),
        }
        word(&mut bytes, variable.kind);
        word(&mut bytes, variable.size as u32);
        bytes.extend((begin as u64).to_be_bytes());
        begin += variable.size;
    }
    bytes
}

fn word(bytes: &mut Vec<u8>, value: u32) {
    bytes.extend(value.to_be_bytes());
}

fn list(bytes: &mut Vec<u8>, tag: u32, length: usize) {
    word(bytes, tag);
    word(bytes, length as u32);
}

/// Length and characters, filled up to a multiple of four.
fn text(bytes: &mut Vec<u8>, text: &str) {
    word(bytes, text.len() as u32);
    bytes.extend(text.bytes());
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

fn attribute(bytes: &mut Vec<u8>, name: &str, value: &str) {
    text(bytes, name);
    word(bytes, CHAR);
    text(bytes, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_begin_where_the_header_says_and_a_frame_fills_a_record() {
        let columns = Columns { velocities: true, forces: true };
        let header = header(&[8, 1, 1], columns);
        let variables = variables(3, columns);
        // The 64-bit offset of the atomic numbers, the first data, follows the variable's type and size.
        let at = header.windows(10).position(|window| window == b"atom_types").unwrap() + 12;
        let begin = u64::from_be_bytes(header[at + 24..at + 32].try_into().unwrap()) as usize;
        assert_eq!(header.len(), begin + 12);
        assert_eq!(&header[begin..], [0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 1]);
        let r = [[1.0, 2.0, 3.0]; 3];
        let frame = frame(1500.0, &r, Some(&r), Some(&r));
        assert_eq!(frame.len(), variables[1..].iter().map(|v| v.size).sum::<usize>());
        let float = |at: usize| f32::from_be_bytes(frame[at..at + 4].try_into().unwrap());
        assert_eq!((float(0), float(4), float(4 + 36)), (1.5, 1.0, 1000.0));
        // 1 eV = 23.060548 kcal/mol.
        assert!((float(4 + 72) - 23.060_55).abs() < 1e-4);
    }
}
