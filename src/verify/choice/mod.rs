//! Multiple choice: finds the choice that an answer names.
//!
//! Accepts letters in their usual forms (`B`, `(b)`, `B.`, `**B**`, `\text{B}`, `option B`) and the text of a choice,
//! as words or as mathematics. A digit is the number of a choice, counted from one, only after a word for a choice
//! (`option 2`). An answer that names two different choices is ambiguous, not wrong: the response may be sound. `dress`
//! removes the usual forms, `clauses` splits an answer where its meaning changes.

mod clauses;
mod dress;

use super::{characters, math, text};
use clauses::{clauses, is_denial};
use dress::{index_of, leading_letter, letter_form, undress};

/// The choice that an answer names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    /// The 0-based choice.
    One(usize),
    /// Several different choices.
    Several,
    /// A letter together with the text or value of another choice: "B. Oslo" where B is Rome.
    Contradiction,
    /// No choice, or only denied choices.
    Nothing,
}

/// Longest answer that is parsed, in bytes; of a longer answer, only the beginning counts.
const ANSWER_BYTES_MAX: usize = 2_000;

/// The number of letters that are recognised if the choices are unknown.
const LETTERS_MAX: usize = 26;

/// Returns the 0-based choice that a gold names.
pub(super) fn gold(gold: &str, choices: &[String]) -> Option<usize> {
    let stripped = undress(gold);
    if let Some(index) = letter_form(&stripped).filter(|index| *index < count(choices)) {
        return Some(index);
    }
    let of_text = of_text(&stripped, choices);
    // `B. Paris`, where `Paris` is the text of choice B.
    of_text.or_else(|| {
        let (index, rest) = leading_letter(&stripped).filter(|(index, _)| *index < count(choices))?;
        let fits = choices.is_empty() || self::of_text(rest, choices) == Some(index);
        fits.then_some(index)
    })
}

/// Returns the choice that a short answer names: by a letter, a choice's text, or a letter among words.
pub(super) fn read(answer: &str, choices: &[String]) -> Named {
    let answer = characters::front(answer, ANSWER_BYTES_MAX);
    let stripped = undress(answer);
    // A bare letter is a letter, even if it is also the text of some choice.
    if let Some(index) = letter_form(&stripped).filter(|index| *index < count(choices)) {
        return Named::One(index);
    }
    if let Some(index) = of_text(&stripped, choices) {
        return Named::One(index);
    }
    if let Some(index) = letter_form(&stripped) {
        return Named::One(index);
    }
    if let Some(index) = after_word(&stripped, choices) {
        return Named::One(index);
    }
    let stripped = parted(&stripped);
    match asserted(&stripped, choices) {
        Named::Nothing if !is_denial(&stripped, choices) => of_value(answer, choices),
        named => named,
    }
}

/// Returns the choice that an answer names, if the answer is only a letter, a choice's text, or both.
pub(super) fn exact(answer: &str, choices: &[String]) -> Option<Named> {
    if answer.len() > ANSWER_BYTES_MAX {
        return None;
    }
    let stripped = undress(answer);
    if let Some(index) = of_text(&stripped, choices) {
        return letter_form(&stripped).is_none().then_some(Named::One(index));
    }
    let (index, rest) = leading_letter(&stripped).filter(|(index, _)| *index < count(choices))?;
    let other = of_text(rest, choices)?;
    Some(if other == index { Named::One(index) } else { Named::Contradiction })
}

/// Returns the choice that the clauses of an answer assert. Denying clauses are skipped, and a conclusion replaces the
/// clauses before it.
fn asserted(text: &str, choices: &[String]) -> Named {
    let mut named = Named::Nothing;
    for clause in clauses(text, choices) {
        if clause.is_question || is_denial(clause.text, choices) {
            continue;
        }
        let found = in_clause(clause.text, choices);
        named = match (named, found) {
            (before, Named::Nothing) => before,
            (Named::Nothing, found) => found,
            (_, found) if clause.concludes => found,
            (Named::One(left), Named::One(right)) if left == right => named,
            // "B. Oslo": a label and a text for it.
            (Named::One(_), Named::One(_)) if clause.continues => Named::Contradiction,
            (Named::Contradiction, _) | (_, Named::Contradiction) => Named::Contradiction,
            _ => Named::Several,
        };
    }
    named
}

