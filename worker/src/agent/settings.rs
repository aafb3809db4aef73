//! What the agent is told: flags, over `FIRN_…` environment variables, over a TOML file whose keys are the names of the flags.
//!
//! ```toml
//! coordinator = "https://firn.example.org:7070"
//! ca = "/etc/firn/ca.pem"
//! token-file = "/etc/firn/token"
//! state-dir = "/var/lib/firn"
//! ```

use std::{
    collections::BTreeMap,
    ffi::OsString,
    net::{SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;

use super::{dedication::Dedication, slots::SlotRequest, state_folder::StateFolder};
use crate::{
    connection::{self, ConnectionArguments},
    machine,
};

const EXIT_STATUS: &str = "\
SIGTERM or SIGINT stops the agent: its ranks hand over at their next step and leave; the second signal kills them.
With --for-job it leaves by itself when the job is over, whatever came of the job.

Exit status:
   0  with --for-job: the job is over; else: told to stop, and every rank ended by itself
   1  the settings are wrong, the state folder is in use, or the coordinator refuses this worker
   2  the arguments cannot be read
   3  told to stop, and a rank had to be killed, because it had not ended within the grace or at the second signal
  75  with --for-job: told to stop before the job was over; start another agent in its place";
const DEFAULT_GRACE: Duration = Duration::from_secs(30);
const DEFAULT_LOG_LIMIT: u64 = 1 << 30;

/// Arguments of `firn-worker agent`.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(after_help = EXIT_STATUS)]
pub struct AgentArguments {
    /// TOML file; its keys are the names of these flags
    #[arg(long, env = "FIRN_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// URL of the coordinator, `http://host:port` or `https://host:port`
    #[arg(long, env = "FIRN_COORDINATOR", value_name = "URL")]
    pub coordinator: Option<String>,
    /// Name of this worker, unique among workers [default: host name and a suffix kept in the state folder]
    #[arg(long, env = "FIRN_WORKER_NAME")]
    pub name: Option<String>,
    /// Folder for logs that wait for the coordinator and for large files of jobs; one agent each [default: ~/.local/state/firn/worker]
    #[arg(long, env = "FIRN_STATE_DIR", value_name = "FOLDER")]
    pub state_dir: Option<PathBuf>,
    /// Offer this many CPU shares, even if there are GPUs [default: the GPUs, or one share without any]
    #[arg(long, env = "FIRN_CPU_SLOTS", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub cpu_slots: Option<u32>,
    /// Threads that compute on each slot [default: processors divided by slots]
    #[arg(long, env = "FIRN_THREADS_PER_SLOT", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub threads_per_slot: Option<u32>,
    /// Host name or address under which other machines reach this one [default: that of the interface towards the coordinator]
    #[arg(long, env = "FIRN_ADDRESS", value_name = "HOST")]
    pub address: Option<String>,
    /// Serve this job alone, which need not exist yet, and leave when it is over
    #[arg(long, env = "FIRN_FOR_JOB", value_name = "JOB")]
    pub for_job: Option<String>,
    /// Serve jobs of this namespace alone
    #[arg(long, env = "FIRN_FOR_NAMESPACE", value_name = "NAMESPACE")]
    pub for_namespace: Option<String>,
    /// Label that jobs may ask for with `spec.scheduling.workerSelector`; repeatable, in the environment separated by commas
    #[arg(long = "label", env = "FIRN_LABELS", value_name = "KEY=VALUE", value_delimiter = ',')]
    pub labels: Vec<String>,
    /// PEM file of the authority that signed the coordinator's certificate; needed for https
    #[arg(long, env = "FIRN_CA", value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// PEM file of this worker's own certificate, for a coordinator with --client-ca; needs --key
    #[arg(long, env = "FIRN_CERT", value_name = "FILE")]
    pub cert: Option<PathBuf>,
    /// PEM file of the key to --cert
    #[arg(long, env = "FIRN_KEY", value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// File whose first line is the bearer token
    #[arg(long, env = "FIRN_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// How long ranks may take to hand over and leave when the agent is told to stop, like `30s` or `2m`; a little less than the notice that
    /// the machine itself gets [default: 30s]
    #[arg(long, env = "FIRN_GRACE", value_name = "DURATION")]
    pub grace: Option<String>,
    /// Disk that the undelivered log of one rank may take, like `512MiB` [default: 1GiB]
    #[arg(long, env = "FIRN_LOG_LIMIT", value_name = "SIZE")]
    pub log_limit: Option<String>,
    /// Address and port for probes and Prometheus: /livez, /readyz, /metrics and grpc.health.v1, without TLS and tokens; it tells no secrets
    #[arg(long, env = "FIRN_HEALTH_LISTEN", value_name = "HOST:PORT")]
    pub health_listen: Option<SocketAddr>,
    /// Program to start in place of `firn-worker rank`
    #[arg(long, env = "FIRN_RANK_COMMAND", hide = true, num_args = 1.., value_delimiter = ' ')]
    pub rank_command: Option<Vec<OsString>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct SettingsFile {
    coordinator: Option<String>,
    name: Option<String>,
    state_dir: Option<PathBuf>,
    cpu_slots: Option<u32>,
    threads_per_slot: Option<u32>,
    address: Option<String>,
    for_job: Option<String>,
    for_namespace: Option<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    token: Option<String>,
    token_file: Option<PathBuf>,
    grace: Option<String>,
    log_limit: Option<String>,
    health_listen: Option<SocketAddr>,
}

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The TOML file cannot be read.
    #[error("cannot read the settings file {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The TOML file is wrong.
    #[error("settings file {}: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where and why.
        reason: String,
    },
    /// Nobody said where the coordinator is.
    #[error("no coordinator was named: use --coordinator URL, FIRN_COORDINATOR, or `coordinator` in the settings file")]
    CoordinatorMissing,
    /// A value cannot be understood.
    #[error("{setting} should be {expected}, found `{found}`")]
    Value {
        /// Name of the flag.
        setting: &'static str,
        /// What it should look like.
        expected: &'static str,
        /// What was given.
        found: String,
    },
    /// No folder for the state is known.
    #[error("no folder for the agent's state is known, as HOME is not set: use --state-dir FOLDER")]
    StateDirMissing,
}

/// The same, complete and checked.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) connection: ConnectionArguments,
    pub(crate) name: Option<String>,
    pub(crate) state_dir: PathBuf,
    pub(crate) slots: SlotRequest,
    pub(crate) address: Option<String>,
    pub(crate) dedication: Dedication,
    pub(crate) grace: Duration,
    pub(crate) log_limit: u64,
    pub(crate) health_listen: Option<SocketAddr>,
    pub(crate) rank_command: Option<Vec<OsString>>,
}

