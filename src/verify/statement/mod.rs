//! Reads what a sentence states.
//!
//! A sentence is no place to pick the last number from. [`read`] takes it apart (`fragments`), splits it into clauses, and asks
//! of every quantity whether the sentence states it: what is denied ("not 34"), bounded ("at most 34", "between 30 and 34"),
//! a reason ("since $2 \cdot 17 = 34$"), a circumstance ("for $n = 3$", "over the next 12 months"), a remark in brackets
//! ("(about 39 feet)") or a reference ("equation (9)") is not stated while something else is. What is left is one answer,
//! several that the sentence joins, or several of which nothing says which is meant.
//!
//! It knows English grammar by short lists of words (`lexicon`), and of other languages only that their words are words.

mod fragments;
mod lexicon;

use super::math;
use super::words;
use fragments::{Kind, Piece, Scanner};

/// Longest sentence that is taken apart, in bytes; of a longer one the end counts.
const SENTENCE_BYTES_MAX: usize = 2_000;
/// Brackets within brackets that are read, at most.
const REMARK_DEPTH_MAX: usize = 2;

/// What a sentence states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stated {
    /// One answer.
    One(String),
    /// Several answers, joined by the sentence.
    Several(Vec<String>),
    /// Several quantities, and nothing says which is meant.
    Open(Vec<String>),
    /// What the answer is not, its bounds, or what has yet to be made of a quantity to get it.
    Denied,
    /// No quantity.
    Nothing,
}

/// Phrases that are answers without a number, as texts that the verifiers know.
const PHRASES: &[(&str, &str)] = &[
    ("no real solution", "no solution"),
    ("no solution", "no solution"),
    ("no such", "no such"),
    ("does not exist", "does not exist"),
    ("undefined", "undefined"),
    ("infinitely many", "infinitely many"),
    ("all real numbers", "all real numbers"),
];

/// Returns the phrase of a sentence that is an answer without a number.
pub(super) fn phrase(sentence: &str) -> Option<&'static str> {
    let lower = sentence.to_lowercase();
    PHRASES.iter().find(|(phrase, _)| lower.contains(phrase)).map(|(_, answer)| *answer)
}

/// Where a sentence stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Behind "the answer is": what comes first is the answer, and the rest explains.
    Announced,
    /// Anywhere else: the conclusion stands last.
    Free,
}

/// What a clause is to its sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Main,
    Reason,
    Conclusion,
    Denied,
}

/// A quantity in its clause.
#[derive(Debug, Clone)]
struct Quantity {
    text: String,
    /// Its place among the pieces of the clause, and how many pieces its unit takes.
    at: usize,
    end: usize,
    is_denied: bool,
    is_bounded: bool,
    is_circumstance: bool,
}

/// Returns what a sentence states.
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
    let says = |stated: &&(Role, Stated)| !matches!(stated.1, Stated::Nothing | Stated::Denied);
    let of = |role: Role| {
        let mut found = stated.iter().filter(move |(of, _)| *of == role).filter(says);
        if place == Place::Announced { found.next() } else { found.next_back() }
    };
    let chosen = if place == Place::Announced {
        of(Role::Main).or_else(|| of(Role::Conclusion))
    } else {
        of(Role::Conclusion).or_else(|| of(Role::Main))
    };
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
    // Nothing but a remark in brackets.
    let remark = pieces.iter().rev().find(|piece| piece.kind == Kind::Remark).filter(|_| depth < REMARK_DEPTH_MAX);
    if let Some(remark) = remark {
        return read_at(parsed.content(remark), place, depth + 1);
    }
    match (parsed.written(), phrase(&unwrapped)) {
        (Stated::Nothing, Some(phrase)) => Stated::One(phrase.to_owned()),
        (written, _) => written,
    }
}

/// Returns whether a text is more than mathematics with its units: it holds words of a sentence.
pub(super) fn has_prose(text: &str) -> bool {
    let unwrapped = unwrap_words(tail(text));
    let scanner = Scanner::new(&unwrapped);
    let pieces = scanner.pieces();
    let sentence = Sentence { text: &unwrapped, pieces: &pieces };
    let mut behind_quantity = false;
    pieces.iter().any(|piece| {
        let is_prose = match piece.kind {
            Kind::Word => sentence.is_prose_word(piece, behind_quantity),
            Kind::Remark => true,
            Kind::Mark(_) | Kind::Quantity | Kind::Span | Kind::Name => false,
        };
        behind_quantity = piece.kind != Kind::Word || (behind_quantity && !is_prose);
        is_prose
    })
}

