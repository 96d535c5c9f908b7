//! A training run's learning curves as a picture of its own.

use crate::page::STYLE;
use crate::plot::{Axis, Plot};

/// Training loss and validation error (component MAE) over steps, both (step, meV/Å), as a standalone SVG.
pub fn learning_curves(loss: &[(f64, f64)], error: &[(f64, f64)]) -> String {
    let all = || loss.iter().chain(error);
    let x = Axis::from_zero("steps", all().map(|point| point.0));
    let y = Axis::logarithmic("meV/Å", all().map(|point| point.1));
    let plot = Plot::new(x, y).line(0, "training loss", loss.iter().copied()).line(
        1,
        "validation component MAE",
        error.iter().copied(),
    );
    let figure = plot.figure("Learning curves");
    let (start, end) = (figure.find("<svg ").unwrap_or(0), figure.find("</svg>").unwrap_or(0));
    let inside = &figure[start + "<svg ".len()..end];
    let (attributes, marks) = inside.split_once('>').unwrap_or_default();
    format!("<svg xmlns=\"http://www.w3.org/2000/svg\" {attributes}><style>{STYLE}</style>{marks}</svg>\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_stands_alone_and_has_both_curves() {
        let svg = learning_curves(&[(50.0, 200.0), (100.0, 90.0)], &[(0.0, 300.0), (100.0, 60.0)]);
        assert!(svg.starts_with("<svg xmlns=") && svg.trim_end().ends_with("</svg>"));
        assert_eq!((svg.matches("<svg").count(), svg.matches("class=\"mark").count()), (1, 4));
        // A run without lines yet is no error.
        assert!(learning_curves(&[], &[]).ends_with("</svg>\n"));
    }
}
