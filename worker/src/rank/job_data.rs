//! The job's data as this rank sees it: the splits, how a sample is prepared, and which samples are set aside.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use firn_core::order::Turn;
use firn_data::{CorruptSample, Dataset, Loader, LoaderOptions, Preprocessor, Split, TrainingEpoch};
use firn_proto::v1alpha1::QuarantinedSample;

use super::failure::RankFailure;

/// Micro-batches that are decoded ahead of the one that is computed.
pub(crate) const BATCHES_AHEAD: usize = 3;

/// Dataset, preparation, and what is set aside.
pub(crate) struct JobData {
    pub(crate) dataset: Dataset,
    preprocessor: Arc<Preprocessor>,
    /// Threads that decode.
    threads: usize,
    quarantined: Quarantined,
}

/// Samples that are set aside: for each split positions in manifest order.
#[derive(Debug, Default)]
pub(crate) struct Quarantined(BTreeMap<String, BTreeSet<u64>>);

impl Quarantined {
    /// Sets a sample aside.
    pub(crate) fn insert(&mut self, sample: &QuarantinedSample) {
        self.0.entry(sample.split.clone()).or_default().insert(sample.index);
    }

    /// Whether a sample is set aside.
    pub(crate) fn contains(&self, split: &str, index: u64) -> bool {
        self.0.get(split).is_some_and(|samples| samples.contains(&index))
    }

    /// All of them, without their reasons.
    pub(crate) fn to_wire(&self) -> Vec<QuarantinedSample> {
        let samples = self.0.iter().flat_map(|(split, samples)| {
            samples.iter().map(|index| QuarantinedSample {
                split: split.clone(),
                index: *index,
                ..QuarantinedSample::default()
            })
        });
        samples.collect()
    }
}

impl Extend<QuarantinedSample> for Quarantined {
    fn extend<T: IntoIterator<Item = QuarantinedSample>>(&mut self, samples: T) {
        for sample in samples {
            self.insert(&sample);
        }
    }
}

impl JobData {
    /// `threads` decode: as many as compute, because on a node without GPUs they share the same cores.
    pub(crate) fn new(dataset: Dataset, preprocessor: Preprocessor, threads: i32, quarantined: Quarantined) -> Self {
        Self {
            dataset,
            preprocessor: Arc::new(preprocessor),
            threads: usize::try_from(threads).unwrap_or(1).max(1),
            quarantined,
        }
    }

    /// How a sample is prepared.
    pub(crate) fn preprocessor(&self) -> &Preprocessor {
        &self.preprocessor
    }

    /// What is set aside.
    pub(crate) fn quarantined(&self) -> &Quarantined {
        &self.quarantined
    }

    /// Sets samples aside, from now on.
    pub(crate) fn set_aside(&mut self, samples: impl IntoIterator<Item = QuarantinedSample>) {
        self.quarantined.extend(samples);
    }

    /// The split of that name, if the job has it.
    pub(crate) fn split(&self, name: &str) -> Result<&Arc<Split>, RankFailure> {
        let split = match name {
            "train" => Some(&self.dataset.train),
            "validation" => self.dataset.validation.as_ref(),
            "test" => self.dataset.test.as_ref(),
            _ => None,
        };
        split.ok_or_else(|| {
            RankFailure::Spec(format!(
                "the coordinator asked for split {name:?}, which the job does not have"
            ))
        })
    }

    /// Decodes the micro-batches of `plan`, one after the other, less what is set aside now. Each is cut by place, so that the same samples
    /// share a batch however many beside them are set aside. `training`: the epoch for which they are augmented, if any.
    pub(crate) fn load<M>(
        &self,
        split: &Arc<Split>,
        plan: impl Iterator<Item = M> + Send + 'static,
        training: Option<TrainingEpoch>,
    ) -> Loader
    where
        M: Iterator<Item: Into<Turn>>,
    {
        self.load_by((Arc::clone(&self.preprocessor), training), split, plan)
    }

    /// The same, prepared in another way.
    pub(crate) fn load_by<M>(
        &self,
        (preprocessor, training): (Arc<Preprocessor>, Option<TrainingEpoch>),
        split: &Arc<Split>,
        plan: impl Iterator<Item = M> + Send + 'static,
    ) -> Loader
    where
        M: Iterator<Item: Into<Turn>>,
    {
        let name = split.name.to_string();
        let aside = self.quarantined.0.get(&name).cloned().unwrap_or_default();
        let plan = plan.map(move |turns| {
            let turns = turns.map(M::Item::into);
            turns
                .filter(|turn| !aside.contains(&turn.sample))
                .collect::<Vec<Turn>>()
        });
        let options = LoaderOptions {
            threads: self.threads,
            batches_ahead: BATCHES_AHEAD,
            training,
        };
        Loader::start(Arc::clone(split), preprocessor, plan, options)
    }
}

/// A corrupt sample, as the coordinator hears of it.
pub(crate) fn to_wire(split: &str, corrupt: &CorruptSample) -> QuarantinedSample {
    QuarantinedSample {
        split: split.to_owned(),
        index: corrupt.index,
        sample: corrupt.id.clone(),
        reason: corrupt.reason.clone(),
    }
}
