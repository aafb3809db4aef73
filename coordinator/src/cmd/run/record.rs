//! What a run notes down of itself, so that `firn run --resume` can go on with it after the end of every process.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use firn_proto::v1alpha1::FineTuneJob;
use serde::{Deserialize, Serialize};

use super::shares::Demand;
use crate::{artifacts::write_whole, cmd::error::CommandError};

/// Raised when an older program could not go on with what a newer one has noted.
const FORMAT: u32 = 1;
const NAME: &str = "run.json";

/// One run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RunRecord {
    format: u32,
    /// Seconds since the Unix epoch.
    pub(super) started_at: u64,
    /// The spec's file, absolute.
    pub(super) spec: PathBuf,
    /// Flags without which the run is not found again.
    flags: Vec<String>,
    /// The job as that file held it.
    pub(super) source: FineTuneJob,
    /// Folder of the artifacts, absolute.
    pub(super) artifacts: PathBuf,
    /// Workers and slots that were started.
    pub(super) workers: u32,
    pub(super) slots_per_worker: u32,
    /// `auto`, `cpu` or `gpu`.
    pub(super) device: String,
    /// Id of the job at the run's coordinator; `None`: it was not submitted yet.
    pub(super) job: Option<String>,
    /// How the job ended; `None`: it did not.
    pub(super) ended: Option<String>,
}

impl RunRecord {
    /// A run that begins now.
    pub(super) fn new(spec: &Path, source: FineTuneJob, demand: Demand, device: &str, artifacts: &Path) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            format: FORMAT,
            started_at: now.map_or(0, |now| now.as_secs()),
            spec: std::path::absolute(spec).unwrap_or_else(|_| spec.to_owned()),
            flags: Vec::new(),
            source,
            artifacts: artifacts.to_owned(),
            workers: demand.workers,
            slots_per_worker: demand.slots_per_worker,
            device: device.to_owned(),
            job: None,
            ended: None,
        }
    }

    /// Named with this flag, it is found again.
    #[must_use]
    pub(super) fn found_with(mut self, flag: &str, folder: Option<&Path>) -> Self {
        if let Some(folder) = folder {
            let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
            self.flags.extend([flag.to_owned(), folder.display().to_string()]);
        }
        self
    }

    /// What a person types to go on with it (`--resume`), or to begin anew (`--anew`).
    pub(super) fn command(&self, how: &str) -> String {
        let mut command = format!("firn run {how} {}", self.spec.display());
        for flag in &self.flags {
            command.push(' ');
            command.push_str(flag);
        }
        command
    }

    /// What was started.
    pub(super) fn demand(&self) -> Demand {
        Demand {
            workers: self.workers,
            slots_per_worker: self.slots_per_worker,
        }
    }

    /// The job's id, if there is something to go on with.
    pub(super) fn unfinished(&self) -> Option<&str> {
        self.job.as_deref().filter(|_| self.ended.is_none())
    }

    /// The record in a folder, if there is one.
    pub(super) fn read(folder: &Path) -> Result<Option<Self>, CommandError> {
        let path = folder.join(NAME);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(CommandError::file("read", path)(error)),
        };
        let unreadable = |why: String| {
            let path = path.display();
            CommandError::Local(format!(
                "{path} is no record of a run that this program can go on with: {why}"
            ))
        };
        let record: Self = serde_json::from_slice(&text).map_err(|error| unreadable(error.to_string()))?;
        match record.format {
            FORMAT => Ok(Some(record)),
            found => Err(unreadable(format!("expected format {FORMAT}, found {found}"))),
        }
    }

    /// Writes it, so that it is there whole after a loss of power.
    pub(super) fn write(&self, folder: &Path) -> Result<(), CommandError> {
        let text = serde_json::to_vec_pretty(self).expect("a record of strings and numbers is JSON");
        write_whole(&folder.join(NAME), &text).map_err(|error| CommandError::Local(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::view::samples;

    #[test]
    fn a_record_reads_back_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(RunRecord::read(folder.path()).unwrap(), None);
        let source = FineTuneJob {
            status: None,
            metadata: None,
            ..samples::queued()
        };
        let demand = Demand {
            workers: 2,
            slots_per_worker: 1,
        };
        let mut record = RunRecord::new(Path::new("job.yaml"), source, demand, "cpu", Path::new("/out"));
        assert!(record.spec.is_absolute());
        record = record
            .found_with("--artifacts", Some(Path::new("/out")))
            .found_with("--keep-data", None);
        record.spec = PathBuf::from("/specs/job.yaml");
        assert_eq!(
            record.command("--resume"),
            "firn run --resume /specs/job.yaml --artifacts /out"
        );
        record.write(folder.path()).unwrap();
        assert_eq!(RunRecord::read(folder.path()).unwrap(), Some(record.clone()));
        assert_eq!(record.unfinished(), None, "nothing was submitted yet");
        record.job = Some("reviews".to_owned());
        assert_eq!(record.unfinished(), Some("reviews"));
        record.ended = Some("Failed".to_owned());
        assert_eq!(record.unfinished(), None);
    }

    #[test]
    fn the_record_of_a_newer_program_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let demand = Demand {
            workers: 1,
            slots_per_worker: 1,
        };
        let mut record = RunRecord::new(
            Path::new("a"),
            FineTuneJob::default(),
            demand,
            "auto",
            Path::new("/out"),
        );
        record.format = 2;
        record.write(folder.path()).unwrap();
        let error = RunRecord::read(folder.path()).unwrap_err().to_string();
        assert!(error.ends_with("expected format 1, found 2"), "{error}");
    }
}
