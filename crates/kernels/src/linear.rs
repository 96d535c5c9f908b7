//! Linear layers y = x Wᵀ and their gradients: three shapes of one matrix product.
//!
//! A row of the result does not depend on how many rows there are (tested), which is what makes a molecule's forces
//! independent of its batch and of the number of threads. Biases are added by the kernel that follows.

use crate::Real;
use crate::product::{Lhs, Panels, Rhs, Start, Strided};
use crate::rows::{Rows, RowsMut};

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
    /// When the shapes do not fit.
    pub fn linear<T: Real>(self, x: Rows<'_, T>, w: &[T], y: RowsMut<'_, T>) {
        let (n, k) = (y.n_columns, x.n_columns);
        assert_eq!(w.len(), n * k, "weights {k} → {n}");
        self.product(y, Start::Zero, Lhs::AsIs(x), Strided { data: w, row: 1, column: k });
    }

    /// dx\[m, k\] = dy\[m, n\] · w\[n, k\], or added to dx.
    ///
    /// # Panics
    /// When the shapes do not fit.
    pub fn input_gradient<T: Real>(self, dy: Rows<'_, T>, w: &[T], start: Start, dx: RowsMut<'_, T>) {
        let (n, k) = (dy.n_columns, dx.n_columns);
        assert_eq!(w.len(), n * k, "weights {k} → {n}");
        self.product(dx, start, Lhs::AsIs(dy), Strided { data: w, row: k, column: 1 });
    }

    /// dw\[n, k\] += dy\[m, n\]ᵀ · x\[m, k\], x row-major.
    ///
    /// # Panics
    /// When the shapes do not fit.
    pub fn weight_gradient<T: Real>(self, k: usize, dy: Rows<'_, T>, x: &[T], dw: &mut [T]) {
        let (m, n) = (dy.n_rows, dy.n_columns);
        assert_eq!((x.len(), dw.len()), (m * k, n * k), "weight gradient of linear {m}×{k} → {n}");
        let x = Strided { data: x, row: k, column: 1 };
        self.product(RowsMut::row_major(dw, k), Start::Destination, Lhs::Transposed(dy), x);
    }

    fn product<T: Real>(self, dst: RowsMut<'_, T>, start: Start, lhs: Lhs<'_, T>, rhs: Strided<'_, T>) {
        match self {
            Self::AsGiven => T::product(dst, start, lhs, Rhs::Strided(rhs)),
            Self::Rounded => T::rounded_product(dst, start, lhs, rhs),
        }
    }
}

/// y\[m, n\] = x\[m, k\] · w\[n, k\]ᵀ of weights in panels, with the bits of [`linear`].
///
/// # Panics
/// When the shapes do not fit, or another back end packed the weights.
pub fn linear_by_panels<T: Real>(x: Rows<'_, T>, w: Panels<'_, T>, y: RowsMut<'_, T>) {
    T::product(y, Start::Zero, Lhs::AsIs(x), Rhs::Panels(w));
}

/// y\[m, n\] = x\[m, k\] · w\[n, k\]ᵀ: [`Operands::linear`] of operands as given, row-major.
///
/// # Panics
/// When a slice does not have the length its shape asks for.
pub fn linear<T: Real>(n: usize, k: usize, x: &[T], w: &[T], y: &mut [T]) {
    Operands::AsGiven.linear(Rows::row_major(x, k), w, RowsMut::row_major(y, n));
}

/// dx\[m, k\] = dy\[m, n\] · w\[n, k\]: [`Operands::input_gradient`] of operands as given, row-major.
///
/// # Panics
/// When a slice does not have the length its shape asks for.
pub fn linear_input_gradient<T: Real>(n: usize, k: usize, dy: &[T], w: &[T], dx: &mut [T]) {
    Operands::AsGiven.input_gradient(Rows::row_major(dy, n), w, Start::Zero, RowsMut::row_major(dx, k));
}

/// dx\[m, k\] += dy\[m, n\] · w\[n, k\]: [`Operands::input_gradient`] of operands as given, row-major.
///
/// # Panics
/// When a slice does not have the length its shape asks for.
pub fn add_linear_input_gradient<T: Real>(n: usize, k: usize, dy: &[T], w: &[T], dx: &mut [T]) {
    let dx = RowsMut::row_major(dx, k);
    Operands::AsGiven.input_gradient(Rows::row_major(dy, n), w, Start::Destination, dx);
}

/// dw\[n, k\] += dy\[m, n\]ᵀ · x\[m, k\]: [`Operands::weight_gradient`] of operands as given, row-major.
///
/// # Panics
/// When a slice does not have the length its shape asks for.
pub fn linear_weight_gradient<T: Real>(n: usize, k: usize, dy: &[T], x: &[T], dw: &mut [T]) {
    Operands::AsGiven.weight_gradient(k, Rows::row_major(dy, n), x, dw);
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
        let (lhs_strides, rhs_strides) = (signed(lhs_strides), signed(rhs_strides));
        T::library_product([m, n, k], dst.as_mut_ptr(), lhs.as_ptr(), lhs_strides, rhs.as_ptr(), rhs_strides);
    }
}
