//! Responses around an answer: boxes, announcing sentences, hash lines, bold lines, last lines.

/// What a response around an answer needs of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    Nothing,
    /// An answer without commands, braces or dollar signs.
    Plain,
    /// Another value, that is mentioned and rejected.
    Other,
    /// A single number.
    Number,
}

/// Responses around an answer `<X>`.
pub const DRESSES: [(&str, &str, Needs); 44] = [
    ("box", "\\boxed{<X>}", Needs::Nothing),
    ("box_dollars", "$\\boxed{<X>}$", Needs::Nothing),
    ("box_display", "$$\\boxed{<X>}$$", Needs::Nothing),
    ("box_brackets", "\\[\n\\boxed{<X>}\n\\]", Needs::Nothing),
    ("box_parentheses", "\\( \\boxed{ <X> } \\)", Needs::Nothing),
    ("box_period", "The answer is $\\boxed{<X>}$.", Needs::Nothing),
    ("box_period_inside_dollars", "Hence $\\boxed{<X>.}$", Needs::Number),
    ("box_hope", "Therefore, the final answer is: $\\boxed{<X>}$. I hope it is correct.", Needs::Nothing),
    ("fbox", "$\\fbox{<X>}$", Needs::Nothing),
    ("fbox_dollars", "\\fbox{$<X>$}", Needs::Nothing),
    ("box_dollars_inside", "\\boxed{$<X>$}", Needs::Nothing),
    ("box_text", "\\boxed{\\text{<X>}}", Needs::Plain),
    ("box_bold", "\\boxed{\\mathbf{<X>}}", Needs::Number),
    ("box_display_style", "\\boxed{\\displaystyle <X>}", Needs::Nothing),
    ("box_colour", "\\boxed{\\color{blue}{<X>}}", Needs::Number),
    ("box_twice", "\\boxed{\\boxed{<X>}}", Needs::Nothing),
    ("box_tail_thin", "\\boxed{<X>\\,}", Needs::Nothing),
    ("box_tail_quad", "\\boxed{<X> \\quad}", Needs::Nothing),
    ("box_head_thin", "\\boxed{\\,<X>\\;}", Needs::Nothing),
    ("box_negative_thin", "\\boxed{\\!<X>\\!}", Needs::Nothing),
    (
        "box_after_draft",
        "A first guess is \\boxed{<W>}, which fails the check. Doing it again gives \\boxed{<X>}.",
        Needs::Other,
    ),
    ("box_after_thought", "<think>Perhaps \\boxed{<W>}?</think>\n\nWorking it out gives $\\boxed{<X>}$.", Needs::Other),
    ("box_checked", "We get $\\boxed{<X>}$.\n\nChecking the steps again confirms it.", Needs::Nothing),
    ("box_token", "<|begin_of_box|><X><|end_of_box|>", Needs::Plain),
    ("box_sentence", "\\boxed{\\text{The answer is } <X>}", Needs::Nothing),
    ("answer_is", "The answer is $<X>$.", Needs::Nothing),
    ("answer_is_plain", "The answer is <X>.", Needs::Plain),
    ("answer_is_brackets", "So the answer is \\( <X> \\).", Needs::Nothing),
    ("answer_hope", "Final Answer: The final answer is $<X>$. I hope it is correct.", Needs::Nothing),
    ("answer_because", "The answer is $<X>$, because every other case was ruled out.", Needs::Nothing),
    ("answer_not_other", "The answer is $<X>$, not $<W>$.", Needs::Other),
    ("answer_bold_label", "**Answer:** $<X>$", Needs::Nothing),
    ("answer_bold", "**Answer: <X>**", Needs::Plain),
    ("answer_colon", "Answer: $<X>$", Needs::Nothing),
    ("answer_explained", "Answer: $<X>$\n\nExplanation: this follows from the conditions given.", Needs::Nothing),
    ("answer_heading", "## Final Answer\n\n$$<X>$$", Needs::Nothing),
    ("answer_tags", "<think>Let me see.</think>\n<answer>$<X>$</answer>", Needs::Nothing),
    ("answer_tags_plain", "<think>Perhaps <W>.</think>\n<answer><X></answer>", Needs::Plain),
    ("answer_chinese", "答案是 $<X>$。", Needs::Nothing),
    ("answer_after_doubt", "I first thought that the answer is $<W>$. Actually the answer is $<X>$.", Needs::Other),
    ("hash", "We add everything up.\n#### <X>", Needs::Nothing),
    ("bold_line", "We combine both parts and simplify.\n\n**<X>**", Needs::Plain),
    ("last_line", "We combine both parts and simplify.\n\n$<X>$", Needs::Nothing),
    ("last_display", "Combining both parts, we find\n\\[ <X> \\]", Needs::Nothing),
];
