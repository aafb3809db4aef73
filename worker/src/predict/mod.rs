//! `firn-worker predict`: puts samples through a network that a job left, without a coordinator. `firn predict` and `firn evaluate` start it.
//!
//! Standard output holds messages of the wire, each with its length before it: first the `DatasetSummary` of what was found, which has
//! classes or targets if the samples have labels; then the `EvaluationReport` of each shard, in manifest order. Shards, micro-batches and scores
//! are those of a job's evaluation, so that the same samples get the same bits on the same machine.

mod artifact;
mod network;
mod samples;
mod scored;

use std::{
    io::{self, BufWriter, Write},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use clap::Args;
use firn_core::{compatibility::DataRules, spec::Precision, state::ShardTable};
use firn_data::{Loader, LoaderOptions};
use firn_models::has_bfloat16;
use firn_proto::v1alpha1 as wire;
use tch::Device;
use tracing::{info, warn};

use self::samples::Found;
pub(crate) use self::{artifact::Artifact, network::Network, scored::Scored};
use crate::rank::{self, failure::RankFailure, job_data::BATCHES_AHEAD, learner::micro_batch_plan, membership::gang};

/// Arguments of `firn-worker predict`.
#[derive(Debug, Args)]
pub struct PredictArguments {
    /// Folder that the job left
    pub artifact: PathBuf,
    /// A folder of images, an image, a table or JSON lines; `-`: a text a line from standard input, or two with a tab between them, or words with spaces between them
    pub data: PathBuf,
    /// `cpu` or `cuda:N`
    #[arg(long, default_value = "cpu")]
    pub device: String,
    /// Threads that compute; as many again decode [default: those of a rank of the job compute, since others may change the last bits, and one a processor decodes]
    #[arg(long)]
    pub threads: Option<u16>,
    /// Samples that the network takes at once [default: as in the job]
    #[arg(long)]
    pub micro_batch: Option<u32>,
    /// Refuse samples without labels
    #[arg(long)]
    pub labelled: bool,
}

/// Predicts, and writes what it predicts.
///
/// # Errors
/// What is wrong with the artifact or with the data, by name; those of libtorch and of standard output.
pub fn run(arguments: &PredictArguments) -> anyhow::Result<ExitCode> {
    let device = gang::parse_device(&arguments.device)?;
    let artifact = Artifact::open(&arguments.artifact)?;
    let processors = std::thread::available_parallelism().map_or(1, |count| count.get() as u16);
    let of_job = artifact.scored.threads.filter(|_| device == Device::Cpu);
    let threads = arguments.threads.or(of_job).unwrap_or(processors).max(1);
    tch::set_num_threads(i32::from(threads));
    rank::determinism::pin(&artifact.spec, device);
    let found = samples::find(&artifact, &arguments.data, arguments.labelled)?;
    if artifact.spec.training.frozen_precision == Precision::Bfloat16 && device == Device::Cpu && !has_bfloat16() {
        warn!(
            "the processor has no instructions for bfloat16, in which the frozen part was computed: they are emulated, which is slow"
        );
    }
    let network = Network::new(&artifact, device, DataRules::Current)?;
    let training = &artifact.spec.training;
    let of_job = match training.train_batch_norm {
        true => Some(training.batch_size),
        false => training.micro_batch_size,
    };
    let micro_batch = match arguments.micro_batch.or(of_job) {
        Some(size) => size.max(1) as usize,
        None => rank::learner::usual_micro_batch(device),
    };
    info!(
        samples = found.split.samples.len(),
        labelled = found.labelled,
        "predicting"
    );
    let mut out = BufWriter::new(io::stdout().lock());
    write(&mut out, &summary(&artifact, &found))?;
    let cut = ShardTable::cut(
        found.split.len(),
        artifact.spec.task.numbers_per_prediction(artifact.outputs.schema()),
    );
    let options = LoaderOptions {
        threads: usize::from(arguments.threads.unwrap_or(processors).max(1)),
        batches_ahead: BATCHES_AHEAD,
        training: None,
    };
    for shard in (0..).map_while(|index| cut.shard(index)) {
        let plan = micro_batch_plan::micro_batches(shard.begin..shard.end, micro_batch);
        let plan = plan.into_iter().map(Iterator::collect);
        let loader = Loader::start(Arc::clone(&found.split), network.preprocessor(), plan, options);
        write(
            &mut out,
            &network
                .scorer()
                .report(loader, &found.split, || Ok::<_, RankFailure>(()))?,
        )?;
        out.flush()?;
    }
    Ok(ExitCode::SUCCESS)
}

fn write(out: &mut impl Write, message: &impl prost::Message) -> io::Result<()> {
    out.write_all(&message.encode_length_delimited_to_vec())
}

fn summary(artifact: &Artifact, found: &Found) -> wire::DatasetSummary {
    let mut summary = wire::DatasetSummary {
        splits: vec![wire::SplitManifest {
            split: found.split.name.to_string(),
            samples: found.split.len(),
            digest: found.split.digest(),
            ..wire::SplitManifest::default()
        }],
        warnings: found.warnings.clone(),
        ..wire::DatasetSummary::default()
    };
    if found.labelled {
        summary.classes.clone_from(&artifact.outputs.classes);
        summary.targets = artifact
            .outputs
            .targets
            .iter()
            .map(rank::task::target_summary)
            .collect();
    }
    summary
}
