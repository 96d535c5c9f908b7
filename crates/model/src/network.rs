//! The network: one arena of parameters, and the passes over a ragged group of molecules.

use crate::buffer::{Buffer, n_bytes, resized};
use crate::embedding::{self, EmbeddingTape};
use crate::gradient::Gradient;
use crate::group::{Group, Keep, Molecule};
use crate::layer::{self, LayerScratch, LayerTape};
use crate::layout::Layout;
use crate::panels::{PackedWeights, Weights};
use crate::readout::{self, ReadoutTape};
use crate::shares::Shares;
use crate::{ConfigError, ModelConfig};
use mdet_kernels::{Operands, Real};
use rayon::prelude::*;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// An architecture with its parameters, in f32 or f64.
#[derive(Debug, Clone)]
pub struct Network<T> {
    pub(crate) config: ModelConfig,
    pub(crate) layout: Arc<Layout>,
    /// The arena: every parameter in the layout's order.
    pub(crate) values: Vec<T>,
    /// Fourier frequencies in rad⁻¹.
    pub(crate) azimuthal: Vec<f64>,
    pub(crate) polar: Vec<f64>,
    /// The weights again in another order, from the first inference on until they change.
    packed: OnceLock<Arc<PackedWeights<T>>>,
}

/// What the matrix products over edges, the bulk of the work, may do to their factors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rounding {
    /// In the layers of [`Network::forward`].
    pub forward: Operands,
    /// In [`Network::backward`].
    pub backward: Operands,
}

/// Buffers of one forward and backward pass, reused from group to group.
#[derive(Debug, Default)]
pub struct Tape<T> {
    rounding: Rounding,
    group: Group,
    embedding: EmbeddingTape<T>,
    layers: Vec<LayerTape<T>>,
    scratch: LayerScratch<T>,
    readout: ReadoutTape<T>,
    dx: Buffer<T>,
}

impl<T: Real> Network<T> {
    /// A network of `config` with the parameters `values` in the order of [`Layout`].
    ///
    /// # Errors
    /// When a size of `config` is out of range.
    ///
    /// # Panics
    /// When `values` does not have the layout's length.
    pub fn new(config: ModelConfig, values: Vec<T>) -> Result<Self, ConfigError> {
        config.validate()?;
        let layout = Arc::new(Layout::new(&config));
        assert_eq!(values.len(), layout.len(), "parameters of {config:?}");
        let frequencies =
            |range: &Range<usize>| values[range.clone()].iter().map(|f| f.to_f64()).collect::<Vec<_>>();
        let azimuthal = frequencies(&layout.azimuthal_frequencies);
        let polar = frequencies(&layout.polar_frequencies);
        Ok(Self { config, layout, values, azimuthal, polar, packed: OnceLock::new() })
    }

    /// The architecture.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The arena's map.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Every parameter, in the layout's order.
    pub fn values(&self) -> &[T] {
        &self.values
    }

    /// The parameters that training changes.
    pub fn trainable_mut(&mut self) -> &mut [T] {
        self.packed.take();
        &mut self.values[..self.layout.n_trainable()]
    }

    /// The same network in another precision.
    pub fn to_precision<U: Real>(&self) -> Network<U> {
        Network {
            config: self.config.clone(),
            layout: Arc::clone(&self.layout),
            values: self.values.iter().map(|v| U::from_f64(v.to_f64())).collect(),
            azimuthal: self.azimuthal.clone(),
            polar: self.polar.clone(),
            packed: OnceLock::new(),
        }
    }

    pub(crate) fn view(&self, range: &Range<usize>) -> &[T] {
        &self.values[range.clone()]
    }

