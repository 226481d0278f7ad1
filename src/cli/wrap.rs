//! Prepares untrusted text for a terminal: escapes control characters and wraps long lines.

use crate::report::is_steering;

/// The maximum width of plain output, in columns.
pub(super) const COLUMNS: usize = 80;

/// Replaces every character that controls the terminal or the text direction by its code. Keeps line breaks and tabs.
#[must_use]
pub(super) fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\t' => out.push(character),
            _ if is_steering(character) => out.push_str(&format!("<U+{:04X}>", u32::from(character))),
            _ => out.push(character),
        }
    }
    out
}

/// Wraps an untrusted text to lines of at most [`COLUMNS`] characters, each indented by `indent` spaces. Lines break
/// between words where possible.
#[must_use]
pub(super) fn block(text: &str, indent: usize) -> String {
    let width = COLUMNS.saturating_sub(indent).max(1);
    let mut out = String::new();
    for line in visible(text).lines() {
        for piece in wrap(&line.replace('\t', "    "), width) {
            let line = format!("{}{piece}", " ".repeat(indent));
            out.push_str(line.trim_end());
            out.push('\n');
        }
    }
    out
}

/// Breaks one line into pieces of at most `width` characters.
fn wrap(line: &str, width: usize) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut rest: Vec<char> = line.chars().collect();
    while rest.len() > width {
        let at = rest.iter().take(width + 1).rposition(|character| *character == ' ').filter(|at| *at > width / 2);
        let cut = at.unwrap_or(width);
        let tail = rest.split_off(cut);
        pieces.push(rest.into_iter().collect());
        // Drop the space at which the line breaks.
        rest = if at.is_some() { tail.into_iter().skip(1).collect() } else { tail };
    }
    pieces.push(rest.into_iter().collect());
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_keep_to_their_columns_and_lose_no_word() {
        let text = format!("{} {}\n\n  x", "word ".repeat(40), "y".repeat(200));
        let shown = block(&text, 4);
        assert!(shown.lines().all(|line| line.chars().count() <= COLUMNS), "{shown}");
        let letters = |text: &str| text.chars().filter(|character| !character.is_whitespace()).collect::<String>();
        assert_eq!(letters(&shown), letters(&text));
        assert!(shown.ends_with("      x\n"));
    }

    #[test]
    fn what_steers_a_terminal_is_shown_and_not_obeyed() {
        let shown = visible("a\u{1b}[31mb\u{0}\u{202e}c\u{7f}\td\n\u{e9}");
        assert_eq!(shown, "a<U+001B>[31mb<U+0000><U+202E>c<U+007F>\td\n\u{e9}");
    }
}
