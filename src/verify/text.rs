//! Short texts, compared after normalisation.
//!
//! Both sides are normalised by NFKC, case folding (lower case) and white-space collapsing; then quotes, punctuation
//! and an English article are trimmed from the ends. The rest must be equal. The comparison knows no synonyms, no
//! spelling variants and no optional inner punctuation: a gold may list alternatives, as `Paris || City of Paris` or as
//! a JSON list of strings, and each of them is right.

use unicode_normalization::UnicodeNormalization;

/// Returns the normalised form for comparisons.
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

/// Returns the normalised texts that a gold allows, without empty ones.
pub(super) fn allowed(gold: &str) -> Vec<String> {
    let listed: Option<Vec<String>> =
        if gold.trim_start().starts_with('[') { serde_json::from_str(gold).ok() } else { None };
    let aliases = listed.unwrap_or_else(|| gold.split("||").map(str::to_owned).collect());
    let texts = aliases.iter().map(|alias| normalise(&unwrap_latex(alias)));
    texts.filter(|alias| !alias.is_empty()).collect()
}

fn strip_ends(text: &str) -> &str {
    text.trim_matches(|c: char| {
        c.is_whitespace()
            || matches!(c, '.' | ',' | ';' | ':' | '!' | '?' | '"' | '\'' | '`' | '*' | '_')
            || matches!(c, '\u{201c}' | '\u{201d}' | '\u{2018}' | '\u{2019}' | '\u{ab}' | '\u{bb}' | '\u{3002}')
    })
}

/// Returns the content of math delimiters and text wrappers, or the text itself.
pub(super) fn unwrap_latex(text: &str) -> String {
    const WRAPPERS: &[&str] =
        &["\\text{", "\\textbf{", "\\mathrm{", "\\textit{", "\\textrm{", "\\mbox{", "\\emph{", "\\boxed{"];
    let mut bare = text.trim().trim_matches('$').replace("\\(", "").replace("\\)", "");
    for wrapper in WRAPPERS {
        // Removes a wrapper and its closing brace, for each occurrence.
        for _ in 0..8 {
            let Some((before, after)) = bare.split_once(wrapper) else { break };
            let Some((content, behind)) = after.split_once('}').filter(|(content, _)| !content.contains('{')) else {
                break;
            };
            bare = format!("{before}{content}{behind}");
        }
    }
    bare.replace("\\ ", " ").replace("\\,", " ").replace('~', " ")
}
