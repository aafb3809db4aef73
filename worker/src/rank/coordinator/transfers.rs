//! Files that travel between a rank and the coordinator, in pieces.

use firn_proto::v1alpha1 as wire;
use tonic::Response;

use super::client::{Client, Scope};
use crate::rank::stop_reason::StopReason;

/// Bytes in one message of an upload; the coordinator takes at most 1 MiB.
const CHUNK: usize = 512 * 1024;

impl Client {
    /// Stores a checkpoint or an artifact at the coordinator; it exists when this returns.
    pub(crate) async fn upload(&self, target: wire::upload_header::Target, bytes: &[u8]) -> Result<(), StopReason> {
        use wire::upload_request::Content;
        let header = wire::UploadHeader {
            identity: self.identity(),
            target: Some(target),
        };
        let mut messages = vec![wire::UploadRequest {
            content: Some(Content::Header(header)),
        }];
        messages.extend(bytes.chunks(CHUNK).map(|chunk| wire::UploadRequest {
            content: Some(Content::Data(chunk.to_vec())),
        }));
        self.call(
            Scope::Generation,
            "Upload",
            messages,
            |mut service, messages| async move { service.upload(tokio_stream::iter(messages)).await },
        )
        .await?;
        Ok(())
    }

    /// The bytes of a committed checkpoint.
    pub(crate) async fn fetch_checkpoint(&self, checkpoint: &wire::CheckpointRef) -> Result<Vec<u8>, StopReason> {
        let request = wire::FetchCheckpointRequest {
            identity: self.identity(),
            sha256: checkpoint.sha256.clone(),
        };
        self.call(
            Scope::Generation,
            "FetchCheckpoint",
            request,
            |mut service, request| async move {
                let mut stream = service.fetch_checkpoint(request).await?.into_inner();
                let mut bytes = Vec::new();
                while let Some(chunk) = stream.message().await? {
                    bytes.extend_from_slice(&chunk.data);
                }
                Ok(Response::new(bytes))
            },
        )
        .await
    }

    /// Commits a checkpoint that lies in the artifact folder; returns the digests of those that are still needed.
    pub(crate) async fn commit_checkpoint(&self, checkpoint: wire::CheckpointRef) -> Result<Vec<String>, StopReason> {
        let request = wire::CommitCheckpointRequest {
            identity: self.identity(),
            checkpoint: Some(checkpoint),
        };
        let response = self
            .call(
                Scope::Generation,
                "CommitCheckpoint",
                request,
                |mut service, request| async move { service.commit_checkpoint(request).await },
            )
            .await?;
        Ok(response.kept)
    }
}
