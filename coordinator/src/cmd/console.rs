//! Where output goes: data to standard output, talk to standard error.
//!
//! Every verb writes through a [`Console`], so that colour is decided in one place (only on a terminal, and not when
//! `NO_COLOR` is set to anything: <https://no-color.org>), a reader that closes the pipe is an ordinary error, and
//! tests can read what was said.

use std::{
    env,
    io::{self, IsTerminal as _, Write},
};

use super::error::CommandError;

/// The two streams of a command.
pub(crate) struct Console {
    data: Box<dyn Write + Send>,
    talk: Box<dyn Write + Send>,
    /// Colours for data.
    pub(crate) paint: Paint,
    /// Colours for talk.
    pub(crate) talk_paint: Paint,
    /// Whether talk reaches a terminal, where bars can be drawn.
    pub(crate) live: bool,
}

impl Console {
    /// Standard output and standard error of this process.
    pub(crate) fn standard() -> Self {
        let colour_wanted = env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        let colour = |terminal: bool| Paint {
            colour: terminal && colour_wanted && !dumb,
        };
        Self {
            paint: colour(io::stdout().is_terminal()),
            talk_paint: colour(io::stderr().is_terminal()),
            live: io::stderr().is_terminal() && !dumb,
            data: Box::new(io::stdout()),
            talk: Box::new(io::stderr()),
        }
    }

    /// Writes data; ends the line if it is not ended.
    pub(crate) fn data(&mut self, text: &str) -> Result<(), CommandError> {
        write_lines(&mut self.data, text).map_err(CommandError::Output)
    }

    /// Says something to the person; a closed standard error is not worth failing for.
    pub(crate) fn say(&mut self, text: &str) {
        let _ = write_lines(&mut self.talk, text);
    }
}

fn write_lines(to: &mut dyn Write, text: &str) -> io::Result<()> {
    if text.is_empty() {
        return Ok(());
    }
    to.write_all(text.as_bytes())?;
    if !text.ends_with('\n') {
        to.write_all(b"\n")?;
    }
    to.flush()
}

/// Wraps words in colours, or leaves them alone.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Paint {
    colour: bool,
}

impl Paint {
    pub(crate) fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    pub(crate) fn good(self, text: &str) -> String {
        self.with("32", text)
    }

    pub(crate) fn bad(self, text: &str) -> String {
        self.with("31", text)
    }

    pub(crate) fn warning(self, text: &str) -> String {
        self.with("33", text)
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_coloured_only_where_colour_is_on() {
        assert_eq!(Paint { colour: false }.good("done"), "done");
        assert_eq!(Paint { colour: true }.good("done"), "\x1b[32mdone\x1b[0m");
    }

    #[test]
    fn a_line_is_ended_once_and_nothing_stays_nothing() {
        let mut out = Vec::new();
        write_lines(&mut out, "a").unwrap();
        write_lines(&mut out, "b\n").unwrap();
        write_lines(&mut out, "").unwrap();
        assert_eq!(out, b"a\nb\n");
    }
}
