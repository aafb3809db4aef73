//! Batches, prepared ahead of the computation.
//!
//! One thread walks the plan and cuts each batch into tasks; workers prepare samples; the worker that finishes a batch's last sample puts
//! the batch together, so that the consumer only receives. Batches arrive in plan order whatever order they finish in: the consumer
//! holds one single-use channel for each, and the number of these is what bounds memory.
//!
//! A sample that fails, even by a panic, is listed as corrupt. A panic anywhere else in a thread is raised again in the consumer:
//! silence would read as the end of the epoch.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use firn_core::order::Turn;

use crate::modality::{Prepared, TrainingEpoch};
use crate::panics::caught;
use crate::{CorruptSample, Preprocessor, Split, Targets, Tensors};

/// What the network takes in, and what is expected of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Positions of the good samples in manifest order, in the plan's order.
    pub indices: Vec<u64>,
    /// What names the turn of each good sample in the epoch: [`Turn::key`].
    pub turns: Vec<u64>,
    /// What is expected for each good sample.
    pub targets: Targets,
    /// The good samples.
    pub tensors: Tensors,
    /// Those that could not be prepared, in the plan's order.
    pub corrupt: Vec<CorruptSample>,
}

/// How much is done ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoaderOptions {
    /// Threads that prepare samples. 0: samples are prepared by the consumer's thread, when it asks.
    pub threads: usize,
    /// Batches that are being prepared or wait, at least 1.
    pub batches_ahead: usize,
    /// The epoch of training that the samples are changed for; `None`: they are prepared as they are scored.
    pub training: Option<TrainingEpoch>,
}

/// The batches of a plan. Dropping it stops its threads after the sample each is at.
pub struct Loader {
    preparation: Preparation,
}

enum Preparation {
    Inline(Inline),
    Ahead(Ahead),
}

struct Inline {
    split: Arc<Split>,
    preprocessor: Arc<Preprocessor>,
    plan: Box<dyn Iterator<Item = Vec<Turn>> + Send>,
    training: Option<TrainingEpoch>,
}

struct Ahead {
    /// In plan order. `None` only while the loader is dropped.
    batches: Option<Receiver<Receiver<Batch>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Loader {
    /// Starts to prepare the batches of `plan`: each entry holds turns of samples, or positions in manifest order where each comes once.
    ///
    /// # Panics
    ///
    /// `next` panics when the plan panics or names a position beyond the split: both are bugs of the caller.
    pub fn start<T: Into<Turn>>(
        split: Arc<Split>,
        preprocessor: Arc<Preprocessor>,
        plan: impl Iterator<Item = Vec<T>> + Send + 'static,
        options: LoaderOptions,
    ) -> Self {
        let plan = plan.map(|batch| batch.into_iter().map(T::into).collect());
        if options.threads == 0 {
            return Self {
                preparation: Preparation::Inline(Inline {
                    split,
                    preprocessor,
                    plan: Box::new(plan),
                    training: options.training,
                }),
            };
        }
        let stop = Arc::new(AtomicBool::new(false));
        let (task_sender, task_receiver) = unbounded::<Task>();
        // A batch is only begun once its channel is in here.
        let (batch_sender, batch_receiver) = bounded(options.batches_ahead.max(1));
        let mut threads = Vec::with_capacity(options.threads + 1);
        let feeder_stop = Arc::clone(&stop);
        threads.push(spawn("firn-plan", move || {
            let samples = (&split, &preprocessor, options.training);
            feed(plan, samples, &feeder_stop, (&task_sender, &batch_sender))
        }));
        for _ in 0..options.threads {
            let tasks = task_receiver.clone();
            let stop = Arc::clone(&stop);
            threads.push(spawn("firn-decode", move || {
                while let Ok(task) = tasks.recv() {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    task.run(&stop);
                }
            }));
        }
        Self {
            preparation: Preparation::Ahead(Ahead {
                batches: Some(batch_receiver),
                stop,
                threads,
            }),
        }
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .expect("the system can start a thread")
}

impl Iterator for Loader {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        match &mut self.preparation {
            Preparation::Inline(inline) => {
                let turns = inline.plan.next()?;
                let outcomes = turns
                    .iter()
                    .map(|&turn| prepare(&inline.split, &inline.preprocessor, (turn, inline.training)))
                    .collect();
                Some(assemble(&inline.split, &inline.preprocessor, &turns, outcomes))
            }
            Preparation::Ahead(ahead) => ahead.next(),
        }
    }
}

impl Ahead {
    fn next(&mut self) -> Option<Batch> {
        let batch = self.batches.as_ref()?.recv().ok().map(|batch| batch.recv());
        match batch {
            Some(Ok(batch)) => Some(batch),
            // The plan is at its end, or a thread ended before its time.
            Some(Err(_)) | None => {
                self.finish();
                assert!(batch.is_none(), "a thread of the loader ended without its batch");
                None
            }
        }
    }

