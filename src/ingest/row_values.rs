//! The values of a row: its question, its gold, its choices, its kind.

use serde_json::value::RawValue;

use super::chat::{self, Chat};
use super::choices::{Choices, joined_choices};
use super::fault::{Fault, Scope};
use super::fields::{Fields, decode_string, missing, wrong_type};
use super::golds;
use super::json_type::{JsonType, json_type};
use super::literal;
use crate::domain::{ExclusionReason, Kind};

/// Returns a chat under a name.
pub(super) fn chat(row: &Fields<'_>, name: &str) -> Option<Chat> {
    read_chat(row.get(name)?)?.ok()
}

fn read_chat(raw: &RawValue) -> Option<Result<Chat, String>> {
    let may_be = match json_type(raw) {
        JsonType::List | JsonType::Object => true,
        JsonType::String => {
            raw.get().trim_start_matches('"').trim_start().starts_with(['[', '{']) || raw.get().starts_with("\"array(")
        }
        _ => false,
    };
    if !may_be { None } else { serde_json::from_str(raw.get()).ok().as_ref().and_then(Chat::read) }
}

/// Returns the question, trimmed: a text, several joined texts, or the last message of the user in a chat. The chat's
/// system message precedes it, unless that is the `stock` message. `None` if the question is absent or blank.
pub(super) fn read_question(row: &Fields<'_>, name: &str, stock: Option<&str>) -> Result<Option<String>, Fault> {
    const EXPECTED: &str = "a string or a chat";
    let Some(raw) = row.get(name) else {
        let parts: Vec<&str> = name.split('+').map(str::trim).collect();
        if parts.len() < 2 {
            return Ok(None);
        }
        let texts = parts.into_iter().map(|part| read_question(row, part, stock)).collect::<Result<Vec<_>, _>>()?;
        let texts: Vec<String> = texts.into_iter().flatten().collect();
        return Ok((!texts.is_empty()).then(|| texts.join("\n\n")));
    };
    let text = match read_chat(raw) {
        Some(Ok(chat)) => {
            let system = Some(chat.system()).filter(|system| !system.is_empty() && Some(system.as_str()) != stock);
            let Some(asked) = chat.question() else {
                return Err(missing(name, "holds no message of a user", "a chat with a question"));
            };
            let asked = Some(asked.to_owned()).filter(|asked| !asked.trim().is_empty());
            asked.map(|asked| system.into_iter().chain([asked]).collect::<Vec<_>>().join("\n\n")).unwrap_or_default()
        }
        Some(Err(found)) => {
            let detail = format!("field `{name}` is a chat that holds {found}, expected texts only");
            return Err(Fault::new(ExclusionReason::WrongType, detail));
        }
        None => match json_type(raw) {
            JsonType::String => decode_string(raw, name)?,
            JsonType::List => match serde_json::from_str::<[String; 1]>(raw.get()) {
                Ok([text]) => text,
                Err(_) => return Err(wrong_type(name, raw, EXPECTED)),
            },
            _ => return Err(wrong_type(name, raw, EXPECTED)),
        },
    };
    let text = text.trim();
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

pub(super) fn kind_named(name: &str) -> Option<Kind> {
    let alias = KIND_ALIASES.iter().find(|(alias, _)| *alias == name).map(|&(_, kind)| kind);
    alias.or_else(|| name.parse().ok())
}

/// Other names of kinds in public data.
const KIND_ALIASES: [(&str, Kind); 2] = [("multiple_choice", Kind::Choice), ("integer", Kind::Numeric)];

/// Returns the kind that a value names.
pub(super) fn kind_of(raw: &RawValue) -> Option<Kind> {
    kind_named(serde_json::from_str::<String>(raw.get()).ok()?.trim())
}

/// Returns the choices with this name, or with several joined names; `None` if there are none.
pub(super) fn read_named_choices(row: &Fields<'_>, name: &str) -> Option<Choices> {
    match row.get(name) {
        Some(raw) => Choices::read(raw).ok(),
        None => joined_choices(row, name),
    }
}

/// Returns a gold in the form with which a response is compared, see [`golds`]; empty if there is none. `question` is
/// the question that it answers.
pub(super) fn gold_text(row: &Fields<'_>, name: &str, kind: Kind, question: &str) -> Result<String, Fault> {
    let Some(raw) = row.get(name) else { return Ok(String::new()) };
    match json_type(raw) {
        // Numbers keep their digits.
        JsonType::Number => return Ok(raw.get().to_owned()),
        JsonType::String => drop(decode_string(raw, name)?),
        _ => {}
    }
    golds::read(&value_of(raw), name, kind, question).map_err(|found| {
        let detail = format!("field `{name}` is {found}, expected one answer");
        Fault { scope: Scope::Row, ..Fault::new(ExclusionReason::WrongType, detail) }
    })
}

/// Returns the value with this name, or null.
pub(super) fn value(row: &Fields<'_>, name: &str) -> serde_json::Value {
    row.get(name).map(value_of).unwrap_or_default()
}

/// Returns a value whose numbers keep their digits, except in a chat.
fn value_of(raw: &RawValue) -> serde_json::Value {
    let plain = || serde_json::from_str(raw.get()).unwrap_or_default();
    match json_type(raw) {
        JsonType::List | JsonType::Object if read_chat(raw).is_none() => {
            literal::parse(raw.get()).map_or_else(plain, chat::value_of)
        }
        _ => plain(),
    }
}
