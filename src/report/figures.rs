//! The figures of a report: headline numbers and plots, as HTML.

use std::collections::{BTreeMap, BTreeSet};

use super::gather::{Gathered, QueryFacts};
use super::svg::{Drawing, bars, escape, table};
use crate::domain::text::shortened;
use crate::domain::{Mode, VerdictOutcome};
use crate::select::rule_mode;

/// Cells of the heat map on each side.
const CELLS: usize = 9;
/// Bars of the decision margin.
const MARGIN_BARS: usize = 21;
/// Largest number of named rows of a plot; the other rows are summed.
const NAMES_MAX: usize = 12;
/// The tie margin if none is known.
const TIE_MARGIN_DEFAULT: f64 = 0.1;

/// Returns the part of the page above the reader.
#[must_use]
pub fn figures(all: &Gathered) -> String {
    let plots = [
        heat_map(all),
        margins(all),
        sensitivity(all),
        lengths(all),
        think_by_difficulty(all),
        difficulty_by_source(all),
        by_count("Exclusions by reason", "Queries that gave no sample.", &all.counts.exclusions_by_reason, "bad"),
        by_count(
            "Justification checks that failed",
            "The last rejection of each sample kept without a text, and of each query excluded without one.",
            &all.rejections,
            "unsure",
        ),
        timeline(all),
    ];
    format!("{}<h2>Figures</h2>\n<div class=\"plots\">\n{}</div>\n", headline(all), plots.concat())
}

fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "-".to_owned(), |share| format!("{:.1}%", 100.0 * share))
}

fn headline(all: &Gathered) -> String {
    let counts = &all.counts;
    let of = all.manifest.as_ref().map_or(counts.queries, |manifest| manifest.counts.queries);
    let spend = all.spend_usd.map_or_else(|| "unknown".to_owned(), |usd| format!("${usd:.4}"));
    let speed = all.tokens_per_second.map_or_else(|| "-".to_owned(), |speed| format!("{speed:.0}"));
    let mean = |mode| {
        let (tokens, sampled) = all.queries.iter().fold((0, 0), |(tokens, sampled), facts| {
            (tokens + facts.tokens[mode], sampled + u64::from(facts.counts[mode].sampled))
        });
        if sampled == 0 { "-".to_owned() } else { format!("{:.0}", tokens as f64 / sampled as f64) }
    };
    let seconds = all.timeline.step_s * all.timeline.tokens.iter().filter(|tokens| **tokens > 0).count() as f64;
    let cards = [
        ("queries", format!("{} of {of}", counts.queries)),
        ("samples", counts.samples.to_string()),
        ("exclusions", counts.exclusions.to_string()),
        ("responses", counts.rollouts.to_string()),
        ("think rate", percent(all.think_rate())),
        ("pass rate, Think-on", percent(all.pass_rate(Mode::ThinkOn))),
        ("pass rate, Think-off", percent(all.pass_rate(Mode::ThinkOff))),
        ("responses of the other mode than was asked for", all.other_mode_count().to_string()),
        ("mean tokens, Think-on", mean(Mode::ThinkOn)),
        ("mean tokens, Think-off", mean(Mode::ThinkOff)),
        ("tokens saved against always thinking", percent(all.tokens_saved())),
        ("spend on the judge", spend),
        ("time of sampling, about", if seconds > 0.0 { duration(seconds) } else { "-".to_owned() }),
        ("tokens per second", speed),
    ];
    let item = |(name, value): &(&str, String)| format!("<li><b>{}</b>{}</li>", escape(value), escape(name));
    format!("<ul class=\"cards\">{}</ul>\n", cards.iter().map(item).collect::<String>())
}

fn duration(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        _ => format!("{:.1} h", seconds as f64 / 3600.0),
    }
}

fn margin(all: &Gathered) -> f64 {
    all.tie_margin.unwrap_or(TIE_MARGIN_DEFAULT)
}

/// Returns the cell of a rate in 0..=1.
fn cell(rate: f64) -> usize {
    ((rate * (CELLS - 1) as f64).round() as usize).min(CELLS - 1)
}

/// Returns a note on the queries that a figure of both pass rates cannot show.
fn unpaired(all: &Gathered) -> String {
    match all.queries.iter().filter(|facts| facts.pass_rates().is_none()).count() {
        0 => String::new(),
        count => format!(" Not shown: {count} queries that were sampled in one mode only."),
    }
}

