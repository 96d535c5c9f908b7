//! A run of a tetrahedron of Morse bonds in the files of a run folder: dynamics for other programs to check where the
//! potential is known. See `tools/validate_ensemble.py`.
//!
//! ```text
//! cargo run --release -p mdet-md --example analytic -- nvt-langevin 600 1.0 200 OUT     K, fs, ps
//! ```

use std::error::Error;
use std::fs::{File, create_dir, write};
use std::io::{BufWriter, Write};
use std::num::NonZeroU64;
use std::sync::atomic::AtomicBool;

use mdet_core::Structure;
use mdet_core::potentials::Morse;
use mdet_md::{Config, Conserved, Ensemble, Frame, Orientation, Schedule, Simulation, StartingVelocities};

/// Time between frames in fs: about the relaxation time, so that samples are nearly independent.
const EVERY_FS: f64 = 40.0;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [ensemble, temperature_k, timestep_fs, time_ps, out] = arguments.as_slice() else {
        return Err("expected: ENSEMBLE TEMPERATURE_K TIMESTEP_FS TIME_PS OUT".into());
    };
    let (temperature_k, timestep_fs): (f64, f64) = (temperature_k.parse()?, timestep_fs.parse()?);
    let n_steps = (time_ps.parse::<f64>()? * 1000.0 / timestep_fs).round() as u64;
    let every = NonZeroU64::new((EVERY_FS / timestep_fs).round() as u64).ok_or("a timestep above 80 fs")?;
    let config = Config {
        ensemble: ensemble_of(ensemble, temperature_k)?,
        timestep_fs,
        initial_temperature_k: temperature_k,
        starting_velocities: StartingVelocities::Drawn,
        orientation: Orientation::AsItLies,
        forces_conserve: Conserved::MomentumAndAngularMomentum,
        seed: 1,
    };
    let (structure, bonds) = tetrahedron()?;
    let mut simulation = Simulation::new(vec![structure], bonds.clone(), config)?;
    create_dir(out)?;
    let resolved = [("every", toml::Value::try_from(every)?), ("dynamics", toml::Value::try_from(config)?)];
    let resolved: toml::Table = resolved.into_iter().map(|(key, value)| (key.to_string(), value)).collect();
    write(format!("{out}/config.toml"), resolved.to_string())?;
    let mut table = BufWriter::new(File::create(format!("{out}/observables.csv"))?);
    let mut trajectory = BufWriter::new(File::create(format!("{out}/trajectory.xyz"))?);
    writeln!(table, "time_fs,temperature_k,kinetic_ev,potential_ev,total_ev,conserved_ev")?;
    let mut sink = |frame: &Frame<'_>| {
        let o = frame.observables;
        write!(table, "{},{},{},", o.time_fs, o.temperature_k, o.kinetic_ev)?;
        // The work along the path gathers the errors of the integrator over long runs.
        let potential_ev = bonds.energy(frame.structure);
        writeln!(table, "{potential_ev},{},{}", o.kinetic_ev + potential_ev, o.conserved_ev)?;
        writeln!(trajectory, "4\nProperties=species:S:1:pos:R:3:velo:R:3:forces:R:3")?;
        for i in 0..4 {
            write!(trajectory, "{}", if i < 2 { "N" } else { "P" })?;
            for x in [frame.structure.positions()[i], frame.velocities[i], frame.forces[i]].as_flattened() {
                write!(trajectory, " {x}")?;
            }
            writeln!(trajectory)?;
        }
        Ok(())
    };
    simulation.run(n_steps, &Schedule::frames(every), &mut sink, &AtomicBool::new(false))?;
    Ok(())
}

fn ensemble_of(name: &str, temperature_k: f64) -> Result<Ensemble, String> {
    let time_constant_fs = 20.0;
    Ok(match name {
        "nve" => Ensemble::Nve,
        "nvt-langevin" => Ensemble::NvtLangevin { temperature_k, friction_per_fs: 0.02 },
        "nvt-bussi" => Ensemble::NvtBussi { temperature_k, time_constant_fs },
        "nvt-nose-hoover" => Ensemble::NvtNoseHoover { temperature_k, time_constant_fs },
        _ => {
            return Err(format!(
                "expected nve, nvt-langevin, nvt-bussi or nvt-nose-hoover, found \"{name}\""
            ));
        }
    })
}

/// Two elements held by six strong bonds: anharmonic, and it cannot fall apart.
fn tetrahedron() -> Result<(Structure, Morse), Box<dyn Error>> {
    let positions = vec![[0.0; 3], [2.2, 0.0, 0.0], [1.1, 1.9, 0.0], [1.1, 0.6, 1.8]];
    let bonds = vec![[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]];
    let morse = Morse { depth_ev: 3.0, width_per_angstrom: 1.6, length_angstrom: 2.2, bonds };
    Ok((Structure::new(vec![7, 7, 15, 15], positions, 0, 1)?, morse))
}
