//! Epochs, checkpoints and what is left: nothing is concluded before it is there, and the result is made of the best checkpoint.

use std::collections::BTreeMap;

use super::receipt::{CheckpointReceipt, Fate};
use super::{Auditor, Finding, Flaw};
use crate::metrics::Watched;
use crate::record::Source;
use crate::selection;
use crate::spec::JobSpec;
use crate::state::{Artifact, Checkpoint, Outcome, SplitName, TrainingEnd};

/// The file that holds what was trained: every job that succeeds leaves it.
const RESULT: &str = "head.safetensors";

/// Checkpoints that have existed, oldest first.
#[derive(Default)]
pub(super) struct Checkpoints {
    pub(super) known: Vec<CheckpointReceipt>,
}

impl Checkpoints {
    fn kept(&self) -> impl DoubleEndedIterator<Item = &Checkpoint> {
        let kept = self.known.iter().filter(|known| known.fate == Fate::Kept);
        kept.map(|known| &known.checkpoint)
    }

    pub(super) fn newest(&self) -> Option<&Checkpoint> {
        self.kept().next_back()
    }

    /// After an epoch, from 0.
    fn of_epoch(&self, epoch: u32) -> Option<&Checkpoint> {
        self.kept()
            .find(|kept| kept.ends_epoch && kept.epochs_done == epoch + 1)
    }

    fn end(&mut self, sha256: &str, fate: &Fate) -> bool {
        let mut found = false;
        for known in &mut self.known {
            if known.checkpoint.sha256 == sha256 && known.fate == Fate::Kept {
                known.fate = fate.clone();
                found = true;
            }
        }
        found
    }
}

impl Auditor {
    pub(super) fn store_checkpoint(&mut self, checkpoint: &Checkpoint, source: Option<&Source>) {
        let what = format!("the checkpoint after step {}", checkpoint.steps_done);
        if self.is_at_work(&what, source.map(|source| source.generation), None) {
            self.check_rank_zero(&what, source);
        }
        let (committed, per_epoch) = (self.steps.committed(), self.steps_per_epoch());
        let steps = checkpoint.steps_done;
        if steps > committed {
            self.find_checkpoint(
                checkpoint,
                format!("expected steps up to {committed}, the committed ones, found {steps}"),
            );
        }
        if let Some(newest) = self.checkpoints.newest().map(|newest| newest.steps_done)
            && steps <= newest
        {
            self.find_checkpoint(
                checkpoint,
                format!("expected one after step {newest}, the newest, found {steps}"),
            );
        }
        let epochs = steps.checked_div(per_epoch).unwrap_or_default();
        let ends_epoch = steps == per_epoch * epochs;
        if u64::from(checkpoint.epochs_done) != epochs || checkpoint.ends_epoch != ends_epoch {
            let message = format!(
                "expected {epochs} complete epochs after {steps} steps, found {}",
                checkpoint.epochs_done
            );
            self.find_checkpoint(checkpoint, message);
        }
        self.checkpoints.known.push(CheckpointReceipt {
            checkpoint: checkpoint.clone(),
            record: self.record,
            fate: Fate::Kept,
        });
    }

    fn find_checkpoint(&mut self, checkpoint: &Checkpoint, message: String) {
        let message = format!("checkpoint {}: {message}", checkpoint.sha256);
        self.find(Finding::new(Flaw::Checkpoint, message).at_step(checkpoint.steps_done));
    }

    pub(super) fn end_checkpoint(&mut self, sha256: &str, fate: &Fate) {
        if !self.checkpoints.end(sha256, fate) {
            let message = format!("checkpoint {sha256} was dropped or refused, but does not exist");
            self.find(Finding::new(Flaw::Checkpoint, message));
        }
        self.has_rejected |= matches!(fate, Fate::Rejected(_));
    }

    pub(super) fn conclude_epoch(&mut self, epoch: u32, best_epoch: u32) {
        let place = |message: String| Finding::new(Flaw::Epoch, message).in_epoch(epoch);
        if epoch != self.epochs_concluded || self.training_end.is_some() {
            self.find(place(format!(
                "expected epoch {} to be concluded, found {epoch}",
                self.epochs_concluded
            )));
        }
        let (committed, end) = (self.steps.committed(), self.steps_per_epoch() * (u64::from(epoch) + 1));
        if committed != end {
            self.find(
                place(format!("expected {end} committed steps at its end, found {committed}")).at_step(committed),
            );
        }
        if self.checkpoints.of_epoch(epoch).is_none() {
            self.find(place("it was concluded without a checkpoint".to_owned()));
        }
        let has_validation = self.split_samples(SplitName::Validation) > 0;
        if has_validation && !self.is_evaluated(SplitName::Validation, epoch) {
            self.find(place("it was concluded without its validation".to_owned()));
        }
        let expected = match (has_validation, &self.spec) {
            (true, Some(spec)) => self.best_of(spec.training.watched_for_best(), epoch),
            _ => epoch,
        };
        // Where a checkpoint was refused, another epoch than the best one may have to do.
        if best_epoch != expected && !self.has_rejected {
            self.find(place(format!(
                "expected epoch {expected} to be the best by its metric, found {best_epoch}"
            )));
        }
        self.epochs_concluded = epoch + 1;
        self.best_epoch = Some(best_epoch);
    }

