//! Matrix products for tall operands: dst\[m, n\] = start + lhs\[m, k\] · rhs\[k, n\].
//!
//! A tile of 6 rows by a panel of columns is summed in registers; the rhs is copied panel by panel into a buffer that
//! stays in the first-level cache, so its layout in memory does not matter, while the lhs is read where it lies.
//! Every element is the sum of its products in the order of k, whatever m and n are, which makes a row's result
//! independent of the other rows.

use crate::Real;
use crate::isa::{Isa, dispatched};
use crate::vector::Vector;
use std::mem::MaybeUninit;
use std::ops::Range;

/// A matrix inside a slice: element (r, c) at r·row + c·column.
#[derive(Clone, Copy)]
pub struct Strided<'a, T> {
    pub data: &'a [T],
    pub row: usize,
    pub column: usize,
}

/// What the sums start from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// 0.
    Zero,
    /// What the destination holds.
    Destination,
}

/// Rows of a tile.
pub(crate) const ROWS: usize = 6;
/// Steps of k for which a panel of the rhs is copied. 128, which leaves more of the first-level cache to the lhs, is
/// 3 % slower at k = 192, in a tuning run on one AVX-512 machine that is not kept as a bench.
const STEPS: usize = 192;
/// Bytes of a panel's row on the widest back end.
const PANEL_BYTES: usize = 256;
/// Rows of the lhs that are taken through all panels together: they and their results stay in the second-level cache.
const BLOCK_ROWS: usize = 516;

/// A panel's copy, uninitialised until it is written.
#[repr(align(64))]
struct Panel(MaybeUninit<[u8; STEPS * PANEL_BYTES]>);

/// A tile's results where the columns fill no whole vector.
#[repr(align(64))]
struct Edge(MaybeUninit<[u8; ROWS * PANEL_BYTES]>);

impl<T> Strided<'_, T> {
    pub fn holds(&self, rows: usize, columns: usize) -> bool {
        rows == 0 || columns == 0 || (rows - 1) * self.row + (columns - 1) * self.column < self.data.len()
    }

    /// The part from an element on.
    #[inline(always)]
    pub fn from(self, row: usize, column: usize) -> Self {
        Self { data: &self.data[row * self.row + column * self.column..], ..self }
    }
}

/// What one step of k adds to the sums.
pub(crate) trait Term<T, V: Vector<T>> {
    /// sum + the product, or products, of x and y.
    fn add(x: V, y: V, sum: V) -> V;
}

/// One product.
struct Single;

impl<T, V: Vector<T>> Term<T, V> for Single {
    #[inline(always)]
    fn add(x: V, y: V, sum: V) -> V {
        x.mul_add(y, sum)
    }
}

dispatched! {
    /// dst\[m, n\] = start + lhs·rhs, dst row-major.
    pub(crate) fn product<I: Isa, T: Real>(
        size: [usize; 3], dst: &mut [T], start: Start, lhs: Strided<'_, T>, rhs: Strided<'_, T>,
    ) {
        let [m, n, k] = size;
        assert_eq!(dst.len(), m * n, "destination of {m}×{n}");
        assert!(lhs.holds(m, k) && rhs.holds(k, n), "operands of {m}×{k} and {k}×{n}");
        if k == 0 && start == Start::Zero {
            dst.fill(T::ZERO);
        }
        let lanes = T::Lanes::<I>::LANES;
        let panel_columns = I::PANEL * lanes;
        let mut panel = Panel(MaybeUninit::uninit());
        let panel = panel.0.as_mut_ptr().cast::<T>();
        for first_row in (0..m).step_by(BLOCK_ROWS) {
            let rows = first_row..m.min(first_row + BLOCK_ROWS);
            for column in (0..n).step_by(panel_columns) {
                let n_columns = panel_columns.min(n - column);
                for first_step in (0..k).step_by(STEPS) {
                    let n_steps = STEPS.min(k - first_step);
                    let start = if first_step == 0 { start } else { Start::Destination };
                    let task = Task { n, rows: rows.clone(), column, n_columns, n_steps, start };
                    let (lhs, rhs) = (lhs.from(first_row, first_step), rhs.from(first_step, column));
                    // SAFETY: the operands hold all their elements (checked above), and a panel has room for
                    // STEPS rows of PANEL vectors on every back end.
                    unsafe {
                        let dst = dst.as_mut_ptr();
                        match n_columns.div_ceil(lanes) {
                            1 => by_panel::<I, T, 1>(&task, dst, lhs, rhs, panel),
                            2 => by_panel::<I, T, 2>(&task, dst, lhs, rhs, panel),
                            3 => by_panel::<I, T, 3>(&task, dst, lhs, rhs, panel),
                            _ => by_panel::<I, T, 4>(&task, dst, lhs, rhs, panel),
                        }
                    }
                }
            }
        }
    }
}

