//! A matrix of counts: how often which class was taken for which.

use plotters::{
    drawing::IntoDrawingArea as _,
    element::{Rectangle, Text},
    prelude::SVGBackend,
    style::{
        Color as _, IntoTextStyle as _, RGBColor, TextStyle, WHITE,
        text_anchor::{HPos, Pos, VPos},
    },
};

use super::{FONT, drawn};

const BLACK: RGBColor = RGBColor(34, 34, 34);
const BLUE: RGBColor = RGBColor(0, 114, 178);
/// Pixels left of and above the cells.
const MARGIN: (i32, i32) = (150, 84);
/// Letters of a name that fit beside a row.
const LETTERS: usize = 18;

/// Counts by true class (rows) and predicted class (columns).
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Matrix<'a> {
    pub(crate) title: &'a str,
    pub(crate) names: &'a [String],
    /// Row by row.
    pub(crate) counts: Vec<u64>,
}

impl Matrix<'_> {
    /// The picture. A cell is the darker, the larger its part of its row.
    pub(crate) fn svg(&self) -> String {
        let classes = self.names.len();
        let side: i32 = if classes <= 10 { 56 } else { 32 };
        let extent = side * classes as i32;
        let size = ((MARGIN.0 + extent + 24) as u32, (MARGIN.1 + extent + 24) as u32);
        let mut picture = String::new();
        let root = SVGBackend::with_string(&mut picture, (size.0.max(420), size.1)).into_drawing_area();
        drawn(root.fill(&WHITE));
        let write = |text: String, at: (i32, i32), style: TextStyle<'_>| drawn(root.draw(&Text::new(text, at, style)));
        let styled = |height: i32, colour: &'static RGBColor, horizontal: HPos| {
            let anchor = Pos::new(horizontal, VPos::Center);
            (FONT, height).into_text_style(&root).color(colour).pos(anchor)
        };
        write(self.title.to_owned(), (12, 20), styled(16, &BLACK, HPos::Left));
        write(
            "row: true, column: predicted".to_owned(),
            (12, 42),
            styled(12, &BLACK, HPos::Left),
        );
        let letters = if classes <= 10 { 8 } else { 4 };
        for (place, name) in self.names.iter().enumerate() {
            let middle = side * place as i32 + side / 2;
            let (row, column) = ((MARGIN.0 - 8, MARGIN.1 + middle), (MARGIN.0 + middle, MARGIN.1 - 12));
            write(cut(name, LETTERS), row, styled(13, &BLACK, HPos::Right));
            write(cut(name, letters), column, styled(12, &BLACK, HPos::Center));
        }
        for (truth, row) in self.counts.chunks(classes.max(1)).enumerate() {
            let total = row.iter().sum::<u64>().max(1);
            for (predicted, &count) in row.iter().enumerate() {
                let share = count as f64 / total as f64;
                let corner = (MARGIN.0 + side * predicted as i32, MARGIN.1 + side * truth as i32);
                let cell = [corner, (corner.0 + side, corner.1 + side)];
                drawn(root.draw(&Rectangle::new(cell, BLUE.mix(share).filled())));
                drawn(root.draw(&Rectangle::new(cell, BLACK.mix(0.2))));
                let colour = if share > 0.5 { &WHITE } else { &BLACK };
                let middle = (corner.0 + side / 2, corner.1 + side / 2);
                write(
                    count.to_string(),
                    middle,
                    styled(if count < 10_000 { 13 } else { 10 }, colour, HPos::Center),
                );
            }
        }
        drawn(root.present());
        drop(root);
        picture
    }
}

/// The first letters of a name.
fn cut(name: &str, letters: usize) -> String {
    match name.chars().count() > letters {
        true => name.chars().take(letters - 1).chain(['…']).collect(),
        false => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_count_and_name_is_shown() {
        let names = ["ants", "<bees> & wasps, a long name"].map(str::to_owned);
        let matrix = Matrix {
            title: "Confusion (test)",
            names: &names,
            counts: vec![26, 3, 4, 31],
        };
        let picture = matrix.svg();
        assert_eq!(matrix.svg(), picture);
        let lines: Vec<&str> = picture.lines().map(str::trim).collect();
        for text in [
            "26",
            "3",
            "4",
            "31",
            "ants",
            "&lt;bees&gt; &amp; wasps, a…",
            "&lt;bees&gt; …",
        ] {
            assert!(lines.contains(&text), "{text} in {picture}");
        }
        assert_eq!(
            picture.matches("<rect").count(),
            1 + 2 * 4,
            "the ground, and each cell twice"
        );
    }
}
