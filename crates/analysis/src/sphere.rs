//! A map over the sphere: equal areas between heights z and azimuths φ.

use crate::accuracy::norm;
use crate::statistics::Spread;
use mdet_core::Rotation;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const N_HEIGHTS: usize = 10;
const N_AZIMUTHS: usize = 20;

/// Means over directions, in the unit of the field that holds it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SphereMap {
    /// Rows, evenly spaced in z from −1 to 1.
    pub n_heights: usize,
    /// Columns, evenly spaced in azimuth from −π to π.
    pub n_azimuths: usize,
    /// Mean of every cell with its spread, `[n_heights, n_azimuths]` row-major; `None` where no direction fell.
    pub cells: Vec<Option<Spread>>,
}

/// Sums that a [`SphereMap`] is made of.
#[derive(Debug, Clone)]
pub(crate) struct SphereSums {
    /// Count, sum and sum of squares of every cell.
    cells: Vec<[f64; 3]>,
}

impl Default for SphereSums {
    fn default() -> Self {
        Self { cells: vec![[0.0; 3]; N_HEIGHTS * N_AZIMUTHS] }
    }
}

/// For every atom with a mean force of at least `min_force` its direction R f̄ in the laboratory and the error along it,
/// meV/Å. Forces in eV/Å and turned back.
pub(crate) fn errors_along<'a>(
    rotation: &'a Rotation,
    forces: &'a [[f64; 3]],
    mean: &'a [[f64; 3]],
    min_force: f64,
) -> impl Iterator<Item = ([f64; 3], f64)> + 'a {
    forces.iter().zip(mean).filter_map(move |(force, mean)| {
        let length = norm(mean);
        let mut direction = [mean.map(|x| x / length)];
        let along: f64 = (0..3).map(|a| (force[a] - mean[a]) * direction[0][a]).sum();
        rotation.apply(&mut direction);
        (length >= min_force).then_some((direction[0], 1e3 * along))
    })
}

impl SphereSums {
    /// Adds a value at a direction.
    pub fn add(&mut self, [x, y, z]: &[f64; 3], value: f64) {
        // The casts saturate at zero; the upper poles fall into the last cell.
        let row = (((z + 1.0) * 0.5 * N_HEIGHTS as f64) as usize).min(N_HEIGHTS - 1);
        let turn = y.atan2(*x) / std::f64::consts::TAU + 0.5;
        let column = ((turn * N_AZIMUTHS as f64) as usize).min(N_AZIMUTHS - 1);
        let cell = &mut self.cells[row * N_AZIMUTHS + column];
        *cell = [cell[0] + 1.0, cell[1] + value, cell[2] + value * value];
    }

    pub fn finish(self) -> SphereMap {
        let spread = |[n, sum, squares]: [f64; 3]| {
            let mean = sum / n;
            let variance = if n > 1.0 { (squares - n * mean * mean).max(0.0) / (n - 1.0) } else { 0.0 };
            (n > 0.0).then(|| Spread { mean, standard_deviation: variance.sqrt(), n: n as usize })
        };
        let cells = self.cells.into_iter().map(spread).collect();
        SphereMap { n_heights: N_HEIGHTS, n_azimuths: N_AZIMUTHS, cells }
    }
}
