//! Averages and drifts of correlated series, with uncertainties that know about the correlation.
//!
//! The standard error of a mean is found by blocking (Flyvbjerg and Petersen, J. Chem. Phys. 91, 461, 1989):
//! neighbours are averaged pairwise until the blocks are independent. The block length is the first of
//! 1, 2, 4, … with
//!
//! ```text
//! B³ > 2 n (s_B / s_1)⁴
//! ```
//!
//! | symbol | meaning |
//! |--------|---------|
//! | B      | samples per block |
//! | n      | samples |
//! | s_B    | standard error of the mean, taking blocks of B samples as independent |
//!
//! (Lee et al., Phys. Rev. E 83, 066706, 2011), where the bias from short blocks equals the noise from few blocks.
//!
//! Absent on purpose: removal of the equilibration at the start; the caller knows what to leave out.

use serde::{Deserialize, Serialize};

/// The mean of a correlated series.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Mean {
    /// Mean, in the unit of the series.
    pub value: f64,
    /// Standard error of the mean, in the unit of the series.
    pub standard_error: f64,
    /// How many samples are worth one independent sample: (s_B / s_1)².
    pub statistical_inefficiency: f64,
    /// Whether the standard error can be trusted.
    pub plateau: Plateau,
}

/// Whether blocks became independent before they ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Plateau {
    /// Blocks are independent.
    Reached,
    /// The series is too short for its correlation: the error is a lower bound, the largest of all block lengths.
    NotReached,
}

/// The slope of a straight line through a correlated series.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Slope {
    /// Slope, in units of y over units of x.
    pub value: f64,
    /// Standard error of the slope.
    pub standard_error: f64,
}

/// Mean and standard error of a correlated series by blocking; `None` for fewer than two samples.
pub fn blocked_mean(series: &[f64]) -> Option<Mean> {
    if series.len() < 2 {
        return None;
    }
    let n = series.len() as f64;
    let value = series.iter().sum::<f64>() / n;
    let naive = standard_error_of_independent(series);
    if naive == 0.0 {
        return Some(Mean {
            value,
            standard_error: 0.0,
            statistical_inefficiency: 1.0,
            plateau: Plateau::Reached,
        });
    }
    let inefficiency = |error: f64| (error / naive).powi(2);
    let mut blocks = series.to_vec();
    let mut block_length = 1.0_f64;
    let mut largest = naive;
    while blocks.len() >= 2 {
        let error = standard_error_of_independent(&blocks);
        if block_length.powi(3) > 2.0 * n * inefficiency(error).powi(2) {
            return Some(Mean {
                value,
                standard_error: error,
                statistical_inefficiency: inefficiency(error),
                plateau: Plateau::Reached,
            });
        }
        largest = largest.max(error);
        blocks = blocks.chunks_exact(2).map(|pair| 0.5 * (pair[0] + pair[1])).collect();
        block_length *= 2.0;
    }
    Some(Mean {
        value,
        standard_error: largest,
        statistical_inefficiency: inefficiency(largest),
        plateau: Plateau::NotReached,
    })
}

/// Least-squares slope of `y` over `x`; `None` for fewer than three samples or when all `x` are equal.
///
/// The textbook error for independent residuals is widened by the square root of their statistical
/// inefficiency, and never narrowed: residuals that oscillate would otherwise claim too much.
///
/// # Panics
/// When `x` and `y` differ in length.
pub fn least_squares_slope(x: &[f64], y: &[f64]) -> Option<Slope> {
    assert_eq!(x.len(), y.len(), "one y per x");
    if x.len() < 3 {
        return None;
    }
    let n = x.len() as f64;
    let x_mean = x.iter().sum::<f64>() / n;
    let y_mean = y.iter().sum::<f64>() / n;
    let spread: f64 = x.iter().map(|x| (x - x_mean).powi(2)).sum();
    if spread == 0.0 {
        return None;
    }
    let value = x.iter().zip(y).map(|(x, y)| (x - x_mean) * (y - y_mean)).sum::<f64>() / spread;
    let residuals: Vec<f64> = x.iter().zip(y).map(|(x, y)| y - y_mean - value * (x - x_mean)).collect();
    let variance = residuals.iter().map(|r| r * r).sum::<f64>() / (n - 2.0);
    let inefficiency = blocked_mean(&residuals)?.statistical_inefficiency.max(1.0);
    Some(Slope { value, standard_error: (variance / spread * inefficiency).sqrt() })
}

/// Drift of an energy in eV per atom and ps; `None` as in [`least_squares_slope`].
///
/// # Panics
/// When `time_fs` and `energy_ev` differ in length.
pub fn drift_ev_per_atom_per_ps(time_fs: &[f64], energy_ev: &[f64], n_atoms: usize) -> Option<Slope> {
    const FS_PER_PS: f64 = 1000.0;
    let per_system = least_squares_slope(time_fs, energy_ev)?;
    let scale = FS_PER_PS / n_atoms as f64;
    Some(Slope { value: per_system.value * scale, standard_error: per_system.standard_error * scale })
}

fn standard_error_of_independent(samples: &[f64]) -> f64 {
    let n = samples.len() as f64;
    let mean = samples.iter().sum::<f64>() / n;
    let variance = samples.iter().map(|sample| (sample - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (variance / n).sqrt()
}
