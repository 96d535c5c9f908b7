//! `mdet model`: what a model is, and the way in for the authors' weights.

use crate::input::at;
use crate::model_choice::load;
use crate::{AnyError, Done, one_line};
use clap::Subcommand;
use mdet_model::{Card, Model, ModelError};
use std::path::PathBuf;

/// Show a model, or take the authors' weights.
#[derive(Subcommand)]
pub(crate) enum ModelVerb {
    /// List the models inside this program: size, force error, domain.
    List,
    /// Print architecture, size, units, provenance, domain and validation errors.
    Info {
        /// Model file, or "built-in" [default: the built-in model].
        model: Option<PathBuf>,
    },
    /// Make a model file from weights of the authors' PyTorch code (a state dict saved as safetensors).
    ///
    /// Example: mdet model import weights.safetensors --config config.json -o model.safetensors
    Import {
        /// The state dict.
        weights: PathBuf,
        /// The authors' model configuration, JSON.
        #[arg(long, value_name = "CONFIG.json")]
        config: PathBuf,
        /// Model file to write; an existing one is not replaced.
        #[arg(short, long, value_name = "MODEL.safetensors")]
        out: PathBuf,
    },
}

pub(crate) fn run(verb: &ModelVerb) -> Result<Done, AnyError> {
    match verb {
        ModelVerb::List => {
            let (model, name) = load(None)?;
            print_line(&model, &name);
            println!("\n`mdet model info` says more; other models are files, given by --model.");
        }
        ModelVerb::Info { model } => {
            let (model, name) = load(model.as_ref())?;
            print(&model, &name);
        }
        ModelVerb::Import { weights, config, out } => {
            if out.exists() {
                return Err(format!("{}: exists and is not replaced", out.display()).into());
            }
            let bytes = std::fs::read(weights).map_err(at(weights))?;
            let text = std::fs::read_to_string(config).map_err(at(config))?;
            let named = |error| -> AnyError {
                let wrong = match error {
                    ModelError::Container(_) | ModelError::Tensors(_) => weights,
                    _ => config,
                };
                format!("{}: {}", wrong.display(), one_line(&error)).into()
            };
            let model = Model::import(&bytes, &text).map_err(named)?;
            model.write(out)?;
            print(&model, &out.display().to_string());
        }
    }
    Ok(Done::Completed)
}

/// One line of the list.
fn print_line(model: &Model, name: &str) {
    let Model { config, card, values } = model;
    let error = card.validation.first().map_or(String::new(), |error| {
        format!(", force error {:.1} meV/Å per component", error.component_mae_mev_per_angstrom)
    });
    let domain = card.domain.as_ref().map_or("domain unknown".into(), ToString::to_string);
    println!(
        "{name}: {} layers × {}, {:.1} MB{error}; {domain}",
        config.n_layers,
        config.width,
        values.len() as f64 * 4e-6
    );
}

fn print(model: &Model, name: &str) {
    let Model { config, card, values } = model;
    let Card { trained_on, provenance, licence, validation, domain, .. } = card;
    println!("model         {name} ({})", card.name);
    println!(
        "architecture  MD-ET, {} layers, width {}, {} heads, {} Gaussians, {} frequencies, feed-forward ×{}",
        config.n_layers,
        config.width,
        config.n_heads,
        config.n_gaussians,
        config.n_frequencies,
        config.ffn_multiplier
    );
    if config.first_atom_quirk {
        println!("              atom 0 without its electron configuration, as the authors' code computes");
    }
    println!("size          {} numbers, {:.2} MB in f32", values.len(), values.len() as f64 * 4e-6);
    println!("units         weights in Bohr and Hartree/Bohr; forces are given in eV/Å");
    println!("trained on    {trained_on}");
    println!("provenance    {provenance}");
    println!("licence       {licence}");
    match domain {
        Some(domain) => println!("domain        {domain}"),
        None => println!("domain        unknown"),
    }
    for error in validation {
        println!(
            "force error   {:.1} meV/Å per component, {:.1} meV/Å per atom ({}: {} structures)",
            error.component_mae_mev_per_angstrom,
            error.euclidean_mev_per_angstrom,
            error.on,
            error.n_structures
        );
    }
}
