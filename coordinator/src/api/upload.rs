//! What ranks deliver in bulk: predictions of a shard, checkpoints, artifact files. First the disk, then the core.

use std::sync::Arc;

use firn_core::{
    Input, Reply,
    identifiers::RankIdentity,
    queries,
    state::{Artifact, Checkpoint, Dataset, Pass},
    task::{Schema, Task},
};
use firn_proto::v1alpha1::{
    self as proto, complete_shard_request::Report, upload_header::Target, upload_request::Content,
};
use tonic::{Status, Streaming};

use super::{
    context::Context,
    refusal::{invalid, rejected, unexpected},
    wire::{
        checkpoint::checkpoint_from_wire,
        names::present,
        pass::{evaluation_from_wire, pass_from_wire, scan_from_wire},
    },
};
use crate::{
    access::Caller,
    artifacts::{ArtifactError, FileKind, ReportKey, StoredFile, Upload},
    fail_point::{self, FailPoint},
};

/// Most bytes of one message of an upload.
const LARGEST_CHUNK: usize = 1024 * 1024;

pub(super) async fn complete_shard(
    context: &Context,
    caller: &Caller,
    request: proto::CompleteShardRequest,
) -> Result<(), Status> {
    let identity = context.rank(caller, request.identity).await?;
    let pass = pass_from_wire(request.pass)?;
    let completed = |identity, report| Input::ShardCompleted {
        identity,
        pass,
        shard: request.shard,
        report,
    };
    let report = match (pass, request.report) {
        (Pass::Scan(_), Some(Report::Scan(scan))) => scan_from_wire(scan)?,
        (Pass::Evaluate { .. }, Some(Report::Evaluation(evaluation))) => {
            let Some(sender) = sender(context, &identity, pass, request.shard).await? else {
                // The core says why this rank may deliver nothing.
                let empty = Schema::default();
                let report = evaluation_from_wire(&proto::EvaluationReport::default(), Task::Classification, empty)?;
                return counted(context, completed(identity, report)).await;
            };
            let schema = Schema {
                thresholds: &sender.thresholds,
                ..sender.dataset.schema()
            };
            let report = evaluation_from_wire(&evaluation, sender.task, schema)?;
            let key = ReportKey {
                shard: request.shard,
                generation: identity.generation,
                rank: sender.rank,
            };
            // The reports of a pass go when it has been scored; one that is repeated after that has no place any more.
            if !sender.is_settled {
                let job = identity.job.clone();
                let written = context
                    .on_disk(move |store| store.spool(job.as_str(), sender.pass)?.write(key, &evaluation))
                    .await;
                if let Err(status) = written {
                    // It may have been settled meanwhile, and the folder removed under the file.
                    let now = self::sender(context, &identity, pass, request.shard).await?;
                    if now.is_some_and(|now| !now.is_settled) {
                        return Err(status);
                    }
                }
            }
            report
        }
        _ => {
            return Err(invalid(
                "report",
                "expected `scan` for a pass that scans, or `evaluation` for one that evaluates",
            ));
        }
    };
    counted(context, completed(identity, report)).await
}

async fn counted(context: &Context, input: Input) -> Result<(), Status> {
    match context.engine.tell(input).await? {
        Reply::ShardCounted | Reply::ShardRepeated => Ok(()),
        other => Err(unexpected(&other)),
    }
}

/// Who delivers predictions, and of what.
struct Sender {
    rank: u32,
    task: Task,
    dataset: Arc<Dataset>,
    /// From which probability on labels are predicted in this split, where that was tuned.
    thresholds: Vec<f64>,
    /// With the epoch that the core counts it under: for test the wire's does not matter.
    pass: Pass,
    /// Nothing more of this shard is wanted.
    is_settled: bool,
}

