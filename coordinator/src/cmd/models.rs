//! `firn models`: which architectures there are, and what a weights file is; without a coordinator.
//!
//! What is listed stands in `firn-core`. A file is looked at by `firn-worker`, which asks the networks themselves, so that the answer is the one
//! that a job gets; this program links no libtorch.

use std::{path::Path, path::PathBuf, process};

use clap::Args;
use firn_core::spec::{Architecture, Word, nearest};
use serde_json::Value;

use super::{
    console::Console,
    error::CommandError,
    outcome::Outcome,
    view::{Format, document, models},
    worker_program,
};

/// Lists the architectures, or says what a weights file is
#[derive(Debug, Args)]
pub struct ModelsArgs {
    /// Show the stages of this architecture only
    #[arg(value_name = "ARCHITECTURE")]
    architecture: Option<String>,
    /// Say what this safetensors file, index of shards or folder holds: its architecture, and what is missing or too much
    #[arg(long, value_name = "FILE", conflicts_with = "architecture")]
    inspect: Option<PathBuf>,
    /// How to print; wide has the width of the features at each cut
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

pub(crate) fn run(args: &ModelsArgs, console: &mut Console) -> Result<Outcome, CommandError> {
    let text = match (&args.inspect, &args.architecture) {
        (Some(file), _) => {
            let found = inspected(file)?;
            match args.output.is_human() {
                true => models::inspection(&found, args.output),
                false => document::render(&found, args.output)?,
            }
        }
        (None, Some(word)) => {
            let architecture = named(word)?;
            match args.output.is_human() {
                true => models::stages(architecture),
                false => document::render(&models::document(architecture), args.output)?,
            }
        }
        (None, None) if args.output.is_human() => models::table(args.output),
        (None, None) => document::render(&models::documents(), args.output)?,
    };
    console.data(&text)?;
    Ok(Outcome::Success)
}

fn named(word: &str) -> Result<Architecture, CommandError> {
    Architecture::from_word(word).ok_or_else(|| {
        let words = Architecture::WORDS.iter().map(|(word, _)| *word);
        let advice = match nearest(word, words) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => "`firn models` lists them".to_owned(),
        };
        CommandError::Usage(format!("`{word}` is no architecture; {advice}"))
    })
}

/// What `firn-worker` says of the file.
fn inspected(file: &Path) -> Result<Value, CommandError> {
    let program = worker_program::find(&worker_program::own()?)?;
    let answer = process::Command::new(&program)
        .arg("inspect")
        .arg("--")
        .arg(file)
        .output()
        .map_err(CommandError::file("start", &program))?;
    if answer.status.success()
        && let Ok(found) = serde_json::from_slice(&answer.stdout)
    {
        return Ok(found);
    }
    let said = String::from_utf8_lossy(&answer.stderr);
    let reason = said.trim().strip_prefix("error: ").unwrap_or(said.trim());
    Err(CommandError::Local(match reason {
        "" => format!("{} inspect ended with {}", program.display(), answer.status),
        reason => reason.to_owned(),
    }))
}
