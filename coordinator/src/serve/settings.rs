//! Settings of `firn serve`: flags over `FIRN_…` environment variables over a TOML file.
//!
//! ```toml
//! listen = "0.0.0.0:7070"
//! data-dir = "/var/lib/firn"
//! tls-cert = "/etc/firn/cert.pem"
//! tls-key = "/etc/firn/key.pem"
//! token-file = "/etc/firn/token"
//! retention-age = "30d"
//! ```

use std::{
    env, fs,
    net::{SocketAddr, ToSocketAddrs as _},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use serde::Deserialize;
use thiserror::Error;

use super::{
    limits::Limits,
    retention::{RetentionArgs, RetentionError},
    security::{Security, SecurityError, SecurityPaths},
};

const DEFAULT_LISTEN: &str = "127.0.0.1:7070";
const DEFAULT_GRACE: Duration = Duration::from_secs(10);

/// Where the coordinator listens, what it keeps and whom it lets in.
#[derive(Debug, Clone, Default, Args)]
pub struct ServeArgs {
    /// Address and port to listen on; port 0 takes a free one [default: 127.0.0.1:7070]
    #[arg(long, env = "FIRN_LISTEN", value_name = "HOST:PORT")]
    pub listen: Option<String>,
    /// Folder of the journal, artifacts and logs; one coordinator at a time [default: ~/.local/share/firn]
    #[arg(long, env = "FIRN_DATA_DIR", value_name = "FOLDER")]
    pub data_dir: Option<PathBuf>,
    /// PEM file with the coordinator's certificate chain; turns TLS on
    #[arg(long, env = "FIRN_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// PEM file with the key of that certificate
    #[arg(long, env = "FIRN_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// PEM file with the authority of client certificates; every client must then show one
    #[arg(long, env = "FIRN_CLIENT_CA", value_name = "FILE")]
    pub client_ca: Option<PathBuf>,
    /// File with the tokens that callers must show, one a line; of administrators, unless `role=…` and `namespace=…` or `job=…` follow
    #[arg(long, env = "FIRN_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Address and port for probes and Prometheus: /livez, /readyz, /metrics and grpc.health.v1, without TLS and tokens; it tells no secrets
    #[arg(long, env = "FIRN_HEALTH_LISTEN", value_name = "HOST:PORT")]
    pub health_listen: Option<String>,
    /// File to write the bound address to once the coordinator is ready
    #[arg(long, env = "FIRN_READY_FILE", value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
    /// Seconds for calls to end when the coordinator is told to stop [default: 10]
    #[arg(long, env = "FIRN_SHUTDOWN_SECONDS", value_name = "SECONDS")]
    pub shutdown_seconds: Option<u64>,
    /// Seconds without a heartbeat after which a worker counts as lost [default: 10]
    #[arg(long, env = "FIRN_LEASE_SECONDS", value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub lease_seconds: Option<u64>,
    /// Seconds without a sign of life after which a rank counts as lost [default: 10]
    #[arg(long, env = "FIRN_RANK_LEASE_SECONDS", value_name = "SECONDS", hide = true, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub rank_lease_seconds: Option<u64>,
    /// Seconds without movement after which a rank for which others wait counts as hanging [default: 20]
    #[arg(long, env = "FIRN_HANG_SECONDS", value_name = "SECONDS", hide = true, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub hang_seconds: Option<u64>,
    /// How much of the history is kept.
    #[command(flatten)]
    pub retention: RetentionArgs,
    /// TOML file with these settings, named as the flags
    #[arg(long = "settings", env = "FIRN_SERVE_SETTINGS", value_name = "FILE")]
    pub settings_file: Option<PathBuf>,
}

/// What the TOML file can hold.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct SettingsFile {
    listen: Option<String>,
    data_dir: Option<PathBuf>,
    tls_cert: Option<PathBuf>,
    tls_key: Option<PathBuf>,
    client_ca: Option<PathBuf>,
    token_file: Option<PathBuf>,
    health_listen: Option<String>,
    ready_file: Option<PathBuf>,
    shutdown_seconds: Option<u64>,
    lease_seconds: Option<u64>,
    rank_lease_seconds: Option<u64>,
    hang_seconds: Option<u64>,
    retention_age: Option<String>,
    retention_jobs: Option<u64>,
    retention_size: Option<String>,
    retention_unfetched: Option<bool>,
}

