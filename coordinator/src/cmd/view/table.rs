//! Tables without lines: columns three spaces apart, nothing after the last one, as `kubectl` prints them.

use tabled::{
    builder::Builder,
    settings::{Alignment, Padding, Style, object::Columns},
};

/// A table with a header line. Columns from `numbers_from` on hold numbers and are aligned to the right.
pub(crate) fn table(headers: &[&str], rows: Vec<Vec<String>>, numbers_from: usize) -> String {
    let mut builder = Builder::default();
    builder.push_record(headers.iter().map(|header| (*header).to_owned()));
    for row in rows {
        builder.push_record(row);
    }
    let mut table = builder.build();
    table.with(Style::empty()).with(Padding::new(0, 3, 0, 0));
    if numbers_from < headers.len() {
        table.modify(Columns::new(numbers_from..), Alignment::right());
    }
    let mut text = String::new();
    for line in table.to_string().lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A table whose columns are all text.
pub(crate) fn text_table(headers: &[&str], rows: Vec<Vec<String>>) -> String {
    let columns = headers.len();
    table(headers, rows, columns)
}

/// Every line of `text` behind `margin`.
pub(crate) fn indent(text: &str, margin: &str) -> String {
    text.lines().map(|line| format!("{margin}{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_three_spaces_apart_and_lines_end_with_their_last_word() {
        let rows = vec![vec!["a".into(), "1.5".into()], vec!["longer".into(), "12.25".into()]];
        assert_eq!(
            table(&["NAME", "VALUE"], rows, 1),
            "NAME     VALUE\na          1.5\nlonger   12.25\n"
        );
    }

    #[test]
    fn a_table_without_rows_is_its_header() {
        assert_eq!(text_table(&["NAME", "AGE"], Vec::new()), "NAME   AGE\n");
    }
}
