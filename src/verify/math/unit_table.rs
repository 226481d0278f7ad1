//! The table of known units: their spellings, their dimensions, and their size in base units.
//!
//! Base units: metre, second, kilogram, ampere, kelvin, mole, bit, dollar. Symbols and names of the international
//! system take prefixes; all other units are listed in full.

/// Dimensions with their powers.
pub(super) type Dimensions = &'static [(&'static str, i8)];

/// A unit: spellings, dimensions, and its size in base units as numerator, denominator and power of ten.
pub(super) struct Entry {
    pub(super) names: &'static [&'static str],
    pub(super) dimensions: Dimensions,
    pub(super) above: u64,
    pub(super) below: u64,
    pub(super) ten: i16,
}

const fn unit(names: &'static [&'static str], dimensions: Dimensions, above: u64, below: u64, ten: i16) -> Entry {
    Entry { names, dimensions, above, below, ten }
}

const LENGTH: Dimensions = &[("length", 1)];
const AREA: Dimensions = &[("length", 2)];
const VOLUME: Dimensions = &[("length", 3)];
const TIME: Dimensions = &[("time", 1)];
const MASS: Dimensions = &[("mass", 1)];
const SPEED: Dimensions = &[("length", 1), ("time", -1)];
const FREQUENCY: Dimensions = &[("time", -1)];
const FORCE: Dimensions = &[("mass", 1), ("length", 1), ("time", -2)];
const PRESSURE: Dimensions = &[("mass", 1), ("length", -1), ("time", -2)];
const ENERGY: Dimensions = &[("mass", 1), ("length", 2), ("time", -2)];
const POWER: Dimensions = &[("mass", 1), ("length", 2), ("time", -3)];
const CURRENT: Dimensions = &[("current", 1)];
const CHARGE: Dimensions = &[("current", 1), ("time", 1)];
const VOLTAGE: Dimensions = &[("mass", 1), ("length", 2), ("time", -3), ("current", -1)];
const RESISTANCE: Dimensions = &[("mass", 1), ("length", 2), ("time", -3), ("current", -2)];
const CAPACITANCE: Dimensions = &[("mass", -1), ("length", -2), ("time", 4), ("current", 2)];
const INDUCTANCE: Dimensions = &[("mass", 1), ("length", 2), ("time", -2), ("current", -2)];
const FIELD: Dimensions = &[("mass", 1), ("time", -2), ("current", -1)];
const FLUX: Dimensions = &[("mass", 1), ("length", 2), ("time", -2), ("current", -1)];
const AMOUNT: Dimensions = &[("amount", 1)];
const CONCENTRATION: Dimensions = &[("amount", 1), ("length", -3)];
pub(super) const TEMPERATURE: &str = "temperature";
const KELVIN: Dimensions = &[(TEMPERATURE, 1)];
const DATA: Dimensions = &[("data", 1)];
/// A word for any unit of length: `12 square units`.
pub(super) const ANY_LENGTH: &str = "unit";

/// Symbols that take the prefixes of the international system.
pub(super) const SYMBOLS: &[Entry] = &[
    unit(&["m"], LENGTH, 1, 1, 0),
    unit(&["g"], MASS, 1, 1, -3),
    unit(&["s"], TIME, 1, 1, 0),
    unit(&["A"], CURRENT, 1, 1, 0),
    unit(&["K"], KELVIN, 1, 1, 0),
    unit(&["mol"], AMOUNT, 1, 1, 0),
    unit(&["M"], CONCENTRATION, 1, 1, 3),
    unit(&["L", "l", "\u{2113}"], VOLUME, 1, 1, -3),
    unit(&["N"], FORCE, 1, 1, 0),
    unit(&["J"], ENERGY, 1, 1, 0),
    unit(&["W"], POWER, 1, 1, 0),
    unit(&["Wh"], ENERGY, 3_600, 1, 0),
    unit(&["eV"], ENERGY, 1_602_176_634, 1, -28),
    unit(&["cal"], ENERGY, 4_184, 1, -3),
    unit(&["Pa"], PRESSURE, 1, 1, 0),
    unit(&["bar"], PRESSURE, 1, 1, 5),
    unit(&["Hz"], FREQUENCY, 1, 1, 0),
    unit(&["C"], CHARGE, 1, 1, 0),
    unit(&["V"], VOLTAGE, 1, 1, 0),
    unit(&["ohm", "\u{3a9}", "\u{2126}"], RESISTANCE, 1, 1, 0),
    unit(&["F"], CAPACITANCE, 1, 1, 0),
    unit(&["H"], INDUCTANCE, 1, 1, 0),
    unit(&["T"], FIELD, 1, 1, 0),
    unit(&["Wb"], FLUX, 1, 1, 0),
    unit(&["b"], DATA, 1, 1, 0),
    unit(&["B"], DATA, 8, 1, 0),
];

