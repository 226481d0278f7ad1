//! Formats the evaluation as text.

use super::bootstrap::Interval;
use super::{Change, Line, Report};

fn percent(share: f64) -> String {
    format!("{:.1}%", 100.0 * share)
}

fn shown(interval: &Interval) -> String {
    format!("{} [{}, {}]", percent(interval.estimate), bare(interval.low), bare(interval.high))
}

fn bare(share: f64) -> String {
    format!("{:.1}", 100.0 * share)
}

fn name(line: &Line) -> String {
    if line.value.is_empty() { line.condition.to_string() } else { format!("{} {}", line.value, line.condition) }
}

/// Formats rows as a table with aligned columns; the first column is left-aligned.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
            if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// Returns the tables: the measures, and the changes against the baseline.
#[must_use]
pub fn text(report: &Report) -> String {
    let header =
        ["", "queries", "responses", "accuracy", "mean tokens", "median", "think rate", "format", "leak", "other mode"];
    let mut rows: Vec<Vec<String>> = vec![header.map(str::to_owned).to_vec()];
    let mut by = "all";
    for line in &report.lines {
        if line.by != by {
            by = &line.by;
            rows.push(vec![format!("by {by}")]);
        }
        let measures = &line.measures;
        let tokens = &measures.tokens_mean;
        rows.push(vec![
            name(line),
            measures.queries.to_string(),
            measures.responses.to_string(),
            shown(&measures.accuracy),
            format!("{:.1} [{:.1}, {:.1}]", tokens.estimate, tokens.low, tokens.high),
            format!("{:.0}", measures.tokens_median),
            percent(measures.think_rate.estimate),
            percent(measures.format_rate),
            measures.leak_rate.map_or_else(|| "-".to_owned(), percent),
            percent(measures.other_rate),
        ]);
    }
    let mut text = format!("{}\n{}", report.model, aligned(&rows));
    if let Some(baseline) = &report.baseline {
        text.push_str(&format!("\nchange against {baseline}, over the queries that both have\n{}", changes(report)));
    }
    text.push_str("\n[ ]: 95% intervals of a paired bootstrap over queries\n");
    text
}

fn changes(report: &Report) -> String {
    let header = ["", "against", "queries", "accuracy", "(relative)", "tokens", "think rate", "(relative)"];
    let mut rows: Vec<Vec<String>> = vec![header.map(str::to_owned).to_vec()];
    let points = |change: &Change| {
        let Interval { estimate, low, high } = change.difference;
        format!("{:+.1} pt [{:+.1}, {:+.1}]", 100.0 * estimate, 100.0 * low, 100.0 * high)
    };
    let relative = |change: &Change| match change.relative {
        Some(Interval { estimate, low, high }) => {
            format!("{:+.1}% [{:+.1}, {:+.1}]", 100.0 * estimate, 100.0 * low, 100.0 * high)
        }
        None => "-".to_owned(),
    };
    for line in &report.lines {
        let Some(change) = &line.change else { continue };
        rows.push(vec![
            name(line),
            change.baseline.to_string(),
            change.queries.to_string(),
            points(&change.accuracy),
            relative(&change.accuracy),
            relative(&change.tokens),
            points(&change.think_rate),
            relative(&change.think_rate),
        ]);
    }
    if rows.len() == 1 {
        return "  it has none of these queries under the same conditions; --baseline-condition NAME compares with one condition\n".to_owned();
    }
    aligned(&rows)
}
