//! Alterations of values with parts: formulas, lists, tuples, intervals, equations, matrices, words.

use super::alter_value::{Altered, changed, differs, dress, negated};
use super::eval;
use super::exact::Dice;
use super::shape::{Affix, Interval};

/// Alterations of a formula, each proved to change its value.
pub fn formula(text: &str, dice: &mut Dice) -> Vec<Altered> {
    let mut tried: Vec<Altered> = Vec::new();
    for _ in 0..3 {
        tried.extend(super::alter_value::change_digit(text, dice).map(|other| ("digit_changed", other)));
    }
    let bytes = text.as_bytes();
    for (at, c) in text.char_indices() {
        let swapped = match c {
            '+' => "-",
            '-' if at > 0 => "+",
            _ => continue,
        };
        tried.push(("sign_flipped", format!("{}{swapped}{}", &text[..at], &text[at + 1..])));
    }
    tried.push(("sign_flipped", negated(text)));
    for (at, _) in text.match_indices('^') {
        let digit =
            bytes.iter().skip(at).position(u8::is_ascii_digit).map(|step| at + step).filter(|&digit| digit <= at + 2);
        if let Some(digit) = digit.filter(|&digit| bytes.get(digit + 1).is_none_or(|next| !next.is_ascii_digit())) {
            tried.push((
                "exponent_changed",
                format!("{}{}{}", &text[..digit], i32::from(bytes[digit] - b'0') + 1, &text[digit + 1..]),
            ));
            let start = if text.get(at + 1..=at + 1) == Some("{") { at } else { digit - 1 };
            let end = if start == at && digit == at + 2 { digit + 2 } else { digit + 1 };
            tried.push(("exponent_dropped", format!("{}{}", &text[..start], text.get(end..).unwrap_or_default())));
        }
    }
    for name in eval::names(text) {
        let fresh = ["t", "z", "k", "m"].into_iter().find(|fresh| !text.contains(fresh));
        if let Some(fresh) = fresh.filter(|_| name != "e" && name != "i") {
            tried.push(("name_exchanged", rename(text, &name, fresh)));
        }
    }
    if let Some(turned) = turn_fraction(text) {
        tried.push(("turned_over", turned));
    }
    if let Some((_, arguments)) = text.split_once("(") {
        tried.push(("argument_alone", arguments.split(')').next().unwrap_or_default().to_owned()));
    }
    tried.push(("term_added", format!("{text}+1")));
    tried.push(("factor_added", format!("2({text})")));
    tried.push(("function_applied", format!("\\sqrt{{{text}}}")));
    tried.push(("function_applied", format!("\\sin({text})")));
    tried.push(("power_added", format!("({text})^2")));
    if let Some(rest) = without_term(text) {
        tried.push(("term_dropped", rest));
    }
    for (name, from, to) in [
        ("root_lost", "\\sqrt", ""),
        ("constant_lost", "\\pi", ""),
        ("function_exchanged", "\\sin", "\\cos"),
        ("function_exchanged", "\\cos", "\\sin"),
        ("function_exchanged", "\\log", "\\ln"),
    ] {
        if text.contains(from) {
            tried.push((name, text.replacen(from, to, 1)));
        }
    }
    tried.retain(|(_, other)| differs(text, other));
    if eval::names(text).is_empty() && (text.contains("\\sqrt") || text.contains("\\pi")) {
        tried.push(("undone_sum_sign", format!("\\sum_{{k=1}}^{{2}} \\frac{{{text}}}{{2}}")));
        tried.push(("undone_integral", format!("\\int_0^1 {text}\\,dx")));
    }
    tried.push(("relation", format!("x > {text}")));
    tried.push(("several", format!("{text}, 0")));
    tried.push(("doubled", format!("({text}, {text})")));
    tried
}

/// Renames a variable, leaving commands alone.
fn rename(text: &str, name: &str, fresh: &str) -> String {
    let mut found = String::new();
    let mut in_command = false;
    for c in text.chars() {
        in_command = c == '\\' || in_command && c.is_ascii_alphabetic();
        if !in_command && name == c.to_string() { found.push_str(fresh) } else { found.push(c) }
    }
    found
}

