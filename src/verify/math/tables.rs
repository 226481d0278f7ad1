//! The names of LaTeX commands, plain words and characters.

use super::expression::{Bracket, Domain, Join, Relation};
use super::token::{Fold, Kind};

/// Functions by name, with the canonical name.
const FUNCTIONS: &[(&str, &str)] = &[
    ("sin", "sin"),
    ("cos", "cos"),
    ("tan", "tan"),
    ("tg", "tan"),
    ("cot", "cot"),
    ("ctg", "cot"),
    ("sec", "sec"),
    ("csc", "csc"),
    ("cosec", "csc"),
    ("cis", "cis"),
    ("arcsin", "arcsin"),
    ("arccos", "arccos"),
    ("arctan", "arctan"),
    ("arctg", "arctan"),
    ("arccot", "arccot"),
    ("asin", "arcsin"),
    ("acos", "arccos"),
    ("atan", "arctan"),
    ("sinh", "sinh"),
    ("cosh", "cosh"),
    ("tanh", "tanh"),
    ("arcsinh", "arcsinh"),
    ("arccosh", "arccosh"),
    ("arctanh", "arctanh"),
    ("ln", "ln"),
    ("log", "log"),
    ("lg", "lg"),
    ("exp", "exp"),
    ("gcd", "gcd"),
    ("lcm", "lcm"),
    ("max", "max"),
    ("min", "min"),
    ("abs", "abs"),
    ("floor", "floor"),
    ("ceil", "ceil"),
    ("sgn", "sgn"),
    ("det", "det"),
    ("deg", "deg"),
    ("dim", "dim"),
    ("rank", "rank"),
    ("arg", "arg"),
    ("Re", "Re"),
    ("Im", "Im"),
];

/// Letters and constants that LaTeX spells as commands, each with its character.
const SYMBOLS: &[(&str, char)] = &[
    ("alpha", '\u{3b1}'),
    ("beta", '\u{3b2}'),
    ("gamma", '\u{3b3}'),
    ("delta", '\u{3b4}'),
    ("epsilon", '\u{3b5}'),
    ("zeta", '\u{3b6}'),
    ("eta", '\u{3b7}'),
    ("theta", '\u{3b8}'),
    ("iota", '\u{3b9}'),
    ("kappa", '\u{3ba}'),
    ("lambda", '\u{3bb}'),
    ("mu", '\u{3bc}'),
    ("nu", '\u{3bd}'),
    ("xi", '\u{3be}'),
    ("pi", '\u{3c0}'),
    ("rho", '\u{3c1}'),
    ("sigma", '\u{3c3}'),
    ("tau", '\u{3c4}'),
    ("upsilon", '\u{3c5}'),
    ("phi", '\u{3c6}'),
    ("chi", '\u{3c7}'),
    ("psi", '\u{3c8}'),
    ("omega", '\u{3c9}'),
    ("Gamma", '\u{393}'),
    ("Delta", '\u{394}'),
    ("Theta", '\u{398}'),
    ("Lambda", '\u{39b}'),
    ("Xi", '\u{39e}'),
    ("Pi", '\u{3a0}'),
    ("Sigma", '\u{3a3}'),
    ("Phi", '\u{3a6}'),
    ("Psi", '\u{3a8}'),
    ("Omega", '\u{3a9}'),
    ("ell", '\u{2113}'),
    ("hbar", '\u{210f}'),
    ("aleph", '\u{2135}'),
];

/// Other spellings of the same letter.
const SYMBOL_VARIANTS: &[(&str, &str)] = &[
    ("varepsilon", "epsilon"),
    ("vartheta", "theta"),
    ("varpi", "pi"),
    ("varrho", "rho"),
    ("varsigma", "sigma"),
    ("varphi", "phi"),
    ("imath", "i"),
    ("jmath", "j"),
];