impl AgentArguments {
    /// Fills gaps from the settings file, then from defaults.
    pub(crate) fn resolve(self) -> Result<Settings, SettingsError> {
        let file = self.config.as_deref().map(read_file).transpose()?.unwrap_or_default();
        let grace = self
            .grace
            .or(file.grace)
            .map(|text| parse_duration("grace", &text))
            .transpose()?;
        let mut labels = file.labels;
        labels.extend(parse_labels(&self.labels)?);
        let log_limit = self
            .log_limit
            .or(file.log_limit)
            .map(|text| parse_size("log-limit", &text))
            .transpose()?;
        let state_dir = self
            .state_dir
            .or(file.state_dir)
            .or_else(default_state_dir)
            .ok_or(SettingsError::StateDirMissing)?;
        // What the environment says wins over the file, whichever of the two forms of a token each of them has.
        let token = std::env::var("FIRN_TOKEN").ok().filter(|token| !token.is_empty());
        let token_file_of_file = file.token_file.filter(|_| token.is_none());
        Ok(Settings {
            connection: ConnectionArguments {
                coordinator: self
                    .coordinator
                    .or(file.coordinator)
                    .ok_or(SettingsError::CoordinatorMissing)?,
                ca: self.ca.or(file.ca),
                cert: self.cert.or(file.cert),
                key: self.key.or(file.key),
                token_file: self.token_file.or(token_file_of_file),
                token: token.or(file.token),
            },
            name: self.name.or(file.name),
            state_dir,
            slots: SlotRequest {
                cpu_slots: self.cpu_slots.or(file.cpu_slots),
                threads_per_slot: self.threads_per_slot.or(file.threads_per_slot),
            },
            address: self.address.or(file.address),
            dedication: Dedication::new(
                given(self.for_job.or(file.for_job)).map(|job| job.trim_start_matches("jobs/").to_owned()),
                given(self.for_namespace.or(file.for_namespace)),
                labels,
            ),
            grace: grace.unwrap_or(DEFAULT_GRACE),
            log_limit: log_limit.unwrap_or(DEFAULT_LOG_LIMIT),
            health_listen: self.health_listen.or(file.health_listen),
            rank_command: self.rank_command,
        })
    }
}

impl Settings {
    /// The worker's name: as given, or made from the host and the state folder.
    pub(crate) fn worker_name(&self, folder: &StateFolder) -> std::io::Result<String> {
        match &self.name {
            Some(name) => Ok(name.clone()),
            None => Ok(format!("{}-{}", machine::host_name(), folder.suffix()?)),
        }
    }

    /// The address for other machines: as given, or that of the interface which leads to the coordinator.
    pub(crate) fn reachable_address(&self) -> String {
        if let Some(address) = &self.address {
            return address.clone();
        }
        let towards = connection::coordinator_address(&self.connection.coordinator).ok();
        towards
            .and_then(|(host, port)| interface_towards(&host, port))
            .unwrap_or_else(machine::host_name)
    }
}

