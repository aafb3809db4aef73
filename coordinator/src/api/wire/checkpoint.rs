//! Checkpoints, artifacts and directives: wire <-> core.

use firn_core::{
    Directive, News, World,
    compatibility::Revision,
    spec::{JobSpec, versions},
    state::{Artifact, Checkpoint, Job, Origin},
};
use firn_proto::v1alpha1::{self as proto, directive::Next};

use super::pass::pass_to_wire;
use crate::api::{
    documents::{metrics_summary_json, schema},
    pictures::{self, Picture},
};

pub(crate) fn checkpoint_from_wire(checkpoint: proto::CheckpointRef) -> Checkpoint {
    Checkpoint {
        epochs_done: checkpoint.epochs_done,
        steps_done: checkpoint.steps_done,
        sha256: checkpoint.sha256,
        size_bytes: checkpoint.size_bytes,
        location: Some(checkpoint.location).filter(|location| !location.is_empty()),
        // The core knows where epochs end.
        ends_epoch: false,
    }
}

pub(crate) fn checkpoint_to_wire(checkpoint: &Checkpoint) -> proto::CheckpointRef {
    proto::CheckpointRef {
        epochs_done: checkpoint.epochs_done,
        steps_done: checkpoint.steps_done,
        sha256: checkpoint.sha256.clone(),
        size_bytes: checkpoint.size_bytes,
        location: checkpoint.location.clone().unwrap_or_default(),
    }
}

pub(crate) fn artifact_to_wire(artifact: &Artifact) -> proto::Artifact {
    proto::Artifact {
        name: artifact.name.clone(),
        size_bytes: artifact.size_bytes,
        sha256: artifact.sha256.clone(),
        location: artifact.location.clone(),
    }
}

/// `job` is as it was when the directive was given, or later: what the metrics say then does not change any more.
pub(crate) fn directive_to_wire(directive: &Directive, job: &Job) -> proto::Directive {
    let next = match directive {
        Directive::RunPass(pass) => Next::RunPass(pass_to_wire(*pass)),
        Directive::TrainEpoch { epoch, .. } => Next::TrainEpoch(*epoch),
        Directive::LoadBest { checkpoint, .. } => Next::LoadBest(checkpoint_to_wire(checkpoint)),
        Directive::Finish { best, best_epoch } => Next::Finish(proto::FinishDirective {
            best: Some(checkpoint_to_wire(best)),
            best_epoch: *best_epoch,
            metrics_json: metrics_summary_json(job),
            pictures: pictures::of(job, schema(job))
                .into_iter()
                .map(picture_to_wire)
                .collect(),
            thresholds: job.run.thresholds().to_vec(),
        }),
        Directive::Stop { reason } => Next::Stop(reason.clone()),
    };
    let terms = match directive {
        Directive::TrainEpoch { peak_learning_rate, .. } => Some(proto::EpochTerms {
            peak_learning_rate: Some(*peak_learning_rate),
        }),
        _ => None,
    };
    proto::Directive {
        next: Some(next),
        terms,
        then: directive.then().map(pass_to_wire),
    }
}

fn picture_to_wire(picture: Picture) -> proto::Picture {
    proto::Picture {
        name: picture.name.to_owned(),
        shows: picture.shows,
    }
}

/// As a rank of that revision reads it, so that older ones go on with their jobs. A job that asks for more than they know is not theirs
/// ([`firn_core::compatibility`]), and is told as it is.
pub(crate) fn spec_json(spec: &JobSpec, revision: Revision) -> String {
    let told = versions::known_to(revision, spec).unwrap_or_else(|_| spec.to_document());
    serde_json::to_string(&told).expect("a spec is plain data with finite numbers")
}

pub(crate) fn news_to_wire(news: News) -> proto::PulseResponse {
    proto::PulseResponse {
        generation: news.generation.0,
        at_step_boundary: news.at_step_boundary,
        steps_committed: news.steps_committed,
        coordinator_epoch: news.coordinator_epoch,
        stop: news.stop.unwrap_or_default(),
        leave: news.leave.map(|leave| proto::Leave {
            store_checkpoint: leave.store_checkpoint,
        }),
    }
}

pub(crate) fn world_to_wire(world: &World, job: &Job) -> proto::World {
    proto::World {
        generation: world.generation.0,
        rank: world.rank,
        ring_addresses: world.ring_addresses.clone(),
        resume: match &world.origin {
            Origin::Checkpoint(checkpoint) => Some(checkpoint_to_wire(checkpoint)),
            Origin::Initial | Origin::Rank(_) | Origin::Unneeded => None,
        },
        state_root: match world.origin {
            Origin::Rank(rank) => Some(rank),
            Origin::Initial | Origin::Checkpoint(_) | Origin::Unneeded => None,
        },
        steps_done: world.steps_done,
        coordinator_epoch: world.coordinator_epoch,
        collective: world.collective.as_str().to_owned(),
        next: Some(directive_to_wire(&world.next, job)),
    }
}
