//! Spec files: YAML (or JSON) that a person wrote → the message that travels.
//!
//! Everything that is wrong with the shape of a file is told at once, each with its line, its path and what was probably meant: unknown
//! and repeated fields, values of the wrong type, a second document. Relative paths are made absolute here, against the folder of the
//! file, because only here that folder is known. What the values mean is the coordinator's to judge; [`SpecFile::explain`] gives its
//! violations their lines.
//!
//! The same file may be applied to a cluster, so what only a cluster reads ([`OF_CLUSTERS`]) is left out here.

mod paths;
mod read;
mod schema;
mod tree;

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    path::{Path, PathBuf},
};

use firn_core::spec::Violation;
use firn_proto::v1alpha1::FineTuneJob;
use thiserror::Error;

use crate::{
    api::wire::{API_VERSION, KIND},
    model_folder::{self, Unread},
};
use read::Reading;
use tree::{Node, Value};

/// A file that holds a job.
#[derive(Debug, Clone)]
pub struct SpecFile {
    /// The job, ready to be sent.
    pub job: FineTuneJob,
    /// The job as the file says it, before the folder of its model is read.
    pub written: FineTuneJob,
    /// Why the Hub does not show the job's model to this process.
    unseen: Option<Violation>,
    /// How the file is called in messages.
    name: String,
    /// Line of each field that the file holds, by path.
    lines: BTreeMap<String, usize>,
}

/// A file that does not hold a job.
#[derive(Debug, Error)]
pub enum SpecFileError {
    /// It cannot be read.
    #[error("cannot read the spec file `{}`: {source}", .path.display())]
    Read {
        /// As it was given.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It can be read and is wrong.
    #[error("{name} is not a valid job:{}", listed(.problems))]
    Invalid {
        /// How the file is called.
        name: String,
        /// Everything that is wrong, in the order of the file.
        problems: Vec<Problem>,
    },
}

/// One thing that is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// From 1; `None`: it is about something that the file does not hold.
    pub line: Option<usize>,
    /// Path of the field; empty: it is about the file.
    pub field: String,
    /// What was expected and what was found; lower case, no full stop.
    pub message: String,
}

impl Problem {
    fn at_line(line: usize, message: String) -> Self {
        Self {
            line: Some(line),
            field: String::new(),
            message,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(formatter, "line {line}: ")?;
        }
        if !self.field.is_empty() {
            write!(formatter, "{}: ", self.field)?;
        }
        formatter.write_str(&self.message)
    }
}

fn listed(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("\n  {problem}")).collect()
}

/// Fields of `spec` that say with which pods a cluster runs the job.
pub const OF_CLUSTERS: [&str; 3] = ["suspend", "managedBy", "worker"];

/// A spec is a page; what is larger is another file.
const MOST_BYTES: u64 = 1 << 20;

/// Reads a spec file, and the folder of its model.
///
/// # Errors
/// If it cannot be read, or does not hold exactly one job in the right shape.
pub fn read(path: &Path) -> Result<SpecFile, SpecFileError> {
    let mut file = read_alone(path)?;
    match model_folder::read(&mut file.job) {
        Ok(()) => Ok(file),
        Err(Unread::Unseen(violation)) => {
            file.unseen = Some(violation);
            Ok(file)
        }
        Err(Unread::Refused(violation)) => Err(file.explain(&[violation])),
    }
}

/// Reads a spec file, and nothing that it names.
///
/// # Errors
/// If it cannot be read, or does not hold exactly one job in the right shape.
pub fn read_alone(path: &Path) -> Result<SpecFile, SpecFileError> {
    let failed = |source| SpecFileError::Read {
        path: path.to_owned(),
        source,
    };
    let name = path.display().to_string();
    if fs::metadata(path).map_err(failed)?.len() > MOST_BYTES {
        let problems = vec![whole_file(format!("must be at most {MOST_BYTES} bytes"))];
        return Err(SpecFileError::Invalid { name, problems });
    }
    let bytes = fs::read(path).map_err(failed)?;
    let absolute = std::path::absolute(path).map_err(failed)?;
    let folder = absolute.parent().unwrap_or(Path::new("/"));
    match String::from_utf8(bytes) {
        Ok(text) => parse(&name, &text, folder),
        Err(_) => Err(SpecFileError::Invalid {
            name,
            problems: vec![whole_file("must be UTF-8 text".to_owned())],
        }),
    }
}

