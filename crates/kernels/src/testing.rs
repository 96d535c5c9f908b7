//! What the kernels' tests share: seeded numbers, the measure of disagreement, central differences.

use crate::Real;

/// `len` numbers uniform in [−1, 1), the same for a seed on every machine (splitmix64).
pub fn uniform<T: Real>(seed: u64, len: usize) -> Vec<T> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    };
    (0..len).map(|_| T::from_f64((next() >> 11) as f64 / (1u64 << 52) as f64 - 1.0)).collect()
}

/// The same numbers in f64.
pub fn in_f64<T: Real>(values: &[T]) -> Vec<f64> {
    values.iter().map(|value| value.to_f64()).collect()
}

/// Σ a·b.
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Asserts max |computed − expected| < tolerance · max(1, max |expected|); a NaN on one side fails.
#[track_caller]
pub fn assert_close<T: Real>(computed: &[T], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(computed.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(1.0, |max: f64, value| max.max(value.abs()));
    for (at, (computed, &expected)) in computed.iter().zip(expected).enumerate() {
        let error = (computed.to_f64() - expected).abs() / scale;
        assert!(error < tolerance, "{what}[{at}]: {computed:?}, expected {expected:e}, error {error:e}");
    }
    if std::env::var_os("MEASURE").is_some() {
        let worst =
            computed.iter().zip(expected).map(|(c, e)| (c.to_f64() - e).abs() / scale).fold(0.0, f64::max);
        eprintln!("MEASURED {what} {} {tolerance:e} {worst:e}", std::any::type_name::<T>());
    }
}

/// Asserts that two slices hold the same bits (equal values, NaN beside NaN).
#[track_caller]
pub fn assert_same<T: Real>(left: &[T], right: &[T], what: &str) {
    assert_eq!(left.len(), right.len(), "{what}");
    for (at, (left, right)) in left.iter().zip(right).enumerate() {
        assert_eq!(left.to_f64().to_bits(), right.to_f64().to_bits(), "{what}[{at}]: {left:?}, {right:?}");
    }
}

/// ∂loss/∂parameters by (loss(p + step) − loss(p − step))/(2 step).
pub fn central_differences(parameters: &[f64], step: f64, loss: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let mut moved = parameters.to_vec();
    (0..parameters.len())
        .map(|at| {
            moved[at] = parameters[at] + step;
            let above = loss(&moved);
            moved[at] = parameters[at] - step;
            let below = loss(&moved);
            moved[at] = parameters[at];
            (above - below) / (2.0 * step)
        })
        .collect()
}
