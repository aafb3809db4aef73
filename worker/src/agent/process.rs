//! One rank process: start it, catch what it prints, see it end, kill it.
//!
//! Three threads a rank, all of them waiting in the kernel nearly always. One starts the process *and* waits for it, because the kernel's
//! death signal follows the thread that started a child (see [`super::lifeline`]); two copy its output to the spool. The process leads a
//! session of its own, and so a group; until it has got that far it is alone. When it ends, the rest of the group is killed before the leader
//! is reaped, so that its number cannot have gone to another process in between.

use std::{
    ffi::OsString,
    io::{self, Read},
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use firn_proto::v1alpha1::{AgentLogLine, RankExited};
use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, kill, killpg},
        wait::{Id, WaitPidFlag, waitid},
    },
    unistd::Pid,
};
use tokio::sync::{Notify, mpsc::UnboundedSender};

use super::spool::{SpoolWriter, line_now};

/// Longer lines are cut, so that one batch always fits a message.
const LINE_BYTES: usize = 16 << 10;
/// How long the exit report waits for output that a process outside the group may still hold open.
/// The gang waits for the report, so this must stay small against the second in which it is to go on.
const DRAIN_DEADLINE: Duration = Duration::from_millis(200);

/// What to start.
#[derive(Debug)]
pub(crate) struct LaunchOrder {
    pub(crate) process_id: String,
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    /// Added to the agent's own environment.
    pub(crate) environment: Vec<(String, OsString)>,
}

/// What the threads of a rank tell the agent.
#[derive(Debug)]
pub(crate) enum RankEvent {
    /// The process runs.
    Started { process_id: String, pid: u32 },
    /// It has ended, or never began; all it printed is in the spool.
    Ended(RankExited),
}

/// The agent's hold on a process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hold(Arc<Mutex<Option<Pid>>>);

impl Hold {
    /// Sends a signal to the whole process group, unless the process has been reaped.
    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(pid) = *self.lock() {
            signal_all(pid, signal);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Pid>> {
        self.0.lock().expect("nothing panics while it holds this lock")
    }
}

/// Where a rank's output goes.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    pub(crate) spool: Arc<Mutex<SpoolWriter>>,
    /// Number of lines that the spool holds or has held.
    pub(crate) lines: Arc<AtomicU64>,
    /// Told after every change of `lines`.
    pub(crate) changed: Arc<Notify>,
}

impl Output {
    fn append(&self, lines: Vec<AgentLogLine>) {
        if lines.is_empty() {
            return;
        }
        let mut spool = self.spool.lock().expect("nothing panics while it holds this lock");
        spool.append(lines);
        self.lines.store(spool.next_sequence(), Ordering::Release);
        drop(spool);
        self.changed.notify_one();
    }

    fn recent(&self) -> Vec<String> {
        self.spool
            .lock()
            .expect("nothing panics while it holds this lock")
            .recent()
    }
}

/// Starts a process and returns at once; events tell how it went.
pub(crate) fn start(order: LaunchOrder, output: Output, events: UnboundedSender<RankEvent>) -> io::Result<Hold> {
    let hold = Hold::default();
    let held = hold.clone();
    thread::Builder::new().name("rank".to_owned()).spawn(move || {
        let process_id = order.process_id.clone();
        let ended = match spawn(&order) {
            Ok(child) => {
                let pid = Pid::from_raw(child.id().cast_signed());
                *held.lock() = Some(pid);
                // The agent is shutting down if nobody listens; the process is still waited for.
                let _ = events.send(RankEvent::Started {
                    process_id: process_id.clone(),
                    pid: child.id(),
                });
                accompany(child, process_id, &held, &output)
            }
            Err(error) => RankExited {
                process_id,
                start_error: format!("cannot start {}: {error}", order.program.display()),
                ..RankExited::default()
            },
        };
        let _ = events.send(RankEvent::Ended(ended));
    })?;
    Ok(hold)
}

