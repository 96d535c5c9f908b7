//! Triangular attention against its slow twin and against central differences, on every back end.

use super::*;
use crate::isa::on_every_backend;
use crate::testing::{assert_close, assert_same, central_differences, dot, in_f64, uniform};

fn nan<T: Real>(len: usize) -> Vec<T> {
    vec![T::from_f64(f64::NAN); len]
}

/// A molecule whose rows have others of a group before and behind them.
fn shape(n_atoms: usize, n_heads: usize, d_head: usize) -> AttentionShape {
    AttentionShape { n_atoms, n_heads, d_head, n_rows: n_atoms * n_atoms + 3, first_row: 2 }
}

/// Row-major rows of the molecule in blocks, NaN in other rows and the padding.
fn in_blocks<T: Real>(shape: AttentionShape, blocked: Blocked, rows: &[T]) -> Vec<T> {
    let mut blocks = nan(blocked.len());
    let n_columns = blocked.n_blocks * shape.d_head;
    for (at, &x) in rows.iter().enumerate() {
        let (row, block, c) = (at / n_columns, at % n_columns / shape.d_head, at % shape.d_head);
        blocks[shape.part(block)][row * blocked.padded() + c] = x;
    }
    blocks
}

/// The inverse of `in_blocks`; other rows must still hold NaN.
fn in_rows<T: Real>(shape: AttentionShape, blocked: Blocked, blocks: &[T]) -> Vec<T> {
    let (n, n_columns) = (shape.n_atoms, blocked.n_blocks * shape.d_head);
    let element = |at: usize| {
        let (row, block, c) = (at / n_columns, at % n_columns / shape.d_head, at % shape.d_head);
        blocks[shape.part(block)][row * blocked.padded() + c]
    };
    let (before, own) = (shape.first_row * blocked.padded(), shape.part(0).len());
    for block in blocks.chunks_exact(blocked.block_len()) {
        let others = block[..before].iter().chain(&block[before + own..]);
        assert!(others.into_iter().all(|x| x.to_f64().is_nan()), "rows of other molecules");
    }
    (0..n * n * n_columns).map(element).collect()
}

/// Rows of `i_range`, from working memory that holds NaN.
fn rows<T: Real>(shape: AttentionShape, i_range: std::ops::Range<usize>, qkvv: &[T]) -> Vec<T> {
    let mut out = nan(i_range.len() * shape.n_atoms * shape.width());
    let qkvv = in_blocks(shape, shape.qkvv(), qkvv);
    triangular_attention(shape, i_range, &qkvv, &mut out, &mut nan(shape.forward_scratch()));
    out
}

fn forward<T: Real>(shape: AttentionShape, qkvv: &[T]) -> Vec<T> {
    rows(shape, 0..shape.n_atoms, qkvv)
}

fn backward_with<T: Real>(shape: AttentionShape, qkvv: &[T], dout: &[T], scratch: &mut [T]) -> Vec<T> {
    let (qkvv, dout) = (in_blocks(shape, shape.qkvv(), qkvv), in_blocks(shape, shape.heads(), dout));
    let mut dqkvv = nan(qkvv.len());
    triangular_attention_backward(shape, &qkvv, &dout, &mut dqkvv, scratch);
    in_rows(shape, shape.qkvv(), &dqkvv)
}

fn backward<T: Real>(shape: AttentionShape, qkvv: &[T], dout: &[T]) -> Vec<T> {
    backward_with(shape, qkvv, dout, &mut nan(shape.backward_scratch()))
}

fn naive<T: Real>(shape: AttentionShape, qkvv: &[T]) -> Vec<f64> {
    let mut out = nan(shape.n_atoms * shape.n_atoms * shape.width());
    triangular_attention_naive(shape, &in_blocks(shape, shape.qkvv(), &in_f64(qkvv)), &mut out);
    out
}

/// q, k, v1, v2 uniform in [−3, 3), so that the weights differ.
fn inputs<T: Real>(shape: AttentionShape, seed: u64) -> Vec<T> {
    let mut qkvv = uniform(seed, shape.n_atoms * shape.n_atoms * 4 * shape.width());
    qkvv.iter_mut().for_each(|x| *x *= T::from_f64(3.0));
    qkvv
}

/// Multiplies q, the first of the four parts of a row.
fn scale_queries<T: Real>(shape: AttentionShape, qkvv: &mut [T], by: f64) {
    for row in qkvv.chunks_exact_mut(4 * shape.width()) {
        row[..shape.width()].iter_mut().for_each(|q| *q *= T::from_f64(by));
    }
}

