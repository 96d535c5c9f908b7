//! Whether forces are minus the gradient of the energies beside them: a wrong sign or unit shows at once.
//!
//! Two frames of one molecule that are nearly the same, b turned onto a, differ in energy by the work on the way, by
//! the trapezoid rule exact for a harmonic potential:
//!
//! ```text
//! E_b − E_a ≈ w = −½ Σ_i (f_a,i + f_b,i) · (r_b,i − r_a,i)
//! ```
//!
//! Of each frame's nearest neighbour, the nearest quarter of all pairs is taken, and E_b − E_a fitted as slope · w: 1 for
//! right labels, −1 for gradients, the ratio of two units for mixed ones. On revised MD17's trajectories at 500 K, 128 frames
//! of each molecule, the slope lies within 0.93 and 1.03 and the correlation above 0.94.
//!
//! Energies and forces that are both in the same wrong unit agree: [`force_size`] looks at the forces alone.

use crate::Record;
use mdet_core::superposition::superposition;
use std::collections::HashMap;

/// Frames kept of a molecule, and molecules: what follows costs less than reading a file.
const FRAMES: usize = 128;
const MOLECULES: usize = 48;
/// Pairs further apart than this root mean square in Å are no neighbours.
const MAX_RMSD_ANGSTROM: f64 = 0.3;
/// The nearest quarter of the pairs is used, but not fewer than these if there are as many.
const ENOUGH_PAIRS: usize = 16;
/// Fewer pairs, or a lower correlation, say nothing.
const MIN_PAIRS: usize = 4;
const MIN_CORRELATION: f64 = 0.8;
/// A slope off by more than this factor is a mistake: the smallest ratio of two units in use, Bohr to Å, is 1.89.
const MAX_SLOPE_FACTOR: f64 = 1.35;

/// Ratios of units that are mistaken for each other.
const RATIOS: [(&str, f64); 9] = [
    ("Bohr and Å", 1.889_726),
    ("kcal/mol and kJ/mol", 4.184),
    ("eV and kcal/mol", 23.060_548),
    ("Hartree and eV", 27.211_386),
    ("Hartree/Bohr and eV/Å", 51.422_067),
    ("eV and kJ/mol", 96.485_332),
    ("Hartree and kcal/mol", 627.509_474),
    ("Hartree/Bohr and kcal/mol/Å", 1_185.821),
    ("eV and meV", 1_000.0),
];

/// Gathers frames with energies and forces.
#[derive(Debug, Default)]
pub struct EnergyCheck {
    molecules: HashMap<(Vec<u8>, i32, u32), Vec<Sample>>,
}

#[derive(Debug)]
struct Sample {
    /// Å from the centroid.
    positions: Vec<[f64; 3]>,
    forces: Vec<[f64; 3]>,
    energy_ev: f64,
}

/// What energies say about forces.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// No two frames are close enough, or energies are absent, constant or unrelated.
    Unknown(&'static str),
    /// The forces are those of the energies.
    Agree {
        /// Energy difference over work.
        slope: f64,
        /// Pairs of frames compared.
        n_pairs: usize,
    },
    /// They are not.
    Differ {
        /// Energy difference over work.
        slope: f64,
        /// Pairs of frames compared.
        n_pairs: usize,
    },
}

impl EnergyCheck {
    /// Takes a checked record into account.
    pub fn add(&mut self, record: &Record) {
        let (Some(forces), Some(energy_ev)) = (&record.forces, record.energy_ev) else { return };
        let key = (record.numbers.clone(), record.charge, record.multiplicity);
        if self.molecules.len() >= MOLECULES && !self.molecules.contains_key(&key) {
            return;
        }
        let samples = self.molecules.entry(key).or_default();
        if samples.len() < FRAMES {
            samples.push(Sample { positions: centred(&record.positions), forces: forces.clone(), energy_ev });
        }
    }

