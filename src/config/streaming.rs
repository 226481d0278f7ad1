//! `stream = "auto" | true | false`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether replies are streamed. A stream keeps a long request alive if a proxy closes idle connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Streaming {
    /// If a reply may be longer than [`STREAMED_TOKENS_MIN`] tokens.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Token limit from which on `auto` streams: below it, a reply takes seconds.
pub const STREAMED_TOKENS_MIN: u32 = 1024;

impl Streaming {
    /// Returns whether to stream a reply of at most `tokens_max` tokens.
    #[must_use]
    pub const fn is_wanted(self, tokens_max: u32) -> bool {
        match self {
            Self::Auto => tokens_max >= STREAMED_TOKENS_MIN,
            Self::Always => true,
            Self::Never => false,
        }
    }
}

impl Serialize for Streaming {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::Always => serializer.serialize_bool(true),
            Self::Never => serializer.serialize_bool(false),
        }
    }
}

impl<'de> Deserialize<'de> for Streaming {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::Bool(true) => Ok(Self::Always),
            serde_json::Value::Bool(false) => Ok(Self::Never),
            serde_json::Value::String(text) if text == "auto" => Ok(Self::Auto),
            other => Err(serde::de::Error::custom(format!("stream is {other}; allowed: \"auto\", true, false"))),
        }
    }
}

impl JsonSchema for Streaming {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Streaming".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "Whether replies are streamed.",
            "enum": ["auto", true, false],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_values_are_read_and_written_back_and_others_are_refused() {
        for (json, value) in [("\"auto\"", Streaming::Auto), ("true", Streaming::Always), ("false", Streaming::Never)] {
            assert_eq!(serde_json::from_str::<Streaming>(json).unwrap(), value);
            assert_eq!(serde_json::to_string(&value).unwrap(), json);
        }
        for json in ["\"yes\"", "1", "null"] {
            assert!(serde_json::from_str::<Streaming>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn auto_streams_what_may_take_long() {
        assert!(Streaming::Auto.is_wanted(STREAMED_TOKENS_MIN) && !Streaming::Auto.is_wanted(STREAMED_TOKENS_MIN - 1));
        assert!(Streaming::Always.is_wanted(1) && !Streaming::Never.is_wanted(u32::MAX));
    }
}
