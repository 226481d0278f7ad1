//! The system's limits on this process: raised at the start, and explained in hints when one is exceeded.

use std::error::Error;
use std::io;
use std::path::Path;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Open files to request if the system allows raising the limit.
const OPEN_FILES_WANTED: u64 = 65_536;
/// How near to the limit on sizes a file is that has met it: a database grows by pages, and its log grows first.
const NEAR_BYTES: u64 = 128 << 10;

/// Sets the limits for this program. A write beyond the limit on file sizes becomes an error; otherwise the system
/// would kill the process without a message. The limit on open files is raised as far as the system allows.
///
/// Call it before threads are started.
pub fn settle() {
    #[cfg(target_os = "linux")]
    // SAFETY: the call takes no pointers and changes this process's own action for one signal.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.unwrap_or(OPEN_FILES_WANTED).min(OPEN_FILES_WANTED);
    if current.is_some_and(|current| current < wanted) {
        // On failure the limit stays unchanged.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum });
    }
}

/// Returns the largest allowed size of a file in bytes, if limited.
#[must_use]
pub fn file_bytes_max() -> Option<u64> {
    getrlimit(Resource::Fsize).current
}

/// Returns the remedy for an error that comes from one of the limits.
#[must_use]
pub fn hint_for(error: &(dyn Error + 'static)) -> Option<String> {
    let (mut system, mut next) = (None, Some(error));
    while let Some(current) = next {
        system = current.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error).or(system);
        next = current.source();
    }
    let errno = rustix::io::Errno::from_raw_os_error(system?);
    match errno {
        rustix::io::Errno::FBIG => Some(file_size_hint()),
        rustix::io::Errno::MFILE => {
            let limit = getrlimit(Resource::Nofile).current.map_or_else(String::new, |limit| format!(", now {limit}"));
            Some(format!("raise the limit on open files (`ulimit -n`{limit}), then run the same command again"))
        }
        rustix::io::Errno::NFILE => Some(
            "the system has too many open files: end programs that hold many, then run the same command again"
                .to_owned(),
        ),
        _ => None,
    }
}

/// Returns the remedy for a file at the limit on file sizes.
#[must_use]
pub fn file_size_hint() -> String {
    let limit = file_bytes_max().map_or_else(String::new, |limit| format!(", now {limit} bytes"));
    format!("raise the limit on file sizes (`ulimit -f`{limit}), then run the same command again")
}

/// Returns whether one of these files is at the limit on file sizes, for errors that do not state it.
#[must_use]
pub fn is_at_file_limit(paths: &[&Path]) -> bool {
    let Some(limit) = file_bytes_max() else { return false };
    let lengths = paths.iter().filter_map(|path| fs_err::metadata(path).ok());
    lengths.map(|found| found.len()).any(|length| length.saturating_add(NEAR_BYTES) >= limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_that_a_limit_made_says_which_and_others_say_nothing() {
        let of = |errno: rustix::io::Errno| io::Error::from_raw_os_error(errno.raw_os_error());
        assert!(hint_for(&of(rustix::io::Errno::FBIG)).is_some_and(|hint| hint.contains("ulimit -f")));
        let wrapped = crate::sys::files::DirError::Io { path: "out".into(), source: of(rustix::io::Errno::MFILE) };
        assert!(hint_for(&wrapped).is_some_and(|hint| hint.contains("ulimit -n")));
        assert_eq!(hint_for(&of(rustix::io::Errno::NOSPC)), None);
        assert_eq!(hint_for(&io::Error::other("x")), None);
    }
}
