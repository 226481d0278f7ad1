//! The reasons for which a justification is rejected.

use crate::domain::stable_names;

/// Why a justification is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rejection {
    /// The text argues for the mode that was not chosen.
    ContradictsMode,
    /// The text reveals the reference answer.
    LeaksAnswer,
    /// The text mentions pass rates, samples, attempts or the rule.
    MentionsSampling,
    /// The text holds a tag of the response template.
    TemplateTag,
    /// The text is shorter than [`LENGTH_MIN`](super::LENGTH_MIN).
    TooShort,
    /// The text is longer than [`CHARS_MAX`](super::CHARS_MAX).
    TooLong,
    /// The text is not in the question's script. This check does not apply to a local judge, whose examples are
    /// English.
    WrongLanguage,
    /// The text does not mention the question and nearly repeats an example of the prompt or a stock phrase.
    Boilerplate,
    /// The text nearly repeats the text of an earlier query of the same shard; see [`Neighbours`](super::Neighbours).
    NearCopy,
}

stable_names!(Rejection {
    ContradictsMode => "contradicts_mode",
    LeaksAnswer => "leaks_answer",
    MentionsSampling => "mentions_sampling",
    TemplateTag => "template_tag",
    TooShort => "too_short",
    TooLong => "too_long",
    WrongLanguage => "wrong_language",
    Boilerplate => "boilerplate",
    NearCopy => "near_copy",
});

impl Rejection {
    /// Returns the advice that the next request gives to the judge.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Self::ContradictsMode => "it argues for the other way of answering; argue for the chosen one",
            Self::LeaksAnswer => "it gives the answer away; write it without the answer",
            Self::MentionsSampling => "it speaks of pass rates, samples or the rule; judge from the question itself",
            Self::TemplateTag => "it holds a tag in angle brackets; write plain text",
            Self::TooShort => "it is too short; write one to three whole sentences",
            Self::TooLong => "it is too long; write one to three sentences",
            Self::WrongLanguage => "it is not in the language of the question; write it in that language",
            Self::Boilerplate => "it would fit any question; name what is particular to this one",
            Self::NearCopy => {
                "it nearly repeats what was written of another question; name what is particular to this one"
            }
        }
    }
}
