//! Parses a streamed reply incrementally: packets in, one body out. Pure, without I/O.
//!
//! The packet boundaries do not matter. Memory is bounded: a line and an event (`sse`), the reply's text
//! ([`REPLY_BYTES_MAX`]), and all bytes of a stream together ([`STREAM_BYTES_MAX`]), comments included. Parsing stops
//! after the first fault, and after the end of the reply: a fault after a complete reply is ignored. The end of the
//! stream itself does not show that the reply is complete.

use super::joined::{Joined, NoChunk};
use super::sse::{Event, SseParser, TooLong};
use super::transport::REPLY_BYTES_MAX;

/// The maximum number of bytes of one stream: the frames of a reply's pieces are many times as long as the pieces.
pub const STREAM_BYTES_MAX: usize = 64 * REPLY_BYTES_MAX;

/// Why parsing of a stream stopped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamFault {
    /// A line or event is too long.
    #[error(transparent)]
    TooLong(#[from] TooLong),
    /// An event is not a piece of a chat reply.
    #[error(transparent)]
    NoChunk(#[from] NoChunk),
    /// The reply is too long.
    #[error("the reply is larger than {REPLY_BYTES_MAX} bytes")]
    ReplyTooLarge,
    /// The stream is too long, whatever it holds.
    #[error("the stream is longer than {STREAM_BYTES_MAX} bytes")]
    StreamTooLarge,
}

/// The result of a stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// A complete reply, as the body that it would have had in one piece.
    Whole(String),
    /// Not a stream but a body in one piece: some servers declare it as a stream.
    Plain(Vec<u8>),
    /// An incomplete reply.
    Cut {
        /// The received part, if it holds text.
        fragment: Option<String>,
        /// The fault that ended the reply; `None` if the stream ended.
        fault: Option<StreamFault>,
    },
}

/// The part received so far.
#[derive(Debug, Default)]
pub struct Streamed {
    parser: SseParser,
    joined: Joined,
    shape: Shape,
    /// The bytes so far, while they may be a body in one piece.
    plain: Vec<u8>,
    bytes: usize,
    fault: Option<StreamFault>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// Only blanks have arrived.
    #[default]
    Unknown,
    /// The first character begins a JSON object.
    Object,
    /// The first character begins no JSON object.
    Events,
}

impl Streamed {
    /// Parses the next bytes; [`Self::is_over`] returns whether more bytes are useful.
    pub fn push(&mut self, packet: &[u8]) {
        if self.is_over() {
            return;
        }
        let within = packet.len().min(STREAM_BYTES_MAX - self.bytes);
        self.bytes += within;
        let read = packet.get(..within).unwrap_or_default();
        self.note_shape(read);
        let Self { parser, joined, fault, .. } = self;
        let pushed = parser.push(read, |event| take(joined, fault, &event));
        let too_large = (within < packet.len()).then_some(StreamFault::StreamTooLarge);
        let is_done = self.joined.is_done();
        let later = pushed.err().map(StreamFault::from).or(too_large).filter(|_| !is_done);
        self.fault = self.fault.take().or(later);
        if self.plain.len() > REPLY_BYTES_MAX {
            self.fault.get_or_insert(StreamFault::ReplyTooLarge);
        }
    }

    /// Stores a possible body in one piece, from its brace on.
    fn note_shape(&mut self, packet: &[u8]) {
        let mut from = 0;
        if self.shape == Shape::Unknown {
            let is_blank = |byte: &u8| byte.is_ascii_whitespace() || "\u{feff}".as_bytes().contains(byte);
            let Some(first) = packet.iter().position(|byte| !is_blank(byte)) else { return };
            self.shape = if packet.get(first) == Some(&b'{') { Shape::Object } else { Shape::Events };
            from = first;
        }
        if self.shape == Shape::Object && !self.joined.is_begun() {
            self.plain.extend_from_slice(packet.get(from..).unwrap_or_default());
        }
    }

