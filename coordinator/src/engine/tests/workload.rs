//! A coordinator without a shell: it decides on what agents and ranks say, and keeps the records and the state after each decision.

use firn_core::{
    Decision, Now, Record, ShardReport, State,
    identifiers::{Generation, RankIdentity, StreamId, WorkerName},
    state::{Checkpoint, Ending, Pass, RankExit, Soft, SplitName, Step, WorkerDescription},
    task::{ClassificationStatistics, Statistics},
};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::*;

/// Steps of an epoch: 64 samples in batches of 16.
pub(super) const STEPS: u64 = 4;

pub(super) struct Workload {
    pub(super) state: State,
    pub(super) records: Vec<Record>,
    /// How many records there were, and the state, after each decision; if wanted.
    pub(super) states: Option<Vec<(usize, State)>>,
    now: u64,
    streams: u64,
}

/// Types of the core by their journaled form, so that fields that are added later need no change here.
fn parsed<T: DeserializeOwned>(value: serde_json::Value) -> T {
    serde_json::from_value(value).expect("it is valid")
}

/// What is journaled of a state.
pub(super) fn durable(state: &State) -> State {
    State {
        soft: Soft::default(),
        settings: Settings::default(),
        ..state.clone()
    }
}

impl Workload {
    pub(super) fn new() -> Self {
        let mut workload = Self {
            state: State::default(),
            records: Vec::new(),
            states: Some(Vec::new()),
            now: 1_000_000,
            streams: 0,
        };
        workload.give(Input::CoordinatorStarted);
        workload
    }

    /// Without the state after each decision.
    pub(super) fn without_states() -> Self {
        Self {
            states: None,
            ..Self::new()
        }
    }

    pub(super) fn give(&mut self, input: Input) -> Reply {
        self.now += 1;
        let shown = format!("{input:?}");
        let decision: Decision =
            firn_core::decide(&self.state, Now(self.now), input).unwrap_or_else(|reject| panic!("{shown}: {reject}"));
        firn_core::enact(&mut self.state, &decision);
        self.records.extend(decision.records);
        if let Some(states) = &mut self.states {
            states.push((self.records.len(), durable(&self.state)));
        }
        decision.reply
    }

    /// Time passes; what is due happens.
    pub(super) fn pass(&mut self, milliseconds: u64) {
        self.now += milliseconds;
        self.give(Input::Tick);
    }

    pub(super) fn attach(&mut self, name: &str) {
        self.streams += 1;
        let description: WorkerDescription = parsed(json!({
            "name": name, "host": "host", "address": "127.0.0.1", "version": "0", "instance": format!("i{}", self.streams),
            "slots": [{"index": 0, "device": "cpu", "description": "2 threads", "memory_bytes": 1 << 30}],
        }));
        let stream = StreamId(self.streams);
        self.give(Input::AgentAttached {
            description,
            processes: Vec::new(),
            stream,
        });
    }

    pub(super) fn leave(&mut self, name: &str) {
        let worker = WorkerName::from(name);
        let stream = self.state.soft.streams[&worker];
        self.give(Input::AgentLeaving { worker, stream });
    }

    pub(super) fn submit(&mut self, name: &str, epochs: u32) -> JobId {
        let mut spec = spec(name);
        spec.training.epochs = epochs;
        spec.training.batch_size = 16;
        match self.give(Input::Submit { spec: Arc::new(spec) }) {
            Reply::Submitted(job) => job,
            other => panic!("expected a job, found {other:?}"),
        }
    }

    /// The rank of a job that was just placed on its only worker.
    fn placed(&self, job: &JobId) -> (WorkerName, RankIdentity) {
        let mut processes = self.state.processes.iter();
        let (id, process) = processes
            .find(|(_, process)| process.job == *job && process.stop.is_none())
            .expect("the job was placed");
        let identity = RankIdentity {
            job: job.clone(),
            process: id.clone(),
            generation: process.generation,
            coordinator_epoch: 0,
        };
        (process.worker.clone(), identity)
    }

    /// Starts the rank of a job and brings it to its first step.
    pub(super) fn prepare(&mut self, job: &JobId) -> RankIdentity {
        let (worker, identity) = self.placed(job);
        self.give(Input::RankStarted {
            worker,
            process: identity.process.clone(),
            pid: 4242,
        });
        self.join(&identity);
        let split = |split: &str, samples: u64| json!({"split": split, "samples": samples, "class_counts": [samples / 2, samples / 2], "digest": "files"});
        self.give(Input::DatasetRegistered {
            identity: identity.clone(),
            dataset: parsed(json!({
                "classes": ["ants", "bees"], "warnings": [], "splits": [split("train", 16 * STEPS), split("validation", 32)],
            })),
        });
        self.walk(&identity, Pass::Scan(SplitName::Train));
        self.walk(&identity, Pass::Scan(SplitName::Validation));
        identity
    }

    /// A process that has just started enters the generation.
    fn join(&mut self, identity: &RankIdentity) {
        self.give(Input::RankJoined {
            identity: RankIdentity {
                generation: Generation(0),
                ..identity.clone()
            },
            ring_address: "127.0.0.1:1".to_owned(),
            device: "cpu".to_owned(),
            steps_done: 0,
            state_generation: Generation(0),
            reason: String::new(),
        });
    }

