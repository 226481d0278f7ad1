//! Units of measurement: recognises units, and compares two of them.
//!
//! A unit follows a value. If only one side has a unit, or a unit is unknown, units do not matter: `5 cm` equals `5`,
//! `17 ways` equals `17`. Two known units of one dimension are converted (`1 m`, `100 cm`). Units of different
//! dimensions or different powers never agree (`5 cm` and `5 cm^2`). `unit_table` lists the known units.

use std::collections::BTreeMap;

use dashu_int::{IBig, UBig};
use dashu_ratio::RBig;

use super::unit_table::{ANY_LENGTH, Entry, NAME_PREFIXES, NAMES, OTHERS, PREFIXES, SYMBOLS, TEMPERATURE};
use crate::words;

/// Letters that are units after a number and a space.
const LETTERS: &[&str] = &["m", "g", "s", "h", "L", "N", "J", "W", "V", "K", "C", "F", "A"];
/// Symbols of two letters that are units after any number; other symbols are more often variables.
const SYMBOLS_OF_TWO: &[&str] = &[
    "cm", "mm", "km", "kg", "mg", "ft", "yd", "yr", "hr", "lb", "oz", "ml", "mL", "kJ", "kN", "kW", "kV", "Hz", "Pa",
    "MW", "MJ", "GW", "GJ", "eV", "Wh", "mA", "mW", "mV", "mJ", "\u{3bc}m", "\u{3bc}s", "\u{3bc}g", "\u{b0}C",
    "\u{b0}F",
];

/// Most words of a unit.
const WORDS_MAX: usize = 12;

/// Returns whether a word of two or more letters is a unit.
pub(super) fn is_known(word: &str) -> bool {
    // Degrees have their own mark.
    word.len() > 1
        && !matches!(word, "degree" | "degrees" | "deg")
        && (find(word).is_some() || words::scale(word).is_some())
        && (!word.is_ascii() || word.len() > 2 || SYMBOLS_OF_TWO.contains(&word))
}

/// Returns whether a letter after a number is a unit.
pub(super) fn is_letter(letter: &str) -> bool {
    LETTERS.contains(&letter)
}

/// Returns whether a text, in the form of `unit_text`, is a unit in all its parts.
pub(super) fn is_unit(text: &str) -> bool {
    parse(text).is_some()
}

/// Returns whether a unit is the radian.
pub(super) fn is_radian(text: &str) -> bool {
    parse(text).is_some_and(|unit| unit.is("radian"))
}

/// Returns whether a unit measures temperature.
pub(super) fn is_temperature(text: &str) -> bool {
    parse(text).is_some_and(|unit| unit.is(TEMPERATURE) || unit.is("celsius") || unit.is("fahrenheit"))
}

/// Returns whether a unit is known and does not measure angles.
pub(super) fn is_no_angle(text: &str) -> bool {
    parse(text).is_some_and(|unit| !unit.is("degree") && !unit.is("radian"))
}

/// Returns the table entry of a unit and the power of ten of its prefix.
fn find(word: &str) -> Option<(&'static Entry, i16)> {
    let named = |table: &'static [Entry], word: &str| table.iter().find(|entry| entry.names.contains(&word));
    if let Some(entry) = named(SYMBOLS, word).or_else(|| named(OTHERS, word)) {
        return Some((entry, 0));
    }
    for (prefix, ten) in PREFIXES {
        if let Some(entry) = word.strip_prefix(prefix).and_then(|rest| named(SYMBOLS, rest)) {
            return Some((entry, *ten));
        }
    }
    let lower = word.to_lowercase();
    let singular = lower.strip_suffix('s').filter(|_| lower.chars().count() > 3);
    for word in [Some(lower.as_str()), singular].into_iter().flatten() {
        if let Some(entry) = named(NAMES, word).or_else(|| named(OTHERS, word)) {
            return Some((entry, 0));
        }
        for (prefix, ten) in NAME_PREFIXES {
            if let Some(entry) = word.strip_prefix(prefix).and_then(|rest| named(NAMES, rest)) {
                return Some((entry, *ten));
            }
        }
    }
    // `KM`, `Kg`: symbols in the wrong case, unless another symbol has this spelling.
    let shouts = ["km", "cm", "mm", "kg", "ml", "ft", "mph"].contains(&lower.as_str());
    if shouts && lower != word { find(&lower) } else { None }
}

