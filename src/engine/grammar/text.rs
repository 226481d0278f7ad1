//! Strings and numbers, byte by byte.

/// Maximum digits of each part of a number.
const DIGITS_MAX: u8 = 15;
/// A number of characters that is out of reach; it is never decremented.
pub(super) const FAR: u32 = u32::MAX;

/// The rest of a string, after its opening quote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Text {
    /// Minimum of further characters.
    pub min: u32,
    /// Maximum of further characters.
    pub max: u32,
    pub within: Within,
}

/// The position within a character of a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Within {
    /// Between characters.
    Nothing,
    /// After a backslash.
    Escape,
    /// In `\uXXXX`, with `left` digits left; `is_after_d` if the first digit was a `d`, which may begin a surrogate.
    Hex { left: u8, is_after_d: bool },
    /// In a character of several bytes: `left` bytes are left, and the next one is in `low..=high`.
    Utf8 { left: u8, low: u8, high: u8 },
}

/// The effect of a byte on a string.
pub(super) enum TextStep {
    /// The string continues.
    More(Text),
    /// The byte is the closing quote.
    End,
    /// No string continues with this byte.
    Never,
}

impl Text {
    /// Returns a string of `min` to `max` characters, after its opening quote.
    pub(super) fn new(min: u32, max: u32) -> Self {
        Self { min, max, within: Within::Nothing }
    }

    /// Returns the string with all lengths beyond a token's reach made equal.
    pub(super) fn within_reach(self, reach: u32) -> Self {
        let cut = |length: u32| if length > reach { FAR } else { length };
        Self { min: cut(self.min), max: cut(self.max), ..self }
    }

    /// Returns the least bytes to the string's end, the quote included.
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
            // Surrogates are valid only in pairs; no text needs them, so they are not allowed.
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
    /// Digits of the current part so far.
    digits: u8,
    is_integer: bool,
}

/// The position within a number.
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

    /// Returns whether the number is complete as it is.
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
            // At most two digits: many readers have no finite number for a larger exponent.
            (Part::Exponent, _) if is_digit && self.digits < 2 => (Part::Exponent, self.digits + 1),
            _ => return None,
        };
        Some(Self { part, digits, ..self })
    }
}
