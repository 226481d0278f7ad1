//! Moves a finished export to its place, and decides which earlier files it may replace.
//!
//! A finished export is moved as a whole. An earlier export at the place is exchanged with the new one in one step of
//! the file system, and removed afterwards. The exchange needs a directory that can be moved. A mount point, or a
//! directory with foreign hidden files, stays in place, and new files replace old files one by one: meanwhile the list
//! of files names both, old files are removed after all new files are in place, and the list of the new export alone is
//! written last. Whenever the process ends, every file is whole and the next `--overwrite` knows all of them.

#![expect(clippy::disallowed_methods, reason = "the errors of this module name the file themselves")]

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use super::ExportError;
use super::report::{FileList, LIST_FILE};
use crate::shards::seal::aside;
use crate::shards::sha256_of_file;
use crate::sys::staged::{StagedDir, parent_of, remove_leftovers, sync_dir, sync_dirs_below};

/// The prefix of the directory in which an export is prepared.
pub(super) const STAGED_PREFIX: &str = ".thinkloom-export-";
/// The suffix of a file that is being copied from another file system.
const PART_SUFFIX: &str = ".thinkloom-part";

/// A place that an export may use.
#[derive(Debug)]
pub(super) struct Place {
    /// The directory, with links resolved; the given path if nothing exists there.
    dir: PathBuf,
    occupant: Occupant,
}

/// The content of a place.
#[derive(Debug)]
enum Occupant {
    /// Nothing exists at the path.
    Nobody,
    /// A directory without files, or with disposable hidden files only.
    Free,
    /// An earlier export.
    Export {
        /// The files of the export, relative to the place.
        files: BTreeSet<PathBuf>,
        /// Edited files with their hashes; they are kept under another name.
        edited: Vec<(String, String)>,
        /// Whether the directory contains nothing that must stay.
        is_alone: bool,
    },
}

