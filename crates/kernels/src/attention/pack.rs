//! One head's rows out of the row-major matrices of all heads, contiguous and padded to whole vectors.
//!
//! Read where they lie, a head's rows are a few kB apart and fall on few sets of the first-level cache. No prefetcher
//! of the processor follows them, so each row asks for that of the next head, whose turn comes soon.

use super::tile::Tile;
use crate::Real;
use crate::isa::Isa;
use crate::vector::{MOST_LANES, Vector, prefetch};

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

/// One head's channels of row-major rows, and their copy padded to whole vectors.
#[derive(Clone, Copy)]
pub(super) struct Channels {
    pub stride: usize,
    pub d_head: usize,
    pub padded: usize,
}

impl Channels {
    /// packed\[r\]\[c\] = scale·rows\[first + r\]\[column + c\], zero beyond the head's channels.
    #[inline(always)]
    pub fn pack<I: Isa, T: Real>(self, rows: &[T], first: usize, column: usize, scale: T, packed: &mut [T]) {
        for (r, packed) in packed.chunks_exact_mut(self.padded).enumerate() {
            let row = &rows[(first + r) * self.stride + column..];
            prefetch(&row[self.d_head..], self.d_head);
            scaled_copy::<I, T>(&row[..self.d_head], scale, packed);
            if self.d_head < self.padded {
                packed[self.d_head..].fill(T::ZERO);
            }
        }
    }

    /// The inverse of `pack`, without its padding and scale.
    #[inline(always)]
    pub fn unpack<I: Isa, T: Real>(self, packed: &[T], rows: &mut [T], first: usize, column: usize) {
        for (r, packed) in packed.chunks_exact(self.padded).enumerate() {
            let row = &mut rows[(first + r) * self.stride + column..];
            prefetch(&row[self.d_head..], self.d_head);
            scaled_copy::<I, T>(&packed[..self.d_head], T::ONE, &mut row[..self.d_head]);
        }
    }
}

/// to\[c\] = scale·from\[c\] for all of `from`.
#[inline(always)]
fn scaled_copy<I: Isa, T: Real>(from: &[T], scale: T, to: &mut [T]) {
    let lanes = T::Lanes::<I>::LANES;
    let whole = from.len() / lanes * lanes;
    let scales = T::Lanes::<I>::splat(scale);
    for c in (0..whole).step_by(lanes) {
        T::Lanes::<I>::load(&from[c..]).mul(scales).store(&mut to[c..]);
    }
    if whole < from.len() {
        for (from, to) in from[whole..].iter().zip(&mut to[whole..]) {
            *to = *from * scale;
        }
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
