//! Removes the usual forms of a choice: brackets or marks around its letter, and layout around letter and text.

/// Removes text wrappers, math delimiters and emphasis.
pub(super) fn undress(text: &str) -> String {
    let mut bare = text.to_owned();
    for wrapper in [
        "\\textbf", "\\textrm", "\\textit", "\\text", "\\mathbf", "\\mathrm", "\\mbox", "\\(", "\\)", "\\[", "\\]",
        "\\left", "\\right", "\\ ", "\\,", "\\;", "~",
    ] {
        bare = bare.replace(wrapper, "");
    }
    let bare: String = bare.chars().filter(|c| !matches!(c, '*' | '$' | '{' | '}' | '`' | '"')).collect();
    bare.trim().to_owned()
}

/// Parses a text that is one letter, in brackets or with a closing mark.
pub(super) fn letter_form(text: &str) -> Option<usize> {
    let bare =
        text.trim_matches(|c: char| c.is_whitespace() || matches!(c, '(' | ')' | '[' | ']' | '.' | ':' | ',' | '\''));
    let mut characters = bare.chars();
    let letter = characters.next()?;
    if characters.next().is_some() { None } else { index_of(letter) }
}

/// Parses a letter with a mark before more text: `B. Paris`, `(B) Paris`, `B) Paris`.
pub(super) fn leading_letter(text: &str) -> Option<(usize, &str)> {
    let bare = text.strip_prefix(['(', '[']).unwrap_or(text);
    let mut characters = bare.chars();
    let index = index_of(characters.next()?)?;
    let rest = characters.as_str();
    let marked = rest.strip_prefix([')', ']', '.', ':', ',', '\u{3001}', '\u{ff0e}'])?;
    Some((index, marked.trim_start_matches(['.', ':', ' '])))
}

/// Returns the 0-based choice of a letter.
pub(super) fn index_of(letter: char) -> Option<usize> {
    let letter = letter.to_ascii_uppercase();
    letter.is_ascii_uppercase().then(|| usize::try_from(u32::from(letter) - u32::from('A')).ok()).flatten()
}
