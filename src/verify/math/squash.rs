//! Reduces texts to their content, for comparison as strings.

use super::reading::is_readable;

/// Layout commands that never change the meaning of a text.
const DROPPED: &[&str] = &[
    "\\left",
    "\\right",
    "\\displaystyle",
    "\\!",
    "\\,",
    "\\;",
    "\\:",
    "\\quad",
    "\\qquad",
    "\\$",
    "$",
    "\\(",
    "\\)",
    "\\[",
    "\\]",
    "~",
];

/// Layout commands that produce a space.
const SPACES: &[&str] = &["\\,", "\\;", "\\:", "\\quad", "\\qquad", "$", "\\(", "\\)", "\\[", "\\]", "~"];

/// Returns whether two texts differ only in layout, text wrappers, and the case of words.
pub(crate) fn same_text(left: &str, right: &str) -> bool {
    let (left, right) = (squash(left), squash(right));
    if left.is_empty() {
        return false;
    }
    left == right || (is_words(&left) && is_words(&right) && strip_words(&left) == strip_words(&right))
}

/// Returns whether two formulas have the same signs in the same order, whatever their layout.
pub(crate) fn same_typesetting(left: &str, right: &str) -> bool {
    let bare = |text: &str| -> String {
        let text = squash(text).replace("\\cdot", "*").replace("\\times", "*").replace("**", "^");
        text.chars().filter(|c| !matches!(c, '{' | '}' | '*' | '$')).collect()
    };
    let (left, right) = (bare(left), bare(right));
    !left.is_empty() && left == right
}

/// Returns whether a text itself shows that its commas are decimal commas: `0{,}5`, `1.234,56`.
pub(super) fn shows_decimal_commas(text: &str) -> bool {
    let digits = |part: &str| part.bytes().take_while(u8::is_ascii_digit).count();
    let braced = text.match_indices("{,}").any(|(at, comma)| {
        let after = text.get(at + comma.len()..).map_or(0, digits);
        let before = text.get(..at).is_some_and(|before| before.ends_with(|c: char| c.is_ascii_digit()));
        before && after > 0 && after != 3
    });
    let dotted = text.match_indices(',').any(|(at, _)| {
        let whole = text.get(..at).unwrap_or("");
        let start = whole.rfind(|c: char| !c.is_ascii_digit() && c != '.').map_or(0, |at| at + 1);
        let groups: Vec<&str> = whole.get(start..).unwrap_or("").split('.').collect();
        groups.len() > 1 && groups.iter().skip(1).all(|group| group.len() == 3)
    });
    braced || dotted
}

/// Replaces a decimal comma by a point, if the text can otherwise only be a list.
pub(super) fn decimal_comma(text: &str) -> Option<String> {
    // A space after the comma makes a list.
    if text.split_once(',').is_some_and(|(_, rest)| rest.starts_with(char::is_whitespace)) {
        return None;
    }
    let trimmed: String =
        text.chars().filter(|c| !c.is_whitespace() && !matches!(c, '$' | '\\' | '{' | '}' | '\u{20ac}')).collect();
    let (whole, decimals) = trimmed.split_once(',')?;
    let digits = |part: &str| !part.is_empty() && part.len() <= 18 && part.bytes().all(|byte| byte.is_ascii_digit());
    let unsigned = whole.strip_prefix('-').unwrap_or(whole);
    (digits(unsigned) && digits(decimals) && decimals.len() != 3).then(|| format!("{whole}.{decimals}"))
}

fn squash(text: &str) -> String {
    let mut squashed = text.to_owned();
    for layout in DROPPED {
        if squashed.contains(layout) {
            // A space between two numbers separates them.
            squashed = replace_command(&squashed, layout, if SPACES.contains(layout) { " " } else { "" });
        }
    }
    // Before and after the removal of spaces: `\text{ }` is a space itself.
    for _ in 0..2 {
        for wrapper in ["text", "textbf", "mathrm", "textrm", "mbox", "mathbf"] {
            squashed = unwrap(&squashed, &format!("\\{wrapper}{{"));
        }
        squashed = without_spaces(&squashed);
    }
    let squashed = match squashed.strip_prefix('(').and_then(|rest| rest.split_once(")_")) {
        // `(2B4)_{16}`.
        Some((digits, base)) if digits.bytes().all(|byte| byte.is_ascii_alphanumeric()) => format!("{digits}_{base}"),
        _ => squashed,
    };
    let squashed = squashed.replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac");
    let squashed = squashed.replace("^{\\circ}", "\u{b0}").replace("^\\circ", "\u{b0}").replace("\\%", "%");
    squashed.trim_end_matches('.').to_owned()
}

/// Removes white space, except one space between two digits.
fn without_spaces(text: &str) -> String {
    let mut squashed = String::with_capacity(text.len());
    let mut is_spaced = false;
    for character in text.chars() {
        if character.is_whitespace() {
            is_spaced = true;
            continue;
        }
        if is_spaced && character.is_ascii_digit() && squashed.ends_with(|c: char| c.is_ascii_digit()) {
            squashed.push(' ');
        }
        is_spaced = false;
        squashed.push(character);
    }
    squashed
}

/// Replaces a command, but not the beginning of a longer one (`\left` of `\leftarrow`).
fn replace_command(text: &str, layout: &str, space: &str) -> String {
    let is_word = layout.ends_with(|c: char| c.is_ascii_alphabetic());
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(layout) {
        let (before, after) = rest.split_at(at);
        let after = after.get(layout.len()..).unwrap_or("");
        result.push_str(before);
        // An escaped backslash belongs to the preceding character.
        let escaped = before.ends_with('\\') && layout.starts_with('\\');
        let longer = is_word && after.starts_with(|c: char| c.is_ascii_alphabetic());
        if escaped || longer {
            result.push_str(layout);
        } else {
            result.push_str(space);
        }
        rest = after;
    }
    result.push_str(rest);
    result
}