/// Every remainder of atoms and channels by the vector length, and more than one tile of atoms.
fn shapes() -> impl Iterator<Item = AttentionShape> {
    (1..=12).chain([17, 24, 33, 40]).flat_map(|n_atoms| {
        [1, 3, 8, 12, 16, 20].into_iter().flat_map(move |d_head| {
            // The twin takes time with the third power of the atoms: all head counts for the small, one for the large.
            let heads =
                if n_atoms <= 12 { 1..=3 } else { (n_atoms + d_head) % 3 + 1..=(n_atoms + d_head) % 3 + 1 };
            heads.map(move |n_heads| shape(n_atoms, n_heads, d_head))
        })
    })
}

fn matches_twin<T: Real>(tolerance: f64) {
    for shape in shapes() {
        let qkvv = inputs::<T>(shape, 1);
        let expected = naive(shape, &qkvv);
        on_every_backend(|| assert_close(&forward(shape, &qkvv), &expected, tolerance, "attention"));
    }
}

#[test]
fn attention_matches_its_naive_twin() {
    matches_twin::<f32>(1e-5);
    matches_twin::<f64>(1e-13);
}

fn survives_large_scores<T: Real>(tolerance: f64) {
    for n_atoms in [2, 5, 9, 17] {
        let shape = shape(n_atoms, 2, 16);
        let mut qkvv = uniform::<T>(2, n_atoms * n_atoms * 4 * shape.width());
        scale_queries(shape, &mut qkvv, 30.0);
        let expected = naive(shape, &qkvv);
        on_every_backend(|| assert_close(&forward(shape, &qkvv), &expected, tolerance, "large scores"));
        // Scores of ± thousands: the twin overflows, the weights become 0 and 1, and |v1·v2| < 1 bounds the output.
        scale_queries(shape, &mut qkvv, 900.0);
        on_every_backend(|| {
            let out = forward(shape, &qkvv);
            assert!(out.iter().all(|x| x.abs() <= T::ONE), "{n_atoms} atoms");
            let gradient = backward(shape, &qkvv, &out);
            assert!(gradient.iter().all(|x| x.is_finite()), "{n_atoms} atoms");
        });
    }
}

#[test]
fn attention_does_not_overflow_on_large_scores() {
    survives_large_scores::<f32>(1e-4);
    survives_large_scores::<f64>(1e-13);
}

#[test]
fn attention_weights_sum_to_one() {
    for n_atoms in [1, 4, 9, 21] {
        let shape = shape(n_atoms, 2, 3);
        let mut qkvv = inputs::<f64>(shape, 3);
        for row in qkvv.chunks_exact_mut(4 * shape.width()) {
            row[2 * shape.width()..].fill(1.0);
        }
        let ones = vec![1.0; n_atoms * n_atoms * shape.width()];
        // Rounding of a sum of n weights times its reciprocal.
        on_every_backend(|| assert_close(&forward(shape, &qkvv), &ones, 1e-14, "Σ α"));
    }
}

fn nan_reaches_exactly_its_outputs<T: Real>() {
    for (n_atoms, d_head) in [(3, 3), (9, 16)] {
        let shape = shape(n_atoms, 2, d_head);
        let (n, width) = (n_atoms, shape.width());
        let clean = inputs::<T>(shape, 4);
        let (a, b, head, channel) = (n - 1, 1, 1, d_head - 1);
        on_every_backend(|| {
            let expected = forward(shape, &clean);
            for (kind, name) in ["q", "k", "v1", "v2"].into_iter().enumerate() {
                let mut qkvv = clean.clone();
                qkvv[((a * n + b) * 4 + kind) * width + head * d_head + channel] = T::from_f64(f64::NAN);
                let out = forward(shape, &qkvv);
                for (at, (&x, &clean)) in out.iter().zip(&expected).enumerate() {
                    let (i, j, h, c) = (at / width / n, at / width % n, at % width / d_head, at % d_head);
                    // q and v1 of edge (a, b) serve the edges (a, j); k and v2 the edges (i, b).
                    let same_atom = if kind % 2 == 0 { i == a } else { j == b };
                    let reached = h == head && same_atom && (kind < 2 || c == channel);
                    assert_eq!(x.to_f64().is_nan(), reached, "NaN in {name}: out[{i},{j},{h},{c}] = {x:?}");
                    assert!(reached || x == clean, "NaN in {name} changed out[{i},{j},{h},{c}] to {x:?}");
                }
                let gradient = backward(shape, &qkvv, &expected);
                assert!(gradient.iter().any(|x| x.to_f64().is_nan()), "NaN in {name}, backward");
            }
            let mut dout = expected.clone();
            dout[(a * n + b) * width] = T::from_f64(f64::NAN);
            let gradient = backward(shape, &clean, &dout);
            assert!(gradient.iter().any(|x| x.to_f64().is_nan()), "NaN in dout");
        });
    }
}

