//! Finds the texts that a sentence gives as its answer, for answers in words.
//!
//! "It was Isabella Rossellini." gives the text after the verb, "**Paris** is the capital." gives the bold text,
//! "Paris, the capital of France" gives the text before the explanation. "Paris, London" and "Paris, or maybe London"
//! give no single text; "not Paris" and "It isn't Paris" give none. A sentence that only contains the answer does not
//! give it.

use super::phrases;

/// Most verbs of one sentence that are examined.
const VERBS_MAX: usize = 8;

/// Longest sentence that is parsed, in bytes.
const SENTENCE_BYTES_MAX: usize = 2_000;

/// Verbs between a subject and the answer.
const LINKS: &[&str] = &[
    " is ",
    " was ",
    " are ",
    " were ",
    " must be ",
    " should be ",
    " would be ",
    " will be ",
    " can only be ",
    "'s ",
    " has to be ",
];
/// Words before or after a verb that retract the answer or leave it open.
const DOUBTS: &[&str] = &[
    "not",
    "never",
    "cannot",
    "whether",
    "if",
    "maybe",
    "perhaps",
    "possibly",
    "either",
    "neither",
    "nor",
    "unlikely",
    "unsure",
    "wrong",
    "incorrect",
    "false",
    "no",
    "or",
    "except",
    "but",
    "unless",
    "doubt",
    "doubtful",
    "hardly",
];
/// Words that begin an explanation after a comma.
const EXPLAINING: &[&str] = &[
    "the", "a", "an", "which", "who", "whose", "where", "not", "since", "because", "as", "so", "in", "located", "one",
    "while", "and not", "rather", "instead", "it", "this", "that", "born", "also", "known", "based", "due", "given",
    "for", "by", "from", "with", "when",
];

/// Returns the texts that a sentence may give as its answer, the likeliest first; none if the sentence denies.
pub(super) fn of(sentence: &str) -> Vec<String> {
    let sentence = phrases::trim_decoration(sentence);
    let mut claims = vec![sentence.to_owned()];
    if sentence.len() > SENTENCE_BYTES_MAX {
        return claims;
    }
    if begins_with_denial(sentence) {
        return Vec::new();
    }
    let claim = phrases::without_reason(sentence);
    let front = without_explanation(claim);
    claims.extend([claim, front].map(str::to_owned));
    claims.extend(behind_verbs(front).into_iter().map(str::to_owned));
    claims.retain(|claim| !claim.trim().is_empty());
    claims.dedup();
    claims
}

/// Returns the text before the verb of a sentence that announces its answer: "Evelyn has the greatest speed".
pub(super) fn subject(sentence: &str) -> Option<&str> {
    const VERBS: &[&str] = &[" is ", " was ", " has ", " had ", " are ", " were ", " will ", " did ", " won "];
    let (at, verb) = VERBS.iter().filter_map(|verb| Some((sentence.find(verb)?, *verb))).min()?;
    let behind = sentence.get(at + verb.len()..)?;
    let is_denied = words(behind).take(2).any(|word| DOUBTS.contains(&word.as_str()));
    (!is_denied && !begins_with_denial(sentence)).then(|| sentence.get(..at)).flatten().map(phrases::trim_decoration)
}

fn begins_with_denial(sentence: &str) -> bool {
    words(sentence)
        .next()
        .is_some_and(|word| matches!(word.as_str(), "not" | "never" | "neither" | "except" | "anything"))
        && words(sentence).count() > 1
}

/// Removes an explanation: text in brackets, or text after a comma that begins like an explanation.
fn without_explanation(claim: &str) -> &str {
    let bracket = claim.find(" (").filter(|at| *at > 0);
    let mut end = bracket.unwrap_or(claim.len());
    for (at, mark) in claim.char_indices().filter(|(_, c)| matches!(c, ',' | ';')) {
        let behind = claim.get(at + mark.len_utf8()..).unwrap_or("");
        let first = words(behind).next().unwrap_or_default();
        let begins_lower = behind.trim_start().starts_with(|c: char| c.is_ascii_lowercase());
        if at < end && begins_lower && EXPLAINING.contains(&first.as_str()) {
            end = at;
        }
    }
    phrases::trim_decoration(claim.get(..end).unwrap_or(claim))
}

/// Returns the text after each linking verb of a sentence. A name may contain such a verb: "Rubik's Cube".
fn behind_verbs(sentence: &str) -> Vec<&str> {
    let verbs = LINKS.iter().flat_map(|verb| sentence.match_indices(verb)).take(VERBS_MAX);
    let claims = verbs.filter_map(|(at, verb)| {
        let (before, behind) = (sentence.get(..at)?, sentence.get(at + verb.len()..)?);
        let leaves_open = words(before).any(|word| DOUBTS.contains(&word.as_str()) || word.ends_with("n't"))
            || words(behind).next().is_some_and(|word| DOUBTS.contains(&word.as_str()));
        (!leaves_open).then(|| phrases::trim_decoration(behind))
    });
    claims.collect()
}

fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|c: char| !c.is_alphanumeric() && c != '\'').filter(|word| !word.is_empty()).map(str::to_lowercase)
}
