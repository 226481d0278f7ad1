//! The token counts of a judge's reply.

/// Token counts of one reply, or the sum of many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Prompt tokens, cached ones included.
    pub prompt_tokens: u64,
    /// Prompt tokens read from the provider's cache; `None` if the provider does not report them.
    pub cache_hit_tokens: Option<u64>,
    /// Generated tokens, reasoning included.
    pub completion_tokens: u64,
}

impl From<crate::http::wire::WireUsage> for Usage {
    fn from(wire: crate::http::wire::WireUsage) -> Self {
        Self {
            prompt_tokens: wire.prompt_tokens,
            cache_hit_tokens: wire.cached_tokens,
            completion_tokens: wire.completion_tokens,
        }
    }
}