/// Returns the choice that one clause names: its letters, and the texts or values of choices, must agree.
fn in_clause(clause: &str, choices: &[String]) -> Named {
    if let Some(index) = of_text(clause, choices).or_else(|| after_word(clause, choices)) {
        return Named::One(index);
    }
    if let Some(index) = letter_form(clause).filter(|index| *index < count(choices)) {
        return Named::One(index);
    }
    if let Some((index, rest)) = leading_letter(clause) {
        return match names_value(rest, choices) {
            Named::One(other) if other != index => Named::Contradiction,
            Named::One(_) => Named::One(index),
            _ => combine(std::iter::once(index).chain(standalone_letters(rest, choices))),
        };
    }
    if let Some(named) = joined(clause, choices) {
        return named;
    }
    let letters = combine(standalone_letters(clause, choices));
    let (front, remark) =
        clause.split_once('(').map_or((clause, ""), |(front, remark)| (front, remark.trim_end_matches(')')));
    let values = contained_text(clause, choices);
    match (letters, values) {
        (Named::Nothing, values) => values,
        // "G (40 m/s)".
        (Named::One(letter), Named::Nothing) => match names_value(remark, choices) {
            Named::One(value) if value != letter && !front.is_empty() => Named::Contradiction,
            _ => letters,
        },
        (Named::One(letter), Named::One(value)) if letter != value => Named::Contradiction,
        (letters, _) => letters,
    }
}

/// Parses "608 or 11", if every part names a choice; the text of a choice may contain a joining word.
fn joined(clause: &str, choices: &[String]) -> Option<Named> {
    let both: Vec<&str> = clause.split(" or ").flat_map(|part| part.split(" and ")).collect();
    let ways = [clause.split(" or ").collect(), clause.split(" and ").collect(), both];
    ways.into_iter().filter(|parts: &Vec<&str>| (2..=LETTERS_MAX).contains(&parts.len())).find_map(|parts| {
        let named: Option<Vec<usize>> = parts
            .iter()
            .map(|part| if let Named::One(index) = names_value(part, choices) { Some(index) } else { None })
            .collect();
        named.map(combine)
    })
}

/// Returns the choice whose whole text or value equals a part of an answer.
fn names_value(text: &str, choices: &[String]) -> Named {
    let text = text.trim();
    if text.is_empty() {
        return Named::Nothing;
    }
    match of_text(text, choices) {
        Some(index) => Named::One(index),
        None => of_value(text, choices),
    }
}

/// Inserts a space between Latin letters and words of scripts without spaces.
fn parted(text: &str) -> String {
    let mut parted = String::with_capacity(text.len());
    let mut before: Option<char> = None;
    for character in text.chars() {
        let is_wide = |c: char| ('\u{2e80}'..='\u{d7ff}').contains(&c);
        if before.is_some_and(|before| {
            before.is_ascii_alphabetic() && is_wide(character) || is_wide(before) && character.is_ascii_alphabetic()
        }) {
            parted.push(' ');
        }
        parted.push(character);
        before = Some(character);
    }
    parted
}

/// Parses an answer that consists of a word for a choice and its letter or number: `option b`, `choice 2`.
fn after_word(text: &str, choices: &[String]) -> Option<usize> {
    let lower = text.to_lowercase();
    let words =
        ["option", "choice", "answer", "alternative", "statement", "\u{9009}\u{9879}", "\u{9009}\u{62e9}", "\u{9009}"];
    let rest =
        words.iter().find_map(|word| lower.strip_prefix(word).map(|rest| rest.trim_start_matches([' ', ':', '#'])))?;
    if let Some(index) = letter_form(rest).filter(|index| *index < count(choices)) {
        return Some(index);
    }
    let number: usize = rest.trim_matches(|c: char| matches!(c, '(' | ')' | '.') || c.is_whitespace()).parse().ok()?;
    let is_plain = !choices.iter().any(|choice| choice.contains(|c: char| c.is_ascii_digit()));
    number.checked_sub(1).filter(|index| is_plain && *index < choices.len())
}

/// Finds the only choice that equals the answer as mathematics.
fn of_value(answer: &str, choices: &[String]) -> Named {
    if choices.len() > LETTERS_MAX || !math::is_readable(answer) {
        return Named::Nothing;
    }
    combine(
        choices.iter().enumerate().filter_map(|(index, choice)| {
            matches!(math::equal(choice, answer), math::Outcome::Equal(_)).then_some(index)
        }),
    )
}

/// Returns the last letter in brackets or bold of a longer text, from lines without a denial.
pub(super) fn last_marked_letter(text: &str, choices: &[String]) -> Option<(usize, String)> {
    let lines = super::extract::last_lines(text).into_iter();
    lines.filter(|line| line.len() <= ANSWER_BYTES_MAX).find_map(|line| {
        let marked = [("(", ")"), ("**", "**"), ("[", "]")].into_iter().flat_map(|(open, close)| {
            line.match_indices(open)
                .filter_map(move |(at, _)| Some((at, letter_in(line.get(at + open.len()..)?, close, choices)?)))
        });
        let (_, (index, letter)) = marked.max_by_key(|(at, _)| *at)?;
        (!is_denial(line, choices)).then_some((index, letter))
    })
}

