//! Units of measurement: which words are units, and whether two of them agree.
//!
//! A unit is what stands behind a value. Where only one side has one, or one is not known here, units say nothing:
//! `5 cm` equals `5`, `17 ways` equals `17`. Two known units of one dimension are converted (`1 m`, `100 cm`), those
//! of different dimensions never agree. A missing power is forgiven (`5 cm` for `5 cm^2`).

use std::collections::BTreeMap;

use dashu_int::{IBig, UBig};
use dashu_ratio::RBig;

use crate::verify::words;

/// Spellings, dimension, power of the dimension, and how many base units the unit is: numerator and denominator.
type Entry = (&'static [&'static str], &'static str, i8, u64, u64);

/// Base units: metre, second, kilogram, dollar.
const UNITS: &[Entry] = &[
    (&["nm", "nanometer", "nanometre"], "length", 1, 1, 1_000_000_000),
    (&["mm", "millimeter", "millimetre", "\u{6beb}\u{7c73}"], "length", 1, 1, 1_000),
    (&["cm", "centimeter", "centimetre", "\u{5398}\u{7c73}"], "length", 1, 1, 100),
    (&["dm", "decimeter", "decimetre", "\u{5206}\u{7c73}"], "length", 1, 1, 10),
    (&["m", "meter", "metre", "\u{7c73}"], "length", 1, 1, 1),
    (&["km", "kilometer", "kilometre", "\u{5343}\u{7c73}", "\u{516c}\u{91cc}"], "length", 1, 1_000, 1),
    (&["inch", "inches"], "length", 1, 254, 10_000),
    (&["ft", "foot", "feet"], "length", 1, 3_048, 10_000),
    (&["yd", "yds", "yard"], "length", 1, 9_144, 10_000),
    (&["mi", "mile"], "length", 1, 1_609_344, 1_000),
    (&["ml", "mL", "milliliter", "millilitre", "\u{6beb}\u{5347}"], "length", 3, 1, 1_000_000),
    (&["l", "L", "liter", "litre", "\u{5347}"], "length", 3, 1, 1_000),
    (&["ms", "millisecond"], "time", 1, 1, 1_000),
    (&["s", "sec", "secs", "second", "\u{79d2}"], "time", 1, 1, 1),
    (&["min", "mins", "minute", "\u{5206}\u{949f}", "\u{5206}\u{9418}"], "time", 1, 60, 1),
    (&["h", "hr", "hrs", "hour", "\u{5c0f}\u{65f6}", "\u{6642}\u{9593}"], "time", 1, 3_600, 1),
    (&["day", "\u{5929}"], "time", 1, 86_400, 1),
    (&["week"], "time", 1, 604_800, 1),
    (&["month"], "years", 1, 1, 12),
    (&["year", "yr", "yrs", "\u{5e74}"], "years", 1, 1, 1),
    (&["mg", "milligram"], "mass", 1, 1, 1_000_000),
    (&["g", "gram", "gramme", "\u{514b}"], "mass", 1, 1, 1_000),
    (&["kg", "kilogram", "\u{5343}\u{514b}", "\u{516c}\u{65a4}"], "mass", 1, 1, 1),
    (&["tonne", "\u{5428}"], "mass", 1, 1_000, 1),
    (&["oz", "ounce"], "mass", 1, 28_349_523_125, 1_000_000_000_000),
    (&["lb", "lbs", "pound"], "mass", 1, 45_359_237, 100_000_000),
    (&["cent", "penny", "pennies"], "money", 1, 1, 100),
    (&["dollar", "usd", "USD", "buck", "\u{7f8e}\u{5143}"], "money", 1, 1, 1),
];

/// Units that are a quotient: length, time.
const SPEEDS: &[(&str, &str, &str)] = &[("mph", "mile", "hour"), ("kph", "km", "hour"), ("kmph", "km", "hour")];

/// Letters that are units when they stand behind a number and a space.
const LETTERS: &[&str] = &["m", "g", "s", "h", "L", "N", "J", "W", "V", "K", "C", "F"];

/// Most words of a unit.
const WORDS_MAX: usize = 8;

/// Returns whether a word of two or more letters is a unit.
pub(super) fn is_known(word: &str) -> bool {
    word.len() > 1
        && (entry(word).is_some() || SPEEDS.iter().any(|(name, ..)| *name == word) || words::scale(word).is_some())
        && !matches!(word, "ms" | "mi" | "nm" | "dm")
}

/// Returns whether a letter is a unit when it stands behind a number.
pub(super) fn is_letter(letter: &str) -> bool {
    LETTERS.contains(&letter)
}

