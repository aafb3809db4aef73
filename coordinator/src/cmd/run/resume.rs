//! `firn run --resume`: which run is gone on with, and how the workers of the one before are let go.
//!
//! Nothing begins at step 0 in silence: where there is nothing to go on with, or the spec is no longer the one that the run was started
//! with, the command is refused.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use firn_proto::v1alpha1::{DrainWorkerRequest, FineTuneJob};
use tokio::time::{interval, timeout};
use uuid::Uuid;

use super::{folder::RunFolder, record::RunRecord};
use crate::{
    cmd::{
        connection::{Connection, unary},
        error::CommandError,
        outcome::Outcome,
        workers,
    },
    journal::{FolderLock, JournalError},
};

/// Below the working directory, where runs leave their artifacts unless they are told otherwise.
const DEFAULT_ARTIFACTS: &str = "firn-artifacts";
/// How long the processes of the run before may take to die after it was killed.
const LAST_BREATH: Duration = Duration::from_secs(10);
/// Longer than a worker's lease: then its ranks are gone in any case.
const RELEASE_LIMIT: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(25);

/// The run in `folder`, and the id of its job.
///
/// # Errors
/// When there is nothing to go on with, or `source` is another job than the run was started with.
pub(super) fn unfinished(
    folder: &RunFolder,
    source: Option<&FineTuneJob>,
) -> Result<(RunRecord, String), CommandError> {
    let nothing = |why: &str| CommandError::Usage(format!("nothing to resume in {}: {why}", folder.path().display()));
    let record = folder
        .record()?
        .ok_or_else(|| nothing("no run has left anything there"))?;
    if let Some(outcome) = &record.ended {
        return Err(nothing(&format!("the run there has ended ({outcome})")));
    }
    let Some(job) = record.job.clone() else {
        return Err(nothing("the run there was interrupted before its job was submitted"));
    };
    if source.is_some_and(|source| *source != record.source) {
        let spec = record.spec.display();
        return Err(CommandError::Usage(format!(
            "the spec is not the one that the interrupted run of {job} was started with ({spec}): resume it with that one, or begin anew with --anew"
        )));
    }
    Ok((record, job))
}

/// The folder of the one unfinished run below `./firn-artifacts`.
pub(super) fn only_one_here() -> Result<PathBuf, CommandError> {
    let folders = fs::read_dir(DEFAULT_ARTIFACTS).into_iter().flatten().flatten();
    let places = folders.map(|entry| RunFolder::place(None, &entry.path()));
    let is_unfinished =
        |place: &PathBuf| RunRecord::read(place).is_ok_and(|found| found.is_some_and(|run| run.unfinished().is_some()));
    let mut found: Vec<PathBuf> = places.filter(is_unfinished).collect();
    found.sort();
    match found.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(CommandError::Usage(format!(
            "nothing to resume below ./{DEFAULT_ARTIFACTS}: name the SPEC of the run, or the folder of its artifacts with --artifacts"
        ))),
        many => {
            let names: Vec<String> = many.iter().filter_map(|place| name_of(place)).collect();
            Err(CommandError::Usage(format!(
                "there are {} unfinished runs below ./{DEFAULT_ARTIFACTS} ({}): name the SPEC of the one to go on with",
                many.len(),
                names.join(", ")
            )))
        }
    }
}

fn name_of(place: &Path) -> Option<String> {
    Some(place.parent()?.file_name()?.to_string_lossy().into_owned())
}

/// Refuses to begin where another run has not finished.
pub(super) fn refuse_unfinished(folder: &RunFolder) -> Result<(), CommandError> {
    // What a newer program has noted is unfinished for all that is known.
    let Some(record) = folder.record()? else { return Ok(()) };
    let Some(job) = record.unfinished() else { return Ok(()) };
    Err(CommandError::Usage(format!(
        "an unfinished run of {job} is kept in {}\n  \
         go on with it:               {}\n  \
         forget it and begin anew:    {}",
        folder.path().display(),
        record.command("--resume"),
        record.command("--anew"),
    )))
}

/// Waits until the coordinator of the run before, which the kernel ends, has let go of its folder.
pub(super) async fn last_breath(data: &Path) -> Result<(), CommandError> {
    let gone = async {
        let mut look = interval(LOOK);
        loop {
            look.tick().await;
            match FolderLock::acquire(data) {
                Err(JournalError::Held { .. }) => {}
                Err(error) => return Err(CommandError::Local(error.to_string())),
                Ok(_free) => return Ok(()),
            }
        }
    };
    let held = |_| CommandError::Local(format!("{} is held by another coordinator", data.display()));
    timeout(LAST_BREATH, gone).await.map_err(held)?
}

/// The job as it was left. It must be known to the coordinator.
pub(super) async fn job(connection: &Connection, id: &str) -> Result<(FineTuneJob, Option<Outcome>), CommandError> {
    let job = connection.job(id).await?;
    let outcome = Outcome::of_job(&job);
    Ok((job, outcome))
}

/// Takes the workers of the run before out of use, so that the end of their ranks is no loss that counts against the job. Gives their names.
pub(super) async fn release(connection: &Connection) -> Result<Vec<String>, CommandError> {
    let known = workers::all(connection).await?;
    let mut released = Vec::new();
    for worker in known.into_iter().filter(|worker| worker.state != "Lost") {
        change(connection, &worker.name, false).await?;
        released.push(worker.name);
    }
    Ok(released)
}

