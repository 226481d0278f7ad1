//! Parses brackets: tuples, intervals, sets, groups, and their contents.

use super::expression::{Bracket, Expression, Join};
use super::outcome::Fault;
use super::parser::Parser;
use super::token::Kind;

impl Parser {
    /// Parses the content after an opening bracket, which is already consumed.
    pub(super) fn bracketed(&mut self, open: Bracket) -> Result<Expression, Fault> {
        let bars = std::mem::take(&mut self.bars);
        // `{x \mid x > 3}`: a set whose braces were not escaped.
        let is_set = open == Bracket::Set
            || (open == Bracket::Brace
                && matches!(self.peek(), Some(Kind::Symbol(_)))
                && matches!(self.peek_at(1), Some(Kind::Mid | Kind::Bar | Kind::Colon)));
        let open = if is_set && open == Bracket::Brace { Bracket::Set } else { open };
        let builder = std::mem::replace(&mut self.builder, open == Bracket::Set);
        let squares = std::mem::replace(&mut self.squares, usize::from(open == Bracket::Square));
        let items = self.deeper(Self::items);
        let conditions = self.deeper(|parser| parser.conditions(open));
        self.bars = bars;
        self.builder = builder;
        self.squares = squares;
        let (mut items, join) = items?;
        let conditions = conditions?;
        if open == Bracket::Brace
            && matches!(self.peek(), Some(Kind::Choose | Kind::Over))
            && let Some(above) = items.pop()
        {
            return self.infix(above);
        }
        let close = match self.peek() {
            Some(Kind::Close(close)) => *close,
            // `[0, 5[`.
            Some(Kind::Open(Bracket::Square)) if items.len() == 2 && open == Bracket::Square => Bracket::Round,
            _ => return Err(Fault::Unreadable),
        };
        let close = if is_set && close == Bracket::Brace { Bracket::Set } else { close };
        self.at += 1;
        if let Some(conditions) = conditions {
            let element = items.pop().filter(|_| items.is_empty()).ok_or(Fault::Unreadable)?;
            return Ok(Expression::Builder(Box::new(element), conditions));
        }
        let one = items.len() == 1;
        match (open, close) {
            (Bracket::Set, Bracket::Set) => Ok(Expression::Set(items)),
            (Bracket::Floor, Bracket::Floor) if one => Ok(Expression::Call("floor".to_owned(), items)),
            (Bracket::Ceil, Bracket::Ceil) if one => Ok(Expression::Call("ceil".to_owned(), items)),
            (Bracket::Brace, Bracket::Brace) if items.len() > 1 => {
                Ok(Expression::List(items, if join == Join::Or { join } else { Join::Braces }))
            }
            (Bracket::Round, Bracket::Round)
            | (Bracket::Square, Bracket::Square)
            | (Bracket::Brace, Bracket::Brace)
                if one =>
            {
                let inner = items.pop().ok_or(Fault::Unreadable)?;
                // `(1010)_2`.
                if let (Expression::Number { value, places: None }, Some(Kind::Underscore)) = (&inner, self.peek()) {
                    let digits = value.to_string();
                    self.at += 1;
                    return Ok(Expression::Based { digits, base: self.subscript()? });
                }
                // `{u}_1`.
                if let (Expression::Symbol(name), Bracket::Brace, Some(Kind::Underscore)) = (&inner, open, self.peek())
                {
                    self.at += 1;
                    return Ok(Expression::Symbol(format!("{name}_{}", self.subscript()?)));
                }
                Ok(inner)
            }
            (Bracket::Angle, Bracket::Angle) => {
                Ok(Expression::Group { open: Bracket::Round, close: Bracket::Round, items })
            }
            (Bracket::Round | Bracket::Square, Bracket::Round | Bracket::Square) if items.len() > 1 => {
                Ok(Expression::Group { open, close, items })
            }
            _ => Err(Fault::Unreadable),
        }
    }

    /// Parses `]0, 5[` and `]0, 5]`, whose first bracket is already consumed.
    pub(super) fn bracketed_outwards(&mut self) -> Result<Expression, Fault> {
        self.squares = 1;
        let items = self.deeper(Self::items);
        self.squares = 0;
        let (items, _) = items?;
        let close = match self.peek() {
            Some(Kind::Open(Bracket::Square) | Kind::Close(Bracket::Round)) => Bracket::Round,
            Some(Kind::Close(Bracket::Square)) => Bracket::Square,
            _ => return Err(Fault::Unreadable),
        };
        self.at += 1;
        if items.len() != 2 {
            return Err(Fault::Unreadable);
        }
        Ok(Expression::Group { open: Bracket::Round, close, items })
    }

    /// Parses the conditions after the bar or colon in a set.
    fn conditions(&mut self, open: Bracket) -> Result<Option<Vec<Expression>>, Fault> {
        if open != Bracket::Set || !matches!(self.peek(), Some(Kind::Mid | Kind::Bar | Kind::Colon)) {
            return Ok(None);
        }
        self.at += 1;
        self.builder = false;
        Ok(Some(self.items()?.0))
    }

    /// Parses the rest of `{a \over b}` and `{n \choose k}`.
    fn infix(&mut self, above: Expression) -> Result<Expression, Fault> {
        let is_choice = self.peek() == Some(&Kind::Choose);
        self.at += 1;
        let below = self.deeper(Self::sum)?;
        self.expect(&Kind::Close(Bracket::Brace))?;
        Ok(if is_choice {
            Expression::Call("binom".to_owned(), vec![above, below])
        } else {
            Expression::Quotient(Box::new(above), Box::new(below))
        })
    }

    /// Returns whether square brackets contain one value and so multiply: no comma at their level.
    pub(super) fn is_square_factor(&self) -> bool {
        // `[0, 5[ \cup ...`: a bracket that closes.
        if matches!(
            self.peek_at(1),
            Some(
                Kind::Union
                    | Kind::Intersection
                    | Kind::SetMinus
                    | Kind::Separator(_)
                    | Kind::Relation(_)
                    | Kind::Close(_)
            )
        ) {
            return false;
        }
        let mut depth = 0usize;
        for token in self.tokens.iter().skip(self.at) {
            match token.kind {
                Kind::Open(_) | Kind::BeginMatrix | Kind::BeginCases => depth += 1,
                Kind::EndMatrix | Kind::EndCases => depth = depth.saturating_sub(1),
                Kind::Close(bracket) => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        return bracket == Bracket::Square;
                    }
                }
                Kind::Separator(_) if depth <= 1 => return false,
                _ => {}
            }
        }
        false
    }
}
