//! Vibrational density of states from the velocity autocorrelation.
//!
//! ```text
//! C(τ) = Σ_i m_i ⟨v_i(t) · v_i(t + τ)⟩_t
//! S(ν) ∝ ∫ w(τ) C(τ) cos(2π c ν τ) dτ,    ∫ S dν = 1,    w(τ) = cos²(π τ / 2 τ_max) up to τ_max (Hann)
//! ```
//!
//! | symbol | meaning |
//! |---|---|
//! | m, v | mass and velocity of an atom |
//! | ν | wavenumber, cm⁻¹; c the speed of light |
//! | τ_max | longest lag; a sharp line comes out with the full width at half maximum 1/(c τ_max) |
//!
//! By equipartition every vibration has the same area, whatever its intensity in an infrared spectrum. The average
//! over origins t is unbiased (each lag is divided by its own number of origins) and is computed by fast Fourier
//! transforms of the zero-padded series, so nothing wraps around.
//!
//! Deliberately absent: quantum corrections, dipoles.

use mdet_core::constants::SPEED_OF_LIGHT_IN_CM_PER_FS;
use realfft::RealFftPlanner;

/// How a spectrum is taken.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SpectrumSetting {
    /// Time between frames, fs.
    pub spacing_fs: f64,
    /// Longest lag in frames, at least 2.
    pub n_lags: usize,
}

impl SpectrumSetting {
    /// The lag for a resolution in cm⁻¹ (full width at half maximum of a line), at most `max_lags` frames.
    pub fn of_resolution(spacing_fs: f64, resolution_per_cm: f64, max_lags: usize) -> Self {
        let lags = 1.0 / (SPEED_OF_LIGHT_IN_CM_PER_FS * resolution_per_cm * spacing_fs);
        Self { spacing_fs, n_lags: (lags.round() as usize).min(max_lags).max(2) }
    }

    /// Full width at half maximum of a sharp line, cm⁻¹.
    pub fn resolution_per_cm(&self) -> f64 {
        1.0 / (SPEED_OF_LIGHT_IN_CM_PER_FS * self.spacing_fs * self.n_lags as f64)
    }

    /// Space between points of the spectrum, cm⁻¹: a quarter of the resolution.
    pub fn spacing_per_cm(&self) -> f64 {
        0.25 * self.resolution_per_cm()
    }

    /// Largest wavenumber that the frames can show, cm⁻¹.
    pub fn nyquist_per_cm(&self) -> f64 {
        0.5 / (SPEED_OF_LIGHT_IN_CM_PER_FS * self.spacing_fs)
    }
}

/// S(ν) in cm at ν = 0, [`SpectrumSetting::spacing_per_cm`], … up to the Nyquist wavenumber; zeros for velocities of
/// zero. It can be slightly negative beside strong lines, by the window's transform.
///
/// `velocities`: frames of one `[x, y, z]` per atom, any unit; `masses_u`: one per atom.
///
/// # Panics
/// When there are no more frames than lags.
pub fn density_of_states(
    velocities: &[Vec<[f64; 3]>],
    masses_u: &[f64],
    setting: SpectrumSetting,
) -> Vec<f64> {
    let correlation = autocorrelation(velocities, masses_u, setting.n_lags);
    let n = 4 * setting.n_lags;
    let mut planner = RealFftPlanner::<f64>::new();
    let forward = planner.plan_fft_forward(n);
    let mut windowed = forward.make_input_vec();
    for (lag, value) in correlation.iter().enumerate() {
        let window = (0.5 * std::f64::consts::PI * lag as f64 / setting.n_lags as f64).cos().powi(2);
        windowed[lag] = window * value;
        windowed[(n - lag) % n] = window * value;
    }
    let mut spectrum = forward.make_output_vec();
    forward.process(&mut windowed, &mut spectrum).expect("buffers of the plan's own lengths");
    // The two ends of the one-sided spectrum belong half to the other side.
    let last = spectrum.len() - 1;
    let all: f64 = spectrum.iter().map(|s| s.re).sum::<f64>() - 0.5 * (spectrum[0].re + spectrum[last].re);
    let scale = if all > 0.0 { 1.0 / (all * setting.spacing_per_cm()) } else { 0.0 };
    spectrum.iter().map(|s| s.re * scale).collect()
}

