//! Almost valid JSON objects of judges, and LaTeX in them.

use proptest::prelude::*;

use super::*;

/// Commands whose first letter is a JSON escape.
const COMMANDS: &[&str] = &[
    "backslash",
    "bar",
    "because",
    "beta",
    "beth",
    "bf",
    "bigcap",
    "bigcup",
    "binom",
    "blacksquare",
    "boldsymbol",
    "bot",
    "boxed",
    "breve",
    "bullet",
    "bmod",
    "begin",
    "fbox",
    "flat",
    "forall",
    "frac",
    "frown",
    "footnotesize",
    "nabla",
    "natural",
    "ne",
    "nearrow",
    "neg",
    "neq",
    "newline",
    "nexists",
    "ngeq",
    "ni",
    "nleq",
    "nmid",
    "nolimits",
    "nonumber",
    "not",
    "notin",
    "nparallel",
    "nrightarrow",
    "nsubseteq",
    "nu",
    "nwarrow",
    "rangle",
    "rbrace",
    "rceil",
    "Re",
    "rfloor",
    "rho",
    "right",
    "rightarrow",
    "rightleftharpoons",
    "rm",
    "root",
    "rtimes",
    "rule",
    "tan",
    "tanh",
    "tau",
    "tbinom",
    "text",
    "textbf",
    "textit",
    "textrm",
    "tfrac",
    "therefore",
    "theta",
    "tilde",
    "times",
    "to",
    "top",
    "triangle",
    "triangleq",
    "twoheadrightarrow",
    "underbrace",
    "underline",
    "unlhd",
    "uparrow",
    "updownarrow",
    "uplus",
    "upsilon",
    "uuparrow",
    "cdot",
    "alpha",
    "sqrt",
    "le",
    "pi",
    "sum",
    "int",
    "mathbb",
    "Delta",
    "left",
    "quad",
];

fn object(text: &str) -> String {
    format!("{{\"analysis\": \"{text}\"}}")
}

#[test]
fn every_command_survives_unescaped_and_escaped() {
    for command in COMMANDS {
        for around in ["$2 \\@{x}$ is it", "so \\(x \\@ y\\) is it", "with $\\@$", "as in \\[\\@ 3\\] here"] {
            let text = around.replace('@', command);
            let said = find_analysis(&object(&text));
            assert_eq!(said.as_deref(), Ok(text.as_str()), "{command}");
            let escaped = object(&text.replace('\\', "\\\\"));
            assert_eq!(find_analysis(&escaped).as_deref(), Ok(text.as_str()), "{command}, escaped");
        }
    }
}

#[test]
fn a_reply_full_of_latex_keeps_all_of_it() {
    let text = r"It asks for $3 \times 4$ over $\frac{1}{2}$ with $\theta$ and $\beta$ near $\rho$ and $\nabla f \neq 0$, one step.";
    assert_eq!(find_analysis(&object(text)).as_deref(), Ok(text));
    let text = r"It only needs one sum \( a + b \) that is read off \textbf{directly}.";
    assert_eq!(find_analysis(&object(text)).as_deref(), Ok(text));
    let text = "It only needs one sum.\nA short reply is enough here.";
    assert_eq!(find_analysis(&object(text)).as_deref(), Ok(text));
}

#[test]
fn true_line_breaks_and_tabs_stay() {
    for text in [
        "One step.\nNext, a second one.",
        "One step.\nexcept for this.",
        "One step.\nu is free, \ne is not.",
        "One step.\nexists here, and\nparallel lines,\nsim or less,\ncong.",
        "One.\rTwo.",
        "It is\nno matter, a\tan b and\to c.",
        "One.\r\nTwo.\r\n\r\nThree.",
        "The cost is $5.\nNo more \\$ are due.\ne is a number.",
    ] {
        let json = serde_json::json!({"analysis": text}).to_string();
        assert_eq!(find_analysis(&json).as_deref(), Ok(text));
    }
}

#[test]
fn what_is_nearly_json_is_read() {
    let text = "Two rates must be combined: that's \"one\" step, or two.";
    let quoted = text.replace('"', "\\\"");
    for content in [
        format!("{{\"analysis\": \"{quoted}\",}}"),
        format!("{{\"analysis\": \"{text}\"}}"),
        format!("{{'analysis': '{text}'}}"),
        format!("{{\u{201c}analysis\u{201d}: \u{201c}{text}\u{201d}}}"),
        format!("{{\"Analysis\": \"{quoted}\"}}"),
        format!("{{\"ANALYSIS \": \"{quoted}\", \"x\": [1, {{\"a\": null}}], }}"),
        format!("{{analysis: \"{quoted}\"}}"),
        format!("[{{\"analysis\": \"{quoted}\"}}]"),
        format!("[{{\"analysis\": \"{quoted}\",}},]"),
        format!("```json\n{{\n  \"analysis\": \"{quoted}\",\n}}\n```\nThat's {{it}}."),
        format!("{{\"mode\": 'on', \"score\": 7, \"ok\": True, \"analysis\": \"{quoted}\"}}"),
        format!("{{\"analysis\": \"{text}\", \"mode\": \"on\"}}"),
        format!("{{\"analysis\": \"{text}\", mode: 7}}"),
    ] {
        assert_eq!(find_analysis(&content).as_deref(), Ok(text), "{content}");
    }
}

#[test]
fn raw_line_breaks_and_lone_backslashes_stand_for_themselves() {
    for (content, text) in [
        ("{\"analysis\": \"One.\nTwo\there.\"}", "One.\nTwo\there."),
        (
            r#"{"analysis": "a sum \( a + b \) of C:\dir and \d+ is 50\% done"}"#,
            r"a sum \( a + b \) of C:\dir and \d+ is 50\% done",
        ),
        (r#"{"analysis": "\underline{x} \u0041 \ud83d\ude00 \uzzzz"}"#, "\\underline{x} A \u{1f600} \\uzzzz"),
        (r#"{"analysis": "set \{1, 2\} and \_ here"}"#, r"set \{1, 2\} and \_ here"),
    ] {
        assert_eq!(find_analysis(content).as_deref(), Ok(text), "{content}");
    }
}

#[test]
fn what_is_no_object_or_is_cut_off_stays_malformed() {
    for content in [
        "no object",
        "{it}",
        "{\"analysis\": \"cut",
        "{\"analysis\": 7}",
        "{\"text\": \"x\"}",
        "{'analysis': 'cut",
        "{\"analysis\": [\"x\"]}",
        "{",
        "{{{{",
        "{\"analysis\": \"one\\",
        "{\"analysis\": \"one\\u12",
    ] {
        assert!(find_analysis(content).is_err(), "{content}");
    }
    let deep = "{\"a\":".repeat(5000);
    assert!(find_analysis(&deep).is_err());
}

proptest! {
    #[test]
    fn valid_json_without_control_characters_is_read_as_it_is(text in "[ -~\u{e9}\u{4e00}]{0,80}") {
        let json = serde_json::json!({"analysis": text}).to_string();
        prop_assert_eq!(find_analysis(&json), Ok(text));
    }

    #[test]
    fn nothing_panics(text in "[\\{\\}\\[\\]\"',:\\\\ a-z\u{201c}\u{201d}\n]{0,60}") {
        let _ = find_analysis(&text);
        let _ = find_analysis(&format!("{{\"analysis\": \"{text}"));
    }
}
