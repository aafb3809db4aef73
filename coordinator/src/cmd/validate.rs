//! `firn validate SPEC`: what is wrong with a spec, without a coordinator.
//!
//! The rules are the coordinator's own, so that a spec that passes here is refused there only for what needs the data
//! or the workers to be seen.

use std::path::PathBuf;

use clap::Args;
use firn_proto::v1alpha1::FineTuneJob;

use super::{
    console::Console,
    error::CommandError,
    outcome::Outcome,
    view::{Format, document},
};
use crate::{
    api::wire,
    spec_file::{self, SpecFile},
};

/// Says what is wrong with a spec, or prints it with every default
#[derive(Debug, Args)]
pub struct ValidateArgs {
    /// YAML file of the job
    #[arg(value_name = "SPEC")]
    spec: PathBuf,
    /// How to print the job; table and wide print YAML
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

pub(crate) fn run(args: &ValidateArgs, console: &mut Console) -> Result<Outcome, CommandError> {
    let file = spec_file::read(&args.spec)?;
    let stored = complete(&file, &file.job)?;
    let format = if args.output == Format::Json {
        Format::Json
    } else {
        Format::Yaml
    };
    console.data(&document::render(&document::job(&stored), format)?)?;
    console.say(&format!("{} is a valid job", args.spec.display()));
    Ok(Outcome::Success)
}

/// `job`, which was made from `file`, with every default; refused if the coordinator would refuse it.
pub(crate) fn complete(file: &SpecFile, job: &FineTuneJob) -> Result<FineTuneJob, CommandError> {
    if let Some(unseen) = file.unseen() {
        return Err(file.explain(std::slice::from_ref(unseen)).into());
    }
    match wire::job_spec(job) {
        Ok(spec) => Ok(wire::stored_job(&spec)),
        Err(violations) => Err(file.explain(&violations).into()),
    }
}
