//! A coordinator in a process of its own.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use firn_proto::v1alpha1::{self as proto, job_service_client::JobServiceClient};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};

/// Longest wait for something that the coordinator says.
const PATIENCE: Duration = Duration::from_secs(30);

/// `firn serve` over a folder. Dropped, it is killed.
pub(crate) struct Served {
    child: Child,
    lines: mpsc::Receiver<String>,
    heard: String,
}

/// How a coordinator that has ended did so, and all that it said.
pub(crate) struct Left {
    pub(crate) status: ExitStatus,
    pub(crate) talk: String,
}

pub(crate) fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_firn"));
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(folder);
    command
}

impl Served {
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let mut child = command
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let talk = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = mpsc::channel();
        // Ends with the process.
        thread::spawn(move || {
            for line in talk.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self {
            child,
            lines,
            heard: String::new(),
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line that holds these words; `None` if the process ends before it says them.
    pub(crate) fn hear(&mut self, words: &str) -> Option<String> {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    self.heard.push_str(&line);
                    self.heard.push('\n');
                    if line.contains(words) {
                        return Some(line);
                    }
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => return None,
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("`{words}` was not said, but: {}", self.heard),
            }
        }
    }

    /// A channel to it, once it is ready; `None` if it ends before.
    pub(crate) fn ready(&mut self) -> Option<Channel> {
        let endpoint = Endpoint::from_shared(self.ready_at()?).unwrap();
        Some(endpoint.timeout(PATIENCE).connect_lazy())
    }

    /// Its URL, once it is ready; `None` if it ends before.
    pub(crate) fn ready_at(&mut self) -> Option<String> {
        let line = self.hear("ready: listening on")?;
        let address = line.split("http://").nth(1).unwrap().split_whitespace().next().unwrap();
        Some(format!("http://{address}"))
    }

    /// Waits until it ends.
    pub(crate) fn left(mut self) -> Left {
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            self.heard.push_str(&line);
            self.heard.push('\n');
        }
        Left {
            status: self.child.wait().unwrap(),
            talk: std::mem::take(&mut self.heard),
        }
    }

    /// Tells it to stop, and waits.
    pub(crate) fn stop(self) -> Left {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
        self.left()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn job(name: &str) -> proto::FineTuneJob {
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
                ..Default::default()
            }),
            ..Default::default()
        }),
        status: None,
    }
}

pub(crate) async fn submit(channel: &Channel, name: &str) -> Result<(), Status> {
    let request = proto::CreateJobRequest {
        job: Some(job(name)),
        request_id: String::new(),
        suspended: false,
    };
    JobServiceClient::new(channel.clone())
        .create_job(request)
        .await
        .map(drop)
}

pub(crate) async fn cancel(channel: &Channel, name: &str) -> Result<(), Status> {
    let request = proto::CancelJobRequest {
        name: format!("jobs/{name}"),
        request_id: String::new(),
    };
    JobServiceClient::new(channel.clone())
        .cancel_job(request)
        .await
        .map(drop)
}

async fn listed(channel: &Channel) -> Vec<proto::FineTuneJob> {
    let request = proto::ListJobsRequest {
        page_size: 1_000,
        ..Default::default()
    };
    let listed = JobServiceClient::new(channel.clone()).list_jobs(request).await;
    listed.unwrap().into_inner().jobs
}

fn names_of(jobs: impl Iterator<Item = proto::FineTuneJob>) -> Vec<String> {
    let mut names: Vec<_> = jobs.map(|job| job.metadata.unwrap().name).collect();
    names.sort();
    names
}

/// Names of all jobs.
pub(crate) async fn names(channel: &Channel) -> Vec<String> {
    names_of(listed(channel).await.into_iter())
}

/// Names of the jobs that were cancelled.
pub(crate) async fn cancelled(channel: &Channel) -> Vec<String> {
    let is_cancelled = |job: &proto::FineTuneJob| job.status.as_ref().unwrap().summary == "Cancelled";
    names_of(listed(channel).await.into_iter().filter(is_cancelled))
}
