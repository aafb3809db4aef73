//! `firn serve`: runs the coordinator until SIGTERM or SIGINT.
//!
//! What it says goes to standard error, filtered by `FIRN_LOG` (`info` by default; the syntax of
//! `tracing_subscriber::EnvFilter`), as lines for people or, with `FIRN_LOG_FORMAT=json`, for programs.

use std::io::{self, IsTerminal as _};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use super::{error::CommandError, outcome::Outcome};
use crate::{
    fail_point,
    serve::{
        Coordinator,
        settings::{ServeArgs, ServeSettings},
    },
};

pub(crate) async fn run(args: ServeArgs) -> Result<Outcome, CommandError> {
    let settings = ServeSettings::resolve(args).map_err(|error| CommandError::Usage(error.to_string()))?;
    start_logging()?;
    fail_point::arm_from_environment().map_err(|error| CommandError::Usage(error.to_string()))?;
    let stop = stop_on_signal()?;
    let failed = |error: crate::serve::ServeError| CommandError::Local(error.to_string());
    // Nothing else runs yet, so the replay may block this thread.
    let coordinator = Coordinator::open(settings).map_err(failed)?;
    coordinator.run(stop).await.map_err(failed)?;
    Ok(Outcome::Success)
}

fn start_logging() -> Result<(), CommandError> {
    let filter = EnvFilter::builder()
        .with_env_var("FIRN_LOG")
        .with_default_directive(tracing::Level::INFO.into());
    let filter = filter
        .from_env()
        .map_err(|error| CommandError::Usage(format!("invalid FIRN_LOG: {error}")))?;
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let builder = tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_env_filter(filter)
        .with_target(false);
    if std::env::var("FIRN_LOG_FORMAT").is_ok_and(|format| format == "json") {
        builder.json().init();
    } else {
        builder.with_ansi(colour).init();
    }
    Ok(())
}

/// A token that is cancelled by the first SIGTERM or SIGINT.
fn stop_on_signal() -> Result<CancellationToken, CommandError> {
    let hear = |kind| signal(kind).map_err(|error| CommandError::Local(format!("cannot listen for signals: {error}")));
    let (mut terminate, mut interrupt) = (hear(SignalKind::terminate())?, hear(SignalKind::interrupt())?);
    let stop = CancellationToken::new();
    let told = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        told.cancel();
    });
    Ok(stop)
}
