//! One input file: its name, and where it lies.

use std::path::PathBuf;

/// One input file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputFile {
    /// The name for people and for [`crate::domain::Origin`]: relative to the base directory it was found in.
    pub name: String,
    /// Where it lies.
    pub path: PathBuf,
}
