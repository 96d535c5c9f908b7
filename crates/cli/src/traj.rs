//! `mdet traj`: what a trajectory file shows, and how two of them differ.

use crate::judgement::{input, provenance_of_files, result_file, view, write};
use crate::{AnyError, Done, units};
use clap::Args;
use mdet_analysis::motion::{Look, Motion};
use mdet_analysis::torsions::torsions;
use mdet_analysis::trajectory::{Observed, Trajectories, Trajectory};
use mdet_core::Structure;
use mdet_data::{Frame, composition, read_file};
use mdet_report::{Judgement, Record};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Spectrum, distributions, RMSD, temperature and energies of a trajectory, with errors; two of them compared.
///
/// The file is extended XYZ of one molecule as mdet md writes it, frames at even times (`time_fs`, else --spacing):
///   vibrational density of states  from the autocorrelation of mass-weighted velocities (column velo), Hann window,
///                                  in cm⁻¹, area 1; frames every 4 fs or less show all vibrations
///   pair distances                 of all pairs and of each two elements, bins of 0.05 Å, area 1
///   dihedrals                      one for each bond with neighbours on both ends, bins of 5°, area 1
///   RMSD                           from the first frame of FILE after superposition, all atoms, Å
///   temperature, energies          from velocities, of all atoms and by element; potential energy from the frames or
///                                  from observables.csv beside the trajectory, as mdet md writes it
/// Errors are over blocks of each trajectory. Two trajectories differ in a distribution by ∫|a − b|, from 0 to 2, and
/// in a mean by |a − b|; beside it stands what noise alone would give (bootstrap over blocks) and by how many standard
/// deviations of the noise the difference exceeds it. Above 2 it is real.
///
/// Example: mdet traj nve/trajectory.xyz nvt/trajectory.xyz --skip "1 ps"
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct TrajArgs {
    /// Trajectory: extended XYZ.
    #[arg(value_name = "FILE.xyz")]
    file: PathBuf,
    /// Trajectory of the same molecule to compare with.
    #[arg(value_name = "OTHER.xyz")]
    other: Option<PathBuf>,
    /// Leave out this time at the start of each; a bare number is in ps.
    #[arg(long, default_value = "0 ps", value_parser = units::duration_in_fs)]
    skip: f64,
    /// Time between frames, where the file does not say; a bare number is in fs.
    #[arg(long, value_parser = units::time_in_fs)]
    spacing: Option<f64>,
    /// Blocks of each trajectory that errors are taken over.
    #[arg(long, default_value = "8", value_parser = clap::value_parser!(u16).range(1..=1000))]
    blocks: u16,
    /// Width at half maximum of a sharp line in the spectrum, cm⁻¹; wider where blocks are too short for it.
    #[arg(long, default_value_t = 20.0)]
    resolution: f64,
    /// Result file, JSON for `mdet report` [default: traj- and the name of FILE].
    #[arg(short, long, value_name = "RESULT.json")]
    out: Option<PathBuf>,
    /// Replace the result file if it exists.
    #[arg(long)]
    overwrite: bool,
}

/// Frames of the trajectory that is shown.
const N_FRAMES: usize = 100;

pub(crate) fn run(args: &TrajArgs) -> Result<Done, AnyError> {
    let started = Instant::now();
    let out = result_file(args.out.as_ref(), args.overwrite, "traj", &args.file)?;
    if !(args.resolution > 0.0 && args.resolution.is_finite()) {
        return Err(format!("expected a resolution above 0 cm⁻¹, found {}", args.resolution).into());
    }
    let files: Vec<&PathBuf> = std::iter::once(&args.file).chain(&args.other).collect();
    let read = files.iter().map(|file| motion(file, args)).collect::<Result<Vec<_>, AnyError>>()?;
    let (mut motions, zeros): (Vec<Motion>, Vec<Zero>) = read.into_iter().unzip();
    if let [first, other] = &mut motions[..] {
        comparable(first, other).map_err(|what| {
            format!("{}: expected {what} as in {}", files[1].display(), args.file.display())
        })?;
    }
    let first = &motions[0];
    let look = Look {
        n_blocks: usize::from(args.blocks),
        resolution_per_cm: resolution(&motions, args),
        torsions: torsions(&first.numbers, &first.positions[0]),
        reference: first.positions[0].clone(),
        bands: Vec::new(),
    };
    let observed: Vec<Observed> = motions.iter().map(|motion| Observed::of(motion, &look)).collect();
    let trajectories = files.iter().zip(&motions).zip(&observed);
    let mut found = Trajectories {
        molecule: composition(&first.numbers),
        n_atoms: first.numbers.len(),
        trajectories: trajectories
            .map(|((file, motion), observed)| {
                Trajectory::of(&file.display().to_string(), motion, &look, observed)
            })
            .collect(),
        differences: observed.get(1).map_or(Vec::new(), |other| observed[0].differences(other, 0)),
    };
    // Work from different starts has no common zero.
    if zeros.windows(2).any(|zeros| zeros[0] != zeros[1]) {
        let is_counted_from_zero =
            |name: &str| ["potential energy", "total energy"].iter().any(|energy| name.starts_with(energy));
        found.differences.retain(|difference| !is_counted_from_zero(&difference.name));
        println!("potential and total energies are not compared: they are counted from different starts");
    }
    print(&found);
    let inputs = files.iter().map(|file| input(file)).collect::<Result<_, AnyError>>()?;
    let provenance = provenance_of_files(inputs, started.elapsed().as_secs_f64());
    let shown = shown(first)?;
    let view = Some(view(&format!("{}.", args.file.display()), &shown));
    write(&out, &Record::new(provenance, Judgement::Trajectories(found), view))
}

