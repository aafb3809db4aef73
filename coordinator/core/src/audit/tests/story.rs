//! A journal, written by hand: 10 training samples in batches of 4 are 3 steps an epoch; 20 validation samples are 2 shards, 10 test samples
//! are 1.

mod values;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::audit::{Audit, Auditor};
use crate::identifiers::{Generation, ProcessId, RequestId};
use crate::now::Now;
use crate::order::{self, SampleOrder};
use crate::record::{Event, JobEvent, Record, Source};
use crate::spec::{JobSpec, MetricName, PlateauSpec, Sampling, ScheduleShape};
use crate::state::*;
use crate::task::{ClassificationStatistics, Statistics};
use values::{member, spec};

pub(super) use values::*;

pub(super) struct Story {
    pub(super) journal: Vec<Record>,
    quarantined: Vec<(SplitName, u64)>,
    /// The newest formation.
    generation: Generation,
    /// Of it.
    rank_zero: Option<ProcessId>,
    /// Of the next steps.
    learning_rate: f64,
}

/// The audit of a journal whose records are numbered from 0.
pub(super) fn audit(journal: &[Record]) -> Audit {
    let mut auditor = Auditor::new(job());
    for (sequence, record) in (0..).zip(journal) {
        auditor.see(sequence, record);
    }
    auditor.finish()
}

impl Story {
    pub(super) fn new() -> Self {
        Self::of(spec())
    }

    fn of(spec: JobSpec) -> Self {
        let mut story = Self {
            journal: Vec::new(),
            quarantined: Vec::new(),
            generation: Generation::default(),
            rank_zero: None,
            learning_rate: 0.1,
        };
        story.record(Event::CoordinatorStarted { epoch: 1 });
        story.tell(JobEvent::Submitted {
            spec: Arc::new(spec),
            request: Some(RequestId::from("r1")),
            settings_digest: None,
        });
        story
    }

    pub(super) fn record(&mut self, event: Event) {
        let at = Now(self.journal.len() as u64);
        self.journal.push(Record { at, event });
    }

    pub(super) fn tell(&mut self, event: JobEvent) {
        self.record(Event::Job { job: job(), event });
    }

    /// These processes are the ranks of a formation and join with their steps; it goes on from `origin`.
    pub(super) fn form(&mut self, generation: u64, processes: &[(&str, u64)], origin: Origin, steps: (u64, u64)) {
        self.generation = Generation(generation);
        self.rank_zero = processes.first().map(|(process, _)| ProcessId::from(*process));
        let members = (0..).zip(processes).map(|(rank, (process, _))| member(rank, process));
        self.tell(JobEvent::GangFormed {
            generation: Generation(generation),
            members: members.collect(),
            recruits: Vec::new(),
            at_step_boundary: false,
            rewind: false,
        });
        for (process, steps_done) in processes {
            self.tell(JobEvent::RankJoined {
                process: ProcessId::from(*process),
                left: Generation::default(),
                ring_address: format!("{process}:1"),
                device: "cpu".to_owned(),
                steps_done: *steps_done,
            });
        }
        let (steps_done, steps_kept) = steps;
        let epochs_kept = match origin {
            Origin::Unneeded => u32::MAX,
            _ => (steps_done / PER_EPOCH) as u32,
        };
        self.tell(JobEvent::GangCompleted {
            collective: CollectiveKind::Ring,
            origin,
            steps_done,
            steps_kept,
            epochs_kept,
        });
    }

    pub(super) fn register(&mut self) {
        let shards = SplitName::ALL.map(|split| (split, table(split)));
        self.tell(JobEvent::DatasetRegistered {
            dataset: Arc::new(dataset()),
            shards: shards.into_iter().collect(),
            rank: 0,
            host: "host".to_owned(),
        });
        self.tell(JobEvent::ModelRegistered {
            model: ModelSummary {
                frozen_parameters: 10,
                trainable_parameters: 4,
                cut: "all".to_owned(),
                frozen_digest: "f0".to_owned(),
            },
            rank: 0,
            host: "host".to_owned(),
        });
    }

