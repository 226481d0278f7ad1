//! Short texts, compared after normalisation.
//!
//! Both sides go through NFKC, case folding (by lower case), and white-space collapsing; then quotes, punctuation and
//! an English article are taken off the ends. What is left must be equal. Synonyms, spelling and inner punctuation are
//! not known here.

use unicode_normalization::UnicodeNormalization;

/// Returns the form under which texts are compared.
pub(super) fn normalise(text: &str) -> String {
    let folded: String = text.nfkc().flat_map(char::to_lowercase).collect();
    let collapsed = folded.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut rest = strip_ends(&collapsed);
    for article in ["the ", "a ", "an "] {
        if let Some(noun) = rest.strip_prefix(article) {
            rest = strip_ends(noun);
            break;
        }
    }
    rest.to_owned()
}

fn strip_ends(text: &str) -> &str {
    text.trim_matches(|c: char| {
        c.is_whitespace()
            || matches!(c, '.' | ',' | ';' | ':' | '!' | '?' | '"' | '\'' | '`' | '*' | '_')
            || matches!(c, '\u{201c}' | '\u{201d}' | '\u{2018}' | '\u{2019}' | '\u{ab}' | '\u{bb}' | '\u{3002}')
    })
}

/// Returns the content of a text that is one `\text{...}` wrapper, or the text itself.
pub(super) fn unwrap_latex(text: &str) -> String {
    let inner = text.trim().trim_matches('$');
    let unwrapped = ["\\text{", "\\textbf{", "\\mathrm{", "\\textit{"]
        .iter()
        .find_map(|opening| inner.strip_prefix(opening).and_then(|rest| rest.strip_suffix('}')));
    unwrapped.unwrap_or(inner).to_owned()
}
