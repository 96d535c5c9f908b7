//! `mdet ipi` against a server that speaks i-PI's protocol.

#![allow(clippy::unwrap_used)] // clippy's allowance for tests does not reach their helper functions

use mdet_core::constants::{BOHR_IN_ANGSTROM, HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

const WATER: [[f64; 3]; 3] = [[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]];

fn water() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let text = "3\nwater\nO 0.0 0.0 0.0\nH 0.96 0.0 0.0\nH -0.24 0.93 0.0\n";
    std::fs::write(folder.path().join("water.xyz"), text).unwrap();
    folder
}

fn mdet(folder: &Path, arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_mdet"))
        .current_dir(folder)
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn ended(driver: Child) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = driver.wait_with_output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

fn say(stream: &mut impl Write, message: &str) {
    stream.write_all(format!("{message:<12}").as_bytes()).unwrap();
}

fn hear(stream: &mut impl Read) -> String {
    let mut word = [0; 12];
    stream.read_exact(&mut word).unwrap();
    std::str::from_utf8(&word).unwrap().trim_end().to_owned()
}

fn hear_bytes<const N: usize>(stream: &mut impl Read) -> [u8; N] {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

fn send_positions(stream: &mut impl Write, positions: &[[f64; 3]]) {
    say(stream, "POSDATA");
    let mut bytes: Vec<u8> = [7.0_f64; 18].iter().flat_map(|x| x.to_ne_bytes()).collect();
    bytes.extend((positions.len() as i32).to_ne_bytes());
    bytes.extend(positions.as_flattened().iter().flat_map(|x| (x / BOHR_IN_ANGSTROM).to_ne_bytes()));
    stream.write_all(&bytes).unwrap();
}

/// Forces in eV/Å of three atoms.
fn ask_forces(stream: &mut (impl Read + Write)) -> Vec<f64> {
    say(stream, "GETFORCE");
    assert_eq!(hear(stream), "FORCEREADY");
    assert_eq!(f64::from_ne_bytes(hear_bytes(stream)), 0.0, "the model has no energy");
    assert_eq!(i32::from_ne_bytes(hear_bytes(stream)), 3);
    let mut number = || f64::from_ne_bytes(hear_bytes(stream));
    let forces = (0..9).map(|_| number() * HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM).collect();
    assert!((0..9).all(|_| number() == 0.0), "a molecule alone has no cell's virial");
    assert_eq!(i32::from_ne_bytes(hear_bytes(stream)), 0);
    forces
}

/// What `mdet predict` writes of the same positions.
fn predicted(folder: &Path) -> Vec<f64> {
    let (code, _, stderr) = ended(mdet(folder, &["predict", "water.xyz", "-o", "forces.xyz"]));
    assert_eq!(code, Some(0), "{stderr}");
    let text = std::fs::read_to_string(folder.join("forces.xyz")).unwrap();
    let forces = |line: &str| -> Vec<f64> {
        line.split_whitespace().skip(4).take(3).map(|word| word.parse().unwrap()).collect()
    };
    text.lines().skip(2).flat_map(forces).collect()
}

#[track_caller]
fn assert_close(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    let far = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(far < tolerance, "{far} eV/Å apart: {found:?}, expected {expected:?}");
}

#[test]
fn a_server_gets_the_forces_that_predict_writes() {
    let folder = water();
    let socket = folder.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    let driver = mdet(folder.path(), &["ipi", "water.xyz", "--unix", socket.to_str().unwrap()]);
    let mut server = listener.accept().unwrap().0;
    say(&mut server, "STATUS");
    assert_eq!(hear(&mut server), "READY");
    say(&mut server, "INIT");
    let text = b"not used";
    server.write_all(&[5_i32.to_ne_bytes(), (text.len() as i32).to_ne_bytes()].concat()).unwrap();
    server.write_all(text).unwrap();
    let expected = predicted(folder.path());
    for _ in 0..2 {
        send_positions(&mut server, &WATER);
        say(&mut server, "STATUS");
        assert_eq!(hear(&mut server), "HAVEDATA");
        // The file has eight decimals; positions in Bohr and back differ in the last bit.
        assert_close(&ask_forces(&mut server), &expected, 1e-6);
        say(&mut server, "STATUS");
        assert_eq!(hear(&mut server), "READY");
    }
    say(&mut server, "EXIT");
    let (code, stdout, stderr) = ended(driver);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains("2 geometries"), "{stdout}");
}

#[test]
fn a_rotation_offset_turns_every_geometry_anew() {
    let folder = water();
    let listener = TcpListener::bind("localhost:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let driver = mdet(folder.path(), &["ipi", "water.xyz", "--tcp", &address, "--rotation-offset"]);
    let mut server = listener.accept().unwrap().0;
    let mut twice = [0, 1].map(|_| {
        send_positions(&mut server, &WATER);
        ask_forces(&mut server)
    });
    assert_ne!(twice[0], twice[1]);
    let expected = predicted(folder.path());
    twice.iter_mut().for_each(|forces| assert_close(forces, &expected, 0.1));
    // A server that is killed says no word.
    drop(server);
    let (code, _, stderr) = ended(driver);
    assert_eq!(code, Some(0), "{stderr}");
}

/// What the driver says of a server that does `wrong`.
#[track_caller]
fn assert_refuses(wrong: impl Fn(&mut std::os::unix::net::UnixStream), expected: &str) {
    let folder = water();
    let socket = folder.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    let driver = mdet(folder.path(), &["ipi", "water.xyz", "--unix", socket.to_str().unwrap()]);
    let mut server = listener.accept().unwrap().0;
    wrong(&mut server);
    server.shutdown(std::net::Shutdown::Write).unwrap();
    let (code, _, stderr) = ended(driver);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.lines().last().unwrap().contains(expected), "{stderr}");
}

#[test]
fn a_server_that_does_not_fit_ends_in_one_line() {
    assert_refuses(|server| send_positions(server, &WATER[..2]), "expected the file's 3 atoms, found 2");
    assert_refuses(|server| send_positions(server, &[[f64::NAN; 3], WATER[1], WATER[2]]), "geometry 0");
    assert_refuses(|server| send_positions(server, &[WATER[1], WATER[1], WATER[2]]), "atoms 0 and 1");
    assert_refuses(|server| say(server, "GETFORCE"), "before it sent positions");
    assert_refuses(|server| say(server, "GET / HTTP/1.1"), "found \"GET / HTTP/1\"");
    assert_refuses(|server| server.write_all(b"STAT").unwrap(), "within a message");
    assert_refuses(|server| say(server, "POSDATA"), "within a message");
}

#[test]
fn two_molecules_are_refused_before_anyone_is_called() {
    let folder = water();
    let path = folder.path().join("water.xyz");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.repeat(2)).unwrap();
    let (code, _, stderr) = ended(mdet(folder.path(), &["ipi", "water.xyz"]));
    assert_eq!(code, Some(1));
    assert!(stderr.contains("water.xyz: expected one molecule, found 2 frames"), "{stderr}");
}
