//! Whether the coordinator serves: the journal is replayed, it can be written, the engine answers, and nobody has told the coordinator to stop.
//!
//! A disk that is only nearly full is no reason not to serve: what makes room again comes over the same port.

use std::{convert::Infallible, time::Duration};

use firn_probes::Readiness;
use tokio::time::{sleep, timeout};

use crate::engine::{EngineHandle, Standing, Stopped};

/// Between two questions to the engine.
const INTERVAL: Duration = Duration::from_secs(1);
/// An engine that does not answer for so long does not serve: some writes take a while, none takes that long where the disk is well.
const LONGEST_SILENCE: Duration = Duration::from_secs(10);
/// Names under which health is reported: the whole server and its services.
const NAMES: &[&str] = &[
    "",
    "firn.v1alpha1.JobService",
    "firn.v1alpha1.WorkerService",
    "firn.v1alpha1.RankService",
    "firn.v1alpha1.AccessService",
];

/// It does not serve yet.
pub(super) fn not_yet() -> Readiness {
    Readiness::new("the journal is being replayed", NAMES)
}

/// Asks the engine again and again, for as long as it is polled.
pub(super) async fn follow(readiness: &Readiness, engine: &EngineHandle) -> Infallible {
    let mut standing = engine.standing();
    loop {
        let answer = timeout(LONGEST_SILENCE, engine.ask(|_| ())).await;
        let answer = answer.unwrap_or(Err(Stopped));
        let serving = match (&*standing.borrow_and_update(), answer) {
            (Standing::ReadOnly { reason, .. }, _) => Err(format!("the journal cannot be written: {reason}")),
            (_, Err(Stopped)) => Err("the engine does not answer".to_owned()),
            (Standing::Writing | Standing::Sparing { .. }, Ok(())) => Ok(()),
        };
        readiness.set(serving).await;
        tokio::select! {
            () = sleep(INTERVAL) => {}
            Ok(()) = standing.changed() => {}
        }
    }
}
