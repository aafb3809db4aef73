//! Proxies that stand between workers and their coordinator and do what networks do.
//!
//! [`link`] works on bytes: it cuts, holds or delays a connection. [`calls`] works on gRPC calls, because bytes of HTTP/2 cannot be repeated
//! blindly: it sends a call twice, or again later, or loses the call or its answer. Both run on threads of their own, so that a test may block.

pub mod calls;
pub mod link;

use std::net::SocketAddr;

use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
};

/// A listener, and the threads that serve it.
fn listen(at: SocketAddr) -> std::io::Result<(Runtime, TcpListener, SocketAddr)> {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let bound = std::net::TcpListener::bind(at)?;
    bound.set_nonblocking(true)?;
    let address = bound.local_addr()?;
    let inside = runtime.enter();
    let listener = TcpListener::from_std(bound)?;
    drop(inside);
    Ok((runtime, listener, address))
}
