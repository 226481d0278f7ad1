//! Golds of rare formats: lists of tuples, lists of sets, chains of relations, temperatures, plus-minus, powers.

use super::alter_parts::orders;
use super::alter_value::{Altered, change_digit, changed, differs, negated};
use super::eval;
use super::exact::{Dice, Rat};
use super::lawful::Typeset;
use super::shape::{self, Shape};

/// Reads a gold of a rare shape.
pub fn read(text: &str) -> Option<Shape> {
    points(text)
        .or_else(|| groups(text))
        .or_else(|| chain(text))
        .or_else(|| temperature(text))
        .or_else(|| plus_minus(text))
        .or_else(|| power(text))
}

fn points(text: &str) -> Option<Shape> {
    let parts = shape::split_commas(text).filter(|parts| parts.len() > 1)?;
    let points: Option<Vec<Vec<String>>> = parts
        .iter()
        .map(|part| {
            let inner = part.strip_prefix('(')?.strip_suffix(')')?;
            shape::split_commas(inner).filter(|c| c.len() > 1 && c.iter().all(|c| eval::value(c, 0).is_some()))
        })
        .collect();
    points.map(Shape::Points)
}

fn groups(text: &str) -> Option<Shape> {
    let parts = shape::split_commas(text).filter(|parts| parts.len() > 1)?;
    let fits = parts.iter().all(|part| part.starts_with("\\{") && part.ends_with("\\}"));
    fits.then_some(Shape::Groups(parts))
}

fn chain(text: &str) -> Option<Shape> {
    let parts: Vec<String> = text.split('<').map(|part| part.trim().to_owned()).collect();
    let fits = parts.len() > 1
        && parts.iter().all(|part| !part.is_empty() && !part.contains([',', '=', '>']) && !part.contains("\\le"));
    // A variable between bounds is a set of numbers; a chain of constants or of calls is not.
    let constant = |part: &String| eval::constant(part).is_some() || part.contains('(') && part.ends_with(')');
    (fits && parts.iter().all(constant)).then_some(Shape::Chain(parts))
}

fn temperature(text: &str) -> Option<Shape> {
    let (core, scale) = text.split_once("^\\circ")?;
    let scale = match scale.trim() {
        "\\text{C}" | "C" | "\\mathrm{C}" => 'C',
        "\\text{F}" | "F" | "\\mathrm{F}" => 'F',
        _ => return None,
    };
    shape::rational(core.trim()).map(|value| Shape::Temperature(value, scale))
}

fn plus_minus(text: &str) -> Option<Shape> {
    let (centre, distance) = text.split_once("\\pm")?;
    let (centre, distance) = (centre.trim().to_owned(), distance.trim().to_owned());
    let fits =
        (centre.is_empty() || eval::constant(&centre).is_some()) && eval::constant(&distance).is_some_and(|d| d > 0.0);
    (fits && !distance.contains(['+', '-', ','])).then_some(Shape::PlusMinus(centre, distance))
}

fn power(text: &str) -> Option<Shape> {
    let (base, exponent) = text.split_once('^')?;
    let exponent = exponent.trim_matches(['{', '}']).parse().ok()?;
    let base: i128 = base.trim().parse().ok()?;
    (base > 1 && exponent > 20).then_some(Shape::Power(base, exponent))
}

fn write_points(points: &[Vec<String>]) -> String {
    points.iter().map(|point| format!("({})", point.join(", "))).collect::<Vec<_>>().join(", ")
}

/// Alterations of a list of tuples.
pub fn points_altered(points: &[Vec<String>], dice: &mut Dice) -> Vec<Altered> {
    let mut found: Vec<Altered> = Vec::new();
    let apart = |one: &[String], other: &[String]| {
        one.len() != other.len() || one.iter().zip(other).any(|(a, b)| differs(a, b))
    };
    for at in 0..points.len().min(3) {
        for place in 0..points[at].len() {
            let mut other = points.to_vec();
            let Some(new) = changed(&points[at][place], dice) else { continue };
            other[at][place] = new;
            if points.iter().all(|point| apart(point, &other[at])) {
                found.push(("element_changed", write_points(&other)));
            }
        }
        let mut turned = points.to_vec();
        turned[at].reverse();
        if points.iter().all(|point| apart(point, &turned[at])) {
            found.push(("order_swapped", write_points(&turned)));
        }
        let mut rest = points.to_vec();
        let gone = rest.remove(at);
        if rest.iter().all(|point| apart(point, &gone)) {
            found.push(("element_dropped", write_points(&rest)));
        }
    }
    if let [first, second, ..] = points {
        let mut crossed = points.to_vec();
        (crossed[0][0], crossed[1][0]) = (second[0].clone(), first[0].clone());
        if points.iter().all(|point| apart(point, &crossed[0])) {
            found.push(("parts_crossed", write_points(&crossed)));
        }
    }
    found.push(("joined", points.concat().join(", ")));
    found
}

