//! Finds the answer in a response: searches the regions of [`super`] in order.

use super::choice::{self, Named};
use super::statement::{self, Place, Stated};
use super::strategy::Strategy;
use super::{boxes, characters, extract, math, numeric, phrases, text, words};
use thinkloom_domain::Kind;

/// Longest response that is read as a whole answer, in bytes.
pub(super) const WHOLE_BYTES_MAX: usize = 400;

/// The strategy that found an answer, and the statement found.
pub(super) type Found = (Strategy, Stated);

/// Returns the answer that a response gives, with the name of the strategy that found it; `None` without an answer.
/// Several stated quantities are one text. [`super::verify`] knows the gold, and may read a sentence further than this.
#[must_use]
pub fn find_answer(kind: Kind, choices: &[String], response: &str) -> Option<(&'static str, String)> {
    let response = extract::answer_part(response);
    let plain = characters::plain(response);
    let (strategy, stated) = match kind {
        Kind::Math => math("", &plain)?,
        Kind::Numeric => numeric(&plain)?,
        Kind::Choice => {
            let (strategy, text, _) = choice(&characters::plain_each(choices), &plain)?;
            (strategy, Stated::One(text))
        }
        Kind::Text => {
            let (strategy, text) = word_regions(&plain).into_iter().next()?;
            (strategy, Stated::One(text))
        }
        Kind::Code => return None,
    };
    match stated {
        Stated::One(text) => Some((strategy.name(), text)),
        Stated::Several(texts) | Stated::Open(texts) => Some((strategy.name(), texts.join(", "))),
        Stated::Denied | Stated::Nothing => None,
    }
}

/// Finds the answer to a question of mathematics.
pub(super) fn math(gold: &str, response: &str) -> Option<Found> {
    let one = |strategy: Strategy, text: &str| Some((strategy, Stated::One(text.to_owned())));
    // "3 to 5" for a ratio.
    let as_ratio = |text: &str| -> String {
        if math::is_ratio(gold) { text.replace("\\text{ to }", ":").replace(" to ", ":") } else { text.to_owned() }
    };
    if let Some(content) = boxes::boxed(response) {
        return Some((Strategy::Boxed, spelled(in_box(gold, as_ratio(&content)))));
    }
    if math::same_text(gold, response) {
        return one(Strategy::Whole, response);
    }
    let in_sentence = |sentence: &str, place: Place| {
        let claim = phrases::without_reason(sentence);
        [sentence, claim]
            .into_iter()
            .find(|text| is_whole(gold, text))
            .map_or_else(|| settle(statement::read(sentence, place)), |text| Stated::One(text.to_owned()))
    };
    if let Some(found) = announced(response, &|sentence| in_sentence(sentence, Place::Announced)) {
        return Some(found);
    }
    if response.len() <= WHOLE_BYTES_MAX && math::is_wordless(response) {
        return one(Strategy::Whole, response);
    }
    unannounced(response, &|sentence, place| in_sentence(sentence, place))
}

/// Finds the answer to a question for a number.
pub(super) fn numeric(response: &str) -> Option<Found> {
    let one = |strategy: Strategy, text: &str| Some((strategy, Stated::One(text.to_owned())));
    if let Some(content) = boxes::boxed(response) {
        let stated = if statement::has_prose(&content) {
            settle(statement::read(&content, Place::Announced))
        } else {
            spelled(Stated::One(content))
        };
        return Some((Strategy::Boxed, stated));
    }
    let in_sentence = |sentence: &str, place: Place| {
        // "The answer is 5 because ...".
        let is_number = !statement::has_prose(sentence) && numeric::read(sentence).is_ok();
        settle(if is_number { Stated::One(sentence.to_owned()) } else { statement::read(sentence, place) })
    };
    if let Some(found) = announced(response, &|sentence| in_sentence(sentence, Place::Announced)) {
        return Some(found);
    }
    if numeric::is_bare(response) && !statement::has_prose(response) {
        return one(Strategy::Whole, response);
    }
    unannounced(response, &|sentence, place| in_sentence(sentence, place))
}