    /// Compares what was gathered.
    pub fn verdict(&self) -> Verdict {
        if self.molecules.is_empty() {
            return Verdict::Unknown("no structure has forces and an energy");
        }
        let mut pairs: Vec<Pair> =
            self.molecules.values().flat_map(|samples| nearest_pairs(samples)).collect();
        pairs.retain(|pair| pair.rmsd_angstrom < MAX_RMSD_ANGSTROM);
        pairs.sort_by(|a, b| a.rmsd_angstrom.total_cmp(&b.rmsd_angstrom));
        pairs.truncate((pairs.len() / 4).max(ENOUGH_PAIRS));
        if pairs.len() < MIN_PAIRS {
            return Verdict::Unknown("too few frames are close to another one of their molecule");
        }
        let sum = |term: fn(&Pair) -> f64| pairs.iter().map(term).sum::<f64>();
        let (ww, we, ee) = (
            sum(|pair| pair.work_ev * pair.work_ev),
            sum(|pair| pair.work_ev * pair.energy_ev),
            sum(|pair| pair.energy_ev * pair.energy_ev),
        );
        if ee == 0.0 {
            return Verdict::Unknown("the energies are all the same");
        }
        if ww == 0.0 {
            return Verdict::Unknown("no work is done between neighbouring frames");
        }
        let (slope, n_pairs) = (we / ww, pairs.len());
        if we.abs() < MIN_CORRELATION * (ww * ee).sqrt() {
            return Verdict::Unknown("neighbouring frames differ by too much for their energies to say");
        }
        if slope > 0.0 && slope.ln().abs() < MAX_SLOPE_FACTOR.ln() {
            Verdict::Agree { slope, n_pairs }
        } else {
            Verdict::Differ { slope, n_pairs }
        }
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unknown(why) => write!(f, "not known: {why}"),
            Self::Agree { slope, n_pairs } => {
                write!(
                    f,
                    "energy differences are {slope:.2} times the work of the forces ({n_pairs} pairs): right"
                )
            }
            Self::Differ { slope, n_pairs } => {
                write!(
                    f,
                    "energy differences are {slope:.4} times the work of the forces ({n_pairs} pairs): "
                )?;
                if *slope < 0.0 {
                    write!(f, "they have the wrong sign")?;
                }
                let factor = slope.abs().ln().abs();
                if factor < MAX_SLOPE_FACTOR.ln() {
                    return Ok(());
                }
                write!(f, "{}", if *slope < 0.0 { " and " } else { "they " })?;
                let near =
                    |(_, ratio): &&(&str, f64)| (factor - ratio.ln()).abs() < MAX_SLOPE_FACTOR.ln() / 2.0;
                let ratios = RATIOS.iter().filter(near);
                let ratios: Vec<String> =
                    ratios.map(|(units, ratio)| format!("{units}: {ratio:.2}")).collect();
                match ratios.is_empty() {
                    true => write!(f, "are in another unit than the energies"),
                    false => write!(f, "are in the wrong unit ({})", ratios.join(", or ")),
                }
            }
        }
    }
}

/// What is odd about the root mean square of all force components, in eV/Å, of molecules that move.
///
/// At 300 to 1000 K it is about 0.5 to 2 eV/Å; kcal/mol/Å read as eV/Å are 23 times, Hartree/Bohr 0.02 times that.
pub fn force_size(rms_ev_per_angstrom: f64) -> Option<String> {
    let usual = 0.05..10.0;
    (!usual.contains(&rms_ev_per_angstrom)).then(|| {
        format!(
            "forces of {rms_ev_per_angstrom:.3} eV/Å (root mean square of the components): expected {} to {}, unless \
             the structures are relaxed or torn apart; is the unit right?",
            usual.start, usual.end
        )
    })
}

struct Pair {
    rmsd_angstrom: f64,
    work_ev: f64,
    energy_ev: f64,
}

/// Each frame with its nearest neighbour.
fn nearest_pairs(samples: &[Sample]) -> Vec<Pair> {
    let pair = |(a, b): (&Sample, &Sample)| {
        let turn = superposition(&b.positions, &a.positions);
        let (mut positions, mut forces) = (b.positions.clone(), b.forces.clone());
        turn.apply(&mut positions);
        turn.apply(&mut forces);
        let (mut squares, mut work_ev) = (0.0, 0.0);
        for i in 0..positions.len() {
            for k in 0..3 {
                let step = positions[i][k] - a.positions[i][k];
                squares += step * step;
                work_ev -= 0.5 * (a.forces[i][k] + forces[i][k]) * step;
            }
        }
        let rmsd_angstrom = (squares / positions.len() as f64).sqrt();
        Pair { rmsd_angstrom, work_ev, energy_ev: b.energy_ev - a.energy_ev }
    };
    let nearest = |a: usize| {
        let others = (0..samples.len()).filter(|&b| b != a).map(|b| pair((&samples[a], &samples[b])));
        others.min_by(|p, q| p.rmsd_angstrom.total_cmp(&q.rmsd_angstrom))
    };
    (0..samples.len()).filter_map(nearest).collect()
}

fn centred(positions: &[[f64; 3]]) -> Vec<[f64; 3]> {
    let n = positions.len() as f64;
    let mean: [f64; 3] = std::array::from_fn(|k| positions.iter().map(|r| r[k]).sum::<f64>() / n);
    positions.iter().map(|r| std::array::from_fn(|k| r[k] - mean[k])).collect()
}
