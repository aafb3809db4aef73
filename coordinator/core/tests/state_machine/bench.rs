//! A coordinator without a shell: it journals, replays, and plays the agents and ranks of a gang.

use std::collections::BTreeMap;
use std::sync::Arc;

use firn_core::identifiers::{Generation, InstanceId, JobId, ProcessId, RankIdentity, StreamId, WorkerName};
use firn_core::spec::*;
use firn_core::state::*;
use firn_core::{
    Decision, Directive, Effect, Input, Now, Record, Reject, Reply, Settings, ShardReport, StartRank, State, World, decide,
    enact,
};

/// A spec that is valid: one worker, one epoch, batches of 10.
pub(crate) fn spec(name: &str) -> JobSpec {
    JobSpec {
        name: name.to_owned(),
        labels: BTreeMap::new(),
        task: Task::Classification,
        model: ModelSpec {
            architecture: Architecture::Resnet18,
            weights: None,
            tokenizer: None,
            freeze: Freeze::All,
            head: HeadSpec { dropout: 0.0 },
            pooling: Pooling::Mean,
        },
        data: DataSpec {
            format: DataFormat::ImageFolder,
            train: "/data/train".to_owned(),
            validation: Some(SplitSource::Path("/data/val".to_owned())),
            test: None,
            preprocessing: Preprocessing::Text { max_length: None },
            max_quarantined: 0,
        },
        training: TrainingSpec {
            epochs: 1,
            batch_size: 10,
            micro_batch_size: None,
            seed: 0,
            optimizer: OptimizerSpec::Sgd { learning_rate: 0.1, weight_decay: 0.0, momentum: 0.9, nesterov: false },
            schedule: ScheduleSpec { shape: ScheduleShape::Constant, warmup: Warmup::Steps(0) },
            loss: LossSpec { label_smoothing: 0.0, class_weights: ClassWeights::Uniform },
            early_stopping: None,
            best_metric: MetricName::Loss,
            train_batch_norm: false,
            max_gradient_norm: None,
        },
        resources: ResourcesSpec { min_workers: 1, max_workers: 1, slots_per_worker: 1, device: DeviceRequest::Auto },
        max_restarts: 3,
        artifacts: ArtifactsSpec { folder: None, merged_model: false },
    }
}

/// A spec for so many workers.
pub(crate) fn spec_on(name: &str, workers: u32) -> JobSpec {
    let mut spec = spec(name);
    spec.resources.min_workers = workers;
    spec.resources.max_workers = workers;
    spec
}

/// 35 training samples (4 batches of 10), 20 validation samples; 20 test samples if wanted.
pub(crate) fn dataset(splits: &[SplitName]) -> Dataset {
    let manifest = |&split: &SplitName| {
        let class_counts = if split == SplitName::Train { vec![20, 15] } else { vec![10, 10] };
        SplitManifest { split, samples: class_counts.iter().sum(), class_counts, digest: format!("{split}-files") }
    };
    Dataset {
        classes: vec!["ants".to_owned(), "bees".to_owned()],
        splits: splits.iter().map(manifest).collect(),
        warnings: Vec::new(),
    }
}

pub(crate) const TRAIN_AND_VALIDATION: [SplitName; 2] = [SplitName::Train, SplitName::Validation];
pub(crate) const EVERY_SPLIT: [SplitName; 3] = SplitName::ALL;

/// A digest as a checkpoint or an artifact has it.
pub(crate) fn sha256(number: u64) -> String {
    format!("{number:064x}")
}

pub(crate) fn job(name: &str) -> JobId {
    JobId::from(name)
}

pub(crate) fn exit(ending: Ending) -> RankExit {
    RankExit { ending, last_log_lines: vec!["last words".to_owned()] }
}

/// State, clock and journal.
pub(crate) struct Coordinator {
    pub(crate) state: State,
    pub(crate) now: Now,
    pub(crate) journal: Vec<Record>,
    /// What was asked for and not looked at yet.
    pub(crate) effects: Vec<Effect>,
    /// Loss of each epoch's validation; 0.5 beyond.
    pub(crate) losses: Vec<f64>,
    streams: u64,
}

impl Coordinator {
    pub(crate) fn new() -> Self {
        let mut coordinator = Self {
            state: State::new(Settings::default()),
            now: Now(1_000_000),
            journal: Vec::new(),
            effects: Vec::new(),
            losses: Vec::new(),
            streams: 0,
        };
        coordinator.give(Input::CoordinatorStarted).unwrap();
        coordinator
    }

