//! The elements to fermium: symbol, standard atomic mass and covalent radius.
//!
//! Masses: IUPAC 2016 (Meija et al., Pure Appl. Chem. 88, 265), the conventional value where an interval is given,
//! the usual isotope where none is stable. Radii: Cordero et al., Dalton Trans. 2008, 2832 (C: sp³; Mn, Fe, Co: low
//! spin), which ends at curium; curium's serves beyond. They detect bonds and enter no force.
//!
//! Deliberately absent: isotopes. A run with deuterium passes its own masses.

/// The largest atomic number the models and these tables know.
pub const MAX_ATOMIC_NUMBER: u8 = ELEMENTS.len() as u8;

/// Chemical symbol of the element, `"Cl"` for 17.
///
/// # Panics
/// When `z` is not in `1..=MAX_ATOMIC_NUMBER`.
pub fn symbol(z: u8) -> &'static str {
    element(z).0
}

/// Atomic number of a symbol, whatever its case (`"CL"`, `"cl"`); `None` when there is no such element.
pub fn from_symbol(symbol: &str) -> Option<u8> {
    (1..=MAX_ATOMIC_NUMBER).find(|&z| element(z).0.eq_ignore_ascii_case(symbol))
}

/// Standard atomic mass in u.
///
/// # Panics
/// When `z` is not in `1..=MAX_ATOMIC_NUMBER`.
pub fn mass_u(z: u8) -> f64 {
    element(z).1
}

/// Standard atomic masses in u, one per atom.
///
/// # Panics
/// As [`mass_u`].
pub fn masses_u(numbers: &[u8]) -> Vec<f64> {
    numbers.iter().map(|&z| mass_u(z)).collect()
}

/// Covalent radius in Å.
///
/// # Panics
/// When `z` is not in `1..=MAX_ATOMIC_NUMBER`.
pub fn covalent_radius(z: u8) -> f64 {
    element(z).2
}

fn element(z: u8) -> (&'static str, f64, f64) {
    assert!((1..=MAX_ATOMIC_NUMBER).contains(&z), "atomic number {z} is not in 1..={MAX_ATOMIC_NUMBER}");
    ELEMENTS[usize::from(z) - 1]
}

