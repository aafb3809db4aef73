//! Plays the ranks of a gang, and the part of the shell that computes scores.

use std::collections::BTreeMap;
use std::sync::Arc;

use firn_core::identifiers::{Generation, RankIdentity};
use firn_core::spec::JobSpec;
use firn_core::state::*;
use firn_core::{Directive, Effect, Input, News, Reject, Reply, ShardReport, StartRank, World};

use super::{Coordinator, dataset, evaluated, sha256};

impl Coordinator {
    /// Starts every rank that was asked for, without joining.
    pub(crate) fn start_ranks(&mut self) -> Vec<RankIdentity> {
        let mut starts = self.starts();
        starts.sort_by_key(|start| start.rank);
        for start in &starts {
            let (worker, process) = (start.worker.clone(), start.process.clone());
            self.accept(Input::RankStarted {
                worker,
                process,
                pid: 100 + start.rank,
            });
        }
        let identity = |start: StartRank| RankIdentity {
            job: start.job,
            process: start.process,
            generation: start.generation,
            coordinator_epoch: 0,
        };
        starts.into_iter().map(identity).collect()
    }

    /// A process that has just started joins.
    pub(crate) fn join(&mut self, identity: &RankIdentity) -> Result<Reply, Reject> {
        self.join_from(identity, Generation(0), 0)
    }

    /// A process that leaves a generation joins the next one, with the steps that it has.
    pub(crate) fn join_from(
        &mut self,
        identity: &RankIdentity,
        left: Generation,
        steps_done: u64,
    ) -> Result<Reply, Reject> {
        let device = self.state.job(&identity.job).and_then(|job| {
            let gang = job.gang()?;
            let member = gang.everyone().find(|member| member.process == identity.process)?;
            Some(member.device.clone())
        });
        self.give(Input::RankJoined {
            identity: RankIdentity {
                generation: left,
                ..identity.clone()
            },
            ring_address: format!("{}:{}", identity.process, left.0 + 1),
            device: device.unwrap_or_default(),
            steps_done,
            state_generation: left,
            reason: "rank 0 lost rank 1 in all-reduce #7".to_owned(),
        })
    }

    /// Ranks that were told of a new generation join it with their steps; who they are from then on, in rank order.
    #[track_caller]
    pub(crate) fn rejoin(&mut self, ranks: &[RankIdentity], steps_done: u64) -> Vec<RankIdentity> {
        for rank in ranks {
            self.join_from(rank, rank.generation, steps_done).unwrap();
        }
        self.members(ranks[0].job.as_str())
    }

    /// The members of the newest generation, in rank order.
    #[track_caller]
    pub(crate) fn members(&self, name: &str) -> Vec<RankIdentity> {
        let job = self.job(name);
        let gang = job.gang().expect("there is a gang");
        let identity = |member: &Member| RankIdentity {
            job: job.id.clone(),
            process: member.process.clone(),
            generation: gang.generation,
            coordinator_epoch: 0,
        };
        gang.members.iter().map(identity).collect()
    }

    /// The same, once the time has come.
    pub(crate) fn start_ranks_within(&mut self, milliseconds: u64) -> Vec<RankIdentity> {
        let ranks = self.start_ranks();
        if !ranks.is_empty() {
            return ranks;
        }
        self.live(milliseconds);
        self.start_ranks()
    }

    /// What a rank that pulses is told.
    pub(crate) fn news(&self, identity: &RankIdentity) -> News {
        firn_core::queries::latest(&self.state, identity).unwrap()
    }

    /// All ranks give a sign of life.
    pub(crate) fn pulse_all(&mut self) {
        let jobs: Vec<_> = self
            .state
            .jobs
            .values()
            .filter_map(|job| Some((job.id.clone(), job.gang()?.clone())))
            .collect();
        for (job, gang) in jobs {
            let is_complete = matches!(self.job(job.as_str()).phase, Phase::Running(_));
            for member in gang.living().chain(&gang.recruits) {
                // A process that never called does not pulse.
                let called = self.state.soft.pulses.contains_key(&member.process) || member.has_joined();
                if !called {
                    continue;
                }
                // Who waits to join is still in the generation before.
                let known = self.state.soft.pulses.get(&member.process);
                let known = known.map_or(Generation(0), |pulse| pulse.progress.generation);
                let works = is_complete && gang.member(&member.process).is_some();
                let identity = RankIdentity {
                    job: job.clone(),
                    process: member.process.clone(),
                    generation: if works { gang.generation } else { known },
                    coordinator_epoch: 0,
                };
                self.pulse(&identity, Progress::default());
            }
        }
    }

