//! Whole responses that do not give the gold: denials, bounds, other quantities, other choices, repetitions of the
//! question.

use super::alter_value::Altered;
use super::exact::Dice;

/// Sentences around a gold `x` and another value `w` whose answer is not `x`.
const SENTENCES: [(&str, &str); 132] = [
    ("denied", "The answer is not <X>."),
    ("denied", "The answer is definitely not <X>."),
    ("denied", "It is not <X>."),
    ("denied", "The answer isn't <X>."),
    ("denied", "The answer cannot be <X>."),
    ("denied", "The result is never <X>."),
    ("denied", "<X> is not the answer."),
    ("denied", "<X> is wrong."),
    ("denied", "We can rule out <X>."),
    ("denied", "<X> is too small."),
    ("denied", "I would not say that the answer is <X>."),
    ("bounded", "The answer is at most <X>."),
    ("bounded", "The answer is at least <X>."),
    ("bounded", "The answer is less than <X>."),
    ("bounded", "The answer is more than <X>."),
    ("bounded", "The answer is greater than <X>."),
    ("bounded", "The answer is no more than <X>."),
    ("bounded", "The answer must be below <X>."),
    ("bounded", "The answer lies between <W> and <X>."),
    ("bounded", "The answer is somewhere from <W> to <X>."),
    ("bounded", "So the total is under <X>."),
    ("bounded", "**Answer:** at most <X>"),
    ("other_named", "The answer is <W>, not <X>."),
    ("other_named", "The answer is <W> (not <X>)."),
    ("other_named", "The answer is <W> instead of <X>."),
    ("other_named", "The answer is <W> rather than <X>."),
    ("other_named", "The answer is $<W>$ for $n = <X>$."),
    ("other_named", "The answer is <W> when $k = <X>$."),
    ("other_named", "The answer is <W> apples for <X> people."),
    ("other_named", "**Answer:** <W> (after subtracting <X>)"),
    ("other_named", "I first thought that the answer is <X>. Actually the answer is <W>."),
    ("other_named", "The answer is <X>? No, that misses a case. The answer is <W>."),
    ("other_named", "The answer is <W> because <X> is too large."),
    ("other_named", "First \\boxed{<X>}. But that is wrong, so \\boxed{<W>}"),
    ("other_named", "<think>So it is <X>. \\boxed{<X>}</think>\nThe answer is \\boxed{<W>}."),
    ("other_named", "**Answer:** <W> meters (about <X> feet)"),
    ("other_named", "The final answer is <W> (since <X> fails)."),
    ("other_named", "Final Answer: The smallest $n$ above $<X>$ is $<W>$."),
    ("other_named", "**Total: <W>**\n\nThat is more than the <X> of the first part."),
    ("other_named", "The value of $<X>x$ is $<W>$."),
    ("denied", "The answer can't possibly be <X>."),
    ("denied", "<X> is incorrect."),
    ("denied", "<X> doesn't work."),
    ("denied", "<X> is not correct."),
    ("denied", "The answer is anything but <X>."),
    ("denied", "The answer is a number other than <X>."),
    ("denied", "It is impossible for the answer to be <X>."),
    ("denied", "The result differs from <X>."),
    ("denied", "We can exclude <X>."),
    ("denied", "The answer is no longer <X>."),
    ("denied", "I doubt that the answer is <X>."),
    ("denied", "The answer would be <X> only if we ignored the first step."),
    ("bounded", "The answer exceeds <X>."),
    ("bounded", "The answer is <X> or more."),
    ("bounded", "The answer is <X> or fewer."),
    ("bounded", "The answer is up to <X>."),
    ("bounded", "The answer is no fewer than <X>."),
    ("bounded", "The answer is above <X>."),
    ("bounded", "The answer is smaller than <X>."),
    ("bounded", "The answer ranges from <W> to <X>."),
    ("bounded", "The answer is anywhere between <X> and <W>."),
    ("bounded", "Answer: > <X>"),
    ("bounded", "Answer: under <X>"),
    ("bounded", "The total is over <X>."),
    ("bounded", "#### more than <X>"),
    ("bounded", "\\boxed{\\text{at most } <X>}"),
    ("bounded", "\\boxed{\\text{more than } <X>}"),
    ("worked_on", "The answer is one more than <X>."),
    ("worked_on", "The answer is twice <X>."),
    ("worked_on", "The answer is half of <X>."),
    ("worked_on", "The answer is <X> squared."),
    ("worked_on", "The answer is the square root of <X>."),
    ("worked_on", "The answer is <X> times 3."),
    ("worked_on", "The answer is <X> divided by 7."),
    ("worked_on", "The answer is <X> plus 2."),
    ("worked_on", "The answer is 2 less than <X>."),
    ("worked_on", "The answer is negative <X>."),
    ("worked_on", "The answer is 7 out of <X>."),
    ("worked_on", "The answer is $<X>$ to the third power."),
    ("worked_on", "The answer is <X> dozen."),
    ("worked_on", "The answer is <X> million."),
    ("worked_on", "\\boxed{<X> \\text{ million}}"),
    ("worked_on", "\\boxed{<X> \\text{ and a half}}"),
    ("worked_on", "\\boxed{\\text{twice } <X>}"),
    ("two_quantities", "She will be <W> years old in <X> years."),
    ("two_quantities", "It takes <W> days with <X> workers."),
    ("two_quantities", "Therefore, <W> of the <X> marbles are red."),
    ("two_quantities", "There are <W> groups of <X>."),
    ("two_quantities", "The score is <X>-<W>."),
    ("two_quantities", "Chapter <X> has <W> pages."),
    ("two_quantities", "On day <X> there are <W> left."),
    ("two_quantities", "The <X>th term is <W>."),
    ("two_quantities", "(a) <X>\n(b) <W>"),
    ("two_quantities", "x = <X>, y = <W>"),
    ("two_quantities", "If n is even, the answer is <X>; otherwise it is <W>."),
    ("two_quantities", "The answer is <X> if n is even and <W> if n is odd."),
    ("two_quantities", "The first answer is <X>, the second is <W>."),
    ("two_quantities", "So the ratio is <X>:<W>."),
    ("two_quantities", "The answer is <W> per <X>."),
    ("two_quantities", "The answer is <W> when rounded from <X>."),
    ("two_quantities", "The answer is between the <X>th and the <W>th term."),
    ("taken_back", "The answer is <X>. Wait, no: it is <W>."),
    ("taken_back", "**Answer: <X>**\n\nCorrection: the answer is <W>."),
    ("taken_back", "Is it <X>? No."),
    ("taken_back", "You asked whether the answer is <X>. It is not."),
    ("taken_back", "Some might say <X>, but the answer is <W>."),
    ("taken_back", "A common mistake is to answer <X>. The answer is <W>."),
    ("taken_back", "Tom claims that the answer is <X>. He is wrong: it is <W>."),
    ("taken_back", "The answer is <X>. Hmm, that cannot be right, since one case is missing. So the answer is <W>."),
    ("taken_back", "At first glance the answer seems to be <X>. But the correct answer is <W>."),
    ("taken_back", "The answer is <X>, or so one might think; it is actually <W>."),
    ("boxed_other", "\\boxed{\\text{not } <X>}"),
    ("boxed_other", "\\boxed{<X> \\text{ or } <W>}"),
    ("boxed_other", "\\boxed{\\text{either } <X> \\text{ or } <W>}"),
    ("boxed_other", "\\boxed{<X>\\text{ to }<W>}"),
    ("boxed_other", "\\boxed{<X> \\pm 1}"),
    ("boxed_other", "\\boxed{<X> : <W>}"),
    ("boxed_other", "\\boxed{f(<X>)}"),
    ("boxed_other", "\\boxed{<X> \\cdot <W>}"),
    ("boxed_other", "\\boxed{<X> \\times 10^3}"),
    ("boxed_other", "\\boxed{\\overline{<X><W>}}"),
    ("boxed_other", "\\boxed{<W>, \\text{ not } <X>}"),
    ("boxed_other", "\\boxed{\\infty}"),
    ("boxed_other", "\\boxed{<X>\\text{ or more}}"),
    ("boxed_other", "\\boxed{\\text{about } <W>, \\text{ not } <X>}"),
    ("boxed_other", "\\boxed{<X>}\\text{ is wrong; } \\boxed{<W>}"),
    ("boxed_other", "\\boxed{\\text{No solution, } <X> \\text{ is extraneous}}"),
    ("several", "The answer is <W> or <X>."),
    ("several", "The answer is either <X> or <W>."),
    ("several", "The answers are <W> and <X>."),
    ("several", "The possible values are $<W>$ and $<X>$."),
    ("several", "The answer could be <X> or <W>."),
];

