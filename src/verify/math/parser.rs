//! Parses tokens to an expression tree: recursive descent of bounded depth.
//!
//! `primary` parses the operands (numerals, names, functions, brackets, matrices).
//!
//! Precedence, from loosest to tightest: lists, relations, unions and other set operations, ratios, sums, products
//! (explicit and implicit), signs, powers, postfix marks. `a/b c` divides first if `b` is a number (`3/4\pi`),
//! otherwise last (`1/xy`). Words after an expression are its unit; words alone are a text answer; words elsewhere are
//! prose, which is unreadable.

use super::expression::{Bracket, Expression, Join, Operation, Relation};
use super::lexer::tokenize;
use super::limits::{DEPTH_MAX, WRAPS_MAX};
use super::outcome::Fault;
use super::token::{Kind, Token};

/// Parses a whole text as one expression.
pub(super) fn parse(text: &str) -> Result<Expression, Fault> {
    let mut parser = Parser {
        tokens: tokenize(text)?,
        at: 0,
        depth: 0,
        wraps: 0,
        bars: 0,
        builder: false,
        squares: 0,
        item_start: 0,
    };
    let expression = parser.list()?;
    if parser.at < parser.tokens.len() {
        return Err(Fault::Unreadable);
    }
    Ok(expression)
}

pub(super) struct Parser {
    pub(super) tokens: Vec<Token>,
    pub(super) at: usize,
    depth: usize,
    /// How often a loop has nested the tree without recursion; bounds the tree's depth together with `depth`.
    wraps: usize,
    /// The number of open `|` bars: while one is open, a bar closes it.
    pub(super) bars: usize,
    /// Whether a colon or bar ends the element before a set's conditions.
    pub(super) builder: bool,
    /// The number of open square brackets: while one is open, `]` closes it.
    pub(super) squares: usize,
    /// The start of the current answer of a list.
    pub(super) item_start: usize,
}

impl Parser {
    pub(super) fn peek(&self) -> Option<&Kind> {
        self.tokens.get(self.at).map(|token| &token.kind)
    }

    pub(super) fn peek_at(&self, ahead: usize) -> Option<&Kind> {
        self.tokens.get(self.at + ahead).map(|token| &token.kind)
    }

    pub(super) fn take(&mut self, kind: &Kind) -> bool {
        let found = self.peek() == Some(kind);
        self.at += usize::from(found);
        found
    }

    pub(super) fn expect(&mut self, kind: &Kind) -> Result<(), Fault> {
        if self.take(kind) { Ok(()) } else { Err(Fault::Unreadable) }
    }