/// Makes sure that two trajectories can be laid over each other: of the same atoms, and with frames equally far apart.
fn comparable(first: &Motion, other: &mut Motion) -> Result<(), String> {
    if other.numbers != first.numbers {
        let (expected, found) = (composition(&first.numbers), composition(&other.numbers));
        return Err(format!("atoms {expected}, found {found}, or in another order,"));
    }
    let (expected, found) = (first.spacing_fs, other.spacing_fs);
    if (found - expected).abs() > 1e-6 * expected {
        return Err(format!("frames every {expected} fs, found every {found} fs,"));
    }
    // Equal but for rounding; the bins of their spectra are compared exactly.
    other.spacing_fs = expected;
    Ok(())
}

/// The geometry in which the potential energy of a run is zero; `None` where energies are the frames' own.
type Zero = Option<Vec<[f64; 3]>>;

/// Reads a trajectory, without what is to be skipped.
fn motion(path: &Path, args: &TrajArgs) -> Result<(Motion, Zero), AnyError> {
    let mut frames = read_file(path)?;
    let numbers = frames[0].numbers.clone();
    if let Some(other) = frames.iter().find(|frame| frame.numbers != numbers) {
        let (place, expected) = (&other.place, composition(&numbers));
        let found = composition(&other.numbers);
        return Err(format!(
            "{place}: expected the atoms of frame 0 in their order ({expected}), found {found}"
        )
        .into());
    }
    let (spacing_fs, n_even) = spacing(path, &frames, args)?;
    if n_even < frames.len() {
        let rest = frames.len() - n_even;
        eprintln!(
            "mdet: warning: {}: leaves out {rest} frames at the end, which are off the even times",
            path.display()
        );
        frames.truncate(n_even);
    }
    let (potential_ev, zero) = potential_energies(path, &frames)?;
    let skipped = (args.skip / spacing_fs).round() as usize;
    let least = usize::from(args.blocks) * 2;
    if frames.len() < skipped + least {
        let (n, file) = (frames.len(), path.display());
        return Err(format!(
            "{file}: expected at least {least} frames after the {skipped} skipped, found {n} in all"
        )
        .into());
    }
    let velocities: Option<Vec<_>> = frames[skipped..].iter().map(|frame| frame.velocities.clone()).collect();
    if velocities.is_none() {
        let file = path.display();
        eprintln!(
            "mdet: warning: {file}: no velocities (column velo), so no spectrum, temperature or energy"
        );
    }
    let motion = Motion {
        numbers,
        masses_u: frames[0].masses_u.clone(),
        spacing_fs,
        positions: frames[skipped..].iter().map(|frame| frame.positions.clone()).collect(),
        velocities: velocities.unwrap_or_default(),
        potential_ev: potential_ev.into_iter().skip(skipped).collect(),
    };
    Ok((motion, zero))
}

/// Time between frames in fs, and how many from the first on are so far apart: a run that was stopped has a last frame
/// between the times.
fn spacing(path: &Path, frames: &[Frame], args: &TrajArgs) -> Result<(f64, usize), AnyError> {
    let file = path.display();
    let times: Vec<f64> = frames.iter().filter_map(time_fs).collect();
    let wrong = |what: String| -> AnyError { format!("{file}: {what}").into() };
    if times.len() < frames.len() {
        let spacing = args.spacing.filter(|spacing| *spacing > 0.0);
        let spacing = spacing.ok_or_else(|| wrong("no time_fs in the frames; --spacing says it".into()))?;
        return Ok((spacing, frames.len()));
    }
    let [first, second, ..] = times[..] else {
        return Err(wrong(format!("expected at least two frames, found {}", frames.len())));
    };
    let spacing = second - first;
    if spacing <= 0.0 {
        return Err(wrong(format!("expected times that grow, found {second} fs after {first} fs")));
    }
    let is_even =
        |k: usize| (times[k] - first - k as f64 * spacing).abs() < 1e-6 * spacing.max(times[k].abs());
    let n_even = (0..times.len()).take_while(|&k| is_even(k)).count();
    if n_even + 1 < times.len() {
        let expected = first + n_even as f64 * spacing;
        let found = times[n_even];
        return Err(wrong(format!(
            "frame {n_even}: expected even times and so {expected} fs, found {found} fs"
        )));
    }
    Ok((spacing, n_even))
}

fn time_fs(frame: &Frame) -> Option<f64> {
    let (_, value) = frame.key_values.iter().find(|(key, _)| key == "time_fs")?;
    value.parse().ok()
}

