//! gRPC calls that are sent twice, or again later, or lost.
//!
//! The proxy knows no message: a call is its path, its headers (the token among them) and its bytes, so it serves every method of every
//! service. A call for which a fault was asked is read to its end first, also one that streams to the coordinator (`Upload`), and then sent
//! as often as the fault wants. All other calls pass through as they come, in both directions.

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::poll_fn,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll},
    time::Duration,
};

use anyhow::Context as _;
use http_body_util::{BodyExt as _, Full};
use tokio::{runtime::Runtime, sync::watch, time::timeout};
use tonic::{
    Code, Status,
    body::Body,
    codegen::{
        Body as HttpBody, BoxFuture, Bytes, Service, StdError,
        http::{HeaderMap, Method, Request, Response, Uri},
    },
    service::Routes,
    transport::{Channel, Endpoint, Server, server::TcpIncoming},
};

/// What takes longer has hung.
const LIMIT: Duration = Duration::from_secs(300);

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is sent twice, one after the other; the caller gets the second answer.
    Twice,
    /// It is answered as usual, and sent once more after the next call of this method (`Join`, `CommitSteps`, …) has been answered,
    /// before that answer is handed out.
    AgainAfter(&'static str),
    /// It is answered as usual, and kept for [`CallProxy::send_kept`].
    Keep,
    /// It is sent, but the caller hears `UNAVAILABLE` in place of the answer.
    LoseAnswer,
    /// It is not sent, and the caller hears `UNAVAILABLE`.
    LoseCall,
}

/// A call for which a fault was asked, as the coordinator answered it. One for each time that it was sent.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Name of the method, without its service.
    pub method: String,
    /// True if the coordinator had been sent the same before.
    pub repeated: bool,
    /// How it answered.
    pub code: Code,
    /// What it said with that.
    pub message: String,
}

/// The proxy. Dropping it cuts every connection.
pub struct CallProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

struct Shared {
    coordinator: Channel,
    plan: Mutex<Plan>,
    deliveries: watch::Sender<Vec<Delivery>>,
}

