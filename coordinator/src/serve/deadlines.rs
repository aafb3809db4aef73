//! Deadlines of calls: the caller's (`grpc-timeout`) and the server's own, whichever comes first.
//!
//! tonic bounds only the time until an answer begins, and tells the caller CANCELLED. Here a caller's deadline bounds its streams too, as
//! gRPC means it, and what passes it is DEADLINE_EXCEEDED. The server's own bounds the time until an answer begins: streams may be long.
//! What a call has told the engine by then still takes effect; every call can be repeated.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderMap, Request, Response};
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};
use tonic::{Status, body::Body};
use tower::{Layer, Service};

/// Puts the deadlines around a service.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadlines {
    /// The server's own.
    pub(super) longest_handling: Duration,
}

/// A service with deadlines.
#[derive(Debug, Clone)]
pub(super) struct Bounded<S> {
    inner: S,
    longest_handling: Duration,
}

impl<S> Layer<S> for Deadlines {
    type Service = Bounded<S>;

    fn layer(&self, inner: S) -> Bounded<S> {
        Bounded {
            inner,
            longest_handling: self.longest_handling,
        }
    }
}

impl<S> Service<Request<Body>> for Bounded<S>
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
        let now = Instant::now();
        let callers = callers_timeout(request.headers()).and_then(|timeout| now.checked_add(timeout));
        let own = now + self.longest_handling;
        let answer = self.inner.call(request);
        Box::pin(async move {
            let begin = callers.map_or(own, |callers| callers.min(own));
            match (timeout_at(begin, answer).await, callers) {
                (Ok(Ok(response)), None) => Ok(response),
                (Ok(Ok(response)), Some(end)) => Ok(response.map(|body| Body::new(BoundedBody::new(body, end)))),
                (Ok(Err(never)), _) => match never {},
                (Err(_), _) => Ok(exceeded().into_http()),
            }
        })
    }
}

fn exceeded() -> Status {
    Status::deadline_exceeded("the deadline of this call has passed")
}

/// `grpc-timeout`: at most eight digits and a unit (gRPC over HTTP/2, "Requests"). One that cannot be read is no deadline.
fn callers_timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(amount * 3600)),
        "M" => Some(Duration::from_secs(amount * 60)),
        "S" => Some(Duration::from_secs(amount)),
        "m" => Some(Duration::from_millis(amount)),
        "u" => Some(Duration::from_micros(amount)),
        "n" => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

/// A body that ends with DEADLINE_EXCEEDED at the caller's deadline.
struct BoundedBody {
    /// `None` once it has ended.
    inner: Option<Body>,
    end: Pin<Box<Sleep>>,
}

impl BoundedBody {
    fn new(inner: Body, end: Instant) -> Self {
        Self {
            inner: Some(inner),
            end: Box::pin(sleep_until(end)),
        }
    }
}

impl http_body::Body for BoundedBody {
    type Data = <Body as http_body::Body>::Data;
    type Error = <Body as http_body::Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let Self { inner, end } = &mut *self;
        let Some(body) = inner else {
            return Poll::Ready(None);
        };
        // First the deadline: a stream that always has something to say would never see it.
        if end.as_mut().poll(context).is_ready() {
            *inner = None;
            let mut trailers = HeaderMap::new();
            return Poll::Ready(match exceeded().add_header(&mut trailers) {
                Ok(()) => Some(Ok(Frame::trailers(trailers))),
                Err(status) => Some(Err(status)),
            });
        }
        Pin::new(body).poll_frame(context)
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
    use super::*;

    #[test]
    fn a_callers_timeout_is_read_as_grpc_writes_it() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", text.parse().unwrap());
            callers_timeout(&headers)
        };
        assert_eq!(read("2H"), Some(Duration::from_secs(7200)));
        assert_eq!(read("3M"), Some(Duration::from_secs(180)));
        assert_eq!(read("99999999S"), Some(Duration::from_secs(99_999_999)));
        assert_eq!(read("250m"), Some(Duration::from_millis(250)));
        assert_eq!(read("7u"), Some(Duration::from_micros(7)));
        assert_eq!(read("7n"), Some(Duration::from_nanos(7)));
        for unreadable in ["", "S", "1", "100000000S", "-1S", "1.5S", "1d"] {
            assert_eq!(read(unreadable), None, "{unreadable}");
        }
        assert_eq!(callers_timeout(&HeaderMap::new()), None);
    }
}
