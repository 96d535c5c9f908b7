//! Where every parameter lies in the flat arena, under the authors' state-dict names.
//!
//! All parameters are one buffer; gradients, optimiser moments and averages share its layout. Tensors that are never
//! trained (frequencies, electron configurations, the fixed map of the distance) come last, so that `..n_trainable`
//! is what an optimiser sees.

use crate::ModelConfig;
use std::ops::Range;

/// Rows of the embedding tables of atomic numbers, and of charge and multiplicity.
pub const N_ELEMENT_ROWS: usize = 102;
const N_STATE_ROWS: usize = 128;
/// Row of the charge table that stands for a neutral molecule.
pub const CHARGE_ROW_OF_NEUTRAL: i32 = 64;
/// Columns of the electron-configuration table.
pub const N_CONFIGURATION_COLUMNS: usize = 23;
/// Rows of the authors' per-pair-type distance map; only row 0 acts.
const N_PAIR_TYPE_ROWS: usize = 257;

/// One named tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// State-dict name.
    pub name: String,
    /// Row-major shape.
    pub shape: Vec<usize>,
    /// Place in the arena.
    pub range: Range<usize>,
}

/// A linear layer's weight `[out, in]` and bias `[out]`.
#[derive(Debug, Clone)]
pub(crate) struct LinearViews {
    pub weight: Range<usize>,
    pub bias: Range<usize>,
}

/// A layer norm's scale and shift.
#[derive(Debug, Clone)]
pub(crate) struct NormViews {
    pub scale: Range<usize>,
    pub shift: Range<usize>,
}

/// Views of one Edge Transformer layer.
#[derive(Debug, Clone)]
pub(crate) struct LayerViews {
    /// The four input matrices of the attention, one below the other: `[4·width, width]`.
    pub qkvv: Range<usize>,
    pub attention_out: Range<usize>,
    pub attention_norm: NormViews,
    pub ffn_in: LinearViews,
    pub ffn_out: LinearViews,
    pub ffn_norm: NormViews,
    pub aggregate_norm: NormViews,
}

/// The arena's map: every tensor by name, and typed views for the model's code.
#[derive(Debug, Clone)]
pub struct Layout {
    tensors: Vec<Tensor>,
    n_trainable: usize,
    pub(crate) elements: Range<usize>,
    pub(crate) configuration: LinearViews,
    pub(crate) multiplicity: Range<usize>,
    pub(crate) charge: Range<usize>,
    pub(crate) gaussian_centres: Range<usize>,
    pub(crate) gaussian_widths: Range<usize>,
    pub(crate) radial: [LinearViews; 2],
    pub(crate) directional: LinearViews,
    pub(crate) compose: LinearViews,
    pub(crate) pool_norm: NormViews,
    pub(crate) pool: [LinearViews; 2],
    pub(crate) node_norm: NormViews,
    pub(crate) node: [LinearViews; 2],
    pub(crate) layers: Vec<LayerViews>,
    pub(crate) head_norm: NormViews,
    pub(crate) head: [LinearViews; 3],
    pub(crate) electron_configuration: Range<usize>,
    pub(crate) azimuthal_frequencies: Range<usize>,
    pub(crate) polar_frequencies: Range<usize>,
    pub(crate) distance_slope: Range<usize>,
    pub(crate) distance_offset: Range<usize>,
}

#[derive(Default)]
struct Builder {
    tensors: Vec<Tensor>,
    len: usize,
}

impl Builder {
    fn tensor(&mut self, name: impl Into<String>, shape: &[usize]) -> Range<usize> {
        let range = self.len..self.len + shape.iter().product::<usize>();
        self.len = range.end;
        self.tensors.push(Tensor { name: name.into(), shape: shape.to_vec(), range: range.clone() });
        range
    }

    fn linear(&mut self, name: &str, n_out: usize, n_in: usize) -> LinearViews {
        LinearViews {
            weight: self.tensor(format!("{name}.weight"), &[n_out, n_in]),
            bias: self.tensor(format!("{name}.bias"), &[n_out]),
        }
    }

    fn norm(&mut self, name: &str, width: usize) -> NormViews {
        NormViews {
            scale: self.tensor(format!("{name}.weight"), &[width]),
            shift: self.tensor(format!("{name}.bias"), &[width]),
        }
    }

    fn layer(&mut self, index: usize, d: usize, hidden: usize) -> LayerViews {
        let name = format!("layers.{index}");
        let starts: Vec<_> = ["qlin", "klin", "v1lin", "v2lin"]
            .map(|part| self.tensor(format!("{name}.attention.{part}.weight"), &[d, d]))
            .into();
        LayerViews {
            qkvv: starts[0].start..starts[3].end,
            attention_out: self.tensor(format!("{name}.attention.olin.weight"), &[d, d]),
            attention_norm: self.norm(&format!("{name}.norm"), d),
            ffn_in: self.linear(&format!("{name}.ffn.mlp.0"), hidden, d),
            ffn_out: self.linear(&format!("{name}.ffn.mlp.3"), d, hidden),
            ffn_norm: self.norm(&format!("{name}.ffn.norm"), d),
            aggregate_norm: self.norm(&format!("{name}.ffn.norm_aggregate"), d),
        }
    }
}

