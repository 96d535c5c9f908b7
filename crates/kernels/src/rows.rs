//! Matrices by rows, whole or with their columns in blocks: what a product reads on its left and writes.
//!
//! The attention wants each head's channels of all rows side by side, so the products before and behind it write and
//! read them that way, and nothing is copied between.

use crate::vector::MOST_LANES;
use std::marker::PhantomData;

/// A matrix of `n_blocks` blocks of `channels` columns, one block after another, each `[n_rows, padded]` row-major.
///
/// What the padding holds is unspecified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocked {
    /// Rows of the matrix.
    pub n_rows: usize,
    /// Blocks of columns: a head's q, k, v1 or v2.
    pub n_blocks: usize,
    /// Columns of a block that are the matrix's.
    pub channels: usize,
}

impl Blocked {
    /// Elements from one row of a block to the next: `channels` rounded up to whole vectors.
    pub fn padded(self) -> usize {
        self.channels.next_multiple_of(MOST_LANES)
    }

    /// Elements of all blocks.
    pub fn len(self) -> usize {
        self.n_blocks * self.block_len()
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Elements of one block.
    pub fn block_len(self) -> usize {
        self.n_rows * self.padded()
    }
}

/// Where the elements of a matrix lie: (r, c) at r·row + (c / block)·block_stride + c % block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    pub row: usize,
    pub block: usize,
    pub block_stride: usize,
}

impl Layout {
    pub fn row_major(n_columns: usize) -> Self {
        Self { row: n_columns, block: usize::MAX, block_stride: 0 }
    }

    fn of(blocked: Blocked) -> Self {
        Self { row: blocked.padded(), block: blocked.channels, block_stride: blocked.block_len() }
    }

    #[inline(always)]
    pub fn is_row_major(self) -> bool {
        self.block == usize::MAX
    }

    /// Where column c of the first row lies.
    #[inline(always)]
    pub fn column(self, c: usize) -> usize {
        if self.is_row_major() { c } else { c / self.block * self.block_stride + c % self.block }
    }

    /// How many columns from column c on lie side by side.
    #[inline(always)]
    pub fn n_together(self, c: usize) -> usize {
        if self.is_row_major() { usize::MAX } else { self.block - c % self.block }
    }

    /// Whether columns from a multiple of `n` on lie `n` side by side.
    pub fn keeps_together(self, n: usize) -> bool {
        self.is_row_major() || self.block.is_multiple_of(n)
    }
}

/// A matrix to read.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a, T> {
    pub(crate) data: &'a [T],
    pub(crate) n_rows: usize,
    pub(crate) n_columns: usize,
    pub(crate) layout: Layout,
}

impl<'a, T> Rows<'a, T> {
    /// Rows of `n_columns` elements one after another.
    ///
    /// # Panics
    /// When the last one is not whole.
    pub fn row_major(data: &'a [T], n_columns: usize) -> Self {
        let n_rows = data.len() / n_columns;
        assert_eq!(data.len(), n_rows * n_columns, "rows of {n_columns}");
        Self { data, n_rows, n_columns, layout: Layout::row_major(n_columns) }
    }

    /// Blocks of columns.
    ///
    /// # Panics
    /// When `data` does not have the layout's length.
    pub fn blocked(data: &'a [T], blocked: Blocked) -> Self {
        assert_eq!(data.len(), blocked.len(), "{blocked:?}");
        let Blocked { n_rows, n_blocks, channels } = blocked;
        Self { data, n_rows, n_columns: n_blocks * channels, layout: Layout::of(blocked) }
    }

    /// Columns of the matrix.
    pub fn n_columns(&self) -> usize {
        self.n_columns
    }
}

/// A matrix to write, or some of its rows.
#[derive(Debug)]
pub struct RowsMut<'a, T> {
    pub(crate) first: *mut T,
    pub(crate) n_rows: usize,
    pub(crate) n_columns: usize,
    pub(crate) layout: Layout,
    memory: PhantomData<&'a mut [T]>,
}

// SAFETY: it is a unique borrow of its rows' elements, as `&mut [T]` is: no two share one (see `split_at`).
unsafe impl<T: Send> Send for RowsMut<'_, T> {}

impl<'a, T> RowsMut<'a, T> {
    /// Rows of `n_columns` elements one after another.
    ///
    /// # Panics
    /// When the last one is not whole.
    pub fn row_major(data: &'a mut [T], n_columns: usize) -> Self {
        let n_rows = data.len() / n_columns;
        assert_eq!(data.len(), n_rows * n_columns, "rows of {n_columns}");
        let layout = Layout::row_major(n_columns);
        Self { first: data.as_mut_ptr(), n_rows, n_columns, layout, memory: PhantomData }
    }

    /// Blocks of columns.
    ///
    /// # Panics
    /// When `data` does not have the layout's length.
    pub fn blocked(data: &'a mut [T], blocked: Blocked) -> Self {
        assert_eq!(data.len(), blocked.len(), "{blocked:?}");
        let Blocked { n_rows, n_blocks, channels } = blocked;
        let (n_columns, layout) = (n_blocks * channels, Layout::of(blocked));
        Self { first: data.as_mut_ptr(), n_rows, n_columns, layout, memory: PhantomData }
    }

    /// The first `n` rows and the others.
    ///
    /// # Panics
    /// When there are fewer.
    pub fn split_at(self, n: usize) -> (Self, Self) {
        assert!(n <= self.n_rows, "{n} of {} rows", self.n_rows);
        let Self { first, n_rows, n_columns, layout, memory } = self;
        // Blocks are whole rows apart, so two rows have no element in common.
        let second = first.wrapping_add(n * layout.row);
        let part = |first, n_rows| Self { first, n_rows, n_columns, layout, memory };
        (part(first, n), part(second, n_rows - n))
    }

    /// The elements of rows that lie one after another.
    ///
    /// # Panics
    /// When the columns are in blocks.
    pub fn into_slice(self) -> &'a mut [T] {
        assert!(self.layout.is_row_major(), "columns are in blocks");
        // SAFETY: these rows are a part of the slice that `row_major` was given, and `self` is their only borrow.
        unsafe { std::slice::from_raw_parts_mut(self.first, self.n_rows * self.n_columns) }
    }
}

impl<T> Default for RowsMut<'_, T> {
    fn default() -> Self {
        Self::row_major(&mut [], 1)
    }
}
