//! The number formats of golds, and equivalent ways to write a number.

use super::exact::Rat;

/// How the gold writes the number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Whole,
    Decimal,
    Fraction,
    Mixed,
}

/// A rational number without its unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Number {
    pub value: Rat,
    pub form: Form,
    /// Digits as written, without sign and separators; of fractions nothing.
    pub digits: String,
    /// Top and bottom as written, of fractions.
    pub parts: Option<(i128, i128)>,
}

/// Reads a text that is a number and nothing else.
pub fn read(text: &str) -> Option<Number> {
    let text = plain(text);
    let (negative, body) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.as_str()),
    };
    let signed = |value: Rat| if negative { value.negated() } else { value };
    if let Some((whole, rest)) = mixed(body) {
        let (top, bottom, tail) = fraction(rest)?;
        let value = Rat::whole(whole).plus(Rat::new(top, bottom)?)?;
        let found =
            Number { value: signed(value), form: Form::Mixed, digits: String::new(), parts: Some((top, bottom)) };
        return tail.is_empty().then_some(found);
    }
    if let Some((top, bottom, tail)) = fraction(body) {
        let value = signed(Rat::new(top, bottom)?);
        let parts = Some((top, bottom));
        return tail.is_empty().then_some(Number { value, form: Form::Fraction, digits: String::new(), parts });
    }
    let digits = ungrouped(body)?;
    let value = signed(Rat::decimal(&digits)?);
    let form = if digits.contains('.') { Form::Decimal } else { Form::Whole };
    Some(Number { value, form, digits, parts: None })
}

/// Takes away what only spaces: `\,`, `\!`, braces around a separator, the short names of fractions.
pub fn plain(text: &str) -> String {
    let mut text = text.trim().trim_matches('$').trim().to_owned();
    for (from, to) in [
        (" \\!", "\\!"),
        ("\\! ", ""),
        ("\\!", ""),
        ("{,}", ","),
        ("\\dfrac", "\\frac"),
        ("\\tfrac", "\\frac"),
        ("\u{2212}", "-"),
    ] {
        text = text.replace(from, to);
    }
    text.strip_prefix("- ").map_or(text.clone(), |rest| format!("-{rest}"))
}

fn ungrouped(body: &str) -> Option<String> {
    if !body.contains(',') {
        return body.chars().all(|c| c.is_ascii_digit() || c == '.').then(|| body.to_owned()).filter(|b| !b.is_empty());
    }
    let (whole, places) = body.split_once('.').map_or((body, None), |(whole, places)| (whole, Some(places)));
    let groups: Vec<&str> = whole.split(',').collect();
    let first = groups.first()?;
    let fits = (1..=3).contains(&first.len())
        && !first.starts_with('0')
        && groups.iter().skip(1).all(|group| group.len() == 3);
    let digits = groups.concat();
    if !fits || !digits.chars().all(|c| c.is_ascii_digit()) {
        return None;
    }
    Some(places.map_or(digits.clone(), |places| format!("{digits}.{places}")))
}

fn mixed(body: &str) -> Option<(i128, &str)> {
    let end = body.find("\\frac")?;
    let whole: i128 = body.get(..end)?.trim().parse().ok()?;
    Some((whole, body.get(end..)?))
}

/// Reads `\frac{a}{b}`, `\frac ab` or `a/b`; returns what follows it too.
fn fraction(body: &str) -> Option<(i128, i128, &str)> {
    if let Some(rest) = body.strip_prefix("\\frac") {
        let (top, rest) = argument(rest)?;
        let (bottom, rest) = argument(rest)?;
        return Some((top, bottom, rest));
    }
    let (top, bottom) = body.split_once('/')?;
    let whole =
        |text: &str| text.trim().parse::<i128>().ok().filter(|_| text.trim().chars().all(|c| c.is_ascii_digit()));
    Some((whole(top)?, whole(bottom)?, ""))
}

fn argument(text: &str) -> Option<(i128, &str)> {
    let text = text.trim_start();
    if let Some(rest) = text.strip_prefix('{') {
        let (inner, rest) = rest.split_once('}')?;
        return Some((ungrouped(inner.trim())?.parse().ok()?, rest));
    }
    let digit = text.chars().next().filter(char::is_ascii_digit)?;
    Some((i128::from(digit.to_digit(10)?), text.get(1..)?))
}

/// Writes a whole number with a separator between groups of three.
pub fn grouped(number: i128, separator: &str) -> String {
    let digits = number.abs().to_string();
    let mut found = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            found.push_str(separator);
        }
        found.push(digit);
    }
    if number < 0 { format!("-{found}") } else { found }
}

/// Writes a whole number below a million in English words.
pub fn words(number: i128) -> Option<String> {
    const SMALL: [&str; 20] = [
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "thirteen",
        "fourteen",
        "fifteen",
        "sixteen",
        "seventeen",
        "eighteen",
        "nineteen",
    ];
    const TENS: [&str; 10] = ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];
    let at = usize::try_from(number).ok().filter(|&n| n < 100)?;
    match (at / 10, at % 10) {
        (0 | 1, _) => Some(SMALL[at].to_owned()),
        (tens, 0) => Some(TENS[tens].to_owned()),
        (tens, ones) => Some(format!("{}-{}", TENS[tens], SMALL[ones])),
    }
}