/// Words of fewer than four letters that are never products of variables.
const SHORT_WORDS: &[&str] = &[
    "is", "the", "of", "per", "are", "for", "was", "has", "to", "no", "yes", "not", "odd", "all", "any", "one", "two",
    "six", "ten", "tie", "red", "day", "men", "boy", "way", "box", "bag", "pen", "cat", "dog", "car", "bus", "sum",
    "dne", "usd", "mon", "tue", "wed", "thu", "fri", "sat", "sun", "jan", "feb", "mar", "apr", "may", "jun", "jul",
    "aug", "sep", "oct", "nov", "dec", "sq", "deg", "our", "she", "her", "his", "him", "pie", "toy", "egg", "cup",
    "can", "pct", "cow", "hen", "pig", "cm", "mm", "km", "kg", "mg", "ft", "mph", "kph", "sec", "min", "max", "hr",
    "by", "hrs", "yd", "yds", "lb", "lbs", "oz", "ml", "gal", "pts",
];

/// Commands that change only the appearance.
const LAYOUT: &[&str] = &[
    "left",
    "right",
    "middle",
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
    "mathscr",
    "mathfrak",
    "mathbb",
    "boxed",
    "fbox",
    "framebox",
    "bf",
    "rm",
    "it",
    "sf",
    "tt",
    "thinspace",
    "medspace",
    "thickspace",
    "enspace",
    "negthinspace",
    "hfill",
    "bm",
    "mathnormal",
    "ensuremath",
    "hspace",
    "vspace",
    "noindent",
    "nonumber",
    "overline",
    "overrightarrow",
    "underline",
    "vec",
    "hat",
    "widehat",
    "bar",
    "tilde",
    "widetilde",
    "phantom",
    "mathstrut",
    "strut",
    "protect",
    "relax",
    "angle",
    "triangle",
    "measuredangle",
    "odot",
    "color",
    "large",
    "Large",
    "small",
    "normalsize",
    "par",
    "newline",
    "hline",
    "cancel",
    "mathop",
    "mathord",
    "mathrel",
    "mathbin",
    "mathopen",
    "mathclose",
    "bold",
    "pmb",
    "overbrace",
    "underbrace",
    "smash",
    "textdollar",
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
    "textmd",
    "textsl",
    "mbox",
    "hbox",
    "mathrm",
    "operatorname",
    "emph",
    "textsc",
    "rm",
];

/// Plain words that name a constant, a function or a sign.
const PLAIN_NAMES: &[&str] = &["sqrt", "infinity", "infty", "percent", "degree", "degrees", "and", "or", "mod", "cbrt"];

/// Returns the canonical name of a function, if `name` is one.
pub(super) fn function(name: &str) -> Option<&'static str> {
    FUNCTIONS.iter().find(|(spelling, _)| *spelling == name).map(|(_, canonical)| *canonical)
}

/// Returns whether the command changes only the appearance.
pub(super) fn is_layout(name: &str) -> bool {
    LAYOUT.contains(&name)
}

/// Returns whether the command's argument is words.
pub(super) fn is_word_command(name: &str) -> bool {
    WORD_COMMANDS.contains(&name)
}

/// Returns whether a run of two or three letters is a word and not a product of variables.
pub(super) fn is_short_word(name: &str) -> bool {
    // Capitals side by side name segments (`TO`, `CM`); three of them may be a word in capitals.
    let rest_is_lower = name.bytes().skip(1).all(|byte| byte.is_ascii_lowercase());
    let shouts = name.len() == 3 && name.bytes().all(|byte| byte.is_ascii_uppercase());
    let lower = name.to_ascii_lowercase();
    name == "mL" || ((rest_is_lower || shouts) && SHORT_WORDS.contains(&lower.as_str()))
}

/// Returns the letter that a command names.
pub(super) fn symbol(name: &str) -> Option<&'static str> {
    let variant = SYMBOL_VARIANTS.iter().find(|(spelling, _)| *spelling == name).map(|(_, letter)| *letter);
    variant.or_else(|| SYMBOLS.iter().find(|(spelling, _)| *spelling == name).map(|(spelling, _)| *spelling))
}

/// Returns the token that a plain word names: functions, constants, separators, percent and degrees.
pub(super) fn plain_name(word: &str) -> Option<Kind> {
    match word {
        "inf" | "oo" => Some(Kind::Infinity),
        "deg" => Some(Kind::Degree),
        "pct" => Some(Kind::Percent),
        // These words are LaTeX names only with a backslash.
        "it" | "mu" | "nu" | "xi" | "eta" | "ell" | "chi" | "psi" | "tg" | "Re" | "Im" => None,
        _ if PLAIN_NAMES.contains(&word) || function(word).is_some() || symbol(word).is_some() => command(word),
        _ => None,
    }
}

