//! One epoch: steps in the order of the seed, then a checkpoint.

use std::{ops::Range, sync::Arc, time::Instant};

use firn_core::{
    order::{self, SampleOrder},
    schedule,
};
use firn_data::{Loader, LoaderOptions};

use super::{checkpoints, failure::RankFailure, session::Session, step};

/// Micro-batches that are decoded ahead of the one that is computed.
pub(super) const BATCHES_AHEAD: usize = 3;

/// Trains epoch `epoch` (from 0), from the step that the session has reached, and stores the checkpoint after it.
pub(super) fn train_epoch(session: &mut Session, epoch: u32) -> Result<(), RankFailure> {
    let steps_per_epoch = session.steps_per_epoch();
    let first = session.steps_done.saturating_sub(u64::from(epoch) * steps_per_epoch);
    let mut loader = start_loader(session, epoch, first..steps_per_epoch);

    for step_in_epoch in first..steps_per_epoch {
        let began = Instant::now();
        let micro_batches = micro_batches(session, step_in_epoch).len();
        let position = step::Position {
            epoch,
            step: session.steps_done,
            learning_rate: schedule::learning_rate(
                &session.spec.training.schedule,
                session.spec.training.optimizer.learning_rate(),
                session.steps_done,
                u64::from(session.spec.training.epochs) * steps_per_epoch,
            ),
        };
        let outcome = step::run(session, position, loader.by_ref().take(micro_batches))?;
        session.steps_done += 1;
        if let Some(committer) = &mut session.committer {
            committer.commit(session.coordinator, outcome.into_record(position, began.elapsed()))?;
        }
    }
    drop(loader);
    store_checkpoint(session, epoch)
}

/// The samples that this rank computes in a step, as positions of the epoch's order, a micro-batch each.
fn micro_batches(session: &Session, step_in_epoch: u64) -> Vec<Range<u64>> {
    let samples = session.dataset.train.samples.len() as u64;
    let global = order::global_batch(step_in_epoch, session.spec.training.batch_size, samples);
    let mine = order::rank_part(global, session.gang.rank, session.gang.world_size);
    let size = session.micro_batch();
    mine.clone()
        .step_by(size)
        .map(|begin| begin..mine.end.min(begin + size as u64))
        .collect()
}

fn start_loader(session: &Session, epoch: u32, steps: Range<u64>) -> Loader {
    let split = Arc::clone(&session.dataset.train);
    let order = SampleOrder::new(session.spec.training.seed, epoch, split.samples.len() as u64);
    let quarantined = session.quarantined.clone();
    let ranges: Vec<Range<u64>> = steps.flat_map(|step| micro_batches(session, step)).collect();
    let plan = ranges.into_iter().map(move |range| {
        let samples = range.map(|position| order.position(position));
        samples
            .filter(|sample| !quarantined.contains(&("train".to_owned(), *sample)))
            .collect()
    });
    Loader::start(split, Arc::clone(&session.preprocessor), plan, loader_options(session))
}

/// As many threads decode as compute: on a node without GPUs they share the same cores.
pub(super) fn loader_options(session: &Session) -> LoaderOptions {
    LoaderOptions {
        threads: usize::try_from(session.arguments.threads).unwrap_or(1).max(1),
        batches_ahead: BATCHES_AHEAD,
    }
}

/// Rank 0 stores what has been learned; every rank proves that nothing frozen has moved.
fn store_checkpoint(session: &mut Session, epoch: u32) -> Result<(), RankFailure> {
    session.model.verify_frozen()?;
    let Some(committer) = &mut session.committer else {
        return Ok(());
    };
    committer.flush(session.coordinator)?;
    checkpoints::store(session, epoch + 1)
}
