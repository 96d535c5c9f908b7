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
//! | `EXIT`, or the end of the connection | the end |
//!
//! The model has no energy and the molecule no cell: energy and virial are sent as 0, the cell is read past.

use crate::input::InputArgs;
use crate::model_choice::ModelArgs;
use crate::{AnyError, Done};
use clap::Args;
use mdet_core::constants::{BOHR_IN_ANGSTROM, HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM};
use mdet_core::force_field::check_finite;
use mdet_core::frames::forces_in_frames;
use mdet_core::{ForceField, NetForceRemoved, Purpose, RandomStream, Rotation, Structure};
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Give forces to i-PI or ASE over a socket: they move the atoms, by whatever method they have.
///
/// Connects to a server that waits at an address: i-PI (`<ffsocket>`), or ASE's SocketIOCalculator. FILE.xyz tells which
/// atoms, in the server's order, which charge and multiplicity; the positions come from the server. Net force and
/// torque are removed. The model has no energy: 0 is sent, so energies and pressures that the server prints are not
/// the model's. Cells are not used, the molecule stands alone. Ends when the server does.
///
/// Example, with ASE:
///   mdet ipi molecule.xyz --unix mdet &
///   python -c 'from ase import io, optimize; from ase.calculators.socketio import SocketIOCalculator
///   molecule = io.read("molecule.xyz")
///   with SocketIOCalculator(unixsocket="mdet") as molecule.calc:
///       optimize.FIRE(molecule).run(fmax=0.01)'
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct IpiArgs {
    #[command(flatten)]
    input: InputArgs,
    #[command(flatten)]
    model: ModelArgs,
    /// Address of the server.
    #[arg(long, value_name = "HOST:PORT", default_value = "localhost:31415")]
    tcp: String,
    /// Name of the server's UNIX socket, /tmp/ipi_NAME, or its path: faster than --tcp, on one machine.
    #[arg(long, value_name = "NAME", conflicts_with = "tcp")]
    unix: Option<String>,
    /// Turn the molecule by a fresh random rotation for every geometry, and the forces back: for NVE.
    #[arg(long)]
    rotation_offset: bool,
    /// Seed of --rotation-offset.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// How long a server may take to open its address.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn run(args: &IpiArgs) -> Result<Done, AnyError> {
    let (model, _) = args.model.load()?;
    let [(_, structure)] = <[_; 1]>::try_from(args.input.read(&model.card)?).map_err(|frames| {
        format!("{}: expected one molecule, found {} frames", args.input.file.display(), frames.len())
    })?;
    let mut driver = Driver {
        structure,
        force_field: NetForceRemoved::new(args.model.force_field(&model)?),
        turned: args.rotation_offset.then_some(RandomStream {
            seed: args.seed,
            purpose: Purpose::RotationOffset,
            replica: 0,
        }),
        n_geometries: 0,
    };
    let mut server = connect(args)?;
    let start = Instant::now();
    driver.serve(&mut server)?;
    let seconds = start.elapsed().as_secs_f64();
    println!("served        {} geometries in {seconds:.1} s", driver.n_geometries);
    Ok(Done::Completed)
}

trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

