//! Matrix products of operands rounded to bfloat16 (8 bits of mantissa), summed in f32, where the processor multiplies
//! these twice as fast as f32.
//!
//! One instruction adds the products of two neighbouring steps of k, so both operands are copied to pairs of steps: a
//! pair takes the place of one f32. The tiles are those of [`crate::product`].

#[cfg(target_arch = "x86_64")]
use crate::isa::{Backend, X86Avx512, backend};
#[cfg(target_arch = "x86_64")]
use crate::product::{Ahead, Steps, Task, Term, size, tiles};
use crate::product::{Lhs, Rhs, Start, Strided};
#[cfg(target_arch = "x86_64")]
use crate::rows::Rows;
use crate::rows::RowsMut;
#[cfg(target_arch = "x86_64")]
use crate::vector::{Avx512F32, Vector};
#[cfg(target_arch = "x86_64")]
use std::{mem::MaybeUninit, ops::Range};

/// Whether the processor multiplies bfloat16.
pub(crate) fn is_fast() -> bool {
    #[cfg(target_arch = "x86_64")]
    if backend() == Backend::Avx512 && is_x86_feature_detected!("avx512bf16") {
        return true;
    }
    false
}

/// dst = start + lhs·rhs; every other processor multiplies the operands as they are.
pub(crate) fn product(dst: RowsMut<'_, f32>, start: Start, lhs: Lhs<'_, f32>, rhs: Strided<'_, f32>) {
    #[cfg(target_arch = "x86_64")]
    if is_fast() && can_copy(lhs) && (rhs.row == 1 || rhs.column == 1) {
        // SAFETY: the processor has the instructions, says `is_fast`.
        unsafe { by_pairs(&dst, start, lhs, rhs) };
        return;
    }
    crate::product::product(dst, start, lhs, Rhs::Strided(rhs));
}

/// Whether vectors of the operand's columns lie together, and there are any.
#[cfg(target_arch = "x86_64")]
fn can_copy(lhs: Lhs<'_, f32>) -> bool {
    let (Lhs::AsIs(rows) | Lhs::Transposed(rows)) = lhs;
    rows.layout.keeps_together(LANES) && rows.n_rows > 0 && rows.n_columns > 0
}

/// Two products a step.
#[cfg(target_arch = "x86_64")]
struct Pair;

#[cfg(target_arch = "x86_64")]
impl Term<f32, Avx512F32> for Pair {
    #[inline(always)]
    fn add(x: Avx512F32, y: Avx512F32, sum: Avx512F32) -> Avx512F32 {
        // SAFETY: only `by_pairs` names this type, and its caller checks the processor.
        unsafe { sum.add_products_of_pairs(x, y) }
    }
}

/// Pairs of steps in a panel; a multiple of the lanes.
#[cfg(target_arch = "x86_64")]
const PAIRS: usize = 192;
/// Columns of a panel: four vectors.
#[cfg(target_arch = "x86_64")]
const WIDTH: usize = 64;
/// Rows of the lhs that are copied together at most, and a divisor of their number: whole tiles, and whole vectors where
/// rows lie side by side. With their results they stay in the second-level cache.
#[cfg(target_arch = "x86_64")]
const BLOCK_ROWS: [usize; 2] = [288, 48];
#[cfg(target_arch = "x86_64")]
const LANES: usize = Avx512F32::LANES;

