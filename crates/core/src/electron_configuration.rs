//! The electron configuration of an element as the 23 numbers that the model's atom embedding reads.
//!
//! | column | content | divided by |
//! |---|---|---|
//! | 0 | Z | the last row's Z |
//! | 1–18 | electrons in 1s 2s 2p 3s 3p 4s 3d 4p 5s 4d 5p 6s 4f 5d 6p 7s 5f 6d | the column's largest entry |
//! | 19–22 | electrons outside the noble-gas core with l = s, p, d, f | the column's largest entry |
//!
//! Configurations are those of the free neutral atom: subshells fill in the order of the columns (Madelung), and
//! `EXCEPTIONS` moves electrons where nature differs. A noble gas counts its own outermost period as valence.
//! The values equal the authors' table (`embedding.nuclear_embedding.electron_config`, f32) after rounding to f32,
//! which has one slip, kept because their weights were trained with it: see `VALENCE_OF_URANIUM`.

/// Columns of the table.
pub const N_CONFIGURATION_COLUMNS: usize = 23;

/// Rows of the authors' table: Z = 0 is padding, the last Z has no electrons entered.
pub const N_CONFIGURATION_ROWS: usize = 102;

/// Row `z` of the table, each column divided by its maximum, all in `0.0..=1.0`.
///
/// Rows without an element are the authors' as well: 0 is all zeros, 101 has only its Z.
///
/// # Panics
/// When `z >= N_CONFIGURATION_ROWS`.
pub fn electron_configuration(z: u8) -> [f64; N_CONFIGURATION_COLUMNS] {
    let last_z = N_CONFIGURATION_ROWS - 1;
    assert!(usize::from(z) <= last_z, "atomic number {z} is not in 0..={last_z}");
    let mut row = [0.0; N_CONFIGURATION_COLUMNS];
    row[0] = f64::from(z) / last_z as f64;
    if usize::from(z) == last_z {
        return row;
    }
    let occupation = occupation(z);
    for (s, electrons) in occupation.into_iter().enumerate() {
        row[1 + s] = f64::from(electrons) / f64::from(largest_occupation(s));
    }
    for (l, electrons) in valence(z, &occupation).into_iter().enumerate() {
        row[1 + SUBSHELLS.len() + l] = f64::from(electrons) / f64::from(capacity(l));
    }
    row
}

/// Orbital angular momentum l of the subshells, in Madelung order.
const SUBSHELLS: [usize; 18] = {
    const S: usize = 0;
    const P: usize = 1;
    const D: usize = 2;
    const F: usize = 3;
    [S, S, P, S, P, S, D, P, S, D, P, S, F, D, P, S, F, D]
};

const N_4S: usize = 5;
const N_3D: usize = 6;
const N_5S: usize = 8;
const N_4D: usize = 9;
const N_6S: usize = 11;
const N_4F: usize = 12;
const N_5D: usize = 13;
const N_5F: usize = 16;
const N_6D: usize = 17;

/// (Z, from, to, electrons): where the ground state departs from Madelung filling.
/// NIST Atomic Spectra Database, ground states of neutral atoms.
#[rustfmt::skip]
const EXCEPTIONS: [(u8, usize, usize, u8); 19] = [
    (24, N_4S, N_3D, 1), (29, N_4S, N_3D, 1),
    (41, N_5S, N_4D, 1), (42, N_5S, N_4D, 1), (44, N_5S, N_4D, 1), (45, N_5S, N_4D, 1), (46, N_5S, N_4D, 2),
    (47, N_5S, N_4D, 1),
    (57, N_4F, N_5D, 1), (58, N_4F, N_5D, 1), (64, N_4F, N_5D, 1), (78, N_6S, N_5D, 1), (79, N_6S, N_5D, 1),
    (89, N_5F, N_6D, 1), (90, N_5F, N_6D, 2), (91, N_5F, N_6D, 1), (92, N_5F, N_6D, 1), (93, N_5F, N_6D, 1),
    (96, N_5F, N_6D, 1),
];

/// The authors enter uranium's valence s, p, d, f with d and f exchanged: 5f³ 6d¹ 7s² should give 2, 0, 1, 3.
const VALENCE_OF_URANIUM: [u8; 4] = [2, 0, 3, 1];

/// Subshells filled by each noble gas, from none to radon.
const CORES: [usize; 7] = [0, 1, 3, 5, 8, 11, 15];

/// Electrons that a subshell of angular momentum l can hold.
fn capacity(l: usize) -> u8 {
    [2, 6, 10, 14][l]
}

/// Largest entry of a subshell's column: its capacity, except 6d and 5f, which no element here fills.
fn largest_occupation(subshell: usize) -> u8 {
    match subshell {
        N_5F => 12,
        N_6D => 2,
        _ => capacity(SUBSHELLS[subshell]),
    }
}

fn occupation(z: u8) -> [u8; SUBSHELLS.len()] {
    let mut left = z;
    let mut electrons = SUBSHELLS.map(|l| {
        let here = left.min(capacity(l));
        left -= here;
        here
    });
    for (_, from, to, moved) in EXCEPTIONS.into_iter().filter(|exception| exception.0 == z) {
        electrons[from] -= moved;
        electrons[to] += moved;
    }
    electrons
}

/// Electrons outside the noble gas strictly before `z`, by angular momentum s, p, d, f.
fn valence(z: u8, occupation: &[u8; SUBSHELLS.len()]) -> [u8; 4] {
    if z == 92 {
        return VALENCE_OF_URANIUM;
    }
    let electrons_in = |core: usize| -> u8 { SUBSHELLS[..core].iter().map(|&l| capacity(l)).sum() };
    let core = CORES.into_iter().rev().find(|&core| electrons_in(core) < z).unwrap_or(0);
    let mut counts = [0; 4];
    for s in core..SUBSHELLS.len() {
        counts[SUBSHELLS[s]] += occupation[s];
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_equals_the_authors_to_the_last_bit_of_f32() {
        let fixture = include_str!("../tests/fixtures/electron_configuration.txt");
        let rows: Vec<&str> = fixture.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(rows.len(), N_CONFIGURATION_ROWS);
        for (z, row) in rows.into_iter().enumerate() {
            let expected: Vec<f32> = row.split(' ').map(|word| word.parse().unwrap()).collect();
            let found = electron_configuration(z as u8).map(|x| x as f32);
            assert_eq!(found.to_vec(), expected, "row {z}");
        }
    }

    #[test]
    fn electrons_of_every_element_add_up_to_its_atomic_number() {
        for z in 0..=100 {
            assert_eq!(occupation(z).iter().sum::<u8>(), z);
        }
    }
}
