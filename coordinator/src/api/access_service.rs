//! `AccessService`: tokens are issued, listed, replaced and taken back.
//!
//! Secrets are made here and leave with the answer; the core and the journal get their hashes.

use std::mem;

use firn_core::{
    Input, NewToken, Reject, Reply,
    identifiers::{SecretHash, TokenId},
    state::{Role, Scope, Token},
};
use firn_proto::v1alpha1::{self as proto, access_service_server::AccessService};
use tonic::{Request, Response, Status};
use tracing::info;
use uuid::Uuid;

use super::{
    context::{Context, called},
    refusal::{invalid, rejected, unexpected},
    requests::mark,
    wire::{
        names::{job_id, job_name},
        time::{milliseconds, timestamp},
    },
};

/// For administrators.
#[derive(Clone)]
pub struct Tokens {
    context: Context,
}

impl Tokens {
    /// Over the engine.
    pub fn new(context: Context) -> Self {
        Self { context }
    }

    async fn done(&self, input: Input) -> Result<(), Status> {
        match self.context.engine.tell(input).await? {
            Reply::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    async fn token(&self, id: TokenId) -> Result<proto::Token, Status> {
        let asked = id.clone();
        let found = self
            .context
            .engine
            .ask(move |state| state.tokens.get(&asked).map(token_to_wire));
        found
            .await?
            .ok_or_else(|| rejected(&Reject::TokenNotFound { token: id }))
    }
}

/// A secret, and its hash. It says what it is, so that programs which look for secrets in the wrong places find it.
fn new_secret() -> Result<(String, SecretHash), Status> {
    let mut random = [0; 32];
    getrandom::fill(&mut random)
        .map_err(|error| Status::unavailable(format!("the system gives no random numbers: {error}")))?;
    let secret = format!("firn_{}", hex::encode(random));
    let hash = SecretHash::from(blake3::hash(secret.as_bytes()).to_hex().as_str());
    Ok((secret, hash))
}

fn token_name(id: &TokenId) -> String {
    format!("tokens/{id}")
}

fn token_id(name: &str) -> Result<TokenId, Status> {
    match name.strip_prefix("tokens/") {
        Some(id) if !id.is_empty() && !id.contains('/') => Ok(TokenId::from(id)),
        _ => Err(invalid("name", format!("expected `tokens/{{token}}`, found `{name}`"))),
    }
}

fn token_to_wire(token: &Token) -> proto::Token {
    let (namespace, job) = match &token.scope {
        Scope::All => Default::default(),
        Scope::Namespace(namespace) => (namespace.clone(), String::new()),
        Scope::Job(job) => (String::new(), job_name(job)),
    };
    proto::Token {
        name: token_name(&token.id),
        role: token.role.word().to_owned(),
        namespace,
        job,
        description: token.description.clone(),
        create_time: Some(timestamp(token.issued_at)),
        expire_time: token.expires_at.map(timestamp),
        previous_secret_expire_time: token.previous.as_ref().map(|(_, until)| timestamp(*until)),
    }
}

fn role(word: &str) -> Result<Role, Status> {
    Role::of(word).ok_or_else(|| {
        let words = Role::ALL.map(|role| format!("`{role}`")).join(", ");
        invalid("role", format!("expected one of {words}, found `{word}`"))
    })
}

fn scope(namespace: String, job: &str) -> Result<Scope, Status> {
    match (namespace.is_empty(), job.is_empty()) {
        (true, true) => Ok(Scope::All),
        (false, true) => Ok(Scope::Namespace(namespace)),
        (true, false) => Ok(Scope::Job(job_id("job", job)?)),
        (false, false) => Err(invalid("job", "expected a namespace or a job, found both")),
    }
}

#[tonic::async_trait]
impl AccessService for Tokens {
    async fn create_token(
        &self,
        request: Request<proto::CreateTokenRequest>,
    ) -> Result<Response<proto::CreateTokenResponse>, Status> {
        let (caller, request) = called(request)?;
        caller.may_do_everywhere("CreateToken")?;
        let (secret, hash) = new_secret()?;
        let id = TokenId::from(&Uuid::new_v4().simple().to_string()[..12]);
        let token = NewToken {
            id: id.clone(),
            role: role(&request.role)?,
            scope: scope(request.namespace, &request.job)?,
            description: request.description,
            hash,
            lifetime: request
                .expires_in
                .map(|span| milliseconds("expires_in", &span))
                .transpose()?,
        };
        let (role, scope) = (token.role, token.scope.to_string());
        self.done(Input::IssueToken { token }).await?;
        info!(token = %id, %role, scope, "a token was issued");
        Ok(Response::new(proto::CreateTokenResponse {
            token: Some(self.token(id).await?),
            secret,
        }))
    }

    async fn list_tokens(
        &self,
        request: Request<proto::ListTokensRequest>,
    ) -> Result<Response<proto::ListTokensResponse>, Status> {
        let (caller, _) = called(request)?;
        caller.may_do_everywhere("ListTokens")?;
        let tokens = self
            .context
            .engine
            .ask(|state| state.tokens.all().map(token_to_wire).collect());
        Ok(Response::new(proto::ListTokensResponse { tokens: tokens.await? }))
    }

    async fn revoke_token(
        &self,
        request: Request<proto::RevokeTokenRequest>,
    ) -> Result<Response<proto::RevokeTokenResponse>, Status> {
        let (caller, mut request) = called(request)?;
        caller.may_do_everywhere("RevokeToken")?;
        let mark = mark("RevokeToken", mem::take(&mut request.request_id), &request)?;
        let token = token_id(&request.name)?;
        self.done(mark.on(Input::RevokeToken { token: token.clone() })).await?;
        info!(%token, "a token was revoked");
        Ok(Response::new(proto::RevokeTokenResponse {}))
    }

    async fn rotate_token(
        &self,
        request: Request<proto::RotateTokenRequest>,
    ) -> Result<Response<proto::RotateTokenResponse>, Status> {
        let (caller, request) = called(request)?;
        caller.may_do_everywhere("RotateToken")?;
        let id = token_id(&request.name)?;
        let grace = request.grace.map(|span| milliseconds("grace", &span)).transpose()?;
        let (secret, hash) = new_secret()?;
        let rotate = Input::RotateToken {
            token: id.clone(),
            hash,
            grace: grace.unwrap_or(0),
        };
        self.done(rotate).await?;
        info!(token = %id, "a token has another secret");
        Ok(Response::new(proto::RotateTokenResponse {
            token: Some(self.token(id).await?),
            secret,
        }))
    }
}
