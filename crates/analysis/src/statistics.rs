//! How sure a number is: bootstrap intervals of ratios of sums, spreads over replicas, histograms, rank correlation.
//!
//! The bootstrap draws as many units as there are, with replacement, and takes the 2.5 % and 97.5 % quantiles of
//! the statistic over the draws (percentile method, Efron 1979). Units must be independent: whole structures or
//! whole molecules, never atoms. Means over a few replicas have intervals by Student's t.

use mdet_core::{Purpose, RandomStream};
use rand::RngExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, StudentsT};

/// Draws of a bootstrap: 2.5 % quantiles are then good to a tenth of the interval's half-width.
const N_RESAMPLES: u64 = 1000;

/// 97.5 % quantile of the normal distribution.
pub(crate) const NORMAL_QUANTILE: f64 = 1.959_964;

/// A number with its 95 % interval, in the unit of the field that holds it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Estimate {
    /// The number.
    pub value: f64,
    /// Lower and upper end of the interval; `None` of a single unit, of which no spread is known.
    pub interval: Option<[f64; 2]>,
}

/// Mean and standard deviation of independent values, in the unit of the field that holds it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Spread {
    /// Mean.
    pub mean: f64,
    /// Standard deviation of one value (n − 1 in the denominator); 0 for a single value.
    pub standard_deviation: f64,
    /// Number of values.
    pub n: usize,
}

/// Counts of values between edges.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Histogram {
    /// Edges, ascending, one more than counts, in the unit of the field that holds it.
    pub edges: Vec<f64>,
    /// Values in `[edges[k], edges[k + 1])`; the first and last bins also hold what lies outside.
    pub counts: Vec<u64>,
}

impl std::fmt::Display for Estimate {
    /// "84.81 [81.99, 87.16]", with the formatter's precision.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digits = f.precision().unwrap_or(2);
        write!(f, "{:.digits$}", self.value)?;
        match self.interval {
            Some([low, high]) => write!(f, " [{low:.digits$}, {high:.digits$}]"),
            None => Ok(()),
        }
    }
}

impl std::fmt::Display for Spread {
    /// "84.81 ± 1.20", mean and standard error with the formatter's precision and sign; "84.81 (one)" of a single value.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digits = f.precision().unwrap_or(2);
        match f.sign_plus() {
            true => write!(f, "{:+.digits$}", self.mean)?,
            false => write!(f, "{:.digits$}", self.mean)?,
        }
        match self.n {
            1 => write!(f, " (one)"),
            _ => write!(f, " ± {:.digits$}", self.standard_error()),
        }
    }
}

impl Spread {
    /// Mean and standard deviation; `None` of nothing.
    pub fn of(values: &[f64]) -> Option<Self> {
        if values.is_empty() {
            return None;
        }
        let n = values.len();
        let mean = values.iter().sum::<f64>() / n as f64;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let standard_deviation = if n > 1 { (squares / (n - 1) as f64).sqrt() } else { 0.0 };
        Some(Self { mean, standard_deviation, n })
    }

    /// Standard error of the mean; infinite for a single value, of which nothing is known.
    pub fn standard_error(&self) -> f64 {
        if self.n > 1 { self.standard_deviation / (self.n as f64).sqrt() } else { f64::INFINITY }
    }

    /// Half of the mean's 95 % interval by Student's t; `None` for a single value.
    pub fn half_width(&self) -> Option<f64> {
        Some(student_quantile(self.n.checked_sub(1).filter(|&degrees| degrees > 0)?) * self.standard_error())
    }
}

/// 97.5 % quantile of Student's t with `degrees` of freedom.
///
/// # Panics
/// When there are no degrees of freedom.
pub(crate) fn student_quantile(degrees: usize) -> f64 {
    assert!(degrees > 0, "no degrees of freedom");
    let t = StudentsT::new(0.0, 1.0, degrees as f64).expect("a scale of 1, and degrees of freedom");
    t.inverse_cdf(0.975)
}

impl Histogram {
    /// Evenly spaced bins from `low` to `high`.
    ///
    /// # Panics
    /// When `low` is not below `high`, or there are no bins.
    pub fn linear(values: impl IntoIterator<Item = f64>, low: f64, high: f64, n_bins: usize) -> Self {
        assert!(low < high && n_bins > 0, "bins from {low} to {high}");
        let width = (high - low) / n_bins as f64;
        let edges = (0..=n_bins).map(|k| low + width * k as f64).collect();
        Self::filled(edges, values, |value| (value - low) / width)
    }

