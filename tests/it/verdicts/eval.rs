//! A small reader of LaTeX formulas that evaluates them at generated points. The values prove that an alteration
//! changed a value and that a typesetting kept it. The reader rejects unsupported formulas, and the generator skips
//! their cases.

/// A complex number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Complex(f64, f64);

impl Complex {
    fn plus(self, o: Self) -> Self {
        Self(self.0 + o.0, self.1 + o.1)
    }
    fn minus(self, o: Self) -> Self {
        Self(self.0 - o.0, self.1 - o.1)
    }
    fn times(self, o: Self) -> Self {
        Self(self.0 * o.0 - self.1 * o.1, self.0 * o.1 + self.1 * o.0)
    }
    fn over(self, o: Self) -> Self {
        let size = o.0 * o.0 + o.1 * o.1;
        Self((self.0 * o.0 + self.1 * o.1) / size, (self.1 * o.0 - self.0 * o.1) / size)
    }
    /// Returns the absolute value.
    pub fn size(self) -> f64 {
        self.0.hypot(self.1)
    }
    fn to_power(self, o: Self) -> Self {
        if self.size() == 0.0 {
            return if o.size() == 0.0 { Self(1.0, 0.0) } else { Self(0.0, 0.0) };
        }
        let log = Self(self.size().ln(), self.1.atan2(self.0)).times(o);
        Self(log.0.exp() * log.1.cos(), log.0.exp() * log.1.sin())
    }
}

/// Points at which two formulas are compared.
const POINTS: u64 = 4;

/// Returns whether two formulas have the same value everywhere; nothing if either cannot be read.
pub fn same_value(left: &str, right: &str) -> Option<bool> {
    let mut same = true;
    for point in 0..POINTS {
        let (a, b) = (value(left, point)?, value(right, point)?);
        same &= a.minus(b).size() <= 1e-9 * (1.0 + a.size().max(b.size()));
        if a.minus(b).size() > 1e-9 && a.minus(b).size() < 1e-3 * a.size() {
            return None;
        }
    }
    Some(same)
}

/// Returns whether two equations (as left and right sides) say the same up to a constant factor.
pub fn same_equation(one: (&str, &str), other: (&str, &str)) -> Option<bool> {
    let mut ratios = Vec::new();
    for point in 0..POINTS {
        let a = value(one.0, point)?.minus(value(one.1, point)?);
        let b = value(other.0, point)?.minus(value(other.1, point)?);
        if a.size() < 1e-9 || b.size() < 1e-9 {
            return None;
        }
        ratios.push(a.over(b));
    }
    Some(ratios.iter().all(|ratio| ratio.minus(ratios[0]).size() < 1e-9 * (1.0 + ratios[0].size())))
}

/// Returns the real value of a constant formula.
pub fn constant(text: &str) -> Option<f64> {
    if names(text).iter().any(|name| name != "e" && name != "i") {
        return None;
    }
    let found = value(text, 0)?;
    (found.1.abs() < 1e-12 && found.0.is_finite()).then_some(found.0)
}

/// Returns the single-letter variables of a formula, each once, in order.
pub fn names(text: &str) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    let mut found: Vec<String> = Vec::new();
    let mut at = 0;
    while at < characters.len() {
        if characters[at] == '\\' {
            at += 1;
            while at < characters.len() && characters[at].is_ascii_alphabetic() {
                at += 1;
            }
            continue;
        }
        if characters[at].is_ascii_alphabetic() && !found.contains(&characters[at].to_string()) {
            found.push(characters[at].to_string());
        }
        at += 1;
    }
    found
}

/// Evaluates a formula at a made-up point.
pub fn value(text: &str, point: u64) -> Option<Complex> {
    let text = text.replace("\\left", "").replace("\\right", "").replace("\\!", "").replace("\\dfrac", "\\frac");
    let text = text.replace("\\tfrac", "\\frac").replace("\\,", " ").replace("\\;", " ").replace("\\ ", " ");
    let characters: Vec<char> = text.chars().collect();
    if characters.len() > 400 {
        return None;
    }
    let mut reader = Reader { characters, at: 0, point, depth: 0 };
    let found = reader.sum()?;
    reader.blanks();
    (reader.at == reader.characters.len() && found.size().is_finite()).then_some(found)
}

