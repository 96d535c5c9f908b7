//! Matrix products of operands rounded to bfloat16 (8 bits of mantissa), summed in f32, where the processor multiplies
//! these twice as fast as f32.
//!
//! One instruction adds the products of two neighbouring steps of k, so both operands are copied to pairs of steps: a
//! pair takes the place of one f32. The tiles are those of [`crate::product`].

#[cfg(target_arch = "x86_64")]
use crate::isa::{Backend, X86Avx512, backend};
#[cfg(target_arch = "x86_64")]
use crate::product::{ROWS, Task, Term, tiles};
use crate::product::{Start, Strided};
#[cfg(target_arch = "x86_64")]
use crate::vector::{Avx512F32, Vector};
#[cfg(target_arch = "x86_64")]
use std::mem::MaybeUninit;

/// Whether the processor multiplies bfloat16.
pub(crate) fn is_fast() -> bool {
    #[cfg(target_arch = "x86_64")]
    if backend() == Backend::Avx512 && is_x86_feature_detected!("avx512bf16") {
        return true;
    }
    false
}

/// dst\[m, n\] = start + lhs·rhs, dst row-major; every other processor multiplies the operands as they are.
pub(crate) fn product(
    size: [usize; 3],
    dst: &mut [f32],
    start: Start,
    lhs: Strided<'_, f32>,
    rhs: Strided<'_, f32>,
) {
    #[cfg(target_arch = "x86_64")]
    if is_fast() && size[2] > 0 && [lhs, rhs].iter().all(|operand| operand.row == 1 || operand.column == 1) {
        // SAFETY: the processor has the instructions, says `is_fast`.
        unsafe { by_pairs(size, dst, start, lhs, rhs) };
        return;
    }
    crate::product::product(size, dst, start, lhs, rhs);
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
/// Rows of the lhs that are copied together: with their results they stay in the second-level cache.
#[cfg(target_arch = "x86_64")]
const BLOCK_ROWS: usize = 264;
#[cfg(target_arch = "x86_64")]
const LANES: usize = Avx512F32::LANES;

/// The copies, uninitialised until they are written. Where steps are rows, these have up to 2·`LANES` more columns.
#[cfg(target_arch = "x86_64")]
#[repr(align(64))]
struct Copies(MaybeUninit<([f32; PAIRS * WIDTH], [f32; PAIRS * (BLOCK_ROWS + 2 * LANES)])>);

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx512bf16,avx2,fma")]
fn by_pairs(
    [m, n, k]: [usize; 3],
    dst: &mut [f32],
    start: Start,
    lhs: Strided<'_, f32>,
    rhs: Strided<'_, f32>,
) {
    assert_eq!(dst.len(), m * n, "destination of {m}×{n}");
    assert!(lhs.holds(m, k) && rhs.holds(k, n), "operands of {m}×{k} and {k}×{n}");
    let mut copies = Copies(MaybeUninit::uninit());
    let panel = copies.0.as_mut_ptr().cast::<f32>();
    let block = m.div_ceil(m.div_ceil(BLOCK_ROWS).max(1)).next_multiple_of(ROWS).max(ROWS);
    for first_step in (0..k).step_by(2 * PAIRS) {
        let n_steps = (2 * PAIRS).min(k - first_step);
        let start = if first_step == 0 { start } else { Start::Destination };
        for first_row in (0..m).step_by(block) {
            let rows = first_row..m.min(first_row + block);
            let lhs = lhs.from(first_row, first_step);
            // SAFETY: the operands hold all their elements (checked above); the copies have room for a panel and a block,
            // and lie in one piece of memory.
            unsafe {
                let to = panel.add(PAIRS * WIDTH);
                let (row, column) = if lhs.column == 1 {
                    let stride = n_steps.div_ceil(2 * LANES) * LANES;
                    copy_rows(lhs.data.as_ptr(), lhs.row, [rows.len(), n_steps], to, stride);
                    (stride, 1)
                } else {
                    // Another multiple of the lanes than a power of two, so that steps fall on many sets of the cache.
                    let stride = rows.len().next_multiple_of(LANES) + LANES;
                    copy_steps(lhs.data.as_ptr(), lhs.column, [n_steps, rows.len()], to, stride);
                    (1, stride)
                };
                let n_copied = (rows.len() - 1) * row + (n_steps.div_ceil(2) - 1) * column + 1;
                let lhs = Strided { data: std::slice::from_raw_parts(to, n_copied), row, column };
                for column in (0..n).step_by(WIDTH) {
                    let n_columns = WIDTH.min(n - column);
                    let width = n_columns.next_multiple_of(LANES);
                    let rhs = rhs.from(first_step, column);
                    let from = rhs.data.as_ptr();
                    if rhs.column == 1 {
                        copy_steps(from, rhs.row, [n_steps, n_columns], panel, width);
                    } else {
                        copy_columns(from, rhs.column, [n_steps, n_columns], panel, width);
                    }
                    let task = Task {
                        n,
                        rows: rows.clone(),
                        column,
                        n_columns,
                        n_steps: n_steps.div_ceil(2),
                        start,
                    };
                    let dst = dst.as_mut_ptr();
                    match width / LANES {
                        1 => tiles::<X86Avx512, f32, 1, Pair>(&task, dst, lhs, panel),
                        2 => tiles::<X86Avx512, f32, 2, Pair>(&task, dst, lhs, panel),
                        3 => tiles::<X86Avx512, f32, 3, Pair>(&task, dst, lhs, panel),
                        _ => tiles::<X86Avx512, f32, 4, Pair>(&task, dst, lhs, panel),
                    }
                }
            }
        }
    }
}

/// to\[r\]\[p\] = the pair of steps 2p and 2p + 1 of row r, whose steps lie one after another; zero beyond them.
///
/// # Safety
/// The rows can be read, and `to_stride` pairs of each, a multiple of the lanes, written; the processor has bfloat16.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn copy_rows(
    from: *const f32,
    from_stride: usize,
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
                    (Avx512F32::load_at(from), Avx512F32::load_at(from.add(LANES)))
                } else {
                    let rest = n_steps - step;
                    (load_some(from, rest), load_some(from.wrapping_add(LANES), rest.saturating_sub(LANES)))
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
                copy_rows(from, from_stride, size, pairs.as_mut_ptr(), LANES);
                let to = to.add(step / 2 * to_stride + column);
                Avx512F32::transpose(pairs.as_ptr(), LANES, size[0], to, to_stride);
            }
        }
    }
}

/// The first `n` elements at `from`, fewer than a vector's, then zeros.
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
