//! Curves with statistical errors: one curve per block of a trajectory, and how far two sets of blocks differ.
//!
//! A trajectory is cut into blocks that are long against its correlation times, so that what is found in them is
//! independent. A scalar is a curve of one bin of width 1.
//!
//! ```text
//! d(a, b) = Σ_k |ā_k − b̄_k| Δ                                           bars: means over blocks
//! noise   = Σ_k |(a*_k − ā_k) − (b*_k − b̄_k)| Δ,  mean and standard deviation over draws
//! excess  = (d − mean of noise) / standard deviation of noise
//! ```
//!
//! | symbol | meaning |
//! |---|---|
//! | Δ | width of a bin; for densities, ∫ a = 1, d lies between 0 and 2 |
//! | a* | mean of n − 1 of the n blocks of a, drawn with replacement: its variance is the squared standard error s²/n, without the bootstrap's bias (Rao and Wu, J. Am. Stat. Assoc. 83, 231, 1988) |
//!
//! So the noise is what d would be if the two had the same mean, and an excess above 2 says that they have not. Of a single
//! number it is widened by t/1.96, Student's t (97.5 %, as many degrees of freedom as blocks less two).
//!
//! Replicas that start alike in both sets are compared one by one: D_r = a_r − b_r of every replica r, d = Σ_k |D̄_k| Δ,
//!
//! ```text
//! noise   = t/(1.96 √(n (n − 1))) Σ_k |Σ_r s_r (D_rk − D̄_k)| Δ,  s_r = ±1 drawn at random
//! ```
//!
//! whose variance in a bin is the squared standard error of D̄_k over the n replicas; t is Student's (97.5 %, n − 1 degrees
//! of freedom) of a single number, and 1.96 of a curve, over whose bins the noise averages.
//!
//! Deliberately absent: a search for the block length. With few blocks the error is itself uncertain, by 1/√(2n).

use crate::statistics::{NORMAL_QUANTILE, Spread, student_quantile};
use mdet_core::{Purpose, RandomStream};
use rand::RngExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Draws of the noise: its mean is then known to 7 % of its standard deviation.
const N_DRAWS: u64 = 200;

/// The same curve of several blocks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Blocks {
    /// Middle of the first bin.
    pub first: f64,
    /// Width of a bin.
    pub width: f64,
    /// One curve per block, all of one length.
    pub curves: Vec<Vec<f64>>,
}

/// A curve with its standard error. The unit of the bins is in the name of the field that holds it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Curve {
    /// Middle of the first bin.
    pub first: f64,
    /// Width of a bin.
    pub width: f64,
    /// Mean over blocks.
    pub mean: Vec<f64>,
    /// Standard error of the mean; empty for a single block, of which nothing is known.
    pub standard_error: Vec<f64>,
    /// Blocks.
    pub n_blocks: usize,
}

/// How far two sets of blocks differ.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Difference {
    /// d: ∫ |a − b| of densities (0 to 2), |a − b| of scalars.
    pub value: f64,
    /// What d would be by noise alone: mean and standard deviation. `None` when one side has a single block.
    pub noise: Option<Spread>,
}

impl Blocks {
    /// Scalars, one per block.
    pub fn scalars(values: Vec<f64>) -> Self {
        Self { first: 0.0, width: 1.0, curves: values.into_iter().map(|value| vec![value]).collect() }
    }

    /// Adds the blocks of another trajectory under the same conditions.
    ///
    /// # Panics
    /// When its bins are others.
    pub fn extend(&mut self, other: Self) {
        self.check(&other);
        self.curves.extend(other.curves);
    }

    /// Mean and standard error over blocks.
    ///
    /// # Panics
    /// When there are no blocks.
    pub fn curve(&self) -> Curve {
        let n = self.curves.len();
        let over_blocks = |k: usize| {
            let values: Vec<f64> = self.curves.iter().map(|curve| curve[k]).collect();
            Spread::of(&values).expect("at least one block")
        };
        let bins: Vec<Spread> = (0..self.curves[0].len()).map(over_blocks).collect();
        let standard_error =
            if n > 1 { bins.iter().map(Spread::standard_error).collect() } else { Vec::new() };
        let mean = bins.iter().map(|bin| bin.mean).collect();
        Curve { first: self.first, width: self.width, mean, standard_error, n_blocks: n }
    }

    /// Mean and standard deviation of a scalar over blocks.
    ///
    /// # Panics
    /// When the curves have more than one bin, or there are none.
    pub fn scalar(&self) -> Spread {
        assert!(self.curves.iter().all(|curve| curve.len() == 1), "a curve is no scalar");
        let values: Vec<f64> = self.curves.iter().map(|curve| curve[0]).collect();
        Spread::of(&values).expect("at least one block")
    }

