//! Where the gradients of the parameters go on the way back: to an arena, or nowhere when only the positions' are wanted.

use crate::layout::NormViews;
use crate::network::Network;
use mdet_kernels::{Operands, Real, Rows, add_column_sums, layer_norm_backward};
use std::ops::Range;

/// The arena's gradient, if it is wanted: half of a backward pass's products.
pub(crate) struct Gradient<'a, T>(pub Option<&'a mut [T]>);

impl<T: Real> Gradient<'_, T> {
    /// dw\[n, k\] += dy\[m, n\]ᵀ · x\[m, k\].
    pub fn weights(&mut self, view: &Range<usize>, operands: Operands, dy: Rows<'_, T>, k: usize, x: &[T]) {
        if let Some(dw) = self.part(view) {
            operands.weight_gradient(k, dy, x, dw);
        }
    }

    /// dbias += column sums of dy; a layer without bias has an empty view.
    pub fn bias(&mut self, view: &Range<usize>, dy: &[T]) {
        match self.part(view) {
            Some(dbias) if !dbias.is_empty() => add_column_sums(dy, dbias),
            _ => {}
        }
    }

    /// dx of a norm, plus `residual` unless empty, and the gradients of its scale and shift.
    pub fn norm(
        &mut self,
        net: &Network<T>,
        views: &NormViews,
        x: &[T],
        dy: &[T],
        residual: &[T],
        dx: &mut [T],
    ) {
        self.with_part(&(views.scale.start..views.shift.end), |parameters| {
            let (dscale, dshift) = parameters.split_at_mut(views.scale.len());
            layer_norm_backward(x, net.view(&views.scale), dy, residual, dx, dscale, dshift);
        });
    }

    /// Hands a kernel that cannot do without it the part of a few parameters, or as much memory to be thrown away.
    pub fn with_part(&mut self, view: &Range<usize>, kernel: impl FnOnce(&mut [T])) {
        match self.part(view) {
            Some(part) => kernel(part),
            None => kernel(&mut vec![T::ZERO; view.len()]),
        }
    }

    /// The part of a view, to add to.
    fn part(&mut self, view: &Range<usize>) -> Option<&mut [T]> {
        self.0.as_deref_mut().map(|arena| &mut arena[view.clone()])
    }
}
