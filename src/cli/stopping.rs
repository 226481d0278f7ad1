//! Requests to stop: Ctrl-C, SIGTERM, SIGHUP, and a deadline.
//!
//! A separate thread waits for requests, so that the command reacts to them whatever it is doing. The first request
//! cancels a token that the command's work checks. Work that does not check the token (hashing a file, mapping a model,
//! waiting for a disk) is abandoned after [`GRACE`] and ends with the process: facts are committed atomically, so the
//! next start continues as after a kill. A command that must finish work first declares it and its time limit
//! ([`Stopping::finishes`]). A second request ends the process at once.

#![expect(clippy::disallowed_methods, reason = "a thread beside the run-time measures how long it takes to end")]

use std::process::exit;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::failure::Failure;
use crate::pipeline::RunError;
use crate::telemetry::print_line;

/// The time that abandonable work gets to end by itself.
const GRACE: Duration = Duration::from_millis(500);

/// The extra time after a command's limit; then this thread ends the process.
const LATE: Duration = Duration::from_millis(1000);

/// The interval of the checks whether a stopping command exceeds its limit.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Exit code of a stopped, resumable run.
const STOPPED: i32 = 3;

/// Exit code after a second request, the usual code for Ctrl-C in shells.
const INTERRUPTED: i32 = 130;

/// The work that a command finishes after a request to stop.
#[derive(Debug, Clone)]
struct Rest {
    /// The message when the request arrives.
    message: String,
    /// The time limit of the work; `None`: no limit.
    at_most: Option<Duration>,
}

/// The requests to stop a command.
#[derive(Debug, Clone)]
pub(super) struct Stopping {
    token: CancellationToken,
    rest: Arc<Mutex<Rest>>,
}

impl Stopping {
    /// Starts to wait for requests, and for a deadline after the given duration.
    pub(super) fn watch(deadline: Option<Duration>) -> Result<Self, Failure> {
        let rest = Rest { message: "stopping (again to stop at once)".to_owned(), at_most: Some(GRACE) };
        let stopping = Self { token: CancellationToken::new(), rest: Arc::new(Mutex::new(rest)) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::other)?;
        let watched = stopping.clone();
        let watch = move || runtime.block_on(watched.heed(deadline));
        std::thread::Builder::new().name("stopping".to_owned()).spawn(watch).map_err(Failure::other)?;
        Ok(stopping)
    }

    /// Returns the token that the first request cancels.
    pub(super) fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// Declares the work that the command finishes after a request, and its time limit; `more` is the additional time
    /// for the steps after this work.
    pub(super) fn finishes(&self, what: &str, at_most: Option<Duration>, more: Duration) {
        let within = at_most.map(|most| format!(" within {} s", most.as_secs())).unwrap_or_default();
        let message = format!("stopping: {what}{within} (again to stop at once)");
        let at_most = at_most.map(|most| most + more);
        *self.rest.lock().unwrap_or_else(PoisonError::into_inner) = Rest { message, at_most };
    }

    /// Waits for a request and then for [`GRACE`].
    pub(super) async fn is_given_up(&self) {
        self.token.cancelled().await;
        tokio::time::sleep(GRACE).await;
    }

    /// Runs blocking work, and abandons it after a request to stop.
    ///
    /// # Errors
    /// The error of the work; [`RunError::Stopped`] after a request to stop.
    pub(super) async fn unless_stopped<T: Send + 'static>(
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
            () = deadline => tracing::warn!("the deadline has passed; {}", self.rest().message),
        }
        let since = Instant::now();
        self.token.cancel();
        loop {
            tokio::select! {
                () = requests.next() => exit(INTERRUPTED),
                () = tokio::time::sleep(LOOK_INTERVAL) => {}
            }
            // The command may declare other work in the meantime.
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

/// Ends the process at the first request if its process id is 1, as in a container: the kernel does not apply the
/// default action of signals to process 1.
pub(super) fn end_at_once_if_first() {
    if std::process::id() != 1 {
        return;
    }
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    let watch = move || {
        runtime.block_on(async { Requests::new().next().await });
        #[expect(clippy::exit, reason = "nothing has begun that would have to end first")]
        exit(INTERRUPTED);
    };
    // Without the thread, signals have no effect on process 1, as without this function.
    let _ = std::thread::Builder::new().name("stopping".to_owned()).spawn(watch);
}

/// The signals that request a stop.
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
        // A signal without a handler keeps its default action.
        Self { signals: kinds.into_iter().filter_map(|kind| signal(kind).ok()).collect() }
    }

    #[cfg(not(unix))]
    fn new() -> Self {
        Self {}
    }

    /// Waits for the next request; never returns if no signal can be handled.
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
