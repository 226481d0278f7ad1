//! The cache on disk, in the layout that Hugging Face's own tools read and write:
//!
//! ```text
//! models--owner--name/
//!   refs/main                    the commit that a branch or tag had when it was last looked up
//!   blobs/<hash>                 contents; <hash>.incomplete while one is downloaded
//!   snapshots/<commit>/<file>    links to ../../blobs/<hash>
//!   .no_exist/<commit>/<file>    empty: the commit is known to have no such file
//! .locks/models--owner--name/<hash>.lock
//! ```
//!
//! A snapshot's links are created after all its blobs are complete, the config's link last, and the ref after the
//! links: a snapshot that is found offline is complete. The cache never removes a file of another program, except a
//! blob whose length is wrong.

#![expect(clippy::disallowed_methods, reason = "the errors of this module name the file themselves")]

use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::HubError;
use super::files::{CONFIG, INDEX, TOKENIZER, optional};
use super::reference::is_relative_path;

/// Whether the snapshot of a commit is usable without a request to the Hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// The snapshot holds every file of the model in the commit.
    Whole(PathBuf),
    /// The snapshot holds the required files; optional files may be missing.
    Usable(PathBuf),
    /// A required file is missing: its description, for an error.
    Missing(String),
}

/// The cache of one repository.
#[derive(Debug, Clone)]
pub(super) struct RepoCache {
    dir: PathBuf,
    locks: PathBuf,
}

impl RepoCache {
    /// Returns the cache of a repository; touches no file.
    pub(super) fn new(cache_dir: &Path, id: &str) -> Self {
        let name = format!("models--{}", id.replace('/', "--"));
        Self { dir: cache_dir.join(&name), locks: cache_dir.join(".locks").join(name) }
    }

