//! Ends collective work from another thread, at once.
//!
//! Shutting the sockets down wakes the operation that waits on them and tells the neighbours in the same moment; the event descriptor
//! wakes a rank that has no connection yet. Both are level-triggered and never reset: there is no way back from an abort.

use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::Operation;

/// Aborts one collective. Cheap to clone; usable from any thread, any number of times.
#[derive(Clone, Debug)]
pub struct AbortHandle {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    aborted: AtomicBool,
    sequence: AtomicU64,
    /// Place in [`Operation::ALL`], from 1, of what runs now; 0: nothing does.
    running: AtomicU8,
    wake: Option<EventFd>,
    sockets: Mutex<Vec<TcpStream>>,
}

impl AbortHandle {
    /// For a collective that never waits on a descriptor.
    pub(crate) fn without_wake() -> Self {
        Self::build(None)
    }

    /// For a collective that waits, and is still to be connected.
    ///
    /// # Errors
    /// When the system gives no event descriptor.
    pub fn with_wake() -> std::io::Result<Self> {
        let wake = EventFd::from_value_and_flags(0, EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
        Ok(Self::build(Some(wake)))
    }

    fn build(wake: Option<EventFd>) -> Self {
        Self {
            shared: Arc::new(Shared {
                aborted: AtomicBool::new(false),
                sequence: AtomicU64::new(0),
                running: AtomicU8::new(0),
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

    /// What the collective does at this moment, readable while it hangs; `None`: it is not asked for anything.
    pub fn running(&self) -> Option<Operation> {
        let place = self.shared.running.load(Ordering::Relaxed);
        Operation::ALL.get(usize::from(place).checked_sub(1)?).copied()
    }

    /// Numbers an operation, which runs until the value is dropped.
    pub(crate) fn begin_operation(&self, operation: Operation) -> Running<'_> {
        let sequence = self.shared.sequence.fetch_add(1, Ordering::Relaxed) + 1;
        self.mark(operation, sequence)
    }

    /// Marks the joining of the gang, which has no number.
    pub(crate) fn begin_connect(&self) -> Running<'_> {
        self.mark(Operation::Connect, 0)
    }

    fn mark(&self, operation: Operation, sequence: u64) -> Running<'_> {
        let place = Operation::ALL.iter().position(|known| *known == operation);
        let place = place.expect("the list holds every operation") as u8 + 1;
        self.shared.running.store(place, Ordering::Relaxed);
        Running {
            sequence,
            running: &self.shared.running,
        }
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
    pub(crate) fn shut_down_writes(&self) {
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

/// An operation under way.
#[derive(Debug)]
pub(crate) struct Running<'a> {
    /// From 1; 0 while connecting.
    pub(crate) sequence: u64,
    running: &'a AtomicU8,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.running.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_is_known_until_it_ends() {
        let abort = AbortHandle::without_wake();
        assert_eq!((abort.running(), abort.sequence()), (None, 0));
        for operation in Operation::ALL {
            let running = abort.begin_operation(operation);
            assert_eq!(abort.running(), Some(operation));
            assert_eq!(abort.sequence(), running.sequence);
            drop(running);
            assert_eq!(abort.running(), None);
        }
        let connecting = abort.begin_connect();
        assert_eq!((connecting.sequence, abort.running()), (0, Some(Operation::Connect)));
    }
}
