//! Triangular attention: edge (i, j) gathers over the middle atom l.
//!
//!   s[i,l,j,h] = q[i,l,h]·k[l,j,h] / √d_head;  α = softmax over l
//!   out[i,j,h] = Σ_l α[i,l,j,h] · (v1[i,l,h] ⊙ v2[l,j,h])
//!
//! Nothing of size N³·d exists: the head is the outermost loop, its k and v2 are packed as [l][channel][j] so that j
//! runs along vector lanes, and one atom i at a time keeps the N × N weights α of its edges. The backward pass
//! recomputes α. Working memory per thread is O(N²·d_head).

use crate::isa::{Isa, dispatched};
use crate::real::exp_lanes;
use crate::vector::{MOST_LANES, Vector};
use crate::{LANES, Real};

/// Sizes of one molecule's attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttentionShape {
    /// Number of atoms N.
    pub n_atoms: usize,
    /// Number of heads.
    pub n_heads: usize,
    /// Channels per head.
    pub d_head: usize,
}

impl AttentionShape {
    fn width(self) -> usize {
        self.n_heads * self.d_head
    }

    /// N rounded up to whole vectors.
    fn padded(self) -> usize {
        self.n_atoms.next_multiple_of(MOST_LANES)
    }

    /// Channels per head rounded up to whole vectors.
    fn padded_channels(self) -> usize {
        self.d_head.next_multiple_of(MOST_LANES)
    }

    /// Elements of working memory of the forward pass.
    pub fn forward_scratch(self) -> usize {
        let (n, jp, d, dp) = (self.n_atoms, self.padded(), self.d_head, self.padded_channels());
        2 * n * d * jp + n * dp + n * jp + (d + 1) * jp
    }

    /// Elements of working memory of the backward pass.
    pub fn backward_scratch(self) -> usize {
        let (n, jp, d, dp) = (self.n_atoms, self.padded(), self.d_head, self.padded_channels());
        2 * n * d * jp + 4 * n * n * dp + 2 * TILE * n * jp + 5 * TILE * n * dp + (d + 1) * jp
    }
}

dispatched! {
    /// Rows i of `i_range` of the attention of one molecule.
    ///
    /// qkvv: `[n·n, 4·width]`, each row q, k, v1, v2; out: `[i_range.len()·n, width]`; scratch: at least
    /// [`AttentionShape::forward_scratch`] elements of any content.
    pub fn triangular_attention<I: Isa, T: Real>(
        shape: AttentionShape, i_range: std::ops::Range<usize>, qkvv: &[T], out: &mut [T], scratch: &mut [T],
    ) {
        let AttentionShape { n_atoms: n, n_heads, d_head } = shape;
        let (width, jp, dp) = (shape.width(), shape.padded(), shape.padded_channels());
        assert_eq!((qkvv.len(), out.len()), (n * n * 4 * width, i_range.len() * n * width), "attention of {n} atoms");
        let mut scratch = Scratch(scratch);
        let [kt, v2t] = [(); 2].map(|()| scratch.take(n * d_head * jp));
        let rows = scratch.take(n * dp);
        let (alpha, inverse_sum) = (scratch.take(n * jp), scratch.take(jp));
        let out_t = scratch.take(d_head * jp);
        let channels = Channels { stride: 4 * width, d_head, padded: dp };
        for head in 0..n_heads {
            for l in 0..n {
                let lanes = l * d_head * jp..(l + 1) * d_head * jp;
                channels.pack(qkvv, l * n, width + head * d_head, inverse_root::<T>(d_head), rows);
                transpose::<I, T>(rows, dp, jp, d_head, &mut kt[lanes.clone()]);
                channels.pack(qkvv, l * n, 3 * width + head * d_head, T::ONE, rows);
                transpose::<I, T>(rows, dp, jp, d_head, &mut v2t[lanes]);
            }
            for i in i_range.clone() {
                let q = |l: usize| &qkvv[(i * n + l) * 4 * width + head * d_head..][..d_head];
                let v1 = |l: usize| &qkvv[(i * n + l) * 4 * width + 2 * width + head * d_head..][..d_head];
                softmax_over_middle::<I, T>(n, jp, q, kt, alpha, inverse_sum);
                for channels in (0..d_head).step_by(4) {
                    if channels + 4 <= d_head {
                        gather::<I, T, 4>(n, jp, d_head, channels, v1, v2t, alpha, inverse_sum, out_t);
                    } else {
                        for channel in channels..d_head {
                            gather::<I, T, 1>(n, jp, d_head, channel, v1, v2t, alpha, inverse_sum, out_t);
                        }
                    }
                }
                let first = (i - i_range.start) * n;
                for j in 0..n {
                    let row = &mut out[(first + j) * width + head * d_head..][..d_head];
                    for c in 0..d_head {
                        row[c] = out_t[c * jp + j];
                    }
                }
            }
        }
    }
}

