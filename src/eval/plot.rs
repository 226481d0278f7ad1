//! Accuracy against tokens, as a self-contained page: an SVG with the tables as text.

use super::bootstrap::Interval;
use super::{Line, Report};

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 420.0;
const MARGIN: f64 = 60.0;

/// Returns a self-contained HTML page.
#[must_use]
pub fn html(report: &Report, tables: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{model}: evaluation</title>\n\
         <style>body{{font:14px/1.4 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem}}\
         pre{{overflow-x:auto;background:#f6f6f6;padding:1rem}}</style></head>\n\
         <body><h1>{model}: accuracy against tokens</h1>\n{svg}\n<pre>{tables}</pre></body></html>\n",
        model = escaped(&report.model),
        svg = svg(report),
        tables = escaped(tables),
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A range of values on an axis, with a margin on both sides.
struct Axis {
    low: f64,
    high: f64,
}

impl Axis {
    fn over(values: impl Iterator<Item = f64>, floor: f64, ceiling: f64) -> Self {
        let (low, high) = values
            .filter(|value| value.is_finite())
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        let room = ((high - low) * 0.15).max(1e-9).max(if ceiling <= 1.0 { 0.02 } else { 1.0 });
        if low > high {
            Self { low: floor, high: floor + 1.0 }
        } else {
            Self { low: (low - room).max(floor), high: (high + room).min(ceiling) }
        }
    }

    /// Returns the position of a value on the axis, 0 to 1.
    fn place(&self, value: f64) -> f64 {
        (value - self.low) / (self.high - self.low).max(1e-12)
    }

    /// Returns round values within the range.
    fn ticks(&self) -> Vec<f64> {
        let step = 10_f64.powf(((self.high - self.low) / 5.0).log10().floor());
        let step =
            [1.0, 2.0, 5.0, 10.0].iter().map(|times| times * step).find(|step| (self.high - self.low) / step <= 8.0);
        let step = step.unwrap_or(1.0);
        let first = (self.low / step).ceil() as i64;
        (first..first + 12).map(|index| index as f64 * step).take_while(|tick| *tick <= self.high).collect()
    }
}

/// Returns the plot: one point per condition over all queries, with both intervals.
#[must_use]
pub fn svg(report: &Report) -> String {
    let lines: Vec<&Line> = report.lines.iter().filter(|line| line.by == "all").collect();
    let ends = |interval: &Interval| [interval.low, interval.high];
    let x_axis = Axis::over(lines.iter().flat_map(|line| ends(&line.measures.tokens_mean)), 0.0, f64::INFINITY);
    let y_axis = Axis::over(lines.iter().flat_map(|line| ends(&line.measures.accuracy)), 0.0, 1.0);
    let x = |value: f64| MARGIN + x_axis.place(value) * (WIDTH - 2.0 * MARGIN);
    let y = |value: f64| HEIGHT - MARGIN - y_axis.place(value) * (HEIGHT - 2.0 * MARGIN);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
         font-family=\"system-ui,sans-serif\" font-size=\"12\" role=\"img\">\n\
         <title>Accuracy against mean tokens</title>\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n"
    );
    let (left, right, top, bottom) = (MARGIN, WIDTH - MARGIN, MARGIN, HEIGHT - MARGIN);
    for tick in x_axis.ticks() {
        let at = x(tick);
        svg.push_str(&format!("<path d=\"M{at:.1} {top}V{bottom}\" stroke=\"#eee\"/><text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{tick}</text>\n", bottom + 18.0));
    }
    for tick in y_axis.ticks() {
        let at = y(tick);
        svg.push_str(&format!("<path d=\"M{left} {at:.1}H{right}\" stroke=\"#eee\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{:.0}%</text>\n", left - 6.0, at + 4.0, 100.0 * tick));
    }
    svg.push_str(&format!(
        "<path d=\"M{left} {top}V{bottom}H{right}\" fill=\"none\" stroke=\"#444\"/>\n\
         <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">mean tokens of a response</text>\n\
         <text x=\"16\" y=\"{:.1}\" text-anchor=\"middle\" transform=\"rotate(-90 16 {:.1})\">accuracy (pass@1)</text>\n",
        f64::midpoint(left, right), bottom + 40.0, f64::midpoint(top, bottom), f64::midpoint(top, bottom)
    ));
    for line in lines {
        let color = match line.condition {
            super::Condition::Free => "#1b7837",
            super::Condition::On => "#b2182b",
            super::Condition::Off => "#2166ac",
        };
        let (tokens, accuracy) = (&line.measures.tokens_mean, &line.measures.accuracy);
        let (at_x, at_y) = (x(tokens.estimate), y(accuracy.estimate));
        svg.push_str(&format!(
            "<g stroke=\"{color}\" fill=\"{color}\"><path d=\"M{:.1} {at_y:.1}H{:.1}M{at_x:.1} {:.1}V{:.1}\"/>\
             <circle cx=\"{at_x:.1}\" cy=\"{at_y:.1}\" r=\"5\"/><text x=\"{:.1}\" y=\"{:.1}\" stroke=\"none\">{}, think rate {:.0}%</text></g>\n",
            x(tokens.low), x(tokens.high), y(accuracy.low), y(accuracy.high), at_x + 9.0, at_y - 8.0,
            line.condition, 100.0 * line.measures.think_rate.estimate,
        ));
    }
    svg.push_str("</svg>");
    svg
}