struct Reader {
    characters: Vec<char>,
    at: usize,
    point: u64,
    depth: u32,
}

impl Reader {
    fn peek(&self) -> Option<char> {
        self.characters.get(self.at).copied()
    }

    fn blanks(&mut self) {
        while self.peek() == Some(' ') {
            self.at += 1;
        }
    }

    fn takes(&mut self, text: &str) -> bool {
        self.blanks();
        let wanted: Vec<char> = text.chars().collect();
        let end = self.at + wanted.len();
        let is_word = text.starts_with('\\') && wanted.len() > 2;
        let fits = self.characters.get(self.at..end) == Some(&wanted[..]);
        if fits && !(is_word && self.characters.get(end).is_some_and(char::is_ascii_alphabetic)) {
            self.at = end;
            return true;
        }
        false
    }

    fn sum(&mut self) -> Option<Complex> {
        self.depth += 1;
        if self.depth > 40 {
            return None;
        }
        let mut total = self.product()?;
        loop {
            if self.takes("+") {
                total = total.plus(self.product()?);
            } else if self.takes("-") || self.takes("\u{2212}") {
                total = total.minus(self.product()?);
            } else {
                self.depth -= 1;
                return Some(total);
            }
        }
    }

    fn product(&mut self) -> Option<Complex> {
        let mut total = self.signed()?;
        loop {
            if self.takes("\\cdot") || self.takes("\\times") || self.takes("*") {
                total = total.times(self.signed()?);
            } else if self.takes("/") {
                total = total.over(self.signed()?);
            } else if self.starts_factor() {
                total = total.times(self.power()?);
            } else {
                return Some(total);
            }
        }
    }

    fn starts_factor(&mut self) -> bool {
        self.blanks();
        match self.peek() {
            Some('\\') => {
                let rest: String = self.characters.iter().skip(self.at + 1).take(6).collect();
                ["frac", "sqrt", "pi", "sin", "cos", "tan", "log", "ln", "theta", "alpha", "cot"]
                    .iter()
                    .any(|word| rest.starts_with(word))
            }
            Some(c) => c.is_ascii_alphanumeric() || matches!(c, '(' | '{' | '\u{221a}' | '\u{3c0}'),
            None => false,
        }
    }

    fn signed(&mut self) -> Option<Complex> {
        if self.takes("-") || self.takes("\u{2212}") {
            return Some(Complex(0.0, 0.0).minus(self.power()?));
        }
        let _ = self.takes("+");
        self.power()
    }

    fn power(&mut self) -> Option<Complex> {
        let base = self.atom()?;
        self.blanks();
        if let Some(exponent) = self.peek().and_then(|c| {
            "\u{2070}\u{b9}\u{b2}\u{b3}\u{2074}\u{2075}\u{2076}\u{2077}\u{2078}\u{2079}"
                .chars()
                .position(|digit| digit == c)
        }) {
            self.at += 1;
            return Some(base.to_power(Complex(exponent as f64, 0.0)));
        }
        if self.takes("^\\circ") || self.takes("^{\\circ}") || self.takes("\u{b0}") {
            return Some(base.times(Complex(std::f64::consts::PI / 180.0, 0.0)));
        }
        if self.takes("^") {
            let exponent = self.group()?;
            return Some(base.to_power(exponent));
        }
        Some(base)
    }

    /// Reads what stands behind `^`, `\frac` or `\sqrt`: braces, or one character.
    fn group(&mut self) -> Option<Complex> {
        self.blanks();
        match self.peek()? {
            '{' => self.within("{", "}"),
            c if c.is_ascii_digit() => {
                self.at += 1;
                Some(Complex(f64::from(c.to_digit(10)?), 0.0))
            }
            _ => self.atom(),
        }
    }

    fn within(&mut self, open: &str, close: &str) -> Option<Complex> {
        if !self.takes(open) {
            return None;
        }
        let inner = self.sum()?;
        self.takes(close).then_some(inner)
    }

