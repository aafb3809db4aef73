//! The metrics that only single predictions can tell.
//!
//! When all shards of an evaluation are in, their spooled reports are scored. They are read one at a time, so that memory does not grow
//! with the split. The reports of the best epoch stay until the job leaves its files, so an epoch writes its predictions once; those of
//! other epochs go when a later one is scored. All of it can be interrupted and done again.

use std::{collections::BTreeMap, sync::Arc};

use firn_core::{
    Input, Reply, State,
    identifiers::{Generation, JobId},
    metrics::bootstrap::Intervals,
    spec::JobSpec,
    state::{CompletedShard, Dataset, Pass, SplitName},
    task::Schema,
};
use firn_proto::v1alpha1::Prediction;
use tracing::{debug, error};

use super::EngineHandle;
use crate::artifacts::{ArtifactError, ArtifactStore, ReportKey, predictions};

/// All that is needed to score a pass.
struct Work {
    spec: Arc<JobSpec>,
    dataset: Arc<Dataset>,
    /// From which probability on labels are predicted in the split of the pass, where that was tuned.
    thresholds: Vec<f64>,
    shards: BTreeMap<u32, CompletedShard>,
    /// Epochs whose validation reports may still be wanted.
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
        Ok(scores) => {
            engine
                .tell(Input::PassScored {
                    job: job.clone(),
                    generation,
                    pass,
                    from_predictions: scores.metrics,
                    intervals: scores.intervals,
                    thresholds: scores.thresholds,
                })
                .await
        }
        Err(error) => {
            error!(%job, %pass, %error, "a pass cannot be scored, and its job ends");
            // The files are as they are: whoever tried again would find the same.
            engine
                .tell(Input::ScoringFailed {
                    job: job.clone(),
                    generation,
                    pass,
                    reason: error.to_string(),
                })
                .await
        }
    };
    match told {
        Ok(Reply::Done) => {}
        Ok(reply) => debug!(?reply, "a scored pass was answered otherwise"),
        Err(refusal) => debug!(%refusal, "a scored pass is no longer wanted"),
    }
}

fn work(state: &State, job: &JobId, pass: Pass) -> Option<Work> {
    let job = state.job(job)?;
    let run = &job.run;
    let progress = run.passes.get(&pass).filter(|progress| progress.is_complete())?;
    let this_epoch = match pass {
        Pass::Evaluate {
            split: SplitName::Validation,
            epoch,
        } => Some(epoch),
        _ => None,
    };
    Some(Work {
        spec: Arc::clone(&job.spec),
        dataset: Arc::clone(&run.dataset.as_ref()?.dataset),
        thresholds: run.schema_of(pass.split()).thresholds.to_vec(),
        shards: progress.complete.clone(),
        kept_epochs: this_epoch.into_iter().chain(run.best_epoch).collect(),
    })
}

/// What the predictions of a pass tell.
struct Scores {
    metrics: BTreeMap<String, f64>,
    /// Of test.
    intervals: Option<Intervals>,
    /// Of validation, where they are tuned.
    thresholds: Vec<f64>,
}

/// Computes what the predictions tell, and removes the reports that nobody wants any more. Blocks.
fn score(store: &ArtifactStore, job: &JobId, pass: Pass, work: &Work) -> Result<Scores, ArtifactError> {
    let spool = store.spool(job.as_str(), pass)?;
    let counted = || {
        work.shards.iter().map(|(&shard, complete)| ReportKey {
            shard,
            generation: complete.generation,
            rank: complete.rank,
        })
    };
    spool.settle(counted())?;
    if pass.split() == SplitName::Validation {
        store.keep_validations(job.as_str(), &work.kept_epochs)?;
    }
    let samples = work.dataset.split(pass.split()).map_or(0, |split| split.samples);
    let (task, training) = (work.spec.task, &work.spec.training);
    let schema = Schema {
        thresholds: &work.thresholds,
        ..work.dataset.schema()
    };
    let walk = |each: &mut dyn FnMut(&Prediction)| {
        for key in counted() {
            spool.read(key)?.predictions.iter().for_each(&mut *each);
        }
        Ok(())
    };
    let mut scores = Scores {
        metrics: predictions::metrics(task, schema, samples, &walk)?,
        intervals: None,
        thresholds: Vec::new(),
    };
    match pass.split() {
        SplitName::Test => {
            let learned = (task, training.loss.distance());
            scores.intervals = predictions::intervals::of(learned, schema, training.seed, &walk)?;
        }
        SplitName::Validation => scores.thresholds = predictions::tuned_thresholds(task, schema, samples, &walk)?,
        SplitName::Train => {}
    }
    Ok(scores)
}
