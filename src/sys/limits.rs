//! The limits that the system sets this process: what is made of them at the start, and how it is said that one was met.

use std::error::Error;
use std::io;
use std::path::Path;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Open files that are asked for where the system allows more than it gives.
const OPEN_FILES_WANTED: u64 = 65_536;
/// How near to the limit on sizes a file is that has met it: a database grows by pages, and by a log before.
const NEAR_BYTES: u64 = 128 << 10;

/// Takes the limits as they suit this program: a file that may not grow is an error of its write, where the system would end
/// the process without a word; and as many files may be open as the system allows to ask for.
///
/// To be called before threads are started.
pub fn settle() {
    #[cfg(target_os = "linux")]
    // SAFETY: it takes no pointers and changes this process's own action for one signal.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.unwrap_or(OPEN_FILES_WANTED).min(OPEN_FILES_WANTED);
    if current.is_some_and(|current| current < wanted) {
        // Without it the limit is what it was.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum });
    }
}

/// Returns the bytes that a file of this process may have at most, if there is a limit.
#[must_use]
pub fn file_bytes_max() -> Option<u64> {
    getrlimit(Resource::Fsize).current
}

/// Returns what to do about an error that one of the limits made, if one did.
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
        rustix::io::Errno::NFILE => {
            Some("the system has too many open files: end what holds them, then run the same command again".to_owned())
        }
        _ => None,
    }
}

/// Returns what to do about a file that may not grow.
#[must_use]
pub fn file_size_hint() -> String {
    let limit = file_bytes_max().map_or_else(String::new, |limit| format!(", now {limit} bytes"));
    format!("raise the limit on file sizes (`ulimit -f`{limit}), then run the same command again")
}

/// Returns whether one of these files stands at the limit on file sizes: for errors that do not say so.
#[must_use]
pub fn is_at_file_limit(paths: &[&Path]) -> bool {
    let Some(limit) = file_bytes_max() else { return false };
    let lengths = paths.iter().filter_map(|path| std::fs::metadata(path).ok());
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
