//! Chats in a field: their speakers, and which message is the question and which the answer.
//!
//! A chat is a list of objects with a role and a text (`role` and `content`, `from` and `value`), an object whose
//! member `messages` or `conversations` is such a list, or a text that contains one of these ([`super::literal`]). The
//! question is the user's last message; the answer is the assistant's message after it. A system message precedes the
//! question, unless all rows of the file have the same one (`Shape::stock_system`). Earlier turns are examples or other
//! questions, and are omitted.

use serde_json::Value;

use super::literal::{self, Literal};

/// The speaker of a message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Role {
    System,
    User,
    Assistant,
    /// A tool.
    #[default]
    Other,
}

impl Role {
    fn of(name: &str) -> Option<Self> {
        Some(match name.trim().to_ascii_lowercase().as_str() {
            "system" | "developer" => Self::System,
            "user" | "human" | "prompter" | "question" => Self::User,
            "assistant" | "gpt" | "chatgpt" | "model" | "bot" | "bing" | "bard" | "ai" | "answer" => Self::Assistant,
            "tool" | "function" | "function_call" | "observation" | "ipython" | "environment" => Self::Other,
            _ => return None,
        })
    }
}

/// A chat.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Chat {
    turns: Vec<(Role, String)>,
}

impl Chat {
    /// Parses a chat; `None` if the value is not a chat.
    ///
    /// # Errors
    /// The description of a message part that is not a text.
    pub(super) fn read(value: &Value) -> Option<Result<Self, String>> {
        match value {
            Value::Array(items) if !items.is_empty() => {
                let turns: Option<Vec<_>> = items.iter().map(turn).collect();
                Some(turns?.into_iter().collect::<Result<_, _>>().map(|turns| Self { turns }))
            }
            Value::Object(members) => match turn(value) {
                Some(turn) => Some(turn.map(|turn| Self { turns: vec![turn] })),
                None => ["messages", "conversations", "conversation"]
                    .into_iter()
                    .find_map(|name| members.get(name))
                    .filter(|inner| inner.is_array())
                    .and_then(Self::read),
            },
            Value::String(text) if literal::looks_nested(text) => {
                let value = value_of(literal::parse(text)?);
                if value.is_string() { None } else { Self::read(&value) }
            }
            _ => None,
        }
    }

    /// Returns the last message of the user.
    pub(super) fn question(&self) -> Option<&str> {
        self.turns.iter().rev().find(|(role, _)| *role == Role::User).map(|(_, text)| text.as_str())
    }

    /// Returns the assistant's last message after the question.
    pub(super) fn answer(&self) -> Option<&str> {
        let after = self.turns.iter().rev().take_while(|(role, _)| *role != Role::User);
        after.filter(|(role, _)| *role == Role::Assistant).map(|(_, text)| text.as_str()).find(|text| !text.is_empty())
    }

    /// Returns the system messages, joined; empty if there is none.
    pub(super) fn system(&self) -> String {
        let said = self.turns.iter().filter(|(role, text)| *role == Role::System && !text.is_empty());
        said.map(|(_, text)| text.as_str()).collect::<Vec<_>>().join("\n\n")
    }

    /// Returns whether the user wrote a message before the question.
    pub(super) fn has_earlier_turns(&self) -> bool {
        self.turns.iter().filter(|(role, _)| *role == Role::User).count() > 1
    }
}

/// Parses one message; `None` if the value is not a message.
fn turn(value: &Value) -> Option<Result<(Role, String), String>> {
    let members = value.as_object()?;
    let role = ["role", "from", "speaker", "author"].into_iter().find_map(|name| members.get(name))?;
    let role = Role::of(role.as_str()?)?;
    let content = ["content", "value", "text", "message"].into_iter().find_map(|name| members.get(name));
    Some(text_of(content.unwrap_or(&Value::Null)).map(|text| (role, text)))
}