/// C(τ) of the module at lags 0 to `n_lags` − 1 frames.
fn autocorrelation(velocities: &[Vec<[f64; 3]>], masses_u: &[f64], n_lags: usize) -> Vec<f64> {
    let n_frames = velocities.len();
    assert!(n_frames > n_lags, "{n_frames} frames for {n_lags} lags");
    let n = (n_frames + n_lags).next_power_of_two();
    let mut planner = RealFftPlanner::<f64>::new();
    let (forward, inverse) = (planner.plan_fft_forward(n), planner.plan_fft_inverse(n));
    let (mut series, mut transform) = (forward.make_input_vec(), forward.make_output_vec());
    let mut power = inverse.make_input_vec();
    for (atom, mass_u) in masses_u.iter().enumerate() {
        for axis in 0..3 {
            series.fill(0.0);
            series.iter_mut().zip(velocities).for_each(|(x, frame)| *x = frame[atom][axis]);
            forward.process(&mut series, &mut transform).expect("buffers of the plan's own lengths");
            power.iter_mut().zip(&transform).for_each(|(sum, x)| sum.re += mass_u * x.norm_sqr());
        }
    }
    let mut sums = inverse.make_output_vec();
    inverse.process(&mut power, &mut sums).expect("buffers of the plan's own lengths");
    sums.iter().take(n_lags).enumerate().map(|(lag, sum)| sum / (n * (n_frames - lag)) as f64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Velocities of one atom that oscillates along x at wavenumbers with amplitudes.
    fn oscillating(n_frames: usize, spacing_fs: f64, lines: &[(f64, f64)]) -> Vec<Vec<[f64; 3]>> {
        let at = |t: f64, &(wavenumber, amplitude): &(f64, f64)| {
            amplitude * (std::f64::consts::TAU * SPEED_OF_LIGHT_IN_CM_PER_FS * wavenumber * t + 0.3).cos()
        };
        let frame =
            |k: usize| vec![[lines.iter().map(|line| at(k as f64 * spacing_fs, line)).sum(), 0.0, 0.0]];
        (0..n_frames).map(frame).collect()
    }

    /// Maximum by a parabola through its three points, and full width at half of it by straight lines.
    fn peak_and_width(spectrum: &[f64], spacing: f64) -> (f64, f64) {
        let top = (1..spectrum.len() - 1).max_by(|&a, &b| spectrum[a].total_cmp(&spectrum[b])).unwrap();
        let [a, b, c] = [spectrum[top - 1], spectrum[top], spectrum[top + 1]];
        let shift = 0.5 * (a - c) / (a - 2.0 * b + c);
        let height = b - 0.25 * (a - c) * shift;
        let crossing = |step: i64| {
            let mut k = top as i64;
            while spectrum[(k + step) as usize] > 0.5 * height {
                k += step;
            }
            let (inside, outside) = (spectrum[k as usize], spectrum[(k + step) as usize]);
            k as f64 + step as f64 * (inside - 0.5 * height) / (inside - outside)
        };
        ((top as f64 + shift) * spacing, (crossing(1) - crossing(-1)) * spacing)
    }

    #[test]
    fn an_oscillator_gives_its_line_at_its_wavenumber_with_the_width_of_the_window() {
        for wavenumber in [432.1, 1000.0, 3017.0] {
            let setting = SpectrumSetting::of_resolution(2.0, 20.0, 10_000);
            assert!((setting.resolution_per_cm() - 20.0).abs() < 0.05);
            let velocities = oscillating(20_000, 2.0, &[(wavenumber, 0.01)]);
            let spectrum = density_of_states(&velocities, &[12.0], setting);
            assert_eq!(spectrum.len(), 2 * setting.n_lags + 1);
            let (peak, width) = peak_and_width(&spectrum, setting.spacing_per_cm());
            // A parabola over points a quarter of the width apart misses a Hann line's maximum by 1 % of the width.
            assert!((peak - wavenumber).abs() < 0.4, "{peak} {wavenumber}");
            // Straight lines between such points: 2 % of the width.
            assert!((width / setting.resolution_per_cm() - 1.0).abs() < 0.02, "{width}");
        }
    }

    #[test]
    fn areas_are_kinetic_energies_and_sum_to_one() {
        let setting = SpectrumSetting::of_resolution(1.0, 25.0, 10_000);
        let velocities = oscillating(30_000, 1.0, &[(500.0, 1.0), (2000.0, 2.0)]);
        let spectrum = density_of_states(&velocities, &[1.0], setting);
        let area = |low: f64, high: f64| {
            let points = spectrum.iter().enumerate().map(|(k, s)| (k as f64 * setting.spacing_per_cm(), s));
            points
                .filter(|(nu, _)| (low..high).contains(nu))
                .map(|(_, s)| s * setting.spacing_per_cm())
                .sum::<f64>()
        };
        // Energies 1 and 4; tails beyond 300 cm⁻¹ of a Hann line are below 1e-4 of it.
        assert!((area(200.0, 800.0) - 0.2).abs() < 1e-3 && (area(1700.0, 2300.0) - 0.8).abs() < 1e-3);
        assert!((area(-1.0, 1e9) - 1.0).abs() < 1e-3);
        assert!(
            density_of_states(
                &vec![vec![[0.0; 3]]; 9],
                &[1.0],
                SpectrumSetting { spacing_fs: 1.0, n_lags: 4 }
            )
            .iter()
            .all(|&s| s == 0.0)
        );
    }

    #[test]
    fn the_autocorrelation_is_the_sum_over_origins() {
        let velocities: Vec<Vec<[f64; 3]>> = (0..23)
            .map(|k| {
                (0..2).map(|i| std::array::from_fn(|a| ((7 * k + 3 * i + 5 * a) % 11) as f64 - 4.0)).collect()
            })
            .collect();
        let masses = [1.0, 16.0];
        for (lag, found) in autocorrelation(&velocities, &masses, 9).into_iter().enumerate() {
            let mut expected = 0.0;
            for t in 0..23 - lag {
                for i in 0..2 {
                    for a in 0..3 {
                        expected += masses[i] * velocities[t][i][a] * velocities[t + lag][i][a];
                    }
                }
            }
            // Sums of a few thousand, rounded in transforms of 32 points.
            assert!((found - expected / (23 - lag) as f64).abs() < 1e-10, "{lag}");
        }
    }
}
