//! Triangular attention: edge (i, j) gathers over the middle atom l.
//!
//!   s[i,l,j,h] = q[i,l,h]·k[l,j,h] / √d_head;  α = softmax over l
//!   out[i,j,h] = Σ_l α[i,l,j,h] · (v1[i,l,h] ⊙ v2[l,j,h])
//!
//! Nothing of size N³·d exists: the head is the outermost loop, its k and v2 are packed as [l][channel][j] so that j
//! runs along vector lanes, and one atom i at a time keeps the N × N weights α of its edges. The backward pass
//! recomputes α. Working memory per thread is O(N²·d_head).

use crate::isa::{Isa, dispatched};
use crate::norm::fold;
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

    /// Elements of working memory of the forward pass.
    pub fn forward_scratch(self) -> usize {
        let (n, jp, d) = (self.n_atoms, self.padded(), self.d_head);
        2 * n * d * jp + n * jp + (d + 2) * jp
    }

    /// Elements of working memory of the backward pass.
    pub fn backward_scratch(self) -> usize {
        let (n, jp, d) = (self.n_atoms, self.padded(), self.d_head);
        4 * n * d * jp + 2 * n * jp + (d + 3) * jp
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
        let (width, jp) = (shape.width(), shape.padded());
        assert_eq!((qkvv.len(), dout.len()), (n * n * 4 * width, n * n * width), "attention of {n} atoms");
        assert_eq!(dqkvv.len(), qkvv.len());
        let (kt, scratch) = scratch.split_at_mut(n * d_head * jp);
        let (v2t, scratch) = scratch.split_at_mut(n * d_head * jp);
        let (dkt, scratch) = scratch.split_at_mut(n * d_head * jp);
        let (dv2t, scratch) = scratch.split_at_mut(n * d_head * jp);
        let (alpha, scratch) = scratch.split_at_mut(n * jp);
        let (dalpha, scratch) = scratch.split_at_mut(n * jp);
        let (inverse_sum, scratch) = scratch.split_at_mut(jp);
        let (mean, scratch) = scratch.split_at_mut(jp);
        let dout_t = &mut scratch[..d_head * jp];
        for head in 0..n_heads {
            pack(shape, qkvv, width + head * d_head, inverse_root::<T>(d_head), kt);
            pack(shape, qkvv, 3 * width + head * d_head, T::ONE, v2t);
            dkt.fill(T::ZERO);
            dv2t.fill(T::ZERO);
            for i in 0..n {
                let q = |l: usize| &qkvv[(i * n + l) * 4 * width + head * d_head..][..d_head];
                softmax_over_middle::<I, T>(n, jp, q, kt, alpha, inverse_sum);
                for l in 0..n {
                    for (a, &s) in alpha[l * jp..(l + 1) * jp].iter_mut().zip(&*inverse_sum) {
                        *a *= s;
                    }
                }
                dout_t.fill(T::ZERO);
                for j in 0..n {
                    for c in 0..d_head {
                        dout_t[c * jp + j] = dout[(i * n + j) * width + head * d_head + c];
                    }
                }
                // Through the weighted sum: dα, dv1, dv2.
                mean.fill(T::ZERO);
                for l in 0..n {
                    let (alpha, dalpha) = (&alpha[l * jp..(l + 1) * jp], &mut dalpha[l * jp..(l + 1) * jp]);
                    let at_v1 = (i * n + l) * 4 * width + 2 * width + head * d_head;
                    dalpha.fill(T::ZERO);
                    for c in 0..d_head {
                        let lanes = (l * d_head + c) * jp..(l * d_head + c + 1) * jp;
                        dqkvv[at_v1 + c] = through_sum::<I, T>(
                            qkvv[at_v1 + c], alpha, &dout_t[c * jp..(c + 1) * jp], &v2t[lanes.clone()], dalpha,
                            &mut dv2t[lanes],
                        );
                    }
                    for j in 0..jp {
                        mean[j] = I::mul_add(alpha[j], dalpha[j], mean[j]);
                    }
                }
                // Through the softmax and the scores: dq, dk.
                for l in 0..n {
                    let (alpha, ds) = (&alpha[l * jp..(l + 1) * jp], &mut dalpha[l * jp..(l + 1) * jp]);
                    for j in 0..jp {
                        ds[j] = alpha[j] * (ds[j] - mean[j]);
                    }
                    let at_q = (i * n + l) * 4 * width + head * d_head;
                    for c in 0..d_head {
                        let lanes = (l * d_head + c) * jp..(l * d_head + c + 1) * jp;
                        dqkvv[at_q + c] =
                            through_score::<I, T>(qkvv[at_q + c], ds, &kt[lanes.clone()], &mut dkt[lanes]);
                    }
                }
            }
            unpack(shape, dkt, inverse_root::<T>(d_head), dqkvv, width + head * d_head);
            unpack(shape, dv2t, T::ONE, dqkvv, 3 * width + head * d_head);
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

/// The inverse of `pack`, without its padding.
#[inline(always)]
fn unpack<T: Real>(shape: AttentionShape, packed: &[T], scale: T, rows: &mut [T], column: usize) {
    let (n, d, jp, stride) = (shape.n_atoms, shape.d_head, shape.padded(), 4 * shape.width());
    for (l, packed) in packed.chunks_exact(d * jp).enumerate() {
        for j in 0..n {
            let row = &mut rows[(l * n + j) * stride + column..][..d];
            for c in 0..d {
                row[c] = packed[c * jp + j] * scale;
            }
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

/// One (i, l, channel) of the weighted sum's gradient: adds to dα and dv2 along j, returns dv1.
#[inline(always)]
fn through_sum<I: Isa, T: Real>(v1: T, alpha: &[T], dout: &[T], v2: &[T], dalpha: &mut [T], dv2: &mut [T]) -> T {
    let mut dv1 = [T::ZERO; LANES];
    let inputs = alpha.chunks_exact(LANES).zip(dout.chunks_exact(LANES)).zip(v2.chunks_exact(LANES));
    let outputs = dalpha.chunks_exact_mut(LANES).zip(dv2.chunks_exact_mut(LANES));
    for (((alpha, dout), v2), (dalpha, dv2)) in inputs.zip(outputs) {
        for lane in 0..LANES {
            let product = dout[lane] * v2[lane];
            dalpha[lane] = I::mul_add(product, v1, dalpha[lane]);
            dv1[lane] = I::mul_add(product, alpha[lane], dv1[lane]);
            dv2[lane] = I::mul_add(alpha[lane] * v1, dout[lane], dv2[lane]);
        }
    }
    fold(dv1)
}

/// One (i, l, channel) of the scores' gradient: adds to dk along j, returns dq.
#[inline(always)]
fn through_score<I: Isa, T: Real>(q: T, ds: &[T], k: &[T], dk: &mut [T]) -> T {
    let mut dq = [T::ZERO; LANES];
    for ((ds, k), dk) in ds.chunks_exact(LANES).zip(k.chunks_exact(LANES)).zip(dk.chunks_exact_mut(LANES)) {
        for lane in 0..LANES {
            dq[lane] = I::mul_add(ds[lane], k[lane], dq[lane]);
            dk[lane] = I::mul_add(ds[lane], q, dk[lane]);
        }
    }
    fold(dq)
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
