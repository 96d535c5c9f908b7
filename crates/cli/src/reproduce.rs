//! `mdet reproduce`: every judgement of a model, one after another, and one report of them.
//!
//! A step is a command of mdet, run as its own process, so that its result file names the command that makes it again. A
//! new judgement is one line of [`STEPS`].

use crate::input::at;
use crate::judgement::{hex, input};
use crate::model_choice::load;
use crate::{AnyError, Done, interrupt};
use clap::{Args, ValueEnum};
use mdet_core::atomic_write;
use mdet_report::Record;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Run the whole programme of judgements on a model and make one report, with the paper's values beside ours.
///
/// smoke takes a few minutes, quick is meant for an hour, full as long as the paper's runs (days). Accuracy needs
/// --data, stability --reference; without them these steps are left out. A step whose result file is in the folder
/// is not run again, so that the same command goes on after Ctrl-C; with other files it is refused.
///
/// Example: mdet reproduce built-in --scale smoke -o judged
#[derive(Args)]
pub(crate) struct ReproduceArgs {
    /// Model file, or `built-in`.
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// How much is computed.
    #[arg(long, value_enum, default_value = "quick")]
    scale: Scale,
    /// Folder of the results and of report.html; made if need be.
    #[arg(short, long, value_name = "FOLDER")]
    out: PathBuf,
    /// Structures with reference forces that the model was not trained on, for its accuracy.
    #[arg(long, value_name = "DATA")]
    data: Option<PathBuf>,
    /// Reference frames of one molecule, for stability and pair distances.
    #[arg(long, value_name = "DATA")]
    reference: Option<PathBuf>,
    /// Structures that the model was trained on, for how far others are from them.
    #[arg(long, value_name = "DATA")]
    training: Option<PathBuf>,
    /// Threads; the results do not depend on it [default: all cores].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

/// How much is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Scale {
    /// A few minutes: does everything work?
    Smoke,
    /// Less than an hour.
    Quick,
    /// As in the paper.
    Full,
}

/// The name of a result, and the command that makes it at each scale; before a semicolon, dynamics that it needs.
struct Step {
    name: &'static str,
    smoke: &'static str,
    quick: &'static str,
    full: &'static str,
}

/// The programme. Words in capitals are files; a step with one that was not given is left out, `[…]` alone likewise.
#[rustfmt::skip]
const STEPS: [Step; 8] = [
    Step { name: "accuracy",
        smoke: "eval MODEL DATA --overwrite --limit 200",
        quick: "eval MODEL DATA --overwrite",
        full: "eval MODEL DATA --overwrite" },
    Step { name: "equivariance",
        smoke: "judge equivariance MODEL MOLECULES --bases 6",
        quick: "judge equivariance MODEL SERIES --bases 6 --limit 30",
        full: "judge equivariance MODEL SERIES --bases 8" },
    Step { name: "lambda",
        smoke: "judge lambda MODEL MOLECULES --loops 2",
        quick: "judge lambda MODEL SERIES --limit 37 --loops 3",
        full: "judge lambda MODEL SERIES --loops 148" },
    Step { name: "drift",
        smoke: "judge drift MODEL ETHANOL --time 0.4ps --replicas 2",
        quick: "judge drift MODEL OCTANE --time 5ps --timestep 1fs --replicas 4",
        full: "judge drift MODEL OCTANE --time 500ps --replicas 4" },
    Step { name: "stability",
        smoke: "judge stability MODEL --reference REFERENCE --time 0.5ps --replicas 2",
        quick: "judge stability MODEL --reference REFERENCE --time 5ps --replicas 3",
        full: "judge stability MODEL --reference REFERENCE --time 300ps --replicas 5" },
    // As it lies in f32, as users run it, and in f64 with a fresh orientation at every step: do the two differ?
    Step { name: "trajectories",
        smoke: "md ETHANOL --model MODEL --ensemble nvt-bussi --monitor 0 --every 8 --time 0.8ps -o NVT; \
            md ETHANOL --model MODEL --ensemble nvt-bussi --monitor 0 --every 8 --time 0.8ps --precision f64 --rotation-offset=on --seed 1 -o TURNED; \
            traj NVT/trajectory.xyz TURNED/trajectory.xyz --blocks 4 --skip 0.2ps",
        quick: "md ETHANOL --model MODEL --ensemble nvt-bussi --monitor 0 --every 8 --time 105ps -o NVT; \
            md ETHANOL --model MODEL --ensemble nvt-bussi --monitor 0 --every 8 --time 105ps --precision f64 --rotation-offset=on --seed 1 -o TURNED; \
            traj NVT/trajectory.xyz TURNED/trajectory.xyz --skip 5ps",
        full: "md ETHANOL --model MODEL --ensemble nvt-bussi --monitor 0 --every 8 --time 205ps -o NVT; \
            md ETHANOL --model MODEL --ensemble nvt-bussi --monitor 0 --every 8 --time 205ps --precision f64 --rotation-offset=on --seed 1 -o TURNED; \
            traj NVT/trajectory.xyz TURNED/trajectory.xyz --skip 5ps" },
    Step { name: "observables",
        smoke: "judge observables MODEL ETHANOL --time 0.2ps --equilibration 0.1ps --replicas 2 --bias 100",
        quick: "judge observables MODEL ETHANOL --time 2.5ps --replicas 4 --bias 30,300",
        full: "judge observables MODEL ETHANOL --time 100ps --replicas 4" },
    Step { name: "map",
        smoke: "judge map MODEL SERIES --limit 10 --max-atoms 16 --time 0.2ps [--training TRAINING]",
        quick: "judge map MODEL SERIES --limit 74 --max-atoms 24 --time 0.4ps [--training TRAINING]",
        full: "judge map MODEL SERIES --time 10ps --replicas 4 [--training TRAINING]" },
];