    pub(super) fn quarantine(&mut self, split: SplitName, index: u64) {
        self.quarantined.push((split, index));
        self.tell(JobEvent::SampleQuarantined(QuarantinedSample {
            split,
            index,
            sample: format!("bees/{index}.jpg"),
            reason: "is empty".to_owned(),
        }));
    }

    pub(super) fn scan(&mut self, generation: u64) {
        for split in SplitName::ALL {
            for shard in 0..table(split).count() {
                if split == SplitName::Train {
                    self.quarantine(split, CORRUPT);
                }
                let outcome = ShardOutcome::Scanned {
                    bytes_read: 100,
                    content_digest: format!("{split}-{shard}"),
                };
                self.shard(Pass::Scan(split), shard, generation, outcome);
            }
        }
    }

    pub(super) fn shard(&mut self, pass: Pass, shard: u32, generation: u64, outcome: ShardOutcome) {
        self.tell(JobEvent::ShardCompleted {
            pass,
            shards: table(pass.split()),
            shard,
            rank: 0,
            generation: Generation(generation),
            outcome,
        });
    }

    /// A step as rank 0 reports it.
    pub(super) fn step(&self, step: u64) -> Step {
        let epoch = (step / PER_EPOCH) as u32;
        let batch = order::global_batch(step % PER_EPOCH, BATCH, TRAIN);
        let order = SampleOrder::new(spec().training.seed, epoch, TRAIN);
        let used = order.positions(batch.clone()).iter();
        let used = used.filter(|sample| !self.quarantined.contains(&(SplitName::Train, **sample)));
        Step {
            step,
            epoch,
            loss: 1.0,
            learning_rate: self.learning_rate,
            samples: used.count() as u32,
            gradient_norm: 1.0,
            skipped: false,
            first_position: batch.start,
            end_position: batch.end,
            timing: StepTiming::default(),
        }
    }

    pub(super) fn commit(&mut self, generation: u64, steps: Range<u64>) {
        for step in steps {
            self.tell(JobEvent::StepsCommitted {
                generation: Generation(generation),
                process: self.rank_zero.clone(),
                steps: vec![self.step(step)],
            });
        }
    }

    /// `right` of every 10 samples are classified right.
    pub(super) fn evaluate(&mut self, split: SplitName, epoch: u32, generation: u64, right: u64) {
        let pass = Pass::Evaluate { split, epoch };
        let shards = table(split);
        let mut parts = Vec::new();
        for index in 0..shards.count() {
            let shard = shards.shard(index).unwrap();
            let set_aside = |sample: &u64| self.quarantined.contains(&(split, *sample));
            let samples = (shard.begin..shard.end).filter(|sample| !set_aside(sample)).count() as u64;
            let right = samples * right / 10;
            let counts = [right, samples - right, 0, 0];
            let part = ClassificationStatistics::of_matrix(2, samples as f64 * 0.3, &counts);
            parts.push(Statistics::Classification(part));
            self.shard(
                pass,
                index,
                generation,
                ShardOutcome::Evaluated(parts[parts.len() - 1].clone()),
            );
        }
        let from_predictions = BTreeMap::from([("roc_auc".to_owned(), 0.75)]);
        let metrics = Statistics::merged(&parts)
            .unwrap()
            .evaluate(dataset().schema(), &from_predictions);
        self.tell(JobEvent::EvaluationCompleted {
            split,
            epoch,
            metrics: Box::new(metrics.unwrap()),
        });
    }

    fn source(&self) -> Option<Source> {
        self.rank_zero.clone().map(|process| Source {
            generation: self.generation,
            process,
        })
    }

    pub(super) fn store(&mut self, steps: u64) {
        self.tell(JobEvent::CheckpointCommitted {
            checkpoint: checkpoint(steps),
            source: self.source(),
        });
    }

    pub(super) fn conclude(&mut self, epoch: u32, best_epoch: u32) {
        self.tell(JobEvent::EpochConcluded { epoch, best_epoch });
    }

    pub(super) fn finish(&mut self) {
        self.tell(JobEvent::ArtifactStored {
            artifact: Artifact {
                name: "head.safetensors".to_owned(),
                size_bytes: 100,
                sha256: sha256(99),
                location: "coordinator".to_owned(),
            },
            source: self.source(),
        });
        self.tell(JobEvent::Ended {
            outcome: Outcome::Succeeded,
        });
        self.tell(JobEvent::RankExited {
            process: ProcessId::from("a"),
            exit: RankExit {
                ending: Ending::Exited(0),
                last_log_lines: Vec::new(),
                out_of_memory: false,
            },
        });
    }

