//! The rank's sign of life, and its ear: a task that talks with the coordinator while the main thread computes.
//!
//! It runs from the first call to the end of the process, in every generation and between them. What must not wait for the main thread
//! happens here: a collective that has lost a rank is aborted, and a process that is no longer wanted ends. The latter goes without any
//! clean-up (`_exit`): the main thread may be anywhere inside libtorch, whose destructors must not run beneath it.

use std::{sync::Arc, time::Duration};

use firn_proto::v1alpha1 as wire;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Instant, sleep, timeout},
};
use tonic::{Code, Status};
use tracing::{info, warn};

use super::{client::Client, heartbeat::Heartbeat, status::is_passing};
use crate::rank::exit;

/// The coordinator answers sooner, with or without news; what takes longer is lost.
const ANSWER_WITHIN: Duration = Duration::from_secs(6);
/// Between two pulses, where nothing new is to be told: the coordinator repeats its news until the main thread has acted on it.
const INTERVAL: Duration = Duration::from_millis(500);
/// For the coordinator to say how to leave.
const LEAVE_WITHIN: Duration = Duration::from_secs(1);

/// Pulses for ever.
pub(crate) async fn beat(client: Client, heartbeat: Arc<Heartbeat>) {
    let mut is_away = false;
    loop {
        let began = Instant::now();
        let request = heartbeat.request();
        let told = request.state_hashes.clone();
        let answer = tokio::select! {
            answer = timeout(ANSWER_WITHIN, client.pulse(request)) => answer,
            // Told at once, by another pulse.
            () = heartbeat.news() => continue,
        };
        match answer {
            Ok(Ok(answer)) => {
                is_away = false;
                heed(&heartbeat, &answer, &told);
            }
            Ok(Err(status)) if is_final(&status) => {
                if !heartbeat.is_finishing() {
                    stop(status.message());
                }
            }
            Ok(Err(status)) => note_absence(&mut is_away, &status.to_string()),
            Err(_) => note_absence(&mut is_away, "no answer"),
        }
        // Either ends the wait.
        let _ = timeout(INTERVAL.saturating_sub(began.elapsed()), heartbeat.news()).await;
    }
}

fn heed(heartbeat: &Heartbeat, answer: &wire::PulseResponse, told: &[wire::StateHash]) {
    if !answer.stop.is_empty() && !heartbeat.is_finishing() {
        stop(&answer.stop);
    }
    heartbeat.heed(answer, told);
    if heartbeat.leave().is_some() && heartbeat.is_preparing() {
        info!("leaving before the first step, as told");
        exit::at_once(exit::LEFT);
    }
}

fn stop(reason: &str) -> ! {
    info!(reason, "stopped by the coordinator");
    exit::at_once(exit::STOPPED)
}

/// Whether the coordinator knows this process and does not want it, or does not know it at all.
fn is_final(status: &Status) -> bool {
    let is_refusal = matches!(status.code(), Code::Aborted | Code::NotFound | Code::FailedPrecondition);
    is_refusal && !is_passing(status)
}

fn note_absence(is_away: &mut bool, reason: &str) {
    if !std::mem::replace(is_away, true) {
        warn!(reason, "the coordinator does not answer the pulse; going on without it");
    }
}

/// On SIGTERM: asks the coordinator how to leave, and leaves without its answer if there is none. A second SIGTERM ends the process.
///
/// # Errors
/// When the system does not let signals be watched.
pub(crate) async fn heed_signals(heartbeat: Arc<Heartbeat>) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    terminate.recv().await;
    info!("told to end (SIGTERM): leaving at the next step");
    heartbeat.leave_soon();
    tokio::select! {
        () = heartbeat.told_to_leave() => {}
        () = sleep(LEAVE_WITHIN) => heartbeat.leave_unasked(),
        _ = terminate.recv() => exit::by_signal(),
    }
    if heartbeat.is_preparing() {
        exit::at_once(exit::LEFT);
    }
    terminate.recv().await;
    exit::by_signal()
}
