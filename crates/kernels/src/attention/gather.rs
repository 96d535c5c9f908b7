//! The sum over middle atoms of a tile's weights and values: the second half of the forward pass, with channels along
//! vector lanes. Layouts are those of [`super::tile`].

use super::has_many_registers;
use super::tile::Tile;
use crate::Real;
use crate::isa::Isa;
use crate::vector::Vector;
use std::ops::Range;

/// Where a tile's rows of the output lie.
#[derive(Clone, Copy)]
pub(super) struct Rows {
    pub width: usize,
    /// Row of the tile's first j within those of an atom i.
    pub first: usize,
    /// Column of the head's first channel.
    pub column: usize,
}

/// What the sums are made of.
#[derive(Clone, Copy)]
pub(super) struct Terms<'a, T> {
    pub v1: &'a [T],
    pub v2: &'a [T],
    pub alpha: &'a [T],
    pub inverse_sum: &'a [T],
}

/// Middle atoms whose weights and v1 stay in the first-level cache while all atoms j of a tile go by. With all of them at
/// once the attention of 118 atoms on AVX2 takes a third longer, in a tuning run that is not kept as a bench; twice as many
/// are no faster for 42 atoms.
const MIDDLES: usize = 24;

/// out\[r\]\[j\]\[c\] = inverse_sum\[r\]\[j\]·Σ_l alpha\[r\]\[l\]\[j\]·v1\[r\]\[l\]\[c\]·v2\[l\]\[j\]\[c\]; `sums` is working memory.
#[inline(always)]
pub(super) fn gather<I: Isa, T: Real, const R: usize>(
    tile: Tile,
    terms: Terms<'_, T>,
    sums: &mut [T],
    rows: Rows,
    out: &mut [T],
) {
    let (n, n_columns) = (tile.n, tile.n_columns);
    let share = n.div_ceil(n.div_ceil(MIDDLES));
    for first in (0..n).step_by(share) {
        let middles = first..n.min(first + share);
        let mut j = 0;
        while j < n_columns {
            let middles = middles.clone();
            j += match (has_many_registers::<I>(), n_columns - j) {
                (true, 4..) => gather_some::<I, T, R, 4, 1>(tile, j, middles, terms, sums, rows, out),
                (true, 2..) => gather_some::<I, T, R, 2, 1>(tile, j, middles, terms, sums, rows, out),
                (true, _) => gather_some::<I, T, R, 1, 1>(tile, j, middles, terms, sums, rows, out),
                (false, 2..) if R < 4 => {
                    gather_some::<I, T, R, 2, 2>(tile, j, middles, terms, sums, rows, out)
                }
                (false, _) => gather_some::<I, T, R, 1, 2>(tile, j, middles, terms, sums, rows, out),
            };
        }
    }
}

/// Adds to the sums over l what `middles` give for `A` atoms j from the tile's `j` on, writes the output if they are the
/// last, and returns `A`. `C` vectors of channels at a time: as many as share a line of the cache, since v2 comes from
/// the second level.
#[inline(always)]
fn gather_some<I: Isa, T: Real, const R: usize, const A: usize, const C: usize>(
    tile: Tile,
    j: usize,
    middles: Range<usize>,
    terms: Terms<'_, T>,
    sums: &mut [T],
    rows: Rows,
    out: &mut [T],
) -> usize {
    let Tile { n, d_head, dp, columns, n_columns } = tile;
    let Terms { v1, v2, alpha, inverse_sum } = terms;
    let (lanes, splat) = (T::Lanes::<I>::LANES, T::Lanes::<I>::splat);
    assert!(alpha.len() >= R * n * columns && v1.len() >= R * n * dp && v2.len() >= tile.panel());
    assert!(j + A <= n_columns && n_columns <= columns && d_head <= dp && dp % (C * lanes) == 0);
    assert!(middles.end <= n && sums.len() >= R * columns * dp && inverse_sum.len() >= R * columns);
    assert!(out.len() >= ((R - 1) * n + rows.first + n_columns - 1) * rows.width + rows.column + d_head);
    let (v1, v2, alpha, memory) = (v1.as_ptr(), v2.as_ptr(), alpha.as_ptr(), sums.as_mut_ptr());
    let (inverse_sum, out) = (inverse_sum.as_ptr(), out.as_mut_ptr());
    let load = T::Lanes::<I>::load_at;
    for c in (0..d_head).step_by(C * lanes) {
        // One after another, so that one address serves all.
        let memory = memory.wrapping_add((c * columns + j * C * lanes) * R);
        let mut sums = [[[splat(T::ZERO); C]; A]; R];
        // SAFETY: l < n, r < R, j + A ≤ n_columns, `C` whole vectors of channels below dp, of the output those below
        // d_head: inside the arrays, checked above.
        unsafe {
            if middles.start > 0 {
                for r in 0..R {
                    for a in 0..A {
                        for v in 0..C {
                            sums[r][a][v] = load(memory.add(((r * A + a) * C + v) * lanes));
                        }
                    }
                }
            }
            // Pointers that move: the compiler multiplies indices anew at every l.
            let mut second_at = v2.add((middles.start * n + j) * dp + c);
            let mut first_at = v1.add(middles.start * dp + c);
            let mut alpha_at = alpha.add(middles.start * columns + j);
            for _ in middles.clone() {
                let mut second = [[splat(T::ZERO); C]; A];
                for a in 0..A {
                    for v in 0..C {
                        second[a][v] = load(second_at.add(a * dp + v * lanes));
                    }
                }
                for r in 0..R {
                    let mut first = [splat(T::ZERO); C];
                    for v in 0..C {
                        first[v] = load(first_at.add(r * n * dp + v * lanes));
                    }
                    for a in 0..A {
                        let weight = splat(*alpha_at.add(r * n * columns + a));
                        for v in 0..C {
                            sums[r][a][v] = weight.mul_add(first[v].mul(second[a][v]), sums[r][a][v]);
                        }
                    }
                }
                second_at = second_at.wrapping_add(n * dp);
                first_at = first_at.wrapping_add(dp);
                alpha_at = alpha_at.wrapping_add(columns);
            }
            if middles.end < n {
                for r in 0..R {
                    for a in 0..A {
                        for v in 0..C {
                            sums[r][a][v].store_at(memory.add(((r * A + a) * C + v) * lanes));
                        }
                    }
                }
                continue;
            }
            for r in 0..R {
                for a in 0..A {
                    let scale = splat(*inverse_sum.add(r * columns + j + a));
                    let to = out.add((r * n + rows.first + j + a) * rows.width + rows.column);
                    for v in 0..C {
                        let (first, sum) = (c + v * lanes, sums[r][a][v].mul(scale));
                        if first + lanes <= d_head {
                            sum.store_at(to.add(first));
                            continue;
                        }
                        // Channels that fill no vector pass through memory.
                        let from = memory;
                        sum.store_at(from);
                        for channel in first..d_head.max(first) {
                            *to.add(channel) = *from.add(channel - first);
                        }
                    }
                }
            }
        }
    }
    A
}