    /// A rank gives a sign of life.
    pub(crate) fn pulse(&mut self, identity: &RankIdentity, progress: Progress) -> Reply {
        self.accept(Input::RankPulsed {
            identity: identity.clone(),
            progress: Progress {
                generation: identity.generation,
                ..progress
            },
            hashes: Vec::new(),
            leaving: false,
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
        let joining = RankIdentity {
            generation: Generation(identity.generation.0 - 1),
            ..identity.clone()
        };
        firn_core::queries::world(&self.state, &joining)
            .unwrap()
            .expect("the gang is complete")
    }

    pub(crate) fn register(&mut self, identity: &RankIdentity, dataset: Dataset) -> Reply {
        self.accept(Input::DatasetRegistered {
            identity: identity.clone(),
            dataset: Arc::new(dataset),
        })
    }

    pub(crate) fn request(&mut self, identity: &RankIdentity, pass: Pass) -> Result<Reply, Reject> {
        self.request_ahead(identity, pass, &[])
    }

    pub(crate) fn request_ahead(&mut self, identity: &RankIdentity, pass: Pass, held: &[u32]) -> Result<Reply, Reject> {
        self.give(Input::ShardRequested {
            identity: identity.clone(),
            pass,
            held: held.to_vec(),
        })
    }

    pub(crate) fn complete(&mut self, identity: &RankIdentity, pass: Pass, shard: Shard) -> Result<Reply, Reject> {
        let report = self.report(pass, shard);
        self.give(Input::ShardCompleted {
            identity: identity.clone(),
            pass,
            shard: shard.index,
            report,
        })
    }

    /// What an honest rank reports: every second sample is a bee, and everything is predicted right, unless the test says otherwise.
    pub(crate) fn report(&self, pass: Pass, shard: Shard) -> ShardReport {
        let samples = shard.end - shard.begin;
        match pass {
            Pass::Scan(_) => ShardReport::Scanned {
                bytes_read: 100 * samples,
                content_digest: format!("content of {}", shard.index),
                corrupt: Vec::new(),
            },
            Pass::Evaluate { epoch, .. } => {
                let loss_sum = samples as f64 * self.losses.get(epoch as usize).copied().unwrap_or(0.5);
                let mut matrix = [0; 4];
                for sample in shard.begin..shard.end {
                    let truth = (sample % 2) as usize;
                    let predicted = self.predicted.get(epoch as usize).map(|found| found[sample as usize]);
                    matrix[2 * truth + predicted.map_or(truth, |class| class as usize)] += 1;
                }
                evaluated((samples, loss_sum), matrix, Vec::new())
            }
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
                    let tuned = match pass {
                        Pass::Evaluate {
                            split: SplitName::Validation,
                            epoch,
                        } => self.thresholds.get(epoch as usize).cloned(),
                        _ => None,
                    };
                    self.accept(Input::PassScored {
                        job,
                        generation,
                        pass,
                        from_predictions: BTreeMap::from([("roc_auc".to_owned(), 1.0)]),
                        intervals: None,
                        thresholds: tuned.unwrap_or_default(),
                    });
                    any = true;
                }
                other => self.effects.push(other),
            }
        }
        any
    }

    pub(crate) fn step(step: u64, epoch: u32) -> Step {
        let first_position = 10 * (step % 4);
        let end_position = (first_position + 10).min(35);
        Step {
            step,
            epoch,
            loss: 1.0 / (step + 1) as f64,
            learning_rate: 0.1,
            samples: (end_position - first_position) as u32,
            gradient_norm: 1.0,
            skipped: false,
            first_position,
            end_position,
            timing: StepTiming::default(),
        }
    }

    pub(crate) fn commit(
        &mut self,
        identity: &RankIdentity,
        epoch: u32,
        steps: std::ops::Range<u64>,
    ) -> Result<Reply, Reject> {
        let steps = steps.map(|step| Self::step(step, epoch)).collect();
        self.give(Input::StepsCommitted {
            identity: identity.clone(),
            steps,
        })
    }

    pub(crate) fn checkpoint(epochs_done: u32, steps_done: u64, generation: Generation) -> Checkpoint {
        Checkpoint {
            epochs_done,
            steps_done,
            sha256: sha256(steps_done + 1_000_000 * generation.0),
            size_bytes: 10,
            location: None,
            ends_epoch: steps_done == 4 * u64::from(epochs_done),
        }
    }

    pub(crate) fn store(
        &mut self,
        identity: &RankIdentity,
        epochs_done: u32,
        steps_done: u64,
    ) -> Result<Reply, Reject> {
        let checkpoint = Self::checkpoint(epochs_done, steps_done, identity.generation);
        self.give(Input::CheckpointStored {
            identity: identity.clone(),
            checkpoint,
        })
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
        for worker in 0..spec.resources.workers.max {
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
