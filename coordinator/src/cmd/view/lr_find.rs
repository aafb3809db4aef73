//! A learning-rate range test for people and programs: what it suggests, and its curve on a terminal and as SVG.

use std::fmt::Write as _;

use firn_core::range_test::{Point, RangeTest};
use serde_json::{Value, json};

use super::{Format, table::text_table};
use crate::cmd::console::Paint;

/// Characters of the plot on a terminal.
const COLUMNS: usize = 72;
const ROWS: usize = 16;
/// The SVG, in pixels: the whole, and what is left free around the curve.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 400.0;
const MARGIN: f64 = 56.0;

/// For programs: `suggestion` is where the average of the losses falls fastest; `null` where it falls nowhere.
pub(crate) fn document(test: &RangeTest) -> Value {
    let points = test.points().iter();
    let points = points.map(|point| {
        json!({
            "learningRate": point.learning_rate,
            "loss": point.loss,
            "smoothedLoss": point.smoothed_loss,
        })
    });
    json!({
        "suggestion": test.steepest(),
        "tenthOfMinimum": test.tenth_of_minimum(),
        "end": test.end().map(|end| end.word()),
        "steps": test.steps(),
        "points": points.collect::<Vec<_>>(),
    })
}

/// For people.
pub(crate) fn report(test: &RangeTest, format: Format, paint: Paint) -> String {
    let mut text = plot(test);
    let end = test.end().map_or("before it was over", |end| end.describe());
    let (taken, steps) = (test.points().len(), test.steps());
    writeln!(text, "\nended {end}: {taken} of {steps} steps").expect("a string takes every line");
    let rate = |rate: f64| format!("{rate:.2e}");
    let suggestion = match test.steepest() {
        Some(steepest) => format!(
            "suggestion: {} (where the loss falls fastest)\n",
            paint.bold(&format!("learningRate: {}", rate(steepest)))
        ),
        None => {
            "no suggestion: the loss falls nowhere; try other rates with --min and --max, or more --steps\n".to_owned()
        }
    };
    text.push_str(&suggestion);
    if let Some(minimum) = test.tenth_of_minimum() {
        writeln!(text, "a tenth of the rate with the smallest loss: {}", rate(minimum))
            .expect("a string takes every line");
    }
    if format == Format::Wide {
        let row = |(step, point): (usize, &Point)| {
            vec![
                step.to_string(),
                rate(point.learning_rate),
                format!("{:.4}", point.loss),
                format!("{:.4}", point.smoothed_loss),
            ]
        };
        let rows = test.points().iter().enumerate().map(row).collect();
        text.push('\n');
        text.push_str(&text_table(&["STEP", "LEARNING RATE", "LOSS", "SMOOTHED"], rows));
    }
    text
}

/// Where points lie on a plot: both from 0 to 1, the rate by its logarithm, the loss from below.
struct Scale {
    rates: (f64, f64),
    losses: (f64, f64),
}

impl Scale {
    /// Of a test with points. What has diverged is cut off, so that the valley is seen.
    fn of(points: &[Point]) -> Self {
        let rates = points.iter().map(|point| point.learning_rate.log10());
        let losses = || points.iter().map(|point| point.smoothed_loss);
        let lowest = losses().fold(f64::INFINITY, f64::min);
        let first = points.first().map_or(lowest, |first| first.smoothed_loss);
        let highest = losses().fold(f64::NEG_INFINITY, f64::max);
        // As much above where it began as the valley is deep.
        let top = highest.min(first + (first - lowest).max(0.1 * lowest.abs()));
        Self {
            rates: (
                rates.clone().fold(f64::INFINITY, f64::min),
                rates.fold(f64::NEG_INFINITY, f64::max),
            ),
            losses: (lowest, top.max(lowest + f64::EPSILON)),
        }
    }

    fn across(&self, rate: f64) -> f64 {
        let (low, high) = self.rates;
        ((rate.log10() - low) / (high - low).max(f64::EPSILON)).clamp(0.0, 1.0)
    }

    fn up(&self, loss: f64) -> f64 {
        let (low, high) = self.losses;
        ((loss - low) / (high - low)).clamp(0.0, 1.0)
    }
}

/// The curve in characters: `*` the average of the losses, `|` the suggestion.
fn plot(test: &RangeTest) -> String {
    let points = test.points();
    if points.is_empty() {
        return String::new();
    }
    let scale = Scale::of(points);
    let column = |rate: f64| (scale.across(rate) * (COLUMNS - 1) as f64).round() as usize;
    let mut grid = vec![[' '; COLUMNS]; ROWS];
    if let Some(steepest) = test.steepest() {
        for row in &mut grid {
            row[column(steepest)] = '|';
        }
    }
    for point in points {
        let row = ((1.0 - scale.up(point.smoothed_loss)) * (ROWS - 1) as f64).round() as usize;
        grid[row][column(point.learning_rate)] = '*';
    }
    let (low, high) = scale.losses;
    let mut text = String::from("smoothed loss\n");
    for (number, row) in grid.iter().enumerate() {
        let label = match number {
            0 => format!("{high:9.4}"),
            last if last == ROWS - 1 => format!("{low:9.4}"),
            _ => " ".repeat(9),
        };
        let row: String = row.iter().collect();
        writeln!(text, "{label} |{}", row.trim_end()).expect("a string takes every line");
    }
    let (first, last) = (points[0].learning_rate, points[points.len() - 1].learning_rate);
    let (first, last) = (format!("{first:.0e}"), format!("{last:.0e} learning rate"));
    let gap = (COLUMNS + 1).saturating_sub(first.len() + last.len()).max(1);
    writeln!(text, "{}+{}", " ".repeat(10), "-".repeat(COLUMNS)).expect("a string takes every line");
    writeln!(text, "{}{first}{}{last}", " ".repeat(10), " ".repeat(gap)).expect("a string takes every line");
    text
}

