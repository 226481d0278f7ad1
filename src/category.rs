//! The only rule for the category of a query without one in its input: `math`, `code`, `science` or `general`.
//!
//! The rule is cheap and covers English only: code by kind, mathematics by kind, LaTeX or words, science by words,
//! everything else is general. It is meant for balancing a dataset, not for judging one row.

use crate::domain::{Kind, Query};

/// Beginnings of words that indicate science; an entry with a final space is a whole word.
const SCIENCE: &[&str] = &[
    "acid ",
    "alkali",
    "atom ",
    "atoms ",
    "atomic",
    "bacteri",
    "biolog",
    "cell ",
    "cells ",
    "chemi",
    "chromosom",
    "circuit",
    "climate",
    "compound",
    "conduct",
    "crystal",
    "current ",
    "density",
    "disease",
    "dna ",
    "earth",
    "ecosystem",
    "electri",
    "electron",
    "element ",
    "elements ",
    "energy",
    "enzyme",
    "evolution",
    "evolv",
    "force ",
    "forces ",
    "fossil",
    "friction",
    "galax",
    "gas ",
    "gene ",
    "genes ",
    "genetic",
    "geolog",
    "gravit",
    "habitat",
    "heat ",
    "hydrogen",
    "igneous",
    "kinetic",
    "lens ",
    "light ",
    "liquid",
    "magnet",
    "metal",
    "mineral",
    "molecul",
    "momentum",
    "moon ",
    "mutation",
    "neutron",
    "nucle",
    "orbit",
    "organism",
    "oxid",
    "oxygen",
    "ph ",
    "photon",
    "photosynthe",
    "physic",
    "planet",
    "plasma",
    "predator",
    "pressure",
    "protein",
    "proton",
    "quantum",
    "radia",
    "reaction",
    "rock ",
    "rocks ",
    "sediment",
    "solar",
    "solution ",
    "soil ",
    "solvent",
    "species",
    "star ",
    "stars ",
    "telescope",
    "temperature",
    "tissue",
    "velocity",
    "virus",
    "voltage",
    "volcan",
    "wavelength",
];

/// Beginnings of words that indicate mathematics, in the same form.
const MATH: &[&str] = &[
    "algebra",
    "angle",
    "calculate",
    "circle",
    "coefficient",
    "compute ",
    "derivative",
    "divis",
    "equation",
    "evaluate ",
    "factor",
    "fraction",
    "function f",
    "group ",
    "how many",
    "how much",
    "integer",
    "integral",
    "isomorph",
    "matrix",
    "perimeter",
    "permutation",
    "polygon",
    "polynomial",
    "prime ",
    "probability",
    "remainder",
    "ring ",
    "simplify",
    "square",
    "subgroup",
    "sum of",
    "theorem",
    "triangle",
    "vector",
    "vertex",
];

/// Returns the category in the input, else the result of the rule.
#[must_use]
pub fn category(query: &Query) -> &str {
    if let Some(category) = &query.labels.category {
        return category;
    }
    match query.kind {
        Kind::Code => "code",
        Kind::Numeric => "math",
        Kind::Math | Kind::Choice | Kind::Text => of_text(query),
    }
}

fn of_text(query: &Query) -> &'static str {
    let question = &query.question;
    if question.contains("```") || question.contains("def ") || question.contains("#include") {
        return "code";
    }
    let mut words = String::with_capacity(question.len() + 2);
    for text in [question].into_iter().chain(&query.choices) {
        words.push(' ');
        words.extend(text.chars().map(|c| if c.is_alphanumeric() { c.to_ascii_lowercase() } else { ' ' }));
    }
    words.push(' ');
    let count = |list: &[&str]| list.iter().filter(|start| words.contains(&format!(" {start}"))).count();
    let (science, math) = (count(SCIENCE), count(MATH));
    let is_latex = question.contains('$') || question.contains("\\frac") || question.contains("\\(");
    match query.kind {
        // A mathematical answer decides, whatever the question is about.
        Kind::Math if is_latex || math > 0 || science == 0 => "math",
        _ if science > math => "science",
        _ if math > 0 || is_latex => "math",
        _ if science > 0 => "science",
        _ => "general",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(kind: Kind, question: &str) -> Query {
        Query { question: question.to_owned(), ..Query::blank(kind) }
    }

    #[test]
    fn the_input_decides_and_the_rule_guesses_the_rest() {
        for (kind, question, expected) in [
            (Kind::Code, "Add two numbers.", "code"),
            (Kind::Numeric, "A planet has 3 moons. How many moons have 2 planets?", "math"),
            (Kind::Math, "Solve $x^2 = 1$.", "math"),
            (Kind::Choice, "Which gas do plants take in for photosynthesis?", "science"),
            (Kind::Choice, "What is the degree of the polynomial x^2?", "math"),
            (Kind::Text, "What is the capital of France?", "general"),
            (Kind::Text, "What does def f(x): return x do?", "code"),
        ] {
            assert_eq!(category(&query(kind, question)), expected, "{question}");
        }
        let mut said = query(Kind::Code, "Add.");
        said.labels.category = Some("puzzles".to_owned());
        assert_eq!(category(&said), "puzzles");
    }
}