    /// Ends all threads, and raises the panic of one that had one.
    fn finish(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.batches = None;
        let mut panics = self.threads.drain(..).filter_map(|thread| thread.join().err());
        if let Some(panic) = panics.next() {
            // The others are joined first: no thread outlives the loader.
            panics.for_each(drop);
            if !std::thread::panicking() {
                resume_unwind(panic);
            }
        }
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.batches = None;
        for thread in self.threads.drain(..) {
            // A panic that the consumer never asked for has no one to go to.
            drop(thread.join());
        }
    }
}

/// Cuts the batches of the plan into tasks, as many batches ahead as the channel takes.
fn feed(
    plan: impl Iterator<Item = Vec<Turn>>,
    (split, preprocessor, training): (&Arc<Split>, &Arc<Preprocessor>, Option<TrainingEpoch>),
    stop: &AtomicBool,
    (tasks, batches): (&Sender<Task>, &Sender<Receiver<Batch>>),
) {
    let size = preprocessor.samples_per_task();
    for turns in plan {
        for &Turn { sample, .. } in &turns {
            assert!(
                sample < split.len(),
                "the plan names sample {sample} of {}",
                split.len()
            );
        }
        let (sender, receiver) = bounded(1);
        let count = turns.len();
        let open = Arc::new(OpenBatch {
            split: Arc::clone(split),
            preprocessor: Arc::clone(preprocessor),
            left: AtomicUsize::new(count),
            outcomes: Mutex::new((0..count).map(|_| None).collect()),
            turns,
            training,
            sender,
        });
        if count == 0 {
            open.complete();
        }
        if batches.send(receiver).is_err() || stop.load(Ordering::Relaxed) {
            return;
        }
        for first in (0..count).step_by(size) {
            let task = Task {
                batch: Arc::clone(&open),
                first,
                end: (first + size).min(count),
            };
            if tasks.send(task).is_err() {
                return;
            }
        }
    }
}

type Outcome = Result<Prepared, String>;

/// A batch of which some samples are not prepared.
struct OpenBatch {
    split: Arc<Split>,
    preprocessor: Arc<Preprocessor>,
    turns: Vec<Turn>,
    training: Option<TrainingEpoch>,
    outcomes: Mutex<Vec<Option<Outcome>>>,
    left: AtomicUsize,
    sender: Sender<Batch>,
}

struct Task {
    batch: Arc<OpenBatch>,
    first: usize,
    end: usize,
}

impl Task {
    fn run(self, stop: &AtomicBool) {
        let batch = &self.batch;
        for place in self.first..self.end {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let outcome = prepare(&batch.split, &batch.preprocessor, (batch.turns[place], batch.training));
            batch.outcomes.lock().unwrap_or_else(PoisonError::into_inner)[place] = Some(outcome);
            if batch.left.fetch_sub(1, Ordering::AcqRel) == 1 {
                batch.complete();
            }
        }
    }
}

impl OpenBatch {
    fn complete(&self) {
        let outcomes = std::mem::take(&mut *self.outcomes.lock().unwrap_or_else(PoisonError::into_inner));
        let outcomes = outcomes
            .into_iter()
            .map(|outcome| outcome.expect("each sample was prepared"))
            .collect();
        // The consumer may be gone.
        drop(
            self.sender
                .send(assemble(&self.split, &self.preprocessor, &self.turns, outcomes)),
        );
    }
}

fn prepare(split: &Split, preprocessor: &Preprocessor, (turn, training): (Turn, Option<TrainingEpoch>)) -> Outcome {
    let sample = &split.samples[turn.sample as usize];
    let occasion = training.map(|epoch| epoch.of(turn));
    caught(
        || preprocessor.prepare(&sample.source, occasion),
        |message| format!("preparing it panicked: {message}"),
    )
}

fn assemble(split: &Split, preprocessor: &Preprocessor, turns: &[Turn], outcomes: Vec<Outcome>) -> Batch {
    let mut good = Vec::with_capacity(turns.len());
    let mut good_turns = Vec::with_capacity(turns.len());
    let mut corrupt = Vec::new();
    for (turn, outcome) in turns.iter().zip(outcomes) {
        let sample = &split.samples[turn.sample as usize];
        match outcome {
            Ok(prepared) => {
                good_turns.push(turn);
                good.push(prepared);
            }
            Err(reason) => corrupt.push(CorruptSample {
                index: turn.sample,
                id: sample.id.clone(),
                reason,
            }),
        }
    }
    let targets = good_turns
        .iter()
        .map(|turn| &split.samples[turn.sample as usize].target);
    Batch {
        targets: Targets::collect(targets),
        indices: good_turns.iter().map(|turn| turn.sample).collect(),
        turns: good_turns.iter().map(|turn| turn.key()).collect(),
        tensors: preprocessor.collate(&good),
        corrupt,
    }
}
