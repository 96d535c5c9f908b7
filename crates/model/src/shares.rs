//! Rows of a group dealt to threads and blocks, and what is done with them.

use crate::group::Keep;
use mdet_kernels::{Real, RowsMut};
use rayon::prelude::*;
use std::ops::Range;

/// How rows are dealt to threads, and each thread's to blocks.
///
/// Rows are computed alike wherever the cuts fall, so neither number changes a bit of the result.
#[derive(Clone, Copy)]
pub(crate) struct Shares {
    n_rows: usize,
    /// Rows of a thread.
    share: usize,
    /// Rows that are taken from the first kernel to the last before the next begin.
    block: usize,
    /// What they leave behind.
    pub keep: Keep,
}

impl Shares {
    pub fn new(n_rows: usize, n_threads: usize, keep: Keep) -> Self {
        let share = n_rows.div_ceil(n_threads.max(1)).max(1);
        assert!(keep == Keep::Output || share >= n_rows, "rows kept for the backward pass are one block");
        Self { n_rows, share, block: keep.block_rows(share), keep }
    }

    /// Rows of block buffers: one block for each thread.
    pub fn n_block_rows(self) -> usize {
        self.n_rows.div_ceil(self.share) * self.block
    }

    /// Calls `work(rows, their part of the row buffers, the thread's block buffers)` on every block.
    pub fn run<T: Real, const A: usize, const B: usize>(
        self,
        mut row_buffers: [RowsMut<'_, T>; A],
        mut block_buffers: [&mut [T]; B],
        block_widths: [usize; B],
        work: impl Fn(Range<usize>, [RowsMut<'_, T>; A], [&mut [T]; B]) + Sync + Send,
    ) {
        let starts = (0..self.n_rows).step_by(self.share);
        let shares: Vec<_> = starts
            .map(|start| {
                let n = self.share.min(self.n_rows - start);
                let rows = split_rows(&mut row_buffers, n);
                (start..start + n, rows, split_off(&mut block_buffers, block_widths.map(|w| self.block * w)))
            })
            .collect();
        for_each(shares.into_iter(), |(share, mut row_buffers, mut block_buffers)| {
            for start in share.clone().step_by(self.block) {
                let n = self.block.min(share.end - start);
                let rows = split_rows(&mut row_buffers, n);
                let mut widths = block_widths.into_iter();
                let blocks = block_buffers.each_mut().map(|b| &mut b[..n * widths.next().unwrap_or(0)]);
                work(start..start + n, rows, blocks);
            }
        });
    }
}

/// The first `n` rows of each buffer; the buffers keep the rest.
fn split_rows<'a, T, const B: usize>(buffers: &mut [RowsMut<'a, T>; B], n: usize) -> [RowsMut<'a, T>; B] {
    buffers.each_mut().map(|buffer| {
        let (front, rest) = std::mem::take(buffer).split_at(n);
        *buffer = rest;
        front
    })
}

/// The first `lengths` elements of each buffer; the buffers keep the rest.
fn split_off<'a, T, const B: usize>(buffers: &mut [&'a mut [T]; B], lengths: [usize; B]) -> [&'a mut [T]; B] {
    let mut front: [&'a mut [T]; B] = std::array::from_fn(|_| Default::default());
    for ((buffer, front), length) in buffers.iter_mut().zip(&mut front).zip(lengths) {
        (*front, *buffer) = std::mem::take(buffer).split_at_mut(length);
    }
    front
}

/// Runs `work` on every item: a single one here, several on the current thread pool.
pub(crate) fn for_each<Item: Send>(items: impl Iterator<Item = Item>, work: impl Fn(Item) + Sync + Send) {
    let mut items: Vec<Item> = items.collect();
    match items.len() {
        1 => items.drain(..).for_each(work),
        _ => items.into_par_iter().for_each(work),
    }
}
