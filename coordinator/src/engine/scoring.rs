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
};
use firn_proto::v1alpha1::Prediction;
use tracing::{debug, error};

use super::EngineHandle;
use crate::artifacts::{ArtifactError, ArtifactStore, ReportKey, predictions};

/// All that is needed to score a pass.
struct Work {
    spec: Arc<JobSpec>,
    dataset: Arc<Dataset>,
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
        Ok((from_predictions, intervals)) => {
            engine
                .tell(Input::PassScored {
                    job: job.clone(),
                    generation,
                    pass,
                    from_predictions,
                    intervals,
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
        shards: progress.complete.clone(),
        kept_epochs: this_epoch.into_iter().chain(run.best_epoch).collect(),
    })
}

/// Computes what the predictions tell, of the test split also where its metrics lie, and removes the reports that nobody wants any more. Blocks.
fn score(
    store: &ArtifactStore,
    job: &JobId,
    pass: Pass,
    work: &Work,
) -> Result<(BTreeMap<String, f64>, Option<Intervals>), ArtifactError> {
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
    let (schema, training) = (work.dataset.schema(), &work.spec.training);
    let walk = |each: &mut dyn FnMut(&Prediction)| {
        for key in counted() {
            spool.read(key)?.predictions.iter().for_each(&mut *each);
        }
        Ok(())
    };
    let metrics = predictions::metrics(work.spec.task, schema, samples, &walk)?;
    let intervals = match pass.split() {
        SplitName::Test => {
            let learned = (work.spec.task, training.loss.distance());
            predictions::intervals::of(learned, schema, training.seed, &walk)?
        }
        _ => None,
    };
    Ok((metrics, intervals))
}