/// A known unit: its powers of dimensions, and its size in base units.
#[derive(Debug, Clone, PartialEq)]
struct Unit {
    powers: BTreeMap<&'static str, i8>,
    scale: RBig,
    /// Unknown words, sorted.
    others: Vec<String>,
}

impl Unit {
    fn is(&self, dimension: &str) -> bool {
        self.powers.len() == 1 && self.powers.get(dimension) == Some(&1) && self.others.is_empty()
    }

    fn multiply(&mut self, word: &str, exponent: i8) -> Option<()> {
        let Some((entry, ten)) = find(word) else {
            let lower = word.to_lowercase();
            self.others.push(lower.strip_suffix('s').unwrap_or(&lower).to_owned());
            return Some(());
        };
        for (dimension, power) in entry.dimensions {
            let sum = self.powers.entry(dimension).or_insert(0);
            *sum = sum.checked_add(power.checked_mul(exponent)?)?;
        }
        self.powers.retain(|_, power| *power != 0);
        let tens = RBig::from(IBig::from(10).pow(usize::from((entry.ten + ten).unsigned_abs())));
        let size = RBig::from_parts(IBig::from(entry.above), UBig::from(entry.below));
        let size = if entry.ten + ten < 0 { size / tens } else { size * tens };
        for _ in 0..exponent.unsigned_abs() {
            if exponent > 0 { self.scale *= &size } else { self.scale /= &size }
        }
        Some(())
    }
}

/// The relation between the units of two values.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Agreement {
    /// Unknown: a unit is missing or unknown.
    Silent,
    /// The answer's value must be multiplied by this factor before the comparison.
    Factor(RBig),
    /// The answer's value must be multiplied by the first number, then the second must be added: temperatures.
    Affine(RBig, RBig),
    /// The unit of one side may or may not be part of the number: the gold equals the answer's value or this multiple
    /// of it.
    Either(RBig),
    /// The units measure different dimensions.
    Conflict,
}

/// Compares the units of a gold and an answer; an empty text is a missing unit.
pub(super) fn agreement(gold: &str, answer: &str) -> Agreement {
    let (gold_scale, gold_unit) = split_scale(gold);
    let (answer_scale, answer_unit) = split_scale(answer);
    let scale = ratio(answer_scale, gold_scale);
    let either = |factor: RBig| if factor.is_one() { Agreement::Silent } else { Agreement::Either(factor) };
    let missing = gold.is_empty() || answer.is_empty();
    if is_operation(gold) != is_operation(answer) {
        return Agreement::Conflict;
    }
    // `29 million` is not 29.
    if gold.is_empty() && answer_scale != 1 {
        let cents = parse(answer_unit).filter(|unit| unit.is("money")).map_or(RBig::ONE, |unit| unit.scale);
        return Agreement::Factor(scale * cents);
    }
    let (gold_known, answer_known) = (parse(gold_unit), parse(answer_unit));
    match (gold_known, answer_known) {
        (Some(gold), Some(answer)) => known(&gold, &answer, scale, (gold_unit, answer_unit)),
        // If one number has no unit, cents may be compared as dollars.
        (None, Some(answer)) if missing && answer.is("money") => either(answer.scale * scale),
        // A scale is part of the number: `360 million` is not `360`.
        _ if missing => {
            if scale.is_one() {
                Agreement::Silent
            } else {
                Agreement::Factor(scale)
            }
        }
        _ => match (loose(gold_unit), loose(answer_unit)) {
            // `widgets per hour` and `widgets per minute`.
            (Some(gold), Some(answer))
                if gold.others == answer.others && !gold.powers.is_empty() && !answer.powers.is_empty() =>
            {
                known(&gold, &answer, scale, (gold_unit, answer_unit))
            }
            _ if scale.is_one() => Agreement::Silent,
            _ => Agreement::Factor(scale),
        },
    }
}

