//! What the end of a rank says: nothing, that the rank was lost, or that no restart helps.

use crate::exit_status;
use crate::now::Now;
use crate::state::{Cause, Ending, Failure, FailureReason, Gravity, Member, RankExit, StopRequest};

const USER_ERROR: i32 = exit_status::USER_ERROR as i32;
const NUMERICAL_ERROR: i32 = exit_status::NUMERICAL_ERROR as i32;
const STOPPED: i32 = exit_status::STOPPED as i32;
pub(super) const LEFT: i32 = exit_status::LEFT as i32;
const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;
/// Log lines that a failure keeps.
const LOG_LINES: usize = 40;

/// Everything that is known about the end of a rank.
pub(super) struct End<'a> {
    pub(super) member: &'a Member,
    /// Set if the rank had been asked to end.
    pub(super) stop: Option<StopRequest>,
    pub(super) exit: &'a RankExit,
    /// What the rank said before.
    pub(super) report: Option<&'a Failure>,
    pub(super) at: Now,
}

/// The cause that the end is, or `None` if it only followed our own request.
pub(super) fn of_exit(end: &End<'_>) -> Option<Cause> {
    if end.report.is_none() && end.stop.is_some_and(|stop| is_obedient(&end.exit.ending, stop, end.at)) {
        return None;
    }
    let (gravity, reason) = classify(end);
    let mut message = describe(end);
    if let Some(report) = end.report {
        message = if gravity == Gravity::Fatal {
            report.message.clone()
        } else {
            format!("{message}: {}", report.message)
        };
    }
    let mut last_log_lines = end.exit.last_log_lines.clone();
    if let (true, Some(report)) = (last_log_lines.is_empty(), end.report) {
        last_log_lines.clone_from(&report.last_log_lines);
    }
    last_log_lines.drain(..last_log_lines.len().saturating_sub(LOG_LINES));
    let failure = Failure {
        reason,
        message,
        rank: Some(end.member.rank),
        host: end.member.host.clone(),
        last_log_lines,
    };
    Some(Cause {
        gravity,
        failure,
        at: end.at,
    })
}

/// Whether a process that was asked to end did just that. A kill before the grace period was over is somebody else's.
fn is_obedient(ending: &Ending, stop: StopRequest, at: Now) -> bool {
    match ending {
        Ending::Exited(0 | STOPPED) | Ending::Killed(SIGTERM) | Ending::Vanished | Ending::NotStarted(_) => true,
        Ending::Killed(SIGKILL) => at >= stop.at + stop.grace,
        Ending::Exited(_) | Ending::Killed(_) => false,
    }
}

fn classify(end: &End<'_>) -> (Gravity, FailureReason) {
    use FailureReason::{BadData, Misconfigured, NodeFailures, NumericalError, OutOfMemory};
    let reported = end.report.map(|report| report.reason);
    match (&end.exit.ending, reported) {
        (Ending::Exited(USER_ERROR), None | Some(NodeFailures)) => (Gravity::Fatal, Misconfigured),
        (Ending::Exited(USER_ERROR), Some(reason)) => (Gravity::Fatal, reason),
        (Ending::Exited(NUMERICAL_ERROR), _) => (Gravity::Fatal, NumericalError),
        (_, Some(reason @ (Misconfigured | BadData | NumericalError))) => (Gravity::Fatal, reason),
        (Ending::Killed(SIGKILL), None) if end.exit.out_of_memory => (Gravity::Primary, OutOfMemory),
        (_, Some(reason)) => (Gravity::Primary, reason),
        (_, None) => (Gravity::Primary, NodeFailures),
    }
}

fn describe(end: &End<'_>) -> String {
    let who = format!("rank {} on {}", end.member.rank, end.member.host);
    match &end.exit.ending {
        Ending::Exited(USER_ERROR) => format!("{who} cannot run this job; its log says why"),
        Ending::Exited(NUMERICAL_ERROR) => format!("{who} met a loss or a gradient that is not finite"),
        Ending::Exited(0) => format!("{who} exited before the job was finished"),
        Ending::Exited(STOPPED) => format!("{who} was stopped from outside"),
        Ending::Exited(LEFT) => format!("{who} left on purpose"),
        Ending::Exited(status) => format!("{who} exited with status {status}"),
        Ending::Killed(SIGKILL) if end.exit.out_of_memory => {
            format!("{who} was killed by the kernel because memory ran out (host or container limit)")
        }
        Ending::Killed(signal) => format!("{who} was killed by {}", signal_name(*signal)),
        Ending::NotStarted(why) => format!("{who} could not be started: {why}"),
        Ending::Vanished => format!("{who} is gone: its agent came back without it"),
    }
}

fn signal_name(signal: i32) -> String {
    let name = match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        SIGKILL => "SIGKILL",
        11 => "SIGSEGV",
        SIGTERM => "SIGTERM",
        _ => return format!("signal {signal}"),
    };
    format!("signal {signal} ({name})")
}

/// A rank or a worker is gone without an exit that would tell more.
pub(super) fn primary(member: &Member, message: String, at: Now) -> Cause {
    Cause {
        gravity: Gravity::Primary,
        failure: found_by(member, FailureReason::NodeFailures, message),
        at,
    }
}

/// What a rank has met, or what has become of it.
pub(super) fn found_by(member: &Member, reason: FailureReason, message: String) -> Failure {
    Failure {
        reason,
        message,
        rank: Some(member.rank),
        host: member.host.clone(),
        last_log_lines: Vec::new(),
    }
}