    /// Returns the commit of a revision, if the cache knows it.
    pub(super) fn commit_of(&self, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return Some(revision.to_owned());
        }
        let text = std::fs::read_to_string(self.dir.join("refs").join(revision)).ok()?;
        Some(text.trim().to_owned()).filter(|commit| is_commit(commit))
    }

    /// Returns the directory of a commit.
    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.dir.join("snapshots").join(commit)
    }

    /// Returns the path of the blob with a hash.
    pub(super) fn blob(&self, hash: &str) -> PathBuf {
        self.dir.join("blobs").join(hash)
    }

    /// Returns the path of a blob during its download.
    pub(super) fn incomplete(&self, hash: &str) -> PathBuf {
        self.dir.join("blobs").join(format!("{hash}.incomplete"))
    }

    /// Returns whether a blob exists and has this length.
    pub(super) fn has_blob(&self, hash: &str, size: u64) -> bool {
        std::fs::metadata(self.blob(hash)).is_ok_and(|metadata| metadata.is_file() && metadata.len() == size)
    }

    /// Finds a model in the snapshot of a commit: the named file, else a directory of safetensors, else the only GGUF
    /// file.
    pub(super) fn find(&self, commit: &str, file: Option<&str>) -> Found {
        let dir = self.snapshot(commit);
        let has = |name: &str| dir.join(name).is_file();
        if let Some(file) = file {
            return if has(file) { Found::Whole(dir.join(file)) } else { Found::Missing(format!("no file {file}")) };
        }
        let names = names_in(&dir);
        let with_ending = |ending: &str| names.iter().filter(|name| name.ends_with(ending)).collect::<Vec<_>>();
        if with_ending(".safetensors").is_empty() && !has(INDEX) {
            return match with_ending(".gguf").as_slice() {
                [one] => Found::Usable(dir.join(one)),
                [] => Found::Missing("no model files".to_owned()),
                many => Found::Missing(format!("it has {} .gguf files, of which none is named", many.len())),
            };
        }
        if let Some(absent) = [CONFIG, TOKENIZER].into_iter().find(|name| !has(name)) {
            return Found::Missing(format!("no file {absent}"));
        }
        if !has("model.safetensors") && has(INDEX) {
            match indexed_files(&dir.join(INDEX)) {
                Err(problem) => return Found::Missing(problem),
                Ok(files) => {
                    if let Some(absent) = files.iter().find(|name| !has(name)) {
                        return Found::Missing(format!("no file {absent}"));
                    }
                }
            }
        }
        let none = self.dir.join(".no_exist").join(commit);
        let is_whole = optional().all(|name| has(name) || none.join(name).is_file());
        if is_whole { Found::Whole(dir) } else { Found::Usable(dir) }
    }

    /// Creates the directories of the repository and of a commit.
    pub(super) fn create(&self, commit: &str) -> Result<(), HubError> {
        for dir in [self.dir.join("blobs"), self.snapshot(commit), self.locks.clone()] {
            std::fs::create_dir_all(&dir).map_err(HubError::file(&dir))?;
        }
        Ok(())
    }

    /// Links a blob as a file of a commit.
    pub(super) fn link(&self, commit: &str, file: &str, hash: &str) -> Result<(), HubError> {
        let path = self.snapshot(commit).join(file);
        if path.is_file() {
            return Ok(());
        }
        let parent = path.parent().unwrap_or(&self.dir);
        std::fs::create_dir_all(parent).map_err(HubError::file(parent))?;
        let up = "../".repeat(2 + file.matches('/').count());
        place_link(&format!("{up}blobs/{hash}"), &self.blob(hash), &path).map_err(HubError::file(&path))
    }

    /// Records the optional files that a commit does not have, so that no later request is needed.
    pub(super) fn note_absent(&self, commit: &str, names: impl Iterator<Item = &'static str>) -> Result<(), HubError> {
        let dir = self.dir.join(".no_exist").join(commit);
        std::fs::create_dir_all(&dir).map_err(HubError::file(&dir))?;
        for name in names {
            let path = dir.join(name);
            File::create(&path).map_err(HubError::file(&path))?;
        }
        Ok(())
    }

    /// Stores the commit of a branch or tag; a revision that is a commit needs no ref.
    pub(super) fn write_ref(&self, revision: &str, commit: &str) -> Result<(), HubError> {
        if self.commit_of(revision).as_deref() == Some(commit) {
            return Ok(());
        }
        let path = self.dir.join("refs").join(revision);
        let parent = path.parent().unwrap_or(&self.dir);
        std::fs::create_dir_all(parent).map_err(HubError::file(parent))?;
        let staged = staged_name(&path);
        let written = std::fs::write(&staged, commit).and_then(|()| std::fs::rename(&staged, &path));
        written.map_err(HubError::file(&path))
    }

    /// Takes the lock of a blob if it is free; `None` while another process downloads the blob.
    ///
    /// The lock is the flock that Hugging Face's tools take; dropping the returned file releases it.
    pub(super) fn try_lock(&self, hash: &str) -> Result<Option<File>, HubError> {
        let path = self.locks.join(format!("{hash}.lock"));
        let file = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(HubError::file(&path))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {
                tracing::warn!(
                    "the file system of {} supports no locks: run only one download at a time",
                    path.display()
                );
                Ok(Some(file))
            }
            Err(TryLockError::Error(error)) => Err(HubError::file(&path)(error)),
        }
    }
}

/// Returns whether a text is a whole commit hash.
pub(super) fn is_commit(text: &str) -> bool {
    is_hash(text, 40)
}

/// Returns whether a text is a hash with this number of hex digits, and hence a safe file name.
pub(super) fn is_hash(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

fn names_in(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// Returns the names of the weight files in an index.
fn indexed_files(path: &Path) -> Result<Vec<String>, String> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: std::collections::BTreeMap<String, String>,
    }
    let text = std::fs::read_to_string(path).map_err(|error| format!("{INDEX}: {error}"))?;
    let index: Index = serde_json::from_str(&text).map_err(|error| format!("{INDEX}: {error}"))?;
    let mut files: Vec<String> = index.weight_map.into_values().collect();
    files.sort();
    files.dedup();
    match files.iter().find(|name| !is_relative_path(name)) {
        Some(name) => Err(format!("{INDEX} names {name}")),
        None => Ok(files),
    }
}

fn staged_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.staged", std::process::id()));
    PathBuf::from(name)
}

/// Creates a link, and replaces a broken one.
#[cfg(unix)]
fn place_link(target: &str, _blob: &Path, path: &Path) -> std::io::Result<()> {
    let staged = staged_name(path);
    // The file may remain from a killed process with the same number.
    let _ = std::fs::remove_file(&staged);
    std::os::unix::fs::symlink(target, &staged)?;
    std::fs::rename(&staged, path)
}

