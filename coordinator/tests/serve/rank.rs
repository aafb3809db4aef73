//! A rank, played by the test: it follows directives with made-up data whose every number the test knows.

use firn_proto::v1alpha1::{
    self as proto, complete_shard_request::Report, directive::Next, lease_shard_response::Answer,
    rank_service_client::RankServiceClient, upload_header::Target, upload_request::Content,
};
use sha2::{Digest as _, Sha256};
use tonic::Status;

use crate::{agent::Agent, server::Server, twice::Line};

pub(crate) const CLASSES: [&str; 3] = ["ant", "bee, honey", "cricket"];
/// Samples of train, validation and test.
pub(crate) const SAMPLES: [(&str, u64); 3] = [("train", 40), ("validation", 20), ("test", 10)];

pub(crate) struct Rank {
    pub(crate) service: RankServiceClient<Line>,
    pub(crate) identity: proto::RankIdentity,
    pub(crate) rank: u32,
    steps: u64,
    pub(crate) data: Data,
}

/// What a rank says of its data.
pub(crate) struct Data {
    pub(crate) dataset: fn() -> proto::DatasetSummary,
    pub(crate) evaluation: fn(&str, u32, &proto::Shard) -> proto::EvaluationReport,
}

/// The two ranks that an agent is told to start, after what it was told of each.
pub(crate) async fn start_two(server: &Server, agent: &mut Agent) -> ([proto::StartRank; 2], [Rank; 2]) {
    let starts = [agent.start_rank().await, agent.start_rank().await];
    let ranks = starts.each_ref().map(|start| Rank::new(server, start));
    (starts, ranks)
}

/// Both ranks of a job from their first directives on, until `until` holds of one each; gives these. Each waits for the other at the
/// rendezvous and at the end of every pass.
pub(crate) async fn follow_together(
    [zero, one]: [&mut Rank; 2],
    until: impl Fn(&Next) -> bool + Copy,
) -> (proto::Directive, proto::Directive) {
    tokio::join!(
        async {
            let first = zero.begin().await;
            zero.follow(first, until).await
        },
        async {
            let first = one.begin().await;
            one.follow(first, until).await
        },
    )
}

/// What a rank says to probabilities of a sample: fixed, and better in later epochs.
pub(crate) fn prediction(split: &str, epoch: u32, index: u64) -> proto::Prediction {
    let label = label(index);
    let is_right = (index * 7 + u64::from(epoch)) % 5 >= 2 - u64::from(epoch.min(1));
    let guess = if is_right { label } else { (label + 1) % 3 };
    let mut scores = vec![0.1 + index as f64 * 1e-3; 3];
    scores[guess as usize] = 1.0 - 2.0 * scores[0];
    proto::Prediction {
        index,
        sample: format!("{split}/{index:03}.png"),
        label,
        scores,
        ..Default::default()
    }
}

pub(crate) fn label(index: u64) -> u32 {
    (index % 3) as u32
}

/// The made-up trainable state after an epoch.
pub(crate) fn weights(epoch: u32) -> Vec<u8> {
    format!("weights after epoch {epoch}").repeat(100_000 / 20).into_bytes()
}

fn reference(epoch: u32, steps: u64) -> proto::CheckpointRef {
    let weights = weights(epoch);
    proto::CheckpointRef {
        epochs_done: epoch + 1,
        steps_done: steps,
        sha256: hex::encode(Sha256::digest(&weights)),
        size_bytes: weights.len() as u64,
        ..Default::default()
    }
}

pub(crate) fn dataset() -> proto::DatasetSummary {
    let split = |(split, samples): (&str, u64)| {
        let count = |class| (0..samples).filter(|index| label(*index) == class).count() as u64;
        proto::SplitManifest {
            split: split.to_owned(),
            samples,
            class_counts: (0..3).map(count).collect(),
            digest: "d1".to_owned(),
        }
    };
    proto::DatasetSummary {
        classes: CLASSES.map(str::to_owned).to_vec(),
        splits: SAMPLES.map(split).to_vec(),
        class_count: 3,
        ..proto::DatasetSummary::default()
    }
}

impl Rank {
    pub(crate) fn new(server: &Server, start: &proto::StartRank) -> Self {
        Self::on(Line::plain(server.channel()), start)
    }

    /// One whose every call arrives twice.
    pub(crate) fn doubled(server: &Server, start: &proto::StartRank) -> Self {
        Self::on(Line::doubled(server.channel()), start)
    }

