//! Alterations of numbers: each changes the value, or leaves the answer incomplete.

use super::exact::{Dice, Rat};
use super::number::{Form, Number};
use super::shape::Affix;

/// An altered answer: its alteration's name, and the answer as LaTeX to be put into a response.
pub type Altered = (&'static str, String);

/// Changes one digit of a text so that its value changes; nothing where that cannot be proved.
pub fn change_digit(text: &str, dice: &mut Dice) -> Option<String> {
    let places: Vec<usize> = text.char_indices().filter(|(_, c)| c.is_ascii_digit()).map(|(at, _)| at).collect();
    for _ in 0..6 {
        let at = *places.get(dice.below(places.len()))?;
        let old = text.get(at..=at)?;
        let new = (1 + dice.below(9)).to_string();
        let changed = format!("{}{new}{}", text.get(..at)?, text.get(at + 1..)?);
        if old != new && differs(text, &changed) {
            return Some(changed);
        }
    }
    None
}

/// Returns whether two texts certainly have different values.
pub fn differs(one: &str, other: &str) -> bool {
    match (super::shape::rational(one), super::shape::rational(other)) {
        (Some(a), Some(b)) => a != b,
        _ => super::eval::same_value(one, other) == Some(false),
    }
}

/// Returns one changed version of an element: a digit, or its sign.
pub fn changed(text: &str, dice: &mut Dice) -> Option<String> {
    change_digit(text, dice).or_else(|| Some(negated(text)).filter(|other| differs(text, other)))
}

/// Returns the text with its sign flipped.
pub fn negated(text: &str) -> String {
    match text.trim().strip_prefix('-') {
        Some(rest) if !rest.contains(['+', '-']) => rest.trim().to_owned(),
        _ if text.contains(['+', '-']) => format!("-({text})"),
        _ => format!("-{text}"),
    }
}

/// Puts an affix around a number's text.
pub fn dress(core: &str, affix: &Affix) -> String {
    match affix {
        Affix::None => core.to_owned(),
        Affix::Money => core.strip_prefix('-').map_or_else(|| format!("\\${core}"), |rest| format!("-\\${rest}")),
        Affix::Percent => format!("{core}\\%"),
        Affix::Degrees => format!("{core}^\\circ"),
        Affix::Unit(unit, power) => format!("{core}{}", unit.latex(*power)),
        Affix::Noun(noun) => format!("{core}\\text{{ {noun}}}"),
    }
}

/// Returns a number near a value that is not the value.
pub fn neighbour(value: Rat, dice: &mut Dice) -> Rat {
    let step = Rat::whole(1 + dice.below(9) as i128);
    value.plus(step).unwrap_or(step)
}

/// Alterations of a number with its affix.
pub fn number(number: &Number, affix: &Affix, dice: &mut Dice) -> Vec<Altered> {
    let mut found = plain(number, dice);
    for (_, text) in &mut found {
        *text = dress(text, affix);
    }
    affixes(number, affix, &mut found);
    if *affix == Affix::None || matches!(affix, Affix::Noun(_)) {
        around(number, dice, &mut found);
        undone(number.value, dice, &mut found);
    }
    found
}

fn core(number: &Number) -> String {
    match number.form {
        Form::Whole | Form::Decimal if number.value.top < 0 => format!("-{}", number.digits),
        Form::Whole | Form::Decimal => number.digits.clone(),
        Form::Fraction | Form::Mixed => number.value.latex(),
    }
}

/// Alterations that are again numbers.
fn plain(number: &Number, dice: &mut Dice) -> Vec<Altered> {
    let value = number.value;
    let text = core(number);
    let mut found: Vec<Altered> = Vec::new();
    if let Some(other) = change_digit(&text, dice) {
        found.push(("digit_changed", other));
    }
    if number.form == Form::Whole {
        found.push(("digit_appended", format!("{text}{}", 1 + dice.below(9))));
        if number.digits.len() > 1 {
            found.push(("digit_dropped", text.get(..text.len() - 1).unwrap_or_default().to_owned()));
        }
        found.push(("half_added", format!("{text}.5")));
        if value.top != 0 {
            found.push(("thousandfold", super::number::grouped(value.top.saturating_mul(1000), ",")));
        }
    }
    if value.top != 0 {
        found.push(("sign_flipped", value.negated().latex()));
        if let Some(ten) = value.times(Rat::whole(10)) {
            found.push(("point_moved_right", ten.to_decimal().unwrap_or_else(|| ten.latex())));
        }
        if let Some(tenth) = Rat::new(1, 10).and_then(|tenth| value.times(tenth)) {
            found.push(("point_moved_left", tenth.to_decimal().unwrap_or_else(|| tenth.latex())));
        }
        if let Some(other) = value.inverted().filter(|other| *other != value) {
            found.push(("turned_over", other.latex()));
        }
    }
    found.push(("one_more", value.plus(Rat::whole(1)).unwrap_or(value.negated()).latex()));
    if !value.is_whole() {
        if value.top.abs() < value.bottom {
            found.push((
                "whole_part_added",
                format!("{}{}", 1 + dice.below(3), Rat { top: value.top.abs(), ..value }.latex()),
            ));
        }
        found.push(("bottom_alone", value.bottom.to_string()));
        found.push(("top_alone", value.top.to_string()));
    }
    found.retain(|(_, text)| super::shape::rational(text).is_some_and(|other| other != value));
    found
}

/// Alterations of the unit alone.
fn affixes(number: &Number, affix: &Affix, found: &mut Vec<Altered>) {
    let text = core(number);
    if number.value.top == 0 {
        return;
    }
    match affix {
        Affix::Unit(unit, power) => {
            for other in unit.siblings().take(3) {
                found.push(("other_unit", format!("{text}{}", other.latex(*power))));
                if let Some(value) = unit.convert(number.value, other, *power).filter(|value| *value != number.value) {
                    found.push(("converted_without_unit", value.to_decimal().unwrap_or_else(|| value.latex())));
                    found.push(("conversion_back", format!("{}{}", value.latex(), unit.latex(*power))));
                }
            }
            for other in unit
                .strangers()
                .filter(|other| *power == 1 || other.names[0] != "L" && other.names[0] != "mL")
                .step_by(5)
            {
                found.push(("other_dimension", format!("{text}{}", other.latex(1))));
            }
            found.push(("other_power", format!("{text}{}", unit.latex(if *power == 2 { 3 } else { 2 }))));
            if *power > 1 {
                found.push(("other_power", format!("{text}{}", unit.latex(1))));
            }
        }
        Affix::Money => {
            found.push(("other_unit", format!("{text}\\text{{ cents}}")));
            found.push(("other_dimension", format!("{text}\\text{{ kg}}")));
            if let Some(cents) = number.value.times(Rat::whole(100)) {
                found.push(("converted_without_unit", cents.latex()));
            }
        }
        Affix::Degrees => {
            found.push(("other_unit", format!("{text}\\text{{ radians}}")));
            found.push(("other_dimension", format!("{text}\\text{{ cm}}")));
        }
        Affix::Percent => {
            if let Some(hundred) = number.value.times(Rat::whole(100)) {
                found.push(("hundredfold", format!("{}\\%", hundred.latex())));
            }
        }
        Affix::None | Affix::Noun(_) => {}
    }
}

/// Alterations that put the number into a formula, a list or a relation.
fn around(number: &Number, dice: &mut Dice, found: &mut Vec<Altered>) {
    let value = number.value;
    let text = core(number);
    let other = neighbour(value, dice).latex();
    let size = value.top.abs();
    for (name, altered) in [
        ("relation", format!("x > {text}")),
        ("relation", format!("n \\ge {text}")),
        ("relation", format!("\\le {text}")),
        ("unequal", format!("x \\neq {text}")),
        ("several", format!("{text}, {other}")),
        ("several", format!("{other}, {text}")),
        ("several", format!("{other} \\text{{ or }} {text}")),
        ("several", format!("x={other}, x={text}")),
        ("set", format!("\\{{{other}, {text}\\}}")),
        ("tuple", format!("({other}, {text})")),
        ("doubled", format!("{text}, {text}")),
        ("tuple", format!("({text}, {text})")),
        ("interval", format!("[{text}, {other})")),
    ] {
        found.push((name, altered));
    }
    if value.top != 0 {
        found.push(("variable_added", format!("{text}x")));
        found.push(("constant_added", format!("{text}\\pi")));
        found.push(("both_signs", format!("\\pm {text}")));
        found.push(("imaginary", format!("{text}i")));
    }
    if size != 0 && (size, value.bottom) != (1, 1) {
        let base = if value.is_whole() && value.top > 0 { text.clone() } else { format!("\\left({text}\\right)") };
        found.push(("power_added", format!("{base}^{{2}}")));
        found.push(("power_added", format!("{base}^3")));
        if value.top > 0 {
            found.push(("root_taken", format!("\\sqrt{{{text}}}")));
            found.push(("root_taken", format!("\\log {text}")));
        }
    }
    if value.is_whole() && value.top > 2 {
        found.push(("factorial", format!("{text}!")));
        found.push(("as_exponent", format!("2^{{{text}}}")));
        found.push(("as_index", format!("a_{{{text}}}")));
        found.push(("thousands_letter", format!("{text}k")));
    }
    if value.is_whole() && number.digits.len() == 2 && !number.digits.starts_with('0') {
        let (first, second) = number.digits.split_at(1);
        for (name, gap) in [
            ("digits_apart", " "),
            ("digits_apart", "\\quad "),
            ("digits_apart", "\\;"),
            ("digits_comma", ","),
            ("digits_point", "."),
        ] {
            found.push((name, format!("{}{first}{gap}{second}", if value.top < 0 { "-" } else { "" })));
        }
    }
    if value.is_whole() && number.digits.len() > 4 {
        let (first, second) = number.digits.split_at(2);
        if second.len() != 3 {
            found.push(("digits_apart", format!("{first} {second}")));
            found.push(("digits_apart", format!("{first}{{,}}{second}")));
        }
    }
}

/// Sums, products and other operations whose value is the gold: work left undone.
fn undone(value: Rat, dice: &mut Dice, found: &mut Vec<Altered>) {
    let part = Rat::whole(1 + dice.below(7) as i128);
    let Some(rest) = value.plus(part.negated()) else { return };
    if rest.top > 0 {
        found.push(("undone_sum", format!("{}+{}", rest.latex(), part.latex())));
        // A whole number plus a proper fraction may be meant as a mixed number.
        if rest.is_whole() || rest.top > rest.bottom {
            found.push(("undone_sum", format!("{}+{}", part.latex(), rest.latex())));
        }
    }
    if let Some(more) = value.plus(part).filter(|more| more.top > 0) {
        found.push(("undone_difference", format!("{}-{}", more.latex(), part.latex())));
    }
    if let Some(more) = part.plus(value.negated()).filter(|more| more.top > 0 && value.top <= 0) {
        found.push(("undone_difference", format!("{}-{}", part.latex(), more.latex())));
    }
    if value.top == 0 {
        found.push(("undone_trigonometry", "\\sin 180^\\circ".to_owned()));
        found.push(("undone_logarithm", "\\ln 1".to_owned()));
    }
    if value.top > 0 && !value.is_whole() && value.top < 1 << 30 && value.bottom < 1 << 30 {
        found.push(("undone_root", format!("\\sqrt{{\\frac{{{}}}{{{}}}}}", value.top.pow(2), value.bottom.pow(2))));
    }
    if !value.is_whole() {
        let (top, bottom) = (value.top, value.bottom);
        if top > 1 {
            found.push(("undone_sum", format!("\\frac{{{}}}{{{bottom}}}+\\frac{{1}}{{{bottom}}}", top - 1)));
            found.push(("undone_product", format!("{top}\\cdot\\frac{{1}}{{{bottom}}}")));
        }
        if top > 0 && top < bottom {
            found.push(("undone_difference", format!("1-\\frac{{{}}}{{{bottom}}}", bottom - top)));
        }
        return;
    }
    undone_whole(value.top, part.top + 1, found);
}

/// Operations whose value is a whole number; `quotient` is above one.
fn undone_whole(number: i128, quotient: i128, found: &mut Vec<Altered>) {
    for factor in [2, 3, 5, 7, 11, 13] {
        if number > factor && number % factor == 0 {
            found.push(("undone_product", format!("{factor}\\cdot {}", number / factor)));
            found.push(("undone_product", format!("{} \\times {factor}", number / factor)));
            break;
        }
    }
    if number > 1 {
        let multiple = number.saturating_mul(quotient);
        found.push(("undone_quotient", format!("\\frac{{{multiple}}}{{{quotient}}}")));
        found.push(("undone_quotient", format!("{multiple} \\div {quotient}")));
        found.push(("undone_sum_sign", format!("\\sum_{{k=1}}^{{{number}}} 1")));
        found.push(("undone_integral", format!("\\int_0^{{{number}}} 1\\,dx")));
        found.push(("undone_binomial", format!("\\binom{{{number}}}{{1}}")));
        found.push(("undone_trigonometry", format!("{number}\\sin 90^\\circ")));
        found.push(("undone_absolute", format!("|-{number}|")));
        found.push(("undone_logarithm", format!("\\log_2 2^{{{number}}}")));
        if number < 1_000_000 {
            found.push(("undone_root", format!("\\sqrt{{{}}}", number * number)));
        }
    }
    // A power of ten is a way to write a number.
    for base in (2..=12i128).filter(|&base| base != 10) {
        for exponent in 2..=10u32 {
            if base.checked_pow(exponent) == Some(number) {
                found.push(("undone_power", format!("{base}^{{{exponent}}}")));
            }
        }
    }
    let factorials = [(3, 6), (4, 24), (5, 120), (6, 720), (7, 5040)];
    if let Some((of, _)) = factorials.iter().find(|(_, result)| *result == number) {
        found.push(("undone_factorial", format!("{of}!")));
    }
    let text = number.to_string();
    if let Some(half) = text.strip_suffix('0').filter(|half| half.len() > 1 && !half.ends_with('0')) {
        found.push(("undone_product", format!("{half} \\cdot 10")));
    }
}