    /// Forces `[n_atoms, 3]` of all molecules one after another, Hartree/Bohr, with nothing removed.
    ///
    /// A molecule's forces are the same bit for bit in every group. `tape` keeps what [`Network::backward`] needs.
    ///
    /// # Panics
    /// When a molecule is empty, a number, charge or multiplicity has no row in the tables, or `forces` has not
    /// three entries per atom.
    pub fn forward(&self, molecules: &[Molecule<'_>], tape: &mut Tape<T>, forces: &mut [T]) {
        tape.layers.resize_with(self.config.n_layers, LayerTape::default);
        let operands = tape.rounding.forward;
        self.pass(
            molecules,
            1,
            Keep::ForBackward,
            Weights { net: self, operands, packed: None },
            tape,
            forces,
        );
    }

    /// [`Network::forward`] without a way back: all layers share one layer's memory, and the rows are dealt to
    /// `n_threads` of the current thread pool. The forces are the same bit for bit.
    ///
    /// # Panics
    /// As [`Network::forward`].
    pub fn infer(&self, molecules: &[Molecule<'_>], n_threads: usize, tape: &mut Tape<T>, forces: &mut [T]) {
        tape.layers.resize_with(1, LayerTape::default);
        let packed = Some(self.packed()).filter(|packed| packed.fits());
        let weights = Weights { net: self, operands: Operands::AsGiven, packed };
        self.pass(molecules, n_threads, Keep::Output, weights, tape, forces);
    }

    /// The weights as [`Network::infer`] reads them.
    pub(crate) fn packed(&self) -> &PackedWeights<T> {
        self.packed.get_or_init(|| Arc::new(PackedWeights::new(self)))
    }

    /// A forward pass over as many layer tapes as there are: one per layer, or one for all.
    fn pass(
        &self,
        molecules: &[Molecule<'_>],
        n_threads: usize,
        keep: Keep,
        weights: Weights<'_, T>,
        tape: &mut Tape<T>,
        forces: &mut [T],
    ) {
        let Tape { group, embedding, layers, scratch, readout, .. } = tape;
        group.fill(molecules, n_threads);
        assert_eq!(forces.len(), 3 * group.n_atoms());
        let as_given = Weights { operands: Operands::AsGiven, ..weights };
        let shares = Shares::new(group.n_edges(), n_threads, keep);
        let (n_rows, last_tape, views) =
            (group.n_edges() * self.config.width, layers.len() - 1, &self.layout.layers);
        embedding::forward(as_given, group, shares, embedding, resized(&mut layers[0].input, n_rows));
        let LayerTape { input, qkvv, .. } = &mut layers[0];
        layer::project_all(weights, &views[0], shares, input, scratch, layer::qkvv_rows(self, group, qkvv));
        for index in 0..self.config.n_layers {
            let (own, next) = (index.min(last_tape), (index + 1).min(last_tape));
            layer::attend(self, group, n_threads, &mut layers[own], scratch);
            let mut qkvv = std::mem::take(&mut layers[next].qkvv);
            let following =
                views.get(index + 1).map(|views| (views, layer::qkvv_rows(self, group, &mut qkvv)));
            let output = resized(&mut readout.input, n_rows);
            layer::feed_forward(weights, &views[index], following, shares, &mut layers[own], scratch, output);
            layers[next].qkvv = qkvv;
            if index + 1 < self.config.n_layers {
                std::mem::swap(&mut readout.input, &mut layers[next].input);
            }
        }
        readout::forward(as_given, group, n_threads, keep, readout, forces);
    }

    /// Adds to `gradient` (the arena's length) the gradient of a loss whose derivative by the forces of the last
    /// [`Network::forward`] on `tape` is `dforces`; with `dpositions` `[n_atoms]`, also writes its derivative by the
    /// positions, per Bohr.
    ///
    /// # Panics
    /// When the last pass on `tape` was not a [`Network::forward`] of these molecules, or a length is wrong.
    pub fn backward(
        &self,
        molecules: &[Molecule<'_>],
        tape: &mut Tape<T>,
        dforces: &[T],
        gradient: &mut [T],
        dpositions: Option<&mut [[f64; 3]]>,
    ) {
        assert_eq!(gradient.len(), self.values.len());
        self.way_back_of(molecules, tape, dforces, Gradient(Some(gradient)), dpositions);
    }

    /// The part of [`Network::backward`] that is the derivative by the positions, without the products that only the
    /// parameters' gradient needs.
    ///
    /// # Panics
    /// As [`Network::backward`].
    pub fn backward_to_positions(
        &self,
        molecules: &[Molecule<'_>],
        tape: &mut Tape<T>,
        dforces: &[T],
        dpositions: &mut [[f64; 3]],
    ) {
        self.way_back_of(molecules, tape, dforces, Gradient(None), Some(dpositions));
    }

    fn way_back_of(
        &self,
        molecules: &[Molecule<'_>],
        tape: &mut Tape<T>,
        dforces: &[T],
        gradient: Gradient<'_, T>,
        dpositions: Option<&mut [[f64; 3]]>,
    ) {
        let Tape { rounding, group, embedding, layers, scratch, readout, dx } = tape;
        assert_eq!(dforces.len(), 3 * group.n_atoms());
        assert_eq!((molecules.len(), layers.len()), (group.atoms.len(), self.config.n_layers));
        let buffers = (readout, scratch, dx, embedding);
        self.way_back(molecules, group, rounding.backward, layers, buffers, dforces, gradient, dpositions);
    }

    /// [`Network::backward`] through layers' tapes that are left as they are, and buffers that are used up.
    fn way_back(
        &self,
        molecules: &[Molecule<'_>],
        group: &Group,
        operands: Operands,
        layers: &[LayerTape<T>],
        (readout, scratch, dx, embedding): (
            &mut ReadoutTape<T>,
            &mut LayerScratch<T>,
            &mut Buffer<T>,
            &mut EmbeddingTape<T>,
        ),
        dforces: &[T],
        mut gradient: Gradient<'_, T>,
        dpositions: Option<&mut [[f64; 3]]>,
    ) {
        let gradient = &mut gradient;
        let dx = resized(dx, group.n_edges() * self.config.width);
        readout::backward(self, group, operands, readout, dforces, dx, gradient);
        for (views, layer) in self.layout.layers.iter().zip(layers).rev() {
            layer::backward(self, views, group, operands, layer, scratch, dx, gradient);
        }
        embedding::backward(self, molecules, group, operands, embedding, dx, gradient, dpositions);
    }

    /// The part of [`Network::backward`] that is the force head's parameters, with the same bits; the last pass on `tape`
    /// may have been [`Network::infer`] too.
    ///
    /// # Panics
    /// When there was no pass on `tape`, or a length is wrong.
    pub fn backward_head(&self, tape: &mut Tape<T>, dforces: &[T], gradient: &mut [T]) {
        assert_eq!((dforces.len(), gradient.len()), (3 * tape.group.n_atoms(), self.values.len()));
        let mut gradient = Gradient(Some(gradient));
        readout::head_backward(self, &tape.group, &mut tape.readout, dforces, &mut gradient);
    }

    /// Force Jacobian ∂f/∂r of one molecule, `[3n, 3n]` row-major (rows force, columns position components),
    /// Hartree/Bohr², exact: one forward pass, and for each row a way back to the positions alone. The rows are dealt to
    /// the current thread pool; the Jacobian is the same bit for bit.
    ///
    /// # Panics
    /// As [`Network::forward`].
    pub fn jacobian(&self, molecule: &Molecule<'_>) -> Vec<f64> {
        let size = 3 * molecule.numbers.len();
        let (molecules, mut tape) = ([*molecule], Tape::default());
        self.forward(&molecules, &mut tape, &mut vec![T::ZERO; size]);
        let Tape { group, embedding, layers, readout, .. } = &tape;
        let mut jacobian = vec![0.0; size * size];
        jacobian.par_chunks_mut(size).enumerate().for_each_init(
            || (LayerScratch::default(), Buffer::default()),
            |(scratch, dx), (component, row)| {
                let mut dforces = vec![T::ZERO; size];
                dforces[component] = T::ONE;
                let (row, _) = row.as_chunks_mut();
                let buffers = (&mut readout.clone(), scratch, dx, &mut embedding.clone());
                self.way_back(
                    &molecules,
                    group,
                    Operands::AsGiven,
                    layers,
                    buffers,
                    &dforces,
                    Gradient(None),
                    Some(row),
                );
            },
        );
        jacobian
    }
}

impl<T: Real> Tape<T> {
    /// A tape whose passes may round; [`Network::infer`] never does.
    pub fn rounding(rounding: Rounding) -> Self
    where
        T: Default,
    {
        Self { rounding, ..Self::default() }
    }

    /// Bytes it holds, but for what grows with the atoms and not with their square.
    pub fn n_bytes(&self) -> usize {
        let layers: usize = self.layers.iter().map(LayerTape::n_bytes).sum();
        let rest = self.embedding.n_bytes() + self.scratch.n_bytes() + self.readout.n_bytes();
        layers + rest + n_bytes([&self.dx])
    }

    /// Named intermediates of the last forward pass, for comparison with the authors' model: `node`, `edge`,
    /// `composed`, every `layer{k}.attention` (after its output matrix) and `layer{k}`, and `pooled`.
    #[doc(hidden)]
    pub fn intermediates(&self) -> Vec<(String, Vec<T>)> {
        let mut all = vec![
            ("node".to_string(), self.embedding.node.to_vec()),
            ("edge".to_string(), self.embedding.edge.to_vec()),
            ("pooled".to_string(), self.readout.pooled.to_vec()),
        ];
        for (index, layer) in self.layers.iter().enumerate() {
            let name = if index == 0 { "composed".to_string() } else { format!("layer{}", index - 1) };
            all.push((name, layer.input.to_vec()));
            all.push((format!("layer{index}.attention"), layer.attention()));
        }
        all.push((format!("layer{}", self.layers.len() - 1), self.readout.input.to_vec()));
        all
    }
}