/// Places in formulas, words and references that hold the digits of a whole number above two.
const BURIED: [(&str, &str); 14] = [
    ("buried", "so we get \\frac{<X>}{<P>}"),
    ("buried", "so we get \\sqrt{<X>}"),
    ("buried", "The area is <X>\\pi"),
    ("buried", "so the side is <P>\u{221a}<X> cm"),
    ("buried", "so the result is 2^<X>"),
    ("buried", "so the result is x^{<X>}"),
    ("buried", "That makes <X>!"),
    ("buried", "See equation (<X>)."),
    ("buried", "The code is K<X>"),
    ("buried", "as ISO<X> says"),
    ("buried", "It is <X> and a half."),
    ("buried", "It is minus <X>."),
    ("buried", "It costs <X>k dollars"),
    ("buried", "we find a_<X>"),
];

/// Responses without any answer.
const EMPTY: [(&str, &str); 5] = [
    ("no_answer", ""),
    ("no_answer", "\\boxed{}"),
    ("no_answer", "\\boxed{?}"),
    ("no_answer", "I cannot answer this question."),
    ("no_answer", "The answer is"),
];

/// Whole responses that do not give `x`; `other` is a different value.
pub fn sentences(x: &str, other: &str) -> Vec<Altered> {
    let fill = |template: &str| template.replace("<X>", x).replace("<W>", other);
    SENTENCES.iter().chain(&EMPTY).map(|(name, template)| (*name, fill(template))).collect()
}