fn entry(word: &str) -> Option<&'static Entry> {
    let find = |word: &str| UNITS.iter().find(|(names, ..)| names.contains(&word));
    find(word)
        .or_else(|| find(&word.to_ascii_lowercase()).filter(|_| word.len() > 1))
        .or_else(|| find(word.to_ascii_lowercase().strip_suffix('s')?).filter(|_| word.len() > 4))
}

/// A unit that is known here: powers of dimensions, and how many base units it is.
#[derive(Debug, Clone, PartialEq)]
struct Unit {
    powers: BTreeMap<&'static str, i8>,
    scale: RBig,
}

/// What two units say of their values.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Agreement {
    /// Nothing: one is missing or not known.
    Silent,
    /// The answer's value must be multiplied by this to compare.
    Factor(RBig),
    /// One side has a unit that may or may not be part of the number: the answer's value or this multiple of it.
    Either(RBig),
    /// They measure different things.
    Conflict,
}

/// Compares the units of a gold and an answer; empty texts are missing units.
pub(super) fn agreement(gold: &str, answer: &str) -> Agreement {
    let (gold_scale, gold_unit) = split_scale(gold);
    let (answer_scale, answer_unit) = split_scale(answer);
    let scale = ratio(answer_scale, gold_scale);
    let either = |factor: RBig| if factor.is_one() { Agreement::Silent } else { Agreement::Either(factor) };
    let missing = gold.is_empty() || answer.is_empty();
    match (parse(gold_unit), parse(answer_unit)) {
        (Some(gold), Some(answer)) => {
            if gold.powers == answer.powers {
                let factor = answer.scale / gold.scale * scale;
                return if factor.is_one() { Agreement::Silent } else { Agreement::Factor(factor) };
            }
            let same_dimensions = gold.powers.keys().eq(answer.powers.keys());
            if same_dimensions { Agreement::Silent } else { Agreement::Conflict }
        }
        // Cents beside a bare number may be counted as dollars.
        (None, Some(answer)) if missing && answer.powers.contains_key("money") => either(answer.scale * scale),
        (Some(gold), None) if missing && gold.powers.contains_key("money") => either(scale / gold.scale),
        _ if missing => either(scale),
        _ if scale.is_one() => Agreement::Silent,
        _ => Agreement::Factor(scale),
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

fn parse(text: &str) -> Option<Unit> {
    let mut unit = Unit { powers: BTreeMap::new(), scale: RBig::ONE };
    let mut sign = 1i8;
    let mut raised = 1i8;
    let spaced = text.replace('/', " per ").replace('*', " ").replace("^ ", "^");
    let spaced = spaced
        .replace("\u{5e73}\u{65b9}", "square ")
        .replace("\u{7acb}\u{65b9}", "cubic ")
        .replace("\u{6bcf}", " per ");
    let parts: Vec<&str> = spaced.split_whitespace().collect();
    if parts.is_empty() || parts.len() > WORDS_MAX {
        return None;
    }
    for part in parts {
        match part {
            "per" | "a" | "an" => sign = -1,
            "square" | "sq" | "squared" => raised = 2,
            "cubic" | "cubed" => raised = 3,
            _ => {
                let (name, power) = part.split_once('^').unwrap_or((part, "1"));
                let power = power.parse::<i8>().ok().filter(|power| (1..=4).contains(power))?;
                for (name, own_sign) in quotient(name) {
                    let (_, dimension, own_power, above, below) = entry(name)?;
                    let exponent = sign * own_sign * raised * power;
                    *unit.powers.entry(dimension).or_insert(0) += exponent * own_power;
                    let factor = ratio(*above, *below);
                    for _ in 0..exponent.unsigned_abs() {
                        if exponent > 0 { unit.scale *= &factor } else { unit.scale /= &factor }
                    }
                }
                (sign, raised) = (1, 1);
            }
        }
    }
    Some(unit)
}

fn quotient(name: &str) -> Vec<(&str, i8)> {
    match SPEEDS.iter().find(|(speed, ..)| *speed == name) {
        Some((_, above, below)) => vec![(above, 1), (below, -1)],
        None => vec![(name, 1)],
    }
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
        for (gold, answer) in [("", "cm"), ("cm", ""), ("apples", "pears"), ("cm", "cm^2"), ("cm", "apples")] {
            assert_eq!(agreement(gold, answer), Agreement::Silent, "{gold} {answer}");
        }
        assert_eq!(agreement("kg", "hours"), Agreement::Conflict);
        assert_eq!(agreement("cm", "kg"), Agreement::Conflict);
        assert_eq!(agreement("", "million"), Agreement::Either(RBig::from(1_000_000)));
        assert_eq!(agreement("million dollars", "dollars"), factor("1/1000000"));
        assert_eq!(agreement("", "cents"), Agreement::Either(RBig::from_parts(1.into(), 100u8.into())));
    }
}
