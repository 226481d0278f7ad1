//! Tokens of LaTeX and plain mathematics, and the tables that name them.

use super::expression::{Bracket, Relation};

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
    /// `\pm` or `\mp`.
    PlusMinus,
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
    Separator,
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
    /// The real line.
    Reals,
    /// `&`.
    Cell,
    /// `\\`.
    Row,
    /// Start of a matrix.
    BeginMatrix,
    /// End of a matrix.
    EndMatrix,
}

/// A token and whether white space stood before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    /// What it is.
    pub(super) kind: Kind,
    /// Whether white space stood before it.
    pub(super) spaced: bool,
}

/// Functions by name, longest spelling included; the value is the canonical name.
const FUNCTIONS: &[(&str, &str)] = &[
    ("sin", "sin"),
    ("cos", "cos"),
    ("tan", "tan"),
    ("cot", "cot"),
    ("sec", "sec"),
    ("csc", "csc"),
    ("arcsin", "arcsin"),
    ("arccos", "arccos"),
    ("arctan", "arctan"),
    ("asin", "arcsin"),
    ("acos", "arccos"),
    ("atan", "arctan"),
    ("sinh", "sinh"),
    ("cosh", "cosh"),
    ("tanh", "tanh"),
    ("ln", "ln"),
    ("log", "log"),
    ("lg", "log"),
    ("exp", "exp"),
    ("gcd", "gcd"),
    ("lcm", "lcm"),
    ("max", "max"),
    ("min", "min"),
    ("abs", "abs"),
    ("floor", "floor"),
    ("ceil", "ceil"),
    ("det", "det"),
];

/// Letters and constants that LaTeX spells as commands.
const SYMBOLS: &[&str] = &[
    "alpha",
    "beta",
    "gamma",
    "delta",
    "epsilon",
    "varepsilon",
    "zeta",
    "eta",
    "theta",
    "vartheta",
    "iota",
    "kappa",
    "lambda",
    "mu",
    "nu",
    "xi",
    "rho",
    "varrho",
    "sigma",
    "tau",
    "upsilon",
    "phi",
    "varphi",
    "chi",
    "psi",
    "omega",
    "pi",
    "Gamma",
    "Delta",
    "Theta",
    "Lambda",
    "Xi",
    "Pi",
    "Sigma",
    "Phi",
    "Psi",
    "Omega",
    "ell",
    "hbar",
    "aleph",
];

/// Short words that are never products of variables.
const SHORT_WORDS: &[&str] = &[
    "is", "the", "of", "per", "are", "for", "was", "has", "to", "cm", "mm", "km", "kg", "mg", "ft", "mph", "kph",
    "sec", "min", "hr", "hrs", "yd", "lb", "lbs", "oz", "ml", "mL", "usd", "USD", "sq", "deg",
];

/// Commands that change only how things look.
const LAYOUT: &[&str] = &[
    "left",
    "right",
    "big",
    "Big",
    "bigg",
    "Bigg",
    "bigl",
    "bigr",
    "Bigl",
    "Bigr",
    "biggl",
    "biggr",
    "Biggl",
    "Biggr",
    "displaystyle",
    "textstyle",
    "scriptstyle",
    "quad",
    "qquad",
    "space",
    "limits",
    "nolimits",
    "mathbf",
    "boldsymbol",
    "mathit",
    "mathsf",
    "mathtt",
    "mathcal",
    "mathbb",
    "boxed",
    "fbox",
    "bf",
    "rm",
    "it",
    "thinspace",
    "enspace",
    "hfill",
    "bm",
    "mathnormal",
    "ensuremath",
    "hspace",
    "noindent",
    "nonumber",
    "overline",
    "overrightarrow",
    "underline",
    "vec",
    "hat",
    "widehat",
    "bar",
];

/// Commands whose argument is words.
const WORD_COMMANDS: &[&str] = &[
    "text",
    "textbf",
    "textit",
    "textrm",
    "textsf",
    "texttt",
    "textnormal",
    "textup",
    "mbox",
    "hbox",
    "mathrm",
    "operatorname",
    "emph",
    "textsc",
];

/// Returns the canonical name of a function, if `name` is one.
pub(super) fn function(name: &str) -> Option<&'static str> {
    FUNCTIONS.iter().find(|(spelling, _)| *spelling == name).map(|(_, canonical)| *canonical)
}

/// Returns whether the command only changes how things look.
pub(super) fn is_layout(name: &str) -> bool {
    LAYOUT.contains(&name)
}

/// Returns whether the command's argument is words.
pub(super) fn is_word_command(name: &str) -> bool {
    WORD_COMMANDS.contains(&name)
}

/// Returns whether a run of two or three letters is a word and not a product of variables.
pub(super) fn is_short_word(name: &str) -> bool {
    SHORT_WORDS.contains(&name)
}

