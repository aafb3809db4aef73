//! `tests/PARITY.md`: the largest difference after every stage.

use std::{collections::BTreeMap, fs, path::PathBuf, sync::Mutex};

/// What the table begins with.
const HEADING: &str = "# Parity

The largest difference between what Firn and the reference library give after each stage, with the same weights (filled by a formula of their
names) and the same input, in fp32: of the form that computes below the cut and of that which trains, of values that are near 1. 1e-4 is
allowed, and the values of two samples differ by 100 times that at least, as a root mean square.
`worker/models/tests/models/stages/` writes this table and holds it complete; `worker/models/tests/reference/parity.py` is the reference.
Rows of the table of architectures that are not named here differ from one that is by numbers alone; the names and shapes of all their
tensors are compared with the library's. The gated layers of `dinov2_vitg14` are compared in a small network
(`worker/models/src/architecture/vit/tests.rs`).

| architecture | library | stage | largest difference |
|---|---|---|---|
";

fn table_path() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/PARITY.md"))
}

/// The rows of the table by their case, `ARCHITECTURE.LIBRARY`: stage and difference as they are written.
fn rows(text: &str) -> BTreeMap<String, Vec<(String, String)>> {
    let mut rows: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line
            .trim_matches('|')
            .split('|')
            .map(|cell| cell.trim().trim_matches('`'))
            .collect();
        let case = format!("{}.{}", cells[0], cells[1]);
        rows.entry(case)
            .or_default()
            .push((cells[2].to_owned(), cells[3].to_owned()));
    }
    rows
}

/// Writes the rows of a case if that is asked for; else the table has to have them.
pub(super) fn table(case: &str, worst: &[(String, f64)]) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut rows = rows(&fs::read_to_string(table_path()).unwrap_or_default());
    if std::env::var_os("BLESS").is_none() {
        let stages = rows.remove(case).unwrap_or_default();
        let stages: Vec<&String> = stages.iter().map(|(stage, _)| stage).collect();
        let expected: Vec<&String> = worst.iter().map(|(stage, _)| stage).collect();
        assert_eq!(stages, expected, "{case} in tests/PARITY.md; write it with BLESS=1");
        return;
    }
    let written = worst
        .iter()
        .map(|(stage, difference)| (stage.clone(), format!("{difference:.0e}")));
    rows.insert(case.to_owned(), written.collect());
    let mut text = HEADING.to_owned();
    for (case, stages) in rows {
        let (architecture, library) = case.split_once('.').unwrap();
        for (stage, difference) in stages {
            text += &format!("| `{architecture}` | {library} | `{stage}` | {difference} |\n");
        }
    }
    fs::write(table_path(), text).unwrap();
}

#[test]
fn the_table_of_differences_has_every_case_and_no_other() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/stages");
    let name = |entry: std::io::Result<fs::DirEntry>| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        name.strip_suffix(".json").unwrap().to_owned()
    };
    let mut cases: Vec<String> = fs::read_dir(folder).unwrap().map(name).collect();
    cases.sort();
    let rows = rows(&fs::read_to_string(table_path()).unwrap());
    assert_eq!(rows.into_keys().collect::<Vec<_>>(), cases);
}
