//! Checkpoints, artifacts and directives: wire <-> core.

use firn_core::{
    Directive, World,
    state::{Artifact, Checkpoint, Job},
};
use firn_proto::v1alpha1::{self as proto, directive::Next};

use super::pass::pass_to_wire;
use crate::api::documents::metrics_json;

/// `Artifact.location` of what the coordinator keeps.
pub(crate) const COORDINATOR: &str = "coordinator";

pub(crate) fn checkpoint_from_wire(checkpoint: proto::CheckpointRef) -> Checkpoint {
    Checkpoint {
        epochs_done: checkpoint.epochs_done,
        steps_done: checkpoint.steps_done,
        sha256: checkpoint.sha256,
        size_bytes: checkpoint.size_bytes,
        location: Some(checkpoint.location).filter(|location| !location.is_empty()),
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
        Directive::TrainEpoch(epoch) => Next::TrainEpoch(*epoch),
        Directive::LoadBest { checkpoint, .. } => Next::LoadBest(checkpoint_to_wire(checkpoint)),
        Directive::Finish { best, best_epoch } => Next::Finish(proto::FinishDirective {
            best: Some(checkpoint_to_wire(best)),
            best_epoch: *best_epoch,
            metrics_json: metrics_json(job),
        }),
        Directive::Stop { reason } => Next::Stop(reason.clone()),
    };
    proto::Directive { next: Some(next) }
}

pub(crate) fn world_to_wire(world: &World, job: &Job) -> proto::World {
    proto::World {
        generation: world.generation.0,
        rank: world.rank,
        ring_addresses: world.ring_addresses.clone(),
        spec_json: serde_json::to_string(&*world.spec).expect("a spec is plain data with finite numbers"),
        resume: world.resume.as_ref().map(checkpoint_to_wire),
        collective: world.collective.as_str().to_owned(),
        next: Some(directive_to_wire(&world.next, job)),
    }
}
