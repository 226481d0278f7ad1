//! Detects API keys in the config, where names of environment variables are expected. A suspected key is never printed.

use std::collections::BTreeMap;

use serde_json::Value;

use super::fault::SettingFault;

/// Prefixes of the keys of common providers.
const PREFIXES: &[&str] = &[
    "sk-",
    "sk_",
    "pk-",
    "pk_",
    "rk_",
    "hf_",
    "gsk_",
    "xai-",
    "AIza",
    "ghp_",
    "gho_",
    "github_pat_",
    "glpat-",
    "nvapi-",
    "r8_",
    "AKIA",
    "ya29.",
    "eyJ",
    "pplx-",
    "fw_",
    "tgp_v1_",
    "key-",
    "xox",
    "dsk-",
    "sess-",
];
/// Shortest text that is taken for a key by its beginning, and one by what it is made of, in bytes.
const PREFIXED_BYTES_MIN: usize = 12;
const RANDOM_BYTES_MIN: usize = 20;
/// Shortest part without an underscore that looks drawn at random, in bytes.
const RANDOM_PART_BYTES_MIN: usize = 16;

/// Returns whether a text looks like a key: it begins like one, or is long and looks drawn at random.
#[must_use]
pub fn looks_like_key(text: &str) -> bool {
    let text = text.trim();
    let text = text.strip_prefix("Bearer").map_or(text, str::trim_start);
    let has = |part: &str, is: fn(&u8) -> bool| part.as_bytes().iter().any(is);
    let is_mixed = |part: &str| {
        has(part, u8::is_ascii_digit) && has(part, u8::is_ascii_alphabetic)
            || has(part, u8::is_ascii_lowercase) && has(part, u8::is_ascii_uppercase)
    };
    let begins = PREFIXES.iter().find_map(|prefix| text.strip_prefix(prefix));
    let is_prefixed = begins.is_some_and(|rest| text.len() >= PREFIXED_BYTES_MIN && is_mixed(rest));
    let is_plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.+/=~".contains(&byte));
    let is_random = |part: &str| {
        part.len() >= RANDOM_PART_BYTES_MIN && has(part, u8::is_ascii_digit) && has(part, u8::is_ascii_alphabetic)
    };
    is_prefixed || (is_plain && text.len() >= RANDOM_BYTES_MIN && text.split('_').any(is_random))
}

/// Returns what is wrong with the name of an environment variable that holds a key, without showing it.
#[must_use]
pub fn key_name_problem(name: &str) -> Option<&'static str> {
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !name.starts_with(|c: char| c.is_ascii_digit());
    // Keys mix upper and lower case, or have many digits.
    let digits = name.bytes().filter(u8::is_ascii_digit).count();
    let is_shouted = !name.bytes().any(|byte| byte.is_ascii_lowercase()) && digits <= 3 && !name.starts_with("AKIA");
    if looks_like_key(name) && !(is_name && is_shouted) {
        return Some(
            "holds a text that looks like a key (not shown here), expected the name of an environment variable with \
             the key: remove the key from this file, export it, and write the variable's name (other programs may have \
             read a key in a file: consider a new key)",
        );
    }
    (!is_name).then_some("is not a name of an environment variable: letters, digits and _ (its value is not shown)")
}

pub(super) fn check_name(key: &'static str, name: &str) -> Result<(), SettingFault> {
    key_name_problem(name).map_or(Ok(()), |problem| Err((key, problem.to_owned())))
}

/// Rejects API keys among the extra keys of a body, because the run stores them.
pub(super) fn check_extra(key: &'static str, extra: &BTreeMap<String, Value>) -> Result<(), SettingFault> {
    match extra.iter().find_map(|(name, value)| secret_at(name, value)) {
        None => Ok(()),
        Some(name) => Err((
            key,
            format!(
                "holds a text that looks like a key under \"{name}\" (not shown here); put the key into the environment"
            ),
        )),
    }
}