fn turn_fraction(text: &str) -> Option<String> {
    let start = text.find("\\frac{")?;
    let (top, rest) = braces(text.get(start + 5..)?)?;
    let (bottom, rest) = braces(rest)?;
    Some(format!("{}\\frac{{{bottom}}}{{{top}}}{rest}", text.get(..start)?))
}

fn braces(text: &str) -> Option<(&str, &str)> {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some((text.get(1..at)?, text.get(at + 1..)?));
        }
    }
    None
}

/// Leaves out the last term of a sum outside brackets.
fn without_term(text: &str) -> Option<String> {
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
    last.and_then(|at| text.get(..at)).map(|rest| rest.trim().to_owned()).filter(|rest| !rest.is_empty())
}

/// A formula with a unit: the formula changes, or the unit does.
pub fn formula_with_unit(text: &str, affix: &Affix, dice: &mut Dice) -> Vec<Altered> {
    let mut found: Vec<Altered> = formula(text, dice)
        .into_iter()
        .filter(|(name, _)| !matches!(*name, "relation" | "several" | "doubled" | "term_added"))
        .map(|(name, other)| (name, dress(&other, affix)))
        .collect();
    if let Affix::Unit(unit, power) = affix {
        for other in unit.siblings().take(2) {
            found.push(("other_unit", format!("{text}{}", other.latex(*power))));
        }
        found.push(("other_power", format!("{text}{}", unit.latex(if *power == 2 { 3 } else { 2 }))));
        let strangers = unit.strangers().filter(|other| *power == 1 || other.names[0] != "L" && other.names[0] != "mL");
        found.extend(strangers.step_by(7).map(|other| ("other_dimension", format!("{text}{}", other.latex(1)))));
    }
    found
}

/// What a row of elements is, and what encloses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Row {
    List,
    Set,
    Tuple,
}

fn enclose(parts: &[String], row: Row) -> String {
    let inner = parts.join(", ");
    match row {
        Row::List => inner,
        Row::Set => format!("\\{{{inner}\\}}"),
        Row::Tuple => format!("\\left({inner}\\right)"),
    }
}

/// Alterations of lists, sets and tuples.
pub fn row(parts: &[String], row: Row, question: &str, dice: &mut Dice) -> Vec<Altered> {
    let mut found: Vec<Altered> = Vec::new();
    for at in 0..parts.len().min(4) {
        let replaced = |new: String| {
            parts.iter().enumerate().map(|(i, old)| if i == at { new.clone() } else { old.clone() }).collect::<Vec<_>>()
        };
        if let Some(other) = changed(&parts[at], dice).filter(|other| parts.iter().all(|part| differs(part, other))) {
            found.push(("element_changed", enclose(&replaced(other), row)));
        }
        let opposite = negated(&parts[at]);
        if parts.iter().all(|part| differs(part, &opposite)) {
            found.push(("element_negated", enclose(&replaced(opposite), row)));
        }
        let rest: Vec<String> =
            parts.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, part)| part.clone()).collect();
        if row != Row::Set || parts.iter().filter(|part| !differs(part, &parts[at])).count() == 1 {
            found.push(("element_dropped", enclose(&rest, if rest.len() == 1 { Row::List } else { row })));
        }
        if row != Row::Set {
            let twice: Vec<String> = parts.iter().chain(parts.get(at)).cloned().collect();
            found.push(("element_doubled", enclose(&twice, row)));
        }
    }
    let fresh = (17 + dice.below(80)).to_string();
    if parts.iter().all(|part| differs(part, &fresh)) {
        let longer: Vec<String> = parts.iter().cloned().chain([fresh]).collect();
        found.push(("element_added", enclose(&longer, row)));
    }
    for at in 1..parts.len().min(4) {
        let mut swapped = parts.to_vec();
        swapped.swap(0, at);
        if differs(&parts[0], &parts[at]) && (row == Row::Tuple || row == Row::List && surely_orders(question)) {
            found.push(("order_swapped", enclose(&swapped, row)));
        }
    }
    let digits = |part: &String| part.chars().all(|c| c.is_ascii_digit());
    if let ([first, second], true) = (parts, row != Row::Tuple) {
        if first.trim_start_matches('-').chars().all(|c| c.is_ascii_digit()) && digits(second) {
            found.push(("joined_by_point", format!("{first}.{second}")));
            found.push(("joined", format!("{first}{second}")));
            found.push(("joined_by_plus", format!("{first}+{second}")));
        }
        if row == Row::List && !mentions_points(question) {
            found.push(("made_tuple", enclose(parts, Row::Tuple)));
        }
    }
    if row == Row::Tuple && parts.len() == 2 {
        found.push(("made_closed", format!("[{}]", parts.join(", "))));
    }
    for at in 0..parts.len().min(2) {
        if let Some(value) = super::shape::rational(&parts[at]).filter(|value| value.top > 0 && value.is_whole()) {
            let mut undone = parts.to_vec();
            undone[at] = format!("{}+{}", value.top + 3, -3);
            undone[at] = undone[at].replace("+-", "-");
            found.push(("undone_element", enclose(&undone, row)));
            undone[at] = format!("\\frac{{{}}}{{4}}", 4 * value.top);
            found.push(("undone_element", enclose(&undone, row)));
        }
    }
    found.push(("made_sum", parts.iter().map(|part| format!("({part})")).collect::<Vec<_>>().join("+")));
    found
}