dispatched! {
    /// Gradient of [`triangular_attention`] over all i.
    ///
    /// qkvv as there; dout: `[n·n, width]`; dqkvv: `[n·n, 4·width]`, overwritten; scratch: at least
    /// [`AttentionShape::backward_scratch`] elements of any content.
    pub fn triangular_attention_backward<I: Isa, T: Real>(
        shape: AttentionShape, qkvv: &[T], dout: &[T], dqkvv: &mut [T], scratch: &mut [T],
    ) {
        let AttentionShape { n_atoms: n, n_heads, d_head } = shape;
        let (width, jp, dp) = (shape.width(), shape.padded(), shape.padded_channels());
        assert_eq!((qkvv.len(), dout.len()), (n * n * 4 * width, n * n * width), "attention of {n} atoms");
        assert_eq!(dqkvv.len(), qkvv.len());
        let mut scratch = Scratch(scratch);
        let [kt, v2t] = [(); 2].map(|()| scratch.take(n * d_head * jp));
        let [k, v2, dk, dv2] = [(); 4].map(|()| scratch.take(n * n * dp));
        let [alpha, ds] = [(); 2].map(|()| scratch.take(TILE * n * jp));
        let [q, v1, dout_rows, dq, dv1] = [(); 5].map(|()| scratch.take(TILE * n * dp));
        let inverse_sum = scratch.take(jp);
        let dout_t = scratch.take(d_head * jp);
        for head in 0..n_heads {
            let column = |kind: usize| kind * width + head * d_head;
            let channels = Channels { stride: 4 * width, d_head, padded: dp };
            channels.pack(qkvv, 0, column(1), inverse_root::<T>(d_head), k);
            channels.pack(qkvv, 0, column(3), T::ONE, v2);
            for l in 0..n {
                let (rows, lanes) = (l * n * dp..(l + 1) * n * dp, l * d_head * jp..(l + 1) * d_head * jp);
                transpose::<I, T>(&k[rows.clone()], dp, jp, d_head, &mut kt[lanes.clone()]);
                transpose::<I, T>(&v2[rows], dp, jp, d_head, &mut v2t[lanes]);
            }
            dk.fill(T::ZERO);
            dv2.fill(T::ZERO);
            for i in (0..n).step_by(TILE) {
                let n_tile = TILE.min(n - i);
                let tile = n_tile * n * dp;
                channels.pack(qkvv, i * n, column(0), T::ONE, &mut q[..tile]);
                channels.pack(qkvv, i * n, column(2), T::ONE, &mut v1[..tile]);
                let of_out = Channels { stride: width, ..channels };
                of_out.pack(dout, i * n, head * d_head, T::ONE, &mut dout_rows[..tile]);
                for t in 0..n_tile {
                    let row = |l: usize| (t * n + l) * dp..(t * n + l) * dp + d_head;
                    let (alpha, ds) = (&mut alpha[t * n * jp..][..n * jp], &mut ds[t * n * jp..][..n * jp]);
                    softmax_over_middle::<I, T>(n, jp, |l| &q[row(l)], kt, alpha, inverse_sum);
                    transpose::<I, T>(&dout_rows[t * n * dp..][..n * dp], dp, jp, d_head, dout_t);
                    through_softmax::<I, T>(n, jp, |l| &v1[row(l)], v2t, dout_t, inverse_sum, alpha, ds);
                }
                let inputs = TileInputs { n, jp, dp, alpha, ds, q, v1, dout: dout_rows, k, v2 };
                if n_tile == TILE {
                    products::<I, T, TILE>(inputs, dq, dv1, dk, dv2);
                } else {
                    products::<I, T, 1>(inputs, dq, dv1, dk, dv2);
                }
                channels.unpack(&dq[..tile], T::ONE, dqkvv, i * n, column(0));
                channels.unpack(&dv1[..tile], T::ONE, dqkvv, i * n, column(2));
            }
            channels.unpack(dk, inverse_root::<T>(d_head), dqkvv, 0, column(1));
            channels.unpack(dv2, T::ONE, dqkvv, 0, column(3));
        }
    }
}

