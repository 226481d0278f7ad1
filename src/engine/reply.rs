//! Where responses go: all at once, or piece by piece while they grow.

use tokio::sync::{mpsc, oneshot};

use super::error::EngineError;
use super::sequence::{Completion, SampledToken, Sequence, SequenceSpec};

/// What a handle sends to the engine's thread.
pub struct Request {
    /// What to sample.
    pub spec: SequenceSpec,
    /// Where the response goes.
    pub reply: Reply,
}

/// A part of a response, as it grows.
#[derive(Debug, Clone, PartialEq)]
pub struct Piece {
    /// The text that came to it; whole characters.
    pub text: String,
    /// The tokens that ended in it.
    pub tokens: Vec<SampledToken>,
}

/// What a streamed sequence says.
#[derive(Debug)]
pub enum StreamEvent {
    /// It has grown.
    Piece(Piece),
    /// It is over: what has not been said in pieces, and the whole.
    End(Piece, Box<Completion>),
    /// It cannot go on.
    Failed(EngineError),
}

/// Where a response goes.
pub enum Reply {
    /// All at once.
    Whole(oneshot::Sender<Result<Completion, EngineError>>),
    /// While it grows.
    Stream(Stream),
}

/// A response that is told while it grows. The channel has room for an event per token.
pub struct Stream {
    events: mpsc::Sender<StreamEvent>,
    said_bytes: usize,
    said_tokens: usize,
}

impl Reply {
    /// Returns whether nobody waits for it any more.
    pub fn is_abandoned(&self) -> bool {
        match self {
            Self::Whole(reply) => reply.is_closed(),
            Self::Stream(stream) => stream.events.is_closed(),
        }
    }

    /// Says the end; nobody may be left to hear it.
    pub fn finish(self, result: Result<Completion, EngineError>) {
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
    /// Builds a response that goes to a channel.
    pub fn new(events: mpsc::Sender<StreamEvent>) -> Self {
        Self { events, said_bytes: 0, said_tokens: 0 }
    }

    /// Says what has been settled since the last time.
    pub fn grow(&mut self, sequence: &Sequence) {
        let (settled, tokens) = sequence.settled();
        let fresh = settled.get(self.said_bytes..).unwrap_or_default();
        let valid = match std::str::from_utf8(fresh) {
            Ok(text) => text,
            // A character may still be incomplete; what can never become one is left to the end.
            Err(error) => std::str::from_utf8(fresh.get(..error.valid_up_to()).unwrap_or_default()).unwrap_or_default(),
        };
        if valid.is_empty() {
            return;
        }
        let fresh_tokens = sequence.sampled_tokens().take(tokens).skip(self.said_tokens).collect();
        let piece = Piece { text: valid.to_owned(), tokens: fresh_tokens };
        (self.said_bytes, self.said_tokens) = (self.said_bytes + valid.len(), tokens.max(self.said_tokens));
        // A receiver that is gone is noticed before the next step.
        let _ = self.events.try_send(StreamEvent::Piece(piece));
    }
}