/// Returns the text of a message: a string, or the text parts of a list.
fn text_of(content: &Value) -> Result<String, String> {
    match content {
        Value::String(text) => Ok(text.trim().to_owned()),
        Value::Null => Ok(String::new()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(truth) => Ok(truth.to_string()),
        Value::Array(parts) => {
            let texts: Result<Vec<String>, String> = parts.iter().map(part).collect();
            Ok(texts?.join("\n").trim().to_owned())
        }
        Value::Object(_) => part(content),
    }
}

fn part(value: &Value) -> Result<String, String> {
    if let Some(text) = value.as_str().or_else(|| value.get("text")?.as_str()) {
        return Ok(text.to_owned());
    }
    let kind = value.get("type").and_then(Value::as_str).unwrap_or("object");
    Err(format!("a message with a part of type \"{kind}\""))
}

/// Converts a literal to JSON. Numbers and booleans that JSON does not allow become texts.
pub(super) fn value_of(literal: Literal) -> Value {
    match literal {
        Literal::Text(text) => Value::String(text),
        Literal::Bare(word) => match word.as_str() {
            "true" | "True" => Value::Bool(true),
            "false" | "False" => Value::Bool(false),
            // A number that JSON would write differently stays a text in its spelling.
            _ => {
                let value = serde_json::from_str::<Value>(&word).ok();
                let (written, value) = (value.as_ref().map(Value::to_string), value);
                value.filter(|_| written.as_ref() == Some(&word)).unwrap_or(Value::String(word))
            }
        },
        Literal::Null => Value::Null,
        Literal::List(items) => Value::Array(items.into_iter().map(value_of).collect()),
        Literal::Table(members) => {
            Value::Object(members.into_iter().map(|(name, value)| (name, value_of(value))).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: &Value) -> Chat {
        Chat::read(value).unwrap().unwrap()
    }

    #[test]
    fn chats_are_read_from_every_shape_that_datasets_have() {
        for chat in [
            json!([{"role": "user", "content": "Q?"}, {"role": "assistant", "content": " A "}]),
            json!([{"from": "human", "value": "Q?"}, {"from": "gpt", "value": "A"}]),
            json!([{"content": [{"type": "text", "text": "Q?"}], "role": "User"}, {"role": "model", "content": ["A"]}]),
            json!({"messages": [{"role": "user", "content": "Q?"}, {"role": "assistant", "content": "A"}]}),
            json!("[{'content': 'Q?', 'role': 'user'}, {'content': 'A', 'role': 'assistant'}]"),
            json!("array([{'content': 'Q?', 'role': 'user'}, {'content': 'A', 'role': 'assistant'}], dtype=object)"),
        ] {
            let chat = read(&chat);
            assert_eq!((chat.question(), chat.answer(), chat.system().as_str()), (Some("Q?"), Some("A"), ""));
        }
        assert_eq!(read(&json!({"role": "user", "content": "Q?"})).question(), Some("Q?"));
    }

    #[test]
    fn the_last_question_counts_and_only_what_follows_it_answers_it() {
        let chat = read(&json!([
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Q1"},
            {"role": "assistant", "content": "A1"},
            {"role": "user", "content": "Q2"},
        ]));
        assert_eq!((chat.question(), chat.answer(), chat.system().as_str()), (Some("Q2"), None, "Be brief."));
        assert!(chat.has_earlier_turns());
        let tools = read(&json!([
            {"role": "user", "content": "Q"},
            {"role": "assistant", "content": "Let me look."},
            {"role": "tool", "content": "42"},
            {"role": "assistant", "content": "42"},
        ]));
        assert_eq!((tools.answer(), tools.has_earlier_turns()), (Some("42"), false));
        assert_eq!(read(&json!([{"role": "system", "content": "S"}])).question(), None);
    }

    #[test]
    fn what_is_no_chat_is_none_and_an_image_is_named() {
        for other in
            [json!("Q?"), json!([]), json!(["a"]), json!([{"text": "a"}]), json!({"a": 1}), json!("[1, 2]"), json!(3)]
        {
            assert_eq!(Chat::read(&other), None, "{other}");
        }
        assert_eq!(Chat::read(&json!([{"role": "king", "content": "a"}])), None);
        let image = json!([{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]);
        assert!(Chat::read(&image).unwrap().unwrap_err().contains("image_url"));
    }
}
