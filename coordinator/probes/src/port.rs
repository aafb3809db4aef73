//! The listener.

use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, extract::State, response::IntoResponse, routing::get};
use http::{StatusCode, header::CONTENT_TYPE};
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::watch,
    task::JoinHandle,
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{service::Routes, transport::Server};
use tracing::error;

use super::{Exposition, Readiness, Serving};

/// Answers are short and made at once; one that takes longer is none.
const LONGEST_ANSWER: Duration = Duration::from_secs(10);
/// Most calls of one connection that are answered at once.
const CALLS: usize = 8;
/// Connections that wait to be accepted.
const BACKLOG: u32 = 64;
/// Of what Prometheus is told.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A listener that answers until it is dropped.
pub struct ProbePort {
    address: SocketAddr,
    task: JoinHandle<()>,
}

/// What is told.
#[derive(Clone)]
struct Told {
    serving: watch::Receiver<Serving>,
    metrics: Arc<dyn Exposition>,
}

impl ProbePort {
    /// Binds the address and answers from now on. Needs a tokio runtime around it.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn open(address: SocketAddr, readiness: &Readiness, metrics: Arc<dyn Exposition>) -> io::Result<Self> {
        let listener = bind(address)?;
        let address = listener.local_addr()?;
        let serving = readiness.seen();
        let router = Routes::new(readiness.service())
            .into_axum_router()
            .fallback(|| async { StatusCode::NOT_FOUND })
            .merge(pages(Told { serving, metrics }));
        let served = Server::builder()
            .accept_http1(true)
            .timeout(LONGEST_ANSWER)
            .concurrency_limit_per_connection(CALLS)
            .add_routes(Routes::from(router))
            .serve_with_incoming(TcpListenerStream::new(listener));
        let task = tokio::spawn(told_if_it_ends(served));
        Ok(Self { address, task })
    }

    /// The bound address, with the port that port 0 became.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for ProbePort {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn told_if_it_ends(served: impl Future<Output = Result<(), tonic::transport::Error>>) {
    if let Err(failure) = served.await {
        error!(%failure, "the port for probes has failed");
    }
}

fn pages(told: Told) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(told)
}

async fn ready(State(told): State<Told>) -> impl IntoResponse {
    match &*told.serving.borrow() {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

async fn metrics(State(told): State<Told>) -> impl IntoResponse {
    let text = told.metrics.text().await;
    ([(CONTENT_TYPE, OPEN_METRICS)], text)
}
