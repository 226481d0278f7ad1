//! Why a model is not available, with advice for each error.

use std::path::{Path, PathBuf};

use crate::http::CallFailure;

/// An error of the hub room.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The setting is neither an existing path nor a Hub id.
    #[error(
        "policy.model is \"{text}\": no such file or directory (looked for {}), and not a Hub id, which is \
         owner/name[@revision][:file.gguf] ({problem})",
        list(places)
    )]
    NoReading {
        /// The value of the setting.
        text: String,
        /// The paths that were tried.
        places: Vec<PathBuf>,
        /// Why the value is not a Hub id.
        problem: String,
    },
    /// The endpoint or the token is not usable.
    #[error("cannot use {variable}: {problem}")]
    Setup {
        /// The environment variable of the value.
        variable: &'static str,
        /// The problem of the value.
        problem: String,
    },
    /// Requests are disabled or failed, and the cache does not hold the model.
    #[error("the network is disabled (HF_HUB_OFFLINE), and {cache} does not have {model}: {missing}")]
    Offline {
        /// The model.
        model: String,
        /// The cache's path.
        cache: PathBuf,
        /// The missing part.
        missing: String,
    },
    /// The server refuses this user access to the model.
    #[error("the Hub refuses access to {what}: {detail}")]
    Refused {
        /// The model or file.
        what: String,
        /// The status and the server's error text.
        detail: String,
    },
    /// The server does not know the model or its revision.
    #[error("{what} is neither an existing path nor a model on the Hub: {detail}")]
    NotFound {
        /// The model with its revision.
        what: String,
        /// The status and the server's error text.
        detail: String,
    },
    /// Requests failed permanently.
    #[error("cannot download {what}: {detail}")]
    Failed {
        /// The model or file.
        what: String,
        /// The last failure.
        detail: String,
    },
    /// The repository has no model, or more than one.
    #[error("{model}: {problem}")]
    NoModel {
        /// The model.
        model: String,
        /// The description of the repository's contents.
        problem: String,
    },
    /// A downloaded file differs from the Hub's description of it.
    #[error("{what} does not match the Hub's description: {problem}")]
    Mismatch {
        /// The file.
        what: String,
        /// The expected and the actual value, and what happened to the file.
        problem: String,
    },
    /// The disk has too little free space.
    #[error("not enough disk space in {path}: {free} bytes are free, {needed} are needed")]
    NoSpace {
        /// The cache's path.
        path: PathBuf,
        /// Bytes still to be downloaded.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// A file of the cache cannot be read or written.
    #[error("cannot use the model cache: {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
}

impl HubError {
    pub(super) fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::File { path, source }
    }

    /// Returns advice to the user.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NoReading { .. } => {
                "check policy.model: a path, or a Hub id such as Qwen/Qwen3-0.6B; `make model` fetches the default model"
            }
            Self::Setup { .. } => "correct or unset the variable",
            Self::Offline { .. } => "unset HF_HUB_OFFLINE to download it, or fetch it once where there is a network",
            Self::Refused { .. } => {
                "the model is private, gated or unknown: check its name, accept its licence on its page on the Hub, and \
                 set HF_TOKEN to a token that may read it"
            }
            Self::NotFound { .. } => "check policy.model and its revision; a private model needs HF_TOKEN",
            Self::Failed { .. } => {
                "check the network and HF_ENDPOINT, then run the same command again: what is downloaded is kept"
            }
            Self::NoModel { .. } => "name one file as owner/name:file.gguf, or choose another repository",
            Self::Mismatch { .. } => {
                "run the same command again; if the error remains, the server or a proxy alters files"
            }
            Self::NoSpace { .. } => "free some space, or set HF_HUB_CACHE to a directory on another disk",
            Self::File { source, .. } => match source.kind() {
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                    "free some space, then run the same command again: what is downloaded is kept"
                }
                _ => "check its permissions, or set HF_HUB_CACHE to another directory",
            },
        }
    }
}

fn list(paths: &[PathBuf]) -> String {
    let names: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    names.join(", ")
}

/// Separates refusals and unknown names from other failures.
pub(super) fn failed(what: &str, failure: CallFailure) -> HubError {
    let (what, detail) = (what.to_owned(), failure.detail);
    match failure.status {
        Some(401..=403) => HubError::Refused { what, detail },
        Some(404) => HubError::NotFound { what, detail },
        _ => HubError::Failed { what, detail },
    }
}
