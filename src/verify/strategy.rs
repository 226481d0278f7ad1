//! The names of the strategies that find an answer.

/// The strategy that found an answer; its name is the first part of a verdict's reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strategy {
    /// `\boxed{...}` or `\fbox{...}`.
    Boxed,
    /// "final answer is".
    FinalAnswer,
    /// "answer is", "answer:".
    AnswerIs,
    /// `####`.
    HashMark,
    /// The last bold words.
    Bold,
    /// The whole response.
    Whole,
    /// The last `$...$`, `\(...\)` or `\[...\]`.
    MathSpan,
    /// The last line.
    LastLine,
    /// The last number.
    LastNumber,
    /// The last letter in brackets or bold.
    LastLetter,
}

impl Strategy {
    /// Returns the stable name.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Boxed => "boxed",
            Self::FinalAnswer => "final_answer",
            Self::AnswerIs => "answer_is",
            Self::HashMark => "hash_mark",
            Self::Bold => "bold",
            Self::Whole => "whole",
            Self::MathSpan => "math_span",
            Self::LastLine => "last_line",
            Self::LastNumber => "last_number",
            Self::LastLetter => "last_letter",
        }
    }
}
