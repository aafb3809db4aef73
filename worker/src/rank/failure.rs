//! Why a rank cannot go on, and what that means for the job.
//!
//! The split that matters is whether starting again could help. A wrong spec or broken data fails in the same way every time, so it
//! fails the job at once; a lost peer or an unreachable coordinator is the machines' trouble.

use std::io::ErrorKind;

use firn_collective::CollectiveError;
use firn_data::DataError;
use firn_models::ModelError;
use firn_proto::v1alpha1::{Failure, QuarantinedSample};
use thiserror::Error;
use tonic::{Code, Status};

/// Why a rank cannot go on.
#[derive(Debug, Error)]
pub(super) enum RankFailure {
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
    /// The numbers broke, and an older state may not have the trouble: training must go back to the newest checkpoint.
    #[error("step {step}: the {quantity} is {value}, and skipping steps does not help")]
    RollBack {
        /// Over the whole job, from 0.
        step: u64,
        /// `loss`, `gradient norm` or the name of a trained tensor.
        quantity: String,
        /// What it was.
        value: f64,
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
    /// The other ranks cannot be reached.
    #[error("collective: {0}")]
    Collective(#[from] CollectiveError),
    /// The coordinator refused a call, or stayed away.
    #[error("the coordinator answered {call} with {code:?}: {message}", code = .status.code(), message = .status.message())]
    Call {
        /// Name of the call.
        call: &'static str,
        /// Its answer.
        status: Box<Status>,
    },
    /// The coordinator ended the job.
    #[error("stopped: {0}")]
    Stopped(String),
    /// libtorch failed, for example because memory ran out.
    #[error("libtorch: {0}")]
    Torch(#[from] tch::TchError),
    /// A checkpoint in the artifact folder cannot be read.
    #[error("cannot read {path}: {source}; is the artifact folder one that all workers share?")]
    Read {
        /// The file.
        path: String,
        /// Why.
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
    /// A file of the artifact cannot be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
}

impl RankFailure {
    /// Wraps the answer of a call.
    pub(super) fn call(call: &'static str) -> impl FnOnce(Status) -> Self {
        move |status| Self::Call {
            call,
            status: Box::new(status),
        }
    }

    /// Wraps what the system said when `path` was written.
    pub(super) fn write(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.display().to_string();
        move |source| Self::Write { path, source }
    }

    /// The reason in the job's status.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Data(_) | Self::TooManyCorrupt { .. } => "BadData",
            Self::Model(ModelError::FrozenChanged { .. }) => "InternalError",
            Self::Model(_) | Self::Spec(_) => "Misconfigured",
            Self::Write { source, .. } if is_of_the_spec(source.kind()) => "Misconfigured",
            // A full or flaky disk: another attempt, perhaps on another machine, may succeed.
            Self::Write { .. } | Self::Read { .. } => "NodeFailures",
            Self::DamagedCheckpoint { .. } => "InternalError",
            Self::Call { status, .. } if status.code() == Code::InvalidArgument => "Misconfigured",
            Self::RollBack { .. } | Self::NotFinite { .. } => "NumericalError",
            Self::Collective(_) | Self::Call { .. } => "NodeFailures",
            Self::Stopped(_) => "Cancelled",
            Self::Torch(error) if error.to_string().contains("out of memory") => "OutOfMemory",
            Self::Torch(_) => "InternalError",
        }
    }

    /// Status with which the process exits; see [`super::run`].
    pub(super) fn exit_code(&self) -> u8 {
        match self.reason() {
            "BadData" | "Misconfigured" => 10,
            "NumericalError" => 11,
            "Cancelled" => 12,
            _ => 1,
        }
    }

    /// Whether the coordinator does not know it already.
    pub(super) fn worth_reporting(&self) -> bool {
        match self {
            Self::Stopped(_) => false,
            Self::Call { status, .. } => !matches!(status.code(), Code::Aborted | Code::Unavailable),
            _ => true,
        }
    }

    /// The message for the coordinator.
    pub(super) fn to_wire(&self) -> Failure {
        Failure {
            reason: self.reason().to_owned(),
            message: self.to_string(),
            ..Failure::default()
        }
    }
}

/// Whether a folder that cannot be written was named wrongly, rather than being in trouble.
fn is_of_the_spec(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::NotFound | ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem | ErrorKind::NotADirectory
    )
}
