//! Geometry optimisation on forces alone: L-BFGS and FIRE, for forces that need not have a potential.
//!
//! Without an energy there is no line search; a step is trusted by its length and by the forces after it.
//!
//! **L-BFGS** (Liu and Nocedal, Math. Program. 45, 503, 1989): the two-loop recursion over the last pairs of steps s and
//! changes of the gradient y. A pair counts only where s·y is clearly positive, because a curvature that is not would
//! turn the step uphill; where the step would go against the forces, or the largest force has grown severalfold, memory is
//! dropped and the way is down the forces again. No atom moves farther than [`MAX_STEP_ANGSTROM`].
//!
//! **FIRE** (Bitzek et al., Phys. Rev. Lett. 97, 170201, 2006, with the semi-implicit step of Guénolé et al., Comput.
//! Mater. Sci. 175, 109584, 2020): damped dynamics of unit masses that is steered along the forces, faster while it
//! goes downhill, stopped where F·v < 0. Slower, and hard to lead astray.
//!
//! Deliberately absent: saddle points, constraints, internal coordinates.

use std::collections::VecDeque;

/// Longest move of an atom in one step, Å.
pub const MAX_STEP_ANGSTROM: f64 = 0.2;

/// Pairs that L-BFGS remembers.
const MEMORY: usize = 20;

/// Stiffness in eV/Å² of the first step, that of a strong bond: too soft a guess would leap.
const FIRST_STIFFNESS: f64 = 70.0;

/// Growth of the largest force after which memory no longer describes the surface.
const DISTRUSTED_GROWTH: f64 = 4.0;

/// An optimiser of one structure.
#[derive(Debug, Clone)]
pub enum Optimiser {
    /// Limited-memory quasi-Newton.
    Lbfgs(Lbfgs),
    /// Fast inertial relaxation.
    Fire(Fire),
}

/// The state of L-BFGS.
#[derive(Debug, Clone, Default)]
pub struct Lbfgs {
    /// Steps s and changes y of the gradient.
    pairs: VecDeque<(Vec<f64>, Vec<f64>)>,
    last: Option<(Vec<f64>, Vec<f64>)>,
}

/// The state of FIRE, in its own unit of time (unit masses).
#[derive(Debug, Clone)]
pub struct Fire {
    velocities: Vec<f64>,
    timestep: f64,
    mixing: f64,
    n_downhill: u32,
}

impl Optimiser {
    /// L-BFGS without memory.
    pub fn lbfgs() -> Self {
        Self::Lbfgs(Lbfgs::default())
    }

    /// FIRE at rest.
    pub fn fire() -> Self {
        Self::Fire(Fire {
            velocities: Vec::new(),
            timestep: Fire::FIRST,
            mixing: Fire::MIXING,
            n_downhill: 0,
        })
    }

    /// Moves `positions` (Å) one step along, given the `forces` (eV/Å) there, both one `[x, y, z]` per atom.
    ///
    /// # Panics
    /// When the lengths differ, or from one call to the next.
    pub fn step(&mut self, positions: &mut [[f64; 3]], forces: &[[f64; 3]]) {
        let positions = positions.as_flattened_mut();
        let forces = forces.as_flattened();
        assert_eq!(positions.len(), forces.len(), "one force per atom");
        let mut step = match self {
            Self::Lbfgs(lbfgs) => lbfgs.step(positions, forces),
            Self::Fire(fire) => fire.step(forces),
        };
        let longest = longest(&step);
        if longest > MAX_STEP_ANGSTROM {
            step.iter_mut().for_each(|x| *x *= MAX_STEP_ANGSTROM / longest);
        }
        for (position, x) in positions.iter_mut().zip(step) {
            *position += x;
        }
    }
}

impl Lbfgs {
    fn step(&mut self, positions: &[f64], forces: &[f64]) -> Vec<f64> {
        if let Some((last_positions, last_forces)) = self.last.take() {
            let s = difference(positions, &last_positions);
            let y = difference(&last_forces, forces);
            let curvature = dot(&s, &y);
            if longest(forces) > DISTRUSTED_GROWTH * longest(&last_forces) {
                self.pairs.clear();
            } else if curvature > 1e-4 * (dot(&s, &s) * dot(&y, &y)).sqrt() {
                self.pairs.push_back((s, y));
                if self.pairs.len() > MEMORY {
                    self.pairs.pop_front();
                }
            }
        }
        let mut step = self.direction(forces);
        if dot(&step, forces) <= 0.0 {
            self.pairs.clear();
            step = self.direction(forces);
        }
        self.last = Some((positions.to_vec(), forces.to_vec()));
        step
    }

    /// H F by the two-loop recursion.
    fn direction(&self, forces: &[f64]) -> Vec<f64> {
        let mut q = forces.to_vec();
        let mut weights = Vec::new();
        for (s, y) in self.pairs.iter().rev() {
            let weight = dot(s, &q) / dot(s, y);
            add(&mut q, y, -weight);
            weights.push(weight);
        }
        let scale = self.pairs.back().map_or(1.0 / FIRST_STIFFNESS, |(s, y)| dot(s, y) / dot(y, y));
        q.iter_mut().for_each(|x| *x *= scale);
        for ((s, y), weight) in self.pairs.iter().zip(weights.into_iter().rev()) {
            let back = dot(y, &q) / dot(s, y);
            add(&mut q, s, weight - back);
        }
        q
    }
}

impl Fire {
    const FIRST: f64 = 0.05;
    const LONGEST: f64 = 0.3;
    const MIXING: f64 = 0.25;

    fn step(&mut self, forces: &[f64]) -> Vec<f64> {
        self.velocities.resize(forces.len(), 0.0);
        if dot(forces, &self.velocities) > 0.0 || self.n_downhill == 0 {
            self.n_downhill += 1;
            if self.n_downhill > 20 {
                self.timestep = (1.1 * self.timestep).min(Self::LONGEST);
                self.mixing *= 0.99;
            }
        } else {
            self.n_downhill = 0;
            self.timestep = (0.5 * self.timestep).max(0.1 * Self::FIRST);
            self.mixing = Self::MIXING;
            self.velocities.fill(0.0);
        }
        add(&mut self.velocities, forces, self.timestep);
        let speed = dot(&self.velocities, &self.velocities).sqrt();
        let strength = dot(forces, forces).sqrt();
        if strength > 0.0 {
            for (v, f) in self.velocities.iter_mut().zip(forces) {
                *v = (1.0 - self.mixing) * *v + self.mixing * speed * f / strength;
            }
        }
        self.velocities.iter().map(|v| self.timestep * v).collect()
    }
}

/// The length of the longest `[x, y, z]` of a flat slice.
fn longest(vectors: &[f64]) -> f64 {
    vectors.chunks_exact(3).map(|v| dot(v, v)).fold(0.0, f64::max).sqrt()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn difference(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

fn add(a: &mut [f64], b: &[f64], factor: f64) {
    a.iter_mut().zip(b).for_each(|(a, b)| *a += factor * b);
}