    /// Bins evenly spaced in the logarithm from `low` to `high`.
    ///
    /// # Panics
    /// When 0 < `low` < `high` does not hold, or there are no bins.
    pub fn logarithmic(values: impl IntoIterator<Item = f64>, low: f64, high: f64, n_bins: usize) -> Self {
        assert!(0.0 < low && low < high && n_bins > 0, "bins from {low} to {high}");
        let width = (high / low).ln() / n_bins as f64;
        let edges = (0..=n_bins).map(|k| low * (width * k as f64).exp()).collect();
        Self::filled(edges, values, |value| (value / low).ln() / width)
    }

    fn filled(edges: Vec<f64>, values: impl IntoIterator<Item = f64>, bin: impl Fn(f64) -> f64) -> Self {
        let mut counts = vec![0; edges.len() - 1];
        let last = counts.len() - 1;
        for value in values {
            // The cast saturates: what lies below or is not a number goes to the first bin.
            counts[(bin(value) as usize).min(last)] += 1;
        }
        Self { edges, counts }
    }
}

/// Units that a bootstrap's interval takes. Of two it is from the smaller to the larger, which holds the mean half of the time.
const MIN_UNITS: usize = 6;

/// The statistics of `units` pooled, each with its bootstrap interval over the units; without one where these are fewer than six.
///
/// A unit carries `M` sums; `statistics` turns the sums of all drawn units into `K` numbers. The draws are a
/// function of `seed` alone.
///
/// # Panics
/// When there are no units.
pub fn bootstrap<const M: usize, const K: usize>(
    units: &[[f64; M]],
    statistics: impl Fn(&[f64; M]) -> [f64; K],
    seed: u64,
) -> [Estimate; K] {
    assert!(!units.is_empty(), "nothing to draw from");
    let add = |mut total: [f64; M], unit: &[f64; M]| {
        total.iter_mut().zip(unit).for_each(|(total, part)| *total += part);
        total
    };
    let values = statistics(&units.iter().fold([0.0; M], add));
    let stream = RandomStream { seed, purpose: Purpose::Analysis, replica: 0 };
    let mut draws: [Vec<f64>; K] = std::array::from_fn(|_| Vec::with_capacity(N_RESAMPLES as usize));
    for resample in 0..N_RESAMPLES {
        let mut generator = stream.at_step(resample);
        let drawn = (0..units.len()).map(|_| &units[generator.random_range(0..units.len())]);
        for (draws, value) in draws.iter_mut().zip(statistics(&drawn.fold([0.0; M], add))) {
            // A draw without, say, any atom of an element has no mean; it says nothing.
            if value.is_finite() {
                draws.push(value);
            }
        }
    }
    std::array::from_fn(|k| {
        draws[k].sort_by(f64::total_cmp);
        let ends = quantile(&draws[k], 0.025).zip(quantile(&draws[k], 0.975));
        let interval = ends.filter(|_| units.len() >= MIN_UNITS).map(|(low, high)| [low, high]);
        Estimate { value: values[k], interval }
    })
}

/// Quantile q of ascending values, linear between them; `None` of nothing.
pub fn quantile(ascending: &[f64], q: f64) -> Option<f64> {
    let place = q.clamp(0.0, 1.0) * (ascending.len().checked_sub(1)?) as f64;
    let (below, above) = (ascending[place.floor() as usize], ascending[place.ceil() as usize]);
    Some(below + (above - below) * place.fract())
}

/// Spearman's rank correlation, equal values sharing their mean rank; `None` for fewer than three pairs or when one
/// side is constant.
///
/// # Panics
/// When the lengths differ.
pub fn rank_correlation(x: &[f64], y: &[f64]) -> Option<f64> {
    assert_eq!(x.len(), y.len(), "one y per x");
    if x.len() < 3 {
        return None;
    }
    let (x, y) = (ranks(x), ranks(y));
    let mean = (x.len() as f64 - 1.0) / 2.0;
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - mean) * (b - mean)).sum::<f64>();
    let scale = (product(&x, &x) * product(&y, &y)).sqrt();
    (scale > 0.0).then(|| product(&x, &y) / scale)
}

/// 95 % interval of a rank correlation of `n` independent pairs: Fisher's z with the variance 1.06/(n − 3) (Fieller,
/// Hartley and Pearson, Biometrika 44, 470, 1957); `None` for fewer than four pairs or a correlation of ±1.
pub fn rank_correlation_interval(correlation: f64, n: usize) -> Option<[f64; 2]> {
    let half_width = NORMAL_QUANTILE * (1.06 / n.checked_sub(3).filter(|&n| n > 0)? as f64).sqrt();
    let ends = [-half_width, half_width].map(|shift| (correlation.atanh() + shift).tanh());
    (correlation.abs() < 1.0).then_some(ends)
}