/// The curve as a picture that stands by itself.
pub(crate) fn svg(test: &RangeTest) -> String {
    let scale = Scale::of(test.points());
    let x = |rate: f64| MARGIN + scale.across(rate) * (WIDTH - 2.0 * MARGIN);
    let y = |loss: f64| HEIGHT - MARGIN - scale.up(loss) * (HEIGHT - 2.0 * MARGIN);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n"
    );
    // Writing to a string cannot fail.
    let mut line = |text: String| writeln!(svg, "{text}").expect("a string takes every line");
    let (left, right, top, bottom) = (MARGIN, WIDTH - MARGIN, MARGIN, HEIGHT - MARGIN);
    line(format!(
        "<path d=\"M{left} {top}V{bottom}H{right}\" fill=\"none\" stroke=\"black\"/>"
    ));
    if !test.points().is_empty() {
        let (low, high) = scale.rates;
        for power in low.ceil() as i32..=high.floor() as i32 {
            let place = x(10f64.powi(power));
            let below = bottom + 18.0;
            line(format!(
                "<path d=\"M{place:.1} {bottom}v5\" stroke=\"black\"/><text x=\"{place:.1}\" y=\"{below}\" text-anchor=\"middle\">1e{power}</text>"
            ));
        }
        for (loss, place) in [(scale.losses.0, bottom), (scale.losses.1, top)] {
            let beside = left - 6.0;
            line(format!(
                "<text x=\"{beside}\" y=\"{place}\" text-anchor=\"end\">{loss:.4}</text>"
            ));
        }
        let curve = |loss: fn(&Point) -> f64| -> String {
            let points = test.points().iter();
            let points = points.map(|point| format!("{:.1},{:.1}", x(point.learning_rate), y(loss(point))));
            points.collect::<Vec<_>>().join(" ")
        };
        for (loss, colour, width) in [
            ((|point| point.loss) as fn(&Point) -> f64, "#bbbbbb", 1.0),
            ((|point| point.smoothed_loss) as fn(&Point) -> f64, "#1f77b4", 2.0),
        ] {
            line(format!(
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\"/>",
                curve(loss)
            ));
        }
    }
    if let Some(steepest) = test.steepest() {
        let (place, above) = (x(steepest), top - 8.0);
        line(format!(
            "<path d=\"M{place:.1} {top}V{bottom}\" stroke=\"#d62728\" stroke-dasharray=\"4 3\"/>\
             <text x=\"{place:.1}\" y=\"{above}\" text-anchor=\"middle\" fill=\"#d62728\">{steepest:.2e}</text>"
        ));
    }
    let (middle, lowest) = (WIDTH / 2.0, HEIGHT - 12.0);
    line(format!(
        "<text x=\"{middle}\" y=\"{lowest}\" text-anchor=\"middle\">learning rate</text>\
         <text x=\"14\" y=\"{}\" text-anchor=\"middle\" transform=\"rotate(-90 14 {})\">loss</text>",
        HEIGHT / 2.0,
        HEIGHT / 2.0
    ));
    svg.push_str("</svg>\n");
    svg
}

#[cfg(test)]
mod tests {
    use firn_core::range_test::Taken;

    use super::*;

    /// 40 steps from 1e-5 to 1: the loss falls at 1e-3 and rises at the end.
    fn test() -> RangeTest {
        let taken = (0..40).map(|step| {
            let place = f64::from(step) / 39.0;
            Taken {
                learning_rate: 1e-5 * 1e5f64.powf(place),
                loss: 2.0 - 1.5 / (1.0 + (-(place - 0.4) * 30.0).exp()) + ((place - 0.9) * 30.0).exp(),
                skipped: false,
            }
        });
        RangeTest::of(40, taken)
    }

    #[test]
    fn a_report_has_the_curve_the_suggestion_and_why_it_ended() {
        let test = test();
        let text = report(&test, Format::Table, Paint::default());
        let suggestion = test.steepest().unwrap();
        assert!(
            text.contains(&format!("suggestion: learningRate: {suggestion:.2e} (where")),
            "{text}"
        );
        assert!(
            text.contains("ended after all its steps: 40 of 40 steps") || text.contains("ended when the loss"),
            "{text}"
        );
        assert!(text.lines().filter(|line| line.contains('*')).count() > 5, "{text}");
        assert!(text.lines().filter(|line| line.contains('|')).count() >= ROWS, "{text}");
        let wide = report(&test, Format::Wide, Paint::default());
        assert!(wide.lines().count() > text.lines().count() + 30);
    }

    #[test]
    fn the_document_and_the_picture_hold_every_step() {
        let test = test();
        let document = document(&test);
        assert_eq!(document["points"].as_array().unwrap().len(), test.points().len());
        assert_eq!(document["suggestion"], json!(test.steepest().unwrap()));
        let svg = svg(&test);
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        let curves: Vec<&str> = svg.lines().filter(|line| line.starts_with("<polyline")).collect();
        assert_eq!(curves.len(), 2);
        for curve in curves {
            assert_eq!(curve.matches(',').count(), test.points().len());
        }
    }

    #[test]
    fn a_test_without_a_point_has_a_report_all_the_same() {
        let skipped = Taken {
            learning_rate: 1e-3,
            loss: 0.0,
            skipped: true,
        };
        let test = RangeTest::of(20, [skipped]);
        let text = report(&test, Format::Table, Paint::default());
        assert!(text.contains("no suggestion"), "{text}");
        assert!(svg(&test).contains("</svg>"));
        assert_eq!(document(&test)["end"], "NotFinite");
    }
}