#[derive(Default)]
struct Plan {
    faults: VecDeque<(String, Fault, usize)>,
    /// Calls that are sent again after the next call of a method.
    late: Vec<(&'static str, Call)>,
    kept: Vec<Call>,
}

impl CallProxy {
    /// Listens on a free port of loopback, and passes on to the coordinator at `host:port`.
    ///
    /// # Errors
    /// If the system gives no port, or the coordinator's address is none.
    pub fn start(coordinator: &str) -> anyhow::Result<Self> {
        let (runtime, listener, address) = super::listen(([127, 0, 0, 1], 0).into())?;
        let inside = runtime.enter();
        let shared = Arc::new(Shared {
            coordinator: Endpoint::from_shared(format!("http://{coordinator}"))?
                .tcp_nodelay(true)
                .connect_lazy(),
            plan: Mutex::default(),
            deliveries: watch::Sender::default(),
        });
        drop(inside);
        let forward = Forward(Arc::clone(&shared));
        let routes = Routes::default().into_axum_router().fallback_service(forward);
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        runtime.spawn(
            Server::builder()
                .add_routes(Routes::from(routes))
                .serve_with_incoming(incoming),
        );
        Ok(Self {
            address,
            shared,
            runtime: Some(runtime),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Asks for a fault in the next `times` calls of a method (`Join`, `CommitSteps`, …). What was asked for a method first comes first.
    pub fn inject(&self, method: &str, fault: Fault, times: usize) {
        self.shared.plan().faults.push_back((method.to_owned(), fault, times));
    }

    /// Asks for no more faults, and forgets what was to be sent again.
    pub fn clear(&self) {
        *self.shared.plan() = Plan::default();
    }

    /// Sends all calls once more that were kept, in order, and gives the answers.
    ///
    /// # Errors
    /// If the coordinator does not answer for five minutes.
    pub async fn send_kept(&self) -> anyhow::Result<Vec<Delivery>> {
        let kept = std::mem::take(&mut self.shared.plan().kept);
        let shared = Arc::clone(&self.shared);
        let send = async move {
            let mut deliveries = Vec::new();
            for call in kept {
                deliveries.push(shared.send(&call, true).await.1);
            }
            deliveries
        };
        let runtime = self.runtime.as_ref().expect("it is there until the proxy is dropped");
        let sent = timeout(LIMIT, runtime.spawn(send)).await;
        Ok(sent.context("the coordinator does not answer")??)
    }

    /// All deliveries so far.
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.shared.deliveries.borrow().clone()
    }

    /// Waits until a delivery is as `wanted`, and gives the first such.
    ///
    /// # Errors
    /// If there is none within five minutes.
    pub async fn wait_for(&self, wanted: impl Fn(&Delivery) -> bool) -> anyhow::Result<Delivery> {
        let mut deliveries = self.shared.deliveries.subscribe();
        let reached = deliveries.wait_for(|deliveries| deliveries.iter().any(&wanted));
        let found = timeout(LIMIT, reached).await.with_context(|| {
            let found = self.deliveries();
            format!("no such delivery within {LIMIT:?}, but {found:?}")
        })??;
        Ok(found
            .iter()
            .find(|delivery| wanted(delivery))
            .expect("it was just there")
            .clone())
    }
}

impl Drop for CallProxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A call, to be sent any number of times.
#[derive(Clone)]
struct Call {
    path: Uri,
    headers: HeaderMap,
    body: Bytes,
}

impl Call {
    fn method(&self) -> &str {
        method_of(&self.path)
    }

    fn request(&self) -> Request<Body> {
        let mut request = Request::new(Body::new(Full::new(self.body.clone())));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.path.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }
}

/// `/firn.v1alpha1.RankService/Join` → `Join`.
fn method_of(path: &Uri) -> &str {
    path.path().rsplit('/').next().unwrap_or_default()
}

/// An answer that was read to its end.
struct Answer {
    headers: HeaderMap,
    body: Bytes,
    trailers: HeaderMap,
}

impl Answer {
    fn status(&self) -> Status {
        // An answer without a body has its status in the headers.
        Status::from_header_map(&self.trailers)
            .or_else(|| Status::from_header_map(&self.headers))
            .unwrap_or_else(|| Status::unknown("the answer has no status"))
    }

    fn into_response(self) -> Response<Body> {
        let trailers = self.trailers;
        let body = Full::new(self.body).with_trailers(async move { Some(Ok(trailers)) });
        let mut response = Response::new(Body::new(body));
        *response.headers_mut() = self.headers;
        response
    }
}

impl Shared {
    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().expect("nothing panics while it holds this lock")
    }

    /// The fault for a call, which is used up by that.
    fn next_fault(&self, method: &str) -> Option<Fault> {
        let mut plan = self.plan();
        let position = plan.faults.iter().position(|(of, _, _)| of == method)?;
        let (_, fault, times) = &mut plan.faults[position];
        let fault = *fault;
        *times = times.saturating_sub(1);
        if *times == 0 {
            plan.faults.remove(position);
        }
        Some(fault)
    }

    fn take_late(&self, method: &str) -> Vec<Call> {
        let mut plan = self.plan();
        let (due, rest) = std::mem::take(&mut plan.late)
            .into_iter()
            .partition(|(after, _)| *after == method);
        plan.late = rest;
        let due: Vec<(&str, Call)> = due;
        due.into_iter().map(|(_, call)| call).collect()
    }

    async fn pass(&self, request: Request<Body>) -> Result<Response<Body>, Status> {
        let mut channel = self.coordinator.clone();
        let unavailable = |error: tonic::transport::Error| Status::unavailable(format!("the proxy: {error:?}"));
        poll_fn(|context| channel.poll_ready(context))
            .await
            .map_err(unavailable)?;
        channel.call(request).await.map_err(unavailable)
    }

    async fn read(&self, call: &Call) -> Result<Answer, Status> {
        let (parts, body) = self.pass(call.request()).await?.into_parts();
        let collected = body.collect().await?;
        Ok(Answer {
            headers: parts.headers,
            trailers: collected.trailers().cloned().unwrap_or_default(),
            body: collected.to_bytes(),
        })
    }

    /// Sends a call, and notes how it was answered.
    async fn send(&self, call: &Call, repeated: bool) -> (Response<Body>, Delivery) {
        let answer = self.read(call).await;
        let status = answer.as_ref().map_or_else(Clone::clone, Answer::status);
        let delivery = Delivery {
            method: call.method().to_owned(),
            repeated,
            code: status.code(),
            message: status.message().to_owned(),
        };
        self.deliveries
            .send_modify(|deliveries| deliveries.push(delivery.clone()));
        let response = answer.map_or_else(Status::into_http, Answer::into_response);
        (response, delivery)
    }

    fn plans_for(&self, method: &str) -> bool {
        let plan = self.plan();
        plan.faults.iter().any(|(of, _, _)| of == method) || plan.late.iter().any(|(after, _)| *after == method)
    }

    /// A call for which something is planned is carried out to its end, also when the caller is gone: a fault is used up only by a call that was
    /// delivered.
    async fn forward(self: Arc<Self>, request: Request<Body>) -> Result<Response<Body>, Status> {
        if !self.plans_for(method_of(request.uri())) {
            return self.pass(request).await;
        }
        let (parts, body) = request.into_parts();
        let call = Call {
            path: parts.uri,
            headers: parts.headers,
            body: body.collect().await?.to_bytes(),
        };
        let carried = tokio::spawn(async move { self.carry(call).await }).await;
        carried.unwrap_or_else(|error| Err(Status::unavailable(format!("the proxy: {error}"))))
    }

    async fn carry(&self, call: Call) -> Result<Response<Body>, Status> {
        let late = self.take_late(call.method());
        let fault = self.next_fault(call.method());
        if fault == Some(Fault::LoseCall) {
            return Err(Status::unavailable("the proxy lost the call"));
        }
        let (mut response, _) = self.send(&call, false).await;
        for earlier in late {
            self.send(&earlier, true).await;
        }
        match fault {
            Some(Fault::Twice) => response = self.send(&call, true).await.0,
            Some(Fault::AgainAfter(method)) => self.plan().late.push((method, call)),
            Some(Fault::Keep) => self.plan().kept.push(call),
            Some(Fault::LoseAnswer) => return Err(Status::unavailable("the proxy lost the answer")),
            Some(Fault::LoseCall) | None => {}
        }
        Ok(response)
    }
}

/// The server's side.
#[derive(Clone)]
struct Forward(Arc<Shared>);

impl<B> Service<Request<B>> for Forward
where
    B: HttpBody<Data = Bytes, Error: Into<StdError>> + Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let shared = Arc::clone(&self.0);
        Box::pin(async move {
            let answered = shared.forward(request.map(Body::new)).await;
            Ok(answered.unwrap_or_else(Status::into_http))
        })
    }
}
