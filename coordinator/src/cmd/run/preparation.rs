//! What is decided, and refused, before a run starts anything.

use std::path::PathBuf;

use firn_proto::v1alpha1::FineTuneJob;

use super::{
    RunArgs,
    cluster::Programs,
    folder::RunFolder,
    plan,
    record::RunRecord,
    resume,
    shares::{self, Machine, Share},
};
use crate::{
    cmd::{error::CommandError, validate},
    spec_file::{self, SpecFile},
};

/// A run that can start.
pub(super) struct Prepared {
    /// Held for as long as the run goes on.
    pub(super) folder: RunFolder,
    pub(super) record: RunRecord,
    pub(super) beginning: Beginning,
    pub(super) shares: Vec<Share>,
    pub(super) programs: Programs,
}

/// How a run begins.
pub(super) enum Beginning {
    /// With a job that is submitted.
    Submit {
        /// Holds it.
        file: Box<SpecFile>,
        /// Fitted to this machine.
        job: Box<FineTuneJob>,
    },
    /// With a job of this id that an earlier run has submitted.
    Resume(String),
}

pub(super) fn prepare(args: &RunArgs) -> Result<Prepared, CommandError> {
    match args.resume {
        true => take_up(args),
        false => begin(args),
    }
}

fn begin(args: &RunArgs) -> Result<Prepared, CommandError> {
    let path = args.spec.as_deref().unwrap_or_else(|| "".as_ref());
    let file = spec_file::read(path)?;
    let mut job = file.job.clone();
    args.queueing.write_into(&mut job);
    let demand = plan::fit_workers(&mut job, args.workers, args.slots_per_worker);
    let shares = shares::divide(demand, plan::device(&job), &Machine::here())?;
    let artifacts = plan::place_artifacts(&mut job, args.artifacts.as_deref())?;
    // Before anything is started: the coordinator would say the same, a second later.
    validate::complete(&file, &job)?;
    let programs = Programs::find()?;
    let place = RunFolder::place(args.keep_data.as_deref(), &artifacts);
    let folder = RunFolder::lock(&place, args.keep_data.is_some())?;
    if !args.anew {
        resume::refuse_unfinished(&folder)?;
    }
    let record = RunRecord::new(path, file.written.clone(), demand, plan::device(&job), &artifacts)
        .found_with("--artifacts", args.artifacts.as_deref())
        .found_with("--keep-data", args.keep_data.as_deref());
    folder.begin_anew(&record)?;
    Ok(Prepared {
        folder,
        record,
        beginning: Beginning::Submit {
            file: Box::new(file),
            job: Box::new(job),
        },
        shares,
        programs,
    })
}

fn take_up(args: &RunArgs) -> Result<Prepared, CommandError> {
    // What its model was when the run began is in the job that was submitted.
    let file = args.spec.as_deref().map(spec_file::read_alone).transpose()?;
    let place = match (&args.keep_data, &file, &args.artifacts) {
        (None, None, None) => resume::only_one_here()?,
        _ => place(args, file.as_ref())?,
    };
    let programs = Programs::find()?;
    // What is not there is not created: an empty folder would be left behind.
    if !place.is_dir() {
        let place = place.display();
        return Err(CommandError::Usage(format!(
            "nothing to resume: there is no unfinished run in {place}"
        )));
    }
    let folder = RunFolder::lock(&place, args.keep_data.is_some())?;
    let (record, id) = resume::unfinished(&folder, file.as_ref().map(|file| &file.job))?;
    let shares = shares::divide(record.demand(), &record.device, &Machine::here())?;
    Ok(Prepared {
        folder,
        record,
        beginning: Beginning::Resume(id),
        shares,
        programs,
    })
}

fn place(args: &RunArgs, file: Option<&SpecFile>) -> Result<PathBuf, CommandError> {
    let mut job = file.map(|file| file.job.clone()).unwrap_or_default();
    let artifacts = plan::place_artifacts(&mut job, args.artifacts.as_deref())?;
    Ok(RunFolder::place(args.keep_data.as_deref(), &artifacts))
}