    /// Runs `read` one level deeper.
    pub(super) fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Fault>) -> Result<T, Fault> {
        if self.depth >= DEPTH_MAX {
            return Err(Fault::OverBudget);
        }
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }

    fn wrap(&mut self) -> Result<(), Fault> {
        self.wraps += 1;
        if self.wraps > WRAPS_MAX { Err(Fault::OverBudget) } else { Ok(()) }
    }

    fn list(&mut self) -> Result<Expression, Fault> {
        let (items, join, breaks) = self.items_and_breaks()?;
        let mut items = rows(items, &breaks);
        match items.len() {
            0 => Err(Fault::Unreadable),
            1 => items.pop().ok_or(Fault::Unreadable),
            _ => Ok(Expression::List(items, join)),
        }
    }

    /// Parses answers side by side, and returns them with the strongest separator.
    pub(super) fn items(&mut self) -> Result<(Vec<Expression>, Join), Fault> {
        self.items_and_breaks().map(|(items, join, _)| (items, join))
    }

    /// Parses answers side by side, and returns them with the strongest separator and the number of answers before each
    /// semicolon.
    fn items_and_breaks(&mut self) -> Result<(Vec<Expression>, Join, Vec<usize>), Fault> {
        let mut items = Vec::new();
        let mut join = Join::Comma;
        let mut breaks = Vec::new();
        loop {
            while let Some(&Kind::Separator(word)) = self.peek() {
                match word {
                    Join::Semicolon => breaks.push(items.len()),
                    Join::And | Join::Or if join != Join::Or => join = word,
                    _ => {}
                }
                self.at += 1;
            }
            let ends = Kind::Close(Bracket::Round);
            // `]0, 1[`: an opening bracket.
            let turned = self.squares == 0 && self.peek() == Some(&Kind::Close(Bracket::Square));
            if self.peek().is_none_or(|kind| !turned && std::mem::discriminant(kind) == std::mem::discriminant(&ends))
                || matches!(self.peek(), Some(Kind::Cell | Kind::Row | Kind::EndMatrix | Kind::EndCases | Kind::Mid))
            {
                return Ok((items, join, breaks));
            }
            self.item_start = self.at;
            items.push(self.deeper(Self::relation)?);
            if !matches!(self.peek(), Some(Kind::Separator(_))) {
                return Ok((items, join, breaks));
            }
        }
    }

    pub(super) fn relation(&mut self) -> Result<Expression, Fault> {
        // `\approx 20`, `= 20`: the rest of a sentence whose subject is in the question.
        if matches!(self.peek(), Some(Kind::Relation(Relation::Equal | Relation::Approx))) {
            self.at += 1;
        }
        let mut sides = vec![self.set_operation()?];
        let mut signs = Vec::new();
        let is_label = matches!(sides.as_slice(), [Expression::Text(_) | Expression::Symbol(_)]);
        if !self.builder && is_label && self.take(&Kind::Colon) {
            signs.push(Relation::Equal);
            sides.push(self.set_operation()?);
        }
        while let Some(&Kind::Relation(sign)) = self.peek() {
            self.at += 1;
            signs.push(sign);
            sides.push(self.set_operation()?);
        }
        // `\frac53 (\approx 1.67)`.
        if self.peek() == Some(&Kind::Open(Bracket::Round))
            && self.peek_at(1) == Some(&Kind::Relation(Relation::Approx))
        {
            self.at += 2;
            signs.push(Relation::Approx);
            sides.push(self.deeper(Self::set_operation)?);
            self.expect(&Kind::Close(Bracket::Round))?;
        }
        let relation = match (signs.is_empty(), sides.pop()) {
            (true, Some(only)) => only,
            (false, Some(last)) => {
                sides.push(last);
                Expression::Relation { sides, signs }
            }
            (_, None) => return Err(Fault::Unreadable),
        };
        match self.modulus()? {
            Some(modulus) => Ok(Expression::Modulo(Box::new(relation), Box::new(modulus))),
            None => Ok(relation),
        }
    }

    /// Parses `\pmod{5}`, `(mod 5)`, `mod 5`.
    fn modulus(&mut self) -> Result<Option<Expression>, Fault> {
        let round = Kind::Open(Bracket::Round);
        if self.take(&Kind::Modulo) {
            return self.deeper(Self::signed).map(Some);
        }
        if self.peek() == Some(&round) && self.peek_at(1) == Some(&Kind::Modulo) {
            self.at += 2;
            let modulus = self.deeper(Self::signed)?;
            self.expect(&Kind::Close(Bracket::Round))?;
            return Ok(Some(modulus));
        }
        Ok(None)
    }

    pub(super) fn set_operation(&mut self) -> Result<Expression, Fault> {
        let mut left = self.ratio()?;
        loop {
            let operation = match self.peek() {
                Some(Kind::Union) => None,
                Some(Kind::Intersection) => Some(Operation::Intersection),
                Some(Kind::SetMinus) => Some(Operation::Difference),
                // A capital U between intervals is a union.
                Some(Kind::Symbol(name)) if name == "U" && is_interval(&left) => None,
                _ => return Ok(left),
            };
            self.at += 1;
            self.wrap()?;
            let right = self.ratio()?;
            left = match (operation, left) {
                (None, Expression::Union(mut parts)) => {
                    parts.push(right);
                    Expression::Union(parts)
                }
                (None, left) => Expression::Union(vec![left, right]),
                (Some(operation), left) => Expression::Operation(operation, vec![left, right]),
            };
        }
    }

    fn ratio(&mut self) -> Result<Expression, Fault> {
        let first = self.operand()?;
        let mut parts = vec![first];
        let to = Kind::Text("to".to_owned());
        // `\text{mean}: 3` names a value.
        let is_label = match parts.first() {
            Some(Expression::Text(_)) => true,
            Some(Expression::Symbol(name)) => name == "max" || name == "min",
            _ => false,
        };
        while !self.builder && !is_label && (self.take(&Kind::Colon) || self.take(&to)) {
            parts.push(self.operand()?);
        }
        match parts.len() {
            1 => parts.pop().ok_or(Fault::Unreadable),
            _ => Ok(Expression::Operation(Operation::Ratio, parts)),
        }
    }

    /// Parses a sum with its unit, or a text.
    fn operand(&mut self) -> Result<Expression, Fault> {
        let words = self.words();
        if !words.is_empty() {
            return Ok(Expression::Text(words));
        }
        let mut value = self.with_unit()?;
        // `5 feet 3 inches`.
        while matches!(
            (&value, self.peek()),
            (Expression::Quantity(..) | Expression::Sum(_), Some(Kind::Number { .. }))
        ) {
            self.wrap()?;
            let next = self.with_unit()?;
            if !matches!(next, Expression::Quantity(..)) {
                return Err(Fault::Unreadable);
            }
            value = match value {
                Expression::Sum(mut parts) => {
                    parts.push(next);
                    Expression::Sum(parts)
                }
                first => Expression::Sum(vec![first, next]),
            };
        }
        self.extent(value)
    }

    /// Parses the remaining sides of `4 ft \times 12 ft`, `4 by 12`.
    fn extent(&mut self, first: Expression) -> Result<Expression, Fault> {
        let by = Kind::Text("by".to_owned());
        let mut sides = vec![first];
        while self.peek() == Some(&by)
            || (self.peek() == Some(&Kind::Times) && matches!(sides.last(), Some(Expression::Quantity(..))))
        {
            self.at += 1;
            sides.push(self.with_unit()?);
        }
        collapse(sides, |sides| Expression::Operation(Operation::Extent, sides))
    }

    fn with_unit(&mut self) -> Result<Expression, Fault> {
        let sum = self.sum()?;
        let unit = self.unit()?;
        Ok(if unit.is_empty() { sum } else { Expression::Quantity(Box::new(sum), unit) })
    }

    pub(super) fn sum(&mut self) -> Result<Expression, Fault> {
        let mut terms = Vec::new();
        if let Some(flipped) = self.take_plus_minus() {
            let right = Box::new(self.product()?);
            terms.push(Expression::PlusMinus { left: None, right, flipped });
        } else {
            terms.push(self.product()?);
        }
        loop {
            if self.take(&Kind::Plus) {
                terms.push(self.product()?);
            } else if self.take(&Kind::Minus) {
                terms.push(Expression::Negate(Box::new(self.product()?)));
            } else if let Some(flipped) = self.take_plus_minus() {
                self.wrap()?;
                let right = Box::new(self.product()?);
                let left = Some(Box::new(collapse(terms, Expression::Sum)?));
                terms = vec![Expression::PlusMinus { left, right, flipped }];
            } else {
                return collapse(terms, Expression::Sum);
            }
        }
    }

    fn take_plus_minus(&mut self) -> Option<bool> {
        let flipped = match self.peek() {
            Some(Kind::PlusMinus) => false,
            Some(Kind::MinusPlus) => true,
            _ => return None,
        };
        self.at += 1;
        Some(flipped)
    }

    fn product(&mut self) -> Result<Expression, Fault> {
        let mut value = self.signed()?;
        loop {
            if self.take(&Kind::Times) {
                let right = self.signed()?;
                value = multiply(value, right);
            } else if self.peek() == Some(&Kind::Divide) && !matches!(self.peek_at(1), Some(Kind::Text(_))) {
                self.at += 1;
                self.wrap()?;
                let mut divisor = self.signed()?;
                if !is_numeral(&divisor) {
                    while self.starts_factor() {
                        let factor = self.power()?;
                        divisor = multiply(divisor, factor);
                    }
                }
                value = Expression::Quotient(Box::new(value), Box::new(divisor));
            } else if self.starts_factor() {
                let factor = self.power()?;
                value = multiply(value, factor);
            } else {
                return Ok(value);
            }
        }
    }

    pub(super) fn starts_factor(&self) -> bool {
        match self.peek() {
            // Two numerals side by side are not a product.
            Some(Kind::Number { .. }) => !matches!(
                self.at.checked_sub(1).and_then(|at| self.tokens.get(at)).map(|t| &t.kind),
                Some(Kind::Number { .. })
            ),
            Some(Kind::Bar) => self.bars == 0 && !self.builder,
            Some(Kind::Fraction) => !self.is_unit_fraction(),
            // `(mod 5)` is not a factor.
            Some(Kind::Open(Bracket::Round)) => {
                let is_closed_next = self.peek_at(2) == Some(&Kind::Close(Bracket::Round));
                match self.peek_at(1) {
                    Some(Kind::Modulo | Kind::Relation(Relation::Approx)) => false,
                    Some(Kind::Text(_)) => !is_closed_next,
                    _ => true,
                }
            }
            Some(Kind::Symbol(name)) if name == "U" => {
                // Not a factor between two brackets: `(1,2) U (3,4)`.
                !matches!(self.peek_at(1), Some(Kind::Open(Bracket::Round | Bracket::Square)))
            }
            Some(
                Kind::Symbol(_)
                | Kind::Function(_)
                | Kind::Series(_)
                | Kind::Binomial
                | Kind::Root
                | Kind::BeginMatrix
                | Kind::Open(Bracket::Brace | Bracket::Floor | Bracket::Ceil),
            ) => true,
            // `2[x+1]`, but not `x \in (1,2] [3,4]`.
            Some(Kind::Open(Bracket::Square)) => self.is_square_factor(),
            _ => false,
        }
    }

    pub(super) fn signed(&mut self) -> Result<Expression, Fault> {
        if self.take(&Kind::Minus) {
            // The sign of a mixed number or a product applies to the whole.
            let inner = self.deeper(Self::signed)?;
            return Ok(Expression::Negate(Box::new(inner)));
        }
        if self.take(&Kind::Plus) {
            return self.deeper(Self::signed);
        }
        self.power()
    }

    pub(super) fn power(&mut self) -> Result<Expression, Fault> {
        let mut base = self.primary()?;
        loop {
            if matches!(self.peek(), Some(Kind::Caret | Kind::Factorial | Kind::Percent | Kind::Degree)) {
                self.wrap()?;
            }
            match self.peek() {
                Some(Kind::Caret) => {
                    self.at += 1;
                    if self.raised_circle() {
                        base = Expression::Degree(Box::new(base));
                        self.temperature_scale();
                    } else {
                        let exponent = self.deeper(Self::exponent)?;
                        base = Expression::Power(Box::new(base), Box::new(exponent));
                    }
                }
                Some(Kind::Factorial) => {
                    self.at += 1;
                    base = Expression::Call("factorial".to_owned(), vec![base]);
                }
                Some(Kind::Percent) => {
                    self.at += 1;
                    base = Expression::Percent(Box::new(base));
                }
                Some(Kind::Degree) => {
                    self.at += 1;
                    base = Expression::Degree(Box::new(base));
                    self.temperature_scale();
                }
                _ => return Ok(base),
            }
        }
    }

    /// Consumes the letter of a temperature scale after a degree sign.
    fn temperature_scale(&mut self) {
        if matches!(self.peek(), Some(Kind::Symbol(name)) if name == "C" || name == "F") {
            self.at += 1;
        }
    }

    fn raised_circle(&mut self) -> bool {
        let brace = Kind::Open(Bracket::Brace);
        if matches!(self.peek(), Some(Kind::Circle | Kind::Degree)) {
            self.at += 1;
            return true;
        }
        if self.peek() == Some(&brace) && matches!(self.peek_at(1), Some(Kind::Circle | Kind::Degree)) {
            self.at += 2;
            return self.take(&Kind::Close(Bracket::Brace));
        }
        false
    }

    pub(super) fn exponent(&mut self) -> Result<Expression, Fault> {
        if self.take(&Kind::Minus) {
            let inner = self.deeper(Self::exponent)?;
            return Ok(Expression::Negate(Box::new(inner)));
        }
        let base = self.primary()?;
        if self.take(&Kind::Caret) {
            let exponent = self.deeper(Self::exponent)?;
            return Ok(Expression::Power(Box::new(base), Box::new(exponent)));
        }
        Ok(base)
    }
}

