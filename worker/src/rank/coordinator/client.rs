//! Calls that survive a restart of the coordinator, and what its refusals mean.
//!
//! Every call of `RankService` can be repeated, so a call that finds nobody is tried again until the coordinator is back or patience ends.
//! So it is with one whose token is refused: tokens and certificates are read again from their files until they are taken.
//! Each attempt has a deadline; a call that waits for other ranks is told to ask again well before that. A refusal is final, but three kinds are no failure: the job or the process is over (the rank stops), the generation is over (the rank joins
//! again), or the coordinator itself is (a newer one has taken over, and is looked for).

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use firn_proto::v1alpha1::{self as wire, rank_service_client::RankServiceClient};
use tokio::time::timeout;
use tonic::{Code, Response, Status};
use tracing::{info, warn};

use super::{
    heartbeat::Heartbeat,
    status::{is_nothing_yet, is_passing, reason_of},
};
use crate::{
    connection::{AuthorizedChannel, RenewedChannel},
    rank::{
        failure::RankFailure,
        settings::RankArguments,
        stop_reason::{Interruption, StopReason},
    },
};

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// For one attempt, with a file in it or not: longer than the coordinator keeps a call waiting (30 s), and shorter than it works on one
/// (120 s), so that one that is stuck does not pass for one that answers.
const LONGEST_ATTEMPT: Duration = Duration::from_secs(90);
/// Evaluation reports hold predictions and fetched chunks hold weights.
const MESSAGE_LIMIT: usize = 16 * 1024 * 1024;

/// The generated client.
pub(crate) type Service = RankServiceClient<AuthorizedChannel>;

/// Who a call comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The process, in whatever generation it is. Refused, it is no longer wanted.
    Process,
    /// A member of a generation. Refused, that generation is over.
    Generation,
}

/// The coordinator, as one generation of this rank sees it; for any thread and task.
#[derive(Clone)]
pub(crate) struct Client {
    channel: Arc<RenewedChannel>,
    job: Arc<str>,
    process_id: Arc<str>,
    generation: u64,
    heartbeat: Arc<Heartbeat>,
    patience: Duration,
}

impl Client {
    /// Prepares the connection; it is made at the first call. Needs a tokio runtime around it.
    ///
    /// # Errors
    /// If the settings cannot be used.
    pub(crate) fn connect(arguments: &RankArguments, heartbeat: Arc<Heartbeat>) -> anyhow::Result<Self> {
        Ok(Self {
            channel: Arc::new(RenewedChannel::new(arguments.connection.clone())?),
            job: arguments.job.as_str().into(),
            process_id: arguments.process_id.as_str().into(),
            generation: 0,
            heartbeat,
            patience: Duration::from_secs(arguments.coordinator_patience),
        })
    }

    /// The same for the generation that the rank is in now. A task that outlives its generation keeps the old one, and is refused.
    pub(crate) fn in_present_generation(&self) -> Self {
        Self {
            generation: self.heartbeat.generation(),
            ..self.clone()
        }
    }

    /// Who calls.
    pub(crate) fn identity(&self) -> Option<wire::RankIdentity> {
        Some(wire::RankIdentity {
            job: self.job.to_string(),
            process_id: self.process_id.to_string(),
            generation: self.generation,
            coordinator_epoch: self.heartbeat.coordinator_epoch(),
        })
    }

    fn service(&self) -> Service {
        RankServiceClient::new(self.channel.channel())
            .max_decoding_message_size(MESSAGE_LIMIT)
            .max_encoding_message_size(MESSAGE_LIMIT)
    }

    /// After a call that found nobody or was refused for want of a token: reads tokens and certificates again. Returns whether there are others.
    fn renew(&self) -> bool {
        match self.channel.renew() {
            Ok(is_new) => {
                if is_new {
                    info!("the token or the certificates have been replaced: going on with the new ones");
                }
                is_new
            }
            Err(error) => {
                warn!(%error, "the token or the certificates have been replaced and cannot be used: going on with those from before");
                false
            }
        }
    }

    /// One pulse, as the process; its errors are the caller's to judge.
    pub(crate) async fn pulse(&self, request: wire::PulseRequest) -> Result<wire::PulseResponse, Status> {
        let request = wire::PulseRequest {
            identity: self.in_present_generation().identity(),
            ..request
        };
        let answer = self.service().pulse(request).await;
        if answer.as_ref().is_err_and(is_passing) {
            self.renew();
        }
        Ok(answer?.into_inner())
    }

