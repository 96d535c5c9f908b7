//! Dihedral angles: which ones a molecule has, and their values.
//!
//! ```text
//! φ = atan2(|b₂| b₁·(b₂ × b₃), (b₁ × b₂)·(b₂ × b₃)),   b₁ = r_j − r_i, b₂ = r_k − r_j, b₃ = r_l − r_k
//! ```
//!
//! in degrees, from −180 to 180: 0 with i and l on one side, positive when l is turned clockwise as seen from j to k
//! (IUPAC). One dihedral stands for a bond j–k: over the heaviest neighbour of each end, the first of equal ones.
//!
//! Deliberately absent: equal atoms that change places; a methyl group's three hydrogens are told apart.

use mdet_core::bonds;
use mdet_core::elements::symbol;

/// Sine of the angle at j or k below which i, j, k count as a line, where φ has no meaning.
const STRAIGHT: f64 = 0.05;

/// One dihedral `[i, j, k, l]` per bond j–k with neighbours on both ends that are not in line with it.
///
/// `positions`: one `[x, y, z]` per atom, Å.
///
/// # Panics
/// As [`bonds`].
pub fn torsions(numbers: &[u8], positions: &[[f64; 3]]) -> Vec<[usize; 4]> {
    let bonds = bonds(numbers, positions);
    let neighbour = |of: usize, not: &[usize]| {
        let others = bonds.iter().filter_map(|&[a, b]| match (a == of, b == of) {
            (true, _) => Some(b),
            (_, true) => Some(a),
            _ => None,
        });
        let others = others.filter(|other| !not.contains(other));
        others.min_by_key(|&other| (std::cmp::Reverse(numbers[other]), other))
    };
    let torsion = |&[j, k]: &[usize; 2]| {
        let i = neighbour(j, &[k])?;
        let l = neighbour(k, &[j, i])?;
        dihedral_degrees(positions, [i, j, k, l]).map(|_| [i, j, k, l])
    };
    bonds.iter().filter_map(torsion).collect()
}

/// φ of the module in degrees; `None` where three of the atoms are in line.
///
/// # Panics
/// When an atom is not there.
pub fn dihedral_degrees(positions: &[[f64; 3]], [i, j, k, l]: [usize; 4]) -> Option<f64> {
    let between = |a: usize, b: usize| std::array::from_fn(|axis| positions[b][axis] - positions[a][axis]);
    let [b1, b2, b3]: [[f64; 3]; 3] = [between(i, j), between(j, k), between(k, l)];
    let (left, right) = (cross(&b1, &b2), cross(&b2, &b3));
    let length = |v: &[f64; 3]| dot(v, v).sqrt();
    let bent = |normal: &[f64; 3], b: &[f64; 3]| length(normal) > STRAIGHT * length(b) * length(&b2);
    let defined = bent(&left, &b1) && bent(&right, &b3);
    defined.then(|| (length(&b2) * dot(&b1, &right)).atan2(dot(&left, &right)).to_degrees())
}

/// "C1–C2–O3–H9", atoms counted from 1.
pub fn torsion_name(numbers: &[u8], torsion: [usize; 4]) -> String {
    torsion.map(|i| format!("{}{}", symbol(numbers[i]), i + 1)).join("–")
}

fn dot(a: &[f64; 3], b: &[f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

fn cross(a: &[f64; 3], b: &[f64; 3]) -> [f64; 3] {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hydrogen peroxide whose far hydrogen is turned by φ: H–O along z–O–H, seen from the first oxygen to the second.
    fn rotor(degrees: f64) -> Vec<[f64; 3]> {
        // Looking along +z with x up, y is to the right: clockwise from x is towards y.
        let (sin, cos) = degrees.to_radians().sin_cos();
        vec![[0.9, 0.0, -0.3], [0.0; 3], [0.0, 0.0, 1.45], [0.9 * cos, 0.9 * sin, 1.75]]
    }

    #[test]
    fn the_dihedral_of_a_rotor_is_its_angle_with_its_sign() {
        for degrees in [-179.0, -90.0, -1e-3, 0.0, 37.5, 120.0, 179.0] {
            let found = dihedral_degrees(&rotor(degrees), [0, 1, 2, 3]).unwrap();
            assert!((found - degrees).abs() < 1e-12, "{found} {degrees}");
            // The same from the other end.
            assert!((dihedral_degrees(&rotor(degrees), [3, 2, 1, 0]).unwrap() - degrees).abs() < 1e-12);
        }
        assert_eq!(torsions(&[1, 8, 8, 1], &rotor(111.0)), [[0, 1, 2, 3]]);
        assert_eq!(torsion_name(&[1, 8, 8, 1], [0, 1, 2, 3]), "H1–O2–O3–H4");
    }

    #[test]
    fn the_heaviest_neighbour_is_taken_and_straight_lines_have_no_dihedral() {
        let acetylene = [[0.0, 0.0, -1.66], [0.0, 0.0, -0.6], [0.0, 0.0, 0.6], [0.0, 0.0, 1.66]];
        assert!(torsions(&[1, 6, 6, 1], &acetylene).is_empty());
        // A second neighbour of the first oxygen, made chlorine.
        let mut positions = rotor(60.0);
        positions.push([-1.3, 0.5, -0.9]);
        assert_eq!(torsions(&[1, 8, 8, 1, 17], &positions), [[4, 1, 2, 3]]);
    }
}