fn connect(args: &IpiArgs) -> Result<Box<dyn Stream>, AnyError> {
    let address = match &args.unix {
        None => args.tcp.clone(),
        Some(path) if path.contains('/') => path.clone(),
        Some(name) => format!("/tmp/ipi_{name}"),
    };
    let attempt = || -> io::Result<Box<dyn Stream>> {
        if args.unix.is_some() {
            return Ok(Box::new(std::os::unix::net::UnixStream::connect(&address)?));
        }
        let stream = TcpStream::connect(&address)?;
        stream.set_nodelay(true)?;
        Ok(Box::new(stream))
    };
    let start = Instant::now();
    let mut is_said = false;
    loop {
        let error = match attempt() {
            Ok(stream) => {
                eprintln!("mdet: connected to {address}");
                return Ok(stream);
            }
            Err(error) => error,
        };
        // A server that is about to start has no socket yet, or nobody at it.
        let is_early = matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused);
        if !is_early || start.elapsed() > PATIENCE {
            return Err(format!("{address}: expected a server of i-PI or ASE there: {error}").into());
        }
        if !std::mem::replace(&mut is_said, true) {
            eprintln!("mdet: waits for a server at {address}, {} s at most", PATIENCE.as_secs());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// One molecule whose positions a server sets.
struct Driver<F> {
    structure: Structure,
    force_field: F,
    turned: Option<RandomStream>,
    n_geometries: u64,
}

impl<F: ForceField> Driver<F> {
    /// Answers until the server says that it is enough.
    fn serve(&mut self, server: &mut (impl Read + Write + ?Sized)) -> Result<(), AnyError> {
        let mut forces = None;
        while let Some(message) = read_message(server)? {
            match message.as_str() {
                "STATUS" => {
                    let status = if forces.is_some() { "HAVEDATA" } else { "READY" };
                    server.write_all(&word(status)).map_err(lost)?;
                }
                "INIT" => {
                    read_i32(server)?;
                    let length = read_i32(server)?;
                    let expected = u64::try_from(length)
                        .map_err(|_| format!("server: expected the length of a text, found {length}"))?;
                    io::copy(&mut server.take(expected), &mut io::sink()).map_err(lost)?;
                }
                "POSDATA" => forces = Some(self.forces(read_positions(server, self.structure.n_atoms())?)?),
                "GETFORCE" => {
                    let forces = forces.take().ok_or("server: asks for forces before it sent positions")?;
                    server.write_all(&force_message(&forces)).map_err(lost)?;
                }
                "EXIT" => return Ok(()),
                other => return Err(format!("server: expected a message of i-PI, found {other:?}").into()),
            }
        }
        Ok(())
    }

    /// Forces in eV/Å at positions in Å.
    fn forces(&mut self, positions: Vec<[f64; 3]>) -> Result<Vec<[f64; 3]>, AnyError> {
        let numbers = self.structure.numbers().to_vec();
        let (charge, multiplicity) = (self.structure.charge(), self.structure.multiplicity());
        let named = |error: &dyn std::error::Error, n| format!("geometry {n}: {error}");
        let structure = Structure::new(numbers, positions, charge, multiplicity)
            .map_err(|error| named(&error, self.n_geometries))?;
        let batch = std::slice::from_ref(&structure);
        let mut forces = vec![[0.0; 3]; structure.n_atoms()];
        match self.turned {
            None => self.force_field.forces(batch, &mut forces),
            Some(stream) => {
                let rotation = Rotation::random(&mut stream.at_step(self.n_geometries));
                forces_in_frames(&mut self.force_field, batch, &[rotation], &mut forces)
            }
        }
        .and_then(|()| check_finite(batch, &forces))
        .map_err(|error| named(&error, self.n_geometries))?;
        self.n_geometries += 1;
        Ok(forces)
    }
}

/// Length of a message's first word.
const WORD: usize = 12;

fn word(text: &str) -> [u8; WORD] {
    let mut word = [b' '; WORD];
    word[..text.len()].copy_from_slice(text.as_bytes());
    word
}

fn lost(error: io::Error) -> AnyError {
    match error.kind() {
        ErrorKind::UnexpectedEof => "server: closed the connection within a message".into(),
        _ => format!("server: {error}").into(),
    }
}

/// The next message's word; `None` at the end of the connection.
fn read_message(server: &mut (impl Read + ?Sized)) -> Result<Option<String>, AnyError> {
    let mut bytes = [0; WORD];
    let mut n_read = 0;
    while n_read < WORD {
        match server.read(&mut bytes[n_read..]) {
            Ok(0) if n_read == 0 => return Ok(None),
            Ok(0) => return Err(lost(ErrorKind::UnexpectedEof.into())),
            Ok(n) => n_read += n,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // How a server that was killed ends.
            Err(error) if error.kind() == ErrorKind::ConnectionReset && n_read == 0 => return Ok(None),
            Err(error) => return Err(lost(error)),
        }
    }
    Ok(Some(String::from_utf8_lossy(&bytes).trim_end().to_owned()))
}

fn read_i32(server: &mut (impl Read + ?Sized)) -> Result<i32, AnyError> {
    let mut bytes = [0; 4];
    server.read_exact(&mut bytes).map_err(lost)?;
    Ok(i32::from_ne_bytes(bytes))
}

/// Positions in Å, past the cell and its inverse.
fn read_positions(server: &mut (impl Read + ?Sized), n_atoms: usize) -> Result<Vec<[f64; 3]>, AnyError> {
    server.read_exact(&mut [0; 2 * 9 * 8]).map_err(lost)?;
    let found = read_i32(server)?;
    if usize::try_from(found) != Ok(n_atoms) {
        return Err(format!("server: expected the file's {n_atoms} atoms, found {found}").into());
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
