//! Determines the statement of a sentence.
//!
//! The answer of a sentence is not simply its last number. [`read`] splits the sentence into pieces (`fragments`) and
//! `clauses`, and checks for each of their `quantities` whether the `sentence` states it. A quantity that is denied
//! ("not 34"), bounded ("at most 34", "between 30 and 34"), a reason ("since $2 \cdot 17 = 34$"), a circumstance ("for
//! $n = 3$", "over the next 12 months"), a remark in brackets ("(about 39 feet)") or a reference ("equation (9)") is
//! not stated if another quantity is. The result is one answer, several answers joined by the sentence, or several
//! quantities without a stated choice between them.
//!
//! The parser knows English grammar by short lists of words (`lexicon`). In other languages it recognises only words.

mod clauses;
mod fragments;
mod lexicon;
mod operands;
mod quantities;
mod sentence;
mod written;

#[cfg(test)]
mod tests;

use super::characters;
use clauses::Role;
use fragments::{Kind, Piece, Scanner};
use sentence::Sentence;

pub(super) use sentence::Stated;

/// Longest sentence that is parsed, in bytes; of a longer sentence, only the end counts.
const SENTENCE_BYTES_MAX: usize = 2_000;
/// Deepest nesting of brackets that is parsed.
const REMARK_DEPTH_MAX: usize = 2;

/// Phrases that are answers without a number, with the text that the verifiers know.
const PHRASES: &[(&str, &str)] = &[
    ("no real solution", "no solution"),
    ("no solution", "no solution"),
    ("no such", "no such"),
    ("does not exist", "does not exist"),
    ("undefined", "undefined"),
    ("infinitely many", "infinitely many"),
    ("all real numbers", "all real numbers"),
];

/// Returns the answer without a number in a sentence.
pub(super) fn phrase(sentence: &str) -> Option<&'static str> {
    let lower = sentence.to_lowercase();
    PHRASES.iter().find(|(phrase, _)| lower.contains(phrase)).map(|(_, answer)| *answer)
}

/// The place of a sentence in the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// After "the answer is": the answer comes first, and the rest explains it.
    Announced,
    /// At any other place: the conclusion comes last.
    Free,
}

/// Returns the statement of a sentence.
pub(super) fn read(sentence: &str, place: Place) -> Stated {
    read_at(sentence, place, 0)
}

fn read_at(sentence: &str, place: Place, depth: usize) -> Stated {
    let sentence = tail(sentence);
    let unwrapped = unwrap_words(sentence);
    let scanner = Scanner::new(&unwrapped);
    let pieces = scanner.pieces();
    let parsed = Sentence { text: &unwrapped, pieces: &pieces };
    let clauses = parsed.clauses();
    let stated: Vec<(Role, Stated)> =
        clauses.iter().map(|(role, clause)| (*role, parsed.clause(*role, clause))).collect();
    let given: Vec<&Stated> =
        stated.iter().map(|(_, stated)| stated).filter(|stated| matches!(stated, Stated::One(_))).collect();
    if given.len() > 1 && parsed.tells_cases_apart() {
        let texts =
            given.iter().filter_map(|stated| if let Stated::One(text) = stated { Some(text.clone()) } else { None });
        return Stated::Open(texts.collect());
    }
    let says = |stated: &&(Role, Stated)| !matches!(stated.1, Stated::Nothing | Stated::Denied);
    let of = |role: Role| {
        let mut found = stated.iter().filter(move |(of, _)| *of == role).filter(says);
        if place == Place::Announced { found.next() } else { found.next_back() }
    };
    let corrected = of(Role::Correction);
    // The last clause that computes or concludes, otherwise the last statement.
    let decides = |clause: &[Piece], role: Role, stated: &Stated| {
        let computes = role != Role::Denied && matches!(stated, Stated::One(_)) && parsed.computes(clause);
        computes
            || (matches!(role, Role::Conclusion | Role::Consequence)
                && !matches!(stated, Stated::Nothing | Stated::Denied))
    };
    let decided =
        clauses.iter().zip(&stated).rev().find(|((_, clause), (role, stated))| decides(clause, *role, stated));
    let chosen = corrected.or_else(|| match place {
        Place::Announced => of(Role::Main).or_else(|| of(Role::Conclusion)),
        Place::Free => decided.map(|(_, stated)| stated).or_else(|| of(Role::Main)),
    });
    if let Some((_, found)) = chosen {
        return found.clone();
    }
    if stated.iter().any(|(role, stated)| *role == Role::Denied || *stated == Stated::Denied) {
        return Stated::Denied;
    }
    if let Some((_, found)) = of(Role::Reason) {
        return match found {
            Stated::One(text) => Stated::Open(vec![text.clone()]),
            other => other.clone(),
        };
    }
    // The sentence is only a remark in brackets.
    let stands_alone = |piece: &&Piece| {
        let before = unwrapped.get(..piece.start).unwrap_or("").trim_end_matches(['(', '[']);
        before.is_empty() || before.ends_with(char::is_whitespace)
    };
    let remark = pieces
        .iter()
        .rev()
        .find(|piece| piece.kind == Kind::Remark && stands_alone(piece))
        .filter(|_| depth < REMARK_DEPTH_MAX);
    if let Some(remark) = remark {
        return read_at(parsed.content(remark), place, depth + 1);
    }
    match (parsed.written(), phrase(&unwrapped)) {
        (Stated::Nothing, Some(phrase)) => Stated::One(phrase.to_owned()),
        (written, _) => written,
    }
}

