//! Ends collective work from another thread, at once.
//!
//! Shutting the sockets down wakes the operation that waits on them and tells the neighbours in the same moment; the event descriptor
//! wakes a rank that has no connection yet. Both are level-triggered and never reset: there is no way back from an abort.

use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use nix::sys::eventfd::{EfdFlags, EventFd};

/// Aborts one collective. Cheap to clone; usable from any thread, any number of times.
#[derive(Clone, Debug)]
pub struct AbortHandle {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    aborted: AtomicBool,
    sequence: AtomicU64,
    wake: Option<EventFd>,
    sockets: Mutex<Vec<TcpStream>>,
}

impl AbortHandle {
    /// For a collective that never waits on a descriptor.
    pub(crate) fn without_wake() -> Self {
        Self::build(None)
    }

    /// For a collective that polls [`AbortHandle::wake`] beside its sockets.
    pub(crate) fn with_wake() -> std::io::Result<Self> {
        let wake = EventFd::from_value_and_flags(0, EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
        Ok(Self::build(Some(wake)))
    }

    fn build(wake: Option<EventFd>) -> Self {
        let (aborted, sequence) = (AtomicBool::new(false), AtomicU64::new(0));
        Self {
            shared: Arc::new(Shared {
                aborted,
                sequence,
                wake,
                sockets: Mutex::new(Vec::new()),
            }),
        }
    }

    /// Ends the operation that is running and makes every later one fail with [`crate::CollectiveError::Aborted`].
    pub fn abort(&self) {
        self.shared.aborted.store(true, Ordering::SeqCst);
        if let Some(wake) = &self.shared.wake {
            // Fails only when the counter is full, and then the poll wakes anyway.
            let _ = wake.write(1);
        }
        self.shut_down(Shutdown::Both);
    }

    /// Whether [`AbortHandle::abort`] was called.
    pub fn is_aborted(&self) -> bool {
        self.shared.aborted.load(Ordering::SeqCst)
    }

    /// Operations that the collective has begun, readable while one of them hangs.
    pub fn sequence(&self) -> u64 {
        self.shared.sequence.load(Ordering::Relaxed)
    }

    pub(crate) fn begin_operation(&self) -> u64 {
        self.shared.sequence.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Readable from the abort on.
    pub(crate) fn wake(&self) -> Option<BorrowedFd<'_>> {
        self.shared.wake.as_ref().map(AsFd::as_fd)
    }

    /// Hands over duplicates of the sockets that an abort shuts down.
    pub(crate) fn watch(&self, sockets: Vec<TcpStream>) {
        *self.shared.sockets.lock().unwrap_or_else(PoisonError::into_inner) = sockets;
        if self.is_aborted() {
            self.shut_down(Shutdown::Both);
        }
    }

    /// Tells the neighbours that nothing more will come, so that they notice now and not at their deadline. What was sent stays readable
    /// for them, and what they send is not answered with a reset: either could hide why this rank gave up.
    pub(crate) fn hang_up(&self) {
        self.shut_down(Shutdown::Write);
    }

    fn shut_down(&self, how: Shutdown) {
        for socket in self
            .shared
            .sockets
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
        {
            // Fails when the peer was faster.
            let _ = socket.shutdown(how);
        }
    }

    /// Closes the duplicates, so that dropping the collective closes the connections even while handles live on.
    pub(crate) fn release(&self) {
        self.shared
            .sockets
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}
