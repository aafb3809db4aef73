//! What can this machine do, and what to do about what is missing?
//!
//! Each finding is one line: the subject, what was found, and, if it could be better, the one thing to do. Only a finding without which no rank
//! can train here makes the doctor fail; a machine without a GPU is healthy. The agent reads the JSON form to learn about GPUs without touching
//! CUDA itself, so looking must end the process's need of the GPU: this is always a process of its own.

mod examine;
mod gpu;
mod libtorch;

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

/// Arguments of `firn-worker doctor`.
#[derive(Debug, Args)]
pub struct DoctorArguments {
    /// How to print the findings
    #[arg(short, long, value_enum, default_value_t = OutputFormat::Table)]
    pub output: OutputFormat,
    /// State folder of the agent, for the free space on its disk
    #[arg(long, env = "FIRN_STATE_DIR", value_name = "FOLDER", default_value = ".")]
    pub state_dir: PathBuf,
}

/// How to print the findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// For people.
    Table,
    /// For programs; the agent among them.
    Json,
}

/// All findings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Report {
    /// In the order in which they are printed.
    pub findings: Vec<Finding>,
    /// GPUs that ranks can use, in libtorch's order.
    pub cuda_devices: Vec<CudaDevice>,
    /// The CUDA part of libtorch, where ranks on GPUs have to load it first because this program is not linked against it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cuda_library: Option<PathBuf>,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// What was looked at.
    pub subject: String,
    /// How it is.
    pub status: Status,
    /// What was found, for people.
    pub found: String,
    /// What to do, if it could be better.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub advice: Option<String>,
}

/// How a subject is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Status {
    /// Present and working.
    Ok,
    /// Not there, or not as good as it could be; ranks train all the same.
    Missing,
    /// No rank can train before this is mended.
    Broken,
}

/// One GPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CudaDevice {
    /// Number among the visible devices.
    pub index: u32,
    /// The maker's name for it.
    pub name: String,
    /// All of its memory.
    pub memory_bytes: u64,
    /// CUDA compute capability, like `9.0`.
    pub capability: String,
}

impl Finding {
    fn ok(subject: &str, found: impl Into<String>) -> Self {
        Self {
            subject: subject.to_owned(),
            status: Status::Ok,
            found: found.into(),
            advice: None,
        }
    }

    fn missing(subject: &str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            status: Status::Missing,
            advice: Some(advice.into()),
            ..Self::ok(subject, found)
        }
    }

    fn broken(subject: &str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            status: Status::Broken,
            ..Self::missing(subject, found, advice)
        }
    }
}

impl Report {
    /// True unless something essential is broken.
    pub fn is_healthy(&self) -> bool {
        self.findings.iter().all(|finding| finding.status != Status::Broken)
    }
}

/// Examines the machine and prints what was found.
///
/// # Errors
/// If standard output cannot be written. A broken machine is an exit code, not an error.
pub fn run(arguments: &DoctorArguments) -> anyhow::Result<ExitCode> {
    gpu::load_cuda_library_first();
    let report = examine::examine(&arguments.state_dir);
    let mut out = io::stdout().lock();
    match arguments.output {
        OutputFormat::Table => print_table(&mut out, &report)?,
        OutputFormat::Json => writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?,
    }
    Ok(if report.is_healthy() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn print_table(out: &mut impl Write, report: &Report) -> io::Result<()> {
    let width = report
        .findings
        .iter()
        .map(|finding| finding.subject.len())
        .max()
        .unwrap_or(0);
    for finding in &report.findings {
        let mark = match finding.status {
            Status::Ok => "ok",
            Status::Missing => "missing",
            Status::Broken => "BROKEN",
        };
        writeln!(out, "{mark:7}  {:width$}  {}", finding.subject, finding.found)?;
        if let Some(advice) = &finding.advice {
            writeln!(out, "{:7}  {:width$}  → {advice}", "", "")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_broken_finding_makes_a_machine_unfit() {
        let mut report = Report {
            findings: vec![Finding::ok("a", "x"), Finding::missing("b", "none", "get one")],
            ..Report::default()
        };
        assert!(report.is_healthy());
        report.findings.push(Finding::broken("c", "none", "get one"));
        assert!(!report.is_healthy());
    }

    #[test]
    fn the_table_shows_what_to_do_under_what_is_missing() {
        let report = Report {
            findings: vec![
                Finding::ok("libtorch", "2.11.0"),
                Finding::missing("GPUs", "none", "buy one"),
            ],
            ..Report::default()
        };
        let mut out = Vec::new();
        print_table(&mut out, &report).unwrap();
        let expected = "ok       libtorch  2.11.0\nmissing  GPUs      none\n                   → buy one\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn a_report_survives_the_way_to_the_agent() {
        let device = CudaDevice {
            index: 1,
            name: "H100".into(),
            memory_bytes: 80 << 30,
            capability: "9.0".into(),
        };
        let report = Report {
            findings: vec![Finding::missing("b", "none", "get one")],
            cuda_devices: vec![device],
            cuda_library: Some("/lib/libtorch_cuda.so".into()),
        };
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
    }
}