/// Parses the letter of a choice before a closing mark.
fn letter_in(inner: &str, close: &str, choices: &[String]) -> Option<(usize, String)> {
    let letter = inner.chars().next().filter(char::is_ascii_alphabetic)?;
    let behind = inner.get(1..)?;
    let closed = behind.trim_start_matches(['.', ')', ':']).starts_with(close) || behind.starts_with(close);
    index_of(letter).filter(|index| closed && *index < count(choices)).map(|index| (index, letter.to_string()))
}

fn count(choices: &[String]) -> usize {
    if choices.is_empty() { LETTERS_MAX } else { choices.len().min(LETTERS_MAX) }
}

fn of_text(text: &str, choices: &[String]) -> Option<usize> {
    let wanted = text::normalise(text);
    if wanted.is_empty() {
        return None;
    }
    if let Some(index) = of_numerals(&wanted, choices) {
        return Some(index);
    }
    // Texts that differ only in case (`Rr`, `rr`) are distinguished by case.
    let as_written = |choice: &String| undress(choice) == text.trim();
    if let Some(index) = single(choices, &as_written) {
        return Some(index);
    }
    single(choices, &|choice| text::normalise(&undress(choice)) == wanted)
}

/// Finds the only choice with the same Roman or Arabic numerals and the same words: "I, II and III", "1, 2 and 3".
fn of_numerals(wanted: &str, choices: &[String]) -> Option<usize> {
    let wanted = numerals(wanted)?;
    single(choices, &|choice| numerals(&text::normalise(&undress(choice))).as_ref() == Some(&wanted))
}

/// Returns the parts of a text of numerals and joining words, with Roman numerals as digits.
fn numerals(text: &str) -> Option<Vec<String>> {
    const ROMAN: &[&str] = &["i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x"];
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c == ',').filter(|word| !word.is_empty()).collect();
    if words.len() < 2 || words.len() > 12 {
        return None;
    }
    let parts = words.into_iter().filter(|word| !matches!(*word, "and" | "&")).map(|word| {
        let roman = ROMAN.iter().position(|roman| *roman == word).map(|index| (index + 1).to_string());
        let is_kept = matches!(word, "only" | "or" | "both") || word.bytes().all(|byte| byte.is_ascii_digit());
        roman.or_else(|| is_kept.then(|| word.to_owned()))
    });
    parts.collect()
}

/// Returns the only choice that fits; `None` if two choices fit.
fn single(choices: &[String], fits: &dyn Fn(&String) -> bool) -> Option<usize> {
    let mut matches = choices.iter().enumerate().filter(|(_, choice)| fits(choice));
    let (index, _) = matches.next()?;
    if matches.next().is_some() { None } else { Some(index) }
}

/// Returns the isolated capital letters among words; `A` before a word is an article, `I` a pronoun.
fn standalone_letters(text: &str, choices: &[String]) -> Vec<usize> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut found = Vec::new();
    for (at, word) in words.iter().enumerate() {
        let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
        let Some(letter) = bare.chars().next().filter(|c| bare.len() == 1 && c.is_ascii_uppercase()) else { continue };
        let is_dressed = word.len() > 1;
        let starts_phrase = words.get(at + 1).is_some_and(|next| next.chars().next().is_some_and(char::is_lowercase))
            && !matches!(
                words.get(at + 1).copied(),
                Some("and" | "or" | "is" | "are" | "was" | "were" | "because" | "since" | "as")
            );
        if matches!(letter, 'A' | 'I') && !is_dressed && starts_phrase {
            continue;
        }
        let is_denied = at
            .checked_sub(1)
            .and_then(|before| words.get(before))
            .is_some_and(|word| matches!(word.to_lowercase().as_str(), "not" | "isn't" | "unlike"));
        if is_denied {
            continue;
        }
        found.extend(index_of(letter).filter(|index| *index < count(choices)));
    }
    found
}

fn combine(indices: impl IntoIterator<Item = usize>) -> Named {
    let mut named = Named::Nothing;
    for index in indices {
        named = match named {
            Named::Nothing => Named::One(index),
            Named::One(same) if same == index => named,
            _ => return Named::Several,
        };
    }
    named
}

/// Finds the choices whose text occurs in the answer as whole words.
fn contained_text(text: &str, choices: &[String]) -> Named {
    let haystack = format!(" {} ", text::normalise(text));
    combine(choices.iter().enumerate().filter_map(|(index, choice)| {
        let needle = text::normalise(choice);
        (needle.chars().count() >= 3 && haystack.contains(&format!(" {needle} "))).then_some(index)
    }))
}