/// Replaces `\text{content}` by its content, if the content has no braces.
fn unwrap(text: &str, opening: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(opening) {
        result.push_str(before);
        // Only up to the next brace: with a search for the closing one, text without it takes quadratic time.
        match after.split_once(['{', '}']) {
            Some((content, tail)) if after.get(content.len()..).is_some_and(|brace| brace.starts_with('}')) => {
                result.push_str(content);
                rest = tail;
            }
            _ => {
                result.push_str(opening);
                rest = after;
            }
        }
    }
    result.push_str(rest);
    result
}

/// Returns whether a text is words: at least two letters in a row, and no sign of mathematics.
fn is_words(text: &str) -> bool {
    let mathematical = |c: char| matches!(c, '\\' | '^' | '_' | '=' | '+' | '*' | '/' | '{' | '}' | '<' | '>');
    !text.contains(mathematical) && is_word_like(text)
}

fn is_word_like(text: &str) -> bool {
    let bare = strip_words(text);
    let letters = bare.chars().filter(|c| c.is_alphabetic()).count();
    let is_known = matches!(bare.as_str(), "yes" | "no" | "odd" | "all" | "dne" | "tie" | "mon" | "tue");
    letters >= 4 || is_known || (bare.chars().count() == 1 && letters == 1)
}

/// Folds the case of words, and removes brackets around a single letter: `(E)` is `E`.
fn strip_words(text: &str) -> String {
    let bare = text.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).unwrap_or(text);
    if bare.chars().count() == 1 { bare.to_owned() } else { text.to_lowercase() }
}

/// Returns whether a text has no letter, digit or sign of mathematics.
pub(super) fn is_blank(text: &str) -> bool {
    let squashed = squash(text);
    let says = |c: char| c.is_alphanumeric() || matches!(c, '\u{221e}' | '\u{2205}' | '?' | '{');
    !squashed.chars().any(says)
}

/// Splits a choice's label off the value after it: `(B) 12`, `\textbf{(B)}\ 12`.
pub(super) fn label(text: &str) -> Option<(&str, &str)> {
    let text = text.trim().trim_start_matches('$').trim_start();
    let wrapped = ["\\textbf{", "\\text{", "\\mathrm{", "\\mathbf{", "\\textrm{"];
    let inner = wrapped.iter().find_map(|wrapper| text.strip_prefix(wrapper));
    if let Some(labelled) = pointed_label(text) {
        return Some(labelled);
    }
    let body = inner.unwrap_or(text).trim_start().strip_prefix('(')?;
    let label = body.get(..1).filter(|label| label.bytes().all(|byte| (b'A'..=b'F').contains(&byte)))?;
    let rest = body.get(1..)?.strip_prefix(')')?;
    let rest = if inner.is_some() {
        // The closing brace of the wrapper is after the label, or at the end of the value.
        let rest = rest.trim_start_matches([' ', '~']);
        rest.strip_prefix('}').or_else(|| rest.strip_suffix('}')).unwrap_or(rest)
    } else {
        rest
    };
    let value = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '~').trim_start_matches("\\ ").trim();
    // `(A) + 2` computes with A.
    let is_computed = value.starts_with(['+', '*', '/', '^', '=']);
    (!value.is_empty() && !is_computed).then_some((label, value))
}

/// Splits `C. 12`, `C) 12` and `C: 12`.
fn pointed_label(text: &str) -> Option<(&str, &str)> {
    let label = text.get(..1).filter(|label| label.bytes().all(|byte| (b'A'..=b'F').contains(&byte)))?;
    let rest = text.get(1..)?.strip_prefix(['.', ')', ':'])?;
    let value = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '~').trim_start_matches("\\ ").trim();
    let is_apart = rest.starts_with([' ', '~', '$', '{', '\\']);
    // `A. Lincoln` is a name.
    (is_apart && !value.is_empty() && is_readable(value)).then_some((label, value))
}

/// Signs that introduce a conclusion.
const THEREFORE: &[&str] = &["\\therefore", "\\Rightarrow", "\\implies", "\\Longrightarrow", "\u{21d2}", "\u{2234}"];
/// Operations that the parser does not support; the side that they equal is compared.
const OPERATIONS: &[&str] = &["\\lim", "\\int", "\\iint", "\\oint"];

/// Returns the text after the last conclusion sign, or the side that an unsupported operation equals.
pub(super) fn conclusion(text: &str) -> Option<&str> {
    let concluded = THEREFORE.iter().filter_map(|sign| text.rfind(sign).map(|at| at + sign.len())).max();
    if let Some(end) = concluded {
        return text.get(end..);
    }
    let start = text.trim().trim_start_matches('$').trim_start();
    let is_operation = OPERATIONS.iter().any(|operation| start.starts_with(operation));
    let (left, right) = text.rsplit_once('=').filter(|_| is_operation)?;
    let depth = |sign: char| left.matches(sign).count();
    (depth('{') == depth('}')).then_some(right)
}

/// Removes plain braces around a whole text.
pub(super) fn unbraced(text: &str) -> Option<&str> {
    let mut text = text.trim();
    for command in ["\\color{", "\\textcolor{"] {
        if let Some((_, rest)) = text.strip_prefix(command).and_then(|rest| rest.split_once('}')) {
            text = rest.trim();
        }
    }
    let inner = text.strip_prefix('{')?.strip_suffix('}').filter(|inner| !inner.ends_with('\\'))?;
    let mut depth = 0usize;
    for character in inner.chars() {
        match character {
            '{' => depth += 1,
            '}' => depth = depth.checked_sub(1)?,
            _ => {}
        }
    }
    Some(inner)
}