/// Returns the token of a LaTeX command or of a plain word that names a sign.
pub(super) fn command(name: &str) -> Option<Kind> {
    let kind = match name {
        "frac" | "dfrac" | "tfrac" | "cfrac" | "sfrac" | "nicefrac" => Kind::Fraction,
        "binom" | "dbinom" | "tbinom" => Kind::Binomial,
        "sqrt" => Kind::Root,
        "cdot" | "times" | "ast" | "bullet" => Kind::Times,
        "div" | "slash" => Kind::Divide,
        "pm" | "mp" => Kind::PlusMinus,
        "le" | "leq" | "leqslant" => Kind::Relation(Relation::LessEqual),
        "ge" | "geq" | "geqslant" => Kind::Relation(Relation::GreaterEqual),
        "lt" => Kind::Relation(Relation::Less),
        "gt" => Kind::Relation(Relation::Greater),
        "ne" | "neq" => Kind::Relation(Relation::NotEqual),
        "approx" | "simeq" | "equiv" => Kind::Relation(Relation::Equal),
        "in" => Kind::Relation(Relation::In),
        "cup" => Kind::Union,
        "cap" => Kind::Intersection,
        "setminus" | "backslash" => Kind::SetMinus,
        "infty" | "infinity" => Kind::Infinity,
        "emptyset" | "varnothing" => Kind::EmptySet,
        "circ" => Kind::Circle,
        "degree" | "degrees" => Kind::Degree,
        "percent" => Kind::Percent,
        "lfloor" => Kind::Open(Bracket::Floor),
        "rfloor" => Kind::Close(Bracket::Floor),
        "lceil" => Kind::Open(Bracket::Ceil),
        "rceil" => Kind::Close(Bracket::Ceil),
        "langle" => Kind::Open(Bracket::Angle),
        "rangle" => Kind::Close(Bracket::Angle),
        "lbrace" => Kind::Open(Bracket::Set),
        "rbrace" => Kind::Close(Bracket::Set),
        "lbrack" => Kind::Open(Bracket::Square),
        "rbrack" => Kind::Close(Bracket::Square),
        "vert" | "lvert" | "rvert" => Kind::Bar,
        "colon" => Kind::Colon,
        "and" | "or" | "land" | "lor" => Kind::Separator,
        "R" | "reals" => Kind::Reals,
        _ if SYMBOLS.contains(&name) => Kind::Symbol(name.to_owned()),
        _ => Kind::Function(function(name)?),
    };
    Some(kind)
}

/// Returns the token of a character outside ASCII, or of an ASCII sign that stands for itself.
pub(super) fn sign(character: char) -> Option<Kind> {
    let kind = match character {
        '+' => Kind::Plus,
        '-' | '\u{2212}' | '\u{2013}' | '\u{2014}' => Kind::Minus,
        '\u{b1}' | '\u{2213}' => Kind::PlusMinus,
        '*' | '\u{d7}' | '\u{b7}' | '\u{22c5}' | '\u{2219}' => Kind::Times,
        '/' | '\u{f7}' | '\u{2044}' | '\u{2215}' => Kind::Divide,
        '^' => Kind::Caret,
        '_' => Kind::Underscore,
        '!' => Kind::Factorial,
        '%' | '\u{ff05}' => Kind::Percent,
        '\u{b0}' => Kind::Degree,
        ',' | ';' | '\u{ff0c}' | '\u{3001}' => Kind::Separator,
        ':' | '\u{2236}' | '\u{ff1a}' => Kind::Colon,
        '=' | '\u{2248}' => Kind::Relation(Relation::Equal),
        '<' => Kind::Relation(Relation::Less),
        '>' => Kind::Relation(Relation::Greater),
        '\u{2264}' => Kind::Relation(Relation::LessEqual),
        '\u{2265}' => Kind::Relation(Relation::GreaterEqual),
        '\u{2260}' => Kind::Relation(Relation::NotEqual),
        '\u{2208}' => Kind::Relation(Relation::In),
        '\u{222a}' => Kind::Union,
        '\u{2229}' => Kind::Intersection,
        '\u{2216}' => Kind::SetMinus,
        '\u{221e}' => Kind::Infinity,
        '\u{2205}' => Kind::EmptySet,
        '\u{221a}' => Kind::Root,
        '\u{211d}' => Kind::Reals,
        '\u{3c0}' => Kind::Symbol("pi".to_owned()),
        '\u{3b8}' => Kind::Symbol("theta".to_owned()),
        '\u{3b1}' => Kind::Symbol("alpha".to_owned()),
        '\u{3b2}' => Kind::Symbol("beta".to_owned()),
        '\u{3c6}' => Kind::Symbol("phi".to_owned()),
        '\u{3bb}' => Kind::Symbol("lambda".to_owned()),
        '(' | '\u{ff08}' => Kind::Open(Bracket::Round),
        ')' | '\u{ff09}' => Kind::Close(Bracket::Round),
        '[' => Kind::Open(Bracket::Square),
        ']' => Kind::Close(Bracket::Square),
        '{' => Kind::Open(Bracket::Brace),
        '}' => Kind::Close(Bracket::Brace),
        '\u{230a}' => Kind::Open(Bracket::Floor),
        '\u{230b}' => Kind::Close(Bracket::Floor),
        '|' => Kind::Bar,
        '&' => Kind::Cell,
        _ => return None,
    };
    Some(kind)
}

/// Returns the plain digit or sign of a raised character.
pub(super) fn superscript(character: char) -> Option<char> {
    Some(match character {
        '\u{b2}' => '2',
        '\u{b3}' => '3',
        '\u{b9}' => '1',
        '\u{2070}' => '0',
        '\u{2074}'..='\u{2079}' => char::from_digit(u32::from(character) - 0x2070, 10)?,
        '\u{207b}' => '-',
        '\u{207f}' => 'n',
        _ => return None,
    })
}
