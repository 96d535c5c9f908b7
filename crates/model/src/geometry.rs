//! Distances and angles of all ordered pairs, in f64 whatever the network's precision, and their gradients.
//!
//!   Δ = r_j − r_i,  distance = |Δ|,  azimuth = atan2(Δ_y, Δ_x),  polar = acos(Δ_z / (|Δ| + 10⁻⁵))
//!
//! On the diagonal i = j the distance is 0 and the angles are (0, π/2).

use crate::shares::for_each;

/// What keeps the direction of a zero vector finite, in Bohr.
const SOFTENING_BOHR: f64 = 1e-5;

/// Distances (Bohr) and angles (rad) of the pairs of a group, one entry per edge row.
#[derive(Debug, Default)]
pub(crate) struct PairGeometry {
    pub distances: Vec<f64>,
    /// (azimuth, polar).
    pub angles: Vec<[f64; 2]>,
}

impl PairGeometry {
    pub fn clear(&mut self) {
        self.distances.clear();
        self.angles.clear();
    }

    /// Adds all ordered pairs of one molecule, its atoms i dealt to `n_threads` of the current pool.
    pub fn extend(&mut self, positions_bohr: &[[f64; 3]], n_threads: usize) {
        let (n, start) = (positions_bohr.len(), self.distances.len());
        self.distances.resize(start + n * n, 0.0);
        self.angles.resize(start + n * n, [0.0; 2]);
        let share = n.div_ceil(n_threads.max(1));
        let rows =
            self.distances[start..].chunks_mut(share * n).zip(self.angles[start..].chunks_mut(share * n));
        for_each(positions_bohr.chunks(share).zip(rows), |(from, (distances, angles))| {
            let pairs =
                from.iter().flat_map(|from| positions_bohr.iter().map(move |to| difference(from, to)));
            for (([x, y, z], distance), angles) in pairs.zip(distances).zip(angles) {
                *distance = (x * x + y * y + z * z).sqrt();
                *angles = [y.atan2(x), (z / (*distance + SOFTENING_BOHR)).acos()];
            }
        });
    }
}

/// Gradient with respect to the positions of one molecule, 1/Bohr of what the inputs are gradients of.
///
/// `ddistances` and `dangles` hold the molecule's N² rows; `dpositions` its N atoms, overwritten.
pub(crate) fn position_gradient(
    positions_bohr: &[[f64; 3]],
    ddistances: &[f64],
    dangles: &[[f64; 2]],
    dpositions: &mut [[f64; 3]],
) {
    let n = positions_bohr.len();
    dpositions.fill([0.0; 3]);
    for i in 0..n {
        for j in (0..n).filter(|&j| j != i) {
            let delta = difference(&positions_bohr[i], &positions_bohr[j]);
            let [x, y, z] = delta;
            let in_plane2 = x * x + y * y;
            let distance = (in_plane2 + z * z).sqrt();
            let softened = distance + SOFTENING_BOHR;
            let cosine = z / softened;
            let [dazimuth, dpolar] = dangles[i * n + j];
            // d polar = −d cosine / sin;  cosine = z/(|Δ| + s).
            let dcosine = -dpolar / (1.0 - cosine * cosine).sqrt();
            let along = (ddistances[i * n + j] - dcosine * z / (softened * softened)) / distance;
            let around = if in_plane2 > 0.0 { dazimuth / in_plane2 } else { 0.0 };
            let gradient = [along * x - around * y, along * y + around * x, along * z + dcosine / softened];
            for axis in 0..3 {
                dpositions[j][axis] += gradient[axis];
                dpositions[i][axis] -= gradient[axis];
            }
        }
    }
}

fn difference(from: &[f64; 3], to: &[f64; 3]) -> [f64; 3] {
    [to[0] - from[0], to[1] - from[1], to[2] - from[2]]
}
