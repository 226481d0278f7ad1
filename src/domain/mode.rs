//! The two modes, and pairs indexed by them.

use super::stable_names;

/// How a query is answered: with reasoning first, or directly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mode {
    /// Reason, then answer.
    ThinkOn,
    /// Answer directly.
    ThinkOff,
}

stable_names!(Mode { ThinkOn => "think_on", ThinkOff => "think_off" });

impl Mode {
    /// Returns the other mode.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::ThinkOn => Self::ThinkOff,
            Self::ThinkOff => Self::ThinkOn,
        }
    }
}

/// One value for each mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct ByMode<T> {
    /// The value for Think-on.
    pub on: T,
    /// The value for Think-off.
    pub off: T,
}

impl<T> ByMode<T> {
    /// Builds a pair by calling `make` once per mode.
    pub fn from_fn(mut make: impl FnMut(Mode) -> T) -> Self {
        Self { on: make(Mode::ThinkOn), off: make(Mode::ThinkOff) }
    }
}

impl<T> std::ops::Index<Mode> for ByMode<T> {
    type Output = T;

    fn index(&self, mode: Mode) -> &T {
        match mode {
            Mode::ThinkOn => &self.on,
            Mode::ThinkOff => &self.off,
        }
    }
}

impl<T> std::ops::IndexMut<Mode> for ByMode<T> {
    fn index_mut(&mut self, mode: Mode) -> &mut T {
        match mode {
            Mode::ThinkOn => &mut self.on,
            Mode::ThinkOff => &mut self.off,
        }
    }
}
