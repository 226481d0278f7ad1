//! Converts reference answers as datasets write them to the form with which a response is compared.
//!
//! A gold is a text, a number or a boolean; a list of one of these, also a list in a text (`["5"]`); an object with a
//! member `value`, `text` or similar; or a chat, whose gold is the assistant's answer. The gold of a worked solution is
//! the text after its last `####`, in `<answer>` tags, or in its last box. A list of several equal golds is that gold.
//! Of a list of programs, and of a list with alternative forms of one answer (`answers.text`, `aliases`), the gold is
//! the first item. Any other list is rejected, because the row does not state whether one item or all items are
//! required.

use serde_json::Value;

use super::chat::{self, Chat};
use super::literal::{self, Literal};
use crate::domain::Kind;

/// Members of an object that contain its gold, in the order of the search.
const MEMBERS: [&str; 9] =
    ["ground_truth", "value", "answer", "final_answer", "text", "target", "gold", "label", "content"];
/// Names of lists whose items are alternative forms of one answer.
const WAYS: [&str; 6] = ["text", "texts", "aliases", "answers", "answer_aliases", "normalized_aliases"];
/// The maximum depth of nested lists and objects.
const DEPTH_MAX: usize = 4;

/// Returns the gold in a value with this name; empty if there is none. `question` is the question that it answers.
///
/// # Errors
/// A description of the value.
pub(super) fn read(value: &Value, name: &str, kind: Kind, question: &str) -> Result<String, String> {
    if let Some(chat) = Chat::read(value) {
        let answer = chat?.answer().unwrap_or_default().to_owned();
        return Ok(distilled(&answer, kind).to_owned());
    }
    let last = name.rsplit(['.', '+']).next().unwrap_or_default();
    let text = scalar(value, last, kind, question, 0)?;
    Ok(if kind == Kind::Code { text } else { distilled(&text, kind).to_owned() })
}

fn scalar(value: &Value, name: &str, kind: Kind, question: &str, depth: usize) -> Result<String, String> {
    if depth > DEPTH_MAX {
        return Err("nested too deeply".to_owned());
    }
    match value {
        Value::Null => Ok(String::new()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(truth) => Ok(worded(*truth, question).to_owned()),
        Value::String(text) if kind == Kind::Code => Ok(text.clone()),
        Value::String(text) => match listed(text) {
            Some(items) => one_of(&items, name, kind, question, depth),
            None => Ok(told(text, question).unwrap_or(text).to_owned()),
        },
        Value::Array(items) => one_of(items, name, kind, question, depth),
        Value::Object(members) => {
            let member = MEMBERS.into_iter().find_map(|name| Some((name, members.get(name)?)));
            let Some((name, value)) = member else {
                let names: Vec<&str> = members.keys().map(String::as_str).take(8).collect();
                return Err(format!("an object of {}", names.join(", ")));
            };
            scalar(value, name, kind, question, depth + 1)
        }
    }
}

fn one_of(items: &[Value], name: &str, kind: Kind, question: &str, depth: usize) -> Result<String, String> {
    let mut golds: Vec<String> = Vec::new();
    for item in items {
        let gold = scalar(item, name, kind, question, depth + 1)?;
        if !gold.trim().is_empty() && golds.iter().all(|known| known.trim() != gold.trim()) {
            golds.push(gold);
        }
    }
    let is_first_enough = kind == Kind::Code || WAYS.contains(&name);
    match golds.as_slice() {
        [] => Ok(String::new()),
        [one] => Ok(one.clone()),
        [first, ..] if is_first_enough => Ok(first.clone()),
        [first, second, ..] => {
            let short = |text: &str| text.chars().take(20).collect::<String>();
            Err(format!("a list of {} different answers ({}; {})", golds.len(), short(first), short(second)))
        }
    }
}

/// Returns the items of a list of strings in a text. `[5]` and `[0, 1)` are mathematics.
fn listed(text: &str) -> Option<Vec<Value>> {
    let text = text.trim();
    let quoted = |end: &str| text.starts_with(&format!("[{end}")) && text.ends_with(&format!("{end}]"));
    if !(quoted("\"") || quoted("'")) {
        return None;
    }
    let Literal::List(items) = literal::parse(text)? else { return None };
    let is_text = |item: &Literal| matches!(item, Literal::Text(_));
    items.iter().all(is_text).then(|| items.into_iter().map(chat::value_of).collect())
}

/// Returns a boolean in the words that answer the question.
fn worded(truth: bool, question: &str) -> &'static str {
    const ASKING: [&str; 31] = [
        "is", "are", "was", "were", "am", "do", "does", "did", "can", "could", "has", "have", "had", "will", "would",
        "should", "shall", "may", "might", "must", "isnt", "arent", "wasnt", "dont", "doesnt", "didnt", "cant",
        "couldnt", "wont", "wouldnt", "need",
    ];
    if let Some(words) = asked_words(question) {
        return if truth { words.0 } else { words.1 };
    }
    let first_word = |sentence: &str| {
        let word = sentence.trim_start().split(|c: char| c.is_whitespace() || c == ',').next().unwrap_or_default();
        word.replace(['\'', '\u{2019}'], "").to_lowercase()
    };
    let last = question.trim_end().trim_end_matches(['?', '.', '!']);
    let last = last.rsplit(['.', '?', '!', '\n', ':']).next().unwrap_or_default();
    let is_asked = [last, question].iter().any(|sentence| ASKING.contains(&first_word(sentence).as_str()));
    match (is_asked, truth) {
        (true, true) => "yes",
        (true, false) => "no",
        (false, true) => "true",
        (false, false) => "false",
    }
}