/// Returns the token of a LaTeX command.
pub(super) fn command(name: &str) -> Option<Kind> {
    let kind = match name {
        "frac" | "dfrac" | "tfrac" | "cfrac" | "sfrac" | "nicefrac" | "flatfrac" => Kind::Fraction,
        "binom" | "dbinom" | "tbinom" => Kind::Binomial,
        "choose" => Kind::Choose,
        "over" => Kind::Over,
        "sqrt" | "surd" => Kind::Root,
        "cdot" | "times" | "ast" | "bullet" | "centerdot" => Kind::Times,
        "div" | "slash" => Kind::Divide,
        "pm" => Kind::PlusMinus,
        "mp" => Kind::MinusPlus,
        "cup" | "bigcup" => Kind::Union,
        "cap" | "bigcap" => Kind::Intersection,
        "setminus" | "backslash" | "smallsetminus" => Kind::SetMinus,
        "infty" | "infinity" => Kind::Infinity,
        "emptyset" | "varnothing" | "O" => Kind::EmptySet,
        "circ" => Kind::Circle,
        "degree" | "degrees" | "textdegree" => Kind::Degree,
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
        "lparen" => Kind::Open(Bracket::Round),
        "rparen" => Kind::Close(Bracket::Round),
        "vert" | "lvert" | "rvert" | "Vert" | "lVert" | "rVert" => Kind::Bar,
        "mid" => Kind::Mid,
        "colon" => Kind::Colon,
        "and" | "land" | "wedge" => Kind::Separator(Join::And),
        "or" | "lor" | "vee" => Kind::Separator(Join::Or),
        "R" | "reals" | "Reals" => Kind::Domain(Domain::Reals),
        "Z" => Kind::Domain(Domain::Integers),
        "N" => Kind::Domain(Domain::Naturals),
        "Q" => Kind::Domain(Domain::Rationals),
        "mod" | "pmod" | "bmod" | "pod" => Kind::Modulo,
        "sum" => Kind::Series(Fold::Sum),
        "prod" => Kind::Series(Fold::Product),
        "dots" | "ldots" | "cdots" | "dotsc" | "dotsb" | "vdots" | "ddots" => Kind::Symbol("...".to_owned()),
        _ => {
            return relation(name)
                .map(Kind::Relation)
                .or_else(|| symbol(name).map(|letter| Kind::Symbol(letter.to_owned())))
                .or_else(|| function(name).map(Kind::Function));
        }
    };
    Some(kind)
}

fn relation(name: &str) -> Option<Relation> {
    Some(match name {
        "le" | "leq" | "leqslant" | "leqq" => Relation::LessEqual,
        "ge" | "geq" | "geqslant" | "geqq" => Relation::GreaterEqual,
        "lt" => Relation::Less,
        "gt" => Relation::Greater,
        "ne" | "neq" | "not=" => Relation::NotEqual,
        "approx" | "simeq" | "thickapprox" => Relation::Approx,
        "equiv" | "cong" | "doteq" => Relation::Equal,
        "in" => Relation::In,
        _ => return None,
    })
}

/// Returns the named set of `\mathbb{...}`.
pub(super) fn domain(letter: &str) -> Option<Domain> {
    Some(match letter.trim() {
        "R" => Domain::Reals,
        "Z" => Domain::Integers,
        "N" => Domain::Naturals,
        "Q" => Domain::Rationals,
        "C" => Domain::Complex,
        _ => return None,
    })
}

