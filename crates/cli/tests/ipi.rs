//! `mdet ipi` against a server that speaks i-PI's protocol.

#![cfg(unix)]
#![allow(clippy::unwrap_used)] // clippy's allowance for tests does not reach their helper functions

use mdet_core::constants::{BOHR_IN_ANGSTROM, HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// One bond stretched, so that forces are large: 5 eV/Å.
const WATER: [[f64; 3]; 3] = [[0.0, 0.0, 0.0], [1.1, 0.0, 0.0], [-0.24, 0.93, 0.0]];

/// Longer than any answer takes.
const PATIENCE: Duration = Duration::from_secs(60);

fn water() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let text = "3\nwater\nO 0.0 0.0 0.0\nH 1.1 0.0 0.0\nH -0.24 0.93 0.0\n";
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

/// The driver's connection, or what it said when it ended without one.
fn accepted<S>(driver: &mut Child, accept: impl Fn() -> std::io::Result<S>) -> S {
    let start = Instant::now();
    loop {
        match accept() {
            Ok(stream) => return stream,
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
        }
        let ended = driver.try_wait().unwrap();
        assert!(ended.is_none() && start.elapsed() < PATIENCE, "no connection; the driver: {ended:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A driver of the folder's water with some options, and its server's end of a UNIX socket.
fn unix_driver(folder: &Path, options: &[&str]) -> (Child, UnixStream) {
    let socket = folder.join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    listener.set_nonblocking(true).unwrap();
    let mut driver =
        mdet(folder, &[&["ipi", "water.xyz", "--unix", socket.to_str().unwrap()], options].concat());
    let server = accepted(&mut driver, || listener.accept()).0;
    server.set_nonblocking(false).unwrap();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    std::fs::remove_file(&socket).unwrap();
    (driver, server)
}

fn tcp_driver(folder: &Path, options: &[&str]) -> (Child, TcpStream) {
    let listener = TcpListener::bind("localhost:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut driver = mdet(folder, &[&["ipi", "water.xyz", "--tcp", &address], options].concat());
    let server = accepted(&mut driver, || listener.accept()).0;
    server.set_nonblocking(false).unwrap();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    (driver, server)
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
    for (a, b) in found.iter().zip(expected) {
        assert!((a - b).abs() < tolerance, "{found:?}, expected {expected:?}");
    }
}

#[test]
fn a_server_gets_the_forces_that_predict_writes() {
    let folder = water();
    let (driver, mut server) = unix_driver(folder.path(), &[]);
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
fn a_rotation_offset_turns_every_geometry_anew_by_its_seed() {
    let folder = water();
    let of_seed = |seed: &str| {
        let (driver, mut server) = tcp_driver(folder.path(), &["--rotation-offset", "--seed", seed]);
        let twice = [0, 1].map(|_| {
            send_positions(&mut server, &WATER);
            ask_forces(&mut server)
        });
        // A server that is killed says no word.
        drop(server);
        let (code, _, stderr) = ended(driver);
        assert_eq!(code, Some(0), "{stderr}");
        twice
    };
    let one = of_seed("1");
    assert_eq!(one, of_seed("1"));
    assert_ne!(one, of_seed("2"));
    assert_ne!(one[0], one[1]);
    // The model's own spread over rotations is a few hundredths of eV/Å here, of forces of several.
    let expected = predicted(folder.path());
    one.iter().for_each(|forces| assert_close(forces, &expected, 0.2));
}

#[test]
fn a_molecule_along_z_has_the_forces_of_another_orientation() {
    let folder = water();
    let expected = predicted(folder.path());
    let z_from_x = |[x, y, z]: [f64; 3]| [-z, y, x];
    let along = WATER.map(z_from_x);
    let rows = along.iter().zip(["O", "H", "H"]).map(|([x, y, z], symbol)| format!("{symbol} {x} {y} {z}\n"));
    std::fs::write(folder.path().join("water.xyz"), format!("3\n\n{}", rows.collect::<String>())).unwrap();
    let (driver, mut server) = unix_driver(folder.path(), &[]);
    send_positions(&mut server, &along);
    let found = ask_forces(&mut server);
    drop(server);
    assert!(ended(driver).2.contains("atoms lie along z"));
    let turned: Vec<f64> = expected.as_chunks().0.iter().flat_map(|&f| z_from_x(f)).collect();
    // As in the test of the offset.
    assert_close(&found, &turned, 0.2);
}

#[test]
fn a_server_that_is_killed_while_it_waits_is_an_end() {
    let folder = water();
    let (driver, mut server) = unix_driver(folder.path(), &[]);
    send_positions(&mut server, &WATER);
    say(&mut server, "STATUS");
    say(&mut server, "GETFORCE");
    drop(server);
    let (code, stdout, stderr) = ended(driver);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains("1 geometries"), "{stdout}");
}

/// What the driver says of a server that does `wrong`.
#[track_caller]
fn assert_refuses(wrong: impl Fn(&mut UnixStream), expected: &str) {
    let folder = water();
    let (driver, mut server) = unix_driver(folder.path(), &[]);
    wrong(&mut server);
    // It may have ended already.
    let _ = server.shutdown(std::net::Shutdown::Write);
    let (code, _, stderr) = ended(driver);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.lines().last().unwrap().contains(expected), "{stderr}");
}

#[test]
fn a_server_that_does_not_fit_ends_in_one_line() {
    let [o, h, other] = WATER;
    assert_refuses(|server| send_positions(server, &[o, h]), "expected the file's 3 atoms, found 2");
    assert_refuses(|server| send_positions(server, &[[f64::NAN; 3], h, other]), "geometry 0");
    assert_refuses(|server| send_positions(server, &[h, h, other]), "atoms 0 and 1");
    assert_refuses(|server| send_positions(server, &[h, o, other]), "O1–H3 1.63 Å apart, in the file 0.96 Å");
    assert_refuses(|server| say(server, "GETFORCE"), "expected positions before");
    assert_refuses(|server| say(server, "GET / HTTP/1.1"), "found \"GET / HTTP/1\"");
    assert_refuses(|server| server.write_all(b"STAT").unwrap(), "within a message");
    assert_refuses(|server| say(server, "POSDATA"), "within a message");
    let cut_short = |server: &mut UnixStream| {
        say(server, "INIT");
        server.write_all(&[0_i32.to_ne_bytes(), 100_i32.to_ne_bytes()].concat()).unwrap();
    };
    assert_refuses(cut_short, "within a message");
}

#[test]
fn atoms_in_another_order_are_taken_by_force() {
    let folder = water();
    let (driver, mut server) = unix_driver(folder.path(), &["--force"]);
    let [o, h, other] = WATER;
    send_positions(&mut server, &[h, o, other]);
    assert_eq!(ask_forces(&mut server).len(), 9);
    drop(server);
    assert_eq!(ended(driver).0, Some(0));
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

#[test]
fn addresses_and_options_that_cannot_be_meant_are_refused() {
    let folder = water();
    for (options, expected) in
        [(["--tcp", "localhost"], "expected HOST:PORT"), (["--seed", "1"], "--rotation-offset")]
    {
        let (code, _, stderr) = ended(mdet(folder.path(), &[&["ipi", "water.xyz"], &options[..]].concat()));
        assert_eq!(code, Some(2));
        assert!(stderr.contains(expected), "{stderr}");
    }
}
