//! Probes of choice questions and of small formats: ratios, times of day, digits in a base, letters, words.

use super::alter_value::Altered;
use super::alter_words;
use super::exact::Dice;
use super::golds::Gold;
use super::lawful::Typeset;

/// Responses that choose the letter `<R>`.
const LETTER_DRESSES: [(&str, &str); 34] = [
    ("bare", "<R>"),
    ("parentheses", "(<R>)"),
    ("period", "<R>."),
    ("closing", "<R>)"),
    ("bold", "**<R>**"),
    ("box", "\\boxed{<R>}"),
    ("box_dollars", "$\\boxed{<R>}$"),
    ("box_text", "\\boxed{\\text{<R>}}"),
    ("box_textbf", "\\boxed{\\textbf{<R>}}"),
    ("box_parentheses", "\\boxed{(<R>)}"),
    ("box_text_parentheses", "$\\boxed{\\text{(<R>)}}$"),
    ("box_token", "<|begin_of_box|><R><|end_of_box|>"),
    ("answer_is", "The answer is <R>."),
    ("answer_is_parentheses", "The answer is (<R>)."),
    ("answer_is_bold", "The answer is **<R>**."),
    ("answer_is_quoted", "The answer is \"<R>\"."),
    ("correct_answer", "So the correct answer is <R>."),
    ("correct_option", "The correct option is <R>."),
    ("is_correct", "Option <R> is correct."),
    ("best_choice", "Therefore, the best choice is (<R>)."),
    ("answer_colon", "Answer: <R>"),
    ("answer_bold", "**Answer: <R>**"),
    ("answer_bold_label", "**Answer:** <R>"),
    ("final_answer", "Final Answer: The final answer is (<R>). I hope it is correct."),
    ("final_answer_box", "Therefore, the final answer is: $\\boxed{<R>}$. I hope it is correct."),
    ("hash", "#### <R>"),
    ("tags", "<think>Let me see.</think>\n<answer><R></answer>"),
    ("after_thought", "<think>Perhaps it is <W>. The answer is <W>.</think>\nThe answer is <R>."),
    ("because", "The answer is <R>, because the others contradict the question."),
    ("not_other", "The answer is <R>, not <W>."),
    ("excluded", "<W> is wrong. The answer is <R>."),
    ("cannot_be", "The answer is <R>, it cannot be <W>."),
    ("chinese", "\u{7b54}\u{6848}\u{662f} <R>\u{3002}"),
    (
        "long",
        "Let us go through the options one by one.\n\n<W> does not fit the description.\n\nTherefore, the answer is <R>.",
    ),
];

/// Responses that choose by the text `<T>`, with or without the letter.
const CHOICE_TEXT_DRESSES: [(&str, &str); 14] = [
    ("text_bare", "<T>"),
    ("text_box", "\\boxed{\\text{<T>}}"),
    ("text_answer_is", "The answer is <T>."),
    ("text_answer_colon", "Answer: <T>"),
    ("text_bold", "**Answer: <T>**"),
    ("letter_text_period", "<R>. <T>"),
    ("letter_text_parenthesis", "<R>) <T>"),
    ("letter_text_parentheses", "(<R>) <T>"),
    ("letter_text_colon", "<R>: <T>"),
    ("letter_text_answer_is", "The answer is <R>. <T>"),
    ("letter_text_answer_is_parentheses", "The answer is (<R>) <T>."),
    ("letter_text_correct", "The correct answer is <R>: <T>"),
    ("letter_text_bold", "**<R>. <T>**"),
    ("letter_text_box", "\\boxed{\\text{<R>. <T>}}"),
];

/// Responses that give an open answer `<X>`.
pub const TEXT_DRESSES: [(&str, &str); 25] = [
    ("bare", "<X>"),
    ("period", "<X>."),
    ("quoted", "\"<X>\""),
    ("bold", "**<X>**"),
    ("italic", "*<X>*"),
    ("answer_is", "The answer is <X>."),
    ("answer_is_bold", "The answer is **<X>**."),
    ("answer_is_quoted", "The answer is \"<X>\"."),
    ("answer_colon", "Answer: <X>"),
    ("answer_bold", "**Answer: <X>**"),
    ("answer_bold_label", "**Answer:** <X>"),
    ("final_answer", "Final answer: <X>"),
    ("final_answer_is", "So the final answer is: <X>."),
    ("correct_answer", "The correct answer is <X>."),
    ("box", "\\boxed{<X>}"),
    ("box_text", "\\boxed{\\text{<X>}}"),
    ("box_hope", "Therefore, the final answer is: $\\boxed{\\text{<X>}}$. I hope it is correct."),
    ("hash", "#### <X>"),
    ("tags", "<think>Let me see.</think>\n<answer><X></answer>"),
    ("after_thought", "<think>Perhaps somebody else.</think>\n<X>"),
    ("it_is", "It is <X>."),
    ("it_was", "It was <X>."),
    ("explained", "Answer: <X>\nExplanation: this is well known."),
    ("spaced", "  <X>\n"),
    ("bold_subject", "**<X>** is the answer."),
];