/// The molecules of the programme.
const WATER: &str = include_str!("../../../examples/water.xyz");
const ETHANOL: &str = include_str!("../../../examples/ethanol.xyz");
const ASPIRIN: &str = include_str!("../../../examples/aspirin.xyz");
const OCTANE: &str = include_str!("../../../examples/octane.xyz");
const SERIES: &str = include_str!("../../../examples/series.xyz");

/// What a folder's results are of.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Programme {
    model_sha256: String,
    scale: Scale,
    /// The files given: name and SHA-256.
    data: Option<(String, String)>,
    reference: Option<(String, String)>,
    training: Option<(String, String)>,
}

pub(crate) fn run(args: &ReproduceArgs) -> Result<Done, AnyError> {
    let (model, _) = load(Some(&args.model))?;
    let given = |path: &Option<PathBuf>| path.as_deref().map(input).transpose();
    let programme = Programme {
        model_sha256: hex(&Sha256::digest(model.to_bytes()?)),
        scale: args.scale,
        data: given(&args.data)?,
        reference: given(&args.reference)?,
        training: given(&args.training)?,
    };
    settle(&args.out, &programme)?;
    let (mut steps, mut left_out) = (Vec::new(), Vec::new());
    for step in &STEPS {
        match commands(step, args) {
            Ok(commands) => steps.push((step.name, commands)),
            Err(option) => left_out.push((step.name, option)),
        }
    }
    let stop = interrupt::flag()?;
    let started = Instant::now();
    let (mut results, mut failed) = (Vec::new(), Vec::new());
    for (index, (name, commands)) in steps.iter().enumerate() {
        let result = args.out.join(format!("{name}.json"));
        let place = format!("step {} of {}", index + 1, steps.len());
        // A judgement that was ended half way leaves its state beside what it has found so far.
        let is_unfinished = args.out.join(format!("{name}.state.json")).exists();
        if result.exists() && !is_unfinished {
            // A result that cannot be read is better known now than after the other steps.
            Record::read(&result)?;
            eprintln!("mdet: {place}: {name}: done before");
        } else {
            let mut succeeded = true;
            for (index, words) in commands.iter().enumerate() {
                let result = (index + 1 == commands.len()).then_some((result.as_path(), is_unfinished));
                let words = completed(words, result, args.threads);
                let elapsed = started.elapsed().as_secs_f64();
                eprintln!("mdet: {place}, after {elapsed:.0} s: mdet {}", words.join(" "));
                succeeded = Command::new(std::env::current_exe()?).args(words).status()?.success();
                if stop.load(Ordering::Relaxed) {
                    return Ok(Done::Interrupted);
                }
                if !succeeded {
                    break;
                }
            }
            if !succeeded {
                failed.push(*name);
                continue;
            }
        }
        results.push(result);
    }
    let left_out = left_out.iter().map(|(name, option)| format!("{name}: left out, {option} was not given"));
    let failures = failed.iter().map(|name| format!("{name}: no result, its command failed"));
    let missing: Vec<String> = failures.chain(left_out).collect();
    missing.iter().for_each(|line| println!("{line}"));
    report(&results, &missing, &args.out.join("report.html"))?;
    match failed.is_empty() {
        true => Ok(Done::Completed),
        false => Err(format!("no result of: {}; the report has the others", failed.join(", ")).into()),
    }
}

