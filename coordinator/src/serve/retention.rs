//! How much of the history is kept: limits by age, number and size, as people write them.

use clap::Args;
use firn_core::state::Retention;
use thiserror::Error;
use tracing::info;

use crate::cmd::time_span;

/// Limits beyond which ended jobs are deleted, oldest end first; without any, none is ever deleted.
#[derive(Debug, Clone, Default, Args)]
pub struct RetentionArgs {
    /// Delete jobs that ended longer ago, for example 30d or 12h
    #[arg(long, env = "FIRN_RETENTION_AGE", value_name = "TIME")]
    pub retention_age: Option<String>,
    /// Keep so many ended jobs, and delete the oldest beyond
    #[arg(long, env = "FIRN_RETENTION_JOBS", value_name = "N")]
    pub retention_jobs: Option<u64>,
    /// Keep ended jobs whose files take so much room on the coordinator, for example 20GiB, and delete the oldest beyond
    #[arg(long, env = "FIRN_RETENTION_SIZE", value_name = "SIZE")]
    pub retention_size: Option<String>,
    /// Also delete jobs that left files which nobody has downloaded [default: false]
    #[arg(long, env = "FIRN_RETENTION_UNFETCHED", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub retention_unfetched: Option<bool>,
}

/// A limit that cannot be understood.
#[derive(Debug, Error)]
#[error("invalid --{setting}: {reason}")]
pub struct RetentionError {
    /// The flag.
    setting: &'static str,
    /// What was expected and found.
    reason: String,
}

impl RetentionArgs {
    /// These; what they leave open is as `other` says.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            retention_age: self.retention_age.or(other.retention_age),
            retention_jobs: self.retention_jobs.or(other.retention_jobs),
            retention_size: self.retention_size.or(other.retention_size),
            retention_unfetched: self.retention_unfetched.or(other.retention_unfetched),
        }
    }

    pub(super) fn decide(self) -> Result<Retention, RetentionError> {
        let wrong = |setting| move |reason| RetentionError { setting, reason };
        let age = self.retention_age.as_deref().map(time_span::parse).transpose();
        let age = age.map_err(wrong("retention-age"))?;
        let bytes = self.retention_size.as_deref().map(size).transpose();
        Ok(Retention {
            age: age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
            jobs: self.retention_jobs,
            bytes: bytes.map_err(wrong("retention-size"))?,
            unfetched: self.retention_unfetched.unwrap_or(false),
        })
    }
}

/// Tells once, at the start, what will be deleted and what will not.
pub(super) fn announce(retention: Retention) {
    if !retention.is_limited() {
        return;
    }
    let Retention {
        age,
        jobs,
        bytes,
        unfetched,
    } = retention;
    let age_seconds = age.map(|age| age / 1000);
    if unfetched {
        info!(
            age_seconds,
            jobs, bytes, "ended jobs beyond these limits are deleted, also those with files that nobody has downloaded"
        );
    } else {
        info!(
            age_seconds,
            jobs,
            bytes,
            "ended jobs beyond these limits are deleted, but not those with files that nobody has downloaded (--retention-unfetched deletes these too)"
        );
    }
}

/// Parses a size with its unit: `500MB` (powers of 1000) or `20GiB` (powers of 1024).
fn size(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 8] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
        ("kB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
    ];
    let invalid = || format!("expected a size with its unit, such as 500MB or 20GiB, found `{text}`");
    let trimmed = text.trim();
    let (unit, factor) = UNITS
        .iter()
        .find(|(unit, _)| trimmed.ends_with(unit))
        .ok_or_else(invalid)?;
    let amount = trimmed[..trimmed.len() - unit.len()].trim_end();
    let amount: u64 = amount.parse().map_err(|_| invalid())?;
    amount.checked_mul(*factor).ok_or_else(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in [("1KiB", 1_024), ("3 MB", 3_000_000), ("20GiB", 20 << 30), ("0TB", 0)] {
            assert_eq!(size(text).unwrap(), bytes, "{text}");
        }
        for text in ["", "20", "GiB", "-1MB", "1.5GB", "20gib", "99999999999TB"] {
            let expected = format!("expected a size with its unit, such as 500MB or 20GiB, found `{text}`");
            assert_eq!(size(text).unwrap_err(), expected);
        }
    }
}
