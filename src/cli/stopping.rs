//! Requests to stop: Ctrl-C, SIGTERM, the terminal's end, and a deadline.
//!
//! A thread of its own waits for them, so that they are heeded whatever else the command is doing. The first sets a token
//! that the command's work heeds. What does not heed it (a file that is hashed, a model that is mapped, a disk that does not
//! answer) is given up after [`GRACE`], and ends with the process: facts are committed whole or not at all, so that a start
//! after it goes on as after a kill. Only where something is under way that is worth its time does a command go on, for as
//! long as it has said ([`Stopping::finishes`]). A second request ends the process at once.

use std::process::exit;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::failure::Failure;
use crate::pipeline::RunError;
use crate::telemetry::print_line;

/// How long work that can be given up may take to end by itself.
const GRACE: Duration = Duration::from_millis(500);

/// Beyond what a command may take to end: after that much more the process is ended for it.
const LATE: Duration = Duration::from_millis(1000);

/// How often it is looked whether a command that was asked to stop is late.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Exit code of a run that can be gone on with.
const STOPPED: i32 = 3;

/// Exit code after a second request, as shells have it for Ctrl-C.
const INTERRUPTED: i32 = 130;

/// What may still be done after a request to stop.
#[derive(Debug, Clone)]
struct Rest {
    /// What is said when the request comes.
    message: String,
    /// How long it may take; `None` for as long as it takes.
    at_most: Option<Duration>,
}

/// The requests to stop a command.
#[derive(Debug, Clone)]
pub(super) struct Stopping {
    token: CancellationToken,
    rest: Arc<Mutex<Rest>>,
}

impl Stopping {
    /// Starts to wait for requests, and for a deadline that is so far away.
    pub fn watch(deadline: Option<Duration>) -> Result<Self, Failure> {
        let rest = Rest { message: "stopping (again to stop at once)".to_owned(), at_most: Some(GRACE) };
        let stopping = Self { token: CancellationToken::new(), rest: Arc::new(Mutex::new(rest)) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::other)?;
        let watched = stopping.clone();
        let watch = move || runtime.block_on(watched.heed(deadline));
        std::thread::Builder::new().name("stopping".to_owned()).spawn(watch).map_err(Failure::other)?;
        Ok(stopping)
    }

    /// Returns the token that is set by the first request.
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// Says what is finished after a request from now on, and for how long at most; `more` is the time that what comes
    /// after it may take.
    pub fn finishes(&self, what: &str, at_most: Option<Duration>, more: Duration) {
        let within = at_most.map(|most| format!(" within {} s", most.as_secs())).unwrap_or_default();
        let message = format!("stopping: {what}{within} (again to stop at once)");
        let at_most = at_most.map(|most| most + more);
        *self.rest.lock().unwrap_or_else(PoisonError::into_inner) = Rest { message, at_most };
    }

    /// Returns once work that can be given up has had its time after a request.
    pub async fn is_given_up(&self) {
        self.token.cancelled().await;
        tokio::time::sleep(GRACE).await;
    }

    /// Does work that blocks, unless it is given up.
    ///
    /// # Errors
    /// The work's own; [`RunError::Stopped`] if a stop is asked for meanwhile.
    pub async fn unless_stopped<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let done = tokio::select! {
            biased;
            done = tokio::task::spawn_blocking(work) => done.map_err(Failure::other)??,
            () = self.is_given_up() => return Err(RunError::Stopped.into()),
        };
        if self.token.is_cancelled() { Err(RunError::Stopped.into()) } else { Ok(done) }
    }

    fn rest(&self) -> Rest {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn heed(self, deadline: Option<Duration>) {
        let mut requests = Requests::new();
        let deadline = async {
            match deadline {
                Some(deadline) => tokio::time::sleep(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = requests.next() => tracing::warn!("{}", self.rest().message),
            () = deadline => tracing::warn!("the deadline has come; {}", self.rest().message),
        }
        let since = Instant::now();
        self.token.cancel();
        loop {
            tokio::select! {
                () = requests.next() => exit(INTERRUPTED),
                () = tokio::time::sleep(LOOK_INTERVAL) => {}
            }
            // What may be done can change meanwhile.
            if self.rest().at_most.is_some_and(|most| since.elapsed() > most + LATE) {
                print_line(&format!("error: {}", RunError::Stopped));
                if let Some(hint) = RunError::Stopped.hint() {
                    print_line(&format!("hint: {hint}"));
                }
                exit(STOPPED);
            }
        }
    }
}

/// Ends the process at the first request if it is the first of its system, as in a container: there the kernel's own way
/// of ending a process at a signal does not work.
pub(super) fn end_at_once_if_first() {
    if std::process::id() != 1 {
        return;
    }
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    let watch = move || {
        runtime.block_on(async { Requests::new().next().await });
        exit(INTERRUPTED);
    };
    // Without the thread it is as without this function.
    let _ = std::thread::Builder::new().name("stopping".to_owned()).spawn(watch);
}

/// The signals that ask for a stop.
struct Requests {
    #[cfg(unix)]
    signals: Vec<tokio::signal::unix::Signal>,
}

impl Requests {
    #[cfg(unix)]
    fn new() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        let mut kinds = vec![SignalKind::interrupt(), SignalKind::terminate()];
        if !crate::sys::signals::is_hang_up_ignored() {
            kinds.push(SignalKind::hangup());
        }
        // One that cannot be waited for does what it does without us.
        Self { signals: kinds.into_iter().filter_map(|kind| signal(kind).ok()).collect() }
    }

    #[cfg(not(unix))]
    fn new() -> Self {
        Self {}
    }

    /// Waits for the next request; for ever if there can be none.
    async fn next(&mut self) {
        #[cfg(unix)]
        std::future::poll_fn(|context| {
            let mut signals = self.signals.iter_mut();
            if signals.any(|signal| signal.poll_recv(context).is_ready()) {
                return std::task::Poll::Ready(());
            }
            std::task::Poll::Pending
        })
        .await;
        #[cfg(not(unix))]
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
