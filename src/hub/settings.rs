//! The addresses of the Hub and its cache, from the environment variables of Hugging Face's own tools.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

use crate::http::retry::Backoff;

const ENDPOINT_DEFAULT: &str = "https://huggingface.co";

/// Whether requests may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// Yes.
    Online,
    /// No: only cached models are used.
    Offline,
}

/// Everything that resolving a model needs, except the model's name.
#[derive(Debug, Clone)]
pub struct HubSettings {
    /// The cache: the directory with one `models--owner--name` for each repository.
    pub cache_dir: PathBuf,
    /// The address of the Hub or of a mirror.
    pub endpoint: String,
    /// The bearer token, sent only to the endpoint.
    pub token: Option<SecretString>,
    /// Whether requests may be made.
    pub network: Network,
    /// Delays between attempts.
    pub backoff: Backoff,
    /// The attempts of one request, or of one file without progress between them, at least 1.
    pub attempts_max: u32,
    /// The maximum silence of a server, before its reply begins and between chunks of a body.
    pub silence_max: Duration,
}

impl HubSettings {
    /// Reads `HF_HOME`, `HF_HUB_CACHE`, `HF_TOKEN`, `HF_TOKEN_PATH`, `HF_ENDPOINT` and `HF_HUB_OFFLINE` through `get`,
    /// with the defaults of Hugging Face's tools; reads the token's file if no variable holds the token.
    #[must_use]
    pub fn from_variables(get: impl Fn(&str) -> Option<OsString>) -> Self {
        let get = |name: &str| get(name).filter(|value| !value.is_empty());
        let text = |name: &str| get(name).and_then(|value| value.into_string().ok());
        let user_dir = get("HOME").or_else(|| get("USERPROFILE")).map_or_else(|| PathBuf::from("."), PathBuf::from);
        let path = |name: &str| get(name).map(|value| expand(PathBuf::from(value), &user_dir));
        let home = path("HF_HOME")
            .unwrap_or_else(|| path("XDG_CACHE_HOME").unwrap_or_else(|| user_dir.join(".cache")).join("huggingface"));
        let is_true = |value: String| ["1", "ON", "YES", "TRUE"].contains(&value.to_uppercase().as_str());
        let is_offline = text("HF_HUB_OFFLINE").or_else(|| text("TRANSFORMERS_OFFLINE")).is_some_and(is_true);
        let token_path = path("HF_TOKEN_PATH").unwrap_or_else(|| home.join("token"));
        // A missing or unreadable file means no token; the server reports if it requires one.
        let token = text("HF_TOKEN").or_else(|| fs_err::read_to_string(token_path).ok());
        let token = token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty());
        Self {
            cache_dir: path("HF_HUB_CACHE").unwrap_or_else(|| home.join("hub")),
            endpoint: text("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT_DEFAULT.to_owned()),
            token: token.map(SecretString::from),
            network: if is_offline { Network::Offline } else { Network::Online },
            backoff: Backoff::default(),
            attempts_max: 5,
            silence_max: Duration::from_secs(30),
        }
    }
}

/// Replaces a leading `~`.
fn expand(path: PathBuf, user_dir: &std::path::Path) -> PathBuf {
    path.strip_prefix("~").map(|rest| user_dir.join(rest)).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn settings(variables: &[(&str, &str)]) -> HubSettings {
        HubSettings::from_variables(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn the_cache_is_where_hugging_faces_tools_have_it() {
        for (variables, cache) in [
            (vec![("HOME", "/h")], "/h/.cache/huggingface/hub"),
            (vec![("HOME", "/h"), ("XDG_CACHE_HOME", "/x")], "/x/huggingface/hub"),
            (vec![("HOME", "/h"), ("XDG_CACHE_HOME", "/x"), ("HF_HOME", "/f")], "/f/hub"),
            (vec![("HOME", "/h"), ("HF_HOME", "~/f")], "/h/f/hub"),
            (vec![("HOME", "/h"), ("HF_HOME", "/f"), ("HF_HUB_CACHE", "/c")], "/c"),
            (vec![("HOME", "/h"), ("HF_HOME", "")], "/h/.cache/huggingface/hub"),
        ] {
            assert_eq!(settings(&variables).cache_dir, PathBuf::from(cache), "{variables:?}");
        }
    }

    #[test]
    fn offline_is_said_in_four_words() {
        for (value, network) in [
            ("1", Network::Offline),
            ("true", Network::Offline),
            ("Yes", Network::Offline),
            ("ON", Network::Offline),
            ("0", Network::Online),
            ("", Network::Online),
            ("no", Network::Online),
        ] {
            assert_eq!(settings(&[("HF_HUB_OFFLINE", value)]).network, network, "{value}");
        }
        assert_eq!(settings(&[("TRANSFORMERS_OFFLINE", "1")]).network, Network::Offline);
    }

    #[test]
    fn the_token_comes_from_the_variable_else_from_the_file_and_does_not_print() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().to_str().unwrap();
        let token = |variables: &[(&str, &str)]| {
            settings(variables).token.map(|token| token.expose_secret().to_owned()).unwrap_or_default()
        };
        assert_eq!(token(&[("HF_HOME", home)]), "");
        std::fs::write(folder.path().join("token"), "hf_from_file\n").unwrap();
        assert_eq!(token(&[("HF_HOME", home)]), "hf_from_file");
        assert_eq!(token(&[("HF_HOME", home), ("HF_TOKEN", " hf_from_variable\n")]), "hf_from_variable");
        let shown = format!("{:?}", settings(&[("HF_TOKEN", "hf_from_variable")]));
        assert!(!shown.contains("hf_from_variable"), "{shown}");
    }
}