impl Place {
    /// Inspects a place.
    ///
    /// # Errors
    /// [`ExportError::Occupied`] if the place contains files that an export must not replace; [`ExportError::Io`] if
    /// the directory cannot be listed.
    pub(super) fn look(out: &Path, overwrites: bool) -> Result<Self, ExportError> {
        // A link is followed: the place is the link's target.
        let dir = match fs_err::canonicalize(out) {
            Ok(dir) => dir,
            Err(error) if error.kind() == io::ErrorKind::NotFound && out.symlink_metadata().is_ok() => {
                return Err(io::Error::new(
                    io::ErrorKind::NotFound,
                    format!("{} is a link to a path that does not exist", out.display()),
                )
                .into());
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self { dir: out.to_owned(), occupant: Occupant::Nobody });
            }
            Err(error) => return Err(error.into()),
        };
        let found = files_below(&dir)?;
        let list: Option<FileList> =
            std::fs::read(dir.join(LIST_FILE)).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let is_listed = |name: &Path| {
            name == Path::new(LIST_FILE)
                || list.as_ref().zip(name.to_str()).is_some_and(|(list, name)| {
                    list.files.contains_key(name) || list.replaces.iter().any(|old| old == name)
                })
        };
        let (own, others): (BTreeSet<PathBuf>, BTreeSet<PathBuf>) =
            found.into_iter().partition(|name| list.is_some() && is_listed(name));
        let is_hidden = |name: &PathBuf| {
            let last = name.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            name.components().next().is_some_and(|first| first.as_os_str().to_string_lossy().starts_with('.'))
                || last.ends_with(PART_SUFFIX)
                || last.contains(".changed-")
        };
        if !others.iter().all(is_hidden) || (!own.is_empty() && !overwrites) {
            return Err(ExportError::Occupied { dir: out.to_owned() });
        }
        let occupant = if own.is_empty() {
            Occupant::Free
        } else {
            let edited = list.as_ref().map(|list| edited(&dir, list)).unwrap_or_default();
            let is_alone = others.is_empty() && edited.is_empty();
            Occupant::Export { files: own, edited, is_alone }
        };
        Ok(Self { dir, occupant })
    }

    /// Makes the directory in which the export is prepared, on the file system of its place.
    pub(super) fn stage(&self) -> Result<StagedDir, ExportError> {
        let stage = |dir: &Path| StagedDir::make(dir, STAGED_PREFIX);
        if matches!(self.occupant, Occupant::Nobody) {
            fs_err::create_dir_all(self.parent())?;
            return Ok(stage(self.parent())?);
        }
        if is_mount_point(&self.dir, self.parent()) {
            return Ok(stage(&self.dir)?);
        }
        // Without permission to write next to the place, the directory is made inside the place.
        stage(self.parent()).or_else(|_| stage(&self.dir)).map_err(ExportError::Io)
    }

    /// Moves the prepared export to its place.
    ///
    /// # Errors
    /// [`ExportError::Io`]; the place then contains whole files, old or new, and the same call with `--overwrite`
    /// completes the move.
    pub(super) fn settle(self, staged: StagedDir, list: &FileList) -> Result<(), ExportError> {
        // Only its owner can read a temporary directory; an export needs the usual permissions.
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            fs_err::set_permissions(staged.path(), std::fs::Permissions::from_mode(0o755))?;
        }
        // The files are durable by now. Their names must be durable before the directory is renamed.
        sync_dirs_below(staged.path())?;
        let is_beside = staged.path().parent().is_some_and(|parent| parent == self.parent());
        match &self.occupant {
            Occupant::Nobody => {
                let (staged, _lock) = staged.keep();
                fs_err::rename(&staged, &self.dir).inspect_err(|_| {
                    // The export is whole, but nothing would refer to the directory.
                    let _ = std::fs::remove_dir_all(&staged);
                })?;
                return Ok(sync_dir(self.parent())?);
            }
            Occupant::Export { is_alone: true, .. } if is_beside && exchange(staged.path(), &self.dir) => {
                sync_dir(self.parent())?;
                // The earlier export now has the name of the temporary directory, and is removed with it.
                return Ok(staged.close()?);
            }
            _ => {}
        }
        self.settle_one_by_one(staged, list)
    }

    fn settle_one_by_one(&self, staged: StagedDir, list: &FileList) -> Result<(), ExportError> {
        let none = BTreeSet::new();
        let old = match &self.occupant {
            Occupant::Export { files, .. } => files,
            Occupant::Nobody | Occupant::Free => &none,
        };
        if let Occupant::Export { edited, .. } = &self.occupant {
            for (name, hash) in edited {
                let aside = aside(name, hash);
                tracing::warn!("{name} was edited; the edited file is kept as {aside}, and {name} is written again");
                fs_err::rename(self.dir.join(name), self.dir.join(aside))?;
            }
        }
        let names = |name: &PathBuf| name.to_str().map(str::to_owned);
        let replaces = old.iter().filter_map(names).filter(|name| name != LIST_FILE).collect();
        let mut both = list.clone();
        both.replaces = replaces;
        put_list(staged.path(), &self.dir, &both)?;
        for name in list.files.keys() {
            let target = self.dir.join(name);
            if let Some(parent) = target.parent() {
                fs_err::create_dir_all(parent)?;
            }
            move_file(&staged.path().join(name), &target)?;
        }
        // The names of new files are durable before old files lose their names.
        sync_dirs_of(&self.dir, list.files.keys().map(Path::new))?;
        let is_new = |name: &Path| name.to_str().is_some_and(|name| name == LIST_FILE || list.files.contains_key(name));
        for name in old.iter().filter(|name| !is_new(name)) {
            match std::fs::remove_file(self.dir.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        // Incomplete copies of a start that did not finish.
        for name in list.files.keys().map(Path::new).chain(old.iter().map(PathBuf::as_path)) {
            let _ = std::fs::remove_file(part_of(&self.dir.join(name)));
        }
        for parent in old.iter().filter_map(|name| name.parent()).filter(|parent| *parent != Path::new("")) {
            // A directory with foreign files stays.
            let _ = std::fs::remove_dir(self.dir.join(parent));
        }
        put_list(staged.path(), &self.dir, list)?;
        sync_dir(&self.dir)?;
        // If the export is prepared next to its place now, an earlier start may have prepared it inside the place.
        remove_leftovers(&self.dir, STAGED_PREFIX);
        Ok(staged.close()?)
    }

    fn parent(&self) -> &Path {
        parent_of(&self.dir)
    }
}

/// Returns the edited files next to the data (card, configs, template), with their hashes.
fn edited(dir: &Path, list: &FileList) -> Vec<(String, String)> {
    let beside = list.files.iter().filter(|(name, _)| !name.contains('/'));
    beside
        .filter_map(|(name, hash)| {
            let found = sha256_of_file(&dir.join(name)).ok()?;
            (found != *hash && !list.replaces.contains(name)).then(|| (name.clone(), found))
        })
        .collect()
}

/// Returns the files below a directory, relative to the directory. Links count as files.
fn files_below(dir: &Path) -> Result<BTreeSet<PathBuf>, ExportError> {
    let mut found = BTreeSet::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(parent) = waiting.pop() {
        for entry in fs_err::read_dir(dir.join(&parent))? {
            let entry = entry?;
            let name = parent.join(entry.file_name());
            if name == Path::new("lost+found") {
                continue;
            }
            if entry.file_type()?.is_dir() {
                waiting.push(name);
            } else {
                found.insert(name);
            }
        }
    }
    Ok(found)
}

/// Writes the list of an export's files, durably and whole.
fn put_list(staged: &Path, dir: &Path, list: &FileList) -> Result<(), ExportError> {
    use std::io::Write;
    let path = staged.join(format!("{LIST_FILE}{PART_SUFFIX}"));
    let mut file = fs_err::File::create(&path)?;
    file.write_all(list.to_json()?.as_bytes())?;
    file.sync_all()?;
    move_file(&path, &dir.join(LIST_FILE))
}

/// Moves a file and replaces an existing one. Between file systems, the file is first copied to the target's directory.
fn move_file(from: &Path, to: &Path) -> Result<(), ExportError> {
    if std::fs::rename(from, to).is_ok() {
        return Ok(());
    }
    let part = part_of(to);
    fs_err::copy(from, &part)?;
    fs_err::File::open(&part)?.sync_all()?;
    Ok(fs_err::rename(&part, to)?)
}

/// Returns the path of an incomplete copy of a file.
fn part_of(to: &Path) -> PathBuf {
    let mut part = to.as_os_str().to_owned();
    part.push(PART_SUFFIX);
    PathBuf::from(part)
}

/// Makes the names of files below a directory durable, and the names of their directories.
fn sync_dirs_of<'a>(dir: &Path, names: impl Iterator<Item = &'a Path>) -> Result<(), ExportError> {
    let dirs: BTreeSet<&Path> = names.filter_map(Path::parent).collect();
    for name in dirs {
        sync_dir(&dir.join(name))?;
    }
    Ok(sync_dir(dir)?)
}

