//! What the coordinator wants of this process, as its answers to the pulse say.
//!
//! The main thread looks here at every boundary, and whoever waits can wait for an order instead. An order stays: nothing that comes later takes
//! it back.

use firn_proto::v1alpha1 as wire;
use tokio::sync::watch;

/// How the process is to leave: the worker is drained or preempted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Leave {
    /// Nobody stays: rank 0 stores a checkpoint first.
    pub(crate) store_checkpoint: bool,
}

/// All that was ordered so far.
#[derive(Debug, Default)]
pub(super) struct Orders {
    given: watch::Sender<Given>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Given {
    /// The newest generation that a pulse was answered with.
    newest: u64,
    /// The newest one that does not wait for the end of a step.
    urgent: u64,
    leave: Option<Leave>,
}

impl Orders {
    /// The newest generation that a pulse was answered with.
    pub(super) fn newest(&self) -> u64 {
        self.given.borrow().newest
    }

    /// The newest one that does not wait for the end of a step.
    pub(super) fn urgent(&self) -> u64 {
        self.given.borrow().urgent
    }

    /// Whether the process is to leave.
    pub(super) fn leave(&self) -> Option<Leave> {
        self.given.borrow().leave
    }

    /// Returns when the process is to leave in a way that is waited for.
    pub(super) async fn wait_for(&self, is_it: impl Fn(Option<Leave>) -> bool) {
        let mut given = self.given.subscribe();
        let told = given.wait_for(|given| is_it(given.leave)).await;
        drop(told.expect("the sender is `self`, which lives"));
    }

    /// Takes an answer in; `is_urgent`: its generation does not wait for the end of a step.
    pub(super) fn hear(&self, answer: &wire::PulseResponse, is_urgent: bool) {
        self.given.send_if_modified(|given| {
            let before = *given;
            given.newest = given.newest.max(answer.generation);
            if is_urgent {
                given.urgent = given.urgent.max(answer.generation);
            }
            if let Some(leave) = answer.leave {
                given.leave = Some(Leave {
                    store_checkpoint: leave.store_checkpoint,
                });
            }
            *given != before
        });
    }

    /// An order to leave that nobody gave: the coordinator is away.
    pub(super) fn leave_unasked(&self) {
        self.given.send_if_modified(|given| {
            let is_new = given.leave.is_none();
            given.leave.get_or_insert(Leave {
                store_checkpoint: false,
            });
            is_new
        });
    }
}
