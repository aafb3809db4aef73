//! `firn explain [FIELD.PATH]`: what a field of the spec means, without a coordinator.

use clap::{Args, ValueEnum};
use firn_core::spec::schema;

use super::{console::Console, error::CommandError, outcome::Outcome};
use crate::spec_reference;

/// Explains a field of the spec and the fields below it
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Path of the field, as in spec.training.optimizer; nothing: the whole document
    #[arg(value_name = "FIELD.PATH")]
    path: Option<String>,
    /// Name all fields below, not only the next ones
    #[arg(long)]
    recursive: bool,
    /// How to print it: for people, or as JSON Schema
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// How an explanation is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Output {
    /// For people
    #[default]
    Text,
    /// JSON Schema of the field
    Json,
}

pub(crate) fn run(args: &ExplainArgs, console: &mut Console) -> Result<Outcome, CommandError> {
    let path = args.path.as_deref().unwrap_or_default();
    let field = match path {
        "" => None,
        _ => Some(schema::find(path).ok_or_else(|| CommandError::Usage(spec_reference::unknown(path)))?),
    };
    let text = match args.output {
        Output::Json => {
            let schema = field.map_or_else(schema::json_schema, schema::json_schema_of);
            serde_json::to_string_pretty(&schema).map_err(|error| CommandError::Local(error.to_string()))?
        }
        Output::Text => spec_reference::explanation(path, field, args.recursive),
    };
    console.data(text.trim_end())?;
    Ok(Outcome::Success)
}