/// Groups values into tuples, if semicolons divide them into rows of one length: `5,2; 7,2`. Definitions stay
/// unchanged.
fn rows(items: Vec<Expression>, breaks: &[usize]) -> Vec<Expression> {
    let named = |item: &Expression| matches!(item, Expression::Relation { .. });
    let Some(width) = breaks.first().copied().filter(|width| *width > 1) else { return items };
    let even = items.len() > width
        && items.len().is_multiple_of(width)
        && breaks.iter().enumerate().all(|(at, end)| *end == (at + 1) * width);
    if !even || items.iter().any(named) {
        return items;
    }
    let group =
        |items: &[Expression]| Expression::Group { open: Bracket::Round, close: Bracket::Round, items: items.to_vec() };
    items.chunks(width).map(group).collect()
}

fn collapse(mut items: Vec<Expression>, many: fn(Vec<Expression>) -> Expression) -> Result<Expression, Fault> {
    match items.len() {
        1 => items.pop().ok_or(Fault::Unreadable),
        _ => Ok(many(items)),
    }
}

pub(super) fn multiply(left: Expression, right: Expression) -> Expression {
    match left {
        Expression::Product(mut factors) => {
            factors.push(right);
            Expression::Product(factors)
        }
        left => Expression::Product(vec![left, right]),
    }
}

fn is_interval(expression: &Expression) -> bool {
    matches!(
        expression,
        Expression::Group { .. } | Expression::Union(_) | Expression::Set(_) | Expression::Relation { .. }
    )
}

fn is_numeral(expression: &Expression) -> bool {
    matches!(expression, Expression::Number { .. })
}
