//! Which coordinator a verb talks to: flags over `FIRN_…` environment variables over a TOML file.
//!
//! The file is `--config`, else `FIRN_CONFIG`, else `~/.config/firn/config.toml`; only a file that was asked for has to
//! exist. There is a flag for the token's *file* but none for the token: arguments can be read by every user of a
//! machine.
//!
//! ```toml
//! coordinator = "https://firn.example.org:7070"
//! ca = "/etc/firn/ca.pem"
//! token-file = "/home/me/.config/firn/token"   # or: token = "…"
//! call-timeout = "30s"
//! ```

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use serde::Deserialize;

use super::{deadline::CALL_TIMEOUT, error::CommandError, time_span};

const DEFAULT_COORDINATOR: &str = "http://127.0.0.1:7070";

/// The coordinator to talk to.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Connection")]
pub struct ConnectionArgs {
    /// Address of the coordinator [default: http://127.0.0.1:7070]
    #[arg(long, env = "FIRN_COORDINATOR", value_name = "URL")]
    pub(crate) coordinator: Option<String>,
    /// PEM file of the authority that signed the coordinator's certificate
    #[arg(long, env = "FIRN_CA", value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// PEM file of your own certificate, for a coordinator with --client-ca; needs --key
    #[arg(long, env = "FIRN_CERT", value_name = "FILE")]
    pub(crate) cert: Option<PathBuf>,
    /// PEM file of the key to --cert
    #[arg(long, env = "FIRN_KEY", value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// File that holds the access token; the token itself can be given in FIRN_TOKEN
    #[arg(long, env = "FIRN_TOKEN_FILE", value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Time for one answer of the coordinator, such as 5s or 2m [default: 30s]
    #[arg(long, env = "FIRN_CALL_TIMEOUT", value_name = "TIME", value_parser = time_span::parse)]
    pub(crate) call_timeout: Option<Duration>,
    /// Settings file [default: ~/.config/firn/config.toml]
    #[arg(long, env = "FIRN_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// The coordinator to talk to, decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    /// `http://host:port` or `https://host:port`.
    pub(crate) coordinator: String,
    /// PEM.
    pub(crate) ca: Option<Vec<u8>>,
    /// This side's own certificate.
    pub(crate) identity: Option<OwnCertificate>,
    /// Sent as a bearer token.
    pub(crate) token: Option<String>,
    /// For one answer.
    pub(crate) call_timeout: Duration,
}

/// A certificate and the key to it, PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OwnCertificate {
    pub(crate) chain: Vec<u8>,
    pub(crate) key: Vec<u8>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct SettingsFile {
    coordinator: Option<String>,
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    token: Option<String>,
    token_file: Option<PathBuf>,
    call_timeout: Option<String>,
}

