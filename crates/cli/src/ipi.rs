//! `mdet ipi`: forces for programs that move atoms themselves, over the socket protocol of i-PI.
//!
//! i-PI (Ceriotti, More and Manolopoulos 2014; Litman et al. 2024, <https://docs.ipi-code.org>) and ASE's
//! `SocketIOCalculator` wait at an address, to which this connects. Messages are words of twelve bytes, numbers native
//! i32 and f64 in atomic units:
//!
//! | they say | we answer |
//! |---|---|
//! | `STATUS` | `READY`, or `HAVEDATA` once forces are ready |
//! | `INIT`, replica, length, text | nothing; it is not used |
//! | `POSDATA`, cell \[9\], inverse cell \[9\], number of atoms, positions \[n\]\[3\] | nothing; the forces are computed |
//! | `GETFORCE` | `FORCEREADY`, energy, number of atoms, forces \[n\]\[3\], virial \[9\], length of extra text |
//! | `EXIT`, or no word more | the end |
//!
//! The model has no energy and the molecule no cell: energy and virial are sent as 0, the cell is read past.

use crate::input::ElectronArgs;
use crate::md::name_of_atom;
use crate::model_choice::{ModelArgs, Precision};
use crate::{AnyError, Done};
use clap::Args;
use mdet_core::constants::{BOHR_IN_ANGSTROM, HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM};
use mdet_core::frames::{forces_in_frames, rotation_off_z};
use mdet_core::{
    ForceField, NetForceRemoved, Purpose, RandomStream, Rotation, Structure, bonds, structure::distance,
};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Give forces to i-PI or ASE over a socket: they move the atoms, by whatever method they have.
///
/// Connects to a server that waits at an address: i-PI (`<ffsocket>`), or ASE's SocketIOCalculator, and ends when it does.
/// Net force and torque are removed. The model has no energy: 0 is sent, so that energies and pressures that the
/// server prints are not the model's, and methods that look at them must not be used: bands (NEB), line searches
/// (ASE's QuasiNewton), Monte Carlo, constant pressure. Cells are not used, the molecule stands alone.
///
/// Example: mdet ipi molecule.xyz --unix mdet & python optimise.py, with this optimise.py:
///
/// from ase import io, optimize
/// from ase.calculators.socketio import SocketIOCalculator
/// molecule = io.read("molecule.xyz")
/// with SocketIOCalculator(unixsocket="mdet") as molecule.calc:
///     optimize.FIRE(molecule).run(fmax=0.01)
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct IpiArgs {
    /// One molecule: its atoms in the server's order, charge and multiplicity. The server's first geometry must have the
    /// bonds of this one, unless --force: the protocol tells positions alone.
    #[arg(value_name = "FILE.xyz")]
    file: PathBuf,
    #[command(flatten)]
    electrons: ElectronArgs,
    #[command(flatten)]
    model: ModelArgs,
    /// Address of the server; this is ASE's, i-PI's own default is port 65535.
    #[arg(long, value_name = "HOST:PORT", default_value = "localhost:31415", value_parser = host_and_port)]
    tcp: String,
    /// Name of the server's UNIX socket, /tmp/ipi_NAME, or its path: faster than --tcp, on one machine.
    #[cfg(unix)]
    #[arg(long, value_name = "NAME", conflicts_with = "tcp")]
    unix: Option<String>,
    /// For NVE: turn the molecule by a fresh random rotation for every geometry, and the forces back; in f64 unless
    /// asked otherwise.
    #[arg(long)]
    rotation_offset: bool,
    /// Seed of --rotation-offset.
    #[arg(long, default_value_t = 0, requires = "rotation_offset")]
    seed: u64,
}

/// How long a server may take to open its address.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn run(args: &IpiArgs) -> Result<Done, AnyError> {
    let (model, _) = args.model.load()?;
    let [(_, structure)] =
        <[_; 1]>::try_from(args.electrons.read(&args.file, &model.card)?).map_err(|frames| {
            format!("{}: expected one molecule, found {} frames", args.file.display(), frames.len())
        })?;
    let default = if args.rotation_offset { Precision::F64 } else { Precision::F32 };
    let precision = args.model.precision.unwrap_or(default);
    let offset = RandomStream { seed: args.seed, purpose: Purpose::RotationOffset, replica: 0 };
    let mut driver = Driver {
        structure,
        force_field: NetForceRemoved::new(args.model.force_field_in(precision, &model)?),
        offset: args.rotation_offset.then_some(offset),
        fixed: Rotation::IDENTITY,
        may_differ: args.electrons.force,
        n_geometries: 0,
    };
    let start = Instant::now();
    #[cfg(unix)]
    if let Some(name) = &args.unix {
        let path = if name.contains('/') { name.clone() } else { format!("/tmp/ipi_{name}") };
        driver.serve(&mut connect(&path, || std::os::unix::net::UnixStream::connect(&path))?)?;
        return Ok(driver.ended(start));
    }
    driver.serve(&mut connect(&args.tcp, || tcp_stream(&args.tcp))?)?;
    Ok(driver.ended(start))
}