    fn atom(&mut self) -> Option<Complex> {
        self.blanks();
        match self.peek()? {
            '(' => self.within("(", ")"),
            '{' => self.within("{", "}"),
            '|' => self.within("|", "|").map(|inner| Complex(inner.size(), 0.0)),
            '\u{221a}' => {
                self.at += 1;
                let inner = if self.peek() == Some('(') { self.atom()? } else { self.digits_or_name()? };
                Some(inner.to_power(Complex(0.5, 0.0)))
            }
            '\\' => self.command(),
            _ => self.digits_or_name(),
        }
    }

    fn digits_or_name(&mut self) -> Option<Complex> {
        let c = self.peek()?;
        if c.is_ascii_digit() || c == '.' {
            let start = self.at;
            while self.peek().is_some_and(|c| c.is_ascii_digit() || c == '.') {
                self.at += 1;
            }
            let text: String = self.characters[start..self.at].iter().collect();
            return text.parse().ok().map(|number| Complex(number, 0.0));
        }
        self.at += 1;
        match c {
            '\u{3c0}' => Some(Complex(std::f64::consts::PI, 0.0)),
            'i' => Some(Complex(0.0, 1.0)),
            'e' => Some(Complex(std::f64::consts::E, 0.0)),
            c if c.is_ascii_alphabetic() => {
                // A call is a value of its own.
                if matches!(c, 'f' | 'g' | 'h' | 'P' | 'Q') && self.peek() == Some('(') {
                    let start = self.at;
                    while self.peek()? != ')' {
                        self.at += 1;
                    }
                    self.at += 1;
                    let argument: String = self.characters[start..self.at].iter().filter(|c| **c != ' ').collect();
                    return Some(self.made_up(&format!("{c}{argument}")));
                }
                let subscript = if self.takes("_") { self.subscript()? } else { String::new() };
                Some(self.made_up(&format!("{c}{subscript}")))
            }
            _ => None,
        }
    }

    fn subscript(&mut self) -> Option<String> {
        let c = self.peek()?;
        self.at += 1;
        if c.is_ascii_alphanumeric() {
            return Some(c.to_string());
        }
        let mut found = String::new();
        while let Some(c) = self.peek() {
            self.at += 1;
            match c {
                '}' => return Some(found),
                c if c.is_ascii_alphanumeric() => found.push(c),
                _ => return None,
            }
        }
        None
    }

    fn made_up(&self, name: &str) -> Complex {
        let mut dice = super::exact::Dice::of(&format!("{name}/{}", self.point));
        Complex(0.4 + (dice.next() % 100_003) as f64 / 61_007.0, 0.0)
    }

    fn command(&mut self) -> Option<Complex> {
        if self.takes("\\frac") {
            let top = self.group()?;
            return Some(top.over(self.group()?));
        }
        if self.takes("\\sqrt") {
            let root = if self.takes("[") {
                let degree = self.sum()?;
                if !self.takes("]") {
                    return None;
                }
                degree
            } else {
                Complex(2.0, 0.0)
            };
            return Some(self.group()?.to_power(Complex(1.0, 0.0).over(root)));
        }
        if self.takes("\\pi") {
            return Some(Complex(std::f64::consts::PI, 0.0));
        }
        for name in ["\\theta", "\\alpha", "\\beta"] {
            if self.takes(name) {
                return Some(self.made_up(name));
            }
        }
        self.function()
    }

    fn function(&mut self) -> Option<Complex> {
        let name = ["\\sin", "\\cos", "\\tan", "\\cot", "\\log", "\\ln"].into_iter().find(|name| self.takes(name))?;
        let base = if name == "\\log" && self.takes("_") { Some(self.group()?) } else { None };
        let exponent = if self.takes("^") { Some(self.group()?) } else { None };
        let mut argument = self.power()?;
        while self.starts_factor() && self.peek() != Some('(') && self.peek() != Some('\\') {
            argument = argument.times(self.power()?);
        }
        if argument.1.abs() > 1e-12 {
            return None;
        }
        let x = argument.0;
        let real = match (name, base) {
            ("\\sin", _) => x.sin(),
            ("\\cos", _) => x.cos(),
            ("\\tan", _) => x.tan(),
            ("\\cot", _) => 1.0 / x.tan(),
            ("\\log", Some(base)) => x.ln() / base.0.ln(),
            ("\\log", None) => x.log10(),
            _ => x.ln(),
        };
        let found = Complex(real, 0.0);
        Some(exponent.map_or(found, |power| found.to_power(power)))
    }
}
