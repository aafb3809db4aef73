use super::*;

fn lines(from: u64, to: u64) -> Vec<AgentLogLine> {
    (from..to)
        .map(|number| line_now("stdout", format!("line {number} {}", "x".repeat(100))))
        .collect()
}

fn read_all(reader: &mut SpoolReader, end: u64) -> Vec<String> {
    let mut texts = Vec::new();
    loop {
        let batch = reader.read(end, 1000, 64 << 10).unwrap();
        if batch.is_empty() {
            return texts;
        }
        texts.extend(batch.into_iter().map(|line| line.text));
    }
}

#[test]
fn lines_come_back_in_order_across_segments_and_after_going_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = SpoolWriter::open(folder.path(), u64::MAX).unwrap();
    for start in (0..30_000).step_by(500) {
        writer.append(lines(start, start + 500));
    }
    assert_eq!(writer.next_sequence(), 30_000);
    assert!(segments(folder.path()).unwrap().len() > 2);

    let mut reader = SpoolReader::open(folder.path()).unwrap();
    let texts = read_all(&mut reader, 30_000);
    assert_eq!(texts.len(), 30_000);
    assert!(
        texts
            .iter()
            .enumerate()
            .all(|(number, text)| text.starts_with(&format!("line {number} ")))
    );

    reader.seek(12_345);
    let again = read_all(&mut reader, 12_400);
    assert_eq!(again.len(), 55);
    assert!(again[0].starts_with("line 12345 "));
}

#[test]
fn acknowledged_segments_are_deleted_and_the_rest_is_still_readable() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = SpoolWriter::open(folder.path(), u64::MAX).unwrap();
    for start in (0..30_000).step_by(500) {
        writer.append(lines(start, start + 500));
    }
    let before = segments(folder.path()).unwrap().len();
    SpoolReader::open(folder.path()).unwrap().release(20_000).unwrap();
    assert!(segments(folder.path()).unwrap().len() < before);

    let mut reader = SpoolReader::open(folder.path()).unwrap();
    assert!(reader.position() <= 20_000);
    reader.seek(20_000);
    assert_eq!(read_all(&mut reader, 30_000).len(), 10_000);
}

#[test]
fn a_torn_last_line_is_cut_off_when_the_spool_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    SpoolWriter::open(folder.path(), u64::MAX).unwrap().append(lines(0, 10));
    let path = segment_path(folder.path(), 0);
    let length = fs::metadata(&path).unwrap().len();
    OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(length - 3)
        .unwrap();

    let mut writer = SpoolWriter::open(folder.path(), u64::MAX).unwrap();
    assert_eq!(writer.next_sequence(), 9);
    writer.append(lines(9, 12));
    let texts = read_all(&mut SpoolReader::open(folder.path()).unwrap(), 12);
    assert_eq!(texts.len(), 12);
    assert!(texts[9].starts_with("line 9 "));
}

#[test]
fn a_full_spool_drops_lines_and_says_how_many() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = SpoolWriter::open(folder.path(), 1000).unwrap();
    writer.append(lines(0, 20));
    writer.append(lines(20, 25));
    writer.append(lines(25, 27));
    assert_eq!(writer.next_sequence(), 20);

    writer.limit_bytes = u64::MAX;
    writer.append(lines(27, 28));
    let texts = read_all(&mut SpoolReader::open(folder.path()).unwrap(), 22);
    assert_eq!(texts.len(), 22);
    assert!(texts[20].contains("7 lines were dropped"), "{}", texts[20]);
    assert!(texts[21].starts_with("line 27 "));
    assert_eq!(writer.recent().len(), 28);
}

#[test]
fn a_line_longer_than_a_batch_still_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    SpoolWriter::open(folder.path(), u64::MAX)
        .unwrap()
        .append(vec![line_now("stdout", "y".repeat(500_000))]);
    let texts = read_all(&mut SpoolReader::open(folder.path()).unwrap(), 1);
    assert_eq!(texts[0].len(), 500_000);
}
