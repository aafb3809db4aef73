//! Failures: wire <-> core.

use firn_core::state::{Failure, FailureReason};
use firn_proto::v1alpha1 as proto;

/// Most log lines that are kept with a failure.
const MOST_LINES: usize = 40;
/// Longest message or line, bytes.
const LONGEST_TEXT: usize = 16 * 1024;

/// What a rank reports. A reason that this program does not know becomes `InternalError`, with the word kept in the message.
pub(crate) fn failure_from_wire(failure: proto::Failure) -> Failure {
    let known = [
        FailureReason::Misconfigured,
        FailureReason::BadData,
        FailureReason::OutOfMemory,
        FailureReason::NodeFailures,
        FailureReason::NumericalError,
        FailureReason::Preempted,
        FailureReason::HardwareSuspected,
        FailureReason::InternalError,
    ];
    let found = known.into_iter().find(|reason| reason.as_str() == failure.reason);
    let message = match found {
        Some(_) => failure.message,
        None => format!("{}: {}", failure.reason, failure.message),
    };
    Failure {
        reason: found.unwrap_or(FailureReason::InternalError),
        message: cut(message),
        rank: failure.rank,
        host: cut(failure.host),
        last_log_lines: last_lines(failure.last_log_lines),
    }
}

/// The last lines, each of bounded length: they go into the journal.
pub(crate) fn last_lines(mut lines: Vec<String>) -> Vec<String> {
    let excess = lines.len().saturating_sub(MOST_LINES);
    lines.drain(..excess);
    lines.into_iter().map(cut).collect()
}

fn cut(mut text: String) -> String {
    if text.len() > LONGEST_TEXT {
        let end = (0..=LONGEST_TEXT)
            .rev()
            .find(|end| text.is_char_boundary(*end))
            .unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

pub(crate) fn failure_to_wire(failure: &Failure) -> proto::Failure {
    proto::Failure {
        reason: failure.reason.as_str().to_owned(),
        message: failure.message.clone(),
        rank: failure.rank,
        host: failure.host.clone(),
        last_log_lines: failure.last_log_lines.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_reports_are_cut_at_a_character() {
        let failure = failure_from_wire(proto::Failure {
            reason: "Gremlins".to_owned(),
            message: "ü".repeat(LONGEST_TEXT),
            last_log_lines: (0..100).map(|line| line.to_string()).collect(),
            ..proto::Failure::default()
        });
        assert_eq!(failure.reason, FailureReason::InternalError);
        assert!(failure.message.starts_with("Gremlins: ü"));
        assert!(failure.message.len() <= LONGEST_TEXT + 3);
        assert_eq!(failure.last_log_lines.len(), MOST_LINES);
        assert_eq!(failure.last_log_lines[0], "60");
    }
}
