//! Working memory, and a tile's rows turned so that atoms j lie along vector lanes.

use super::tile::Tile;
use crate::Real;
use crate::isa::Isa;
use crate::vector::{MOST_LANES, Vector};

/// Working memory, handed out piece by piece, each on a boundary of the longest vector when its length is a multiple.
pub(super) struct Scratch<'a, T>(&'a mut [T]);

impl<'a, T> Scratch<'a, T> {
    /// Skips less than [`MOST_LANES`] elements.
    #[inline(always)]
    pub fn aligned(memory: &'a mut [T]) -> Self {
        let skipped = memory.as_ptr().align_offset(64).min(MOST_LANES);
        Self(&mut memory[skipped..])
    }

    #[inline(always)]
    pub fn take(&mut self, len: usize) -> &'a mut [T] {
        let (piece, rest) = std::mem::take(&mut self.0).split_at_mut(len);
        self.0 = rest;
        piece
    }
}

/// lanes\[c\]\[j\] = rows\[j\]\[c\] for the tile's padded channels and columns; the last row fills what is left.
#[inline(always)]
pub(super) fn transpose_rows<I: Isa, T: Real>(tile: Tile, rows: &[T], lanes: &mut [T]) {
    let Tile { dp, columns, n_columns, .. } = tile;
    let block = T::Lanes::<I::Narrow>::LANES;
    assert!(columns % block == 0 && columns < n_columns + block, "{n_columns} in {columns} columns");
    assert!(dp % block == 0 && rows.len() >= n_columns * dp && lanes.len() >= dp * columns);
    for c in (0..dp).step_by(block) {
        for j in (0..columns).step_by(block) {
            // SAFETY: dp and `columns` are multiples of the block and every block has a row, so all rows and channels
            // lie inside (checked above).
            unsafe {
                let (from, to) = (rows.as_ptr().add(j * dp + c), lanes.as_mut_ptr().add(c * columns + j));
                T::Lanes::<I::Narrow>::transpose(from, dp, n_columns - j, to, columns);
            }
        }
    }
}
