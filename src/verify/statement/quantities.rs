//! Finds the quantities of a clause, and the meaning of the words around each.

use super::fragments::{Kind, Piece};
use super::lexicon;
use super::sentence::Sentence;
use crate::math;

/// A quantity in its clause.
#[derive(Debug, Clone)]
pub(super) struct Quantity {
    pub(super) text: String,
    /// The index of the quantity among the pieces of the clause, and the index after its unit.
    pub(super) at: usize,
    pub(super) end: usize,
    pub(super) is_denied: bool,
    pub(super) is_bounded: bool,
    pub(super) is_circumstance: bool,
    /// Whether the quantity follows an equals sign: it is the result of the preceding words.
    pub(super) is_result: bool,
}

impl Sentence<'_> {
    /// Returns the quantities of a clause, each with its role in the clause.
    pub(super) fn quantities(&self, clause: &[Piece]) -> Vec<Quantity> {
        let mut found: Vec<Quantity> = Vec::new();
        for (at, piece) in clause.iter().enumerate() {
            if !matches!(piece.kind, Kind::Quantity | Kind::Span) || found.last().is_some_and(|last| at < last.end) {
                continue;
            }
            if self.is_reference(clause, at) || self.is_enumerator(clause, at) {
                continue;
            }
            let (text, end) = self.with_unit(clause, at);
            let (text, is_result) = result(self.content(piece), text);
            let before = self.words_before(clause, at, found.last().map_or(0, |last| last.end));
            let text = signed(&before, text);
            // "$2\sqrt5$, or about 4.47": the second quantity repeats the first.
            let approximates = before.last().is_some_and(|word| lexicon::APPROXIMATING.contains(&word.as_str()));
            let is_again = before.len() <= 2 && before.first().is_some_and(|word| word == "or" || before.len() == 1);
            if approximates && is_again && !found.is_empty() {
                continue;
            }
            let follows_list = found.last().is_some_and(|last| self.is_connected(clause, last.end, at));
            let is_denied = is_denied(&before)
                || self.is_refuted(clause, end)
                || (follows_list && found.last().is_some_and(|last| last.is_denied));
            let is_bounded = self.is_compared(clause, at)
                || self.is_bounded(&before, clause, end)
                || (follows_list && found.last().is_some_and(|last| last.is_bounded));
            let is_bounded =
                is_bounded || is_operand(&before, clause.get(end..).unwrap_or_default(), &|piece| self.word(piece));
            let is_bounded = is_bounded || (before.last().is_some_and(|word| word == "minus") && !found.is_empty());
            // The clause states the result of an equation, whatever the result is compared with: "= $25 more than A".
            let is_bounded = is_bounded && !is_result;
            let is_circumstance = is_circumstance(&before, !found.is_empty());
            // `from 3 to 75`, `3-75`: a range.
            if before == ["to"] || before == ["through"] {
                if let Some(last) = found.last_mut() {
                    last.is_bounded = true;
                }
                found.push(Quantity { text, at, end, is_denied, is_bounded: true, is_circumstance, is_result });
                continue;
            }
            found.push(Quantity { text, at, end, is_denied, is_bounded, is_circumstance, is_result });
        }
        found
    }

    /// Returns whether a clause computes something: "8 - 2 = 6".
    pub(super) fn computes(&self, clause: &[Piece]) -> bool {
        self.quantities(clause).last().is_some_and(|quantity| quantity.is_result)
    }

    /// Returns the words before a piece, back to a mark or to `from`, in order.
    fn words_before(&self, clause: &[Piece], at: usize, from: usize) -> Vec<String> {
        let mut words: Vec<String> = Vec::new();
        for piece in clause.get(from..at).unwrap_or_default().iter().rev() {
            match piece.kind {
                Kind::Word => words.push(self.content(piece).to_lowercase()),
                Kind::Mark(',' | ';' | ':') => break,
                _ => {}
            }
        }
        words.reverse();
        words
    }

    /// Returns whether a number names a place in the text: "Equation (9)", "Step 3".
    fn is_reference(&self, clause: &[Piece], at: usize) -> bool {
        let Some(piece) = clause.get(at) else { return false };
        let bare: String = self.content(piece).chars().filter(|c| !matches!(c, '(' | ')' | '[' | ']')).collect();
        let is_label =
            !bare.is_empty() && bare.len() <= 5 && bare.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let word = at.checked_sub(1).and_then(|before| clause.get(before)).and_then(|before| self.word(before));
        let is_cited = self.content(piece).starts_with('[') && is_label && bare.len() <= 2 && at > 0;
        is_cited || (is_label && word.is_some_and(|word| lexicon::REFERENCES.contains(&word.as_str())))
    }

    /// Returns whether a number numbers a line: "3. Then".
    fn is_enumerator(&self, clause: &[Piece], at: usize) -> bool {
        let Some(piece) = clause.get(at) else { return false };
        let behind = self.text.get(piece.end..).unwrap_or("");
        let is_short = piece.end - piece.start <= 2 && self.content(piece).bytes().all(|byte| byte.is_ascii_digit());
        let marked = behind.strip_prefix(['.', ')']).unwrap_or(behind);
        piece.start == 0
            && is_short
            && marked.len() < behind.len()
            && marked.starts_with(' ')
            && marked.trim_start().starts_with(char::is_alphabetic)
    }

    /// Returns a quantity with its unit, and the index after the unit.
    fn with_unit(&self, clause: &[Piece], at: usize) -> (String, usize) {
        let Some(piece) = clause.get(at) else { return (String::new(), at + 1) };
        let mut end = at + 1;
        let mut until = piece.end;
        let mut closed = self.delimiter_end(piece);
        while let Some(next) = clause.get(end) {
            let gap = self.text.get(closed..next.start).unwrap_or("?");
            if !gap.chars().all(|c| c.is_whitespace() || matches!(c, '*' | '/')) {
                break;
            }
            let continues = match next.kind {
                Kind::Word => {
                    let word = self.content(next);
                    let begins = end > at + 1 || !matches!(word.to_lowercase().as_str(), "squared" | "cubed" | "per");
                    (math::is_unit_word(word) && begins)
                        || (self.is_joint(word) && self.is_unit_behind(clause, end + 1))
                }
                // `5 feet 3 inches`.
                Kind::Quantity => end > at + 1 && self.is_unit_behind(clause, end + 1) && !gap.contains('*'),
                // `5 m/s`.
                Kind::Mark('/') => end > at + 1 && self.is_unit_behind(clause, end + 1),
                _ => false,
            };
            if !continues {
                break;
            }
            until = next.end;
            closed = self.delimiter_end(next);
            end += 1;
        }
        let text = self.text.get(piece.start..until).unwrap_or("");
        let text = if end > at + 1 && piece.kind == Kind::Span {
            let unit = self.text.get(self.delimiter_end(piece)..until).unwrap_or("");
            format!("{} {}", self.content(piece), unit.trim())
        } else {
            text.replace("**", "")
        };
        let text = self.price(piece, text.trim().trim_start_matches(['=', '\u{2248}']).trim());
        // `75 and a half`.
        let part = [("half", "1/2"), ("quarter", "1/4"), ("third", "1/3")].into_iter().find(|(name, _)| {
            let words: Vec<String> = clause.iter().skip(end).take(3).filter_map(|piece| self.word(piece)).collect();
            words == ["and", "a", name] || words == ["and", "one", name]
        });
        match part {
            Some((_, part)) if text.bytes().all(|byte| byte.is_ascii_digit()) => (format!("{text} {part}"), end + 3),
            _ => (text, end),
        }
    }

    /// Corrects a price: next to a currency sign, a comma before one or two digits is a decimal comma: "2,74 $".
    fn price(&self, piece: &Piece, text: &str) -> String {
        let is_sign = |c: char| matches!(c, '$' | '\u{20ac}' | '\u{a3}' | '\u{a5}');
        let before = self.text.get(..piece.start).is_some_and(|before| before.trim_end().ends_with(is_sign));
        let behind = self.text.get(piece.end..).is_some_and(|behind| behind.trim_start().starts_with(is_sign));
        match text.split_once(',') {
            Some((whole, cents))
                if piece.kind == Kind::Quantity && (before || behind) && (1..=2).contains(&cents.len()) =>
            {
                format!("{whole}.{cents}")
            }
            _ => text.to_owned(),
        }
    }

    fn is_joint(&self, word: &str) -> bool {
        matches!(word.to_lowercase().as_str(), "per" | "square" | "cubic" | "sq" | "a" | "an")
    }

    fn is_unit_behind(&self, clause: &[Piece], at: usize) -> bool {
        clause.get(at).is_some_and(|piece| piece.kind == Kind::Word && math::is_unit_word(self.content(piece)))
    }

    /// Returns the offset after the delimiters of a piece.
    fn delimiter_end(&self, piece: &Piece) -> usize {
        if piece.kind != Kind::Span {
            return piece.end;
        }
        let rest = self.text.get(piece.end..).unwrap_or("");
        let width =
            ["\\)", "\\]", "$$", "$"].iter().find(|close| rest.starts_with(**close)).map_or(0, |close| close.len());
        piece.end + width
    }

    /// Returns whether the words after a quantity refute it: "is too small", "is not the answer".
    pub(super) fn is_refuted(&self, clause: &[Piece], end: usize) -> bool {
        let words: Vec<String> = clause.iter().skip(end).map_while(|piece| self.word(piece)).take(6).collect();
        let verb = words.iter().position(|word| {
            matches!(word.as_str(), "is" | "are" | "was" | "can" | "seems" | "looks" | "would" | "does")
                || word.ends_with("n't")
        });
        // "10 dogs are not barking" describes the dogs.
        let Some(verb) = verb.filter(|verb| *verb == 0) else { return false };
        let rest = words.get(verb..).unwrap_or_default();
        rest.iter().take(4).any(|word| word.ends_with("n't") || lexicon::REFUTED.contains(&word.as_str()))
    }

    /// Returns whether a comparison sign without a left side precedes the quantity: "> 360".
    fn is_compared(&self, clause: &[Piece], at: usize) -> bool {
        let before = at.checked_sub(1).and_then(|before| clause.get(before));
        before.is_some_and(|before| matches!(before.kind, Kind::Mark('<' | '>' | '\u{2264}' | '\u{2265}' | '\u{2260}')))
    }

    pub(super) fn is_bounded(&self, before: &[String], clause: &[Piece], end: usize) -> bool {
        let near: Vec<&str> = before
            .iter()
            .rev()
            .map(String::as_str)
            .skip_while(|word| {
                matches!(*word, "about" | "approximately" | "around" | "roughly" | "the" | "a" | "exactly")
            })
            .take(4)
            .collect();
        let near: Vec<&str> = near.into_iter().rev().collect();
        let phrase = near.join(" ");
        let bounded = lexicon::BOUNDS
            .iter()
            .any(|bound| phrase == *bound || phrase.strip_suffix(bound).is_some_and(|front| front.ends_with(' ')));
        // "over the next 12 months" is a time.
        let is_place = matches!(near.last().copied(), Some("over" | "under" | "above" | "below"))
            && before.last().map(String::as_str) != near.last().copied();
        let behind: Vec<String> = clause.iter().skip(end).map_while(|piece| self.word(piece)).take(4).collect();
        let behind = behind.join(" ");
        let is_bounded_behind = lexicon::BOUNDS_BEHIND.iter().any(|bound| behind.contains(bound));
        (bounded && !is_place) || is_bounded_behind
    }

    /// Returns whether only joining words and commas separate two positions.
    fn is_connected(&self, clause: &[Piece], from: usize, to: usize) -> bool {
        clause.get(from..to).unwrap_or_default().iter().all(|piece| match piece.kind {
            Kind::Mark(',') => true,
            Kind::Word => lexicon::JOINS.contains(&self.content(piece).to_lowercase().as_str()),
            _ => false,
        })
    }
}

