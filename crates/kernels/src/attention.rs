//! Triangular attention: edge (i, j) gathers over the middle atom l.
//!
//!   s[i,l,j,h] = q[i,l,h]·k[l,j,h] / √d_head;  α = softmax over l
//!   out[i,j,h] = Σ_l α[i,l,j,h] · (v1[i,l,h] ⊙ v2[l,j,h])
//!
//! Nothing of size N³·d exists: the head is the outermost loop, its k and v2 are packed as [l][channel][j] so that j
//! runs along vector lanes, and one atom i at a time keeps the N × N weights α of its edges. The backward pass
//! recomputes α. Working memory per thread is O(N²·d_head).

use crate::isa::{Isa, dispatched};
use crate::real::exp;
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
        self.n_atoms.next_multiple_of(LANES)
    }

    /// Channels per head rounded up to whole vectors.
    fn padded_channels(self) -> usize {
        self.d_head.next_multiple_of(LANES)
    }

    /// Elements of working memory of the forward pass.
    pub fn forward_scratch(self) -> usize {
        let (n, jp, d) = (self.n_atoms, self.padded(), self.d_head);
        2 * n * d * jp + n * jp + (d + 2) * jp
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
        let (width, jp) = (shape.width(), shape.padded());
        assert_eq!((qkvv.len(), out.len()), (n * n * 4 * width, i_range.len() * n * width), "attention of {n} atoms");
        let (kt, scratch) = scratch.split_at_mut(n * d_head * jp);
        let (v2t, scratch) = scratch.split_at_mut(n * d_head * jp);
        let (alpha, scratch) = scratch.split_at_mut(n * jp);
        let (inverse_sum, scratch) = scratch.split_at_mut(jp);
        let out_t = &mut scratch[..d_head * jp];
        for head in 0..n_heads {
            pack(shape, qkvv, width + head * d_head, inverse_root::<T>(d_head), kt);
            pack(shape, qkvv, 3 * width + head * d_head, T::ONE, v2t);
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
            pack(shape, qkvv, column(1), inverse_root::<T>(d_head), kt);
            pack(shape, qkvv, column(3), T::ONE, v2t);
            channels.pack(qkvv, 0, column(1), inverse_root::<T>(d_head), k);
            channels.pack(qkvv, 0, column(3), T::ONE, v2);
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
                    for (j, dout) in dout_rows[t * n * dp..][..n * dp].chunks_exact(dp).enumerate() {
                        for c in 0..d_head {
                            dout_t[c * jp + j] = dout[c];
                        }
                    }
                    for c in 0..d_head {
                        dout_t[c * jp + n..(c + 1) * jp].fill(T::ZERO);
                    }
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
            for c in 0..self.d_head {
                packed[c] = row[c] * scale;
            }
            packed[self.d_head..].fill(T::ZERO);
        }
    }

    /// The inverse of `pack`, without its padding.
    #[inline(always)]
    fn unpack<T: Real>(self, packed: &[T], scale: T, rows: &mut [T], first: usize, column: usize) {
        for (r, packed) in packed.chunks_exact(self.padded).enumerate() {
            let row = &mut rows[(first + r) * self.stride + column..][..self.d_head];
            for c in 0..self.d_head {
                row[c] = packed[c] * scale;
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
    for j in (0..jp).step_by(LANES) {
        let mut mean = [T::ZERO; LANES];
        for l in 0..n {
            let mut dalpha = [T::ZERO; LANES];
            for (c, &v1) in v1(l).iter().enumerate() {
                let (dout, v2) = (&dout_t[c * jp + j..][..LANES], &v2t[(l * d_head + c) * jp + j..][..LANES]);
                for lane in 0..LANES {
                    dalpha[lane] = I::mul_add(dout[lane] * v1, v2[lane], dalpha[lane]);
                }
            }
            let (alpha, ds) = (&mut alpha[l * jp + j..][..LANES], &mut ds[l * jp + j..][..LANES]);
            for lane in 0..LANES {
                alpha[lane] *= inverse_sum[j + lane];
                mean[lane] = I::mul_add(alpha[lane], dalpha[lane], mean[lane]);
                ds[lane] = dalpha[lane];
            }
        }
        for l in 0..n {
            let (alpha, ds) = (&alpha[l * jp + j..][..LANES], &mut ds[l * jp + j..][..LANES]);
            for lane in 0..LANES {
                ds[lane] = alpha[lane] * (ds[lane] - mean[lane]);
            }
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
    let load = |slice: &[T], at: usize| -> [T; LANES] { std::array::from_fn(|lane| slice[at..][..LANES][lane]) };
    for c in (0..dp).step_by(LANES) {
        for l in 0..n {
            let q: [_; TI] = std::array::from_fn(|t| load(q, (t * n + l) * dp + c));
            let v1: [_; TI] = std::array::from_fn(|t| load(v1, (t * n + l) * dp + c));
            let mut sum_q = [[T::ZERO; LANES]; TI];
            let mut sum_v1 = [[T::ZERO; LANES]; TI];
            for j in 0..n {
                let at = (l * n + j) * dp + c;
                let (k, v2) = (load(k, at), load(v2, at));
                let (mut new_dk, mut new_dv2) = (load(dk, at), load(dv2, at));
                for t in 0..TI {
                    let (alpha, ds) = (alpha[(t * n + l) * jp + j], ds[(t * n + l) * jp + j]);
                    let dout = load(dout, (t * n + j) * dp + c);
                    for lane in 0..LANES {
                        let weighted = alpha * dout[lane];
                        sum_v1[t][lane] = I::mul_add(weighted, v2[lane], sum_v1[t][lane]);
                        new_dv2[lane] = I::mul_add(weighted, v1[t][lane], new_dv2[lane]);
                        sum_q[t][lane] = I::mul_add(ds, k[lane], sum_q[t][lane]);
                        new_dk[lane] = I::mul_add(ds, q[t][lane], new_dk[lane]);
                    }
                }
                dk[at..at + LANES].copy_from_slice(&new_dk);
                dv2[at..at + LANES].copy_from_slice(&new_dv2);
            }
            for t in 0..TI {
                let at = (t * n + l) * dp + c;
                dq[at..at + LANES].copy_from_slice(&sum_q[t]);
                dv1[at..at + LANES].copy_from_slice(&sum_v1[t]);
            }
        }
    }
}

/// 1/√d_head.
#[inline(always)]
fn inverse_root<T: Real>(d_head: usize) -> T {
    T::from_f64(1.0 / (d_head as f64).sqrt())
}

/// packed\[l\]\[c\]\[j\] = scale·rows\[l, j\]\[column + c\], zero beyond j = N.
#[inline(always)]
fn pack<T: Real>(shape: AttentionShape, rows: &[T], column: usize, scale: T, packed: &mut [T]) {
    let (n, d, jp, stride) = (shape.n_atoms, shape.d_head, shape.padded(), 4 * shape.width());
    for (l, packed) in packed.chunks_exact_mut(d * jp).enumerate() {
        for j in 0..n {
            let row = &rows[(l * n + j) * stride + column..][..d];
            for c in 0..d {
                packed[c * jp + j] = row[c] * scale;
            }
        }
        for c in 0..d {
            packed[c * jp + n..(c + 1) * jp].fill(T::ZERO);
        }
    }
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
    for j in (0..jp).step_by(LANES) {
        let mut highest = [T::ZERO; LANES];
        for l in 0..n {
            let mut score = [T::ZERO; LANES];
            let keys = &kt[l * d_head * jp..(l + 1) * d_head * jp];
            for (c, &q) in q(l).iter().enumerate() {
                let keys = &keys[c * jp + j..][..LANES];
                for lane in 0..LANES {
                    score[lane] = I::mul_add(q, keys[lane], score[lane]);
                }
            }
            for lane in 0..LANES {
                highest[lane] = if l == 0 || score[lane] > highest[lane] { score[lane] } else { highest[lane] };
            }
            alpha[l * jp + j..][..LANES].copy_from_slice(&score);
        }
        let mut sum = [T::ZERO; LANES];
        for l in 0..n {
            let alpha = &mut alpha[l * jp + j..][..LANES];
            for lane in 0..LANES {
                let weight = exp::<I, T>(alpha[lane] - highest[lane]);
                alpha[lane] = weight;
                sum[lane] += weight;
            }
        }
        for lane in 0..LANES {
            inverse_sum[j + lane] = T::ONE / sum[lane];
        }
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
    for j in (0..jp).step_by(LANES) {
        let mut sums = [[T::ZERO; LANES]; C];
        for l in 0..n {
            let alpha = &alpha[l * jp + j..][..LANES];
            let v1 = &v1(l)[channel..channel + C];
            for c in 0..C {
                let v2 = &v2t[(l * d_head + channel + c) * jp + j..][..LANES];
                for lane in 0..LANES {
                    sums[c][lane] = I::mul_add(alpha[lane] * v1[c], v2[lane], sums[c][lane]);
                }
            }
        }
        for c in 0..C {
            let out = &mut out_t[(channel + c) * jp + j..][..LANES];
            for lane in 0..LANES {
                out[lane] = sums[c][lane] * inverse_sum[j + lane];
            }
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
            let sum: f64 =
                (0..n).map(|l| libm::exp(score(l)) * at(2, i, l, h, c) * at(3, l, j, h, c)).sum();
            out[(i * n + j) * width + h * d_head + c] = T::from_f64(sum / total);
        }
    }
}
