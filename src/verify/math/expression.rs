//! The expression tree that the parser builds.
//!
//! The tree keeps what the author wrote (decimal places, bracket shapes, percent and degree marks); what these mean for
//! equality is decided in `compare`. It knows nothing of LaTeX.

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
    /// `=`, and `\approx`, which answers use for it.
    Equal,
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
    /// Returns the sign that says the same with both sides exchanged.
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

/// A set-like or ratio operation that is compared part by part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    /// `\cap`.
    Intersection,
    /// `\setminus`.
    Difference,
    /// `a:b`.
    Ratio,
}

/// One parsed expression.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expression {
    /// A number literal; `places` counts the digits after the decimal point, if there was one.
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
    /// `a \pm b`; without `a` the sign stands alone.
    PlusMinus(Option<Box<Expression>>, Box<Expression>),
    /// A tuple, a vector or an interval: the brackets tell.
    Group { open: Bracket, close: Bracket, items: Vec<Expression> },
    /// A set in braces.
    Set(Vec<Expression>),
    /// Several answers without brackets.
    List(Vec<Expression>),
    /// A union of sets.
    Union(Vec<Expression>),
    /// Another operation on sets, or a ratio.
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
            Self::Number { .. } | Self::Based { .. } | Self::Symbol(_) | Self::Text(_) | Self::Infinity => {}
            Self::Sum(items)
            | Self::Product(items)
            | Self::Call(_, items)
            | Self::Group { items, .. }
            | Self::Set(items)
            | Self::List(items)
            | Self::Union(items)
            | Self::Operation(_, items)
            | Self::Relation { sides: items, .. } => items.iter().for_each(|item| item.walk(visit)),
            Self::Negate(inner) | Self::Percent(inner) | Self::Degree(inner) => inner.walk(visit),
            Self::Quotient(left, right) | Self::Power(left, right) => {
                left.walk(visit);
                right.walk(visit);
            }
            Self::PlusMinus(left, right) => {
                if let Some(left) = left {
                    left.walk(visit);
                }
                right.walk(visit);
            }
            Self::Matrix(rows) => rows.iter().flatten().for_each(|item| item.walk(visit)),
        }
    }

    /// Returns whether a variable occurs in the expression (`pi`, `e` and `i` are constants).
    pub(super) fn has_variable(&self) -> bool {
        let mut found = false;
        self.walk(&mut |part| {
            if let Self::Symbol(name) = part {
                found |= !matches!(name.as_str(), "pi" | "e" | "i");
            }
        });
        found
    }
}
