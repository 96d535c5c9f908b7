//! Numbers with units on the command line: "0.5 fs", "10ps", "300K", "10/ps".

/// A unit and what one of it is in the program's unit.
type Unit = (&'static str, f64);

const TIMES: [Unit; 3] = [("fs", 1.0), ("ps", 1e3), ("ns", 1e6)];
const TEMPERATURES: [Unit; 1] = [("k", 1.0)];
// The longer names first: "mev/å" ends in "ev/å".
const FORCES: [Unit; 4] = [("mev/å", 1e-3), ("mev/a", 1e-3), ("ev/å", 1.0), ("ev/a", 1.0)];
const RATES: [Unit; 4] = [(" 1/fs", 1.0), (" 1/ps", 1e-3), ("/fs", 1.0), ("/ps", 1e-3)];

/// A time in fs; a bare number is in fs.
pub(crate) fn time_in_fs(text: &str) -> Result<f64, String> {
    quantity(text, &TIMES, 1.0, "a time such as \"0.5 fs\" or \"10 ps\"")
}

/// A time in fs; a bare number is in ps.
pub(crate) fn duration_in_fs(text: &str) -> Result<f64, String> {
    quantity(text, &TIMES, 1e3, "a time such as \"10 ps\" or \"0.1 ns\"")
}

/// A temperature in K; a bare number is in K.
pub(crate) fn temperature_in_k(text: &str) -> Result<f64, String> {
    quantity(text, &TEMPERATURES, 1.0, "a temperature such as \"300 K\"")
}

/// A rate in 1/fs; a bare number is in 1/fs.
pub(crate) fn rate_per_fs(text: &str) -> Result<f64, String> {
    quantity(text, &RATES, 1.0, "a rate such as \"0.01/fs\" or \"10/ps\"")
}

/// A force in eV/Å; a bare number is in eV/Å.
pub(crate) fn force_in_ev_per_angstrom(text: &str) -> Result<f64, String> {
    quantity(text, &FORCES, 1.0, "a force such as \"0.01 eV/A\" or \"10 meV/A\"")
}

fn quantity(text: &str, units: &[Unit], bare: f64, expected: &str) -> Result<f64, String> {
    let lower = text.trim().to_lowercase();
    let number = |(unit, factor): &Unit| {
        let number = lower.strip_suffix(unit)?.trim();
        number.parse::<f64>().ok().filter(|value| value.is_finite()).map(|value| value * factor)
    };
    let found = units.iter().chain([&("", bare)]).find_map(number);
    found.ok_or_else(|| format!("expected {expected}, found \"{text}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_convert_and_bare_numbers_take_the_default() {
        assert_eq!(time_in_fs("0.5fs"), Ok(0.5));
        assert_eq!(time_in_fs(" 2 PS "), Ok(2000.0));
        assert_eq!(time_in_fs("0.25"), Ok(0.25));
        assert_eq!(time_in_fs("-1"), Ok(-1.0));
        assert_eq!(duration_in_fs("10"), Ok(10_000.0));
        assert_eq!(duration_in_fs("1e-3 ns"), Ok(1000.0));
        assert_eq!(temperature_in_k("300K"), Ok(300.0));
        assert_eq!(rate_per_fs("0.01"), Ok(0.01));
        assert_eq!(rate_per_fs("10/ps"), Ok(0.01));
        assert_eq!(rate_per_fs("10 1/ps"), Ok(0.01));
    }

    #[test]
    fn anything_else_says_what_was_expected() {
        for wrong in ["", "fast", "5 K", "1 fs fs", "nan", "inf", "0.5 fsx"] {
            let message = time_in_fs(wrong).unwrap_err();
            assert!(message.contains("expected a time") && message.contains(wrong), "{message}");
        }
        assert!(temperature_in_k("20 C").is_err());
    }
}