/// Potential energies in eV: of the frames, else of the table that `mdet md` writes beside them; else none.
fn potential_energies(path: &Path, frames: &[Frame]) -> Result<(Vec<f64>, Zero), AnyError> {
    if let Some(energies) = frames.iter().map(|frame| frame.energy_ev).collect() {
        return Ok((energies, None));
    }
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let none = (Vec::new(), None);
    let Some(label) = name.strip_prefix("trajectory") else { return Ok(none) };
    let table = path.with_file_name(format!("observables{label}.csv"));
    let Ok(text) = std::fs::read_to_string(&table) else { return Ok(none) };
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
    let column = |name: &str| header.iter().position(|column| *column == name);
    let (Some(time), Some(potential)) = (column("time_fs"), column("potential_ev")) else {
        return Ok(none);
    };
    let number = |line: &str, column: usize| line.split(',').nth(column)?.parse::<f64>().ok();
    let rows: Vec<(f64, f64)> =
        lines.filter_map(|line| Some((number(line, time)?, number(line, potential)?))).collect();
    let alike =
        |(frame, row): (&Frame, &(f64, f64))| time_fs(frame).is_some_and(|time| (time - row.0).abs() < 1e-6);
    if rows.len() < frames.len() || !frames.iter().zip(&rows).all(alike) {
        let file = table.display();
        return Err(format!(
            "{file}: expected a row for every frame of {}, found other times",
            path.display()
        )
        .into());
    }
    let energies = rows.into_iter().take(frames.len()).map(|(_, potential)| potential).collect();
    Ok((energies, Some(frames[0].positions.clone())))
}

/// The resolution that all can have, so that their spectra have the same points.
fn resolution(motions: &[Motion], args: &TrajArgs) -> f64 {
    let look = Look {
        n_blocks: usize::from(args.blocks),
        resolution_per_cm: args.resolution,
        torsions: Vec::new(),
        reference: Vec::new(),
        bands: Vec::new(),
    };
    let settings = motions.iter().filter_map(|motion| motion.spectrum_setting(&look));
    for (setting, motion) in settings.clone().zip(motions) {
        if setting.nyquist_per_cm() < 4000.0 {
            let (spacing, limit) = (motion.spacing_fs, setting.nyquist_per_cm());
            eprintln!(
                "mdet: warning: frames every {spacing} fs fold vibrations above {limit:.0} cm⁻¹ back below"
            );
        }
    }
    settings.map(|setting| setting.resolution_per_cm()).fold(args.resolution, f64::max)
}

/// Some of the frames, evenly spaced.
fn shown(motion: &Motion) -> Result<Vec<Structure>, AnyError> {
    let stride = motion.positions.len().div_ceil(N_FRAMES);
    let (charge, numbers) = (0, &motion.numbers);
    let multiplicity = mdet_core::lowest_multiplicity(numbers, charge);
    let structure =
        |positions: &Vec<[f64; 3]>| Structure::new(numbers.clone(), positions.clone(), charge, multiplicity);
    Ok(motion.positions.iter().step_by(stride).map(structure).collect::<Result<_, _>>()?)
}

fn print(found: &Trajectories) {
    println!("{}, {} atoms; ± standard error over blocks", found.molecule, found.n_atoms);
    for (index, trajectory) in found.trajectories.iter().enumerate() {
        let time_ps = trajectory.n_frames as f64 * trajectory.spacing_fs * 1e-3;
        println!(
            "{}  {}: {} frames every {} fs, {time_ps:.2} ps, {} blocks",
            ["A", "B"][index],
            trajectory.name,
            trajectory.n_frames,
            trajectory.spacing_fs,
            trajectory.n_blocks
        );
        for series in &trajectory.series {
            let blocks = series.blocks;
            let name = format!("{}, {}", series.scalar.name, series.scalar.unit);
            println!("   {name:<28} {:>21}", format!("{blocks:.4}"));
        }
        if let (Some(resolution), Some(spectrum)) =
            (trajectory.resolution_per_cm, &trajectory.spectrum_per_cm)
        {
            let top = spectrum.mean.iter().enumerate().skip(1).max_by(|a, b| a.1.total_cmp(b.1));
            let top = top.map_or(0.0, |(k, _)| spectrum.first + k as f64 * spectrum.width);
            println!("   spectrum: highest at {top:.0} cm⁻¹, lines {resolution:.1} cm⁻¹ wide");
        }
    }
    if found.differences.is_empty() {
        return;
    }
    println!("{:<32} {:>12} {:>24} {:>10}", "difference of A and B", "found", "by noise alone", "excess");
    for difference in &found.differences {
        let noise = difference
            .value
            .noise
            .map_or("–".into(), |n| format!("{:.4} ± {:.4}", n.mean, n.standard_deviation));
        let excess = difference.value.excess().map_or("–".into(), |excess| format!("{excess:+.1} sd"));
        println!("{:<32} {:>12.4} {noise:>24} {excess:>10}", difference.name, difference.value.value);
    }
}
