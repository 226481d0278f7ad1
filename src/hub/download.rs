//! Downloads blobs into the cache: resumable, verified, one process at a time per blob.
//!
//! A blob is written to `<hash>.incomplete`, synced, verified, and only then renamed. A large file has a SHA-256, which
//! also verifies a resumed file. A small file (git's own, with a SHA-1) is verified by its length only, so a partial
//! one from an earlier process is discarded. Cancelling loses nothing: the received part of a large file is resumed.
//!
//! Hashing and writing run on a blocking thread behind a queue of [`QUEUED_CHUNKS_MAX`] chunks.

#![expect(clippy::disallowed_methods, reason = "the errors of this module name the file themselves")]

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::CONTENT_RANGE;
use reqwest::{Response, StatusCode};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::api::{Api, RemoteFile, Reply, is_passing};
use super::cache::RepoCache;
use super::error::{HubError, failed};
use super::progress::{OnProgress, Progress};
use super::reference::HubReference;
use super::settings::HubSettings;
use crate::domain::digest;
use crate::http::CallFailure;
use crate::http::retry::Class;

/// Chunks of a body between the network and the disk.
const QUEUED_CHUNKS_MAX: usize = 32;
/// An attempt that received at least this number of bytes does not count as failed, because a long download may be
/// interrupted often.
const PROGRESS_BYTES_MIN: u64 = 1 << 20;
/// The time between two checks of another process's lock.
const LOCK_POLL_INTERVAL: Duration = Duration::from_millis(200);

/// The shared state of one model's downloads.
pub(super) struct Downloader<'a> {
    pub(super) api: &'a Api,
    pub(super) cache: &'a RepoCache,
    pub(super) settings: &'a HubSettings,
    pub(super) model: &'a HubReference,
    pub(super) commit: &'a str,
    pub(super) total: u64,
    /// Bytes of all files that are on the disk.
    pub(super) done: AtomicU64,
    pub(super) on_progress: &'a OnProgress,
}

