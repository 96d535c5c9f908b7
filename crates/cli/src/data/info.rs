//! `mdet data info`: what files and stores hold.

use super::{ReadArgs, each_record, some_of};
use crate::{AnyError, Done};
use clap::Args;
use mdet_core::elements;
use mdet_data::energy_check::EnergyCheck;
use mdet_data::store::{Manifest, is_store};
use mdet_data::survey::Survey;
use std::path::{Path, PathBuf};

/// Show what data hold: structures, elements, sizes, charges, forces, keys found, units.
///
/// Reads extended XYZ, npz of MD17, revised MD17 and MD22, HDF5 of SPICE, ANI-1x, QM7-X and AIMNet2, TFRecord shards of
/// QCML, stores, and parts of splits (FILE.json#NAME). Forces are shown in eV/Å, whatever the file's units.
///
/// Example: mdet data info rmd17_aspirin.npz
#[derive(Args)]
pub(crate) struct InfoArgs {
    /// Files, stores or parts of splits.
    #[arg(required = true, value_name = "DATA")]
    data: Vec<PathBuf>,
    #[command(flatten)]
    read: ReadArgs,
}

pub(crate) fn run(args: &InfoArgs) -> Result<Done, AnyError> {
    for (index, path) in args.data.iter().enumerate() {
        if index > 0 {
            println!();
        }
        let (mut survey, mut energies) = (Survey::default(), EnergyCheck::default());
        let about = each_record(path, args.read.options(), |record| {
            let record = record?;
            survey.add(&record);
            if record.check().is_ok() {
                energies.add(&record);
            }
            Ok(())
        })?;
        println!("data          {}", path.display());
        println!("format        {}", about.format);
        println!("units         {}", about.units);
        println!("keys          {}", some_of(about.keys.iter().cloned(), 40));
        println!("labels        {}", about.labels.join(", "));
        print(&survey);
        println!("energies      {}", energies.verdict());
        if is_store(path) {
            print_store(path)?;
        }
    }
    Ok(Done::Completed)
}

fn print(survey: &Survey) {
    let n = survey.n_structures;
    println!("structures    {n} of {} molecules, {} atoms", survey.n_molecules(), survey.n_atoms);
    let [forces, energies, dipoles] = survey.n_labelled;
    println!("labelled      {forces} with forces, {energies} with energies, {dipoles} with dipoles");
    if let Some(((least, _), (most, _))) = survey.sizes.first_key_value().zip(survey.sizes.last_key_value()) {
        println!("atoms         {least} to {most}, mean {:.1}", survey.n_atoms as f64 / n as f64);
    }
    let elements = survey.elements.iter().map(|(&z, count)| format!("{} {count}", elements::symbol(z)));
    println!("elements      {}", some_of(elements, 100));
    let counted =
        |label: &str, items: Vec<String>| println!("{label:<13} {}", some_of(items.into_iter(), 12));
    counted(
        "charges",
        survey.charges.iter().map(|(charge, count)| format!("{charge:+} × {count}")).collect(),
    );
    counted(
        "multiplicities",
        survey.multiplicities.iter().map(|(m, count)| format!("{m} × {count}")).collect(),
    );
    if !survey.origins.is_empty() {
        counted("origins", survey.origins.iter().map(|(name, count)| format!("{name} × {count}")).collect());
    }
    let statistics = &survey.forces;
    if let Some((largest, structure)) = statistics.largest {
        println!(
            "forces        {:.3} eV/Å mean norm, {:.3} root mean square of components, {largest:.3} the largest \
             (structure {structure})",
            statistics.mean_ev_per_angstrom(),
            statistics.rms_ev_per_angstrom(),
        );
    }
    if let Some((largest, structure)) = statistics.largest_net {
        println!("net force     {largest:.4} eV/Å the largest (structure {structure})");
    }
    if statistics.n_not_finite > 0 {
        println!("not finite    forces of {} atoms", statistics.n_not_finite);
    }
}

fn print_store(path: &Path) -> Result<(), AnyError> {
    let manifest = Manifest::read(path)?;
    println!("shards        {}, checksums verified", manifest.shards.len());
    for source in &manifest.sources {
        let about = &source.about;
        println!(
            "source        {}: {} structures, {}, {}",
            source.path.display(),
            source.n_structures,
            about.format,
            about.units
        );
    }
    Ok(())
}