/// Prefixes of symbols, with their powers of ten.
pub(super) const PREFIXES: &[(&str, i16)] = &[
    ("p", -12),
    ("n", -9),
    ("\u{3bc}", -6),
    ("\u{b5}", -6),
    ("u", -6),
    ("m", -3),
    ("c", -2),
    ("d", -1),
    ("k", 3),
    ("M", 6),
    ("G", 9),
    ("T", 12),
];

/// Names that take the prefixes of the international system, all in lower case and in the singular.
pub(super) const NAMES: &[Entry] = &[
    unit(&["meter", "metre"], LENGTH, 1, 1, 0),
    unit(&["gram", "gramme"], MASS, 1, 1, -3),
    unit(&["second"], TIME, 1, 1, 0),
    unit(&["ampere", "amp"], CURRENT, 1, 1, 0),
    unit(&["kelvin"], KELVIN, 1, 1, 0),
    unit(&["mole"], AMOUNT, 1, 1, 0),
    unit(&["liter", "litre"], VOLUME, 1, 1, -3),
    unit(&["newton"], FORCE, 1, 1, 0),
    unit(&["joule"], ENERGY, 1, 1, 0),
    unit(&["watt"], POWER, 1, 1, 0),
    unit(&["watthour"], ENERGY, 3_600, 1, 0),
    unit(&["electronvolt"], ENERGY, 1_602_176_634, 1, -28),
    unit(&["calorie"], ENERGY, 4_184, 1, -3),
    unit(&["pascal"], PRESSURE, 1, 1, 0),
    unit(&["hertz"], FREQUENCY, 1, 1, 0),
    unit(&["coulomb"], CHARGE, 1, 1, 0),
    unit(&["volt"], VOLTAGE, 1, 1, 0),
    unit(&["ohm"], RESISTANCE, 1, 1, 0),
    unit(&["farad"], CAPACITANCE, 1, 1, 0),
    unit(&["henry"], INDUCTANCE, 1, 1, 0),
    unit(&["tesla"], FIELD, 1, 1, 0),
    unit(&["weber"], FLUX, 1, 1, 0),
    unit(&["bit"], DATA, 1, 1, 0),
    unit(&["byte"], DATA, 8, 1, 0),
];

/// Prefixes of names.
pub(super) const NAME_PREFIXES: &[(&str, i16)] = &[
    ("pico", -12),
    ("nano", -9),
    ("micro", -6),
    ("milli", -3),
    ("centi", -2),
    ("deci", -1),
    ("kilo", 3),
    ("mega", 6),
    ("giga", 9),
    ("tera", 12),
];