/// The copies, uninitialised until they are written. Where steps are rows, these have up to 2·`LANES` more columns.
#[cfg(target_arch = "x86_64")]
#[repr(align(64))]
struct Copies(MaybeUninit<([f32; PAIRS * WIDTH], [f32; PAIRS * (BLOCK_ROWS[0] + 2 * LANES)])>);

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx512bf16,avx2,fma")]
fn by_pairs(dst: &RowsMut<'_, f32>, start: Start, lhs: Lhs<'_, f32>, rhs: Strided<'_, f32>) {
    let [m, n, k] = size(dst, lhs, Rhs::Strided(rhs));
    let mut copies = Copies(MaybeUninit::uninit());
    let panel = copies.0.as_mut_ptr().cast::<f32>();
    let [most_rows, divisor] = BLOCK_ROWS;
    let block = m.div_ceil(m.div_ceil(most_rows)).next_multiple_of(divisor);
    for first_step in (0..k).step_by(2 * PAIRS) {
        let steps = first_step..k.min(first_step + 2 * PAIRS);
        let (n_steps, n_pairs) = (steps.len(), steps.len().div_ceil(2));
        let start = if first_step == 0 { start } else { Start::Destination };
        for first_row in (0..m).step_by(block) {
            let rows = first_row..m.min(first_row + block);
            // SAFETY: the operands hold all their elements (checked by `size`); the copies have room for a panel and a
            // block, and lie in one piece of memory.
            unsafe {
                let lhs = copy_block(lhs, &rows, &steps, panel.add(PAIRS * WIDTH));
                for column in (0..n).step_by(WIDTH) {
                    let columns = column..n.min(column + WIDTH);
                    let width = columns.len().next_multiple_of(LANES);
                    let rhs = rhs.from(first_step, column);
                    let (from, size) = (rhs.data.as_ptr(), [n_steps, columns.len()]);
                    if rhs.column == 1 {
                        copy_steps(from, rhs.row, size, panel, width);
                    } else {
                        copy_columns(from, rhs.column, size, panel, width);
                    }
                    let task = Task { rows: rows.clone(), columns, steps: 0..n_pairs, start };
                    match width / LANES {
                        1 => tiles::<X86Avx512, f32, 1, Pair>(&task, dst, lhs, panel, Ahead::nothing()),
                        2 => tiles::<X86Avx512, f32, 2, Pair>(&task, dst, lhs, panel, Ahead::nothing()),
                        3 => tiles::<X86Avx512, f32, 3, Pair>(&task, dst, lhs, panel, Ahead::nothing()),
                        _ => tiles::<X86Avx512, f32, 4, Pair>(&task, dst, lhs, panel, Ahead::nothing()),
                    }
                }
            }
        }
    }
}

/// A block of the left operand in pairs of steps.
///
/// # Safety
/// The operand holds the rows, which start with a whole vector, and steps; `to` has room for them, rounded up to whole
/// vectors and one more; the processor has bfloat16.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn copy_block(
    lhs: Lhs<'_, f32>,
    rows: &Range<usize>,
    steps: &Range<usize>,
    to: *mut f32,
) -> Steps<f32> {
    let (n_rows, n_steps) = (rows.len(), steps.len());
    // SAFETY: forwarded from the caller; vectors of columns lie together (`can_copy`).
    unsafe {
        match lhs {
            Lhs::AsIs(Rows { data, layout, .. }) => {
                let stride = n_steps.div_ceil(2 * LANES) * LANES;
                let from = data.as_ptr().add(rows.start * layout.row);
                let together = if layout.is_row_major() { n_steps } else { 2 * LANES };
                for first in (0..n_steps).step_by(together) {
                    let size = [n_rows, together.min(n_steps - first)];
                    let [low, high] = [0, LANES].map(|lane| layout.column(steps.start + first + lane));
                    copy_rows(from.add(low), layout.row, high - low, size, to.add(first / 2), stride);
                }
                Steps::packed(to, [stride, 1])
            }
            Lhs::Transposed(Rows { data, layout, .. }) => {
                // Another multiple of the lanes than a power of two, so that steps fall on many sets of the cache.
                let stride = n_rows.next_multiple_of(LANES) + LANES;
                let from = data.as_ptr().add(steps.start * layout.row);
                let mut first = 0;
                while first < n_rows {
                    let n = layout.n_together(rows.start + first).min(n_rows - first);
                    let from = from.add(layout.column(rows.start + first));
                    copy_steps(from, layout.row, [n_steps, n], to.add(first), stride);
                    first += n;
                }
                Steps::packed(to, [1, stride])
            }
        }
    }
}

