//! Why a model cannot be had, each with what to do about it.

use std::path::{Path, PathBuf};

use crate::http::CallFailure;

/// An error of the hub room.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The setting is neither a path that exists nor a Hub id.
    #[error(
        "policy.model is \"{text}\": no such file or directory (looked for {}), and no Hub id, which is \
         owner/name[@revision][:file.gguf] ({problem})",
        list(places)
    )]
    NoReading {
        /// The setting.
        text: String,
        /// The paths that were looked for.
        places: Vec<PathBuf>,
        /// Why it is no Hub id.
        problem: String,
    },
    /// The endpoint or the token cannot be used.
    #[error("cannot use {variable}: {problem}")]
    Setup {
        /// The environment variable that holds it.
        variable: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// Requests are forbidden, or none came through, and the cache does not have the model.
    #[error("no network may be used (HF_HUB_OFFLINE), and {cache} does not have {model}: {missing}")]
    Offline {
        /// The model.
        model: String,
        /// The cache.
        cache: PathBuf,
        /// What it lacks.
        missing: String,
    },
    /// The server does not let this user have the model.
    #[error("the Hub refuses {what}: {detail}")]
    Refused {
        /// The model or file.
        what: String,
        /// Status and what the server says.
        detail: String,
    },
    /// The server does not know the model or its revision.
    #[error("{what} is neither a path that exists nor a model on the Hub: {detail}")]
    NotFound {
        /// The model with its revision.
        what: String,
        /// Status and what the server says.
        detail: String,
    },
    /// Requests failed for good.
    #[error("cannot fetch {what}: {detail}")]
    Failed {
        /// The model or file.
        what: String,
        /// What was seen last.
        detail: String,
    },
    /// The repository has no model, or more than one.
    #[error("{model}: {problem}")]
    NoModel {
        /// The model.
        model: String,
        /// What was found.
        problem: String,
    },
    /// A downloaded file is not what the Hub says it is.
    #[error("{what} is not what the Hub says it is: {problem}")]
    Mismatch {
        /// The file.
        what: String,
        /// Expected and found, and what became of it.
        problem: String,
    },
    /// The disk has too little room.
    #[error("{path} has {free} bytes free, and {needed} more are needed")]
    NoSpace {
        /// The cache.
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
        /// What the system said.
        source: std::io::Error,
    },
}

impl HubError {
    pub(super) fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::File { path, source }
    }

    /// Returns what the user can do about it.
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
            Self::Mismatch { .. } => "run the same command again; if it stays so, the server or a proxy alters files",
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

/// Tells refusals and unknown names from other failures.
pub(super) fn failed(what: &str, failure: CallFailure) -> HubError {
    let (what, detail) = (what.to_owned(), failure.detail);
    match failure.status {
        Some(401..=403) => HubError::Refused { what, detail },
        Some(404) => HubError::NotFound { what, detail },
        _ => HubError::Failed { what, detail },
    }
}
