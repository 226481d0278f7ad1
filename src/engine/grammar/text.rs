//! Strings and numbers byte by byte.

/// Digits that each part of a number may have.
const DIGITS_MAX: u8 = 15;
/// A number of characters that is out of reach: it stays what it is.
pub(super) const FAR: u32 = u32::MAX;

/// The rest of a string, behind its opening quote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Text {
    /// Characters that must still come.
    pub min: u32,
    /// Characters that may still come.
    pub max: u32,
    pub within: Within,
}

/// Where in a character of a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Within {
    /// Between characters.
    Nothing,
    /// Behind a backslash.
    Escape,
    /// In `\uXXXX`, with so many digits left; the first was a `d`, which may begin a surrogate.
    Hex { left: u8, is_after_d: bool },
    /// In a character of several bytes: so many are left, and the next is in this range.
    Utf8 { left: u8, low: u8, high: u8 },
}

/// What a byte does to a string.
pub(super) enum TextStep {
    /// It goes on.
    More(Text),
    /// The closing quote.
    End,
    /// No string goes on so.
    Never,
}

impl Text {
    /// Returns a string of so many characters, behind its opening quote.
    pub(super) fn new(min: u32, max: u32) -> Self {
        Self { min, max, within: Within::Nothing }
    }

    /// Returns the string with lengths out of a token's reach told apart no more.
    pub(super) fn within_reach(self, reach: u32) -> Self {
        let cut = |length: u32| if length > reach { FAR } else { length };
        Self { min: cut(self.min), max: cut(self.max), ..self }
    }

    /// Returns the least bytes to its end, the quote included.
    pub(super) fn rest(self) -> u64 {
        let rest = match self.within {
            Within::Nothing => 0,
            Within::Escape => 1,
            Within::Hex { left, .. } | Within::Utf8 { left, .. } => left,
        };
        u64::from(self.min) + u64::from(rest) + 1
    }

    pub(super) fn step(self, byte: u8) -> TextStep {
        let Self { min, max, within } = self;
        let less = |length: u32| if length == FAR { FAR } else { length.saturating_sub(1) };
        let begun = |within| Some(Self { min: less(min), max: less(max), within });
        let at = |within| Some(Self { within, ..self });
        let next = match within {
            Within::Nothing => match byte {
                b'"' if min == 0 => return TextStep::End,
                b'"' | 0..=0x1f | 0x7f => None,
                _ if max == 0 => None,
                b'\\' => begun(Within::Escape),
                0x20..=0x7e => begun(Within::Nothing),
                0xc2..=0xdf => begun(Within::Utf8 { left: 1, low: 0x80, high: 0xbf }),
                0xe0 => begun(Within::Utf8 { left: 2, low: 0xa0, high: 0xbf }),
                0xed => begun(Within::Utf8 { left: 2, low: 0x80, high: 0x9f }),
                0xe1..=0xef => begun(Within::Utf8 { left: 2, low: 0x80, high: 0xbf }),
                0xf0 => begun(Within::Utf8 { left: 3, low: 0x90, high: 0xbf }),
                0xf1..=0xf3 => begun(Within::Utf8 { left: 3, low: 0x80, high: 0xbf }),
                0xf4 => begun(Within::Utf8 { left: 3, low: 0x80, high: 0x8f }),
                _ => None,
            },
            Within::Escape => match byte {
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => at(Within::Nothing),
                b'u' => at(Within::Hex { left: 4, is_after_d: false }),
                _ => None,
            },
            // Surrogates come in pairs or not at all; nothing needs them.
            Within::Hex { left: 3, is_after_d: true } if !byte.is_ascii_digit() || byte > b'7' => None,
            Within::Hex { left: 1, .. } if byte.is_ascii_hexdigit() => at(Within::Nothing),
            Within::Hex { left, .. } if byte.is_ascii_hexdigit() => {
                at(Within::Hex { left: left - 1, is_after_d: left == 4 && matches!(byte, b'd' | b'D') })
            }
            Within::Hex { .. } => None,
            Within::Utf8 { left, low, high } if (low..=high).contains(&byte) => at(match left {
                1 => Within::Nothing,
                _ => Within::Utf8 { left: left - 1, low: 0x80, high: 0xbf },
            }),
            Within::Utf8 { .. } => None,
        };
        next.map_or(TextStep::Never, TextStep::More)
    }
}

/// The rest of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Number {
    part: Part,
    /// Digits of the part so far.
    digits: u8,
    is_integer: bool,
}

/// Where in a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Part {
    Minus,
    Zero,
    Whole,
    Point,
    Fraction,
    E,
    Sign,
    Exponent,
}

impl Number {
    /// Begins a number.
    pub(super) fn start(byte: u8, is_integer: bool) -> Option<Self> {
        let part = match byte {
            b'-' => Part::Minus,
            b'0' => Part::Zero,
            b'1'..=b'9' => Part::Whole,
            _ => return None,
        };
        Some(Self { part, digits: 1, is_integer })
    }

    /// Returns whether it is a number as it is.
    pub(super) fn may_end(self) -> bool {
        matches!(self.part, Part::Zero | Part::Whole | Part::Fraction | Part::Exponent)
    }

    pub(super) fn step(self, byte: u8) -> Option<Self> {
        let is_digit = byte.is_ascii_digit();
        let more = (self.digits < DIGITS_MAX).then_some(self.digits + 1);
        let (part, digits) = match (self.part, byte) {
            (Part::Minus, b'0') => (Part::Zero, 1),
            (Part::Minus, _) if is_digit => (Part::Whole, 1),
            (Part::Whole, _) if is_digit => (Part::Whole, more?),
            (Part::Zero | Part::Whole, b'.') if !self.is_integer => (Part::Point, 0),
            (Part::Point, _) if is_digit => (Part::Fraction, 1),
            (Part::Fraction, _) if is_digit => (Part::Fraction, more?),
            (Part::Zero | Part::Whole | Part::Fraction, b'e' | b'E') if !self.is_integer => (Part::E, 0),
            (Part::E, b'+' | b'-') => (Part::Sign, 0),
            (Part::E | Part::Sign, _) if is_digit => (Part::Exponent, 1),
            // Two digits: what is larger is no finite number for many readers.
            (Part::Exponent, _) if is_digit && self.digits < 2 => (Part::Exponent, self.digits + 1),
            _ => return None,
        };
        Some(Self { part, digits, ..self })
    }
}
