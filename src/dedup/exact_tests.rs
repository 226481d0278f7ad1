//! Tests of exact duplicates: the differences that do and do not change a key.

use super::*;

fn key(kind: Kind, question: &str) -> u128 {
    exact_key(kind, question, &[])
}

#[track_caller]
fn assert_same(kind: Kind, one: &str, other: &str) {
    assert_eq!(normalize(one, kind), normalize(other, kind));
    assert_eq!(key(kind, one), key(kind, other));
}

#[track_caller]
fn assert_different(kind: Kind, one: &str, other: &str) {
    assert_ne!(key(kind, one), key(kind, other), "{one:?} and {other:?}");
}

#[test]
fn whitespace_is_collapsed_and_trimmed_but_never_removed_between_words() {
    assert_same(Kind::Math, " Find  the\tsum\r\nof it. ", "Find the sum of it.");
    assert_same(Kind::Math, "Find\u{a0}the\u{2003}sum", "Find the sum");
    assert_different(Kind::Math, "a b", "ab");
    assert_different(Kind::Math, "1 2", "12");
}

#[test]
fn composed_and_decomposed_letters_are_the_same_but_compatibility_forms_are_not() {
    assert_same(Kind::Text, "caf\u{e9}", "cafe\u{301}");
    assert_different(Kind::Math, "x\u{b2}", "x2");
    assert_different(Kind::Math, "x\u{2082}", "x2");
    assert_different(Kind::Math, "1\u{bd}", "11/2");
    assert_different(Kind::Math, "\u{211d}", "R");
}

#[test]
fn typographic_quotes_and_dashes_are_unified_but_primes_and_em_dashes_are_not() {
    assert_same(Kind::Text, "\u{201c}Who\u{2019}s there?\u{201d}", "\"Who's there?\"");
    assert_same(Kind::Math, "5 \u{2212} 3", "5 - 3");
    assert_same(Kind::Text, "pages 3\u{2013}5 of the well\u{2010}known book", "pages 3-5 of the well-known book");
    assert_different(Kind::Math, "f\u{2032}(x)", "f'(x)");
    assert_different(Kind::Text, "this\u{2014}that", "this-that");
    assert_different(Kind::Text, "'what'", "\"what\"");
}

#[test]
fn invisible_break_hints_are_dropped_but_joiners_and_invisible_operators_stay() {
    assert_same(Kind::Text, "\u{feff}con\u{ad}ti\u{200b}nue", "continue");
    assert_different(Kind::Text, "a\u{200d}b", "ab");
    assert_different(Kind::Math, "a\u{2062}b", "ab");
}

#[test]
fn brackets_signs_and_punctuation_tell_questions_apart() {
    for (one, other) in [
        ("arccos(-1)", "arccos 1"),
        ("arccos(-1)", "arccos(1)"),
        ("(a+b)c", "a+bc"),
        ("[0,1)", "(0,1]"),
        ("Is it in [0,1]?", "Is it in (0,1)?"),
        ("What is 5!?", "What is 5?"),
        ("What is 5!", "What is 5"),
        ("|x|", "x"),
        ("{1,2}", "1,2"),
        ("3.14", "314"),
        ("1,000", "1.000"),
        ("a < b", "a > b"),
        ("\\frac{1}{2}", "\\frac{12}{}"),
        ("What is it?", "What is it"),
        ("-5", "5"),
        ("$5", "5"),
        ("50%", "50"),
    ] {
        assert_different(Kind::Math, one, other);
    }
}

#[test]
fn case_is_folded_in_plain_prose() {
    for (one, other) in [
        ("What is the Capital of France?", "what is the capital of france?"),
        ("WHAT IS THE CAPITAL OF FRANCE?", "What is the capital of France?"),
        ("Tom has 3 apples. He eats 2. How many are left?", "tom has 3 apples. he eats 2. how many are left?"),
        (
            "It costs $5 and 20% more, \"so\" Tom's friend (and I) paid.",
            "it costs $5 and 20% more, \"so\" tom's friend (and i) paid.",
        ),
        ("Is it so? It is!", "is it so? it is!"),
    ] {
        assert_same(Kind::Numeric, one, other);
    }
}

#[test]
fn case_stays_where_a_sign_or_symbol_may_carry_meaning() {
    for (one, other) in [
        ("Find N.", "Find n."),
        ("Which allele is dominant, A or a?", "Which allele is dominant, a or A?"),
        ("What is the symbol Co?", "What is the symbol CO?"),
        ("How much is one kB?", "How much is one KB?"),
        ("How much is 5 Mg?", "How much is 5 mg?"),
        ("How long is 5M?", "How long is 5m?"),
        ("What are AIDS?", "What are aids?"),
        ("What does mRNA do?", "What does MRNA do?"),
        ("Did US firms win?", "Did us firms win?"),
        ("Is In a metal?", "Is in a metal?"),
        ("If X = 3, what follows?", "If x = 3, what follows?"),
        ("What is \\Delta?", "What is \\delta?"),
        ("What is $N$?", "What is $n$?"),
        ("call Foo_bar", "call foo_bar"),
        ("What is \u{394} here?", "What is \u{3b4} here?"),
    ] {
        assert_different(Kind::Text, one, other);
    }
}

#[test]
fn code_keeps_indentation_newlines_and_case() {
    assert_same(Kind::Code, "\n\ndef f():\r\n    pass\n", "def f():\n    pass");
    assert_different(Kind::Code, "if a:\n    b\nc", "if a:\n    b\n    c");
    assert_different(Kind::Code, "    a\nb", "a\nb");
    assert_different(Kind::Code, "a\nb", "a b");
    assert_different(Kind::Code, "a  b", "a b");
    assert_different(Kind::Code, "Print the list", "print the list");
    assert_different(Kind::Code, "s = \u{2018}x\u{2019}", "s = 'x'");
}

#[test]
fn a_fenced_block_keeps_its_layout_in_every_kind() {
    assert_different(Kind::Text, "Why?\n```\nif a:\n  b\nc\n```", "Why?\n```\nif a:\n  b\n  c\n```");
    assert_same(Kind::Text, "Why?\nif a: b", "Why? if a: b");
}

#[test]
fn choices_and_their_order_and_the_kind_are_part_of_the_key() {
    let with = |choices: &[&str]| {
        let choices: Vec<String> = choices.iter().map(|&choice| choice.to_owned()).collect();
        exact_key(Kind::Choice, "Which one?", &choices)
    };
    assert_eq!(with(&["The  cat", "Co"]), with(&["the cat", "Co"]));
    assert_ne!(with(&["cat", "Co"]), with(&["cat", "CO"]));
    assert_ne!(with(&["a", "b"]), with(&["b", "a"]));
    assert_ne!(with(&["a", "b"]), with(&["a", "b", "c"]));
    assert_ne!(with(&["ab", "c"]), with(&["a", "bc"]));
    assert_ne!(key(Kind::Math, "q"), key(Kind::Numeric, "q"));
}

proptest::proptest! {
    #[test]
    fn normalisation_is_idempotent_and_keeps_every_sign(text in "[aAbNx0-9 .,!?()\\[\\]+*/=<>|^_\\\\{}$%'\"-]{0,40}") {
        for kind in [Kind::Math, Kind::Code] {
            let once = normalize(&text, kind);
            proptest::prop_assert_eq!(normalize(&once, kind), once.clone());
            let visible = |text: &str| {
                text.chars().filter(|character| !character.is_whitespace()).collect::<String>().to_lowercase()
            };
            proptest::prop_assert_eq!(visible(&once), visible(&text));
        }
    }
}
