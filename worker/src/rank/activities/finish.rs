//! What the job leaves: rank 0 writes the files, records them, and ends the job.
//!
//! With an artifact folder everything goes there. Without one, files up to 16 MiB go to the coordinator, and a larger one (the merged
//! model) stays in this worker's scratch folder and is recorded with its place.

mod check;
mod library_files;
mod model_card;

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use firn_core::{compatibility::DataRules, state::rank_activity};
use firn_models::{export, export_adapter};
use firn_proto::v1alpha1::{self as wire};
use sha2::{Digest as _, Sha256};
use tracing::{info, warn};

use super::restore;
use crate::{
    predict::Scored,
    rank::{failure::RankFailure, files::whole_file, prepare, session::Session, stop_reason::StopReason, task},
};

/// The model card.
const CARD: &str = "README.md";

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
    session.learner.show_average()?;
    // A person may have changed how many workers the job has.
    let enrolled = coordinator.enrol()?;
    session.spec = prepare::spec_of(&enrolled)?;
    let folder = artifact_folder(session);
    fs::create_dir_all(&folder).map_err(RankFailure::write(&folder))?;
    let names = write_files(session, finish, &folder)?;
    if session.spec.artifacts.merged_model {
        session.learner.compute_as_exported()?;
    }
    coordinator.heartbeat().tick();
    let rules = DataRules::numbered(enrolled.data_rules);
    let checked = check::check(session, &folder, rules, finish).inspect_err(|reason| {
        if matches!(reason, StopReason::Failed(RankFailure::ArtifactDiffers(_))) {
            withhold(&folder, &names);
        }
    })?;
    let artifacts = names.iter().map(|name| artifact(&folder, name));
    let mut artifacts = artifacts.collect::<Result<Vec<_>, _>>()?;
    let card = model_card::Card {
        finish,
        checked: checked.as_ref(),
        artifacts: &artifacts,
    };
    let card = write_card(session, &card, &folder)?;
    artifacts.push(artifact(&folder, &card)?);
    let names: Vec<String> = artifacts.iter().map(|artifact| artifact.name.clone()).collect();
    for artifact in artifacts {
        record(session, &folder, artifact)?;
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

/// Takes away what nobody shall use.
fn withhold(folder: &Path, names: &[String]) {
    for name in names {
        if let Err(error) = fs::remove_file(folder.join(name)) {
            warn!(%error, name, "a file that is wrong was not removed");
        }
    }
}

/// Writes the model card, which tells of the other files; returns its name.
fn write_card(session: &Session<'_>, card: &model_card::Card<'_>, folder: &Path) -> Result<String, RankFailure> {
    let path = folder.join(CARD);
    let written = whole_file::write(&path, &session.arguments.process_id, card.render(session).as_bytes());
    written.map_err(RankFailure::write(&path))?;
    whole_file::sync_folder(folder).map_err(RankFailure::write(folder))?;
    Ok(CARD.to_owned())
}

/// Writes all files but the model card; returns their names.
fn write_files(
    session: &Session<'_>,
    finish: &wire::FinishDirective,
    folder: &Path,
) -> Result<Vec<String>, RankFailure> {
    let spec = serde_json::to_value(&session.spec).expect("a spec that came as JSON goes as JSON");
    let model = session.learner.model();
    let outputs = task::describe(&session.spec, &session.data.dataset, &finish.thresholds);
    let mut config = export::config(model, &outputs.names);
    for (field, value) in &outputs.more {
        config[*field] = value.clone();
    }
    let scored = Scored::by(&session.learner);
    for (field, value) in scored.fields() {
        config[field] = value;
    }
    let files = [
        ("head.safetensors", export::head(model)?),
        ("config.json", library_files::pretty(&config)),
        ("spec.json", library_files::pretty(&spec)),
    ];
    let beside = library_files::files(&session.spec, model)?;
    let writer = &session.arguments.process_id;
    let mut names = Vec::new();
    let adapter = export_adapter::files(model)?;
    if !adapter.is_empty() {
        let folder = folder.join(export_adapter::FOLDER);
        fs::create_dir_all(&folder).map_err(RankFailure::write(&folder))?;
    }
    for (name, bytes) in files.into_iter().chain(adapter).chain(beside) {
        let path = folder.join(name);
        whole_file::write(&path, writer, &bytes).map_err(RankFailure::write(&path))?;
        names.push(name.to_owned());
    }
    if session.spec.artifacts.merged_model {
        let name = export::merged_name(session.spec.model.architecture);
        let path = folder.join(name);
        let partial = whole_file::partial(&path, writer);
        export::merged(model, &partial)?;
        whole_file::publish(&partial, &path).map_err(RankFailure::write(&path))?;
        names.push(name.to_owned());
    }
    let adapter = folder.join(export_adapter::FOLDER);
    for folder in [&adapter, folder].into_iter().filter(|folder| folder.exists()) {
        whole_file::sync_folder(folder).map_err(RankFailure::write(folder))?;
    }
    Ok(names)
}

/// A file that was written: its size and its SHA-256.
fn artifact(folder: &Path, name: &str) -> Result<wire::Artifact, RankFailure> {
    let path = folder.join(name);
    let digested = File::open(&path).and_then(|mut file| {
        let mut digest = Sha256::new();
        let size = io::copy(&mut file, &mut digest)?;
        Ok((size, digest.finalize()))
    });
    let (size_bytes, digest) = digested.map_err(RankFailure::write(&path))?;
    Ok(wire::Artifact {
        name: name.to_owned(),
        size_bytes,
        sha256: hex::encode(digest),
        location: String::new(),
    })
}

fn record(session: &Session<'_>, folder: &Path, mut artifact: wire::Artifact) -> Result<(), StopReason> {
    let path = folder.join(&artifact.name);
    if session.spec.artifacts.folder.is_none() && artifact.size_bytes <= COORDINATOR_LIMIT {
        let bytes = fs::read(&path).map_err(RankFailure::write(&path))?;
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
