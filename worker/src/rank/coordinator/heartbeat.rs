//! What the main thread and the pulse know of each other.
//!
//! The main thread counts what it does here, and looks here at every boundary; the pulse tells the coordinator the counts and leaves the
//! coordinator's orders. Neither waits for the other: counts are atomics, orders are a watched value, and the mutex is held for a copy.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use firn_collective::AbortHandle;
use firn_core::state::rank_activity;
use firn_proto::v1alpha1 as wire;
use tokio::sync::Notify;

use super::orders::{Leave, Orders};
use crate::rank::stop_reason::Interruption;

/// Hashes that wait for an answer; an older one says nothing that a newer one does not.
const HASHES: usize = 16;

/// The life of a rank, as others see it.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    /// Of the `World` that the main thread works in; 0 before the first.
    generation: AtomicU64,
    /// The highest that any coordinator told.
    coordinator_epoch: AtomicU64,
    steps_done: AtomicU64,
    ticks: AtomicU64,
    steps_committed: AtomicU64,
    /// SIGTERM came.
    leaving: AtomicBool,
    /// The job's end is being reported, so its being over is no news.
    finishing: AtomicBool,
    shown: Mutex<Shown>,
    /// Something that the coordinator should know at once.
    news: Notify,
    orders: Orders,
}

#[derive(Debug)]
struct Shown {
    activity: &'static str,
    /// Of the collective that is connected or is being connected, with its generation.
    abort: Option<(u64, AbortHandle)>,
    hashes: VecDeque<wire::StateHash>,
}

impl Heartbeat {
    pub(crate) fn new() -> Self {
        Self {
            generation: AtomicU64::new(0),
            coordinator_epoch: AtomicU64::new(0),
            steps_done: AtomicU64::new(0),
            ticks: AtomicU64::new(0),
            steps_committed: AtomicU64::new(0),
            leaving: AtomicBool::new(false),
            finishing: AtomicBool::new(false),
            shown: Mutex::new(Shown {
                activity: rank_activity::PREPARING,
                abort: None,
                hashes: VecDeque::new(),
            }),
            news: Notify::new(),
            orders: Orders::default(),
        }
    }

    // What the main thread tells.

    /// One of the words of `PulseRequest.activity`.
    pub(crate) fn begin(&self, activity: &'static str) {
        self.shown().activity = activity;
        self.tick();
    }

    /// Something has moved.
    pub(crate) fn tick(&self) {
        self.ticks.fetch_add(1, Ordering::Relaxed);
    }

    /// The state in this process has so many steps.
    pub(crate) fn set_steps_done(&self, steps_done: u64) {
        self.steps_done.store(steps_done, Ordering::Relaxed);
    }

    /// The main thread works in this generation from now on, and `abort` ends its collective, also while that is being connected.
    pub(crate) fn enter(&self, generation: u64, abort: &AbortHandle) {
        let mut shown = self.shown();
        self.generation.store(generation, Ordering::SeqCst);
        // What the ledger held before may have been rolled back.
        self.steps_committed.store(0, Ordering::Relaxed);
        shown.abort = Some((generation, abort.clone()));
        shown.hashes.clear();
        drop(shown);
        // The pulse may have heard of a later generation between the coordinator's answer and this line.
        if self.orders.urgent() > generation {
            abort.abort();
        }
        self.news.notify_one();
    }

    /// What the trained state hashes to; told until it is answered.
    pub(crate) fn show_hash(&self, hash: wire::StateHash) {
        let mut shown = self.shown();
        if shown.hashes.len() == HASHES {
            shown.hashes.pop_front();
        }
        shown.hashes.push_back(hash);
        drop(shown);
        self.news.notify_one();
    }

    /// Whether the end of the job is being reported from now on.
    pub(crate) fn finish(&self, is_finishing: bool) {
        self.finishing.store(is_finishing, Ordering::SeqCst);
    }

    /// SIGTERM came.
    pub(crate) fn leave_soon(&self) {
        self.leaving.store(true, Ordering::SeqCst);
        self.news.notify_one();
    }

    // What the main thread asks.

    /// Of the `World` that the main thread works in.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    /// The highest that any coordinator told.
    pub(crate) fn coordinator_epoch(&self) -> u64 {
        self.coordinator_epoch.load(Ordering::SeqCst)
    }