/// Symbol, mass in u, covalent radius in Å, from hydrogen on.
#[rustfmt::skip]
const ELEMENTS: [(&str, f64, f64); 100] = [
    ("H", 1.008, 0.31),
    ("He", 4.002602, 0.28),
    ("Li", 6.94, 1.28),
    ("Be", 9.0121831, 0.96),
    ("B", 10.81, 0.84),
    ("C", 12.011, 0.76),
    ("N", 14.007, 0.71),
    ("O", 15.999, 0.66),
    ("F", 18.99840316, 0.57),
    ("Ne", 20.1797, 0.58),
    ("Na", 22.98976928, 1.66),
    ("Mg", 24.305, 1.41),
    ("Al", 26.9815385, 1.21),
    ("Si", 28.085, 1.11),
    ("P", 30.973762, 1.07),
    ("S", 32.06, 1.05),
    ("Cl", 35.45, 1.02),
    ("Ar", 39.948, 1.06),
    ("K", 39.0983, 2.03),
    ("Ca", 40.078, 1.76),
    ("Sc", 44.955908, 1.70),
    ("Ti", 47.867, 1.60),
    ("V", 50.9415, 1.53),
    ("Cr", 51.9961, 1.39),
    ("Mn", 54.938044, 1.39),
    ("Fe", 55.845, 1.32),
    ("Co", 58.933194, 1.26),
    ("Ni", 58.6934, 1.24),
    ("Cu", 63.546, 1.32),
    ("Zn", 65.38, 1.22),
    ("Ga", 69.723, 1.22),
    ("Ge", 72.63, 1.20),
    ("As", 74.921595, 1.19),
    ("Se", 78.971, 1.20),
    ("Br", 79.904, 1.20),
    ("Kr", 83.798, 1.16),
    ("Rb", 85.4678, 2.20),
    ("Sr", 87.62, 1.95),
    ("Y", 88.90584, 1.90),
    ("Zr", 91.224, 1.75),
    ("Nb", 92.90637, 1.64),
    ("Mo", 95.95, 1.54),
    ("Tc", 97.90721, 1.47),
    ("Ru", 101.07, 1.46),
    ("Rh", 102.9055, 1.42),
    ("Pd", 106.42, 1.39),
    ("Ag", 107.8682, 1.45),
    ("Cd", 112.414, 1.44),
    ("In", 114.818, 1.42),
    ("Sn", 118.71, 1.39),
    ("Sb", 121.76, 1.39),
    ("Te", 127.6, 1.38),
    ("I", 126.90447, 1.39),
    ("Xe", 131.293, 1.40),
    ("Cs", 132.905452, 2.44),
    ("Ba", 137.327, 2.15),
    ("La", 138.90547, 2.07),
    ("Ce", 140.116, 2.04),
    ("Pr", 140.90766, 2.03),
    ("Nd", 144.242, 2.01),
    ("Pm", 144.91276, 1.99),
    ("Sm", 150.36, 1.98),
    ("Eu", 151.964, 1.98),
    ("Gd", 157.25, 1.96),
    ("Tb", 158.92535, 1.94),
    ("Dy", 162.5, 1.92),
    ("Ho", 164.93033, 1.92),
    ("Er", 167.259, 1.89),
    ("Tm", 168.93422, 1.90),
    ("Yb", 173.054, 1.87),
    ("Lu", 174.9668, 1.87),
    ("Hf", 178.49, 1.75),
    ("Ta", 180.94788, 1.70),
    ("W", 183.84, 1.62),
    ("Re", 186.207, 1.51),
    ("Os", 190.23, 1.44),
    ("Ir", 192.217, 1.41),
    ("Pt", 195.084, 1.36),
    ("Au", 196.966569, 1.36),
    ("Hg", 200.592, 1.32),
    ("Tl", 204.38, 1.45),
    ("Pb", 207.2, 1.46),
    ("Bi", 208.9804, 1.48),
    ("Po", 208.98243, 1.40),
    ("At", 209.98715, 1.50),
    ("Rn", 222.01758, 1.50),
    ("Fr", 223.01974, 2.60),
    ("Ra", 226.02541, 2.21),
    ("Ac", 227.02775, 2.15),
    ("Th", 232.0377, 2.06),
    ("Pa", 231.03588, 2.00),
    ("U", 238.02891, 1.96),
    ("Np", 237.04817, 1.90),
    ("Pu", 244.06421, 1.87),
    ("Am", 243.06138, 1.80),
    ("Cm", 247.07035, 1.69),
    ("Bk", 247.07031, 1.69),
    ("Cf", 251.07959, 1.69),
    ("Es", 252.083, 1.69),
    ("Fm", 257.09511, 1.69),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_symbol_leads_back_to_its_atomic_number_in_any_case() {
        for z in 1..=MAX_ATOMIC_NUMBER {
            assert_eq!(from_symbol(symbol(z)), Some(z));
            assert_eq!(from_symbol(&symbol(z).to_lowercase()), Some(z));
            assert_eq!(from_symbol(&symbol(z).to_uppercase()), Some(z));
        }
        assert_eq!((from_symbol("Xx"), from_symbol(""), from_symbol(" H")), (None, None, None));
        assert_eq!((symbol(17), symbol(54), symbol(100)), ("Cl", "Xe", "Fm"));
    }

    #[test]
    fn masses_rise_with_z_but_for_the_known_inversions() {
        let inverted: Vec<&str> =
            (2..=MAX_ATOMIC_NUMBER).filter(|&z| mass_u(z) < mass_u(z - 1)).map(symbol).collect();
        assert_eq!(inverted, ["K", "Ni", "I", "Pa", "Np", "Am", "Bk"]);
    }

    #[test]
    fn masses_and_radii_of_common_elements_are_the_published_ones() {
        assert_eq!([1, 6, 7, 8, 17].map(mass_u), [1.008, 12.011, 14.007, 15.999, 35.45]);
        assert_eq!([1, 6, 7, 8, 96, 100].map(covalent_radius), [0.31, 0.76, 0.71, 0.66, 1.69, 1.69]);
    }

    #[test]
    #[should_panic(expected = "atomic number 0 is not in 1..=100")]
    fn element_zero_is_refused() {
        symbol(0);
    }
}
