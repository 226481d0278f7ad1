//! Property tests of equality over generated expressions: it is reflexive, symmetric and correct, and does not depend
//! on the spelling and spacing of an expression.
//!
//! The oracle shares no arithmetic with the verifier: it evaluates terms modulo a prime of 61 bits, at a few points
//! (Schwartz-Zippel: two different terms of this size agree at all of them with a chance below 1e-60).

use proptest::prelude::*;

use super::{Outcome, equal};

const PRIME: u128 = (1 << 61) - 1;
/// The values of the variables, one pair per point.
const POINTS: [[u128; 2]; 4] = [
    [1_234_567_890_123, 987_654_321],
    [55_555_555_555, 1_700_000_000_000_000],
    [3, 1_000_000_007],
    [2_000_000_000_000_000_003, 77_777],
];

/// A term with a known value, from which texts are written.
#[derive(Debug, Clone, PartialEq)]
enum Term {
    /// A whole number, not negative.
    Whole(u32),
    /// Tenths: a decimal with one place.
    Tenths(u32),
    /// A fraction of whole numbers.
    Ratio(u32, u32),
    /// `x` or `y`.
    Variable(usize),
    Negate(Box<Term>),
    Sum(Box<Term>, Box<Term>),
    Product(Box<Term>, Box<Term>),
    Quotient(Box<Term>, Box<Term>),
    Power(Box<Term>, u32),
}

use Term::{Negate, Power, Product, Quotient, Ratio, Sum, Tenths, Variable, Whole};

fn power(base: u128, mut exponent: u128) -> u128 {
    let (mut result, mut base) = (1, base % PRIME);
    while exponent > 0 {
        if exponent % 2 == 1 {
            result = result * base % PRIME;
        }
        base = base * base % PRIME;
        exponent /= 2;
    }
    result
}

impl Term {
    /// Returns the value at a point, modulo the prime; `None` for a division by zero.
    fn at(&self, point: [u128; 2]) -> Option<u128> {
        let inverse = |value: u128| (value != 0).then(|| power(value, PRIME - 2));
        Some(match self {
            Whole(value) => u128::from(*value),
            Tenths(value) => u128::from(*value) * inverse(10)? % PRIME,
            Ratio(above, below) => u128::from(*above) * inverse(u128::from(*below))? % PRIME,
            Variable(index) => point[*index],
            Negate(inner) => (PRIME - inner.at(point)?) % PRIME,
            Sum(left, right) => (left.at(point)? + right.at(point)?) % PRIME,
            Product(left, right) => left.at(point)? * right.at(point)? % PRIME,
            Quotient(above, below) => above.at(point)? * inverse(below.at(point)?)? % PRIME,
            Power(base, exponent) => power(base.at(point)?, u128::from(*exponent)),
        })
    }

    /// Returns the values at all points; `None` if one of them is undefined.
    fn values(&self) -> Option<Vec<u128>> {
        POINTS.iter().map(|point| self.at(*point)).collect()
    }

    /// Returns a term of the same value, rewritten by rules of arithmetic.
    fn rearranged(&self) -> Term {
        match self {
            Whole(value) => Ratio(*value * 6, 6),
            Tenths(value) => Ratio(*value, 10),
            Ratio(above, below) => Quotient(Box::new(Whole(*above)), Box::new(Whole(*below))),
            Variable(index) => Variable(*index),
            Negate(inner) => Product(Box::new(Negate(Box::new(Whole(1)))), Box::new(inner.rearranged())),
            Sum(left, right) => Sum(Box::new(right.rearranged()), Box::new(left.rearranged())),
            Product(left, right) => match right.as_ref() {
                Sum(first, second) => Sum(
                    Box::new(Product(left.clone(), first.clone())),
                    Box::new(Product(left.clone(), Box::new(second.rearranged()))),
                ),
                _ => Product(Box::new(right.rearranged()), Box::new(left.rearranged())),
            },
            Quotient(above, below) => Quotient(Box::new(above.rearranged()), Box::new(below.rearranged())),
            Power(base, exponent) => (1..*exponent)
                .fold(base.as_ref().clone(), |product, _| Product(Box::new(product), Box::new(base.rearranged()))),
        }
    }
}

/// Spells terms; the bytes decide every choice, cyclically.
struct Pen<'a> {
    choices: &'a [u8],
    next: usize,
}

