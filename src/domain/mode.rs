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

/// The mode that a response shows when none was asked for: one of the two, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ShownMode {
    /// The response reasons first, or its mode tag says so.
    ThinkOn,
    /// The response answers directly, or its mode tag says so.
    ThinkOff,
    /// Neither: the response was cut, or ended, before it showed a mode.
    None,
}

stable_names!(ShownMode { ThinkOn => "think_on", ThinkOff => "think_off", None => "none" });

impl ShownMode {
    /// Returns the mode, if the response shows one.
    #[must_use]
    pub const fn mode(self) -> Option<Mode> {
        match self {
            Self::ThinkOn => Some(Mode::ThinkOn),
            Self::ThinkOff => Some(Mode::ThinkOff),
            Self::None => None,
        }
    }
}

impl From<Mode> for ShownMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::ThinkOn => Self::ThinkOn,
            Mode::ThinkOff => Self::ThinkOff,
        }
    }
}

impl From<Option<Mode>> for ShownMode {
    fn from(mode: Option<Mode>) -> Self {
        mode.map_or(Self::None, Self::from)
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