fn heat_map(all: &Gathered) -> String {
    const SIDE: f64 = 30.0;
    let mut cells = [[0_u64; CELLS]; CELLS];
    for rates in all.queries.iter().filter_map(QueryFacts::pass_rates) {
        if let Some(count) = cells.get_mut(cell(rates.off)).and_then(|row| row.get_mut(cell(rates.on))) {
            *count += 1;
        }
    }
    let most = cells.iter().flatten().copied().max().unwrap_or(0).max(1);
    let size = SIDE * CELLS as f64;
    let (left, top) = (56.0, 8.0);
    let mut drawing = Drawing::new(400.0, size + 50.0);
    let label = |index: usize| format!("{:.0}%", 100.0 * index as f64 / (CELLS - 1) as f64);
    let mut rows = Vec::new();
    for (off, row) in cells.iter().enumerate() {
        for (on, &count) in row.iter().enumerate() {
            let place = (left + SIDE * on as f64, top + size - SIDE * (off + 1) as f64);
            if count > 0 {
                let says = format!("Think-on {}, Think-off {}: {count} queries", label(on), label(off));
                // By square root, so that rare pairs are visible beside frequent ones.
                drawing.rect(
                    place,
                    (SIDE - 1.0, SIDE - 1.0),
                    "cell",
                    0.15 + 0.85 * (count as f64 / most as f64).sqrt(),
                    &says,
                );
                rows.push(vec![label(on), label(off), count.to_string()]);
            }
            if on.abs_diff(off) as f64 / ((CELLS - 1) as f64) < margin(all) - 1e-9 || on == off {
                drawing.rect(place, (SIDE - 1.0, SIDE - 1.0), "band", 1.0, "");
            }
        }
    }
    for index in (0..CELLS).step_by(2) {
        let at = SIDE * (index as f64 + 0.5);
        drawing.text((left + at, top + size + 15.0), "middle", &label(index));
        drawing.text((left - 6.0, top + size - at + 4.0), "end", &label(index));
    }
    drawing.text((left + size / 2.0, top + size + 34.0), "middle", "pass rate Think-on");
    drawing.text((left, top - 0.0), "start", "");
    drawing.figure(
        "Pass rates of both modes",
        &format!(
            "Across: Think-on; up: Think-off. Darker cells hold more queries; the tinted diagonal is the tie band, where Think-off is kept.{}",
            unpaired(all)
        ),
        &table(&["Think-on", "Think-off", "queries"], &rows),
    )
}

fn margins(all: &Gathered) -> String {
    let mut counts = [0_u64; MARGIN_BARS];
    let middle = (MARGIN_BARS / 2) as f64;
    for rates in all.queries.iter().filter_map(QueryFacts::pass_rates) {
        let gain = rates.on - rates.off;
        if let Some(count) = counts.get_mut((gain * middle + middle).round() as usize) {
            *count += 1;
        }
    }
    let most = counts.iter().copied().max().unwrap_or(0).max(1) as f64;
    let (width, height) = (17.0, 150.0);
    let mut drawing = Drawing::new(400.0, height + 44.0);
    let band = margin(all) * middle * width;
    drawing.rect((20.0 + middle * width + width / 2.0 - band, 6.0), (2.0 * band, height), "band", 1.0, "tie band");
    let mut rows = Vec::new();
    for (index, &count) in counts.iter().enumerate() {
        let gain = index as f64 / middle - 1.0;
        let tall = height * count as f64 / most;
        let class = if gain > 0.0 { "on" } else { "off" };
        let says = format!("{gain:+.1}: {count} queries");
        drawing.rect((20.0 + width * index as f64, 6.0 + height - tall), (width - 2.0, tall), class, 1.0, &says);
        if count > 0 {
            rows.push(vec![format!("{gain:+.1}"), count.to_string()]);
        }
    }
    drawing.axis((20.0, height + 6.0), (20.0 + width * MARGIN_BARS as f64, height + 6.0));
    for (at, text) in [(0.0, "-1"), (middle, "0"), (2.0 * middle, "+1")] {
        drawing.text((20.0 + width * (at + 0.5), height + 22.0), "middle", text);
    }
    drawing.text((20.0 + width * (middle + 0.5), height + 38.0), "middle", "pass rate Think-on less Think-off");
    drawing.figure(
        "Decision margin",
        &format!("The gain of thinking in each query; the tinted band is the tie margin.{}", unpaired(all)),
        &table(&["gain", "queries"], &rows),
    )
}

