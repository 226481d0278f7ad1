use proptest::prelude::*;

use super::*;

const KEY: &str = "sk-Very/Secret_0123+456789";

fn redactor() -> Redactor {
    Redactor::new(Some(&SecretString::from(KEY)))
}

/// Encodes as base64 with padding, independently of the tested code.
fn base64(bytes: &[u8], alphabet: &[u8; 64]) -> String {
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let sextet = (word >> (18 - 6 * place)) & 63;
            text.push(if place <= chunk.len() { char::from(alphabet[sextet as usize]) } else { '=' });
        }
    }
    text
}

fn json_escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("\\u{byte:04X}")).collect()
}

fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

fn forms() -> Vec<String> {
    let mut forms = vec![
        KEY.to_owned(),
        format!("Bearer {KEY}"),
        KEY.to_uppercase(),
        KEY.to_lowercase(),
        KEY.chars().rev().collect(),
        hex::encode(KEY),
        hex::encode_upper(KEY),
        json_escaped(KEY),
        json_escaped(&json_escaped(KEY)),
        json_escaped(KEY).replace('\\', "\\\\"),
        KEY.replace('/', "\\/"),
        KEY.replacen('s', "\\u0073", 1),
        percent(KEY),
        percent(&percent(KEY)),
        percent(&json_escaped(KEY)),
        json_escaped(&percent(KEY)),
        KEY.replace('/', "%2F").replace('+', "%2b"),
        KEY.bytes().map(|byte| format!("&#{byte};")).collect(),
        KEY.bytes().map(|byte| format!("&#x{byte:x};")).collect(),
        KEY.bytes().map(|byte| format!("&amp;#{byte};")).collect(),
        KEY.bytes().map(|byte| format!("\\x{byte:02x}")).collect(),
    ];
    for alphabet in [STANDARD, URL_SAFE] {
        for lead in ["", "a", "ab", "user:", "Bearer "] {
            forms.push(base64(format!("{lead}{KEY}").as_bytes(), alphabet));
            forms.push(base64(format!("{lead}{KEY} and more").as_bytes(), alphabet));
        }
        forms.push(base64(KEY.as_bytes(), alphabet).replace('/', "\\/").replace('+', "%2B"));
    }
    forms
}

#[test]
fn a_key_is_blotted_out_in_every_form() {
    let redactor = redactor();
    for form in forms() {
        for text in [form.clone(), format!("{{\"error\":\"bad key {form}, sorry\\n\"}}"), format!("{form}{form}")] {
            let redacted = redactor.text(&text);
            assert!(redacted.contains(BLOT), "{text}: {redacted}");
            assert!(!redactor.holds(&redacted), "{text}: {redacted}");
        }
    }
}

#[test]
fn what_stands_around_the_key_stays_and_json_stays_json() {
    let redactor = redactor();
    let body = |said: &str| format!(r#"{{"a":"\u00e9\\\"{said}\\frac","b":[1]}}"#);
    for form in [KEY.to_owned(), json_escaped(KEY), KEY.replace('/', "\\/")] {
        assert_eq!(redactor.text(&body(&form)), body(BLOT));
    }
    let value: Value = serde_json::from_str(&redactor.text(&body(&json_escaped(KEY).replace('\\', "\\\\")))).unwrap();
    assert_eq!(value["a"], "\u{e9}\\\"[redacted]\\frac");
}

#[test]
fn other_texts_are_not_even_copied() {
    let redactor = redactor();
    for text in
        ["", "sk-very", "100% of \\\"it\\\" \\n \\\\frac{1}{2} &amp; \\u00e9\\u00e8", "sk-Very/Secret_0123+45678"]
    {
        assert!(matches!(redactor.text(text), Cow::Borrowed(same) if same == text), "{text}");
    }
    for placeholder in ["EMPTY", "none", "sk-1234"] {
        let none = Redactor::new(Some(&SecretString::from(placeholder)));
        assert_eq!(none.text(placeholder), placeholder);
    }
    assert_eq!(Redactor::new(None).text(KEY), KEY);
    assert_eq!(format!("{redactor:?}"), "Redactor");
    // A short key may resemble a word; a word or a number is not a secret.
    let word = Redactor::new(Some(&SecretString::from("pass0word")));
    assert_eq!(word.text("Pass0word, pass0word"), "Pass0word, [redacted]");
    for placeholder in ["password", "not-needed", "12345678"] {
        assert_eq!(Redactor::new(Some(&SecretString::from(placeholder))).text(placeholder), placeholder);
    }
}

#[test]
fn a_key_that_is_part_of_the_blot_ends_the_text() {
    let odd = Redactor::new(Some(&SecretString::from("redacted]")));
    assert_eq!(odd.text("a redacted] b"), BLOT);
    let quoted = Redactor::new(Some(&SecretString::from("ab\"cd\\efgh")));
    assert_eq!(quoted.text(r#"{"x":"ab\"cd\\efgh"}"#), r#"{"x":"[redacted]"}"#);
}

#[test]
fn a_key_in_the_parts_of_a_message_is_found_where_they_are_joined() {
    let redactor = redactor();
    let (head, tail) = KEY.split_at(9);
    let part = |text: &str| json!({"type": "text", "text": text});
    let thought = |text: &str| json!({"type": "thinking", "thinking": text});
    for message in [
        json!({"content": [part(head), part(tail)]}),
        json!({"content": "5", "reasoning_details": [thought(head), thought(tail)]}),
        json!({"parts": [head, tail]}),
        json!({"content": [thought(head), thought(tail), part("5")]}),
    ] {
        let body = json!({"choices": [{"message": message, "finish_reason": "stop"}]}).to_string();
        let redacted: Value = serde_json::from_str(&redactor.body(body.clone())).unwrap();
        let found = texts(&redacted["choices"][0]["message"]);
        let all = format!("{}{}", found.content.unwrap_or_default(), found.reasoning.unwrap_or_default());
        assert!(all.contains(BLOT) && !redactor.holds(&all), "{body}: {all}");
    }
    let plain = json!({"choices": [{"message": {"content": [part("a"), part("b")]}}]}).to_string();
    assert_eq!(redactor.body(plain.clone()), plain);
}

#[test]
fn a_text_that_was_cut_ends_before_what_may_be_the_beginning_of_a_key() {
    let cut = format!("{} {}", "x".repeat(2000), &KEY[..20]);
    let kept = redactor().beginning(&cut);
    assert!(kept.len() > 1000 && !kept.contains("sk-"), "{kept}");
}

proptest! {
    #[test]
    fn any_mixture_of_escapes_is_found(choices in prop::collection::vec(0_u8..6, KEY.len()), twice in any::<bool>()) {
        let mixed: String = KEY.bytes().zip(&choices).map(|(byte, choice)| match choice {
            0 => format!("\\u{byte:04x}"),
            1 => format!("%{byte:02X}"),
            2 => format!("&#{byte};"),
            3 if byte == b'/' => "\\/".to_owned(),
            4 => char::from(byte).to_ascii_uppercase().to_string(),
            _ => char::from(byte).to_string(),
        }).collect();
        let mixed = if twice { mixed.replace('\\', "\\\\") } else { mixed };
        let redactor = redactor();
        let redacted = redactor.text(&mixed).into_owned();
        prop_assert!(redacted.contains(BLOT) && !redactor.holds(&redacted), "{} {}", mixed, redacted);
    }

    #[test]
    fn any_text_is_taken(text in "(\\\\|%|&#|u|x|;|[0-9a-f]|\u{e9}| ){0,60}") {
        prop_assert_eq!(redactor().text(&text), text.as_str());
    }
}
