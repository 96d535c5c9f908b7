//! The right operand of a product, and its panels of columns: copied as they are needed, or once for all.

use super::Task;
use crate::Real;
use crate::isa::{Isa, dispatched};
use crate::vector::{LINE_BYTES, MOST_LANES, Vector, prefetch};

/// The right operand: element (r, c) at r·row + c·column.
#[derive(Clone, Copy)]
pub struct Strided<'a, T> {
    pub data: &'a [T],
    pub row: usize,
    pub column: usize,
}

/// A linear layer's weights \[n, k\] in the order in which products read them: what [`pack`] made.
#[derive(Debug, Clone, Copy)]
pub struct Panels<'a, T> {
    /// [`panels_len`] elements.
    pub data: &'a [T],
    /// Outputs of the layer.
    pub n: usize,
    /// Its inputs.
    pub k: usize,
    /// [`panel_columns`] of the back end that packed them.
    pub columns: usize,
}

/// The right operand of a product.
#[derive(Clone, Copy)]
pub enum Rhs<'a, T> {
    Strided(Strided<'a, T>),
    Panels(Panels<'a, T>),
}

/// Elements of the panels of weights \[n, k\], on any back end.
pub fn panels_len(n: usize, k: usize) -> usize {
    n.next_multiple_of(MOST_LANES) * k
}

dispatched! {
    /// Outputs that one panel holds on the back end in use.
    pub fn panel_columns<I: Isa, T: Real>(_of: &[T]) -> usize {
        I::PANEL * T::Lanes::<I>::LANES
    }
}

dispatched! {
    /// Writes the panels of the weights w\[n, k\] of a linear layer, [`panels_len`] elements, and returns
    /// [`panel_columns`].
    pub fn pack<I: Isa, T: Real>(n: usize, k: usize, w: &[T], panels: &mut [T]) -> usize {
        assert_eq!((w.len(), panels.len()), (n * k, panels_len(n, k)), "panels of {k} → {n}");
        let (lanes, panel_columns) = (T::Lanes::<I>::LANES, I::PANEL * T::Lanes::<I>::LANES);
        let rhs = Strided { data: w, row: 1, column: k };
        for column in (0..n).step_by(panel_columns) {
            let columns = column..n.min(column + panel_columns);
            let vectors = columns.len().div_ceil(lanes);
            let task = Task { rows: 0..0, columns, steps: 0..k, start: super::Start::Zero };
            let to = panels[column * k..].as_mut_ptr();
            // SAFETY: the weights hold the task's elements, the panels as many rounded up to whole vectors.
            unsafe {
                match vectors {
                    1 => copy_panel::<I, T, 1>(&task, rhs, to),
                    2 => copy_panel::<I, T, 2>(&task, rhs, to),
                    3 => copy_panel::<I, T, 3>(&task, rhs, to),
                    _ => copy_panel::<I, T, 4>(&task, rhs, to),
                }
            }
        }
        panel_columns
    }
}

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

impl<T> Rhs<'_, T> {
    /// Whether it has `rows` × `columns` elements.
    #[inline(always)]
    pub fn holds(&self, rows: usize, columns: usize) -> bool {
        match self {
            Self::Strided(strided) => strided.holds(rows, columns),
            Self::Panels(Panels { data, n, k, .. }) => {
                [*k, *n] == [rows, columns] && data.len() >= panels_len(columns, rows)
            }
        }
    }
}

/// What is read after a task: memory to be brought near while its tiles are computed, a part with each.
#[derive(Clone, Copy)]
pub(crate) struct Ahead<T> {
    from: *const T,
    /// Lines of the cache.
    n_lines: usize,
}

impl<T> Ahead<T> {
    /// Nothing.
    #[inline(always)]
    pub fn nothing() -> Self {
        Self { from: std::ptr::null(), n_lines: 0 }
    }

    /// What lies behind a panel's part, as long as it is; the end of the weights may be passed.
    #[inline(always)]
    pub fn behind(from: *const T, n: usize) -> Self {
        Self { from: from.wrapping_add(n), n_lines: (n * size_of::<T>()).div_ceil(LINE_BYTES) }
    }

    /// Asks for part `index` of `n`.
    #[inline(always)]
    pub fn ask(self, index: usize, n: usize) {
        let share = self.n_lines.div_ceil(n);
        for line in index * share..self.n_lines.min((index + 1) * share) {
            prefetch(self.from.cast::<u8>().wrapping_add(line * LINE_BYTES));
        }
    }
}

/// Asks for the next panel's elements of the rhs to be brought near while this one's are multiplied: weights come from
/// far where rows are few, and the copy would wait for them.
#[inline(always)]
pub(super) fn ask_for_next_panel<T>(task: &Task, n_columns: usize, rhs: Strided<'_, T>) {
    let next = task.columns.end..n_columns.min(task.columns.end + task.columns.len());
    let (first, n, stride, len) = if rhs.row == 1 {
        (task.steps.start + next.start * rhs.column, next.len(), rhs.column, task.steps.len())
    } else {
        (task.steps.start * rhs.row + next.start, task.steps.len(), rhs.row, next.len())
    };
    for row in 0..n {
        for element in (0..len).step_by(LINE_BYTES / size_of::<T>()) {
            prefetch(rhs.data.as_ptr().wrapping_add(first + row * stride + element));
        }
    }
}

/// panel\[step\]\[column\], `V` vectors to a row, zero beyond the task's columns.
///
/// # Safety
/// `rhs` holds the task's elements; `panel` has room for its steps.
#[inline(always)]
pub(super) unsafe fn copy_panel<I: Isa, T: Real, const V: usize>(
    task: &Task,
    rhs: Strided<'_, T>,
    panel: *mut T,
) {
    let lanes = T::Lanes::<I>::LANES;
    let (n_columns, n_steps, width) = (task.columns.len(), task.steps.len(), V * lanes);
    // SAFETY: offsets stay within the task's elements and the panel's rows, see the bounds of each loop.
    unsafe {
        let from = rhs.data.as_ptr().add(task.steps.start * rhs.row + task.columns.start * rhs.column);
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
