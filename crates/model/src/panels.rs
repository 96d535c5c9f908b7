//! Linear layers' weights in the order in which products read them, for passes of unchanging weights.

use crate::buffer::{Buffer, resized};
use crate::network::Network;
use mdet_kernels::{Operands, Panels, Real, Rows, RowsMut, linear_by_panels, panel_columns, panels_len};
use std::ops::Range;

/// The panels of every linear layer one after another, as a forward pass comes by: what is read next lies behind.
#[derive(Debug)]
pub(crate) struct PackedWeights<T> {
    /// By start of the weights in the arena.
    places: Vec<Place>,
    values: Buffer<T>,
    /// Outputs in a panel; another number means another back end.
    columns: usize,
}

#[derive(Debug)]
struct Place {
    weights: Range<usize>,
    n: usize,
    k: usize,
    /// In `values`.
    panels: Range<usize>,
}

impl<T: Real> PackedWeights<T> {
    pub fn new(net: &Network<T>) -> Self {
        let mut places: Vec<Place> = Vec::new();
        for (weights, k) in net.layout.linear_layers(&net.config) {
            let (n, start) = (weights.len() / k, places.last().map_or(0, |place| place.panels.end));
            places.push(Place { weights, n, k, panels: start..start + panels_len(n, k) });
        }
        let mut packed = Buffer::default();
        let values = resized(&mut packed, places.last().map_or(0, |place| place.panels.end));
        for Place { weights, n, k, panels } in &places {
            T::pack(*n, *k, net.view(weights), &mut values[panels.clone()]);
        }
        places.sort_by_key(|place| place.weights.start);
        Self { places, values: packed, columns: panel_columns(&net.values) }
    }

    /// Whether the back end in use has panels of this width.
    pub fn fits(&self) -> bool {
        self.columns == panel_columns(&self.values)
    }

    fn of(&self, weights: &Range<usize>) -> Option<Panels<'_, T>> {
        let index = self.places.binary_search_by_key(&weights.start, |place| place.weights.start).ok()?;
        let &Place { n, k, ref panels, .. } = &self.places[index];
        Some(Panels { data: &self.values[panels.clone()], n, k, columns: self.columns })
    }
}

/// A network's weights as a pass multiplies by them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weights<'a, T> {
    pub net: &'a Network<T>,
    pub operands: Operands,
    pub packed: Option<&'a PackedWeights<T>>,
}

impl<T: Real> Weights<'_, T> {
    /// y = x·Wᵀ of the weights at `view`.
    pub fn linear(self, view: &Range<usize>, x: Rows<'_, T>, y: RowsMut<'_, T>) {
        match self.packed.and_then(|packed| packed.of(view)) {
            Some(panels) => linear_by_panels(x, panels, y),
            None => self.operands.linear(x, self.net.view(view), y),
        }
    }

    /// The same of some outputs, which start with a panel.
    pub fn some_outputs(self, view: &Range<usize>, outputs: Range<usize>, x: Rows<'_, T>, y: RowsMut<'_, T>) {
        match self.packed.and_then(|packed| packed.of(view)) {
            Some(Panels { data, n, k, columns }) => {
                assert!(
                    outputs.start.is_multiple_of(columns) && outputs.end <= n,
                    "{outputs:?} of {n} outputs"
                );
                let data = &data[outputs.start * k..];
                linear_by_panels(x, Panels { data, n: outputs.len(), k, columns }, y);
            }
            None => {
                let k = x.n_columns();
                self.operands.linear(x, &self.net.view(view)[outputs.start * k..outputs.end * k], y);
            }
        }
    }

    /// The same of `k` inputs in rows one after another.
    pub fn linear_rows(self, view: &Range<usize>, k: usize, x: &[T], y: &mut [T]) {
        self.linear(view, Rows::row_major(x, k), RowsMut::row_major(y, view.len() / k));
    }
}