/// Exchanges the names of two directories in one step; returns false if the system does not support the exchange.
#[cfg(target_os = "linux")]
fn exchange(one: &Path, other: &Path) -> bool {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn exchange(_one: &Path, _other: &Path) -> bool {
    false
}

/// Returns whether a directory is on another file system than its parent.
fn is_mount_point(dir: &Path, parent: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let device = |path: &Path| std::fs::metadata(path).map(|metadata| metadata.dev()).ok();
        device(dir) != device(parent)
    }
    #[cfg(not(unix))]
    {
        let _ = (dir, parent);
        false
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::domain::digest::sha256;

    fn list(files: &[(&str, &str)]) -> FileList {
        let hashes = files.iter().map(|(name, text)| ((*name).to_owned(), sha256(text.as_bytes())));
        FileList { files: hashes.collect(), ..FileList::default() }
    }

    /// Prepares an export and moves it to its place.
    fn export(out: &Path, files: &[(&str, &str)], overwrites: bool) -> Result<(), ExportError> {
        let place = Place::look(out, overwrites)?;
        let staged = place.stage()?;
        for (name, text) in files {
            let path = staged.path().join(name);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        }
        let list = list(files);
        fs_err::write(staged.path().join(LIST_FILE), list.to_json().unwrap()).unwrap();
        place.settle(staged, &list)
    }

    fn content(dir: &Path) -> BTreeMap<String, String> {
        let name = |path: &PathBuf| path.to_str().unwrap().to_owned();
        let files = files_below(dir).unwrap();
        let all = files.iter().map(|path| (name(path), fs_err::read_to_string(dir.join(path)).unwrap()));
        all.filter(|(name, _)| name != LIST_FILE).collect()
    }

    const OLD: &[(&str, &str)] = &[("sft/a", "old a"), ("sft/b", "old b"), ("gone/c", "old c"), ("README.md", "old")];
    const NEW: &[(&str, &str)] = &[("sft/a", "new a"), ("rl/d", "new d"), ("README.md", "new")];

    fn of(files: &[(&str, &str)]) -> BTreeMap<String, String> {
        files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn an_earlier_export_is_replaced_whole_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("deep/out");
        export(&out, OLD, false).unwrap();
        assert_eq!(content(&out), of(OLD));
        assert!(matches!(export(&out, NEW, false), Err(ExportError::Occupied { .. })));
        assert_eq!(content(&out), of(OLD));
        export(&out, NEW, true).unwrap();
        assert_eq!(content(&out), of(NEW));
        assert_eq!(fs_err::read_dir(folder.path().join("deep")).unwrap().count(), 1);
    }

    #[test]
    fn what_a_killed_export_left_is_gone_after_the_next_and_one_that_goes_on_is_not_touched() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        let left = folder.path().join(format!("{STAGED_PREFIX}abcdef"));
        let mine = folder.path().join(format!("{STAGED_PREFIX}of-mine"));
        for dir in [&left, &mine] {
            fs_err::create_dir_all(dir.join("sft")).unwrap();
            fs_err::write(dir.join("sft/a"), "half").unwrap();
        }
        let beside = Place::look(&folder.path().join("other"), false).unwrap().stage().unwrap();
        export(&out, OLD, false).unwrap();
        assert!(!left.exists() && mine.join("sft/a").exists() && beside.path().exists());
        assert_eq!(content(&out), of(OLD));
        // Inside the place itself, and with an incomplete copy.
        fs_err::create_dir_all(out.join(format!("{STAGED_PREFIX}abcdef"))).unwrap();
        fs_err::write(out.join(format!("{STAGED_PREFIX}abcdef/half")), "half").unwrap();
        fs_err::write(out.join(format!("sft/a{PART_SUFFIX}")), "half").unwrap();
        export(&out, NEW, true).unwrap();
        assert_eq!(content(&out), of(NEW));
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stays_a_link_and_what_it_names_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real"), folder.path().join("link"));
        fs_err::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        for files in [OLD, NEW, OLD] {
            export(&link, files, true).unwrap();
            assert!(link.symlink_metadata().unwrap().is_symlink());
            assert_eq!(content(&real), of(files));
        }
        let dangling = folder.path().join("dangling");
        std::os::unix::fs::symlink(folder.path().join("nowhere"), &dangling).unwrap();
        assert!(export(&dangling, OLD, true).unwrap_err().to_string().contains("is a link to"));
    }

    #[test]
    fn hidden_files_of_others_stay_and_what_others_can_see_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        fs_err::create_dir_all(out.join(".git")).unwrap();
        fs_err::write(out.join(".git/HEAD"), "mine").unwrap();
        for files in [OLD, NEW] {
            export(&out, files, true).unwrap();
            let mut all = content(&out);
            assert_eq!(all.remove(".git/HEAD").as_deref(), Some("mine"));
            assert_eq!(all, of(files));
        }
        fs_err::write(out.join("sft/mine.txt"), "mine").unwrap();
        assert!(matches!(export(&out, OLD, true), Err(ExportError::Occupied { .. })));
        assert_eq!(fs_err::read_to_string(out.join("sft/mine.txt")).unwrap(), "mine");
    }

    #[test]
    fn an_edited_card_is_kept_beside_the_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        export(&out, OLD, false).unwrap();
        fs_err::write(out.join("README.md"), "my own words").unwrap();
        export(&out, NEW, true).unwrap();
        let kept = aside("README.md", &sha256(b"my own words"));
        let mut all = content(&out);
        assert_eq!(all.remove(&kept).as_deref(), Some("my own words"), "{all:?}");
        assert_eq!(all, of(NEW));
        export(&out, OLD, true).unwrap();
        assert_eq!(content(&out).remove(&kept).as_deref(), Some("my own words"));
    }

    #[test]
    fn files_that_take_their_places_one_by_one_are_known_wherever_it_ends() {
        let all: Vec<&str> = NEW.iter().map(|(name, _)| *name).collect();
        for moved in 0..=all.len() {
            let folder = tempfile::tempdir().unwrap();
            let out = folder.path().join("out");
            export(&out, OLD, false).unwrap();
            // The state after a process ended after this many files.
            let replaces = OLD.iter().map(|(name, _)| (*name).to_owned()).collect();
            let mut both = list(NEW);
            both.replaces = replaces;
            fs_err::write(out.join(LIST_FILE), both.to_json().unwrap()).unwrap();
            for (name, text) in &NEW[..moved] {
                fs_err::create_dir_all(out.join(name).parent().unwrap()).unwrap();
                fs_err::write(out.join(name), text).unwrap();
            }
            fs_err::create_dir_all(out.join(format!("{STAGED_PREFIX}abcdef/sft"))).unwrap();
            fs_err::write(out.join(format!("{STAGED_PREFIX}abcdef/sft/a")), "half").unwrap();
            let place = Place::look(&out, true).unwrap();
            let staged = place.stage().unwrap();
            for (name, text) in NEW {
                fs_err::create_dir_all(staged.path().join(name).parent().unwrap()).unwrap();
                fs_err::write(staged.path().join(name), text).unwrap();
            }
            place.settle_one_by_one(staged, &list(NEW)).unwrap();
            assert_eq!(content(&out), of(NEW), "{moved}");
            let said = fs_err::read_to_string(out.join(LIST_FILE)).unwrap();
            assert!(!said.contains("replaces"), "{said}");
        }
    }
}