    /// Steps in the ledger, as far as this generation knows.
    pub(crate) fn steps_committed(&self) -> u64 {
        self.steps_committed.load(Ordering::Relaxed)
    }

    /// Whether the process is to leave, at the next boundary.
    pub(crate) fn leave(&self) -> Option<Leave> {
        self.orders.leave()
    }

    /// At a step or shard boundary: whether another generation takes over.
    pub(crate) fn check_generation(&self) -> Result<(), Interruption> {
        self.check(self.orders.newest())
    }

    /// Within a step: whether another generation takes over that does not wait for the step's end.
    pub(crate) fn check_urgent(&self) -> Result<(), Interruption> {
        self.check(self.orders.urgent())
    }

    fn check(&self, newest: u64) -> Result<(), Interruption> {
        if newest > self.generation() {
            return Err(Interruption::NewGeneration(newest));
        }
        Ok(())
    }

    /// Returns when the process is to leave.
    pub(crate) async fn told_to_leave(&self) {
        self.orders.wait_for(|leave| leave.is_some()).await;
    }

    /// Returns when the process is to leave and nothing has to be stored first.
    pub(crate) async fn told_to_leave_at_once(&self) {
        let at_once = Some(Leave {
            store_checkpoint: false,
        });
        self.orders.wait_for(|leave| leave == at_once).await;
    }

    // What the pulse does.

    /// Returns when something should be told at once.
    pub(crate) async fn news(&self) {
        self.news.notified().await;
    }

    /// Everything but who is asking.
    pub(crate) fn request(&self) -> wire::PulseRequest {
        let shown = self.shown();
        let abort = shown.abort.as_ref().map(|(_, abort)| abort);
        let sequence = abort.map_or(0, AbortHandle::sequence);
        wire::PulseRequest {
            identity: None,
            activity: shown.activity.to_owned(),
            steps_done: self.steps_done.load(Ordering::Relaxed),
            sequence,
            operation: abort
                .and_then(AbortHandle::running)
                .map(|operation| operation.to_string())
                .unwrap_or_default(),
            ticks: self.ticks.load(Ordering::Relaxed) + sequence,
            state_hashes: shown.hashes.iter().cloned().collect(),
            leaving: self.leaving.load(Ordering::SeqCst),
        }
    }

    /// Takes an answer in. `told`: the hashes that the request held.
    pub(crate) fn heed(&self, answer: &wire::PulseResponse, told: &[wire::StateHash]) {
        self.hear_epoch(answer.coordinator_epoch);
        let mut shown = self.shown();
        if answer.generation == self.generation() {
            self.steps_committed.store(answer.steps_committed, Ordering::Relaxed);
        }
        shown.hashes.retain(|hash| !told.contains(hash));
        let is_urgent = answer.generation > self.generation() && !answer.at_step_boundary;
        self.orders.hear(answer, is_urgent);
        if let Some((generation, abort)) = &shown.abort
            && is_urgent
            && *generation < answer.generation
        {
            abort.abort();
        }
    }

    /// An order to leave that nobody gave: the coordinator is away.
    pub(crate) fn leave_unasked(&self) {
        self.orders.leave_unasked();
    }

    /// Notes a coordinator's epoch.
    pub(crate) fn hear_epoch(&self, epoch: u64) {
        self.coordinator_epoch.fetch_max(epoch, Ordering::SeqCst);
    }

    /// Whether the job's end is being reported by this process.
    pub(crate) fn is_finishing(&self) -> bool {
        self.finishing.load(Ordering::SeqCst)
    }

