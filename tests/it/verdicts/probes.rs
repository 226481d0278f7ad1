//! Combines alterations and typesettings to probes: responses with their expected verdicts.

use std::collections::BTreeSet;

use thinkloom::domain::Kind;

use super::alter_parts::{self, Row};
use super::alter_value::{self, Altered};
use super::choices::{self, Named};
use super::dresses::{DRESSES, Needs};
use super::exact::{Dice, Rat};
use super::golds::Gold;
use super::lawful::{self, Typeset};
use super::shape::{self, Affix, Shape};
use super::{alter_words, rare};

/// A response, and whether it gives the gold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// The alteration or typesetting: `altered/digit_changed`, `form/dfrac`, `dress/box`.
    pub name: String,
    pub response: String,
    pub expected: bool,
}

/// Most altered and most lawful responses for one gold.
const EACH_MAX: usize = 96;

/// Responses around an altered answer.
const ALTERED_DRESSES: [&str; 8] = [
    "\\boxed{<X>}",
    "The answer is $<X>$.",
    "**Answer:** $<X>$",
    "We add everything up.\n#### <X>",
    "Combining both parts, we find\n\n$<X>$",
    "Therefore, the final answer is: $\\boxed{<X>}$. I hope it is correct.",
    "Let me think. The first part gives 3 cases.\n\\[ \\boxed{<X>} \\]",
    "Final Answer: The final answer is $<X>$. I hope it is correct.",
];

/// All probes of one gold, without repetitions.
pub fn of(gold: &Gold) -> Vec<Probe> {
    let mut dice = Dice::of(&format!("{}/{}/{}", gold.set, gold.gold, gold.question));
    let (altered, lawful) = match gold.kind {
        Kind::Choice => choices::probes(gold, &mut dice),
        Kind::Text => text(gold),
        _ => formula(gold, &mut dice),
    };
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for (expected, probes) in [(false, altered), (true, lawful)] {
        let mut fresh: Vec<Probe> = probes
            .into_iter()
            .filter(|(_, response)| seen.insert(response.clone()))
            .map(|(name, response)| Probe { name, response, expected })
            .collect();
        while fresh.len() > EACH_MAX {
            fresh.swap_remove(dice.below(fresh.len()));
        }
        found.extend(fresh);
    }
    found
}

fn text(gold: &Gold) -> (Named, Named) {
    let altered =
        alter_words::text(&gold.gold).into_iter().map(|(name, text)| (format!("altered/{name}"), text)).collect();
    let lawful = choices::TEXT_DRESSES
        .iter()
        .map(|(name, template)| (format!("dress/{name}"), template.replace("<X>", &gold.gold)))
        .collect();
    (altered, lawful)
}

/// The gold's own text, without the dollar signs around it.
fn own_text(gold: &str) -> String {
    let text = gold.trim();
    let inner = text.strip_prefix('$').and_then(|rest| rest.strip_suffix('$')).filter(|inner| !inner.contains('$'));
    inner.unwrap_or(text).trim().trim_end_matches('.').replace('\n', " ")
}

