//! AdamW (Loshchilov & Hutter 2019), gradient clipping and the learning-rate schedule.

use mdet_kernels::Real;

const BETA_1: f64 = 0.9;
const BETA_2: f64 = 0.999;
const EPSILON: f64 = 1e-8;

/// First and second moments of the gradient, in the arena's layout.
#[derive(Debug, Clone)]
pub struct AdamW<T> {
    pub(crate) first: Vec<T>,
    pub(crate) second: Vec<T>,
    pub(crate) n_steps: u64,
    weight_decay: f64,
}

impl<T: Real> AdamW<T> {
    /// Zero moments for `n_parameters`.
    pub fn new(n_parameters: usize, weight_decay: f64) -> Self {
        Self {
            first: vec![T::ZERO; n_parameters],
            second: vec![T::ZERO; n_parameters],
            n_steps: 0,
            weight_decay,
        }
    }

    /// One step: p ← p(1 − lr·decay) − lr·m̂/(√v̂ + ε) with bias-corrected moments m̂, v̂.
    ///
    /// # Panics
    /// When the lengths differ.
    pub fn step(&mut self, parameters: &mut [T], gradient: &[T], learning_rate: f64) {
        assert_eq!((parameters.len(), gradient.len()), (self.first.len(), self.first.len()));
        self.n_steps += 1;
        let correction = |beta: f64| 1.0 - beta.powf(self.n_steps as f64);
        let rate = T::from_f64(learning_rate / correction(BETA_1));
        let inverse_root = T::from_f64(1.0 / correction(BETA_2).sqrt());
        let keep = T::from_f64(1.0 - learning_rate * self.weight_decay);
        let [beta_1, beta_2, new_1, new_2, epsilon] =
            [BETA_1, BETA_2, 1.0 - BETA_1, 1.0 - BETA_2, EPSILON].map(T::from_f64);
        let moments = self.first.iter_mut().zip(&mut self.second);
        for ((p, &g), (m, v)) in parameters.iter_mut().zip(gradient).zip(moments) {
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

/// Learning rate of a step (from 0): linear rise over the warm-up, then a cosine to zero.
pub fn learning_rate(step: u64, highest: f64, warmup_steps: u64, n_steps: u64) -> f64 {
    if step < warmup_steps {
        return highest * (step + 1) as f64 / warmup_steps as f64;
    }
    let progress = (step - warmup_steps) as f64 / (n_steps - warmup_steps).max(1) as f64;
    highest * 0.5 * (1.0 + (std::f64::consts::PI * progress.min(1.0)).cos())
}