/// The words of a command with where its result goes, if it has one and whether a part of that is there, and with the threads.
/// Dynamics that has begun goes on, or is found to be done.
fn completed(words: &[String], result: Option<(&Path, bool)>, threads: Option<u16>) -> Vec<String> {
    let after = |option: &str| words.iter().skip_while(|word| *word != option).nth(1).cloned();
    let mut words = match (words[0].as_str(), after("-o"), after("--model")) {
        ("md", Some(folder), Some(model)) if Path::new(&folder).join("checkpoint.json").exists() => {
            ["md", "--restart", &folder, "--model", &model].map(String::from).to_vec()
        }
        _ => words.to_vec(),
    };
    if let Some((result, is_unfinished)) = result {
        words.extend(["-o".to_string(), result.display().to_string()]);
        words.extend(is_unfinished.then(|| "--resume".to_string()));
    }
    // Trajectories are looked at by one thread.
    if let Some(threads) = threads.filter(|_| words[0] != "traj") {
        words.extend(["--threads".to_string(), threads.to_string()]);
    }
    words
}

/// Makes the folder with its molecules, or makes sure that it holds the same programme.
fn settle(folder: &Path, programme: &Programme) -> Result<(), AnyError> {
    let file = folder.join("programme.toml");
    if file.exists() {
        let text = std::fs::read_to_string(&file).map_err(at(&file))?;
        let found: Programme =
            toml::from_str(&text).map_err(|error| format!("{}: {error}", file.display()))?;
        if let Some((found, asked)) = programme.differs_from(&found, folder) {
            let file = file.display();
            return Err(format!("{file}: expected {asked}, found {found}; give another folder").into());
        }
        // With the files that were not given before.
        return atomic_write(&file, toml::to_string(programme)?.as_bytes()).map_err(at(&file));
    }
    if std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(format!("{}: exists and is not empty", folder.display()).into());
    }
    std::fs::create_dir_all(folder).map_err(at(folder))?;
    let molecules = [WATER, ETHANOL, ASPIRIN].concat();
    let files = [
        ("molecules.xyz", molecules.as_str()),
        ("ethanol.xyz", ETHANOL),
        ("octane.xyz", OCTANE),
        ("series.xyz", SERIES),
    ];
    for (name, text) in files {
        let path = folder.join(name);
        atomic_write(&path, text.as_bytes()).map_err(at(&path))?;
    }
    // The last, so that a folder that has it is whole.
    atomic_write(&file, toml::to_string(programme)?.as_bytes()).map_err(at(&file))
}

impl Programme {
    /// What differs: as found, and as asked for. A file that was not given before may be given as long as its step has no
    /// result in the folder.
    fn differs_from(&self, found: &Self, folder: &Path) -> Option<(String, String)> {
        let words = |p: &Self| format!("model {}, scale {:?}", p.model_sha256, p.scale).to_lowercase();
        if words(self) != words(found) {
            return Some((words(found), words(self)));
        }
        let files = [
            ("data", "accuracy", &self.data, &found.data),
            ("reference", "stability", &self.reference, &found.reference),
            ("training", "map", &self.training, &found.training),
        ];
        files.into_iter().find_map(|(option, step, asked, found)| {
            let comes_now = found.is_none() && !folder.join(format!("{step}.json")).exists();
            let words = |file: &Option<(String, String)>| match file {
                Some((path, sha256)) => format!("--{option} {path} (SHA-256 {sha256})"),
                None => format!("no --{option}"),
            };
            (!comes_now && identity(asked) != identity(found)).then(|| (words(found), words(asked)))
        })
    }
}

/// The hash of a file, and the part of a split that its name may end in.
fn identity(file: &Option<(String, String)>) -> Option<(&str, Option<&str>)> {
    let (path, sha256) = file.as_ref()?;
    Some((sha256, path.rsplit_once('#').map(|(_, part)| part)))
}

/// The words of each command of a step.
///
/// # Errors
/// The option of a file that it needs and that was not given.
fn commands(step: &Step, args: &ReproduceArgs) -> Result<Vec<Vec<String>>, &'static str> {
    let line = match args.scale {
        Scale::Smoke => step.smoke,
        Scale::Quick => step.quick,
        Scale::Full => step.full,
    };
    let word = |word: &str| {
        let given = |path: &Option<PathBuf>, option| {
            path.as_ref().map(|path| path.display().to_string()).ok_or(option)
        };
        let inside = |name: &str| Ok(args.out.join(name).display().to_string());
        match word {
            "MODEL" => Ok(args.model.display().to_string()),
            "DATA" => given(&args.data, "--data"),
            "REFERENCE" => given(&args.reference, "--reference"),
            "TRAINING" => given(&args.training, "--training"),
            "MOLECULES" => inside("molecules.xyz"),
            "ETHANOL" => inside("ethanol.xyz"),
            "OCTANE" => inside("octane.xyz"),
            "SERIES" => inside("series.xyz"),
            "NVT" => inside("nvt"),
            "TURNED" => inside("nvt-turned"),
            "NVT/trajectory.xyz" => inside("nvt/trajectory.xyz"),
            "TURNED/trajectory.xyz" => inside("nvt-turned/trajectory.xyz"),
            word => Ok(word.to_string()),
        }
    };
    let words = |line: &str| line.split_whitespace().map(word).collect::<Result<Vec<String>, _>>();
    let command = |line: &str| {
        let (needed, optional) = line.split_once('[').unwrap_or((line, ""));
        let mut command = words(needed)?;
        command.extend(words(optional.trim_end_matches(']')).unwrap_or_default());
        Ok(command)
    };
    line.split(';').map(command).collect()
}

