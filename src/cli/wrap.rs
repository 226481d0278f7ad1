//! Foreign text on a terminal: harmless, and no wider than the screen.

use crate::report::is_steering;

/// Columns that plain output keeps to.
pub(super) const COLUMNS: usize = 80;

/// Returns a text of which nothing steers the terminal or turns the direction of what follows: such characters are shown
/// by their code. Line breaks and tabs stay.
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

/// Returns a foreign text as lines of at most [`COLUMNS`] characters, each indented by `indent` spaces; lines break
/// between words where they can.
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
        // The space at which a line breaks is not written.
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
