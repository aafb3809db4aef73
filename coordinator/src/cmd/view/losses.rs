//! What a job has lost on its way.

use firn_proto::v1alpha1::{JobStatus, Loss};
use prost_types::Timestamp;

use super::{
    humanise::age,
    table::{indent, text_table},
};

/// Losses that are shown where not all are.
const SHOWN_LOSSES: usize = 10;

/// What was lost on the way, newest last, and the last words of the newest; [`Format::Wide`] has them all.
pub(crate) fn losses(status: &JobStatus, now: Timestamp, wide: bool) -> String {
    let first = match wide {
        true => 0,
        false => status.losses.len().saturating_sub(SHOWN_LOSSES),
    };
    let shown = &status.losses[first..];
    if shown.is_empty() {
        return String::new();
    }
    let rows = shown.iter().map(|loss| {
        let failure = loss.failure.clone().unwrap_or_default();
        vec![
            loss.generation.to_string(),
            age(loss.time.as_ref(), now),
            failure.reason,
            failure.rank.map_or_else(|| "-".to_owned(), |rank| rank.to_string()),
            failure.host,
            failure.message,
        ]
    });
    let headers = ["GENERATION", "AGE", "REASON", "RANK", "HOST", "MESSAGE"];
    let mut text = text_table(&headers, rows.collect());
    if first > 0 {
        text.push_str(&format!("and {} before these\n", first));
    }
    let last_words = shown.iter().skip(if wide { 0 } else { shown.len() - 1 });
    text.extend(last_words.map(last_lines));
    text
}

fn last_lines(loss: &Loss) -> String {
    let lines = loss.failure.as_ref().map_or(&[][..], |failure| &failure.last_log_lines);
    if lines.is_empty() {
        return String::new();
    }
    let rank = loss.failure.as_ref().and_then(|failure| failure.rank);
    let whose = rank.map_or_else(|| "it".to_owned(), |rank| format!("rank {rank}"));
    format!(
        "last log lines of {whose} in generation {}:\n{}",
        loss.generation,
        indent(&lines.join("\n"), "  | ")
    )
}
