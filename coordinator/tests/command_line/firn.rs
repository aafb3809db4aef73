//! The real `firn`, started by tests.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    process::{Child, ChildStderr, ChildStdout, Command, Stdio},
};

/// What a command left.
#[derive(Debug)]
pub(crate) struct Left {
    pub(crate) code: i32,
    pub(crate) data: String,
    pub(crate) talk: String,
}

/// A command that knows no settings but those of the test.
pub(crate) fn command(arguments: &[&str]) -> Command {
    command_of(env!("CARGO_BIN_EXE_firn").as_ref(), arguments)
}

pub(crate) fn command_of(executable: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(executable);
    command
        .env_clear()
        .env("HOME", "/nonexistent")
        .args(arguments)
        .stdin(Stdio::null());
    command
}

pub(crate) fn run(mut command: Command) -> Left {
    let output = command.output().unwrap();
    Left {
        code: output.status.code().expect("firn exits by itself"),
        data: String::from_utf8(output.stdout).unwrap(),
        talk: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Runs `firn ARGUMENTS --coordinator URL`.
pub(crate) fn firn(url: &str, arguments: &[&str]) -> Left {
    let mut command = command(arguments);
    command.args(["--coordinator", url]);
    run(command)
}

/// A command that is still running.
pub(crate) struct Running {
    child: Child,
    data: BufReader<ChildStdout>,
    talk: BufReader<ChildStderr>,
}

impl Running {
    pub(crate) fn start(url: &str, arguments: &[&str]) -> Self {
        let mut command = command(arguments);
        let mut child = command
            .args(["--coordinator", url])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let data = BufReader::new(child.stdout.take().unwrap());
        let talk = BufReader::new(child.stderr.take().unwrap());
        Self { child, data, talk }
    }

    /// Waits for the next line of talk that holds `words`.
    pub(crate) fn wait_for_talk(&mut self, words: &str) {
        let mut heard = String::new();
        loop {
            let mut line = String::new();
            assert_ne!(
                self.talk.read_line(&mut line).unwrap(),
                0,
                "firn ended without saying `{words}`, but: {heard}"
            );
            if line.contains(words) {
                return;
            }
            heard.push_str(&line);
        }
    }

    /// Waits for the end; talk is what was not read before.
    pub(crate) fn finish(mut self) -> Left {
        let (mut data, mut talk) = (String::new(), String::new());
        self.data.read_to_string(&mut data).unwrap();
        self.talk.read_to_string(&mut talk).unwrap();
        let code = self.child.wait().unwrap().code().expect("firn exits by itself");
        Left { code, data, talk }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Only what still runs can be killed; a failed test leaves nothing behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