impl Settings {
    /// Reads what `args` name, with the environment of this process for the rest.
    pub(crate) fn resolve(args: &ConnectionArgs) -> Result<Self, CommandError> {
        Self::resolve_in(args, |name| env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn resolve_in(args: &ConnectionArgs, environment: impl Fn(&str) -> Option<String>) -> Result<Self, CommandError> {
        let file = read_file(args.config.as_deref(), &environment)?;
        let address = given(args.coordinator.clone())
            .or(file.coordinator)
            .unwrap_or_else(|| DEFAULT_COORDINATOR.to_owned());
        let named = |path: &Option<PathBuf>| path.clone().filter(|path| !path.as_os_str().is_empty());
        let ca_path = named(&args.ca).or(file.ca);
        let identity = read_identity(named(&args.cert).or(file.cert), named(&args.key).or(file.key))?;
        let token_path = named(&args.token_file);
        let token = match (token_path, environment("FIRN_TOKEN"), file.token_file) {
            (Some(path), _, _) => Some(read_token(&path)?),
            (None, Some(token), _) => Some(token),
            (None, None, Some(path)) => Some(read_token(&path)?),
            (None, None, None) => file.token,
        };
        let call_timeout = match (args.call_timeout, &file.call_timeout) {
            (Some(given), _) => Some(given),
            (None, Some(text)) => Some(time_span::parse(text).map_err(|reason| {
                CommandError::Usage(format!("invalid call-timeout in the settings file: {reason}"))
            })?),
            (None, None) => None,
        };
        let ca = ca_path
            .map(|path| fs::read(&path).map_err(CommandError::file("read the CA file", path)))
            .transpose()?;
        Ok(Self {
            coordinator: full_address(&address)?,
            ca,
            identity,
            token,
            call_timeout: call_timeout.unwrap_or(CALL_TIMEOUT),
        })
    }
}

/// Reads the certificate and its key; one needs the other.
fn read_identity(cert: Option<PathBuf>, key: Option<PathBuf>) -> Result<Option<OwnCertificate>, CommandError> {
    let (given, missing) = match (cert, key) {
        (None, None) => return Ok(None),
        (Some(cert), Some(key)) => {
            let chain = fs::read(&cert).map_err(CommandError::file("read the certificate", cert))?;
            let key = fs::read(&key).map_err(CommandError::file("read the key", key))?;
            return Ok(Some(OwnCertificate { chain, key }));
        }
        (Some(_), None) => ("--cert", "--key"),
        (None, Some(_)) => ("--key", "--cert"),
    };
    Err(CommandError::Usage(format!(
        "{given} is set, but {missing} is not: a certificate needs its key"
    )))
}

fn given(value: Option<String>) -> Option<String> {
    value.filter(|value| !value.is_empty())
}

fn read_file(
    named: Option<&Path>,
    environment: &impl Fn(&str) -> Option<String>,
) -> Result<SettingsFile, CommandError> {
    let named = named.filter(|path| !path.as_os_str().is_empty());
    let path = match named {
        Some(path) => path.to_owned(),
        None => match default_file(environment) {
            Some(path) => path,
            None => return Ok(SettingsFile::default()),
        },
    };
    match fs::read_to_string(&path) {
        Ok(text) => toml::from_str(&text).map_err(|error| {
            CommandError::Usage(format!(
                "settings file {} is invalid: {}",
                path.display(),
                error.to_string().trim_end()
            ))
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound && named.is_none() => Ok(SettingsFile::default()),
        Err(error) => Err(CommandError::Usage(format!(
            "cannot read the settings file {}: {error}",
            path.display()
        ))),
    }
}

fn default_file(environment: &impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let folder = environment("XDG_CONFIG_HOME").map(PathBuf::from);
    let folder = folder.or_else(|| environment("HOME").map(|home| PathBuf::from(home).join(".config")))?;
    Some(folder.join("firn/config.toml"))
}

fn read_token(path: &Path) -> Result<String, CommandError> {
    let text = fs::read_to_string(path)
        .map_err(|error| CommandError::Usage(format!("cannot read the token file {}: {error}", path.display())))?;
    let token = text.trim();
    if token.is_empty() {
        return Err(CommandError::Usage(format!(
            "the token file {} is empty",
            path.display()
        )));
    }
    Ok(token.to_owned())
}

/// `host:port` alone means `http://host:port`.
fn full_address(address: &str) -> Result<String, CommandError> {
    let full = if address.contains("://") {
        address.to_owned()
    } else {
        format!("http://{address}")
    };
    let invalid = |why: &str| CommandError::Usage(format!("invalid coordinator address `{address}`: {why}"));
    let uri: tonic::transport::Uri = full
        .parse()
        .map_err(|_| invalid("expected http://host:port or https://host:port"))?;
    match uri.scheme_str() {
        Some("http" | "https") if uri.host().is_some_and(|host| !host.is_empty()) => Ok(full),
        _ => Err(invalid("expected http://host:port or https://host:port")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        fs::write(&path, text).unwrap();
        (folder, path)
    }

    #[test]
    fn without_settings_the_coordinator_is_the_one_on_this_machine() {
        let settings = Settings::resolve_in(&ConnectionArgs::default(), |_| None).unwrap();
        assert_eq!(settings.coordinator, "http://127.0.0.1:7070");
        assert_eq!(settings.token, None);
    }

    #[test]
    fn flags_win_over_the_file() {
        let (_folder, path) = file("coordinator = \"http://file:1\"\ntoken = \"from-file\"\n");
        let args = ConnectionArgs {
            config: Some(path),
            ..Default::default()
        };
        let settings = Settings::resolve_in(&args, |_| None).unwrap();
        assert_eq!(
            (settings.coordinator.as_str(), settings.token.as_deref()),
            ("http://file:1", Some("from-file"))
        );

        let args = ConnectionArgs {
            coordinator: Some("flag:2".into()),
            ..args
        };
        let environment = |name: &str| (name == "FIRN_TOKEN").then(|| "from-environment".to_owned());
        let settings = Settings::resolve_in(&args, environment).unwrap();
        assert_eq!(
            (settings.coordinator.as_str(), settings.token.as_deref()),
            ("http://flag:2", Some("from-environment"))
        );
    }

    #[test]
    fn a_certificate_comes_with_its_key_or_not_at_all() {
        let (folder, path) = file("");
        let cert = folder.path().join("cert.pem");
        fs::write(&cert, "certificate").unwrap();
        let args = ConnectionArgs {
            config: Some(path.clone()),
            cert: Some(cert.clone()),
            ..Default::default()
        };
        let error = Settings::resolve_in(&args, |_| None).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert_eq!(
            error.to_string(),
            "--cert is set, but --key is not: a certificate needs its key"
        );
        fs::write(&path, format!("key = \"{}\"\n", cert.display())).unwrap();
        let settings = Settings::resolve_in(&args, |_| None).unwrap();
        assert_eq!(settings.identity.unwrap().key, b"certificate");
    }

    #[test]
    fn the_token_file_is_trimmed_and_must_not_be_empty() {
        let (_folder, path) = file("secret\n");
        let args = ConnectionArgs {
            token_file: Some(path.clone()),
            ..Default::default()
        };
        assert_eq!(
            Settings::resolve_in(&args, |_| None).unwrap().token.as_deref(),
            Some("secret")
        );

        fs::write(&path, "\n").unwrap();
        let error = Settings::resolve_in(&args, |_| None).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().ends_with("is empty"), "{error}");
    }

    #[test]
    fn a_settings_file_that_was_asked_for_must_exist_and_know_its_fields() {
        let args = ConnectionArgs {
            config: Some("/nowhere/firn.toml".into()),
            ..Default::default()
        };
        assert_eq!(Settings::resolve_in(&args, |_| None).unwrap_err().exit_code(), 2);

        let (_folder, path) = file("coordinater = \"http://h:1\"\n");
        let args = ConnectionArgs {
            config: Some(path),
            ..Default::default()
        };
        let message = Settings::resolve_in(&args, |_| None).unwrap_err().to_string();
        assert!(message.contains("unknown field `coordinater`"), "{message}");
    }

    #[test]
    fn the_default_file_is_found_in_the_users_folder() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join(".config/firn");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("config.toml"), "coordinator = \"http://home:9\"").unwrap();
        let environment = |name: &str| (name == "HOME").then(|| home.path().to_str().unwrap().to_owned());
        let settings = Settings::resolve_in(&ConnectionArgs::default(), environment).unwrap();
        assert_eq!(settings.coordinator, "http://home:9");
    }

    #[test]
    fn an_address_that_is_none_is_refused() {
        for address in ["ftp://host:1", "http://", "a b"] {
            let args = ConnectionArgs {
                coordinator: Some(address.into()),
                ..Default::default()
            };
            let error = Settings::resolve_in(&args, |_| None).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{address}");
            assert!(error.to_string().contains(address), "{error}");
        }
    }
}
