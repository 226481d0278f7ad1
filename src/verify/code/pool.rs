//! A bounded pool of threads that run code, so that neither an async thread nor the caller's thread waits for programs.

#![expect(clippy::disallowed_methods, reason = "a thread of its own measures how long a job takes")]

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};

use super::{CodeCase, CodeVerifier};
use crate::sandbox::SandboxFault;
use thinkloom_domain::Verdict;

/// The number of waiting cases per worker.
const WAITING_PER_WORKER: usize = 2;
/// The most workers.
pub(super) const WORKERS_MAX: usize = 1024;

/// A verdict with its duration in microseconds, or the machine's failure to compute it.
pub(super) type Timed = (Result<Verdict, SandboxFault>, u64);

struct Job {
    case: CodeCase,
    reply: oneshot::Sender<Timed>,
}

/// Threads that share one verifier. Dropping the pool waits for the running programs.
pub struct CodePool {
    verifier: Arc<CodeVerifier>,
    jobs: Option<mpsc::Sender<Job>>,
    workers: Vec<JoinHandle<()>>,
}

impl CodePool {
    /// Starts `workers` threads; 0 means one per core.
    #[must_use]
    pub fn start(verifier: CodeVerifier, workers: usize) -> Self {
        let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let count = if workers == 0 { cores() } else { workers }.clamp(1, WORKERS_MAX);
        let verifier = Arc::new(verifier);
        let (sender, receiver) = mpsc::channel(count * WAITING_PER_WORKER);
        let receiver = Arc::new(Mutex::new(receiver));
        let start = |index: usize| {
            let (verifier, receiver) = (Arc::clone(&verifier), Arc::clone(&receiver));
            let work = move || work(&verifier, &receiver);
            std::thread::Builder::new().name(format!("verify-{index}")).spawn(work).ok()
        };
        let workers = (0..count).filter_map(start).collect();
        Self { verifier, jobs: Some(sender), workers }
    }

    /// Returns the verifier.
    #[must_use]
    pub fn verifier(&self) -> &CodeVerifier {
        &self.verifier
    }

    /// Returns the number of threads.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    /// Verifies a case. Waits without blocking, even for a place in the queue.
    pub async fn verify(&self, case: CodeCase) -> Timed {
        let (reply, verdict) = oneshot::channel();
        if let Some(jobs) = &self.jobs {
            // Without a worker, the reply's sender is dropped, and the receiver fails.
            let _ = jobs.send(Job { case, reply }).await;
        }
        verdict.await.unwrap_or_else(|_| failed())
    }

    /// Puts a case into the queue, after waiting for a place, and returns a handle for its verdict. Blocks: not for
    /// async threads.
    #[must_use]
    pub fn submit(&self, case: CodeCase) -> Pending {
        let (reply, verdict) = oneshot::channel();
        if let Some(jobs) = &self.jobs {
            let _ = jobs.blocking_send(Job { case, reply });
        }
        Pending(verdict)
    }
}

impl Drop for CodePool {
    fn drop(&mut self) {
        self.jobs = None;
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
    }
}

/// A verdict that a worker is computing.
#[derive(Debug)]
pub struct Pending(oneshot::Receiver<Timed>);

impl Pending {
    /// Waits for the verdict. Blocks: not for async threads.
    pub fn wait(self) -> Timed {
        self.0.blocking_recv().unwrap_or_else(|_| failed())
    }
}

fn failed() -> Timed {
    (Err(SandboxFault::of("verify code on a worker thread")(std::io::Error::other("the thread ended"))), 0)
}

fn work(verifier: &CodeVerifier, jobs: &Mutex<mpsc::Receiver<Job>>) {
    loop {
        // One worker waits for the queue, the other workers wait for the lock.
        let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
        let Some(Job { case, reply }) = next else { return };
        if reply.is_closed() {
            continue;
        }
        let started = Instant::now();
        let verdict = verifier.verify(&case);
        let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        // The requester may no longer wait.
        let _ = reply.send((verdict, micros));
    }
}