/// Returns the selection under other tie margins.
#[must_use]
pub fn sensitivity_rows(all: &Gathered) -> Vec<(f64, f64, u64, f64)> {
    let solved: Vec<_> =
        all.queries.iter().filter(|facts| facts.counts.on.correct + facts.counts.off.correct > 0).collect();
    let steps = (0..=10).map(|step| f64::from(step) * 0.05);
    steps
        .map(|margin_tried| {
            let (mut think_on, mut changed, mut tokens, mut known) = (0_u64, 0_u64, 0.0, 0_u64);
            for facts in &solved {
                let (mode, _) = rule_mode(&facts.counts, margin_tried);
                think_on += u64::from(mode == Mode::ThinkOn);
                changed += u64::from(mode != rule_mode(&facts.counts, margin(all)).0);
                if let Some(shortest) = facts.shortest[mode] {
                    tokens += f64::from(shortest);
                    known += 1;
                }
            }
            let share = if solved.is_empty() { 0.0 } else { think_on as f64 / solved.len() as f64 };
            (margin_tried, share, changed, if known == 0 { 0.0 } else { tokens / known as f64 })
        })
        .collect()
}

fn sensitivity(all: &Gathered) -> String {
    let rows = sensitivity_rows(all);
    let (width, height) = (340.0, 150.0);
    let mut drawing = Drawing::new(400.0, height + 44.0);
    let x = |margin: f64| 40.0 + width * margin / 0.5;
    let points: Vec<(f64, f64)> =
        rows.iter().map(|(margin, share, ..)| (x(*margin), 6.0 + height * (1.0 - share))).collect();
    drawing.axis((40.0, 6.0), (40.0, height + 6.0));
    drawing.axis((40.0, height + 6.0), (40.0 + width, height + 6.0));
    drawing.rect((x(margin(all).min(0.5)) - 1.0, 6.0), (2.0, height), "neutral", 1.0, "this run's margin");
    drawing.line(&points, "line");
    for (share, text) in [(0.0, "0%"), (0.5, "50%"), (1.0, "100%")] {
        drawing.text((34.0, 10.0 + height * (1.0 - share)), "end", text);
    }
    for at in [0.0, 0.1, 0.2, 0.3, 0.4, 0.5] {
        drawing.text((x(at), height + 22.0), "middle", &format!("{at:.1}"));
    }
    drawing.text((40.0 + width / 2.0, height + 38.0), "middle", "tie margin");
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|(margin, share, changed, tokens)| {
            vec![format!("{margin:.2}"), percent(Some(*share)), changed.to_string(), format!("{tokens:.0}")]
        })
        .collect();
    drawing.figure(
        "Think rate under other tie margins",
        "By the mode rule, without queries whose mode is random; the vertical line is this run's margin. `thinkloom redecide` builds such a dataset.",
        &table(&["tie margin", "think rate", "modes changed", "tokens of the shortest correct"], &cells),
    )
}

fn quantile(sorted: &[i32], share: f64) -> i32 {
    let at = (share * sorted.len().saturating_sub(1) as f64).round() as usize;
    sorted.get(at).copied().unwrap_or(0)
}

