//! Muon (Jordan et al. 2024, <https://kellerjordan.github.io/posts/muon>): momentum whose matrix is made orthogonal.
//!
//!   m ← μ m + g;  u = g + μ m;  W ← (1 − lr·decay) W − lr·0.2·√max(rows, columns)·O(u)
//!
//! O(u) ≈ U Vᵀ of the singular value decomposition u = U S Vᵀ, by five Newton–Schulz steps. The scale gives the update
//! the size that AdamW's usually has (Liu et al. 2025, arXiv 2502.16982), so that one learning rate serves both.
//!
//! | symbol | meaning |
//! |--------|---------|
//! | g, m | gradient and momentum of one matrix `[rows, columns]` |
//! | μ | momentum's decay |
//! | W | the parameters |

use mdet_kernels::{Real, linear, linear_input_gradient};
use std::ops::Range;

const MOMENTUM: f64 = 0.95;
/// Root mean square of an AdamW update per unit of learning rate, as measured by Liu et al.
const ADAMW_UPDATE_SIZE: f64 = 0.2;
/// Coefficients of x ← a x + b x³ + c x⁵, which takes singular values from (0, 1] to about 1 (0.7 to 1.2) in five steps.
const NEWTON_SCHULZ: [f64; 3] = [3.4445, -4.7750, 2.0315];
const N_NEWTON_SCHULZ: usize = 5;

/// A matrix that Muon trains: its place in the arena and its shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matrix {
    /// Place among the trainable parameters, row-major.
    pub range: Range<usize>,
    /// Number of rows.
    pub n_rows: usize,
    /// Number of columns.
    pub n_columns: usize,
}

impl Matrix {
    /// One step of the matrix `parameters`, with its own part of gradient and momentum.
    pub(crate) fn step<T: Real>(
        &self,
        parameters: &mut [T],
        gradient: &[T],
        momentum: &mut [T],
        learning_rate: f64,
        weight_decay: f64,
    ) {
        let decay = T::from_f64(MOMENTUM);
        let mut update = Vec::with_capacity(gradient.len());
        for (m, &g) in momentum.iter_mut().zip(gradient) {
            *m = decay * *m + g;
            update.push(g + decay * *m);
        }
        orthogonalise(self.n_rows, self.n_columns, &mut update);
        let size = ADAMW_UPDATE_SIZE * (self.n_rows.max(self.n_columns) as f64).sqrt();
        let rate = T::from_f64(learning_rate * size);
        let keep = T::from_f64(1.0 - learning_rate * weight_decay);
        for (p, u) in parameters.iter_mut().zip(update) {
            *p = *p * keep - rate * u;
        }
    }
}

/// x `[n_rows, n_columns]` becomes nearly orthogonal, with its singular vectors kept. A zero matrix stays zero.
fn orthogonalise<T: Real>(n_rows: usize, n_columns: usize, x: &mut Vec<T>) {
    let norm = x.iter().map(|v| v.to_f64().powi(2)).sum::<f64>().sqrt();
    let scale = T::from_f64(1.0 / (norm + 1e-30));
    x.iter_mut().for_each(|v| *v *= scale);
    // The Gram matrix is formed over the shorter side.
    let (n, k) = (n_rows.min(n_columns), n_rows.max(n_columns));
    if n_rows > n_columns {
        *x = transposed(n_rows, n_columns, x);
    }
    let [a, b, c] = NEWTON_SCHULZ.map(T::from_f64);
    let (mut gram, mut gram_squared) = (vec![T::ZERO; n * n], vec![T::ZERO; n * n]);
    let mut product = vec![T::ZERO; n * k];
    for _ in 0..N_NEWTON_SCHULZ {
        linear(n, k, x, x, &mut gram);
        linear(n, n, &gram, &gram, &mut gram_squared);
        for (g, &squared) in gram.iter_mut().zip(&gram_squared) {
            *g = b * *g + c * squared;
        }
        linear_input_gradient(n, k, &gram, x, &mut product);
        for (x, &p) in x.iter_mut().zip(&product) {
            *x = a * *x + p;
        }
    }
    if n_rows > n_columns {
        *x = transposed(n_columns, n_rows, x);
    }
}

fn transposed<T: Real>(n_rows: usize, n_columns: usize, x: &[T]) -> Vec<T> {
    let at = |index: usize| x[(index % n_rows) * n_columns + index / n_rows];
    (0..x.len()).map(at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A fixed full-rank matrix whose rows are far from orthogonal.
    fn sample(n_rows: usize, n_columns: usize) -> Vec<f64> {
        (0..n_rows * n_columns).map(|i| 0.3 + ((i * i + 3 * i) as f64).sin()).collect()
    }

    fn gram(n: usize, k: usize, x: &[f64]) -> Vec<f64> {
        let mut gram = vec![0.0; n * n];
        linear(n, k, x, x, &mut gram);
        gram
    }

    #[test]
    fn wide_and_tall_updates_have_singular_values_near_one() {
        for (n_rows, n_columns) in [(4, 9), (9, 4), (6, 6)] {
            let mut x = sample(n_rows, n_columns);
            orthogonalise(n_rows, n_columns, &mut x);
            let (n, k) = (n_rows.min(n_columns), n_rows.max(n_columns));
            let rows = if n_rows > n_columns { transposed(n_rows, n_columns, &x) } else { x };
            // The trace is the sum of the squared singular values, each of which ends within [0.65, 1.25]² or so.
            let gram = gram(n, k, &rows);
            for i in 0..n {
                assert!((0.3..1.6).contains(&gram[i * n + i]), "{n_rows}×{n_columns}: {gram:?}");
                for j in (0..n).filter(|&j| j != i) {
                    assert!(gram[i * n + j].abs() < 0.45, "{n_rows}×{n_columns}: {gram:?}");
                }
            }
        }
    }

    #[test]
    fn an_orthogonal_gradient_keeps_its_direction() {
        // For u ∝ 1 the five steps are a scalar recursion: every singular value is 1/√n at first.
        let n = 5;
        let mut x: Vec<f64> = (0..n * n).map(|i| if i % (n + 1) == 0 { -2.0 } else { 0.0 }).collect();
        orthogonalise(n, n, &mut x);
        let [a, b, c] = NEWTON_SCHULZ;
        let s =
            (0..N_NEWTON_SCHULZ).fold(1.0 / (n as f64).sqrt(), |s, _| a * s + b * s.powi(3) + c * s.powi(5));
        for (index, value) in x.iter().enumerate() {
            let expected = if index % (n + 1) == 0 { -s } else { 0.0 };
            assert!((value - expected).abs() < 1e-13, "found {value}, expected {expected}");
        }
    }

    #[test]
    fn a_zero_gradient_moves_nothing() {
        let matrix = Matrix { range: 0..6, n_rows: 2, n_columns: 3 };
        let mut parameters = sample(2, 3);
        let (before, mut momentum) = (parameters.clone(), vec![0.0; 6]);
        matrix.step(&mut parameters, &[0.0; 6], &mut momentum, 0.1, 0.0);
        assert_eq!(parameters, before);
    }
}
