//! A coordinator in this process that can be told to stop, or killed.

use std::{net::SocketAddr, path::Path, sync::mpsc, thread, time::Duration};

use firn::serve::{Coordinator, ServeError, limits::Limits, security::Security, settings::ServeSettings};
use firn_proto::v1alpha1::{
    self as proto, job_service_client::JobServiceClient, rank_service_client::RankServiceClient,
    worker_service_client::WorkerServiceClient,
};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

/// A running coordinator. Dropped, it is killed.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// Of the health port.
    pub(crate) health: Option<SocketAddr>,
    stop: CancellationToken,
    kill: CancellationToken,
    thread: Option<thread::JoinHandle<Result<(), ServeError>>>,
}

pub(crate) fn settings(folder: &Path) -> ServeSettings {
    ServeSettings {
        listen: "127.0.0.1:0".parse().unwrap(),
        health_listen: None,
        data_dir: folder.to_owned(),
        security: Security::default(),
        ready_file: None,
        shutdown_grace: Duration::from_secs(10),
        limits: Limits::default(),
        core: firn_core::Settings::default(),
    }
}

impl Server {
    pub(crate) fn start(folder: &Path) -> Self {
        Self::start_with(settings(folder)).unwrap()
    }

    /// On a runtime of its own, so that a kill takes every task of it down at once, as the end of a process would.
    pub(crate) fn start_with(settings: ServeSettings) -> Result<Self, ServeError> {
        let (stop, kill) = (CancellationToken::new(), CancellationToken::new());
        let (opened, is_open) = mpsc::channel();
        let (stopping, killing) = (stop.clone(), kill.clone());
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let coordinator = match Coordinator::open(settings) {
                    Ok(coordinator) => coordinator,
                    Err(error) => {
                        opened.send(Err(error)).unwrap();
                        return Ok(());
                    }
                };
                opened
                    .send(Ok((coordinator.address(), coordinator.health_address())))
                    .unwrap();
                tokio::select! {
                    ended = coordinator.run(stopping) => ended,
                    () = killing.cancelled() => Ok(()),
                }
            })
        });
        let (address, health) = is_open.recv().unwrap()?;
        Ok(Self {
            address,
            health,
            stop,
            kill,
            thread: Some(thread),
        })
    }

    pub(crate) fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.address))
            .unwrap()
            .connect_lazy()
    }

    pub(crate) fn jobs(&self) -> JobServiceClient<Channel> {
        JobServiceClient::new(self.channel())
    }

    pub(crate) fn workers(&self) -> WorkerServiceClient<Channel> {
        WorkerServiceClient::new(self.channel())
    }

    pub(crate) fn ranks(&self) -> RankServiceClient<Channel> {
        RankServiceClient::new(self.channel())
    }

    /// As SIGTERM does; gives what the coordinator ended with.
    pub(crate) async fn stop(mut self) -> Result<(), ServeError> {
        self.stop.cancel();
        let thread = self.thread.take().unwrap();
        tokio::task::spawn_blocking(move || thread.join().unwrap())
            .await
            .unwrap()
    }

    /// As SIGKILL does.
    pub(crate) async fn kill(mut self) {
        self.kill.cancel();
        let thread = self.thread.take().unwrap();
        tokio::task::spawn_blocking(move || thread.join().unwrap())
            .await
            .unwrap()
            .unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill.cancel();
    }
}

/// A job that the fake ranks can run: 40 training samples in batches of 16 are three steps an epoch.
pub(crate) fn job(name: &str) -> proto::FineTuneJob {
    let split = |uri: &str| {
        Some(proto::SplitSpec {
            uri: uri.to_owned(),
            split: None,
        })
    };
    proto::FineTuneJob {
        api_version: "firn.dev/v1alpha1".to_owned(),
        kind: "FineTuneJob".to_owned(),
        metadata: Some(proto::Metadata {
            name: name.to_owned(),
            ..Default::default()
        }),
        spec: Some(proto::JobSpec {
            task: Some(proto::TaskSpec {
                r#type: "classification".to_owned(),
                ..Default::default()
            }),
            model: Some(proto::ModelSpec {
                architecture: "resnet18".to_owned(),
                ..Default::default()
            }),
            data: Some(proto::DataSpec {
                format: "imagefolder".to_owned(),
                train: split("/data/train"),
                validation: split("/data/val"),
                test: split("/data/test"),
                ..Default::default()
            }),
            training: Some(proto::TrainingSpec {
                epochs: Some(2),
                batch_size: Some(16),
                best_metric: "validation/accuracy".to_owned(),
                ..Default::default()
            }),
            resources: Some(proto::ResourcesSpec {
                workers: Some(proto::WorkersSpec {
                    min: Some(1),
                    max: Some(1),
                }),
                slots_per_worker: Some(2),
                device: "cpu".to_owned(),
            }),
            ..Default::default()
        }),
        status: None,
    }
}

/// The same with two numbers of a table of images to learn.
pub(crate) fn regression(name: &str) -> proto::FineTuneJob {
    let mut job = job(name);
    let spec = job.spec.get_or_insert_default();
    spec.task.get_or_insert_default().r#type = "regression".to_owned();
    let data = spec.data.get_or_insert_default();
    data.format = "csv".to_owned();
    data.columns = Some(proto::ColumnsSpec {
        image: "photo".to_owned(),
        targets: vec!["price".to_owned(), "rooms".to_owned()],
        ..Default::default()
    });
    spec.training.get_or_insert_default().best_metric = "validation/mae".to_owned();
    job
}

pub(crate) async fn submit(server: &Server, job: proto::FineTuneJob) -> proto::FineTuneJob {
    let request = proto::CreateJobRequest {
        job: Some(job),
        request_id: String::new(),
        suspended: false,
    };
    server.jobs().create_job(request).await.unwrap().into_inner()
}

pub(crate) async fn get(server: &Server, name: &str) -> proto::FineTuneJob {
    server
        .jobs()
        .get_job(proto::GetJobRequest {
            name: name.to_owned(),
            ..Default::default()
        })
        .await
        .unwrap()
        .into_inner()
}

pub(crate) fn summary(job: &proto::FineTuneJob) -> &str {
    &job.status.as_ref().unwrap().summary
}
