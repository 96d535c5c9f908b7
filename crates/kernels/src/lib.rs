//! The few operations of MD-ET over plain slices, forward beside backward, in f32 and f64.
//!
//! Every function takes slices and a shape, writes slices, and allocates nothing. Matrices are row-major. Gradients
//! with respect to weights are added to what is there, since a weight serves many rows; all others are overwritten
//! unless a function says otherwise. Threads, batches and parameters are the model's business.

mod activation;
mod angular;
mod attention;
mod bfloat16;
mod instances;
mod isa;
mod linear;
mod norm;
mod normal;
mod product;
mod radial;
mod real;
mod rows;
#[cfg(test)]
mod testing;
mod vector;

pub use activation::{
    add_bias, add_column_sums, bias_gelu, bias_gelu_in_place, bias_relu, gelu_backward, relu_backward,
};
pub use angular::{angular_backward, angular_features};
pub use attention::{
    AttentionShape, triangular_attention, triangular_attention_backward, triangular_attention_naive,
};
pub use isa::{Backend, backend, restrict};
pub use linear::{
    Operands, add_linear_input_gradient, library_product, linear, linear_by_panels, linear_input_gradient,
    linear_weight_gradient,
};
pub use norm::{add_layer_norm, add_layer_norm_in_place, layer_norm, layer_norm_backward};
pub use product::{Panels, Start, pack, panel_columns, panels_len};
pub use radial::{RadialBasis, radial_backward, radial_features};
pub use real::Real;
pub use rows::{Blocked, Rows, RowsMut};

#[cfg(test)]
mod tests;
