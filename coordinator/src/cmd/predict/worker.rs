//! The process that runs the network, and the messages that it writes: each with its length before it.

use std::{
    env,
    io::{BufReader, Read},
    process::{Child, ChildStdout, Command, Stdio},
};

use firn_proto::v1alpha1::{DatasetSummary, EvaluationReport};
use prost::Message;

use super::Subject;
use crate::cmd::{error::CommandError, worker_program};

/// A `firn-worker predict`. It ends with this process, since nobody reads what it writes then.
pub(super) struct Worker {
    child: Child,
    out: BufReader<ChildStdout>,
    pub(super) found: Found,
}

/// What it has found where it was pointed.
pub(super) struct Found {
    /// Whether the samples have labels.
    pub(super) is_labelled: bool,
    /// What a person should know.
    pub(super) warnings: Vec<String>,
}

impl Worker {
    pub(super) fn start(subject: &Subject, must_be_labelled: bool) -> Result<Self, CommandError> {
        let program = worker_program::find(&worker_program::own()?)?;
        let mut command = Command::new(&program);
        command.arg("predict").arg(&subject.artifact).arg(&subject.data);
        command.args(["--device", &subject.device]);
        if let Some(threads) = subject.threads {
            command.args(["--threads", &threads.to_string()]);
        }
        if let Some(samples) = subject.micro_batch {
            command.args(["--micro-batch", &samples.to_string()]);
        }
        if must_be_labelled {
            command.arg("--labelled");
        }
        if env::var_os("FIRN_LOG").is_none() {
            command.env("FIRN_LOG", "warn");
        }
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .map_err(CommandError::file("start", &program))?;
        let out = child.stdout.take().expect("its output is piped");
        let mut worker = Self {
            child,
            out: BufReader::new(out),
            found: Found {
                is_labelled: false,
                warnings: Vec::new(),
            },
        };
        let Some(summary) = worker.message::<DatasetSummary>()? else {
            return Err(broken("nothing"));
        };
        worker.found = Found {
            is_labelled: !(summary.classes.is_empty() && summary.targets.is_empty()),
            warnings: summary.warnings,
        };
        Ok(worker)
    }

    /// The predictions of the next samples, in their order; `None` after the last ones.
    pub(super) fn next(&mut self) -> Result<Option<EvaluationReport>, CommandError> {
        self.message()
    }

    /// The next message. At the end of its output the process has to end well: it has said on standard error why it did not.
    fn message<M: Message + Default>(&mut self) -> Result<Option<M>, CommandError> {
        let read = read_message(&mut self.out).map_err(|error| broken(&error.to_string()))?;
        if read.is_some() {
            return Ok(read);
        }
        let status = self.child.wait().map_err(|error| broken(&error.to_string()))?;
        match status.success() {
            true => Ok(None),
            false => Err(CommandError::Local(format!("firn-worker could not predict ({status})"))),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have ended, and then there is nothing to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn broken(found: &str) -> CommandError {
    CommandError::Local(format!("expected predictions of firn-worker, found {found}"))
}

/// `None` where the output ends between two messages.
fn read_message<M: Message + Default>(out: &mut impl Read) -> std::io::Result<Option<M>> {
    let invalid = |error: prost::DecodeError| std::io::Error::new(std::io::ErrorKind::InvalidData, error);
    let mut length = Vec::new();
    loop {
        let mut byte = [0];
        if out.read(&mut byte)? == 0 {
            return match length.is_empty() {
                true => Ok(None),
                false => Err(std::io::ErrorKind::UnexpectedEof.into()),
            };
        }
        length.push(byte[0]);
        if byte[0] & 0x80 == 0 {
            break;
        }
    }
    let length = prost::decode_length_delimiter(&length[..]).map_err(invalid)?;
    let mut bytes = vec![0; length];
    out.read_exact(&mut bytes)?;
    M::decode(&bytes[..]).map(Some).map_err(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_one_after_the_other_and_half_of_one_is_an_error() {
        let report = |samples| EvaluationReport {
            samples,
            ..EvaluationReport::default()
        };
        let mut bytes = report(7).encode_length_delimited_to_vec();
        bytes.extend(report(300).encode_length_delimited_to_vec());
        let mut out = &bytes[..];
        assert_eq!(read_message(&mut out).unwrap(), Some(report(7)));
        assert_eq!(read_message(&mut out).unwrap(), Some(report(300)));
        assert_eq!(read_message::<EvaluationReport>(&mut out).unwrap(), None);
        let mut half = &bytes[..bytes.len() - 1];
        assert_eq!(read_message(&mut half).unwrap(), Some(report(7)));
        assert!(read_message::<EvaluationReport>(&mut half).is_err());
    }
}
