//! A rendered prompt, with the rules for its response.

use serde::Serialize;

use crate::engine::ForcedClose;

/// A prompt ready for encoding, with the rules for its response.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RenderedPrompt {
    /// The whole prompt.
    pub text: String,
    /// The end of `text` that counts as part of the response.
    pub prefill: String,
    /// Strings that end the response.
    pub stops: Vec<String>,
    /// The second phase, if the preset forces the end of the first one.
    pub close: Option<ForcedClose>,
    /// The limit of the first phase in tokens, if the mode's limit is that of the second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_tokens_max: Option<u32>,
}

impl RenderedPrompt {
    /// Returns a prompt without rules for its response.
    #[must_use]
    pub const fn plain(text: String) -> Self {
        Self { text, prefill: String::new(), stops: Vec::new(), close: None, first_tokens_max: None }
    }

    /// Returns the limit of the first phase, and the second phase, for a response of at most `tokens_max` tokens.
    #[must_use]
    pub fn phases(&self, tokens_max: u32) -> (u32, Option<ForcedClose>) {
        match (self.first_tokens_max, self.close.clone()) {
            (Some(first), Some(close)) => (first.min(tokens_max), Some(ForcedClose { tokens_max, ..close })),
            (_, close) => (tokens_max, close),
        }
    }
}