/// Returns how many pieces of mathematics a text holds.
pub(super) fn quantities(text: &str) -> usize {
    let unwrapped = unwrap_words(tail(text));
    let pieces = Scanner::new(&unwrapped).pieces();
    pieces.iter().filter(|piece| matches!(piece.kind, Kind::Quantity | Kind::Span)).count()
}

/// Returns the formulas of a text, each whole.
pub(super) fn formulas(text: &str) -> Vec<String> {
    let pieces = Scanner::new(text).pieces();
    let is_formula = |piece: &&Piece| matches!(piece.kind, Kind::Quantity | Kind::Span);
    pieces.iter().filter(is_formula).filter_map(|piece| text.get(piece.start..piece.end)).map(str::to_owned).collect()
}

fn tail(sentence: &str) -> &str {
    let mut start = sentence.len().saturating_sub(SENTENCE_BYTES_MAX);
    while !sentence.is_char_boundary(start) {
        start += 1;
    }
    sentence.get(start..).unwrap_or("")
}

/// Takes words out of the commands that set them as words in a formula, outside of math delimiters.
fn unwrap_words(text: &str) -> String {
    const COMMANDS: &[&str] =
        &["\\text", "\\textbf", "\\textit", "\\textrm", "\\mathrm", "\\mbox", "\\mathbf", "\\emph", "\\textnormal"];
    if !text.contains('\\') || text.contains("\\(") || text.replace("\\$", "").contains('$') {
        return text.to_owned();
    }
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (before, after) = rest.split_at(at);
        result.push_str(before);
        let opened = COMMANDS.iter().find_map(|command| after.strip_prefix(command)?.strip_prefix('{'));
        let content = opened.and_then(|inner| inner.split_once('}')).filter(|(content, _)| !content.contains('{'));
        // A word within a fraction or a subscript belongs to it.
        let open = result.matches('{').count() > result.matches('}').count();
        if let Some((content, tail)) = content.filter(|_| !open) {
            result.push(' ');
            result.push_str(content);
            result.push(' ');
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
            // Whatever is escaped belongs to its backslash.
            let width = tail.chars().next().map_or(0, char::len_utf8);
            result.push_str(tail.get(..width).unwrap_or(""));
            rest = tail.get(width..).unwrap_or("");
        }
    }
    result.push_str(rest);
    result
}

struct Sentence<'a> {
    text: &'a str,
    pieces: &'a [Piece],
}