/// Units without prefixes.
pub(super) const OTHERS: &[Entry] = &[
    unit(&["\u{6beb}\u{7c73}"], LENGTH, 1, 1, -3),
    unit(&["\u{5398}\u{7c73}"], LENGTH, 1, 1, -2),
    unit(&["\u{5206}\u{7c73}"], LENGTH, 1, 1, -1),
    unit(&["\u{7c73}"], LENGTH, 1, 1, 0),
    unit(&["\u{5343}\u{7c73}", "\u{516c}\u{91cc}"], LENGTH, 1, 1, 3),
    unit(&["micron"], LENGTH, 1, 1, -6),
    unit(&["\u{c5}", "angstrom"], LENGTH, 1, 1, -10),
    unit(&["in", "inch", "inches"], LENGTH, 254, 1, -4),
    unit(&["ft", "foot", "feet"], LENGTH, 3_048, 1, -4),
    unit(&["yd", "yds", "yard"], LENGTH, 9_144, 1, -4),
    unit(&["mi", "mile"], LENGTH, 1_609_344, 1, -3),
    unit(&["acre"], AREA, 40_468_564_224, 1, -7),
    unit(&["ha", "hectare", "\u{516c}\u{9877}"], AREA, 1, 1, 4),
    unit(&["cc"], VOLUME, 1, 1, -6),
    unit(&["\u{6beb}\u{5347}"], VOLUME, 1, 1, -6),
    unit(&["\u{5347}"], VOLUME, 1, 1, -3),
    unit(&["gal", "gallon"], VOLUME, 3_785_411_784, 1, -12),
    unit(&["quart"], VOLUME, 946_352_946, 1, -12),
    unit(&["pint"], VOLUME, 473_176_473, 1, -12),
    unit(&["sec", "secs", "\u{79d2}"], TIME, 1, 1, 0),
    unit(&["min", "mins", "minute", "\u{5206}\u{949f}", "\u{5206}\u{9418}", "\u{5206}"], TIME, 60, 1, 0),
    unit(&["h", "hr", "hrs", "hour", "\u{5c0f}\u{65f6}", "\u{6642}\u{9593}", "\u{65f6}"], TIME, 3_600, 1, 0),
    unit(&["day", "\u{5929}"], TIME, 86_400, 1, 0),
    unit(&["week", "\u{5468}"], TIME, 604_800, 1, 0),
    // A year of 365 days, and its twelfth part.
    unit(&["month"], TIME, 2_628_000, 1, 0),
    unit(&["year", "yr", "yrs", "\u{5e74}"], TIME, 31_536_000, 1, 0),
    unit(&["\u{514b}"], MASS, 1, 1, -3),
    unit(&["kilo", "\u{5343}\u{514b}", "\u{516c}\u{65a4}"], MASS, 1, 1, 0),
    unit(&["tonne", "\u{5428}"], MASS, 1, 1, 3),
    unit(&["oz", "ounce"], MASS, 28_349_523_125, 1, -12),
    unit(&["lb", "lbs", "pound"], MASS, 45_359_237, 1, -8),
    unit(&["mph"], SPEED, 1_609_344, 3_600, -3),
    unit(&["kph", "kmph", "kmh"], SPEED, 1_000, 3_600, 0),
    unit(&["knot"], SPEED, 1_852, 3_600, 0),
    unit(&["lbf"], FORCE, 44_482_216_152_605, 1, -13),
    unit(&["dyne"], FORCE, 1, 1, -5),
    unit(&["erg"], ENERGY, 1, 1, -7),
    unit(&["atm", "atmosphere"], PRESSURE, 101_325, 1, 0),
    unit(&["mmHg", "torr"], PRESSURE, 101_325, 760, 0),
    unit(&["Celsius", "celsius", "\u{b0}C", "\u{2103}", "\u{6444}\u{6c0f}\u{5ea6}"], &[("celsius", 1)], 1, 1, 0),
    unit(&["Fahrenheit", "fahrenheit", "\u{b0}F", "\u{2109}"], &[("fahrenheit", 1)], 1, 1, 0),
    unit(&["\u{b0}K"], KELVIN, 1, 1, 0),
    unit(&["degree", "deg", "\u{b0}"], &[("degree", 1)], 1, 1, 0),
    unit(&["rad", "rads", "radian", "\u{5f27}\u{5ea6}"], &[("radian", 1)], 1, 1, 0),
    unit(&["revolution", "rev", "turn"], &[("revolution", 1)], 1, 1, 0),
    unit(&["rpm"], &[("revolution", 1), ("time", -1)], 1, 60, 0),
    unit(&["cent", "penny", "pennies", "\u{a2}"], &[("money", 1)], 1, 1, -2),
    unit(&["dollar", "usd", "USD", "buck", "\u{7f8e}\u{5143}"], &[("money", 1)], 1, 1, 0),
    unit(&["euro", "EUR"], &[("euro", 1)], 1, 1, 0),
    unit(&["yuan", "rmb", "RMB", "\u{5143}"], &[("yuan", 1)], 1, 1, 0),
    unit(&["yen"], &[("yen", 1)], 1, 1, 0),
    unit(&["rupee"], &[("rupee", 1)], 1, 1, 0),
    unit(&["gbp"], &[("sterling", 1)], 1, 1, 0),
    unit(&["unit", "units"], &[(ANY_LENGTH, 1)], 1, 1, 0),
];
