//! Expands path patterns to files, and computes a file's digest.

use std::path::{Path, PathBuf};

use glob::{MatchOptions, Pattern};

use super::IngestError;
use super::input_file::InputFile;

/// Returns the files that match the patterns, in pattern order and sorted by name within a pattern.
///
/// A relative pattern is searched for under each base directory in turn, and the first directory with a match wins;
/// without base directories, the pattern is used unchanged. A path that exists literally is used literally, even if its
/// name contains brackets. A wildcard does not match names with a leading dot. A file that matches two patterns is
/// returned once.
pub fn expand_paths(patterns: &[String], base_dirs: &[PathBuf]) -> Result<Vec<InputFile>, IngestError> {
    let here = [PathBuf::new()];
    let mut files: Vec<InputFile> = Vec::new();
    for pattern in patterns {
        let bases: &[PathBuf] =
            if base_dirs.is_empty() || Path::new(pattern).is_absolute() { &here } else { base_dirs };
        let mut found = Vec::new();
        for base in bases {
            found = matches_under(pattern, base)?;
            if !found.is_empty() {
                break;
            }
        }
        if found.is_empty() {
            refuse_other_kinds(pattern, bases)?;
            return Err(IngestError::NoMatch { pattern: pattern.clone(), searched: searched(bases) });
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        for file in found {
            if files.iter().all(|known| known.path != file.path) {
                files.push(file);
            }
        }
    }
    Ok(files)
}

fn searched(bases: &[PathBuf]) -> String {
    let names: Vec<String> = bases
        .iter()
        .map(|base| if base.as_os_str().is_empty() { ".".to_owned() } else { base.display().to_string() })
        .collect();
    names.join(", ")
}

/// Rejects a path that names a pipe, a socket or a device, which may be readable only once or never end.
fn refuse_other_kinds(pattern: &str, bases: &[PathBuf]) -> Result<(), IngestError> {
    let Some(found) = bases.iter().find_map(|base| fs_err::metadata(base.join(pattern)).ok()) else { return Ok(()) };
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        let kind = found.file_type();
        let found = match () {
            () if kind.is_fifo() => "a pipe",
            () if kind.is_socket() => "a socket",
            () if kind.is_char_device() || kind.is_block_device() => "a device",
            () => return Ok(()),
        };
        Err(IngestError::NoRegularFile { path: pattern.to_owned(), found })
    }
    #[cfg(not(unix))]
    {
        let _ = found;
        Ok(())
    }
}

/// Removes files below a run's own output directory, because a run must not read what it writes.
///
/// # Errors
/// [`IngestError::OwnOutput`] if a path names such a file itself, or a pattern matches no other file.
pub fn without_own_output(
    files: Vec<InputFile>,
    patterns: &[String],
    out: &Path,
) -> Result<Vec<InputFile>, IngestError> {
    // A directory that does not exist yet contains no input.
    let Ok(out) = out.canonicalize() else { return Ok(files) };
    let is_own = |file: &InputFile| {
        let path = file.path.canonicalize().ok();
        path.as_ref().and_then(|path| path.strip_prefix(&out).ok()).is_some_and(is_written_by_runs)
    };
    let (own, kept): (Vec<InputFile>, Vec<InputFile>) = files.into_iter().partition(is_own);
    let Some(first) = own.first() else { return Ok(kept) };
    if let Some(named) = own.iter().find(|file| patterns.contains(&file.name)) {
        return Err(IngestError::OwnOutput { path: named.name.clone() });
    }
    if kept.is_empty() {
        return Err(IngestError::OwnOutput { path: first.name.clone() });
    }
    tracing::info!("skipped {} input files in the output directory of the run, the first: {}", own.len(), first.name);
    Ok(kept)
}

/// Returns whether runs, evaluations and reports write to this path of an output directory.
fn is_written_by_runs(path: &Path) -> bool {
    const WRITTEN: &[&str] = &["data", "manifest.json", "spend.json", "eval.json", "rows.jsonl"];
    path.components().next().is_some_and(|first| WRITTEN.iter().any(|name| first.as_os_str() == *name))
}

fn matches_under(pattern: &str, base: &Path) -> Result<Vec<InputFile>, IngestError> {
    let literal = base.join(pattern);
    if literal.is_file() {
        return Ok(vec![InputFile { name: pattern.to_owned(), path: literal }]);
    }
    // The base is a plain path: brackets in it are not wildcards.
    let escaped_base = PathBuf::from(Pattern::escape(&base.to_string_lossy()));
    let full_pattern = escaped_base.join(pattern);
    let options = MatchOptions { require_literal_leading_dot: true, ..MatchOptions::new() };
    let paths = glob::glob_with(&full_pattern.to_string_lossy(), options)
        .map_err(|source| IngestError::InvalidPattern { pattern: pattern.to_owned(), source })?;
    let mut found = Vec::new();
    for path in paths {
        let path = path.map_err(|source| IngestError::Unlistable { pattern: pattern.to_owned(), source })?;
        if path.is_file() {
            let name = path.strip_prefix(base).unwrap_or(&path).to_string_lossy().into_owned();
            found.push(InputFile { name, path });
        }
    }
    Ok(found)
}

