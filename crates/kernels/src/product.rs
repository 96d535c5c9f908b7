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
const ROWS: usize = 6;
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

impl<T> Strided<'_, T> {
    fn holds(&self, rows: usize, columns: usize) -> bool {
        rows == 0 || columns == 0 || (rows - 1) * self.row + (columns - 1) * self.column < self.data.len()
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
                    let task = Task { n, rows: rows.clone(), column, n_columns, first_step, n_steps, start };
                    // SAFETY: the operands hold all their elements (checked above), and a panel has room for
                    // STEPS rows of PANEL vectors on every back end.
                    unsafe {
                        let n_vectors = n_columns.div_ceil(lanes);
                        copy_panel::<I, T>(&task, rhs, n_vectors * lanes, panel);
                        let dst = dst.as_mut_ptr();
                        match n_vectors {
                            1 => tiles::<I, T, 1>(&task, dst, lhs, panel),
                            2 => tiles::<I, T, 2>(&task, dst, lhs, panel),
                            3 => tiles::<I, T, 3>(&task, dst, lhs, panel),
                            _ => tiles::<I, T, 4>(&task, dst, lhs, panel),
                        }
                    }
                }
            }
        }
    }
}

/// One panel of columns, some steps of k, a block of rows.
struct Task {
    /// Columns of the destination.
    n: usize,
    rows: std::ops::Range<usize>,
    column: usize,
    n_columns: usize,
    first_step: usize,
    n_steps: usize,
    start: Start,
}

/// panel\[step\]\[column\], `width` columns to a row, zero beyond the task's.
///
/// # Safety
/// `rhs` holds the task's elements; `panel` has room for `n_steps` rows.
#[inline(always)]
unsafe fn copy_panel<I: Isa, T: Real>(task: &Task, rhs: Strided<'_, T>, width: usize, panel: *mut T) {
    let lanes = T::Lanes::<I>::LANES;
    let (n_columns, n_steps) = (task.n_columns, task.n_steps);
    // SAFETY: offsets stay within the task's elements and the panel's rows, see the bounds of each loop.
    unsafe {
        let from = rhs.data.as_ptr().add(task.first_step * rhs.row + task.column * rhs.column);
        let one = |step: usize, column: usize| *from.add(step * rhs.row + column * rhs.column);
        let whole_columns = n_columns / lanes * lanes;
        // Steps that the block copies below have done for all whole vectors of columns.
        let mut done = 0;
        if rhs.column == 1 {
            for step in 0..n_steps {
                for column in (0..whole_columns).step_by(lanes) {
                    T::Lanes::<I>::load_at(from.add(step * rhs.row + column))
                        .store_at(panel.add(step * width + column));
                }
            }
            done = n_steps;
        } else if rhs.row == 1 {
            done = n_steps / lanes * lanes;
            for column in (0..whole_columns).step_by(lanes) {
                for step in (0..done).step_by(lanes) {
                    let from = from.add(step + column * rhs.column);
                    T::Lanes::<I>::transpose(
                        from,
                        rhs.column,
                        lanes,
                        panel.add(step * width + column),
                        width,
                    );
                }
            }
        }
        for step in 0..n_steps {
            for column in if step < done { whole_columns } else { 0 }..width {
                *panel.add(step * width + column) =
                    if column < n_columns { one(step, column) } else { T::ZERO };
            }
        }
    }
}

