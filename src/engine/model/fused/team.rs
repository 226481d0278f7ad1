//! A team of threads that runs a step as one parallel region.
//!
//! A [`Job`] is a list of phases, each cut into chunks. Every thread processes the phases in order: it claims the
//! chunks of its own share, which are adjacent in memory, then unclaimed chunks of other shares, and continues when all
//! chunks are *done*. So a phase waits for its work, not for threads: a thread that the operating system suspends
//! between two chunks delays no other thread, and finds later phases, or the whole job, already finished. This keeps a
//! step fast on cores that are shared with other programs.
//!
//! A waiting thread spins briefly, then yields the core, and sleeps between jobs. The result of a chunk never depends
//! on the thread that ran it.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Rounds of spinning before a waiting thread yields its core: some tens of microseconds, longer than most phases.
const SPINS_BEFORE_YIELD: u32 = 1 << 11;

/// Yields before a thread without a job sleeps: the next step usually follows within a millisecond.
const YIELDS_BEFORE_SLEEP: u32 = 1 << 6;

/// The work of a job: runs chunk `chunk` of phase `phase`, with the thread's own scratch memory.
type Work<S> = Box<dyn Fn(usize, usize, &mut S) + Send + Sync>;

/// One parallel region.
pub(super) struct Job<S> {
    phases: Vec<Phase>,
    work: Work<S>,
    /// Whether a chunk has panicked: later chunks are counted but not run.
    has_panicked: AtomicBool,
    /// Payload of the first panic.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

struct Phase {
    chunks: usize,
    /// One per thread.
    shares: Box<[Share]>,
}

/// A thread's share of a phase, on separate cache lines: without stealing, no cache line moves between cores.
#[repr(align(128))]
struct Share {
    /// The next unclaimed chunk.
    next: AtomicUsize,
    end: usize,
    /// Chunks that this thread has finished, of any share.
    done: AtomicUsize,
}

impl Phase {
    fn new(chunks: usize, threads: usize) -> Self {
        let start = |thread: usize| chunks * thread / threads;
        let share =
            |thread| Share { next: AtomicUsize::new(start(thread)), end: start(thread + 1), done: AtomicUsize::new(0) };
        Self { chunks, shares: (0..threads).map(share).collect() }
    }

    /// Claims a chunk of a share.
    fn claim(&self, share: usize) -> Option<usize> {
        let Share { next, end, .. } = &self.shares[share];
        // Read first, so that other threads do not take the cache line from its owner for nothing.
        let is_left = next.load(Ordering::Relaxed) < *end;
        is_left.then(|| next.fetch_add(1, Ordering::Relaxed)).filter(|chunk| chunk < end)
    }

    fn is_done(&self) -> bool {
        // Acquire pairs with the release of every `done`: the next phase sees the writes of this one.
        self.shares.iter().map(|share| share.done.load(Ordering::Acquire)).sum::<usize>() >= self.chunks
    }
}

impl<S> Job<S> {
    /// Builds a job for a team of `threads` from the number of chunks of each phase, in order. Chunks of one phase may
    /// run at the same time; a phase starts when all chunks of the previous phase are done, and sees their writes.
    pub(super) fn new(
        threads: usize,
        chunks: impl IntoIterator<Item = usize>,
        work: impl Fn(usize, usize, &mut S) + Send + Sync + 'static,
    ) -> Self {
        let phases = chunks.into_iter().map(|chunks| Phase::new(chunks, threads)).collect();
        Self { phases, work: Box::new(work), has_panicked: AtomicBool::new(false), panic: Mutex::new(None) }
    }

