//! Ctrl-C: once means cancel, twice means now. SIGTERM and SIGHUP count alike.

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinHandle,
};

use crate::cmd::error::CommandError;

/// Counts the interrupts of this process, from its creation on.
pub(super) struct Interrupts {
    count: watch::Receiver<u32>,
    listener: JoinHandle<()>,
}

impl Interrupts {
    /// Starts to listen.
    pub(super) fn listen() -> Result<Self, CommandError> {
        let hear =
            |kind| signal(kind).map_err(|error| CommandError::Local(format!("cannot listen for signals: {error}")));
        let mut interrupt = hear(SignalKind::interrupt())?;
        let mut terminate = hear(SignalKind::terminate())?;
        let mut hangup = hear(SignalKind::hangup())?;
        let (sender, count) = watch::channel(0);
        let listener = tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hangup.recv() => {}
                }
                sender.send_modify(|count| *count += 1);
            }
        });
        Ok(Self { count, listener })
    }

    /// Waits for the interrupt of this number, from 1.
    pub(super) async fn reached(&self, number: u32) {
        let mut count = self.count.clone();
        if count.wait_for(|count| *count >= number).await.is_err() {
            // The listener ends only with this value; then nobody interrupts any more.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        self.listener.abort();
    }
}
