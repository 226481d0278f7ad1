//! `thinkloom --version`

use std::ffi::OsString;

use crate::engine::available_kernels;

/// Returns whether the long form was asked for: `--version`, where `-V` prints one line.
pub(super) fn is_long(mut arguments: impl Iterator<Item = OsString>) -> bool {
    arguments.any(|argument| argument == "--version")
}

/// Returns version, commit, features and kernels, one a line.
pub(super) fn long() -> String {
    let commit = option_env!("THINKLOOM_COMMIT").filter(|commit| !commit.is_empty());
    let features = [("cuda", cfg!(feature = "cuda")), ("metal", cfg!(feature = "metal"))];
    let features: Vec<&str> = features.into_iter().filter(|(_, is_on)| *is_on).map(|(name, _)| name).collect();
    let features = if features.is_empty() { "none".to_owned() } else { features.join(", ") };
    format!(
        "thinkloom {}\ncommit    {}\nfeatures  {features}\nkernels   {} (of this CPU)\n",
        env!("CARGO_PKG_VERSION"),
        commit.unwrap_or("unknown"),
        available_kernels().join(", ")
    )
}
