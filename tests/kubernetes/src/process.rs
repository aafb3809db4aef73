//! A program of a test's cluster, which ends with the test, however the test ends.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// Ends its program when the pipe on its input closes: when the handle is dropped, or the test is killed. The program may take five seconds
/// to end by itself if it is told so in words.
const KEEPER: &str = r#"
signal=$1; shift
"$@" </dev/null & program=$!
read -r _
kill -$signal $program
for _ in {1..100}; do kill -0 $program 2>/dev/null || break; sleep 0.05; done
kill -KILL $program 2>/dev/null
wait $program"#;

/// A running program.
#[derive(Debug)]
pub(crate) struct Process {
    keeper: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it; what it says goes to `LOG_FOLDER/NAME.log`.
    pub(crate) fn start(program: &Path, arguments: &[String], logs: &Path) -> io::Result<Self> {
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Self::spawn(Command::new("bash"), ("KILL", &name), (program, arguments), logs)
    }

    /// Starts one that has to tidy up at its end, with a name of its own and with variables.
    pub(crate) fn start_tidy(
        name: &str,
        (program, arguments): (&Path, &[String]),
        logs: &Path,
        variables: &[(&str, &Path)],
    ) -> io::Result<Self> {
        let mut command = Command::new("bash");
        command.envs(variables.iter().copied());
        Self::spawn(command, ("TERM", name), (program, arguments), logs)
    }

    fn spawn(
        mut command: Command,
        (signal, name): (&str, &str),
        (program, arguments): (&Path, &[String]),
        logs: &Path,
    ) -> io::Result<Self> {
        let log = logs.join(format!("{name}.log"));
        let file = File::create(&log)?;
        let keeper = command
            .args(["-c", KEEPER, "keeper", signal])
            .arg(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()?;
        Ok(Self { keeper, log })
    }

    /// What it said last.
    pub(crate) fn last_lines(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    /// Whether it has ended by itself. The keeper waits for its input, so this looks at what it keeps.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.kept().is_none()
    }

    /// Sends a signal to the program, if it still runs.
    pub(crate) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        if let Some(program) = self.kept() {
            kill(program, signal)?;
        }
        Ok(())
    }

    fn kept(&self) -> Option<Pid> {
        let children = format!("/proc/{pid}/task/{pid}/children", pid = self.keeper.id());
        let children = std::fs::read_to_string(children).ok()?;
        children.split_whitespace().next()?.parse().ok().map(Pid::from_raw)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that was stopped hears nothing else.
        let _ = self.signal(Signal::SIGCONT);
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}