/// Returns the two words that a question offers as its answers.
fn asked_words(question: &str) -> Option<(&'static str, &'static str)> {
    let plain: String = question.to_lowercase().replace(['"', '\'', '`', '*', '\u{201c}', '\u{201d}', '(', ')'], "");
    let names = |pairs: [&str; 4]| pairs.iter().any(|pair| plain.contains(pair));
    if names(["yes or no", "yes/no", "yes / no", "yes or a no"]) {
        Some(("yes", "no"))
    } else if names(["true or false", "true/false", "true / false", "true or a false"]) {
        Some(("true", "false"))
    } else {
        None
    }
}

/// Returns the word for a boolean that is written as a text, if the question offers words.
fn told(text: &str, question: &str) -> Option<&'static str> {
    let truth = match text.trim() {
        "True" | "true" | "TRUE" => true,
        "False" | "false" | "FALSE" => false,
        _ => return None,
    };
    asked_words(question).map(|(yes, no)| if truth { yes } else { no })
}

/// Returns the final answer of a worked solution, or the whole text if no answer is marked.
pub(super) fn distilled(text: &str, kind: Kind) -> &str {
    if kind == Kind::Code {
        return text;
    }
    let said = text.rsplit_once("</think>").map_or(text, |(_, said)| said);
    // A heading of a solution has lines below it.
    if let Some((_, last)) = said.rsplit_once("####")
        && let last = last.trim_matches('#').trim()
        && !last.is_empty()
        && last.lines().count() == 1
    {
        return last;
    }
    let tagged =
        said.rsplit_once("<answer>").and_then(|(_, rest)| rest.split_once("</answer>")).map(|(inner, _)| inner);
    let said = tagged.filter(|inner| !inner.trim().is_empty()).unwrap_or(said).trim();
    match last_box(said) {
        // The verifier itself reads a text that is only a box.
        Some((inner, has_prose)) if has_prose => inner,
        _ if said.is_empty() => text,
        _ => said,
    }
}

/// Returns the content of the last box of a text, and whether the text has prose around its boxes.
fn last_box(text: &str) -> Option<(&str, bool)> {
    let mut last = None;
    let mut outside = String::new();
    let mut rest = text;
    loop {
        let next =
            ["\\boxed{", "\\fbox{", "\\boxed {"].iter().filter_map(|mark| Some((rest.find(mark)?, mark.len()))).min();
        let Some((start, length)) = next else { break };
        let inner = rest.get(start + length..).unwrap_or_default();
        let Some(end) = closing(inner) else { break };
        outside.push_str(rest.get(..start).unwrap_or_default());
        last = inner.get(..end).map(str::trim);
        rest = inner.get(end + 1..).unwrap_or_default();
    }
    outside.push_str(rest);
    let letters = outside.split(|c: char| !c.is_alphabetic()).filter(|word| word.chars().nth(1).is_some()).count();
    last.filter(|inner| !inner.is_empty()).map(|inner| (inner, letters > 2))
}

/// Returns the place of the brace that closes a brace opened before the text.
fn closing(text: &str) -> Option<usize> {
    let (mut depth, mut is_escaped) = (1_usize, false);
    for (place, byte) in text.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(place);
        }
    }
    None
}

