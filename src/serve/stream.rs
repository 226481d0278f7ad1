//! Streams responses as server-sent events while the engine samples them.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream::{self, SelectAll, StreamExt};
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use super::app::App;
use super::error::ApiError;
use super::generate::Hold;
use super::reply::{chat_logprobs, finish_name, head, text_logprobs, usage};
use super::wire::Checked;
use crate::engine::{Completion, EngineError, Piece, SequenceSpec, StreamEvent};

/// The format of a response and its chunks.
#[derive(Debug, Clone, Copy)]
pub(super) enum Format {
    /// A chat completion.
    Chat { with_logprobs: bool },
    /// A text completion.
    Text { with_logprobs: bool },
}

type Events = stream::BoxStream<'static, (usize, Option<StreamEvent>)>;

struct State {
    app: Arc<App>,
    hold: Hold,
    format: Format,
    head: Map<String, Value>,
    includes_usage: bool,
    events: SelectAll<Events>,
    left: usize,
    prompt_tokens: u64,
    completion_tokens: u64,
    ready: VecDeque<String>,
    is_over: bool,
}

/// Starts the sequences and returns a stream of their events.
///
/// # Errors
/// The engine's errors before the first event. A later error is an event of the stream.
pub(super) async fn respond(
    app: Arc<App>,
    hold: Hold,
    specs: Vec<SequenceSpec>,
    checked: &Checked,
    format: Format,
) -> Result<Response, ApiError> {
    let mut events = SelectAll::new();
    let left = specs.len();
    // Each prompt counts once for all its choices.
    let prompt_tokens = specs.iter().step_by(checked.choices.max(1)).map(|spec| spec.prompt.len() as u64).sum();
    for (index, spec) in specs.into_iter().enumerate() {
        let receiver = app.policy.engine().stream(spec).await.map_err(|error| ApiError::engine(&error))?;
        events.push(told(index, receiver));
    }
    let object = match format {
        Format::Chat { .. } => "chat.completion.chunk",
        Format::Text { .. } => "text_completion",
    };
    let mut state = State {
        head: head(&app, object),
        app,
        hold,
        format,
        includes_usage: checked.includes_usage,
        events,
        left,
        prompt_tokens,
        completion_tokens: 0,
        ready: VecDeque::new(),
        is_over: false,
    };
    state.begin();
    let events = stream::unfold(state, |mut state| async move {
        let data = state.next().await?;
        Some((Ok::<_, Infallible>(Event::default().data(data)), state))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()).into_response())
}

/// Returns the events of a sequence; the last event is `None` if the channel closes without an end.
fn told(index: usize, receiver: mpsc::Receiver<StreamEvent>) -> Events {
    stream::unfold(Some(receiver), move |receiver| async move {
        let mut receiver = receiver?;
        let event = receiver.recv().await;
        let is_last = !matches!(event, Some(StreamEvent::Piece(_)));
        Some(((index, event), (!is_last).then_some(receiver)))
    })
    .boxed()
}

impl State {
    /// Queues the first chunk of each chat choice, which contains the role.
    fn begin(&mut self) {
        if matches!(self.format, Format::Chat { .. }) {
            for index in 0..self.left {
                let choice = json!({
                    "index": index,
                    "delta": {"role": "assistant", "content": ""},
                    "logprobs": null,
                    "finish_reason": null,
                });
                self.push(json!([choice]), None);
            }
        }
    }

    /// Returns the data of the next event.
    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(data) = self.ready.pop_front() {
                return Some(data);
            }
            if self.is_over {
                return None;
            }
            match self.events.next().await {
                Some((index, Some(StreamEvent::Piece(piece)))) => self.grow(index, &piece),
                Some((index, Some(StreamEvent::End(piece, completion)))) => self.end(index, &piece, &completion),
                Some((_, Some(StreamEvent::Failed(error)))) => self.fail(&error),
                Some((_, None)) | None => self.fail(&EngineError::Stopped("its thread has ended".to_owned())),
            }
        }
    }

    fn push(&mut self, choices: Value, usage: Option<Value>) {
        let mut body = self.head.clone();
        body.insert("choices".to_owned(), choices);
        if self.includes_usage {
            body.insert("usage".to_owned(), usage.unwrap_or(Value::Null));
        }
        self.ready.push_back(Value::Object(body).to_string());
    }

    fn grow(&mut self, index: usize, piece: &Piece) {
        let vocabulary = self.app.policy.engine().vocabulary();
        let choice = match self.format {
            Format::Chat { with_logprobs } => json!({
                "index": index,
                "delta": {"content": piece.text},
                "logprobs": with_logprobs.then(|| chat_logprobs(&piece.tokens, vocabulary)),
                "finish_reason": null,
            }),
            Format::Text { with_logprobs } => json!({
                "index": index,
                "text": piece.text,
                "logprobs": with_logprobs.then(|| text_logprobs(&piece.tokens, vocabulary)),
                "finish_reason": null,
            }),
        };
        self.push(json!([choice]), None);
    }

    fn end(&mut self, index: usize, piece: &Piece, completion: &Completion) {
        if !piece.text.is_empty() || !piece.tokens.is_empty() {
            self.grow(index, piece);
        }
        let reason = finish_name(completion.finish_reason);
        let choice = match self.format {
            Format::Chat { .. } => {
                json!({"index": index, "delta": {}, "logprobs": null, "finish_reason": reason})
            }
            Format::Text { .. } => json!({"index": index, "text": "", "logprobs": null, "finish_reason": reason}),
        };
        self.push(json!([choice]), None);
        self.completion_tokens += u64::from(completion.completion_tokens);
        self.left -= 1;
        if self.left == 0 {
            if self.includes_usage {
                let usage = usage(self.prompt_tokens, self.completion_tokens);
                self.push(json!([]), Some(usage));
            }
            self.over();
        }
    }

    fn fail(&mut self, error: &EngineError) {
        self.ready.push_back(ApiError::engine(error).body().to_string());
        self.over();
    }

    fn over(&mut self) {
        self.ready.push_back("[DONE]".to_owned());
        self.is_over = true;
        self.hold.finish();
    }
}
