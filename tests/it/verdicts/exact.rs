//! Exact fractions for the generator: small, checked, and independent of the verifier's arithmetic.

/// A fraction in lowest form; `bottom` is positive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rat {
    pub top: i128,
    pub bottom: i128,
}

/// Most decimal places that count as a terminating decimal here.
const PLACES_MAX: u32 = 9;

fn gcd(a: i128, b: i128) -> i128 {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl Rat {
    /// Returns `top / bottom` in lowest form; nothing for a bottom of zero or values out of bounds.
    pub fn new(top: i128, bottom: i128) -> Option<Self> {
        if bottom == 0 || top.checked_abs()? > 1 << 100 || bottom.checked_abs()? > 1 << 100 {
            return None;
        }
        let sign = bottom.signum();
        let divisor = gcd(top.abs(), bottom.abs()).max(1);
        Some(Self { top: sign * top / divisor, bottom: bottom.abs() / divisor })
    }

    /// Returns a whole number as a fraction.
    pub fn whole(number: i128) -> Self {
        Self { top: number, bottom: 1 }
    }

    /// Reads digits with at most one point and an optional sign.
    pub fn decimal(text: &str) -> Option<Self> {
        let (sign, digits) = match text.strip_prefix('-') {
            Some(rest) => (-1, rest),
            None => (1, text),
        };
        let (whole, places) = digits.split_once('.').unwrap_or((digits, ""));
        if whole.len() + places.len() == 0 || whole.len() + places.len() > 25 {
            return None;
        }
        if !whole.chars().chain(places.chars()).all(|c| c.is_ascii_digit()) {
            return None;
        }
        let top: i128 = format!("{whole}{places}").parse().ok()?;
        Self::new(sign * top, 10i128.checked_pow(u32::try_from(places.len()).ok()?)?)
    }

    /// Returns whether it is a whole number.
    pub fn is_whole(self) -> bool {
        self.bottom == 1
    }

    /// Adds; nothing for values out of bounds.
    pub fn plus(self, other: Self) -> Option<Self> {
        let left = self.top.checked_mul(other.bottom)?;
        let right = other.top.checked_mul(self.bottom)?;
        Self::new(left.checked_add(right)?, self.bottom.checked_mul(other.bottom)?)
    }

    /// Multiplies; nothing for values out of bounds.
    pub fn times(self, other: Self) -> Option<Self> {
        Self::new(self.top.checked_mul(other.top)?, self.bottom.checked_mul(other.bottom)?)
    }

    /// Flips the sign.
    pub fn negated(self) -> Self {
        Self { top: -self.top, bottom: self.bottom }
    }

    /// Returns the reciprocal; nothing for zero.
    pub fn inverted(self) -> Option<Self> {
        Self::new(self.bottom, self.top)
    }

    /// Writes it as a decimal, if that terminates within a few places.
    pub fn to_decimal(self) -> Option<String> {
        let mut places = 0;
        let mut scale = 1i128;
        while scale % self.bottom != 0 {
            places += 1;
            scale = scale.checked_mul(10)?;
            if places > PLACES_MAX {
                return None;
            }
        }
        let digits = self.top.checked_mul(scale / self.bottom)?;
        Some(place_point(digits, places))
    }

    /// Writes it rounded half away from zero to so many places.
    pub fn rounded(self, places: u32) -> Option<String> {
        let scale = 10i128.checked_pow(places)?;
        let doubled = self.top.abs().checked_mul(scale)?.checked_mul(2)?;
        let digits = doubled.checked_add(self.bottom)? / self.bottom.checked_mul(2)?;
        Some(place_point(self.top.signum() * digits, places))
    }

    /// Writes it as LaTeX: `5`, `\frac{3}{4}`, `-\frac{3}{4}`.
    pub fn latex(self) -> String {
        let sign = if self.top < 0 { "-" } else { "" };
        match self.bottom {
            1 => self.top.to_string(),
            bottom => format!("{sign}\\frac{{{}}}{{{bottom}}}", self.top.abs()),
        }
    }
}

fn place_point(digits: i128, places: u32) -> String {
    let sign = if digits < 0 { "-" } else { "" };
    let width = places as usize + 1;
    let text = format!("{:0>width$}", digits.abs());
    let (whole, rest) = text.split_at(text.len() - places as usize);
    if rest.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{rest}") }
}

/// A generator of choices that depends on its seed alone (splitmix64).
pub struct Dice(u64);

impl Dice {
    /// Returns a generator seeded by a text.
    pub fn of(text: &str) -> Self {
        let hash =
            text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
        Self(hash)
    }

    /// Returns the next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number below `bound`, which is at least one.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}
