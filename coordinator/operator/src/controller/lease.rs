//! One operator at a time: a Lease, which its holder renews. Who cannot renew it ends, before another may take it.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tracing::{info, warn};

/// Without a renewal for so long another may take it.
const DURATION: Duration = Duration::from_secs(15);
/// Between two renewals.
const INTERVAL: Duration = Duration::from_secs(5);
/// A holder that has not renewed it for so long ends: well before another takes it.
const GIVE_UP: Duration = Duration::from_secs(10);

/// Why the holder is one no more.
#[derive(Debug, thiserror::Error)]
pub(super) enum LeaseLost {
    /// Another holds it.
    #[error("another operator holds the lease: {0}")]
    Taken(String),
    /// The API server was not reached in time.
    #[error("the lease could not be renewed for {seconds} s: {reason}", seconds = GIVE_UP.as_secs())]
    NotRenewed {
        /// What came in place of an answer.
        reason: String,
    },
}

/// A lease in the operator's own namespace.
pub(super) struct Leadership {
    leases: Api<Lease>,
    name: String,
    holder: String,
    /// The newest renewal of another, and when it was seen first: clocks of machines differ, so only this one's is asked.
    seen: Mutex<Option<(Option<MicroTime>, Instant)>>,
    standing: watch::Sender<Standing>,
}

/// What an operator knows of its lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// It holds it.
    Holding,
    /// Another does, and it waits.
    Waiting,
    /// The API server has not answered, and why.
    Unanswered(String),
}

impl Leadership {
    /// For the operator that is called `holder`.
    pub(super) fn new(client: Client, namespace: &str, name: &str, holder: String) -> Self {
        Self {
            leases: Api::namespaced(client, namespace),
            name: name.to_owned(),
            holder,
            seen: Mutex::new(None),
            standing: watch::Sender::new(Standing::Unanswered("the API server was not asked yet".to_owned())),
        }
    }

    /// Waits until this operator holds the lease, and returns its uid.
    pub(super) async fn acquire(&self) -> String {
        loop {
            match self.take().await {
                Ok(None) => {
                    info!(holder = self.holder, "this operator holds the lease");
                    if let Ok(lease) = self.leases.get(&self.name).await {
                        return lease.metadata.uid.unwrap_or_default();
                    }
                }
                Ok(Some(holder)) => info!(holder, "another operator holds the lease, waiting"),
                Err(error) => warn!(%error, "cannot ask for the lease, trying again"),
            }
            sleep(INTERVAL).await;
        }
    }

    /// Renews the lease until that fails for too long.
    pub(super) async fn keep(&self) -> LeaseLost {
        let mut renewed = Instant::now();
        loop {
            sleep(INTERVAL).await;
            match tokio::time::timeout(INTERVAL, self.take()).await {
                Ok(Ok(None)) => renewed = Instant::now(),
                Ok(Ok(Some(holder))) => return LeaseLost::Taken(holder),
                Ok(Err(error)) if renewed.elapsed() >= GIVE_UP => {
                    return LeaseLost::NotRenewed {
                        reason: error.to_string(),
                    };
                }
                Ok(Err(error)) => warn!(%error, "the lease was not renewed"),
                Err(_) if renewed.elapsed() >= GIVE_UP => {
                    return LeaseLost::NotRenewed {
                        reason: "no answer".to_owned(),
                    };
                }
                Err(_) => warn!("the lease was not renewed in time"),
            }
        }
    }

    /// Gives it to nobody, so that another need not wait.
    pub(super) async fn release(&self) {
        if let Ok(Some(mut lease)) = self.leases.get_opt(&self.name).await
            && let Some(spec) = lease
                .spec
                .as_mut()
                .filter(|spec| spec.holder_identity.as_ref() == Some(&self.holder))
        {
            spec.holder_identity = None;
            let _ = self.leases.replace(&self.name, &PostParams::default(), &lease).await;
        }
    }

    /// What is known of the lease, now and from now on.
    pub(super) fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// Takes or renews it; who else holds it, if it is somebody else's.
    async fn take(&self) -> Result<Option<String>, kube::Error> {
        let answer = self.ask().await;
        let standing = match &answer {
            Ok(None) => Standing::Holding,
            Ok(Some(_)) => Standing::Waiting,
            Err(error) => Standing::Unanswered(error.to_string()),
        };
        self.standing.send_if_modified(|before| {
            *before != standing && {
                *before = standing;
                true
            }
        });
        answer
    }

    async fn ask(&self) -> Result<Option<String>, kube::Error> {
        let now = Timestamp::now();
        let Some(mut lease) = self.leases.get_opt(&self.name).await? else {
            let lease = Lease {
                metadata: ObjectMeta {
                    name: Some(self.name.clone()),
                    ..ObjectMeta::default()
                },
                spec: Some(self.held(LeaseSpec::default(), now)),
            };
            return match self.leases.create(&PostParams::default(), &lease).await {
                Ok(_) => Ok(None),
                Err(error) => conflict(error),
            };
        };
        let spec = lease.spec.take().unwrap_or_default();
        let other = spec
            .holder_identity
            .clone()
            .filter(|holder| *holder != self.holder && !holder.is_empty());
        if let Some(other) = other
            && !self.is_over(&spec)
        {
            return Ok(Some(other));
        }
        lease.spec = Some(self.held(spec, now));
        // With the version that was read: of two that take it at once, one is refused.
        match self.leases.replace(&self.name, &PostParams::default(), &lease).await {
            Ok(_) => Ok(None),
            Err(error) => conflict(error),
        }
    }

    /// Whether its holder has not renewed it for as long as it lasts.
    fn is_over(&self, spec: &LeaseSpec) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let lasts = Duration::from_secs(spec.lease_duration_seconds.unwrap_or(0).max(0).unsigned_abs().into());
        match seen.as_ref() {
            Some((renewed, since)) if *renewed == spec.renew_time => since.elapsed() > lasts,
            _ => {
                *seen = Some((spec.renew_time.clone(), Instant::now()));
                false
            }
        }
    }

    fn held(&self, spec: LeaseSpec, now: Timestamp) -> LeaseSpec {
        let is_new = spec.holder_identity.as_ref() != Some(&self.holder);
        LeaseSpec {
            holder_identity: Some(self.holder.clone()),
            lease_duration_seconds: Some(DURATION.as_secs() as i32),
            acquire_time: if is_new {
                Some(MicroTime(now))
            } else {
                spec.acquire_time
            },
            renew_time: Some(MicroTime(now)),
            lease_transitions: Some(spec.lease_transitions.unwrap_or(0) + i32::from(is_new)),
            ..spec
        }
    }
}

fn conflict(error: kube::Error) -> Result<Option<String>, kube::Error> {
    match &error {
        kube::Error::Api(answer) if answer.code == 409 => Ok(Some("one that was faster".to_owned())),
        _ => Err(error),
    }
}
