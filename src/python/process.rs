//! The threads and sandboxes of the current process.
//!
//! A forked process has a copy of its parent's memory and none of its threads: work that is handed to a thread of the
//! parent never ends. So the state names its process, and a process that finds another's state replaces it. The
//! parent's state is leaked there: its destructors would wait for threads that do not exist, and end interpreters that
//! serve the parent.

use std::path::PathBuf;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use pyo3::prelude::*;
use rayon::ThreadPool;
use thinkloom::config::VerifySettings;
use thinkloom::engine::{EngineError, Vocabulary};
use thinkloom::pipeline::programs::sandbox_options;
use thinkloom_verify::sandbox::{Sandbox, SandboxOptions};
use thinkloom_verify::{CodePool, CodeVerifier};

/// The most sandboxes of one process. Each keeps warm interpreters, and programs usually differ in their limits little.
const SANDBOXES_MAX: usize = 4;

/// What one process shares between its threads.
struct Shared {
    process: u32,
    threads: OnceLock<Result<Arc<ThreadPool>, String>>,
    sandboxes: Mutex<Vec<Kept>>,
    /// The tokenizer of the last call: a training loop names the same one in each step.
    tokenizer: Mutex<Option<Loaded>>,
}

/// A tokenizer that was loaded from a file, with the file's time of change.
type Loaded = (PathBuf, Option<SystemTime>, Arc<Vocabulary>);

/// A sandbox with its workers, for programs of the same options.
struct Kept {
    options: SandboxOptions,
    workers: u32,
    pool: Arc<CodePool>,
}

static SHARED: AtomicPtr<Shared> = AtomicPtr::new(std::ptr::null_mut());

/// Returns the state of this process.
fn shared() -> &'static Shared {
    let process = std::process::id();
    let mut known = SHARED.load(Ordering::Acquire);
    loop {
        // SAFETY: the pointer is null, or comes from `Box::into_raw` below and is never freed.
        if let Some(shared) = unsafe { known.as_ref() }
            && shared.process == process
        {
            return shared;
        }
        let new = Box::into_raw(Box::new(Shared {
            process,
            threads: OnceLock::new(),
            sandboxes: Mutex::new(Vec::new()),
            tokenizer: Mutex::new(None),
        }));
        match SHARED.compare_exchange(known, new, Ordering::AcqRel, Ordering::Acquire) {
            // SAFETY: `new` was just made, and is never freed from here on.
            Ok(_) => return unsafe { &*new },
            Err(other) => {
                // SAFETY: no other thread has seen `new`.
                drop(unsafe { Box::from_raw(new) });
                known = other;
            }
        }
    }
}

/// Returns the threads of this process, one for each core; the first call starts them.
///
/// # Errors
/// If the system has no more threads.
pub(crate) fn threads() -> Result<Arc<ThreadPool>, String> {
    let start = || {
        let name = |index| format!("thinkloom-{index}");
        let built = rayon::ThreadPoolBuilder::new().thread_name(name).build();
        built.map(Arc::new).map_err(|error| format!("cannot start threads: {error}"))
    };
    shared().threads.get_or_init(start).clone()
}

/// Returns the tokenizer of a model's file or directory.
///
/// # Errors
/// If it cannot be loaded.
pub(crate) fn vocabulary(path: PathBuf) -> Result<Arc<Vocabulary>, EngineError> {
    let changed = fs_err::metadata(&path).and_then(|known| known.modified()).ok();
    let last = || shared().tokenizer.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((known, time, vocabulary)) = last().as_ref()
        && *known == path
        && *time == changed
    {
        return Ok(Arc::clone(vocabulary));
    }
    let vocabulary = Arc::new(Vocabulary::load(&path)?);
    *last() = Some((path, changed, Arc::clone(&vocabulary)));
    Ok(vocabulary)
}

/// Returns the sandbox for programs under these settings; the first call with new options opens one, which takes about
/// a tenth of a second.
pub(crate) fn sandbox(settings: &VerifySettings) -> Arc<CodePool> {
    let options = sandbox_options(settings);
    let workers = settings.workers;
    let mut sandboxes = shared().sandboxes.lock().unwrap_or_else(PoisonError::into_inner);
    let known = sandboxes.iter().position(|kept| kept.options == options && kept.workers == workers);
    if let Some(at) = known {
        return Arc::clone(&sandboxes[at].pool);
    }
    let pool = Arc::new(CodePool::start(CodeVerifier::new(Sandbox::open(&options)), workers as usize));
    if sandboxes.len() == SANDBOXES_MAX {
        sandboxes.remove(0);
    }
    sandboxes.push(Kept { options, workers, pool: Arc::clone(&pool) });
    pool
}

/// Ends this process's sandboxes, so that nothing of them is left on the disk. The package calls it at exit.
#[pyfunction]
pub(crate) fn close(py: Python<'_>) {
    let ended = py.detach(|| {
        let mut sandboxes = shared().sandboxes.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *sandboxes)
    });
    // Waits for running programs, which their limits bound.
    py.detach(|| drop(ended));
}