    fn walk(&mut self, identity: &RankIdentity, pass: Pass) {
        loop {
            let asked = Input::ShardRequested {
                identity: identity.clone(),
                pass,
                held: Vec::new(),
            };
            let Reply::Shard(shard) = self.give(asked) else { break };
            let samples = shard.end - shard.begin;
            let report = match pass {
                Pass::Scan(_) => ShardReport::Scanned {
                    bytes_read: samples,
                    content_digest: format!("content of {}", shard.index),
                    corrupt: Vec::new(),
                },
                Pass::Evaluate { .. } => {
                    let matrix = [samples - samples / 2, 0, 0, samples / 2];
                    let counts = ClassificationStatistics::of_matrix(2, samples as f64 / 3.0, &matrix);
                    ShardReport::Evaluated {
                        statistics: Statistics::Classification(counts),
                        corrupt: Vec::new(),
                    }
                }
            };
            self.give(Input::ShardCompleted {
                identity: identity.clone(),
                pass,
                shard: shard.index,
                report,
            });
        }
        if let Pass::Evaluate { .. } = pass {
            self.give(Input::PassScored {
                job: identity.job.clone(),
                generation: identity.generation,
                pass,
                from_predictions: [("roc_auc".to_owned(), 1.0 / 3.0)].into(),
                intervals: None,
                thresholds: Vec::new(),
            });
        }
    }

    pub(super) fn commit(&mut self, identity: &RankIdentity, epoch: u32, step: u64) {
        let step: Step = parsed(json!({
            "step": step, "epoch": epoch, "loss": 1.0 / (step + 3) as f64, "learning_rate": 0.1, "samples": 16, "gradient_norm": 0.7,
            "first_position": 16 * (step % STEPS), "end_position": 16 * (step % STEPS) + 16,
            "timing": {"data_seconds": 0.001, "compute_seconds": 0.1234567, "reduce_seconds": 0.0, "other_seconds": 0.0002},
        }));
        self.give(Input::StepsCommitted {
            identity: identity.clone(),
            steps: vec![step],
        });
    }

    /// One epoch: its steps, its checkpoint, its validation.
    pub(super) fn train(&mut self, identity: &RankIdentity, epoch: u32) {
        let first = STEPS * u64::from(epoch);
        for step in first..first + STEPS {
            self.commit(identity, epoch, step);
        }
        let checkpoint: Checkpoint = parsed(json!({
            "epochs_done": epoch + 1, "steps_done": first + STEPS, "size_bytes": 10, "ends_epoch": true,
            "sha256": format!("{:064x}", u64::from(epoch) + 1_000 * identity.generation.0),
        }));
        self.give(Input::CheckpointStored {
            identity: identity.clone(),
            checkpoint,
        });
        self.walk(identity, Pass::validation(epoch));
    }

    /// The rank of a job dies.
    pub(super) fn kill(&mut self, identity: &RankIdentity) {
        let worker = self.state.processes[&identity.process].worker.clone();
        self.give(Input::RankExited {
            worker,
            process: identity.process.clone(),
            exit: RankExit {
                ending: Ending::Killed(9),
                last_log_lines: vec!["last words".to_owned()],
                out_of_memory: false,
            },
        });
    }

    /// A day in the life of a small cluster: jobs that train, one that loses its rank, one whose worker goes, one that is cancelled, one that
    /// waits; workers that come and go; and in the end all workers are lost.
    pub(super) fn day(&mut self, prefix: &str) {
        let [steady, passing, helper, idle] =
            ["steady", "passing", "helper", "idle"].map(|name| format!("{prefix}-{name}"));
        self.attach(&steady);
        let trains = self.submit(&format!("{prefix}-trains"), 3);
        let mut rank = self.prepare(&trains);
        self.train(&rank, 0);
        self.commit(&rank, 1, STEPS);
        self.kill(&rank);
        self.pass(1);
        rank = self.prepare_again(&trains);
        self.train(&rank, 1);
        self.attach(&passing);
        let cancelled = self.submit(&format!("{prefix}-cancelled"), 2);
        self.prepare(&cancelled);
        self.give(Input::Cancel { job: cancelled });
        self.leave(&passing);
        let left = self.submit(&format!("{prefix}-left"), 2);
        self.attach(&helper);
        self.prepare(&left);
        self.leave(&helper);
        self.attach(&idle);
        self.leave(&idle);
        self.give(Input::Cancel { job: left });
        let waits = self.submit(&format!("{prefix}-waits"), 1);
        self.give(Input::Cancel { job: trains });
        self.kill(&rank);
        self.give(Input::Cancel { job: waits });
        self.give(Input::CoordinatorStarted);
        self.pass(3_600_000);
    }

    /// As [`Self::prepare`], of a job whose data are known.
    fn prepare_again(&mut self, job: &JobId) -> RankIdentity {
        let (worker, identity) = self.placed(job);
        self.give(Input::RankStarted {
            worker,
            process: identity.process.clone(),
            pid: 4243,
        });
        self.join(&identity);
        identity
    }

    /// Appends all records to a journal, as they come from one batch each.
    pub(super) fn write(&self, journal: &mut Journal) {
        for batch in self.records.chunks(64) {
            let encoded: Vec<_> = batch.iter().map(|record| Journal::encode(record).unwrap()).collect();
            journal.append(&encoded).unwrap();
        }
    }
}
