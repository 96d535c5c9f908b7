//! The `mdet` command: parses the command line, runs one verb, prints one line when it fails.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage, 130 ended by Ctrl-C with everything written.

mod bench;
mod config;
mod data;
mod eval;
mod finetune;
mod freq;
mod input;
mod interrupt;
mod ipi;
mod judge;
mod judgement;
mod labelled;
mod md;
mod model;
mod model_choice;
mod opt;
mod predict;
mod progress;
mod report;
mod reproduce;
mod train;
mod traj;
mod units;

use clap::{Parser, Subcommand};
use std::error::Error;
use std::process::ExitCode;

/// An error of any part, printed with its causes.
type AnyError = Box<dyn Error + Send + Sync>;

/// Molecular dynamics and training with MD-ET, a transformer that predicts molecular forces.
///
/// Units everywhere: Å, fs, eV, K, u. Example: mdet md aspirin.xyz --time "10 ps"
#[derive(Parser)]
#[command(version, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

// A verb without a line here is described by its arguments.
#[derive(Subcommand)]
enum Verb {
    Md(md::MdArgs),
    Opt(opt::OptArgs),
    Freq(freq::FreqArgs),
    Predict(predict::PredictArgs),
    Ipi(ipi::IpiArgs),
    Eval(eval::EvalArgs),
    /// Judge what a model's forces lack by construction: rotational symmetry, a potential.
    #[command(subcommand)]
    Judge(judge::JudgeVerb),
    Traj(traj::TrajArgs),
    Report(report::ReportArgs),
    Reproduce(reproduce::ReproduceArgs),
    /// Show a model, or take the authors' weights.
    #[command(subcommand)]
    Model(model::ModelVerb),
    Bench(bench::BenchArgs),
    /// Look at, check, store and split data.
    #[command(subcommand)]
    Data(data::DataVerb),
    /// Write, check and describe configurations of training runs.
    #[command(subcommand)]
    Config(config::ConfigVerb),
    Train(train::TrainArgs),
    Finetune(finetune::FinetuneArgs),
}

/// How a verb without error ended.
enum Done {
    Completed,
    Interrupted,
    /// Another process of the run says why, and gives the exit code of all: a launcher ends them at the first that is
    /// not 0, maybe before the words are out.
    FailedElsewhere,
}

fn main() -> ExitCode {
    // Whoever reads the output has seen enough when it is closed: the program ends as any other does then.
    sigpipe::reset();
    end_when_output_fails();
    let done = match Cli::parse().verb {
        Verb::Md(args) => md::run(&args),
        Verb::Opt(args) => opt::run(&args),
        Verb::Freq(args) => freq::run(&args),
        Verb::Predict(args) => predict::run(&args),
        Verb::Ipi(args) => ipi::run(&args),
        Verb::Eval(args) => eval::run(&args),
        Verb::Judge(verb) => judge::run(&verb),
        Verb::Traj(args) => traj::run(&args),
        Verb::Report(args) => report::run(&args),
        Verb::Reproduce(args) => reproduce::run(&args),
        Verb::Model(verb) => model::run(&verb),
        Verb::Bench(args) => bench::run(&args),
        Verb::Data(verb) => data::run(&verb),
        Verb::Config(verb) => config::run(&verb),
        Verb::Train(args) => train::run(&args),
        Verb::Finetune(args) => finetune::run(&args),
    };
    match done {
        Ok(Done::Completed | Done::FailedElsewhere) => ExitCode::SUCCESS,
        Ok(Done::Interrupted) => ExitCode::from(130),
        Err(error) => {
            eprintln!("mdet: error: {}", one_line(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

/// Makes output that cannot be written, on a full disk say, an error as any other; `println!` alone would panic.
fn end_when_output_fails() {
    let otherwise = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| match panic.payload().downcast_ref::<String>() {
        Some(text) if text.starts_with("failed printing to stdout") => {
            eprintln!("mdet: error: {text}");
            std::process::exit(1);
        }
        _ => otherwise(panic),
    }));
}

/// An error and its causes on one line; a cause that the line above already ends with is not said twice.
fn one_line(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !line.ends_with(&text) {
            line = format!("{line}: {text}");
        }
        cause = error.source();
    }
    line.replace('\n', " ")
}
