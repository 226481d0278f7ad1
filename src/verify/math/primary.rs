//! Operands: numerals, names, functions, roots, brackets, matrices.
//!
//! The other half of the parser; `parser` reads what combines operands.

use dashu_int::{IBig, UBig};
use dashu_ratio::RBig;

use super::Fault;
use super::expression::{Bracket, Expression};
use super::parser::{Parser, multiply};
use super::token::Kind;

impl Parser {
    /// Reads one operand without its exponent and marks.
    pub(super) fn primary(&mut self) -> Result<Expression, Fault> {
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
