//! The plain port of the coordinator and of agents: whether a program is there and serves, and what Prometheus is told.
//!
//! Probes have neither certificates nor tokens, so they get a listener beside the one for everybody else; what is told there holds no
//! secret and changes nothing. *Live* means that the process is not stuck. *Ready* means that it serves, which the program itself decides. Both
//! are told over HTTP (`/livez`, `/readyz`) and the latter as `grpc.health.v1`, too; `/metrics` is in the OpenMetrics format.

mod port;
pub mod process;

use futures::future::BoxFuture;
use tokio::sync::watch;
use tonic_health::{
    ServingStatus,
    pb::health_server::HealthServer,
    server::{HealthReporter, HealthService},
};

pub use port::ProbePort;

/// Whether a program serves; if not, why.
pub type Serving = Result<(), String>;

/// What Prometheus is told.
pub trait Exposition: Send + Sync + 'static {
    /// All of it, in the OpenMetrics format.
    fn text(&self) -> BoxFuture<'_, String>;
}

/// Whether a program serves, told to everybody who asks.
pub struct Readiness {
    serving: watch::Sender<Serving>,
    reporter: HealthReporter,
    /// Under which it is told as `grpc.health.v1`: the empty one is the whole program.
    services: &'static [&'static str],
}

impl Readiness {
    /// Not yet, and why.
    pub fn new(reason: &str, services: &'static [&'static str]) -> Self {
        let (serving, _) = watch::channel(Err(reason.to_owned()));
        Self {
            serving,
            reporter: HealthReporter::new(),
            services,
        }
    }

    /// The service that tells it over gRPC.
    pub fn service(&self) -> HealthServer<HealthService> {
        HealthServer::new(HealthService::from_health_reporter(self.reporter.clone()))
    }

    /// For those who ask over HTTP.
    pub fn seen(&self) -> watch::Receiver<Serving> {
        self.serving.subscribe()
    }

    /// From now on.
    pub async fn set(&self, serving: Serving) {
        let status = match &serving {
            Ok(()) => ServingStatus::Serving,
            Err(_) => ServingStatus::NotServing,
        };
        if self.serving.send_replace(serving.clone()) != serving {
            for name in self.services {
                self.reporter.set_service_status(*name, status).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_told_changes_with_the_program() {
        let readiness = Readiness::new("it starts", &["", "a.Service"]);
        let seen = readiness.seen();
        assert_eq!(*seen.borrow(), Err("it starts".to_owned()));
        readiness.set(Ok(())).await;
        assert_eq!(*seen.borrow(), Ok(()));
        readiness.set(Err("it was told to stop".to_owned())).await;
        assert_eq!(*seen.borrow(), Err("it was told to stop".to_owned()));
    }
}