/// Other ways to write a list of tuples.
pub fn points_forms(points: &[Vec<String>], question: &str) -> Vec<Typeset> {
    let text = write_points(points);
    let turned: Vec<Vec<String>> = points.iter().rev().cloned().collect();
    let each: Vec<String> = points.iter().map(|point| format!("({})", point.join(","))).collect();
    let mut found = vec![
        ("unspaced", text.replace(", ", ",")),
        ("semicolon", each.join("; ")),
        ("and_text", each.join(" \\text{ and } ")),
        ("sized", text.replace('(', "\\left(").replace(')', "\\right)")),
        ("quad", each.join(",\\quad ")),
    ];
    if !orders(question) {
        found.push(("reordered", write_points(&turned)));
        found.push(("braced", format!("\\{{{text}\\}}")));
    }
    found
}

/// Alterations of a list of sets.
pub fn groups_altered(parts: &[String], dice: &mut Dice) -> Vec<Altered> {
    let mut found: Vec<Altered> = Vec::new();
    for at in 0..parts.len() {
        for _ in 0..4 {
            let places: Vec<usize> =
                parts[at].char_indices().filter(|(_, c)| c.is_ascii_digit()).map(|(i, _)| i).collect();
            if places.is_empty() {
                continue;
            }
            let place = places[dice.below(places.len())];
            let new = (1 + dice.below(9)).to_string();
            let mut other = parts.to_vec();
            other[at].replace_range(place..=place, &new);
            if parts.iter().all(|part| *part != other[at]) {
                found.push(("element_changed", other.join(",")));
            }
        }
        let mut rest = parts.to_vec();
        let _ = rest.remove(at);
        found.push(("element_dropped", rest.join(",")));
        found.push(("element_doubled", [parts, &parts[at..=at]].concat().join(",")));
    }
    let inner: Vec<&str> = parts.iter().map(|part| part.trim_start_matches("\\{").trim_end_matches("\\}")).collect();
    found.push(("joined", format!("\\{{{}\\}}", inner.join(", "))));
    found
}

/// Other ways to write a list of sets.
pub fn groups_forms(parts: &[String], question: &str) -> Vec<Typeset> {
    let mut found = vec![
        ("comma_spaced", parts.join(", ")),
        ("semicolon", parts.join("; ")),
        ("and_text", parts.join("\\text{ and }")),
    ];
    if !orders(question) {
        found.push(("reordered", parts.iter().rev().cloned().collect::<Vec<_>>().join(",")));
    }
    found
}

/// Alterations of a chain of relations.
pub fn chain_altered(parts: &[String], dice: &mut Dice) -> Vec<Altered> {
    let mut found: Vec<Altered> = Vec::new();
    for at in 0..parts.len() {
        let mut other = parts.to_vec();
        if let Some(new) = change_digit(&parts[at], dice) {
            other[at] = new;
            found.push(("element_changed", other.join(" < ")));
        }
        for to in at + 1..parts.len() {
            let mut swapped = parts.to_vec();
            swapped.swap(at, to);
            found.push(("order_swapped", swapped.join(" < ")));
        }
        let mut rest = parts.to_vec();
        let _ = rest.remove(at);
        found.push(("element_dropped", rest.join(" < ")));
    }
    found.push(("relation_flipped", parts.join(" > ")));
    found.push(("relation_flipped", parts.join(" = ")));
    found
}

/// Other ways to write a chain of relations.
pub fn chain_forms(parts: &[String]) -> Vec<Typeset> {
    let turned: Vec<String> = parts.iter().rev().cloned().collect();
    vec![("unspaced", parts.join("<")), ("turned", turned.join(" > ")), ("lt", parts.join(" \\lt "))]
}

fn in_other_scale(value: Rat, scale: char) -> Option<(Rat, char)> {
    let rat = |top, bottom| Rat::new(top, bottom);
    match scale {
        'C' => Some((value.times(rat(9, 5)?)?.plus(Rat::whole(32))?, 'F')),
        _ => Some((value.plus(Rat::whole(-32))?.times(rat(5, 9)?)?, 'C')),
    }
}

