//! Rotations and reflections of space, uniform over the group (Haar measure).
//!
//! Four independent normals, normalised, are a uniform point on the sphere S³, and a unit quaternion
//! q = (w, x, y, z) is the rotation (Shoemake, Graphics Gems III, 1992)
//!
//! ```text
//!     ⎡1−2(y²+z²)  2(xy−wz)    2(xz+wy)  ⎤
//! R = ⎢2(xy+wz)    1−2(x²+z²)  2(yz−wx)  ⎥
//!     ⎣2(xz−wy)    2(yz+wx)    1−2(x²+y²)⎦
//! ```
//!
//! Every roll is included; Euler angles drawn one by one are not uniform.

use rand::{Rng, RngExt};
use rand_distr::StandardNormal;

/// An orthogonal matrix: a rotation, or a rotation times −1 (improper).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rotation {
    matrix: [[f64; 3]; 3],
}

impl Rotation {
    /// The rotation that moves nothing.
    pub const IDENTITY: Self = Self { matrix: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]] };

    /// A uniform rotation, determinant 1.
    pub fn random(generator: &mut impl Rng) -> Self {
        loop {
            let quaternion = std::array::from_fn(|_| generator.sample(StandardNormal));
            // A zero quaternion has no direction; that it is ever drawn is a matter of principle.
            if quaternion != [0.0; 4] {
                return Self::from_quaternion(quaternion);
            }
        }
    }

    /// A uniform orthogonal matrix: a uniform rotation, times −1 with probability ½.
    pub fn random_or_reflection(generator: &mut impl Rng) -> Self {
        let rotation = Self::random(generator);
        if generator.random() { rotation.inverted() } else { rotation }
    }

    /// The rotation of a quaternion `[w, x, y, z]` of any length: by the angle θ about the unit axis u for
    /// `[cos θ/2, u sin θ/2]`.
    ///
    /// # Panics
    /// When the quaternion is zero or not finite.
    pub fn from_quaternion(quaternion: [f64; 4]) -> Self {
        let norm = quaternion.iter().map(|q| q * q).sum::<f64>().sqrt();
        assert!(norm > 0.0 && norm.is_finite(), "quaternion {quaternion:?} has no direction");
        let [w, x, y, z] = quaternion.map(|q| q / norm);
        Self {
            matrix: [
                [1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y - w * z), 2.0 * (x * z + w * y)],
                [2.0 * (x * y + w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z - w * x)],
                [2.0 * (x * z - w * y), 2.0 * (y * z + w * x), 1.0 - 2.0 * (x * x + y * y)],
            ],
        }
    }

    /// This times −1: the same rotation, then space turned through the origin.
    pub fn inverted(&self) -> Self {
        Self { matrix: self.matrix.map(|row| row.map(|x| -x)) }
    }

    /// R⁻¹ = Rᵀ, which undoes this.
    pub fn inverse(&self) -> Self {
        Self { matrix: std::array::from_fn(|i| std::array::from_fn(|j| self.matrix[j][i])) }
    }

    /// First `other`, then this: the matrix product of this and `other`.
    pub fn after(&self, other: &Self) -> Self {
        let product = |i: usize, j: usize| (0..3).map(|k| self.matrix[i][k] * other.matrix[k][j]).sum();
        Self { matrix: std::array::from_fn(|i| std::array::from_fn(|j| product(i, j))) }
    }

    /// The matrix R, rows first: r′ = R r.
    pub fn matrix(&self) -> &[[f64; 3]; 3] {
        &self.matrix
    }

    /// 1 for a rotation, −1 with a reflection, to rounding.
    pub fn determinant(&self) -> f64 {
        let [a, b, c] = self.matrix;
        a[0] * (b[1] * c[2] - b[2] * c[1]) - a[1] * (b[0] * c[2] - b[2] * c[0])
            + a[2] * (b[0] * c[1] - b[1] * c[0])
    }

    /// Replaces every vector r by R r.
    pub fn apply(&self, vectors: &mut [[f64; 3]]) {
        for r in vectors {
            *r = std::array::from_fn(|i| (0..3).map(|k| self.matrix[i][k] * r[k]).sum());
        }
    }

    /// Replaces every vector r by R⁻¹ r = Rᵀ r.
    pub fn apply_inverse(&self, vectors: &mut [[f64; 3]]) {
        for r in vectors {
            *r = std::array::from_fn(|i| (0..3).map(|k| self.matrix[k][i] * r[k]).sum());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, RandomStream};

    const N_SAMPLES: u32 = 40_000;

    fn samples(draw: fn(&mut rand_chacha::ChaCha8Rng) -> Rotation) -> Vec<Rotation> {
        let mut generator = RandomStream { seed: 11, purpose: Purpose::Augmentation, replica: 0 }.at_step(0);
        (0..N_SAMPLES).map(|_| draw(&mut generator)).collect()
    }

    fn mean(samples: &[Rotation], f: impl Fn(&[[f64; 3]; 3]) -> f64) -> f64 {
        samples.iter().map(|rotation| f(rotation.matrix())).sum::<f64>() / f64::from(N_SAMPLES)
    }

    /// Five standard errors of a mean of numbers of standard deviation at most `deviation`.
    fn five_errors(deviation: f64) -> f64 {
        5.0 * deviation / f64::from(N_SAMPLES).sqrt()
    }

    #[test]
    fn a_quarter_turn_about_z_takes_x_to_y() {
        let half = std::f64::consts::FRAC_PI_4;
        let turn = Rotation::from_quaternion([half.cos(), 0.0, 0.0, half.sin()]);
        let mut axes = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
        turn.apply(&mut axes);
        let expected = [[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]];
        for (found, expected) in axes.as_flattened().iter().zip(expected.as_flattened()) {
            assert!((found - expected).abs() < 1e-15, "found {found}, expected {expected}");
        }
    }

    #[test]
    fn matrices_are_orthogonal_and_the_inverse_undoes_them() {
        // A few roundings of numbers near one, the largest of many samples.
        let tolerance = 5e-15;
        for rotation in samples(Rotation::random_or_reflection) {
            let mut rows = *rotation.matrix();
            rotation.apply(&mut rows);
            // Row i of R, rotated, is R Rᵀ's column i: the unit matrix.
            for (found, expected) in rows.as_flattened().iter().zip(Rotation::IDENTITY.matrix.as_flattened())
            {
                assert!((found - expected).abs() < tolerance, "{rotation:?}");
            }
            assert!((rotation.determinant().abs() - 1.0).abs() < tolerance);
            let quarter = Rotation::from_quaternion([1.0, 0.0, 0.0, 1.0]);
            let (mut at_once, mut in_turn) = ([[1.0, -2.0, 3.0]], [[1.0, -2.0, 3.0]]);
            quarter.after(&rotation).apply(&mut at_once);
            rotation.apply(&mut in_turn);
            quarter.apply(&mut in_turn);
            assert!(crate::structure::distance(&at_once[0], &in_turn[0]) < 4.0 * tolerance);
            let mut there_and_back = [[1.0, -2.0, 3.0]];
            rotation.apply(&mut there_and_back);
            rotation.apply_inverse(&mut there_and_back);
            assert!(crate::structure::distance(&there_and_back[0], &[1.0, -2.0, 3.0]) < 4.0 * tolerance);
        }
    }

    #[test]
    fn rotations_are_proper_and_half_of_the_reflections_are() {
        assert!(samples(Rotation::random).iter().all(|rotation| rotation.determinant() > 0.0));
        let proper = samples(Rotation::random_or_reflection);
        let proper = proper.iter().filter(|rotation| rotation.determinant() > 0.0).count();
        assert!((proper as f64 / f64::from(N_SAMPLES) - 0.5).abs() < five_errors(0.5));
    }

    #[test]
    fn first_and_second_moments_are_those_of_the_haar_measure() {
        // ⟨R_ij⟩ = 0, ⟨R_ij R_kl⟩ = δ_ik δ_jl / 3; ⟨R_ij²⟩ = 1/3 and ⟨R_ij² R_kl²⟩ ≤ ⟨R_ij⁴⟩ = 1/5 bound the errors.
        for draw in [Rotation::random, Rotation::random_or_reflection] {
            let samples = samples(draw);
            for a in 0..9 {
                let first = mean(&samples, |r| r.as_flattened()[a]);
                assert!(first.abs() < five_errors(3f64.sqrt().recip()), "⟨R⟩[{a}] = {first}");
                for b in 0..9 {
                    let second = mean(&samples, |r| r.as_flattened()[a] * r.as_flattened()[b]);
                    let expected = if a == b { 1.0 / 3.0 } else { 0.0 };
                    assert!(
                        (second - expected).abs() < five_errors(5f64.sqrt().recip()),
                        "⟨RR⟩[{a}][{b}] = {second}"
                    );
                }
            }
        }
    }

    #[test]
    fn rolls_about_z_before_and_after_the_tilt_are_uniform_and_independent() {
        // R = Rz(α) Ry(β) Rz(γ): α from the third column, γ from the third row. Frames fixed up to a roll fail here.
        let alpha = |r: &[[f64; 3]; 3]| r[1][2].atan2(r[0][2]);
        let gamma = |r: &[[f64; 3]; 3]| r[2][1].atan2(-r[2][0]);
        let samples = samples(Rotation::random);
        for k in [1.0, 2.0, 3.0, 4.0] {
            let check = |name: &str, angle: &dyn Fn(&[[f64; 3]; 3]) -> f64| {
                for wave in [f64::sin, f64::cos] {
                    let moment = mean(&samples, |r| wave(k * angle(r)));
                    assert!(moment.abs() < five_errors(0.5f64.sqrt()), "{name}, k = {k}: {moment}");
                }
            };
            check("α", &alpha);
            check("γ", &gamma);
            check("α + γ", &|r| alpha(r) + gamma(r));
            check("α − γ", &|r| alpha(r) - gamma(r));
        }
    }
}
