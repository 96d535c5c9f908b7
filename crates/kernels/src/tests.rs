//! The row kernels against naive twins on every back end, and their gradients against central differences in f64.
//!
//! The attention has a file of its own beside it.

use crate::isa::on_every_backend;
use crate::*;

#[allow(clippy::approx_constant)] // the authors' value
const TWO_PI_OF_THE_AUTHORS: f64 = 2.0 * 3.14159;

/// Numbers in (−1, 1), a function of the seed (splitmix64).
fn numbers<T: Real>(n: usize, seed: u64) -> Vec<T> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut next = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    };
    (0..n).map(|_| T::from_f64(next())).collect()
}

fn f64s<T: Real>(values: &[T]) -> Vec<f64> {
    values.iter().map(|v| v.to_f64()).collect()
}

#[track_caller]
fn assert_close<T: Real>(found: &[T], expected: &[f64], tolerance: f64) {
    let scale = expected.iter().fold(1e-3, |a: f64, b| a.max(b.abs()));
    for (place, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!((f.to_f64() - e).abs() <= tolerance * scale, "{place}: found {f:?}, expected {e}");
    }
}

/// Σ weights·f(x) has the gradient `gradient` by x, to 10⁻⁸ of its largest entry: truncation is of the order of
/// step² = 10⁻¹⁰ and rounding of 10⁻¹⁶/step = 10⁻¹¹, times what the functions' third derivatives add.
#[track_caller]
fn assert_gradient(x: &[f64], gradient: &[f64], loss: impl Fn(&[f64]) -> f64) {
    let step = 1e-5;
    let slope = |i: usize| {
        let at = |sign: f64| {
            let mut moved = x.to_vec();
            moved[i] += sign * step;
            loss(&moved)
        };
        (at(1.0) - at(-1.0)) / (2.0 * step)
    };
    let slopes: Vec<f64> = (0..x.len()).map(slope).collect();
    assert_close(gradient, &slopes, 1e-8);
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// lhs\[m, k\]·rhs\[k, n\] with the strides (row, column) of the operands, by the library.
fn twin(
    [m, n, k]: [usize; 3],
    lhs: &[f64],
    lhs_strides: [usize; 2],
    rhs: &[f64],
    rhs_strides: [usize; 2],
) -> Vec<f64> {
    let mut dst = vec![0.0; m * n];
    library_product([m, n, k], &mut dst, lhs, lhs_strides, rhs, rhs_strides);
    dst
}

fn check_products<T: Real>(tolerance: f64) {
    // Every remainder by the rows of a tile and by the lanes of a vector; more steps than a panel has; more rows
    // than a block.
    let mut shapes: Vec<[usize; 3]> = (1..=40).map(|size| [size, 41 - size, 1 + size * 7 % 40]).collect();
    shapes.extend([
        [7, 3, 16],
        [600, 65, 5],
        [1, 64, 64],
        [13, 130, 67],
        [5, 192, 400],
        [9, 16, 193],
        [3, 2, 1],
    ]);
    for [m, n, k] in shapes {
        let (x, w, dy): (Vec<T>, Vec<T>, Vec<T>) = (numbers(m * k, 1), numbers(n * k, 2), numbers(m * n, 3));
        let (x64, w64, dy64) = (f64s(&x), f64s(&w), f64s(&dy));
        let expected_y = twin([m, n, k], &x64, [k, 1], &w64, [1, k]);
        let expected_dx = twin([m, k, n], &dy64, [n, 1], &w64, [k, 1]);
        let expected_dw = twin([n, k, m], &dy64, [1, n], &x64, [k, 1]);
        let plus =
            |expected: &[f64], old: &[f64]| expected.iter().zip(old).map(|(e, o)| e + o).collect::<Vec<_>>();
        on_every_backend(|| {
            let nan = T::from_f64(f64::NAN);
            let (mut y, mut dx, mut dw) = (vec![nan; m * n], vec![nan; m * k], w.clone());
            linear(n, k, &x, &w, &mut y);
            assert_close(&y, &expected_y, tolerance);
            let (mut panels, mut by_panels) = (vec![nan; panels_len(n, k)], vec![nan; m * n]);
            let panels = Panels { columns: pack(n, k, &w, &mut panels), data: &panels, n, k };
            linear_by_panels(Rows::row_major(&x, k), panels, RowsMut::row_major(&mut by_panels, n));
            assert_eq!(by_panels, y, "panels of {k} → {n}");
            linear_input_gradient(n, k, &dy, &w, &mut dx);
            assert_close(&dx, &expected_dx, tolerance);
            dx.copy_from_slice(&x);
            add_linear_input_gradient(n, k, &dy, &w, &mut dx);
            assert_close(&dx, &plus(&expected_dx, &x64), tolerance);
            linear_weight_gradient(n, k, &dy, &x, &mut dw);
            assert_close(&dw, &plus(&expected_dw, &w64), tolerance);
        });
    }
}

#[test]
fn products_match_the_library_in_f64() {
    // Rounding of sums of up to 600 products.
    check_products::<f32>(1e-5);
    check_products::<f64>(1e-14);
}

#[test]
fn rounded_products_are_exact_on_small_integers_and_close_on_others() {
    let integers = |n: usize, seed: u64| -> Vec<f32> {
        numbers::<f32>(n, seed).iter().map(|x| (x * 9.0).round()).collect()
    };
    // Odd numbers of steps, rows and columns; several panels, blocks of rows and of steps.
    for [m, n, k] in
        [[1, 1, 1], [5, 3, 7], [7, 16, 33], [40, 65, 31], [300, 70, 20], [20, 33, 500], [33, 417, 64]]
    {
        // Each factor below 1 is off by 2⁻⁹ at most and each product by 2⁻⁸; a sum has as many as the longest side.
        let bound = m.max(n).max(k) as f64 / 256.0;
        let rounded = Operands::Rounded;
        let checked = |x: Vec<f32>, w: Vec<f32>, dy: Vec<f32>, tolerance: f64| {
            let (x64, w64, dy64) = (f64s(&x), f64s(&w), f64s(&dy));
            let within = |found: &[f32], expected: &[f64], what: &str| {
                for (found, expected) in found.iter().zip(expected) {
                    let error = (f64::from(*found) - expected).abs();
                    assert!(error <= tolerance, "{what} {m}×{n}×{k}: {found}, expected {expected}");
                }
            };
            let (mut y, mut dx, mut dw) = (vec![f32::NAN; m * n], vec![f32::NAN; m * k], vec![0.0; n * k]);
            rounded.linear(Rows::row_major(&x, k), &w, RowsMut::row_major(&mut y, n));
            within(&y, &twin([m, n, k], &x64, [k, 1], &w64, [1, k]), "y");
            let dx_rows = RowsMut::row_major(&mut dx, k);
            rounded.input_gradient(Rows::row_major(&dy, n), &w, Start::Zero, dx_rows);
            within(&dx, &twin([m, k, n], &dy64, [n, 1], &w64, [k, 1]), "dx");
            rounded.weight_gradient(k, Rows::row_major(&dy, n), &x, &mut dw);
            within(&dw, &twin([n, k, m], &dy64, [1, n], &x64, [k, 1]), "dw");
        };
        on_every_backend(|| {
            // Integers up to 256 are bfloat16, and sums of their products up to 2²⁴ are f32.
            checked(integers(m * k, 1), integers(n * k, 2), integers(m * n, 3), 0.0);
            checked(numbers(m * k, 1), numbers(n * k, 2), numbers(m * n, 3), bound);
        });
    }
}

/// Columns in blocks give the same bits as columns in a row, on either side of a product.
fn check_blocks<T: Real>(operands: Operands) {
    for (m, n_blocks, channels, k) in
        [(1, 1, 16, 5), (7, 4, 16, 48), (300, 8, 16, 32), (9, 3, 5, 40), (20, 5, 48, 16)]
    {
        let n = n_blocks * channels;
        let blocked = Blocked { n_rows: m, n_blocks, channels };
        let (x, w, dy): (Vec<T>, Vec<T>, Vec<T>) = (numbers(m * k, 1), numbers(n * k, 2), numbers(m * n, 3));
        let at = |place: usize| {
            let (r, c) = (place / n, place % n);
            c / channels * blocked.block_len() + r * blocked.padded() + c % channels
        };
        let mut dy_blocks = vec![T::from_f64(f64::NAN); blocked.len()];
        (0..m * n).for_each(|place| dy_blocks[at(place)] = dy[place]);
        let (dy_rows, dy_blocks) = (Rows::row_major(&dy, n), Rows::blocked(&dy_blocks, blocked));
        // bfloat16 wants whole vectors of columns side by side; other blocks are multiplied as given.
        let of_rows = if channels % 16 == 0 { operands } else { Operands::AsGiven };
        on_every_backend(|| {
            let (mut rows, mut blocks) = (dy.clone(), vec![T::ZERO; blocked.len()]);
            operands.linear(Rows::row_major(&x, k), &w, RowsMut::row_major(&mut rows, n));
            operands.linear(Rows::row_major(&x, k), &w, RowsMut::blocked(&mut blocks, blocked));
            assert!((0..m * n).all(|place| blocks[at(place)] == rows[place]), "{blocked:?}");
            let mut dx = [x.clone(), x.clone()];
            let [row_major, other] = &mut dx;
            of_rows.input_gradient(dy_rows, &w, Start::Destination, RowsMut::row_major(row_major, k));
            operands.input_gradient(dy_blocks, &w, Start::Destination, RowsMut::row_major(other, k));
            assert_eq!(dx[0], dx[1], "{blocked:?}");
            let mut dw = [w.clone(), w.clone()];
            of_rows.weight_gradient(k, dy_rows, &x, &mut dw[0]);
            operands.weight_gradient(k, dy_blocks, &x, &mut dw[1]);
            assert_eq!(dw[0], dw[1], "{blocked:?}");
        });
    }
}

#[test]
fn products_of_columns_in_blocks_equal_those_of_columns_in_a_row() {
    check_blocks::<f32>(Operands::AsGiven);
    check_blocks::<f64>(Operands::AsGiven);
    check_blocks::<f32>(Operands::Rounded);
}

#[test]
fn rows_of_blocks_split_into_disjoint_parts() {
    let blocked = Blocked { n_rows: 5, n_blocks: 3, channels: 16 };
    let (x, w): (Vec<f32>, Vec<f32>) = (numbers(5 * 8, 1), numbers(48 * 8, 2));
    let (mut whole, mut parts) = (vec![0.0; blocked.len()], vec![0.0; blocked.len()]);
    Operands::AsGiven.linear(Rows::row_major(&x, 8), &w, RowsMut::blocked(&mut whole, blocked));
    let (front, rest) = RowsMut::blocked(&mut parts, blocked).split_at(2);
    Operands::AsGiven.linear(Rows::row_major(&x[16..], 8), &w, rest);
    Operands::AsGiven.linear(Rows::row_major(&x[..16], 8), &w, front);
    assert_eq!(parts, whole);
}

fn check_rows<T: Real>() {
    for (n, k) in [(3, 16), (8, 16), (67, 48), (64, 64), (192, 64), (64, 384)] {
        let (x, w): (Vec<T>, Vec<T>) = (numbers(600 * k, 1), numbers(n * k, 2));
        on_every_backend(|| {
            let mut all = vec![T::ZERO; 600 * n];
            linear(n, k, &x, &w, &mut all);
            for rows in [1, 2, 3, 7, 16, 81, 200, 519] {
                for first in [0, 1, 600 - rows] {
                    let mut some = vec![T::ZERO; rows * n];
                    linear(n, k, &x[first * k..(first + rows) * k], &w, &mut some);
                    assert_eq!(some, all[first * n..(first + rows) * n], "{rows} rows of {k} → {n}");
                }
            }
        });
    }
}

#[test]
fn a_row_of_a_linear_layer_does_not_depend_on_the_other_rows() {
    check_rows::<f32>();
    check_rows::<f64>();
}

#[test]
fn linear_gradients_match_central_differences() {
    let (m, n, k) = (5, 3, 7);
    let (x, w, dy): (Vec<f64>, Vec<f64>, Vec<f64>) =
        (numbers(m * k, 1), numbers(n * k, 2), numbers(m * n, 3));
    let loss = |x: &[f64], w: &[f64]| {
        let mut y = vec![0.0; m * n];
        linear(n, k, x, w, &mut y);
        dot(&y, &dy)
    };
    let mut dx = vec![f64::NAN; m * k];
    linear_input_gradient(n, k, &dy, &w, &mut dx);
    assert_gradient(&x, &dx, |x| loss(x, &w));
    let mut twice = dx.clone();
    add_linear_input_gradient(n, k, &dy, &w, &mut twice);
    assert_close(&twice, &dx.iter().map(|d| 2.0 * d).collect::<Vec<_>>(), 1e-14);
    let mut dw = vec![0.0; n * k];
    linear_weight_gradient(n, k, &dy, &x, &mut dw);
    assert_gradient(&w, &dw, |w| loss(&x, w));
}

fn norm_twin(x: &[f64], scale: &[f64], shift: &[f64]) -> Vec<f64> {
    let width = scale.len();
    let row = |x: &[f64]| {
        let mean = x.iter().sum::<f64>() / width as f64;
        let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / width as f64;
        (0..width).map(|c| (x[c] - mean) / (variance + 1e-5).sqrt() * scale[c] + shift[c]).collect::<Vec<_>>()
    };
    x.chunks_exact(width).flat_map(row).collect()
}

#[test]
fn layer_norm_and_its_gradient_match_twin_and_central_differences() {
    on_every_backend(|| {
        for width in [3, 7, 8, 48, 67] {
            // More rows than are computed together.
            let (x, y): (Vec<f64>, Vec<f64>) = (numbers(6 * width, 1), numbers(6 * width, 2));
            let (scale, shift): (Vec<f64>, Vec<f64>) = (numbers(width, 3), numbers(width, 4));
            let mut out = vec![0.0; x.len()];
            layer_norm(&x, &scale, &shift, &mut out);
            assert_close(&out, &norm_twin(&x, &scale, &shift), 1e-13);
            let mut sum = y.clone();
            add_layer_norm(&x, &shift, &scale, &shift, &mut sum, &mut out);
            let twin: Vec<f64> = (0..x.len()).map(|i| x[i] + y[i] + shift[i % width]).collect();
            assert_close(&sum, &twin, 1e-15);
            assert_close(&out, &norm_twin(&twin, &scale, &shift), 1e-13);
            let mut in_place = y.clone();
            add_layer_norm_in_place(&x, &shift, &scale, &shift, &mut in_place);
            assert_eq!(in_place, out);
            let (mut sum, mut in_place) = (y.clone(), y.clone());
            add_layer_norm(&x, &[], &scale, &shift, &mut sum, &mut out);
            add_layer_norm_in_place(&x, &[], &scale, &shift, &mut in_place);
            assert_eq!(in_place, out);

            let (mut dx, mut dscale, mut dshift) = (vec![0.0; x.len()], vec![1.0; width], vec![1.0; width]);
            layer_norm_backward(&x, &scale, &y, &[], &mut dx, &mut dscale, &mut dshift);
            assert_gradient(&x, &dx, |x| dot(&norm_twin(x, &scale, &shift), &y));
            let added = |g: &[f64]| g.iter().map(|g| g - 1.0).collect::<Vec<_>>();
            assert_gradient(&scale, &added(&dscale), |scale| dot(&norm_twin(&x, scale, &shift), &y));
            assert_gradient(&shift, &added(&dshift), |shift| dot(&norm_twin(&x, &scale, shift), &y));
            let mut past = vec![0.0; x.len()];
            layer_norm_backward(&x, &scale, &y, &x, &mut past, &mut dscale, &mut dshift);
            assert_close(&past, &dx.iter().zip(&x).map(|(d, x)| d + x).collect::<Vec<_>>(), 1e-15);
        }
    });
}

#[test]
fn activations_match_twins_and_pass_nan_through() {
    let gelu = |x: f64| 0.5 * x * (1.0 + libm::erf(x / std::f64::consts::SQRT_2));
    on_every_backend(|| {
        let x: Vec<f64> = numbers::<f64>(60, 5).iter().map(|x| 6.0 * x).collect();
        let bias: Vec<f64> = numbers(6, 6);
        let biased: Vec<f64> = (0..60).map(|i| x[i] + bias[i % 6]).collect();
        let (mut h, mut y) = (x.clone(), vec![0.0; 60]);
        bias_gelu(&mut h, &bias, &mut y);
        let mut in_place = x.clone();
        bias_gelu_in_place(&mut in_place, &bias);
        assert_eq!(in_place, y);
        assert_close(&h, &biased, 1e-15);
        assert_close(&y, &biased.iter().map(|&x| gelu(x)).collect::<Vec<_>>(), 1e-15);
        let weights: Vec<f64> = numbers(60, 7);
        let (mut dh, mut again) = (weights.clone(), vec![0.0; 60]);
        gelu_backward(&h, &mut dh, &mut again);
        assert_eq!(again, y);
        assert_gradient(&h, &dh, |h| h.iter().zip(&weights).map(|(&x, w)| w * gelu(x)).sum());

        let mut rectified = x.clone();
        bias_relu(&mut rectified, &bias);
        assert_close(&rectified, &biased.iter().map(|x| x.max(0.0)).collect::<Vec<_>>(), 1e-15);
        let mut drectified = weights.clone();
        relu_backward(&rectified, &mut drectified);
        let kept: Vec<f64> = (0..60).map(|i| if biased[i] > 0.0 { weights[i] } else { 0.0 }).collect();
        assert_eq!(drectified, kept);
        let mut sums = vec![1.0; 6];
        add_column_sums(&x, &mut sums);
        let column = |c: usize| 1.0 + x.iter().skip(c).step_by(6).sum::<f64>();
        assert_close(&sums, &(0..6).map(column).collect::<Vec<_>>(), 1e-14);

        let (mut nan, mut out) = (vec![f32::NAN; 8], vec![0.0; 8]);
        bias_gelu(&mut nan, &[0.0; 8], &mut out);
        bias_relu(&mut nan, &[0.0; 8]);
        assert!(nan.iter().chain(&out).all(|x| x.is_nan()));
    });
}

#[test]
fn radial_features_and_their_gradients_match_twin_and_central_differences() {
    on_every_backend(|| {
        let distances = [0.0, 0.7, 2.1, 9.5];
        let (centres, widths) = ([0.5, 2.0, 2.5, 9.0, 4.0], [0.4, -0.6, 1.2, 0.9, -2.0]);
        let twin = |r: &[f64], centres: &[f64], widths: &[f64]| -> Vec<f64> {
            let gaussian = |r: f64, k: usize| {
                let sigma = widths[k].abs() + 0.01;
                libm::exp(-0.5 * ((1.1 * r - 0.2 - centres[k]) / sigma).powi(2))
                    / (TWO_PI_OF_THE_AUTHORS.sqrt() * sigma)
            };
            r.iter().flat_map(|&r| (0..5).map(move |k| (r, k))).map(|(r, k)| gaussian(r, k)).collect()
        };
        let basis = RadialBasis { centres: &centres, widths: &widths, slope: 1.1, offset: -0.2 };
        let mut features = vec![0.0; 20];
        radial_features(&distances, basis, &mut features);
        assert_close(&features, &twin(&distances, &centres, &widths), 1e-14);
        let weights: Vec<f64> = numbers(20, 8);
        let (mut dr, mut dcentres, mut dwidths) = ([0.0; 4], [0.0; 5], [0.0; 5]);
        radial_backward(&distances, basis, &features, &weights, &mut dr, &mut dcentres, &mut dwidths);
        assert_gradient(&distances, &dr, |r| dot(&twin(r, &centres, &widths), &weights));
        assert_gradient(&centres, &dcentres, |c| dot(&twin(&distances, c, &widths), &weights));
        assert_gradient(&widths, &dwidths, |w| dot(&twin(&distances, &centres, w), &weights));
    });
}

#[test]
fn angular_features_and_their_gradients_match_twin_and_central_differences() {
    on_every_backend(|| {
        let angles = [[0.3, 1.2], [-3.1, 0.01], [0.0, std::f64::consts::FRAC_PI_2]];
        let (azimuthal, polar) = ([0.5, 3.0, 31_415.9], [1.0, 7.0, 26_654.3]);
        let twin = |flat: &[f64], azimuthal: &[f64], polar: &[f64]| -> Vec<f64> {
            let part = |angle: f64, f: &[f64]| {
                let phases: Vec<f64> = f.iter().map(|f| f * angle).collect();
                phases
                    .iter()
                    .map(|&p| libm::sin(p))
                    .chain(phases.iter().map(|&p| libm::cos(p)))
                    .collect::<Vec<_>>()
            };
            flat.chunks_exact(2).flat_map(|a| [part(a[0], azimuthal), part(a[1], polar)].concat()).collect()
        };
        let flat = angles.concat();
        let mut features = vec![0.0; 36];
        angular_features(&angles, &azimuthal, &polar, &mut features);
        assert_close(&features, &twin(&flat, &azimuthal, &polar), 1e-15);
        // Central differences cannot follow the highest frequency: the gradient is checked without it.
        let (azimuthal, polar, weights) = (&azimuthal[..2], &polar[..2], numbers::<f64>(24, 9));
        let (mut features, mut dangles) = (vec![0.0; 24], [[0.0; 2]; 3]);
        angular_features(&angles, azimuthal, polar, &mut features);
        angular_backward(&features, &weights, azimuthal, polar, &mut dangles);
        assert_gradient(&flat, &dangles.concat(), |flat| dot(&twin(flat, azimuthal, polar), &weights));
    });
}
