//! Writer of extended XYZ frames that ASE, OVITO and [`crate::extxyz`] read.
//!
//! `ase.io.read(file).get_forces()` gives the forces column, eV/Å. Velocities stand in the column `velo`, the name
//! OVITO knows, in Å/fs; in ASE: `atoms.set_velocities(atoms.arrays["velo"] / ase.units.fs)`. ASE's own `momenta`
//! are not written, as they hang on masses that a run may have changed.
//!
//! Numbers are written with the fewest digits that read back as the same `f64`, so what is computed from a written
//! frame is what would have been computed from the frame in memory. Eight decimals, as ASE writes, would save a
//! third of a trajectory's size and cost that identity.

use std::io::{self, Write};

use mdet_core::elements;

use crate::extxyz::{Frame, is_reserved};

/// What to write of a frame.
///
/// One entry per atom in every slice. Charge and multiplicity are written so that reading the file back gives the
/// same molecule.
#[derive(Debug, Clone, Copy, Default)]
pub struct FrameView<'a> {
    /// Atomic numbers.
    pub numbers: &'a [u8],
    /// Positions in Å.
    pub positions: &'a [[f64; 3]],
    /// Velocities in Å/fs.
    pub velocities: Option<&'a [[f64; 3]]>,
    /// Forces in eV/Å.
    pub forces: Option<&'a [[f64; 3]]>,
    /// Masses in u, where they are not those of the natural elements.
    pub masses_u: Option<&'a [f64]>,
    /// Energy in eV.
    pub energy_ev: Option<f64>,
    /// Total charge in e.
    pub charge: Option<i32>,
    /// Spin multiplicity 2S + 1.
    pub multiplicity: Option<u32>,
    /// Other keys and values of the comment line, quoted where they need it. The value `T` is written as the bare
    /// key, which readers take for true.
    pub key_values: &'a [(String, String)],
}

impl<'a> From<&'a Frame> for FrameView<'a> {
    fn from(frame: &'a Frame) -> Self {
        Self {
            numbers: &frame.numbers,
            positions: &frame.positions,
            velocities: frame.velocities.as_deref(),
            forces: frame.forces.as_deref(),
            masses_u: frame.masses_u.as_deref(),
            energy_ev: frame.energy_ev,
            charge: frame.charge,
            multiplicity: frame.multiplicity,
            key_values: &frame.key_values,
        }
    }
}

/// Writes one frame. `out` should be buffered.
///
/// # Errors
/// That of `out`; and `InvalidData`, before anything is written, when a number is NaN or infinite, since no reader
/// would take the file.
///
/// # Panics
/// When the slices differ in length or are empty, a number is no element's, or a key is one of those that a reader
/// takes for a field of the frame (`charge`, `energy`, `Properties`, …).
pub fn write_frame<W: Write>(out: &mut W, frame: &FrameView<'_>) -> io::Result<()> {
    check(frame)?;
    let columns: Vec<&[[f64; 3]]> =
        [Some(frame.positions), frame.velocities, frame.forces].into_iter().flatten().collect();

    writeln!(out, "{}", frame.numbers.len())?;
    write_comment(out, frame)?;
    for (atom, &z) in frame.numbers.iter().enumerate() {
        write!(out, "{:<2}", elements::symbol(z))?;
        for column in &columns {
            let [x, y, z] = column[atom];
            // `Debug` and not `Display`: both are exact, but only it writes 1e-300 as such and not with 300 zeros.
            write!(out, " {x:?} {y:?} {z:?}")?;
        }
        if let Some(masses_u) = frame.masses_u {
            write!(out, " {:?}", masses_u[atom])?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn write_comment<W: Write>(out: &mut W, frame: &FrameView<'_>) -> io::Result<()> {
    write!(out, "Properties=species:S:1:pos:R:3")?;
    if frame.velocities.is_some() {
        write!(out, ":velo:R:3")?;
    }
    if frame.forces.is_some() {
        write!(out, ":forces:R:3")?;
    }
    if frame.masses_u.is_some() {
        write!(out, ":masses:R:1")?;
    }
    if let Some(energy_ev) = frame.energy_ev {
        write!(out, " energy={energy_ev:?}")?;
    }
    if let Some(charge) = frame.charge {
        write!(out, " charge={charge}")?;
    }
    if let Some(multiplicity) = frame.multiplicity {
        write!(out, " multiplicity={multiplicity}")?;
    }
    for (key, value) in frame.key_values {
        write!(out, " {}", quoted(key))?;
        if value != "T" {
            write!(out, "={}", quoted(value))?;
        }
    }
    writeln!(out, " pbc=\"F F F\"")
}

/// The text in double quotes where a reader would not take it for one word as it stands.
fn quoted(text: &str) -> String {
    let plain = |c: char| !(c.is_whitespace() || c.is_control() || "\"'{}[]=,\\".contains(c));
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

fn check(frame: &FrameView<'_>) -> io::Result<()> {
    let n_atoms = frame.numbers.len();
    assert!(n_atoms > 0, "a frame needs atoms");
    if let Some(masses_u) = frame.masses_u {
        assert_eq!(masses_u.len(), n_atoms, "masses must have one entry per atom");
    }
    let columns =
        [("positions", Some(frame.positions)), ("velocities", frame.velocities), ("forces", frame.forces)];
    for (name, column) in columns {
        let Some(column) = column else { continue };
        assert_eq!(column.len(), n_atoms, "{name} must have one entry per atom");
        if let Some(atom) = column.iter().position(|vector| !vector.iter().all(|x| x.is_finite())) {
            let message = format!("{name}: expected finite numbers, found {:?} at atom {atom}", column[atom]);
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
    }
    if let Some(energy_ev) = frame.energy_ev.filter(|energy_ev| !energy_ev.is_finite()) {
        let message = format!("energy: expected a finite number, found {energy_ev}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    for (key, value) in frame.key_values {
        assert!(value == "T" || !is_reserved(key), "{key} is a field of the frame, not a key of its own");
    }
    Ok(())
}