fn formula(gold: &Gold, dice: &mut Dice) -> (Named, Named) {
    let shape = shape::read(&gold.gold, &gold.question);
    let own = own_text(&gold.gold);
    let other = another(&shape, dice);
    let mut altered: Named = Vec::new();
    for (name, text) in alterations(&shape, &gold.question, dice) {
        let first = dice.below(2) * 5;
        let second = ALTERED_DRESSES[1 + dice.below(ALTERED_DRESSES.len() - 1)];
        for dress in [ALTERED_DRESSES[first], second] {
            altered.push((format!("altered/{name}"), dress.replace("<X>", &text)));
        }
    }
    altered.extend(
        whole_alterations(&shape, &own, &other, gold, dice)
            .into_iter()
            .map(|(name, text)| (format!("altered/{name}"), text)),
    );
    let is_number = matches!(shape, Shape::Number(..));
    let is_plain = own.chars().all(|c| c.is_alphanumeric() || matches!(c, ' ' | ',' | '.' | '-' | '/' | '(' | ')'));
    let mut lawful: Named = Vec::new();
    for (name, template, needs) in DRESSES {
        let fits = match needs {
            Needs::Nothing => true,
            Needs::Plain => is_plain && !template.contains("<W>"),
            Needs::Number => is_number && is_plain,
            Needs::Other => is_number,
            Needs::Bare => matches!(&shape, Shape::Number(number, Affix::None) if number.value.top > 0) && is_plain,
        };
        if fits {
            lawful.push((format!("dress/{name}"), template.replace("<X>", &own).replace("<W>", &other)));
        }
    }
    if let Some(solution) = solution(gold, &own) {
        lawful.push(("dress/worked_solution".to_owned(), solution));
    }
    let (forms, responses) = typesettings(&shape, &gold.question);
    for (name, text) in forms {
        let second = [
            "The answer is $<X>$.",
            "$$\\boxed{<X>}$$",
            "**Answer:** $<X>$",
            "Therefore, the final answer is: $\\boxed{<X>}$. I hope it is correct.",
        ][dice.below(4)];
        // A formula over several lines belongs into a box.
        let second = if text.contains('\n') { "$$\\boxed{<X>}$$" } else { second };
        for dress in ["\\boxed{<X>}", second] {
            lawful.push((format!("form/{name}"), dress.replace("<X>", &text)));
        }
    }
    lawful.extend(responses.into_iter().map(|(name, text)| (format!("form/{name}"), text)));
    (altered, lawful)
}

/// The published solution, if it ends with the gold as it stands here.
fn solution(gold: &Gold, own: &str) -> Option<String> {
    let text = gold.solution.trim();
    let fits = text.ends_with(&format!("#### {own}"))
        || text.matches("\\boxed{").count() == 1 && text.contains(&format!("\\boxed{{{own}}}"));
    fits.then(|| text.to_owned())
}

/// The published solution with another value at its end.
fn solution_altered(gold: &Gold, own: &str, other: &str) -> Option<String> {
    let text = solution(gold, own)?;
    let (boxed, hash) = (format!("\\boxed{{{own}}}"), format!("#### {own}"));
    let other_boxed = format!("\\boxed{{{other}}}");
    Some(if text.contains(&boxed) {
        text.replace(&boxed, &other_boxed)
    } else {
        text.replace(&hash, &format!("#### {other}"))
    })
}

/// Another value of the gold's kind, for sentences that name and reject it.
fn another(shape: &Shape, dice: &mut Dice) -> String {
    match shape {
        Shape::Number(number, affix) => {
            let affix =
                if matches!(affix, Affix::Money | Affix::Percent | Affix::Degrees) { affix } else { &Affix::None };
            alter_value::dress(&alter_value::neighbour(number.value, dice).latex(), affix)
        }
        Shape::Words(_) => "\\text{purple}".to_owned(),
        _ => format!("{}", 1009 + dice.below(90)),
    }
}

fn alterations(shape: &Shape, question: &str, dice: &mut Dice) -> Vec<Altered> {
    match shape {
        Shape::Number(number, affix) => alter_value::number(number, affix, dice),
        Shape::Formula(text) => alter_parts::formula(text, dice),
        Shape::FormulaWithUnit(text, affix) => alter_parts::formula_with_unit(text, affix, dice),
        Shape::List(parts) => alter_parts::row(parts, Row::List, question, dice),
        Shape::Set(parts) => alter_parts::row(parts, Row::Set, question, dice),
        Shape::Tuple(parts) => alter_parts::row(parts, Row::Tuple, question, dice),
        Shape::Union(parts) => alter_parts::union(parts, dice),
        Shape::Equation(left, right) => alter_parts::equation(left, right, dice),
        Shape::Named(pairs) => alter_parts::named(pairs, dice),
        Shape::Matrix(rows) => alter_parts::matrix(rows, dice),
        Shape::Ratio(parts) => choices::ratio_alterations(parts, dice),
        Shape::Time(hour, minute, half) => choices::time_alterations(*hour, *minute, half),
        Shape::Based(digits, base) => choices::based_alterations(digits, *base, dice),
        Shape::Points(points) => rare::points_altered(points, dice),
        Shape::Groups(parts) => rare::groups_altered(parts, dice),
        Shape::Chain(parts) => rare::chain_altered(parts, dice),
        Shape::Temperature(value, scale) => rare::temperature_altered(*value, *scale, dice),
        Shape::PlusMinus(centre, distance) => rare::plus_minus_altered(centre, distance, dice),
        Shape::Power(base, exponent) => rare::power_altered(*base, *exponent),
        Shape::Letter(letter) => choices::letter_alterations(*letter),
        Shape::Words(words) => alter_words::words(words),
        Shape::Opaque => Vec::new(),
    }
}

