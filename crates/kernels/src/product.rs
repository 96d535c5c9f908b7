//! Matrix products for tall operands: dst\[m, n\] = start + lhs\[m, k\] · rhs\[k, n\].
//!
//! A tile of 6 rows by a panel of columns is summed in registers; the rhs is copied panel by panel into a buffer that
//! stays in the first-level cache, so its layout in memory does not matter, while the lhs is read where it lies.
//! Every element is the sum of its products in the order of k, whatever m and n are, which makes a row's result
//! independent of the other rows.

use crate::Real;
use crate::isa::{Isa, dispatched};
use crate::rows::{Layout, Rows, RowsMut};
use crate::vector::{LINE_BYTES, Vector, prefetch};
use std::mem::MaybeUninit;
use std::ops::Range;

/// The right operand: element (r, c) at r·row + c·column.
#[derive(Clone, Copy)]
pub struct Strided<'a, T> {
    pub data: &'a [T],
    pub row: usize,
    pub column: usize,
}

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

impl<T> Strided<'_, T> {
    fn holds(&self, rows: usize, columns: usize) -> bool {
        rows == 0 || columns == 0 || (rows - 1) * self.row + (columns - 1) * self.column < self.data.len()
    }

    /// The part from an element on.
    #[inline(always)]
    pub fn from(self, row: usize, column: usize) -> Self {
        Self { data: &self.data[row * self.row + column * self.column..], ..self }
    }
}

