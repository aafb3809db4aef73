//! What the job leaves: rank 0 writes the files, records them, and ends the job.
//!
//! With an artifact folder everything goes there. Without one, files up to 16 MiB go to the coordinator, and a larger one (the merged
//! model) stays in this worker's scratch folder and is recorded with its place.

mod library_files;

use std::{
    fs,
    path::{Path, PathBuf},
};

use firn_core::state::rank_activity;
use firn_models::{export, export_adapter};
use firn_proto::v1alpha1::{self as wire};
use sha2::{Digest as _, Sha256};
use tracing::{info, warn};

use super::{model_card, restore};
use crate::rank::{failure::RankFailure, files::whole_file, prepare, session::Session, stop_reason::StopReason, task};

/// The coordinator keeps no larger file.
const COORDINATOR_LIMIT: u64 = 16 * 1024 * 1024;

/// Writes and records every artifact (rank 0), after a last proof that nothing frozen has changed (all ranks).
pub(crate) fn leave_artifacts(session: &mut Session<'_>, finish: &wire::FinishDirective) -> Result<(), StopReason> {
    let coordinator = session.membership.coordinator;
    coordinator.heartbeat().begin(rank_activity::FINISHING);
    session.learner.model().verify_frozen()?;
    if session.membership.gang.rank != 0 {
        return Ok(());
    }
    // A gang that was formed for the last stage may not have loaded it yet.
    if let Some(best) = &finish.best
        && !session.learner.holds(&best.sha256)
    {
        restore::restore(session, best)?;
    }
    // A person may have changed how many workers the job has.
    session.spec = prepare::spec_of(&coordinator.enrol()?)?;
    let folder = artifact_folder(session);
    fs::create_dir_all(&folder).map_err(RankFailure::write(&folder))?;
    let names = write_files(session, finish, &folder)?;
    for name in &names {
        record(session, &folder, name)?;
        coordinator.heartbeat().tick();
    }
    coordinator.heartbeat().finish(true);
    coordinator
        .finish_job()
        .inspect_err(|_| coordinator.heartbeat().finish(false))?;
    // Only now are they of no use: until the end is recorded, another rank may need them.
    if let Err(failure) = session.checkpoints.remove_all() {
        warn!(%failure, "the job's checkpoints were not removed");
    }
    for name in &names {
        if let Err(error) = whole_file::sweep(&folder.join(name)) {
            warn!(%error, name, "what others had left half written was not removed");
        }
    }
    info!(folder = %folder.display(), "the artifacts are stored");
    Ok(())
}

fn artifact_folder(session: &Session<'_>) -> PathBuf {
    match &session.spec.artifacts.folder {
        Some(folder) => PathBuf::from(folder),
        None => session
            .arguments
            .scratch
            .join("artifacts")
            .join(session.arguments.job.replace('/', "-")),
    }
}

/// Writes all files; returns their names.
fn write_files(
    session: &Session<'_>,
    finish: &wire::FinishDirective,
    folder: &Path,
) -> Result<Vec<String>, RankFailure> {
    let spec = serde_json::to_value(&session.spec).expect("a spec that came as JSON goes as JSON");
    let model = session.learner.model();
    let outputs = task::describe(&session.spec, &session.data.dataset);
    let mut config = export::config(model, &outputs.names);
    for (field, value) in &outputs.more {
        config[*field] = value.clone();
    }
    let files = [
        ("head.safetensors", export::head(model)?),
        ("config.json", library_files::pretty(&config)),
        ("spec.json", library_files::pretty(&spec)),
        ("README.md", model_card::render(session, &outputs, finish).into_bytes()),
    ];
    let beside = library_files::files(&session.spec, model)?;
    let writer = &session.arguments.process_id;
    let mut names = Vec::new();
    for (name, bytes) in files.into_iter().chain(export_adapter::files(model)?).chain(beside) {
        let path = folder.join(name);
        whole_file::write(&path, writer, &bytes).map_err(RankFailure::write(&path))?;
        names.push(name.to_owned());
    }
    if session.spec.artifacts.merged_model {
        let name = export::merged_name(model);
        let path = folder.join(name);
        let partial = whole_file::partial(&path, writer);
        export::merged(model, &partial)?;
        whole_file::publish(&partial, &path).map_err(RankFailure::write(&path))?;
        names.push(name.to_owned());
    }
    whole_file::sync_folder(folder).map_err(RankFailure::write(folder))?;
    Ok(names)
}

fn record(session: &Session<'_>, folder: &Path, name: &str) -> Result<(), StopReason> {
    let path = folder.join(name);
    let bytes = fs::read(&path).map_err(RankFailure::write(&path))?;
    let mut artifact = wire::Artifact {
        name: name.to_owned(),
        size_bytes: bytes.len() as u64,
        sha256: hex::encode(Sha256::digest(&bytes)),
        location: String::new(),
    };
    if session.spec.artifacts.folder.is_none() && artifact.size_bytes <= COORDINATOR_LIMIT {
        "coordinator".clone_into(&mut artifact.location);
        session.membership.coordinator.upload_artifact(artifact, &bytes)?;
        Ok(fs::remove_file(&path).map_err(RankFailure::write(&path))?)
    } else {
        let place = fs::canonicalize(&path).map_err(RankFailure::write(&path))?;
        artifact.location = format!("file://{}{}", host_of(session), place.display());
        session.membership.coordinator.record_artifact(artifact)
    }
}

/// Shared folders have no host; a file that only this worker has names it.
fn host_of(session: &Session<'_>) -> String {
    if session.spec.artifacts.folder.is_some() {
        return String::new();
    }
    nix::unistd::gethostname()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}