/// Finds a text that looks like a key under a name that is common for secrets.
fn secret_at(name: &str, value: &Value) -> Option<String> {
    const NAMES: &[&str] = &["key", "token", "secret", "password", "authorization", "auth", "bearer"];
    match value {
        Value::String(text) => {
            let lower = name.to_lowercase();
            let words: Vec<&str> = lower.split(|c: char| !c.is_ascii_alphanumeric()).collect();
            // The key of a prompt cache is not a secret.
            let is_secret = !words.contains(&"cache")
                && words
                    .iter()
                    .any(|word| NAMES.contains(&word.strip_suffix('s').unwrap_or(word)) || *word == "apikey");
            (is_secret && looks_like_key(text)).then(|| name.to_owned())
        }
        // The parser of the config bounds the depth of this JSON.
        Value::Object(object) => object.iter().find_map(|(name, value)| secret_at(name, value)),
        Value::Array(items) => items.iter().find_map(|value| secret_at(name, value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

/// Redacts texts that look like keys in a parser's message, which quotes the line of the config.
#[must_use]
pub(super) fn without_keys(text: &str) -> String {
    let is_between = |c: char| c.is_whitespace() || "\"'`=,;:()[]{}<>|".contains(c);
    let mut shown = String::with_capacity(text.len());
    for piece in text.split_inclusive(is_between) {
        let word = piece.trim_end_matches(is_between);
        let is_path = word.contains('/') && !word.starts_with("sk-");
        shown.push_str(if looks_like_key(word) && !is_path { "[not shown]" } else { word });
        shown.push_str(piece.get(word.len()..).unwrap_or_default());
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_variables_are_no_keys() {
        for name in [
            "",
            "DEEPSEEK_API_KEY",
            "OPENAI_API_KEY2",
            "my_key",
            "HF_TOKEN",
            "hf_token_for_ci",
            "_K",
            "AZURE_OPENAI_EASTUS2_KEY",
            "THINKLOOM_IT_ABSENT_KEY",
            "MYCOMPANYGATEWAY2_API_KEY",
            "SOME_VERY_LONG_NAME_OF_A_VARIABLE_THAT_HOLDS_THE_KEY_OF_A_PROVIDER_1",
        ] {
            assert_eq!(key_name_problem(name), None, "{name}");
        }
    }

    #[test]
    fn keys_are_known_and_their_problem_does_not_show_them() {
        for key in [
            "sk-0123456789abcdef",
            "sk-proj-AbCdEfGhIjKlMnOp",
            "hf_AbCdEfGhIjKlMnOpQrStUvWxYz",
            "gsk_0123456789abcdefghijkl",
            "AKIAIOSFODNN7EXAMPLE",
            "9f86d081884c7d659a2feaa0c55ad015",
            "Bearer sk-0123456789abcdef",
            "eyJhbGciOiJIUzI1NiJ9.e30.abc",
            "0123456789abcdef0123.AbCdEf",
            "sk_live_51Habcdefghijk",
        ] {
            assert!(looks_like_key(key), "{key}");
            assert!(key_name_problem(key).is_some_and(|problem| problem.contains("not shown")), "{key}");
            assert!(!without_keys(&format!("1 | api_key_env = \"{key}\"")).contains(key.trim_start_matches("Bearer ")));
        }
        for odd in ["my key", "A=B", "7UP", "a-b", "caf\u{e9}", "short-key"] {
            assert!(key_name_problem(odd).is_some_and(|problem| !problem.contains(odd)), "{odd}");
        }
    }

    #[test]
    fn what_a_parser_says_of_other_lines_stays() {
        let text = "TOML parse error at line 12, column 3\n   |\n12 | temperature = \"hot\"\n   | ^^^\ninvalid type: string \"hot\"\n";
        assert_eq!(without_keys(text), text);
    }

    #[test]
    fn keys_among_extra_keys_are_found_by_name_and_look() {
        let extra = |text: &str| serde_json::from_str::<BTreeMap<String, Value>>(text).unwrap();
        let bad = extra(r#"{"metadata": {"headers": [{"Authorization": "Bearer sk-0123456789abcdef"}]}}"#);
        let (_, problem) = check_extra("judge.extra", &bad).unwrap_err();
        assert!(problem.contains("Authorization") && !problem.contains("sk-"), "{problem}");
        for good in [
            r#"{"thinking": {"type": "disabled"}}"#,
            r#"{"prompt_cache_key": "0d9f1c5e-7a31-4e0b-9c68-2f6f5f1f7a90"}"#,
            r#"{"n_tokens": 7}"#,
            r#"{"tokenizer": "Qwen/Qwen3-30B-A3B-Instruct-2507"}"#,
        ] {
            assert_eq!(check_extra("judge.extra", &extra(good)), Ok(()), "{good}");
        }
    }
}
