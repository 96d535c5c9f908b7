//! Tidiness of the whole workspace: which crate may depend on which, and the rules of style that a machine can read.
//!
//! Every violation is listed with its file. The table of arrows is DESIGN's; a new crate gets its row here.

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};
use std::path::{Path, PathBuf};

/// Workspace crate → the workspace crates it may depend on, names without `mdet-`. Tests may use more.
const ARROWS: [(&str, &[&str]); 9] = [
    ("core", &[]),
    ("kernels", &[]),
    ("data", &["core"]),
    ("model", &["core", "kernels"]),
    ("train", &["core", "kernels", "data", "model"]),
    ("md", &["core"]),
    ("analysis", &["core"]),
    ("report", &["core", "train", "md", "analysis"]),
    ("cli", &["core", "kernels", "data", "model", "train", "md", "analysis", "report"]),
];

const MAX_LINES: usize = 450;

#[test]
fn dependencies_between_crates_point_down_only() {
    let mut violations = Vec::new();
    for package in &metadata().packages {
        let name = short(&package.name);
        let Some((_, allowed)) = ARROWS.iter().find(|(from, _)| *from == name) else {
            violations
                .push(format!("{}: crate {name} has no row in the table of arrows", package.manifest_path));
            continue;
        };
        for dependency in &package.dependencies {
            let to = short(&dependency.name);
            let inside = dependency.path.is_some();
            if inside && dependency.kind != DependencyKind::Development && !allowed.contains(&to) {
                violations.push(format!("{}: {name} must not depend on {to}", package.manifest_path));
            }
        }
    }
    assert_none(&violations);
}

#[test]
fn every_source_file_opens_with_its_purpose() {
    check_files(|_, text| (!text.starts_with("//!")).then(|| "does not open with `//!`".into()));
}

#[test]
fn unsafe_code_is_in_the_kernels_crate_only() {
    check_files(|path, text| {
        let line = code_words(text).find(|(_, word)| *word == "unsafe").map(|(line, _)| line)?;
        (!path.starts_with("crates/kernels")).then(|| format!("unsafe code in line {line}"))
    });
}

#[test]
fn no_file_is_longer_than_a_reader_can_hold() {
    check_files(|_, text| {
        let n_lines = text.lines().count();
        (n_lines > MAX_LINES).then(|| format!("{n_lines} lines, expected at most {MAX_LINES}"))
    });
}

#[test]
fn the_search_for_code_words_skips_comments_and_literals() {
    let text = r##"
        // unsafe
        /* unsafe /* unsafe */ unsafe */
        let a = "unsafe \" unsafe"; let b = r#"unsafe " unsafe"#; let c = '"'; let d = '\''; fn e<'unsafe_>() {}
        #![deny(unsafe_code)]
        unsafe { }
    "##;
    let found: Vec<usize> =
        code_words(text).filter(|(_, word)| *word == "unsafe").map(|(line, _)| line).collect();
    assert_eq!(found, [6]);
}

fn metadata() -> Metadata {
    // Without dependencies nothing is resolved or fetched: the workspace's own manifests suffice.
    MetadataCommand::new()
        .manifest_path(workspace_root().join("Cargo.toml"))
        .no_deps()
        .other_options(["--offline".to_owned()])
        .exec()
        .expect("cargo metadata reads the workspace")
}

fn short(name: &str) -> &str {
    name.strip_prefix("mdet-").unwrap_or(name)
}

fn workspace_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace of this crate")
}

/// Lists what `rule` finds wrong in the crates' own .rs files, given by path from the root and text.
#[track_caller]
fn check_files(rule: impl Fn(&Path, &str) -> Option<String>) {
    let root = workspace_root();
    let mut files = Vec::new();
    for member in entries(&root.join("crates")) {
        for folder in ["src", "tests", "benches"] {
            rust_files(&member.join(folder), &mut files);
        }
    }
    assert!(!files.is_empty(), "no source files under {}", root.display());
    let mut violations = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("source files are readable UTF-8");
        let path = file.strip_prefix(&root).expect("found under the root");
        violations.extend(rule(path, &text).map(|wrong| format!("{}: {wrong}", path.display())));
    }
    assert_none(&violations);
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for path in entries(folder) {
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Paths in a folder, sorted; none when there is no such folder.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    paths.sort();
    paths
}

#[track_caller]
fn assert_none(violations: &[String]) {
    assert!(violations.is_empty(), "{} violations:\n{}", violations.len(), violations.join("\n"));
}

/// Identifiers and keywords of Rust source with their line (from 1), outside of comments and literals.
fn code_words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        while at < text.len() {
            let rest = &text[at..];
            let start = at;
            at += token_length(rest);
            if rest.starts_with(|c: char| c.is_alphabetic() || c == '_') && !rest[..at - start].contains('"')
            {
                return Some((text[..start].matches('\n').count() + 1, &text[start..at]));
            }
        }
        None
    })
}

/// Bytes of the comment, literal, word or single character that `rest`, which is not empty, starts with.
fn token_length(rest: &str) -> usize {
    let through =
        |from: usize, end: &str| rest[from..].find(end).map_or(rest.len(), |n| from + n + end.len());
    let word = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
    let hashes = rest[word..].bytes().take_while(|&byte| byte == b'#').count();
    if rest.starts_with("//") {
        rest.find('\n').unwrap_or(rest.len())
    } else if rest.starts_with("/*") {
        block_comment_length(rest)
    } else if matches!(&rest[..word], "r" | "br" | "cr") && rest[word + hashes..].starts_with('"') {
        through(word + hashes + 1, &format!("\"{}", "#".repeat(hashes)))
    } else if word > 0 {
        word
    } else if rest.starts_with('"') {
        quoted_length(rest, '"')
    } else if rest.starts_with("'\\") || rest.chars().nth(2) == Some('\'') && rest.starts_with('\'') {
        quoted_length(rest, '\'')
    } else {
        rest.chars().next().map_or(0, char::len_utf8)
    }
}

/// Length of a literal that starts and ends with `quote`, where a backslash takes the next character with it.
fn quoted_length(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    rest.len()
}

/// Length of a block comment; they nest.
fn block_comment_length(rest: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest[at..].starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}
