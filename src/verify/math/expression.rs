//! The expression tree that the parser builds.
//!
//! The tree keeps the author's notation (decimal places, bracket shapes, percent and degree marks); `compare` decides
//! what the notation means for equality. The tree does not depend on LaTeX.

use std::collections::BTreeSet;

use dashu_ratio::RBig;

/// A bracket's shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bracket {
    /// `(` or `)`.
    Round,
    /// `[` or `]`.
    Square,
    /// A plain TeX group brace.
    Brace,
    /// An escaped brace: a set.
    Set,
    /// `\langle`, `\rangle`.
    Angle,
    /// `\lfloor`, `\rfloor`.
    Floor,
    /// `\lceil`, `\rceil`.
    Ceil,
}

/// A relation sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    /// `=`.
    Equal,
    /// `\approx`: the value after it is the value before it, rounded.
    Approx,
    /// `\neq`.
    NotEqual,
    /// `<`.
    Less,
    /// `\leq`.
    LessEqual,
    /// `>`.
    Greater,
    /// `\geq`.
    GreaterEqual,
    /// `\in`.
    In,
}

impl Relation {
    /// Returns the sign with the same meaning for exchanged sides.
    pub(super) fn flipped(self) -> Self {
        match self {
            Self::Less => Self::Greater,
            Self::LessEqual => Self::GreaterEqual,
            Self::Greater => Self::Less,
            Self::GreaterEqual => Self::LessEqual,
            same => same,
        }
    }
}

/// A named set of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Domain {
    /// The real numbers.
    Reals,
    /// The whole numbers.
    Integers,
    /// The natural numbers.
    Naturals,
    /// The rational numbers.
    Rationals,
    /// The complex numbers.
    Complex,
}

/// The separator between the answers of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Join {
    /// A comma or a new row.
    Comma,
    /// A semicolon, which binds looser than a comma.
    Semicolon,
    /// "and".
    And,
    /// "or".
    Or,
    /// Plain TeX braces, which print nothing: `{1,3}` may be a list, a set or a tuple.
    Braces,
}

/// A set operation or a ratio, which is compared part by part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    /// `\cap`.
    Intersection,
    /// `\setminus`.
    Difference,
    /// `a:b`.
    Ratio,
    /// `4 ft by 12 ft`.
    Extent,
}

/// One parsed expression.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expression {
    /// A number literal; `places` counts the digits after the decimal point, if the literal has one.
    Number { value: RBig, places: Option<u32> },
    /// Digits with a base as subscript.
    Based { digits: String, base: String },
    /// A variable or constant (`pi`, `e`, `i` included), with its subscript.
    Symbol(String),
    /// Words, lower case.
    Text(String),
    /// Positive infinity.
    Infinity,
    /// A sum.
    Sum(Vec<Expression>),
    /// A negation.
    Negate(Box<Expression>),
    /// A product.
    Product(Vec<Expression>),
    /// A fraction or division.
    Quotient(Box<Expression>, Box<Expression>),
    /// A power; roots are powers with a unit fraction.
    Power(Box<Expression>, Box<Expression>),
    /// A named function.
    Call(String, Vec<Expression>),
    /// A percentage.
    Percent(Box<Expression>),
    /// An angle in degrees.
    Degree(Box<Expression>),
    /// `a \pm b`, or `a \mp b` when `flipped`; `left` is `None` for a sign without `a`.
    PlusMinus {
        /// The term before the sign.
        left: Option<Box<Expression>>,
        /// The term after the sign.
        right: Box<Expression>,
        /// Whether the sign is `\mp`.
        flipped: bool,
    },
    /// A value followed by words: a unit or a remark.
    Quantity(Box<Expression>, String),
    /// A sum or product over whole numbers; `name` is the name of the function that represents it.
    Series {
        /// `sum` or `prod`.
        name: &'static str,
        /// The index.
        index: String,
        /// The first value of the index.
        low: Box<Expression>,
        /// Its last value.
        high: Box<Expression>,
        /// The term.
        body: Box<Expression>,
    },
    /// `a \pmod{m}`, where `a` may be a relation.
    Modulo(Box<Expression>, Box<Expression>),
    /// A named set of numbers.
    Domain(Domain),
    /// `\{x \mid conditions\}`.
    Builder(Box<Expression>, Vec<Expression>),
    /// A tuple, a vector or an interval; the brackets decide.
    Group { open: Bracket, close: Bracket, items: Vec<Expression> },
    /// A set in braces.
    Set(Vec<Expression>),
    /// Several answers without brackets, and the strongest separator between them.
    List(Vec<Expression>, Join),
    /// A union of sets.
    Union(Vec<Expression>),
    /// Another set operation, or a ratio.
    Operation(Operation, Vec<Expression>),
    /// A chain `a < b < c`: one more side than signs.
    Relation { sides: Vec<Expression>, signs: Vec<Relation> },
    /// A matrix, row by row.
    Matrix(Vec<Vec<Expression>>),
}

impl Expression {
    /// Returns the integer as an expression.
    pub(super) fn integer(value: i64) -> Self {
        Self::Number { value: RBig::from(value), places: None }
    }

