//! Classifies a gold (number, list, interval, ...), independently of the verifiers.

use super::exact::Rat;
use super::number::{self, Number};

/// What stands around a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Affix {
    None,
    Money,
    Percent,
    Degrees,
    /// A unit of the table in `units`, and its power.
    Unit(&'static super::units::Unit, u32),
    /// Words that name what is counted.
    Noun(String),
}

/// One interval: bounds as text, and whether each belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interval {
    pub low: String,
    pub high: String,
    pub low_closed: bool,
    pub high_closed: bool,
}

/// A gold's kind of object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    Number(Number, Affix),
    /// A formula that [`super::eval`] reads.
    Formula(String),
    /// A formula with a known unit, or with words behind it.
    FormulaWithUnit(String, Affix),
    List(Vec<String>),
    Set(Vec<String>),
    Tuple(Vec<String>),
    Union(Vec<Interval>),
    Equation(String, String),
    Named(Vec<(String, String)>),
    Matrix(Vec<Vec<String>>),
    Ratio(Vec<i128>),
    Time(u32, u32, String),
    Based(String, u32),
    Points(Vec<Vec<String>>),
    Groups(Vec<String>),
    /// Constants or calls with `<` between them.
    Chain(Vec<String>),
    /// Degrees of the scale `C` or `F`.
    Temperature(Rat, char),
    PlusMinus(String, String),
    /// A power too large to be written out.
    Power(i128, u32),
    Letter(char),
    Words(String),
    Opaque,
}

/// Reads a gold for mathematics.
pub fn read(gold: &str, question: &str) -> Shape {
    let gold = tidy(gold);
    let text = gold.as_str();
    single(text)
        .or_else(|| letter(text))
        .or_else(|| matrix(text))
        .or_else(|| union(text, question))
        .or_else(|| bracketed(text))
        .or_else(|| ratio(text))
        .or_else(|| named(text))
        .or_else(|| list(text))
        .or_else(|| equation(text))
        .or_else(|| words(text))
        .or_else(|| super::eval::value(text, 0).filter(|v| v.size() < 1e6).map(|_| Shape::Formula(text.to_owned())))
        .or_else(|| formula_with_unit(text))
        .or_else(|| super::rare::read(text))
        .unwrap_or(Shape::Opaque)
}

fn tidy(gold: &str) -> String {
    let mut text = gold.trim().trim_end_matches('.').trim().to_owned();
    if text.starts_with('$') && text.ends_with('$') && text.matches('$').count() == 2 && text.len() > 2 {
        text = text.trim_matches('$').trim().to_owned();
    }
    for (from, to) in [
        ("\\dfrac", "\\frac"),
        ("\\cfrac", "\\frac"),
        ("\\tfrac", "\\frac"),
        ("\\mbox", "\\text"),
        ("\\text {", "\\text{"),
        (" \\!", "\\!"),
        ("\\! ", ""),
        ("\\!", ""),
        ("\\,\\text", "\\text"),
        ("\\left", ""),
        ("\\right", ""),
        ("{,}", ","),
    ] {
        text = text.replace(from, to);
    }
    text
}

fn single(text: &str) -> Option<Shape> {
    if let Some(number) = number::read(text) {
        return Some(Shape::Number(number, Affix::None));
    }
    let (sign, body) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
    if let Some(amount) = body.strip_prefix("\\$").or_else(|| body.strip_prefix('$')) {
        return Some(Shape::Number(number::read(&format!("{sign}{}", amount.trim()))?, Affix::Money));
    }
    for (ending, affix) in [
        ("\\%", Affix::Percent),
        ("%", Affix::Percent),
        ("^\\circ", Affix::Degrees),
        ("^{\\circ}", Affix::Degrees),
        ("\u{b0}", Affix::Degrees),
    ] {
        if let Some(number) = text.strip_suffix(ending).and_then(|core| number::read(core.trim())) {
            return Some(Shape::Number(number, affix));
        }
    }
    if let Some((digits, base)) = text.split_once('_') {
        let base = base.trim_matches(['{', '}']).parse().ok().filter(|&b: &u32| (2..=16).contains(&b))?;
        let fits = !digits.is_empty() && digits.chars().all(|c| c.is_digit(base));
        return fits.then(|| Shape::Based(digits.to_owned(), base));
    }
    let (core, unit) = split_unit(text)?;
    number::read(&core).map(|number| Shape::Number(number, unit))
}

