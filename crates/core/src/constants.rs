//! Physical constants and the factors between the program's units and those of files and weights.
//!
//! Measured values are CODATA 2022 (<https://physics.nist.gov/cuu/Constants/>), the others are exact by the SI
//! definition of 2019; every factor below is derived from them, so that each number stands once.
//! `A_IN_B` is one A expressed in B: multiply an A by it to get B.
//!
//! Deliberately absent: a choice between editions. The authors' code carries three Bohr radii.

/// Elementary charge, C. Exact (SI).
const ELEMENTARY_CHARGE_C: f64 = 1.602_176_634e-19;
/// Planck constant, J s. Exact (SI).
const PLANCK_J_S: f64 = 6.626_070_15e-34;
/// Boltzmann constant, J/K. Exact (SI).
const BOLTZMANN_J_PER_K: f64 = 1.380_649e-23;
/// Avogadro constant, 1/mol. Exact (SI).
const AVOGADRO_PER_MOL: f64 = 6.022_140_76e23;
/// Speed of light in vacuum, m/s. Exact (SI).
const SPEED_OF_LIGHT_M_PER_S: f64 = 299_792_458.0;
/// Thermochemical calorie, J. Exact (by convention, ISO 80000-5).
const CALORIE_J: f64 = 4.184;
/// Unified atomic mass unit, kg. CODATA 2022: 1.660 539 068 92(52)e-27.
const ATOMIC_MASS_KG: f64 = 1.660_539_068_92e-27;

/// Bohr radius in Å. CODATA 2022: 5.291 772 105 44(82)e-11 m.
pub const BOHR_IN_ANGSTROM: f64 = 0.529_177_210_544;

/// Hartree energy in eV. CODATA 2022: 27.211 386 245 981(30) eV.
pub const HARTREE_IN_EV: f64 = 27.211_386_245_981;

/// Atomic unit of force, Hartree/Bohr, in eV/Å: from the weights' unit to the program's.
pub const HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM: f64 = HARTREE_IN_EV / BOHR_IN_ANGSTROM;

/// Thermochemical kcal/mol in eV (per particle).
pub const KCAL_PER_MOL_IN_EV: f64 = 1e3 * CALORIE_J / (AVOGADRO_PER_MOL * ELEMENTARY_CHARGE_C);

/// Boltzmann constant in eV/K: k_B T in eV is this times T in K.
pub const BOLTZMANN_IN_EV_PER_K: f64 = BOLTZMANN_J_PER_K / ELEMENTARY_CHARGE_C;

/// Planck constant in eV fs: h ν in eV is this times ν in 1/fs.
pub const PLANCK_IN_EV_FS: f64 = PLANCK_J_S / ELEMENTARY_CHARGE_C * 1e15;

/// One eV/u in Å²/fs², the factor of Newton's law in the program's units:
///
/// a\[Å/fs²\] = F\[eV/Å\] / m\[u\] · factor,  and  E_kin\[eV\] = ½ m\[u\] v²\[Å²/fs²\] / factor.
pub const EV_PER_U_IN_ANGSTROM2_PER_FS2: f64 = {
    const M2_PER_S2_IN_ANGSTROM2_PER_FS2: f64 = 1e-10;
    ELEMENTARY_CHARGE_C / ATOMIC_MASS_KG * M2_PER_S2_IN_ANGSTROM2_PER_FS2
};

/// Speed of light in cm/fs: a wavenumber in cm⁻¹ is a frequency in 1/fs divided by this.
pub const SPEED_OF_LIGHT_IN_CM_PER_FS: f64 = SPEED_OF_LIGHT_M_PER_S * 1e2 * 1e-15;

#[cfg(test)]
mod tests {
    use super::*;

    // Reference values as printed by other tables of CODATA 2022; the tolerance is their last digit.
    #[track_caller]
    fn assert_relative(found: f64, expected: f64, tolerance: f64) {
        assert!((found / expected - 1.0).abs() < tolerance, "found {found}, expected {expected}");
    }

    #[test]
    fn derived_constants_match_the_tabulated_values() {
        assert_relative(BOLTZMANN_IN_EV_PER_K, 8.617_333_262e-5, 1e-9);
        assert_relative(HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM, 51.422_067_512, 1e-10);
        assert_relative(KCAL_PER_MOL_IN_EV, 0.043_364_104, 1e-7);
        assert_relative(PLANCK_IN_EV_FS, 4.135_667_696, 1e-9);
        assert_relative(SPEED_OF_LIGHT_IN_CM_PER_FS, 2.997_924_58e-5, 1e-15);
    }

    #[test]
    fn acceleration_factor_is_molar_gas_energy_over_thermal_speed() {
        // k_B T / m of 1 u at 300 K is R T / M with R = 8.314462618 J/(mol K), M = 1 g/mol (to 3e-10), in Å²/fs².
        let found = BOLTZMANN_IN_EV_PER_K * 300.0 * EV_PER_U_IN_ANGSTROM2_PER_FS2;
        assert_relative(found, 8.314_462_618 * 300.0 / 1e-3 * 1e-10, 2e-9);
        assert_relative(EV_PER_U_IN_ANGSTROM2_PER_FS2, 9.648_533e-3, 1e-6);
    }
}
