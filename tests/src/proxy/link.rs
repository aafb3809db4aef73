//! A TCP connection that can be cut, held and delayed.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    runtime::Runtime,
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};

/// Pieces on their way in one direction, each at most [`PIECE`] bytes; who sends more has to wait, as on a real link.
const PIECES: usize = 64;
const PIECE: usize = 16 << 10;

/// What the link does to bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Passes them on.
    Pass,
    /// Ends every connection, and each new one at once: nobody is there.
    Cut,
    /// Holds them back, in both directions: nothing is lost and nobody is told, as when a cable is pulled.
    Freeze,
    /// Passes them on after this long.
    Delay(Duration),
}

/// The proxy. Dropping it cuts every connection.
pub struct LinkProxy {
    address: SocketAddr,
    link: watch::Sender<Link>,
    runtime: Option<Runtime>,
}

impl LinkProxy {
    /// Listens on a free port of loopback, and passes on to `target`.
    ///
    /// # Errors
    /// If the system gives no port.
    pub fn start(target: SocketAddr) -> anyhow::Result<Self> {
        Self::start_at(([127, 0, 0, 1], 0).into(), target)
    }

    /// The same on an address of choice; port 0 is a free one.
    ///
    /// # Errors
    /// If the address cannot be had.
    pub fn start_at(listen: SocketAddr, target: SocketAddr) -> anyhow::Result<Self> {
        let (runtime, listener, address) = super::listen(listen)?;
        let (link, watched) = watch::channel(Link::Pass);
        runtime.spawn(accept(listener, target, watched));
        Ok(Self {
            address,
            link,
            runtime: Some(runtime),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the link does from now on, to bytes on their way as well.
    pub fn set(&self, link: Link) {
        self.link.send_replace(link);
    }
}

impl Drop for LinkProxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, link: watch::Receiver<Link>) {
    while let Ok((near, _)) = listener.accept().await {
        if *link.borrow() != Link::Cut {
            tokio::spawn(connect(near, target, link.clone()));
        }
    }
}

async fn connect(near: TcpStream, target: SocketAddr, link: watch::Receiver<Link>) {
    let Ok(far) = TcpStream::connect(target).await else {
        return;
    };
    // Only a delay that was asked for is wanted.
    let _ = near.set_nodelay(true);
    let _ = far.set_nodelay(true);
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    let mut cut = link.clone();
    let there = pass_on(near_read, far_write, link.clone());
    let back = pass_on(far_read, near_write, link);
    tokio::select! {
        _ = cut.wait_for(|link| *link == Link::Cut) => {}
        _ = async { tokio::join!(there, back) } => {}
    }
}

/// One direction, until its end.
async fn pass_on(mut from: OwnedReadHalf, to: OwnedWriteHalf, link: watch::Receiver<Link>) {
    let (pieces, waiting) = mpsc::channel(PIECES);
    let read = async move {
        let mut buffer = vec![0; PIECE];
        while let Ok(count) = from.read(&mut buffer).await {
            // The end of the stream goes the same way as its bytes.
            if pieces.send((Instant::now(), buffer[..count].to_vec())).await.is_err() || count == 0 {
                break;
            }
        }
    };
    tokio::join!(read, deliver(waiting, to, link));
}

async fn deliver(
    mut waiting: mpsc::Receiver<(Instant, Vec<u8>)>,
    mut to: OwnedWriteHalf,
    mut link: watch::Receiver<Link>,
) {
    while let Some((read_at, piece)) = waiting.recv().await {
        let Ok(link) = link.wait_for(|link| *link != Link::Freeze).await.map(|link| *link) else {
            break;
        };
        if let Link::Delay(delay) = link {
            sleep_until(read_at + delay).await;
        }
        let delivered = if piece.is_empty() {
            to.shutdown().await
        } else {
            to.write_all(&piece).await
        };
        if delivered.is_err() {
            break;
        }
    }
}
