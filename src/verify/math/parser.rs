//! Tokens to an expression tree: recursive descent, bounded in depth.
//!
//! From loosest to tightest: lists, relations, unions and other set operations, ratios, sums, products (explicit and
//! implicit), signs, powers, postfix marks. `a/b c` divides first when `b` is a number (`3/4\pi`), else last (`1/xy`).
//! Words after an expression are units and are dropped; words alone are a text answer; words elsewhere are prose, and
//! prose is unreadable.

use dashu_int::{IBig, UBig};
use dashu_ratio::RBig;

use super::Fault;
use super::expression::{Bracket, Expression, Operation};
use super::lexer::tokenize;
use super::limits::{DEPTH_MAX, WRAPS_MAX};
use super::token::{Kind, Token};

/// Reads a whole text as one expression.
pub(super) fn parse(text: &str) -> Result<Expression, Fault> {
    let mut parser = Parser { tokens: tokenize(text)?, at: 0, depth: 0, wraps: 0, bars: 0 };
    let expression = parser.list()?;
    if parser.at < parser.tokens.len() {
        return Err(Fault::Unreadable);
    }
    Ok(expression)
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
    /// Times that a loop nested the tree without recursing; bounds the tree's depth together with `depth`.
    wraps: usize,
    /// Open `|` bars: while one is open, a bar closes it.
    bars: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Kind> {
        self.tokens.get(self.at).map(|token| &token.kind)
    }

    fn peek_at(&self, ahead: usize) -> Option<&Kind> {
        self.tokens.get(self.at + ahead).map(|token| &token.kind)
    }

    fn take(&mut self, kind: &Kind) -> bool {
        let found = self.peek() == Some(kind);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, kind: &Kind) -> Result<(), Fault> {
        if self.take(kind) { Ok(()) } else { Err(Fault::Unreadable) }
    }

    /// Runs `read` one level deeper.
    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Fault>) -> Result<T, Fault> {
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
        let mut items = self.items()?;
        match items.len() {
            0 => Err(Fault::Unreadable),
            1 => items.pop().ok_or(Fault::Unreadable),
            _ => Ok(Expression::List(items)),
        }
    }

    fn items(&mut self) -> Result<Vec<Expression>, Fault> {
        let mut items = Vec::new();
        loop {
            while self.take(&Kind::Separator) {}
            if matches!(self.peek(), None | Some(Kind::Close(_) | Kind::Cell | Kind::Row | Kind::EndMatrix)) {
                return Ok(items);
            }
            items.push(self.deeper(Self::relation)?);
            if !matches!(self.peek(), Some(Kind::Separator)) {
                return Ok(items);
            }
        }
    }

    fn relation(&mut self) -> Result<Expression, Fault> {
        let mut sides = vec![self.set_operation()?];
        let mut signs = Vec::new();
        while let Some(&Kind::Relation(sign)) = self.peek() {
            self.at += 1;
            signs.push(sign);
            sides.push(self.set_operation()?);
        }
        match (signs.is_empty(), sides.pop()) {
            (true, Some(only)) => Ok(only),
            (false, Some(last)) => {
                sides.push(last);
                Ok(Expression::Relation { sides, signs })
            }
            (_, None) => Err(Fault::Unreadable),
        }
    }

    fn set_operation(&mut self) -> Result<Expression, Fault> {
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
        while self.take(&Kind::Colon) {
            parts.push(self.operand()?);
        }
        match parts.len() {
            1 => parts.pop().ok_or(Fault::Unreadable),
            _ => Ok(Expression::Operation(Operation::Ratio, parts)),
        }
    }

    /// Reads a sum with its unit, or a text.
    fn operand(&mut self) -> Result<Expression, Fault> {
        let words = self.words();
        if !words.is_empty() {
            return Ok(Expression::Text(words));
        }
        let sum = self.sum()?;
        if !self.words().is_empty() {
            // A unit may be raised: `cm^2`.
            if self.take(&Kind::Caret) {
                self.deeper(Self::exponent)?;
            }
            while self.peek() == Some(&Kind::Divide) && matches!(self.peek_at(1), Some(Kind::Text(_))) {
                self.at += 1;
                self.words();
            }
        }
        Ok(sum)
    }

    fn words(&mut self) -> String {
        let mut words = String::new();
        while let Some(Kind::Text(text)) = self.peek() {
            if !words.is_empty() {
                words.push(' ');
            }
            words.push_str(text);
            self.at += 1;
        }
        words
    }

    fn sum(&mut self) -> Result<Expression, Fault> {
        let mut terms = Vec::new();
        if self.take(&Kind::PlusMinus) {
            let right = self.product()?;
            terms.push(Expression::PlusMinus(None, Box::new(right)));
        } else {
            terms.push(self.product()?);
        }
        loop {
            if self.take(&Kind::Plus) {
                terms.push(self.product()?);
            } else if self.take(&Kind::Minus) {
                terms.push(Expression::Negate(Box::new(self.product()?)));
            } else if self.take(&Kind::PlusMinus) {
                self.wrap()?;
                let right = self.product()?;
                let left = collapse(terms, Expression::Sum)?;
                terms = vec![Expression::PlusMinus(Some(Box::new(left)), Box::new(right))];
            } else {
                return collapse(terms, Expression::Sum);
            }
        }
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

    fn starts_factor(&self) -> bool {
        match self.peek() {
            // Two numerals side by side are no product.
            Some(Kind::Number { .. }) => !matches!(
                self.at.checked_sub(1).and_then(|at| self.tokens.get(at)).map(|t| &t.kind),
                Some(Kind::Number { .. })
            ),
            Some(Kind::Bar) => self.bars == 0,
            Some(Kind::Symbol(name)) if name == "U" => {
                // Not a factor between two brackets: `(1,2) U (3,4)`.
                !matches!(self.peek_at(1), Some(Kind::Open(Bracket::Round | Bracket::Square)))
            }
            Some(
                Kind::Symbol(_)
                | Kind::Function(_)
                | Kind::Fraction
                | Kind::Binomial
                | Kind::Root
                | Kind::BeginMatrix
                | Kind::Open(Bracket::Round | Bracket::Brace | Bracket::Floor | Bracket::Ceil),
            ) => true,
            _ => false,
        }
    }

    fn signed(&mut self) -> Result<Expression, Fault> {
        if self.take(&Kind::Minus) {
            // The sign of a mixed number or a product covers all of it.
            let inner = self.deeper(Self::signed)?;
            return Ok(Expression::Negate(Box::new(inner)));
        }
        if self.take(&Kind::Plus) {
            return self.deeper(Self::signed);
        }
        self.power()
    }

    fn power(&mut self) -> Result<Expression, Fault> {
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
                }
                _ => return Ok(base),
            }
        }
    }

    fn raised_circle(&mut self) -> bool {
        let brace = Kind::Open(Bracket::Brace);
        if matches!(self.peek(), Some(Kind::Circle | Kind::Degree)) {
            self.at += 1;
            return true;
        }
        if self.peek() == Some(&brace) && self.peek_at(1) == Some(&Kind::Circle) {
            self.at += 2;
            return self.take(&Kind::Close(Bracket::Brace));
        }
        false
    }

    fn exponent(&mut self) -> Result<Expression, Fault> {
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

    fn primary(&mut self) -> Result<Expression, Fault> {
        let Some(kind) = self.peek().cloned() else { return Err(Fault::Unreadable) };
        self.at += 1;
        match kind {
            Kind::Number { digits, repeat } => self.numeral(&digits, &repeat),
            Kind::Symbol(name) => self.symbol(name),
            Kind::Infinity => Ok(Expression::Infinity),
            Kind::EmptySet => Ok(Expression::Set(Vec::new())),
            Kind::Reals => Ok(interval_of_reals()),
            Kind::Fraction => {
                let above = self.argument()?;
                let below = self.argument()?;
                Ok(Expression::Quotient(Box::new(above), Box::new(below)))
            }
            Kind::Binomial => {
                let above = self.argument()?;
                let below = self.argument()?;
                Ok(Expression::Call("binom".to_owned(), vec![above, below]))
            }
            Kind::Root => self.root(),
            Kind::Function(name) => self.call(name),
            Kind::Bar => {
                self.bars += 1;
                let inner = self.deeper(Self::sum);
                self.bars -= 1;
                let inner = inner?;
                self.expect(&Kind::Bar)?;
                Ok(Expression::Call("abs".to_owned(), vec![inner]))
            }
            Kind::Open(bracket) => self.bracketed(bracket),
            Kind::BeginMatrix => self.matrix(),
            _ => Err(Fault::Unreadable),
        }
    }

    fn numeral(&mut self, digits: &str, repeat: &str) -> Result<Expression, Fault> {
        if self.peek() == Some(&Kind::Underscore) {
            self.at += 1;
            let base = self.subscript()?;
            return Ok(Expression::Based { digits: digits.to_owned(), base });
        }
        let whole = number(digits, repeat)?;
        if digits.contains('.') {
            return Ok(whole);
        }
        // Mixed numbers: `1\frac{1}{2}` and `1 1/2`.
        let part = match self.peek() {
            Some(Kind::Fraction) => {
                let before = self.at;
                self.at += 1;
                let above = self.argument()?;
                let below = self.argument()?;
                if !is_proper(&above, &below) {
                    self.at = before;
                    return Ok(whole);
                }
                Expression::Quotient(Box::new(above), Box::new(below))
            }
            Some(Kind::Number { digits: above, .. }) if self.peek_at(1) == Some(&Kind::Divide) => {
                let Some(Kind::Number { digits: below, .. }) = self.peek_at(2) else { return Ok(whole) };
                let (above, below) = (number(above, "")?, number(below, "")?);
                if !is_proper(&above, &below) {
                    return Ok(whole);
                }
                self.at += 3;
                Expression::Quotient(Box::new(above), Box::new(below))
            }
            _ => return Ok(whole),
        };
        Ok(Expression::Sum(vec![whole, part]))
    }

    fn symbol(&mut self, mut name: String) -> Result<Expression, Fault> {
        if self.take(&Kind::Underscore) {
            name.push('_');
            name.push_str(&self.subscript()?);
        }
        Ok(Expression::Symbol(name))
    }

    /// Reads a subscript as text: a name or a number.
    fn subscript(&mut self) -> Result<String, Fault> {
        let braced = self.take(&Kind::Open(Bracket::Brace));
        let mut text = String::new();
        loop {
            match self.peek() {
                Some(Kind::Number { digits, .. }) => text.push_str(digits),
                Some(Kind::Symbol(name) | Kind::Text(name)) => text.push_str(name),
                Some(Kind::Plus) if braced => text.push('+'),
                Some(Kind::Minus) if braced => text.push('-'),
                Some(Kind::Separator) if braced => text.push(','),
                _ => break,
            }
            self.at += 1;
            if !braced {
                break;
            }
        }
        if braced {
            self.expect(&Kind::Close(Bracket::Brace))?;
        }
        if text.is_empty() { Err(Fault::Unreadable) } else { Ok(text) }
    }

    /// Reads the argument of `\frac` and its kin: a group, or one digit or symbol.
    fn argument(&mut self) -> Result<Expression, Fault> {
        if let Some(Kind::Number { digits, .. }) = self.peek()
            && digits.len() > 1
            && digits.bytes().all(|byte| byte.is_ascii_digit())
        {
            // `\frac12`: each argument is one digit.
            let (first, rest) = digits.split_at(1);
            let (first, rest) = (first.to_owned(), rest.to_owned());
            if let Some(token) = self.tokens.get_mut(self.at) {
                token.kind = Kind::Number { digits: rest, repeat: String::new() };
            }
            return number(&first, "");
        }
        if let Some(Kind::Number { digits, repeat }) = self.peek().cloned() {
            self.at += 1;
            return number(&digits, &repeat);
        }
        self.deeper(Self::primary)
    }

    fn root(&mut self) -> Result<Expression, Fault> {
        let mut index = Expression::integer(2);
        if self.take(&Kind::Open(Bracket::Square)) {
            index = self.deeper(Self::sum)?;
            self.expect(&Kind::Close(Bracket::Square))?;
        }
        let radicand = match self.peek().cloned() {
            Some(Kind::Number { digits, repeat }) => {
                self.at += 1;
                number(&digits, &repeat)?
            }
            _ => self.deeper(Self::primary)?,
        };
        let exponent = Expression::Quotient(Box::new(Expression::integer(1)), Box::new(index));
        Ok(Expression::Power(Box::new(radicand), Box::new(exponent)))
    }

    /// Reads a function with its exponent, base and argument: `\sin^2 x`, `\log_2 8`, `\cos 2x`, `gcd(a, b)`.
    fn call(&mut self, name: &'static str) -> Result<Expression, Fault> {
        let mut base = None;
        let mut exponent = None;
        for _ in 0..2 {
            if self.take(&Kind::Underscore) {
                base = Some(self.argument()?);
            } else if self.take(&Kind::Caret) {
                exponent = Some(self.deeper(Self::exponent)?);
            }
        }
        let mut arguments = self.deeper(Self::call_arguments)?;
        let mut name = name.to_owned();
        if let Some(base) = base {
            name.push_str("_base");
            arguments.push(base);
        }
        if exponent == Some(Expression::Negate(Box::new(Expression::integer(1)))) {
            // `\sin^{-1}` is the inverse function.
            name.insert_str(0, "arc");
            exponent = None;
        }
        let call = Expression::Call(name, arguments);
        Ok(match exponent {
            Some(exponent) => Expression::Power(Box::new(call), Box::new(exponent)),
            None => call,
        })
    }

    fn call_arguments(&mut self) -> Result<Vec<Expression>, Fault> {
        for bracket in [Bracket::Round, Bracket::Brace, Bracket::Square] {
            if self.take(&Kind::Open(bracket)) {
                let items = self.items()?;
                self.expect(&Kind::Close(bracket))?;
                return if items.is_empty() { Err(Fault::Unreadable) } else { Ok(items) };
            }
        }
        let mut value = self.signed()?;
        while self.starts_factor() && !matches!(self.peek(), Some(Kind::Function(_) | Kind::Open(Bracket::Round))) {
            let factor = self.power()?;
            value = multiply(value, factor);
        }
        Ok(vec![value])
    }

    fn bracketed(&mut self, open: Bracket) -> Result<Expression, Fault> {
        let bars = std::mem::take(&mut self.bars);
        let items = self.deeper(Self::items);
        self.bars = bars;
        let mut items = items?;
        let Some(&Kind::Close(close)) = self.peek() else { return Err(Fault::Unreadable) };
        self.at += 1;
        match (open, close) {
            (Bracket::Set, Bracket::Set) => Ok(Expression::Set(items)),
            (Bracket::Floor, Bracket::Floor) if items.len() == 1 => Ok(Expression::Call("floor".to_owned(), items)),
            (Bracket::Ceil, Bracket::Ceil) if items.len() == 1 => Ok(Expression::Call("ceil".to_owned(), items)),
            (Bracket::Brace, Bracket::Brace) if items.len() > 1 => Ok(Expression::List(items)),
            (Bracket::Round, Bracket::Round)
            | (Bracket::Square, Bracket::Square)
            | (Bracket::Brace, Bracket::Brace)
                if items.len() == 1 =>
            {
                items.pop().ok_or(Fault::Unreadable)
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

    fn matrix(&mut self) -> Result<Expression, Fault> {
        let mut rows = vec![Vec::new()];
        loop {
            match self.peek() {
                Some(Kind::Cell) => self.at += 1,
                Some(Kind::Row) => {
                    self.at += 1;
                    rows.push(Vec::new());
                }
                Some(Kind::EndMatrix) => {
                    self.at += 1;
                    break;
                }
                _ => {
                    let cell = self.deeper(Self::sum)?;
                    if let Some(row) = rows.last_mut() {
                        row.push(cell);
                    }
                }
            }
        }
        rows.retain(|row| !row.is_empty());
        let width = rows.first().map_or(0, Vec::len);
        if width == 0 || rows.iter().any(|row| row.len() != width) {
            return Err(Fault::Unreadable);
        }
        Ok(Expression::Matrix(rows))
    }
}

fn collapse(mut items: Vec<Expression>, many: fn(Vec<Expression>) -> Expression) -> Result<Expression, Fault> {
    match items.len() {
        1 => items.pop().ok_or(Fault::Unreadable),
        _ => Ok(many(items)),
    }
}

fn multiply(left: Expression, right: Expression) -> Expression {
    match left {
        Expression::Product(mut factors) => {
            factors.push(right);
            Expression::Product(factors)
        }
        left => Expression::Product(vec![left, right]),
    }
}

fn is_interval(expression: &Expression) -> bool {
    matches!(expression, Expression::Group { .. } | Expression::Union(_) | Expression::Set(_))
}

fn is_numeral(expression: &Expression) -> bool {
    matches!(expression, Expression::Number { .. })
}

fn is_proper(above: &Expression, below: &Expression) -> bool {
    match (above, below) {
        (Expression::Number { value: above, .. }, Expression::Number { value: below, .. }) => above < below,
        _ => false,
    }
}

fn interval_of_reals() -> Expression {
    let low = Expression::Negate(Box::new(Expression::Infinity));
    Expression::Group { open: Bracket::Round, close: Bracket::Round, items: vec![low, Expression::Infinity] }
}

/// Reads digits with an optional point, and the repeating decimals after them.
fn number(digits: &str, repeat: &str) -> Result<Expression, Fault> {
    let (whole, decimals) = digits.split_once('.').unwrap_or((digits, ""));
    let parse = |text: &str| -> Result<IBig, Fault> {
        if text.is_empty() { Ok(IBig::ZERO) } else { text.parse().map_err(|_| Fault::Unreadable) }
    };
    let scale = UBig::from(10u8).pow(decimals.len());
    let mut value = RBig::from_parts(parse(&format!("{whole}{decimals}"))?, scale.clone());
    if !repeat.is_empty() {
        let nines = UBig::from(10u8).pow(repeat.len()) - UBig::ONE;
        value += RBig::from_parts(parse(repeat)?, nines * scale);
    }
    let places = (digits.contains('.') && repeat.is_empty()).then(|| u32::try_from(decimals.len()).unwrap_or(u32::MAX));
    Ok(Expression::Number { value, places })
}
