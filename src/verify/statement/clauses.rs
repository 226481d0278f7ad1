//! Splits a sentence into clauses, and determines the statement of each clause.

use super::fragments::{Kind, Piece};
use super::lexicon;
use super::quantities::Quantity;
use super::sentence::{Sentence, Stated};

/// The role of a clause in its sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Main,
    Reason,
    Conclusion,
    /// "Which is 12": the result of the preceding clause, or the explanation of an announced answer.
    Consequence,
    /// The clause retracts the preceding text: "it is actually 13".
    Correction,
    Denied,
}

impl Sentence<'_> {
    /// Splits the sentence into clauses with their roles.
    pub(super) fn clauses(&self) -> Vec<(Role, Vec<Piece>)> {
        let mut clauses: Vec<(Role, Vec<Piece>)> = vec![(Role::Main, Vec::new())];
        let begin = |clauses: &mut Vec<(Role, Vec<Piece>)>, role: Role| clauses.push((role, Vec::new()));
        for (at, piece) in self.pieces.iter().enumerate() {
            let role = clauses.last().map_or(Role::Main, |(role, _)| *role);
            let is_behind_mark = at.checked_sub(1).and_then(|before| self.pieces.get(before)).is_some_and(|before| {
                matches!(before.kind, Kind::Mark(',' | ';' | ':' | '-' | '.' | '\u{2014}' | '\u{2013}'))
            });
            match piece.kind {
                // `$10$:12`: a ratio, or two answers.
                Kind::Mark(':') if self.is_between_quantities(at) => {}
                Kind::Mark(mark @ (';' | ':' | '\u{2014}' | '\u{2013}' | '-' | '?' | '!' | '.')) => {
                    // "Is it 13?" asserts nothing.
                    if mark == '?'
                        && let Some((role, clause)) = clauses.last_mut()
                        && self.asks(clause)
                    {
                        *role = Role::Denied;
                    }
                    // "Wait, no: it is 12."
                    let goes_on =
                        clauses.last().is_some_and(|(role, clause)| *role == Role::Correction && !has_quantity(clause));
                    begin(&mut clauses, if goes_on { Role::Correction } else { Role::Main })
                }
                // A preceding reason ends at its comma, and so does a denial.
                Kind::Mark(',') if role == Role::Reason || role == Role::Denied => begin(&mut clauses, Role::Main),
                Kind::Word => {
                    let word = self.content(piece).to_lowercase();
                    let next = self.pieces.get(at + 1).and_then(|next| self.word(next)).unwrap_or_default();
                    if lexicon::CORRECTIONS.contains(&word.as_str()) {
                        // The words of the correction before its cue belong to the correction.
                        let has_quantity = clauses.last().is_some_and(|(_, clause)| has_quantity(clause));
                        match clauses.last_mut() {
                            Some((role, _)) if !has_quantity => *role = Role::Correction,
                            _ => begin(&mut clauses, Role::Correction),
                        }
                    } else if role == Role::Reason
                        && self.resumes(clauses.last().map_or(&[][..], |(_, clause)| clause), &word)
                    {
                        begin(&mut clauses, Role::Main);
                    } else if lexicon::REASONS.contains(&word.as_str()) || (word == "as" && is_behind_mark) {
                        begin(&mut clauses, Role::Reason);
                    } else if word == "which" && is_behind_mark {
                        let follows = matches!(
                            next.as_str(),
                            "is" | "equals" | "gives" | "makes" | "means" | "leaves" | "yields" | "implies"
                        );
                        begin(&mut clauses, if follows { Role::Consequence } else { Role::Reason });
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

    /// Returns whether only a mark separates two quantities.
    fn is_between_quantities(&self, at: usize) -> bool {
        let is_quantity =
            |piece: Option<&Piece>| piece.is_some_and(|piece| matches!(piece.kind, Kind::Quantity | Kind::Span));
        let next = self.pieces.get(at + 1);
        let mark = self.pieces.get(at).map_or(0, |mark| mark.end);
        let is_glued = next.is_some_and(|next| next.start == mark);
        is_glued && is_quantity(at.checked_sub(1).and_then(|before| self.pieces.get(before))) && is_quantity(next)
    }

    /// Returns whether a clause begins like a question.
    fn asks(&self, clause: &[Piece]) -> bool {
        let first = clause.iter().find_map(|piece| self.word(piece));
        first.is_some_and(|word| {
            matches!(
                word.as_str(),
                "is" | "are"
                    | "could"
                    | "can"
                    | "would"
                    | "does"
                    | "do"
                    | "what"
                    | "why"
                    | "how"
                    | "should"
                    | "maybe"
                    | "was"
                    | "so"
                    | "perhaps"
                    | "will"
                    | "might"
            )
        })
    }

    /// Returns whether the sentence gives different answers for different cases: "8 if $n$ is even and 9 if it is odd".
    pub(super) fn tells_cases_apart(&self) -> bool {
        let words = || self.pieces.iter().filter_map(|piece| self.word(piece));
        let conditions = words().filter(|word| matches!(word.as_str(), "if" | "when" | "whenever" | "unless")).count();
        conditions > 1 || words().any(|word| matches!(word.as_str(), "otherwise" | "else" | "depending" | "depends"))
    }

    /// Returns whether the word is part of an exception: "Anything but 8".
    fn is_exception(&self, at: usize) -> bool {
        let before = at.checked_sub(1).and_then(|before| self.pieces.get(before)).and_then(|before| self.word(before));
        before.is_some_and(|word| matches!(word.as_str(), "anything" | "everything" | "nothing" | "all" | "none"))
    }

    /// Returns whether the main clause continues after a subordinate one: "The remainder when $k^2$ is divided by $m$
    /// is".
    fn resumes(&self, reason: &[Piece], word: &str) -> bool {
        let words: Vec<String> = reason.iter().filter_map(|piece| self.word(piece)).collect();
        let opens = words.first().is_some_and(|first| matches!(first.as_str(), "when" | "where" | "if" | "given"));
        let verb = words.iter().rposition(|word| matches!(word.as_str(), "is" | "are"));
        let is_joined = verb.is_some_and(|verb| {
            words.get(verb..).unwrap_or_default().iter().any(|word| matches!(word.as_str(), "and" | "or"))
        });
        opens && verb.is_some() && !is_joined && matches!(word, "is" | "are")
    }

    /// Returns the statement of one clause.
    pub(super) fn clause(&self, role: Role, clause: &[Piece]) -> Stated {
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
        // "3 bags * 4 eggs = 12 eggs".
        if let Some(result) = quantities.iter().rposition(|quantity| quantity.is_result) {
            quantities = quantities.split_off(result);
            quantities.truncate(1);
        }
        // "$(x-7)(x+2) = 0$ and $x = 7$": a derivation and its result.
        if quantities.len() > 1 && quantities.iter().all(|quantity| quantity.text.contains('=')) {
            let is_compound = |quantity: &Quantity| {
                let left = quantity.text.split('=').next().unwrap_or("").trim();
                left.chars().skip(1).any(|c| matches!(c, '+' | '-' | '*' | '/' | '^'))
                    || left.starts_with(|c: char| c.is_ascii_digit())
            };
            if let Some(last) = quantities.iter().rposition(is_compound).filter(|last| last + 1 < quantities.len()) {
                quantities = quantities.split_off(last + 1);
            }
        }
        // `7 out of 12` may be a count or a share.
        if let [first, second] = quantities.as_slice()
            && self.says_between(clause, first, second) == ["out", "of"]
        {
            return Stated::Open(vec![first.text.clone(), format!("{}/{}", first.text, second.text)]);
        }
        if quantities.iter().any(|quantity| !quantity.is_circumstance) {
            quantities.retain(|quantity| !quantity.is_circumstance);
        }
        // The text after the last verb states something about the rest.
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
        let is_joined = quantities.windows(2).all(|pair| match pair {
            [left, right] => self.joins(clause, left, right),
            _ => false,
        });
        if !is_joined && texts.iter().all(|text| Some(text) == texts.first()) {
            texts.truncate(1);
        }
        match (texts.len(), texts.pop()) {
            // "That gives 9!" is an exclamation or a factorial.
            (1, Some(only)) if self.is_exclaimed(clause, &quantities) => {
                let factorial = format!("{only}!");
                Stated::Open(vec![only, factorial])
            }
            (1, Some(only)) => Stated::One(only),
            (_, Some(last)) => {
                texts.push(last);
                if is_joined { Stated::Several(texts) } else { Stated::Open(texts) }
            }
            (_, None) => Stated::Nothing,
        }
    }

    /// Returns the names between math delimiters after the verb: "The solutions are $B$ and $C$."
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

    /// Returns the words between two quantities.
    fn says_between(&self, clause: &[Piece], left: &Quantity, right: &Quantity) -> Vec<String> {
        clause.get(left.end..right.at).unwrap_or_default().iter().filter_map(|piece| self.word(piece)).collect()
    }

    /// Returns whether two quantities form a list, whatever is counted: "12 boys and 15 girls".
    fn joins(&self, clause: &[Piece], left: &Quantity, right: &Quantity) -> bool {
        let between = clause.get(left.end..right.at).unwrap_or_default();
        let has_join = between.iter().any(|piece| match piece.kind {
            Kind::Mark(',') => true,
            Kind::Word => lexicon::JOINS.contains(&self.content(piece).to_lowercase().as_str()),
            _ => false,
        });
        has_join && between.len() <= 6
    }
}

fn has_quantity(clause: &[Piece]) -> bool {
    clause.iter().any(|piece| matches!(piece.kind, Kind::Quantity | Kind::Span))
}
