//! The gate before each service: who calls, whether such a caller may make this call, and the end of what a caller has opened when its token
//! ends.

use std::{
    convert::Infallible,
    future::{Future, ready},
    pin::Pin,
    task::{Context, Poll},
};

use http::{HeaderMap, Request, Response};
use http_body::{Frame, SizeHint};
use tonic::{Status, body::Body, server::NamedService};
use tower::Service;

use super::{
    Caller, Directory,
    directory::Bearer,
    missing,
    rights::{self, Right},
};

/// Lets calls pass whose caller may make them.
#[derive(Clone)]
pub struct Gate {
    directory: Directory,
}

/// A service behind a gate.
#[derive(Clone)]
pub struct Guarded<S> {
    inner: S,
    gate: Gate,
}

impl Gate {
    /// For the bearers of these tokens.
    pub fn new(directory: Directory) -> Self {
        Self { directory }
    }

    /// Puts the gate before a service.
    pub fn before<S>(&self, inner: S) -> Guarded<S> {
        Guarded {
            inner,
            gate: self.clone(),
        }
    }

    /// Who calls, and the token that the call ends with.
    fn admit(&self, path: &str, headers: &HeaderMap) -> Result<(Caller, Option<Bearer>), Status> {
        let (caller, bearer) = self.identify(headers)?;
        let Some((method, right)) = rights::of_path(path) else {
            return Err(Status::unimplemented(format!("this coordinator has no call `{path}`")));
        };
        if !right.roles().contains(&caller.role) {
            let roles: Vec<&str> = right.roles().iter().map(|role| role.word()).collect();
            return Err(missing(format!(
                "this token is one of {caller}: {method} needs the role {}",
                roles.join(" or ")
            )));
        }
        // What an administrator decides is answered, also where it ends the token that decided it.
        Ok((caller, bearer.filter(|_| right != Right::Administer)))
    }

    fn identify(&self, headers: &HeaderMap) -> Result<(Caller, Option<Bearer>), Status> {
        let token = headers.get("authorization").and_then(|value| {
            let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
        });
        let known = token.and_then(|token| self.directory.bearer(token));
        match (known, token) {
            (Some((caller, bearer)), _) => Ok((caller, Some(bearer))),
            (None, _) if !self.directory.asks_for_token() => Ok((Caller::ADMINISTRATOR, None)),
            (None, Some(_)) => Err(unknown()),
            (None, None) => Err(Status::unauthenticated(
                "this coordinator asks for a token: send `authorization: Bearer TOKEN` (for firn and firn-worker: set FIRN_TOKEN or FIRN_TOKEN_FILE)",
            )),
        }
    }
}

fn unknown() -> Status {
    Status::unauthenticated(
        "the token is not known to this coordinator: it was not issued here, has expired, or was revoked or replaced; ask an administrator for \
         another (`firn token create`)",
    )
}

impl<S: NamedService> NamedService for Guarded<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for Guarded<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let (caller, bearer) = match self.gate.admit(request.uri().path(), request.headers()) {
            Ok(admitted) => admitted,
            Err(status) => return Box::pin(ready(Ok(status.into_http()))),
        };
        request.extensions_mut().insert(caller);
        let answer = self.inner.call(request);
        let Some(bearer) = bearer else {
            return Box::pin(answer);
        };
        Box::pin(async move {
            let mut ended: Ended = Box::pin(bearer.ended());
            tokio::select! {
                biased;
                answer = answer => answer.map(|response| response.map(|body| Body::new(EndingBody { inner: Some(body), ended }))),
                () = &mut ended => Ok(unknown().into_http()),
            }
        })
    }
}

type Ended = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A body that ends with UNAUTHENTICATED when the token of its caller does.
struct EndingBody {
    /// `None` once it has ended.
    inner: Option<Body>,
    ended: Ended,
}

impl http_body::Body for EndingBody {
    type Data = <Body as http_body::Body>::Data;
    type Error = <Body as http_body::Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let Some(inner) = self.inner.as_mut() else {
            return Poll::Ready(None);
        };
        if let Poll::Ready(frame) = Pin::new(inner).poll_frame(context) {
            return Poll::Ready(frame);
        }
        if self.ended.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        self.inner = None;
        let mut trailers = HeaderMap::new();
        match unknown().add_header(&mut trailers) {
            Ok(()) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            Err(status) => Poll::Ready(Some(Err(status))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use firn_core::state::{Role, Tokens};
    use tokio::sync::watch;

    use super::*;
    use crate::{access::FileTokens, engine::Clock};

    fn gate(file: Option<&str>) -> Gate {
        let file = file.map(|text| watch::channel(FileTokens::parse(text).unwrap()).1);
        let issued = watch::channel(Arc::new(Tokens::default())).1;
        Gate::new(Directory::new(file, issued, Clock::start()))
    }

    fn admitted(gate: &Gate, path: &str, header: Option<&str>) -> Result<Role, Status> {
        let mut headers = HeaderMap::new();
        if let Some(header) = header {
            headers.insert("authorization", header.parse().unwrap());
        }
        gate.admit(path, &headers).map(|(caller, _)| caller.role)
    }

    const LIST: &str = "/firn.v1alpha1.JobService/ListJobs";

    #[test]
    fn only_known_tokens_pass() {
        let gate = gate(Some("0123456789abcdef\n\nfedcba9876543210\n"));
        let passes = |header| admitted(&gate, LIST, header).is_ok();
        assert!(passes(Some("Bearer 0123456789abcdef")));
        assert!(passes(Some("bearer fedcba9876543210")));
        assert!(!passes(Some("Bearer 0123456789abcdeF")));
        assert!(!passes(Some("Bearer ")));
        assert!(!passes(Some("0123456789abcdef")));
        assert!(!passes(None));
    }

    #[test]
    fn without_a_token_file_everybody_is_an_administrator() {
        assert_eq!(admitted(&gate(None), LIST, None).unwrap(), Role::Administrator);
        let unknown = Some("Bearer 0123456789abcdef");
        assert_eq!(admitted(&gate(None), LIST, unknown).unwrap(), Role::Administrator);
    }

    #[test]
    fn a_call_that_the_table_does_not_know_is_made_by_nobody() {
        let status = admitted(&gate(None), "/firn.v1alpha1.JobService/Invented", None).unwrap_err();
        assert_eq!(status.code(), tonic::Code::Unimplemented);
    }
}
