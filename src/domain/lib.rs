//! The nouns of thinkloom: plain data that every room shares.
//!
//! This room imports nothing from the other rooms. Enums that are written to files have stable snake-case names through
//! `serde` and [`std::fmt::Display`]; renaming one changes the file format.

#![cfg_attr(
    test,
    allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests use files and clocks as they are")
)]

mod decision;
pub mod digest;
mod exclusion;
mod executor;
mod judgement;
mod mode;
mod model;
mod query;
mod rollout;
pub mod text;
mod verdict;

pub use decision::{Decision, ModeReason, OtherMode, PassCounts};
pub use exclusion::{Exclusion, ExclusionReason};
pub use executor::{ExecutorChoice, KernelChoice, KvType};
pub use judgement::AttemptOutcome;
pub use mode::{ByMode, Mode, ShownMode};
pub use model::ResolvedModel;
pub use query::{Kind, Origin, Query, QueryId, QueryLabels};
pub use rollout::{CloseCause, FinishReason, RawReply, Reading, Rollout, RolloutKey};
pub use verdict::{UnverifiableCause, Verdict, VerdictOutcome};

/// Implements `name`, `Display` and `FromStr` for a field-less enum from one table of stable names.
#[macro_export]
macro_rules! stable_names {
    ($type:ty { $($variant:ident => $name:literal),+ $(,)? }) => {
        impl $type {
            /// Every variant, in declaration order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Returns the stable name of this variant in files.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.pad(self.name())
            }
        }

        impl std::str::FromStr for $type {
            type Err = $crate::UnknownName;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($name => Ok(Self::$variant),)+
                    _ => Err($crate::UnknownName {
                        found: text.to_owned(),
                        known: &[$($name),+],
                    }),
                }
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

/// A name outside the stable names of its enum.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown name \"{found}\", expected one of: {}", known.join(", "))]
pub struct UnknownName {
    /// The found name.
    pub found: String,
    /// The accepted names.
    pub known: &'static [&'static str],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stable_names_round_trip_and_unknown_names_are_refused() {
        for &reason in ExclusionReason::ALL {
            assert_eq!(reason.name().parse::<ExclusionReason>(), Ok(reason));
        }
        for &cause in UnverifiableCause::ALL {
            assert_eq!(cause.name().parse::<UnverifiableCause>(), Ok(cause));
        }
        let error = "think_maybe".parse::<Mode>().unwrap_err();
        assert_eq!(error.to_string(), "unknown name \"think_maybe\", expected one of: think_on, think_off");
    }
}