/// Returns whether the words after a number compute with it, or make it a bound.
fn is_operation(words: &str) -> bool {
    let bounds = ["or more", "or less", "or fewer", "or greater", "or higher", "or lower", "and above", "and below"];
    matches!(words, "squared" | "cubed" | "factorial" | "doubled" | "tripled" | "halved" | "and a half")
        || bounds.iter().any(|bound| words.starts_with(bound) || words.ends_with(bound))
}

fn known(gold: &Unit, answer: &Unit, scale: RBig, (gold_text, answer_text): (&str, &str)) -> Agreement {
    if gold.powers == answer.powers {
        let factor = answer.scale.clone() / gold.scale.clone() * scale;
        return if factor.is_one() { Agreement::Silent } else { Agreement::Factor(factor) };
    }
    if let (Some(gold), Some(answer)) = (thermometer(gold, gold_text, answer), thermometer(answer, answer_text, gold)) {
        // Converts both scales to kelvins: `size * (value + shift)`.
        let factor = answer.0.clone() / gold.0.clone();
        return Agreement::Affine(factor.clone(), factor * answer.1 - gold.1);
    }
    // A word for any unit of length, area or volume.
    let generic = |left: &Unit, right: &Unit| {
        left.powers.get(ANY_LENGTH).is_some_and(|power| right.powers.get("length") == Some(power))
            && left.powers.len() == 1
            && right.powers.len() == 1
    };
    if generic(gold, answer) || generic(answer, gold) { Agreement::Silent } else { Agreement::Conflict }
}

/// Returns the size of a scale's degree in kelvins, and the number that must be added to the scale's values first. `C`
/// and `F` are scales if the other unit is a temperature.
fn thermometer(unit: &Unit, text: &str, other: &Unit) -> Option<(RBig, RBig)> {
    let fraction = |above: i64, below: u32| RBig::from_parts(IBig::from(above), UBig::from(below));
    let is_scale = |unit: &Unit| unit.is("celsius") || unit.is("fahrenheit");
    if unit.is("celsius") || (text == "C" && is_scale(other)) {
        Some((RBig::ONE, fraction(27_315, 100)))
    } else if unit.is("fahrenheit") || (text == "F" && is_scale(other)) {
        Some((fraction(5, 9), fraction(45_967, 100)))
    } else {
        unit.is(TEMPERATURE).then_some((RBig::ONE, RBig::ZERO))
    }
}

fn ratio(above: u64, below: u64) -> RBig {
    RBig::from_parts(IBig::from(above), UBig::from(below))
}

/// Splits a leading scale off a unit: `million dollars`.
fn split_scale(text: &str) -> (u64, &str) {
    let text = text.trim();
    let (first, rest) = text.split_once(' ').unwrap_or((text, ""));
    if let Some(factor) = words::scale(first) {
        return (factor, rest.trim_start());
    }
    let mut characters = text.chars();
    match characters.next().filter(|c| !c.is_ascii()).and_then(|c| words::scale(&c.to_string())) {
        Some(factor) => (factor, characters.as_str()),
        None => (1, text),
    }
}

/// Parses a unit whose words are all known.
fn parse(text: &str) -> Option<Unit> {
    loose(text).filter(|unit| unit.others.is_empty())
}

