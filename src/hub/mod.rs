//! Resolves `policy.model` to files on this machine.
//!
//! An existing path is used directly. `owner/name[@revision][:file.gguf]` is a model on the Hugging Face Hub, or on a
//! mirror: it is taken from the cache that Hugging Face's own tools share, or downloaded into that cache. A branch
//! needs one request each time; a cached commit needs none. If the Hub is not reachable, the last known commit of the
//! branch is used.
//!
//! This room does not interpret the files. Memory: a listing of the repository; disk: the model.

mod api;
mod cache;
mod download;
mod error;
mod files;
mod progress;
mod reference;
mod settings;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;

use futures::stream::{self, StreamExt, TryStreamExt};

pub use error::HubError;
pub use progress::{OnProgress, Progress};
pub use reference::{HubReference, ModelReference};
pub use settings::{HubSettings, Network};

use crate::domain::ResolvedModel;
use crate::sys::files::free_bytes;
use api::{Api, RemoteFile, Revision};
use cache::{Found, RepoCache};
use download::Downloader;
use error::failed;
use files::{Choice, choose};

/// The maximum number of parallel downloads.
const FILES_AT_ONCE_MAX: usize = 2;

/// The work that makes a model available.
pub enum Plan {
    /// No work: the model is on this machine.
    Ready(ResolvedModel),
    /// A download is needed.
    Fetch(Box<Fetch>),
}

/// A download that has not begun.
pub struct Fetch {
    api: Api,
    settings: HubSettings,
    cache: RepoCache,
    model: HubReference,
    revision: Revision,
    choice: Choice,
    missing: Vec<RemoteFile>,
    /// All files of the model, for their links.
    files: Vec<RemoteFile>,
    done: u64,
}

/// Returns a model's files, and downloads the missing ones. Cancel-safe: received parts are kept.
///
/// # Errors
/// [`HubError`]; received parts are kept, unless they are corrupt.
pub async fn resolve(
    reference: &ModelReference,
    settings: &HubSettings,
    on_progress: &OnProgress,
) -> Result<ResolvedModel, HubError> {
    match plan(reference, settings).await? {
        Plan::Ready(model) => Ok(model),
        Plan::Fetch(fetch) => fetch.run(on_progress).await,
    }
}

/// Finds a model's files, or plans their download. Writes only the cached commit of a branch.
///
/// # Errors
/// [`HubError`] if the model is neither on this machine nor available for download.
pub async fn plan(reference: &ModelReference, settings: &HubSettings) -> Result<Plan, HubError> {
    let model = match reference {
        ModelReference::Local(path) => {
            let name = path.file_name().map_or_else(|| path.display().to_string(), |name| name.display().to_string());
            return Ok(Plan::Ready(ResolvedModel { path: path.clone(), name, commit: None }));
        }
        ModelReference::Hub(model) => model,
    };
    let cache = RepoCache::new(&settings.cache_dir, &model.id);
    let known = cache.commit_of(&model.revision);
    let found = match &known {
        Some(commit) => cache.find(commit, model.file.as_deref()),
        None => Found::Missing(format!("revision {} is not known", model.revision)),
    };
    let cached = match (known, found) {
        (Some(commit), Found::Whole(path)) if cache::is_commit(&model.revision) => {
            return Ok(Plan::Ready(resolved(model, path, commit)));
        }
        (Some(commit), Found::Whole(path) | Found::Usable(path)) => Ok(resolved(model, path, commit)),
        (_, Found::Missing(missing)) => Err(missing),
        (None, _) => Err("no commit is known".to_owned()),
    };
    if settings.network == Network::Offline {
        let (cache, model) = (settings.cache_dir.clone(), model.to_string());
        return cached.map(Plan::Ready).map_err(|missing| HubError::Offline { model, cache, missing });
    }
    let api = Api::new(settings)?;
    // With a cached commit as a fallback, waiting for an unreachable network is useless.
    let attempts_max = if cached.is_ok() { 1 } else { settings.attempts_max };
    let revision = match (api.revision(model, attempts_max).await, cached) {
        (Ok(revision), _) => revision,
        (Err(failure), Ok(cached)) => {
            tracing::warn!(
                "the Hub request for {model} failed ({}); using the cached commit {}",
                failure.detail,
                cached.commit.as_deref().unwrap_or("-")
            );
            return Ok(Plan::Ready(cached));
        }
        (Err(failure), Err(_)) => return Err(failed(&model.to_string(), failure)),
    };
    plan_revision(api, settings, cache, model, revision).await
}

