//! From a molecule to its N² edge vectors, and the gradient back to parameters and positions.
//!
//!   node     h[i]   = E_Z[Z_i] + W_e·c(Z_i) + b_e + E_mult[multiplicity] + E_charge[charge + 64]
//!   edge     e[i,j] = MLP(G(|r_j − r_i|)) + W_dir·Fourier(azimuth, polar)
//!   compose  x[i,j] = e[i,j] + W_c·[h[i], h[j]]
//!
//! W_c is applied once per atom, not per edge: a row-major `[d, 2d]` matrix is also a `[2d, d]` one whose rows
//! alternate between the part for i and the part for j.

use crate::buffer::{Buffer, n_bytes, resized};
use crate::geometry::position_gradient;
use crate::gradient::Gradient;
use crate::group::{Group, Molecule};
use crate::layout::{CHARGE_ROW_OF_NEUTRAL, N_CONFIGURATION_COLUMNS};
use crate::network::Network;
use crate::panels::Weights;
use crate::shares::Shares;
use mdet_kernels::{
    Operands, RadialBasis, Real, Rows, RowsMut, Start, add_bias, add_column_sums, angular_backward,
    angular_features, bias_gelu, gelu_backward, linear_input_gradient, linear_weight_gradient,
    radial_backward, radial_features,
};
use std::ops::Range;

/// What the backward pass needs of the embedding.
#[derive(Debug, Default, Clone)]
pub(crate) struct EmbeddingTape<T> {
    pub node: Buffer<T>,
    pub edge: Buffer<T>,
    configuration: Buffer<T>,
    composed_node: Buffer<T>,
    gaussians: Buffer<T>,
    hidden: Buffer<T>,
    activated: Buffer<T>,
    fourier: Buffer<T>,
}

impl<T> EmbeddingTape<T> {
    pub fn n_bytes(&self) -> usize {
        let Self { node, edge, configuration, composed_node, gaussians, hidden, activated, fourier } = self;
        n_bytes([node, edge, configuration, composed_node, gaussians, hidden, activated, fourier])
    }
}

fn radial_basis<T: Real>(net: &Network<T>) -> RadialBasis<'_, T> {
    RadialBasis {
        centres: net.view(&net.layout.gaussian_centres),
        widths: net.view(&net.layout.gaussian_widths),
        slope: net.values[net.layout.distance_slope.start].to_f64(),
        offset: net.values[net.layout.distance_offset.start].to_f64(),
    }
}

/// Rows of the element, multiplicity and charge tables that atom `atom` of molecule `molecule` adds up.
fn table_rows<T: Real>(net: &Network<T>, group: &Group, molecule: usize, atom: usize) -> [usize; 3] {
    let d = net.config.width;
    let (charge, multiplicity) = group.states[molecule];
    let charge_row = usize::try_from(charge + CHARGE_ROW_OF_NEUTRAL).expect("Structure checks the charge");
    let tables = [&net.layout.elements, &net.layout.multiplicity, &net.layout.charge];
    let rows = [group.numbers[atom] as usize, multiplicity as usize, charge_row];
    std::array::from_fn(|t| tables[t].start + rows[t] * d)
}

/// Writes x `[n_edges, width]`.
pub(crate) fn forward<T: Real>(
    weights: Weights<'_, T>,
    group: &Group,
    shares: Shares,
    tape: &mut EmbeddingTape<T>,
    x: &mut [T],
) {
    let config = &weights.net.config;
    let (d, k, n_fourier) = (config.width, config.n_gaussians, 4 * config.n_frequencies);
    nodes(weights, group, tape);
    let n_rows = shares.n_block_rows();
    let blocks = [
        resized(&mut tape.gaussians, n_rows * k),
        resized(&mut tape.hidden, n_rows * k),
        resized(&mut tape.activated, n_rows * k),
        resized(&mut tape.fourier, n_rows * n_fourier),
        resized(&mut tape.edge, n_rows * d),
    ];
    let composed_node = &tape.composed_node;
    shares.run([RowsMut::row_major(x, d)], blocks, [k, k, k, n_fourier, d], |rows, [x], blocks| {
        let x = x.into_slice();
        edges(weights, group, rows.clone(), blocks, x);
        compose(weights.net, group, composed_node, rows, x);
    });
}

