//! Calls of any method, by its name and the bytes of its message.

use firn_proto::v1alpha1 as proto;
use prost::Message as _;
use prost_types::{DescriptorProto, FileDescriptorSet};
use tonic::{
    Request, Status,
    client::Grpc,
    codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    service::interceptor::InterceptedService,
};

use super::Bearer;
use crate::server::Server;

/// Messages as the bytes that they are on the wire.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = ();
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        use prost::bytes::BufMut as _;
        buffer.put_slice(&item);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::default()
    }
}

impl Decoder for Raw {
    type Item = ();
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<()>, Status> {
        use prost::bytes::Buf as _;
        buffer.advance(buffer.remaining());
        Ok(Some(()))
    }
}

/// A message of `message` that names the job where such a message names one.
pub(super) fn naming(descriptors: &FileDescriptorSet, message: &str, job: &str) -> Option<Vec<u8>> {
    let all = || descriptors.file.iter().flat_map(|file| &file.message_type);
    let described: &DescriptorProto = all().find(|found| message.ends_with(&format!(".{}", found.name())))?;
    if described.name() == "RankIdentity" {
        let identity = proto::RankIdentity {
            job: job.to_owned(),
            process_id: "p1".to_owned(),
            generation: 1,
            coordinator_epoch: 1,
        };
        return Some(identity.encode_to_vec());
    }
    described.field.iter().find_map(|field| {
        let inside = match field.name() {
            "name" => job.as_bytes().to_vec(),
            "identity" | "header" => naming(descriptors, field.type_name(), job)?,
            _ => return None,
        };
        let mut bytes = Vec::new();
        prost::encoding::bytes::encode(u32::try_from(field.number()).unwrap(), &inside, &mut bytes);
        Some(bytes)
    })
}

/// What a method answers, whatever kind of stream it has.
pub(super) async fn answer(server: &Server, token: &str, path: &str, message: Vec<u8>) -> Status {
    let service = InterceptedService::new(server.channel(), Bearer(token.to_owned()));
    let mut grpc = Grpc::new(service);
    grpc.ready().await.unwrap();
    let request = Request::new(tokio_stream::iter([message]));
    match grpc.streaming(request, path.parse().unwrap(), Raw).await {
        Err(status) => status,
        Ok(response) => match response.into_inner().message().await {
            Ok(_) => Status::ok("answered"),
            Err(status) => status,
        },
    }
}