impl Layout {
    /// The layout of an architecture whose sizes are valid.
    pub fn new(config: &ModelConfig) -> Self {
        let (d, k, f) = (config.width, config.n_gaussians, config.n_frequencies);
        let mut b = Builder::default();
        let elements = b.tensor("embedding.nuclear_embedding.embedding.weight", &[N_ELEMENT_ROWS, d]);
        let configuration = b.linear("embedding.nuclear_embedding.config_linear", d, N_CONFIGURATION_COLUMNS);
        let multiplicity = b.tensor("embedding.multiplicity_embed.weight", &[N_STATE_ROWS, d]);
        let charge = b.tensor("embedding.charge_embed.weight", &[N_STATE_ROWS, d]);
        let gaussian_centres = b.tensor("embedding.m3d_embed.gbf.means.weight", &[1, k]);
        let gaussian_widths = b.tensor("embedding.m3d_embed.gbf.stds.weight", &[1, k]);
        let radial = [
            b.linear("embedding.m3d_embed.gbf_proj.layer1", k, k),
            b.linear("embedding.m3d_embed.gbf_proj.layer2", d, k),
        ];
        let directional = b.linear("embedding.directional_embed.proj", d, 4 * f);
        let compose = b.linear("composer.node_proj.0", d, 2 * d);
        let pool_norm = b.norm("decomposer.out_proj.0", d);
        let pool =
            [b.linear("decomposer.out_proj.1", 2 * d, d), b.linear("decomposer.out_proj.4", 2 * d, 2 * d)];
        let node_norm = b.norm("decomposer.node_mlp.0", d);
        let node = [b.linear("decomposer.node_mlp.1", d, d), b.linear("decomposer.node_mlp.4", d, d)];
        let layers = (0..config.n_layers).map(|index| b.layer(index, d, config.ffn_multiplier * d)).collect();
        let head_norm = b.norm("heads.forces.final_ln_node", d);
        let head_hidden =
            [b.linear("heads.forces.mlp.0", d / 2, d), b.linear("heads.forces.mlp.3", d / 4, d / 2)];
        let head_out = b.tensor("heads.forces.mlp.6.weight", &[3, d / 4]);
        let [head_in, head_middle] = head_hidden;
        let head = [head_in, head_middle, LinearViews { weight: head_out, bias: 0..0 }];
        let n_trainable = b.len;
        let electron_configuration = b.tensor(
            "embedding.nuclear_embedding.electron_config",
            &[N_ELEMENT_ROWS, N_CONFIGURATION_COLUMNS],
        );
        let azimuthal_frequencies = b.tensor("embedding.directional_embed.angular_freqs_azimuthal", &[f]);
        let polar_frequencies = b.tensor("embedding.directional_embed.angular_freqs_polar", &[f]);
        let distance_slope = b.tensor("embedding.m3d_embed.gbf.mul.weight", &[N_PAIR_TYPE_ROWS, 1]);
        let distance_offset = b.tensor("embedding.m3d_embed.gbf.bias.weight", &[N_PAIR_TYPE_ROWS, 1]);
        Self {
            tensors: b.tensors,
            n_trainable,
            elements,
            configuration,
            multiplicity,
            charge,
            gaussian_centres,
            gaussian_widths,
            radial,
            directional,
            compose,
            pool_norm,
            pool,
            node_norm,
            node,
            layers,
            head_norm,
            head,
            electron_configuration,
            azimuthal_frequencies,
            polar_frequencies,
            distance_slope,
            distance_offset,
        }
    }

    /// The weights of every linear layer with its number of inputs, in the order of a forward pass.
    pub(crate) fn linear_layers(&self, config: &ModelConfig) -> Vec<(Range<usize>, usize)> {
        let (d, k, hidden) = (config.width, config.n_gaussians, config.ffn_multiplier * config.width);
        let mut all = vec![
            (self.configuration.weight.clone(), N_CONFIGURATION_COLUMNS),
            (self.radial[0].weight.clone(), k),
            (self.radial[1].weight.clone(), k),
            (self.directional.weight.clone(), 4 * config.n_frequencies),
            (self.compose.weight.clone(), d),
        ];
        for layer in &self.layers {
            all.push((layer.qkvv.clone(), d));
            all.push((layer.attention_out.clone(), d));
            all.push((layer.ffn_in.weight.clone(), d));
            all.push((layer.ffn_out.weight.clone(), hidden));
        }
        let [first, second] = self.second_pool();
        all.extend([(self.pool[0].weight.clone(), d), (first, 2 * d), (second, 2 * d)]);
        all.extend(self.node.iter().map(|views| (views.weight.clone(), d)));
        all.extend(self.head.iter().zip([d, d / 2, d / 4]).map(|(views, n_in)| (views.weight.clone(), n_in)));
        all
    }

    /// The parts of the second pooling matrix for Σ_j r\[i,j\] and Σ_j r\[j,i\].
    pub(crate) fn second_pool(&self) -> [Range<usize>; 2] {
        let Range { start, end } = self.pool[1].weight;
        let middle = start + (end - start) / 2;
        [start..middle, middle..end]
    }

    /// Every tensor, in arena order.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// Elements of the arena.
    pub fn len(&self) -> usize {
        self.tensors.last().map_or(0, |tensor| tensor.range.end)
    }

    /// Whether the arena holds nothing (never, for a valid architecture).
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Elements that training changes: the front of the arena.
    pub fn n_trainable(&self) -> usize {
        self.n_trainable
    }
}