/// Finds the answer to a question with choices.
pub(super) fn choice(choices: &[String], response: &str) -> Option<(Strategy, String, Named)> {
    let named = |strategy: Strategy, text: &str| {
        let text = phrases::trim_decoration(text);
        (strategy, text.to_owned(), choice::read(text, choices))
    };
    // A choice's text may contain points, commas and denying words, so the whole line is compared with it first.
    let exact = |strategy: Strategy, text: &str| {
        let text = phrases::trim_decoration(text);
        choice::exact(text, choices).map(|named| (strategy, text.to_owned(), named))
    };
    if let Some(answer) = boxes::boxed(response) {
        return Some(exact(Strategy::Boxed, &answer).unwrap_or_else(|| named(Strategy::Boxed, &answer)));
    }
    let readable = |found: &(Strategy, String, Named)| found.2 != Named::Nothing;
    let announced = phrases::announced(response);
    if let Some((strategy, sentence)) = announced {
        let line = exact(strategy, phrases::line_of(response, sentence));
        if let Some(found) = line.or_else(|| Some(named(strategy, sentence)).filter(readable)) {
            return Some(found);
        }
    }
    let line = extract::last_line(response);
    if let Some(found) = exact(Strategy::Whole, response).or_else(|| exact(Strategy::LastLine, line?)) {
        return Some(found);
    }
    let short = |text: &&str| text.len() <= WHOLE_BYTES_MAX;
    let whole = Some(response).filter(short).map(|text| named(Strategy::Whole, text)).filter(readable);
    let last = line.filter(short).map(|line| named(Strategy::LastLine, line)).filter(readable);
    // Lines before the last may discuss several choices.
    let is_one = |found: &(Strategy, String, Named)| matches!(found.2, Named::One(_));
    if let Some(found) = whole.clone().filter(is_one).or(last).or(whole) {
        return Some(found);
    }
    choice::last_marked_letter(response, choices)
        .map(|(index, letter)| (Strategy::LastLetter, letter, Named::One(index)))
}

/// Returns the regions of a response in which an answer in words may be, in order. A box or an announcement is final;
/// without either, the bold words, the whole response, or its last line.
pub(super) fn word_regions(response: &str) -> Vec<(Strategy, String)> {
    if let Some(content) = boxes::boxed(response) {
        let bare = text::unwrap_latex(&content);
        return vec![(Strategy::Boxed, bare), (Strategy::Boxed, content)];
    }
    if let Some(found) = phrases::announcements(response).into_iter().next() {
        if found.is_denied || correction(response, found.sentence).is_some() {
            return Vec::new();
        }
        // A name may contain points: "J. K. Rowling".
        let line = phrases::line_of(response, found.sentence);
        return vec![(found.strategy, found.sentence.to_owned()), (found.strategy, line.to_owned())];
    }
    let mut regions: Vec<(Strategy, String)> = Vec::new();
    regions.extend(extract::bold_words(response).map(|words| (Strategy::Bold, words.to_owned())));
    regions.extend(Some((Strategy::Whole, response.to_owned())).filter(|_| response.len() <= WHOLE_BYTES_MAX));
    regions.extend(extract::last_line(response).map(|line| (Strategy::LastLine, line.to_owned())));
    regions.retain(|(_, text)| !text.trim().is_empty());
    regions
}

/// Returns whether a text is one answer and not a sentence: mathematics without prose, or the gold's own words.
fn is_whole(gold: &str, text: &str) -> bool {
    math::same_text(gold, text) || (math::is_readable(text) && !statement::has_prose(text))
}

/// Extracts the answer from a box: the whole content, unless the content is a sentence.
fn in_box(gold: &str, content: String) -> Stated {
    if !statement::has_prose(&content) {
        return Stated::One(content);
    }
    let stated = statement::read(&content, Place::Announced);
    if stated == Stated::Denied {
        return Stated::Denied;
    }
    let has_part = [" half", " quarter", " third"].iter().any(|part| content.contains(part));
    let is_one = || !has_part && math::is_readable(&content) && statement::quantities(&content) < 2;
    if content.len() > WHOLE_BYTES_MAX || math::same_text(gold, &content) || is_one() {
        return Stated::One(content);
    }
    let sentence = statement::unwrap_words(&content);
    if let Some((_, answer)) = phrases::announced(&sentence)
        && math::is_readable(answer)
        && !statement::has_prose(answer)
    {
        return Stated::One(answer.to_owned());
    }
    // A gold in words is compared with the whole box.
    match stated {
        Stated::Nothing | Stated::Open(_) => Stated::One(content),
        stated => {
            // "12 ft by 4 ft" is one answer.
            let has_many = statement::has_prose(gold) || statement::quantities(gold) > 1 || content.contains(" by ");
            let is_same = || matches!(math::equal(gold, &content), math::Outcome::Equal(_));
            if has_many && (!matches!(stated, Stated::One(_)) || is_same()) {
                Stated::One(content)
            } else {
                settle(stated)
            }
        }
    }
}

