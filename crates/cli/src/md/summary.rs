//! What a run amounts to, from the tables of its folder: a restarted run is summed up as if it had never stopped.

use super::folder::{ReplicaFiles, RunFolder, short, table_path};
use crate::AnyError;
use crate::input::at;
use mdet_core::atomic_write;
use mdet_md::{Ensemble, Observables, Plateau, Slope, Summary};
use serde::Serialize;
use std::path::Path;

/// Share of the frames, from the end, that averages are taken from: the start equilibrates.
const AVERAGED_SHARE: f64 = 0.8;

/// What `summary.toml` says.
#[derive(Serialize)]
struct Summaries<'a> {
    replica: Vec<ReplicaSummary<'a>>,
}

#[derive(Serialize)]
struct ReplicaSummary<'a> {
    label: &'a str,
    time_fs: f64,
    broken_bonds: &'a [String],
    #[serde(flatten)]
    averages: Summary,
}

/// Prints the summary of every replica and writes `summary.toml`.
pub(crate) fn summarise(folder: &RunFolder, n_atoms: &[usize], ensemble: Ensemble) -> Result<(), AnyError> {
    println!("{}", folder.path().display());
    let mut summaries = Summaries { replica: Vec::new() };
    for (replica, &n_atoms) in folder.replicas.iter().zip(n_atoms) {
        let frames = read_table(&table_path(folder.path(), &replica.label))?;
        let averaged = &frames[frames.len() - (frames.len() as f64 * AVERAGED_SHARE) as usize..];
        let averages = Summary::of(averaged, n_atoms);
        let time_fs = frames.last().map_or(0.0, |o| o.time_fs);
        let label = match replica.label.trim_start_matches('-') {
            "" => String::new(),
            label => format!("{label}: "),
        };
        println!(
            "{label}{} ps, {} frames; averages over the last {}",
            short(time_fs * 1e-3),
            frames.len(),
            averages.n_frames
        );
        print(&averages, replica, ensemble);
        let broken_bonds = replica.broken.as_ref().map_or(&[][..], |(_, bonds)| bonds);
        summaries.replica.push(ReplicaSummary { label: &replica.label, time_fs, broken_bonds, averages });
    }
    let path = folder.path().join("summary.toml");
    atomic_write(&path, toml::to_string(&summaries)?.as_bytes()).map_err(at(&path))
}

fn print(summary: &Summary, replica: &ReplicaFiles, ensemble: Ensemble) {
    if let Some(mean) = summary.temperature_k {
        let caveat = if mean.plateau == Plateau::NotReached { " (at least: the run is short)" } else { "" };
        println!("temperature   {:.1} ± {:.1} K{caveat}", mean.value, mean.standard_error);
    }
    // Work and kinetic energy balance for any forces: what forces without a potential pump in shows in the kinetic
    // energy, and where a thermostat takes it away, in the work.
    let pumped = match ensemble {
        Ensemble::Nve => (summary.kinetic_drift, "kinetic energy; what forces without a potential pump"),
        _ => {
            let work = summary.total_drift.map(|slope| Slope { value: -slope.value, ..slope });
            (work, "work of forces without a potential, which the thermostat takes away")
        }
    };
    let conserved = match ensemble {
        Ensemble::Nve => "kinetic energy and work: the integrator's error",
        Ensemble::NvtNoseHoover { .. } => "the same with the energy of the chain: the integrator's error",
        _ => "the same less the heat of the thermostat: the integrator's error",
    };
    let rows: [(&str, Option<Slope>, &str); 2] =
        [("heating      ", pumped.0, pumped.1), ("conserved    ", summary.conserved_drift, conserved)];
    for (name, slope, meaning) in rows {
        if let Some(slope) = slope {
            let (value, error) = (1e3 * slope.value, 1e3 * slope.standard_error);
            println!("{name} {value:+.3} ± {error:.3} meV/atom/ps ({meaning})");
        }
    }
    match &replica.broken {
        None => println!("bonds         all {} bonds of the first frame hold", replica.bonds.pairs.len()),
        Some((time_fs, bonds)) => println!("bonds         BROKEN at {time_fs} fs: {}", bonds.join(", ")),
    }
}

/// The rows of `observables.csv`.
fn read_table(path: &Path) -> Result<Vec<Observables>, AnyError> {
    let text = std::fs::read_to_string(path).map_err(at(path))?;
    let row = |(line, text): (usize, &str)| -> Result<Observables, AnyError> {
        let numbers: Option<Vec<f64>> = text.split(',').map(|number| number.parse().ok()).collect();
        let Some(&[time_fs, temperature_k, kinetic_ev, potential_ev, total_ev, conserved_ev, force]) =
            numbers.as_deref()
        else {
            return Err(
                format!("{}:{}: expected seven numbers, found \"{text}\"", path.display(), line + 1).into()
            );
        };
        Ok(Observables {
            time_fs,
            temperature_k,
            kinetic_ev,
            potential_ev,
            total_ev,
            conserved_ev,
            max_force_ev_per_angstrom: force,
        })
    };
    text.lines().enumerate().skip(1).map(row).collect()
}
