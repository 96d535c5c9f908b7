//! The optimiser's state and step, gradient clipping and the learning-rate schedule.
//!
//! AdamW (Loshchilov & Hutter 2019) for every parameter, or Muon ([`crate::muon`]) for the inner matrices and AdamW for
//! the rest: embeddings, norms, biases, the radial basis and the last layer.

use crate::config::Schedule;
use crate::muon::Matrix;
use mdet_kernels::Real;
use rayon::prelude::*;

const BETA_1: f64 = 0.9;
const BETA_2: f64 = 0.999;
const EPSILON: f64 = 1e-8;

/// Moments of the gradient in the arena's layout, and which parameters follow Muon.
#[derive(Debug, Clone)]
pub struct Optimiser<T> {
    /// AdamW's first moment, Muon's momentum.
    pub(crate) first: Vec<T>,
    pub(crate) second: Vec<T>,
    pub(crate) n_steps: u64,
    weight_decay: f64,
    /// Ascending and apart.
    matrices: Vec<Matrix>,
}

impl<T: Real> Optimiser<T> {
    /// AdamW for all of `n_parameters`.
    pub fn adamw(n_parameters: usize, weight_decay: f64) -> Self {
        Self::muon(n_parameters, weight_decay, Vec::new())
    }

    /// Muon for `matrices`, in ascending order, and AdamW for the rest of `n_parameters`.
    pub fn muon(n_parameters: usize, weight_decay: f64, matrices: Vec<Matrix>) -> Self {
        Self {
            first: vec![T::ZERO; n_parameters],
            second: vec![T::ZERO; n_parameters],
            n_steps: 0,
            weight_decay,
            matrices,
        }
    }

    /// One step of all parameters.
    ///
    /// # Panics
    /// When the lengths differ, or a matrix lies outside of them.
    pub fn step(&mut self, parameters: &mut [T], gradient: &[T], learning_rate: f64) {
        assert_eq!((parameters.len(), gradient.len()), (self.first.len(), self.first.len()));
        self.n_steps += 1;
        let (mut parameters, mut first, mut done) = (parameters, self.first.as_mut_slice(), 0);
        let mut muon = Vec::with_capacity(self.matrices.len());
        let mut adamw = Vec::with_capacity(self.matrices.len() + 1);
        let end = Matrix { range: gradient.len()..gradient.len(), n_rows: 0, n_columns: 0 };
        for matrix in self.matrices.iter().chain([&end]) {
            let range = done..matrix.range.start;
            let (own_p, rest_p) = std::mem::take(&mut parameters).split_at_mut(range.len());
            let (own_m, rest_m) = std::mem::take(&mut first).split_at_mut(range.len());
            adamw.push((range, own_p, own_m));
            let (own_p, rest_p) = rest_p.split_at_mut(matrix.range.len());
            let (own_m, rest_m) = rest_m.split_at_mut(matrix.range.len());
            muon.push((matrix, own_p, own_m));
            (parameters, first, done) = (rest_p, rest_m, matrix.range.end);
        }
        for (range, parameters, first) in adamw {
            let step = AdamWStep { n_steps: self.n_steps, learning_rate, weight_decay: self.weight_decay };
            step.apply(parameters, &gradient[range.clone()], first, &mut self.second[range]);
        }
        let weight_decay = self.weight_decay;
        muon.into_par_iter().filter(|(matrix, ..)| !matrix.range.is_empty()).for_each(
            |(matrix, parameters, momentum)| {
                let gradient = &gradient[matrix.range.clone()];
                matrix.step(parameters, gradient, momentum, learning_rate, weight_decay);
            },
        );
    }
}

struct AdamWStep {
    n_steps: u64,
    learning_rate: f64,
    weight_decay: f64,
}

impl AdamWStep {
    /// p ← p(1 − lr·decay) − lr·m̂/(√v̂ + ε) with bias-corrected moments m̂, v̂.
    fn apply<T: Real>(&self, parameters: &mut [T], gradient: &[T], first: &mut [T], second: &mut [T]) {
        let correction = |beta: f64| 1.0 - beta.powf(self.n_steps as f64);
        let rate = T::from_f64(self.learning_rate / correction(BETA_1));
        let inverse_root = T::from_f64(1.0 / correction(BETA_2).sqrt());
        let keep = T::from_f64(1.0 - self.learning_rate * self.weight_decay);
        let [beta_1, beta_2, new_1, new_2, epsilon] =
            [BETA_1, BETA_2, 1.0 - BETA_1, 1.0 - BETA_2, EPSILON].map(T::from_f64);
        for ((p, &g), (m, v)) in parameters.iter_mut().zip(gradient).zip(first.iter_mut().zip(second)) {
            *m = beta_1 * *m + new_1 * g;
            *v = beta_2 * *v + new_2 * (g * g);
            *p = *p * keep - rate * *m / (v.sqrt() * inverse_root + epsilon);
        }
    }
}

/// Scales the gradient by min(1, largest/(norm + 10⁻⁶)) and returns its norm before.
pub fn clip_to_norm<T: Real>(gradient: &mut [T], largest: f64) -> f64 {
    let norm = gradient.iter().map(|g| g.to_f64().powi(2)).sum::<f64>().sqrt();
    let factor = largest / (norm + 1e-6);
    if factor < 1.0 {
        gradient.iter_mut().for_each(|g| *g *= T::from_f64(factor));
    }
    norm
}

/// Learning rate of a step (from 0): linear rise over the warm-up, then as the schedule says.
pub fn learning_rate(step: u64, highest: f64, warmup_steps: u64, n_steps: u64, schedule: Schedule) -> f64 {
    if step < warmup_steps {
        return highest * (step + 1) as f64 / warmup_steps as f64;
    }
    let left = n_steps.saturating_sub(step) as f64;
    match schedule {
        Schedule::Cosine => {
            let progress = 1.0 - left / (n_steps - warmup_steps).max(1) as f64;
            highest * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos())
        }
        Schedule::Trapezoid { decay_steps } => highest * (left / decay_steps.max(1) as f64).min(1.0),
    }
}
