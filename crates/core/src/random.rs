//! Random numbers as a pure function of (seed, purpose, replica, step): counter-based streams on ChaCha8.
//!
//! ChaCha (Bernstein 2008) turns a key, a stream number and a block counter into 64 bytes without any history:
//!
//! | ChaCha | here |
//! |---|---|
//! | key, 256 bits | seed and a fixed text |
//! | stream, 64 bits | purpose · 2³² + replica |
//! | block counter, 64 bits | step · 2²⁴ + blocks drawn within the step |
//!
//! So a restart needs no generator state, and neither the number of replicas nor of threads changes what one of
//! them draws. A step has 2²⁸ words of 32 bits to itself: a draw beyond them would repeat the next step's.
//!
//! Deliberately absent: a default seed and any generator that is not made from one.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// What the numbers are for. Different purposes never share a number; the values are part of every result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Maxwell–Boltzmann velocities at the start of dynamics.
    Velocities = 1,
    /// The noise of stochastic thermostats.
    ThermostatNoise = 2,
    /// The random rotation that a force evaluation of dynamics runs in.
    RotationOffset = 3,
    /// The rotations a frame average runs over.
    FrameAveraging = 4,
    /// Rotations and reflections of training structures.
    Augmentation = 5,
    /// The order of structures in an epoch.
    Shuffling = 6,
    /// Which structures are for training, validation and test.
    Splitting = 7,
    /// Initial weights of a model.
    Initialisation = 8,
    /// Samples of an analysis: which structures, rotations, displacements.
    Analysis = 9,
}

/// One sequence of random numbers per step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RandomStream {
    /// The run's seed.
    pub seed: u64,
    /// What the numbers are for.
    pub purpose: Purpose,
    /// Which of several that run side by side: a replica, a committee member; 0 where there is one.
    pub replica: u32,
}

/// Steps per stream: the block counter's 64 bits less those of a step's own blocks.
pub const MAX_STEPS: u64 = 1 << (64 - BLOCK_BITS_PER_STEP);

const BLOCK_BITS_PER_STEP: u32 = 24;
const WORDS_PER_BLOCK: u128 = 16;

impl RandomStream {
    /// The generator of a step (of dynamics, of training, an epoch), at its first number.
    ///
    /// # Panics
    /// When `step >= MAX_STEPS`.
    pub fn at_step(&self, step: u64) -> ChaCha8Rng {
        assert!(step < MAX_STEPS, "step {step} is not below {MAX_STEPS}");
        let mut key = *b"________mdet random streams 1...";
        key[..8].copy_from_slice(&self.seed.to_le_bytes());
        let mut generator = ChaCha8Rng::from_seed(key);
        generator.set_stream((self.purpose as u64) << 32 | u64::from(self.replica));
        generator.set_word_pos((u128::from(step) << BLOCK_BITS_PER_STEP) * WORDS_PER_BLOCK);
        generator
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, RngExt};
    use std::collections::HashSet;

    const STREAM: RandomStream = RandomStream { seed: 7, purpose: Purpose::ThermostatNoise, replica: 3 };
    const PURPOSES: [Purpose; 9] = [
        Purpose::Velocities,
        Purpose::ThermostatNoise,
        Purpose::RotationOffset,
        Purpose::FrameAveraging,
        Purpose::Augmentation,
        Purpose::Shuffling,
        Purpose::Splitting,
        Purpose::Initialisation,
        Purpose::Analysis,
    ];

    fn words(stream: RandomStream, step: u64, n: usize) -> Vec<u64> {
        let mut generator = stream.at_step(step);
        (0..n).map(|_| generator.next_u64()).collect()
    }

    #[test]
    fn the_same_identity_gives_the_same_numbers_whatever_was_drawn_before() {
        let mut earlier = STREAM.at_step(40);
        earlier.next_u32();
        assert_eq!(words(STREAM, 41, 100), words(STREAM, 41, 100));
        assert_ne!(words(STREAM, 41, 100), words(STREAM, 40, 100));
    }

    #[test]
    fn no_seed_purpose_replica_or_step_shares_a_number_with_another() {
        let mut seen = HashSet::new();
        for seed in [0, 1, u64::MAX] {
            for purpose in PURPOSES {
                for replica in [0, 1, u32::MAX] {
                    for step in [0, 1, 2, MAX_STEPS - 1] {
                        // 40 words of 64 bits span more than the generator's buffer of four blocks.
                        for word in words(RandomStream { seed, purpose, replica }, step, 40) {
                            assert!(seen.insert(word), "{seed} {purpose:?} {replica} {step}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn numbers_of_neighbouring_steps_and_streams_are_uncorrelated() {
        // Mean of the product of two uniforms on (−½, ½): variance 1/144 per pair; five standard errors.
        let n = 20_000;
        let tolerance = 5.0 / (12.0 * f64::from(n).sqrt());
        let uniform = |stream: RandomStream, step: u64| stream.at_step(step).random::<f64>() - 0.5;
        let other = RandomStream { replica: 4, ..STREAM };
        let (mut steps, mut streams) = (0.0, 0.0);
        for step in 0..n as u64 {
            steps += uniform(STREAM, step) * uniform(STREAM, step + 1) / f64::from(n);
            streams += uniform(STREAM, step) * uniform(other, step) / f64::from(n);
        }
        assert!(steps.abs() < tolerance && streams.abs() < tolerance, "{steps} {streams} {tolerance}");
    }

    #[test]
    fn the_first_numbers_of_a_stream_never_change() {
        // Pinned: a library upgrade that changes these changes every trajectory and every training run.
        assert_eq!(words(STREAM, 5, 2), [16463664703206997219, 9730972078372322062]);
        let normal: f64 = STREAM.at_step(5).sample(rand_distr::StandardNormal);
        assert_eq!(normal, 0.6227900333443832);
    }

    #[test]
    #[should_panic(expected = "is not below")]
    fn a_step_beyond_the_counter_is_refused() {
        STREAM.at_step(MAX_STEPS);
    }
}
