//! Resources that were let go although the coordinator had not been told.

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

/// Their uids, and a bell for whoever tells the coordinator.
#[derive(Debug, Default)]
pub(super) struct LetGo {
    uids: Mutex<BTreeSet<String>>,
    bell: Notify,
}

impl LetGo {
    /// One more.
    pub(super) fn add(&self, uid: String) {
        self.lock().insert(uid);
        self.bell.notify_one();
    }

    /// All of them.
    pub(super) fn all(&self) -> BTreeSet<String> {
        self.lock().clone()
    }

    /// The coordinator was told of these.
    pub(super) fn ended(&self, uids: &BTreeSet<String>) {
        self.lock().retain(|uid| !uids.contains(uid));
    }

    /// Returns when one was added since this was asked last.
    pub(super) async fn notified(&self) {
        self.bell.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.uids.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