    /// Decides, journals and enacts.
    pub(crate) fn give(&mut self, input: Input) -> Result<Reply, Reject> {
        let Decision { records, notes, effects, reply } = decide(&self.state, self.now, input)?;
        let records: Vec<Record> = records.iter().map(through_the_journal).collect();
        let decision = Decision { records, notes, effects, reply };
        enact(&mut self.state, &decision);
        self.journal.extend(decision.records);
        self.effects.extend(decision.effects);
        Ok(decision.reply)
    }

    /// The input is followed.
    #[track_caller]
    pub(crate) fn accept(&mut self, input: Input) -> Reply {
        self.give(input).expect("the input is followed")
    }

    /// The input is refused, with this sentence.
    #[track_caller]
    pub(crate) fn refuse(&mut self, input: Input) -> String {
        let records = self.journal.len();
        let reject = self.give(input).expect_err("the input is refused");
        assert_eq!(self.journal.len(), records, "a refusal changes nothing");
        reject.to_string()
    }

    /// The state that the journal alone gives.
    pub(crate) fn replayed(&self) -> State {
        let mut state = State::new(self.state.settings.clone());
        for record in &self.journal {
            firn_core::apply(&mut state, record);
        }
        state
    }

    /// Kills the coordinator and starts it again.
    pub(crate) fn crash(&mut self) {
        let replayed = self.replayed();
        assert_eq!(durable(&replayed), durable(&self.state), "the journal replays to the live state");
        self.state = replayed;
        self.effects.clear();
        self.accept(Input::CoordinatorStarted);
    }

    /// Time passes, and what is due happens on time.
    pub(crate) fn pass(&mut self, milliseconds: u64) {
        let end = self.now + milliseconds;
        while let Some(deadline) = firn_core::deadline(&self.state).filter(|deadline| *deadline <= end) {
            self.now = self.now.max(deadline);
            self.accept(Input::Tick);
            assert!(
                firn_core::deadline(&self.state).is_none_or(|next| next > self.now),
                "a tick leaves nothing that is due"
            );
        }
        self.now = end;
    }

    pub(crate) fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    pub(crate) fn starts(&mut self) -> Vec<StartRank> {
        let starts = self.effects.iter().filter_map(|effect| match effect {
            Effect::StartRank(start) => Some(start.clone()),
            _ => None,
        });
        let starts = starts.collect();
        self.effects.retain(|effect| !matches!(effect, Effect::StartRank(_)));
        starts
    }

    pub(crate) fn stops(&mut self) -> Vec<ProcessId> {
        let stops = self.take_effects().into_iter().filter_map(|effect| match effect {
            Effect::StopRank { process, .. } => Some(process),
            _ => None,
        });
        stops.collect()
    }

    pub(crate) fn job(&self, name: &str) -> &Job {
        self.state.job(&job(name)).expect("the job exists")
    }

    #[track_caller]
    pub(crate) fn failure(&self, name: &str) -> &Failure {
        match self.job(name).outcome() {
            Some(Outcome::Failed(failure)) => failure,
            other => panic!("expected a failed job, found {other:?}"),
        }
    }

    pub(crate) fn condition(&self, name: &str, kind: ConditionKind) -> (ConditionStatus, String, String) {
        let conditions = firn_core::queries::conditions(&self.state, self.job(name));
        let condition = conditions.into_iter().find(|condition| condition.kind == kind).expect("it was decided");
        (condition.status, condition.reason, condition.message)
    }

    pub(crate) fn why_queued(&self, name: &str) -> String {
        self.condition(name, ConditionKind::Queued).2
    }

    #[track_caller]
    pub(crate) fn submit(&mut self, spec: JobSpec) -> JobId {
        match self.accept(Input::Submit { spec: Arc::new(spec), request: None }) {
            Reply::Submitted(job) => job,
            other => panic!("expected a job, found {other:?}"),
        }
    }
}

/// What the journal decides.
pub(crate) fn durable(state: &State) -> serde_json::Value {
    serde_json::to_value(state).expect("the state is serialisable")
}

/// A record as it comes back from the disk.
fn through_the_journal(record: &Record) -> Record {
    let text = serde_json::to_string(record).expect("a record is serialisable");
    let back = serde_json::from_str(&text).expect("a record reads back");
    assert_eq!(*record, back);
    back
}

pub(crate) fn description(name: &str, devices: &[&str]) -> WorkerDescription {
    let slot = |(index, device): (u32, &&str)| Slot {
        index,
        device: (*device).to_owned(),
        description: String::new(),
        memory_bytes: 1 << 30,
    };
    WorkerDescription {
        name: WorkerName::from(name),
        host: format!("host-{name}"),
        address: "127.0.0.1".to_owned(),
        slots: (0..).zip(devices).map(slot).collect(),
        version: "0.1.0".to_owned(),
        instance: InstanceId::from("first"),
    }
}