/// One panel of columns, some steps of k, a block of rows.
pub(crate) struct Task {
    /// Columns of the destination.
    pub n: usize,
    /// Its rows and columns that are computed.
    pub rows: Range<usize>,
    pub column: usize,
    pub n_columns: usize,
    pub n_steps: usize,
    pub start: Start,
}

/// A task whose columns take `V` vectors, with its parts of the operands.
///
/// # Safety
/// `dst` holds rows of n elements, `panel` has room for the task's steps.
#[inline(always)]
unsafe fn by_panel<I: Isa, T: Real, const V: usize>(
    task: &Task,
    dst: *mut T,
    lhs: Strided<'_, T>,
    rhs: Strided<'_, T>,
    panel: *mut T,
) {
    // SAFETY: forwarded from the caller.
    unsafe {
        copy_panel::<I, T, V>(task, rhs, panel);
        tiles::<I, T, V, Single>(task, dst, lhs, panel);
    }
}

/// panel\[step\]\[column\], `V` vectors to a row, zero beyond the task's columns.
///
/// # Safety
/// `rhs` holds the task's elements; `panel` has room for `n_steps` rows.
#[inline(always)]
unsafe fn copy_panel<I: Isa, T: Real, const V: usize>(task: &Task, rhs: Strided<'_, T>, panel: *mut T) {
    let lanes = T::Lanes::<I>::LANES;
    let (n_columns, n_steps, width) = (task.n_columns, task.n_steps, V * lanes);
    // SAFETY: offsets stay within the task's elements and the panel's rows, see the bounds of each loop.
    unsafe {
        let from = rhs.data.as_ptr();
        let whole_columns = n_columns / lanes * lanes;
        // Steps that the block copies below have done for all whole vectors of columns.
        let mut done = 0;
        if rhs.column == 1 && n_columns == width {
            for step in 0..n_steps {
                let mut row = [T::Lanes::<I>::splat(T::ZERO); V];
                for v in 0..V {
                    row[v] = T::Lanes::<I>::load_at(from.add(step * rhs.row + v * lanes));
                }
                for v in 0..V {
                    row[v].store_at(panel.add(step * width + v * lanes));
                }
            }
            return;
        }
        if rhs.row == 1 {
            done = n_steps / lanes * lanes;
            for column in (0..whole_columns).step_by(lanes) {
                for step in (0..done).step_by(lanes) {
                    let (from, to) = (from.add(step + column * rhs.column), panel.add(step * width + column));
                    T::Lanes::<I>::transpose(from, rhs.column, lanes, to, width);
                }
            }
        }
        for step in 0..n_steps {
            for column in if step < done { whole_columns } else { 0 }..width {
                *panel.add(step * width + column) = if column < n_columns {
                    *from.add(step * rhs.row + column * rhs.column)
                } else {
                    T::ZERO
                };
            }
        }
    }
}

/// Where a tile's results go: rows `stride` apart.
#[derive(Clone, Copy)]
struct Place<T> {
    first: *mut T,
    stride: usize,
}

