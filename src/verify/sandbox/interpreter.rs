//! Finds the Python interpreter and the files that it needs.

#![expect(clippy::disallowed_methods, reason = "the thread that starts an interpreter waits for it")]

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde::Deserialize;

/// Flags of the introduction: no user packages, no byte code written.
const FLAGS: &[&str] = &["-s", "-B"];
/// Flags of every program: in addition, no start-up code of installed packages (drivers add the packages themselves),
/// UTF-8 everywhere, no warnings.
pub(super) const PROGRAM_FLAGS: &[&str] = &["-s", "-S", "-B", "-X", "utf8", "-W", "ignore"];
/// The oldest version that the driver supports.
const VERSION_MIN: (u32, u32) = (3, 8);
/// The most checks on an interpreter that introduces itself: a minute or more. Checks do not count while the machine is
/// suspended.
const LOOKS_MAX: usize = 12_000;
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Prints the interpreter's properties and the files that it uses. Packages of the user, and paths outside the
/// installation, stay unreachable.
const INTRODUCTION: &str = r#"
import json, os, sys, sysconfig
real = os.path.realpath
homes = {sys.prefix, sys.base_prefix, sys.exec_prefix}
files = set()
try:
    for line in open("/proc/self/maps"):
        part = line.split(None, 5)[5:]
        if part and part[0].startswith("/"):
            files.add(part[0].strip())
except OSError:
    pass
paths = [p for p in sys.path if p and any(real(p).startswith(real(h) + os.sep) for h in homes)]
packages = [p for p in paths if os.path.basename(p) in ("site-packages", "dist-packages")]
paths += [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
paths += [os.path.join(home, name) for home in homes for name in ("lib", "lib64", "pyvenv.cfg")]
own = os.path.expanduser("~") + os.sep
libraries = [file for file in files if ".so" in os.path.basename(file)]
paths += [file if file.startswith(own) else os.path.dirname(file) for file in libraries]
starters = [file for file in files if os.path.basename(file).startswith(("ld-", "ld.so"))] + [real(sys.executable)]
print(json.dumps({
    "executable": sys.executable,
    "version": list(sys.version_info[:3]),
    "implementation": sys.implementation.name,
    "readable": sorted({real(p) for p in paths if p and os.path.exists(p)}),
    "starters": sorted(set(starters)),
    "packages": packages,
}))
"#;

/// An interpreter that was found.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Interpreter {
    /// The interpreter's path; wrappers (of version managers) are resolved.
    pub(super) executable: PathBuf,
    version: [u32; 3],
    implementation: String,
    /// The paths that the interpreter reads.
    pub(super) readable: Vec<PathBuf>,
    /// The executed files: the interpreter, and the loader of shared libraries.
    pub(super) starters: Vec<PathBuf>,
    /// The directories of installed packages.
    pub(super) packages: Vec<PathBuf>,
}

impl Interpreter {
    /// Finds an interpreter by its path or name, and asks it which files it needs. Runs only constant code of this
    /// program. Fails with the reason if the interpreter is unusable.
    pub(super) fn find(name: &str) -> Result<Self, String> {
        let mut command = Command::new(name);
        command.args(FLAGS).args(["-c", INTRODUCTION]);
        for variable in ["PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONINSPECT"] {
            command.env_remove(variable);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("{name}: {error}"))?;
        let mut looks = 0;
        // The output is smaller than a pipe's buffer.
        while child.try_wait().map_err(|error| error.to_string())?.is_none() {
            looks += 1;
            if looks > LOOKS_MAX {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("{name} does not respond"));
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        let output = child.wait_with_output().map_err(|error| error.to_string())?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let last = said.lines().next_back().unwrap_or_default();
            return Err(format!("{name} failed ({}): {last}", output.status));
        }
        let found: Self =
            serde_json::from_slice(&output.stdout).map_err(|error| format!("{name} is not Python: {error}"))?;
        let [major, minor, _] = found.version;
        if (major, minor) < VERSION_MIN {
            return Err(format!("{name} is too old: {}", found.describe()));
        }
        Ok(found)
    }

    /// Returns the name, version and path.
    pub(super) fn describe(&self) -> String {
        let [major, minor, patch] = self.version;
        format!("{} {major}.{minor}.{patch}, {}", self.implementation, self.executable.display())
    }
}
