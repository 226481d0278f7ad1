//! Detects errors about a prompt that is too long for the model, in the wordings of known servers.

/// Returns whether an error's text states that the prompt is longer than the model's context, in any known wording.
#[must_use]
pub fn says_context_overflow(code: Option<&str>, message: &str) -> bool {
    let lower = message.to_lowercase();
    let says = |list: &[&str]| list.iter().any(|words| lower.contains(words));
    let is_about_prompts = says(&["prompt", "input", "messages", "request", "sequence", "conversation"]);
    let is_rate = says(&["per minute", "per day", "rate limit", "quota"]);
    code == Some("context_length_exceeded")
        || says(CONTEXT_WORDS)
        || (is_about_prompts && !is_rate && lower.contains("tokens") && says(EXCESS_WORDS))
}

/// Servers' names for the length of a context, and phrases that only occur in errors about it.
const CONTEXT_WORDS: &[&str] = &[
    "context length",
    "context size",
    "context window",
    "context limit",
    "context_length",
    "max_tokens must be at least 1",
    "prompt is too long",
    "prompt too long",
    "input is too long",
    "input too long",
    "input length should be",
    "maximum sequence length",
    "maximum input length",
    "max_seq_len",
    "max_model_len",
    "max_input_length",
    "model_max_length",
    "n_ctx",
    "reduce the length of",
    "reduce your prompt",
];

/// Phrases for an excess of tokens, of a prompt or of prompt and reply together.
const EXCESS_WORDS: &[&str] = &[
    "exceed",
    "must be <=",
    "must have less than",
    "must be less than",
    "too many tokens",
    "too long",
    "longer than",
    "more than the max",
    "limit of",
    "is limited to",
    "maximum number of tokens",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn context_overflow_is_known_in_the_wordings_of_the_servers() {
        for (code, message) in [
            (Some("context_length_exceeded"), ""),
            (None, "This model's maximum context length is 4096 tokens."),
            (Some("BadRequestError"), "max_tokens must be at least 1, got -186."),
            (None, "the request exceeds the available context size, try increasing it"),
            (None, "The input (9120 tokens) is longer than the model's context length (4096 tokens)."),
            (
                None,
                "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4097. Given: 5000 `inputs` tokens \
                 and 64 `max_new_tokens`",
            ),
            (None, "Input validation error: `inputs` must have less than 1024 tokens. Given: 1100"),
            (
                None,
                "'max_tokens' or 'max_completion_tokens' is too large: 64. This model's maximum context length is 4096 \
                 tokens and your request has 4061 input tokens (64 > 4096 - 4061).",
            ),
            (None, "prompt is too long: 205000 tokens > 200000 maximum"),
            (None, "input length and `max_tokens` exceed context limit: 199000 + 4096 > 200000"),
            (None, "The input token count (1048577) exceeds the maximum number of tokens allowed (1048575)."),
            (None, "Requested tokens (5000) exceed context window of 4096"),
            (None, "Please reduce the length of the messages or completion."),
            (None, "<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 30720]"),
            (
                None,
                "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length",
            ),
            (None, "This model's prompt is limited to 8192 tokens, but 9000 were given"),
            (None, "Input is too long for requested model."),
            (None, "Token indices sequence length is longer than the specified maximum of 4096 tokens for this model"),
            (None, "The decoder prompt (length 5000) is longer than max_model_len"),
        ] {
            assert!(says_context_overflow(code, message), "{message}");
        }
        for message in [
            "temperature must be at most 2",
            "max_tokens is too large: 100000. This model supports at most 16384 completion tokens",
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
            "Unknown parameter: 'seed'.",
            "Input was flagged by moderation",
            "Already borrowed",
            "Your request exceeded the limit of 10000 tokens per minute",
            "The input holds special tokens that are not allowed",
        ] {
            assert!(!says_context_overflow(Some("invalid_request_error"), message), "{message}");
        }
    }
}
