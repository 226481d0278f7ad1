//! Texts reduced to what matters, for comparison as strings.

/// Layout that never changes what a text says.
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

/// Returns whether two texts are the same but for layout, text wrappers, and the case of words.
pub(in crate::verify) fn same_text(left: &str, right: &str) -> bool {
    let (left, right) = (squash(left), squash(right));
    if left.is_empty() {
        return false;
    }
    left == right || (is_words(&left) && is_words(&right) && strip_words(&left) == strip_words(&right))
}

/// Returns whether two formulas are written with the same signs in the same order, whatever their layout.
pub(in crate::verify) fn same_typesetting(left: &str, right: &str) -> bool {
    let bare = |text: &str| -> String {
        let text = squash(text).replace("\\cdot", "*").replace("\\times", "*").replace("**", "^");
        text.chars().filter(|c| !matches!(c, '{' | '}' | '*' | '$')).collect()
    };
    let (left, right) = (bare(left), bare(right));
    !left.is_empty() && left == right
}

/// Reads a decimal comma as a point, if that is all the text can mean besides a list.
pub(super) fn decimal_comma(text: &str) -> Option<String> {
    let trimmed: String =
        text.chars().filter(|c| !c.is_whitespace() && !matches!(c, '$' | '\\' | '\u{20ac}')).collect();
    let (whole, decimals) = trimmed.split_once(',')?;
    let digits = |part: &str| !part.is_empty() && part.len() <= 18 && part.bytes().all(|byte| byte.is_ascii_digit());
    let unsigned = whole.strip_prefix('-').unwrap_or(whole);
    (digits(unsigned) && digits(decimals) && decimals.len() != 3).then(|| format!("{whole}.{decimals}"))
}

fn squash(text: &str) -> String {
    let mut squashed: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    for layout in DROPPED {
        if squashed.contains(layout) {
            squashed = remove_command(&squashed, layout);
        }
    }
    for wrapper in ["text", "textbf", "mathrm", "textrm", "mbox", "mathbf"] {
        let opening = format!("\\{wrapper}{{");
        squashed = unwrap(&squashed, &opening);
    }
    let squashed = squashed.replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac").replace("{,}", ",");
    let squashed = squashed.replace("^{\\circ}", "\u{b0}").replace("^\\circ", "\u{b0}").replace("\\%", "%");
    squashed.trim_end_matches('.').to_owned()
}

/// Removes a command, but not the start of a longer one (`\left` of `\leftarrow`).
fn remove_command(text: &str, layout: &str) -> String {
    let is_word = layout.ends_with(|c: char| c.is_ascii_alphabetic());
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(layout) {
        let (before, after) = rest.split_at(at);
        let after = after.get(layout.len()..).unwrap_or("");
        result.push_str(before);
        // An escaped backslash belongs to what stands before it.
        let escaped = before.ends_with('\\') && layout.starts_with('\\');
        let longer = is_word && after.starts_with(|c: char| c.is_ascii_alphabetic());
        if escaped || longer {
            result.push_str(layout);
        }
        rest = after;
    }
    result.push_str(rest);
    result
}

/// Replaces `\text{content}` by its content, where the content has no braces.
fn unwrap(text: &str, opening: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(opening) {
        result.push_str(before);
        match after.split_once('}') {
            Some((content, tail)) if !content.contains('{') => {
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

/// Words: at least two letters in a row, and no sign that mathematics is made of.
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

/// Folds the case of words, and takes brackets off a single letter: `(E)` is `E`.
fn strip_words(text: &str) -> String {
    let bare = text.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).unwrap_or(text);
    if bare.chars().count() == 1 { bare.to_owned() } else { text.to_lowercase() }
}

/// Returns whether a text holds no letter, digit or sign of mathematics.
pub(super) fn is_blank(text: &str) -> bool {
    let squashed = squash(text);
    let says = |c: char| c.is_alphanumeric() || matches!(c, '\u{221e}' | '\u{2205}' | '?' | '{');
    !squashed.chars().any(says)
}

/// Splits the label of a choice off the value behind it: `(B) 12`, `\textbf{(B)}\ 12`.
pub(super) fn label(text: &str) -> Option<(&str, &str)> {
    let text = text.trim().trim_start_matches('$').trim_start();
    let wrapped = ["\\textbf{", "\\text{", "\\mathrm{", "\\mathbf{", "\\textrm{"];
    let inner = wrapped.iter().find_map(|wrapper| text.strip_prefix(wrapper));
    let body = inner.unwrap_or(text).trim_start().strip_prefix('(')?;
    let label = body.get(..1).filter(|label| label.bytes().all(|byte| (b'A'..=b'F').contains(&byte)))?;
    let rest = body.get(1..)?.strip_prefix(')')?;
    let rest = if inner.is_some() {
        // The brace that closes the wrapper stands behind the label, or at the end of the value.
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
