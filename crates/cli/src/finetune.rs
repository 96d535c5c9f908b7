//! `mdet finetune`: the paper's recipe for taking a model to new data.

use crate::config::configured;
use crate::data::ReadArgs;
use crate::train::{RunArgs, carry_out};
use crate::{AnyError, Done};
use clap::{Args, ValueEnum};
use mdet_train::{Loss, TrainConfig, Trained};
use std::path::PathBuf;
use toml::Table;

/// Fine-tune a model on labelled structures, by the recipe of the MD-ET paper unless told otherwise.
///
/// 2000 steps of 250 rotated copies (125 structures in two orientations each), AdamW, learning rate 5e-5 after a
/// warm-up of 100 steps, cosine to zero, no average of the weights. At step 0 it tells the model's own error on the
/// new data. The built-in model takes about 1.5 s
/// a step and core on molecules of 9 atoms, and more with at least the square of their size; the ETA is right after a
/// minute.
///
/// The folder gets model.safetensors (the last weights), best.safetensors (those of the lowest validation error), the
/// resolved configuration, metrics and the state for --resume. Ctrl-C saves and ends (exit code 130).
///
/// Examples:
///
///   mdet finetune built-in aspirin.xyz -o aspirin
///
///   mdet finetune built-in rmd17_ethanol.npz --hold-out 50 --lr 2e-3 --set optimiser=muon
#[derive(Args)]
pub(crate) struct FinetuneArgs {
    /// Model to start from: a file, or `built-in`.
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// Labelled structures of any format that `mdet data info` reads.
    #[arg(value_name = "DATA", required = true)]
    data: Vec<PathBuf>,
    /// Structures to measure errors on; repeatable [default: a part of DATA is held out].
    #[arg(long, value_name = "DATA")]
    validation: Vec<PathBuf>,
    /// Structures of DATA to hold out for validation: a number, or a share below 1; 0 for none [default: 0.05].
    #[arg(long, value_name = "N", conflicts_with = "validation")]
    hold_out: Option<f64>,
    /// Optimiser steps [default: 2000].
    #[arg(long, value_name = "N")]
    steps: Option<u64>,
    /// Copies per step, a multiple of `copies`: the orientations of every structure, two without --set copies=...
    /// [default: 250].
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Highest learning rate [default: 5e-5].
    #[arg(long, value_name = "RATE")]
    lr: Option<f64>,
    /// What is made small: mean norm of an atom's force error, or of a component's error its mean, its square, or the
    /// square up to 0.1 eV/Å and the mean beyond (--set loss.huber.delta_ev_per_angstrom=... for another bound).
    #[arg(long, value_enum, default_value = "euclidean")]
    loss: LossArg,
    /// Train the force head alone.
    #[arg(long)]
    head_only: bool,
    /// Train on elements, charges and multiplicities too that the model never saw.
    #[arg(long)]
    allow_new: bool,
    #[command(flatten)]
    reading: ReadArgs,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Clone, Copy, ValueEnum)]
enum LossArg {
    Euclidean,
    Mae,
    Mse,
    Huber,
}

impl From<LossArg> for Loss {
    fn from(loss: LossArg) -> Self {
        match loss {
            LossArg::Euclidean => Self::Euclidean,
            LossArg::Mae => Self::Mae,
            LossArg::Mse => Self::Mse,
            LossArg::Huber => Self::Huber { delta_ev_per_angstrom: 0.1 },
        }
    }
}

pub(crate) fn run(args: &FinetuneArgs) -> Result<Done, AnyError> {
    let config = configuration(args)?;
    let name = args.data[0].file_stem().unwrap_or_default().to_string_lossy();
    let folder = args.run.out.clone().unwrap_or_else(|| format!("{name}-finetune").into());
    carry_out(config, &folder, &args.run)
}

fn configuration(args: &FinetuneArgs) -> Result<TrainConfig, AnyError> {
    let recipe = TrainConfig::finetune(args.model.clone(), args.data.clone());
    let default_hold_out = if args.validation.is_empty() { recipe.hold_out } else { 0.0 };
    let mut config = TrainConfig {
        validation: args.validation.clone(),
        reading: args.reading.options(),
        hold_out: args.hold_out.unwrap_or(default_hold_out),
        n_steps: args.steps.unwrap_or(recipe.n_steps),
        warmup_steps: recipe.warmup_steps.min(args.steps.unwrap_or(recipe.n_steps)),
        learning_rate: args.lr.unwrap_or(recipe.learning_rate),
        trained: if args.head_only { Trained::Head } else { Trained::All },
        allow_new: args.allow_new,
        loss: args.loss.into(),
        ..recipe
    };
    if let Some(batch) = args.batch {
        // The settings have the last word on copies.
        let copies = configured(Table::try_from(config.clone())?, &args.run.settings)?.copies;
        if batch == 0 || !batch.is_multiple_of(copies) {
            return Err(format!("--batch {batch}: expected a multiple of copies = {copies}, above 0").into());
        }
        config.structures_per_step = batch / copies;
    }
    configured(Table::try_from(config)?, &args.run.settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        args: FinetuneArgs,
    }

    fn with(arguments: &str) -> Result<TrainConfig, AnyError> {
        let arguments = format!("finetune built-in data.xyz {arguments}");
        configuration(&<Command as clap::Parser>::parse_from(arguments.split_whitespace()).args)
    }

    #[test]
    fn a_batch_is_dealt_to_the_copies_that_the_settings_ask_for() {
        for (arguments, expected) in [
            ("", [125, 2]),
            ("--set copies=4", [125, 4]),
            ("--batch 80", [40, 2]),
            ("--batch 80 --set copies=4", [20, 4]),
            ("--batch 7 --set copies=1", [7, 1]),
        ] {
            let config = with(arguments).expect("settings in range");
            assert_eq!([config.structures_per_step, config.copies], expected, "{arguments}");
        }
        for arguments in ["--batch 7", "--batch 0", "--batch 80 --set copies=3"] {
            let error = with(arguments).expect_err("no such batch").to_string();
            assert!(error.contains("expected a multiple of copies = "), "{arguments}: {error}");
        }
    }
}
