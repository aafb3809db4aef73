//! What a program for people answered.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

/// What it answered.
#[derive(Debug)]
pub struct Answer {
    /// Whether it ended with 0.
    pub succeeded: bool,
    /// What it printed.
    pub output: String,
    /// What it said: errors and warnings.
    pub talk: String,
}

impl Answer {
    /// Runs a command with something on its input.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn of(command: &mut Command, input: &str) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program was built");
        let mut stdin = child.stdin.take().expect("its input is a pipe");
        let input = input.to_owned();
        // A thread of its own: a program may print much before it has read all, or end without reading what it does not need.
        let writer = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
        let output = child.wait_with_output().expect("it ends");
        writer.join().expect("writing does not panic");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        Self {
            succeeded: output.status.success(),
            output: text(&output.stdout),
            talk: text(&output.stderr),
        }
    }

    /// What was printed by a command that must succeed without a warning.
    ///
    /// # Panics
    /// If it failed, or warned.
    pub fn without_warning(self, command: &str) -> String {
        assert!(
            self.succeeded && self.talk.is_empty(),
            "{command}: {} {}",
            self.output,
            self.talk
        );
        self.output
    }
}
