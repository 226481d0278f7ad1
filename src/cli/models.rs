//! The environment variables for models, and the progress display of downloads.

use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::hub::{HubSettings, OnProgress, Progress};
use crate::pipeline::LOG_INTERVAL;
use crate::telemetry;

/// Returns the settings from the environment.
pub(super) fn hub_settings() -> HubSettings {
    HubSettings::from_variables(|name| std::env::var_os(name))
}

/// Returns a display of a download: a bar where stderr is a terminal and `NO_PROGRESS` is not set, else log lines.
pub(super) fn on_download() -> OnProgress {
    if std::io::stderr().is_terminal() && std::env::var_os("NO_PROGRESS").is_none() { bar() } else { lines() }
}

/// The progress bar of a download; removed from the terminal when the download ends or fails.
#[derive(Default)]
struct Bar(Mutex<Option<ProgressBar>>);

impl Bar {
    fn show(&self, Progress { done, total }: Progress) {
        let mut bar = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bar = bar.get_or_insert_with(|| {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(5));
            let template = "{bar:24} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}, ETA {eta}";
            bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
            telemetry::share_terminal_with(Some(bar.clone()));
            bar
        });
        bar.set_position(done);
        if done >= total {
            telemetry::share_terminal_with(None);
            bar.finish_and_clear();
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        let bar = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(bar) = bar.take().filter(|bar| !bar.is_finished()) {
            telemetry::share_terminal_with(None);
            bar.finish_and_clear();
        }
    }
}

fn bar() -> OnProgress {
    let bar = Bar::default();
    OnProgress::new(move |progress| bar.show(progress))
}

fn lines() -> OnProgress {
    let last: Mutex<Option<tokio::time::Instant>> = Mutex::default();
    OnProgress::new(move |Progress { done, total }| {
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| last.elapsed() >= LOG_INTERVAL) || done >= total {
            *last = Some(tokio::time::Instant::now());
            let (done, total) = (done as f64, total as f64);
            let (share, mib) = (100.0 * done / total.max(1.0), f64::from(1 << 20));
            tracing::info!("downloaded {:.1} of {:.1} MiB ({share:.0}%)", done / mib, total / mib);
        }
    })
}