impl Downloader<'_> {
    /// Ensures that a file's blob is in the cache. Cancel-safe: the received part is kept.
    pub(super) async fn fetch(&self, file: &RemoteFile) -> Result<(), HubError> {
        let lock = self.lock(file).await?;
        if self.cache.has_blob(&file.hash, file.size) {
            self.advance(file.size);
            return Ok(());
        }
        let path = self.cache.incomplete(&file.hash);
        let is_checked = file.sha256().is_some();
        let mut partial = blocking(move || Partial::open(path, lock, is_checked)).await?;
        if partial.len > file.size {
            partial = blocking(move || partial.restarted()).await?;
        }
        self.advance(partial.len);
        let mut was_resumed = partial.len > 0;
        loop {
            partial = self.complete(file, partial).await?;
            let len = partial.len;
            match blocking(move || partial.finished()).await? {
                (ended, found) if file.sha256().is_none_or(|expected| found.as_deref() == Some(expected)) => {
                    let target = self.cache.blob(&file.hash);
                    return blocking(move || ended.publish(&target)).await;
                }
                // The earlier part may be corrupt: the download is repeated once from the beginning.
                (ended, _) if was_resumed => {
                    tracing::warn!(
                        "{}: the resumed file has a wrong hash; downloading the whole file again",
                        file.name
                    );
                    was_resumed = false;
                    self.retreat(len);
                    partial = blocking(move || ended.restarted()).await?;
                }
                (ended, found) => {
                    blocking(move || ended.remove()).await?;
                    let (expected, found) = (file.sha256().unwrap_or_default(), found.unwrap_or_default());
                    return Err(self.mismatch(
                        file,
                        format!("its SHA-256 should be {expected} and is {found}; the download was removed"),
                    ));
                }
            }
        }
    }

    /// Waits for the lock of a blob.
    async fn lock(&self, file: &RemoteFile) -> Result<File, HubError> {
        let mut is_told = false;
        loop {
            if let Some(lock) = self.cache.try_lock(&file.hash)? {
                return Ok(lock);
            }
            if !is_told {
                tracing::info!("waiting for another process that downloads {}", file.name);
                is_told = true;
            }
            tokio::time::sleep(LOCK_POLL_INTERVAL).await;
        }
    }

    /// Appends to a partial file until it has its length.
    async fn complete(&self, file: &RemoteFile, mut partial: Partial) -> Result<Partial, HubError> {
        let mut failures = 0;
        while partial.len < file.size {
            let before = partial.len;
            let (after, result) = self.attempt(file, partial).await?;
            partial = after;
            let Err(failure) = result else { continue };
            failures = if partial.len >= before + PROGRESS_BYTES_MIN { 1 } else { failures + 1 };
            if failures >= self.settings.attempts_max || !is_passing(failure.class) {
                return Err(failed(&format!("{} of {}", file.name, self.model), failure));
            }
            self.api.back_off(&failure, failures, &file.hash).await;
        }
        Ok(partial)
    }

    /// Makes one request for the rest of a file. The outer error ends the download, the inner one only the attempt.
    async fn attempt(
        &self,
        file: &RemoteFile,
        mut partial: Partial,
    ) -> Result<(Partial, Result<(), CallFailure>), HubError> {
        let Reply { response, linked_hash } =
            match self.api.content(&self.model.id, self.commit, &file.name, partial.len).await {
                Ok(reply) => reply,
                Err(failure) => return Ok((partial, Err(failure))),
            };
        if let (Some(expected), Some(linked)) = (file.sha256(), linked_hash.filter(|linked| linked.len() == 64))
            && expected != linked
        {
            return Err(self.mismatch(file, format!("its SHA-256 should be {expected}, and {linked} is offered")));
        }
        if partial.len > 0 && !continues_at(&response, partial.len) {
            // The server sends the whole file, or refuses to send the rest.
            self.retreat(partial.len);
            partial = blocking(move || partial.restarted()).await?;
            if response.status() != StatusCode::OK {
                let detail = format!("{}: the server cannot send the rest of the file", file.name);
                return Ok((partial, Err(self.api.failure(Class::Transient, detail))));
            }
        } else if partial.len == 0 && response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            let detail = "HTTP 416 to a request without a range".to_owned();
            return Ok((partial, Err(self.api.failure(Class::FatalRequest, detail))));
        }
        self.receive(file, partial, response).await
    }

    /// Passes a body on to the writer thread.
    async fn receive(
        &self,
        file: &RemoteFile,
        partial: Partial,
        mut response: Response,
    ) -> Result<(Partial, Result<(), CallFailure>), HubError> {
        let room = file.size - partial.len;
        let (sender, receiver) = mpsc::channel(QUEUED_CHUNKS_MAX);
        let writer = tokio::task::spawn_blocking(move || partial.take_in(receiver));
        let mut received = 0;
        let result = loop {
            let chunk = match tokio::time::timeout(self.settings.silence_max, response.chunk()).await {
                Ok(Ok(Some(chunk))) => chunk,
                Ok(Ok(None)) if received == room => break Ok(()),
                Ok(Ok(None)) => {
                    let detail = format!("{}: the server ended early", file.name);
                    break Err(self.api.failure(Class::Transient, detail));
                }
                Ok(Err(error)) => break Err(self.api.broken(error)),
                Err(_) => break Err(self.api.silent()),
            };
            let len = chunk.len() as u64;
            if received + len > room {
                let detail = format!("{}: the server sends more than {} bytes", file.name, file.size);
                break Err(self.api.failure(Class::FatalRequest, detail));
            }
            // The channel is closed: the writer met an error, which it returns.
            if sender.send(chunk).await.is_err() {
                break Ok(());
            }
            received += len;
            self.advance(len);
        };
        drop(sender);
        let (partial, written) = joined(writer.await)?;
        written?;
        Ok((partial, result))
    }

    fn advance(&self, bytes: u64) {
        let done = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.on_progress.call(Progress { done, total: self.total });
    }

    fn retreat(&self, bytes: u64) {
        self.done.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn mismatch(&self, file: &RemoteFile, problem: String) -> HubError {
        HubError::Mismatch { what: format!("{} of {}", file.name, self.model), problem }
    }
}

