//! The opening of a response under the preset `structured`: a judge block, left to the model or given, and a forced mode
//! tag.
//!
//! The preset is for models that were trained on structured responses ([`crate::template`]). Asked with the line of
//! another preset, such a model writes its own judge block and chooses its mode there. With this preset the prompt is
//! the user's text alone, as in the training rows, and the response begins as the model would begin it:
//!
//! - a given block, and the mode tag, are the end of the prompt;
//! - without one, `<judge>` is the end of the prompt, the model writes the block (the first phase), and the mode tag is
//!   appended when it closes the block, begins a later part, ends its turn, or exceeds [`JUDGE_TOKENS_MAX`].

use super::rendered::RenderedPrompt;
use crate::domain::Mode;
use crate::engine::ForcedClose;
use crate::template::{JUDGE_OPENING, judge_closing};

/// The most tokens of a judge block that the model writes; justifications have at most 120 words.
const JUDGE_TOKENS_MAX: u32 = 512;

/// The tags that end a judge block: its own closing tag, and those of the parts behind it.
const JUDGE_ENDS: [&str; 5] = ["</judge>", "<think_on>", "<think_off>", "<think>", "<answer>"];

/// Adds the opening of a response in `mode` to a rendered prompt. `prefill` is the end of `text` that belongs to the
/// response; `judge_block` is the given block.
pub(super) fn opened(mut text: String, prefill: &str, mode: Mode, judge_block: Option<&str>) -> RenderedPrompt {
    let closing = judge_closing(mode);
    let opening = match judge_block {
        Some(block) => format!("{JUDGE_OPENING}{block}{closing}"),
        None => JUDGE_OPENING.to_owned(),
    };
    text.push_str(&opening);
    let prefill = format!("{prefill}{opening}");
    let close = judge_block.is_none().then(|| ForcedClose {
        triggers: JUDGE_ENDS.map(str::to_owned).to_vec(),
        text: closing,
        // The limit of the response's mode takes its place.
        tokens_max: 0,
    });
    let first_tokens_max = close.is_some().then_some(JUDGE_TOKENS_MAX);
    RenderedPrompt { prefill, close, first_tokens_max, ..RenderedPrompt::plain(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_given_block_and_the_tag_end_the_prompt() {
        let prompt = opened("P".to_owned(), "", Mode::ThinkOff, Some("Why."));
        assert_eq!(prompt.text, "P<judge>\nWhy.\n</judge>\n\n<think_off>\n");
        assert_eq!(prompt.prefill, "<judge>\nWhy.\n</judge>\n\n<think_off>\n");
        assert_eq!(prompt.phases(7), (7, None));
    }

    #[test]
    fn a_block_of_the_models_own_is_the_first_phase_and_the_mode_limits_the_second() {
        let prompt = opened("P<think>\n".to_owned(), "<think>\n", Mode::ThinkOn, None);
        assert_eq!((prompt.text.as_str(), prompt.prefill.as_str()), ("P<think>\n<judge>\n", "<think>\n<judge>\n"));
        let (first, close) = prompt.phases(700);
        let close = close.unwrap();
        assert_eq!((first, close.tokens_max, close.text.as_str()), (512, 700, "\n</judge>\n\n<think_on>\n"));
        assert_eq!(prompt.phases(7).0, 7, "a block is no longer than what follows it may be");
    }
}
