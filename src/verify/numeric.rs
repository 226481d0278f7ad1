//! Numbers: one gold, one answer, compared exactly as rationals.
//!
//! Parses integers, decimals, thousands separators, currency and percent signs, trailing units, simple fractions,
//! scientific notation, scale words (`3 million`) and numbers in words. The mathematics parser reads other texts
//! (`\frac{1}{2}`, `2^{10}`, `x = 5`). Units are not compared. An answer may have more decimals than a decimal gold of
//! three or more significant digits, if the answer rounds to the gold. From 1 up, a percent sign may be missing on one
//! side. A scale word may be missing on one side if the question names it ("how many million").

use dashu_int::{IBig, UBig};
use dashu_ratio::RBig;

use super::math;
use super::math::limits::{DIGITS_MAX, EXPONENT_MAX, TEXT_BYTES_MAX};
use super::words;

/// Longest text that consists of one number and its unit, in bytes.
const BARE_BYTES_MAX: usize = 48;

/// A parsed number.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Number {
    /// The exact value, before the percent sign is applied.
    pub(super) value: RBig,
    /// The number of digits after the decimal point, if the number has one.
    places: Option<u32>,
    /// Whether a percent sign follows.
    percent: bool,
    /// The factor of the scale word that follows, or 1.
    scale: u64,
}

/// Why no single number was found.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Problem {
    /// The text contains no number, or mathematics without a number.
    NoNumber,
    /// The text contains several different numbers.
    Several(Vec<Number>),
    /// Too many digits, or too large an exponent.
    OverBudget,
}

/// Parses the one number of a text.
pub(super) fn read(text: &str) -> Result<Number, Problem> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(Problem::OverBudget);
    }
    let clean = clean(text);
    let scan = scan(&clean)?;
    if scan.mathematical {
        match math::rational(text) {
            Ok(value) => return Ok(Number { value, places: None, percent: false, scale: 1 }),
            Err(math::Fault::OverBudget) => return Err(Problem::OverBudget),
            // `5 m/s` is a number with a unit; `2^x`, `30x`, `5!` and `7:30` are not numbers.
            Err(_)
                if scan.is_formula || clean.contains(['^', '\\', '*', '+', '_', '<', '>', '\u{221a}', '\u{3c0}']) =>
            {
                return Err(Problem::NoNumber);
            }
            Err(_) => {}
        }
    }
    let mut numbers = scan.numbers;
    // `<<9*2=18>>18` is a result with its computation; side by side, two numbers are two answers.
    if clean.contains('=') {
        numbers.dedup();
    }
    match numbers.len() {
        0 => written(text).ok_or(Problem::NoNumber),
        1 => numbers.pop().ok_or(Problem::NoNumber),
        _ => Err(Problem::Several(numbers)),
    }
}

/// Returns whether a text consists of one number and its unit.
pub(super) fn is_bare(text: &str) -> bool {
    let text = text.trim();
    let begins_as_number = |c: char| {
        c.is_ascii_digit()
            || matches!(c, '-' | '+' | '.' | '$' | '\\' | '*' | '\u{bc}'..='\u{be}' | '\u{2150}'..='\u{215e}')
            || matches!(c, '\u{20ac}' | '\u{a3}' | '\u{a5}' | '\u{20b9}')
    };
    text.len() <= BARE_BYTES_MAX
        && !text.contains('\n')
        && (text.starts_with(begins_as_number) || words::number(text.trim_end_matches(['.', '\u{3002}'])).is_some())
        && read(text).is_ok()
}

/// Parses a number in words, optionally followed by a unit of one or two words.
fn written(text: &str) -> Option<Number> {
    let text = text.trim_matches(|c: char| !c.is_alphanumeric());
    let mut rest = text;
    for _ in 0..3 {
        if let Some(value) = words::number(rest) {
            return Some(Number { value: RBig::from(value), places: None, percent: false, scale: 1 });
        }
        rest = rest.rsplit_once(' ')?.0;
    }
    None
}

/// Returns the rule by which an answer equals a gold, or `None`. A scale word may be missing on one side if the
/// question names the scale: "how many million".
pub(super) fn equal(question: &str, gold: &Number, answer: &Number) -> Option<&'static str> {
    if gold.percent != answer.percent {
        let hundred = RBig::from(100);
        let scaled =
            if gold.percent { &gold.value / hundred == answer.value } else { gold.value == &answer.value / hundred };
        // A missing percent sign is allowed if the number can only be a percentage.
        let is_percentage = gold.value >= RBig::ONE || gold.value <= -RBig::ONE;
        let same = gold.value == answer.value && is_percentage;
        return (scaled || same).then_some("percent_equal");
    }
    if gold.scale != answer.scale {
        if scaled_value(gold) == scaled_value(answer) {
            return Some("scale_equal");
        }
        let one_is_bare = gold.scale == 1 || answer.scale == 1;
        let is_asked = words::names_scale(question, gold.scale.max(answer.scale));
        return (one_is_bare && is_asked && gold.value == answer.value).then_some("rational_equal");
    }
    if gold.value == answer.value {
        return Some("rational_equal");
    }
    if math::is_noise(&gold.value, gold.places, &answer.value, answer.places) {
        return Some("rounded_equal");
    }
    math::rounds_to_gold(&gold.value, gold.places, &answer.value, answer.places).then_some("rounded_equal")
}