/// No packet is sent: connecting a datagram socket only asks the routing table.
fn interface_towards(host: &str, port: u16) -> Option<String> {
    let local = if host.contains(':') { "[::]:0" } else { "0.0.0.0:0" };
    let socket = UdpSocket::bind(local).ok()?;
    socket.connect((host, port)).ok()?;
    Some(socket.local_addr().ok()?.ip().to_string())
}

fn read_file(path: &Path) -> Result<SettingsFile, SettingsError> {
    let text = std::fs::read_to_string(path).map_err(|source| SettingsError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    toml::from_str(&text).map_err(|error| SettingsError::Malformed {
        path: path.to_owned(),
        reason: error.to_string().trim().to_owned(),
    })
}

fn default_state_dir() -> Option<PathBuf> {
    let given = std::env::var_os("XDG_STATE_HOME")
        .filter(|value| !value.is_empty())
        .map(PathBuf::from);
    let base = given.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/state")))?;
    Some(base.join("firn/worker"))
}

fn parse_duration(setting: &'static str, text: &str) -> Result<Duration, SettingsError> {
    let (number, unit) = split_unit(text);
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => f64::NAN,
    };
    let value = number.parse::<f64>().map_or(f64::NAN, |number| number * seconds);
    Duration::try_from_secs_f64(value).map_err(|_| SettingsError::Value {
        setting,
        expected: "a duration with a unit, like `30s`, `500ms` or `2m`",
        found: text.to_owned(),
    })
}

/// Empty, as an environment variable may be: not given.
fn given(value: Option<String>) -> Option<String> {
    value.filter(|value| !value.is_empty())
}

fn parse_labels(texts: &[String]) -> Result<BTreeMap<String, String>, SettingsError> {
    let pair = |text: &String| match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(SettingsError::Value {
            setting: "label",
            expected: "KEY=VALUE, like `zone=a`",
            found: text.clone(),
        }),
    };
    texts.iter().filter(|text| !text.is_empty()).map(pair).collect()
}

fn parse_size(setting: &'static str, text: &str) -> Result<u64, SettingsError> {
    let (number, unit) = split_unit(text);
    let shift = match unit {
        "B" => Some(0),
        "KiB" => Some(10),
        "MiB" => Some(20),
        "GiB" => Some(30),
        _ => None,
    };
    let size = number
        .parse::<u64>()
        .ok()
        .zip(shift)
        .and_then(|(number, shift)| number.checked_mul(1 << shift));
    size.ok_or_else(|| SettingsError::Value {
        setting,
        expected: "a size with a unit, like `512MiB` or `1GiB`",
        found: text.to_owned(),
    })
}

fn split_unit(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text
        .find(|character: char| character.is_ascii_alphabetic())
        .unwrap_or(text.len());
    (text[..end].trim(), text[end..].trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(file: &Path) -> AgentArguments {
        AgentArguments {
            config: Some(file.to_owned()),
            state_dir: Some("/tmp/x".into()),
            ..AgentArguments::default()
        }
    }

    #[test]
    fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("firn.toml");
        std::fs::write(
            &file,
            "coordinator = \"http://file:1\"\ngrace = \"2m\"\ncpu-slots = 3\n",
        )
        .unwrap();
        let settings = AgentArguments {
            cpu_slots: Some(5),
            ..arguments(&file)
        }
        .resolve()
        .unwrap();
        assert_eq!(settings.connection.coordinator, "http://file:1");
        assert_eq!(settings.grace, Duration::from_secs(120));
        assert_eq!(settings.slots.cpu_slots, Some(5));
        assert_eq!(settings.log_limit, DEFAULT_LOG_LIMIT);
    }

    #[test]
    fn an_unknown_key_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("firn.toml");
        std::fs::write(&file, "cordinator = \"http://file:1\"\n").unwrap();
        let message = arguments(&file).resolve().unwrap_err().to_string();
        assert!(
            message.contains("firn.toml") && message.contains("cordinator"),
            "{message}"
        );
    }

    #[test]
    fn durations_and_sizes_need_units() {
        assert_eq!(parse_duration("grace", "500ms").unwrap(), Duration::from_millis(500));
        assert_eq!(parse_size("log-limit", "512MiB").unwrap(), 512 << 20);
        for wrong in ["30", "-1s", "s", "1 fortnight"] {
            let message = parse_duration("grace", wrong).unwrap_err().to_string();
            assert!(
                message.starts_with("grace should be a duration with a unit")
                    && message.ends_with(&format!("found `{wrong}`")),
                "{message}"
            );
        }
        assert!(parse_size("log-limit", "10GB").is_err());
    }

    #[test]
    fn loopback_is_the_address_towards_a_coordinator_on_this_machine() {
        assert_eq!(interface_towards("127.0.0.1", 7070).as_deref(), Some("127.0.0.1"));
    }
}
