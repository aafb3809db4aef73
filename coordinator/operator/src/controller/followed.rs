//! What the coordinator has told of the jobs that are followed. Each is a stream: nobody asks again and again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::channel::mpsc::UnboundedSender;
use kube::runtime::reflector::ObjectRef;
use tokio::{
    sync::Notify,
    task::AbortHandle,
    time::{Instant, sleep, timeout},
};
use tracing::warn;

use super::coordinator::{Coordinator, CoordinatorError, Watched};
use super::plan::{Remote, Silence};
use super::report::PROGRESS_INTERVAL;
use crate::resource::FineTuneJob;

/// Between two attempts to open a stream.
const PAUSE: Duration = Duration::from_secs(2);
/// A coordinator that is away for longer than a restart takes is missed on the resource.
const MISSED_AFTER: Duration = Duration::from_secs(10);

struct Followed {
    remote: Remote,
    stream: Option<AbortHandle>,
    /// How often its stream was opened after one that broke: perhaps to another coordinator.
    reopened: u64,
    /// Why nothing is heard.
    silence: Option<Silence>,
}

/// The jobs by the uid of their resource.
#[derive(Clone)]
pub(super) struct Jobs {
    known: Arc<Mutex<HashMap<String, Followed>>>,
    /// Resources that are to be looked at again.
    changed: UnboundedSender<ObjectRef<FineTuneJob>>,
    /// Told when a stream was opened anew, or the coordinator has lost a job.
    perhaps_another: Arc<Notify>,
}

impl Jobs {
    /// None yet.
    pub(super) fn new(changed: UnboundedSender<ObjectRef<FineTuneJob>>) -> Self {
        Self {
            known: Arc::default(),
            changed,
            perhaps_another: Arc::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Followed>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was told last.
    pub(super) fn get(&self, uid: &str) -> Option<Remote> {
        self.lock().get(uid).map(|followed| followed.remote.clone())
    }

    /// Why nothing is heard of a job now; `None`: it is heard of, or has been for a moment.
    pub(super) fn silence(&self, uid: &str) -> Option<Silence> {
        self.lock().get(uid).and_then(|followed| followed.silence.clone())
    }

    /// How often the stream of a job was opened after one that broke.
    pub(super) fn reopened(&self, uid: &str) -> u64 {
        self.lock().get(uid).map_or(0, |followed| followed.reopened)
    }

    /// Waits until the coordinator may be another one than before.
    pub(super) async fn perhaps_another_coordinator(&self) {
        self.perhaps_another.notified().await;
    }

    fn note_reopened(&self, uid: &str, object: &ObjectRef<FineTuneJob>) {
        if let Some(followed) = self.lock().get_mut(uid) {
            followed.reopened += 1;
        }
        self.perhaps_another.notify_one();
        self.tell(object);
    }

    /// Takes over what was told. Returns whether it was not known.
    pub(super) fn learn(&self, uid: &str, remote: Remote) -> bool {
        let mut known = self.lock();
        if let Some(followed) = known.get_mut(uid) {
            let is_news = followed.remote != remote;
            followed.remote = remote;
            return is_news;
        }
        let followed = Followed {
            remote,
            stream: None,
            reopened: 0,
            silence: None,
        };
        known.insert(uid.to_owned(), followed);
        true
    }

    /// The resource is gone.
    pub(super) fn forget(&self, uid: &str) {
        if let Some(stream) = self.lock().remove(uid).and_then(|followed| followed.stream) {
            stream.abort();
        }
    }

    /// Follows a job that is known, if it is not followed yet, until it is over.
    pub(super) fn follow(&self, uid: &str, object: ObjectRef<FineTuneJob>, coordinator: &Coordinator) {
        let mut known = self.lock();
        let Some(followed) = known.get_mut(uid) else { return };
        if followed.stream.as_ref().is_some_and(|stream| !stream.is_finished()) || followed.remote.has_ended {
            return;
        }
        let name = format!("jobs/{}", followed.remote.id);
        let (jobs, coordinator, uid) = (self.clone(), coordinator.clone(), uid.to_owned());
        let task = tokio::spawn(async move { jobs.listen(&uid, object, name, &coordinator).await });
        followed.stream = Some(task.abort_handle());
    }

    async fn listen(&self, uid: &str, object: ObjectRef<FineTuneJob>, name: String, coordinator: &Coordinator) {
        let mut heard = Instant::now();
        let mut has_broken = false;
        loop {
            match coordinator.watch(name.clone()).await {
                Ok(stream) => {
                    if has_broken {
                        self.note_reopened(uid, &object);
                    }
                    if self.hear(uid, &object, stream).await {
                        return;
                    }
                    heard = Instant::now();
                }
                Err(error) if error.is_passing() => {
                    warn!(job = name, %error, "not following the job for now");
                    if heard.elapsed() >= MISSED_AFTER {
                        self.set_silence(uid, &object, Some(silence(&error)));
                    }
                }
                Err(error) if error.is_of_no_job() => {
                    // A coordinator that was restored from a backup: the job is given to it again.
                    warn!(job = name, %error, "the coordinator has lost the job");
                    self.lock().remove(uid);
                    self.perhaps_another.notify_one();
                    self.tell(&object);
                    return;
                }
                Err(error) => {
                    warn!(job = name, %error, "not following the job any more");
                    self.set_silence(uid, &object, Some(silence(&error)));
                    return;
                }
            }
            has_broken = true;
            sleep(PAUSE).await;
        }
    }

    /// Takes over what a stream tells. A step more is told the resource every few seconds. Returns whether the job is over.
    async fn hear(&self, uid: &str, object: &ObjectRef<FineTuneJob>, mut stream: Watched) -> bool {
        let mut told = Instant::now();
        let mut is_behind = false;
        loop {
            let message = match is_behind {
                true => timeout(PROGRESS_INTERVAL.saturating_sub(told.elapsed()), stream.message()).await,
                false => Ok(stream.message().await),
            };
            match message {
                Ok(Ok(Some(job))) => {
                    self.set_silence(uid, object, None);
                    let remote = Remote::of(&job);
                    let has_ended = remote.has_ended;
                    let before = self.get(uid);
                    is_behind |= before.as_ref().is_some_and(|before| *before != remote);
                    let is_progress = before.is_some_and(|before| before.differs_by_progress_alone(&remote));
                    self.learn(uid, remote);
                    if !is_progress || has_ended || told.elapsed() >= PROGRESS_INTERVAL {
                        (told, is_behind) = (Instant::now(), false);
                        self.tell(object);
                    }
                    if has_ended {
                        return true;
                    }
                }
                Ok(Ok(None) | Err(_)) => return false,
                // Nothing more was said for a while.
                Err(_) => {
                    (told, is_behind) = (Instant::now(), false);
                    self.tell(object);
                }
            }
        }
    }

    fn set_silence(&self, uid: &str, object: &ObjectRef<FineTuneJob>, silence: Option<Silence>) {
        let mut known = self.lock();
        let Some(followed) = known.get_mut(uid) else { return };
        let is_news = followed.silence != silence;
        followed.silence = silence;
        drop(known);
        if is_news {
            self.tell(object);
        }
    }

    fn tell(&self, object: &ObjectRef<FineTuneJob>) {
        // The operator ends where nobody listens.
        let _ = self.changed.unbounded_send(object.clone());
    }
}

fn silence(error: &CoordinatorError) -> Silence {
    Silence {
        reason: error.reason(),
        message: error.to_string(),
    }
}
