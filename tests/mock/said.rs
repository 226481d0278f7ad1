//! The replies of the mock server: the text of a good reply depends on the body of the request alone.

use super::knobs::{Knobs, Outcome, Role, ThinkingIn};

const ON: [&str; 4] = [
    "Several quantities have to be related before the result can be found",
    "The question chains more than one step, and each depends on the one before",
    "A plausible shortcut leads astray here, so the conditions must be checked one by one",
    "Nothing here can simply be recalled; it must be derived",
];
const OFF: [&str; 4] = [
    "This asks for one fact that can be recalled at once",
    "A single simple operation gives the result",
    "The wording points to the result, and nothing has to be derived",
    "There is nothing to check beyond one direct look-up",
];

/// A reply before it is put on the wire.
#[derive(Debug, Clone, Default)]
pub struct Said {
    pub model: String,
    pub content: Option<String>,
    pub reasoning: Option<(&'static str, String)>,
    pub finish_reason: &'static str,
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
}

/// Returns what a request is answered with.
pub fn say(knobs: &Knobs, body: &str, hash: u64, outcome: Outcome) -> Said {
    let (content, reasoning) = match knobs.role {
        Role::Judge => (justification(knobs, body, hash, outcome), None),
        Role::Policy => answer(knobs, body, hash),
    };
    let model = between(body, "\"model\":\"", '"').unwrap_or("judge");
    let model = match (knobs.served_model.as_str(), knobs.role) {
        ("", Role::Judge) => format!("{model}-faulty"),
        // A policy that says it is another model stops the run.
        ("", Role::Policy) => model.to_owned(),
        (served, _) => served.to_owned(),
    };
    let length = content.len() + reasoning.as_ref().map_or(0, |(_, text)| text.len());
    let mut said = Said {
        model,
        content: Some(content),
        reasoning,
        finish_reason: "stop",
        prompt_tokens: body.len() as u64 / 4,
        completion_tokens: length as u64 / 4,
    };
    match outcome {
        Outcome::BlankContent => said.content = Some("   ".to_owned()),
        Outcome::NullContent => (said.content, said.reasoning) = (None, None),
        Outcome::ReasoningOnly => {
            said.reasoning = said.content.take().map(|text| ("reasoning", text));
            said.finish_reason = "length";
        }
        Outcome::Length => {
            said.content = said.content.map(|text| text.chars().take(12).collect());
            said.finish_reason = "length";
        }
        Outcome::Filtered => (said.content, said.finish_reason) = (Some(String::new()), "content_filter"),
        _ => {}
    }
    if knobs.usage_factor > 0 {
        let limit =
            between(body, "\"max_tokens\":", ',').and_then(|text| text.trim_end_matches('}').parse::<u64>().ok());
        said.completion_tokens = limit.unwrap_or(1) * knobs.usage_factor;
    }
    said
}

fn justification(knobs: &Knobs, body: &str, hash: u64, outcome: Outcome) -> String {
    let is_on = body.contains("reasoning first suits") || body.contains("Chosen way: reasoning first");
    let is_on = is_on != (outcome == Outcome::Contradiction);
    let openings = if is_on { ON } else { OFF };
    let closing = if is_on { "Reasoning first is worth its length." } else { "Reasoning first would only add length." };
    let hash = if knobs.duplicates || outcome == Outcome::Copy { 0 } else { hash };
    let opening = openings[(hash % openings.len() as u64) as usize];
    let leak = if outcome == Outcome::Leak { format!(" The answer is {}.", number_of(body)) } else { String::new() };
    let text = format!("{opening} (case {:08x}, {}). {closing}{leak}", hash >> 32, particulars(hash));
    // The word stands where servers want it: a judge's prompt asks for the object by it.
    if body.contains("json") { format!("{{\"analysis\":{}}}", quoted(&text)) } else { text }
}

/// Returns words of a request's own, so that its text is no near-copy of another's.
fn particulars(hash: u64) -> String {
    const SYLLABLES: [&str; 16] =
        ["ba", "de", "fi", "go", "hu", "ka", "le", "mi", "no", "pu", "ra", "se", "ti", "vo", "wu", "za"];
    let word = |place: u32| {
        let mixed = hash.rotate_left(7 * place).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let syllable = |shift: u32| SYLLABLES[(mixed >> shift) as usize % SYLLABLES.len()];
        format!("{}{}{}", syllable(40), syllable(50), syllable(60))
    };
    (0..12).map(word).collect::<Vec<_>>().join(" ")
}

/// Returns the right answer to the tests' questions.
fn number_of(body: &str) -> u64 {
    between(body, "card ", '?').and_then(|number| number.parse::<u64>().ok()).unwrap_or(0) % 4 + 1
}

/// A number in a box, the same in most samples of a query, after some thinking where it is asked for.
fn answer(knobs: &Knobs, body: &str, hash: u64) -> (String, Option<(&'static str, String)>) {
    let switches = ["\"enable_thinking\":true", "\"thinking\":true", "\"type\":\"enabled\"", "<think>"];
    let thinks = switches.iter().any(|switch| body.contains(switch));
    let is_right = !hash.is_multiple_of(8);
    let number = if is_right { number_of(body) } else { 9 };
    let content = format!("\\boxed{{{number}}}");
    let thought = format!("Cards are dealt in turn, so this one holds {number} ({:04x}).", hash & 0xffff);
    match (thinks, knobs.reasoning) {
        (false, _) => (content, None),
        (true, ThinkingIn::ReasoningContent) => (content, Some(("reasoning_content", thought))),
        (true, ThinkingIn::Reasoning) => (content, Some(("reasoning", thought))),
        (true, ThinkingIn::Tags) => (format!("<think>\n{thought}\n</think>\n\n{content}"), None),
    }
}

/// Returns what stands between `start` and the next `end`.
fn between<'a>(text: &'a str, start: &str, end: char) -> Option<&'a str> {
    text.split_once(start)?.1.split(end).next()
}