/// Why the settings cannot be used.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// The settings file cannot be read.
    #[error("cannot read the settings file {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The settings file holds something else.
    #[error("settings file {} is invalid: {reason}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, column and what is wrong there.
        reason: String,
    },
    /// An address cannot be understood.
    #[error("invalid {flag} `{found}`: expected HOST:PORT, for example {DEFAULT_LISTEN}")]
    Listen {
        /// Flag that names it.
        flag: &'static str,
        /// What was given.
        found: String,
    },
    /// There is no home folder to put the data into.
    #[error("no --data-dir is given and HOME is not set: name a folder for the journal, artifacts and logs")]
    NoDataFolder,
    /// A limit of the retention cannot be understood.
    #[error(transparent)]
    Retention(#[from] RetentionError),
    /// See there.
    #[error(transparent)]
    Security(#[from] SecurityError),
}

/// Decided settings.
#[derive(Debug, Clone)]
pub struct ServeSettings {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where probes and Prometheus ask, if anywhere.
    pub health_listen: Option<SocketAddr>,
    /// Folder of everything that is kept.
    pub data_dir: PathBuf,
    /// Whom to let in, and over what.
    pub security: Security,
    /// Gets the bound address once the coordinator is ready.
    pub ready_file: Option<PathBuf>,
    /// How long calls may take to end after the order to stop.
    pub shutdown_grace: Duration,
    /// What peers may ask of the server.
    pub limits: Limits,
    /// Times and limits of the core.
    pub core: firn_core::Settings,
}

impl ServeSettings {
    /// Fills what the flags leave open (clap has read the environment) from the settings file, then from the defaults.
    ///
    /// # Errors
    /// When a file cannot be read, a value not be understood, or the address would be open to others without protection.
    pub fn resolve(args: ServeArgs) -> Result<Self, SettingsError> {
        Self::resolve_in(args, |name| {
            env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
        })
    }

    fn resolve_in(args: ServeArgs, folder: impl Fn(&str) -> Option<PathBuf>) -> Result<Self, SettingsError> {
        let file = args
            .settings_file
            .as_deref()
            .map(read_file)
            .transpose()?
            .unwrap_or_default();
        let listen = args.listen.or(file.listen).unwrap_or_else(|| DEFAULT_LISTEN.to_owned());
        let listen = address("--listen", listen)?;
        let health_listen = args.health_listen.or(file.health_listen);
        let paths = SecurityPaths {
            tls_cert: args.tls_cert.or(file.tls_cert),
            tls_key: args.tls_key.or(file.tls_key),
            client_ca: args.client_ca.or(file.client_ca),
            token_file: args.token_file.or(file.token_file),
        };
        let default_data = || {
            let data = folder("XDG_DATA_HOME").or_else(|| folder("HOME").map(|home| home.join(".local/share")));
            data.map(|data| data.join("firn"))
        };
        let data_dir = args
            .data_dir
            .or(file.data_dir)
            .or_else(default_data)
            .ok_or(SettingsError::NoDataFolder)?;
        let mut core = firn_core::Settings::default();
        if let Some(seconds) = args.lease_seconds.or(file.lease_seconds) {
            core.lease = seconds.saturating_mul(1000);
            core.heartbeat_interval = core.lease / 5;
        }
        if let Some(seconds) = args.rank_lease_seconds.or(file.rank_lease_seconds) {
            core.rank_lease = seconds.saturating_mul(1000);
        }
        if let Some(seconds) = args.hang_seconds.or(file.hang_seconds) {
            core.hang_timeout = seconds.saturating_mul(1000);
        }
        core.retention = args
            .retention
            .or(RetentionArgs {
                retention_age: file.retention_age,
                retention_jobs: file.retention_jobs,
                retention_size: file.retention_size,
                retention_unfetched: file.retention_unfetched,
            })
            .decide()?;
        let grace = args
            .shutdown_seconds
            .or(file.shutdown_seconds)
            .map_or(DEFAULT_GRACE, Duration::from_secs);
        Ok(Self {
            listen,
            health_listen: health_listen
                .map(|found| address("--health-listen", found))
                .transpose()?,
            data_dir,
            security: Security::load(&paths, listen)?,
            ready_file: args.ready_file.or(file.ready_file),
            shutdown_grace: grace,
            limits: Limits::default(),
            core,
        })
    }
}

fn read_file(path: &Path) -> Result<SettingsFile, SettingsError> {
    let text = fs::read_to_string(path).map_err(|source| SettingsError::File {
        path: path.to_owned(),
        source,
    })?;
    toml::from_str(&text).map_err(|error| SettingsError::Syntax {
        path: path.to_owned(),
        reason: error.to_string().trim_end().to_owned(),
    })
}

fn address(flag: &'static str, found: String) -> Result<SocketAddr, SettingsError> {
    socket_address(&found).ok_or(SettingsError::Listen { flag, found })
}

/// A name that stands for several addresses counts as one that others can reach, unless all are loopback.
fn socket_address(text: &str) -> Option<SocketAddr> {
    let addresses: Vec<SocketAddr> = text.to_socket_addrs().ok()?.collect();
    let open = addresses.iter().find(|address| !address.ip().is_loopback());
    open.or(addresses.first()).copied()
}

#[cfg(test)]
mod tests {
    use firn_core::state::Retention;

    use super::*;

    fn resolve(args: ServeArgs) -> Result<ServeSettings, SettingsError> {
        ServeSettings::resolve_in(args, |name| (name == "HOME").then(|| PathBuf::from("/home/me")))
    }

    #[test]
    fn by_default_only_this_machine_can_connect() {
        let settings = resolve(ServeArgs::default()).unwrap();
        assert_eq!(settings.listen.to_string(), "127.0.0.1:7070");
        assert_eq!(settings.data_dir, Path::new("/home/me/.local/share/firn"));
        assert_eq!(settings.shutdown_grace, Duration::from_secs(10));
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("serve.toml");
        fs::write(
            &path,
            "listen = \"127.0.0.1:1\"\ndata-dir = \"/file\"\nshutdown-seconds = 3\n",
        )
        .unwrap();
        let args = ServeArgs {
            settings_file: Some(path),
            data_dir: Some("/flag".into()),
            ..ServeArgs::default()
        };
        let settings = resolve(args).unwrap();
        assert_eq!(settings.listen.port(), 1);
        assert_eq!(settings.data_dir, Path::new("/flag"));
        assert_eq!(settings.shutdown_grace, Duration::from_secs(3));
    }

    #[test]
    fn times_of_the_core_can_be_set() {
        let args = ServeArgs {
            lease_seconds: Some(4),
            rank_lease_seconds: Some(5),
            hang_seconds: Some(6),
            ..ServeArgs::default()
        };
        let core = resolve(args).unwrap().core;
        assert_eq!((core.lease, core.heartbeat_interval), (4_000, 800));
        assert_eq!((core.rank_lease, core.hang_timeout), (5_000, 6_000));
        assert_eq!(core.start_timeout, firn_core::Settings::default().start_timeout);
    }

    #[test]
    fn what_is_kept_is_unlimited_until_it_is_limited_by_a_flag_or_the_file() {
        assert_eq!(
            resolve(ServeArgs::default()).unwrap().core.retention,
            Retention::default()
        );
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("serve.toml");
        fs::write(
            &path,
            "retention-age = \"30d\"\nretention-jobs = 100\nretention-size = \"2GiB\"\nretention-unfetched = true\n",
        )
        .unwrap();
        let mut args = ServeArgs {
            settings_file: Some(path),
            ..ServeArgs::default()
        };
        args.retention.retention_age = Some("12h".to_owned());
        let expected = Retention {
            age: Some(12 * 3_600_000),
            jobs: Some(100),
            bytes: Some(2 << 30),
            unfetched: true,
        };
        assert_eq!(resolve(args).unwrap().core.retention, expected);
        let mut args = ServeArgs::default();
        args.retention.retention_size = Some("20".to_owned());
        assert_eq!(
            resolve(args).unwrap_err().to_string(),
            "invalid --retention-size: expected a size with its unit, such as 500MB or 20GiB, found `20`"
        );
    }

    #[test]
    fn an_unknown_setting_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("serve.toml");
        fs::write(&path, "listn = \"127.0.0.1:1\"\n").unwrap();
        let error = resolve(ServeArgs {
            settings_file: Some(path),
            ..ServeArgs::default()
        })
        .unwrap_err()
        .to_string();
        assert!(error.contains("unknown field `listn`"), "{error}");
    }

    #[test]
    fn an_address_that_is_none_is_refused() {
        for listen in ["7070", "127.0.0.1", "127.0.0.1:99999", ""] {
            let error = resolve(ServeArgs {
                listen: Some(listen.to_owned()),
                ..ServeArgs::default()
            })
            .unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("invalid --listen `{listen}`: expected HOST:PORT, for example 127.0.0.1:7070")
            );
        }
    }

    #[test]
    fn the_health_port_is_named_and_may_be_open() {
        let with = |health: &str| {
            resolve(ServeArgs {
                health_listen: Some(health.to_owned()),
                ..ServeArgs::default()
            })
        };
        let settings = with("0.0.0.0:7071").unwrap();
        assert_eq!(settings.health_listen, Some("0.0.0.0:7071".parse().unwrap()));
        assert_eq!(resolve(ServeArgs::default()).unwrap().health_listen, None);
        assert_eq!(
            with("7071").unwrap_err().to_string(),
            "invalid --health-listen `7071`: expected HOST:PORT, for example 127.0.0.1:7070"
        );
    }

    #[test]
    fn an_open_address_without_protection_is_refused() {
        let error = resolve(ServeArgs {
            listen: Some("0.0.0.0:7070".to_owned()),
            ..ServeArgs::default()
        })
        .unwrap_err();
        assert!(
            matches!(error, SettingsError::Security(SecurityError::Unprotected { .. })),
            "{error}"
        );
    }

    #[test]
    fn without_a_home_the_data_folder_must_be_named() {
        let error = ServeSettings::resolve_in(ServeArgs::default(), |_| None).unwrap_err();
        assert!(matches!(error, SettingsError::NoDataFolder), "{error}");
    }
}
