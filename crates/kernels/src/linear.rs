//! Linear layers y = x Wᵀ and their gradients: three shapes of one library matrix product.
//!
//! A row of the result does not depend on how many rows there are (tested), which is what makes a molecule's forces
//! independent of its batch and of the number of threads. Biases are added by the kernel that follows.

use crate::Real;

/// y\[m, n\] = x\[m, k\] · w\[n, k\]ᵀ.
///
/// # Panics
/// When a slice does not have the length its shape asks for.
pub fn linear<T: Real>(n: usize, k: usize, x: &[T], w: &[T], y: &mut [T]) {
    let m = x.len() / k;
    assert_eq!((x.len(), w.len(), y.len()), (m * k, n * k, m * n), "linear {m}×{k} → {n}");
    product([m, n, k], y, [n, 1], false, x, [k, 1], w, [1, k]);
}

/// dx\[m, k\] = dy\[m, n\] · w\[n, k\].
///
/// # Panics
/// When a slice does not have the length its shape asks for.
pub fn linear_input_gradient<T: Real>(n: usize, k: usize, dy: &[T], w: &[T], dx: &mut [T]) {
    let m = dy.len() / n;
    assert_eq!((dy.len(), w.len(), dx.len()), (m * n, n * k, m * k), "gradient of linear {m}×{k} → {n}");
    product([m, k, n], dx, [k, 1], false, dy, [n, 1], w, [k, 1]);
}

/// dx\[m, k\] += dy\[m, n\] · w\[n, k\].
///
/// # Panics
/// When a slice does not have the length its shape asks for.
pub fn add_linear_input_gradient<T: Real>(n: usize, k: usize, dy: &[T], w: &[T], dx: &mut [T]) {
    let m = dy.len() / n;
    assert_eq!((dy.len(), w.len(), dx.len()), (m * n, n * k, m * k), "gradient of linear {m}×{k} → {n}");
    product([m, k, n], dx, [k, 1], true, dy, [n, 1], w, [k, 1]);
}

/// dw\[n, k\] += dy\[m, n\]ᵀ · x\[m, k\].
///
/// # Panics
/// When a slice does not have the length its shape asks for.
pub fn linear_weight_gradient<T: Real>(n: usize, k: usize, dy: &[T], x: &[T], dw: &mut [T]) {
    let m = x.len() / k;
    assert_eq!(
        (dy.len(), x.len(), dw.len()),
        (m * n, m * k, n * k),
        "weight gradient of linear {m}×{k} → {n}"
    );
    product([n, k, m], dw, [k, 1], true, dy, [1, n], x, [k, 1]);
}

/// dst\[m, n\] (+)= lhs\[m, k\] · rhs\[k, n\], strides (row, column); dst is row-major unless accumulated into.
fn product<T: Real>(
    [m, n, k]: [usize; 3],
    dst: &mut [T],
    dst_strides: [usize; 2],
    accumulate: bool,
    lhs: &[T],
    lhs_strides: [usize; 2],
    rhs: &[T],
    rhs_strides: [usize; 2],
) {
    if !accumulate && (m * n <= LIBRARY_SMALL || m == 1) {
        // The library sums small products in another order; with rows of zeros below they are like any other.
        let rows = (LIBRARY_SMALL / n + 1).max(2);
        let mut padded_lhs = vec![T::ZERO; rows * k];
        let mut padded_dst = vec![T::ZERO; rows * n];
        for (row, padded) in padded_lhs.chunks_exact_mut(k).take(m).enumerate() {
            for (column, padded) in padded.iter_mut().enumerate() {
                *padded = lhs[row * lhs_strides[0] + column * lhs_strides[1]];
            }
        }
        checked([rows, n, k], &mut padded_dst, [n, 1], false, &padded_lhs, [k, 1], rhs, rhs_strides);
        dst.copy_from_slice(&padded_dst[..m * n]);
    } else {
        checked([m, n, k], dst, dst_strides, accumulate, lhs, lhs_strides, rhs, rhs_strides);
    }
}

/// Products of at most this many elements take another path, with another order of summation, inside the library.
const LIBRARY_SMALL: usize = 256;

fn checked<T: Real>(
    [m, n, k]: [usize; 3],
    dst: &mut [T],
    dst_strides: [usize; 2],
    accumulate: bool,
    lhs: &[T],
    lhs_strides: [usize; 2],
    rhs: &[T],
    rhs_strides: [usize; 2],
) {
    let fits = |rows: usize, columns: usize, [row, column]: [usize; 2], len: usize| {
        rows == 0 || columns == 0 || (rows - 1) * row + (columns - 1) * column < len
    };
    assert!(fits(m, n, dst_strides, dst.len()), "destination of {} for {m}×{n}", dst.len());
    assert!(fits(m, k, lhs_strides, lhs.len()), "left operand of {} for {m}×{k}", lhs.len());
    assert!(fits(k, n, rhs_strides, rhs.len()), "right operand of {} for {k}×{n}", rhs.len());
    let signed = |[row, column]: [usize; 2]| [row as isize, column as isize];
    // SAFETY: the largest index of each operand was checked above; `dst` is a unique borrow, so nothing overlaps it.
    unsafe {
        T::gemm(
            [m, n, k],
            dst.as_mut_ptr(),
            signed(dst_strides),
            accumulate,
            lhs.as_ptr(),
            signed(lhs_strides),
            rhs.as_ptr(),
            signed(rhs_strides),
        );
    }
}