/// Splits `5\text{ cm}^2` into the number's text and what is counted.
fn split_unit(text: &str) -> Option<(String, Affix)> {
    let start = text.find("\\text{")?;
    let (core, rest) = text.split_at(start);
    let (inner, after) = rest.strip_prefix("\\text{")?.split_once('}')?;
    let core = core.trim().trim_end_matches("\\,").trim_end_matches("\\ ").trim();
    let inner = inner.trim().trim_end_matches('.');
    if core.is_empty() || inner.is_empty() || inner.chars().any(|c| !(c.is_ascii_alphabetic() || c == ' ')) {
        return None;
    }
    let power = match after.trim() {
        "" => 1,
        "^2" | "^{2}" => 2,
        "^3" | "^{3}" => 3,
        _ => return None,
    };
    let affix = match super::units::find(inner) {
        Some((unit, own)) if own == 1 || power == 1 => Affix::Unit(unit, own.max(power)),
        _ if power == 1 && matches!(inner, "degree" | "degrees") => Affix::Degrees,
        _ if power == 1 && matches!(inner, "percent") => Affix::Percent,
        _ if power == 1 && inner.len() > 2 => Affix::Noun(inner.to_owned()),
        _ => return None,
    };
    Some((core.to_owned(), affix))
}

fn formula_with_unit(text: &str) -> Option<Shape> {
    let (core, affix) = split_unit(text)?;
    super::eval::value(&core, 0)?;
    Some(Shape::FormulaWithUnit(core, affix))
}

fn letter(text: &str) -> Option<Shape> {
    let inner = text
        .trim()
        .strip_prefix("\\text{")
        .or_else(|| text.strip_prefix("\\textbf{"))
        .and_then(|rest| rest.strip_suffix('}'));
    let inner = inner?.trim().trim_start_matches('(').trim_end_matches(')');
    let mut characters = inner.chars();
    let first = characters.next().filter(char::is_ascii_uppercase)?;
    characters.next().is_none().then_some(Shape::Letter(first))
}

fn matrix(text: &str) -> Option<Shape> {
    let inner = ["pmatrix", "bmatrix"]
        .into_iter()
        .find_map(|name| text.strip_prefix(&format!("\\begin{{{name}}}"))?.strip_suffix(&format!("\\end{{{name}}}")))?;
    let rows: Vec<Vec<String>> = inner
        .trim()
        .trim_end_matches("\\\\")
        .split("\\\\")
        .map(|row| row.split('&').map(|cell| cell.trim().to_owned()).collect())
        .collect();
    let width = rows.first()?.len();
    let fits =
        rows.iter().all(|row| row.len() == width && row.iter().all(|cell| super::eval::value(cell, 0).is_some()));
    fits.then_some(Shape::Matrix(rows))
}

/// Splits at commas outside brackets; nothing if brackets do not match.
pub fn split_commas(text: &str) -> Option<Vec<String>> {
    let mut depth = 0;
    let mut found = vec![String::new()];
    for c in text.chars() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        if depth < 0 {
            return None;
        }
        match c {
            ',' if depth == 0 => found.push(String::new()),
            c => found.last_mut()?.push(c),
        }
    }
    let found: Vec<String> = found.iter().map(|part| part.trim().to_owned()).collect();
    (depth == 0 && found.iter().all(|part| !part.is_empty())).then_some(found)
}

fn is_element(text: &str) -> bool {
    number::read(text).is_some() || super::eval::value(text, 0).is_some()
}

fn union(text: &str, question: &str) -> Option<Shape> {
    let text = text.strip_prefix("x \\in ").or_else(|| text.strip_prefix("x\\in")).unwrap_or(text);
    let parts: Option<Vec<Interval>> = text.split("\\cup").map(|part| interval(part.trim())).collect();
    let parts = parts?;
    let certain = parts.len() > 1
        || text.contains("\\infty")
        || parts.iter().any(|part| part.low_closed || part.high_closed)
        || question.contains("interval notation");
    certain.then_some(Shape::Union(parts))
}