/// Names and responses.
pub type Named = Vec<(String, String)>;

/// Probes of a choice question: altered responses, then lawful ones.
pub fn probes(gold: &Gold, dice: &mut Dice) -> (Named, Named) {
    let letter = gold.gold.trim().chars().next().filter(char::is_ascii_uppercase);
    let index = letter.map(|letter| usize::from(letter as u8 - b'A')).filter(|&index| index < gold.choices.len());
    let Some(index) = index.filter(|_| gold.gold.trim().len() == 1) else { return (Vec::new(), Vec::new()) };
    // A choice that is a letter itself could be meant by any letter.
    if gold
        .choices
        .iter()
        .any(|choice| choice.trim().len() == 1 && choice.trim().starts_with(|c: char| c.is_ascii_alphabetic()))
    {
        return (Vec::new(), Vec::new());
    }
    let altered = alter_words::choice(&gold.choices, index, dice);
    let others: Vec<usize> = (0..gold.choices.len()).filter(|&at| at != index).collect();
    let wrong = others.get(dice.below(others.len())).map_or('Z', |&at| (b'A' + u8::try_from(at).unwrap_or(25)) as char);
    let right = letter.unwrap_or('A').to_string();
    let mut lawful: Vec<(String, String)> = LETTER_DRESSES
        .iter()
        .map(|(name, template)| {
            (format!("dress/{name}"), template.replace("<R>", &right).replace("<W>", &wrong.to_string()))
        })
        .collect();
    let text = gold.choices[index].trim().trim_end_matches('.');
    let is_unique = gold.choices.iter().filter(|choice| choice.trim().trim_end_matches('.') == text).count() == 1;
    // "The answer is not pure." may deny another choice.
    if text.len() > 1
        && is_unique
        && !text.starts_with("not ")
        && !text.contains('\n')
        && text.contains(char::is_alphanumeric)
    {
        lawful.extend(
            CHOICE_TEXT_DRESSES.iter().map(|(name, template)| {
                (format!("dress/{name}"), template.replace("<R>", &right).replace("<T>", text))
            }),
        );
    }
    (altered.into_iter().map(|(name, text)| (format!("altered/{name}"), text)).collect(), lawful)
}

