//! Properties of a streamed reply for any bytes from a server; the fuzz target and the tests share this function.

use super::client::REPLY_BYTES_MAX;
use super::sse::{EVENT_BYTES_MAX, Event, LINE_BYTES_MAX, SseParser};
use super::streamed::{Ended, StreamEnd, Streamed};
use super::wire::ChatReply;

/// Bytes that a reply's body may have in addition to its text: names, escapes and punctuation.
const FRAME_BYTES_MAX: usize = 64 << 10;

/// Parses bytes as a streamed reply in one piece, byte by byte, and cut at positions that the bytes themselves decide:
/// all results are equal, bounded, and parsable as a body.
///
/// # Panics
/// If one of these properties does not hold.
pub fn sse(bytes: &[u8]) {
    let events = |packets: &[&[u8]]| {
        let (mut parser, mut found) = (SseParser::default(), Vec::<Event>::new());
        let read = packets.iter().try_for_each(|packet| parser.push(packet, |event| found.push(event)));
        let read = read.and_then(|()| parser.end(|event| found.push(event)));
        (found, read)
    };
    let ended = |packets: &[&[u8]], end: StreamEnd| {
        let mut streamed = Streamed::default();
        packets.iter().for_each(|packet| streamed.push(packet));
        streamed.end(end)
    };
    let one: Vec<&[u8]> = vec![bytes];
    let each: Vec<&[u8]> = bytes.chunks(1).collect();
    let cut = packets(bytes);
    let (found, read) = events(&one);
    for packets in [&each, &cut] {
        assert_eq!(events(packets), (found.clone(), read), "where packets are cut matters to the events");
    }
    assert!(found.iter().all(|event| event.data.len() <= EVENT_BYTES_MAX), "an event is too long");
    assert!(found.iter().all(|event| event.name.len() <= 3 * LINE_BYTES_MAX), "a name is too long");
    for end in [StreamEnd::Closed, StreamEnd::Broken] {
        let whole = ended(&one, end);
        for packets in [&each, &cut] {
            assert_eq!(ended(packets, end), whole, "where packets are cut matters to the reply");
        }
        check(bytes, &whole);
    }
}

fn check(bytes: &[u8], ended: &Ended) {
    // An escaped character takes up to six bytes, and an invalid UTF-8 byte becomes three bytes.
    let longest = (bytes.len().min(2 * REPLY_BYTES_MAX)) * 6 + FRAME_BYTES_MAX;
    match ended {
        Ended::Whole(body) => {
            assert!(body.len() <= longest, "the body is too long");
            let says_an_end = [b"finish_reason".as_slice(), b"[DONE]", b"error", b"\\u"];
            let holds = |word: &&[u8]| bytes.windows(word.len()).any(|window| window == *word);
            assert!(says_an_end.iter().any(holds), "a reply is whole that nothing ended");
            drop(ChatReply::parse(body));
        }
        Ended::Plain(body) => assert!(body.len() <= bytes.len(), "more than what came"),
        Ended::Cut { fragment: Some(body), .. } => {
            assert!(body.len() <= longest, "the fragment is too long");
            let is_fragment = ChatReply::parse(body).is_ok_and(|reply| reply.is_fragment);
            assert!(is_fragment, "a fragment that cannot be read, or is taken for a reply: {body}");
        }
        Ended::Cut { fragment: None, .. } => {}
    }
}

/// Cuts bytes into packets; the bytes decide the lengths.
fn packets(bytes: &[u8]) -> Vec<&[u8]> {
    let (mut packets, mut rest) = (Vec::new(), bytes);
    while let Some(first) = rest.first() {
        let (packet, later) = rest.split_at((usize::from(first % 23) + 1).min(rest.len()));
        packets.push(packet);
        rest = later;
    }
    packets
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PARTS: &[&str] = &[
        "data: ",
        "data:",
        "event: error",
        ": comment",
        "\n",
        "\r\n",
        "\r",
        "\n\n",
        "[DONE]",
        r#"{"choices":[{"index":0,"delta":{"content":"a"}}]}"#,
        r#"{"choices":[{"index":1,"delta":{"content":"b","reasoning":"\u00e9"}}]}"#,
        r#"{"choices":[{"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":1}}"#,
        r#"{"choices":[{"delta":{"content":[{"type":"text","text":"c"}]},"finish_reason":""}]}"#,
        r#"{"error":{"message":"busy"}}"#,
        "{",
        "\u{feff}",
        "\u{1f600}",
        "[[[[",
    ];

    proptest! {
        #[test]
        fn streams_of_parts_hold_what_is_promised(parts in prop::collection::vec(0..PARTS.len(), 0..24), cut in 0_usize..8) {
            let text: String = parts.into_iter().map(|part| PARTS[part]).collect();
            sse(&text.as_bytes()[..text.len().saturating_sub(cut)]);
        }

        #[test]
        fn any_bytes_hold_what_is_promised(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            sse(&bytes);
        }
    }

    #[test]
    fn deep_json_is_refused_and_not_recursed_into() {
        sse(format!("data: {}\n\n", "[".repeat(100_000)).as_bytes());
        sse(format!("data: {{\"choices\":[{{\"delta\":{{\"a\":{}}}}}]}}\n\n", "[".repeat(100_000)).as_bytes());
        for depth in 118..130 {
            let deep = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
            sse(format!("data: {{\"choices\":[{{\"delta\":{{\"a\":{deep}}}}}]}}\n\n").as_bytes());
            sse(format!("event: error\ndata: {{\"a\":{deep}}}\n\n").as_bytes());
        }
    }
}
