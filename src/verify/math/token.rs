//! Tokens of LaTeX and plain mathematics; `tables` says what is called how.

use super::expression::{Bracket, Domain, Join, Relation};

/// What a token is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// A number literal as written, thousands separators removed; `repeat` holds overlined decimals.
    Number { digits: String, repeat: String },
    /// One letter, a Greek name or a symbol constant.
    Symbol(String),
    /// Words: units and prose, lower case.
    Text(String),
    /// A function that takes its argument with or without brackets.
    Function(&'static str),
    /// `\frac`.
    Fraction,
    /// `\binom`.
    Binomial,
    /// `\sqrt`.
    Root,
    /// An opening bracket.
    Open(Bracket),
    /// A closing bracket.
    Close(Bracket),
    /// `|`.
    Bar,
    /// `+`.
    Plus,
    /// `-`.
    Minus,
    /// `\pm`.
    PlusMinus,
    /// `\mp`.
    MinusPlus,
    /// An explicit multiplication sign.
    Times,
    /// `/` or `\div`.
    Divide,
    /// `^`.
    Caret,
    /// `_`.
    Underscore,
    /// `!`.
    Factorial,
    /// `%`.
    Percent,
    /// A degree sign.
    Degree,
    /// `\circ`, a degree sign when raised.
    Circle,
    /// `,`, `;`, "and", "or".
    Separator(Join),
    /// `:`.
    Colon,
    /// A relation sign.
    Relation(Relation),
    /// `\cup`.
    Union,
    /// `\cap`.
    Intersection,
    /// `\setminus`.
    SetMinus,
    /// Infinity.
    Infinity,
    /// The empty set.
    EmptySet,
    /// A set of numbers with a name of its own.
    Domain(Domain),
    /// `\mid`.
    Mid,
    /// `\mod` and its kin.
    Modulo,
    /// `\choose`.
    Choose,
    /// `\over`.
    Over,
    /// `\sum` or `\prod`.
    Series(Fold),
    /// `&`.
    Cell,
    /// `\\`.
    Row,
    /// Start of a matrix.
    BeginMatrix,
    /// End of a matrix.
    EndMatrix,
    /// Start of rows that are answers or cases.
    BeginCases,
    /// Their end.
    EndCases,
}

/// What a series does with its terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fold {
    /// `\sum`.
    Sum,
    /// `\prod`.
    Product,
}

/// A space that an author set on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Gap {
    /// None, or plain white space, which prints nothing.
    None,
    /// `\,`, `\;`, `~` and the like.
    Set,
    /// `\quad`, or a new line.
    Wide,
}

/// A token and what stood before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    /// What it is.
    pub(super) kind: Kind,
    /// Whether white space stood before it.
    pub(super) spaced: bool,
    /// The widest space that was set before it.
    pub(super) gap: Gap,
}