/// Returns whether a text has words of a sentence, in addition to mathematics with units.
pub(super) fn has_prose(text: &str) -> bool {
    let unwrapped = unwrap_words(tail(text));
    let scanner = Scanner::new(&unwrapped);
    let pieces = scanner.pieces();
    let sentence = Sentence { text: &unwrapped, pieces: &pieces };
    let (mut behind_quantity, mut behind_unit) = (false, false);
    pieces.iter().any(|piece| {
        let is_prose = match piece.kind {
            Kind::Word => sentence.is_prose_word(piece, behind_quantity),
            Kind::Remark => true,
            Kind::Mark(_) | Kind::Quantity | Kind::Span | Kind::Name => false,
        };
        // "squared" in "100 squared" is not a unit; in "5 meters squared" it is part of one.
        let is_operation = piece.kind == Kind::Word
            && behind_quantity
            && !behind_unit
            && matches!(sentence.content(piece), "squared" | "cubed" | "per");
        behind_unit = piece.kind == Kind::Word && behind_quantity;
        behind_quantity = piece.kind != Kind::Word || (behind_quantity && !is_prose);
        is_prose || is_operation
    })
}

/// Returns the number of pieces of mathematics in a text.
pub(super) fn quantities(text: &str) -> usize {
    let unwrapped = unwrap_words(tail(text));
    let pieces = Scanner::new(&unwrapped).pieces();
    pieces.iter().filter(|piece| matches!(piece.kind, Kind::Quantity | Kind::Span)).count()
}

/// Returns the whole formulas of a text.
pub(super) fn formulas(text: &str) -> Vec<String> {
    let pieces = Scanner::new(text).pieces();
    let is_formula = |piece: &&Piece| matches!(piece.kind, Kind::Quantity | Kind::Span);
    pieces.iter().filter(is_formula).filter_map(|piece| text.get(piece.start..piece.end)).map(str::to_owned).collect()
}

fn tail(sentence: &str) -> &str {
    characters::back(sentence, SENTENCE_BYTES_MAX)
}

/// Unwraps words from the commands that typeset words in a formula, outside math delimiters.
pub(super) fn unwrap_words(text: &str) -> String {
    const COMMANDS: &[&str] =
        &["\\text", "\\textbf", "\\textit", "\\textrm", "\\mathrm", "\\mbox", "\\mathbf", "\\emph", "\\textnormal"];
    if !text.contains('\\') || text.contains("\\(") || text.replace("\\$", "").contains('$') {
        return text.to_owned();
    }
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    // The braces of the result up to `counted` that are open.
    let (mut depth, mut counted) = (0_i64, 0);
    while let Some(at) = rest.find('\\') {
        let (before, after) = rest.split_at(at);
        result.push_str(before);
        let opened = COMMANDS.iter().find_map(|command| after.strip_prefix(command)?.strip_prefix('{'));
        let content = opened.and_then(|inner| {
            let (content, tail) = inner.split_once(['{', '}'])?;
            inner.get(content.len()..)?.starts_with('}').then_some((content, tail))
        });
        for byte in result.get(counted..).unwrap_or_default().bytes() {
            depth += i64::from(byte == b'{') - i64::from(byte == b'}');
        }
        counted = result.len();
        // A word within a fraction or a subscript belongs to the formula.
        if let Some((content, tail)) = content.filter(|_| depth <= 0) {
            result.push(' ');
            // The power of a unit stays attached to the unit.
            let is_raised = tail.starts_with('^');
            result.push_str(if is_raised { content.trim() } else { content });
            if !is_raised {
                result.push(' ');
            }
            rest = tail;
        } else if let Some(tail) = after.strip_prefix("\\;").or_else(|| after.strip_prefix("\\,")) {
            result.push(' ');
            rest = tail;
        } else if let Some(tail) = after.strip_prefix("\\ ") {
            result.push(' ');
            rest = tail;
        } else {
            result.push('\\');
            let tail = after.get(1..).unwrap_or("");
            // An escaped character belongs to its backslash.
            let width = tail.chars().next().map_or(0, char::len_utf8);
            result.push_str(tail.get(..width).unwrap_or(""));
            rest = tail.get(width..).unwrap_or("");
        }
    }
    result.push_str(rest);
    result
}