impl Sentence<'_> {
    fn content(&self, piece: &Piece) -> &str {
        self.text.get(piece.start..piece.end).unwrap_or("")
    }

    fn word(&self, piece: &Piece) -> Option<String> {
        (piece.kind == Kind::Word).then(|| self.content(piece).to_lowercase())
    }

    /// Returns whether a word belongs to a sentence: no name, no unit behind a quantity, no product of letters.
    fn is_prose_word(&self, piece: &Piece, behind_quantity: bool) -> bool {
        let word = self.content(piece);
        let lower = word.to_lowercase();
        let is_name = lower.chars().count() < 2 || lower.contains(|c: char| c.is_ascii_digit() || c == '_');
        let is_segment = word.len() <= 4 && word.bytes().all(|byte| byte.is_ascii_uppercase());
        let has_vowel = lower.contains(|c: char| matches!(c, 'a' | 'e' | 'i' | 'o' | 'u' | 'y') || !c.is_ascii());
        // `xy^2`, `abc+1`: letters that a sign goes on from.
        let is_glued = self
            .text
            .get(piece.end..)
            .is_some_and(|rest| rest.starts_with(['^', '_', '+', '=', '/', '*', '<', '>', '(']));
        let is_product = lower.len() <= 3 && word.is_ascii() && (!has_vowel || is_glued);
        let is_unit = behind_quantity && math::is_unit_word(word);
        !is_name && !is_segment && !is_product && !is_unit && !matches!(lower.as_str(), "and" | "or")
    }

    /// Splits the sentence into clauses with their roles.
    fn clauses(&self) -> Vec<(Role, Vec<Piece>)> {
        let mut clauses: Vec<(Role, Vec<Piece>)> = vec![(Role::Main, Vec::new())];
        let begin = |clauses: &mut Vec<(Role, Vec<Piece>)>, role: Role| clauses.push((role, Vec::new()));
        for (at, piece) in self.pieces.iter().enumerate() {
            let role = clauses.last().map_or(Role::Main, |(role, _)| *role);
            let is_behind_mark = at.checked_sub(1).and_then(|before| self.pieces.get(before)).is_some_and(|before| {
                matches!(before.kind, Kind::Mark(',' | ';' | ':' | '-' | '.' | '\u{2014}' | '\u{2013}'))
            });
            match piece.kind {
                Kind::Mark(';' | ':' | '\u{2014}' | '\u{2013}' | '-' | '?' | '!' | '.') => {
                    begin(&mut clauses, Role::Main)
                }
                // A reason in front ends with its comma, and so does what is denied.
                Kind::Mark(',') if role == Role::Reason || role == Role::Denied => begin(&mut clauses, Role::Main),
                Kind::Word => {
                    let word = self.content(piece).to_lowercase();
                    let next = self.pieces.get(at + 1).and_then(|next| self.word(next)).unwrap_or_default();
                    if role == Role::Reason && self.resumes(clauses.last().map_or(&[][..], |(_, clause)| clause), &word)
                    {
                        begin(&mut clauses, Role::Main);
                    } else if lexicon::REASONS.contains(&word.as_str()) || (word == "as" && is_behind_mark) {
                        begin(&mut clauses, Role::Reason);
                    } else if word == "which" && is_behind_mark {
                        begin(&mut clauses, Role::Reason);
                    } else if (lexicon::CONCLUSIONS.contains(&word.as_str()) && (word != "so" || next != "far"))
                        || lexicon::FOREIGN_CONCLUSIONS.iter().any(|start| word.starts_with(start))
                    {
                        begin(&mut clauses, Role::Conclusion);
                    } else if (word == "not" && is_behind_mark)
                        || (matches!(word.as_str(), "rather" | "instead") && matches!(next.as_str(), "than" | "of"))
                    {
                        begin(&mut clauses, Role::Denied);
                    } else if (word == "but" && !self.is_exception(at))
                        || (role == Role::Denied && matches!(word.as_str(), "it" | "it's"))
                    {
                        begin(&mut clauses, Role::Main);
                        if next == "not" {
                            begin(&mut clauses, Role::Denied);
                        }
                        continue;
                    }
                }
                _ => {}
            }
            if let Some((_, clause)) = clauses.last_mut() {
                clause.push(*piece);
            }
        }
        clauses.retain(|(_, clause)| !clause.is_empty());
        clauses
    }

    /// "Anything but 8".
    fn is_exception(&self, at: usize) -> bool {
        let before = at.checked_sub(1).and_then(|before| self.pieces.get(before)).and_then(|before| self.word(before));
        before.is_some_and(|word| matches!(word.as_str(), "anything" | "everything" | "nothing" | "all" | "none"))
    }

    /// "The remainder when $k^2$ is divided by $m$ is": the second verb belongs to the sentence again.
    fn resumes(&self, reason: &[Piece], word: &str) -> bool {
        let words: Vec<String> = reason.iter().filter_map(|piece| self.word(piece)).collect();
        let opens = words.first().is_some_and(|first| matches!(first.as_str(), "when" | "where" | "if" | "given"));
        let verb = words.iter().rposition(|word| matches!(word.as_str(), "is" | "are"));
        let is_joined = verb.is_some_and(|verb| {
            words.get(verb..).unwrap_or_default().iter().any(|word| matches!(word.as_str(), "and" | "or"))
        });
        opens && verb.is_some() && !is_joined && matches!(word, "is" | "are")
    }

    /// Returns what one clause states.
    fn clause(&self, role: Role, clause: &[Piece]) -> Stated {
        let mut quantities = self.quantities(clause);
        if quantities.is_empty() {
            return self.names(clause);
        }
        if role == Role::Denied {
            return Stated::Denied;
        }
        let asserted = |quantity: &Quantity| !quantity.is_denied && !quantity.is_bounded;
        if !quantities.iter().any(asserted) {
            return Stated::Denied;
        }
        quantities.retain(asserted);
        // `7 out of 12` may be a count or a share.
        if let [first, second] = quantities.as_slice()
            && self.says_between(clause, first, second) == ["out", "of"]
        {
            return Stated::Open(vec![first.text.clone(), format!("{}/{}", first.text, second.text)]);
        }
        if quantities.iter().any(|quantity| !quantity.is_circumstance) {
            quantities.retain(|quantity| !quantity.is_circumstance);
        }
        // What stands behind the last verb is what the clause says of the rest.
        let links = |word: String| {
            lexicon::LINKS.contains(&word.as_str()) || lexicon::FOREIGN_LINKS.iter().any(|end| word.ends_with(end))
        };
        let verb = clause.iter().rposition(|piece| self.word(piece).is_some_and(links));
        if let Some(verb) = verb
            && quantities.iter().any(|quantity| quantity.at > verb)
        {
            quantities.retain(|quantity| quantity.at > verb);
        }
        let mut texts: Vec<String> = quantities.iter().map(|quantity| quantity.text.clone()).collect();
        texts.dedup();
        match (texts.len(), texts.pop()) {
            // "That gives 9!" exclaims, or means a factorial.
            (1, Some(only)) if self.is_exclaimed(clause, &quantities) => {
                let factorial = format!("{only}!");
                Stated::Open(vec![only, factorial])
            }
            (1, Some(only)) => Stated::One(only),
            (_, Some(last)) => {
                texts.push(last);
                let is_joined = quantities.windows(2).all(|pair| match pair {
                    [left, right] => self.joins(clause, left, right),
                    _ => false,
                });
                if is_joined { Stated::Several(texts) } else { Stated::Open(texts) }
            }
            (_, None) => Stated::Nothing,
        }
    }

    /// Returns the quantities of a clause, with what the clause says of each.
    fn quantities(&self, clause: &[Piece]) -> Vec<Quantity> {
        let mut found: Vec<Quantity> = Vec::new();
        for (at, piece) in clause.iter().enumerate() {
            if !matches!(piece.kind, Kind::Quantity | Kind::Span) || found.last().is_some_and(|last| at < last.end) {
                continue;
            }
            if self.is_reference(clause, at) || self.is_enumerator(clause, at) {
                continue;
            }
            let (text, end) = self.with_unit(clause, at);
            let before = self.words_before(clause, at, found.last().map_or(0, |last| last.end));
            let text = signed(&before, text);
            let follows_list = found.last().is_some_and(|last| self.is_connected(clause, last.end, at));
            let is_denied = is_denied(&before)
                || self.is_refuted(clause, end)
                || (follows_list && found.last().is_some_and(|last| last.is_denied));
            let is_bounded = self.is_bounded(&before, clause, end)
                || (follows_list && found.last().is_some_and(|last| last.is_bounded));
            let is_bounded =
                is_bounded || is_operand(&before, clause.get(end..).unwrap_or_default(), &|piece| self.word(piece));
            let is_bounded = is_bounded || (before.last().is_some_and(|word| word == "minus") && !found.is_empty());
            let is_circumstance = is_circumstance(&before, !found.is_empty());
            // `from 3 to 75`, `3-75`: a range.
            if before == ["to"] || before == ["through"] {
                if let Some(last) = found.last_mut() {
                    last.is_bounded = true;
                }
                found.push(Quantity { text, at, end, is_denied, is_bounded: true, is_circumstance });
                continue;
            }
            found.push(Quantity { text, at, end, is_denied, is_bounded, is_circumstance });
        }
        found
    }

    /// Names between math delimiters behind the verb: "The solutions are $B$ and $C$."
    fn names(&self, clause: &[Piece]) -> Stated {
        let verb = clause
            .iter()
            .rposition(|piece| self.word(piece).is_some_and(|word| lexicon::LINKS.contains(&word.as_str())));
        let behind = clause.get(verb.map_or(0, |verb| verb + 1)..).unwrap_or_default();
        let plain = behind.iter().all(|piece| match piece.kind {
            Kind::Name | Kind::Mark(',') => true,
            Kind::Word => lexicon::JOINS.contains(&self.content(piece).to_lowercase().as_str()),
            _ => false,
        });
        let names: Vec<String> = behind
            .iter()
            .filter(|piece| piece.kind == Kind::Name)
            .map(|piece| self.content(piece).trim().to_owned())
            .collect();
        match (plain, names.len()) {
            (true, 1) => Stated::One(names.concat()),
            (true, 2..) => Stated::Several(names),
            _ => Stated::Nothing,
        }
    }

    fn is_exclaimed(&self, clause: &[Piece], quantities: &[Quantity]) -> bool {
        let piece = quantities.last().and_then(|last| clause.get(last.at)).filter(|piece| piece.kind == Kind::Quantity);
        piece.is_some_and(|piece| self.text.get(piece.end..).is_some_and(|rest| rest.starts_with('!')))
    }

    /// Returns the words in front of a piece, back to a mark or `from`, in order.
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

    /// "Equation (9)", "Step 3": a name of a place in the text.
    fn is_reference(&self, clause: &[Piece], at: usize) -> bool {
        let Some(piece) = clause.get(at) else { return false };
        let bare: String = self.content(piece).chars().filter(|c| !matches!(c, '(' | ')' | '[' | ']')).collect();
        let is_label =
            !bare.is_empty() && bare.len() <= 5 && bare.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let word = at.checked_sub(1).and_then(|before| clause.get(before)).and_then(|before| self.word(before));
        let is_cited = self.content(piece).starts_with('[') && is_label && bare.len() <= 2 && at > 0;
        is_cited || (is_label && word.is_some_and(|word| lexicon::REFERENCES.contains(&word.as_str())))
    }

    /// "3. Then": the number of a line.
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

    /// Returns a quantity with the words that are its unit, and the place behind them.
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

    /// Beside a currency sign a comma in front of one or two digits is that of a price: "2,74 $".
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

    /// Returns the offset behind the delimiters of a piece.
    fn delimiter_end(&self, piece: &Piece) -> usize {
        if piece.kind != Kind::Span {
            return piece.end;
        }
        let rest = self.text.get(piece.end..).unwrap_or("");
        let width =
            ["\\)", "\\]", "$$", "$"].iter().find(|close| rest.starts_with(**close)).map_or(0, |close| close.len());
        piece.end + width
    }

    /// "is too small", "is not the answer" behind a quantity.
    fn is_refuted(&self, clause: &[Piece], end: usize) -> bool {
        let words: Vec<String> = clause.iter().skip(end).map_while(|piece| self.word(piece)).take(6).collect();
        let verb = words.iter().position(|word| {
            matches!(word.as_str(), "is" | "are" | "was" | "can" | "seems" | "looks" | "would" | "does")
                || word.ends_with("n't")
        });
        let Some(verb) = verb else { return false };
        let rest = words.get(verb..).unwrap_or_default();
        rest.iter().take(4).any(|word| word.ends_with("n't") || lexicon::REFUTED.contains(&word.as_str()))
    }

    fn is_bounded(&self, before: &[String], clause: &[Piece], end: usize) -> bool {
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
        let is_between = before.iter().any(|word| word == "between");
        // "over the next 12 months" says when.
        let is_place = matches!(near.last().copied(), Some("over" | "under" | "above" | "below"))
            && before.last().map(String::as_str) != near.last().copied();
        let behind: Vec<String> = clause.iter().skip(end).map_while(|piece| self.word(piece)).take(4).collect();
        let behind = behind.join(" ");
        let is_bounded_behind = lexicon::BOUNDS_BEHIND.iter().any(|bound| behind.contains(bound));
        (bounded && !is_place) || is_between || is_bounded_behind
    }

    /// Returns the words between two quantities.
    fn says_between(&self, clause: &[Piece], left: &Quantity, right: &Quantity) -> Vec<String> {
        clause.get(left.end..right.at).unwrap_or_default().iter().filter_map(|piece| self.word(piece)).collect()
    }

    /// Nothing but joining words and commas between two places.
    fn is_connected(&self, clause: &[Piece], from: usize, to: usize) -> bool {
        clause.get(from..to).unwrap_or_default().iter().all(|piece| match piece.kind {
            Kind::Mark(',') => true,
            Kind::Word => lexicon::JOINS.contains(&self.content(piece).to_lowercase().as_str()),
            _ => false,
        })
    }

    /// "12 boys and 15 girls": a list, whatever is counted.
    fn joins(&self, clause: &[Piece], left: &Quantity, right: &Quantity) -> bool {
        let between = clause.get(left.end..right.at).unwrap_or_default();
        let has_join = between.iter().any(|piece| match piece.kind {
            Kind::Mark(',') => true,
            Kind::Word => lexicon::JOINS.contains(&self.content(piece).to_lowercase().as_str()),
            _ => false,
        });
        has_join && between.len() <= 6
    }

    /// A number in words, where no digits stand.
    fn written(&self) -> Stated {
        let mut found = Vec::new();
        let mut before: Vec<String> = Vec::new();
        let mut at = 0;
        while let Some(piece) = self.pieces.get(at) {
            let run = self
                .pieces
                .get(at..)
                .unwrap_or_default()
                .iter()
                .take_while(|piece| piece.kind == Kind::Word)
                .take(8)
                .count();
            let longest = (1..=run).rev().find_map(|count| {
                let last = self.pieces.get(at + count - 1)?;
                let text = self.text.get(piece.start..last.end)?;
                words::number(text).map(|_| (count, text.to_owned()))
            });
            match longest {
                // "one" alone is a pronoun, unless a verb leads to it and nothing follows.
                Some((count, text)) if !(text.eq_ignore_ascii_case("one") && !self.is_count(at, &before)) => {
                    let denied = is_denied(&before)
                        || self.is_bounded(&before, self.pieces, at + count)
                        || self.is_refuted(self.pieces, at + count);
                    found.push((text, denied, is_circumstance(&before, !found.is_empty())));
                    before.clear();
                    at += count;
                }
                _ => {
                    match piece.kind {
                        Kind::Word => before.push(self.content(piece).to_lowercase()),
                        _ => before.clear(),
                    }
                    at += 1;
                }
            }
        }
        if found.is_empty() {
            return Stated::Nothing;
        }
        if found.iter().all(|(_, denied, _)| *denied) {
            return Stated::Denied;
        }
        found.retain(|(_, denied, _)| !denied);
        if found.iter().any(|(.., circumstance)| !circumstance) {
            found.retain(|(.., circumstance)| !circumstance);
        }
        let mut texts: Vec<String> = found.into_iter().map(|(text, ..)| text).collect();
        match (texts.len(), texts.pop()) {
            (1, Some(only)) => Stated::One(only),
            (_, last) => Stated::Open(texts.into_iter().chain(last).collect()),
        }
    }

    fn is_count(&self, at: usize, before: &[String]) -> bool {
        let ends = self.pieces.get(at + 1).is_none_or(|next| matches!(next.kind, Kind::Mark(_)));
        (before.is_empty() && at == 0 && ends)
            || (ends && before.last().is_some_and(|word| matches!(word.as_str(), "is" | "are" | "exactly" | "only")))
    }
}