/// Compares the files of a commit with the cache.
async fn plan_revision(
    api: Api,
    settings: &HubSettings,
    cache: RepoCache,
    model: &HubReference,
    revision: Revision,
) -> Result<Plan, HubError> {
    let no_model = |problem: String| HubError::NoModel { model: model.to_string(), problem };
    let choice = choose(&revision.names, model.file.as_deref()).map_err(no_model)?;
    let snapshot = cache.snapshot(&revision.commit);
    if choice.files().iter().all(|name| snapshot.join(name).is_file()) {
        if let Err(error) = cache.write_ref(&model.revision, &revision.commit) {
            // A cache on a read-only mount works, too.
            tracing::debug!("{error}");
        }
        return Ok(Plan::Ready(resolved(model, path_of(&choice, &snapshot), revision.commit)));
    }
    let listed = api.files(&model.id, &revision.commit).await;
    let listed = listed.map_err(|failure| failed(&model.to_string(), failure))?;
    let mut files = Vec::new();
    for name in choice.files() {
        let file = listed.iter().find(|file| file.name == *name);
        files.push(file.cloned().ok_or_else(|| no_model(format!("the Hub's listing lacks {name}")))?);
    }
    let mut missing: Vec<RemoteFile> = Vec::new();
    for file in files.iter().filter(|file| !cache.has_blob(&file.hash, file.size)) {
        // Two files may have the same content.
        if missing.iter().all(|known| known.hash != file.hash) {
            missing.push(file.clone());
        }
    }
    let arrived = |file: &RemoteFile| {
        let metadata = fs_err::metadata(cache.incomplete(&file.hash));
        metadata.map_or(0, |metadata| metadata.len().min(file.size))
    };
    let done = missing.iter().filter(|file| file.sha256().is_some()).map(arrived).sum();
    let (settings, model) = (settings.clone(), model.clone());
    Ok(Plan::Fetch(Box::new(Fetch { api, settings, cache, model, revision, choice, missing, files, done })))
}

impl Fetch {
    /// Returns the name of the model in the data.
    #[must_use]
    pub fn name(&self) -> String {
        self.model.name()
    }

    /// Returns the commit to download.
    #[must_use]
    pub fn commit(&self) -> &str {
        &self.revision.commit
    }

    /// Returns the number of files to download, at least in part.
    #[must_use]
    pub fn file_count(&self) -> usize {
        self.missing.len()
    }

    /// Returns the number of bytes to download.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.total() - self.done
    }

    /// Returns whether the publisher requires the user to accept a licence first.
    #[must_use]
    pub fn is_gated(&self) -> bool {
        self.revision.is_gated
    }

    /// Returns an error if the disk has too little free space.
    pub fn check_space(&self) -> Result<(), HubError> {
        let existing = self.settings.cache_dir.ancestors().find(|path| path.exists());
        match existing.and_then(free_bytes) {
            Some(free) if free < self.bytes() => {
                Err(HubError::NoSpace { path: self.settings.cache_dir.clone(), needed: self.bytes(), free })
            }
            _ => Ok(()),
        }
    }

    fn total(&self) -> u64 {
        self.missing.iter().map(|file| file.size).sum()
    }

    /// Downloads the missing files. Cancel-safe: received parts are kept.
    ///
    /// # Errors
    /// [`HubError`]; received parts are kept, unless they are corrupt.
    pub async fn run(self, on_progress: &OnProgress) -> Result<ResolvedModel, HubError> {
        self.check_space()?;
        let Self { cache, model, revision, .. } = &self;
        tracing::info!("downloading {model}: {} bytes in {} files", self.bytes(), self.missing.len());
        cache.create(&revision.commit)?;
        let downloader = Downloader {
            api: &self.api,
            cache,
            settings: &self.settings,
            model,
            commit: &revision.commit,
            total: self.total(),
            done: AtomicU64::new(0),
            on_progress,
        };
        let fetches = stream::iter(&self.missing).map(|file| downloader.fetch(file));
        fetches.buffer_unordered(FILES_AT_ONCE_MAX).try_collect::<()>().await?;
        if matches!(self.choice, Choice::Directory(_)) {
            cache.note_absent(&revision.commit, files::absent(&revision.names))?;
        }
        for file in &self.files {
            cache.link(&revision.commit, &file.name, &file.hash)?;
        }
        cache.write_ref(&model.revision, &revision.commit)?;
        let path = path_of(&self.choice, &cache.snapshot(&revision.commit));
        Ok(resolved(model, path, revision.commit.clone()))
    }
}

fn path_of(choice: &Choice, snapshot: &Path) -> PathBuf {
    match choice {
        Choice::Gguf(file) => snapshot.join(file),
        Choice::Directory(_) => snapshot.to_owned(),
    }
}

fn resolved(model: &HubReference, path: PathBuf, commit: String) -> ResolvedModel {
    ResolvedModel { path, name: model.name(), commit: Some(commit) }
}