/// Ranks from 0, equal values sharing their mean rank.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut first = 0;
    while first < order.len() {
        let equal = order[first..].iter().take_while(|&&k| values[k] == values[order[first]]).count();
        for &k in &order[first..first + equal] {
            ranks[k] = first as f64 + (equal as f64 - 1.0) / 2.0;
        }
        first += equal;
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_distr::StandardNormal;

    #[test]
    fn bootstrap_intervals_of_a_mean_have_the_width_that_theory_gives_and_cover_it() {
        let n = 400;
        let mut covered = 0;
        for experiment in 0..100 {
            let stream = RandomStream { seed: 1, purpose: Purpose::Initialisation, replica: experiment };
            let mut generator = stream.at_step(0);
            let units: Vec<[f64; 2]> =
                (0..n).map(|_| [generator.sample::<f64, _>(StandardNormal), 1.0]).collect();
            let [mean] = bootstrap(&units, |[sum, n]| [sum / n], 7);
            let [low, high] = mean.interval.unwrap();
            covered += usize::from(low < 0.0 && 0.0 < high);
            let half_width = 0.5 * (high - low);
            // 1.96/√n, known to σ̂'s 3.5 % and the quantiles' 7 % or so.
            assert!((half_width * f64::from(n).sqrt() / 1.96 - 1.0).abs() < 0.3, "{half_width}");
        }
        // Binomial of 100 at 95 %: below 88 once in 600.
        assert!(covered >= 88, "{covered}");
    }

    #[test]
    fn few_units_have_no_interval_and_the_draws_follow_the_seed() {
        let [few] = bootstrap(&[[3.0, 1.0]; 5], |[sum, n]| [sum / n], 0);
        assert_eq!(few, Estimate { value: 3.0, interval: None });
        let units = [[1.0, 1.0], [2.0, 1.0], [3.5, 1.0], [3.5, 1.0], [4.0, 1.0], [7.0, 1.0]];
        let mean = |seed| bootstrap(&units, |[sum, n]| [sum / n], seed);
        assert_eq!(mean(1), mean(1));
        let [low, high] = mean(1)[0].interval.unwrap();
        assert!(low < 3.5 && high > 3.5);
    }

    #[test]
    fn means_of_few_values_have_intervals_by_students_t_and_one_has_none() {
        let spread = |values: &[f64]| Spread::of(values).unwrap();
        // Two values ±1: the standard error is 1.
        assert!((spread(&[-1.0, 1.0]).half_width().unwrap() - 12.706).abs() < 5e-4);
        assert_eq!(spread(&[3.0]).half_width(), None);
        // Tabulated to three digits, and 1 and 2 have closed forms.
        for (degrees, expected) in [(3, 3.182), (10, 2.228), (11, 2.201), (20, 2.086), (1000, 1.962)] {
            assert!((student_quantile(degrees) - expected).abs() < 5e-4, "{degrees}");
        }
        let exact = [(0.475 * std::f64::consts::PI).tan(), 0.95 / (2.0 * 0.975 * 0.025f64).sqrt()];
        for (degrees, expected) in [1, 2].into_iter().zip(exact) {
            assert!((student_quantile(degrees) / expected - 1.0).abs() < 1e-9, "{degrees}");
        }
    }

    #[test]
    fn a_rank_correlation_has_an_interval_by_fishers_z() {
        // Of 0 the ends are ± tanh(1.96 · √(1.06/100)).
        let [low, high] = rank_correlation_interval(0.0, 103).unwrap();
        assert!((high - 0.2019f64.tanh()).abs() < 1e-3 && (low + high).abs() < 1e-12, "{low} {high}");
        assert_eq!((rank_correlation_interval(0.5, 3), rank_correlation_interval(1.0, 9)), (None, None));
    }

    #[test]
    fn values_at_and_beyond_the_edges_are_counted() {
        let histogram = Histogram::linear([-1.0, 0.0, 0.5, 1.0, 9.0], 0.0, 1.0, 2);
        assert_eq!(histogram.counts, [2, 3]);
        let histogram = Histogram::logarithmic([0.5, 1.0, 10.0, 99.0, 1e6], 1.0, 100.0, 2);
        assert_eq!((histogram.edges.len(), histogram.counts), (3, vec![2, 3]));
    }

    #[test]
    fn rank_correlation_knows_order_only() {
        let x = [1.0, 2.0, 3.0, 4.0];
        assert_eq!(rank_correlation(&x, &[1.0, 10.0, 100.0, 1e9]), Some(1.0));
        assert_eq!(rank_correlation(&x, &[4.0, 3.0, 2.0, 1.0]), Some(-1.0));
        assert_eq!(rank_correlation(&x, &[1.0; 4]), None);
        // Ranks 0.5, 0.5, 2, 3 against 0, 1, 2, 3: 4.5/√(4.5·5).
        let tied = rank_correlation(&[1.0, 1.0, 2.0, 3.0], &x).unwrap();
        assert!((tied - (4.5f64 / 5.0).sqrt()).abs() < 1e-15);
    }
}