fn host_and_port(text: &str) -> Result<String, String> {
    let is_port = |(_, port): (&str, &str)| port.parse::<u16>().is_ok();
    match text.rsplit_once(':').is_some_and(is_port) {
        true => Ok(text.into()),
        false => Err("expected HOST:PORT, such as localhost:31415".into()),
    }
}

fn tcp_stream(address: &str) -> io::Result<TcpStream> {
    let mut refused = None;
    let mut last = ErrorKind::NotFound.into();
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            // A port without a server may be given to this very connection.
            Ok(stream) if stream.local_addr()? == stream.peer_addr()? => {
                refused = Some(ErrorKind::ConnectionRefused.into());
            }
            Ok(stream) => {
                // Answers are short and waited for.
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => refused = Some(error),
            Err(error) => last = error,
        }
    }
    // A name may stand for addresses that this machine does not have, beside one that is worth another try.
    Err(refused.unwrap_or(last))
}

fn connect<S>(address: &str, open: impl Fn() -> io::Result<S>) -> Result<S, AnyError> {
    eprintln!("mdet: waits for a server at {address}, {} s at most", PATIENCE.as_secs());
    let start = Instant::now();
    loop {
        match open() {
            Ok(stream) => {
                eprintln!("mdet: connected");
                return Ok(stream);
            }
            // A server that is about to start has no socket yet, or is not yet behind it.
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused)
                    && start.elapsed() < PATIENCE =>
            {
                std::thread::sleep(Duration::from_millis(100));
            }
            Err(error) => {
                return Err(format!("{address}: expected a server of i-PI or ASE there: {error}").into());
            }
        }
    }
}

/// One molecule whose positions a server sets.
struct Driver {
    structure: Structure,
    force_field: NetForceRemoved<Box<dyn ForceField>>,
    offset: Option<RandomStream>,
    /// What all geometries are turned by without an offset: off z, if the first one has atoms along it.
    fixed: Rotation,
    /// Whether the first geometry may have other bonds than the structure.
    may_differ: bool,
    n_geometries: u64,
}

impl Driver {
    /// Answers until the server says that it is enough, or is gone.
    fn serve(&mut self, server: &mut (impl Read + Write)) -> Result<(), AnyError> {
        let mut forces = None;
        while let Some(message) = read_message(server)? {
            let answer = match message.as_str() {
                "STATUS" => word(if forces.is_some() { "HAVEDATA" } else { "READY" }).to_vec(),
                "INIT" => {
                    read_i32(server)?;
                    let length = read_i32(server)?;
                    let expected = u64::try_from(length)
                        .map_err(|_| format!("server: expected the length of a text, found {length}"))?;
                    if io::copy(&mut server.take(expected), &mut io::sink()).map_err(lost)? != expected {
                        return Err(lost(ErrorKind::UnexpectedEof.into()));
                    }
                    continue;
                }
                "POSDATA" => {
                    let positions = read_positions(server, self.structure.n_atoms())?;
                    let n = self.n_geometries;
                    forces = Some(self.forces(positions).map_err(|error| format!("geometry {n}: {error}"))?);
                    self.n_geometries += 1;
                    continue;
                }
                "GETFORCE" => force_message(
                    &forces.take().ok_or("server: expected positions before it asks for forces")?,
                ),
                "EXIT" => return Ok(()),
                other => return Err(format!("server: expected a message of i-PI, found {other:?}").into()),
            };
            match server.write_all(&answer) {
                Err(error) if is_gone(&error) => return Ok(()),
                written => written.map_err(lost)?,
            }
        }
        Ok(())
    }

    /// Forces in eV/Å at positions in Å.
    fn forces(&mut self, positions: Vec<[f64; 3]>) -> Result<Vec<[f64; 3]>, AnyError> {
        let (numbers, charge) = (self.structure.numbers().to_vec(), self.structure.charge());
        let structure = Structure::new(numbers, positions, charge, self.structure.multiplicity())?;
        if self.n_geometries == 0 {
            if !self.may_differ {
                check_bonds(&self.structure, &structure)?;
            }
            if let Some(rotation) = rotation_off_z(&structure).filter(|_| self.offset.is_none()) {
                eprintln!("mdet: atoms lie along z, where the model's directions jump: computed turned");
                self.fixed = rotation;
            }
        }
        let batch = std::slice::from_ref(&structure);
        let mut forces = vec![[0.0; 3]; structure.n_atoms()];
        let turn = |offset: RandomStream| Rotation::random(&mut offset.at_step(self.n_geometries));
        let rotation = self.offset.map_or(self.fixed, turn);
        match rotation == Rotation::IDENTITY {
            true => self.force_field.forces(batch, &mut forces)?,
            false => forces_in_frames(&mut self.force_field, batch, &[rotation], &mut forces)?,
        }
        Ok(forces)
    }