/// Atoms i that the backward pass treats together, so that k, v2 and their gradients are read once for them all.
const TILE: usize = 2;

/// Working memory, handed out piece by piece.
struct Scratch<'a, T>(&'a mut [T]);

impl<'a, T> Scratch<'a, T> {
    #[inline(always)]
    fn take(&mut self, len: usize) -> &'a mut [T] {
        let (piece, rest) = std::mem::take(&mut self.0).split_at_mut(len);
        self.0 = rest;
        piece
    }
}

/// One head's channels of row-major rows, and their copy padded to whole vectors.
#[derive(Clone, Copy)]
struct Channels {
    stride: usize,
    d_head: usize,
    padded: usize,
}

impl Channels {
    /// packed\[r\]\[c\] = scale·rows\[first + r\]\[column + c\], zero beyond the head's channels.
    #[inline(always)]
    fn pack<T: Real>(self, rows: &[T], first: usize, column: usize, scale: T, packed: &mut [T]) {
        for (r, packed) in packed.chunks_exact_mut(self.padded).enumerate() {
            let row = &rows[(first + r) * self.stride + column..][..self.d_head];
            scaled_copy(row, scale, packed);
            packed[self.d_head..].fill(T::ZERO);
        }
    }

    /// The inverse of `pack`, without its padding.
    #[inline(always)]
    fn unpack<T: Real>(self, packed: &[T], scale: T, rows: &mut [T], first: usize, column: usize) {
        for (r, packed) in packed.chunks_exact(self.padded).enumerate() {
            let row = &mut rows[(first + r) * self.stride + column..][..self.d_head];
            scaled_copy(&packed[..self.d_head], scale, row);
        }
    }
}

/// to\[c\] = scale·from\[c\] for all of `from`; whole vectors first, since a head is only two of them.
#[inline(always)]
fn scaled_copy<T: Real>(from: &[T], scale: T, to: &mut [T]) {
    let whole = from.len() / LANES * LANES;
    for (from, to) in from.chunks_exact(LANES).zip(to.chunks_exact_mut(LANES)) {
        for lane in 0..LANES {
            to[lane] = from[lane] * scale;
        }
    }
    for (from, to) in from[whole..].iter().zip(&mut to[whole..]) {
        *to = *from * scale;
    }
}

/// lanes\[c\]\[j\] = rows\[j\]\[c\] for the first d channels of n rows `dp` wide, zero beyond j = n up to `jp`.
#[inline(always)]
fn transpose<I: Isa, T: Real>(rows: &[T], dp: usize, jp: usize, d: usize, lanes: &mut [T]) {
    let (n, block) = (rows.len() / dp, T::Lanes::<I>::LANES);
    assert_eq!(lanes.len(), d * jp);
    for c in (0..d).step_by(block) {
        for j in (0..jp).step_by(block) {
            if j + block <= n && c + block <= d {
                let (from, to) = (&rows[j * dp + c..], &mut lanes[c * jp + j..]);
                // SAFETY: rows j.. and channels c.. of a whole block exist on both sides.
                unsafe { T::Lanes::<I>::transpose(from.as_ptr(), dp, to.as_mut_ptr(), jp) }
            } else {
                for c in c..d.min(c + block) {
                    for j in j..j + block {
                        lanes[c * jp + j] = if j < n { rows[j * dp + c] } else { T::ZERO };
                    }
                }
            }
        }
    }
}

/// For one i: normalises alpha in place, and ds\[l\]\[j\] = α(dα − Σ_l α dα) with
/// dα\[l\]\[j\] = Σ_c dout\[j\]\[c\]·v1\[l\]\[c\]·v2\[l\]\[j\]\[c\].
#[inline(always)]
fn through_softmax<'a, I: Isa, T: Real>(
    n: usize,
    jp: usize,
    v1: impl Fn(usize) -> &'a [T],
    v2t: &[T],
    dout_t: &[T],
    inverse_sum: &[T],
    alpha: &mut [T],
    ds: &mut [T],
) {
    let d_head = v2t.len() / (n * jp);
    let splat = T::Lanes::<I>::splat;
    for j in (0..jp).step_by(T::Lanes::<I>::LANES) {
        let mut mean = splat(T::ZERO);
        let inverse_sum = T::Lanes::<I>::load(&inverse_sum[j..]);
        for l in 0..n {
            let mut dalpha = splat(T::ZERO);
            let lanes =
                v2t[l * d_head * jp..(l + 1) * d_head * jp].chunks_exact(jp).zip(dout_t.chunks_exact(jp));
            for (&v1, (v2, dout)) in v1(l).iter().zip(lanes) {
                let (v2, dout) = (T::Lanes::<I>::load(&v2[j..]), T::Lanes::<I>::load(&dout[j..]));
                dalpha = dout.mul(splat(v1)).mul_add(v2, dalpha);
            }
            let at = l * jp + j;
            let normalised = T::Lanes::<I>::load(&alpha[at..]).mul(inverse_sum);
            normalised.store(&mut alpha[at..]);
            dalpha.store(&mut ds[at..]);
            mean = normalised.mul_add(dalpha, mean);
        }
        for l in 0..n {
            let at = l * jp + j;
            let (alpha, dalpha) = (T::Lanes::<I>::load(&alpha[at..]), T::Lanes::<I>::load(&ds[at..]));
            alpha.mul(dalpha.sub(mean)).store(&mut ds[at..]);
        }
    }
}