    fn on(line: Line, start: &proto::StartRank) -> Self {
        let identity = proto::RankIdentity {
            job: start.job.clone(),
            process_id: start.process_id.clone(),
            generation: 0,
            coordinator_epoch: 0,
        };
        Self {
            service: RankServiceClient::new(line),
            identity,
            rank: start.rank,
            steps: 0,
            data: Data { dataset, evaluation },
        }
    }

    /// The coordinator is another process now.
    pub(crate) fn reconnect(&mut self, server: &Server) {
        self.service = RankServiceClient::new(Line::plain(server.channel()));
    }

    pub(crate) fn me(&self) -> Option<proto::RankIdentity> {
        Some(self.identity.clone())
    }

    pub(crate) async fn join(&mut self) -> Result<proto::World, Status> {
        let request = proto::JoinRequest {
            identity: self.me(),
            ring_address: format!("127.0.0.1:{}", 9000 + self.rank),
            device: "cpu".to_owned(),
            steps_done: self.steps,
            state_generation: self.identity.generation,
            reason: String::new(),
        };
        let world = self.service.join(request).await?.into_inner();
        self.rank = world.rank;
        self.identity.generation = world.generation;
        self.identity.coordinator_epoch = world.coordinator_epoch;
        Ok(world)
    }

    /// A sign of life; answers when there is news, or after a while.
    pub(crate) async fn pulse(&mut self) -> Result<proto::PulseResponse, Status> {
        let request = proto::PulseRequest {
            identity: self.me(),
            activity: "training".to_owned(),
            steps_done: self.steps,
            ..Default::default()
        };
        Ok(self.service.pulse(request).await?.into_inner())
    }

    /// Join, index, load: all that comes before the first directive.
    pub(crate) async fn begin(&mut self) -> proto::Directive {
        let world = self.join().await.unwrap();
        assert_eq!(world.rank, self.rank);
        self.steps = world.steps_done;
        let registered = proto::RegisterDatasetRequest {
            identity: self.me(),
            dataset: Some((self.data.dataset)()),
        };
        let registered = self.service.register_dataset(registered).await.unwrap().into_inner();
        assert_eq!(registered.dataset, Some((self.data.dataset)()));
        let model = proto::ModelSummary {
            frozen_parameters: 11_176_512,
            trainable_parameters: 1539,
            cut: "all".to_owned(),
            frozen_digest: "f0".to_owned(),
        };
        self.service
            .register_model(proto::RegisterModelRequest {
                identity: self.me(),
                model: Some(model),
            })
            .await
            .unwrap();
        world.next.unwrap()
    }

    pub(crate) async fn lease(&mut self, pass: &proto::Pass) -> Result<Answer, Status> {
        let request = proto::LeaseShardRequest {
            identity: self.me(),
            pass: Some(pass.clone()),
            held: vec![],
        };
        Ok(self.service.lease_shard(request).await?.into_inner().answer.unwrap())
    }

    pub(crate) async fn complete(&mut self, pass: &proto::Pass, shard: &proto::Shard) -> Result<(), Status> {
        let report = if pass.kind == "scan" {
            let content_digest = format!("{}-{}", pass.split, shard.index);
            Report::Scan(proto::ScanReport {
                bytes_read: 100,
                content_digest,
                corrupt: Vec::new(),
            })
        } else {
            Report::Evaluation((self.data.evaluation)(&pass.split, pass.epoch, shard))
        };
        let request = proto::CompleteShardRequest {
            identity: self.me(),
            pass: Some(pass.clone()),
            shard: shard.index,
            report: Some(report),
        };
        self.service.complete_shard(request).await.map(drop)
    }

    /// Works through a pass; gives what comes next.
    pub(crate) async fn run_pass(&mut self, pass: &proto::Pass) -> proto::Directive {
        loop {
            match self.lease(pass).await.unwrap() {
                Answer::Shard(shard) => self.complete(pass, &shard).await.unwrap(),
                Answer::Complete(directive) => return directive,
            }
        }
    }

    /// Trains an epoch of three steps; rank 0 commits them and stores the checkpoint.
    pub(crate) async fn train(&mut self, epoch: u32) {
        let steps: Vec<_> = (0..3)
            .map(|step| made_up_step(u64::from(epoch) * 3 + step, epoch))
            .collect();
        self.steps = u64::from(epoch + 1) * 3;
        if self.rank != 0 {
            return;
        }
        let committed = self
            .service
            .commit_steps(proto::CommitStepsRequest {
                identity: self.me(),
                steps,
            })
            .await
            .unwrap();
        assert_eq!(committed.into_inner().steps_committed, self.steps);
        let target = Target::Checkpoint(reference(epoch, self.steps));
        self.upload(target, &weights(epoch)).await.unwrap();
    }