/// Returns whether a gold consists of words, so that it cannot be read as mathematics.
pub(super) fn is_wordy(gold: &str) -> bool {
    let gold = gold.trim();
    let is_plain = gold.chars().all(|c| c.is_alphabetic() || c.is_whitespace() || "'\u{2019}-.,;:!?()\"&/".contains(c));
    is_plain && gold.split(|c: char| !c.is_alphabetic()).any(|word| word.chars().nth(1).is_some())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn gold(value: &Value, kind: Kind) -> Result<String, String> {
        read(value, "answer", kind, "How many?")
    }

    #[test]
    fn worked_solutions_give_their_final_answer() {
        for (solution, expected) in [
            ("Tom has 2 + 3 = <<2+3=5>>5 apples.\n#### 5", "5"),
            ("It is 1234.\n#### 1,234", "1,234"),
            ("#### -3/4 \n", "-3/4"),
            ("A title\n#### Step one\nadd\n#### $18", "$18"),
            ("We add. The answer is $\\boxed{\\frac{1}{2}}$.", "\\frac{1}{2}"),
            ("First \\boxed{3} is wrong, so then we get \\boxed{\\{1, 2\\}}.", "\\{1, 2\\}"),
            ("<think>maybe \\boxed{3}</think>So the answer is \\boxed{4}.", "4"),
            ("<think>hm</think>\n<answer> 7 </answer>", "7"),
            ("#### Step 1\nAdd.\n#### Step 2\nSo it must be \\boxed{9}.", "9"),
            ("\\boxed{5}", "\\boxed{5}"),
            ("$\\boxed{5}$ or $\\boxed{6}$", "$\\boxed{5}$ or $\\boxed{6}$"),
            ("The open \\boxed{5 is not closed", "The open \\boxed{5 is not closed"),
            ("plain", "plain"),
            ("x #### ", "x ####"),
        ] {
            assert_eq!(gold(&json!(solution), Kind::Math).unwrap(), expected, "{solution}");
        }
        assert_eq!(gold(&json!("x = 1\n#### 5"), Kind::Code).unwrap(), "x = 1\n#### 5");
    }

    #[test]
    fn lists_objects_and_texts_that_hold_lists_are_unpacked() {
        for value in [
            json!(["5"]),
            json!([5]),
            json!([["5"]]),
            json!("[\"5\"]"),
            json!("['5']"),
            json!({"value": "5"}),
            json!({"text": ["5", "5"], "answer_start": [1, 2]}),
            json!({"text": ["5", "five"], "answer_start": [1, 2]}),
            json!({"value": "5", "aliases": ["five"]}),
            json!(["5", null, " 5 "]),
            json!([{"role": "user", "content": "?"}, {"role": "assistant", "content": "So it must be \\boxed{5}."}]),
        ] {
            assert_eq!(gold(&value, Kind::Math).unwrap(), "5", "{value}");
        }
        for mathematics in ["[5]", "[0, 1)", "[1, 2]", "(\"a\")", "['a', 2]"] {
            assert_eq!(gold(&json!(mathematics), Kind::Math).unwrap(), mathematics);
        }
        assert_eq!(gold(&json!([]), Kind::Math).unwrap(), "");
        assert_eq!(gold(&json!(["a", "b"]), Kind::Code).unwrap(), "a");
    }

    #[test]
    fn several_answers_and_foreign_objects_are_refused_with_what_they_are() {
        assert!(gold(&json!(["5", "6"]), Kind::Math).unwrap_err().contains("2 different answers (5; 6)"));
        assert!(gold(&json!("['5', '6']"), Kind::Text).unwrap_err().contains("2 different answers"));
        assert!(gold(&json!({"spans": []}), Kind::Text).unwrap_err().contains("spans"));
        assert_eq!(read(&json!(["a", "b"]), "answers.text", Kind::Text, "").unwrap(), "a");
    }

    #[test]
    fn truth_values_are_answered_in_the_words_of_the_question() {
        let word = |truth: bool, question: &str| read(&json!(truth), "answer", Kind::Text, question).unwrap();
        assert_eq!(word(true, "Is 7 a prime number? Answer yes or no."), "yes");
        assert_eq!(word(false, "is france the same timezone as the uk"), "no");
        assert_eq!(word(false, "Would a pear sink in water?"), "no");
        assert_eq!(word(true, "The sky is blue. True or false?"), "true");
        assert_eq!(word(false, "Water boils at 50 degrees."), "false");
        assert_eq!(read(&json!("True"), "answer", Kind::Text, "Is it? (yes/no)").unwrap(), "yes");
        assert_eq!(read(&json!("True"), "answer", Kind::Text, "Is it?").unwrap(), "True");
    }

    #[test]
    fn golds_of_words_are_told_from_mathematics() {
        for words in ["yes", "Denver Broncos", "the left one, of course", "\u{5317}\u{4eac}"] {
            assert!(is_wordy(words), "{words}");
        }
        for other in ["5", "x", "A", "\\text{even}", "2 apples", "x = y", "", "$5", "a, b"] {
            assert!(!is_wordy(other), "{other}");
        }
    }
}