fn whole_alterations(shape: &Shape, own: &str, other: &str, gold: &Gold, dice: &mut Dice) -> Vec<Altered> {
    let plain =
        |text: &str| text.chars().all(|c| c.is_alphanumeric() || matches!(c, ' ' | '.' | '-' | ',' | '%' | '/'));
    let wrap = |text: &str| if plain(text) { text.to_owned() } else { format!("${text}$") };
    let is_number = matches!(shape, Shape::Number(..));
    // Doubling nothing, or squaring one, would change nothing.
    let is_large =
        matches!(shape, Shape::Number(number, Affix::None) if number.value.top > 1 && number.value.is_whole());
    let mut found: Vec<Altered> = Vec::new();
    let templates = alter_words::sentences("<X>", "<W>");
    for (name, template) in templates {
        let numeric_only = matches!(name, "bounded" | "worked_on" | "two_quantities" | "boxed_other")
            || ["apples", "$n", "$k", "too ", "subtracting", "meters", "first part", ">x$"]
                .iter()
                .any(|word| template.contains(word));
        if numeric_only && !is_number || matches!(name, "worked_on" | "boxed_other" | "two_quantities") && !is_large {
            continue;
        }
        // Where the question counts in dozens, so does the answer.
        if ["dozen", "million"].iter().any(|word| template.contains(word) && gold.question.contains(word)) {
            continue;
        }
        // A list or a tuple beside another value may still be read as a longer list: keep to plain denials.
        if name == "several" && !is_number {
            continue;
        }
        let raw = template.contains("\\boxed")
            || template.contains("$<X>$")
            || template.contains("= <X>")
            || template.contains("{<X>}");
        let (x, w) = if raw { (own.to_owned(), other.to_owned()) } else { (wrap(own), wrap(other)) };
        found.push((name, template.replace("<X>", &x).replace("<W>", &w)));
    }
    found.extend(solution_altered(gold, own, other).map(|text| ("worked_solution", text)));
    if let Shape::Number(number, Affix::None) = shape
        && number.value.is_whole()
    {
        found.extend(alter_words::buried(number.value.top, dice));
    }
    if gold.kind == Kind::Math
        && let Some((name, span)) = alter_words::restated(&gold.question, &gold.gold)
    {
        found.push((name, format!("\\boxed{{{span}}}")));
        found.push((name, format!("The answer is ${span}$.")));
        found.push((name, format!("Therefore, the final answer is: $\\boxed{{{span}}}$. I hope it is correct.")));
    }
    found
}