    pub(super) fn end_training(&mut self, end: TrainingEnd) {
        let wanted = self.spec.as_ref().map_or(0, |spec| spec.training.epochs);
        let due = self.due_end();
        if due != Some(end) {
            let spec = self.spec.as_deref();
            let message = match due {
                Some(due) => format!(
                    "expected training to end {}, found {}",
                    words(due, spec),
                    words(end, spec)
                ),
                None => format!(
                    "expected {wanted} epochs before the end of training, found {}, and no rule of the spec that ends it {}",
                    self.epochs_concluded,
                    words(end, spec),
                ),
            };
            self.find(Finding::new(Flaw::End, message));
        }
        self.training_end = Some(end);
    }

    /// Why training ends now, by the spec and the metrics so far.
    fn due_end(&self) -> Option<TrainingEnd> {
        let spec = self.spec.as_ref()?;
        let last = self.epochs_concluded.checked_sub(1)?;
        let has_validation = self.split_samples(SplitName::Validation) > 0;
        let value = |watched: Watched<'_>, epoch| self.validation_value(watched, epoch);
        selection::training_end(&spec.training, has_validation, last, value)
    }

    pub(super) fn store_artifact(&mut self, artifact: &Artifact, source: Option<&Source>) {
        let what = format!("the file {}", artifact.name);
        if self.is_at_work(&what, source.map(|source| source.generation), None) {
            self.check_member(&what, source);
        }
        if self.training_end.is_none() {
            let message = format!("the file {} was stored before training had ended", artifact.name);
            self.find(Finding::new(Flaw::Artifact, message));
        }
        self.artifacts.insert(artifact.name.clone(), artifact.clone());
    }

    pub(super) fn end(&mut self, outcome: &Outcome) {
        self.disband();
        self.outcome = Some(outcome.clone());
        if *outcome != Outcome::Succeeded {
            return;
        }
        if self.training_end.is_none() {
            self.find(Finding::new(Flaw::End, "the job succeeded before training had ended"));
        }
        let best = self.best_epoch.unwrap_or_default();
        if self.split_samples(SplitName::Test) > 0 && !self.is_evaluated(SplitName::Test, best) {
            let message = format!("the job succeeded without the test of epoch {best}");
            self.find(
                Finding::new(Flaw::End, message)
                    .in_epoch(best)
                    .of_shard(SplitName::Test, None),
            );
        }
        if self.result().is_none() {
            self.find(Finding::new(
                Flaw::Checkpoint,
                "the job succeeded without a checkpoint of its result",
            ));
        }
        if !self.artifacts.contains_key(RESULT) {
            let message = format!("the job succeeded and has not left {RESULT}");
            self.find(Finding::new(Flaw::Artifact, message));
        }
    }

    pub(super) fn has_succeeded(&self) -> bool {
        self.outcome == Some(Outcome::Succeeded)
    }

    /// The checkpoint that the result is made of: that of the best epoch or, where it was refused, the newest one.
    pub(super) fn result(&self) -> Option<&Checkpoint> {
        self.training_end?;
        let best = self.best_epoch?;
        self.checkpoints.of_epoch(best).or(self.checkpoints.newest())
    }

    pub(super) fn files(&self) -> Vec<Artifact> {
        let files: &BTreeMap<String, Artifact> = &self.artifacts;
        files.values().cloned().collect()
    }
}

/// `spec`: whose rule it is, and the class that its metric is of.
fn words(end: TrainingEnd, spec: Option<&JobSpec>) -> String {
    match end {
        TrainingEnd::AllEpochs => "after all epochs".to_owned(),
        TrainingEnd::EarlyStopped { metric, patience, best } => {
            let best = best.map_or_else(|| "nothing".to_owned(), |best| best.to_string());
            let watched = match spec {
                Some(spec) => spec.training.watched_by_stopping(metric),
                None => Watched::new(metric, None),
            };
            format!("early, after {patience} epochs that did not improve {watched} on {best}")
        }
    }
}