fn lengths(all: &Gathered) -> String {
    const ROW: f64 = 30.0;
    let mut rows: Vec<(&str, &str, Vec<i32>)> = Vec::new();
    for mode in [Mode::ThinkOn, Mode::ThinkOff] {
        for outcome in [VerdictOutcome::Correct, VerdictOutcome::Incorrect, VerdictOutcome::Unverifiable] {
            if let Some(lengths) = all.lengths.get(&(mode.name(), outcome.name().to_owned())) {
                let mut sorted = lengths.clone();
                sorted.sort_unstable();
                rows.push((mode.name(), outcome.name(), sorted));
            }
        }
    }
    let most = rows.iter().filter_map(|(_, _, sorted)| sorted.last()).max().copied().unwrap_or(1).max(2);
    // Lengths span orders of magnitude.
    let x = |tokens: i32| 150.0 + 220.0 * f64::from(tokens.max(1)).ln() / f64::from(most).ln();
    let mut drawing = Drawing::new(400.0, ROW * rows.len().max(1) as f64 + 30.0);
    let mut cells = Vec::new();
    for (index, (mode, outcome, sorted)) in rows.iter().enumerate() {
        let y = ROW * index as f64 + 6.0;
        let [low, first, half, third, high] = [0.05, 0.25, 0.5, 0.75, 0.95].map(|share| quantile(sorted, share));
        let class = if *mode == Mode::ThinkOn.name() { "on" } else { "off" };
        let says =
            format!("{mode} {outcome}: median {half}, {low} to {high} for nine in ten, {} responses", sorted.len());
        drawing.text((144.0, y + 13.0), "end", &format!("{mode} {outcome}"));
        drawing.rect((x(low), y + 7.0), ((x(high) - x(low)).max(1.0), 4.0), class, 0.5, &says);
        drawing.rect((x(first), y + 2.0), ((x(third) - x(first)).max(2.0), 14.0), class, 0.8, &says);
        drawing.rect((x(half) - 1.0, y), (2.0, 18.0), "neutral", 1.0, &says);
        cells.push(vec![
            format!("{mode} {outcome}"),
            sorted.len().to_string(),
            low.to_string(),
            first.to_string(),
            half.to_string(),
            third.to_string(),
            high.to_string(),
        ]);
    }
    let bottom = ROW * rows.len() as f64 + 18.0;
    for tokens in [1, 10, 100, 1_000, 10_000, 100_000].into_iter().filter(|tokens| *tokens <= most) {
        drawing.text((x(tokens), bottom), "middle", &tokens.to_string());
    }
    drawing.figure(
        "Lengths by mode and verdict",
        "Tokens, on a logarithmic scale: the box holds the middle half, the thin bar nine in ten, the mark is the median.",
        &table(&["responses", "count", "5%", "25%", "50%", "75%", "95%"], &cells),
    )
}

fn think_by_difficulty(all: &Gathered) -> String {
    let names = in_order(all.think_by_difficulty.keys());
    let (mut rows, mut cells) = (Vec::new(), Vec::new());
    for name in names {
        let (samples, think_on) = all.think_by_difficulty.get(&name).copied().unwrap_or_default();
        let share = think_on as f64 / samples.max(1) as f64;
        rows.push((name.clone(), share, "on", format!("{:.0}% of {samples}", 100.0 * share)));
        cells.push(vec![name, samples.to_string(), think_on.to_string(), percent(Some(share))]);
    }
    bars(&rows, 1.0).figure(
        "Think rate by difficulty",
        "The share of samples in Think-on.",
        &table(&["difficulty", "samples", "Think-on", "think rate"], &cells),
    )
}

/// Returns difficulty labels from easy to hard, then other labels.
fn in_order<'a>(names: impl Iterator<Item = &'a String>) -> Vec<String> {
    let rank = |name: &str| ["easy", "medium", "hard"].iter().position(|known| *known == name).unwrap_or(9);
    let mut names: Vec<String> = names.cloned().collect();
    names.sort_by_key(|name| (rank(name), name.clone()));
    names
}

