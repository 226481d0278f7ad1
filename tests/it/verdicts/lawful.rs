//! Equivalent typesettings: other ways to write a gold and the response around it, with the same value.

use super::alter_parts::{interval_text, is_definition, matrix_text, orders};
use super::alter_value::dress;
use super::eval;
use super::exact::Rat;
use super::number::{self, Form, Number};
use super::shape::{Affix, Interval};

/// Another way to write an answer: the typesetting's name, and the text as LaTeX.
pub type Typeset = (&'static str, String);

/// Other ways to write a number with its affix.
pub fn number(number: &Number, affix: &Affix) -> Vec<Typeset> {
    let mut found: Vec<Typeset> =
        number::forms(number).into_iter().map(|(name, text)| (name, dress(&text, affix))).collect();
    let text =
        number.value.to_decimal().filter(|_| number.form != Form::Fraction).unwrap_or_else(|| number.value.latex());
    match affix {
        Affix::None => unaffixed(number, &text, &mut found),
        Affix::Money => {
            found.retain(|(name, _)| matches!(*name, "comma" | "braced_comma" | "thin_latex" | "point_zero_zero"));
            found.push(("unit_missing", text.clone()));
            found.push(("unit_in_words", format!("{text}\\text{{ dollars}}")));
            found.push(("dollar_unescaped", format!("\\text{{\\${text}}}")));
            if let Some(cents) = number.value.times(Rat::whole(100)).filter(|cents| cents.is_whole()) {
                found.push(("converted", format!("{}\\text{{ cents}}", cents.top)));
            }
            if let Some(two_places) = number
                .value
                .rounded(2)
                .and_then(|text| Rat::decimal(&text).filter(|v| *v == number.value).map(|_| text))
            {
                found.push(("two_places", dress(&two_places, affix)));
            }
        }
        Affix::Percent => {
            found.retain(|(name, _)| {
                !matches!(
                    *name,
                    "fullwidth"
                        | "fraction_is_decimal"
                        | "with_decimal"
                        | "with_decimal_about"
                        | "leading_zero"
                        | "slash"
                        | "over"
                        | "mixed_plain"
                )
            });
            found.push(("in_words", format!("{text}\\text{{ percent}}")));
            found.push(("sign_bare", format!("{text}%")));
            found.push(("sign_spaced", format!("{text} \\%")));
            if let Some(part) = Rat::new(1, 100).and_then(|hundredth| number.value.times(hundredth)) {
                found.push(("as_decimal", part.to_decimal().unwrap_or_else(|| part.latex())));
                found.push(("as_fraction", part.latex()));
            }
        }
        Affix::Degrees => degrees(number.value, &text, &mut found),
        Affix::Unit(unit, power) => {
            found.retain(|(name, _)| {
                !matches!(
                    *name,
                    "fullwidth" | "leading_zero" | "with_decimal" | "with_decimal_about" | "fraction_is_decimal"
                )
            });
            unit_forms(number.value, &text, unit, *power, &mut found);
        }
        Affix::Noun(noun) => {
            found.retain(|(name, _)| {
                !matches!(
                    *name,
                    "fullwidth" | "leading_zero" | "with_decimal" | "with_decimal_about" | "fraction_is_decimal"
                )
            });
            found.push(("noun_missing", text.clone()));
            found.push(("noun_spaced", format!("{text}\\ \\text{{{noun}}}")));
            found.push(("noun_mathrm", format!("{text}\\,\\mathrm{{{noun}}}")));
        }
    }
    found
}

fn unaffixed(number: &Number, text: &str, found: &mut Vec<Typeset>) {
    found.push(("named", format!("x = {text}")));
    found.push(("named_words", format!("\\text{{Total}} = {text}")));
    found.push(("approximately", format!("\\approx {text}")));
    found.push(("mathbf", format!("\\mathbf{{{text}}}")));
    found.push(("braced", format!("{{{text}}}")));
    if let Some(more) = number.value.plus(Rat::whole(-4)).filter(|more| more.top > 0) {
        found.push(("chain", format!("{}+4 = {text}", more.latex())));
        found.push(("chain_named", format!("n = {}+4 = {text}", more.latex())));
    }
    let value = number.value;
    if value.is_whole()
        && value.top >= 0
        && let Some(words) = number::words(value.top)
    {
        found.push(("number_words", format!("\\text{{{words}}}")));
    }
    if !value.is_whole()
        && value.top.abs() < value.bottom
        && value.top > 0
        && let Some(percent) = value.times(Rat::whole(100)).and_then(Rat::to_decimal)
    {
        found.push(("as_percent", format!("{percent}\\%")));
    }
}

fn degrees(value: Rat, text: &str, found: &mut Vec<Typeset>) {
    found.retain(|(name, _)| matches!(*name, "decimal" | "trailing_zero" | "point_zero"));
    for (name, form) in [
        ("glyph", format!("{text}\u{b0}")),
        ("braced_sign", format!("{text}^{{\\circ}}")),
        ("spaced_sign", format!("{text} ^\\circ")),
        ("in_words", format!("{text}\\text{{ degrees}}")),
        ("unit_missing", text.to_owned()),
        ("named_angle", format!("\\angle ABC = {text}^\\circ")),
        ("named_theta", format!("\\theta = {text}^\\circ")),
    ] {
        found.push((name, form));
    }
    if let Some(half_turns) = Rat::new(1, 180).and_then(|part| value.times(part)).filter(|turns| turns.top != 0) {
        let top = if half_turns.top == 1 { "\\pi".to_owned() } else { format!("{}\\pi", half_turns.top) };
        let radians = if half_turns.bottom == 1 { top } else { format!("\\frac{{{top}}}{{{}}}", half_turns.bottom) };
        found.push(("radians", format!("{radians}\\text{{ radians}}")));
    }
}

fn unit_forms(value: Rat, text: &str, unit: &'static super::units::Unit, power: u32, found: &mut Vec<Typeset>) {
    found.push(("unit_missing", text.to_owned()));
    if let Some(words) = unit.in_words(power) {
        found.push(("unit_in_words", format!("{text}\\text{{ {words}}}")));
        found.push(("unit_in_words_plain", format!("{text} {words}")));
    }
    let raised = if power == 1 { String::new() } else { format!("^{power}") };
    let glyph = match power {
        2 => "\u{b2}",
        3 => "\u{b3}",
        _ => "",
    };
    let symbol = unit.names[0];
    found.push(("unit_mathrm", format!("{text}\\ \\mathrm{{{symbol}}}{raised}")));
    found.push(("unit_mbox", format!("{text}\\mbox{{ {symbol}}}{raised}")));
    found.push(("unit_textbf", format!("{text}\\,\\textbf{{{symbol}}}{raised}")));
    if symbol.len() > 1 {
        found.push(("unit_glyph", format!("{text} {symbol}{glyph}")));
    }
    for other in unit.siblings() {
        let converted = unit.convert(value, other, power).and_then(Rat::to_decimal).filter(|text| text.len() < 9);
        if let Some(converted) = converted {
            found.push(("converted", format!("{converted}{}", other.latex(power))));
        }
    }
}

/// Replacements of commands and characters that keep a formula's value.
const REWRITES: [(&str, &str, &str); 13] = [
    ("dfrac", "\\frac", "\\dfrac"),
    ("tfrac", "\\frac", "\\tfrac"),
    ("root_spaced", "\\sqrt{", "\\sqrt {"),
    ("pi_glyph", "\\pi", "\u{3c0}"),
    ("cdot", " \\cdot ", " \\times "),
    ("parentheses_sized", "(", "\\left("),
    ("minus_glyph", "-", "\u{2212}"),
    ("plus_spaced", "+", " + "),
    ("minus_spaced", "-", " - "),
    ("plus_thin", "+", "\\,+\\,"),
    ("power_braced", "^2", "^{2}"),
    ("power_glyph", "^2", "\u{b2}"),
    ("power_glyph", "^3", "\u{b3}"),
];

/// Other ways to write a formula, each proved to keep its value where this reader reads both.
pub fn formula(text: &str) -> Vec<Typeset> {
    let mut tried: Vec<Typeset> = Vec::new();
    for (name, from, to) in REWRITES {
        let mut other = text.replace(from, to);
        if name == "parentheses_sized" {
            other = other.replace(')', "\\right)");
        }
        let splits_number = from.starts_with('^')
            && text.split(from).skip(1).any(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        if other != text && !splits_number {
            tried.push((name, other));
        }
    }
    tried.push(("unspaced", text.split(' ').collect::<Vec<_>>().join(if has_word_break(text) { " " } else { "" })));
    tried.push(("sized", format!("\\left({text}\\right)")));
    if let Some(rotated) = reordered_sum(text) {
        tried.push(("sum_reordered", rotated));
    }
    if let Some((factor, rest)) = coefficient(text) {
        tried.push(("factor_dotted", format!("{factor} \\cdot {rest}")));
        tried.push(("factor_starred", format!("{factor}*{rest}")));
        tried.push(("factor_behind", format!("{rest} \\cdot {factor}")));
        tried.push(("factor_spaced", format!("{factor}\\,{rest}")));
    }
    if let Some(inner) = text
        .strip_prefix("\\sqrt{")
        .and_then(|rest| rest.strip_suffix('}'))
        .filter(|inner| inner.chars().all(|c| c.is_ascii_digit()))
    {
        tried.push(("root_glyph", format!("\u{221a}{inner}")));
        tried.push(("root_power", format!("{inner}^{{1/2}}")));
    }
    tried.retain(|(_, other)| eval::same_value(text, other) == Some(true));
    if let Some(name) = ["A", "S", "k"].into_iter().find(|name| !text.contains(*name)) {
        tried.push(("named", format!("{name} = {text}")));
    }
    if let Some(value) = eval::constant(text).filter(|value| value.abs() > 0.1 && value.abs() < 1e4)
        && !text.contains("\\circ")
        && (text.contains("\\sqrt") || text.contains("\\pi"))
    {
        tried.push(("with_decimal", format!("{text} \\approx {value:.2}")));
        tried.push(("with_decimal_about", format!("{text} \\text{{ (about {value:.2})}}")));
        tried.push(("floating_point", format!("{value:?}")));
    }
    tried
}

fn has_word_break(text: &str) -> bool {
    let characters: Vec<char> = text.chars().collect();
    characters.windows(3).any(|w| w[1] == ' ' && w[0].is_ascii_alphanumeric() && w[2].is_ascii_alphanumeric())
}

/// Puts the last term of a sum first.
fn reordered_sum(text: &str) -> Option<String> {
    let mut depth = 0;
    let mut last = None;
    for (at, c) in text.char_indices() {
        match c {
            '(' | '{' | '[' => depth += 1,
            ')' | '}' | ']' => depth -= 1,
            '+' | '-' if depth == 0 && at > 0 => last = Some(at),
            _ => {}
        }
    }
    let (front, term) = text.split_at(last?);
    let joined = if front.trim_start().starts_with('-') { "" } else { "+" };
    let term = term.strip_prefix('+').map_or_else(|| term.to_owned(), |rest| rest.trim().to_owned());
    Some(format!("{term} {joined} {}", front.trim()))
}

/// Splits a leading whole coefficient off a product.
fn coefficient(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).filter(|&end| end > 0)?;
    let (factor, rest) = text.split_at(end);
    let rest = rest.trim();
    let simple =
        (rest.starts_with("\\sqrt") || rest.starts_with("\\pi") || rest.starts_with(|c: char| c.is_ascii_alphabetic()))
            && !rest.contains(['+', '-', '/']);
    simple.then_some((factor, rest))
}

/// Writes an element in its other common typesetting.
fn restyle(text: &str) -> String {
    text.replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac").replace("\\frac", "\\dfrac")
}

/// Other ways to write a list.
pub fn list(parts: &[String], question: &str) -> Vec<Typeset> {
    let mut found: Vec<Typeset> = vec![
        ("comma", parts.join(",")),
        ("comma_spaced", parts.join(", ")),
        ("comma_tilde", parts.join(",~")),
        ("comma_thin", parts.join(",\\,")),
        ("semicolon", parts.join("; ")),
        ("dfrac", parts.iter().map(|part| restyle(part)).collect::<Vec<_>>().join(", ")),
        ("dollars_each", format!("${}$", parts.join("$, $"))),
        ("and_text", and(parts, "\\text{ and }")),
    ];
    if !orders(question) {
        let mut turned = parts.to_vec();
        turned.reverse();
        found.push(("reordered", turned.join(", ")));
        let distinct = parts
            .iter()
            .enumerate()
            .all(|(at, part)| parts.iter().skip(at + 1).all(|other| super::alter_value::differs(part, other)));
        if distinct {
            found.push(("braced", format!("\\{{{}\\}}", parts.join(", "))));
        }
    }
    found
}

fn and(parts: &[String], word: &str) -> String {
    let (last, front) =
        parts.split_last().map_or((String::new(), String::new()), |(last, front)| (last.clone(), front.join(", ")));
    format!("{front}{word}{last}")
}

/// Whole responses that give a list.
pub fn list_responses(parts: &[String]) -> Vec<Typeset> {
    let dollars: Vec<String> = parts.iter().map(|part| format!("${part}$")).collect();
    let boxes: Vec<String> = parts.iter().map(|part| format!("\\boxed{{{part}}}")).collect();
    vec![
        ("sentence_solutions", format!("The solutions are {}.", and(&dollars, " and "))),
        ("sentence_answers", format!("The answers are {}.", and(&dollars, " and "))),
        ("boxes_and", format!("So we get ${}$.", and(&boxes, "$ and $"))),
        ("boxes_comma", boxes.join(", ")),
    ]
}

/// Other ways to write a set.
pub fn set(parts: &[String]) -> Vec<Typeset> {
    let mut turned = parts.to_vec();
    turned.reverse();
    let twice: Vec<String> = parts.iter().chain(parts.first()).cloned().collect();
    vec![
        ("sized", format!("\\left\\{{{}\\right\\}}", parts.join(", "))),
        ("reordered", format!("\\{{{}\\}}", turned.join(", "))),
        ("unbraced", parts.join(", ")),
        ("repeated", format!("\\{{{}\\}}", twice.join(", "))),
        ("dfrac", format!("\\{{{}\\}}", parts.iter().map(|part| restyle(part)).collect::<Vec<_>>().join(", "))),
        ("member", format!("x \\in \\{{{}\\}}", parts.join(", "))),
    ]
}

/// Other ways to write a tuple.
pub fn tuple(parts: &[String]) -> Vec<Typeset> {
    vec![
        ("plain", format!("({})", parts.join(","))),
        ("spaced", format!("( {} )", parts.join(" , "))),
        ("sized", format!("\\left( {} \\right)", parts.join(", "))),
        ("big", format!("\\bigl({}\\bigr)", parts.join(", "))),
        ("thin", format!("({})", parts.join(",\\,"))),
        ("dfrac", format!("\\left({}\\right)", parts.iter().map(|part| restyle(part)).collect::<Vec<_>>().join(", "))),
        ("minus_glyph", format!("({})", parts.join(", ").replace('-', "\u{2212}"))),
        ("named", format!("P = ({})", parts.join(", "))),
    ]
}

/// Other ways to write a union of intervals.
pub fn union(parts: &[Interval]) -> Vec<Typeset> {
    let written: Vec<String> = parts.iter().map(interval_text).collect();
    let text = written.join(" \\cup ");
    let mut found: Vec<Typeset> = vec![
        ("member", format!("x \\in {text}")),
        ("unspaced", text.replace(", ", ",").replace(" \\cup ", "\\cup")),
        ("plus_infinity", text.replace(", \\infty", ", +\\infty")),
        (
            "sized",
            text.replace('(', "\\left(").replace('[', "\\left[").replace(')', "\\right)").replace(']', "\\right]"),
        ),
        ("dfrac", restyle(&text)),
        ("infinity_glyph", text.replace("\\infty", "\u{221e}")),
        ("cup_glyph", text.replace("\\cup", "\u{222a}")),
    ];
    let french: Vec<String> = parts
        .iter()
        .map(|part| {
            let open = if part.low_closed { "[" } else { "]" };
            let close = if part.high_closed { "]" } else { "[" };
            format!("{open}{}, {}{close}", part.low, part.high)
        })
        .collect();
    found.push(("french", french.join(" \\cup ")));
    let turned: Vec<String> = written.iter().rev().cloned().collect();
    found.push(("reordered", turned.join(" \\cup ")));
    let relations: Option<Vec<String>> = parts.iter().map(relation).collect();
    if let Some(relations) = relations {
        found.push(("relation", relations.join(" \\text{ or } ")));
        found.push((
            "relation_glyphs",
            relations.join(" \\text{ or } ").replace("\\le", "\u{2264}").replace("\\ge", "\u{2265}"),
        ));
        found.push((
            "relation_slanted",
            relations.join(" \\text{ or } ").replace("\\le", "\\leqslant").replace("\\ge", "\\geqslant"),
        ));
    }
    if let [only] = parts
        && let Some(turned) = relation_turned(only)
    {
        found.push(("relation_turned", turned));
    }
    found.retain(|(_, other)| *other != text);
    found
}

fn relation(part: &Interval) -> Option<String> {
    let low = if part.low_closed { "\\le" } else { "<" };
    let high = if part.high_closed { "\\le" } else { "<" };
    match (part.low.contains("\\infty"), part.high.contains("\\infty")) {
        (true, true) => None,
        (true, false) => Some(format!("x {high} {}", part.high)),
        (false, true) => Some(format!("x {} {}", if part.low_closed { "\\ge" } else { ">" }, part.low)),
        (false, false) => Some(format!("{} {low} x {high} {}", part.low, part.high)),
    }
}

fn relation_turned(part: &Interval) -> Option<String> {
    let low = if part.low_closed { "\\ge" } else { ">" };
    let high = if part.high_closed { "\\ge" } else { ">" };
    match (part.low.contains("\\infty"), part.high.contains("\\infty")) {
        (true, true) => None,
        (true, false) => Some(format!("{} {high} x", part.high)),
        (false, true) => Some(format!("{} {} x", part.low, if part.low_closed { "\\le" } else { "<" })),
        (false, false) => Some(format!("{} {high} x {low} {}", part.high, part.low)),
    }
}

/// Other ways to write an equation.
pub fn equation(left: &str, right: &str) -> Vec<Typeset> {
    let mut found: Vec<Typeset> = vec![
        ("spaced", format!("{left} = {right}")),
        ("unspaced", format!("{left}={right}")),
        ("sides_exchanged", format!("{right} = {left}")),
    ];
    if right.trim() != "0" && !(is_definition(left, right) && eval::constant(right).is_some()) {
        found.push(("on_one_side", format!("{left} - ({right}) = 0")));
        found.push(("doubled", format!("2({left}) = 2({right})")));
    }
    for (name, other) in formula(right)
        .into_iter()
        .filter(|(name, _)| !matches!(*name, "named" | "with_decimal" | "with_decimal_about" | "floating_point"))
    {
        found.push((name, format!("{left} = {other}")));
    }
    if is_definition(left, right) {
        found.push(("right_side", right.to_owned()));
    }
    found
}

/// Other ways to write values with names.
pub fn named(pairs: &[(String, String)]) -> Vec<Typeset> {
    let written: Vec<String> = pairs.iter().map(|(name, value)| format!("{name} = {value}")).collect();
    let turned: Vec<String> = written.iter().rev().cloned().collect();
    vec![
        ("comma", written.join(",")),
        ("comma_thin", written.join(",\\ ")),
        ("quad", written.join(" \\quad ")),
        ("semicolon", written.join("; ")),
        ("and_text", and(&written, "\\text{ and }")),
        ("reordered", turned.join(", ")),
        ("reordered_quad", turned.join(" \\quad ")),
        ("dfrac", restyle(&written.join(", "))),
    ]
}

/// Other ways to write a matrix.
pub fn matrix(rows: &[Vec<String>]) -> Vec<Typeset> {
    let columns = "r".repeat(rows.first().map_or(1, Vec::len));
    let body: Vec<String> = rows.iter().map(|row| row.join("&")).collect();
    vec![
        ("bmatrix", matrix_text(rows, "bmatrix")),
        ("unspaced", format!("\\begin{{pmatrix}}{}\\end{{pmatrix}}", body.join("\\\\"))),
        ("array", format!("\\left[\\begin{{array}}{{{columns}}}{}\\end{{array}}\\right]", body.join("\\\\"))),
        ("array_round", format!("\\left(\\begin{{array}}{{{columns}}}{}\\end{{array}}\\right)", body.join(" \\\\ "))),
        ("trailing_break", format!("\\begin{{pmatrix}}{}\\\\ \\end{{pmatrix}}", body.join("\\\\"))),
        ("dfrac", restyle(&matrix_text(rows, "pmatrix"))),
        ("minus_glyph", matrix_text(rows, "pmatrix").replace('-', "\u{2212}")),
        ("named", format!("A = {}", matrix_text(rows, "pmatrix"))),
        ("line_breaks", format!("\\begin{{pmatrix}}\n{}\n\\end{{pmatrix}}", body.join("\\\\\n"))),
    ]
}

/// Other ways to write words.
pub fn words(gold: &str) -> Vec<Typeset> {
    let mut lower = gold.to_lowercase();
    if gold.chars().all(|c| !c.is_lowercase()) {
        lower = gold.to_owned();
    }
    vec![
        ("text", format!("\\text{{{gold}}}")),
        ("text_spaced", format!("\\text{{ {gold} }}")),
        ("textbf", format!("\\textbf{{{gold}}}")),
        ("textit", format!("\\textit{{{gold}}}")),
        ("mbox", format!("\\mbox{{{gold}}}")),
        ("lower_case", format!("\\text{{{lower}}}")),
        ("upper_case", format!("\\text{{{}}}", gold.to_uppercase())),
        ("period", format!("\\text{{{gold}.}}")),
    ]
}