    /// Returns whether parsing is over: the reply ended, or there is a fault.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.joined.is_done() || self.fault.is_some()
    }

    /// Returns whether the reply is complete, so that only its usage may follow.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.joined.is_whole()
    }

    /// Returns whether nothing relevant can follow.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.joined.is_complete()
    }

    /// Returns the bytes of text so far.
    #[must_use]
    pub fn text_len(&self) -> usize {
        self.joined.text_len()
    }

    /// Ends the stream; after a broken connection, a begun event without its end is dropped.
    #[must_use]
    pub fn end(mut self, end: StreamEnd) -> Ended {
        let is_closed = end == StreamEnd::Closed && self.fault.is_none();
        if is_closed && !self.joined.is_done() {
            let Self { parser, joined, fault, .. } = &mut self;
            let ended = parser.end(|event| take(joined, fault, &event));
            // The remaining bytes may be the beginning of an event, and are dropped then.
            self.fault = self.fault.take().or(ended.err().map(StreamFault::from));
        }
        if is_closed && self.shape == Shape::Object && !self.joined.is_begun() && !self.joined.is_whole() {
            return Ended::Plain(self.plain);
        }
        let fragment = self.joined.fragment();
        match self.joined.into_body() {
            Some(body) => Ended::Whole(body),
            None => Ended::Cut { fragment, fault: self.fault },
        }
    }
}

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamEnd {
    /// The server ended the stream, or the client stopped reading.
    Closed,
    /// The connection broke.
    Broken,
}