fn interval(part: &str) -> Option<Interval> {
    let low_closed = part.starts_with('[');
    let high_closed = part.ends_with(']');
    let inner = part.strip_prefix(['[', '('])?.strip_suffix([']', ')'])?;
    let bounds = split_commas(inner)?;
    let [low, high] = bounds.as_slice() else { return None };
    let bound = |text: &str| text.replace("+\\infty", "\\infty");
    let fits = |text: &str| text.contains("\\infty") || is_element(text);
    (fits(low) && fits(high)).then(|| Interval { low: bound(low), high: bound(high), low_closed, high_closed })
}

fn bracketed(text: &str) -> Option<Shape> {
    if let Some(inner) = text.strip_prefix("\\{").and_then(|rest| rest.strip_suffix("\\}")) {
        return split_commas(inner).filter(|parts| parts.iter().all(|part| is_element(part))).map(Shape::Set);
    }
    let inner = text.strip_prefix('(')?.strip_suffix(')')?;
    let parts = split_commas(inner).filter(|parts| parts.len() > 1 && parts.iter().all(|part| is_element(part)))?;
    Some(Shape::Tuple(parts))
}

fn ratio(text: &str) -> Option<Shape> {
    let (clock, half) = match text.split_once(' ') {
        Some((clock, half)) => (clock, half.trim()),
        None => (text, ""),
    };
    let parts: Option<Vec<i128>> =
        clock.split(':').map(|part| part.parse().ok().filter(|_| !part.is_empty())).collect();
    let parts = parts.filter(|parts| parts.len() > 1)?;
    if clock.len() == clock.find(':')? + 3 && parts.len() == 2 && parts[1] < 60 && parts[0] < 24 {
        let (hour, minute) = (u32::try_from(parts[0]).ok()?, u32::try_from(parts[1]).ok()?);
        return Some(Shape::Time(hour, minute, half.to_owned()));
    }
    half.is_empty().then_some(Shape::Ratio(parts))
}

fn named(text: &str) -> Option<Shape> {
    let parts = split_commas(&text.replace("\\text{ and }", ",").replace("\\quad", ","))?;
    let pairs: Option<Vec<(String, String)>> = parts
        .iter()
        .map(|part| {
            let (name, value) = part.split_once('=')?;
            let name = name.trim();
            let fits =
                !name.is_empty() && !name.contains(['+', '-', ' ']) && name.chars().next()?.is_ascii_alphabetic();
            (fits && is_element(value.trim())).then(|| (name.to_owned(), value.trim().to_owned()))
        })
        .collect();
    let pairs = pairs.filter(|pairs| pairs.len() > 1)?;
    let distinct = pairs.iter().all(|(name, _)| pairs.iter().filter(|(other, _)| other == name).count() == 1);
    distinct.then_some(Shape::Named(pairs))
}

fn list(text: &str) -> Option<Shape> {
    let parts = split_commas(&text.replace(",\\text{ and }", ",").replace("\\text{ and }", ","))?;
    (parts.len() > 1 && parts.iter().all(|part| is_element(part))).then_some(Shape::List(parts))
}

fn equation(text: &str) -> Option<Shape> {
    let (left, right) = text.split_once('=')?;
    let (left, right) = (left.trim(), right.trim());
    let fits = super::eval::value(left, 0).is_some() && super::eval::value(right, 0).is_some();
    fits.then(|| Shape::Equation(left.to_owned(), right.to_owned()))
}

fn words(text: &str) -> Option<Shape> {
    let inner = text.strip_prefix("\\text{").and_then(|rest| rest.strip_suffix('}')).unwrap_or(text).trim();
    let plain = inner.len() > 1
        && !inner.contains("- ")
        && inner.chars().all(|c| c.is_alphabetic() || matches!(c, ' ' | '-' | '\''));
    (plain && inner.chars().filter(|c| c.is_alphabetic()).count() > 1 && (text.contains("\\text") || inner.len() > 4))
        .then(|| Shape::Words(inner.to_owned()))
}

/// Returns the rational value of an element, if it is a plain number.
pub fn rational(text: &str) -> Option<Rat> {
    number::read(text).map(|number| number.value)
}
