//! What the targets share: bytes as a file, read to the end by whatever reader they call for.

use mdet_data::{ReadOptions, Reader};
use std::path::Path;

/// Reads a file as a user's data: an error or records, and each of those an error or a molecule.
pub fn read(path: &Path) {
    let Ok(reader) = Reader::open(path, ReadOptions::default()) else { return };
    // An endless stream of errors is a bug as well.
    for record in reader.take(100_000) {
        let _ = record.and_then(|record| record.check());
    }
}

/// Reads these bytes as a file.
pub fn read_bytes(bytes: &[u8]) {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), bytes).expect("a writable temporary file");
    read(file.path());
}

/// The input in pieces of at most 255 bytes times `unit`, each behind its length.
pub fn pieces(mut bytes: &[u8], unit: usize) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    while let Some((&length, rest)) = bytes.split_first() {
        let (piece, later) = rest.split_at((usize::from(length) * unit).min(rest.len()));
        pieces.push(piece);
        bytes = later;
    }
    pieces
}