/// Returns whether the end of a question certainly asks for an order.
fn surely_orders(question: &str) -> bool {
    let end = question.trim().trim_end_matches('.').rsplit(". ").next().unwrap_or_default();
    orders(end) && !end.contains("respectively")
}

/// Returns whether a question may ask for an order.
pub fn orders(question: &str) -> bool {
    [
        "least to greatest",
        "smallest to largest",
        "ascending order",
        "descending order",
        "increasing order",
        "decreasing order",
        "greatest to least",
        "respectively",
        "in order",
    ]
    .iter()
    .any(|phrase| question.contains(phrase))
}

fn mentions_points(question: &str) -> bool {
    ["pair", "tripl", "tuple", "coordinate", "point", "(", "interval", "vector"]
        .iter()
        .any(|word| question.contains(word))
}

/// Writes one interval.
pub fn interval_text(part: &Interval) -> String {
    let open = if part.low_closed { "[" } else { "(" };
    let close = if part.high_closed { "]" } else { ")" };
    format!("{open}{}, {}{close}", part.low, part.high)
}

fn union_text(parts: &[Interval]) -> String {
    parts.iter().map(interval_text).collect::<Vec<_>>().join(" \\cup ")
}

/// Alterations of a union of intervals.
pub fn union(parts: &[Interval], dice: &mut Dice) -> Vec<Altered> {
    let mut found: Vec<Altered> = Vec::new();
    let infinite = |bound: &str| bound.contains("\\infty");
    for at in 0..parts.len().min(3) {
        let with = |change: &dyn Fn(&mut Interval)| {
            let mut other = parts.to_vec();
            change(&mut other[at]);
            union_text(&other)
        };
        let part = &parts[at];
        if !infinite(&part.low) {
            found.push(("openness_changed", with(&|part| part.low_closed = !part.low_closed)));
            if let Some(low) = changed(&part.low, dice) {
                found.push(("bound_changed", with(&|part| part.low.clone_from(&low))));
            }
            if differs(&part.low, &negated(&part.low)) {
                found.push(("bound_negated", with(&|part| part.low = negated(&part.low))));
            }
        }
        if !infinite(&part.high) {
            found.push(("openness_changed", with(&|part| part.high_closed = !part.high_closed)));
            if let Some(high) = changed(&part.high, dice) {
                found.push(("bound_changed", with(&|part| part.high.clone_from(&high))));
            }
            if differs(&part.high, &negated(&part.high)) {
                found.push(("bound_negated", with(&|part| part.high = negated(&part.high))));
            }
        }
        if !infinite(&part.low) && !infinite(&part.high) {
            found.push(("bounds_swapped", with(&|part| std::mem::swap(&mut part.low, &mut part.high))));
            found.push(("bounds_as_list", format!("{}, {}", part.low, part.high)));
            found.push((
                "bound_made_infinite",
                with(&|part| (part.high, part.high_closed) = ("\\infty".to_owned(), false)),
            ));
        }
        if parts.len() > 1 {
            let rest: Vec<Interval> =
                parts.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, part)| part.clone()).collect();
            found.push(("part_dropped", union_text(&rest)));
        }
    }
    if let [part] = parts {
        if let Some(value) = super::shape::rational(&part.low).filter(|value| value.is_whole()) {
            let low = format!("{}-4", value.top + 4);
            found.push(("undone_bound", interval_text(&Interval { low, ..part.clone() })));
        }
        relations(part, &mut found);
    }
    if !parts.iter().any(|part| infinite(&part.high)) {
        found.push(("part_added", format!("{} \\cup (10^6, \\infty)", union_text(parts))));
    }
    found.push(("element_added", format!("{} \\cup \\{{-987654\\}}", union_text(parts))));
    if parts.iter().any(|part| part.low.contains("-\\infty")) {
        found.pop();
    }
    found.retain(|(_, text)| *text != union_text(parts));
    found
}

