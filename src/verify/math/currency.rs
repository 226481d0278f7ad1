//! Currency signs, which the lexer skips: `\$48`, `18.90 \u{20ac}`.

use super::expression::Expression;

/// The signs and their units.
const SIGNS: &[(&str, &str)] =
    &[("\\$", "dollars"), ("\u{20ac}", "euros"), ("\u{a3}", "gbp"), ("\u{20b9}", "rupees"), ("\u{a2}", "cents")];

/// Adds the unit of a currency sign in the text to a single value.
pub(super) fn with_currency(text: &str, value: Expression) -> Expression {
    let Some(unit) = unit(text) else { return value };
    match value {
        Expression::Quantity(inner, words) => {
            let whole = match words.as_str() {
                // `\$5 per hour`.
                words if words.starts_with("per ") => format!("{unit} {words}"),
                "hundred" | "thousand" | "million" | "billion" | "trillion" => format!("{words} {unit}"),
                words => words.to_owned(),
            };
            Expression::Quantity(inner, whole)
        }
        single @ (Expression::Number { .. }
        | Expression::Negate(_)
        | Expression::Sum(_)
        | Expression::Product(_)
        | Expression::Quotient(..)
        | Expression::Power(..)) => Expression::Quantity(Box::new(single), unit.to_owned()),
        other => other,
    }
}

fn unit(text: &str) -> Option<&'static str> {
    let mut found = SIGNS.iter().filter(|(sign, _)| text.contains(sign));
    if let Some((_, unit)) = found.next() {
        return found.next().is_none().then_some(*unit);
    }
    // A single dollar sign is not a pair of delimiters.
    let trimmed = text.trim().trim_start_matches('-');
    let is_lone = text.matches('$').count() == 1
        && trimmed.strip_prefix('$').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    is_lone.then_some("dollars")
}
