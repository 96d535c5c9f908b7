//! Matrix products for tall operands: dst\[m, n\] = start + lhs\[m, k\] · rhs\[k, n\].
//!
//! A tile of 6 rows by a panel of columns is summed in registers; the rhs is copied panel by panel into a buffer that
//! stays near, so its layout in memory does not matter, unless it comes in panels; the lhs is read where it lies.
//! Every element is the sum of its products in the order of k, whatever m and n are, which makes a row's result
//! independent of the other rows.

mod panel;
mod tile;

use crate::Real;
use crate::isa::{Isa, dispatched};
use crate::rows::{Rows, RowsMut};
use crate::vector::Vector;
use panel::{ask_for_next_panel, copy_panel};
use std::mem::MaybeUninit;
use std::ops::Range;
use tile::{PANEL_BYTES, Single};

pub(crate) use panel::Ahead;
pub use panel::{Panels, Rhs, Strided, pack, panel_columns, panels_len};
pub(crate) use tile::{Steps, Term, tiles};

/// The left operand.
#[derive(Clone, Copy)]
pub enum Lhs<'a, T> {
    AsIs(Rows<'a, T>),
    Transposed(Rows<'a, T>),
}

/// What the sums start from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// 0.
    Zero,
    /// What the destination holds.
    Destination,
}

/// Steps of k for which a panel of the rhs is copied. 128, which leaves more of the first-level cache to the lhs, is
/// 3 % slower at k = 192, in a tuning run on one AVX-512 machine that is not kept as a bench.
const STEPS: usize = 192;
/// Rows of the lhs that are taken through all panels together: they and their results stay in the second-level cache.
const BLOCK_ROWS: usize = 516;

/// A panel's copy, uninitialised until it is written.
#[repr(align(64))]
struct Panel(MaybeUninit<[u8; STEPS * PANEL_BYTES]>);

impl<T> Lhs<'_, T> {
    /// Rows and steps.
    #[inline(always)]
    pub fn size(self) -> [usize; 2] {
        match self {
            Self::AsIs(rows) => [rows.n_rows, rows.n_columns],
            Self::Transposed(rows) => [rows.n_columns, rows.n_rows],
        }
    }
}

/// Panics unless the sizes fit; \[m, n, k\].
#[inline(always)]
pub(crate) fn size<T>(dst: &RowsMut<'_, T>, lhs: Lhs<'_, T>, rhs: Rhs<'_, T>) -> [usize; 3] {
    let (&RowsMut { n_rows: m, n_columns: n, .. }, [rows, k]) = (dst, lhs.size());
    assert!(rows == m && rhs.holds(k, n), "product of {rows}×{k} for {m}×{n}");
    [m, n, k]
}

dispatched! {
    /// dst = start + lhs·rhs.
    ///
    /// # Panics
    /// When the sizes do not fit, or panels are another back end's.
    pub(crate) fn product<I: Isa, T: Real>(
        dst: RowsMut<'_, T>, start: Start, lhs: Lhs<'_, T>, rhs: Rhs<'_, T>,
    ) {
        let [m, n, k] = size(&dst, lhs, rhs);
        let lanes = T::Lanes::<I>::LANES;
        let panel_columns = I::PANEL * lanes;
        let steps_together = match rhs {
            Rhs::Strided(_) => STEPS,
            Rhs::Panels(panels) => {
                assert_eq!(panels.columns, panel_columns, "columns of a panel");
                k.max(1)
            }
        };
        let mut copy = Panel(MaybeUninit::uninit());
        let copy = copy.0.as_mut_ptr().cast::<T>();
        for first_row in (0..m).step_by(BLOCK_ROWS) {
            let rows = first_row..m.min(first_row + BLOCK_ROWS);
            for column in (0..n).step_by(panel_columns) {
                let columns = column..n.min(column + panel_columns);
                // Without a step, the sums are stored all the same.
                for first_step in (0..k.max(1)).step_by(steps_together) {
                    let steps = first_step..k.min(first_step + steps_together);
                    let start = if first_step == 0 { start } else { Start::Destination };
                    let task = Task { rows: rows.clone(), columns: columns.clone(), steps, start };
                    // SAFETY: the operands hold all their elements (checked above), and a panel has room for
                    // STEPS rows of PANEL vectors on every back end.
                    unsafe {
                        match columns.len().div_ceil(lanes) {
                            1 => by_panel::<I, T, 1>(&task, &dst, lhs, rhs, copy),
                            2 => by_panel::<I, T, 2>(&task, &dst, lhs, rhs, copy),
                            3 => by_panel::<I, T, 3>(&task, &dst, lhs, rhs, copy),
                            _ => by_panel::<I, T, 4>(&task, &dst, lhs, rhs, copy),
                        }
                    }
                }
            }
        }
    }
}

/// One panel of columns, some steps of k, a block of rows.
pub(crate) struct Task {
    pub rows: Range<usize>,
    pub columns: Range<usize>,
    pub steps: Range<usize>,
    pub start: Start,
}

/// A task whose columns take `V` vectors.
///
/// # Safety
/// The matrices hold the task's elements, `copy` has room for its steps if the rhs has no panels.
#[inline(always)]
unsafe fn by_panel<I: Isa, T: Real, const V: usize>(
    task: &Task,
    dst: &RowsMut<'_, T>,
    lhs: Lhs<'_, T>,
    rhs: Rhs<'_, T>,
    copy: *mut T,
) {
    // SAFETY: forwarded from the caller; panels before this one are whole, and hold k steps of each of their columns.
    unsafe {
        let width = V * T::Lanes::<I>::LANES;
        let (panel, ahead) = match rhs {
            Rhs::Strided(rhs) => {
                copy_panel::<I, T, V>(task, rhs, copy);
                ask_for_next_panel(task, dst.n_columns, rhs);
                (copy.cast_const(), Ahead::nothing())
            }
            Rhs::Panels(Panels { data, k, .. }) => {
                let panel = data.as_ptr().add(task.columns.start * k + task.steps.start * width);
                (panel, Ahead::behind(panel, task.steps.len() * width))
            }
        };
        let lhs = Steps::new(lhs, task.rows.start, task.steps.start);
        tiles::<I, T, V, Single>(task, dst, lhs, panel, ahead);
    }
}