/// All tiles of a task, `V` vectors wide. `lhs` starts with the task's first row and step.
///
/// # Safety
/// `dst` holds the task's rows of n elements, `lhs` its rows and steps, `panel` as many rows of `V` vectors.
#[inline(always)]
pub(crate) unsafe fn tiles<I: Isa, T: Real, const V: usize, K: Term<T, T::Lanes<I>>>(
    task: &Task,
    dst: *mut T,
    lhs: Strided<'_, T>,
    panel: *const T,
) {
    let width = V * T::Lanes::<I>::LANES;
    // SAFETY: rows, columns and steps are the task's, which the operands hold; a row of `edge` is one of the panel.
    unsafe {
        for first in task.rows.clone().step_by(ROWS) {
            let n_rows = ROWS.min(task.rows.end - first);
            let lhs = lhs.from(first - task.rows.start, 0);
            let place = Place { first: dst.add(first * task.n + task.column), stride: task.n };
            if task.n_columns == width {
                tile::<I, T, V, K>(task, n_rows, lhs, panel, place);
                continue;
            }
            // Columns that fill no vector pass through memory of whole rows.
            let mut edge = Edge(MaybeUninit::uninit());
            let edge = Place { first: edge.0.as_mut_ptr().cast::<T>(), stride: width };
            for r in 0..n_rows {
                let (row, edge) = (place.first.add(r * place.stride), edge.first.add(r * edge.stride));
                for column in 0..width {
                    let is_kept = column < task.n_columns && task.start == Start::Destination;
                    *edge.add(column) = if is_kept { *row.add(column) } else { T::ZERO };
                }
            }
            tile::<I, T, V, K>(task, n_rows, lhs, panel, edge);
            for r in 0..n_rows {
                for column in 0..task.n_columns {
                    *place.first.add(r * place.stride + column) = *edge.first.add(r * width + column);
                }
            }
        }
    }
}

/// One tile. With fewer rows than it has room for, the last one is computed several times, and stored as often: the
/// compiler keeps the sums in registers only where nothing depends on the number.
///
/// # Safety
/// `n_rows` rows of `lhs` from its first element on hold the task's steps, `panel` as many rows of `V` vectors, and
/// `place` is that of `n_rows` rows of them.
#[inline(always)]
unsafe fn tile<I: Isa, T: Real, const V: usize, K: Term<T, T::Lanes<I>>>(
    task: &Task,
    n_rows: usize,
    lhs: Strided<'_, T>,
    panel: *const T,
    place: Place<T>,
) {
    let lanes = T::Lanes::<I>::LANES;
    // SAFETY: forwarded from the caller.
    unsafe {
        let (mut from, mut to) = ([lhs.data.as_ptr(); ROWS], [place.first; ROWS]);
        for r in 0..ROWS {
            from[r] = from[r].add(r.min(n_rows - 1) * lhs.row);
            to[r] = to[r].add(r.min(n_rows - 1) * place.stride);
        }
        let mut sums = [[T::Lanes::<I>::splat(T::ZERO); V]; ROWS];
        if task.start == Start::Destination {
            for r in 0..ROWS {
                for v in 0..V {
                    sums[r][v] = T::Lanes::<I>::load_at(to[r].add(v * lanes));
                }
            }
        }
        for step in 0..task.n_steps {
            let mut columns = [T::Lanes::<I>::splat(T::ZERO); V];
            for v in 0..V {
                columns[v] = T::Lanes::<I>::load_at(panel.add((step * V + v) * lanes));
            }
            for r in 0..ROWS {
                let x = T::Lanes::<I>::splat(*from[r].add(step * lhs.column));
                for v in 0..V {
                    sums[r][v] = K::add(x, columns[v], sums[r][v]);
                }
            }
        }
        for r in 0..ROWS {
            for v in 0..V {
                sums[r][v].store_at(to[r].add(v * lanes));
            }
        }
    }
}
