//! What the environment says of the Hub.

use std::{path::PathBuf, time::Duration};

/// The public server.
const ENDPOINT: &str = "https://huggingface.co";
/// As `huggingface_hub` waits where nothing is said.
const PATIENCE: Duration = Duration::from_secs(10);
/// Before a request is repeated; twice as long each further time.
const PAUSE: Duration = Duration::from_secs(1);

/// Where the Hub is, and where its files are kept. It holds a secret, so it is never printed.
#[derive(Clone)]
pub struct Settings {
    /// `HF_ENDPOINT`, without a `/` at its end.
    pub endpoint: String,
    /// `HF_HUB_CACHE`, else `hub` in `HF_HOME`, else `~/.cache/huggingface/hub`.
    pub cache: PathBuf,
    /// `HF_TOKEN`, else what the file `HF_TOKEN_PATH` holds, which is `token` in `HF_HOME` where nothing is said.
    pub token: Option<String>,
    /// `HF_HUB_OFFLINE`: nothing but the cache is asked.
    pub is_offline: bool,
    /// `SSL_CERT_FILE`: certificates (PEM) that are trusted in place of those that browsers trust.
    pub certificates: Option<PathBuf>,
    /// `HF_HUB_DOWNLOAD_TIMEOUT`: how long a server may be silent.
    pub patience: Duration,
    /// Before a request is repeated for the first time.
    pub pause: Duration,
}

impl Settings {
    /// Those of this process.
    pub fn from_environment() -> Self {
        Self::of(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    /// Those of variables.
    fn of(variable: impl Fn(&str) -> Option<String>) -> Self {
        let home = variable("HF_HOME").map(PathBuf::from).unwrap_or_else(|| {
            let cache = variable("XDG_CACHE_HOME").map(PathBuf::from);
            let own = || PathBuf::from(variable("HOME").unwrap_or_else(|| "/".to_owned())).join(".cache");
            cache.unwrap_or_else(own).join("huggingface")
        });
        let token_file = || {
            let path = variable("HF_TOKEN_PATH").map_or_else(|| home.join("token"), PathBuf::from);
            std::fs::read_to_string(path).ok()
        };
        let token = variable("HF_TOKEN").or_else(token_file);
        let token = token.map(|token| token.trim().to_owned());
        let endpoint = variable("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned());
        let cache = variable("HF_HUB_CACHE").or_else(|| variable("HUGGINGFACE_HUB_CACHE"));
        let offline = variable("HF_HUB_OFFLINE").or_else(|| variable("TRANSFORMERS_OFFLINE"));
        let seconds = variable("HF_HUB_DOWNLOAD_TIMEOUT").and_then(|value| value.parse().ok());
        Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            token: token.filter(|token| !token.is_empty()),
            is_offline: offline.is_some_and(|value| is_true(&value)),
            cache: cache.map_or_else(|| home.join("hub"), PathBuf::from),
            certificates: variable("SSL_CERT_FILE").map(PathBuf::from),
            patience: seconds
                .filter(|seconds| *seconds > 0)
                .map_or(PATIENCE, Duration::from_secs),
            pause: PAUSE,
        }
    }
}

/// As `huggingface_hub` reads switches.
fn is_true(value: &str) -> bool {
    matches!(value.to_ascii_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Settings {
        let found = |name: &str| variables.iter().find(|(known, _)| *known == name);
        Settings::of(|name| found(name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn the_environment_says_what_it_says_to_the_hubs_own_tools() {
        let usual = of(&[("HOME", "/home/ada")]);
        assert_eq!(usual.endpoint, "https://huggingface.co");
        assert_eq!(usual.cache, PathBuf::from("/home/ada/.cache/huggingface/hub"));
        assert_eq!((usual.token, usual.is_offline), (None, false));
        assert_eq!(usual.patience, Duration::from_secs(10));
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("token"), "hf_file\n").unwrap();
        let path = home.path().to_str().unwrap();
        let own = of(&[
            ("HF_HOME", path),
            ("HF_ENDPOINT", "http://127.0.0.1:1/"),
            ("TRANSFORMERS_OFFLINE", "1"),
            ("HF_HUB_DOWNLOAD_TIMEOUT", "60"),
        ]);
        assert_eq!(own.endpoint, "http://127.0.0.1:1");
        assert_eq!(own.cache, home.path().join("hub"));
        assert_eq!((own.token.as_deref(), own.is_offline), (Some("hf_file"), true));
        assert_eq!(own.patience, Duration::from_secs(60));
        let named = of(&[
            ("HF_HOME", path),
            ("HF_TOKEN", "hf_named"),
            ("HF_HUB_CACHE", "/cache"),
            ("HF_HUB_OFFLINE", "0"),
        ]);
        assert_eq!((named.token.as_deref(), named.is_offline), (Some("hf_named"), false));
        assert_eq!(named.cache, PathBuf::from("/cache"));
        let elsewhere = home.path().join("token");
        let elsewhere = of(&[("HOME", "/"), ("HF_TOKEN_PATH", elsewhere.to_str().unwrap())]);
        assert_eq!(elsewhere.token.as_deref(), Some("hf_file"));
    }
}