    /// Whether nothing would be lost if the process ended now: it was in no gang yet, and holds nothing that was trained.
    pub(crate) fn is_preparing(&self) -> bool {
        self.generation() == 0
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(generation: u64, at_step_boundary: bool) -> wire::PulseResponse {
        wire::PulseResponse {
            generation,
            at_step_boundary,
            ..Default::default()
        }
    }

    fn working_in(generation: u64) -> (Heartbeat, AbortHandle) {
        let heartbeat = Heartbeat::new();
        let abort = AbortHandle::with_wake().unwrap();
        heartbeat.enter(generation, &abort);
        (heartbeat, abort)
    }

    #[test]
    fn a_generation_that_can_wait_is_noticed_at_the_boundary_and_aborts_nothing() {
        let (heartbeat, abort) = working_in(3);
        heartbeat.heed(&answer(3, false), &[]);
        assert!(heartbeat.check_generation().is_ok());
        heartbeat.heed(&answer(4, true), &[]);
        assert!(heartbeat.check_urgent().is_ok());
        assert_eq!(
            heartbeat.check_generation().unwrap_err().to_string(),
            "generation 4 takes over"
        );
        assert!(!abort.is_aborted());
    }

    #[test]
    fn a_generation_that_cannot_wait_aborts_the_collective_at_once() {
        let (heartbeat, abort) = working_in(3);
        heartbeat.heed(&answer(4, false), &[]);
        assert!(abort.is_aborted());
        assert!(heartbeat.check_urgent().is_err());
        // The next one is of the generation that was announced, and stays.
        let next = AbortHandle::with_wake().unwrap();
        heartbeat.enter(4, &next);
        assert!(heartbeat.check_urgent().is_ok() && heartbeat.check_generation().is_ok());
        heartbeat.heed(&answer(4, false), &[]);
        assert!(!next.is_aborted());
    }

    #[test]
    fn a_collective_that_is_too_late_is_aborted_before_it_connects() {
        let (heartbeat, _) = working_in(3);
        heartbeat.heed(&answer(5, false), &[]);
        let late = AbortHandle::with_wake().unwrap();
        heartbeat.enter(4, &late);
        assert!(late.is_aborted());
    }

    #[test]
    fn what_an_earlier_generation_committed_does_not_count() {
        let (heartbeat, _) = working_in(1);
        let committed = |generation, steps_committed| wire::PulseResponse {
            steps_committed,
            ..answer(generation, true)
        };
        heartbeat.heed(&committed(1, 150), &[]);
        assert_eq!(heartbeat.steps_committed(), 150);
        heartbeat.enter(2, &AbortHandle::with_wake().unwrap());
        heartbeat.heed(&committed(1, 150), &[]);
        assert_eq!(heartbeat.steps_committed(), 0);
        heartbeat.heed(&committed(2, 100), &[]);
        assert_eq!(heartbeat.steps_committed(), 100);
    }

    #[test]
    fn hashes_are_told_until_they_are_answered() {
        let (heartbeat, _) = working_in(1);
        let hash = |steps_done| wire::StateHash {
            steps_done,
            hash: format!("{steps_done:x}"),
        };
        heartbeat.show_hash(hash(100));
        let told = heartbeat.request().state_hashes;
        assert_eq!(told, [hash(100)]);
        heartbeat.show_hash(hash(200));
        heartbeat.heed(&answer(1, false), &told);
        assert_eq!(heartbeat.request().state_hashes, [hash(200)]);
        (3..40).for_each(|steps| heartbeat.show_hash(hash(steps)));
        let kept = heartbeat.request().state_hashes;
        assert_eq!((kept.len(), kept.last()), (HASHES, Some(&hash(39))));
    }

    #[test]
    fn what_a_pulse_tells_is_what_happens() {
        let (heartbeat, _) = working_in(2);
        heartbeat.begin(rank_activity::TRAINING);
        heartbeat.set_steps_done(7);
        let first = heartbeat.request();
        assert_eq!((first.activity.as_str(), first.steps_done), ("training", 7));
        assert_eq!((first.operation.as_str(), first.leaving), ("", false));
        heartbeat.tick();
        heartbeat.leave_soon();
        let second = heartbeat.request();
        assert_eq!((second.ticks, second.leaving), (first.ticks + 1, true));
    }

    #[test]
    fn an_order_to_leave_stays_and_is_not_weakened_by_impatience() {
        let (heartbeat, _) = working_in(1);
        assert_eq!(heartbeat.leave(), None);
        let leave = wire::Leave { store_checkpoint: true };
        heartbeat.heed(
            &wire::PulseResponse {
                leave: Some(leave),
                ..answer(1, false)
            },
            &[],
        );
        heartbeat.leave_unasked();
        heartbeat.heed(&answer(1, false), &[]);
        assert_eq!(heartbeat.leave(), Some(Leave { store_checkpoint: true }));
    }
}