/// Unwraps a formula that contains a sentence: `$10 \text{ dollars after } 2 \text{ months}$`.
fn settle(stated: Stated) -> Stated {
    match stated {
        Stated::One(text)
            if text.contains("\\text") && statement::has_prose(&text) && statement::quantities(&text) > 1 =>
        {
            statement::read(&text, Place::Announced)
        }
        other => spelled(other),
    }
}

/// Converts a number in words to digits.
fn spelled(stated: Stated) -> Stated {
    match stated {
        Stated::One(text) => {
            let number = words::number(text::unwrap_latex(&text).trim());
            Stated::One(number.map_or(text, |number| number.to_string()))
        }
        other => other,
    }
}

/// Returns the statement of the last announcement or hash line. A denial is skipped, unless an earlier announcement
/// states exactly the denied answer.
fn announced(response: &str, read: &dyn Fn(&str) -> Stated) -> Option<Found> {
    let mut denied: Option<(Strategy, &str)> = None;
    for found in phrases::announcements(response) {
        let stated = read(found.sentence);
        match stated {
            Stated::Nothing => {}
            _ if found.is_denied => denied = denied.or(Some((found.strategy, found.sentence))),
            Stated::Denied => denied = denied.or(Some((found.strategy, found.sentence))),
            Stated::One(text) if denied.is_some_and(|(_, sentence)| sentence.contains(text.as_str())) => break,
            stated => return Some((found.strategy, unless_corrected(response, found.sentence, stated))),
        }
    }
    denied.map(|(strategy, _)| (strategy, Stated::Denied))
}

/// The number of bytes after an announcement in which a correction may follow.
const CORRECTION_BYTES_MAX: usize = 240;

/// Returns the announced answer, unless the following words correct it: "Wait, no: it is 208."
fn unless_corrected(response: &str, sentence: &str, stated: Stated) -> Stated {
    let Some(near) = correction(response, sentence) else { return stated };
    match (statement::read(near, Place::Free), stated) {
        (Stated::One(text), _) => Stated::One(text),
        (Stated::Several(texts) | Stated::Open(texts), _) => Stated::Open(texts),
        (Stated::Denied | Stated::Nothing, Stated::One(text)) => Stated::Open(vec![text]),
        (_, stated) => stated,
    }
}

/// Returns the words after a sentence of a response that correct the sentence.
pub(super) fn correction<'a>(response: &'a str, sentence: &'a str) -> Option<&'a str> {
    const CUES: &[&str] = &[
        "wait",
        "no,",
        "no:",
        "no.",
        "actually",
        "correction",
        "oops",
        "scratch that",
        "on second thought",
        "i made a mistake",
        "that is wrong",
        "that's wrong",
        "not right",
        "is incorrect",
        "hmm",
    ];
    let start = (sentence.as_ptr() as usize).checked_sub(response.as_ptr() as usize)?;
    let rest = response.get(start + sentence.len()..)?;
    let rest = rest.trim_start_matches(|c: char| !c.is_alphanumeric() && c != '\n');
    let near = characters::front(rest, CORRECTION_BYTES_MAX);
    let lower = near.to_lowercase();
    CUES.iter().any(|cue| lower.starts_with(cue)).then_some(near)
}

/// Reads the bold line, or the last line with a quantity.
fn unannounced(response: &str, read: &dyn Fn(&str, Place) -> Stated) -> Option<Found> {
    if let Some(stated) = extract::bold_claims(response)
        .iter()
        .map(|claim| read(claim, Place::Announced))
        .find(|stated| *stated != Stated::Nothing)
    {
        return Some((Strategy::Bold, stated));
    }
    if let Some(formula) = extract::last_display(response) {
        return Some((Strategy::MathSpan, Stated::One(formula.to_owned())));
    }
    for line in extract::last_lines(response) {
        for sentence in extract::sentences(line).into_iter().rev() {
            if extract::is_program_text(sentence) {
                return None;
            }
            let stated = read(sentence, Place::Free);
            if stated != Stated::Nothing {
                return Some((strategy(sentence, &stated), stated));
            }
        }
    }
    None
}

/// Names the strategy for an answer in the last line: a formula, or a number.
fn strategy(sentence: &str, stated: &Stated) -> Strategy {
    let in_span = |text: &String| {
        sentence.split_once(text.as_str()).is_some_and(|(before, _)| before.trim_end().ends_with(['$', '(', '[']))
    };
    match stated {
        Stated::One(text) if in_span(text) => Strategy::MathSpan,
        _ => Strategy::LastNumber,
    }
}
