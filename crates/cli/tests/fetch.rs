//! Data sets are fetched from a server of the test's own: resumed, verified, kept, and refused when they are not data.

#![allow(clippy::unwrap_used)] // clippy's allowance for tests does not reach their helper functions

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::mpsc::{Receiver, channel};

/// An answer: status line and headers without the length, the body, and how much of the body is sent.
struct Answer {
    head: String,
    body: Vec<u8>,
    sent: usize,
}

impl Answer {
    fn whole(head: &str, body: &[u8]) -> Self {
        Self { head: head.into(), body: body.into(), sent: body.len() }
    }
}

/// Serves one answer per connection, in order; gives its address and, one by one, the requests.
fn serve(answers: Vec<Answer>) -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (sender, requests) = channel();
    std::thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = String::new();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            while let Some(Ok(line)) =
                lines.next().filter(|line| line.as_ref().is_ok_and(|line| !line.is_empty()))
            {
                writeln!(request, "{line}").unwrap();
            }
            sender.send(request).unwrap();
            let Answer { head, body, sent } = answer;
            let head =
                format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(&body[..sent]).unwrap();
        }
    });
    (address, requests)
}

fn fetch(folder: &Path, arguments: &[&str]) -> Output {
    let to = folder.to_str().unwrap();
    let command = [&["data", "fetch", "--to", to], arguments].concat();
    Command::new(env!("CARGO_BIN_EXE_mdet")).args(command).output().unwrap()
}

#[track_caller]
fn assert_refused(output: &Output, expected: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.lines().count() == 1 && stderr.contains(expected), "{stderr}");
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_broken_download_goes_on_where_it_ended_and_its_checksum_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let body: Vec<u8> =
        b"PK".iter().copied().chain((0..200_000_u32).map(|k| (k % 251 * (k % 241) % 253) as u8)).collect();
    let half = Answer { head: "200 OK\r\nETag: \"one\"".into(), body: body.clone(), sent: 90_000 };
    let range = format!("206 Partial Content\r\nContent-Range: bytes 90000-200001/{}", body.len());
    let (address, requests) = serve(vec![half, Answer::whole(&range, &body[90_000..])]);
    let arguments = ["md17", "--only", "ethanol", "--mirror", &address];
    assert_refused(
        &fetch(folder.path(), &arguments),
        "where there is a network, download http://www.quantum-machine.org/",
    );
    let here = folder.path().join("md17");
    assert_eq!(names(&here), ["md17_ethanol.npz.part", "md17_ethanol.npz.part.tag"]);
    assert!(requests.recv().unwrap().starts_with("GET /gdml/data/npz/md17_ethanol.npz HTTP/1.1"));

    let done = fetch(folder.path(), &arguments);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let request = requests.recv().unwrap().to_ascii_lowercase();
    assert!(request.contains("range: bytes=90000-") && request.contains("if-range: \"one\""), "{request}");
    assert_eq!(names(&here), ["md17_ethanol.npz", "md17_ethanol.npz.sha256"]);
    assert_eq!(std::fs::read(here.join("md17_ethanol.npz")).unwrap(), body);

    // The server is gone: what is there is verified without it.
    let again = fetch(folder.path(), &arguments);
    assert!(String::from_utf8_lossy(&again.stdout).contains("there already"));
    std::fs::write(here.join("md17_ethanol.npz"), [&body[..], b"!"].concat()).unwrap();
    assert_refused(&fetch(folder.path(), &arguments), "as at first, found");
}

#[test]
fn what_is_not_the_file_is_refused_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let page = b"<html>moved</html>";
    let answers = ["200 OK", "200 OK", "404 Not Found"].map(|head| Answer::whole(head, page));
    let (address, _requests) = serve(answers.into());
    let output = fetch(folder.path(), &["qm7x", "--only", "1000", "--mirror", &address]);
    assert_refused(&output, "1000.xz: expected MD5 b50c6a5d0a4493c274368cf22285503e, found ");
    assert!(names(&folder.path().join("qm7x")).is_empty());
    let output = fetch(folder.path(), &["xxmd", "--mirror", &address]);
    assert_refused(&output, "xxMD-main.zip: expected a .zip file, found something else");
    assert!(names(&folder.path().join("xxmd")).is_empty());
    assert_refused(&fetch(folder.path(), &["xxmd", "--mirror", &address]), "status 404");
}

#[test]
fn a_bucket_lists_its_files_with_checksums() {
    let folder = tempfile::tempdir().unwrap();
    let name = "tfds/qcml/dft_force_field/1.0.0/qcml-full.tfrecord-00000-of-00001";
    // MD5 of "shard" in base64.
    let list = |md5: &str| format!(r#"{{"items":[{{"name":"{name}","size":"5","md5Hash":"{md5}"}}]}}"#);
    let (good, nothing) = (list("26/zx97aEMH6rKPhpsN62w=="), "{}");
    let ok = |body: &str| Answer::whole("200 OK", body.as_bytes());
    let (address, requests) = serve(vec![ok(&good), ok(nothing), ok("shard")]);
    let output = fetch(folder.path(), &["qcml", "--mirror", &address]);
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && stdout.contains("as published"), "{stdout}{stderr}");
    assert!(stdout.contains("CC BY-NC 4.0"), "{stdout}");
    assert_eq!(std::fs::read(folder.path().join("qcml").join(name)).unwrap(), b"shard");
    let requests: Vec<String> = requests.iter().take(3).collect();
    assert!(requests[0].starts_with("GET /storage/v1/b/qcml-datasets/o?prefix=tfds"), "{requests:?}");
    assert!(requests[2].starts_with(&format!("GET /qcml-datasets/{name} ")), "{requests:?}");
}

#[test]
fn without_a_network_it_says_what_to_put_where() {
    let folder = tempfile::tempdir().unwrap();
    // A port that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let nowhere = format!("http://127.0.0.1:{port}");
    let output = fetch(folder.path(), &["spice", "--mirror", &nowhere]);
    let place = folder.path().join("spice/SPICE-2.0.1.hdf5");
    assert_refused(
        &output,
        "download https://zenodo.org/records/10975225/files/SPICE-2.0.1.hdf5 (37479271148 bytes, MD5 ",
    );
    assert_refused(&output, &format!("put it at {}", place.display()));
    assert_refused(
        &fetch(folder.path(), &["qcml", "--mirror", &nowhere]),
        "gcloud storage cp -r gs://qcml-datasets/tfds",
    );
    assert_refused(&fetch(folder.path(), &["md18"]), "expected one of md17, md17-ccsd, rmd17, md22");
    let planned = fetch(folder.path(), &["md22", "--dry-run"]);
    assert!(planned.status.success());
    assert_eq!(String::from_utf8_lossy(&planned.stdout).matches("to download").count(), 7);
}
