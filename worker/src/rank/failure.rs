//! Why a rank cannot go on, and what that means for the job.
//!
//! The split that matters is whether starting again could help. A wrong spec, broken data or a batch that memory does not hold fails in the
//! same way every time, so it fails the job at once; a full disk or an unreachable coordinator is the machines' trouble. A lost peer is
//! none of these: see [`super::reason`].

use std::{io::ErrorKind, path::Path};

use firn_collective::CollectiveError;
use firn_data::DataError;
use firn_hub::HubError;
use firn_models::ModelError;
use firn_proto::v1alpha1::{Failure, QuarantinedSample};
use thiserror::Error;
use tonic::{Code, Status};

use super::{coordinator::status::reason_of, exit};

/// Why a rank cannot go on.
#[derive(Debug, Error)]
pub(crate) enum RankFailure {
    /// The dataset cannot be used as it is.
    #[error("dataset: {0}")]
    Data(#[from] DataError),
    /// The model cannot be built, loaded or exported.
    #[error("model: {0}")]
    Model(#[from] ModelError),
    /// The spec asks for something that the data does not have.
    #[error("spec: {0}")]
    Spec(String),
    /// More samples are corrupt than the spec allows.
    #[error("{split} sample {sample} is corrupt: {reason}; {refusal}", split = .sample.split, sample = .sample.sample, reason = .sample.reason)]
    TooManyCorrupt {
        /// The sample that was one too many.
        sample: QuarantinedSample,
        /// The coordinator's sentence.
        refusal: String,
    },
    /// The numbers broke again after training had gone back to a checkpoint.
    #[error(
        "step {step}: the {quantity} is {value}, and neither skipping steps nor going back to a checkpoint helped; a lower learning \
         rate or a gradient limit may"
    )]
    NotFinite {
        /// Over the whole job, from 0.
        step: u64,
        /// `loss`, `gradient norm` or the name of a trained tensor.
        quantity: String,
        /// What it was.
        value: f64,
    },
    /// This machine cannot compute what the spec asks for; another one may.
    #[error("spec: {0}")]
    Machine(String),
    /// This machine cannot take part in any collective.
    #[error("collective: {0}")]
    Collective(Box<CollectiveError>),
    /// The coordinator refused a call, or stayed away.
    #[error("the coordinator answered {call} with {code:?}: {message}", code = .status.code(), message = .status.message())]
    Call {
        /// Name of the call.
        call: &'static str,
        /// Its answer.
        status: Box<Status>,
    },
    /// A part of this process ended that must not.
    #[error("internal: {0}")]
    Internal(String),
    /// The coordinator and this rank do not understand each other.
    #[error("the coordinator {0}; are coordinator and worker of one version?")]
    Directive(String),
    /// libtorch failed.
    #[error("libtorch: {0}")]
    Torch(#[from] tch::TchError),
    /// A batch is too large for the memory.
    #[error("{field}: {samples} does not fit in the memory of {device}; {}", advice(.fits))]
    OutOfMemory {
        /// The field of the spec that decides the size.
        field: &'static str,
        /// Samples that were computed at once.
        samples: usize,
        /// `cpu`, `cuda:0`, …
        device: String,
        /// The most that was tried and fits; `None`: a single sample does not.
        fits: Option<usize>,
    },
    /// What the gang holds is not what the coordinator says it holds.
    #[error("the state that was taken over has {found} steps, and the coordinator said {expected}")]
    StateOutOfStep {
        /// Of the `World`.
        expected: u64,
        /// Of the state.
        found: u64,
    },
    /// A checkpoint in the artifact folder cannot be read.
    #[error("cannot read {path}: {source}; is the artifact folder one that all workers share?")]
    Read {
        /// The file.
        path: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A checkpoint is not the one that was committed.
    #[error("the checkpoint from {place} is damaged: its SHA-256 is {found}, and {expected} was committed")]
    DamagedCheckpoint {
        /// Where it came from.
        place: String,
        /// As committed.
        expected: String,
        /// Of the bytes.
        found: String,
    },
    /// The Hub, or its cache, lacks the model.
    #[error("spec.model: {0}")]
    Hub(#[from] HubError),
    /// What was written does not predict what was trained.
    #[error(
        "the artifacts were loaded again and do not give back what was trained: {0}; they are withheld. Please report this with the job's spec"
    )]
    ArtifactDiffers(String),
    /// A file of the artifact cannot be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file.
        path: String,
        /// The system's answer.
        source: std::io::Error,
    },
}

