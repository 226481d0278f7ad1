//! The progress of a run on a terminal, and as log lines elsewhere.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::domain::PassCounts;
use crate::pipeline::Snapshot;
use crate::telemetry;

/// Shows a run's progress.
pub struct Display {
    bar: Option<ProgressBar>,
}

impl Display {
    /// Starts a bar of `total` rows where stderr is a terminal and `NO_PROGRESS` is not set.
    #[must_use]
    pub fn new(total: u64) -> Self {
        let is_shown = std::io::stderr().is_terminal() && std::env::var_os("NO_PROGRESS").is_none();
        let bar = is_shown.then(|| {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(5));
            let style = ProgressStyle::with_template("{bar:24} {pos}/{len} queries  {wide_msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            telemetry::share_terminal_with(Some(bar.clone()));
            bar
        });
        Self { bar }
    }

    /// Returns how often [`Self::update`] wants to be called.
    #[must_use]
    pub fn interval(&self, log_interval: Duration) -> Duration {
        if self.bar.is_some() { Duration::from_millis(250) } else { log_interval }
    }

    /// Shows a snapshot: redraws the bar, or logs a line.
    pub fn update(&self, snapshot: &Snapshot) {
        match &self.bar {
            Some(bar) => {
                bar.set_position(snapshot.settled);
                bar.set_message(describe(snapshot));
            }
            None => tracing::info!("{}/{} queries, {}", snapshot.settled, snapshot.total, describe(snapshot)),
        }
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            telemetry::share_terminal_with(None);
            bar.finish_and_clear();
        }
    }
}

fn describe(snapshot: &Snapshot) -> String {
    let Snapshot { pass, samples, think_on, judge_calls, spend_usd, tokens_per_second, remaining_s, .. } = snapshot;
    let rate = |counts: PassCounts| {
        if counts.sampled == 0 { "-".to_owned() } else { format!("{:.0}%", 100.0 * counts.pass_rate()) }
    };
    let share = if *samples == 0 { "-".to_owned() } else { percent(*think_on, *samples) };
    let spend = spend_usd.map_or_else(|| "$?".to_owned(), |usd| format!("${usd:.4}"));
    let eta = remaining_s.map_or_else(|| "-".to_owned(), duration);
    format!(
        "{tokens_per_second:.0} tok/s, pass on {} off {}, {samples} samples, think-on {share}, judge {judge_calls} calls {spend}, ETA {eta}",
        rate(pass.on),
        rate(pass.off),
    )
}

/// Returns a share as a whole percentage.
#[must_use]
pub fn percent(part: u64, whole: u64) -> String {
    if whole == 0 { "-".to_owned() } else { format!("{:.0}%", 100.0 * part as f64 / whole as f64) }
}

/// Returns a duration for people: `43s`, `5m 10s`, `3h 2m`.
#[must_use]
pub fn duration(seconds: f64) -> String {
    let seconds = seconds.max(0.0).round() as u64;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        _ => format!("{}h {}m", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_shares_read_well() {
        assert_eq!(
            [duration(0.4), duration(59.6), duration(3599.0), duration(7325.0)],
            ["0s", "1m 0s", "59m 59s", "2h 2m"]
        );
        assert_eq!([percent(1, 3), percent(0, 0)], ["33%", "-"]);
    }
}
