//! How a rank finds its two neighbours: it calls the next rank and is called by the previous one.
//!
//! Both calls are greeted with generation, session, rank and world size. A caller that does not belong here is told who we are and is
//! hung up on, but does not end our own wait: a stale rank, or a stranger that scans ports, must not be able to break a new generation.
//! A rank that is itself refused fails at once, with both sides named.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::AsFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags};
use socket2::{Domain, SockRef, Socket, TcpKeepalive, Type};

use super::attempt::Attempt;
use super::exchange::{Link, Links};
use super::message::{HELLO_BYTES, Hello, MARK};
use super::{Ring, RingOptions};
use crate::{AbortHandle, Announcement, CollectiveError, Identity, Operation};

/// Pause before a neighbour that does not listen yet is called again.
const REDIAL: Duration = Duration::from_millis(20);
/// Callers that are connected but have not said who they are; beyond this the oldest is hung up on.
const MAX_SILENT_CALLERS: usize = 64;

/// A rank's open door, before its place in the world is known.
#[derive(Debug)]
pub struct RingListener {
    listener: TcpListener,
    host: String,
    port: u16,
    abort: AbortHandle,
}

impl RingListener {
    /// Listens on a free port of `host` (a name or an address; `0.0.0.0` for all interfaces).
    ///
    /// # Errors
    /// [`CollectiveError::Bind`].
    pub fn bind(host: &str) -> Result<Self, CollectiveError> {
        let failed = |source| CollectiveError::Bind {
            host: host.to_owned(),
            source,
        };
        let listener = TcpListener::bind((host, 0)).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        let abort = AbortHandle::with_wake().map_err(failed)?;
        Ok(Self {
            listener,
            host: host.to_owned(),
            port,
            abort,
        })
    }

    /// `host:port` as bound. A listener on all interfaces must be told to others under a name of the machine and [`RingListener::port`].
    pub fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The port that the system chose.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Aborts the coming [`RingListener::connect`] and the ring that it gives.
    pub fn abort_handle(&self) -> AbortHandle {
        self.abort.clone()
    }

    /// Joins the ring of `addresses` (in rank order; its length is the world size) as `rank`. Neighbours may start later: they are called
    /// again until the deadline.
    ///
    /// # Errors
    /// [`CollectiveError::Refused`] when the neighbour is of another generation, session, world or rank;
    /// [`CollectiveError::DeadlineExpired`] when one does not come; [`CollectiveError::Aborted`].
    pub fn connect(
        self,
        rank: u32,
        addresses: &[String],
        generation: u64,
        options: RingOptions,
    ) -> Result<Ring, CollectiveError> {
        let world_size = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
        if rank >= world_size {
            return Err(CollectiveError::InvalidWorld {
                rank,
                world_size,
                addresses: addresses.len(),
            });
        }
        let abort = self.abort.clone();
        if world_size == 1 {
            return Ok(Ring::new(rank, world_size, &options, abort, None));
        }
        let identity = Identity {
            generation,
            session: options.session,
            rank,
            world_size,
        };
        let joining = Announcement {
            sequence: 0,
            operation: Operation::Connect,
            elements: 0,
            root: 0,
        };
        let _running = abort.begin_connect();
        let attempt = Attempt::new(rank, joining, options.connect_deadline, &abort);
        let next = (rank + 1) % world_size;
        let address = &addresses[next as usize];
        let socket = dial(&attempt, next, address)?;
        let meeting = Meeting {
            listener: &self.listener,
            attempt: &attempt,
            identity,
            next,
            address,
        };
        let links = meeting.hold(socket)?;
        let duplicates = [&links.next, &links.previous].map(|link| link.socket.try_clone());
        let [first, second] = duplicates;
        let failed = |source| attempt.socket("duplicate a connection", source);
        abort.watch(vec![first.map_err(failed)?, second.map_err(failed)?]);
        Ok(Ring::new(rank, world_size, &options, abort.clone(), Some(links)))
    }
}

/// Calls until someone answers. The kernel answers for a neighbour that listens, so this does not wait for it to accept.
fn dial(attempt: &Attempt<'_>, next: u32, address: &str) -> Result<TcpStream, CollectiveError> {
    loop {
        let reason = match address.to_socket_addrs() {
            Ok(found) => match dial_each(attempt, next, address, found)? {
                Ok(socket) => return Ok(socket),
                Err(reason) => reason,
            },
            Err(error) => error.to_string(),
        };
        let waiting_for = || format!("rank {next} at {address} does not answer: {reason}");
        attempt.wait(&mut [attempt.wake()], REDIAL, waiting_for)?;
    }
}