/// Reads the text of a spec. `name` is how messages call it; `folder` (absolute) is what its relative paths are relative to.
///
/// # Errors
/// If it does not hold exactly one job in the right shape.
pub fn parse(name: &str, text: &str, folder: &Path) -> Result<SpecFile, SpecFileError> {
    let invalid = |problems| SpecFileError::Invalid {
        name: name.to_owned(),
        problems,
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let root = tree::tree(text).map_err(|problem| invalid(vec![problem]))?;
    let root = root.ok_or_else(|| invalid(vec![whole_file("expected a job, found an empty file".to_owned())]))?;
    let foreign = of_another_kind(&root);
    if !foreign.is_empty() {
        return Err(invalid(foreign));
    }
    let root = without_fields_of_clusters(root);
    let mut reading = Reading::of_file_in(folder);
    let json = reading.object(firn_core::spec::schema::document(), "", &root);
    let Reading {
        mut problems, lines, ..
    } = reading;
    let job = match json.map(serde_path_to_error::deserialize::<_, FineTuneJob>) {
        Some(Ok(job)) => job,
        Some(Err(error)) => {
            // The schema and the types come from the same file, so this is unexpected; it is told like any other mistake.
            let field = error.path().to_string();
            problems.push(Problem {
                line: lines.get(&field).copied(),
                field,
                message: error.inner().to_string(),
            });
            FineTuneJob::default()
        }
        None => FineTuneJob::default(),
    };
    problems.sort_by_key(|problem| problem.line);
    if problems.is_empty() {
        Ok(SpecFile {
            written: job.clone(),
            job,
            unseen: None,
            name: name.to_owned(),
            lines,
        })
    } else {
        Err(invalid(problems))
    }
}

fn whole_file(message: String) -> Problem {
    Problem {
        line: None,
        field: String::new(),
        message,
    }
}

fn without_fields_of_clusters(mut root: Node) -> Node {
    if let Value::Mapping(sections) = &mut root.value
        && let Some(spec) = sections.iter_mut().find(|section| section.key == "spec")
        && let Value::Mapping(fields) = &mut spec.value.value
    {
        fields.retain(|field| !OF_CLUSTERS.contains(&field.key.as_str()));
    }
    root
}

/// Whether the file is about something else: then its other fields are not worth a word.
fn of_another_kind(root: &Node) -> Vec<Problem> {
    let Value::Mapping(entries) = &root.value else {
        return Vec::new();
    };
    let mut problems = Vec::new();
    for (field, expected) in [("apiVersion", API_VERSION), ("kind", KIND)] {
        let Some(entry) = entries.iter().find(|entry| entry.key == field) else {
            continue;
        };
        if let Value::Scalar { text, .. } = &entry.value.value
            && text != expected
            && !entry.value.is_null()
        {
            let message = format!("must be `{expected}`, found `{text}`");
            problems.push(Problem {
                line: Some(entry.line),
                field: field.to_owned(),
                message,
            });
        }
    }
    problems
}

impl SpecFile {
    /// Why the Hub does not show the job's model to this process; the coordinator may see it.
    pub fn unseen(&self) -> Option<&Violation> {
        self.unseen.as_ref()
    }

    /// What the coordinator found wrong with the job, with the lines of the file.
    pub fn explain(&self, violations: &[Violation]) -> SpecFileError {
        let mut problems: Vec<Problem> = violations
            .iter()
            .map(|found| Problem {
                line: self.line(&found.field),
                field: found.field.clone(),
                message: found.message.clone(),
            })
            .collect();
        problems.sort_by_key(|problem| problem.line);
        SpecFileError::Invalid {
            name: self.name.clone(),
            problems,
        }
    }

    /// The line of a field, or of the innermost thing that the file holds around it.
    fn line(&self, field: &str) -> Option<usize> {
        let mut path = field;
        loop {
            if let Some(line) = self.lines.get(path) {
                return Some(*line);
            }
            path = &path[..path.rfind(['.', '['])?];
        }
    }
}
