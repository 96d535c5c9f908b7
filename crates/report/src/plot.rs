//! Plots as SVG with vector text. Colours are classes that the page's style sheet sets, so that one plot is right in
//! light and dark; the series' colours are those of Okabe and Ito, told apart by the colour-blind.
//!
//! Written by hand, because plotting libraries write colours into the marks.

use std::fmt::Write;

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 340.0;
/// Left, right, top and bottom of the drawing area.
const AREA: [f64; 4] = [70.0, 545.0, 14.0, 286.0];

/// One axis: what it shows, from where to where.
#[derive(Debug, Clone)]
pub(crate) struct Axis {
    label: String,
    low: f64,
    high: f64,
    logarithmic: bool,
}

impl Axis {
    /// An axis over all finite values, with a margin; never empty.
    pub fn over(label: &str, values: impl IntoIterator<Item = f64>) -> Self {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.into_iter().filter(|value| value.is_finite()) {
            (low, high) = (low.min(value), high.max(value));
        }
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        let margin = if high > low { 0.04 * (high - low) } else { 0.5 * high.abs().max(1.0) };
        Self { label: label.into(), low: low - margin, high: high + margin, logarithmic: false }
    }

    /// An axis from zero up.
    pub fn from_zero(label: &str, values: impl IntoIterator<Item = f64>) -> Self {
        let axis = Self::over(label, values);
        Self { low: 0.0, high: axis.high.max(f64::MIN_POSITIVE), ..axis }
    }

    /// A logarithmic axis over all positive values, long enough for two of 1, 2, 5, 10, ….
    pub fn logarithmic(label: &str, values: impl IntoIterator<Item = f64>) -> Self {
        let logs = values.into_iter().filter(|value| *value > 0.0).map(f64::log10);
        let axis = Self::over(label, logs);
        let missing = (0.8 - (axis.high - axis.low)).max(0.0);
        Self { low: axis.low - 0.5 * missing, high: axis.high + 0.5 * missing, logarithmic: true, ..axis }
    }

    fn place(&self, value: f64) -> f64 {
        let value = if self.logarithmic { value.max(f64::MIN_POSITIVE).log10() } else { value };
        ((value - self.low) / (self.high - self.low)).clamp(-0.02, 1.02)
    }

    /// Values that carry a number.
    fn ticks(&self) -> Vec<f64> {
        if self.logarithmic {
            let decades: Vec<f64> =
                (self.low.ceil() as i32..=self.high.floor() as i32).map(f64::from).collect();
            if decades.len() > 1 {
                let step = decades.len().div_ceil(7);
                return decades.iter().step_by(step).map(|decade| 10f64.powf(*decade)).collect();
            }
            let powers = (self.low.floor() as i32..=self.high.ceil() as i32).map(|power| 10f64.powi(power));
            let ticks = powers.flat_map(|power| [1.0, 2.0, 5.0].map(|m| m * power));
            return ticks.filter(|tick| (self.low..=self.high).contains(&tick.log10())).collect();
        }
        let raw = (self.high - self.low) / 5.0;
        let power = 10f64.powf(raw.log10().floor());
        let step =
            [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|step| *step >= raw).unwrap_or(raw);
        let ticks = (self.low / step).ceil() as i64..=(self.high / step).floor() as i64;
        ticks.map(|k| k as f64 * step).collect()
    }
}

/// A number as short as it can be told on an axis.
pub(crate) fn short(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 {
        "0".into()
    } else if !(1e-3..1e5).contains(&size) {
        let power = size.log10().floor();
        let mantissa = value / 10f64.powf(power);
        format!("{mantissa:.1}e{power}").replace(".0e", "e")
    } else {
        let digits = (2.0 - size.log10().floor()).clamp(0.0, 5.0) as usize;
        let text = format!("{value:.digits$}");
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_string() } else { text }
    }
}

/// How a series is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Line,
    Point,
}

/// A plot that grows mark by mark.
#[derive(Debug, Clone)]
pub(crate) struct Plot {
    x: Axis,
    y: Axis,
    marks: String,
    legend: Vec<(usize, Mark, String)>,
}

impl Plot {
    pub fn new(x: Axis, y: Axis) -> Self {
        Self { x, y, marks: String::new(), legend: Vec::new() }
    }

    fn at(&self, x: f64, y: f64) -> (f64, f64) {
        let [left, right, top, bottom] = AREA;
        (left + (right - left) * self.x.place(x), bottom - (bottom - top) * self.y.place(y))
    }