/// Responses that hold the digits of a whole number inside something else.
pub fn buried(number: i128, dice: &mut Dice) -> Vec<Altered> {
    if !(3..=999).contains(&number) {
        return Vec::new();
    }
    let prime = [7, 11, 13, 17].into_iter().find(|prime| number % prime != 0).unwrap_or(19);
    let skip = dice.below(2);
    BURIED
        .iter()
        .skip(skip)
        .map(|(name, template)| {
            (*name, template.replace("<X>", &number.to_string()).replace("<P>", &prime.to_string()))
        })
        .collect()
}

/// Other words than those of the gold.
pub fn words(gold: &str) -> Vec<Altered> {
    let other = ["even", "purple", "Ludmilla", "west"]
        .into_iter()
        .find(|other| !gold.to_lowercase().contains(&other.to_lowercase()))
        .unwrap_or("none");
    let mut found: Vec<Altered> = vec![
        ("other_words", format!("\\text{{{other}}}")),
        ("denied", format!("\\text{{not {gold}}}")),
        ("several", format!("\\text{{{gold}, {other}}}")),
        ("several", format!("\\text{{{gold} or {other}}}")),
        ("words_joined", format!("\\text{{{gold}{other}}}")),
        ("digit_for_words", "0".to_owned()),
        ("digit_for_words", "7".to_owned()),
        ("other_words", format!("\\text{{{}}}", gold.chars().rev().collect::<String>())),
        ("letter_dropped", format!("\\text{{{}}}", gold.chars().skip(1).collect::<String>())),
        ("words_repeated", format!("\\text{{{gold} {other}}}")),
    ];
    found.retain(|(_, text)| {
        text.trim_start_matches("\\text{").trim_end_matches('}').to_lowercase() != gold.to_lowercase()
    });
    found
}

/// Verbs that tell to transform the formula that follows.
const VERBS: [&str; 10] =
    ["Factor", "Expand", "Simplify", "Evaluate", "Compute", "Rationalize", "Convert", "Express", "Write", "Multiply"];