fn scaled_value(number: &Number) -> RBig {
    &number.value * RBig::from(number.scale)
}

/// Removes meaningless text around digits: layout commands, currency, emphasis, text wrappers.
fn clean(text: &str) -> String {
    let mut clean = text.to_owned();
    for (from, to) in
        [("\\!", ""), ("\\,", ""), ("{,}", ","), ("\\$", ""), ("\\%", "%"), ("\\(", " "), ("\\)", " "), ("**", " ")]
    {
        clean = clean.replace(from, to);
    }
    for wrapper in ["\\text", "\\mathrm", "\\textbf", "\\mbox", "\\left", "\\right", "\\;", "\\ ", "\\:", "\\quad"] {
        clean = clean.replace(wrapper, " ");
    }
    clean
        .chars()
        .filter_map(|c| match c {
            '\u{2212}' | '\u{2013}' => Some('-'),
            '$' | '\u{20ac}' | '\u{a3}' | '\u{a5}' | '\u{20b9}' | '\u{20a9}' | '\u{20bd}' | '\u{a2}' => None,
            '{' | '}' => Some(' '),
            other => Some(other),
        })
        .collect()
}

struct Scan {
    numbers: Vec<Number>,
    /// Whether signs of a computation surround the numbers.
    mathematical: bool,
    /// Whether a number continues as a formula: with a variable, a factorial, or as a time or ratio.
    is_formula: bool,
}

/// Returns whether the characters directly after a number make it a formula.
fn goes_on(characters: &[char], end: usize) -> bool {
    let get = |at: usize| characters.get(at).copied();
    let is_letter = |at: usize| get(at).is_some_and(|c| c.is_ascii_alphabetic());
    match get(end) {
        // At the end of a sentence, `!` is an exclamation mark.
        Some('!') => !characters.iter().any(|c| c.is_alphabetic()),
        Some(':') => get(end + 1).is_some_and(|c| c.is_ascii_digit()),
        Some('x' | 'y' | 'z' | 'n' | 'a' | 'b' | 'p' | 'q' | 'r' | 't' | 'u' | 'v' | 'w' | 'i') => !is_letter(end + 1),
        _ => false,
    }
}

fn scan(text: &str) -> Result<Scan, Problem> {
    let characters: Vec<char> = text.chars().collect();
    let mut scan = Scan { numbers: Vec::new(), mathematical: false, is_formula: false };
    let mut at = 0;
    let mut sign_at = None;
    while let Some(&character) = characters.get(at) {
        let starts = character.is_ascii_digit()
            || (character == '.' && characters.get(at + 1).is_some_and(char::is_ascii_digit));
        if starts {
            let (mut number, end) = literal(&characters, at)?;
            if sign_at.is_some() {
                number.value = -number.value;
            }
            scan.numbers.push(number);
            if goes_on(&characters, end) {
                (scan.mathematical, scan.is_formula) = (true, true);
            }
            at = end;
            sign_at = None;
            continue;
        }
        // `f(204)` is a call, `5 boxes (204)` is not.
        let is_name = |at: usize| characters.get(at).is_some_and(|c| c.is_ascii_alphabetic());
        if character == '(' && at > 0 && is_name(at - 1) && !(at > 1 && is_name(at - 2)) {
            scan.is_formula = true;
        }
        match character {
            '-' => {
                let before = characters.iter().take(at).rev().find(|c| !c.is_whitespace());
                // Between numbers, a dash is an operator or marks a range; in front of a number it is a sign.
                if before.is_some_and(|c| c.is_ascii_digit() || *c == ')') {
                    scan.mathematical = true;
                } else {
                    sign_at = Some(at);
                }
            }
            '\\'
            | '^'
            | '*'
            | '/'
            | '+'
            | '='
            | '_'
            | '<'
            | '>'
            | '('
            | '\u{d7}'
            | '\u{f7}'
            | '\u{221a}'
            | '\u{3c0}'
            | '\u{b2}'
            | '\u{b3}'
            | '\u{b9}'
            | '\u{bc}'..='\u{be}'
            | '\u{2070}'..='\u{207f}'
            | '\u{2150}'..='\u{215e}' => {
                scan.mathematical = true;
                sign_at = None;
            }
            _ if character.is_whitespace() => {}
            _ => sign_at = None,
        }
        at += 1;
    }
    Ok(scan)
}