/// The first of the addresses that answers, or why the last one did not.
fn dial_each(
    attempt: &Attempt<'_>,
    next: u32,
    name: &str,
    addresses: impl Iterator<Item = SocketAddr>,
) -> Result<Result<TcpStream, String>, CollectiveError> {
    let mut reason = "its name has no address".to_owned();
    for address in addresses {
        let failed = |source| attempt.socket("open a connection", source);
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).map_err(failed)?;
        socket.set_nonblocking(true).map_err(failed)?;
        match socket.connect(&address.into()) {
            Ok(()) => return Ok(Ok(socket.into())),
            Err(error) if error.raw_os_error() == Some(nix::errno::Errno::EINPROGRESS as i32) => {}
            Err(error) => {
                reason = error.to_string();
                continue;
            }
        }
        let waiting_for = || format!("rank {next} at {name} does not answer");
        let mut descriptors = [attempt.wake(), PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
        attempt.wait(&mut descriptors, Duration::MAX, waiting_for)?;
        match socket.take_error().map_err(failed)? {
            None if is_connected_to_another(&socket) => return Ok(Ok(socket.into())),
            None => reason = "the connection was not made".to_owned(),
            Some(error) => reason = error.to_string(),
        }
    }
    Ok(Err(reason))
}

/// A call to a free port of one's own machine can be answered by the calling socket itself, when the system gives it that very port.
fn is_connected_to_another(socket: &Socket) -> bool {
    match (socket.peer_addr(), socket.local_addr()) {
        (Ok(peer), Ok(local)) => peer.as_socket() != local.as_socket(),
        _ => false,
    }
}

/// Greets both neighbours.
struct Meeting<'a> {
    listener: &'a TcpListener,
    attempt: &'a Attempt<'a>,
    identity: Identity,
    next: u32,
    address: &'a str,
}

/// A connection on which a hello, or the answer to ours, is coming in.
struct Caller {
    socket: TcpStream,
    bytes: [u8; HELLO_BYTES],
    received: usize,
}

enum Heard {
    NotAll,
    Message(Result<Hello, u64>),
    HungUp(String),
}

impl Caller {
    fn new(socket: TcpStream) -> Self {
        Self {
            socket,
            bytes: [0; HELLO_BYTES],
            received: 0,
        }
    }

    fn listen(&mut self) -> Heard {
        loop {
            match self.socket.read(&mut self.bytes[self.received..]) {
                Ok(0) => return Heard::HungUp("it closed the connection".to_owned()),
                Ok(bytes) => self.received += bytes,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Heard::NotAll,
                Err(error) => return Heard::HungUp(error.to_string()),
            }
            if self.received == HELLO_BYTES {
                return Heard::Message(Hello::decode(&self.bytes));
            }
        }
    }
}

