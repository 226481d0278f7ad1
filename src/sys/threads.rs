//! Threads, if the system allows fewer than there are cores, or none.
//!
//! Libraries panic if a thread cannot be started, or wait for it for ever. So a command that needs several threads
//! first checks that they can be started, and pools are as large as the system allows.

use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Threads that a command with a runtime needs at once beside its pools: threads of the runtime, the ledger and signal
/// handling, and threads that wait for the disk.
pub const LEAST: usize = 12;

/// The system does not let this process start enough threads.
#[derive(Debug, thiserror::Error)]
#[error("cannot start enough threads: the system allows {found}, and the program needs at least {wanted}: {source}")]
pub struct TooFewThreads {
    found: usize,
    wanted: usize,
    source: io::Error,
}

impl TooFewThreads {
    /// Returns the remedy for the user.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        "raise the limit on processes (`ulimit -u`, or a container's --pids-limit) or on memory (`ulimit -v`), then run the \
         same command again"
    }
}

/// Checks that `wanted` threads can be started. If the system allows fewer than there are cores, makes the pool that
/// libraries share smaller. Call it once, before other threads are started.
pub fn settle(wanted: usize) -> Result<(), TooFewThreads> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let (found, failure) = startable(wanted + cores);
    match failure {
        None => Ok(()),
        Some(source) if found < wanted => Err(TooFewThreads { found, wanted, source }),
        Some(_) => {
            let threads = (found - wanted).max(1);
            tracing::warn!("the system allows {found} threads: computing on {threads} of {cores} cores");
            // An existing pool already has the possible size.
            let _ = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
            Ok(())
        }
    }
}

/// Builds a pool of `threads` threads, 0 for one per core, or fewer if the system allows fewer.
///
/// # Errors
/// [`TooFewThreads`] if the system allows none.
pub fn pool(threads: usize) -> Result<rayon::ThreadPool, TooFewThreads> {
    let mut threads = if threads == 0 { rayon::current_num_threads() } else { threads };
    loop {
        match rayon::ThreadPoolBuilder::new().num_threads(threads).build() {
            Ok(pool) => return Ok(pool),
            Err(error) if threads <= 1 => {
                return Err(TooFewThreads { found: 0, wanted: 1, source: io::Error::other(error.to_string()) });
            }
            Err(_) => threads /= 2,
        }
    }
}

/// Starts up to `wanted` threads at once and ends them. Returns how many started, and the error that limited them.
fn startable(wanted: usize) -> (usize, Option<io::Error>) {
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let mut started: Vec<JoinHandle<()>> = Vec::new();
    let mut failure = None;
    while started.len() < wanted && failure.is_none() {
        let gate = Arc::clone(&gate);
        let wait = move || {
            let (is_open, opened) = &*gate;
            let mut is_open = is_open.lock().unwrap_or_else(PoisonError::into_inner);
            while !*is_open {
                is_open = opened.wait(is_open).unwrap_or_else(PoisonError::into_inner);
            }
        };
        match std::thread::Builder::new().spawn(wait) {
            Ok(thread) => started.push(thread),
            Err(error) => failure = Some(error),
        }
    }
    let (is_open, opened) = &*gate;
    *is_open.lock().unwrap_or_else(PoisonError::into_inner) = true;
    opened.notify_all();
    let found = started.len();
    for thread in started {
        let _ = thread.join();
    }
    (found, failure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_that_can_be_had_are_counted_and_have_ended() {
        let (found, failure) = startable(4);
        assert_eq!((found, failure.is_none()), (4, true));
    }

    #[test]
    fn a_pool_is_as_large_as_was_asked_where_there_is_room() {
        assert_eq!(pool(3).unwrap().current_num_threads(), 3);
        assert!(pool(0).unwrap().current_num_threads() >= 1);
    }
}