    pub(super) fn lose(&mut self, process: &str) {
        let failure = Failure {
            reason: FailureReason::NodeFailures,
            message: format!("{process} was killed by signal 9"),
            rank: Some(1),
            host: "host".to_owned(),
            last_log_lines: Vec::new(),
        };
        self.tell(JobEvent::RanksLost {
            processes: vec![ProcessId::from(process)],
            cause: Cause {
                gravity: Gravity::Primary,
                failure,
                at: Now(self.journal.len() as u64),
            },
            counts: true,
            retry_at: Now(0),
        });
    }

    /// Three epochs on one rank, whose rate is halved after each epoch that brings no improvement; two steps into the third they go back to the
    /// checkpoint after the second.
    pub(super) fn on_a_plateau() -> Self {
        let mut spec = spec();
        spec.training.epochs = 3;
        spec.training.schedule.shape = ScheduleShape::Plateau(PlateauSpec {
            class: None,
            metric: MetricName::named("accuracy"),
            factor: 0.5,
            patience: 0,
            ..PlateauSpec::DEFAULT
        });
        let mut story = Self::of(spec);
        story.form(1, &[("a", 0)], Origin::Initial, (0, 0));
        story.register();
        story.scan(1);
        for (epoch, right) in [(0, 8), (1, 7)] {
            story.commit(1, 3 * epoch..3 * epoch + 3);
            story.store(3 * epoch + 3);
            story.evaluate(SplitName::Validation, epoch as u32, 1, right);
            story.conclude(epoch as u32, 0);
        }
        story.learning_rate = 0.05;
        story.commit(1, 6..8);
        story.lose("a");
        story.tell(JobEvent::RestartScheduled {
            cause: None,
            not_before: Now(0),
        });
        story.form(2, &[("b", 0)], Origin::Checkpoint(checkpoint(6)), (6, 6));
        story.commit(2, 6..9);
        story.store(9);
        story.evaluate(SplitName::Validation, 2, 2, 9);
        story.conclude(2, 2);
        story.tell(JobEvent::TrainingEnded {
            end: TrainingEnd::AllEpochs,
        });
        story.evaluate(SplitName::Test, 2, 2, 9);
        story.finish();
        story
    }

    /// A whole job on two ranks: one is lost in epoch 0, and in epoch 1 all, before the second checkpoint.
    pub(super) fn eventful() -> Self {
        Self::eventful_of(spec())
    }

    /// The same of samples that are drawn with replacement.
    pub(super) fn drawn() -> Self {
        let mut spec = spec();
        spec.training.sampling = Sampling::Balanced;
        Self::eventful_of(spec)
    }

    fn eventful_of(spec: JobSpec) -> Self {
        let mut story = Self::of(spec);
        story.form(1, &[("a", 0), ("b", 0)], Origin::Initial, (0, 0));
        story.register();
        story.scan(1);
        story.commit(1, 0..1);
        story.lose("a");
        // Rank b had applied one step more than was committed.
        story.form(2, &[("b", 2)], Origin::Rank(0), (2, 1));
        story.commit(2, 1..3);
        story.store(3);
        story.evaluate(SplitName::Validation, 0, 2, 8);
        story.conclude(0, 0);
        story.commit(2, 3..5);
        story.lose("b");
        story.tell(JobEvent::RestartScheduled {
            cause: None,
            not_before: Now(0),
        });
        story.record(Event::CoordinatorStarted { epoch: 2 });
        story.form(3, &[("c", 0), ("d", 0)], Origin::Checkpoint(checkpoint(3)), (3, 3));
        story.commit(3, 3..6);
        story.store(6);
        story.evaluate(SplitName::Validation, 1, 3, 7);
        story.conclude(1, 0);
        story.tell(JobEvent::TrainingEnded {
            end: TrainingEnd::AllEpochs,
        });
        story.evaluate(SplitName::Test, 0, 3, 9);
        story.finish();
        story
    }
}