/// Agents.
impl Coordinator {
    pub(crate) fn attach(&mut self, name: &str, devices: &[&str]) -> StreamId {
        self.attach_with(description(name, devices), &[]).0
    }

    pub(crate) fn attach_with(
        &mut self,
        description: WorkerDescription,
        processes: &[LivingProcess],
    ) -> (StreamId, Vec<ProcessId>) {
        self.streams += 1;
        let stream = StreamId(self.streams);
        match self.accept(Input::AgentAttached { description, processes: processes.to_vec(), stream }) {
            Reply::Welcome(welcome) => (stream, welcome.unwanted),
            other => panic!("expected a welcome, found {other:?}"),
        }
    }

    pub(crate) fn attach_cpus(&mut self, names: &[&str]) {
        for name in names {
            self.attach(name, &["cpu"]);
        }
    }

    pub(crate) fn heartbeat_all(&mut self) {
        for (worker, stream) in self.state.soft.streams.clone() {
            self.accept(Input::AgentHeartbeat { worker, stream });
        }
    }

    /// Time passes with all connected agents alive.
    pub(crate) fn live(&mut self, milliseconds: u64) {
        for _ in 0..milliseconds / 2_000 {
            self.pass(2_000);
            self.heartbeat_all();
        }
        self.pass(milliseconds % 2_000);
    }

    pub(crate) fn exited(&mut self, identity: &RankIdentity, ending: Ending) {
        let Some(process) = self.state.processes.get(&identity.process) else { return };
        let worker = process.worker.clone();
        self.accept(Input::RankExited { worker, process: identity.process.clone(), exit: exit(ending) });
    }

    /// Processes that were told to stop do so.
    pub(crate) fn obey(&mut self) {
        let stopping = self.state.processes.iter().filter(|(_, process)| process.stop.is_some());
        let stopping: Vec<_> = stopping.map(|(id, process)| (id.clone(), process.worker.clone())).collect();
        for (process, worker) in stopping {
            self.accept(Input::RankExited { worker, process, exit: exit(Ending::Exited(12)) });
        }
    }
}

/// Ranks.
impl Coordinator {
    /// Starts every rank that was asked for, without joining.
    pub(crate) fn start_ranks(&mut self) -> Vec<RankIdentity> {
        let mut starts = self.starts();
        starts.sort_by_key(|start| start.rank);
        for start in &starts {
            let (worker, process) = (start.worker.clone(), start.process.clone());
            self.accept(Input::RankStarted { worker, process, pid: 100 + start.rank });
        }
        let identity =
            |start: StartRank| RankIdentity { job: start.job, process: start.process, generation: start.generation };
        starts.into_iter().map(identity).collect()
    }

    pub(crate) fn join(&mut self, identity: &RankIdentity) -> Result<Reply, Reject> {
        let device = self.state.job(&identity.job).and_then(|job| {
            job.gang().and_then(|gang| gang.member(&identity.process)).map(|member| member.device.clone())
        });
        self.give(Input::RankJoined {
            identity: identity.clone(),
            ring_address: format!("{}:1", identity.process),
            device: device.unwrap_or_default(),
        })
    }

    /// Starts and joins every rank that was asked for; in rank order.
    #[track_caller]
    pub(crate) fn bring_up(&mut self) -> Vec<RankIdentity> {
        let ranks = self.start_ranks();
        for rank in &ranks {
            self.join(rank).unwrap();
        }
        ranks
    }

    #[track_caller]
    pub(crate) fn world(&self, identity: &RankIdentity) -> World {
        firn_core::queries::world(&self.state, identity).unwrap().expect("the gang is complete")
    }

    pub(crate) fn register(&mut self, identity: &RankIdentity, dataset: Dataset) -> Reply {
        self.accept(Input::DatasetRegistered { identity: identity.clone(), dataset: Arc::new(dataset) })
    }

    pub(crate) fn request(&mut self, identity: &RankIdentity, pass: Pass) -> Result<Reply, Reject> {
        self.give(Input::ShardRequested { identity: identity.clone(), pass })
    }

    pub(crate) fn complete(&mut self, identity: &RankIdentity, pass: Pass, shard: Shard) -> Result<Reply, Reject> {
        let report = self.report(pass, shard);
        self.give(Input::ShardCompleted { identity: identity.clone(), pass, shard: shard.index, report })
    }