/// to\[r\]\[p\] = the pair of steps 2p and 2p + 1 of row r, whose steps lie one after another, but for every second
/// vector of them, which lies `second` behind the first; zero beyond them.
///
/// # Safety
/// The rows can be read, and `to_stride` pairs of each, a multiple of the lanes, written; the processor has bfloat16.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn copy_rows(
    from: *const f32,
    from_stride: usize,
    second: usize,
    [n_rows, n_steps]: [usize; 2],
    to: *mut f32,
    to_stride: usize,
) {
    for r in 0..n_rows {
        for step in (0..n_steps).step_by(2 * LANES) {
            // SAFETY: forwarded from the caller.
            unsafe {
                let from = from.add(r * from_stride + step);
                let (low, high) = if step + 2 * LANES <= n_steps {
                    (Avx512F32::load_at(from), Avx512F32::load_at(from.add(second)))
                } else {
                    let rest = n_steps - step;
                    (load_some(from, rest), load_some(from.wrapping_add(second), rest.saturating_sub(LANES)))
                };
                Avx512F32::rounded(low, high).store_at(to.add(r * to_stride + step / 2));
            }
        }
    }
}

/// to\[p\]\[c\] = the pair of steps 2p and 2p + 1 of column c; a step's columns lie one after another.
///
/// # Safety
/// The steps can be read, and the columns, rounded up to whole vectors, written; the processor has bfloat16.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn copy_steps(
    from: *const f32,
    from_stride: usize,
    [n_steps, n_columns]: [usize; 2],
    to: *mut f32,
    to_stride: usize,
) {
    for step in (0..n_steps).step_by(2) {
        for column in (0..n_columns).step_by(LANES) {
            // SAFETY: forwarded from the caller.
            unsafe {
                let from = from.add(step * from_stride + column);
                let n = LANES.min(n_columns - column);
                let first = if n == LANES { Avx512F32::load_at(from) } else { load_some(from, n) };
                let second = match (step + 1 < n_steps, n == LANES) {
                    (false, _) => Avx512F32::splat(0.0),
                    (true, true) => Avx512F32::load_at(from.add(from_stride)),
                    (true, false) => load_some(from.add(from_stride), n),
                };
                let pairs = Avx512F32::interleaved(Avx512F32::rounded(first, second));
                pairs.store_at(to.add(step / 2 * to_stride + column));
            }
        }
    }
}

/// As [`copy_steps`], of columns whose steps lie one after another.
///
/// # Safety
/// As there; whole vectors of pairs are written.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn copy_columns(
    from: *const f32,
    from_stride: usize,
    [n_steps, n_columns]: [usize; 2],
    to: *mut f32,
    to_stride: usize,
) {
    let mut pairs = [0.0; LANES * LANES];
    for column in (0..n_columns).step_by(LANES) {
        for step in (0..n_steps).step_by(2 * LANES) {
            let size = [LANES.min(n_columns - column), (2 * LANES).min(n_steps - step)];
            // SAFETY: forwarded from the caller.
            unsafe {
                let from = from.add(column * from_stride + step);
                copy_rows(from, from_stride, LANES, size, pairs.as_mut_ptr(), LANES);
                let to = to.add(step / 2 * to_stride + column);
                Avx512F32::transpose(pairs.as_ptr(), LANES, size[0], to, to_stride);
            }
        }
    }
}

/// The first `n` elements at `from`, or as many as a vector has, and zeros behind them.
///
/// # Safety
/// They can be read.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn load_some(from: *const f32, n: usize) -> Avx512F32 {
    let mut lanes = [0.0; LANES];
    for (lane, value) in lanes.iter_mut().enumerate().take(n) {
        // SAFETY: forwarded from the caller.
        *value = unsafe { *from.add(lane) };
    }
    Avx512F32::load(&lanes)
}