impl Said {
    /// Returns the body in one piece.
    pub fn to_body(&self, hash: u64) -> String {
        let text = |text: &Option<String>| serde_json::to_string(text).unwrap_or_default();
        let reasoning = self.reasoning.as_ref().map(|(name, thought)| format!(",\"{name}\":{}", quoted(thought)));
        format!(
            "{{\"id\":\"chatcmpl-{hash:016x}\",\"object\":\"chat.completion\",\"created\":0,\"model\":{},\"choices\":\
             [{{\"index\":0,\"message\":{{\"role\":\"assistant\",\"content\":{}{}}},\"finish_reason\":\"{}\"}}],\
             \"usage\":{}}}",
            quoted(&self.model),
            text(&self.content),
            reasoning.unwrap_or_default(),
            self.finish_reason,
            self.usage(),
        )
    }

    /// Returns the events of a stream, without its end.
    pub fn to_events(&self) -> Vec<String> {
        let chunk = |delta: &str, finish: &str| {
            format!(
                "data: {{\"model\":{},\"choices\":[{{\"index\":0,\"delta\":{{{delta}}},\"finish_reason\":{finish}}}]}}\
                 \n\n",
                quoted(&self.model)
            )
        };
        let mut events = vec![chunk("\"role\":\"assistant\"", "null")];
        let mut pieces = |name: &str, text: &str| {
            let letters: Vec<char> = text.chars().collect();
            for piece in letters.chunks(7) {
                let piece: String = piece.iter().collect();
                events.push(chunk(&format!("\"{name}\":{}", quoted(&piece)), "null"));
            }
        };
        if let Some((name, thought)) = &self.reasoning {
            pieces(name, thought);
        }
        if let Some(content) = &self.content {
            pieces("content", content);
        }
        events.push(chunk("", &quoted(self.finish_reason)));
        events.push(format!("data: {{\"choices\":[],\"usage\":{}}}\r\n\r\n", self.usage()));
        events
    }

    fn usage(&self) -> String {
        let Self { prompt_tokens, completion_tokens, .. } = self;
        let hits = prompt_tokens / 2;
        format!(
            "{{\"prompt_tokens\":{prompt_tokens},\"prompt_cache_hit_tokens\":{hits},\"prompt_cache_miss_tokens\":{},\
             \"completion_tokens\":{completion_tokens},\"total_tokens\":{}}}",
            prompt_tokens - hits,
            prompt_tokens + completion_tokens
        )
    }
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}
