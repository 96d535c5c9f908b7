//! What errors have in common as functions of a direction of the laboratory, by angular momentum.
//!
//! Of every molecule the mean of e Y_lm(n) is taken over its atoms and orientations, e the error along the force and n the
//! force's direction; Y are real spherical harmonics with ⟨Y²⟩ = 1 over the sphere. Of an error e that depends on n
//! alone Σ_m ⟨e Y_lm⟩² is the mean square of its part at l. The square is of *pairs of different molecules*,
//!
//! ```text
//! C_l = Σ_m (|Σ_s a_s|² − Σ_s |a_s|²) / S(S − 1),      a_s = ⟨e Y_lm⟩ of molecule s
//! ```
//!
//! so that what molecules do not share counts for nothing, on average; it may come out below zero. As a share it is of the
//! mean of e², molecule by molecule; its standard error is the jackknife's of that ratio. l = 0 is nothing by construction: the error of an atom is 0 in the mean over orientations.

use crate::equivariance::MAX_L;
use crate::statistics::{Estimate, student_quantile};

/// Harmonics up to [`MAX_L`].
const N: usize = (MAX_L + 1) * (MAX_L + 1);

/// Molecules that a square over pairs and its error need.
const MIN_MOLECULES: usize = 3;

/// Sums over the atoms and orientations of one molecule.
#[derive(Debug, Clone)]
pub(crate) struct DirectionMeans {
    /// e Y_lm.
    sums: [f64; N],
    /// e².
    squares: f64,
    n: f64,
}

impl Default for DirectionMeans {
    fn default() -> Self {
        Self { sums: [0.0; N], squares: 0.0, n: 0.0 }
    }
}

impl DirectionMeans {
    /// Adds the error of one atom in one orientation.
    pub fn add(&mut self, direction: &[f64; 3], error: f64) {
        self.sums.iter_mut().zip(harmonics(direction)).for_each(|(sum, y)| *sum += error * y);
        self.squares += error * error;
        self.n += 1.0;
    }

    fn mean(&self, k: usize) -> f64 {
        self.sums[k] / self.n
    }
}

/// C_l at l = 1, 2, …, [`MAX_L`] as percent of the mean of e², with its 95 % interval; empty for fewer than three molecules.
pub(crate) fn common_percent<'a>(molecules: impl Iterator<Item = &'a DirectionMeans>) -> Vec<Estimate> {
    let molecules: Vec<&DirectionMeans> = molecules.filter(|molecule| molecule.n > 0.0).collect();
    if molecules.len() < MIN_MOLECULES || molecules.iter().all(|molecule| molecule.squares == 0.0) {
        return Vec::new();
    }
    let values = percent(&molecules);
    let without = |s: usize| percent(&[&molecules[..s], &molecules[s + 1..]].concat());
    let left: Vec<[f64; MAX_L]> = (0..molecules.len()).map(without).collect();
    let n = molecules.len() as f64;
    let estimate = |k: usize| {
        let mean = left.iter().map(|values| values[k]).sum::<f64>() / n;
        let squares: f64 = left.iter().map(|values| (values[k] - mean).powi(2)).sum();
        let half = student_quantile(molecules.len() - 1) * ((n - 1.0) / n * squares).sqrt();
        Estimate { value: values[k], interval: Some([values[k] - half, values[k] + half]) }
    };
    (0..MAX_L).map(estimate).collect()
}

/// The same without intervals, of at least two molecules.
fn percent(molecules: &[&DirectionMeans]) -> [f64; MAX_L] {
    let n = molecules.len() as f64;
    let total = molecules.iter().map(|m| m.squares / m.n).sum::<f64>() / n;
    std::array::from_fn(|k| {
        let range = (k + 1) * (k + 1)..(k + 2) * (k + 2);
        let pairs = range.map(|k| {
            let sum: f64 = molecules.iter().map(|m| m.mean(k)).sum();
            sum * sum - molecules.iter().map(|m| m.mean(k).powi(2)).sum::<f64>()
        });
        100.0 * pairs.sum::<f64>() / (n * (n - 1.0)) / total.max(f64::MIN_POSITIVE)
    })
}