fn spawn(order: &LaunchOrder) -> io::Result<Child> {
    Command::new(&order.program)
        .args(&order.arguments)
        .envs(order.environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
}

/// Copies the output of a child until it ends, and reaps it.
fn accompany(mut child: Child, process_id: String, held: &Hold, output: &Output) -> RankExited {
    let (drained, wait_drained) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        capture(stdout, "stdout", output.clone(), drained.clone());
    }
    if let Some(stderr) = child.stderr.take() {
        capture(stderr, "stderr", output.clone(), drained);
    }

    let pid = Pid::from_raw(child.id().cast_signed());
    let status = loop {
        match waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) {
            Err(nix::Error::EINTR) => {}
            _ => break reap(&mut child, pid, held),
        }
    };
    // Both threads hold a sender until the end of their stream: the channel closes when both are done.
    let _ = wait_drained.recv_timeout(DRAIN_DEADLINE);

    let (exit_code, signal, start_error) = match status {
        Ok(status) => (status.code(), status.signal(), String::new()),
        Err(error) => (None, None, format!("cannot learn how the process ended: {error}")),
    };
    RankExited {
        process_id,
        exit_code,
        signal,
        last_log_lines: output.recent(),
        start_error,
        ..RankExited::default()
    }
}

/// Signals the group that a process leads, or the process while it leads none. It must not have been reaped.
fn signal_all(pid: Pid, signal: Signal) {
    if killpg(pid, signal) == Err(Errno::ESRCH) {
        // No group has its number: it has not begun its session yet, or all of it has ended.
        let _ = kill(pid, signal);
    }
}

fn reap(child: &mut Child, pid: Pid, held: &Hold) -> io::Result<ExitStatus> {
    let mut living = held.lock();
    signal_all(pid, Signal::SIGKILL);
    let status = child.wait();
    *living = None;
    status
}

fn capture(stream: impl Read + Send + 'static, name: &'static str, output: Output, drained: mpsc::Sender<()>) {
    let spawned = thread::Builder::new().name(format!("rank-{name}")).spawn({
        let output = output.clone();
        move || {
            copy_lines(stream, name, &output);
            drop(drained);
        }
    });
    if let Err(error) = spawned {
        output.append(vec![line_now(
            "stderr",
            format!("firn-worker: {name} is lost, no thread to read it: {error}"),
        )]);
    }
}

fn copy_lines(mut stream: impl Read, name: &str, output: &Output) {
    let mut pending = Vec::new();
    let mut chunk = vec![0; 32 << 10];
    loop {
        let count = match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        pending.extend_from_slice(&chunk[..count]);
        output.append(take_lines(&mut pending, name));
    }
    if !pending.is_empty() {
        output.append(vec![line(name, &pending)]);
    }
}

/// Takes the whole lines from the front of `pending`; a line that is too long counts as whole.
fn take_lines(pending: &mut Vec<u8>, name: &str) -> Vec<AgentLogLine> {
    let mut lines = Vec::new();
    let mut start = 0;
    loop {
        let rest = &pending[start..];
        let (end, next) = match rest.iter().take(LINE_BYTES).position(|byte| *byte == b'\n') {
            Some(newline) => (newline, newline + 1),
            None if rest.len() >= LINE_BYTES => (LINE_BYTES, LINE_BYTES),
            None => break,
        };
        lines.push(line(name, &rest[..end]));
        start += next;
    }
    pending.drain(..start);
    lines
}

fn line(name: &str, bytes: &[u8]) -> AgentLogLine {
    let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    line_now(name, String::from_utf8_lossy(bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(pending: &mut Vec<u8>) -> Vec<String> {
        take_lines(pending, "stdout")
            .into_iter()
            .map(|line| line.text)
            .collect()
    }

    #[test]
    fn only_whole_lines_are_taken_and_the_rest_waits() {
        let mut pending = b"one\r\ntwo\n\nthr".to_vec();
        assert_eq!(texts(&mut pending), ["one", "two", ""]);
        assert_eq!(pending, b"thr");
        pending.extend_from_slice(b"ee\n");
        assert_eq!(texts(&mut pending), ["three"]);
        assert!(pending.is_empty());
    }

    #[test]
    fn a_line_without_an_end_is_cut_so_that_memory_stays_bounded() {
        let mut pending = vec![b'a'; LINE_BYTES * 2 + 5];
        let taken = texts(&mut pending);
        assert_eq!(
            taken.iter().map(String::len).collect::<Vec<_>>(),
            [LINE_BYTES, LINE_BYTES]
        );
        assert_eq!(pending.len(), 5);
    }

    #[test]
    fn bytes_that_are_not_text_are_replaced_rather_than_lost() {
        let mut pending = b"\xff ok\n".to_vec();
        assert_eq!(texts(&mut pending), ["\u{fffd} ok"]);
    }
}