/// What `products` reads: per tile `alpha`, `ds` `[TI, n, jp]` and `q`, `v1`, `dout` `[TI, n, dp]`; `k`, `v2` `[n, n, dp]`.
#[derive(Clone, Copy)]
struct TileInputs<'a, T> {
    n: usize,
    jp: usize,
    dp: usize,
    alpha: &'a [T],
    ds: &'a [T],
    q: &'a [T],
    v1: &'a [T],
    dout: &'a [T],
    k: &'a [T],
    v2: &'a [T],
}

/// For `TI` atoms i at once, with channels along vector lanes:
/// dq\[l\] = Σ_j ds·k\[l,j\],  dv1\[l\] = Σ_j α·dout\[j\]⊙v2\[l,j\]  (written);
/// dk\[l,j\] += ds·q\[l\],  dv2\[l,j\] += α·dout\[j\]⊙v1\[l\].
#[inline(always)]
fn products<I: Isa, T: Real, const TI: usize>(
    inputs: TileInputs<'_, T>,
    dq: &mut [T],
    dv1: &mut [T],
    dk: &mut [T],
    dv2: &mut [T],
) {
    let TileInputs { n, jp, dp, alpha, ds, q, v1, dout, k, v2 } = inputs;
    let (load, splat) = (T::Lanes::<I>::load, T::Lanes::<I>::splat);
    for c in (0..dp).step_by(T::Lanes::<I>::LANES) {
        for l in 0..n {
            let at = |t: usize| (t * n + l) * dp + c;
            let q: [_; TI] = std::array::from_fn(|t| load(&q[at(t)..]));
            let v1: [_; TI] = std::array::from_fn(|t| load(&v1[at(t)..]));
            let alpha: [&[T]; TI] = std::array::from_fn(|t| &alpha[(t * n + l) * jp..][..n]);
            let ds: [&[T]; TI] = std::array::from_fn(|t| &ds[(t * n + l) * jp..][..n]);
            let dout: [&[T]; TI] = std::array::from_fn(|t| &dout[t * n * dp..][..n * dp]);
            let mut sum_q = [splat(T::ZERO); TI];
            let mut sum_v1 = [splat(T::ZERO); TI];
            let rows = l * n * dp..(l + 1) * n * dp;
            let inputs = k[rows.clone()].chunks_exact(dp).zip(v2[rows.clone()].chunks_exact(dp));
            let outputs = dk[rows.clone()].chunks_exact_mut(dp).zip(dv2[rows].chunks_exact_mut(dp));
            for (j, ((k, v2), (dk, dv2))) in inputs.zip(outputs).enumerate() {
                let (k, v2) = (load(&k[c..]), load(&v2[c..]));
                let (mut new_dk, mut new_dv2) = (load(&dk[c..]), load(&dv2[c..]));
                for t in 0..TI {
                    let ds = splat(ds[t][j]);
                    let weighted = splat(alpha[t][j]).mul(load(&dout[t][j * dp + c..]));
                    sum_v1[t] = weighted.mul_add(v2, sum_v1[t]);
                    new_dv2 = weighted.mul_add(v1[t], new_dv2);
                    sum_q[t] = ds.mul_add(k, sum_q[t]);
                    new_dk = ds.mul_add(q[t], new_dk);
                }
                new_dk.store(&mut dk[c..]);
                new_dv2.store(&mut dv2[c..]);
            }
            for t in 0..TI {
                sum_q[t].store(&mut dq[at(t)..]);
                sum_v1[t].store(&mut dv1[at(t)..]);
            }
        }
    }
}

