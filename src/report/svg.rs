//! Small SVG drawings, coloured by classes of the page's style, and the tables with the same numbers.

use std::fmt::Write;

use crate::domain::text::shortened;

/// Returns text escaped for HTML and SVG elements and attributes. Characters that control a terminal or the direction
/// of text are replaced by their code.
#[must_use]
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(character),
            _ if is_steering(character) => drop(write!(out, "\u{27e8}{:04x}\u{27e9}", u32::from(character))),
            _ => out.push(character),
        }
    }
    out
}

/// Returns whether a character controls a terminal or the direction of text.
#[must_use]
pub fn is_steering(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A drawing in progress.
pub(super) struct Drawing {
    width: f64,
    height: f64,
    body: String,
}

impl Drawing {
    /// Starts a drawing; the size is in units of the drawing.
    #[must_use]
    pub(super) fn new(width: f64, height: f64) -> Self {
        Self { width, height, body: String::new() }
    }

    /// Adds a rectangle with a class, an opacity in 0..=1 and a tooltip.
    pub(super) fn rect(
        &mut self,
        (x, y): (f64, f64),
        (width, height): (f64, f64),
        class: &str,
        cover: f64,
        title: &str,
    ) {
        let title = if title.is_empty() { String::new() } else { format!("<title>{}</title>", escape(title)) };
        let _ = write!(
            self.body,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\" class=\"{class}\" fill-opacity=\"{cover:.2}\">{title}</rect>",
            width.max(0.0),
            height.max(0.0)
        );
    }

    /// Adds a text; `anchor` is `start`, `middle` or `end`.
    pub(super) fn text(&mut self, (x, y): (f64, f64), anchor: &str, text: &str) {
        let _ = write!(self.body, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>", escape(text));
    }

    /// Adds a straight line of the axes.
    pub(super) fn axis(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        let _ = write!(self.body, "<path class=\"axis\" d=\"M{x1:.1} {y1:.1}L{x2:.1} {y2:.1}\"/>");
    }

    /// Adds a line through points.
    pub(super) fn line(&mut self, points: &[(f64, f64)], class: &str) {
        let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = write!(self.body, "<polyline class=\"{class}\" points=\"{}\"/>", points.join(" "));
    }

    /// Returns the figure: drawing, caption, and a table with the same numbers.
    #[must_use]
    pub(super) fn figure(self, caption: &str, says: &str, table: &str) -> String {
        let Self { width, height, body } = self;
        format!(
            "<figure><figcaption>{}</figcaption><svg viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" aria-label=\"{}\">{body}</svg>\
             <p class=\"soft\">{}</p><details><summary>table of the numbers</summary><div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"numbers of: {}\">{table}</div></details></figure>\n",
            escape(caption),
            escape(&format!("{caption}. {says}")),
            escape(says),
            escape(caption),
        )
    }
}

/// Returns a table; columns after the first are numbers.
#[must_use]
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let cells = |tag: &str, cells: &[String]| -> String {
        let cell = |(index, text): (usize, &String)| {
            let class = if index > 0 { " class=\"n\"" } else { "" };
            format!("<{tag}{class}>{}</{tag}>", escape(text))
        };
        cells.iter().enumerate().map(cell).collect()
    };
    let head: Vec<String> = head.iter().map(|text| (*text).to_owned()).collect();
    let rows: String = rows.iter().map(|row| format!("<tr>{}</tr>", cells("td", row))).collect();
    format!("<table><thead><tr>{}</tr></thead><tbody>{rows}</tbody></table>", cells("th", &head))
}

/// Returns horizontal bars, one per row: label, value in 0..=max, class, value as text.
#[must_use]
pub(super) fn bars(rows: &[(String, f64, &str, String)], max: f64) -> Drawing {
    const ROW: f64 = 22.0;
    let mut drawing = Drawing::new(400.0, ROW * rows.len().max(1) as f64 + 4.0);
    let max = if max > 0.0 { max } else { 1.0 };
    for (index, (label, value, class, says)) in rows.iter().enumerate() {
        let y = ROW * index as f64 + 4.0;
        drawing.text((138.0, y + 12.0), "end", &shortened(label, 22));
        drawing.rect((144.0, y), (170.0 * value / max, 15.0), class, 1.0, &format!("{label}: {says}"));
        drawing.text((150.0 + 170.0 * value / max, y + 12.0), "start", says);
    }
    drawing
}
