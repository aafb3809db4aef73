//! `firn-worker inspect FILE`: what a weights file is, as JSON on standard output.
//!
//! The networks themselves are asked, so what is said here is what a rank says that loads the file.

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use clap::Args;

/// What to look at.
#[derive(Debug, Args)]
pub struct InspectArguments {
    /// A safetensors file, the index of a sharded one, or a folder that holds either
    file: PathBuf,
}

/// Prints what the file is.
///
/// # Errors
/// When it is no file of weights.
pub fn run(arguments: &InspectArguments) -> anyhow::Result<ExitCode> {
    let found = firn_models::inspect(&arguments.file)?;
    writeln!(io::stdout(), "{}", serde_json::to_string(&found)?)?;
    Ok(ExitCode::SUCCESS)
}
