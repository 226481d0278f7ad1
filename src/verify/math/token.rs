//! Tokens of LaTeX and plain mathematics; `tables` maps names to tokens.

use super::expression::{Bracket, Domain, Join, Relation};

/// The kind of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// A number literal as written, without thousands separators; `repeat` holds overlined decimals.
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
    /// `\circ`, a degree sign if raised.
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
    /// A named set of numbers.
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
    /// The start of a matrix.
    BeginMatrix,
    /// The end of a matrix.
    EndMatrix,
    /// The start of rows that are answers or cases.
    BeginCases,
    /// The end of rows that are answers or cases.
    EndCases,
}

/// The operation of a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fold {
    /// `\sum`.
    Sum,
    /// `\prod`.
    Product,
}

/// A space that an author set deliberately.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Gap {
    /// No space, or plain white space, which prints nothing.
    None,
    /// `\,`, `\;`, `~` and the like.
    Set,
    /// `\quad`, or a new line.
    Wide,
}

/// A token and the space before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    /// The kind of the token.
    pub(super) kind: Kind,
    /// Whether white space precedes the token.
    pub(super) spaced: bool,
    /// The widest deliberate space before the token.
    pub(super) gap: Gap,
}
