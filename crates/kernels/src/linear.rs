//! Linear layers y = x Wᵀ and their gradients: three shapes of one matrix product.
//!
//! A row of the result does not depend on how many rows there are (tested), which is what makes a molecule's forces
//! independent of its batch and of the number of threads. Biases are added by the kernel that follows.

use crate::Real;
use crate::product::{Start, Strided};

/// A row-major matrix of rows `columns` long.
fn row_major<T>(data: &[T], columns: usize) -> Strided<'_, T> {
    Strided { data, row: columns, column: 1 }
}

/// The transpose of a row-major matrix of rows `columns` long.
fn transposed<T>(data: &[T], columns: usize) -> Strided<'_, T> {
    Strided { data, row: 1, column: columns }
}

/// What becomes of the factors of a product before they are multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Operands {
    /// Nothing.
    #[default]
    AsGiven,
    /// f32 is rounded to bfloat16, to 8 bits, on processors that multiply this faster; sums stay in f32. For gradients,
    /// whose noise from batch to batch is larger.
    Rounded,
}

impl Operands {
    /// y\[m, n\] = x\[m, k\] · w\[n, k\]ᵀ.
    ///
    /// # Panics
    /// When a slice does not have the length its shape asks for.
    pub fn linear<T: Real>(self, n: usize, k: usize, x: &[T], w: &[T], y: &mut [T]) {
        let m = x.len() / k;
        assert_eq!((x.len(), w.len(), y.len()), (m * k, n * k, m * n), "linear {m}×{k} → {n}");
        self.product([m, n, k], y, Start::Zero, row_major(x, k), transposed(w, k));
    }

    /// dx\[m, k\] = dy\[m, n\] · w\[n, k\], or added to dx.
    ///
    /// # Panics
    /// When a slice does not have the length its shape asks for.
    pub fn input_gradient<T: Real>(self, n: usize, k: usize, dy: &[T], w: &[T], start: Start, dx: &mut [T]) {
        let m = dy.len() / n;
        assert_eq!((dy.len(), w.len(), dx.len()), (m * n, n * k, m * k), "gradient of linear {m}×{k} → {n}");
        self.product([m, k, n], dx, start, row_major(dy, n), row_major(w, k));
    }

    /// dw\[n, k\] += dy\[m, n\]ᵀ · x\[m, k\].
    ///
    /// # Panics
    /// When a slice does not have the length its shape asks for.
    pub fn weight_gradient<T: Real>(self, n: usize, k: usize, dy: &[T], x: &[T], dw: &mut [T]) {
        let m = x.len() / k;
        assert_eq!(
            (dy.len(), x.len(), dw.len()),
            (m * n, m * k, n * k),
            "weight gradient of linear {m}×{k} → {n}"
        );
        self.product([n, k, m], dw, Start::Destination, transposed(dy, n), row_major(x, k));
    }

    fn product<T: Real>(
        self,
        size: [usize; 3],
        dst: &mut [T],
        start: Start,
        lhs: Strided<'_, T>,
        rhs: Strided<'_, T>,
    ) {
        match self {
            Self::AsGiven => T::product(size, dst, start, lhs, rhs),
            Self::Rounded => T::rounded_product(size, dst, start, lhs, rhs),
        }
    }
}

/// [`Operands::linear`] of operands as given.
pub fn linear<T: Real>(n: usize, k: usize, x: &[T], w: &[T], y: &mut [T]) {
    Operands::AsGiven.linear(n, k, x, w, y);
}

/// dx\[m, k\] = dy\[m, n\] · w\[n, k\]: [`Operands::input_gradient`] of operands as given.
pub fn linear_input_gradient<T: Real>(n: usize, k: usize, dy: &[T], w: &[T], dx: &mut [T]) {
    Operands::AsGiven.input_gradient(n, k, dy, w, Start::Zero, dx);
}

/// dx\[m, k\] += dy\[m, n\] · w\[n, k\]: [`Operands::input_gradient`] of operands as given.
pub fn add_linear_input_gradient<T: Real>(n: usize, k: usize, dy: &[T], w: &[T], dx: &mut [T]) {
    Operands::AsGiven.input_gradient(n, k, dy, w, Start::Destination, dx);
}

/// [`Operands::weight_gradient`] of operands as given.
pub fn linear_weight_gradient<T: Real>(n: usize, k: usize, dy: &[T], x: &[T], dw: &mut [T]) {
    Operands::AsGiven.weight_gradient(n, k, dy, x, dw);
}

/// The three products by the `gemm` library, row-major dst\[m, n\] = lhs\[m, k\]·rhs\[k, n\] with the strides (row,
/// column) of the operands: the twin of the tests, and the rate that efficiencies refer to.
///
/// # Panics
/// When an operand is too short.
#[doc(hidden)]
pub fn library_product<T: Real>(
    [m, n, k]: [usize; 3],
    dst: &mut [T],
    lhs: &[T],
    lhs_strides: [usize; 2],
    rhs: &[T],
    rhs_strides: [usize; 2],
) {
    let fits = |rows: usize, columns: usize, [row, column]: [usize; 2], len: usize| {
        rows == 0 || columns == 0 || (rows - 1) * row + (columns - 1) * column < len
    };
    assert_eq!(dst.len(), m * n, "destination of {m}×{n}");
    assert!(fits(m, k, lhs_strides, lhs.len()), "left operand of {} for {m}×{k}", lhs.len());
    assert!(fits(k, n, rhs_strides, rhs.len()), "right operand of {} for {k}×{n}", rhs.len());
    let signed = |[row, column]: [usize; 2]| [row as isize, column as isize];
    // SAFETY: the largest index of each operand was checked above; `dst` is a unique borrow, so nothing overlaps it.
    unsafe {
        T::gemm(
            [m, n, k],
            dst.as_mut_ptr(),
            [n as isize, 1],
            false,
            lhs.as_ptr(),
            signed(lhs_strides),
            rhs.as_ptr(),
            signed(rhs_strides),
        );
    }
}