/// Writes e of some rows.
fn edges<T: Real>(
    weights: Weights<'_, T>,
    group: &Group,
    rows: Range<usize>,
    [gaussians, hidden, activated, fourier, edge]: [&mut [T]; 5],
    x: &mut [T],
) {
    let net = weights.net;
    let (k, n_fourier, layout) = (net.config.n_gaussians, 4 * net.config.n_frequencies, &net.layout);
    radial_features(&group.geometry.distances[rows.clone()], radial_basis(net), gaussians);
    weights.linear_rows(&layout.radial[0].weight, k, gaussians, hidden);
    bias_gelu(hidden, net.view(&layout.radial[0].bias), activated);
    weights.linear_rows(&layout.radial[1].weight, k, activated, edge);
    add_bias(edge, net.view(&layout.radial[1].bias));

    angular_features(&group.geometry.angles[rows], &net.azimuthal, &net.polar, fourier);
    weights.linear_rows(&layout.directional.weight, n_fourier, fourier, x);
    add_bias(x, net.view(&layout.directional.bias));
    for (edge, x) in edge.iter_mut().zip(&*x) {
        *edge += *x;
    }
    x.copy_from_slice(edge);
}

/// Adds W_c·\[h\[i\], h\[j\]\] to x of some rows.
fn compose<T: Real>(net: &Network<T>, group: &Group, composed_node: &[T], rows: Range<usize>, x: &mut [T]) {
    let d = net.config.width;
    let bias = net.view(&net.layout.compose.bias);
    group.for_edges(rows.clone(), |edge, [from, to]| {
        let [from, to] = [from, to].map(|atom| &composed_node[atom * 2 * d..(atom + 1) * 2 * d]);
        let x = &mut x[(edge - rows.start) * d..][..d];
        for c in 0..d {
            x[c] += from[2 * c] + to[2 * c + 1] + bias[c];
        }
    });
}

/// Writes the node vectors, the electron configurations they used, and what becomes of them in the composition.
fn nodes<T: Real>(weights: Weights<'_, T>, group: &Group, tape: &mut EmbeddingTape<T>) {
    let net = weights.net;
    let (d, layout, n_atoms) = (net.config.width, &net.layout, group.n_atoms());
    let table = net.view(&layout.electron_configuration);
    let configuration = resized(&mut tape.configuration, n_atoms * N_CONFIGURATION_COLUMNS);
    for (row, &number) in configuration.chunks_exact_mut(N_CONFIGURATION_COLUMNS).zip(&group.numbers) {
        row.copy_from_slice(&table[number as usize * N_CONFIGURATION_COLUMNS..][..N_CONFIGURATION_COLUMNS]);
    }
    let node = resized(&mut tape.node, n_atoms * d);
    weights.linear_rows(&layout.configuration.weight, N_CONFIGURATION_COLUMNS, configuration, node);
    add_bias(node, net.view(&layout.configuration.bias));
    for (molecule, atoms) in group.atoms.iter().enumerate() {
        if net.config.first_atom_quirk {
            node[atoms.start * d..(atoms.start + 1) * d].fill(T::ZERO);
        }
        for atom in atoms.clone() {
            for row in table_rows(net, group, molecule, atom) {
                for (h, &e) in node[atom * d..(atom + 1) * d].iter_mut().zip(&net.values[row..row + d]) {
                    *h += e;
                }
            }
        }
    }
    let composed_node = resized(&mut tape.composed_node, n_atoms * 2 * d);
    weights.linear_rows(&layout.compose.weight, d, &tape.node, composed_node);
}