#[test]
fn nan_in_the_input_of_attention_reaches_exactly_the_outputs_that_depend_on_it() {
    nan_reaches_exactly_its_outputs::<f32>();
    nan_reaches_exactly_its_outputs::<f64>();
}

fn two_ranges_equal_the_whole<T: Real>() {
    for shape in shapes().filter(|shape| shape.n_atoms % 4 == 1) {
        let qkvv = inputs::<T>(shape, 5);
        on_every_backend(|| {
            let whole = forward(shape, &qkvv);
            for split in [0, shape.n_atoms / 3, shape.n_atoms - 1] {
                let mut parts = rows(shape, 0..split, &qkvv);
                parts.extend(rows(shape, split..shape.n_atoms, &qkvv));
                assert_same(&parts, &whole, "attention in two ranges");
            }
        });
    }
}

#[test]
fn attention_rows_in_two_ranges_equal_the_whole_bit_for_bit() {
    two_ranges_equal_the_whole::<f32>();
    two_ranges_equal_the_whole::<f64>();
}

fn ignores_scratch<T: Real>() {
    for shape in shapes().filter(|shape| shape.n_atoms <= 17) {
        let qkvv = inputs::<T>(shape, 6);
        let dout = uniform::<T>(7, shape.n_atoms * shape.n_atoms * shape.width());
        on_every_backend(|| {
            // The helpers above fill the working memory with NaN; here it is longer and holds numbers.
            let mut out = dout.clone();
            let mut scratch = uniform::<T>(8, shape.forward_scratch() + 5);
            let blocks = in_blocks(shape, shape.qkvv(), &qkvv);
            triangular_attention(shape, 0..shape.n_atoms, &blocks, &mut out, &mut scratch);
            assert_same(&out, &forward(shape, &qkvv), "attention");
            let mut scratch = uniform::<T>(9, shape.backward_scratch() + 5);
            let gradient = backward_with(shape, &qkvv, &dout, &mut scratch);
            assert_same(&gradient, &backward(shape, &qkvv, &dout), "attention backward");
        });
    }
}

#[test]
fn attention_does_not_depend_on_what_its_scratch_holds() {
    ignores_scratch::<f32>();
    ignores_scratch::<f64>();
}

#[test]
fn attention_backward_matches_central_differences() {
    // The backward pass treats two atoms i at once: even, odd and single counts, one and several vectors of atoms.
    for n_atoms in [1, 2, 4, 5, 9] {
        let shape = shape(n_atoms, 2, 3);
        let qkvv = uniform::<f64>(10, n_atoms * n_atoms * 4 * shape.width());
        let dout = uniform::<f64>(11, n_atoms * n_atoms * shape.width());
        on_every_backend(|| {
            let expected = central_differences(&qkvv, 1e-5, |qkvv| dot(&dout, &forward(shape, qkvv)));
            assert_close(&backward(shape, &qkvv, &dout), &expected, 1e-8, "attention backward");
        });
    }
}

#[test]
fn attention_backward_matches_directional_differences_at_every_shape() {
    for shape in shapes() {
        let qkvv = uniform::<f64>(12, shape.n_atoms * shape.n_atoms * 4 * shape.width());
        let dout = uniform::<f64>(13, shape.n_atoms * shape.n_atoms * shape.width());
        let direction = uniform::<f64>(14, qkvv.len());
        on_every_backend(|| {
            let expected = central_differences(&[0.0], 1e-5, |t| {
                let moved: Vec<f64> = qkvv.iter().zip(&direction).map(|(x, d)| x + t[0] * d).collect();
                dot(&dout, &forward(shape, &moved))
            });
            let slope = dot(&backward(shape, &qkvv, &dout), &direction);
            assert_close(&[slope], &expected, 1e-7, "attention along a direction");
        });
    }
}

#[test]
fn attention_backward_in_f32_matches_f64() {
    for shape in shapes() {
        let qkvv = inputs::<f32>(shape, 15);
        let dout = uniform::<f32>(16, shape.n_atoms * shape.n_atoms * shape.width());
        on_every_backend(|| {
            let expected = backward(shape, &in_f64(&qkvv), &in_f64(&dout));
            assert_close(&backward(shape, &qkvv, &dout), &expected, 1e-4, "attention backward in f32");
        });
    }
}