/// Returns whether a reply is the rest of a file from byte `from` on.
fn continues_at(response: &Response, from: u64) -> bool {
    let range = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
    let start = range.and_then(|range| range.strip_prefix("bytes ")?.split_once('-')?.0.parse().ok());
    response.status() == StatusCode::PARTIAL_CONTENT && start == Some(from)
}

/// A blob during its download, with the lock on it. All methods block.
struct Partial {
    path: PathBuf,
    file: File,
    /// The number of bytes on the disk.
    len: u64,
    /// The hash of these bytes, if there is an expected hash.
    hasher: Option<Sha256>,
    _lock: File,
}

impl Partial {
    /// Opens the partial file of an earlier attempt; without a hash to verify it, discards its content.
    fn open(path: PathBuf, lock: File, is_checked: bool) -> Result<Self, HubError> {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(HubError::file(&path))?;
        let partial = Self { path, file, len: 0, hasher: is_checked.then(Sha256::new), _lock: lock };
        if is_checked { partial.hash_existing() } else { partial.restarted() }
    }

    fn hash_existing(mut self) -> Result<Self, HubError> {
        if let Some(hasher) = &mut self.hasher {
            self.len = digest::add_reader(hasher, &mut self.file).map_err(HubError::file(&self.path))?;
        }
        Ok(self)
    }

    /// Starts again with an empty file.
    fn restarted(mut self) -> Result<Self, HubError> {
        let emptied = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        emptied.map_err(HubError::file(&self.path))?;
        self.len = 0;
        self.hasher = self.hasher.map(|_| Sha256::new());
        Ok(self)
    }

    /// Appends chunks until the queue ends; after an error, the earlier chunks stay in the file.
    fn take_in(mut self, mut parts: mpsc::Receiver<Bytes>) -> (Self, Result<(), HubError>) {
        while let Some(part) = parts.blocking_recv() {
            if let Err(error) = self.file.write_all(&part) {
                let error = HubError::file(&self.path)(error);
                return (self, Err(error));
            }
            if let Some(hasher) = &mut self.hasher {
                hasher.update(&part);
            }
            self.len += part.len() as u64;
        }
        (self, Ok(()))
    }

    /// Returns the SHA-256 of the whole file, if there is an expected hash.
    fn finished(mut self) -> Result<(Self, Option<String>), HubError> {
        let found = self.hasher.replace(Sha256::new()).map(|hasher| hex::encode(hasher.finalize()));
        Ok((self, found))
    }

    /// Makes the blob durable under its final name.
    fn publish(self, target: &Path) -> Result<(), HubError> {
        self.file.sync_all().map_err(HubError::file(&self.path))?;
        std::fs::rename(&self.path, target).map_err(HubError::file(target))?;
        sync_dir_of(target)
    }

    fn remove(self) -> Result<(), HubError> {
        std::fs::remove_file(&self.path).map_err(HubError::file(&self.path))
    }
}

/// Makes a rename durable.
fn sync_dir_of(path: &Path) -> Result<(), HubError> {
    #[cfg(unix)]
    if let Some(dir) = path.parent() {
        return File::open(dir).and_then(|dir| dir.sync_all()).map_err(HubError::file(dir));
    }
    let _ = path;
    Ok(())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, HubError> + Send + 'static,
) -> Result<T, HubError> {
    joined(tokio::task::spawn_blocking(work).await)?
}

fn joined<T>(result: Result<T, tokio::task::JoinError>) -> Result<T, HubError> {
    result.map_err(|error| HubError::Failed { what: "the model".to_owned(), detail: error.to_string() })
}
