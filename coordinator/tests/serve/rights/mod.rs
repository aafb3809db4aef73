//! Tokens that give some rights: what their bearers reach, and how access ends.

mod raw;
mod scope;
mod tokens;

use std::{fs, path::Path};

use firn::serve::security::{Security, SecurityPaths};
use firn_proto::v1alpha1::{
    self as proto, access_service_client::AccessServiceClient, job_service_client::JobServiceClient,
};
use tonic::{
    Request, Status,
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};

use crate::server::{Server, job, settings};

pub(super) const ADMINISTRATOR: &str = "0123456789abcdef0123456789abcdef";

/// Shows a token with every call.
#[derive(Clone)]
pub(super) struct Bearer(pub(super) String);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let header = format!("Bearer {}", self.0).parse().unwrap();
        request.metadata_mut().insert("authorization", header);
        Ok(request)
    }
}

pub(super) type Calls = InterceptedService<Channel, Bearer>;

pub(super) fn jobs(server: &Server, token: &str) -> JobServiceClient<Calls> {
    JobServiceClient::with_interceptor(server.channel(), Bearer(token.to_owned()))
}

pub(super) fn access(server: &Server) -> AccessServiceClient<Calls> {
    AccessServiceClient::with_interceptor(server.channel(), Bearer(ADMINISTRATOR.to_owned()))
}

pub(super) fn guarded(folder: &Path) -> Server {
    let token_file = folder.join("token");
    fs::write(&token_file, ADMINISTRATOR).unwrap();
    let paths = SecurityPaths {
        token_file: Some(token_file),
        ..SecurityPaths::default()
    };
    let mut settings = settings(&folder.join("data"));
    settings.security = Security::load(&paths, settings.listen).unwrap();
    Server::start_with(settings).unwrap()
}

pub(super) fn wanted(role: &str, namespace: &str, job: &str) -> proto::CreateTokenRequest {
    proto::CreateTokenRequest {
        role: role.to_owned(),
        namespace: namespace.to_owned(),
        job: job.to_owned(),
        ..Default::default()
    }
}

/// The id and the secret of a new token.
pub(super) async fn issue(server: &Server, request: proto::CreateTokenRequest) -> (String, String) {
    let answer = access(server).create_token(request).await.unwrap().into_inner();
    (answer.token.unwrap().name, answer.secret)
}

pub(super) async fn submit_into(
    server: &Server,
    token: &str,
    name: &str,
    namespace: &str,
) -> Result<proto::FineTuneJob, Status> {
    let mut job = job(name);
    job.metadata.get_or_insert_default().namespace = namespace.to_owned();
    let request = proto::CreateJobRequest {
        job: Some(job),
        ..Default::default()
    };
    Ok(jobs(server, token).create_job(request).await?.into_inner())
}

pub(super) fn named(name: &str) -> proto::GetJobRequest {
    proto::GetJobRequest {
        name: name.to_owned(),
        ..Default::default()
    }
}