    /// Calls `visit` on the expression and everything below it.
    pub(super) fn walk(&self, visit: &mut dyn FnMut(&Expression)) {
        visit(self);
        match self {
            Self::Number { .. }
            | Self::Based { .. }
            | Self::Symbol(_)
            | Self::Text(_)
            | Self::Infinity
            | Self::Domain(_) => {}
            Self::Sum(items)
            | Self::Product(items)
            | Self::Call(_, items)
            | Self::Group { items, .. }
            | Self::Set(items)
            | Self::List(items, _)
            | Self::Union(items)
            | Self::Operation(_, items)
            | Self::Relation { sides: items, .. } => items.iter().for_each(|item| item.walk(visit)),
            Self::Negate(inner) | Self::Percent(inner) | Self::Degree(inner) | Self::Quantity(inner, _) => {
                inner.walk(visit);
            }
            Self::Quotient(left, right) | Self::Power(left, right) | Self::Modulo(left, right) => {
                left.walk(visit);
                right.walk(visit);
            }
            Self::PlusMinus { left, right, .. } => {
                if let Some(left) = left {
                    left.walk(visit);
                }
                right.walk(visit);
            }
            Self::Series { low, high, body, .. } => {
                low.walk(visit);
                high.walk(visit);
                body.walk(visit);
            }
            Self::Builder(element, conditions) => {
                element.walk(visit);
                conditions.iter().for_each(|condition| condition.walk(visit));
            }
            Self::Matrix(rows) => rows.iter().flatten().for_each(|item| item.walk(visit)),
        }
    }

    /// Returns the expression with `change` applied to every part, from the leaves up.
    pub(super) fn map(self, change: &dyn Fn(Expression) -> Expression) -> Self {
        let each = |items: Vec<Self>| items.into_iter().map(|item| item.map(change)).collect::<Vec<_>>();
        let boxed = |inner: Box<Self>| Box::new(inner.map(change));
        let mapped = match self {
            leaf @ (Self::Number { .. }
            | Self::Based { .. }
            | Self::Symbol(_)
            | Self::Text(_)
            | Self::Infinity
            | Self::Domain(_)) => leaf,
            Self::Sum(items) => Self::Sum(each(items)),
            Self::Product(items) => Self::Product(each(items)),
            Self::Call(name, items) => Self::Call(name, each(items)),
            Self::Group { open, close, items } => Self::Group { open, close, items: each(items) },
            Self::Set(items) => Self::Set(each(items)),
            Self::List(items, join) => Self::List(each(items), join),
            Self::Union(items) => Self::Union(each(items)),
            Self::Operation(operation, items) => Self::Operation(operation, each(items)),
            Self::Relation { sides, signs } => Self::Relation { sides: each(sides), signs },
            Self::Negate(inner) => Self::Negate(boxed(inner)),
            Self::Percent(inner) => Self::Percent(boxed(inner)),
            Self::Degree(inner) => Self::Degree(boxed(inner)),
            Self::Quantity(inner, unit) => Self::Quantity(boxed(inner), unit),
            Self::Quotient(left, right) => Self::Quotient(boxed(left), boxed(right)),
            Self::Power(left, right) => Self::Power(boxed(left), boxed(right)),
            Self::Modulo(left, right) => Self::Modulo(boxed(left), boxed(right)),
            Self::PlusMinus { left, right, flipped } => {
                Self::PlusMinus { left: left.map(boxed), right: boxed(right), flipped }
            }
            Self::Series { name, index, low, high, body } => {
                Self::Series { name, index, low: boxed(low), high: boxed(high), body: boxed(body) }
            }
            Self::Builder(element, conditions) => Self::Builder(boxed(element), each(conditions)),
            Self::Matrix(rows) => Self::Matrix(rows.into_iter().map(each).collect()),
        };
        change(mapped)
    }

    /// Returns the expression with every occurrence of a variable replaced.
    pub(super) fn substituted(&self, name: &str, value: &Expression) -> Self {
        self.clone().map(&|part| match part {
            Self::Symbol(symbol) if symbol == name => value.clone(),
            // A subscript contains the index, and is renamed with it: `F_k`.
            Self::Symbol(symbol) => match (symbol.split_once('_'), value) {
                (Some((letter, lower)), Self::Symbol(new)) => {
                    Self::Symbol(format!("{letter}_{}", lower.replace(name, new)))
                }
                _ => Self::Symbol(symbol),
            },
            other => other,
        })
    }

    /// Returns whether a variable occurs in the expression (`pi`, `e` and `i` are constants).
    pub(super) fn has_variable(&self) -> bool {
        !self.variables().is_empty()
    }

    /// Returns the variables of the expression; indices of series are not variables.
    pub(super) fn variables(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut indices = BTreeSet::new();
        self.walk(&mut |part| match part {
            Self::Symbol(name) if !is_constant(name) => {
                found.insert(name.clone());
            }
            // The value of an unknown function is as open as a variable.
            Self::Call(name, _) if is_unknown_function(name) => {
                found.insert(name.clone());
            }
            Self::Series { index, .. } => {
                indices.insert(index.clone());
            }
            _ => {}
        });
        found.retain(|name| !indices.contains(name));
        found
    }
}

/// Returns whether a symbol is a constant rather than a variable.
pub(super) fn is_constant(name: &str) -> bool {
    matches!(name, "pi" | "e" | "i")
}

/// The suffix of the name of a function that this module does not know: `f()` of `f(0)`.
pub(super) const UNKNOWN: &str = "()";

/// Returns whether a call is one of a function of which only the name is known.
pub(super) fn is_unknown_function(name: &str) -> bool {
    name.ends_with(UNKNOWN)
}
