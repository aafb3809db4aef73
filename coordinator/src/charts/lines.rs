//! Curves over a common axis.

use plotters::{
    chart::{ChartBuilder, SeriesLabelPosition},
    drawing::IntoDrawingArea as _,
    element::{Circle, PathElement},
    prelude::SVGBackend,
    series::LineSeries,
    style::{Color as _, RGBColor, WHITE},
};

use super::{FONT, drawn};

/// Pixels.
const SIZE: (u32, u32) = (720, 360);
const BLACK: RGBColor = RGBColor(34, 34, 34);
/// Okabe & Ito's colours, which people tell apart who see few of them.
const COLOURS: [RGBColor; 5] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
];

/// A curve through its points.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Line {
    pub(crate) name: String,
    /// In the order of x. A point that is not finite is left out.
    pub(crate) points: Vec<(f64, f64)>,
}

/// Curves with a legend, and one x at which something happened.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LineChart<'a> {
    pub(crate) title: &'a str,
    pub(crate) x_axis: &'a str,
    pub(crate) lines: Vec<Line>,
    /// Its x, and what it is called.
    pub(crate) mark: Option<(f64, String)>,
}

impl LineChart<'_> {
    /// The picture; `None` without a finite point.
    pub(crate) fn svg(&self) -> Option<String> {
        let finite = |line: &Line| -> Vec<(f64, f64)> {
            let points = line.points.iter().copied();
            points.filter(|(x, y)| x.is_finite() && y.is_finite()).collect()
        };
        let lines: Vec<Vec<(f64, f64)>> = self.lines.iter().map(finite).collect();
        let x = span(lines.iter().flatten().map(|point| point.0), 0.0)?;
        let y = span(lines.iter().flatten().map(|point| point.1), 0.05)?;
        let mut picture = String::new();
        let root = SVGBackend::with_string(&mut picture, SIZE).into_drawing_area();
        drawn(root.fill(&WHITE));
        let mut chart = drawn(
            ChartBuilder::on(&root)
                .margin(12)
                .caption(self.title, (FONT, 18, &BLACK))
                .x_label_area_size(40)
                .y_label_area_size(60)
                .build_cartesian_2d(x.0..x.1, y.0..y.1),
        );
        drawn(
            chart
                .configure_mesh()
                .light_line_style(WHITE)
                .bold_line_style(BLACK.mix(0.12))
                .axis_style(BLACK)
                .label_style((FONT, 13, &BLACK))
                .x_desc(self.x_axis)
                .x_label_formatter(&|x| number(*x))
                .y_label_formatter(&|y| number(*y))
                .draw(),
        );
        if let Some((at, name)) = self.mark.as_ref().filter(|(at, _)| (x.0..=x.1).contains(at)) {
            let upright = PathElement::new(vec![(*at, y.0), (*at, y.1)], BLACK.mix(0.5));
            drawn(chart.draw_series(std::iter::once(upright)))
                .label(name.as_str())
                .legend(|(x, y)| PathElement::new(vec![(x + 9, y - 6), (x + 9, y + 6)], BLACK.mix(0.5)));
        }
        for ((line, points), colour) in self.lines.iter().zip(&lines).zip(COLOURS.into_iter().cycle()) {
            drawn(chart.draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2))))
                .label(line.name.as_str())
                .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 18, y)], colour.stroke_width(2)));
            let dots = points.iter().map(|point| Circle::new(*point, 3, colour.filled()));
            drawn(chart.draw_series(dots));
        }
        drawn(
            chart
                .configure_series_labels()
                .position(SeriesLabelPosition::UpperRight)
                .background_style(WHITE.mix(0.85))
                .border_style(BLACK.mix(0.3))
                .label_font((FONT, 13, &BLACK))
                .draw(),
        );
        drawn(root.present());
        drop(chart);
        drop(root);
        Some(picture)
    }
}

/// From the least to the greatest, and so much of that beside them; around a single value some room.
fn span(values: impl Iterator<Item = f64>, beside: f64) -> Option<(f64, f64)> {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    if low > high {
        return None;
    }
    let room = match high - low {
        0.0 => low.abs().max(1.0) * 0.5,
        width => width * beside,
    };
    Some((low - room, high + room))
}

/// As few digits as tell ticks apart.
fn number(value: f64) -> String {
    let rounded = (value * 1e6).round() / 1e6;
    match rounded.abs() {
        size if size != 0.0 && size < 1e-3 => format!("{rounded:.1e}"),
        size if size >= 1e6 => format!("{rounded:.2e}"),
        _ => rounded.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<(f64, f64)>) -> LineChart<'static> {
        LineChart {
            title: "Loss",
            x_axis: "epoch",
            lines: vec![Line {
                name: "training <loss> & more".to_owned(),
                points,
            }],
            mark: Some((1.0, "best epoch".to_owned())),
        }
    }

    #[test]
    fn a_picture_shows_every_name_and_is_the_same_again() {
        let chart = chart(vec![(0.0, 1.0), (1.0, 0.5), (2.0, f64::NAN), (3.0, 0.25)]);
        let picture = chart.svg().unwrap();
        assert_eq!(chart.svg().unwrap(), picture);
        for text in ["Loss", "epoch", "training &lt;loss&gt; &amp; more", "best epoch"] {
            assert!(picture.contains(text), "{text} in {picture}");
        }
        assert!(!picture.contains("NaN") && picture.trim_end().ends_with("</svg>"));
    }

    #[test]
    fn nothing_to_show_gives_no_picture() {
        assert_eq!(chart(Vec::new()).svg(), None);
        assert_eq!(chart(vec![(0.0, f64::INFINITY)]).svg(), None);
        assert!(chart(vec![(1.0, 0.5)]).svg().is_some(), "one point");
    }

    #[test]
    fn ticks_have_few_digits() {
        for (value, expected) in [
            (0.1 + 0.2, "0.3"),
            (2.0, "2"),
            (0.000_05, "5.0e-5"),
            (0.0, "0"),
            (3e7, "3.00e7"),
        ] {
            assert_eq!(number(value), expected);
        }
    }
}