/// Gives the task back: the formula that the question tells to transform, where the gold is another text.
pub fn restated(question: &str, gold: &str) -> Option<Altered> {
    let question = question.trim();
    let verb = VERBS.iter().find(|verb| question.starts_with(*verb))?;
    if matches!(*verb, "Express" | "Write") && !question.contains(" as ") {
        return None;
    }
    let start = question.find('$')?;
    if start > verb.len() + 30 || question.get(..start)?.contains(['.', ',']) {
        return None;
    }
    let (span, _) = question.get(start + 1..)?.trim_start_matches('$').split_once('$')?;
    let span = span.trim().trim_end_matches(['.', ',']);
    let operates = [
        "+", "-", "\\cdot", "\\times", "^", "\\sqrt", "\\sin", "\\cos", "\\tan", "\\log", "\\binom", "\\div", "!",
        "\\lfloor", "\\lceil",
    ];
    let is_formula = operates.iter().any(|sign| span.trim_start_matches('-').contains(sign));
    let is_relation =
        ["=", "<", ">", "\\le", "\\ge", ",", "^\\circ", "^{\\circ}", "\\%"].iter().any(|sign| span.contains(sign));
    let bare = |text: &str| {
        let mut text =
            text.replace("\\left", "").replace("\\right", "").replace("dfrac", "frac").replace("tfrac", "frac");
        text.retain(|c| !c.is_whitespace() && c != '{' && c != '}' && c != '$');
        text
    };
    (is_formula && !is_relation && bare(span) != bare(gold)).then(|| ("task_given_back", span.to_owned()))
}

/// Denials of the right letter `<R>`.
const LETTERS_DENIED: [(&str, &str); 17] = [
    ("denied", "Option <R> is incorrect."),
    ("denied", "<R> is not the answer."),
    ("denied", "It can't be <R>."),
    ("denied", "(<R>) can be eliminated."),
    ("denied", "The answer is not <R>."),
    ("denied", "All except <R> are correct."),
    ("denied", "We can rule out <R>."),
    ("denied", "<R> is wrong."),
    ("denied", "I would not choose <R>."),
    ("denied", "The correct answer is definitely not (<R>)."),
    ("denied", "Anything but <R>."),
    ("denied", "<R> doesn't fit."),
    ("denied", "It's not <R>."),
    ("denied", "I doubt that it is <R>."),
    ("denied", "Option <R> contradicts the question."),
    ("denied", "<R> is a distractor."),
    ("denied", "The answer would be <R> only if the question asked for the opposite."),
];

/// Responses that choose a wrong letter `<W>`, or several.
const LETTERS_OTHER: [(&str, &str); 17] = [
    ("other_letter", "\\boxed{<W>}"),
    ("other_letter", "The answer is <W>."),
    ("other_letter", "The correct answer is (<W>)."),
    ("other_letter", "**Answer: <W>**"),
    ("other_letter", "<W>"),
    ("other_letter", "I considered <R>, but the answer is <W>."),
    ("other_letter", "The answer is <W>, not <R>."),
    ("other_letter", "<R> is tempting. The answer is <W>."),
    ("other_letter", "<think>It looks like <R>. The answer is <R>.</think>\nThe answer is <W>."),
    ("other_letter", "<R> is not correct; <W> is."),
    ("several", "The answer is <R> or <W>."),
    ("several", "\\boxed{<R>, <W>}"),
    ("several", "Both <R> and <W> are correct."),
    ("several", "It is between <R> and <W>."),
    ("denied", "The answer is neither <R> nor <W>."),
    ("other_letter", "At first <R> looks right, but <W> fits better. So I choose <W>."),
    ("other_letter", "<R> describes the opposite, hence <W>."),
];