fn relations(part: &Interval, found: &mut Vec<Altered>) {
    let low_sign = if part.low_closed { "<" } else { "\\le" };
    let high_sign = if part.high_closed { "<" } else { "\\le" };
    match (part.low.contains("\\infty"), part.high.contains("\\infty")) {
        (true, false) => {
            found.push(("relation_openness", format!("x {high_sign} {}", part.high)));
            found.push(("relation_flipped", format!("x > {}", part.high)));
            found.push(("relation_equals", format!("x = {}", part.high)));
        }
        (false, true) => {
            found.push(("relation_openness", format!("x {} {}", if part.low_closed { ">" } else { "\\ge" }, part.low)));
            found.push(("relation_flipped", format!("x < {}", part.low)));
            found.push(("relation_equals", format!("x = {}", part.low)));
        }
        (false, false) => {
            found.push(("relation_openness", format!("{} {low_sign} x {high_sign} {}", part.low, part.high)));
            found.push(("relation_half", format!("x > {}", part.low)));
        }
        (true, true) => {}
    }
}

/// Alterations of an equation.
pub fn equation(left: &str, right: &str, dice: &mut Dice) -> Vec<Altered> {
    let mut tried: Vec<(&'static str, String, String)> = Vec::new();
    // Another name for what is defined is a convention; the definition's right side is the answer.
    if !is_definition(left, right) {
        for (name, other) in formula(left, dice).into_iter().filter(|(name, _)| is_within_formula(name)) {
            tried.push((name, other, right.to_owned()));
        }
    }
    for (name, other) in formula(right, dice).into_iter().filter(|(name, _)| is_within_formula(name)) {
        tried.push((name, left.to_owned(), other));
    }
    tried.retain(|(_, l, r)| right.trim() != "0" && eval::same_equation((left, right), (l, r)) == Some(false));
    let mut found: Vec<Altered> = tried.into_iter().map(|(name, l, r)| (name, format!("{l} = {r}"))).collect();
    found.push(("left_side_alone", left.to_owned()));
    found.push(("relation_flipped", format!("{left} > {right}")));
    found.push(("relation_flipped", format!("{left} \\neq {right}")));
    if !is_definition(left, right) {
        found.push(("right_side_alone", right.to_owned()));
    }
    found
}

fn is_within_formula(name: &str) -> bool {
    !matches!(name, "relation" | "several" | "doubled" | "function_applied" | "power_added")
}

/// Returns whether an equation only names its right side.
pub fn is_definition(left: &str, right: &str) -> bool {
    let name = left.trim();
    if let Some((function, arguments)) = name.split_once('(') {
        let is_name = |text: &str| text.len() == 1 && text.starts_with(|c: char| c.is_ascii_alphabetic());
        return is_name(function)
            && is_name(arguments.trim_end_matches(')'))
            && !eval::names(right).contains(&function.to_owned());
    }
    let simple = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '{' | '}'));
    simple && name.starts_with(|c: char| c.is_ascii_alphabetic()) && !eval::names(right).contains(&name[..1].to_owned())
}

