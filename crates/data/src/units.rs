//! Units of reference data, and their factors to Å and eV.

use mdet_core::constants::{BOHR_IN_ANGSTROM, HARTREE_IN_EV, KCAL_PER_MOL_IN_EV};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// kJ/mol over kcal/mol, by the thermochemical calorie.
const KJ_IN_KCAL: f64 = 1.0 / 4.184;

/// The units of a file's lengths and energies; forces are in the one over the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Units {
    /// eV and Å.
    EvAngstrom,
    /// kcal/mol and Å.
    KcalAngstrom,
    /// kJ/mol and Å.
    KjAngstrom,
    /// Hartree and Å.
    HartreeAngstrom,
    /// Hartree and Bohr.
    HartreeBohr,
}

impl Units {
    /// All of them, as a user names them.
    pub const NAMES: [(&str, Units); 5] = [
        ("ev-angstrom", Units::EvAngstrom),
        ("kcal-angstrom", Units::KcalAngstrom),
        ("kj-angstrom", Units::KjAngstrom),
        ("hartree-angstrom", Units::HartreeAngstrom),
        ("hartree-bohr", Units::HartreeBohr),
    ];

    /// One length in Å.
    pub fn length_angstrom(self) -> f64 {
        if self == Self::HartreeBohr { BOHR_IN_ANGSTROM } else { 1.0 }
    }

    /// One energy in eV.
    pub fn energy_ev(self) -> f64 {
        match self {
            Self::EvAngstrom => 1.0,
            Self::KcalAngstrom => KCAL_PER_MOL_IN_EV,
            Self::KjAngstrom => KCAL_PER_MOL_IN_EV * KJ_IN_KCAL,
            Self::HartreeAngstrom | Self::HartreeBohr => HARTREE_IN_EV,
        }
    }

    /// One force in eV/Å.
    pub fn force_ev_per_angstrom(self) -> f64 {
        self.energy_ev() / self.length_angstrom()
    }

    /// The units that a text such as "kcal/mol" and "Angstrom" names.
    pub(crate) fn from_words(energy: &str, length: &str) -> Option<Self> {
        let (energy, length) = (energy.to_ascii_lowercase(), length.to_ascii_lowercase());
        let angstrom = length.starts_with("ang") || length == "å" || length == "a";
        let bohr = matches!(length.as_str(), "bohr" | "au" | "a.u." | "a0");
        match energy.as_str() {
            "ev" if angstrom => Some(Self::EvAngstrom),
            "kcal/mol" | "kcal" if angstrom => Some(Self::KcalAngstrom),
            "kj/mol" | "kj" if angstrom => Some(Self::KjAngstrom),
            "hartree" | "ha" | "eh" | "au" | "a.u." if angstrom => Some(Self::HartreeAngstrom),
            "hartree" | "ha" | "eh" | "au" | "a.u." if bohr => Some(Self::HartreeBohr),
            _ => None,
        }
    }
}

impl std::fmt::Display for Units {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::EvAngstrom => "Å, eV, eV/Å",
            Self::KcalAngstrom => "Å, kcal/mol, kcal/mol/Å",
            Self::KjAngstrom => "Å, kJ/mol, kJ/mol/Å",
            Self::HartreeAngstrom => "Å, Hartree, Hartree/Å",
            Self::HartreeBohr => "Bohr, Hartree, Hartree/Bohr",
        })
    }
}

impl std::str::FromStr for Units {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
        found.map(|(_, units)| *units).ok_or_else(|| format!("expected {}, found {text:?}", names()))
    }
}

/// What [`Units::from_words`] takes, for messages.
pub(crate) const WORDS: &str = "eV, kcal/mol, kJ/mol or Hartree and Angstrom, or Hartree and Bohr";

/// "ev-angstrom, …", for messages.
pub(crate) fn names() -> String {
    Units::NAMES.map(|(name, _)| name).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kcal_per_mol_is_43_mev_and_a_kj_a_calorie_less() {
        assert!((Units::KcalAngstrom.energy_ev() - 0.043_364_104).abs() < 1e-8);
        assert!(
            (Units::KjAngstrom.energy_ev() * 4.184 / Units::KcalAngstrom.energy_ev() - 1.0).abs() < 1e-15
        );
        // CODATA's atomic unit of force.
        assert!((Units::HartreeBohr.force_ev_per_angstrom() - 51.422_067_5).abs() < 1e-6);
    }

    #[test]
    fn names_and_words_are_understood() {
        assert_eq!("kcal-Angstrom".parse(), Ok(Units::KcalAngstrom));
        assert!("furlong".parse::<Units>().unwrap_err().contains("hartree-bohr"));
        assert_eq!(Units::from_words("kcal/mol", "Ang"), Some(Units::KcalAngstrom));
        assert_eq!(Units::from_words("eV", "Angstrom"), Some(Units::EvAngstrom));
        assert_eq!(Units::from_words("Hartree", "Bohr"), Some(Units::HartreeBohr));
        assert_eq!(Units::from_words("eV", "bohr"), None);
    }
}
