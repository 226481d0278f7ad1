//! The units that the generator converts.

use super::exact::Rat;

/// What a unit measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dimension {
    Length,
    Duration,
    Mass,
    Volume,
    Speed,
    Money,
    Force,
    Energy,
}

/// A unit: its names, the first of which is the symbol, and its size in the dimension's own base.
#[derive(Debug, PartialEq, Eq)]
pub struct Unit {
    pub names: &'static [&'static str],
    pub dimension: Dimension,
    pub size: (i128, i128),
}

macro_rules! unit {
    ($dimension:ident, $top:literal / $bottom:literal, $($name:literal),+) => {
        Unit { names: &[$($name),+], dimension: Dimension::$dimension, size: ($top, $bottom) }
    };
}

pub static UNITS: [Unit; 29] = [
    unit!(Length, 1 / 1000, "mm", "millimeters", "millimeter"),
    unit!(Length, 1 / 100, "cm", "centimeters", "centimeter"),
    unit!(Length, 1 / 1, "m", "meters", "meter"),
    unit!(Length, 1000 / 1, "km", "kilometers", "kilometer"),
    unit!(Length, 254 / 10000, "in", "inches", "inch"),
    unit!(Length, 3048 / 10000, "ft", "feet", "foot"),
    unit!(Length, 9144 / 10000, "yd", "yards", "yard"),
    unit!(Length, 1609344 / 1000, "mi", "miles", "mile"),
    unit!(Duration, 1 / 1, "s", "seconds", "second", "sec"),
    unit!(Duration, 60 / 1, "min", "minutes", "minute"),
    unit!(Duration, 3600 / 1, "h", "hours", "hour"),
    unit!(Duration, 86400 / 1, "days", "days", "day"),
    unit!(Duration, 604800 / 1, "weeks", "weeks", "week"),
    unit!(Mass, 1 / 1, "g", "grams", "gram"),
    unit!(Mass, 1000 / 1, "kg", "kilograms", "kilogram"),
    unit!(Mass, 1 / 1000, "mg", "milligrams", "milligram"),
    unit!(Mass, 45359237 / 100000, "lb", "pounds", "pound"),
    unit!(Volume, 1 / 1, "L", "liters", "liter"),
    unit!(Volume, 1 / 1000, "mL", "milliliters", "milliliter"),
    unit!(Speed, 1 / 1, "m/s", "meters per second"),
    unit!(Speed, 5 / 18, "km/h", "kilometers per hour"),
    unit!(Speed, 1609344 / 3600000, "mph", "miles per hour"),
    unit!(Money, 100 / 1, "dollars", "dollar"),
    unit!(Money, 1 / 1, "cents", "cent"),
    unit!(Force, 1 / 1, "N", "newtons", "newton"),
    unit!(Force, 1000 / 1, "kN", "kilonewtons", "kilonewton"),
    unit!(Energy, 1 / 1, "J", "joules", "joule"),
    unit!(Energy, 1000 / 1, "kJ", "kilojoules", "kilojoule"),
    unit!(Energy, 1 / 1000, "mJ", "millijoules", "millijoule"),
];

/// Finds a unit by one of its names, with the power that words give it (`square inches`).
pub fn find(text: &str) -> Option<(&'static Unit, u32)> {
    let text = text.trim();
    let (name, power) = match text.split_once(' ') {
        Some(("square" | "sq", rest)) => (rest, 2),
        Some(("cubic" | "cu", rest)) => (rest, 3),
        _ => (text, 1),
    };
    UNITS.iter().find(|unit| unit.names.contains(&name.trim())).map(|unit| (unit, power))
}

impl Unit {
    /// Writes the unit in LaTeX with its power.
    pub fn latex(&self, power: u32) -> String {
        if power == 1 {
            format!("\\text{{ {}}}", self.names[0])
        } else {
            format!("\\text{{ {}}}^{power}", self.names[0])
        }
    }

    /// Writes the unit in words: `square inches`.
    pub fn in_words(&self, power: u32) -> Option<String> {
        let name = self.names.get(1)?;
        match power {
            1 => Some((*name).to_owned()),
            2 => Some(format!("square {name}")),
            3 => Some(format!("cubic {name}")),
            _ => None,
        }
    }

    /// Returns a value given in this unit in another one of the same dimension.
    pub fn convert(&self, value: Rat, other: &Self, power: u32) -> Option<Rat> {
        let factor = Rat::new(self.size.0 * other.size.1, self.size.1 * other.size.0)?;
        (0..power).try_fold(value, |value, _| value.times(factor))
    }

    /// Returns the other units of the same dimension.
    pub fn siblings(&'static self) -> impl Iterator<Item = &'static Self> {
        UNITS.iter().filter(move |unit| unit.dimension == self.dimension && !std::ptr::eq(*unit, self))
    }

    /// Returns the units of other dimensions, money left out.
    pub fn strangers(&'static self) -> impl Iterator<Item = &'static Self> {
        UNITS.iter().filter(move |unit| unit.dimension != self.dimension && unit.dimension != Dimension::Money)
    }
}
