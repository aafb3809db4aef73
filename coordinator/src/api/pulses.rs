//! Pulses of ranks: held until there is news, but not for long, so that the coordinator goes on hearing from each rank.

use std::time::Duration;

use firn_core::{
    Input, Reply,
    identifiers::RankIdentity,
    queries,
    state::{Progress, StateHash},
};
use firn_proto::v1alpha1 as proto;
use tonic::Status;

use super::{
    context::Context,
    refusal::{invalid, unexpected},
    wire::checkpoint::news_to_wire,
};
use crate::access::Caller;

/// Longest time for which a pulse without news is held. A rank pulses again at once, so this is how often the coordinator hears from it.
const HOLD: Duration = Duration::from_secs(2);
/// Most hashes in one pulse, and the most bytes of each text in it.
const MOST_HASHES: usize = 64;
const LONGEST_TEXT: usize = 128;

pub(super) async fn pulse(
    context: &Context,
    caller: &Caller,
    mut request: proto::PulseRequest,
) -> Result<proto::PulseResponse, Status> {
    let identity = context.rank(caller, request.identity.take()).await?;
    let input = read(identity.clone(), request)?;
    let job = identity.job.clone();
    let asking = identity.clone();
    let news = context.engine.tell_then_ask(&job, input, move |state| {
        let news = queries::news(state, &asking)?;
        Ok(news.map_or(Reply::Wait, Reply::News))
    });
    let held = tokio::time::timeout(HOLD, context.unless_ending(async { Ok(news.await?) })).await;
    match held {
        Ok(answer) => match answer? {
            Reply::News(news) => Ok(news_to_wire(news)),
            other => Err(unexpected(&other)),
        },
        Err(_) => {
            let latest = context
                .engine
                .ask(move |state| queries::latest(state, &identity))
                .await?;
            Ok(news_to_wire(
                latest.map_err(|reject| super::refusal::rejected(&reject))?,
            ))
        }
    }
}

/// What a pulse says.
fn read(identity: RankIdentity, request: proto::PulseRequest) -> Result<Input, Status> {
    if request.state_hashes.len() > MOST_HASHES {
        let found = request.state_hashes.len();
        return Err(invalid(
            "state_hashes",
            format!("expected at most {MOST_HASHES}, found {found}"),
        ));
    }
    let texts = [("activity", &request.activity), ("operation", &request.operation)];
    let hashes = request
        .state_hashes
        .iter()
        .map(|hash| ("state_hashes.hash", &hash.hash));
    if let Some((field, text)) = texts
        .into_iter()
        .chain(hashes)
        .find(|(_, text)| text.len() > LONGEST_TEXT)
    {
        let found = text.len();
        return Err(invalid(
            field,
            format!("expected at most {LONGEST_TEXT} bytes, found {found}"),
        ));
    }
    let generation = identity.generation;
    Ok(Input::RankPulsed {
        identity,
        progress: Progress {
            generation,
            activity: request.activity.into(),
            steps_done: request.steps_done,
            sequence: request.sequence,
            operation: request.operation.into(),
            ticks: request.ticks,
        },
        hashes: request
            .state_hashes
            .into_iter()
            .map(|hash| StateHash {
                steps_done: hash.steps_done,
                hash: hash.hash,
            })
            .collect(),
        leaving: request.leaving,
    })
}