/// "minus 75", "negative 75".
fn signed(before: &[String], text: String) -> String {
    match before.last().map(String::as_str) {
        Some("minus" | "negative") if !text.starts_with('-') => format!("-{text}"),
        _ => text,
    }
}

/// A word of denial in front, and none that takes it back.
fn is_denied(before: &[String]) -> bool {
    let denies = |word: &String| {
        lexicon::NEGATIONS.contains(&word.as_str())
            || word.ends_with("n't")
            || lexicon::FOREIGN_NEGATIONS.iter().any(|negation| word.contains(negation))
    };
    let denial = before.iter().rposition(denies);
    let Some(at) = denial else { return false };
    // "no more than" bounds, "no doubt" affirms.
    !before
        .get(at + 1..)
        .unwrap_or_default()
        .iter()
        .any(|word| matches!(word.as_str(), "but" | "it's" | "that's" | "doubt"))
}

/// "The square root of 360", "360 divided by 7": something is left to be made of the quantity.
fn is_operand(before: &[String], behind: &[Piece], word: &dyn Fn(&Piece) -> Option<String>) -> bool {
    let near = before.get(before.len().saturating_sub(3)..).unwrap_or_default().join(" ");
    let is_in_front = lexicon::OPERATIONS
        .iter()
        .any(|operation| near.strip_suffix(operation).is_some_and(|front| front.is_empty() || front.ends_with(' ')));
    let following = behind.iter().map_while(word).take(4).collect::<Vec<_>>().join(" ");
    let is_behind = lexicon::OPERATIONS_BEHIND.iter().any(|operation| {
        following.strip_prefix(operation).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
    });
    is_in_front || is_behind
}

/// A preposition governs the quantity: "for 34 people", "over the next 12 months".
fn is_circumstance(before: &[String], has_earlier: bool) -> bool {
    let mut rest =
        before.iter().rev().map(String::as_str).skip_while(|word| lexicon::DETERMINERS.contains(word) && *word != "of");
    match rest.next() {
        Some("of") => has_earlier && !rest.next().is_some_and(|word| lexicon::MEASURES.contains(&word)),
        Some("to") => has_earlier,
        Some(word) => lexicon::PREPOSITIONS.contains(&word),
        None => false,
    }
}