/// Returns the SHA-256 of a file's bytes as 64 lower-case hex digits.
pub fn digest_file(path: &Path) -> Result<String, IngestError> {
    let name = || path.display().to_string();
    let file = fs_err::File::open(path).map_err(|source| IngestError::Unopenable { file: name(), source })?;
    crate::domain::digest::sha256_of_reader(file.into_parts().0).map_err(|error| IngestError::Unreadable {
        file: name(),
        position: String::new(),
        source: Box::new(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(dir: &Path, name: &str) {
        let path = dir.join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, b"{}\n").unwrap();
    }

    fn names(patterns: &[&str], bases: &[&Path]) -> Vec<String> {
        let patterns: Vec<String> = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
        let bases: Vec<PathBuf> = bases.iter().map(|base| base.to_path_buf()).collect();
        expand_paths(&patterns, &bases).unwrap().into_iter().map(|file| file.name).collect()
    }

    #[test]
    fn patterns_keep_their_order_and_matches_are_sorted_by_name() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.jsonl", "a.jsonl", "sub/c.jsonl", ".hidden.jsonl", "notes.txt"] {
            touch(dir.path(), name);
        }
        assert_eq!(names(&["sub/*.jsonl", "*.jsonl"], &[dir.path()]), ["sub/c.jsonl", "a.jsonl", "b.jsonl"]);
        assert_eq!(names(&["**/*.jsonl"], &[dir.path()]), ["a.jsonl", "b.jsonl", "sub/c.jsonl"]);
    }

    #[test]
    fn first_base_directory_with_a_match_wins_and_an_absolute_pattern_needs_none() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        touch(first.path(), "a.jsonl");
        touch(second.path(), "a.jsonl");
        touch(second.path(), "b.jsonl");
        let files = expand_paths(
            &["a.jsonl".to_owned(), "b.jsonl".to_owned()],
            &[first.path().to_owned(), second.path().to_owned()],
        )
        .unwrap();
        assert_eq!(files[0], InputFile { name: "a.jsonl".to_owned(), path: first.path().join("a.jsonl") });
        assert_eq!(files[1], InputFile { name: "b.jsonl".to_owned(), path: second.path().join("b.jsonl") });
        let absolute = second.path().join("*.jsonl").display().to_string();
        assert_eq!(names(&[&absolute], &[first.path()]).len(), 2);
    }

    #[test]
    fn a_file_named_twice_is_taken_once() {
        let dir = tempfile::tempdir().unwrap();
        touch(dir.path(), "a.jsonl");
        touch(dir.path(), "b.jsonl");
        assert_eq!(names(&["b.jsonl", "*.jsonl"], &[dir.path()]), ["b.jsonl", "a.jsonl"]);
    }

    #[test]
    fn brackets_in_existing_names_and_base_directories_are_literal() {
        let dir = tempfile::tempdir().unwrap();
        touch(dir.path(), "run[1]/data[2].jsonl");
        let base = dir.path().join("run[1]");
        assert_eq!(names(&["data[2].jsonl"], &[&base]), ["data[2].jsonl"]);
        assert_eq!(names(&["*.jsonl"], &[&base]), ["data[2].jsonl"]);
    }

    #[test]
    fn a_pattern_without_a_match_names_itself_and_the_directories_looked_in() {
        let dir = tempfile::tempdir().unwrap();
        touch(dir.path(), "sub/a.jsonl");
        for pattern in ["missing.jsonl", "*.parquet", "sub"] {
            let error = expand_paths(&[pattern.to_owned()], &[dir.path().to_owned()]).unwrap_err();
            let message = error.to_string();
            assert!(message.contains(pattern) && message.contains(&dir.path().display().to_string()), "{message}");
            assert!(error.hint().is_some());
        }
        let error = expand_paths(&["[".to_owned()], &[]).unwrap_err();
        assert!(matches!(error, IngestError::InvalidPattern { .. }), "{error}");
    }

    #[test]
    fn digest_is_the_sha256_of_the_bytes_and_a_missing_file_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("abc");
        fs_err::write(&path, b"abc").unwrap();
        assert_eq!(digest_file(&path).unwrap(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        let error = digest_file(&dir.path().join("none")).unwrap_err();
        assert!(matches!(error, IngestError::Unopenable { .. }), "{error}");
    }
}
