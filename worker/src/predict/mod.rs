//! `firn-worker predict`: puts samples through a network that a job left, without a coordinator. `firn predict` and `firn evaluate` start it.
//!
//! Standard output holds messages of the wire, each with its length before it: first the `DatasetSummary` of what was found, which has
//! classes or targets if the samples have labels; then the `EvaluationReport` of each shard, in manifest order. Shards, micro-batches and scores
//! are those of a job's evaluation, so that the same samples get the same bits on the same machine.

mod artifact;
mod samples;

use std::{
    io::{self, BufWriter, Write},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use clap::Args;
use firn_core::{spec::Preprocessing, state::ShardTable};
use firn_data::{Loader, LoaderOptions, Preprocessor, Split, TextLimits};
use firn_models::{Model, Objective};
use firn_proto::v1alpha1 as wire;
use tracing::info;

use self::{artifact::Artifact, samples::Found};
use crate::rank::{
    self,
    failure::RankFailure,
    job_data::{self, BATCHES_AHEAD},
    learner::{inputs::Inputs, micro_batch_plan},
    membership::gang,
};

/// Arguments of `firn-worker predict`.
#[derive(Debug, Args)]
pub struct PredictArguments {
    /// Folder that the job left
    pub artifact: PathBuf,
    /// A folder of images, an image, a table or JSON lines; `-`: a text a line from standard input
    pub data: PathBuf,
    /// `cpu` or `cuda:N`
    #[arg(long, default_value = "cpu")]
    pub device: String,
    /// Threads that compute; as many again decode [default: one a processor]
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
    let processors = || std::thread::available_parallelism().map_or(1, |count| count.get() as u16);
    let threads = arguments.threads.unwrap_or_else(processors).max(1);
    tch::set_num_threads(i32::from(threads));
    let artifact = Artifact::open(&arguments.artifact)?;
    rank::determinism::pin(&artifact.spec, device);
    let found = samples::find(&artifact, &arguments.data, arguments.labelled)?;
    let network = Network::new(&artifact, device)?;
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
        artifact.spec.task.numbers_per_prediction(artifact.schema()),
    );
    let options = LoaderOptions {
        threads: usize::from(threads),
        batches_ahead: BATCHES_AHEAD,
        training: None,
    };
    for shard in (0..).map_while(|index| cut.shard(index)) {
        let plan = micro_batch_plan::micro_batches(shard.begin..shard.end, micro_batch);
        let plan = plan.into_iter().map(Iterator::collect);
        let loader = Loader::start(
            Arc::clone(&found.split),
            Arc::clone(&network.preprocessor),
            plan,
            options,
        );
        write(&mut out, &network.report(loader, &found.split)?)?;
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
        summary.classes.clone_from(&artifact.classes);
        summary.targets = artifact.targets.iter().map(rank::task::target_summary).collect();
    }
    summary
}

/// The network, and how samples get into it.
struct Network {
    model: Model,
    objective: Objective,
    preprocessor: Arc<Preprocessor>,
    inputs: Inputs,
}

impl Network {
    fn new(artifact: &Artifact, device: tch::Device) -> anyhow::Result<Self> {
        let spec = &artifact.spec;
        let model = artifact.model(device)?;
        if let Preprocessing::Image { crop, .. } = spec.data.preprocessing {
            model.check_crop(crop)?;
        }
        let limits = TextLimits {
            longest: model.max_length(),
            vocabulary: model.vocabulary(),
            rules: firn_core::compatibility::DataRules::Current,
        };
        let tokenizer = artifact.tokenizer();
        let preprocessor = Preprocessor::new(&spec.data.preprocessing, tokenizer.as_deref(), limits)?;
        Ok(Self {
            objective: rank::task::plain_objective(spec, &artifact.targets, device)?,
            inputs: Inputs::new(&spec.data.preprocessing, device)?,
            preprocessor: Arc::new(preprocessor),
            model,
        })
    }

    fn report(&self, batches: Loader, split: &Split) -> Result<wire::EvaluationReport, RankFailure> {
        let _no_grad = tch::no_grad_guard();
        let mut report = wire::EvaluationReport::default();
        for batch in batches {
            let corrupt = batch.corrupt.iter();
            report
                .corrupt
                .extend(corrupt.map(|sample| job_data::to_wire(split.name.as_str(), sample)));
            if batch.indices.is_empty() {
                continue;
            }
            let features = self.model.features(&self.inputs.of(&batch)?)?;
            let outputs = self.model.logits(&features, None)?;
            rank::task::score(&self.objective, &outputs, (&batch, split), &mut report)?;
        }
        Ok(report)
    }
}