    /// d of the module, with its noise; the draws are a function of `seed`.
    ///
    /// # Panics
    /// When the bins differ or one side has no blocks.
    pub fn difference(&self, other: &Self, seed: u64) -> Difference {
        self.check(other);
        let means = [self, other].map(|blocks| mean_of(blocks.curves.iter()));
        let distance = |a: &[f64], b: &[f64]| self.size(&difference_of(a, b));
        let value = distance(&means[0], &means[1]);
        if self.curves.len() < 2 || other.curves.len() < 2 {
            return Difference { value, noise: None };
        }
        let widening = widening(&means[0], self.curves.len() + other.curves.len() - 2);
        let stream = RandomStream { seed, purpose: Purpose::Analysis, replica: 1 };
        let draw = |step: u64| {
            let mut generator = stream.at_step(step);
            let [a, b] = [0, 1].map(|side| {
                let curves = &[self, other][side].curves;
                let drawn = (1..curves.len()).map(|_| &curves[generator.random_range(0..curves.len())]);
                difference_of(&mean_of(drawn), &means[side])
            });
            widening * distance(&a, &b)
        };
        Difference { value, noise: Spread::of(&(0..N_DRAWS).map(draw).collect::<Vec<_>>()) }
    }

    /// d of the module between replicas that start alike, whose blocks follow each other in both, with its noise; the
    /// draws are a function of `seed`. `noise` is `None` of one replica.
    ///
    /// # Panics
    /// When the bins or the numbers of blocks differ, or these are no multiple of `n_replicas`.
    pub fn paired_difference(&self, other: &Self, n_replicas: usize, seed: u64) -> Difference {
        self.check(other);
        let n_blocks = self.curves.len();
        assert!(n_blocks == other.curves.len() && n_blocks > 0, "as many blocks of both");
        assert!(n_blocks.is_multiple_of(n_replicas), "{n_blocks} blocks of {n_replicas} replicas");
        let per_replica = n_blocks / n_replicas;
        let pairs = self.curves.chunks(per_replica).zip(other.curves.chunks(per_replica));
        let differences: Vec<Vec<f64>> =
            pairs.map(|(a, b)| difference_of(&mean_of(a.iter()), &mean_of(b.iter()))).collect();
        let mean = mean_of(differences.iter());
        let value = self.size(&mean);
        if n_replicas < 2 {
            return Difference { value, noise: None };
        }
        let rests: Vec<Vec<f64>> = differences.iter().map(|own| difference_of(own, &mean)).collect();
        let scale = widening(&mean, n_replicas - 1) / ((n_replicas * (n_replicas - 1)) as f64).sqrt();
        let stream = RandomStream { seed, purpose: Purpose::Analysis, replica: 1 };
        let draw = |step: u64| {
            let mut generator = stream.at_step(step);
            let mut sum = vec![0.0; mean.len()];
            for rest in &rests {
                let sign = if generator.random_bool(0.5) { scale } else { -scale };
                sum.iter_mut().zip(rest).for_each(|(sum, rest)| *sum += sign * rest);
            }
            self.size(&sum)
        };
        Difference { value, noise: Spread::of(&(0..N_DRAWS).map(draw).collect::<Vec<_>>()) }
    }

    /// Σ_k |a_k| Δ.
    fn size(&self, curve: &[f64]) -> f64 {
        curve.iter().map(|value| value.abs()).sum::<f64>() * self.width
    }

    fn check(&self, other: &Self) {
        let bins = |blocks: &Self| (blocks.first, blocks.width, blocks.curves.first().map(Vec::len));
        assert_eq!(bins(self), bins(other), "blocks of the same bins");
    }
}

impl Difference {
    /// By how many standard deviations of the noise the difference exceeds it; `None` without a noise.
    pub fn excess(&self) -> Option<f64> {
        let noise = self.noise?;
        (noise.standard_deviation > 0.0).then(|| (self.value - noise.mean) / noise.standard_deviation)
    }
}

/// By how much noise of so many degrees of freedom is widened. Over many bins it averages, so that its mean is known well of few.
fn widening(curve: &[f64], degrees_of_freedom: usize) -> f64 {
    if curve.len() == 1 { student_quantile(degrees_of_freedom) / NORMAL_QUANTILE } else { 1.0 }
}

/// Mean of curves, of which there is at least one.
fn mean_of<'a>(curves: impl Iterator<Item = &'a Vec<f64>>) -> Vec<f64> {
    let (mut sum, mut n) = (Vec::new(), 0.0);
    for curve in curves {
        sum.resize(curve.len(), 0.0);
        sum.iter_mut().zip(curve).for_each(|(sum, value)| *sum += value);
        n += 1.0;
    }
    sum.into_iter().map(|sum: f64| sum / n).collect()
}

