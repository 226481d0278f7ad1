//! How a response returns to its caller: complete at its end, or in pieces while it grows.

use tokio::sync::{mpsc, oneshot};

use super::error::EngineError;
use super::sequence::{Completion, SampledToken, Sequence, SequenceSpec};

/// A request from a handle to the engine's thread.
pub(crate) struct Request {
    /// The sequence to sample.
    pub spec: SequenceSpec,
    /// The channel of the response.
    pub reply: Reply,
}

/// A new part of a growing response.
#[derive(Debug, Clone, PartialEq)]
pub struct Piece {
    /// New text; whole characters.
    pub text: String,
    /// The tokens that ended in the new text.
    pub tokens: Vec<SampledToken>,
}

/// An event of a streamed response.
#[derive(Debug)]
pub enum StreamEvent {
    /// The response has grown.
    Piece(Piece),
    /// The response is complete: the part that no piece has sent yet, and the whole response.
    End(Piece, Box<Completion>),
    /// The response failed.
    Failed(EngineError),
}

/// The channel of a response.
pub(crate) enum Reply {
    /// Sends the complete response.
    Whole(oneshot::Sender<Result<Completion, EngineError>>),
    /// Sends pieces while the response grows.
    Stream(Stream),
}

/// A response that is sent while it grows. The channel has room for one event per token.
pub(crate) struct Stream {
    events: mpsc::Sender<StreamEvent>,
    said_bytes: usize,
    said_tokens: usize,
}

impl Reply {
    /// Returns whether the receiver is gone.
    pub(crate) fn is_abandoned(&self) -> bool {
        match self {
            Self::Whole(reply) => reply.is_closed(),
            Self::Stream(stream) => stream.events.is_closed(),
        }
    }

    /// Sends the result. The receiver may be gone already.
    pub(crate) fn finish(self, result: Result<Completion, EngineError>) {
        match (self, result) {
            (Self::Whole(reply), result) => drop(reply.send(result)),
            (Self::Stream(stream), Ok(completion)) => {
                let text = completion.text.get(stream.said_bytes..).unwrap_or_default().to_owned();
                let tokens = completion.tokens.get(stream.said_tokens..).unwrap_or_default().to_vec();
                drop(stream.events.try_send(StreamEvent::End(Piece { text, tokens }, Box::new(completion))));
            }
            (Self::Stream(stream), Err(error)) => drop(stream.events.try_send(StreamEvent::Failed(error))),
        }
    }
}

impl Stream {
    /// Builds a response that is sent to a channel.
    pub(crate) fn new(events: mpsc::Sender<StreamEvent>) -> Self {
        Self { events, said_bytes: 0, said_tokens: 0 }
    }

    /// Sends the text that has become final since the last call.
    pub(crate) fn grow(&mut self, sequence: &Sequence) {
        let (settled, tokens) = sequence.settled();
        let fresh = settled.get(self.said_bytes..).unwrap_or_default();
        let valid = match std::str::from_utf8(fresh) {
            Ok(text) => text,
            // The last character may still be incomplete; bytes that can never form a character are sent at the end.
            Err(error) => std::str::from_utf8(fresh.get(..error.valid_up_to()).unwrap_or_default()).unwrap_or_default(),
        };
        if valid.is_empty() {
            return;
        }
        let fresh_tokens = sequence.sampled_tokens().take(tokens).skip(self.said_tokens).collect();
        let piece = Piece { text: valid.to_owned(), tokens: fresh_tokens };
        (self.said_bytes, self.said_tokens) = (self.said_bytes + valid.len(), tokens.max(self.said_tokens));
        // The worker notices a dropped receiver before the next step.
        let _ = self.events.try_send(StreamEvent::Piece(piece));
    }
}