impl Pen<'_> {
    fn choose<T: Copy>(&mut self, options: &[T]) -> T {
        let choice = self.choices[self.next % self.choices.len()];
        self.next += 1;
        options[usize::from(choice) % options.len()]
    }

    fn gap(&mut self) -> &'static str {
        self.choose(&["", " ", r"\,", r"\;", "  ", "~", r"\! "])
    }

    fn bracket(&mut self, inner: &str) -> String {
        let pairs = [("(", ")"), (r"\left(", r"\right)"), (r"\left ( ", r" \right )"), (r"\bigl(", r"\bigr)")];
        let (open, close) = self.choose(&pairs);
        format!("{open}{inner}{close}")
    }

    /// Writes a term that may be a factor or the base of a power.
    fn factor(&mut self, term: &Term) -> String {
        let inner = self.write(term);
        if matches!(term, Whole(_) | Variable(_)) { inner } else { self.bracket(&inner) }
    }

    fn write(&mut self, term: &Term) -> String {
        match term {
            Whole(value) if *value >= 1_000 => {
                let separator = self.choose(&["", "{,}", r"\,"]);
                format!("{}{separator}{:03}", value / 1_000, value % 1_000)
            }
            Whole(value) => value.to_string(),
            Tenths(value) => format!("{}.{}{}", value / 10, value % 10, self.choose(&["", "0", "00"])),
            Ratio(above, below) => self.fraction(&above.to_string(), &below.to_string()),
            Variable(index) => ["x", "y"][*index].to_owned(),
            Negate(inner) => {
                let inner = self.factor(inner);
                format!("{}{}{inner}", self.choose(&["-", "\u{2212}", "\u{2013}"]), self.gap())
            }
            Sum(left, right) => {
                let left = self.write(left);
                let right = if matches!(**right, Negate(_)) { self.factor(right) } else { self.write(right) };
                format!("{left}{}+{}{right}", self.gap(), self.gap())
            }
            Product(left, right) => {
                let (left, right) = (self.factor(left), self.factor(right));
                let sign = self.choose(&[r"\cdot ", r"\times ", "*", "\u{d7}", "\u{b7}"]);
                format!("{left}{}{sign}{}{right}", self.gap(), self.gap())
            }
            Quotient(above, below) => {
                let (above, below) = (self.write(above), self.write(below));
                self.fraction(&above, &below)
            }
            Power(base, exponent) => {
                let base = self.factor(base);
                let (open, close) = self.choose(&[("^", ""), ("^{", "}"), ("^ {", "}")]);
                format!("{base}{open}{exponent}{close}")
            }
        }
    }

    fn fraction(&mut self, above: &str, below: &str) -> String {
        match self.choose(&[r"\frac", r"\dfrac", r"\tfrac", r"\cfrac", "/"]) {
            "/" => format!("{}{}/{}{}", self.bracket(above), self.gap(), self.gap(), self.bracket(below)),
            command => format!("{command}{}{{{above}}}{{{below}}}", self.choose(&["", " "])),
        }
    }

    /// Writes a whole answer.
    fn answer(&mut self, term: &Term) -> String {
        // Inside brackets a plain comma would make a list.
        let inner = match term {
            Whole(value) if *value >= 1_000 => {
                format!("{}{}{:03}", value / 1_000, self.choose(&["", ",", r",\!"]), value % 1_000)
            }
            _ => self.write(term),
        };
        match self.choose(&["plain", "spaced", "dollars", "parens", "display", "braces"]) {
            "spaced" => format!("  {inner} "),
            "dollars" => format!("${inner}$"),
            "parens" => format!("\\( {inner} \\)"),
            "display" => format!("\\displaystyle {inner}"),
            // Braces around a comma make a set.
            "braces" if !inner.contains(',') => format!("{{{inner}}}"),
            _ => inner,
        }
    }
}

fn numbers() -> impl Strategy<Value = Term> {
    prop_oneof![
        4 => (0u32..60).prop_map(Whole),
        1 => (1_000u32..9_999).prop_map(Whole),
        1 => (1u32..60).prop_map(Tenths),
        2 => (0u32..30, 1u32..30).prop_map(|(above, below)| Ratio(above, below)),
    ]
}

fn grow(leaf: impl Strategy<Value = Term> + 'static) -> impl Strategy<Value = Term> {
    leaf.prop_recursive(3, 10, 2, |inner| {
        let boxed = || inner.clone().prop_map(Box::new);
        prop_oneof![
            (boxed(), boxed()).prop_map(|(left, right)| Sum(left, right)),
            (boxed(), boxed()).prop_map(|(left, right)| Product(left, right)),
            (boxed(), boxed()).prop_map(|(above, below)| Quotient(above, below)),
            boxed().prop_map(Negate),
            (boxed(), 2u32..4).prop_map(|(base, exponent)| Power(base, exponent)),
        ]
    })
}

fn formulas() -> impl Strategy<Value = Term> {
    grow(prop_oneof![3 => numbers(), 4 => (0usize..2).prop_map(Variable)])
}

fn spelling() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 8..40)
}

fn is_equal(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Equal(_))
}

