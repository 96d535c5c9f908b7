//! Standard errors of correlated series against the known ones of a first-order autoregressive process.

use mdet_core::{Purpose, RandomStream};
use mdet_md::Plateau;
use mdet_md::statistics::{blocked_mean, drift_ev_per_atom_per_ps, least_squares_slope};
use rand::RngExt;
use rand_distr::StandardNormal;

/// x_{n+1} = φ x_n + √(1 − φ²) ξ, started in its stationary distribution: mean 0, variance 1.
fn autoregressive(memory: f64, n: usize, series: u32) -> Vec<f64> {
    let mut random = RandomStream { seed: 21, purpose: Purpose::Analysis, replica: series }.at_step(0);
    let mut x: f64 = random.sample(StandardNormal);
    let mut next = || {
        let now = x;
        x = memory * x + (1.0 - memory * memory).sqrt() * random.sample::<f64, _>(StandardNormal);
        now
    };
    (0..n).map(|_| next()).collect()
}

#[test]
fn blocking_finds_the_standard_error_of_an_autoregressive_series() {
    for (memory, series) in [(0.0, 0), (0.5, 1), (0.9, 2), (0.99, 3)] {
        let n = 1 << 18;
        let mean = blocked_mean(&autoregressive(memory, n, series)).unwrap();
        // The sum of all correlations: (1 + φ)/(1 − φ).
        let inefficiency = (1.0 + memory) / (1.0 - memory);
        assert_eq!(mean.plateau, Plateau::Reached);
        // Blocks of (2 n g²)^⅓ to twice that leave 150 or more: 6 % noise and 3 % bias. √g is 14 at φ = 0.99.
        let expected = (inefficiency / n as f64).sqrt();
        assert!((mean.standard_error / expected - 1.0).abs() < 0.15, "φ = {memory}: {mean:?}, {expected}");
        assert!(mean.value.abs() < 4.0 * expected, "{mean:?}");
    }
}

#[test]
fn a_series_shorter_than_its_memory_has_no_plateau() {
    let mean = blocked_mean(&autoregressive(0.9999, 1000, 4)).unwrap();
    assert_eq!(mean.plateau, Plateau::NotReached);
}

#[test]
fn a_constant_has_no_error_and_one_sample_has_no_mean() {
    let mean = blocked_mean(&[2.5; 64]).unwrap();
    assert_eq!((mean.value, mean.standard_error), (2.5, 0.0));
    assert!(blocked_mean(&[1.0]).is_none());
}

#[test]
fn slope_errors_cover_the_truth_as_often_as_they_should() {
    let (n, n_series) = (4096, 300);
    let x: Vec<f64> = (0..n).map(|n| f64::from(n) * 0.5).collect();
    let slope = 3e-4;
    let pulls: f64 = (0..n_series)
        .map(|series| {
            let noise = autoregressive(0.8, x.len(), 100 + series);
            let y: Vec<f64> = x.iter().zip(noise).map(|(x, noise)| slope * x + noise).collect();
            let found = least_squares_slope(&x, &y).unwrap();
            ((found.value - slope) / found.standard_error).powi(2)
        })
        .sum();
    // Mean square of standard normals, 1 ± √(2/300) = 0.08, above 1 by the noise of the estimated errors.
    // Without the inefficiency it would be 9.
    let mean_square = pulls / f64::from(n_series);
    assert!((0.7..1.5).contains(&mean_square), "{mean_square}");
}

#[test]
fn drift_of_a_straight_line_is_its_slope_per_atom_and_picosecond() {
    let time_fs: Vec<f64> = (0..100).map(|n| 0.5 * f64::from(n)).collect();
    let energy_ev: Vec<f64> = time_fs.iter().map(|time_fs| 7.0 - 2e-5 * time_fs).collect();
    let drift = drift_ev_per_atom_per_ps(&time_fs, &energy_ev, 4).unwrap();
    // −2e-5 eV/fs is −2e-2 eV/ps over four atoms; energies of 7 eV round at 1e-15, times 1000 fs per ps.
    assert!((drift.value + 5e-3).abs() < 1e-12 && drift.standard_error < 1e-12, "{drift:?}");
    assert!(drift_ev_per_atom_per_ps(&[1.0; 5], &[1.0; 5], 1).is_none());
    assert!(least_squares_slope(&[0.0, 1.0], &[0.0, 1.0]).is_none());
}
