//! The heaviest kernels for either float, compiled once: a generic function is compiled anew in every crate that
//! calls it, and these are thousands of vector instructions on each back end.

use crate::attention::{self, AttentionShape};
use crate::bfloat16;
use crate::product::{self, Lhs, Rhs, Start, Strided};
use crate::rows::RowsMut;
use std::ops::Range;

/// The kernels as functions of one float.
#[doc(hidden)]
pub trait Instances: Sized {
    fn product(dst: RowsMut<'_, Self>, start: Start, lhs: Lhs<'_, Self>, rhs: Rhs<'_, Self>);
    fn pack(n: usize, k: usize, w: &[Self], panels: &mut [Self]) -> usize;
    /// The same with operands that may be rounded.
    fn rounded_product(dst: RowsMut<'_, Self>, start: Start, lhs: Lhs<'_, Self>, rhs: Strided<'_, Self>);
    fn triangular_attention(
        shape: AttentionShape,
        i_range: Range<usize>,
        qkvv: &[Self],
        out: &mut [Self],
        scratch: &mut [Self],
    );
    fn triangular_attention_backward(
        shape: AttentionShape,
        qkvv: &[Self],
        dout: &[Self],
        dqkvv: &mut [Self],
        scratch: &mut [Self],
    );
}

macro_rules! instances {
    ($float:ty, $rounded_product:path) => {
        impl Instances for $float {
            fn product(dst: RowsMut<'_, $float>, start: Start, lhs: Lhs<'_, $float>, rhs: Rhs<'_, $float>) {
                product::product(dst, start, lhs, rhs);
            }

            fn pack(n: usize, k: usize, w: &[$float], panels: &mut [$float]) -> usize {
                product::pack(n, k, w, panels)
            }

            fn rounded_product(
                dst: RowsMut<'_, $float>,
                start: Start,
                lhs: Lhs<'_, $float>,
                rhs: Strided<'_, $float>,
            ) {
                $rounded_product(dst, start, lhs, rhs);
            }

            fn triangular_attention(
                shape: AttentionShape,
                i_range: Range<usize>,
                qkvv: &[$float],
                out: &mut [$float],
                scratch: &mut [$float],
            ) {
                attention::triangular_attention(shape, i_range, qkvv, out, scratch);
            }

            fn triangular_attention_backward(
                shape: AttentionShape,
                qkvv: &[$float],
                dout: &[$float],
                dqkvv: &mut [$float],
                scratch: &mut [$float],
            ) {
                attention::triangular_attention_backward(shape, qkvv, dout, dqkvv, scratch);
            }
        }
    };
}

instances!(f32, bfloat16::product);
instances!(f64, as_given);

/// There is no smaller float than f32 to round to.
fn as_given(dst: RowsMut<'_, f64>, start: Start, lhs: Lhs<'_, f64>, rhs: Strided<'_, f64>) {
    product::product(dst, start, lhs, Rhs::Strided(rhs));
}
