//! A program of the control plane, which ends with the test, however the test ends.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// Ends its program when the pipe on its input closes: when the handle is dropped, or the test is killed.
const KEEPER: &str = r#""$@" </dev/null & program=$!; read -r _; kill -KILL $program; wait $program"#;

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
        let log = logs.join(format!("{name}.log"));
        let file = File::create(&log)?;
        let keeper = Command::new("bash")
            .args(["-c", KEEPER, "keeper"])
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
        let children = format!("/proc/{pid}/task/{pid}/children", pid = self.keeper.id());
        std::fs::read_to_string(children).is_ok_and(|children| children.trim().is_empty())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}
