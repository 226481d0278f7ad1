//! Parses operands: numerals, names, functions, roots, brackets, matrices.
//!
//! `parser`, the other half of the parser, combines the operands.

use dashu_int::{IBig, UBig};
use dashu_ratio::RBig;

use super::calls::Begins;
use super::expression::{Bracket, Domain, Expression, Join, Relation};
use super::outcome::Fault;
use super::parser::{Parser, multiply};
use super::token::{Fold, Kind};

impl Parser {
    /// Parses one operand without its exponent and marks.
    pub(super) fn primary(&mut self) -> Result<Expression, Fault> {
        let Some(kind) = self.peek().cloned() else { return Err(Fault::Unreadable) };
        self.at += 1;
        match kind {
            Kind::Number { digits, repeat } => self.numeral(&digits, &repeat),
            Kind::Symbol(name) => self.symbol(name),
            Kind::Infinity => Ok(Expression::Infinity),
            Kind::EmptySet => Ok(Expression::Set(Vec::new())),
            Kind::Domain(domain) => self.domain(domain),
            Kind::Series(fold) => self.series(fold),
            Kind::BeginCases => self.cases(),
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
                let inner = self.deeper(Self::set_operation);
                self.bars -= 1;
                let inner = inner?;
                self.expect(&Kind::Bar)?;
                Ok(Expression::Call("abs".to_owned(), vec![inner]))
            }
            Kind::Open(bracket) => self.bracketed(bracket),
            Kind::Close(Bracket::Square) if self.squares == 0 => self.bracketed_outwards(),
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
        if digits.contains('.') || !repeat.is_empty() {
            return Ok(whole);
        }
        // `5C2`.
        if let (Some(Kind::Symbol(name)), Some(Kind::Number { digits: below, .. })) = (self.peek(), self.peek_at(1))
            && name == "C"
        {
            let below = number(below, "")?;
            self.at += 2;
            return Ok(Expression::Call("binom".to_owned(), vec![whole, below]));
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
                (above, below)
            }
            Some(Kind::Number { digits: above, .. }) if self.peek_at(1) == Some(&Kind::Divide) => {
                let Some(Kind::Number { digits: below, .. }) = self.peek_at(2) else { return Ok(whole) };
                let (above, below) = (number(above, "")?, number(below, "")?);
                if !is_proper(&above, &below) {
                    return Ok(whole);
                }
                self.at += 3;
                (above, below)
            }
            _ => return Ok(whole),
        };
        // A mixed number is one numeral, not an uncomputed sum.
        match (whole, part) {
            (
                Expression::Number { value: whole, .. },
                (Expression::Number { value: above, .. }, Expression::Number { value: below, .. }),
            ) if !below.is_zero() => Ok(Expression::Number { value: whole + above / below, places: None }),
            _ => Err(Fault::Unreadable),
        }
    }

    fn symbol(&mut self, mut name: String) -> Result<Expression, Fault> {
        let begins = if self.at == self.item_start + 1 { Begins::Answer } else { Begins::Nothing };
        if let Some(count) = self.counted(&name)? {
            return Ok(count);
        }
        if self.take(&Kind::Underscore) {
            name.push('_');
            name.push_str(&self.subscript()?);
        }
        if let Some(call) = self.called(&name, begins)? {
            return Ok(call);
        }
        Ok(Expression::Symbol(name))
    }

    /// Parses `C_5^2`, `A_5^2` and `C(5,2)`: combinations and arrangements of numbers.
    fn counted(&mut self, name: &str) -> Result<Option<Expression>, Fault> {
        let function = match name {
            "C" => "binom",
            "A" | "P" => "permutations",
            _ => return Ok(None),
        };
        let start = self.at;
        let whole = |parser: &mut Self| -> Option<String> {
            let braced = parser.take(&Kind::Open(Bracket::Brace));
            let Some(Kind::Number { digits, .. }) = parser.peek().cloned() else { return None };
            parser.at += 1;
            (!braced || parser.take(&Kind::Close(Bracket::Brace))).then_some(digits)
        };
        let read = |parser: &mut Self| -> Option<(String, String)> {
            if parser.take(&Kind::Underscore) {
                let lower = whole(parser)?;
                return parser.take(&Kind::Caret).then(|| whole(parser))?.map(|upper| (lower, upper));
            }
            if name == "C" && parser.take(&Kind::Open(Bracket::Round)) {
                let lower = whole(parser)?;
                parser.take(&Kind::Separator(Join::Comma)).then_some(())?;
                let upper = whole(parser)?;
                return parser.take(&Kind::Close(Bracket::Round)).then_some((lower, upper));
            }
            None
        };
        let Some((above, below)) = read(self) else {
            self.at = start;
            return Ok(None);
        };
        Ok(Some(Expression::Call(function.to_owned(), vec![number(&above, "")?, number(&below, "")?])))
    }

    /// Parses a subscript as text: a name or a number.
    pub(super) fn subscript(&mut self) -> Result<String, Fault> {
        let braced = self.take(&Kind::Open(Bracket::Brace));
        let mut text = String::new();
        loop {
            match self.peek() {
                Some(Kind::Number { digits, .. }) => text.push_str(digits),
                Some(Kind::Symbol(name) | Kind::Text(name)) => text.push_str(name),
                Some(Kind::Function(name)) => text.push_str(name),
                Some(Kind::Plus) if braced => text.push('+'),
                Some(Kind::Minus) if braced => text.push('-'),
                Some(Kind::Caret) if braced => text.push('^'),
                Some(Kind::Times) if braced => text.push('*'),
                Some(Kind::Open(Bracket::Round)) if braced => text.push('('),
                Some(Kind::Close(Bracket::Round)) if braced => text.push(')'),
                Some(Kind::Infinity) => text.push_str("infty"),
                Some(Kind::Separator(_)) if braced => text.push(','),
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

    /// Parses the argument of `\frac` and similar commands: a group, or one digit or symbol.
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

    /// Parses a function with its exponent, base and argument: `\sin^2 x`, `\log_2 8`, `\cos 2x`, `gcd(a, b)`.
    fn call(&mut self, name: &'static str) -> Result<Expression, Fault> {
        // `\max = 6` names a value.
        if matches!(name, "max" | "min") && matches!(self.peek(), None | Some(Kind::Relation(_) | Kind::Colon)) {
            return Ok(Expression::Symbol(name.to_owned()));
        }
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
        for bracket in [Bracket::Round, Bracket::Brace, Bracket::Square, Bracket::Set] {
            if self.take(&Kind::Open(bracket)) {
                let (items, _) = self.items()?;
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

    /// Parses a set of numbers with its sign: `\mathbb{R}^+`.
    fn domain(&mut self, domain: Domain) -> Result<Expression, Fault> {
        let sign = match (self.peek(), self.peek_at(1), self.peek_at(2), self.peek_at(3)) {
            (Some(Kind::Caret | Kind::Underscore), Some(sign @ (Kind::Plus | Kind::Minus)), ..) => {
                Some((sign.clone(), 2))
            }
            (
                Some(Kind::Caret | Kind::Underscore),
                Some(Kind::Open(Bracket::Brace)),
                Some(sign @ (Kind::Plus | Kind::Minus)),
                Some(Kind::Close(Bracket::Brace)),
            ) => Some((sign.clone(), 4)),
            _ => None,
        };
        let Some((sign, len)) = sign else { return Ok(Expression::Domain(domain)) };
        self.at += len;
        match (domain, sign) {
            (Domain::Reals, Kind::Plus) => Ok(half_line(Expression::integer(0), Expression::Infinity)),
            (Domain::Reals, _) => {
                Ok(half_line(Expression::Negate(Box::new(Expression::Infinity)), Expression::integer(0)))
            }
            (Domain::Integers, Kind::Plus) => Ok(Expression::Domain(Domain::Naturals)),
            _ => Err(Fault::Unreadable),
        }
    }

    /// Parses `\sum_{k=1}^{n} term`.
    fn series(&mut self, fold: Fold) -> Result<Expression, Fault> {
        self.expect(&Kind::Underscore)?;
        self.expect(&Kind::Open(Bracket::Brace))?;
        let start = self.deeper(Self::relation)?;
        self.expect(&Kind::Close(Bracket::Brace))?;
        self.expect(&Kind::Caret)?;
        let high = self.deeper(Self::exponent)?;
        let mut body = self.deeper(Self::signed)?;
        while self.take(&Kind::Times) || self.starts_factor() {
            let factor = self.deeper(Self::power)?;
            body = multiply(body, factor);
        }
        let Expression::Relation { sides, signs } = start else { return Err(Fault::Unreadable) };
        let [Expression::Symbol(index), low] = sides.as_slice() else { return Err(Fault::Unreadable) };
        if signs.as_slice() != [Relation::Equal] {
            return Err(Fault::Unreadable);
        }
        let name = match fold {
            Fold::Sum => "sum",
            Fold::Product => "prod",
        };
        let low = Box::new(low.clone());
        Ok(Expression::Series { name, index: index.clone(), low, high: Box::new(high), body: Box::new(body) })
    }

    /// Parses the rows of `cases` and of aligned lines: answers, or values with their conditions.
    fn cases(&mut self) -> Result<Expression, Fault> {
        let mut rows = Vec::new();
        loop {
            while matches!(self.peek(), Some(Kind::Row | Kind::Separator(_))) {
                self.at += 1;
            }
            if self.take(&Kind::EndCases) {
                break;
            }
            let (mut items, _) = self.deeper(Self::items)?;
            if self.take(&Kind::Cell) {
                let value = items.pop().filter(|_| items.is_empty()).ok_or(Fault::Unreadable)?;
                while matches!(self.peek(), Some(Kind::Text(_) | Kind::Separator(_))) {
                    self.at += 1;
                }
                let (conditions, join) = self.deeper(Self::items)?;
                let condition = Expression::List(conditions, join);
                items = vec![Expression::Group {
                    open: Bracket::Round,
                    close: Bracket::Round,
                    items: vec![value, condition],
                }];
            }
            rows.extend(items);
            if !matches!(self.peek(), Some(Kind::Row | Kind::EndCases)) {
                return Err(Fault::Unreadable);
            }
        }
        match rows.len() {
            0 => Err(Fault::Unreadable),
            1 => rows.pop().ok_or(Fault::Unreadable),
            _ => Ok(Expression::List(rows, Join::And)),
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

fn half_line(low: Expression, high: Expression) -> Expression {
    Expression::Group { open: Bracket::Round, close: Bracket::Round, items: vec![low, high] }
}

/// Parses digits with an optional point, and the repeating decimals after them.
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