/// Returns the token of a character outside ASCII, or of an ASCII sign.
pub(super) fn sign(character: char) -> Option<Kind> {
    let kind = match character {
        '+' => Kind::Plus,
        '-' | '\u{2212}' | '\u{2013}' | '\u{2014}' => Kind::Minus,
        '\u{b1}' => Kind::PlusMinus,
        '\u{2213}' => Kind::MinusPlus,
        '*' | '\u{d7}' | '\u{b7}' | '\u{22c5}' | '\u{2219}' | '\u{2022}' => Kind::Times,
        '/' | '\u{f7}' | '\u{2044}' | '\u{2215}' => Kind::Divide,
        '^' => Kind::Caret,
        '_' => Kind::Underscore,
        '!' => Kind::Factorial,
        '%' => Kind::Percent,
        '\u{b0}' | '\u{ba}' | '\u{2da}' => Kind::Degree,
        '\u{2218}' => Kind::Circle,
        ',' | '\u{3001}' => Kind::Separator(Join::Comma),
        ';' => Kind::Separator(Join::Semicolon),
        '\u{2228}' => Kind::Separator(Join::Or),
        '\u{2227}' => Kind::Separator(Join::And),
        ':' | '\u{2236}' => Kind::Colon,
        '=' | '\u{2261}' => Kind::Relation(Relation::Equal),
        '\u{2248}' | '\u{2243}' => Kind::Relation(Relation::Approx),
        '<' => Kind::Relation(Relation::Less),
        '>' => Kind::Relation(Relation::Greater),
        '\u{2264}' | '\u{2a7d}' | '\u{2266}' => Kind::Relation(Relation::LessEqual),
        '\u{2265}' | '\u{2a7e}' | '\u{2267}' => Kind::Relation(Relation::GreaterEqual),
        '\u{2260}' => Kind::Relation(Relation::NotEqual),
        '\u{2208}' => Kind::Relation(Relation::In),
        '\u{222a}' => Kind::Union,
        '\u{2229}' => Kind::Intersection,
        '\u{2216}' => Kind::SetMinus,
        '\u{221e}' => Kind::Infinity,
        '\u{2205}' => Kind::EmptySet,
        '\u{221a}' => Kind::Root,
        '\u{2211}' => Kind::Series(Fold::Sum),
        '\u{211d}' => Kind::Domain(Domain::Reals),
        '\u{2124}' => Kind::Domain(Domain::Integers),
        '\u{2115}' => Kind::Domain(Domain::Naturals),
        '\u{211a}' => Kind::Domain(Domain::Rationals),
        '\u{2102}' => Kind::Domain(Domain::Complex),
        '\u{2026}' | '\u{22ef}' => Kind::Symbol("...".to_owned()),
        '(' => Kind::Open(Bracket::Round),
        ')' => Kind::Close(Bracket::Round),
        '[' => Kind::Open(Bracket::Square),
        ']' => Kind::Close(Bracket::Square),
        '{' => Kind::Open(Bracket::Brace),
        '}' => Kind::Close(Bracket::Brace),
        '\u{27e8}' | '\u{2329}' => Kind::Open(Bracket::Angle),
        '\u{27e9}' | '\u{232a}' => Kind::Close(Bracket::Angle),
        '\u{230a}' => Kind::Open(Bracket::Floor),
        '\u{230b}' => Kind::Close(Bracket::Floor),
        '\u{2308}' => Kind::Open(Bracket::Ceil),
        '\u{2309}' => Kind::Close(Bracket::Ceil),
        '|' | '\u{2223}' => Kind::Bar,
        '&' => Kind::Cell,
        _ => return greek(character),
    };
    Some(kind)
}

fn greek(character: char) -> Option<Kind> {
    let letter = match character {
        '\u{3f5}' => Some("epsilon"),
        '\u{3d1}' => Some("theta"),
        '\u{3d5}' => Some("phi"),
        '\u{b5}' => Some("mu"),
        _ => SYMBOLS.iter().find(|(_, letter)| *letter == character).map(|(name, _)| *name),
    };
    letter.map(|name| Kind::Symbol(name.to_owned()))
}

/// Returns whether words announce a rounded value.
pub(super) fn is_about(words: &str) -> bool {
    let lower = words.to_lowercase();
    let bare = lower.trim_end_matches('.');
    let bare = bare.strip_prefix("or ").unwrap_or(bare);
    matches!(
        bare,
        "about" | "approximately" | "approx" | "roughly" | "which is about" | "is about" | "is approximately"
    )
}
