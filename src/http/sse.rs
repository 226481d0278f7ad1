//! Parses server-sent events: bytes in portions of any size in, events out.
//!
//! The rules are those of the HTML standard: lines end in CRLF, LF or CR; lines that begin with a colon are comments
//! (keep-alives); the `data` lines of one event are joined with line feeds; a blank line ends an event, and an event
//! without data is dropped. Bytes are decoded line by line, so that a character may be split between portions. Fields
//! other than `event` and `data` are ignored. A line has at most [`LINE_BYTES_MAX`] bytes, and an event's data at most
//! [`EVENT_BYTES_MAX`] bytes, so that memory is bounded even if a line or an event never ends.

/// The maximum length of a line, in bytes.
pub const LINE_BYTES_MAX: usize = 8 << 20;
/// The maximum length of the data of one event, in bytes.
pub const EVENT_BYTES_MAX: usize = 8 << 20;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Event {
    /// The event's name; empty if there is none.
    pub name: String,
    /// The event's data.
    pub data: String,
}

/// A line or an event exceeds its maximum length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooLong {
    /// A line.
    #[error("a line of the stream is longer than {LINE_BYTES_MAX} bytes")]
    Line,
    /// The data of an event.
    #[error("an event of the stream is longer than {EVENT_BYTES_MAX} bytes")]
    Event,
}

/// The parser's state between two portions.
#[derive(Debug, Default)]
pub struct SseParser {
    line: Vec<u8>,
    event: Event,
    has_data: bool,
    is_after_cr: bool,
    is_begun: bool,
}

impl SseParser {
    /// Parses the next bytes and passes each completed event to `take`.
    ///
    /// # Errors
    /// [`TooLong`]; the stream cannot be parsed further.
    pub fn push(&mut self, bytes: &[u8], mut take: impl FnMut(Event)) -> Result<(), TooLong> {
        for &byte in bytes {
            let is_second_half = byte == b'\n' && self.is_after_cr;
            self.is_after_cr = byte == b'\r';
            match byte {
                _ if is_second_half => {}
                b'\r' | b'\n' => self.end_line(&mut take)?,
                _ if self.line.len() == LINE_BYTES_MAX => return Err(TooLong::Line),
                _ => self.line.push(byte),
            }
        }
        Ok(())
    }

    /// Passes on the event that the end of the stream completes: some servers omit the last blank line.
    pub fn end(&mut self, mut take: impl FnMut(Event)) -> Result<(), TooLong> {
        if !self.line.is_empty() {
            self.end_line(&mut take)?;
        }
        if std::mem::take(&mut self.has_data) {
            take(std::mem::take(&mut self.event));
        }
        Ok(())
    }

    fn end_line(&mut self, take: &mut impl FnMut(Event)) -> Result<(), TooLong> {
        let bytes = std::mem::take(&mut self.line);
        let text = String::from_utf8_lossy(&bytes);
        let text = if self.is_begun { &*text } else { text.trim_start_matches('\u{feff}') };
        self.is_begun = true;
        if text.is_empty() {
            let event = std::mem::take(&mut self.event);
            if std::mem::take(&mut self.has_data) {
                take(event);
            }
            return Ok(());
        }
        let (field, value) = text.split_once(':').unwrap_or((text, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                if self.event.data.len() + usize::from(self.has_data) + value.len() > EVENT_BYTES_MAX {
                    return Err(TooLong::Event);
                }
                if self.has_data {
                    self.event.data.push('\n');
                }
                self.has_data = true;
                self.event.data.push_str(value);
            }
            "event" => value.clone_into(&mut self.event.name),
            // Comments have an empty field name.
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn events(portions: &[&[u8]]) -> Vec<Event> {
        let (mut parser, mut found) = (SseParser::default(), Vec::new());
        for portion in portions {
            parser.push(portion, |event| found.push(event)).unwrap();
        }
        found
    }

    fn data(text: &str) -> Vec<String> {
        events(&[text.as_bytes()]).into_iter().map(|event| event.data).collect()
    }

    #[test]
    fn comments_blank_lines_and_unknown_fields_are_no_events() {
        assert_eq!(data(": keep-alive\n\n\n: keep-alive\n\nid: 7\nretry: 1\n\ndata: x\n\n"), ["x"]);
        assert_eq!(data("data: not ended"), Vec::<String>::new());
        assert_eq!(data("event: ping\n\ndata: y\n\n"), ["y"]);
        assert_eq!(events(&[b"event: ping\n\ndata: y\n\n"])[0].name, "", "an event without data takes its name along");
    }

    #[test]
    fn lines_may_end_in_any_way_and_data_may_span_several() {
        for end in ["\n", "\r\n", "\r"] {
            let text = format!("event: error{end}data: a{end}data:b{end}data:{end}{end}data:  c{end}{end}");
            let found = events(&[text.as_bytes()]);
            assert_eq!(found[0], Event { name: "error".to_owned(), data: "a\nb\n".to_owned() }, "{end:?}");
            assert_eq!(found[1], Event { name: String::new(), data: " c".to_owned() });
            assert_eq!(found.len(), 2);
        }
        assert_eq!(data("\u{feff}data: x\n\ndata\n\n"), ["x", ""]);
    }

    #[test]
    fn an_end_completes_what_a_blank_line_did_not() {
        for text in ["data: x", "data: x\n", "data: x\r\n", "data: x\n\n"] {
            let (mut parser, mut found) = (SseParser::default(), Vec::new());
            parser.push(text.as_bytes(), |event| found.push(event.data)).unwrap();
            parser.end(|event| found.push(event.data)).unwrap();
            assert_eq!(found, ["x"], "{text:?}");
        }
    }

    #[test]
    fn a_line_at_the_limit_is_read_and_one_byte_more_is_refused() {
        let mut parser = SseParser::default();
        parser.push(&vec![b'x'; LINE_BYTES_MAX], |_| {}).unwrap();
        assert_eq!(parser.push(b"x", |_| {}), Err(TooLong::Line));
    }

    #[test]
    fn an_event_that_never_ends_is_refused_at_the_limit() {
        let line = format!("data: {}\n", "x".repeat(EVENT_BYTES_MAX / 8 - 1));
        let mut parser = SseParser::default();
        for _ in 0..7 {
            parser.push(line.as_bytes(), |_| {}).unwrap();
        }
        assert_eq!(parser.push(line.as_bytes(), |_| {}), Ok(()), "seven line feeds beside eight lines");
        assert_eq!(parser.push(b"data: x\n", |_| {}), Err(TooLong::Event));
        // Empty data lines count, too; these are all but the last of them.
        let event = Event { name: String::new(), data: "\n".repeat(EVENT_BYTES_MAX - 1) };
        let mut parser = SseParser { event, has_data: true, ..SseParser::default() };
        assert_eq!(parser.push(b"data\n", |_| {}), Ok(()));
        assert_eq!(parser.push(b"data\n", |_| {}), Err(TooLong::Event));
        // Comments and blank lines do not count.
        let mut parser = SseParser::default();
        parser.push(&b": keep-alive\n\n".repeat(1000), |_| {}).unwrap();
    }

    proptest! {
        #[test]
        fn portions_do_not_matter(text in "(data: ?[a\u{e9}\u{1f600}]{0,5}(\n|\r\n|\r)|: k(\n|\r\n)|(\n|\r\n)){0,12}", cuts in prop::collection::vec(0usize..200, 0..6)) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let portions: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            prop_assert_eq!(events(&portions), events(&[bytes]));
        }
    }
}