fn difference_of(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_distr::StandardNormal;

    /// Normal scalars of unit variance about a mean.
    fn normal(n: usize, mean: f64, replica: u32) -> Blocks {
        let stream = RandomStream { seed: 3, purpose: Purpose::Initialisation, replica };
        let mut generator = stream.at_step(0);
        Blocks::scalars((0..n).map(|_| mean + generator.sample::<f64, _>(StandardNormal)).collect())
    }

    #[test]
    fn the_noise_of_scalars_is_that_of_the_difference_of_two_means() {
        // |δ| of a normal δ of variance 2/n has the mean √(2/π) · √(2/n), averaged over 200 pairs of 12 blocks.
        let n = 12;
        let mean: f64 = (0..200)
            .map(|k| normal(n, 0.0, 2 * k).difference(&normal(n, 0.0, 2 * k + 1), 1).noise.unwrap().mean)
            .sum::<f64>()
            / 200.0;
        let widening = student_quantile(2 * n - 2) / NORMAL_QUANTILE;
        let expected = widening * (2.0 / std::f64::consts::PI).sqrt() * (2.0 / n as f64).sqrt();
        // Each pair's own scatter is known to 15 %: 1 % of the mean; its root is 1 % too small.
        assert!((mean / expected - 1.0).abs() < 0.05, "{mean} {expected}");
    }

    #[test]
    fn equal_means_rarely_exceed_the_noise_and_different_ones_do() {
        let excess = |shift: f64, k: u32| {
            normal(16, 0.0, 2 * k).difference(&normal(16, shift, 2 * k + 1), 1).excess().unwrap()
        };
        let alarms = (0..200).filter(|&k| excess(0.0, k) > 2.0).count();
        // An excess of 2 is |δ| above 2.0 standard errors: 5 % of the time, 7 % with errors known to 18 %.
        assert!(alarms < 25, "{alarms}");
        // A shift of 2 is 5.7 standard errors.
        assert!((0..50).all(|k| excess(2.0, k) > 2.0));
    }

    #[test]
    fn few_blocks_raise_few_alarms() {
        let excess = |k: u32| normal(2, 0.0, 2 * k).difference(&normal(2, 0.0, 2 * k + 1), 1).excess();
        let alarms = (0..400).filter(|&k| excess(k).unwrap() > 2.0).count();
        // Of two blocks of each 8 %; without Student's t it was one in four.
        assert!(alarms < 60, "{alarms}");
    }

    #[test]
    fn pairs_of_replicas_show_what_they_have_not_in_common_and_their_blocks_are_not_independent() {
        // Two blocks of each of four replicas; what the replicas differ by is common to both sets.
        let replicas = normal(4, 0.0, 1000);
        let set = |shift: f64, k: u32| {
            let noise = normal(8, shift, k);
            let blocks = (0..8).map(|b| 10.0 * replicas.curves[b / 2][0] + noise.curves[b][0]);
            Blocks::scalars(blocks.collect())
        };
        let excess = |shift: f64, k: u32| {
            set(0.0, 2 * k).paired_difference(&set(shift, 2 * k + 1), 4, 1).excess().unwrap()
        };
        // 5 % by Student's t; unwidened it would be 14 %.
        let alarms = (0..400).filter(|&k| excess(0.0, k) > 2.0).count();
        assert!((5..35).contains(&alarms), "{alarms}");
        // A shift of 5 is ten standard errors; unpaired it is lost in the 10 that the replicas scatter by.
        assert!((0..50).filter(|&k| excess(5.0, k) > 2.0).count() > 45);
        assert!(set(0.0, 0).difference(&set(5.0, 1), 1).excess().unwrap() < 2.0);
        // A curve of 40 bins that all move by two standard errors of four replicas shows, and noise alone does not.
        let curves = |shift: f64, k: u32| {
            let curve = |b: u32| normal(40, shift, 100 * k + b).curves.into_iter().flatten().collect();
            Blocks { first: 0.0, width: 1.0, curves: (0..4).map(curve).collect() }
        };
        let excess = |shift: f64, k: u32| {
            curves(0.0, 2 * k).paired_difference(&curves(shift, 2 * k + 1), 4, 1).excess().unwrap()
        };
        assert!((0..50).filter(|&k| excess(1.41, k) > 2.0).count() > 40);
        assert!((0..50).filter(|&k| excess(0.0, k) > 2.0).count() < 5);
        let one = Blocks::scalars(vec![1.0, 3.0]);
        assert_eq!(
            one.paired_difference(&Blocks::scalars(vec![1.0, 1.0]), 1, 0),
            Difference { value: 1.0, noise: None }
        );
    }

    #[test]
    fn curves_have_the_error_of_their_mean_and_one_block_has_none() {
        let blocks = Blocks { first: 0.5, width: 2.0, curves: vec![vec![1.0, 2.0], vec![3.0, 2.0]] };
        let curve = blocks.curve();
        assert_eq!((curve.mean, curve.n_blocks), (vec![2.0, 2.0], 2));
        assert!((curve.standard_error[0] - 1.0).abs() < 1e-15 && curve.standard_error[1] == 0.0);
        let one = Blocks { curves: vec![vec![0.0, 0.0]], ..blocks.clone() };
        let difference = blocks.difference(&one, 0);
        assert_eq!(difference, Difference { value: 8.0, noise: None });
        assert!(one.curve().standard_error.is_empty() && difference.excess().is_none());
    }
}