/// Panics unless the sizes fit; \[m, n, k\].
#[inline(always)]
pub(crate) fn size<T>(dst: &RowsMut<'_, T>, lhs: Lhs<'_, T>, rhs: Strided<'_, T>) -> [usize; 3] {
    let (&RowsMut { n_rows: m, n_columns: n, .. }, [rows, k]) = (dst, lhs.size());
    assert!(rows == m && rhs.holds(k, n), "product of {rows}×{k} for {m}×{n}");
    [m, n, k]
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
    /// dst = start + lhs·rhs.
    pub(crate) fn product<I: Isa, T: Real>(
        dst: RowsMut<'_, T>, start: Start, lhs: Lhs<'_, T>, rhs: Strided<'_, T>,
    ) {
        let [m, n, k] = size(&dst, lhs, rhs);
        let lanes = T::Lanes::<I>::LANES;
        let panel_columns = I::PANEL * lanes;
        let mut panel = Panel(MaybeUninit::uninit());
        let panel = panel.0.as_mut_ptr().cast::<T>();
        for first_row in (0..m).step_by(BLOCK_ROWS) {
            let rows = first_row..m.min(first_row + BLOCK_ROWS);
            for column in (0..n).step_by(panel_columns) {
                let columns = column..n.min(column + panel_columns);
                // Without a step, the sums are stored all the same.
                for first_step in (0..k.max(1)).step_by(STEPS) {
                    let steps = first_step..k.min(first_step + STEPS);
                    let start = if first_step == 0 { start } else { Start::Destination };
                    let task = Task { rows: rows.clone(), columns: columns.clone(), steps, start };
                    // SAFETY: the operands hold all their elements (checked above), and a panel has room for
                    // STEPS rows of PANEL vectors on every back end.
                    unsafe {
                        match columns.len().div_ceil(lanes) {
                            1 => by_panel::<I, T, 1>(&task, &dst, lhs, rhs, panel),
                            2 => by_panel::<I, T, 2>(&task, &dst, lhs, rhs, panel),
                            3 => by_panel::<I, T, 3>(&task, &dst, lhs, rhs, panel),
                            _ => by_panel::<I, T, 4>(&task, &dst, lhs, rhs, panel),
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
/// The matrices hold the task's elements, `panel` has room for its steps.
#[inline(always)]
unsafe fn by_panel<I: Isa, T: Real, const V: usize>(
    task: &Task,
    dst: &RowsMut<'_, T>,
    lhs: Lhs<'_, T>,
    rhs: Strided<'_, T>,
    panel: *mut T,
) {
    // SAFETY: forwarded from the caller.
    unsafe {
        copy_panel::<I, T, V>(task, rhs, panel);
        ask_for_next_panel(task, dst.n_columns, rhs);
        tiles::<I, T, V, Single>(task, dst, Steps::new(lhs, task.rows.start, task.steps.start), panel);
    }
}

/// Asks for the next panel's elements of the rhs to be brought near while this one's are multiplied: weights come from
/// far where rows are few, and the copy would wait for them.
#[inline(always)]
fn ask_for_next_panel<T>(task: &Task, n_columns: usize, rhs: Strided<'_, T>) {
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
unsafe fn copy_panel<I: Isa, T: Real, const V: usize>(task: &Task, rhs: Strided<'_, T>, panel: *mut T) {
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

/// The left operand from a row and a step on: row r starts at `row(r)`, its steps come in pieces.
#[derive(Clone, Copy)]
pub(crate) struct Steps<T> {
    first: *const T,
    /// Where rows lie and which the first is.
    rows: Layout,
    first_row: usize,
    /// From step to step of a piece.
    step: usize,
    /// Where the pieces lie and which step is the first.
    pieces: Layout,
    first_step: usize,
}

impl<T> Steps<T> {
    #[inline(always)]
    pub fn new(lhs: Lhs<'_, T>, first_row: usize, first_step: usize) -> Self {
        match lhs {
            Lhs::AsIs(Rows { data, layout, .. }) => {
                let first = data[first_row * layout.row..].as_ptr();
                let rows = Layout { row: layout.row, ..Layout::row_major(0) };
                Self { first, rows, first_row: 0, step: 1, pieces: layout, first_step }
            }
            Lhs::Transposed(Rows { data, layout, .. }) => {
                let first = data[first_step * layout.row..].as_ptr();
                let rows = Layout { row: 1, ..layout };
                let pieces = Layout::row_major(0);
                Self { first, rows, first_row, step: layout.row, pieces, first_step: 0 }
            }
        }
    }

    /// Rows and steps \[`row`, `step`\] apart.
    #[inline(always)]
    pub fn packed(first: *const T, [row, step]: [usize; 2]) -> Self {
        let rows = Layout { row, ..Layout::row_major(0) };
        Self { first, rows, first_row: 0, step, pieces: Layout::row_major(0), first_step: 0 }
    }

    /// Where a row starts.
    #[inline(always)]
    fn row(self, r: usize) -> usize {
        let r = self.first_row + r;
        if self.rows.is_row_major() { r * self.rows.row } else { self.rows.column(r) }
    }

    /// Where a step lies, and how many behind it lie `step` apart, itself included.
    #[inline(always)]
    fn piece(self, step: usize) -> (usize, usize) {
        let (step, pieces) = (self.first_step + step, self.pieces);
        let offset = if pieces.is_row_major() { step * self.step } else { pieces.column(step) };
        (offset, pieces.n_together(step))
    }
}

/// Where a tile's results go: vector v of row r at `first` + r·`row` + `vectors`\[v\].
#[derive(Clone, Copy)]
struct Place<T, const V: usize> {
    first: *mut T,
    row: usize,
    vectors: [usize; V],
}

/// All tiles of a task, `V` vectors wide. `lhs` starts with the task's first row and step.
///
/// # Safety
/// `dst` and `lhs` hold the task's elements, `panel` as many rows of `V` vectors as it has steps.
#[inline(always)]
pub(crate) unsafe fn tiles<I: Isa, T: Real, const V: usize, K: Term<T, T::Lanes<I>>>(
    task: &Task,
    dst: &RowsMut<'_, T>,
    lhs: Steps<T>,
    panel: *const T,
) {
    let lanes = T::Lanes::<I>::LANES;
    let (layout, n_columns) = (dst.layout, task.columns.len());
    let is_whole = n_columns == V * lanes && layout.keeps_together(lanes);
    let (mut vectors, mut in_edge) = ([0; V], [0; V]);
    for v in 0..V {
        vectors[v] = if is_whole { layout.column(task.columns.start + v * lanes) } else { 0 };
        in_edge[v] = v * lanes;
    }
    for first in task.rows.clone().step_by(ROWS) {
        let (n_rows, lhs_row) = (ROWS.min(task.rows.end - first), first - task.rows.start);
        // SAFETY: rows, columns and steps are the task's, which the matrices hold; a row of `edge` is one of the panel.
        unsafe {
            let to = dst.first.add(first * layout.row);
            if is_whole {
                let place = Place { first: to, row: layout.row, vectors };
                tile::<I, T, V, K>(task, [n_rows, lhs_row], lhs, panel, place);
                continue;
            }
            // Columns that fill no vector, or lie apart, pass through memory of whole rows.
            let mut edge = Edge(MaybeUninit::uninit());
            let place = Place { first: edge.0.as_mut_ptr().cast::<T>(), row: V * lanes, vectors: in_edge };
            for (r, c) in (0..n_rows).flat_map(|r| (0..V * lanes).map(move |c| (r, c))) {
                let is_kept = c < n_columns && task.start == Start::Destination;
                let element = if is_kept {
                    *to.add(r * layout.row + layout.column(task.columns.start + c))
                } else {
                    T::ZERO
                };
                *place.first.add(r * place.row + c) = element;
            }
            tile::<I, T, V, K>(task, [n_rows, lhs_row], lhs, panel, place);
            for (r, c) in (0..n_rows).flat_map(|r| (0..n_columns).map(move |c| (r, c))) {
                let to = to.add(r * layout.row + layout.column(task.columns.start + c));
                *to = *place.first.add(r * place.row + c);
            }
        }
    }
}

/// One tile. With fewer rows than it has room for, the last one is computed several times, and stored as often: the
/// compiler keeps the sums in registers only where nothing depends on the number.
///
/// # Safety
/// `n_rows` rows of `lhs` from `lhs_row` on hold the task's steps, `panel` as many rows of `V` vectors, and `place` is that
/// of `n_rows` rows of them.
#[inline(always)]
unsafe fn tile<I: Isa, T: Real, const V: usize, K: Term<T, T::Lanes<I>>>(
    task: &Task,
    [n_rows, lhs_row]: [usize; 2],
    lhs: Steps<T>,
    panel: *const T,
    place: Place<T, V>,
) {
    let lanes = T::Lanes::<I>::LANES;
    let n_steps = task.steps.len();
    // SAFETY: forwarded from the caller.
    unsafe {
        let (mut from, mut to) = ([lhs.first; ROWS], [place.first; ROWS]);
        for r in 0..ROWS {
            from[r] = from[r].add(lhs.row(lhs_row + r.min(n_rows - 1)));
            to[r] = to[r].add(r.min(n_rows - 1) * place.row);
        }
        let mut sums = [[T::Lanes::<I>::splat(T::ZERO); V]; ROWS];
        if task.start == Start::Destination {
            for r in 0..ROWS {
                for v in 0..V {
                    sums[r][v] = T::Lanes::<I>::load_at(to[r].add(place.vectors[v]));
                }
            }
        }
        let mut done = 0;
        while done < n_steps {
            let (offset, n) = lhs.piece(done);
            let n = n.min(n_steps - done);
            let panel = panel.add(done * V * lanes);
            for step in 0..n {
                let mut columns = [T::Lanes::<I>::splat(T::ZERO); V];
                for v in 0..V {
                    columns[v] = T::Lanes::<I>::load_at(panel.add((step * V + v) * lanes));
                }
                for r in 0..ROWS {
                    let x = T::Lanes::<I>::splat(*from[r].add(offset + step * lhs.step));
                    for v in 0..V {
                        sums[r][v] = K::add(x, columns[v], sums[r][v]);
                    }
                }
            }
            done += n;
        }
        for r in 0..ROWS {
            for v in 0..V {
                sums[r][v].store_at(to[r].add(place.vectors[v]));
            }
        }
    }
}