/// Adds the parameters' gradients to `gradient`; with `dpositions`, also writes the gradient of the positions. Uses up
/// the tape.
pub(crate) fn backward<T: Real>(
    net: &Network<T>,
    molecules: &[Molecule<'_>],
    group: &Group,
    operands: Operands,
    tape: &mut EmbeddingTape<T>,
    dx: &[T],
    gradient: &mut Gradient<'_, T>,
    dpositions: Option<&mut [[f64; 3]]>,
) {
    let (d, k, layout) = (net.config.width, net.config.n_gaussians, &net.layout);
    let n_fourier = 4 * net.config.n_frequencies;
    for bias in [&layout.compose.bias, &layout.radial[1].bias, &layout.directional.bias] {
        gradient.bias(bias, dx);
    }
    if let Some(arena) = &mut gradient.0 {
        nodes_backward(net, group, tape, dx, arena);
    }
    let rows = Rows::row_major(dx, d);
    gradient.weights(&layout.directional.weight, operands, rows, n_fourier, &tape.fourier);

    // The edge vectors and the composed nodes are used no more: their memory serves the gradients.
    let dhidden = resized(&mut tape.edge, group.n_edges() * k);
    let w = net.view(&layout.radial[1].weight);
    operands.input_gradient(rows, w, Start::Zero, RowsMut::row_major(dhidden, k));
    gelu_backward(&tape.hidden, dhidden, &mut tape.activated);
    gradient.weights(&layout.radial[1].weight, operands, rows, k, &tape.activated);
    gradient.bias(&layout.radial[0].bias, dhidden);
    let dhidden = Rows::row_major(dhidden, k);
    gradient.weights(&layout.radial[0].weight, operands, dhidden, k, &tape.gaussians);
    let dgaussians = &mut tape.activated;
    let w = net.view(&layout.radial[0].weight);
    operands.input_gradient(dhidden, w, Start::Zero, RowsMut::row_major(dgaussians, k));
    let mut ddistances = vec![0.0; group.n_edges()];
    let of_gaussians = layout.gaussian_centres.start..layout.gaussian_widths.end;
    gradient.with_part(&of_gaussians, |parameters| {
        let (dcentres, dwidths) = parameters.split_at_mut(k);
        let distances = &group.geometry.distances;
        radial_backward(
            distances,
            radial_basis(net),
            &tape.gaussians,
            dgaussians,
            &mut ddistances,
            dcentres,
            dwidths,
        );
    });

    let Some(dpositions) = dpositions else { return };
    let dfourier = resized(&mut tape.hidden, group.n_edges() * n_fourier);
    linear_input_gradient(d, n_fourier, dx, net.view(&layout.directional.weight), dfourier);
    let mut dangles = vec![[0.0; 2]; group.n_edges()];
    angular_backward(&tape.fourier, dfourier, &net.azimuthal, &net.polar, &mut dangles);
    for (molecule, (atoms, edges)) in molecules.iter().zip(group.atoms.iter().zip(&group.edges)) {
        position_gradient(
            molecule.positions_bohr,
            &ddistances[edges.clone()],
            &dangles[edges.clone()],
            &mut dpositions[atoms.clone()],
        );
    }
}

/// Gradients of the composing matrix, the tables and the electron-configuration layer.
fn nodes_backward<T: Real>(
    net: &Network<T>,
    group: &Group,
    tape: &mut EmbeddingTape<T>,
    dx: &[T],
    gradient: &mut [T],
) {
    let (d, layout) = (net.config.width, &net.layout);
    let dcomposed = &mut tape.composed_node;
    dcomposed.fill(T::ZERO);
    for (atoms, edges) in group.atoms.iter().zip(&group.edges) {
        let n = atoms.len();
        for (pair, dx) in dx[edges.start * d..edges.end * d].chunks_exact(d).enumerate() {
            for (atom, part) in [(pair / n, 0), (pair % n, 1)] {
                let row = &mut dcomposed[(atoms.start + atom) * 2 * d..][..2 * d];
                for c in 0..d {
                    row[2 * c + part] += dx[c];
                }
            }
        }
    }
    linear_weight_gradient(2 * d, d, dcomposed, &tape.node, &mut gradient[layout.compose.weight.clone()]);
    let dnode = &mut tape.node;
    linear_input_gradient(2 * d, d, dcomposed, net.view(&layout.compose.weight), dnode);
    for (molecule, atoms) in group.atoms.iter().enumerate() {
        for atom in atoms.clone() {
            for row in table_rows(net, group, molecule, atom) {
                for (g, &h) in gradient[row..row + d].iter_mut().zip(&dnode[atom * d..(atom + 1) * d]) {
                    *g += h;
                }
            }
        }
        if net.config.first_atom_quirk {
            dnode[atoms.start * d..(atoms.start + 1) * d].fill(T::ZERO);
        }
    }
    add_column_sums(dnode, &mut gradient[layout.configuration.bias.clone()]);
    linear_weight_gradient(
        d,
        N_CONFIGURATION_COLUMNS,
        dnode,
        &tape.configuration,
        &mut gradient[layout.configuration.weight.clone()],
    );
}