impl RankFailure {
    /// Wraps the answer of a call.
    pub(crate) fn call(call: &'static str) -> impl FnOnce(Status) -> Self {
        move |status| Self::Call {
            call,
            status: Box::new(status),
        }
    }

    /// Wraps what the system said when `path` was written.
    pub(crate) fn write(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.display().to_string();
        move |source| Self::Write { path, source }
    }

    /// The reason in the job's status.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::OutOfMemory { .. } => "OutOfMemory",
            _ if self.is_out_of_memory() => "OutOfMemory",
            Self::Data(_) | Self::TooManyCorrupt { .. } => "BadData",
            Self::Model(ModelError::FrozenChanged { .. }) => "InternalError",
            Self::Model(_) | Self::Spec(_) => "Misconfigured",
            Self::Write { path, source } if is_of_the_spec(path, source.kind()) => "Misconfigured",
            Self::Hub(error) if error.is_passing() => "NodeFailures",
            Self::Hub(_) => "Misconfigured",
            // A full or flaky disk: another attempt, perhaps on another machine, may succeed.
            Self::Write { .. } | Self::Read { .. } => "NodeFailures",
            Self::DamagedCheckpoint { .. } => "InternalError",
            Self::Call { status, .. } if status.code() == Code::InvalidArgument => "Misconfigured",
            Self::NotFinite { .. } => "NumericalError",
            Self::Call { .. } if self.would_come_again() => "InternalError",
            Self::Machine(_) | Self::Collective(_) | Self::Call { .. } => "NodeFailures",
            Self::Torch(_)
            | Self::StateOutOfStep { .. }
            | Self::Directive(_)
            | Self::ArtifactDiffers(_)
            | Self::Internal(_) => "InternalError",
        }
    }

    /// Whether libtorch found no memory, in the words of its allocators for GPUs and for the host.
    pub(crate) fn is_out_of_memory(&self) -> bool {
        let text = match self {
            Self::Torch(error) | Self::Model(ModelError::Torch(error)) => error.to_string(),
            Self::Model(ModelError::TorchScript { reason, .. }) => reason.clone(),
            _ => return false,
        };
        text.contains("out of memory") || text.contains("can't allocate memory") || text.contains("not enough memory")
    }

    /// Whether a checkpoint is damaged or gone, rather than everything that this machine should see of the job's folder.
    pub(crate) fn is_of_the_checkpoint(&self) -> bool {
        match self {
            Self::DamagedCheckpoint { .. } | Self::Model(ModelError::NotSafetensors { .. }) => true,
            // A machine that does not share the folder must not have a good checkpoint rejected.
            Self::Read { path, .. } => Path::new(path).parent().is_some_and(Path::is_dir),
            Self::Call { call, status } => {
                *call == "FetchCheckpoint" && matches!(status.code(), Code::NotFound | Code::DataLoss | Code::Internal)
            }
            _ => false,
        }
    }

    /// Whether reading the checkpoint once more may help: it is not known to be damaged or gone.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Read { source, .. } => source.kind() != ErrorKind::NotFound,
            Self::Call { call, status } => *call == "FetchCheckpoint" && status.code() == Code::Internal,
            _ => false,
        }
    }

    /// Status with which the process exits; see [`super::run`].
    pub(crate) fn exit_code(&self) -> u8 {
        match self.reason() {
            "BadData" | "Misconfigured" | "OutOfMemory" => exit::USER_ERROR,
            "NumericalError" => exit::NUMERICAL_ERROR,
            _ if self.would_come_again() => exit::USER_ERROR,
            _ => exit::BROKEN,
        }
    }

    /// Whether the coordinator has refused what any other process would say as well: another attempt would be refused in the same way.
    fn would_come_again(&self) -> bool {
        let Self::Call { status, .. } = self else {
            return matches!(self, Self::Directive(_) | Self::ArtifactDiffers(_));
        };
        match status.code() {
            // A message that is too large, or of which no more is taken.
            Code::OutOfRange => true,
            Code::ResourceExhausted => reason_of(status) == "LIMIT_REACHED",
            // A call that the coordinator does not know, or that comes at a time at which it cannot be.
            Code::Unimplemented | Code::FailedPrecondition | Code::AlreadyExists => true,
            _ => false,
        }
    }

    /// Whether the coordinator does not know it already.
    pub(crate) fn worth_reporting(&self) -> bool {
        match self {
            Self::Call { status, .. } => status.code() != Code::Unavailable,
            _ => true,
        }
    }

    /// The message for the coordinator.
    pub(crate) fn to_wire(&self) -> Failure {
        Failure {
            reason: self.reason().to_owned(),
            message: self.to_string(),
            ..Failure::default()
        }
    }
}

