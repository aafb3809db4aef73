//! `firn backup FOLDER` and `firn restore FOLDER`: a coordinator's folder is kept elsewhere, and put back. No coordinator runs meanwhile.

use std::path::PathBuf;

use clap::Args;

use super::{console::Console, error::CommandError, outcome::Outcome, view::humanise};
use crate::{
    backup::{self, BackupError, Copied},
    fail_point,
    journal::JournalError,
};

/// Copies the folder of a coordinator that does not run, and proves the copy: jobs, journal, and what is kept of checkpoints, artifacts and logs
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// Where the copy is to lie; an earlier backup there is replaced when the new one is whole
    folder: PathBuf,
    /// The coordinator's folder
    #[arg(long, env = "FIRN_DATA_DIR", value_name = "FOLDER")]
    data_dir: PathBuf,
}

/// Puts a backup into the folder of a coordinator that has no journal, and proves it
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// The backup, or another copy of a coordinator's folder
    folder: PathBuf,
    /// The coordinator's folder
    #[arg(long, env = "FIRN_DATA_DIR", value_name = "FOLDER")]
    data_dir: PathBuf,
}

pub(crate) fn run(args: &BackupArgs, console: &mut Console) -> Result<Outcome, CommandError> {
    tell(backup::back_up(&args.data_dir, &args.folder), console)
}

pub(crate) fn restore(args: &RestoreArgs, console: &mut Console) -> Result<Outcome, CommandError> {
    fail_point::arm_from_environment().map_err(|error| CommandError::Usage(error.to_string()))?;
    tell(backup::restore(&args.folder, &args.data_dir), console)
}

fn tell(copied: Result<Copied, BackupError>, console: &mut Console) -> Result<Outcome, CommandError> {
    let copied = copied.map_err(|error| match error {
        BackupError::NoJournal { .. } | BackupError::Taken { .. } | BackupError::MountPoint { .. } => {
            CommandError::Usage(error.to_string())
        }
        BackupError::Journal(JournalError::Held { .. }) => CommandError::Usage(error.to_string()),
        error => CommandError::Local(error.to_string()),
    })?;
    let Copied {
        records, head, files, ..
    } = copied;
    let size = humanise::bytes(copied.bytes);
    console.data(&format!(
        "{records} records are proven, {files} files copied ({size}); head {head}"
    ))?;
    Ok(Outcome::Success)
}