    fn ended(&self, start: Instant) -> Done {
        println!("served        {} geometries in {:.1} s", self.n_geometries, start.elapsed().as_secs_f64());
        Done::Completed
    }
}

/// The protocol names no elements: other bonds are how atoms in another order, another unit or a molecule cut by a cell show.
fn check_bonds(file: &Structure, found: &Structure) -> Result<(), String> {
    let bonds_of = |structure: &Structure| bonds(structure.numbers(), structure.positions());
    let (expected, given) = (bonds_of(file), bonds_of(found));
    let differs = |&&[i, j]: &&[usize; 2]| expected.contains(&[i, j]) != given.contains(&[i, j]);
    let Some(&[i, j]) = expected.iter().chain(&given).find(differs) else { return Ok(()) };
    let apart = |structure: &Structure| distance(&structure.positions()[i], &structure.positions()[j]);
    Err(format!(
        "expected the bonds of the file's molecule, found {}–{} {:.2} Å apart, in the file {:.2} Å: is the order of atoms \
         the same, and the molecule whole (no pbc)? --force takes it as it is",
        name_of_atom(file, i),
        name_of_atom(file, j),
        apart(found),
        apart(file)
    ))
}

/// Length of a message's first word.
const WORD: usize = 12;

fn word(text: &str) -> [u8; WORD] {
    let mut word = [b' '; WORD];
    word[..text.len()].copy_from_slice(text.as_bytes());
    word
}

/// Whether a server was ended without a word.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
}

fn lost(error: io::Error) -> AnyError {
    match error.kind() {
        ErrorKind::UnexpectedEof => "server: closed the connection within a message".into(),
        _ => format!("server: {error}").into(),
    }
}

/// The next message's word; `None` at the end of the connection.
fn read_message(server: &mut impl Read) -> Result<Option<String>, AnyError> {
    let mut bytes = [0; WORD];
    let mut n_read = 0;
    while n_read < WORD {
        match server.read(&mut bytes[n_read..]) {
            Ok(0) if n_read == 0 => return Ok(None),
            Ok(0) => return Err(lost(ErrorKind::UnexpectedEof.into())),
            Ok(n) => n_read += n,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if is_gone(&error) && n_read == 0 => return Ok(None),
            Err(error) => return Err(lost(error)),
        }
    }
    Ok(Some(String::from_utf8_lossy(&bytes).trim_end().to_owned()))
}

fn read_i32(server: &mut impl Read) -> Result<i32, AnyError> {
    let mut bytes = [0; 4];
    server.read_exact(&mut bytes).map_err(lost)?;
    Ok(i32::from_ne_bytes(bytes))
}

/// Positions in Å, past the cell and its inverse.
fn read_positions(server: &mut impl Read, n_atoms: usize) -> Result<Vec<[f64; 3]>, AnyError> {
    server.read_exact(&mut [0; 2 * 9 * 8]).map_err(lost)?;
    let found = read_i32(server)?;
    if usize::try_from(found) != Ok(n_atoms) {
        let modes = "of i-PI's modes, unix and inet with batch_size 1 and all atoms active are served";
        return Err(format!("server: expected the file's {n_atoms} atoms, found {found} ({modes})").into());
    }
    let mut bytes = vec![0; n_atoms * 3 * 8];
    server.read_exact(&mut bytes).map_err(lost)?;
    let (numbers, _) = bytes.as_chunks::<8>();
    let in_angstrom: Vec<f64> = numbers.iter().map(|&b| f64::from_ne_bytes(b) * BOHR_IN_ANGSTROM).collect();
    Ok(in_angstrom.as_chunks::<3>().0.to_vec())
}

fn force_message(forces: &[[f64; 3]]) -> Vec<u8> {
    const NO_ENERGY: f64 = 0.0;
    const NO_VIRIAL: [f64; 9] = [0.0; 9];
    const NO_TEXT: i32 = 0;
    let n_atoms = forces.len() as i32;
    let mut message = word("FORCEREADY").to_vec();
    message.extend(NO_ENERGY.to_ne_bytes());
    message.extend(n_atoms.to_ne_bytes());
    let in_atomic_units = forces.as_flattened().iter().map(|f| f / HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM);
    message.extend(in_atomic_units.chain(NO_VIRIAL).flat_map(f64::to_ne_bytes));
    message.extend(NO_TEXT.to_ne_bytes());
    message
}