/// Real spherical harmonics of a unit vector with ⟨Y²⟩ = 1 over the sphere: those of l at l², …, l² + 2l, m = −l, …, l.
fn harmonics(&[x, y, z]: &[f64; 3]) -> [f64; N] {
    let mut all = [0.0; N];
    // (x + iy)^m, and (2m − 1)!! with it.
    let (mut real, mut imaginary, mut diagonal) = (1.0, 0.0, 1.0);
    for m in 0..=MAX_L {
        // Legendre's functions without their sin^m, upwards in l, and (l − m)!/(l + m)!.
        let (mut before, mut legendre) = (0.0, diagonal);
        let mut factorials = 1.0 / (1..=2 * m).map(|k| k as f64).product::<f64>();
        for l in m..=MAX_L {
            let twice = if m > 0 { 2.0 } else { 1.0 };
            let norm = (twice * (2 * l + 1) as f64 * factorials).sqrt();
            let centre = l * l + l;
            all[centre + m] = norm * legendre * real;
            if m > 0 {
                all[centre - m] = norm * legendre * imaginary;
            }
            let [l_f, m_f] = [l as f64, m as f64];
            (before, legendre) =
                (legendre, ((2.0 * l_f + 1.0) * z * legendre - (l_f + m_f) * before) / (l_f + 1.0 - m_f));
            factorials *= (l_f + 1.0 - m_f) / (l_f + 1.0 + m_f);
        }
        (real, imaginary) = (real * x - imaginary * y, real * y + imaginary * x);
        diagonal *= (2 * m + 1) as f64;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::Spread;
    use mdet_core::{Purpose, RandomStream, Rotation};
    use rand::RngExt;
    use rand_distr::StandardNormal;

    fn directions(n: u64) -> impl Iterator<Item = [f64; 3]> {
        let stream = RandomStream { seed: 5, purpose: Purpose::Analysis, replica: 0 };
        (0..n).map(move |k| {
            let mut direction = [[0.0, 0.0, 1.0]];
            Rotation::random(&mut stream.at_step(k)).apply(&mut direction);
            direction[0]
        })
    }

    #[test]
    fn harmonics_obey_the_addition_theorem() {
        let pairs: Vec<[f64; 3]> = directions(20).collect();
        for pair in pairs.chunks(2) {
            let (a, b) = (harmonics(&pair[0]), harmonics(&pair[1]));
            let cosine: f64 = (0..3).map(|k| pair[0][k] * pair[1][k]).sum();
            let (mut before, mut legendre) = (0.0, 1.0);
            for l in 0..=MAX_L {
                let sum: f64 = (l * l..(l + 1) * (l + 1)).map(|k| a[k] * b[k]).sum();
                let l = l as f64;
                assert!((sum - (2.0 * l + 1.0) * legendre).abs() < 1e-12, "l = {l}: {sum}");
                (before, legendre) =
                    (legendre, ((2.0 * l + 1.0) * cosine * legendre - l * before) / (l + 1.0));
            }
        }
    }

    #[test]
    fn only_what_molecules_share_counts() {
        const N_HEIGHTS: usize = 400;
        const N_AZIMUTHS: usize = 20;
        // 2 P_2 shared by all, whose square is 4/5, and in each n · d of a direction d of its own, whose square is 1/3; the six
        // d have no sum, so that their pairs have −6/3 in all.
        let axes = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
        let own = axes.iter().flat_map(|axis| [*axis, axis.map(|x| -x)]);
        let molecules: Vec<DirectionMeans> = own
            .map(|own: [f64; 3]| {
                let mut means = DirectionMeans::default();
                for k in 0..N_HEIGHTS * N_AZIMUTHS {
                    let z = ((k / N_AZIMUTHS) as f64 + 0.5) * 2.0 / N_HEIGHTS as f64 - 1.0;
                    let (sine, cosine) =
                        ((k % N_AZIMUTHS) as f64 * std::f64::consts::TAU / N_AZIMUTHS as f64).sin_cos();
                    let across = (1.0 - z * z).sqrt();
                    let n = [across * cosine, across * sine, z];
                    let shared = 3.0 * z * z - 1.0;
                    means.add(&n, shared + (0..3).map(|a| own[a] * n[a]).sum::<f64>());
                }
                means
            })
            .collect();
        let found = common_percent(molecules.iter());
        let total = 0.8 + 1.0 / 3.0;
        let expected = [-2.0 / 30.0, 0.8, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0].map(|part| 100.0 * part / total);
        for (found, expected) in found.iter().zip(expected) {
            // The midpoint rule's error in z, (2/400)² times the second derivative of an l = 8.
            assert!((found.value - expected).abs() < 0.1, "{found}, expected {expected}");
        }
        assert!(common_percent(molecules[..2].iter()).is_empty());
    }

    #[test]
    fn the_interval_holds_the_share_also_where_sizes_differ() {
        // The same z in all, and as large an error at random directions as chance has it.
        let (mut values, mut half_widths) = (Vec::new(), 0.0);
        let covered = (0..100).filter(|&seed| {
            let stream = RandomStream { seed, purpose: Purpose::Analysis, replica: 1 };
            let molecules: Vec<DirectionMeans> = (0..30)
                .map(|molecule| {
                    let size = (0.6 * stream.at_step(molecule).sample::<f64, _>(StandardNormal)).exp();
                    let mut means =
                        DirectionMeans { squares: 1.0 / 3.0 + size * size, n: 1.0, ..Default::default() };
                    means.sums[2] = 1.0 / 3f64.sqrt();
                    means
                })
                .collect();
            // ⟨size²⟩ = exp(2 · 0.6²).
            let expected = 100.0 / 3.0 / (1.0 / 3.0 + (2.0 * 0.36_f64).exp());
            let found = common_percent(molecules.iter())[0];
            let [low, high] = found.interval.unwrap();
            values.push(found.value);
            half_widths += 0.5 * (high - low) / 100.0;
            (low..=high).contains(&expected)
        });
        // 95 of 100, the jackknife of a ratio of skewed values somewhat fewer.
        let covered = covered.count();
        assert!(covered >= 85, "{covered}");
        let scatter = Spread::of(&values).unwrap().standard_deviation;
        assert!((half_widths / (2.0 * scatter) - 1.0).abs() < 0.3, "{half_widths} {scatter}");
    }
}