    pub(crate) async fn upload(&mut self, target: Target, content: &[u8]) -> Result<(), Status> {
        let header = proto::UploadHeader {
            identity: self.me(),
            target: Some(target),
        };
        let mut messages = vec![proto::UploadRequest {
            content: Some(Content::Header(header)),
        }];
        let data = content.chunks(65_536).map(|chunk| proto::UploadRequest {
            content: Some(Content::Data(chunk.to_vec())),
        });
        messages.extend(data);
        self.service.upload(tokio_stream::iter(messages)).await.map(drop)
    }

    /// Follows directives until `until` holds of one, and gives that one.
    pub(crate) async fn follow(
        &mut self,
        mut directive: proto::Directive,
        until: impl Fn(&Next) -> bool,
    ) -> proto::Directive {
        loop {
            let next = directive.next.clone().unwrap();
            if until(&next) {
                return directive;
            }
            directive = match next {
                Next::RunPass(pass) => self.run_pass(&pass).await,
                Next::TrainEpoch(epoch) => {
                    self.train(epoch).await;
                    self.run_pass(&evaluate("validation", epoch)).await
                }
                Next::LoadBest(best) => {
                    assert_eq!(self.fetch(&best.sha256).await.unwrap(), weights(best.epochs_done - 1));
                    self.run_pass(&evaluate("test", best.epochs_done - 1)).await
                }
                Next::Finish(finish) => {
                    if self.rank == 0 {
                        self.finish(&finish).await;
                    }
                    return proto::Directive {
                        next: Some(Next::Finish(finish)),
                        ..proto::Directive::default()
                    };
                }
                Next::Stop(reason) => panic!("told to stop: {reason}"),
            };
        }
    }

    async fn finish(&mut self, finish: &proto::FinishDirective) {
        let head = weights(finish.best_epoch);
        let artifact = proto::Artifact {
            name: "head.safetensors".to_owned(),
            size_bytes: head.len() as u64,
            sha256: hex::encode(Sha256::digest(&head)),
            location: String::new(),
        };
        self.upload(Target::Artifact(artifact.clone()), &head).await.unwrap();
        let elsewhere = proto::Artifact {
            name: "model.safetensors".to_owned(),
            location: "file://one.example/model".to_owned(),
            ..artifact
        };
        let recorded = proto::RecordArtifactRequest {
            identity: self.me(),
            artifact: Some(elsewhere),
        };
        self.service.record_artifact(recorded).await.unwrap();
        self.service
            .finish_job(proto::FinishJobRequest { identity: self.me() })
            .await
            .unwrap();
        // The answer may have got lost: a repeat finds it done.
        self.service
            .finish_job(proto::FinishJobRequest { identity: self.me() })
            .await
            .unwrap();
    }

    pub(crate) async fn fetch(&mut self, sha256: &str) -> Result<Vec<u8>, Status> {
        let request = proto::FetchCheckpointRequest {
            identity: self.me(),
            sha256: sha256.to_owned(),
        };
        let mut chunks = self.service.fetch_checkpoint(request).await?.into_inner();
        let mut content = Vec::new();
        while let Some(chunk) = chunks.message().await? {
            content.extend(chunk.data);
        }
        Ok(content)
    }
}

pub(crate) fn evaluate(split: &str, epoch: u32) -> proto::Pass {
    proto::Pass {
        kind: "evaluate".to_owned(),
        split: split.to_owned(),
        epoch,
    }
}

pub(crate) fn evaluation(split: &str, epoch: u32, shard: &proto::Shard) -> proto::EvaluationReport {
    let predictions: Vec<_> = (shard.begin..shard.end)
        .map(|index| prediction(split, epoch, index))
        .collect();
    proto::EvaluationReport {
        samples: predictions.len() as u64,
        loss_sum: predictions
            .iter()
            .map(|made| -made.scores[made.label as usize].ln())
            .sum(),
        predictions,
        corrupt: Vec::new(),
    }
}

pub(crate) fn made_up_step(step: u64, epoch: u32) -> proto::Step {
    proto::Step {
        step,
        epoch,
        loss: 1.0 / (step + 1) as f64,
        learning_rate: 1e-3,
        samples: if step % 3 == 2 { 8 } else { 16 },
        gradient_norm: 0.5,
        skipped: false,
        first_position: 16 * (step % 3),
        end_position: (16 * (step % 3) + 16).min(40),
        timing: Some(proto::StepTiming {
            data_seconds: 0.001,
            compute_seconds: 0.1,
            reduce_seconds: 0.01,
            other_seconds: 0.0001,
        }),
    }
}