/// Responses that give the wrong text `<V>`, alone or beside the right letter, or the right text `<T>` beside a wrong letter.
const TEXTS_OTHER: [(&str, &str); 10] = [
    ("other_text", "\\boxed{\\text{<V>}}"),
    ("other_text", "The answer is <V>."),
    ("other_text", "<W>. <V>"),
    ("contradiction", "The answer is <R>. <V>"),
    ("contradiction", "The answer is (<R>) <V>."),
    ("contradiction", "<R>) <V>"),
    ("contradiction", "The answer is <W>. <T>"),
    ("contradiction", "The answer is (<W>) <T>."),
    ("contradiction", "\\boxed{\\text{<W>) <T>}}"),
    ("several", "<T> or <V>"),
];

/// Responses to a choice question that do not choose the gold. `gold` is its index.
pub fn choice(choices: &[String], gold: usize, dice: &mut Dice) -> Vec<Altered> {
    let letter = |index: usize| (b'A' + u8::try_from(index).unwrap_or(0)) as char;
    let right = letter(gold);
    let mut found: Vec<Altered> = vec![
        ("other_letter", format!("\\boxed{{{}}}", letter(choices.len()))),
        ("no_answer", "I do not know.".to_owned()),
        ("no_answer", "\\boxed{}".to_owned()),
    ];
    for (name, template) in LETTERS_DENIED {
        found.push((name, template.replace("<R>", &right.to_string())));
    }
    let text = choices[gold].trim().trim_end_matches('.');
    let others: Vec<usize> =
        (0..choices.len()).filter(|&at| at != gold && overlaps(&choices[at], text).is_none()).collect();
    if others.is_empty() {
        return found;
    }
    let at = others[dice.below(others.len())];
    let (wrong, wrong_text) = (letter(at), choices[at].trim().trim_end_matches('.'));
    for (name, template) in LETTERS_OTHER {
        found.push((name, template.replace("<R>", &right.to_string()).replace("<W>", &wrong.to_string())));
    }
    for (name, template) in TEXTS_OTHER {
        // Texts that hold an "or" themselves would read as one.
        if name == "several" && (text.contains(" or ") || wrong_text.contains(" or ")) {
            continue;
        }
        let filled = template.replace("<R>", &right.to_string()).replace("<W>", &wrong.to_string());
        found.push((name, filled.replace("<V>", wrong_text).replace("<T>", text)));
    }
    if text.len() > 4 {
        found.push(("denied", format!("The answer is not {text}.")));
        found.push(("denied", format!("{text} is not the right answer.")));
    }
    found
}

/// Returns a shared text where one choice holds the other, so that naming one may name both.
fn overlaps<'a>(one: &'a str, other: &'a str) -> Option<&'a str> {
    let (one, other) = (one.trim().trim_end_matches('.'), other.trim().trim_end_matches('.'));
    let (a, b) = (one.to_lowercase(), other.to_lowercase());
    if a.contains(&b) || b.contains(&a) { Some(one) } else { None }
}

/// Responses to an open question that do not give the gold.
pub fn text(gold: &str) -> Vec<Altered> {
    let other = if gold.contains("Paris") { "London" } else { "Paris" };
    let mut found: Vec<Altered> = Vec::new();
    for (name, template) in [
        ("other_text", "<W>"),
        ("other_text", "The answer is <W>."),
        ("other_text", "**<W>**"),
        ("other_text", "\\boxed{\\text{<W>}}"),
        ("other_text", "<W>, not <X>"),
        ("several", "<X>, <W>"),
        ("several", "<X> or <W>"),
        ("several", "<X>, or maybe <W>"),
        ("several", "Either <W> or <X>"),
        ("several", "The answer is <X> or <W>."),
        ("denied", "Not <X>"),
        ("denied", "It is not <X>."),
        ("denied", "The answer is not <X>."),
        ("denied", "It isn't <X>."),
        ("denied", "Anything but <X>"),
        ("denied", "The answer is definitely not <X>."),
        ("denied", "I doubt that it is <X>."),
        ("other_text", "The answer is <W>, not <X>."),
        ("other_text", "I first thought of <X>, but the answer is <W>."),
        ("no_answer", ""),
        ("no_answer", "I do not know."),
    ] {
        found.push((name, template.replace("<X>", gold).replace("<W>", other)));
    }
    found
}
