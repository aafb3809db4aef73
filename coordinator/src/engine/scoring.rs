//! What only the predictions can tell: the area under the ROC curve, and the predictions file.
//!
//! When all shards of an evaluation are in, their spooled reports are read in order, written out as one CSV file, and scored. The file
//! is on disk before the core learns of it, the spool is removed after; so either can be interrupted and done again.

use std::collections::BTreeMap;

use firn_core::{
    Input, Reply, State,
    identifiers::{Generation, JobId, RankIdentity},
    metrics::roc_auc,
    state::{CompletedShard, Failure, FailureReason, Pass, SplitName},
};
use tracing::{debug, error};

use super::{EngineHandle, Refusal};
use crate::artifacts::{ArtifactError, ArtifactStore, ReportKey, predictions::PredictionsWriter};

/// All that is needed to score a pass.
struct Work {
    classes: Vec<String>,
    shards: BTreeMap<u32, CompletedShard>,
    /// Epochs whose validation predictions may still be wanted.
    kept_epochs: Vec<u32>,
}

/// Scores a pass that a formation has completed, and tells the core.
pub(super) async fn score_pass(
    engine: EngineHandle,
    store: ArtifactStore,
    job: JobId,
    (generation, pass): (Generation, Pass),
) {
    let asked = job.clone();
    let Ok(work) = engine.ask(move |state| work(state, &asked, pass)).await else {
        return;
    };
    let Some(work) = work else {
        debug!(%job, %pass, "nothing to score: the pass is over");
        return;
    };
    let (worker_store, worker_job) = (store.clone(), job.clone());
    let scored = tokio::task::spawn_blocking(move || score(&worker_store, &worker_job, pass, &work)).await;
    let told = match scored.expect("scoring does not panic") {
        Ok(roc_auc) => {
            engine
                .tell(Input::PassScored {
                    job: job.clone(),
                    generation,
                    pass,
                    roc_auc,
                })
                .await
        }
        Err(error) => {
            error!(%job, %pass, %error, "a pass cannot be scored");
            give_up(&engine, &job, pass, &error).await
        }
    };
    match told {
        Ok(Reply::Done) => {
            let cleared = tokio::task::spawn_blocking(move || store.spool(job.as_str(), pass)?.clear()).await;
            if let Err(error) = cleared.expect("removing files does not panic") {
                error!(%pass, %error, "reports that are no longer needed could not be removed");
            }
        }
        Ok(reply) => debug!(?reply, "a scored pass was answered otherwise"),
        Err(refusal) => debug!(%refusal, "a scored pass is no longer wanted"),
    }
}

fn work(state: &State, job: &JobId, pass: Pass) -> Option<Work> {
    let run = &state.job(job)?.run;
    let progress = run.passes.get(&pass).filter(|progress| progress.is_complete())?;
    let this_epoch = match pass {
        Pass::Evaluate {
            split: SplitName::Validation,
            epoch,
        } => Some(epoch),
        _ => None,
    };
    Some(Work {
        classes: run.dataset.as_ref()?.dataset.classes.clone(),
        shards: progress.complete.clone(),
        kept_epochs: this_epoch.into_iter().chain(run.best_epoch).collect(),
    })
}

/// Writes the predictions and computes the area. Blocks.
fn score(store: &ArtifactStore, job: &JobId, pass: Pass, work: &Work) -> Result<Option<f64>, ArtifactError> {
    let spool = store.spool(job.as_str(), pass)?;
    let mut labels = Vec::new();
    let mut scores = Vec::new();
    store.write_predictions(job.as_str(), pass, |file| {
        let mut writer = PredictionsWriter::new(file, &work.classes)?;
        for (&shard, complete) in &work.shards {
            let key = ReportKey {
                shard,
                generation: complete.generation,
                rank: complete.rank,
            };
            let report = spool.read(key)?;
            writer.write(&report)?;
            for prediction in &report.predictions {
                labels.push(prediction.label);
                scores.extend_from_slice(&prediction.scores);
            }
        }
        writer.finish()
    })?;
    if pass.split() == SplitName::Validation {
        store.keep_predictions(job.as_str(), &work.kept_epochs)?;
    }
    let classes = u32::try_from(work.classes.len()).unwrap_or(u32::MAX);
    Ok(roc_auc(&labels, &scores, classes))
}

/// Without its predictions a pass has no metrics: the job ends with what went wrong.
async fn give_up(engine: &EngineHandle, job: &JobId, pass: Pass, error: &ArtifactError) -> Result<Reply, Refusal> {
    let asked = job.clone();
    let identity = engine.ask(move |state| rank_zero(state, &asked)).await?;
    let Some(identity) = identity else {
        return Ok(Reply::Wait);
    };
    let failure = Failure {
        reason: FailureReason::InternalError,
        message: format!("the coordinator cannot score the pass {pass}: {error}"),
        rank: None,
        host: String::new(),
        last_log_lines: Vec::new(),
    };
    engine
        .tell(Input::RankFailed { identity, failure })
        .await
        .map(|_| Reply::Wait)
}

fn rank_zero(state: &State, job: &JobId) -> Option<RankIdentity> {
    let gang = state.job(job)?.gang()?;
    let process = gang.members.first()?.process.clone();
    Some(RankIdentity {
        job: job.clone(),
        process,
        generation: gang.generation,
        coordinator_epoch: state.coordinator_epoch,
    })
}