/// Applies a sign in words: "minus 75", "negative 75".
fn signed(before: &[String], text: String) -> String {
    match before.last().map(String::as_str) {
        Some("minus" | "negative") if !text.starts_with('-') => format!("-{text}"),
        _ => text,
    }
}

/// Returns whether the preceding words deny the quantity, and no later word cancels the denial.
pub(super) fn is_denied(before: &[String]) -> bool {
    let denies = |word: &String| {
        lexicon::NEGATIONS.contains(&word.as_str())
            || word.ends_with("n't")
            || lexicon::FOREIGN_NEGATIONS.iter().any(|negation| word.contains(negation))
    };
    let denial = before.iter().rposition(denies);
    let Some(at) = denial else { return false };
    // "The part that she didn't use is 26": the negation is in the subject.
    let is_verb =
        |word: &String| matches!(word.as_str(), "is" | "are" | "was" | "were" | "equals" | "gives" | "yields");
    if before.get(at + 1..).unwrap_or_default().iter().any(is_verb) {
        return false;
    }
    // "no more than" bounds, "no doubt" affirms.
    !before
        .get(at + 1..)
        .unwrap_or_default()
        .iter()
        .any(|word| matches!(word.as_str(), "but" | "it's" | "that's" | "doubt"))
}

/// Returns the result of an equation of numbers: "8 - 2 = 6"; an equation with variables stays unchanged.
fn result(piece: &str, text: String) -> (String, bool) {
    if piece.trim_start().starts_with('=') {
        return (text, true);
    }
    let Some((front, last)) = text.rsplit_once('=').filter(|(_, last)| last.contains(|c: char| c.is_ascii_digit()))
    else {
        return (text, false);
    };
    let mut letters = front.split(|c: char| !c.is_ascii_alphabetic()).filter(|word| !word.is_empty());
    let has_variable = front.contains('\\') || letters.any(|word| word.len() == 1 && word != "x");
    let computes = front.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '(' | '$' | '.'));
    if has_variable || !computes { (text, false) } else { (last.trim().to_owned(), true) }
}

