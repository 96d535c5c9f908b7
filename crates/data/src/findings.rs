//! What is wrong with a set, structure by structure: `mdet data check`.
//!
//! Looks for what no reader or training run takes (atoms on top of each other, a multiplicity that the electrons cannot have,
//! NaN), for what ruins a result quietly (copies, outliers), and for forces of a wrong sign or unit. Keeps about 50 bytes per
//! structure.

use crate::energy_check::{EnergyCheck, Verdict, force_size};
use crate::fingerprint::{Fingerprint, Fingerprints};
use crate::survey::Survey;
use crate::{DataError, Record};

/// The largest force on an atom of a structure is an outlier beyond this many times its median over the set, but not
/// below this many eV/Å.
pub const OUTLIER_FACTOR: f64 = 10.0;
/// See [`OUTLIER_FACTOR`].
pub const OUTLIER_LEAST_EV_PER_ANGSTROM: f64 = 20.0;

/// One structure with something wrong, counted from 0 in the order of reading.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// Which structure.
    pub structure: usize,
    /// What kind of thing.
    pub kind: Kind,
    /// In words, with file and place.
    pub message: String,
}

/// Kinds of findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// No molecule that can be trained on, or not readable.
    Wrong,
    /// The same frame as one before.
    Duplicate,
    /// Forces far out of proportion.
    Outlier,
}

impl Kind {
    /// All, in the order in which they are shown.
    pub const ALL: [Self; 3] = [Self::Wrong, Self::Duplicate, Self::Outlier];
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Wrong => "wrong",
            Self::Duplicate => "duplicate",
            Self::Outlier => "outlier",
        })
    }
}

/// Looks at records one by one.
#[derive(Debug, Default)]
pub struct Checks {
    n_seen: usize,
    findings: Vec<Finding>,
    /// Where reading stopped before a file's end.
    stops: Vec<String>,
    survey: Survey,
    energies: EnergyCheck,
    fingerprints: Vec<Fingerprint>,
    /// Largest force on an atom in eV/Å, and the index in the order of reading, of the sound structures.
    largest: Vec<(f32, u32)>,
    max_force_ev_per_angstrom: Option<f64>,
}

/// All that was found.
#[derive(Debug)]
pub struct Findings {
    /// Structures looked at.
    pub n_structures: usize,
    /// Structure by structure, in the order of [`Kind::ALL`] and of reading.
    pub list: Vec<Finding>,
    /// Beyond this force in eV/Å on an atom, a structure is an outlier.
    pub outlier_ev_per_angstrom: f64,
    /// Whether forces fit energies.
    pub energies: Verdict,
    /// What is odd about the set as a whole.
    pub warnings: Vec<String>,
}

impl Checks {
    /// With a limit for outliers in eV/Å instead of one from the set itself.
    pub fn new(max_force_ev_per_angstrom: Option<f64>) -> Self {
        Self { max_force_ev_per_angstrom, ..Self::default() }
    }

    /// The next record or what its reader says of it.
    pub fn add(&mut self, record: Result<Record, DataError>) {
        let structure = self.n_seen;
        self.n_seen += 1;
        match record.and_then(sound) {
            Err(error) => {
                let message = with_causes(&error);
                if error.ends_reading() {
                    self.stops.push(message.clone());
                }
                self.findings.push(Finding { structure, kind: Kind::Wrong, message });
            }
            Ok(record) => {
                self.survey.add(&record);
                self.energies.add(&record);
                self.fingerprints.push(Fingerprint::of(&record));
                let norms =
                    record.forces.iter().flatten().map(|f| f.iter().map(|x| x * x).sum::<f64>().sqrt());
                self.largest.push((norms.fold(0.0, f64::max) as f32, structure as u32));
            }
        }
    }

    /// Compares the structures with each other.
    pub fn finish(mut self) -> Findings {
        let original = |index: usize| self.largest[index].1 as usize;
        let repeated = self.fingerprints.iter().copied().collect::<Fingerprints>().repeated();
        self.findings.extend(repeated.into_iter().map(|(index, first)| Finding {
            structure: original(index),
            kind: Kind::Duplicate,
            message: format!("the same frame as structure {}", original(first)),
        }));
        let limit = self.max_force_ev_per_angstrom.unwrap_or_else(|| outlier_limit(&self.largest));
        let outliers = self.largest.iter().filter(|(force, _)| f64::from(*force) > limit);
        self.findings.extend(outliers.map(|&(force, structure)| Finding {
            structure: structure as usize,
            kind: Kind::Outlier,
            message: format!("a force of {force:.2} eV/Å on an atom"),
        }));
        let energies = self.energies.verdict();
        let mut warnings = self.stops;
        if let Verdict::Differ { .. } = energies {
            warnings.push(energies.to_string());
        }
        if self.survey.forces.n_atoms > 0 {
            warnings.extend(force_size(self.survey.forces.rms_ev_per_angstrom()));
        }
        self.findings.sort_by_key(|finding| (finding.kind, finding.structure));
        Findings {
            n_structures: self.n_seen,
            list: self.findings,
            outlier_ev_per_angstrom: limit,
            energies,
            warnings,
        }
    }
}

/// A record that can be trained on.
fn sound(record: Record) -> Result<Record, DataError> {
    record.check()?;
    if record.forces.is_none() {
        return Err(DataError::wrong(&record.path, &record.place, "forces on the atoms", "none"));
    }
    Ok(record)
}

fn outlier_limit(largest: &[(f32, u32)]) -> f64 {
    let mut forces: Vec<f32> = largest.iter().map(|(force, _)| *force).collect();
    if forces.is_empty() {
        return OUTLIER_LEAST_EV_PER_ANGSTROM;
    }
    let middle = forces.len() / 2;
    let (_, median, _) = forces.select_nth_unstable_by(middle, f32::total_cmp);
    (OUTLIER_FACTOR * f64::from(*median)).max(OUTLIER_LEAST_EV_PER_ANGSTROM)
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    let texts: Vec<String> =
        std::iter::once(error.to_string()).chain(causes.map(|e| e.to_string())).collect();
    texts.join(": ")
}
