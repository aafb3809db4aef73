//! Connections on their way in: accepted, counted, and shaken hands with before the server sees them.
//!
//! A handshake is TLS, where it is on, and the 24 bytes with which every HTTP/2 client opens (RFC 9113, section 3.4). Until both are done a
//! connection costs a socket and a deadline, and nothing else: what is silent, slow, or speaks something else is closed. Afterwards
//! the server's pings find out whether the peer lives. Handshakes run beside each other, so that a slow one holds up nobody.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use async_stream::stream;
use futures::Stream;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
    time::{Duration, error::Elapsed, sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tonic::transport::server::Connected;
use tracing::{debug, warn};

use super::limits::BACKLOG;

/// What every HTTP/2 client says first.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// After the system has refused to accept, for want of files or memory, before it is asked again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The bound address.
pub(super) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // The next coordinator can take over the port while connections of this one linger.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Connections whose handshake is done before its deadline, at most `most` at once; those beyond are closed at once, so that their agents
/// try again later.
pub(super) fn connections(
    listener: TcpListener,
    tls: Option<watch::Receiver<TlsAcceptor>>,
    most: usize,
    deadline: Duration,
) -> impl Stream<Item = io::Result<Peer>> + Send + 'static {
    let places = Arc::new(Semaphore::new(most));
    let mut handshakes: JoinSet<Result<io::Result<Peer>, Elapsed>> = JoinSet::new();
    let mut is_full = false;
    stream! {
        loop {
            let next = tokio::select! {
                accepted = listener.accept() => Next::Accepted(accepted),
                Some(done) = handshakes.join_next(), if !handshakes.is_empty() => {
                    let in_time = done.expect("a handshake does not panic");
                    Next::Shaken(in_time.unwrap_or_else(|late| Err(late.into())))
                }
            };
            match next {
                Next::Accepted(Ok((socket, address))) => match Arc::clone(&places).try_acquire_owned() {
                    Ok(place) => {
                        is_full = false;
                        handshakes.spawn(timeout(deadline, shake_hands(socket, address, place, tls.as_ref().map(|tls| tls.borrow().clone()))));
                    }
                    Err(_) => {
                        // Said once, not for each of ten thousand.
                        if !is_full {
                            warn!(connections = most, "no room for more connections: they are closed");
                        }
                        is_full = true;
                    }
                },
                Next::Accepted(Err(error)) => {
                    warn!(%error, "a connection cannot be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
                Next::Shaken(Ok(peer)) => yield Ok(peer),
                Next::Shaken(Err(error)) => debug!(%error, "a handshake failed"),
            }
        }
    }
}

enum Next {
    Accepted(io::Result<(TcpStream, SocketAddr)>),
    Shaken(io::Result<Peer>),
}

async fn shake_hands(
    socket: TcpStream,
    address: SocketAddr,
    place: OwnedSemaphorePermit,
    tls: Option<TlsAcceptor>,
) -> io::Result<Peer> {
    socket.set_nodelay(true)?;
    let mut transport = match tls {
        Some(tls) => Transport::Tls(Box::new(tls.accept(socket).await?)),
        None => Transport::Plain(socket),
    };
    let mut preface = [0; PREFACE.len()];
    transport.read_exact(&mut preface).await?;
    if preface != *PREFACE {
        return Err(io::Error::other("expected HTTP/2 (gRPC), found something else"));
    }
    Ok(Peer {
        address,
        transport,
        unread: PREFACE,
        _place: place,
    })
}

/// One connection. Its place is free again when it is dropped.
pub(super) struct Peer {
    address: SocketAddr,
    transport: Transport,
    /// What was read of the preface, and the server has to see too.
    unread: &'static [u8],
    _place: OwnedSemaphorePermit,
}

enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connected for Peer {
    type ConnectInfo = SocketAddr;

    fn connect_info(&self) -> SocketAddr {
        self.address
    }
}

impl AsyncRead for Peer {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.unread.is_empty() {
            return Pin::new(&mut self.transport).poll_read(context, buffer);
        }
        let (now, later) = self.unread.split_at(self.unread.len().min(buffer.remaining()));
        buffer.put_slice(now);
        self.unread = later;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Peer {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.transport {
            Transport::Plain(socket) => Pin::new(socket).poll_write(context, bytes),
            Transport::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.transport {
            Transport::Plain(socket) => Pin::new(socket).poll_write_vectored(context, parts),
            Transport::Tls(stream) => Pin::new(stream).poll_write_vectored(context, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.transport {
            Transport::Plain(socket) => socket.is_write_vectored(),
            Transport::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Plain(socket) => Pin::new(socket).poll_flush(context),
            Transport::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Plain(socket) => Pin::new(socket).poll_shutdown(context),
            Transport::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}