fn advice(fits: &Option<usize>) -> String {
    match fits {
        Some(samples) => format!("{samples} does"),
        None => "no smaller one does".to_owned(),
    }
}

/// Whether a folder that cannot be written was named wrongly, rather than being in trouble. Where the folder is there and a file in it is not,
/// another process has removed it.
fn is_of_the_spec(path: &str, kind: ErrorKind) -> bool {
    match kind {
        ErrorKind::NotFound => !Path::new(path).parent().is_some_and(Path::is_dir),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem | ErrorKind::NotADirectory => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Error;

    use super::*;

    #[test]
    fn a_folder_that_is_not_there_is_the_users_mistake_and_a_file_that_was_removed_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let reason = |path: &Path, kind: ErrorKind| RankFailure::write(path)(Error::from(kind)).reason();
        let gone = folder.path().join("gone/head.safetensors");
        assert_eq!(reason(&gone, ErrorKind::NotFound), "Misconfigured");
        let removed = folder.path().join("head.safetensors");
        assert_eq!(reason(&removed, ErrorKind::NotFound), "NodeFailures");
        assert_eq!(reason(&removed, ErrorKind::PermissionDenied), "Misconfigured");
        assert_eq!(reason(&removed, ErrorKind::StorageFull), "NodeFailures");
    }

    #[test]
    fn a_refusal_that_would_come_again_is_no_loss_of_a_machine() {
        let end = |code| {
            let failure = RankFailure::call("CompleteShard")(Status::new(code, "too large"));
            (failure.reason(), failure.exit_code())
        };
        for code in [Code::OutOfRange, Code::FailedPrecondition, Code::Unimplemented] {
            assert_eq!(end(code), ("InternalError", exit::USER_ERROR), "{code:?}");
        }
        assert_eq!(end(Code::InvalidArgument), ("Misconfigured", exit::USER_ERROR));
        for code in [
            Code::Unavailable,
            Code::PermissionDenied,
            Code::Internal,
            Code::DeadlineExceeded,
        ] {
            assert_eq!(end(code), ("NodeFailures", exit::BROKEN), "{code:?}");
        }
    }

    #[test]
    fn trouble_that_may_pass_is_told_from_a_checkpoint_that_is_gone_or_damaged() {
        let call = |code| RankFailure::Call {
            call: "FetchCheckpoint",
            status: Box::new(tonic::Status::new(code, "")),
        };
        assert!(call(Code::Internal).may_pass());
        assert!(!call(Code::NotFound).may_pass() && !call(Code::DataLoss).may_pass());
        let read = |kind: ErrorKind| RankFailure::Read {
            path: "/data/a.safetensors".to_owned(),
            source: kind.into(),
        };
        assert!(read(ErrorKind::TimedOut).may_pass() && !read(ErrorKind::NotFound).may_pass());
    }
}
