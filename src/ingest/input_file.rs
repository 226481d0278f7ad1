//! One input file: its name and its path.

use std::path::PathBuf;

/// One input file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputFile {
    /// The name for people and for [`crate::domain::Origin`]: relative to the base directory in which it was found.
    pub name: String,
    /// The path.
    pub path: PathBuf,
}
