//! A ragged group of molecules: the concatenation of their N² edge rows, without padding or mask.

use crate::geometry::PairGeometry;
use std::ops::Range;

/// One molecule as the network sees it.
#[derive(Debug, Clone, Copy)]
pub struct Molecule<'a> {
    /// Atomic numbers.
    pub numbers: &'a [u8],
    /// Positions in Bohr.
    pub positions_bohr: &'a [[f64; 3]],
    /// Total charge in e.
    pub charge: i32,
    /// Spin multiplicity 2S + 1.
    pub multiplicity: u32,
}

/// What a forward pass leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// All that a backward pass needs.
    ForBackward,
    /// Only the results: the rows between are taken through in blocks.
    Output,
}

/// Rows of a block that stays near from kernel to kernel. With 174, 342 and 516 (f32), 132 and 174 (f64) a forward pass of
/// the full-size model on 42 atoms takes the same time to 1 %, in a tuning run on one machine with 1 MB of second-level
/// cache.
const BLOCK_ROWS: usize = 258;

impl Keep {
    /// How many of `n_rows` rows are taken from the first kernel to the last before the next begin.
    pub fn block_rows(self, n_rows: usize) -> usize {
        match self {
            Self::ForBackward => n_rows,
            Self::Output => n_rows.min(BLOCK_ROWS),
        }
    }

    /// All rows, block by block.
    pub fn blocks(self, n_rows: usize) -> impl Iterator<Item = Range<usize>> {
        let block = self.block_rows(n_rows).max(1);
        (0..n_rows).step_by(block).map(move |start| start..n_rows.min(start + block))
    }
}

/// Molecules evaluated together; row (i, j) of molecule b is `edges(b).start + i·n + j`.
#[derive(Debug, Default)]
pub(crate) struct Group {
    /// Atoms of each molecule within the group's atoms.
    pub atoms: Vec<Range<usize>>,
    /// Edge rows of each molecule within the group's rows.
    pub edges: Vec<Range<usize>>,
    pub numbers: Vec<u8>,
    /// Charge and multiplicity of each molecule.
    pub states: Vec<(i32, u32)>,
    pub geometry: PairGeometry,
}

impl Group {
    /// Replaces the content by `molecules`, with `n_threads` of the current pool.
    ///
    /// # Panics
    /// When a molecule has no atom, or not one position per atom.
    pub fn fill(&mut self, molecules: &[Molecule<'_>], n_threads: usize) {
        self.atoms.clear();
        self.edges.clear();
        self.numbers.clear();
        self.states.clear();
        self.geometry.clear();
        for molecule in molecules {
            let n = molecule.numbers.len();
            assert!(n > 0 && n == molecule.positions_bohr.len(), "{n} numbers");
            let (atom, edge) = (self.n_atoms(), self.n_edges());
            self.atoms.push(atom..atom + n);
            self.edges.push(edge..edge + n * n);
            self.numbers.extend_from_slice(molecule.numbers);
            self.states.push((molecule.charge, molecule.multiplicity));
            self.geometry.extend(molecule.positions_bohr, n_threads);
        }
    }

    /// Calls `visit(edge, [i, j])` for every edge of `rows`, with its atoms within the group's.
    pub fn for_edges(&self, rows: Range<usize>, mut visit: impl FnMut(usize, [usize; 2])) {
        for (atoms, edges) in self.atoms.iter().zip(&self.edges) {
            let n = atoms.len();
            for edge in edges.start.max(rows.start)..edges.end.min(rows.end) {
                let pair = edge - edges.start;
                visit(edge, [pair / n, pair % n].map(|atom| atoms.start + atom));
            }
        }
    }

    pub fn n_atoms(&self) -> usize {
        self.atoms.last().map_or(0, |range| range.end)
    }

    pub fn n_edges(&self) -> usize {
        self.edges.last().map_or(0, |range| range.end)
    }
}
