//! One file over HTTP: into FILE.part, resumed by range, verified, then renamed.
//!
//! A download goes on where the last one ended if the file is still the same: by its entity tag, which is kept in
//! FILE.part.tag, or because a checksum will tell. A file whose checksum nobody has published keeps that of its first
//! time in FILE.sha256, in the format of `sha256sum`, and is looked at for the mark of its format: a page that says "not found" is
//! no data.

use crate::AnyError;
use crate::input::at;
use crate::judgement::hex;
use crate::progress::Progress;
use md5::{Digest, Md5};
use mdet_core::atomic_write;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// What is known of a file before it is there.
pub(super) struct Expected {
    pub bytes: Option<u64>,
    /// Hexadecimal.
    pub md5: Option<String>,
}

/// Where a file comes from.
pub(super) struct Source<'a> {
    pub agent: &'a ureq::Agent,
    pub url: &'a str,
    /// Raised by Ctrl-C.
    pub stop: &'a AtomicBool,
}

/// How the files of a kind begin.
const MARKS: [(&str, &[u8]); 5] =
    [("npz", b"PK"), ("zip", b"PK"), ("bz2", b"BZh"), ("xz", b"\xfd7zXZ\0"), ("hdf5", b"\x89HDF\r\n\x1a\n")];

/// Downloads a file; how it was verified, or `None` after Ctrl-C.
pub(super) fn download(
    source: &Source<'_>,
    path: &Path,
    expected: &Expected,
) -> Result<Option<String>, AnyError> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(at(folder))?;
    }
    let part = beside(path, "part");
    if !receive(source, &part, expected)? {
        return Ok(None);
    }
    let verified = verify(path, &part, expected).inspect_err(|error| {
        // What is wrong as a whole is not worth going on with; a full disk says nothing of it.
        if !error.is::<std::io::Error>() {
            let _ = std::fs::remove_file(&part);
        }
    })?;
    std::fs::rename(&part, path).map_err(at(path))?;
    let _ = std::fs::remove_file(beside(&part, "tag"));
    Ok(Some(verified))
}

/// Compares a file, which is or will be at `path`, with what is known of it: published, or kept from the first time.
pub(super) fn verify(path: &Path, file: &Path, expected: &Expected) -> Result<String, AnyError> {
    let wrong = |expected: String, found: String| -> AnyError {
        format!("{}: expected {expected}, found {found}", path.display()).into()
    };
    let found = std::fs::metadata(file).map_err(at(file))?.len();
    if let Some(bytes) = expected.bytes.filter(|&bytes| bytes != found) {
        return Err(wrong(format!("{bytes} bytes"), found.to_string()));
    }
    if let Some(md5) = &expected.md5 {
        let sum = md5_of(file)?;
        return if sum == *md5 {
            Ok(format!("MD5 {md5} as published"))
        } else {
            Err(wrong(format!("MD5 {md5}"), sum))
        };
    }
    check_mark(path, file)?;
    let (sum, record) = (mdet_data::store::sha256(file)?, beside(path, "sha256"));
    let text = std::fs::read_to_string(&record).unwrap_or_default();
    if text.is_empty() {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let named = |error: std::io::Error| {
            std::io::Error::new(error.kind(), format!("{}: {error}", record.display()))
        };
        atomic_write(&record, format!("{sum}  {name}\n").as_bytes()).map_err(named)?;
        return Ok(format!("no checksum is published; SHA-256 {sum} kept"));
    };
    match text.split_whitespace().next() {
        Some(first) if first == sum => Ok(format!("SHA-256 {sum} as at first")),
        first => Err(wrong(format!("SHA-256 {} as at first", first.unwrap_or("none")), sum)),
    }
}

/// Fills the part file; false after Ctrl-C.
fn receive(source: &Source<'_>, part: &Path, expected: &Expected) -> Result<bool, AnyError> {
    let tag_file = beside(part, "tag");
    let there = std::fs::metadata(part).map_or(0, |metadata| metadata.len());
    if there > 0 && expected.bytes == Some(there) {
        return Ok(true);
    }
    let tag = std::fs::read_to_string(&tag_file).ok();
    let mut request = source.agent.get(source.url);
    if there > 0 && (tag.is_some() || expected.md5.is_some()) {
        request = request.header("Range", format!("bytes={there}-"));
        if let Some(tag) = &tag {
            request = request.header("If-Range", tag);
        }
    }
    let failed = |error: &dyn std::fmt::Display| -> AnyError { format!("{}: {error}", source.url).into() };
    let response = request.call().map_err(|error| failed(&error))?;
    let header =
        |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let length: Option<u64> = header("content-length").and_then(|text| text.parse().ok());
    let (mut file, start) = match response.status().as_u16() {
        206 => {
            let range = header("content-range").unwrap_or_default();
            if !range.starts_with(&format!("bytes {there}-")) {
                return Err(failed(&format!("expected bytes from {there} on, found {range:?}")));
            }
            (OpenOptions::new().append(true).open(part).map_err(at(part))?, there)
        }
        200 => {
            // Weak tags do not promise the same bytes.
            match header("etag").filter(|tag| !tag.starts_with("W/")) {
                Some(tag) => std::fs::write(&tag_file, tag).map_err(at(&tag_file))?,
                None => drop(std::fs::remove_file(&tag_file)),
            }
            (File::create(part).map_err(at(part))?, 0)
        }
        // The part has all there is, or more.
        416 if there > 0 => {
            std::fs::remove_file(part).map_err(at(part))?;
            return Err(failed(
                &"what was downloaded before does not belong to the file and was removed; try again",
            ));
        }
        status => return Err(failed(&format!("expected the file, found status {status}"))),
    };
    let total = length.map(|length| start + length).or(expected.bytes);
    let mut progress = Progress::resumed(start, total.unwrap_or(0));
    let (mut body, mut buffer, mut done) = (response.into_body().into_reader(), vec![0; 1 << 16], start);
    loop {
        if source.stop.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let n_read = body.read(&mut buffer).map_err(|error| failed(&error))?;
        if n_read == 0 {
            break;
        }
        file.write_all(&buffer[..n_read]).map_err(at(part))?;
        done += n_read as u64;
        progress.at(done, || "bytes".into());
    }
    progress.finish();
    file.sync_all().map_err(at(part))?;
    match total {
        Some(total) if total != done => {
            Err(failed(&format!("ended after {done} of {total} bytes; the same command goes on")))
        }
        _ => Ok(true),
    }
}

fn check_mark(path: &Path, file: &Path) -> Result<(), AnyError> {
    let ending = path.extension().unwrap_or_default().to_string_lossy();
    let Some((_, mark)) = MARKS.iter().find(|(known, _)| *known == ending) else { return Ok(()) };
    let mut start = vec![0; mark.len()];
    let is_marked =
        File::open(file).and_then(|mut file| file.read_exact(&mut start)).is_ok() && start == *mark;
    if is_marked {
        return Ok(());
    }
    Err(format!("{}: expected a .{ending} file, found something else", path.display()).into())
}

fn md5_of(path: &Path) -> Result<String, AnyError> {
    let mut file = File::open(path).map_err(at(path))?;
    let (mut digest, mut buffer) = (Md5::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer).map_err(at(path))? {
            0 => return Ok(hex(&digest.finalize())),
            n_read => digest.update(&buffer[..n_read]),
        }
    }
}

/// The path with another ending behind its own.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}