    /// What an honest rank reports: every second sample is an ant, and everything is predicted right.
    pub(crate) fn report(&self, pass: Pass, shard: Shard) -> ShardReport {
        let samples = shard.end - shard.begin;
        match pass {
            Pass::Scan(_) => ShardReport::Scanned {
                bytes_read: 100 * samples,
                content_digest: format!("content of {}", shard.index),
                corrupt: Vec::new(),
            },
            Pass::Evaluate { epoch, .. } => ShardReport::Evaluated {
                samples,
                loss_sum: samples as f64 * self.losses.get(epoch as usize).copied().unwrap_or(0.5),
                confusion: vec![samples - samples / 2, 0, 0, samples / 2],
                corrupt: Vec::new(),
            },
        }
    }

    /// The ranks walk over a pass in turns, until it is complete; what comes next.
    #[track_caller]
    pub(crate) fn walk(&mut self, ranks: &[RankIdentity], pass: Pass) -> Directive {
        loop {
            let mut waiting = 0;
            for rank in ranks {
                match self.request(rank, pass).unwrap() {
                    Reply::Shard(shard) => {
                        assert_eq!(self.complete(rank, pass, shard), Ok(Reply::ShardCounted));
                    }
                    Reply::Wait => waiting += 1,
                    Reply::Complete(next) => return next,
                    other => panic!("expected a shard, found {other:?}"),
                }
            }
            let scored = self.score();
            assert!(waiting < ranks.len() || scored, "everyone waits in {pass}");
        }
    }

    /// Answers what the shell was asked to score.
    pub(crate) fn score(&mut self) -> bool {
        let mut any = false;
        for effect in self.take_effects() {
            match effect {
                Effect::ScorePass { job, generation, pass } => {
                    self.accept(Input::PassScored { job, generation, pass, roc_auc: Some(1.0) });
                    any = true;
                }
                other => self.effects.push(other),
            }
        }
        any
    }

    pub(crate) fn step(step: u64, epoch: u32) -> Step {
        Step {
            step,
            epoch,
            loss: 1.0 / (step + 1) as f64,
            learning_rate: 0.1,
            samples: 10,
            gradient_norm: 1.0,
            timing: StepTiming::default(),
        }
    }

    pub(crate) fn commit(&mut self, identity: &RankIdentity, epoch: u32, steps: std::ops::Range<u64>) -> Result<Reply, Reject> {
        let steps = steps.map(|step| Self::step(step, epoch)).collect();
        self.give(Input::StepsCommitted { identity: identity.clone(), steps })
    }

    pub(crate) fn checkpoint(epochs_done: u32, steps_done: u64, generation: Generation) -> Checkpoint {
        Checkpoint { epochs_done, steps_done, sha256: sha256(steps_done + 1_000_000 * generation.0), size_bytes: 10, location: None }
    }

    pub(crate) fn store(&mut self, identity: &RankIdentity, epochs_done: u32, steps_done: u64) -> Result<Reply, Reject> {
        let checkpoint = Self::checkpoint(epochs_done, steps_done, identity.generation);
        self.give(Input::CheckpointStored { identity: identity.clone(), checkpoint })
    }

    /// Trains one epoch of four steps, stores its checkpoint and validates; what comes next.
    #[track_caller]
    pub(crate) fn train(&mut self, ranks: &[RankIdentity], epoch: u32) -> Directive {
        let first = 4 * u64::from(epoch);
        let begin = self.state.job(&ranks[0].job).unwrap().run.ledger.committed;
        assert!(begin >= first);
        self.commit(&ranks[0], epoch, begin..first + 4).unwrap();
        self.store(&ranks[0], epoch + 1, first + 4).unwrap();
        self.walk(ranks, Pass::validation(epoch))
    }

    /// Attaches workers, submits, and brings the job to its first training step.
    pub(crate) fn training_job(&mut self, spec: JobSpec, splits: &[SplitName]) -> Vec<RankIdentity> {
        for worker in 0..spec.resources.max_workers {
            self.attach(&format!("w{worker}"), &["cpu"]);
        }
        self.submit(spec);
        let ranks = self.bring_up();
        self.prepare(&ranks, splits);
        ranks
    }

    /// Registers and scans.
    #[track_caller]
    pub(crate) fn prepare(&mut self, ranks: &[RankIdentity], splits: &[SplitName]) {
        for rank in ranks {
            self.register(rank, dataset(splits));
        }
        for split in splits {
            self.walk(ranks, Pass::Scan(*split));
        }
    }

    #[track_caller]
    pub(crate) fn finish(&mut self, rank: &RankIdentity) {
        assert_eq!(self.accept(Input::JobFinished { identity: rank.clone() }), Reply::Done);
    }
}