/// Asserts that the outcomes in both directions are true.
fn check(left: (&Term, &[u8]), right: (&Term, &[u8])) -> Result<(), TestCaseError> {
    let (Some(left_values), Some(right_values)) = (left.0.values(), right.0.values()) else { return Ok(()) };
    let gold = Pen { choices: left.1, next: 0 }.answer(left.0);
    let answer = Pen { choices: right.1, next: 3 }.answer(right.0);
    for (gold, answer) in [(&gold, &answer), (&answer, &gold)] {
        let outcome = equal(gold, answer);
        if left_values == right_values {
            prop_assert!(is_equal(outcome), "{gold} against {answer}: {outcome:?}");
        } else {
            prop_assert!(matches!(outcome, Outcome::Different(_)), "{gold} against {answer}: {outcome:?}");
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_spelling_of_a_number_equals_any_other(term in grow(numbers()), one in spelling(), other in spelling()) {
        check((&term, &one), (&term, &other))?;
        check((&term, &one), (&term.rearranged(), &other))?;
    }

    #[test]
    fn any_spelling_of_a_formula_equals_any_other(term in formulas(), one in spelling(), other in spelling()) {
        check((&term, &one), (&term, &other))?;
        check((&term, &one), (&term.rearranged(), &other))?;
    }

    #[test]
    fn numbers_are_equal_exactly_if_their_values_are(left in grow(numbers()), right in grow(numbers()), one in spelling(), other in spelling()) {
        check((&left, &one), (&right, &other))?;
    }

    #[test]
    fn formulas_are_equal_exactly_if_their_values_are(left in formulas(), right in formulas(), one in spelling(), other in spelling()) {
        check((&left, &one), (&right, &other))?;
    }

    #[test]
    fn a_formula_differs_from_itself_and_one(term in formulas(), one in spelling(), other in spelling()) {
        let more = Sum(Box::new(term.clone()), Box::new(Whole(1)));
        check((&term, &one), (&more, &other))?;
        check((&term, &one), (&Negate(Box::new(more)), &other))?;
    }

    #[test]
    fn order_counts_in_tuples_and_not_in_sets(terms in prop::collection::vec(grow(numbers()), 2..5), one in spelling(), other in spelling()) {
        let values: Option<Vec<_>> = terms.iter().map(Term::values).collect();
        let Some(values) = values else { return Ok(()) };
        let is_distinct = values.iter().enumerate().all(|(index, value)| !values[..index].contains(value));
        prop_assume!(is_distinct);
        let write = |pen: &mut Pen<'_>, terms: &[Term]| {
            let parts: Vec<String> = terms.iter().map(|term| pen.write(term)).collect();
            // Without a space `1.000,0` could be one number.
            parts.join(pen.choose(&[", ", r",\ ", r",\,", ",~"]))
        };
        let plain = write(&mut Pen { choices: &one, next: 0 }, &terms);
        let respelled = write(&mut Pen { choices: &other, next: 0 }, &terms);
        let reversed: Vec<Term> = terms.iter().rev().cloned().collect();
        let reversed = write(&mut Pen { choices: &other, next: 0 }, &reversed);
        for (gold, answer, expected) in [
            (format!("({plain})"), format!("\\left({respelled}\\right)"), true),
            (format!("({plain})"), format!("({reversed})"), false),
            (format!("\\{{{plain}\\}}"), format!("\\left\\{{{respelled}\\right\\}}"), true),
            (format!("\\{{{plain}\\}}"), format!("\\{{{reversed}\\}}"), true),
            (plain.clone(), reversed.clone(), true),
        ] {
            for (gold, answer) in [(&gold, &answer), (&answer, &gold)] {
                let outcome = equal(gold, answer);
                prop_assert!(is_equal(outcome) == expected, "{} against {}: {:?}", gold, answer, outcome);
            }
        }
    }

    #[test]
    fn an_interval_has_its_ends_and_brackets(low in 0u32..50, width in 1u32..50, shapes in 0usize..16, one in spelling(), other in spelling()) {
        let (open, close) = (["(", "["][shapes & 1], [")", "]"][(shapes >> 1) & 1]);
        let (other_open, other_close) = (["(", "["][(shapes >> 2) & 1], [")", "]"][(shapes >> 3) & 1]);
        let write = |choices: &[u8], open: &str, close: &str| {
            let mut pen = Pen { choices, next: 0 };
            let (low, high) = (pen.write(&Ratio(low, 7)), pen.write(&Ratio(low + width, 7)));
            format!("{open}{low},{}{high}{close}", pen.choose(&["", " "]))
        };
        let (gold, answer) = (write(&one, open, close), write(&other, other_open, other_close));
        let outcome = equal(&gold, &answer);
        prop_assert_eq!(is_equal(outcome), (open, close) == (other_open, other_close), "{} against {}: {:?}", gold, answer, outcome);
        prop_assert_eq!(is_equal(equal(&answer, &gold)), is_equal(outcome));
    }
}
