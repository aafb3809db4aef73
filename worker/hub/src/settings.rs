//! What the environment says of the Hub.

use std::path::PathBuf;

/// The public server.
const ENDPOINT: &str = "https://huggingface.co";

/// Where the Hub is, and where its files are kept.
#[derive(Clone)]
pub struct Settings {
    /// `HF_ENDPOINT`.
    pub endpoint: String,
    /// `HF_HUB_CACHE`, else `hub` in `HF_HOME`, else `~/.cache/huggingface/hub`.
    pub cache: PathBuf,
    /// `HF_TOKEN`, else the file `token` beside the cache.
    pub token: Option<String>,
    /// `HF_HUB_OFFLINE`.
    pub is_offline: bool,
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
            let home = || PathBuf::from(variable("HOME").unwrap_or_else(|| "/".to_owned())).join(".cache");
            cache.unwrap_or_else(home).join("huggingface")
        });
        let token_file = || {
            let path = variable("HF_TOKEN_PATH").map_or_else(|| home.join("token"), PathBuf::from);
            std::fs::read_to_string(path).ok()
        };
        let token = variable("HF_TOKEN").or_else(token_file);
        let endpoint = variable("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned());
        Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            token: token
                .map(|token| token.trim().to_owned())
                .filter(|token| !token.is_empty()),
            is_offline: variable("HF_HUB_OFFLINE").is_some_and(|value| is_true(&value)),
            cache: variable("HF_HUB_CACHE").map_or_else(|| home.join("hub"), PathBuf::from),
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
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("token"), "hf_file\n").unwrap();
        let path = home.path().to_str().unwrap();
        let own = of(&[
            ("HF_HOME", path),
            ("HF_ENDPOINT", "http://127.0.0.1:1/"),
            ("HF_HUB_OFFLINE", "1"),
        ]);
        assert_eq!(own.endpoint, "http://127.0.0.1:1");
        assert_eq!(own.cache, home.path().join("hub"));
        assert_eq!((own.token.as_deref(), own.is_offline), (Some("hf_file"), true));
        let named = of(&[
            ("HF_HOME", path),
            ("HF_TOKEN", "hf_named"),
            ("HF_HUB_CACHE", "/cache"),
            ("HF_HUB_OFFLINE", "0"),
        ]);
        assert_eq!((named.token.as_deref(), named.is_offline), (Some("hf_named"), false));
        assert_eq!(named.cache, PathBuf::from("/cache"));
    }
}
