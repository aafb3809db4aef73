//! How long each call takes, and what it ends with.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use http::{HeaderMap, Request, Response};
use http_body::{Frame, SizeHint};
use tonic::{Code, body::Body};
use tower::{Layer, Service};

use super::Metrics;
use crate::access::rights::TABLE;

/// Measures the calls of a service.
#[derive(Clone)]
pub(crate) struct Measured {
    pub(crate) metrics: Arc<Metrics>,
}

/// A service whose calls are measured.
#[derive(Clone)]
pub(crate) struct Observed<S> {
    inner: S,
    metrics: Arc<Metrics>,
}

impl<S> Layer<S> for Measured {
    type Service = Observed<S>;

    fn layer(&self, inner: S) -> Observed<S> {
        Observed {
            inner,
            metrics: Arc::clone(&self.metrics),
        }
    }
}

/// The call that a path names. All that are not of Firn's services are one: callers can invent as many as they like.
fn named(path: &str) -> (&'static str, &'static str) {
    let found = path.strip_prefix("/firn.v1alpha1.").and_then(|rest| {
        let (service, method) = rest.split_once('/')?;
        TABLE.iter().find(|row| row.service == service && row.method == method)
    });
    found.map_or(("other", "other"), |row| (row.service, row.method))
}

impl<S> Service<Request<Body>> for Observed<S>
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

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let mut call = Call {
            metrics: Arc::clone(&self.metrics),
            named: named(request.uri().path()),
            began: Instant::now(),
            is_told: false,
        };
        let answer = self.inner.call(request);
        Box::pin(async move {
            let response = answer.await?;
            call.hear(response.headers());
            Ok(response.map(|body| Body::new(ObservedBody { inner: body, call })))
        })
    }
}

/// A call that is under way. It is measured when its end is told to the caller, or when the caller has given it up.
struct Call {
    metrics: Arc<Metrics>,
    named: (&'static str, &'static str),
    began: Instant,
    is_told: bool,
}

impl Call {
    /// A refusal is told in the headers, everything else in what follows the body.
    fn hear(&mut self, headers: &HeaderMap) {
        if let Some(code) = headers.get("grpc-status") {
            self.end(Code::from_bytes(code.as_bytes()));
        }
    }

    fn end(&mut self, code: Code) {
        if !std::mem::replace(&mut self.is_told, true) {
            self.metrics.called(self.named, code, self.began.elapsed());
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.end(Code::Cancelled);
    }
}

struct ObservedBody {
    inner: Body,
    call: Call,
}

impl http_body::Body for ObservedBody {
    type Data = <Body as http_body::Body>::Data;
    type Error = <Body as http_body::Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let frame = Pin::new(&mut self.inner).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(trailers) = frame.trailers_ref()
        {
            self.call.hear(trailers);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
