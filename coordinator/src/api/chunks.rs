//! Files on their way out, in chunks.

use std::pin::Pin;

use async_stream::try_stream;
use firn_core::{Input, Reject, identifiers::RankIdentity};
use firn_proto::v1alpha1::DownloadChunk;
use futures::{Stream, StreamExt as _};
use tokio::io::AsyncReadExt as _;
use tonic::Status;

use super::{
    context::Context,
    refusal::{rejected, stopping},
};
use crate::artifacts::FileKind;

/// Bytes of one message.
const CHUNK: usize = 256 * 1024;

/// The content of a file.
pub(super) type ChunkStream = Pin<Box<dyn Stream<Item = Result<DownloadChunk, Status>> + Send>>;

/// A checkpoint that exists, for a rank of the present formation.
pub(super) async fn checkpoint(
    context: &Context,
    identity: RankIdentity,
    sha256: String,
) -> Result<ChunkStream, Status> {
    let job = context.job(&identity.job).await?;
    if job.generation != identity.generation {
        return Err(rejected(&Reject::StaleGeneration {
            job: identity.job,
            expected: job.generation,
            found: identity.generation,
        }));
    }
    if !job.run.checkpoints.iter().any(|checkpoint| checkpoint.sha256 == sha256) {
        return Err(Status::not_found(format!("jobs/{} has no checkpoint {sha256}", job.id)));
    }
    read(context, job.id.to_string(), FileKind::Checkpoint, sha256).await
}

/// An artifact that the coordinator keeps.
pub(super) async fn artifact(context: &Context, job: &str, name: &str) -> Result<ChunkStream, Status> {
    let job = context.job(&super::wire::names::job_id("name", job)?).await?;
    let artifact = job.run.artifacts.iter().find(|artifact| artifact.name == name);
    let Some(artifact) = artifact else {
        return Err(Status::not_found(format!("jobs/{} has no artifact `{name}`", job.id)));
    };
    if !artifact.is_kept_by_coordinator() {
        let location = &artifact.location;
        return Err(Status::failed_precondition(format!(
            "the coordinator does not keep `{name}`: it lies at {location}"
        )));
    }
    let kind = FileKind::Artifact(artifact.name.clone());
    let mut chunks = read(context, job.id.to_string(), kind, artifact.sha256.clone()).await?;
    let fetched = Input::ArtifactFetched {
        job: job.id.clone(),
        artifact: artifact.name.clone(),
    };
    let engine = context.engine.clone();
    Ok(Box::pin(try_stream! {
        while let Some(chunk) = chunks.next().await {
            yield chunk?;
        }
        // The caller has taken every chunk. One who asks again is not refused because this could not be noted.
        let _ = engine.tell(fetched).await;
    }))
}

async fn read(context: &Context, job: String, kind: FileKind, sha256: String) -> Result<ChunkStream, Status> {
    let file = context.on_disk(move |store| store.open(&job, &kind, &sha256)).await?;
    let mut file = tokio::fs::File::from_std(file);
    let ending = context.ending.streams().clone();
    Ok(Box::pin(try_stream! {
        let mut bytes = vec![0; CHUNK];
        loop {
            if ending.is_cancelled() {
                Err(stopping())?;
            }
            let read = file.read(&mut bytes).await;
            let read = read.map_err(|error| Status::internal(format!("a file of the job cannot be read: {error}")))?;
            if read == 0 {
                break;
            }
            yield DownloadChunk { data: bytes[..read].to_vec() };
        }
    }))
}