/// Alterations of a ratio.
pub fn ratio_alterations(parts: &[i128], dice: &mut Dice) -> Vec<Altered> {
    let write = |parts: &[i128]| parts.iter().map(i128::to_string).collect::<Vec<_>>().join(":");
    let proportional = |other: &[i128]| {
        other.len() == parts.len() && (1..parts.len()).all(|at| other[at] * parts[0] == other[0] * parts[at])
    };
    let mut tried: Vec<(&'static str, Vec<i128>)> = Vec::new();
    for at in 0..parts.len() {
        for _ in 0..4 {
            let mut other = parts.to_vec();
            other[at] += 1 + dice.below(9) as i128;
            tried.push(("element_changed", other));
        }
        let mut other = parts.to_vec();
        other[at] = -other[at];
        tried.push(("element_negated", other));
    }
    tried.push(("turned_over", parts.iter().rev().copied().collect()));
    tried.push(("element_added", [parts, &[7]].concat()));
    tried.retain(|(_, other)| !proportional(other));
    let mut found: Vec<Altered> = tried.into_iter().map(|(name, other)| (name, write(&other))).collect();
    found.push(("joined", parts.iter().map(i128::to_string).collect()));
    found
}

/// Other ways to write a ratio.
pub fn ratio_forms(parts: &[i128]) -> Vec<Typeset> {
    let digits: Vec<String> = parts.iter().map(i128::to_string).collect();
    vec![
        ("spaced", digits.join(" : ")),
        ("colon_command", digits.join("\\colon ")),
        ("text_colon", digits.join("\\text{:}")),
        ("to", digits.join(" \\text{ to } ")),
        ("braced_colon", digits.join("{:}")),
    ]
}

/// Alterations of a time of day.
pub fn time_alterations(hour: u32, minute: u32, half: &str) -> Vec<Altered> {
    let tail = if half.is_empty() { String::new() } else { format!(" {half}") };
    let mut found: Vec<Altered> =
        [(hour, minute + 1), (hour, minute + 10), (hour + 1, minute), (hour + 2, minute), (hour, minute + 13)]
            .into_iter()
            .filter(|(hour, minute)| *minute < 60 && *hour < 13)
            .map(|(hour, minute)| ("element_changed", format!("{hour}:{minute:02}{tail}")))
            .collect();
    if hour != minute && minute < 13 && minute > 0 {
        found.push(("order_swapped", format!("{minute}:{hour:02}{tail}")));
    }
    found.push(("joined", format!("{hour}{minute:02}")));
    found.push(("joined_by_point", format!("{hour}.{minute:02}")));
    found.push(("element_alone", hour.to_string()));
    match half.to_lowercase().chars().next() {
        Some('a') => found.push(("half_exchanged", format!("{hour}:{minute:02} pm"))),
        Some('p') => found.push(("half_exchanged", format!("{hour}:{minute:02} am"))),
        _ => {}
    }
    found
}

/// Other ways to write a time of day.
pub fn time_forms(hour: u32, minute: u32, half: &str) -> Vec<Typeset> {
    let clock = format!("{hour}:{minute:02}");
    let dotted = match half.to_lowercase().chars().next() {
        Some('p') => "p.m.",
        _ => "a.m.",
    };
    let mut found = vec![("braced_colon", format!("{hour}{{:}}{minute:02}"))];
    if half.is_empty() {
        found.push(("half_added", format!("{clock} a.m.")));
        found.push(("half_added", format!("{clock}\\text{{ a.m.}}")));
    } else {
        found.push(("half_dotted", format!("{clock}\\text{{ {dotted}}}")));
        found.push(("half_text", format!("{clock}\\text{{ {half}}}")));
        found.push(("half_upper", format!("{clock}\\text{{ {}}}", half.to_uppercase())));
        found.push(("half_close", format!("{clock}{half}")));
    }
    found
}

/// Alterations of digits in a base.
pub fn based_alterations(digits: &str, base: u32, dice: &mut Dice) -> Vec<Altered> {
    let mut found: Vec<Altered> = Vec::new();
    for (at, c) in digits.char_indices().take(6) {
        let old = c.to_digit(base).unwrap_or(0);
        let new = (old + 1 + u32::try_from(dice.below(base as usize - 1)).unwrap_or(0)) % base;
        if let Some(new) = char::from_digit(new, base).filter(|new| *new != c.to_ascii_lowercase()) {
            found.push((
                "digit_changed",
                format!("{}{}{}_{{{base}}}", &digits[..at], new.to_ascii_uppercase(), &digits[at + 1..]),
            ));
        }
    }
    found.push(("digit_appended", format!("{digits}1_{{{base}}}")));
    if digits.len() > 1 {
        found.push(("digit_dropped", format!("{}_{{{base}}}", &digits[1..])));
        for other in [base + 1, base + 2, base + 5] {
            found.push(("base_changed", format!("{digits}_{{{other}}}")));
        }
    }
    if !digits.trim_start_matches('0').is_empty() {
        found.push(("sign_flipped", format!("-{digits}_{{{base}}}")));
    }
    found.retain(|(_, text)| text.trim_start_matches('0') != format!("{digits}_{{{base}}}").trim_start_matches('0'));
    found
}

/// Other ways to write digits in a base.
pub fn based_forms(digits: &str, base: u32) -> Vec<Typeset> {
    vec![
        ("index_braced", format!("{digits}_{{{base}}}")),
        ("index_plain", format!("{digits}_{base}")),
        ("parentheses", format!("({digits})_{{{base}}}")),
        ("index_text", format!("{digits}_{{\\text{{{base}}}}}")),
    ]
}

/// Alterations of a letter that names a choice.
pub fn letter_alterations(letter: char) -> Vec<Altered> {
    let others = ('A'..='F').filter(|other| *other != letter);
    let mut found: Vec<Altered> =
        others.clone().map(|other| ("other_letter", format!("\\text{{({other})}}"))).collect();
    found.extend(others.clone().map(|other| ("other_letter", format!("\\text{{{other}}}"))));
    found.extend(others.map(|other| ("several", format!("\\text{{{letter}, {other}}}"))));
    found
}

/// Other ways to write a letter that names a choice.
pub fn letter_forms(letter: char) -> Vec<Typeset> {
    vec![
        ("letter", letter.to_string()),
        ("letter_text", format!("\\text{{{letter}}}")),
        ("letter_parentheses", format!("({letter})")),
        ("letter_textbf", format!("\\textbf{{({letter})}}")),
        ("letter_text_parentheses", format!("\\text{{({letter})}}")),
        ("letter_mathrm", format!("\\mathrm{{{letter}}}")),
        ("letter_textbf_bare", format!("\\textbf{{{letter}}}")),
    ]
}

/// Whole responses that give words.
pub fn word_responses(words: &str) -> Vec<Typeset> {
    vec![
        ("words_sentence", format!("The answer is {words}.")),
        ("words_quoted", format!("The answer is \"{words}\".")),
        ("words_bold", format!("**Answer: {words}**")),
        ("words_bold_alone", format!("**{words}**")),
        ("words_colon", format!("Answer: {words}")),
        ("words_hash", format!("#### {words}")),
        ("words_box_bare", format!("\\boxed{{{words}}}")),
    ]
}