/// 1/√d_head.
#[inline(always)]
fn inverse_root<T: Real>(d_head: usize) -> T {
    T::from_f64(1.0 / (d_head as f64).sqrt())
}

/// alpha\[l\]\[j\] = exp(s − max over l) and inverse_sum\[j\] = 1/Σ_l alpha, for one i; q(l) is its query at l.
#[inline(always)]
fn softmax_over_middle<'a, I: Isa, T: Real>(
    n: usize,
    jp: usize,
    q: impl Fn(usize) -> &'a [T],
    kt: &[T],
    alpha: &mut [T],
    inverse_sum: &mut [T],
) {
    let d_head = kt.len() / (n * jp);
    let splat = T::Lanes::<I>::splat;
    for j in (0..jp).step_by(T::Lanes::<I>::LANES) {
        let mut highest = splat(T::ZERO);
        for l in 0..n {
            let mut score = splat(T::ZERO);
            let keys = kt[l * d_head * jp..(l + 1) * d_head * jp].chunks_exact(jp);
            for (&q, keys) in q(l).iter().zip(keys) {
                score = splat(q).mul_add(T::Lanes::<I>::load(&keys[j..]), score);
            }
            highest = if l == 0 { score } else { score.at_least(highest) };
            score.store(&mut alpha[l * jp + j..]);
        }
        let mut sum = splat(T::ZERO);
        for l in 0..n {
            let alpha = &mut alpha[l * jp + j..];
            let weight = exp_lanes::<I, T>(T::Lanes::<I>::load(alpha).sub(highest));
            weight.store(alpha);
            sum = sum.add(weight);
        }
        splat(T::ONE).div(sum).store(&mut inverse_sum[j..]);
    }
}

/// out_t\[channel\]\[j\] = inverse_sum\[j\]·Σ_l alpha\[l\]\[j\]·v1(l)\[channel\]·v2t\[l\]\[channel\]\[j\], `C` channels at once.
#[inline(always)]
fn gather<'a, I: Isa, T: Real, const C: usize>(
    n: usize,
    jp: usize,
    d_head: usize,
    channel: usize,
    v1: impl Fn(usize) -> &'a [T],
    v2t: &[T],
    alpha: &[T],
    inverse_sum: &[T],
    out_t: &mut [T],
) {
    for j in (0..jp).step_by(T::Lanes::<I>::LANES) {
        let mut sums = [T::Lanes::<I>::splat(T::ZERO); C];
        for l in 0..n {
            let alpha = T::Lanes::<I>::load(&alpha[l * jp + j..]);
            let v1 = &v1(l)[channel..channel + C];
            let lanes = &v2t[(l * d_head + channel) * jp..(l * d_head + channel + C) * jp];
            for (c, v2) in lanes.chunks_exact(jp).enumerate() {
                let weighted = alpha.mul(T::Lanes::<I>::splat(v1[c]));
                sums[c] = weighted.mul_add(T::Lanes::<I>::load(&v2[j..]), sums[c]);
            }
        }
        let inverse_sum = T::Lanes::<I>::load(&inverse_sum[j..]);
        for c in 0..C {
            sums[c].mul(inverse_sum).store(&mut out_t[(channel + c) * jp + j..]);
        }
    }
}

/// The definition at the top of this file, literally: the slow twin the tests and benchmarks compare with.
pub fn triangular_attention_naive<T: Real>(shape: AttentionShape, qkvv: &[T], out: &mut [T]) {
    let AttentionShape { n_atoms: n, n_heads, d_head } = shape;
    let width = shape.width();
    let at = |kind: usize, a: usize, b: usize, h: usize, c: usize| {
        qkvv[((a * n + b) * 4 + kind) * width + h * d_head + c].to_f64()
    };
    for (i, j, h) in (0..n).flat_map(|i| (0..n).flat_map(move |j| (0..n_heads).map(move |h| (i, j, h)))) {
        let score = |l: usize| {
            (0..d_head).map(|c| at(0, i, l, h, c) * at(1, l, j, h, c)).sum::<f64>() / (d_head as f64).sqrt()
        };
        let total: f64 = (0..n).map(|l| libm::exp(score(l))).sum();
        for c in 0..d_head {
            let sum: f64 = (0..n).map(|l| libm::exp(score(l)) * at(2, i, l, h, c) * at(3, l, j, h, c)).sum();
            out[(i * n + j) * width + h * d_head + c] = T::from_f64(sum / total);
        }
    }
}

#[cfg(test)]
mod tests;