/// Uses the workers again, once none of the old ranks is on them. The new agents bear the same names.
pub(super) async fn take_back(connection: &Connection, released: &[String]) -> Result<(), CommandError> {
    let free = async {
        let mut look = interval(LOOK);
        loop {
            look.tick().await;
            let known = workers::all(connection).await?;
            let mut meant = known.iter().filter(|worker| released.contains(&worker.name));
            if meant.all(|worker| worker.slots.iter().all(|slot| slot.job.is_empty())) {
                return Ok::<(), CommandError>(());
            }
        }
    };
    let stuck = |_| CommandError::Local("the ranks of the interrupted run are still on its workers".to_owned());
    timeout(RELEASE_LIMIT, free).await.map_err(stuck)??;
    for worker in released {
        change(connection, worker, true).await?;
    }
    Ok(())
}

async fn change(connection: &Connection, worker: &str, undo: bool) -> Result<(), CommandError> {
    let request = DrainWorkerRequest {
        name: worker.to_owned(),
        undo,
        request_id: Uuid::new_v4().to_string(),
    };
    let answer = connection.jobs().drain_worker(unary(request)).await;
    connection.answer(answer).map(drop)
}

/// What a person is told before the job goes on.
pub(super) fn describe(id: &str, job: &FineTuneJob) -> String {
    let progress = job.status.as_ref().and_then(|status| status.progress.as_ref());
    match progress.filter(|progress| progress.total_steps > 0) {
        Some(progress) => format!(
            "resuming job {id}: {} of {} steps are committed",
            progress.step, progress.total_steps
        ),
        None => format!("resuming job {id}: it had not begun to train"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::{run::shares::Demand, view::samples};

    fn folder(change: impl FnOnce(&mut RunRecord)) -> (tempfile::TempDir, RunFolder) {
        let artifacts = tempfile::tempdir().unwrap();
        let folder = RunFolder::lock(&RunFolder::place(None, artifacts.path()), false).unwrap();
        let demand = Demand {
            workers: 2,
            slots_per_worker: 1,
        };
        let mut record = RunRecord::new(Path::new("/specs/a.yaml"), source(), demand, "auto", artifacts.path());
        change(&mut record);
        folder.begin_anew(&record).unwrap();
        (artifacts, folder)
    }

    fn source() -> FineTuneJob {
        FineTuneJob {
            metadata: None,
            status: None,
            ..samples::queued()
        }
    }

    #[test]
    fn a_run_that_was_interrupted_is_gone_on_with_and_not_begun_anew_in_silence() {
        let (_artifacts, folder) = folder(|record| record.job = Some("reviews".to_owned()));
        let (record, job) = unfinished(&folder, Some(&source())).unwrap();
        assert_eq!((job.as_str(), record.workers), ("reviews", 2));
        assert!(unfinished(&folder, None).is_ok());
        let error = refuse_unfinished(&folder).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let text = error.to_string();
        assert!(text.starts_with("an unfinished run of reviews is kept in "), "{text}");
        assert!(text.contains("firn run --resume /specs/a.yaml\n"), "{text}");
        assert!(text.contains("firn run --anew /specs/a.yaml"), "{text}");
    }

    #[test]
    fn with_nothing_to_resume_the_reason_is_told() {
        let (_artifacts, not_submitted) = folder(|_| {});
        let error = unfinished(&not_submitted, None).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(
            error
                .to_string()
                .ends_with("was interrupted before its job was submitted"),
            "{error}"
        );
        assert!(refuse_unfinished(&not_submitted).is_ok());

        let (_artifacts, ended) = folder(|record| {
            record.job = Some("reviews".to_owned());
            record.ended = Some("Failed".to_owned());
        });
        let error = unfinished(&ended, None).unwrap_err().to_string();
        assert!(error.ends_with("the run there has ended (Failed)"), "{error}");
        assert!(refuse_unfinished(&ended).is_ok());

        let artifacts = tempfile::tempdir().unwrap();
        let empty = RunFolder::lock(&RunFolder::place(None, artifacts.path()), false).unwrap();
        let error = unfinished(&empty, None).unwrap_err().to_string();
        assert!(error.ends_with("no run has left anything there"), "{error}");
    }

    #[test]
    fn another_spec_is_not_resumed() {
        let (_artifacts, folder) = folder(|record| record.job = Some("reviews".to_owned()));
        let mut other = source();
        other.spec.as_mut().unwrap().training.as_mut().unwrap().epochs = Some(99);
        let error = unfinished(&folder, Some(&other)).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(
            error
                .to_string()
                .contains("is not the one that the interrupted run of reviews was started with"),
            "{error}"
        );
    }

    #[test]
    fn the_person_is_told_how_far_the_job_was() {
        assert_eq!(
            describe("reviews", &samples::running()),
            "resuming job reviews: 20 of 30 steps are committed"
        );
        assert_eq!(
            describe("reviews", &samples::queued()),
            "resuming job reviews: it had not begun to train"
        );
    }
}