/// Returns whether the quantity is an operand of an operation in words: "The square root of 360", "360 divided by 7".
fn is_operand(before: &[String], behind: &[Piece], word: &dyn Fn(&Piece) -> Option<String>) -> bool {
    let near = before.get(before.len().saturating_sub(3)..).unwrap_or_default().join(" ");
    let is_in_front = lexicon::OPERATIONS
        .iter()
        .any(|operation| near.strip_suffix(operation).is_some_and(|front| front.is_empty() || front.ends_with(' ')));
    let following = behind.iter().map_while(word).take(4).collect::<Vec<_>>().join(" ");
    let is_behind = lexicon::OPERATIONS_BEHIND.iter().any(|operation| {
        following.strip_prefix(operation).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
    });
    // "30 times in total" counts, "30 times 4" and "30 times as many" multiply.
    let next = behind.get(1);
    let multiplies = !following.starts_with("times")
        || next.is_some_and(|next| matches!(next.kind, Kind::Quantity | Kind::Span))
        || next.and_then(word).is_some_and(|word| matches!(word.as_str(), "as" | "the" | "more" | "larger" | "its"));
    let is_behind = is_behind && multiplies;
    is_in_front || is_behind
}

/// Returns whether a preposition governs the quantity: "for 34 people", "over the next 12 months".
pub(super) fn is_circumstance(before: &[String], has_earlier: bool) -> bool {
    let mut rest =
        before.iter().rev().map(String::as_str).skip_while(|word| lexicon::DETERMINERS.contains(word) && *word != "of");
    match rest.next() {
        Some("of") => has_earlier && !rest.next().is_some_and(|word| lexicon::MEASURES.contains(&word)),
        Some("to") => has_earlier,
        Some(word) => lexicon::PREPOSITIONS.contains(&word),
        None => false,
    }
}
