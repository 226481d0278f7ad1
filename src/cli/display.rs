//! The progress of a run: a line on a terminal, log lines elsewhere.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::domain::PassCounts;
use crate::pipeline::Snapshot;
use crate::telemetry;

/// Columns if the width of the terminal is unknown.
const COLUMNS: usize = 80;
/// The minimum width of the terminal for a bar beside the text, and the width of the bar, in columns.
const BAR_FROM: usize = 100;
const BAR_COLUMNS: usize = 20;

/// Shows a run's progress.
pub struct Display {
    bar: Option<ProgressBar>,
}

impl Display {
    /// Starts a progress line if stderr is a terminal and `NO_PROGRESS` is not set.
    #[must_use]
    pub fn new(total: u64) -> Self {
        let is_shown = std::io::stderr().is_terminal() && std::env::var_os("NO_PROGRESS").is_none();
        let bar = is_shown.then(|| {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(5));
            // This module computes the layout: a line that does not fit gets a shorter form, and no word is cut.
            let style = ProgressStyle::with_template("{msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            telemetry::share_terminal_with(Some(bar.clone()));
            bar
        });
        Self { bar }
    }

    /// Returns the interval at which to call [`Self::update`].
    #[must_use]
    pub fn interval(&self, log_interval: Duration) -> Duration {
        if self.bar.is_some() { Duration::from_millis(250) } else { log_interval }
    }