/// Parses a unit; unknown words stay unchanged.
fn loose(text: &str) -> Option<Unit> {
    let spaced = text
        .replace('/', " per ")
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace("^ ", "^")
        .replace("\u{5e73}\u{65b9}", "square ")
        .replace("\u{7acb}\u{65b9}", "cubic ")
        .replace("\u{6bcf}", " per ");
    let parts: Vec<&str> = spaced.split_whitespace().collect();
    if parts.is_empty() || parts.len() > WORDS_MAX {
        return None;
    }
    let mut unit = Unit { powers: BTreeMap::new(), scale: RBig::ONE, others: Vec::new() };
    let (mut sign, mut group, mut raised) = (1i8, 1i8, 1i8);
    let mut last: Option<(&str, i8)> = None;
    for (at, part) in parts.iter().enumerate() {
        match *part {
            "per" | "a" | "an" if at + 1 < parts.len() => sign = -1,
            "(" => (group, sign) = (sign, 1),
            ")" => group = 1,
            "square" | "sq" => raised = 2,
            "cubic" | "cu" => raised = 3,
            "squared" | "cubed" => {
                let (word, exponent) = last?;
                unit.multiply(word, exponent)?;
                if *part == "cubed" {
                    unit.multiply(word, exponent)?;
                }
            }
            // `degrees Celsius`.
            "degrees" | "degree" | "\u{b0}"
                if parts.get(at + 1).is_some_and(|next| is_temperature(next) || matches!(*next, "C" | "F")) => {}
            _ => {
                let (name, power) = part.split_once('^').unwrap_or((part, "1"));
                let power = power.parse::<i8>().ok().filter(|power| (-4..=4).contains(power) && *power != 0)?;
                let after_degrees = at
                    .checked_sub(1)
                    .and_then(|at| parts.get(at))
                    .is_some_and(|before| matches!(*before, "degrees" | "degree" | "\u{b0}"));
                let name = match name {
                    "C" if after_degrees => "celsius",
                    "F" if after_degrees => "fahrenheit",
                    other => other,
                };
                let exponent = sign * group * raised * power;
                unit.multiply(name, exponent)?;
                last = Some((name, exponent));
                (sign, raised) = (1, 1);
            }
        }
    }
    unit.others.sort();
    last.map(|_| unit)
}

#[cfg(test)]
mod tests {
    use super::{Agreement, agreement};
    use dashu_ratio::RBig;

    #[test]
    fn units_convert_conflict_or_say_nothing() {
        let factor = |text: &str| Agreement::Factor(RBig::from_str_radix(text, 10).unwrap());
        assert_eq!(agreement("m", "cm"), factor("1/100"));
        assert_eq!(agreement("square meters", "cm^2"), factor("1/10000"));
        assert_eq!(agreement("km/h", "m/s"), factor("18/5"));
        assert_eq!(agreement("miles per hour", "mph"), Agreement::Silent);
        assert_eq!(agreement("minutes", "hours"), factor("60"));
        assert_eq!(agreement("liters", "cm^3"), factor("1/1000"));
        assert_eq!(agreement("\u{5e73}\u{65b9}\u{5398}\u{7c73}", "cm^2"), Agreement::Silent);
        assert_eq!(agreement("J", "N m"), Agreement::Silent);
        assert_eq!(agreement("m/s^2", "meters per second squared"), Agreement::Silent);
        assert_eq!(agreement("J/(kg K)", "kJ kg^-1 K^-1"), factor("1000"));
        assert_eq!(agreement("widgets per hour", "widgets per minute"), factor("60"));
        for (gold, answer) in [("", "cm"), ("cm", ""), ("apples", "pears"), ("cm", "apples"), ("square units", "cm^2")]
        {
            assert_eq!(agreement(gold, answer), Agreement::Silent, "{gold} {answer}");
        }
        for (gold, answer) in [
            ("kg", "hours"),
            ("cm", "kg"),
            ("cm", "cm^2"),
            ("m/s", "m/s^2"),
            ("N", "J"),
            ("W", "J"),
            ("square units", "units"),
            ("euros", "dollars"),
        ] {
            assert_eq!(agreement(gold, answer), Agreement::Conflict, "{gold} {answer}");
        }
        assert_eq!(agreement("", "million"), Agreement::Factor(RBig::from(1_000_000)));
        assert_eq!(agreement("million dollars", "dollars"), factor("1/1000000"));
        assert_eq!(agreement("", "cents"), Agreement::Either(RBig::from_parts(1.into(), 100u8.into())));
    }

    #[test]
    fn temperatures_are_converted_with_their_zeros() {
        let affine = |factor: &str, shift: &str| {
            let read = |text: &str| RBig::from_str_radix(text, 10).unwrap();
            Agreement::Affine(read(factor), read(shift))
        };
        assert_eq!(agreement("celsius", "fahrenheit"), affine("5/9", "-160/9"));
        assert_eq!(agreement("degrees Celsius", "F"), affine("5/9", "-160/9"));
        assert_eq!(agreement("K", "celsius"), affine("1", "5463/20"));
        assert_eq!(agreement("C", "F"), Agreement::Conflict);
    }
}