fn difficulty_by_source(all: &Gathered) -> String {
    const ROW: f64 = 22.0;
    let labels = in_order(all.difficulties.keys().map(|(_, label)| label).collect::<BTreeSet<_>>().into_iter());
    let mut sources: BTreeMap<&str, u64> = BTreeMap::new();
    for ((source, _), count) in &all.difficulties {
        *sources.entry(source).or_default() += count;
    }
    let mut order: Vec<(&str, u64)> = sources.into_iter().collect();
    order.sort_by_key(|(source, count)| (std::cmp::Reverse(*count), *source));
    let shown = order.len().min(NAMES_MAX);
    let mut drawing = Drawing::new(400.0, ROW * (shown.max(1) + 1) as f64 + 4.0);
    let class = |index: usize| ["good", "unsure", "bad", "neutral"].get(index).copied().unwrap_or("neutral");
    for (index, label) in labels.iter().enumerate() {
        let x = 144.0 + 82.0 * index as f64;
        drawing.rect((x, 2.0), (12.0, 12.0), class(index), 1.0, label);
        drawing.text((x + 16.0, 13.0), "start", label);
    }
    let mut cells = Vec::new();
    for (index, (source, total)) in order.iter().enumerate() {
        let count = |label: &String| all.difficulties.get(&((*source).to_owned(), label.clone())).copied().unwrap_or(0);
        let y = ROW * (index + 1) as f64;
        let mut x = 144.0;
        if index < shown {
            drawing.text((138.0, y + 12.0), "end", &shortened(source, 22));
            for (rank, label) in labels.iter().enumerate() {
                let width = 244.0 * count(label) as f64 / (*total).max(1) as f64;
                drawing.rect((x, y), (width, 15.0), class(rank), 1.0, &format!("{source}, {label}: {}", count(label)));
                x += width;
            }
        }
        let numbers = labels.iter().map(|label| count(label).to_string());
        cells.push(std::iter::once((*source).to_owned()).chain(numbers).collect());
    }
    let head: Vec<&str> = std::iter::once("source").chain(labels.iter().map(String::as_str)).collect();
    drawing.figure("Difficulty by source", "The share of each label among a source's samples.", &table(&head, &cells))
}

fn by_count(caption: &str, says: &str, counts: &BTreeMap<String, u64>, class: &'static str) -> String {
    let mut order: Vec<(&String, u64)> = counts.iter().map(|(name, count)| (name, *count)).collect();
    order.sort_by_key(|(name, count)| (std::cmp::Reverse(*count), *name));
    let most = order.first().map_or(0, |(_, count)| *count) as f64;
    let rows: Vec<(String, f64, &str, String)> = order
        .iter()
        .take(NAMES_MAX)
        .map(|(name, count)| ((*name).clone(), *count as f64, class, count.to_string()))
        .collect();
    let cells: Vec<Vec<String>> = order.iter().map(|(name, count)| vec![(*name).clone(), count.to_string()]).collect();
    let says = if order.is_empty() { "None." } else { says };
    bars(&rows, most).figure(caption, says, &table(&["reason", "queries"], &cells))
}

fn timeline(all: &Gathered) -> String {
    let steps = &all.timeline;
    let most = steps.tokens.iter().copied().max().unwrap_or(0).max(1) as f64;
    let (width, height) = (340.0, 150.0);
    let mut drawing = Drawing::new(400.0, height + 44.0);
    let x = |index: usize| 40.0 + width * index as f64 / steps.tokens.len().max(1) as f64;
    let mut cells = Vec::new();
    for (index, &tokens) in steps.tokens.iter().enumerate() {
        let speed = tokens as f64 / steps.step_s.max(1e-9);
        let tall = height * tokens as f64 / most;
        let from = duration(steps.step_s * index as f64);
        drawing.rect(
            (x(index), 6.0 + height - tall),
            (width / steps.tokens.len() as f64 - 1.0, tall),
            "off",
            0.7,
            &format!("after {from}: {speed:.0} tokens per second"),
        );
        let spent = steps.spend_usd.get(index).map_or_else(|| "-".to_owned(), |usd| format!("{usd:.4}"));
        cells.push(vec![from, format!("{speed:.0}"), spent]);
    }
    let total = steps.spend_usd.last().copied().unwrap_or(0.0);
    if total > 0.0 {
        let points: Vec<(f64, f64)> = steps
            .spend_usd
            .iter()
            .enumerate()
            .map(|(index, usd)| (x(index + 1), 6.0 + height * (1.0 - usd / total)))
            .collect();
        drawing.line(&points, "line");
        drawing.text((40.0 + width, 16.0), "end", &format!("${total:.4}"));
    }
    drawing.axis((40.0, height + 6.0), (40.0 + width, height + 6.0));
    drawing.text((40.0, height + 22.0), "start", "start");
    drawing.text((40.0 + width, height + 22.0), "end", &duration(steps.step_s * steps.tokens.len() as f64));
    drawing.text((36.0, 14.0), "end", &format!("{:.0}", most / steps.step_s.max(1e-9)));
    drawing.figure(
        "Throughput and spend over time",
        "Bars: tokens sampled per second, by the clock from the first response to the last; line: the cost of the judge so far.",
        &table(&["after", "tokens/s", "USD so far"], &cells),
    )
}