/// `None` if the caller is not of the gang, or nothing is known of the data.
async fn sender(context: &Context, identity: &RankIdentity, pass: Pass, shard: u32) -> Result<Option<Sender>, Status> {
    let identity = identity.clone();
    let found = context.engine.ask(move |state| {
        let job = state.job(&identity.job)?;
        let gang = job.gang().filter(|gang| gang.generation == identity.generation)?;
        let rank = gang.member(&identity.process)?.rank;
        let (task, dataset) = (job.spec.task, Arc::clone(&job.run.dataset.as_ref()?.dataset));
        let pass = match pass {
            Pass::Evaluate {
                split: split @ firn_core::state::SplitName::Test,
                epoch,
            } => Pass::Evaluate {
                split,
                epoch: job.run.best_epoch.unwrap_or(epoch),
            },
            other => other,
        };
        Some(Sender {
            rank,
            task,
            dataset,
            thresholds: job.run.schema_of(pass.split()).thresholds.to_vec(),
            pass,
            is_settled: queries::is_shard_settled(job, pass, shard),
        })
    });
    Ok(found.await?)
}

/// Refuses a caller that is not of its job's gang before anything of it reaches the disk.
pub(super) async fn may_deliver(context: &Context, identity: &RankIdentity) -> Result<(), Status> {
    let identity = identity.clone();
    let asked = context.engine.ask(move |state| queries::may_deliver(state, &identity));
    asked.await?.map_err(|reject| rejected(&reject))
}

pub(super) fn artifact_from_wire(artifact: proto::Artifact, location: String) -> Result<Artifact, Status> {
    let is_digest = artifact.sha256.len() == 64 && artifact.sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_digest {
        return Err(invalid(
            "artifact.sha256",
            format!("expected 64 hexadecimal digits, found `{}`", artifact.sha256),
        ));
    }
    if artifact.name.is_empty() || artifact.name.len() > 128 {
        return Err(invalid(
            "artifact.name",
            format!("expected 1 to 128 bytes, found {}", artifact.name.len()),
        ));
    }
    Ok(Artifact {
        name: artifact.name,
        size_bytes: artifact.size_bytes,
        sha256: artifact.sha256,
        location,
    })
}

/// Takes a file in, and gives the input that makes it exist.
pub(super) async fn receive(
    context: &Context,
    caller: &Caller,
    mut messages: Streaming<proto::UploadRequest>,
) -> Result<Input, Status> {
    let first = messages.message().await?.and_then(|message| message.content);
    let Some(Content::Header(header)) = first else {
        return Err(invalid("header", "expected the header as the first message"));
    };
    let identity = context.rank(caller, header.identity).await?;
    may_deliver(context, &identity).await?;
    let job = identity.job.clone();
    let (kind, announced, input) = match present("header.target", header.target)? {
        Target::Checkpoint(checkpoint) => {
            let checkpoint = Checkpoint {
                location: None,
                ..checkpoint_from_wire(checkpoint)
            };
            let announced = StoredFile {
                size: checkpoint.size_bytes,
                sha256: checkpoint.sha256.clone(),
            };
            (
                FileKind::Checkpoint,
                announced,
                Input::CheckpointStored { identity, checkpoint },
            )
        }
        Target::Artifact(artifact) => {
            let artifact = artifact_from_wire(artifact, Artifact::COORDINATOR.to_owned())?;
            let announced = StoredFile {
                size: artifact.size_bytes,
                sha256: artifact.sha256.clone(),
            };
            (
                FileKind::Artifact(artifact.name.clone()),
                announced,
                Input::ArtifactStored { identity, artifact },
            )
        }
    };
    let mut upload = context
        .on_disk(move |store| store.begin_upload(job.as_str(), kind, announced))
        .await?;
    while let Some(message) = messages.message().await? {
        let Some(Content::Data(data)) = message.content else {
            return Err(invalid("data", "expected bytes after the header"));
        };
        if data.len() > LARGEST_CHUNK {
            return Err(invalid(
                "data",
                format!("expected at most {LARGEST_CHUNK} bytes a message, found {}", data.len()),
            ));
        }
        upload = context
            .on_disk(move |_| {
                upload.write(&data)?;
                Ok(upload)
            })
            .await?;
    }
    context.on_disk(move |_| stored(upload)).await?;
    Ok(input)
}

fn stored(upload: Upload) -> Result<StoredFile, ArtifactError> {
    let stored = upload.finish()?;
    fail_point::pass(FailPoint::UploadBeforeRecord);
    Ok(stored)
}