impl Meeting<'_> {
    fn previous(&self) -> u32 {
        (self.identity.rank + self.identity.world_size - 1) % self.identity.world_size
    }

    fn hold(&self, next: TcpStream) -> Result<Links, CollectiveError> {
        self.prepare(&next)?;
        let hello = Hello {
            identity: self.identity,
            word: self.next,
        };
        // A fresh connection has room for 40 bytes, so this cannot be cut short.
        (&next)
            .write_all(&hello.encode())
            .map_err(|error| self.attempt.lost(self.next, error))?;
        let (mut called, mut welcome) = (Caller::new(next), false);
        let (mut callers, mut previous): (Vec<Caller>, Option<TcpStream>) = (Vec::new(), None);
        let mut turned_away = None;
        loop {
            if !welcome {
                welcome = self.answer(&mut called)?;
            }
            if previous.is_none() {
                self.accept(&mut callers)?;
                previous = self.greet(&mut callers, &mut turned_away)?;
            }
            if let Some(socket) = previous.take_if(|_| welcome) {
                let previous = Link {
                    peer: self.previous(),
                    socket,
                };
                return Ok(Links {
                    next: Link {
                        peer: self.next,
                        socket: called.socket,
                    },
                    previous,
                });
            }
            let mut descriptors = vec![self.attempt.wake()];
            if !welcome {
                descriptors.push(PollFd::new(called.socket.as_fd(), PollFlags::POLLIN));
            }
            if previous.is_none() {
                descriptors.push(PollFd::new(self.listener.as_fd(), PollFlags::POLLIN));
                descriptors.extend(
                    callers
                        .iter()
                        .map(|caller| PollFd::new(caller.socket.as_fd(), PollFlags::POLLIN)),
                );
            }
            let waiting_for = || self.missing(welcome, previous.is_some(), turned_away.as_ref());
            self.attempt.wait(&mut descriptors, Duration::MAX, waiting_for)?;
        }
    }

    /// Whether the next rank has welcomed us.
    fn answer(&self, called: &mut Caller) -> Result<bool, CollectiveError> {
        match called.listen() {
            Heard::NotAll => Ok(false),
            Heard::HungUp(reason) => Err(self.attempt.lost(self.next, reason)),
            Heard::Message(Err(found)) => Err(CollectiveError::ForeignProtocol {
                address: self.address.to_owned(),
                expected: MARK,
                found,
            }),
            Heard::Message(Ok(Hello { identity, word })) if word == 1 && identity == self.expected(self.next) => {
                Ok(true)
            }
            Heard::Message(Ok(Hello { identity: theirs, .. })) => Err(CollectiveError::Refused {
                address: self.address.to_owned(),
                ours: self.identity,
                theirs,
            }),
        }
    }

    fn accept(&self, callers: &mut Vec<Caller>) -> Result<(), CollectiveError> {
        loop {
            match self.listener.accept() {
                Ok((socket, _)) => {
                    self.prepare(&socket)?;
                    callers.push(Caller::new(socket));
                    if callers.len() > MAX_SILENT_CALLERS {
                        callers.remove(0);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted) => {}
                Err(error) => return Err(self.attempt.socket("accept its neighbour", error)),
            }
        }
    }

    /// The previous rank, if it is among the callers now. Those that do not belong here are told so and dropped.
    fn greet(
        &self,
        callers: &mut Vec<Caller>,
        turned_away: &mut Option<Identity>,
    ) -> Result<Option<TcpStream>, CollectiveError> {
        let mut index = 0;
        while index < callers.len() {
            let hello = match callers[index].listen() {
                Heard::NotAll => {
                    index += 1;
                    continue;
                }
                Heard::Message(Ok(hello)) => hello,
                Heard::Message(Err(_)) | Heard::HungUp(_) => {
                    callers.remove(index);
                    continue;
                }
            };
            let mut socket = callers.remove(index).socket;
            let expected = Hello {
                identity: self.expected(self.previous()),
                word: self.identity.rank,
            };
            let answer = Hello {
                identity: self.identity,
                word: u32::from(hello == expected),
            };
            let told = socket.write_all(&answer.encode());
            if hello != expected {
                tracing::warn!(ours = %self.identity, theirs = %hello.identity, "turned a caller away from the ring");
                *turned_away = Some(hello.identity);
            } else if told.is_ok() {
                return Ok(Some(socket));
            }
        }
        Ok(None)
    }

    fn expected(&self, rank: u32) -> Identity {
        Identity { rank, ..self.identity }
    }

    /// No delay, no blocking, and probes that notice a machine that is gone.
    fn prepare(&self, socket: &TcpStream) -> Result<(), CollectiveError> {
        let failed = |source| self.attempt.socket("set up a connection", source);
        socket.set_nonblocking(true).map_err(failed)?;
        socket.set_nodelay(true).map_err(failed)?;
        let keepalive = TcpKeepalive::new()
            .with_time(Duration::from_secs(5))
            .with_interval(Duration::from_secs(2))
            .with_retries(3);
        SockRef::from(socket).set_tcp_keepalive(&keepalive).map_err(failed)
    }

    fn missing(&self, welcome: bool, called: bool, turned_away: Option<&Identity>) -> String {
        let mut parts = Vec::new();
        if !welcome {
            parts.push(format!("rank {} at {} has not answered", self.next, self.address));
        }
        if !called {
            parts.push(format!("rank {} has not called", self.previous()));
        }
        if let Some(theirs) = turned_away {
            parts.push(format!("turned away {theirs} (we are {})", self.identity));
        }
        parts.join(", ")
    }
}
