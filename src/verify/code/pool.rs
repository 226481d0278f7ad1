//! A bounded pool of threads that run code, so that neither an async thread nor the caller's own waits for programs.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};

use super::{CodeCase, CodeVerifier};
use crate::sandbox::SandboxFault;
use thinkloom_domain::Verdict;

/// Cases that wait for a worker, per worker.
const WAITING_PER_WORKER: usize = 2;
/// Most workers.
pub const WORKERS_MAX: usize = 1024;

/// A verdict with the microseconds that it took, or the machine's failure to make it.
pub type Timed = (Result<Verdict, SandboxFault>, u64);

struct Job {
    case: CodeCase,
    reply: oneshot::Sender<Timed>,
}

/// Threads with one verifier. Dropping it waits for the programs that are running.
pub struct CodePool {
    verifier: Arc<CodeVerifier>,
    jobs: Option<mpsc::Sender<Job>>,
    workers: Vec<JoinHandle<()>>,
}

impl CodePool {
    /// Starts `workers` threads; 0 stands for as many as there are cores.
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

    /// Returns how many threads there are.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    /// Verifies a case. Waits without blocking, for a place in the queue too.
    pub async fn verify(&self, case: CodeCase) -> Timed {
        let (reply, verdict) = oneshot::channel();
        if let Some(jobs) = &self.jobs {
            // Where there is no worker left, the reply is dropped and says so.
            let _ = jobs.send(Job { case, reply }).await;
        }
        verdict.await.unwrap_or_else(|_| failed())
    }

    /// Puts a case into the queue, waiting for a place, and returns where its verdict will be. Not for async threads.
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

/// A verdict that is on its way.
#[derive(Debug)]
pub struct Pending(oneshot::Receiver<Timed>);

impl Pending {
    /// Waits for the verdict. Not for async threads.
    pub fn wait(self) -> Timed {
        self.0.blocking_recv().unwrap_or_else(|_| failed())
    }
}

fn failed() -> Timed {
    (Err(SandboxFault::of("keep a thread")(std::io::Error::other("it ended"))), 0)
}

fn work(verifier: &CodeVerifier, jobs: &Mutex<mpsc::Receiver<Job>>) {
    loop {
        // One worker waits at the queue, the others at the lock.
        let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
        let Some(Job { case, reply }) = next else { return };
        if reply.is_closed() {
            continue;
        }
        let started = Instant::now();
        let verdict = verifier.verify(&case);
        let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        // Whoever asked may have gone.
        let _ = reply.send((verdict, micros));
    }
}