/// Parses a literal at a digit or point; returns the number and the offset after it.
fn literal(characters: &[char], start: usize) -> Result<(Number, usize), Problem> {
    let get = |at: usize| characters.get(at).copied();
    let is_digit = |at: usize| get(at).is_some_and(|c| c.is_ascii_digit());
    let run = |from: usize| characters.iter().skip(from).take_while(|c| c.is_ascii_digit()).count();
    let take = |from: usize, len: usize| -> String { characters.iter().skip(from).take(len).collect() };
    let mut at = start;
    let mut len = run(at);
    let mut whole = take(at, len);
    at += len;
    let separated = (1..=3).contains(&whole.len());
    while separated && matches!(get(at), Some(',' | ' ' | '\'')) && run(at + 1) == 3 {
        whole.push_str(&take(at + 1, 3));
        at += 4;
    }
    at = other_groups(characters, start, at, &mut whole);
    let mut decimals = String::new();
    let mut has_point = false;
    let decimal_comma = get(at) == Some(',') && run(at + 1) != 3 && get(at + 1 + run(at + 1)) != Some(',');
    if (get(at) == Some('.') || decimal_comma) && is_digit(at + 1) {
        len = run(at + 1);
        decimals = take(at + 1, len);
        has_point = true;
        at += 1 + len;
    }
    if whole.len() + decimals.len() > DIGITS_MAX {
        return Err(Problem::OverBudget);
    }
    let mut value = decimal(&whole, &decimals)?;
    let mut places = has_point.then(|| u32::try_from(decimals.len()).unwrap_or(u32::MAX));
    if matches!(get(at), Some('e' | 'E')) {
        let signed = matches!(get(at + 1), Some('+' | '-'));
        let digits_at = at + 1 + usize::from(signed);
        let count = run(digits_at);
        if count > 0 {
            let exponent: u32 = take(digits_at, count).parse().map_err(|_| Problem::OverBudget)?;
            if exponent > EXPONENT_MAX {
                return Err(Problem::OverBudget);
            }
            let scale = RBig::from(IBig::from(10).pow(usize::try_from(exponent).unwrap_or(0)));
            value = if get(at + 1) == Some('-') { value / scale } else { value * scale };
            places = None;
            at = digits_at + count;
        }
    }
    // `3/4` without spaces is one number.
    if !has_point && get(at) == Some('/') && is_digit(at + 1) {
        len = run(at + 1);
        let below = decimal(&take(at + 1, len.min(DIGITS_MAX)), "")?;
        if !below.is_zero() {
            value /= below;
            at += 1 + len;
        }
    }
    // `1 1/2` is a mixed number.
    if !has_point && get(at) == Some(' ') && run(at + 1) > 0 {
        let above = take(at + 1, run(at + 1).min(DIGITS_MAX));
        let slash = at + 1 + above.len();
        let below = take(slash + 1, run(slash + 1).min(DIGITS_MAX));
        if get(slash) == Some('/') && !below.is_empty() {
            let (above, denominator) = (decimal(&above, "")?, decimal(&below, "")?);
            if above < denominator {
                value += above / denominator;
                at = slash + 1 + below.len();
            }
        }
    }
    let after: String = characters.iter().skip(at).take(16).collect();
    let after = after.trim_start().to_lowercase();
    let percent = after.starts_with('%') || after.starts_with("percent") || after.starts_with("per cent");
    let word = after.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or("");
    let first: String = after.chars().take(1).collect();
    let is_thousand = get(at) == Some('k') && !get(at + 1).is_some_and(|c| c.is_alphanumeric());
    let scale = words::scale(word).or_else(|| words::scale(&first)).unwrap_or(1);
    if is_thousand {
        value *= RBig::from(1_000);
    }
    Ok((Number { value, places, percent, scale }, at))
}

/// Reads groups in other notations: `1.234.567` with at least two points, and `12,34,567`.
fn other_groups(characters: &[char], start: usize, at: usize, whole: &mut String) -> usize {
    let run = |from: usize| characters.iter().skip(from).take_while(|c| c.is_ascii_digit()).count();
    let first = run(start);
    let mut lengths = Vec::new();
    let mut end = start + first;
    let mark = characters.get(end).copied();
    while characters.get(end).copied() == mark && matches!(mark, Some('.' | ',')) && run(end + 1) > 0 {
        lengths.push(run(end + 1));
        end += 1 + run(end + 1);
    }
    let last_is_three = lengths.last() == Some(&3);
    let points = mark == Some('.') && lengths.len() > 1 && lengths.iter().all(|len| *len == 3) && first <= 3;
    let lakhs = mark == Some(',')
        && lengths.len() > 1
        && last_is_three
        && first <= 2
        && lengths.iter().rev().skip(1).all(|len| *len == 2);
    let comma = characters.get(end) == Some(&',') && matches!(run(end + 1), 1 | 2);
    let points = points || (mark == Some('.') && comma && lengths.iter().all(|len| *len == 3) && first <= 3);
    if !points && !lakhs {
        return at;
    }
    *whole = characters.iter().skip(start).take(end - start).filter(|c| c.is_ascii_digit()).collect();
    end
}

fn decimal(whole: &str, decimals: &str) -> Result<RBig, Problem> {
    let digits = format!("0{whole}{decimals}");
    let numerator: IBig = digits.parse().map_err(|_| Problem::NoNumber)?;
    Ok(RBig::from_parts(numerator, UBig::from(10u8).pow(decimals.len())))
}