/// Adds an event, unless a fault or an end came before it.
fn take(joined: &mut Joined, fault: &mut Option<StreamFault>, event: &Event) {
    if joined.is_done() || fault.is_some() {
        return;
    }
    if let Err(problem) = joined.take(event) {
        *fault = Some(problem.into());
    } else if joined.text_len() > REPLY_BYTES_MAX {
        *fault = Some(StreamFault::ReplyTooLarge);
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::ChatReply;
    use super::*;

    const PIECE: &str = r#"{"choices":[{"index":0,"delta":{"content":"5"}}]}"#;
    const LAST: &str = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
    const USAGE: &str = r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":1}}"#;

    fn ended(text: &str) -> Ended {
        let mut all = Streamed::default();
        all.push(text.as_bytes());
        let whole = all.end(StreamEnd::Closed);
        let mut bytes = Streamed::default();
        text.as_bytes().chunks(1).for_each(|packet| bytes.push(packet));
        assert_eq!(bytes.end(StreamEnd::Closed), whole, "cut into bytes: {text}");
        whole
    }

    fn said(text: &str) -> (Option<String>, Option<u64>) {
        let Ended::Whole(body) = ended(text) else { panic!("{text} is not whole: {:?}", ended(text)) };
        let reply = ChatReply::parse(&body).unwrap();
        (reply.choice.and_then(|choice| choice.content), reply.usage.map(|usage| usage.prompt_tokens))
    }

    #[test]
    fn a_whole_reply_is_kept_however_its_stream_ends() {
        let with_usage = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":3}}"#;
        for (text, counted) in [
            (format!("data: {PIECE}\n\ndata: {LAST}\n\ndata: {USAGE}\n\ndata: [DONE]\n\n"), Some(3)),
            (format!("data: {PIECE}\n\ndata: {LAST}\n\ndata: {USAGE}\n\n"), Some(3)),
            (format!("data: {PIECE}\n\ndata: {LAST}\n\ndata: {USAGE}"), Some(3)),
            (format!("data: {PIECE}\n\ndata: {LAST}\n\n"), None),
            (format!("data: {PIECE}\n\ndata: {LAST}"), None),
            (format!("data: {PIECE}\n\ndata: [DONE]"), None),
            (format!("data: {PIECE}\n\ndata: {with_usage}\n\n"), Some(3)),
            (format!("data: {PIECE}\n\ndata: {LAST}\n\ndata: {{\"choi"), None),
            (format!("data: {PIECE}\n\ndata: {LAST}\n\ndata: <html>\n\n"), None),
            (format!("data: {PIECE}\n\ndata: [DONE]\n\ndata: <html>\n\n"), None),
            (format!("data: {PIECE}\n\ndata: {LAST}\n\nevent: error\ndata: too late\n\n"), None),
            (
                format!("\u{feff}: hi\r\n\r\ndata:{PIECE}\r\n\r\n: hi\r\n\r\ndata:{LAST}\r\n\r\ndata:[DONE]\r\n\r\n"),
                None,
            ),
            (format!("data: {PIECE}\r\rdata: {LAST}\r\r"), None),
        ] {
            assert_eq!(said(&text), (Some("5".to_owned()), counted), "{text}");
        }
    }

    #[test]
    fn the_end_of_a_stream_is_no_end_of_a_reply() {
        for text in [
            format!("data: {PIECE}\n\n"),
            format!("data: {PIECE}\n\ndata: {USAGE}\n\n"),
            format!("data: {PIECE}\n\ndata: [DON"),
            format!("data: {PIECE}\n\ndata: <html>\n\ndata: [DONE]\n\n"),
        ] {
            let Ended::Cut { fragment, .. } = ended(&text) else { panic!("{text}") };
            assert!(fragment.is_some_and(|body| body.contains("\"5\"")), "{text}");
        }
        for text in ["", ": keep-alive\n\n", "\n\n\n", "data: \n\n"] {
            assert_eq!(ended(text), Ended::Cut { fragment: None, fault: None }, "{text:?}");
        }
    }

    #[test]
    fn an_event_that_the_connection_broke_in_is_none() {
        let mut broken = Streamed::default();
        broken.push(format!("data: {PIECE}\n\ndata: {LAST}").as_bytes());
        assert!(matches!(broken.end(StreamEnd::Broken), Ended::Cut { fragment: Some(_), fault: None }));
        let mut ended = Streamed::default();
        ended.push(format!("data: {PIECE}\n\ndata: {LAST}\n\n").as_bytes());
        assert!(matches!(ended.end(StreamEnd::Broken), Ended::Whole(_)));
    }

    #[test]
    fn an_error_after_text_ends_the_reply_with_both() {
        let text = format!("data: {PIECE}\n\nevent: error\ndata: {{\"message\":\"busy\"}}\n\n");
        let Ended::Whole(body) = ended(&text) else { panic!("{text}") };
        let reply = ChatReply::parse(&body).unwrap();
        assert_eq!(
            (reply.error.unwrap().message.as_str(), reply.choice.unwrap().content.as_deref()),
            ("busy", Some("5"))
        );
    }

    #[test]
    fn a_body_in_one_piece_is_handed_on_as_it_came() {
        let body = "\n {\"choices\":[{\"message\":{\"content\":\"5\"}}]}";
        assert_eq!(ended(body), Ended::Plain(body.trim().as_bytes().to_vec()));
        // JSON at the beginning of a packet does not make a stream a body in one piece.
        let mut cut = Streamed::default();
        cut.push(b"data: ");
        cut.push(PIECE.as_bytes());
        assert!(matches!(cut.end(StreamEnd::Closed), Ended::Cut { fragment: Some(_), .. }));
    }

    #[test]
    fn what_never_ends_is_bounded() {
        let fault = |packet: &[u8]| {
            let mut endless = Streamed::default();
            let mut pushed = 0_usize;
            while !endless.is_over() {
                endless.push(packet);
                pushed += packet.len();
                assert!(pushed <= STREAM_BYTES_MAX + packet.len(), "unbounded");
            }
            let Ended::Cut { fault, .. } = endless.end(StreamEnd::Closed) else { panic!("whole") };
            fault.unwrap()
        };
        let text = "x".repeat(1 << 20);
        let line = format!("data: {text}\n");
        let piece = format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n");
        let numbers = format!("data: {{\"choices\":[{{\"delta\":{{\"a\":[{}1]}}}}]}}\n\n", "1,".repeat(100_000));
        assert_eq!(fault(text.as_bytes()), StreamFault::TooLong(TooLong::Line));
        assert_eq!(fault(line.as_bytes()), StreamFault::TooLong(TooLong::Event));
        assert_eq!(fault(piece.as_bytes()), StreamFault::ReplyTooLarge);
        assert_eq!(fault(numbers.as_bytes()), StreamFault::ReplyTooLarge);
        assert_eq!(fault(format!("{{\"a\":\"{text}\",\n\n").as_bytes()), StreamFault::ReplyTooLarge);
        // All comments count together; the count replaces half a gigabyte of comments.
        let mut silent = Streamed { bytes: STREAM_BYTES_MAX - 3, ..Streamed::default() };
        silent.push(b":\n\n");
        assert!(!silent.is_over());
        silent.push(b":\n\n");
        assert_eq!(
            silent.end(StreamEnd::Closed),
            Ended::Cut { fragment: None, fault: Some(StreamFault::StreamTooLarge) }
        );
    }
}