/// On systems where links need privileges, the blob itself gets a second name (a hard link).
#[cfg(not(unix))]
fn place_link(_target: &str, blob: &Path, path: &Path) -> std::io::Result<()> {
    std::fs::hard_link(blob, path).or_else(|_| std::fs::copy(blob, path).map(|_| ()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    fn cache() -> (tempfile::TempDir, RepoCache) {
        let folder = tempfile::tempdir().unwrap();
        let cache = RepoCache::new(folder.path(), "o/n");
        cache.create(COMMIT).unwrap();
        (folder, cache)
    }

    fn put(cache: &RepoCache, name: &str, text: &str) {
        std::fs::write(cache.snapshot(COMMIT).join(name), text).unwrap();
    }

    #[test]
    fn a_directory_needs_config_tokenizer_and_every_indexed_file() {
        let (_folder, cache) = cache();
        let missing = |part: &str| match cache.find(COMMIT, None) {
            Found::Missing(problem) => assert!(problem.contains(part), "{part}: {problem}"),
            found => panic!("{part}: {found:?}"),
        };
        missing("no model files");
        put(&cache, "model-00001-of-00002.safetensors", "");
        missing("config.json");
        put(&cache, "config.json", "{}");
        missing("tokenizer.json");
        put(&cache, "tokenizer.json", "{}");
        put(&cache, INDEX, "{}");
        missing("weight_map");
        put(&cache, INDEX, r#"{"weight_map": {"a": "../../x"}}"#);
        missing("names ../../x");
        let both = r#"{"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}"#;
        put(&cache, INDEX, &format!("{{\"weight_map\": {both}}}"));
        missing("model-00002-of-00002");
        put(&cache, "model-00002-of-00002.safetensors", "");
        assert_eq!(cache.find(COMMIT, None), Found::Usable(cache.snapshot(COMMIT)));
        cache.note_absent(COMMIT, optional()).unwrap();
        assert_eq!(cache.find(COMMIT, None), Found::Whole(cache.snapshot(COMMIT)));
    }

    #[test]
    fn a_named_gguf_is_found_and_an_unnamed_one_only_if_it_is_the_only_one() {
        let (_folder, cache) = cache();
        put(&cache, "a.gguf", "");
        let a = cache.snapshot(COMMIT).join("a.gguf");
        assert_eq!(cache.find(COMMIT, Some("a.gguf")), Found::Whole(a.clone()));
        assert!(matches!(cache.find(COMMIT, Some("b.gguf")), Found::Missing(_)));
        assert_eq!(cache.find(COMMIT, None), Found::Usable(a));
        put(&cache, "b.gguf", "");
        assert!(matches!(cache.find(COMMIT, None), Found::Missing(_)));
    }

    #[test]
    fn refs_name_commits_and_nothing_else() {
        let (_folder, cache) = cache();
        assert_eq!(cache.commit_of("main"), None);
        cache.write_ref("refs/pr/1", COMMIT).unwrap();
        assert_eq!(cache.commit_of("refs/pr/1").as_deref(), Some(COMMIT));
        assert_eq!(cache.commit_of(COMMIT).as_deref(), Some(COMMIT));
        cache.write_ref("main", "../../etc").unwrap();
        assert_eq!(cache.commit_of("main"), None);
    }

    #[test]
    fn links_are_relative_and_replace_broken_ones() {
        let (_folder, cache) = cache();
        std::fs::write(cache.blob("aa"), "content").unwrap();
        for file in ["x.gguf", "deep/er/x.gguf"] {
            cache.link(COMMIT, file, "gone").unwrap();
            let path = cache.snapshot(COMMIT).join(file);
            assert!(!path.exists());
            cache.link(COMMIT, file, "aa").unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), "content");
            #[cfg(unix)]
            assert!(std::fs::read_link(&path).unwrap().is_relative());
        }
    }

    #[test]
    fn a_lock_is_held_by_one_at_a_time() {
        let (_folder, cache) = cache();
        let held = cache.try_lock("aa").unwrap();
        assert!(held.is_some());
        assert!(cache.try_lock("aa").unwrap().is_none());
        assert!(cache.try_lock("bb").unwrap().is_some());
        drop(held);
        assert!(cache.try_lock("aa").unwrap().is_some());
    }
}