    /// Participates as thread number `thread` until every chunk of every phase is done.
    fn take_part(&self, thread: usize, scratch: &mut S) {
        for (index, phase) in self.phases.iter().enumerate() {
            let threads = phase.shares.len();
            for share in (0..threads).map(|offset| (thread + offset) % threads) {
                while let Some(chunk) = phase.claim(share) {
                    // A chunk that panics counts as done, so that no thread waits for it forever.
                    if !self.has_panicked.load(Ordering::Relaxed)
                        && let Err(panic) = catch_unwind(AssertUnwindSafe(|| (self.work)(index, chunk, scratch)))
                    {
                        self.has_panicked.store(true, Ordering::Relaxed);
                        self.panic.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(panic);
                    }
                    phase.shares[thread].done.fetch_add(1, Ordering::Release);
                }
            }
            let mut spins = 0_u32;
            while !phase.is_done() {
                spins += 1;
                if spins < SPINS_BEFORE_YIELD { std::hint::spin_loop() } else { std::thread::yield_now() }
            }
        }
    }
}

/// The shared place at which threads find the current job.
struct Board<S> {
    /// Number of the latest job; threads spin on it before they sleep.
    latest: AtomicUsize,
    state: Mutex<BoardState<S>>,
    news: Condvar,
}

struct BoardState<S> {
    job: Option<Arc<Job<S>>>,
    number: usize,
    is_closed: bool,
}

impl<S> Board<S> {
    fn lock(&self) -> MutexGuard<'_, BoardState<S>> {
        // A panic inside a chunk happens outside this lock, so the state is consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a job later than number `seen`; `None` when the team is dropped.
    fn wait(&self, seen: usize) -> Option<(usize, Arc<Job<S>>)> {
        for round in 0..SPINS_BEFORE_YIELD + YIELDS_BEFORE_SLEEP {
            if self.latest.load(Ordering::Acquire) != seen {
                break;
            }
            if round < SPINS_BEFORE_YIELD { std::hint::spin_loop() } else { std::thread::yield_now() }
        }
        let mut state = self.lock();
        loop {
            if state.is_closed {
                return None;
            }
            match &state.job {
                Some(job) if state.number != seen => return Some((state.number, Arc::clone(job))),
                _ => state = self.news.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

/// Threads that run jobs together with the calling thread.
pub(super) struct Team<S> {
    board: Arc<Board<S>>,
    threads: Vec<JoinHandle<()>>,
    /// Scratch memory of the calling thread.
    scratch: S,
}

impl<S: Default + Send + 'static> Team<S> {
    /// Starts a team of `size` threads (at least 1), the calling thread included.
    ///
    /// # Errors
    /// The operating system's error if it refuses to start a thread.
    pub(super) fn new(size: usize) -> std::io::Result<Self> {
        let state = BoardState { job: None, number: 0, is_closed: false };
        let board = Arc::new(Board { latest: AtomicUsize::new(0), state: Mutex::new(state), news: Condvar::new() });
        let mut team = Self { board, threads: Vec::new(), scratch: S::default() };
        for index in 1..size {
            let board = Arc::clone(&team.board);
            let builder = std::thread::Builder::new().name(format!("engine-{index}"));
            team.threads.push(builder.spawn(move || {
                let mut scratch = S::default();
                let mut seen = 0;
                while let Some((number, job)) = board.wait(seen) {
                    seen = number;
                    job.take_part(index, &mut scratch);
                }
            })?);
        }
        Ok(team)
    }

    /// Returns the number of threads, the calling thread included.
    pub(super) fn size(&self) -> usize {
        self.threads.len() + 1
    }

    /// Runs a job, built for this team's size, to its end. Resumes the panic of the first chunk that panicked.
    pub(super) fn run(&mut self, job: Job<S>) {
        let job = Arc::new(job);
        if !self.threads.is_empty() {
            let mut state = self.board.lock();
            state.number += 1;
            state.job = Some(Arc::clone(&job));
            self.board.latest.store(state.number, Ordering::Release);
            drop(state);
            self.board.news.notify_all();
        }
        job.take_part(0, &mut self.scratch);
        if !self.threads.is_empty() {
            // The job owns references into the model. Late threads may still hold the job, but the board must not.
            self.board.lock().job = None;
        }
        let panic = job.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }
}

impl<S> Drop for Team<S> {
    fn drop(&mut self) {
        self.board.lock().is_closed = true;
        self.board.latest.fetch_add(1, Ordering::Release);
        self.board.news.notify_all();
        for thread in self.threads.drain(..) {
            // The thread ends by itself; `run` has already reported panics in it.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    #[test]
    fn phases_run_in_order_and_every_chunk_once() {
        for size in [1, 2, 5] {
            let mut team = Team::<()>::new(size).unwrap();
            assert_eq!(team.size(), size);
            for _ in 0..200 {
                let phases = [3_usize, 0, 17, 1, 40];
                let counts: Arc<Vec<AtomicU64>> = Arc::new((0..61).map(|_| AtomicU64::new(0)).collect());
                let seen = Arc::clone(&counts);
                let firsts = [0, 3, 3, 20, 21];
                team.run(Job::new(size, phases, move |phase, chunk, ()| {
                    let before = seen[..firsts[phase]].iter().map(|count| count.load(Ordering::Relaxed)).sum::<u64>();
                    assert_eq!(before, firsts[phase] as u64, "earlier phases are done");
                    seen[firsts[phase] + chunk].fetch_add(1, Ordering::Relaxed);
                }));
                assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1));
            }
        }
    }

    #[test]
    fn a_panic_in_a_chunk_reaches_the_caller_and_hangs_nobody() {
        let mut team = Team::<()>::new(3).unwrap();
        let failing = Job::new(3, [8], |_, chunk, (): &mut ()| assert!(chunk != 5, "as planned"));
        let cause = catch_unwind(AssertUnwindSafe(|| team.run(failing))).unwrap_err();
        assert_eq!(crate::caught::message(cause.as_ref()), "as planned");
        let count = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&count);
        team.run(Job::new(3, [9], move |_, _, ()| {
            seen.fetch_add(1, Ordering::Relaxed);
        }));
        assert_eq!(count.load(Ordering::Relaxed), 9, "the team works on");
    }
}