/// Alterations of values with names.
pub fn named(pairs: &[(String, String)], dice: &mut Dice) -> Vec<Altered> {
    let text = |pairs: &[(String, String)]| {
        pairs.iter().map(|(name, value)| format!("{name} = {value}")).collect::<Vec<_>>().join(", ")
    };
    let mut found: Vec<Altered> = Vec::new();
    for at in 0..pairs.len().min(4) {
        if let Some(other) = changed(&pairs[at].1, dice) {
            let mut altered = pairs.to_vec();
            altered[at].1 = other.clone();
            found.push(("element_changed", text(&altered)));
            found.push(("element_changed_apart", text(&altered).replace(", ", " \\quad ")));
            found.push(("element_changed_last_line", text(&altered).replace(", ", " \\text{ and } ")));
        }
        let rest: Vec<_> = pairs.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, pair)| pair.clone()).collect();
        found.push(("element_dropped", text(&rest)));
        found.push(("value_alone", pairs[at].1.clone()));
    }
    for at in 1..pairs.len().min(4) {
        if differs(&pairs[0].1, &pairs[at].1) {
            let mut altered = pairs.to_vec();
            let (first, other) = (altered[0].1.clone(), altered[at].1.clone());
            (altered[0].1, altered[at].1) = (other, first);
            found.push(("names_swapped", text(&altered)));
            found.push(("names_swapped", text(&altered).replace(", ", " \\quad ")));
        }
    }
    found
}

/// Writes a matrix.
pub fn matrix_text(rows: &[Vec<String>], name: &str) -> String {
    let rows: Vec<String> = rows.iter().map(|row| row.join(" & ")).collect();
    format!("\\begin{{{name}}} {} \\end{{{name}}}", rows.join(" \\\\ "))
}

/// Alterations of a matrix.
pub fn matrix(rows: &[Vec<String>], dice: &mut Dice) -> Vec<Altered> {
    let mut found: Vec<Altered> = Vec::new();
    let write = |rows: &[Vec<String>]| matrix_text(rows, "pmatrix");
    for y in 0..rows.len().min(3) {
        for x in 0..rows[y].len().min(3) {
            let mut with = |name, new: String| {
                let mut other = rows.to_vec();
                other[y][x] = new;
                found.push((name, write(&other)));
            };
            if let Some(new) = changed(&rows[y][x], dice) {
                with("element_changed", new);
            }
            if differs(&rows[y][x], &negated(&rows[y][x])) {
                with("element_negated", negated(&rows[y][x]));
            }
        }
    }
    let same = |a: &[String], b: &[String]| a.iter().zip(b).all(|(a, b)| !differs(a, b));
    for at in 1..rows.len() {
        if !same(&rows[0], &rows[at]) {
            let mut other = rows.to_vec();
            other.swap(0, at);
            found.push(("rows_swapped", write(&other)));
        }
    }
    if rows.len() > 1 {
        found.push(("row_dropped", write(&rows[1..])));
        found.push(("row_added", write(&[rows, &rows[..1]].concat())));
    }
    let nonzero = rows.iter().flatten().any(|cell| differs(cell, "0"));
    if nonzero {
        found.push(("factor_added", format!("2{}", write(rows))));
        found.push(("sign_flipped", format!("-{}", write(rows))));
    }
    if rows.len() == rows[0].len() && rows.len() > 1 {
        let turned: Vec<Vec<String>> =
            (0..rows.len()).map(|x| rows.iter().map(|row| row[x].clone()).collect()).collect();
        if !rows.iter().zip(&turned).all(|(a, b)| same(a, b)) {
            found.push(("turned_over", write(&turned)));
        }
    }
    found.push(("element_alone", rows[0][0].clone()));
    found.push(("several", format!("{}, {}", write(rows), write(rows))));
    found
}
