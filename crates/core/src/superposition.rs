//! The rotation that brings one set of points closest to another (Horn, J. Opt. Soc. Am. A 4, 629, 1987).
//!
//! Of M = Σ_i a_i b_iᵀ, both sets from their centroids, a symmetric 4 × 4 matrix is made whose eigenvector of the largest
//! eigenvalue is the quaternion of the rotation R with Σ |R a_i − b_i|² least. Never a reflection.

use crate::rotation::Rotation;
use nalgebra::{Matrix3, Matrix4, SymmetricEigen, Vector3};

/// The rotation that brings `points` closest to `onto`, both from their centroids. Any unit of length.
///
/// # Panics
/// When the lengths differ or are zero, or a number is not finite.
pub fn superposition(points: &[[f64; 3]], onto: &[[f64; 3]]) -> Rotation {
    assert_eq!(points.len(), onto.len(), "points in pairs");
    let (from, to) = (centroid(points), centroid(onto));
    let mut m = Matrix3::zeros();
    for (a, b) in points.iter().zip(onto) {
        m += (Vector3::from(*a) - from) * (Vector3::from(*b) - to).transpose();
    }
    // The eigenvalue iteration does not end on NaN.
    assert!(m.iter().all(|x: &f64| x.is_finite()), "points are not finite: {m}");
    let [xx, xy, xz] = [m[(0, 0)], m[(0, 1)], m[(0, 2)]];
    let [yx, yy, yz] = [m[(1, 0)], m[(1, 1)], m[(1, 2)]];
    let [zx, zy, zz] = [m[(2, 0)], m[(2, 1)], m[(2, 2)]];
    #[rustfmt::skip]
    let quaternions = Matrix4::new(
        xx + yy + zz, yz - zy,      zx - xz,      xy - yx,
        yz - zy,      xx - yy - zz, xy + yx,      zx + xz,
        zx - xz,      xy + yx,      yy - xx - zz, yz + zy,
        xy - yx,      zx + xz,      yz + zy,      zz - xx - yy,
    );
    let SymmetricEigen { eigenvectors, eigenvalues } = SymmetricEigen::new(quaternions);
    let q = eigenvectors.column(eigenvalues.imax());
    Rotation::from_quaternion([q[0], q[1], q[2], q[3]])
}

/// Root-mean-square deviation of `a` from `b` in their unit, all points alike, after the translation and rotation that
/// make it smallest (Kabsch, Acta Cryst. A 32, 922, 1976); NaN when a position is not finite.
///
/// It is measured on the turned points: taken from the eigenvalue it would lose half of the digits.
///
/// # Panics
/// When the lengths differ or are zero.
pub fn rmsd(a: &[[f64; 3]], b: &[[f64; 3]]) -> f64 {
    if !a.iter().chain(b).flatten().all(|x| x.is_finite()) {
        return f64::NAN;
    }
    let centred = |points: &[[f64; 3]]| -> Vec<[f64; 3]> {
        let centre = centroid(points);
        points.iter().map(|r| (Vector3::from(*r) - centre).into()).collect()
    };
    let rotation = superposition(a, b);
    let (mut a, b) = (centred(a), centred(b));
    rotation.apply(&mut a);
    let squares = a.iter().flatten().zip(b.iter().flatten()).map(|(a, b)| (a - b).powi(2));
    (squares.sum::<f64>() / a.len() as f64).sqrt()
}

fn centroid(points: &[[f64; 3]]) -> Vector3<f64> {
    points.iter().map(|r| Vector3::from(*r)).sum::<Vector3<f64>>() / points.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Purpose, RandomStream};

    #[test]
    fn a_turned_and_moved_molecule_is_turned_back_and_a_mirror_image_is_not() {
        let points = [[0.0, 0.1, -0.2], [1.1, 0.3, 0.0], [0.4, 1.3, 0.9], [-0.8, 0.2, 1.2], [0.3, -2.0, 0.4]];
        let mut generator = RandomStream { seed: 1, purpose: Purpose::Analysis, replica: 0 }.at_step(0);
        for _ in 0..20 {
            let rotation = Rotation::random(&mut generator);
            let mut turned = points;
            rotation.apply(&mut turned);
            turned.iter_mut().for_each(|r| r[0] += 7.0);
            let found = superposition(&turned, &points);
            let (product, identity) = (found.after(&rotation), Rotation::IDENTITY);
            let pairs = product.matrix().as_flattened().iter().zip(identity.matrix().as_flattened());
            let worst = pairs.map(|(a, b)| (a - b).abs());
            // Rounding of sums of a few Å².
            assert!(worst.fold(0.0, f64::max) < 1e-13);
            let mirrored = points.map(|[x, y, z]| [x, y, -z]);
            assert!((superposition(&mirrored, &points).determinant() - 1.0).abs() < 1e-14);
        }
    }

    const A: [[f64; 3]; 4] = [[0.0, 0.1, -0.2], [1.1, 0.3, 0.0], [0.4, 1.3, 0.9], [-0.8, 0.2, 1.2]];

    #[test]
    fn a_turned_and_moved_molecule_does_not_deviate() {
        let mut generator = RandomStream { seed: 4, purpose: Purpose::Analysis, replica: 0 }.at_step(0);
        for _ in 0..20 {
            let mut b = A;
            Rotation::random(&mut generator).apply(&mut b);
            b.iter_mut().for_each(|r| (0..3).for_each(|k| r[k] += [5.0, -3.0, 0.5][k]));
            // Positions of 5 Å are rounded to 1e-15 Å.
            assert!(rmsd(&A, &b) < 1e-13, "{}", rmsd(&A, &b));
        }
    }

    #[test]
    fn a_mirror_image_deviates_and_a_stretched_bond_by_what_it_is_stretched() {
        let mirrored = A.map(|[x, y, z]| [x, y, -z]);
        assert!(rmsd(&A, &mirrored) > 0.1);
        // Each atom of the pair is off by half of the stretch.
        let pair = |r: f64| [[0.0, 0.0, 0.0], [r, 0.0, 0.0]];
        assert!((rmsd(&pair(1.0), &[[3.0, 0.0, 0.0], [3.0, 0.0, 1.4]]) - 0.2).abs() < 1e-15);
        assert_eq!(rmsd(&pair(1.0)[..1], &pair(1.0)[1..]), 0.0);
        assert!(rmsd(&pair(f64::NAN), &pair(1.0)).is_nan());
    }

    fn centred(points: &[[f64; 3]]) -> Vec<[f64; 3]> {
        let centre = centroid(points);
        points.iter().map(|r| (Vector3::from(*r) - centre).into()).collect()
    }

    #[test]
    fn no_rotation_does_better() {
        let b = [[0.1, 0.0, -0.3], [1.3, 0.1, 0.2], [0.2, 1.5, 0.7], [-0.9, 0.4, 1.0]];
        let found = rmsd(&A, &b);
        let mut generator = RandomStream { seed: 5, purpose: Purpose::Analysis, replica: 0 }.at_step(0);
        for _ in 0..2000 {
            let mut a = centred(&A);
            Rotation::random(&mut generator).apply(&mut a);
            let squares = a
                .iter()
                .flatten()
                .zip(centred(&b).iter().flatten())
                .map(|(a, b)| (a - b).powi(2))
                .sum::<f64>();
            assert!((squares / 4.0).sqrt() >= found);
        }
    }
}