    /// A line through points, in the colour of a series; no line, and no place in the legend, of none.
    pub fn line(mut self, series: usize, label: &str, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        let mut path = String::new();
        for (x, y) in points.into_iter().filter(|(x, y)| x.is_finite() && y.is_finite()) {
            let (x, y) = self.at(x, y);
            let _ = write!(path, "{}{x:.1} {y:.1}", if path.is_empty() { "M" } else { "L" });
        }
        if path.is_empty() {
            return self;
        }
        let dash = ["", "7 3", "2 3", "9 3 2 3", "4 4", "1 2"][series % 6];
        let _ = writeln!(
            self.marks,
            r#"<path class="mark s{}" stroke-dasharray="{dash}" d="{path}"/>"#,
            series % 6
        );
        self.labelled(series, Mark::Line, label)
    }

    /// A pale band between low and high, in the colour of a series: the error of its line.
    pub fn band(mut self, series: usize, edges: &[(f64, f64, f64)]) -> Self {
        let mut path = String::new();
        let there = edges.iter().map(|&(x, low, _)| (x, low));
        let back = edges.iter().rev().map(|&(x, _, high)| (x, high));
        for (x, y) in there.chain(back).filter(|(x, y)| x.is_finite() && y.is_finite()) {
            let (x, y) = self.at(x, y);
            let _ = write!(path, "{}{x:.1} {y:.1}", if path.is_empty() { "M" } else { "L" });
        }
        let _ = writeln!(self.marks, r#"<path class="f{}" fill-opacity="0.25" d="{path}"/>"#, series % 6);
        self
    }

    /// Points with error bars from low to high; no place in the legend of none.
    pub fn points(
        mut self,
        series: usize,
        label: &str,
        points: impl IntoIterator<Item = (f64, f64, f64, f64)>,
    ) -> Self {
        let mut is_empty = true;
        for (x, y, low, high) in points.into_iter().filter(|(x, y, ..)| x.is_finite() && y.is_finite()) {
            is_empty = false;
            let ((cx, cy), (_, y1), (_, y2)) = (self.at(x, y), self.at(x, low), self.at(x, high));
            let s = series % 6;
            let _ = writeln!(
                self.marks,
                r#"<circle class="f{s}" cx="{cx:.1}" cy="{cy:.1}" r="3.5"/><path class="mark s{s}" d="M{cx:.1} {y1:.1}V{y2:.1}"/>"#
            );
        }
        if is_empty { self } else { self.labelled(series, Mark::Point, label) }
    }

    /// Bars between edges, from the lower end of the axis.
    pub fn bars(mut self, series: usize, bars: impl IntoIterator<Item = (f64, f64, f64)>) -> Self {
        for (from, to, height) in bars {
            let ((x1, y), (x2, _)) = (self.at(from, height), self.at(to, height));
            let (width, tall) = ((x2 - x1 - 0.5).max(0.5), (AREA[3] - y).max(0.0));
            let s = series % 6;
            let _ = writeln!(
                self.marks,
                r#"<rect class="f{s}" x="{x1:.1}" y="{y:.1}" width="{width:.1}" height="{tall:.1}"/>"#
            );
        }
        self
    }

    /// A filled cell; `strength` from −1 (series 1) over 0 (nothing) to 1 (series 0).
    pub fn cell(mut self, x: [f64; 2], y: [f64; 2], strength: f64) -> Self {
        let ((x1, y1), (x2, y2)) = (self.at(x[0], y[1]), self.at(x[1], y[0]));
        let s = usize::from(strength < 0.0);
        let opacity = strength.abs().min(1.0);
        let _ = writeln!(
            self.marks,
            r#"<rect class="f{s}" fill-opacity="{opacity:.3}" x="{x1:.1}" y="{y1:.1}" width="{:.1}" height="{:.1}"/>"#,
            x2 - x1 + 0.3,
            y2 - y1 + 0.3
        );
        self
    }

    fn labelled(mut self, series: usize, mark: Mark, label: &str) -> Self {
        if !label.is_empty() {
            self.legend.push((series % 6, mark, label.to_string()));
        }
        self
    }

    /// The whole as a figure with a caption.
    pub fn figure(self, caption: &str) -> String {
        let [left, right, top, bottom] = AREA;
        // Two columns, unless a label is longer than one of them, in the large letters of a small screen.
        let is_long = self.legend.iter().any(|(_, _, label)| label.chars().count() > 20);
        let n_columns = if is_long { 1 } else { 2 };
        let mut out = format!(
            r#"<figure><svg viewBox="0 0 {WIDTH} {}" role="img" aria-label="{}">"#,
            HEIGHT + 20.0 * self.legend.len().div_ceil(n_columns) as f64,
            escape(caption)
        );
        for tick in self.x.ticks() {
            let x = left + (right - left) * self.x.place(tick);
            let _ = write!(
                out,
                r#"<path class="grid" d="M{x:.1} {top}V{bottom}"/><text class="mid" x="{x:.1}" y="{}">{}</text>"#,
                bottom + 18.0,
                short(tick)
            );
        }
        for tick in self.y.ticks() {
            let y = bottom - (bottom - top) * self.y.place(tick);
            let _ = write!(
                out,
                r#"<path class="grid" d="M{left} {y:.1}H{right}"/><text class="end" x="{}" y="{:.1}">{}</text>"#,
                left - 6.0,
                y + 4.5,
                short(tick)
            );
        }
        let _ = write!(out, r#"{}<path class="axis" d="M{left} {top}V{bottom}H{right}"/>"#, self.marks);
        let _ = write!(
            out,
            r#"<text class="mid" x="{}" y="{}">{}</text>"#,
            (left + right) / 2.0,
            bottom + 40.0,
            escape(&self.x.label)
        );
        let middle = (top + bottom) / 2.0;
        let _ = write!(
            out,
            r#"<text class="mid" transform="translate(16 {middle}) rotate(-90)">{}</text>"#,
            escape(&self.y.label)
        );
        for (index, (series, mark, label)) in self.legend.iter().enumerate() {
            let (x, y) = (
                left + 240.0 * (index % n_columns) as f64,
                HEIGHT + 10.0 + 20.0 * (index / n_columns) as f64,
            );
            let dash = ["", "7 3", "2 3", "9 3 2 3", "4 4", "1 2"][*series];
            let middle = y - 4.0;
            out += &match mark {
                Mark::Line => {
                    format!(
                        r#"<path class="mark s{series}" stroke-dasharray="{dash}" d="M{x} {middle}h26"/>"#
                    )
                }
                Mark::Point => {
                    format!(r#"<circle class="f{series}" cx="{}" cy="{middle}" r="3.5"/>"#, x + 13.0)
                }
            };
            let _ = write!(out, r#"<text x="{}" y="{y}">{}</text>"#, x + 32.0, escape(label));
        }
        out + &format!("</svg><figcaption>{}</figcaption></figure>\n", escape(caption))
    }
}

/// Text made safe for HTML and attributes.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_on_axes_are_short_and_round_ticks_lie_within() {
        let texts: Vec<String> = [0.0, 0.25, 120.0, 1e6, -2.5e-4, 1.0].map(short).into();
        assert_eq!(texts, ["0", "0.25", "120", "1e6", "-2.5e-4", "1"]);
        let axis = Axis::over("", [0.0, 10.0]);
        assert_eq!(axis.ticks(), [0.0, 5.0, 10.0]);
        assert_eq!(Axis::logarithmic("", [1.0, 1000.0]).ticks(), [1.0, 10.0, 100.0, 1000.0]);
        assert_eq!(Axis::logarithmic("", [0.3, 3.0]).ticks(), [0.5, 1.0, 2.0]);
        assert_eq!(Axis::logarithmic("", [0.4708, 0.4713]).ticks(), [0.2, 0.5, 1.0]);
        // Nothing, or one value, still makes an axis.
        assert!(!Axis::over("", []).ticks().is_empty() && !Axis::over("", [3.0]).ticks().is_empty());
    }

    #[test]
    fn a_plot_places_points_and_escapes_its_words() {
        let plot = Plot::new(Axis::over("x & y", [0.0, 1.0]), Axis::over("<z>", [0.0, 1.0]));
        let svg = plot.line(0, "a", [(0.0, 0.0), (1.0, f64::NAN), (1.0, 1.0)]).figure("caption");
        assert!(svg.contains("x &amp; y") && svg.contains("&lt;z&gt;") && !svg.contains("NaN"));
        assert_eq!(svg.matches("L").count(), 1);
    }

    #[test]
    fn what_has_no_points_is_not_in_the_legend() {
        let plot = Plot::new(Axis::over("", [0.0, 1.0]), Axis::over("", [0.0, 1.0]));
        let plot =
            plot.line(0, "gone", [(f64::NAN, 0.0)]).points(1, "lost", []).line(2, "there", [(0.0, 0.0)]);
        assert_eq!(plot.legend, [(2, Mark::Line, "there".to_string())]);
    }
}
