//! `firn download JOB`: brings the files of a job to this machine.
//!
//! A file gets its name only once its bytes are complete and their SHA-256 is the announced one, so that a name always
//! stands for a whole file; a file that is there already with the right digest is left alone. Files that lie on shared
//! storage or on this machine are copied; for those on another machine the place is told.

use std::path::{Path, PathBuf};

use clap::Args;
use firn_proto::v1alpha1::{Artifact, ListArtifactsRequest};
use serde_json::json;

use super::{
    connection::{Connection, job_id, resource_name, unary},
    console::Console,
    error::CommandError,
    outcome::Outcome,
    settings::ConnectionArgs,
    view::{Format, document, humanise::bytes, table::text_table},
};

mod transfer;

/// Downloads the files that a job left
#[derive(Debug, Args)]
pub struct DownloadArgs {
    /// Id of the job
    job: String,
    /// Only the file of this name; can be given more than once [default: all]
    #[arg(long = "artifact", value_name = "NAME")]
    artifacts: Vec<String>,
    /// Folder to write to [default: ./firn-artifacts/JOB]
    #[arg(short, long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// How to print the list of files
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Where a file is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// On this machine.
    Here(PathBuf),
    /// Elsewhere, at this URI.
    Elsewhere(String),
}

pub(crate) async fn run(args: DownloadArgs, console: &mut Console) -> Result<Outcome, CommandError> {
    let connection = Connection::open(&args.connection)?;
    let listed = list(&connection, &args.job).await?;
    let chosen = choose(listed, &args.artifacts)?;
    let folder = args.directory.clone().unwrap_or_else(|| default_folder(&args.job));
    let places = fetch_all(&connection, &args.job, &chosen, &folder).await?;
    if chosen.is_empty() {
        console.say(&format!("job {} has left no files (yet)", job_id(&args.job)));
    }
    if args.output.is_human() {
        if !chosen.is_empty() {
            console.data(&artifact_table(&chosen, &places))?;
        }
    } else {
        let files: Vec<_> = chosen
            .iter()
            .zip(&places)
            .map(|(artifact, place)| with_path(artifact, place))
            .collect();
        console.data(&document::render(&json!({ "artifacts": files }), args.output)?)?;
    }
    for (artifact, place) in chosen.iter().zip(&places) {
        if let Place::Elsewhere(uri) = place {
            console.say(&format!(
                "{} cannot be read from this machine; it lies at {uri}",
                artifact.name
            ));
        }
    }
    Ok(Outcome::Success)
}

/// `./firn-artifacts/{job}`.
pub(crate) fn default_folder(job: &str) -> PathBuf {
    Path::new("firn-artifacts").join(job_id(job))
}

/// The files that the job left.
pub(crate) async fn list(connection: &Connection, job: &str) -> Result<Vec<Artifact>, CommandError> {
    let answer = connection
        .jobs()
        .list_artifacts(unary(ListArtifactsRequest {
            name: resource_name(job),
        }))
        .await;
    Ok(connection.answer(answer)?.artifacts)
}

/// Brings `artifacts` into `folder`; answers where each one is then.
pub(crate) async fn fetch_all(
    connection: &Connection,
    job: &str,
    artifacts: &[Artifact],
    folder: &Path,
) -> Result<Vec<Place>, CommandError> {
    let mut places = Vec::with_capacity(artifacts.len());
    for artifact in artifacts {
        places.push(transfer::fetch(connection, job, artifact, folder).await?);
    }
    Ok(places)
}

/// Files with their sizes and where they are now.
pub(crate) fn artifact_table(artifacts: &[Artifact], places: &[Place]) -> String {
    let rows = artifacts.iter().zip(places).map(|(artifact, place)| {
        let place = match place {
            Place::Here(path) => path.display().to_string(),
            Place::Elsewhere(uri) => uri.clone(),
        };
        vec![artifact.name.clone(), bytes(artifact.size_bytes), place]
    });
    text_table(&["ARTIFACT", "SIZE", "PATH"], rows.collect())
}

fn with_path(artifact: &Artifact, place: &Place) -> serde_json::Value {
    let mut value = document::artifact(artifact);
    value["path"] = match place {
        Place::Here(path) => json!(path.display().to_string()),
        Place::Elsewhere(_) => serde_json::Value::Null,
    };
    value
}

fn choose(listed: Vec<Artifact>, wanted: &[String]) -> Result<Vec<Artifact>, CommandError> {
    if wanted.is_empty() {
        return Ok(listed);
    }
    if let Some(missing) = wanted
        .iter()
        .find(|name| !listed.iter().any(|artifact| artifact.name == **name))
    {
        let names: Vec<&str> = listed.iter().map(|artifact| artifact.name.as_str()).collect();
        let there = if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        };
        return Err(CommandError::Usage(format!(
            "the job has no artifact `{missing}`; it has: {there}"
        )));
    }
    Ok(listed
        .into_iter()
        .filter(|artifact| wanted.contains(&artifact.name))
        .collect())
}