    /// Asks for a piece of a pass; waits while others still hold all pieces.
    pub(crate) async fn lease_shard(
        &self,
        pass: wire::Pass,
        held: Vec<u32>,
    ) -> Result<wire::lease_shard_response::Answer, StopReason> {
        let request = wire::LeaseShardRequest {
            identity: self.identity(),
            pass: Some(pass),
            held,
        };
        let response = self
            .call(
                Scope::Generation,
                "LeaseShard",
                request,
                |mut service, request| async move { service.lease_shard(request).await },
            )
            .await?;
        let answer = response.answer;
        answer.ok_or_else(|| RankFailure::Directive("answered LeaseShard with nothing".to_owned()).into())
    }

    /// Commits steps to the ledger; returns how many it holds.
    pub(crate) async fn commit_steps(&self, steps: Vec<wire::Step>) -> Result<u64, StopReason> {
        let request = wire::CommitStepsRequest {
            identity: self.identity(),
            steps,
        };
        let response = self
            .call(
                Scope::Generation,
                "CommitSteps",
                request,
                |mut service, request| async move { service.commit_steps(request).await },
            )
            .await?;
        Ok(response.steps_committed)
    }

    /// Calls with a request until there is an answer that means something.
    pub(crate) async fn call<R, T, F>(
        &self,
        scope: Scope,
        name: &'static str,
        request: R,
        call: impl Fn(Service, R) -> F,
    ) -> Result<T, StopReason>
    where
        R: Clone,
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let mut unreachable_since = None;
        let mut pause = FIRST_PAUSE;
        loop {
            let attempt = timeout(LONGEST_ATTEMPT, call(self.service(), request.clone())).await;
            let status = match attempt {
                Ok(Ok(response)) => return Ok(response.into_inner()),
                Ok(Err(status)) if is_nothing_yet(&status) => {
                    (unreachable_since, pause) = (None, FIRST_PAUSE);
                    continue;
                }
                Ok(Err(status)) if !is_passing(&status) => return Err(meaning(scope, name, status)),
                Ok(Err(status)) => status,
                Err(_) => Status::deadline_exceeded(format!("no answer within {} s", LONGEST_ATTEMPT.as_secs())),
            };
            let since = *unreachable_since.get_or_insert_with(Instant::now);
            if since.elapsed() > self.patience {
                return Err(RankFailure::call(name)(status).into());
            }
            if self.renew() {
                continue;
            }
            if pause == FIRST_PAUSE {
                match status.code() {
                    Code::Unauthenticated => {
                        warn!(
                            call = name,
                            reason = status.message(),
                            "the coordinator refuses the token of this rank; trying again until it is replaced"
                        );
                    }
                    _ => warn!(call = name, %status, "the coordinator is away; trying again"),
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// What a refusal means for the caller.
fn meaning(scope: Scope, call: &'static str, status: Status) -> StopReason {
    let message = || status.message().to_owned();
    match reason_of(&status).as_str() {
        "JOB_ENDED" | "JOB_NOT_FOUND" | "UNWANTED" => return StopReason::Unwanted(message()),
        _ => {}
    }
    match (status.code(), scope) {
        (Code::Aborted, Scope::Generation) => Interruption::Refused {
            call,
            message: message(),
        }
        .into(),
        (Code::Aborted | Code::NotFound, Scope::Process) => StopReason::Unwanted(message()),
        _ => RankFailure::call(call)(status).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::status::refusal, *};

    #[test]
    fn what_is_over_decides_what_comes_next() {
        let stale = || refusal(Code::Aborted, "STALE_GENERATION");
        let reason = meaning(Scope::Generation, "CommitSteps", stale());
        assert!(matches!(reason, StopReason::Interrupted(_)), "{reason:?}");
        let reason = meaning(Scope::Process, "Join", stale());
        assert!(matches!(reason, StopReason::Unwanted(_)), "{reason:?}");
        let ended = refusal(Code::FailedPrecondition, "JOB_ENDED");
        let reason = meaning(Scope::Generation, "CompleteShard", ended);
        assert!(matches!(reason, StopReason::Unwanted(_)), "{reason:?}");
        let gap = refusal(Code::FailedPrecondition, "STEP_GAP");
        let reason = meaning(Scope::Generation, "CommitSteps", gap);
        assert!(
            matches!(reason, StopReason::Failed(RankFailure::Call { .. })),
            "{reason:?}"
        );
    }
}
