//! Parses `policy.model`: a path, or the id of a model on the Hub.

use std::fmt;
use std::path::{Path, PathBuf};

use super::HubError;

/// The maximum length of a repository's id, in characters.
const ID_CHARS_MAX: usize = 96;
/// The branch of an id without a revision.
const REVISION_DEFAULT: &str = "main";

/// The location of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelReference {
    /// An existing file or directory.
    Local(PathBuf),
    /// A model on the Hub.
    Hub(HubReference),
}

/// `owner/name[@revision][:file]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubReference {
    /// `owner/name`.
    pub id: String,
    /// A branch, a tag or a commit.
    pub revision: String,
    /// The one GGUF file to use; `None` means the whole model.
    pub file: Option<String>,
}

impl ModelReference {
    /// Parses a reference. An existing path has priority; relative paths are resolved against `base_dirs`, in order.
    ///
    /// # Errors
    /// [`HubError::NoReading`] if the text is neither an existing path nor in the form of a Hub id.
    pub fn parse(text: &str, base_dirs: &[PathBuf]) -> Result<Self, HubError> {
        let mut candidates = base_dirs.iter().map(|base| base.join(text));
        if let Some(path) = candidates.find(|path| !text.is_empty() && path.exists()) {
            return Ok(Self::Local(path));
        }
        HubReference::parse(text).map(Self::Hub).map_err(|problem| HubError::NoReading {
            text: text.to_owned(),
            places: base_dirs.iter().map(|base| base.join(text)).collect(),
            problem,
        })
    }
}

impl HubReference {
    /// Parses `owner/name[@revision][:file]`, or returns why a text does not have that form.
    fn parse(text: &str) -> Result<Self, String> {
        let (rest, file) = match text.split_once(':') {
            Some((rest, file)) => (rest, Some(file)),
            None => (text, None),
        };
        let (id, revision) = rest.split_once('@').unwrap_or((rest, REVISION_DEFAULT));
        let Some((owner, name)) = id.split_once('/') else { return Err("it has no owner".to_owned()) };
        if !is_part(owner) || !is_part(name) || id.len() > ID_CHARS_MAX {
            return Err("owner and name are letters, digits, \"-\", \"_\" and \".\"".to_owned());
        }
        if Path::new(name).extension().is_some_and(|ending| ["gguf", "safetensors"].iter().any(|e| ending == *e)) {
            return Err("the name has the ending of a file".to_owned());
        }
        if !is_relative_path(revision) {
            return Err(format!("\"{revision}\" is not a valid revision"));
        }
        match file {
            Some(file) if !is_relative_path(file) || !file.ends_with(".gguf") => {
                Err(format!("\"{file}\" is not a .gguf file of a repository"))
            }
            _ => Ok(Self { id: id.to_owned(), revision: revision.to_owned(), file: file.map(str::to_owned) }),
        }
    }

    /// Returns the name of the model in the data: its id, and the file if one is named.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.file {
            Some(file) => format!("{}:{file}", self.id),
            None => self.id.clone(),
        }
    }
}

impl fmt::Display for HubReference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}@{}", self.id, self.revision)?;
        self.file.as_ref().map_or(Ok(()), |file| write!(formatter, ":{file}"))
    }
}

fn is_part(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let is_edge = |byte: Option<&u8>| byte.is_some_and(|byte| !b"-.".contains(byte));
    let bytes = text.as_bytes();
    bytes.iter().all(|byte| is_allowed(*byte))
        && is_edge(bytes.first())
        && is_edge(bytes.last())
        && !text.contains("--")
        && !text.contains("..")
}

/// Returns whether a path with slashes stays inside its directory and has no characters that systems interpret
/// differently.
pub(super) fn is_relative_path(text: &str) -> bool {
    let is_allowed = |character: char| !character.is_control() && !"\\:*?\"<>|".contains(character);
    text.chars().all(is_allowed) && text.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(text: &str) -> Result<(String, String, Option<String>), String> {
        HubReference::parse(text).map(|found| (found.id, found.revision, found.file))
    }

    #[test]
    fn ids_revisions_and_files_are_told_apart() {
        let expect = |id: &str, revision: &str, file: Option<&str>| {
            Ok((id.to_owned(), revision.to_owned(), file.map(str::to_owned)))
        };
        assert_eq!(hub("Qwen/Qwen3-8B"), expect("Qwen/Qwen3-8B", "main", None));
        assert_eq!(hub("Qwen/Qwen3-8B@v1.0"), expect("Qwen/Qwen3-8B", "v1.0", None));
        assert_eq!(hub("o/n@refs/pr/1"), expect("o/n", "refs/pr/1", None));
        assert_eq!(hub("o/n-GGUF:n-Q4_K_M.gguf"), expect("o/n-GGUF", "main", Some("n-Q4_K_M.gguf")));
        assert_eq!(hub("o/n@abc:BF16/n.gguf"), expect("o/n", "abc", Some("BF16/n.gguf")));
    }

    #[test]
    fn paths_and_odd_names_are_no_ids() {
        for text in [
            "",
            "gpt2",
            "absent.gguf",
            "models/absent.gguf",
            "/o/n",
            "./o/n",
            "../o",
            "~/n",
            "a/b/c",
            "o/",
            "/n",
            "o/n--m",
            "o/..",
            "o/n..m",
            "-o/n",
            "o/n.",
            "o/n m",
            "o/n@",
            "o/n@../x",
            "o/n@/x",
            "o/n:",
            "o/n:../x.gguf",
            "o/n:/x.gguf",
            "o/n:x.bin",
            "o/n:a\\b.gguf",
            "C:\\models\\x.gguf",
        ] {
            assert!(hub(text).is_err(), "{text}");
        }
        assert!(hub(&format!("o/{}", "n".repeat(ID_CHARS_MAX - 2))).is_ok());
        assert!(hub(&format!("o/{}", "n".repeat(ID_CHARS_MAX - 1))).is_err());
    }

    #[test]
    fn a_path_that_exists_wins_and_what_is_neither_is_refused_with_both_readings() {
        let folder = tempfile::tempdir().unwrap();
        let other = folder.path().join("other");
        std::fs::create_dir_all(other.join("Qwen/Qwen3-8B")).unwrap();
        let bases = [folder.path().to_owned(), other.clone()];
        assert_eq!(
            ModelReference::parse("Qwen/Qwen3-8B", &bases).unwrap(),
            ModelReference::Local(other.join("Qwen/Qwen3-8B"))
        );
        assert!(matches!(ModelReference::parse("Qwen/Qwen3-4B", &bases).unwrap(), ModelReference::Hub(_)));
        let error = ModelReference::parse("models/absent.gguf", &bases).unwrap_err().to_string();
        for part in
            ["policy.model", "models/absent.gguf", "no such file", "other", "owner/name", "the ending of a file"]
        {
            assert!(error.contains(part), "{part}: {error}");
        }
        assert!(ModelReference::parse("", &bases).is_err());
    }
}
