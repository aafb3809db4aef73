//! Where a job is on its way: a function of what it has achieved, so that a gang that is formed again goes on by itself.
//!
//! The plan of every job, in order: the passes before the first step ([`preparation`]); then, for each epoch, train, store the checkpoint,
//! evaluate; then the best checkpoint on test; then the artifacts. The stage is the first of these that has not been achieved.

use crate::order;
use crate::reply::Directive;
use crate::schedule;
use crate::selection;
use crate::state::{Job, Pass, Run, SplitName};

/// The next thing that has to be achieved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// A rank has to index the data.
    Index,
    /// This pass has to be complete before the first step.
    Prepare(Pass),
    /// This epoch has to be trained and its checkpoint stored.
    Train {
        /// From 0.
        epoch: u32,
    },
    /// The checkpoint of this epoch is stored; its evaluation is not complete.
    Validate {
        /// From 0.
        epoch: u32,
    },
    /// The best checkpoint has to be scored on test.
    Test {
        /// The best epoch, from 0.
        epoch: u32,
    },
    /// Rank 0 has to store the artifacts and to finish the job.
    Finish,
}

impl Stage {
    /// Of a job.
    pub fn of(run: &Run) -> Self {
        if run.dataset.is_none() {
            return Self::Index;
        }
        if let Some(pass) = preparation(run).find(|pass| !is_walked(run, *pass)) {
            return Self::Prepare(pass);
        }
        if run.training_end.is_none() {
            let epoch = run.epochs_concluded;
            return match run.checkpoint_of_epoch(epoch) {
                Some(_) => Self::Validate { epoch },
                None => Self::Train { epoch },
            };
        }
        match test_epoch(run) {
            Some(epoch) if run.evaluation(SplitName::Test, epoch).is_none() => Self::Test { epoch },
            _ => Self::Finish,
        }
    }

    /// The pass that ranks may work on. An epoch's validation may begin while rank 0 still stores the checkpoint: all ranks hold the same
    /// weights.
    pub(crate) fn open_pass(self) -> Option<Pass> {
        match self {
            Self::Prepare(pass) => Some(pass),
            Self::Train { epoch } | Self::Validate { epoch } => Some(Pass::validation(epoch)),
            Self::Test { epoch } => Some(Pass::test(epoch)),
            Self::Index | Self::Finish => None,
        }
    }

    /// What the stage asks for, for people.
    pub fn describe(self) -> String {
        match self {
            Self::Index => "the registration of the dataset".to_owned(),
            Self::Prepare(pass) => format!("pass {pass}"),
            Self::Train { epoch } => format!("the steps and the checkpoint of epoch {epoch}"),
            Self::Validate { epoch } => format!("pass {}", Pass::validation(epoch)),
            Self::Test { epoch } => format!("pass {}", Pass::test(epoch)),
            Self::Finish => "the artifacts".to_owned(),
        }
    }
}

/// The passes before the first step, in order: each over every split that the dataset has.
fn preparation(run: &Run) -> impl Iterator<Item = Pass> {
    let kinds: [fn(SplitName) -> Pass; 1] = [Pass::Scan];
    let passes = kinds.into_iter().flat_map(|kind| SplitName::ALL.map(kind));
    passes.filter(|pass| has_split(run, pass.split()).is_some())
}

fn is_walked(run: &Run, pass: Pass) -> bool {
    run.passes.get(&pass).is_some_and(|progress| progress.is_complete())
}

fn has_split(run: &Run, split: SplitName) -> Option<()> {
    run.dataset.as_ref()?.dataset.split(split).map(|_| ())
}

/// Whether the dataset has samples to choose the best checkpoint by.
pub(crate) fn has_validation(run: &Run) -> bool {
    has_split(run, SplitName::Validation).is_some()
}

/// The epoch whose checkpoint is scored on test; `None` without a test split or before training has ended.
pub(crate) fn test_epoch(run: &Run) -> Option<u32> {
    run.training_end?;
    has_split(run, SplitName::Test)?;
    run.best_epoch
}

/// Whether all that a pass is for has been achieved.
pub(crate) fn is_complete(run: &Run, pass: Pass) -> bool {
    match (pass.round(), pass.split()) {
        // Over a split that the dataset does not have there is nothing to do.
        (None, split) => run.dataset.is_some() && has_split(run, split).is_none_or(|()| is_walked(run, pass)),
        (Some(_), SplitName::Test) => Stage::of(run) == Stage::Finish,
        (Some(epoch), _) => run.epochs_concluded > epoch,
    }
}

/// What a rank does after a pass that is complete; `None`: what a rank does first.
///
/// Once training has ended, a rank first loads the best checkpoint, also where nothing is left but the artifacts: a rank that has just
/// started holds the newest one.
pub(crate) fn directive(job: &Job, after: Option<Pass>) -> Directive {
    let run = &job.run;
    match Stage::of(run) {
        Stage::Index => Directive::RunPass(Pass::Scan(SplitName::Train)),
        Stage::Prepare(pass) => Directive::RunPass(pass),
        Stage::Train { epoch } => Directive::TrainEpoch {
            epoch,
            peak_learning_rate: schedule::peak(&job.spec.training, epoch, |metric, epoch| {
                selection::value(run, metric, epoch)
            }),
        },
        Stage::Validate { epoch } => Directive::RunPass(Pass::validation(epoch)),
        Stage::Test { .. } | Stage::Finish => {
            let epoch = run.best_epoch.unwrap_or_default();
            let Some(best) = run.checkpoint_of_epoch(epoch).or(run.resume()).cloned() else {
                return Directive::Stop {
                    reason: "no checkpoint is left".to_owned(),
                };
            };
            match (Stage::of(run), after) {
                (
                    Stage::Finish,
                    Some(Pass::Evaluate {
                        split: SplitName::Test, ..
                    }),
                ) => Directive::Finish {
                    best,
                    best_epoch: epoch,
                },
                _ => Directive::LoadBest {
                    checkpoint: best,
                    epoch,
                },
            }
        }
    }
}

/// Training samples; 0 while the dataset is unknown.
pub(crate) fn train_samples(job: &Job) -> u64 {
    let registered = job.run.dataset.as_ref();
    let train = registered.and_then(|registered| registered.dataset.split(SplitName::Train));
    train.map_or(0, |split| split.samples)
}

/// Steps of one epoch; 0 while the dataset is unknown.
pub(crate) fn steps_per_epoch(job: &Job) -> u64 {
    order::steps_per_epoch(train_samples(job), job.spec.training.batch_size)
}