/// All tiles of a task, `V` vectors wide.
///
/// # Safety
/// `dst` holds the task's rows of n elements, `lhs` its operands, `panel` its panel; columns fit `V` vectors.
#[inline(always)]
unsafe fn tiles<I: Isa, T: Real, const V: usize>(
    task: &Task,
    dst: *mut T,
    lhs: Strided<'_, T>,
    panel: *const T,
) {
    let lanes = T::Lanes::<I>::LANES;
    for first in task.rows.clone().step_by(ROWS) {
        let n_rows = ROWS.min(task.rows.end - first);
        // A tile with fewer rows computes its last one several times and stores it once.
        let row = |r: usize| first + r.min(n_rows - 1);
        // SAFETY: rows, columns and steps are the task's, which the operands hold.
        unsafe {
            let lhs_rows: [*const T; ROWS] = std::array::from_fn(|r| {
                lhs.data.as_ptr().add(row(r) * lhs.row + task.first_step * lhs.column)
            });
            let at = |r: usize, v: usize| row(r) * task.n + task.column + v * lanes;
            let whole = |v: usize| (v + 1) * lanes <= task.n_columns;
            let mut sums = [[T::Lanes::<I>::splat(T::ZERO); V]; ROWS];
            if task.start == Start::Destination {
                for (r, sums) in sums.iter_mut().enumerate() {
                    for (v, sum) in sums.iter_mut().enumerate() {
                        *sum = if whole(v) {
                            T::Lanes::<I>::load_at(dst.add(at(r, v)))
                        } else {
                            load_part::<I, T>(dst.add(at(r, v)), task.n_columns - v * lanes)
                        };
                    }
                }
            }
            sum_steps::<I, T, V>(task.n_steps, lhs_rows, lhs.column, panel, &mut sums);
            for (r, sums) in sums.iter().enumerate().take(n_rows) {
                for (v, sum) in sums.iter().enumerate() {
                    if whole(v) {
                        sum.store_at(dst.add(at(r, v)));
                    } else {
                        store_part::<I, T>(*sum, dst.add(at(r, v)), task.n_columns - v * lanes);
                    }
                }
            }
        }
    }
}

/// sums\[r\] += Σ over steps of lhs\[r\]\[step\]·panel\[step\].
///
/// # Safety
/// Every lhs row holds `n_steps` elements `stride` apart, `panel` as many rows of `V` vectors.
#[inline(always)]
unsafe fn sum_steps<I: Isa, T: Real, const V: usize>(
    n_steps: usize,
    lhs: [*const T; ROWS],
    stride: usize,
    panel: *const T,
    sums: &mut [[T::Lanes<I>; V]; ROWS],
) {
    let lanes = T::Lanes::<I>::LANES;
    let mut own = *sums;
    for step in 0..n_steps {
        // SAFETY: `step` is below `n_steps`.
        unsafe {
            let columns: [T::Lanes<I>; V] =
                std::array::from_fn(|v| T::Lanes::<I>::load_at(panel.add((step * V + v) * lanes)));
            for r in 0..ROWS {
                let x = T::Lanes::<I>::splat(*lhs[r].add(step * stride));
                for v in 0..V {
                    own[r][v] = x.mul_add(columns[v], own[r][v]);
                }
            }
        }
    }
    *sums = own;
}

/// The first `n` elements at `from`, then zeros.
///
/// # Safety
/// They can be read, and are fewer than a vector's.
#[inline(always)]
unsafe fn load_part<I: Isa, T: Real>(from: *const T, n: usize) -> T::Lanes<I> {
    let mut lanes = [T::ZERO; crate::vector::MOST_LANES];
    for (lane, value) in lanes.iter_mut().enumerate().take(n) {
        // SAFETY: forwarded from the caller.
        *value = unsafe { *from.add(lane) };
    }
    T::Lanes::<I>::load(&lanes)
}

/// Writes the first `n` lanes.
///
/// # Safety
/// As many elements at `to` can be written, and are fewer than a vector's.
#[inline(always)]
unsafe fn store_part<I: Isa, T: Real>(vector: T::Lanes<I>, to: *mut T, n: usize) {
    let mut lanes = [T::ZERO; crate::vector::MOST_LANES];
    vector.store(&mut lanes);
    for (lane, &value) in lanes.iter().enumerate().take(n) {
        // SAFETY: forwarded from the caller.
        unsafe { *to.add(lane) = value }
    }
}