/// Returns other ways to write the same number, each with its name.
pub fn forms(number: &Number) -> Vec<(&'static str, String)> {
    let value = number.value;
    let mut found = Vec::new();
    if value.is_whole() {
        whole_forms(value.top, &mut found);
    } else {
        broken_forms(value, &mut found);
    }
    if value.top < 0 {
        let size = value.negated().latex();
        for (name, minus) in
            [("unicode_minus", "\u{2212}"), ("spaced_minus", "- "), ("braced_minus", "{-}"), ("en_dash", "\u{2013}")]
        {
            found.push((name, format!("{minus}{size}")));
        }
    }
    found
}

fn whole_forms(number: i128, found: &mut Vec<(&'static str, String)>) {
    found.push(("point_zero", format!("{number}.0")));
    found.push(("point_zero_zero", format!("{number}.00")));
    if number.abs() >= 1000 {
        for (name, separator) in [
            ("comma", ","),
            ("braced_comma", "{,}"),
            ("thin_latex", "\\,"),
            ("comma_nudged", "\\!,\\!"),
            ("comma_half_nudged", ",\\!"),
            ("space", " "),
            ("thin_space", "\u{2009}"),
            ("narrow_space", "\u{202f}"),
        ] {
            found.push((name, grouped(number, separator)));
        }
    }
    let zeros = number.to_string().len() - number.to_string().trim_end_matches('0').len();
    if let (3.., Ok(zeros)) = (zeros, u32::try_from(zeros)) {
        let lead = number / 10i128.pow(zeros);
        if lead.abs() < 10 {
            found.push(("power_of_ten", format!("{lead}\\times 10^{{{zeros}}}")));
            found.push(("power_of_ten_dot", format!("{lead} \\cdot 10^{zeros}")));
            found.push(("exponent", format!("{lead}e{zeros}")));
        }
    }
    if number > 0 {
        found.push(("fullwidth", number.to_string().chars().map(fullwidth).collect()));
    }
    if (1..10).contains(&number.abs()) {
        return;
    }
    if number > 0 && number < 1000 {
        found.push(("leading_zero", format!("0{number}")));
    }
}

fn fullwidth(c: char) -> char {
    c.to_digit(10).and_then(|digit| char::from_u32(0xff10 + digit)).unwrap_or(c)
}

fn broken_forms(value: Rat, found: &mut Vec<(&'static str, String)>) {
    let (top, bottom) = (value.top.abs(), value.bottom);
    let sign = if value.top < 0 { "-" } else { "" };
    for (name, command) in [("frac", "\\frac"), ("dfrac", "\\dfrac"), ("tfrac", "\\tfrac"), ("cfrac", "\\cfrac")] {
        found.push((name, format!("{sign}{command}{{{top}}}{{{bottom}}}")));
    }
    found.push(("slash", format!("{sign}{top}/{bottom}")));
    found.push(("spaced_frac", format!("{sign}\\frac{{ {top} }}{{ {bottom} }}")));
    found.push(("parenthesised", format!("\\left({sign}\\frac{{{top}}}{{{bottom}}}\\right)")));
    found.push(("over", format!("{sign}{{{top} \\over {bottom}}}")));
    found.push(("unreduced", format!("{sign}\\frac{{{}}}{{{}}}", 3 * top, 3 * bottom)));
    if top < 10 && bottom < 10 {
        found.push(("short_frac", format!("{sign}\\frac{top}{bottom}")));
        found.push(("short_dfrac", format!("{sign}\\dfrac{top}{bottom}")));
        found.push(("spaced_short_frac", format!("{sign}\\frac {top} {bottom}")));
    }
    if value.top < 0 {
        found.push(("minus_on_top", format!("\\frac{{-{top}}}{{{bottom}}}")));
        found.push(("minus_below", format!("\\frac{{{top}}}{{-{bottom}}}")));
    }
    if top > bottom {
        let rest = top % bottom;
        found.push(("mixed", format!("{sign}{}\\frac{{{rest}}}{{{bottom}}}", top / bottom)));
        // Three digits behind a space would look like a group of thousands.
        if rest < 100 {
            found.push(("mixed_plain", format!("{sign}{} {rest}/{bottom}", top / bottom)));
        }
    }
    if let Some(glyph) = vulgar(top, bottom) {
        found.push(("vulgar_fraction", format!("{sign}{glyph}")));
    }
    match value.to_decimal() {
        Some(decimal) => {
            if let Some(rest) = decimal.strip_prefix("0.") {
                found.push(("bare_point", format!(".{rest}")));
            }
            found.push(("trailing_zero", format!("{decimal}0")));
            found.push(("fraction_is_decimal", format!("{} = {decimal}", value.latex())));
            found.push(("decimal", decimal));
        }
        None => {
            let rounded = value.rounded(2).filter(|_| top > bottom).or_else(|| value.rounded(4)).unwrap_or_default();
            found.push(("with_decimal", format!("{}\\approx {rounded}", value.latex())));
            found.push(("with_decimal_about", format!("{} \\text{{ (about }}{rounded}\\text{{)}}", value.latex())));
        }
    }
}

fn vulgar(top: i128, bottom: i128) -> Option<char> {
    [
        (1, 2, '\u{bd}'),
        (1, 4, '\u{bc}'),
        (3, 4, '\u{be}'),
        (1, 3, '\u{2153}'),
        (2, 3, '\u{2154}'),
        (1, 8, '\u{215b}'),
        (3, 8, '\u{215c}'),
        (5, 8, '\u{215d}'),
        (1, 5, '\u{2155}'),
    ]
    .into_iter()
    .find(|&(a, b, _)| (a, b) == (top, bottom))
    .map(|(.., glyph)| glyph)
}