fn report(results: &[PathBuf], missing: &[String], page: &Path) -> Result<(), AnyError> {
    if results.is_empty() {
        return Err("no step has a result: there is nothing to report".into());
    }
    let read = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok((name, Record::read(path)?))
    };
    let records = results.iter().map(read).collect::<Result<Vec<_>, AnyError>>()?;
    atomic_write(page, mdet_report::html(&records, missing).as_bytes()).map_err(at(page))?;
    println!("report        {}", page.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cli;
    use clap::Parser;

    #[test]
    fn a_folder_goes_on_with_the_same_files_and_refuses_others() {
        let folder = tempfile::tempdir().unwrap();
        let settled = |sha256: Option<&str>| {
            let data = sha256.map(|sha256| ("val.npz".to_string(), sha256.to_string()));
            let (model_sha256, reference, training) = ("m".to_string(), None, None);
            let programme = Programme { model_sha256, scale: Scale::Smoke, data, reference, training };
            settle(folder.path(), &programme).map_err(|error| error.to_string())
        };
        assert_eq!(settled(Some("a")), Ok(()));
        assert_eq!(settled(Some("a")), Ok(()));
        let expected =
            "programme.toml: expected --data val.npz (SHA-256 b), found --data val.npz (SHA-256 a)";
        assert!(settled(Some("b")).unwrap_err().contains(expected));
        assert!(settled(None).unwrap_err().contains("expected no --data"));
        // Given later, before and after its step has a result.
        let folder = tempfile::tempdir().unwrap();
        let settled = |data: Option<(String, String)>| {
            let (model_sha256, reference, training) = ("m".to_string(), None, None);
            settle(folder.path(), &Programme { model_sha256, scale: Scale::Smoke, data, reference, training })
        };
        settled(None).unwrap();
        settled(Some(("val.npz".into(), "a".into()))).unwrap();
        settled(Some(("./val.npz".into(), "a".into()))).unwrap();
        settled(Some(("val.npz#test".into(), "a".into()))).unwrap_err();
    }

    #[test]
    fn dynamics_that_has_begun_is_restarted_and_a_result_half_found_resumed() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("nvt").display().to_string();
        let begin = ["md", "a.xyz", "--model", "m", "-o", run.as_str()].map(String::from);
        assert_eq!(completed(&begin, None, None), begin);
        std::fs::create_dir(&run).unwrap();
        std::fs::write(Path::new(&run).join("checkpoint.json"), "").unwrap();
        let restart = completed(&begin, None, Some(3));
        assert_eq!(restart, ["md", "--restart", run.as_str(), "--model", "m", "--threads", "3"]);
        assert!(Cli::try_parse_from(["mdet".to_string()].into_iter().chain(restart)).is_ok());
        let judge = ["judge", "stability", "m", "--reference", "r"].map(String::from);
        let resumed = completed(&judge, Some((Path::new("s.json"), true)), None);
        assert!(resumed.ends_with(&["-o", "s.json", "--resume"].map(String::from)), "{resumed:?}");
    }

    #[test]
    fn every_step_at_every_scale_is_a_command_and_steps_without_their_files_are_left_out() {
        for (scale, given) in
            [(Scale::Smoke, true), (Scale::Quick, true), (Scale::Full, true), (Scale::Quick, false)]
        {
            let data = given.then(|| PathBuf::from("data.npz"));
            let args = ReproduceArgs {
                model: "built-in".into(),
                scale,
                out: "judged".into(),
                data: data.clone(),
                reference: data.clone(),
                training: data,
                threads: None,
            };
            let steps: Vec<_> = STEPS.iter().map(|step| commands(step, &args)).collect();
            let missing: Vec<&str> = steps.iter().filter_map(|step| step.clone().err()).collect();
            assert_eq!(missing, if given { vec![] } else { vec!["--data", "--reference"] });
            for command in steps.into_iter().flatten().flatten() {
                let result = (command[0] != "md").then_some((Path::new("result.json"), false));
                let line = ["mdet".to_string()].into_iter().chain(completed(&command, result, Some(2)));
                assert!(Cli::try_parse_from(line).is_ok(), "{command:?}");
                let is_map = command.contains(&"map".to_string());
                assert!(!is_map || command.contains(&"--training".to_string()) == given, "{command:?}");
            }
        }
    }
}
