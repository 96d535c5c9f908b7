//! Tiles of a product: 6 rows by a panel's columns, summed in registers.

use super::panel::Ahead;
use super::{Lhs, Start, Task};
use crate::Real;
use crate::isa::Isa;
use crate::rows::{Layout, Rows, RowsMut};
use crate::vector::Vector;
use std::mem::MaybeUninit;

/// Rows of a tile.
pub(super) const ROWS: usize = 6;
/// Bytes of a panel's row on the widest back end.
pub(super) const PANEL_BYTES: usize = 256;

/// A tile's results where the columns fill no whole vector.
#[repr(align(64))]
struct Edge(MaybeUninit<[u8; ROWS * PANEL_BYTES]>);

/// What one step of k adds to the sums.
pub(crate) trait Term<T, V: Vector<T>> {
    /// sum + the product, or products, of x and y.
    fn add(x: V, y: V, sum: V) -> V;
}

/// One product.
pub(super) struct Single;

impl<T, V: Vector<T>> Term<T, V> for Single {
    #[inline(always)]
    fn add(x: V, y: V, sum: V) -> V {
        x.mul_add(y, sum)
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
/// Asking for the lines of the destination before a tile is summed made no difference beyond noise to a forward pass of
/// the full-size model on 42 atoms, in a tuning run on one machine.
///
/// # Safety
/// `dst` and `lhs` hold the task's elements, `panel` as many rows of `V` vectors as it has steps.
#[inline(always)]
pub(crate) unsafe fn tiles<I: Isa, T: Real, const V: usize, K: Term<T, T::Lanes<I>>>(
    task: &Task,
    dst: &RowsMut<'_, T>,
    lhs: Steps<T>,
    panel: *const T,
    ahead: Ahead<T>,
) {
    let lanes = T::Lanes::<I>::LANES;
    let (layout, n_columns) = (dst.layout, task.columns.len());
    let is_whole = n_columns == V * lanes && layout.keeps_together(lanes);
    let (mut vectors, mut in_edge) = ([0; V], [0; V]);
    for v in 0..V {
        vectors[v] = if is_whole { layout.column(task.columns.start + v * lanes) } else { 0 };
        in_edge[v] = v * lanes;
    }
    let n_tiles = task.rows.len().div_ceil(ROWS);
    for index in 0..n_tiles {
        let lhs_row = index * ROWS;
        let first = task.rows.start + lhs_row;
        let n_rows = ROWS.min(task.rows.end - first);
        ahead.ask(index, n_tiles);
        // SAFETY: rows, columns and steps are the task's, which the matrices hold; a row of `edge` is one of the panel.
        unsafe {
            let to = dst.first.add(first * layout.row);
            if is_whole {
                let place = Place { first: to, row: layout.row, vectors };
                some_rows::<I, T, V, K>(task, [n_rows, lhs_row], lhs, panel, place);
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
            some_rows::<I, T, V, K>(task, [n_rows, lhs_row], lhs, panel, place);
            for (r, c) in (0..n_rows).flat_map(|r| (0..n_columns).map(move |c| (r, c))) {
                let to = to.add(r * layout.row + layout.column(task.columns.start + c));
                *to = *place.first.add(r * place.row + c);
            }
        }
    }
}

/// A tile of as few rows as hold `n_rows`.
///
/// # Safety
/// As [`tile`].
#[inline(always)]
unsafe fn some_rows<I: Isa, T: Real, const V: usize, K: Term<T, T::Lanes<I>>>(
    task: &Task,
    size: [usize; 2],
    lhs: Steps<T>,
    panel: *const T,
    place: Place<T, V>,
) {
    // SAFETY: forwarded from the caller.
    unsafe {
        if size[0] > ROWS / 2 {
            tile::<I, T, V, ROWS, K>(task, size, lhs, panel, place);
        } else {
            tile::<I, T, V, { ROWS / 2 }, K>(task, size, lhs, panel, place);
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
unsafe fn tile<I: Isa, T: Real, const V: usize, const R: usize, K: Term<T, T::Lanes<I>>>(
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
        let (mut from, mut to) = ([lhs.first; R], [place.first; R]);
        for r in 0..R {
            from[r] = from[r].add(lhs.row(lhs_row + r.min(n_rows - 1)));
            to[r] = to[r].add(r.min(n_rows - 1) * place.row);
        }
        let mut sums = [[T::Lanes::<I>::splat(T::ZERO); V]; R];
        if task.start == Start::Destination {
            for r in 0..R {
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
                for r in 0..R {
                    let x = T::Lanes::<I>::splat(*from[r].add(offset + step * lhs.step));
                    for v in 0..V {
                        sums[r][v] = K::add(x, columns[v], sums[r][v]);
                    }
                }
            }
            done += n;
        }
        for r in 0..R {
            for v in 0..V {
                sums[r][v].store_at(to[r].add(place.vectors[v]));
            }
        }
    }
}
