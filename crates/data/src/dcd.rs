//! DCD, the CHARMM and NAMD trajectory of positions in single precision, as MDAnalysis, VMD and ASE (`cp2k-dcd`) read.
//!
//! Little-endian Fortran records: a header of 276 bytes, then per frame a cell of zeros (there is none) and all x, all
//! y, all z in Å. The header counts the frames: write [`count`] at [`COUNT_OFFSET`] after every frame.
//!
//! Deliberately absent: velocities and forces, which the format has no place for; reading.

/// Where the header counts the frames.
pub const COUNT_OFFSET: u64 = 8;

/// One AKMA unit of time, in which the format gives its timestep, in fs: √(u Å² / (kcal/mol)).
const AKMA_IN_FS: f64 = 48.888_21;

/// The bytes that begin a file of molecules of `n_atoms` atoms, with `every` steps of `timestep_fs` between frames.
pub fn header(n_atoms: usize, every: u64, timestep_fs: f64) -> Vec<u8> {
    let mut control = [0_i32; 20];
    control[2] = every as i32;
    control[9] = ((timestep_fs / AKMA_IN_FS) as f32).to_bits() as i32;
    // With a cell, CHARMM 24: the variant that all readers take.
    control[10] = 1;
    control[19] = 24;
    let mut first = b"CORD".to_vec();
    first.extend(control.iter().flat_map(|x| x.to_le_bytes()));
    // ASE opens what mentions CP2K.
    let mut titles = 2_i32.to_le_bytes().to_vec();
    for title in ["written by mdet in the layout of CP2K", "positions in Angstrom"] {
        titles.extend(format!("{title:<80}").bytes());
    }
    let mut bytes = Vec::new();
    for content in [first, titles, (n_atoms as i32).to_le_bytes().to_vec()] {
        record(&mut bytes, &content);
    }
    bytes
}

/// The bytes of one frame of positions in Å.
pub fn frame(positions: &[[f64; 3]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Lengths of zero, angles of a right one (as cosines): A, γ, B, β, α, C.
    record(&mut bytes, &[0_u8; 48]);
    for axis in 0..3 {
        let column: Vec<u8> = positions.iter().flat_map(|r| (r[axis] as f32).to_le_bytes()).collect();
        record(&mut bytes, &column);
    }
    bytes
}

/// The header's count of frames.
pub fn count(n_frames: u32) -> [u8; 4] {
    n_frames.to_le_bytes()
}

fn record(bytes: &mut Vec<u8>, content: &[u8]) {
    let length = (content.len() as u32).to_le_bytes();
    bytes.extend(length);
    bytes.extend(content);
    bytes.extend(length);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_have_the_lengths_that_readers_compute() {
        let header = header(3, 20, 0.5);
        assert_eq!(header.len(), 276);
        assert_eq!(&header[4..8], b"CORD");
        assert_eq!(i32::from_le_bytes(header[268..272].try_into().unwrap()), 3);
        let frame = frame(&[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.5]]);
        // ASE: 4 + 6·8 + 7·4 + 3·4·n.
        assert_eq!(frame.len(), 4 + 48 + 28 + 36);
        let float = |at: usize| f32::from_le_bytes(frame[at..at + 4].try_into().unwrap());
        // After the cell's 56 bytes: x of the three atoms, then y, then z.
        assert_eq!((float(60), float(64), float(60 + 2 * 20 + 8)), (1.0, 4.0, 9.5));
    }
}
