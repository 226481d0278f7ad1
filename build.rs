//! Finds the commit of a checkout, for `thinkloom --version`; empty outside of one.
//!
//! Debug builds have none: cargo compiles the package again whenever the commit changes, which would make every commit
//! cost the next `cargo check` a rebuild.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is_release = std::env::var_os("PROFILE").is_some_and(|profile| profile == "release");
    let commit = if is_release { commit() } else { String::new() };
    println!("cargo::rustc-env=THINKLOOM_COMMIT={commit}");
}

/// Returns the commit, and has cargo look again when the checkout moves to another.
fn commit() -> String {
    // A source archive within somebody else's checkout is not that checkout.
    let is_checkout = Path::new(".git").exists();
    let Some(commit) = is_checkout.then(|| git(&["rev-parse", "--short=12", "HEAD"])).flatten() else {
        return String::new();
    };
    // The log of HEAD grows with every commit and checkout; HEAD itself names a branch only.
    for name in ["HEAD", "logs/HEAD"] {
        if let Some(path) = git(&["rev-parse", "--git-path", name]).filter(|path| Path::new(path).exists()) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    commit
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
