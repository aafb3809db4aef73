//! Real rank processes, on data that is made here.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
};

use firn_core::spec;
use image::{Rgb, RgbImage};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::coordinator::{Coordinator, PATIENCE};

/// Samples of the training split.
pub(crate) const SAMPLES: u64 = 40;

/// One rank. Dropping it kills it.
pub(crate) struct Rank {
    child: Option<Child>,
    log: PathBuf,
}

impl Rank {
    pub(crate) fn start(folder: &Path, coordinator: &Coordinator, process: &str) -> Self {
        let log = folder.join(format!("{process}.log"));
        let file = File::create(&log).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_firn-worker"));
        command
            .arg("rank")
            .env("FIRN_COORDINATOR", format!("http://{}", coordinator.address))
            .env("FIRN_JOB", "jobs/images")
            .env("FIRN_PROCESS_ID", process)
            .env("FIRN_SCRATCH", folder)
            .env_remove("FIRN_AGENT_PID")
            .env_remove("FIRN_TOKEN")
            .env("OMP_NUM_THREADS", "1")
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file);
        Self {
            child: Some(command.spawn().unwrap()),
            log,
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("it was started");
        kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("it was started");
        let pid = Pid::from_raw(child.id().cast_signed());
        let (ended, wait) = mpsc::channel();
        thread::spawn(move || ended.send(child.wait().unwrap()));
        wait.recv_timeout(PATIENCE).unwrap_or_else(|_| {
            let _ = kill(pid, Signal::SIGKILL);
            panic!("the rank does not end; its log:\n{}", self.log())
        })
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }
}

impl Drop for Rank {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}:\n{}", self.log.display(), self.log());
        }
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// An image job with four samples in a batch: ten steps an epoch, `checkpoint_interval_ms` between checkpoints within one.
pub(crate) fn image_job(folder: &Path, checkpoint_interval_ms: u64) -> String {
    let train = write_images(&folder.join("train"));
    let spec = spec::JobSpec {
        metadata: spec::Metadata {
            name: "images".to_owned(),
            namespace: "default".to_owned(),
            labels: BTreeMap::new(),
        },
        task: spec::Task::Classification,
        model: spec::ModelSpec {
            architecture: spec::Architecture::MobilenetV2,
            weights: None,
            tokenizer: None,
            freeze: spec::Freeze::All.into(),
            lora: None,
            dropout: spec::StageDropout::None,
            head: spec::HeadSpec::Linear { dropout: 0.1 },
            pooling: spec::Pooling::Mean,
        },
        data: spec::DataSpec {
            format: spec::DataFormat::ImageFolder,
            missing_labels: None,
            classes: Vec::new(),
            train,
            validation: None,
            test: None,
            preprocessing: spec::Preprocessing::Image {
                resize: 32,
                interpolation: spec::Interpolation::Bilinear,
                crop_mode: spec::CropMode::Center,
                crop: 32,
                mean: [0.5; 3],
                std: [0.5; 3],
            },
            augmentation: None,
            quarantine: spec::QuarantineSpec { max_samples: 0 },
        },
        training: training(checkpoint_interval_ms),
        resources: spec::ResourcesSpec {
            workers: spec::WorkersSpec { min: 1, max: 2 },
            slots_per_worker: 1,
            device: spec::DeviceRequest::Cpu,
        },
        restart_policy: spec::RestartPolicy { max_restarts: 3 },
        artifacts: spec::ArtifactsSpec {
            folder: None,
            merged_model: false,
        },
        scheduling: spec::SchedulingSpec::default(),
        run_policy: spec::RunPolicy::default(),
    };
    serde_json::to_string(&spec).unwrap()
}

fn training(checkpoint_interval_ms: u64) -> spec::TrainingSpec {
    spec::TrainingSpec {
        epochs: 100,
        batch_size: 4,
        micro_batch_size: None,
        seed: 7,
        optimizer: spec::OptimizerSpec::AdamW {
            learning_rate: 1e-2,
            weight_decay: 0.01,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
        },
        schedule: spec::ScheduleSpec {
            shape: spec::ScheduleShape::Constant,
            warmup: spec::Warmup::Steps(0),
        },
        loss: spec::LossSpec::default(),
        early_stopping: None,
        best_metric: spec::MetricName::LOSS,
        best_metric_class: None,
        train_batch_norm: false,
        max_gradient_norm: None,
        max_gradient_value: None,
        decayed: spec::Decayed::All,
        layer_decay: 1.0,
        mixing: None,
        ema: None,
        sampling: spec::Sampling::Shuffle,
        frozen_precision: spec::Precision::Single,
        checkpoint_interval_ms,
        determinism: spec::Determinism::Default,
    }
}

fn write_images(folder: &Path) -> String {
    for class in 0..2u8 {
        let class_folder = folder.join(format!("class-{class}"));
        fs::create_dir_all(&class_folder).unwrap();
        for number in 0..SAMPLES as u8 / 2 {
            let image = RgbImage::from_fn(32, 32, |x, y| {
                Rgb([x as u8 * 8, (y as u8).wrapping_mul(number), class * 200])
            });
            image.save(class_folder.join(format!("{number:02}.png"))).unwrap();
        }
    }
    folder.to_string_lossy().into_owned()
}
