//! Splits an answer that names choices into clauses, and decides which clauses deny.

use super::dress::undress;
use crate::text;

/// Words that begin a concluding clause.
const CONCLUDING: &[&str] =
    &["so ", "therefore", "thus ", "hence ", "then ", "consequently", "i pick", "i choose", "we choose", "i select"];
/// Words that begin a reason.
const REASONS: &[&str] = &["because ", "since ", "as ", "although ", "while ", "whereas ", "\u{56e0}\u{4e3a}"];
/// Words that begin a new clause within a sentence.
const TURNS: &[&str] = &[
    " because ",
    " since ",
    " so ",
    " therefore ",
    " thus ",
    " hence ",
    " but ",
    " rather than ",
    " instead of ",
    " although ",
    " whereas ",
    " which ",
    " i pick ",
    " i choose ",
    " i.e. ",
    " and not ",
    "\u{56e0}\u{4e3a}",
    "\u{4e0d}\u{662f}",
];

/// A part of an answer that makes one statement.
pub(super) struct Clause<'a> {
    pub(super) text: &'a str,
    /// Whether the clause begins with a concluding word such as "so".
    pub(super) concludes: bool,
    /// Whether the clause only continues the one before: "G, 40 m/s".
    pub(super) continues: bool,
    pub(super) is_question: bool,
}

/// Splits an answer where its meaning may change; omits reasons.
pub(super) fn clauses<'a>(text: &'a str, choices: &[String]) -> Vec<Clause<'a>> {
    let lower = text.to_ascii_lowercase();
    let mut cuts: Vec<usize> = Vec::new();
    for (at, character) in lower.char_indices() {
        let next = lower.get(at + character.len_utf8()..).and_then(|rest| rest.chars().next());
        let is_mark = match character {
            ';' | '?' | '!' | '\n' | '\u{3002}' => true,
            ',' | ':' => next.is_none_or(char::is_whitespace),
            '.' => next.is_none_or(char::is_whitespace) && at > 1,
            _ => false,
        };
        if is_mark {
            cuts.push(at + character.len_utf8());
        }
    }
    let is_turn = |at: usize| {
        // The meaning of "Anything but G" does not change at "but".
        let before = lower.get(..at).unwrap_or("");
        !["anything", "everything", "nothing", "all"].iter().any(|word| before.ends_with(word))
    };
    let turns = TURNS.iter().flat_map(|turn| lower.match_indices(turn)).filter(|(at, _)| is_turn(*at));
    cuts.extend(turns.map(|(at, turn)| at + usize::from(turn.starts_with(' '))));
    // Marks and words within the text of a choice begin no clause.
    let quoted: Vec<(usize, usize)> = choices
        .iter()
        .map(|choice| undress(choice).to_ascii_lowercase())
        .map(|choice| choice.trim_end_matches(['.', '!', '?', ';']).to_owned())
        .filter(|choice| choice.len() > 2)
        .filter_map(|choice| lower.find(&choice).map(|at| (at, at + choice.len())))
        .collect();
    cuts.retain(|cut| !quoted.iter().any(|(start, end)| start <= cut && cut < end));
    cuts.sort_unstable();
    cuts.dedup();
    cuts.push(text.len());
    let mut parts = Vec::new();
    let mut start = 0;
    let mut in_reason = false;
    for end in cuts {
        let part = text.get(start..end).unwrap_or("");
        let trimmed = part.trim().trim_end_matches([',', ';', ':', '.', '!', '?', '\u{3002}']).trim();
        start = end;
        let begin = trimmed.to_ascii_lowercase();
        let begin = begin.strip_prefix("and ").unwrap_or(&begin);
        let concludes = CONCLUDING.iter().any(|word| begin.starts_with(word));
        let is_reason = REASONS.iter().any(|word| begin.starts_with(word));
        // A reason lasts until the end of its sentence or until a conclusion.
        in_reason = is_reason || (in_reason && !concludes && !begin.starts_with("i "));
        let is_end = part.trim_end().ends_with(['.', ';', '\n', '\u{3002}']);
        if !in_reason && !trimmed.is_empty() {
            let is_question = part.trim_end().ends_with('?');
            parts.push(Clause { text: trimmed, concludes, continues: !begin.starts_with("or "), is_question });
        }
        if is_end {
            in_reason = false;
        }
    }
    parts
}

/// Returns whether a clause denies the choice that it names; words of a choice's own text deny nothing.
pub(super) fn is_denial(clause: &str, choices: &[String]) -> bool {
    const DENYING: &[&str] = &[
        "not",
        "never",
        "cannot",
        "except",
        "excluding",
        "incorrect",
        "wrong",
        "false",
        "eliminate",
        "eliminated",
        "eliminating",
        "excluded",
        "exclude",
        "rejected",
        "reject",
        "impossible",
        "neither",
        "nor",
        "unlike",
        "unlikely",
        "isnt",
        "cant",
        "invalid",
        "discard",
        "discarded",
        "dismiss",
        "dismissed",
        "distractor",
        "trap",
        "doubt",
        "contradicts",
        "contradict",
        "fails",
        "hardly",
        "whether",
    ];
    const PHRASES: &[&str] = &[
        "rule out",
        "ruled out",
        "rules out",
        "rule it out",
        "anything but",
        "everything but",
        "all but",
        "other than",
        "rather than",
        "instead of",
        "too small",
        "too large",
        "too big",
        "too high",
        "too low",
        "too fast",
        "too slow",
        "too short",
        "too long",
        "crossed out",
        "only if",
    ];
    let lower = text::normalise(clause);
    let mut rest = format!(" {lower} ");
    for choice in choices {
        let choice = text::normalise(&undress(choice));
        let is_words = choice.split(' ').count() > 1 || DENYING.contains(&choice.as_str());
        let stands = choice.chars().count() > 2 && rest.trim() != lower.replace(&choice, "").trim();
        if is_words && stands && rest.contains(&format!(" {choice} ")) {
            rest = rest.replace(&format!(" {choice} "), " ");
        }
    }
    let mut words = rest.split(|c: char| !c.is_alphanumeric() && c != '\'').filter(|word| !word.is_empty());
    words.any(|word| DENYING.contains(&word) || word.ends_with("n't"))
        || PHRASES.iter().any(|phrase| rest.contains(phrase))
        || ["\u{4e0d}\u{662f}", "\u{4e0d}\u{5bf9}", "\u{4e0d}\u{80fd}", "\u{9519}\u{8bef}"]
            .iter()
            .any(|word| rest.contains(word))
}
