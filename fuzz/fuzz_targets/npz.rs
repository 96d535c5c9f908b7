//! NumPy archives: an odd first byte takes the rest as an archive, an even one as the arrays of a sound archive, whose
//! checksums would keep most changes away from what is behind them.
#![no_main]

use std::io::{Cursor, Write};
use zip::write::{SimpleFileOptions, ZipWriter};

const NAMES: [[&str; 4]; 3] = [
    ["z", "R", "F", "E"],
    ["nuclear_charges", "coords", "forces", "energies"],
    ["n_atoms", "numbers", "positions", "forces"],
];

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((&kind, bytes)) = bytes.split_first() else { return };
    if kind % 2 == 1 {
        return mdet_fuzz::read_bytes(bytes);
    }
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let set = NAMES[usize::from(kind / 2) % NAMES.len()];
    let more = if set[0] == "n_atoms" { ["charge", "species", "source"] } else { ["units", "charge", "mult"] };
    for (name, piece) in set.into_iter().chain(more).zip(mdet_fuzz::pieces(bytes, 4)) {
        archive.start_file(format!("{name}.npy"), options).expect("a new file in the archive");
        archive.write_all(piece).expect("room in memory");
    }
    let archive = archive.finish().expect("room in memory");
    mdet_fuzz::read_bytes(&archive.into_inner());
});