/// Other ways to write the gold, and whole responses that give it.
fn typesettings(shape: &Shape, question: &str) -> (Vec<Typeset>, Vec<Typeset>) {
    match shape {
        Shape::Number(number, affix) => (lawful::number(number, affix), counted(number.value, affix, question)),
        Shape::Formula(text) => (lawful::formula(text), Vec::new()),
        Shape::FormulaWithUnit(text, affix) => {
            let mut forms: Vec<Typeset> = lawful::formula(text)
                .into_iter()
                .filter(|(name, _)| {
                    !matches!(*name, "with_decimal" | "with_decimal_about" | "floating_point" | "sized")
                })
                .map(|(name, text)| (name, alter_value::dress(&text, affix)))
                .collect();
            forms.push(("unit_missing", text.clone()));
            (forms, Vec::new())
        }
        Shape::List(parts) => (lawful::list(parts, question), lawful::list_responses(parts)),
        Shape::Set(parts) => (lawful::set(parts), Vec::new()),
        Shape::Tuple(parts) => (lawful::tuple(parts), Vec::new()),
        Shape::Union(parts) => (lawful::union(parts), Vec::new()),
        Shape::Equation(left, right) => (lawful::equation(left, right), Vec::new()),
        Shape::Named(pairs) => (lawful::named(pairs), Vec::new()),
        Shape::Matrix(rows) => (lawful::matrix(rows), Vec::new()),
        Shape::Ratio(parts) => (choices::ratio_forms(parts), Vec::new()),
        Shape::Time(hour, minute, half) => (choices::time_forms(*hour, *minute, half), Vec::new()),
        Shape::Based(digits, base) => (choices::based_forms(digits, *base), Vec::new()),
        Shape::Points(points) => (rare::points_forms(points, question), Vec::new()),
        Shape::Groups(parts) => (rare::groups_forms(parts, question), Vec::new()),
        Shape::Chain(parts) => (rare::chain_forms(parts), Vec::new()),
        Shape::Temperature(value, scale) => (rare::temperature_forms(*value, *scale), Vec::new()),
        Shape::PlusMinus(centre, distance) => (rare::plus_minus_forms(centre, distance), Vec::new()),
        Shape::Power(base, exponent) => (rare::power_forms(*base, *exponent), Vec::new()),
        Shape::Letter(letter) => (choices::letter_forms(*letter), Vec::new()),
        Shape::Words(words) => (lawful::words(words), choices::word_responses(words)),
        Shape::Opaque => (Vec::new(), Vec::new()),
    }
}

/// A counted number with the noun that the question asks for, or with dollars.
fn counted(value: Rat, affix: &Affix, question: &str) -> Vec<Typeset> {
    if *affix != Affix::None {
        return Vec::new();
    }
    let text = value.to_decimal().unwrap_or_else(|| value.latex());
    let mut found: Vec<Typeset> = Vec::new();
    let lower = question.to_lowercase();
    let noun = lower.split("how many ").nth(1).and_then(|rest| rest.split(|c: char| !c.is_ascii_alphabetic()).next());
    let counts = noun.filter(|noun| {
        noun.len() > 3
            && noun.ends_with('s')
            && !matches!(*noun, "times" | "cents" | "dozens" | "hundreds" | "thousands")
    });
    if let Some(noun) = counts.filter(|_| !text.contains('\\')) {
        found.push(("noun_boxed", format!("\\boxed{{{text}\\text{{ {noun}}}}}")));
        found.push(("noun_boxed_spaced", format!("$\\boxed{{{text}\\ \\text{{{noun}}}}}$")));
        found.push(("noun_sentence", format!("The answer is {text} {noun}.")));
        found.push(("noun_bold", format!("**Answer:** {text} {noun}")));
        found.push(("noun_hash", format!("#### {text} {noun}")));
        found.push(("noun_bold_line", format!("So there are **{text} {noun}** in all.")));
    }
    let pays = question.contains("how much money")
        || question.contains("how much does")
        || question.contains("in dollars")
        || question.contains("how many dollars");
    if pays && question.contains('$') && value.top >= 0 && !text.contains('\\') {
        found.push(("dollars_sentence", format!("The answer is ${text}.")));
        found.push(("dollars_boxed", format!("\\boxed{{\\${text}}}")));
        found.push(("dollars_bold", format!("**Answer: ${text}**")));
        found.push(("dollars_hash", format!("#### ${text}")));
        found.push(("dollars_words", format!("The answer is {text} dollars.")));
        found.push(("dollars_hope", format!("Therefore, the answer is $\\${text}$. I hope it is correct.")));
    }
    found
}