    /// Shows a snapshot: redraws the line, or logs one.
    pub fn update(&self, snapshot: &Snapshot) {
        match &self.bar {
            Some(bar) => {
                let columns = console::Term::stderr().size_checked().map_or(COLUMNS, |(_, columns)| columns.into());
                bar.set_message(line(snapshot, columns));
            }
            None => tracing::info!("{}", line(snapshot, usize::MAX)),
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

/// Returns the progress line: count, remaining time, rates, spend, in this order and in the longest form that fits.
fn line(snapshot: &Snapshot, columns: usize) -> String {
    // A terminal may wrap a line that fills its last column.
    let room = columns.saturating_sub(1);
    let forms = forms(snapshot);
    let whole = |form: &&Vec<String>| form.join(", ").chars().count() <= room;
    let text = match forms.iter().find(whole) {
        Some(form) => form.join(", "),
        // If no form fits, show as many parts of the shortest form as fit.
        None => fitting(forms.last().map_or(&[][..], Vec::as_slice), room),
    };
    let is_wide = columns != usize::MAX && columns >= BAR_FROM && text.chars().count() + BAR_COLUMNS + 3 <= room;
    if is_wide { format!("{} {text}", bar(snapshot.settled, snapshot.total)) } else { text }
}

/// Returns the longest prefix of the parts that fits into a number of columns.
fn fitting(parts: &[String], room: usize) -> String {
    let fits =
        |count: &usize| parts.iter().take(*count).map(|part| part.chars().count() + 2).sum::<usize>() <= room + 2;
    let count = (0..=parts.len()).rev().find(fits).unwrap_or(0);
    parts.get(..count).unwrap_or_default().join(", ")
}

fn bar(done: u64, total: u64) -> String {
    let filled = (BAR_COLUMNS as u64 * done.min(total)).checked_div(total).unwrap_or(0) as usize;
    format!("[{}{}]", "#".repeat(filled), "-".repeat(BAR_COLUMNS - filled))
}

/// Returns the forms of the line, the longest first; each form is a list of parts.
fn forms(snapshot: &Snapshot) -> Vec<Vec<String>> {
    let Snapshot { settled, total, pass, samples, think_on, judge_calls, spend_usd, .. } = snapshot;
    let rate = |counts: PassCounts| {
        if counts.sampled == 0 { "-".to_owned() } else { format!("{:.0}%", 100.0 * counts.pass_rate()) }
    };
    let share = if *samples == 0 { "-".to_owned() } else { percent(*think_on, *samples) };
    let money = spend_usd.map_or_else(|| "$?".to_owned(), |usd| format!("${usd:.4}"));
    let short_money = spend_usd.map_or_else(|| "$?".to_owned(), |usd| format!("${usd:.2}"));
    let eta = snapshot.remaining_s.map_or_else(|| "-".to_owned(), duration);
    let (count, long_count) = (format!("{settled}/{total}"), format!("{settled}/{total} queries"));
    let done = format!("{count} ({})", floored_percent(*settled, *total));
    let long_eta = format!("ETA {eta}");
    if let Some(notice) = &snapshot.notice {
        let short: String = notice.split_once(": ").map_or(notice.as_str(), |(head, _)| head).to_owned();
        return vec![
            vec![long_count, notice.clone(), money],
            vec![count.clone(), notice.clone(), short_money.clone()],
            vec![count.clone(), short.clone(), short_money],
            vec![count, short],
        ];
    }
    if pass.on.sampled + pass.off.sampled == 0 && *settled == 0 {
        return vec![vec![long_count, "waiting for the first responses".to_owned()], vec![count, "waiting".to_owned()]];
    }
    let tokens = format!("{:.0} tok/s", snapshot.tokens_per_second);
    let queries = per_second(snapshot.queries_per_second);
    let pass = format!("pass on {} off {}", rate(pass.on), rate(pass.off));
    let (samples, think_on) = (format!("{samples} samples"), format!("think-on {share}"));
    let (judge, long_judge) = (format!("judge {judge_calls}"), format!("judge {judge_calls} calls"));
    let spend = format!("spend {money}");
    let parts = |parts: &[&String]| parts.iter().map(|part| (*part).clone()).collect::<Vec<String>>();
    vec![
        parts(&[&long_count, &long_eta, &queries, &tokens, &pass, &samples, &think_on, &long_judge, &spend]),
        parts(&[&long_count, &long_eta, &tokens, &pass, &samples, &think_on, &long_judge, &money]),
        parts(&[&done, &long_eta, &tokens, &pass, &think_on, &judge, &money]),
        parts(&[&done, &long_eta, &tokens, &pass, &judge, &money]),
        parts(&[&done, &long_eta, &tokens, &pass, &money]),
        parts(&[&count, &long_eta, &tokens, &pass, &short_money]),
        parts(&[&count, &long_eta, &tokens, &money]),
        parts(&[&count, &long_eta, &tokens, &short_money]),
        parts(&[&count, &long_eta, &short_money]),
        parts(&[&count, &long_eta]),
    ]
}

/// Returns a rate in a unit that gives a readable number.
fn per_second(rate: f64) -> String {
    match rate {
        0.0 => "- queries/s".to_owned(),
        rate if rate >= 1.0 => format!("{rate:.1} queries/s"),
        rate if rate * 60.0 >= 1.0 => format!("{:.1} queries/min", rate * 60.0),
        rate => format!("{:.1} queries/h", rate * 3600.0),
    }
}

/// Returns a share as a whole percentage, rounded down so that 100% means done.
fn floored_percent(part: u64, whole: u64) -> String {
    if whole == 0 { "-".to_owned() } else { format!("{}%", 100 * u128::from(part) / u128::from(whole)) }
}

/// Returns a share as a whole percentage.
#[must_use]
pub fn percent(part: u64, whole: u64) -> String {
    if whole == 0 { "-".to_owned() } else { format!("{:.0}%", 100.0 * part as f64 / whole as f64) }
}

/// Returns a duration as text: `43s`, `5m 10s`, `3h 2m`.
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

    fn snapshot(settled: u64, total: u64) -> Snapshot {
        let counts = |sampled: u32, correct: u32| PassCounts { sampled, correct, other_mode: 0 };
        Snapshot {
            total,
            settled,
            samples: settled / 2,
            think_on: settled / 5,
            pass: crate::domain::ByMode { on: counts(800, 430), off: counts(800, 121) },
            judge_calls: settled,
            spend_usd: Some(settled as f64 * 0.0123),
            tokens_per_second: 12_345.6,
            elapsed_s: 100.0,
            remaining_s: Some(45_296.0),
            queries_per_second: 0.21,
            notice: None,
        }
    }

    #[test]
    fn the_line_is_whole_at_every_width_and_begins_with_count_and_time() {
        for (settled, total) in [(1, 9), (990, 1000), (123_456, 1_000_000), (2_999_999, 3_000_000)] {
            for columns in 20..=200 {
                let text = line(&snapshot(settled, total), columns);
                assert!(text.chars().count() < columns, "{columns}: {text}");
                let count = format!("{settled}/{total}");
                assert!(text.contains(&count), "{columns}: {text}");
                if columns >= 60 {
                    let order = [count.as_str(), "ETA 12h 34m", "12346 tok/s", "$"];
                    let places: Vec<usize> = order
                        .iter()
                        .map(|part| text.find(part).unwrap_or_else(|| panic!("{columns}: {text}")))
                        .collect();
                    assert!(places.is_sorted(), "{columns}: {text}");
                }
            }
        }
        assert_eq!(line(&snapshot(990, 1000), 60), "990/1000, ETA 12h 34m, 12346 tok/s, $12.1770");
        assert_eq!(
            line(&snapshot(990, 1000), 80),
            "990/1000 (99%), ETA 12h 34m, 12346 tok/s, pass on 54% off 15%, $12.1770"
        );
        assert!(line(&snapshot(990, 1000), 120).starts_with("990/1000 queries, ETA 12h 34m, 12346 tok/s, pass on"));
        assert!(line(&snapshot(990, 1000), 170).starts_with("[###################-] 990/1000 queries, ETA"));
        assert!(line(&snapshot(990, 1000), usize::MAX).ends_with("judge 990 calls, spend $12.1770"));
    }

    #[test]
    fn before_the_first_response_and_while_it_is_held_up_the_line_says_so() {
        let fresh = Snapshot { pass: crate::domain::ByMode::default(), samples: 0, ..snapshot(0, 12) };
        assert_eq!(line(&fresh, 80), "0/12 queries, waiting for the first responses");
        assert_eq!(line(&fresh, 30), "0/12, waiting");
        let notice = Some("paused since 23:10: judge answers 503 Service Unavailable".to_owned());
        let held = Snapshot { notice, ..snapshot(5, 12) };
        assert!(line(&held, 120).contains("5/12 queries, paused since 23:10: judge answers 503 Service Unavailable"));
        assert_eq!(line(&held, 60), "5/12, paused since 23:10, $0.06");
    }

    #[test]
    fn a_share_is_whole_only_at_the_end() {
        assert_eq!([floored_percent(999, 1000), floored_percent(1000, 1000)], ["99%", "100%"]);
        assert_eq!(
            [per_second(2.0), per_second(0.5), per_second(0.01)],
            ["2.0 queries/s", "30.0 queries/min", "36.0 queries/h"]
        );
    }

    #[test]
    fn durations_and_shares_read_well() {
        assert_eq!(
            [duration(0.4), duration(59.6), duration(3599.0), duration(7325.0)],
            ["0s", "1m 0s", "59m 59s", "2h 2m"]
        );
        assert_eq!([percent(1, 3), percent(0, 0)], ["33%", "-"]);
    }
}