/// Alterations of a temperature.
pub fn temperature_altered(value: Rat, scale: char, dice: &mut Dice) -> Vec<Altered> {
    let degrees = |text: &str, scale: char| format!("{text}^\\circ\\text{{{scale}}}");
    let text = value.to_decimal().unwrap_or_else(|| value.latex());
    let mut found: Vec<Altered> = Vec::new();
    for _ in 0..3 {
        found.extend(change_digit(&text, dice).map(|other| ("digit_changed", degrees(&other, scale))));
    }
    if let Some(more) = value.plus(Rat::whole(1)) {
        found.push(("one_more", degrees(&more.latex(), scale)));
    }
    if value.top != 0 {
        found.push(("sign_flipped", degrees(&negated(&text), scale)));
    }
    if let Some((other, name)) = in_other_scale(value, scale).filter(|(other, _)| *other != value) {
        let written = other.to_decimal().unwrap_or_else(|| other.latex());
        found.push(("other_unit", degrees(&text, name)));
        found.push(("converted_without_unit", written.clone()));
        found.push(("conversion_back", degrees(&written, scale)));
    }
    found.push(("other_dimension", format!("{text}\\text{{ kg}}")));
    found.push(("other_dimension", format!("{text}\\text{{ m}}")));
    found
}

/// Other ways to write a temperature.
pub fn temperature_forms(value: Rat, scale: char) -> Vec<Typeset> {
    let text = value.to_decimal().unwrap_or_else(|| value.latex());
    let word = if scale == 'C' { "Celsius" } else { "Fahrenheit" };
    let mut found = vec![
        ("unit_missing", text.clone()),
        ("glyph", format!("{text}\u{b0}{scale}")),
        ("glyph_spaced", format!("{text} \u{b0}{scale}")),
        ("braced_sign", format!("{text}^{{\\circ}}\\text{{{scale}}}")),
        ("mathrm", format!("{text}\\,^\\circ\\mathrm{{{scale}}}")),
        ("in_words", format!("{text}\\text{{ degrees {word}}}")),
    ];
    if let Some(((other, name), written)) =
        in_other_scale(value, scale).and_then(|(other, name)| other.to_decimal().map(|w| ((other, name), w)))
    {
        debug_assert_ne!((other, name), (value, scale));
        found.push(("converted", format!("{written}^\\circ\\text{{{name}}}")));
    }
    found
}

/// Alterations of two values written with plus-minus.
pub fn plus_minus_altered(centre: &str, distance: &str, dice: &mut Dice) -> Vec<Altered> {
    let mut found: Vec<Altered> = vec![
        ("element_dropped", format!("{centre} + {distance}")),
        ("element_dropped", format!("{centre} - {distance}")),
        ("element_alone", distance.to_owned()),
        ("factor_added", format!("{centre} \\pm 2{distance}")),
    ];
    for _ in 0..3 {
        found.extend(change_digit(distance, dice).map(|other| ("element_changed", format!("{centre} \\pm {other}"))));
    }
    if !centre.is_empty() {
        found.extend(changed(centre, dice).map(|other| ("element_changed", format!("{other} \\pm {distance}"))));
        found.push(("term_dropped", format!("\\pm {distance}")));
        found.push(("element_alone", centre.to_owned()));
    }
    found
}

/// Other ways to write two values written with plus-minus.
pub fn plus_minus_forms(centre: &str, distance: &str) -> Vec<Typeset> {
    vec![
        ("unspaced", format!("{centre}\\pm{distance}")),
        ("glyph", format!("{centre} \u{b1} {distance}")),
        ("both", format!("{centre}+{distance}, {centre}-{distance}").trim_start_matches('+').to_owned()),
        ("both_reordered", format!("{centre}-{distance}, {centre}+{distance}").replace(", +", ", ")),
        ("named", format!("x = {centre} \\pm {distance}")),
    ]
}

/// Alterations of a large power.
pub fn power_altered(base: i128, exponent: u32) -> Vec<Altered> {
    let write = |base: i128, exponent: u32| format!("{base}^{{{exponent}}}");
    vec![
        ("exponent_changed", write(base, exponent + 1)),
        ("exponent_changed", write(base, exponent - 1)),
        ("exponent_changed", write(base, exponent * 10 + 1)),
        ("base_changed", write(base + 1, exponent)),
        ("base_changed", write(base + 2, exponent)),
        ("sign_flipped", format!("-{}", write(base, exponent))),
        ("sign_flipped", write(base, exponent).replace('{', "{-")),
        ("exponent_dropped", base.to_string()),
        ("element_alone", exponent.to_string()),
        ("turned_over", write(i128::from(exponent), u32::try_from(base).unwrap_or(2))),
        ("made_product", format!("{base} \\cdot {exponent}")),
        ("term_added", format!("{}+1", write(base, exponent))),
        ("joined", format!("{base}{exponent}")),
    ]
}

/// Other ways to write a large power.
pub fn power_forms(base: i128, exponent: u32) -> Vec<Typeset> {
    vec![("parentheses", format!("({base})^{{{exponent}}}")), ("named", format!("N = {base}^{{{exponent}}}"))]
}
