//! A parser of server-sent events, as of the HTML standard, section 9.2.6 ("Interpreting an event stream").
//!
//! It is a pure state machine: bytes go in as they arrive, events come out. Every buffer has a bound. Two things differ
//! from a browser: a block of an `id` alone is reported too, for it moves the position to resume from; and `retry` is
//! ignored, for the client has a policy of its own.

use std::collections::VecDeque;

/// The longest line. A change is below 2 KiB.
pub const LINE_BYTES_MAX: usize = 64 * 1024;

/// The most data one event may hold over all its lines.
pub const DATA_BYTES_MAX: usize = 256 * 1024;

/// One dispatched block of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The last id seen in the stream, this block included. `None` before the first.
    pub id: Option<String>,
    /// The name; `message` where the block has none.
    pub name: String,
    /// The data lines, joined by line feeds. `None` where the block has no data, only an id.
    pub data: Option<String>,
}

/// The stream breaks a bound. Nothing more can be read of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// A line is too long.
    #[error("a line of the event stream is longer than {LINE_BYTES_MAX} bytes")]
    LineTooLong,
    /// An event is too large.
    #[error("an event of the stream holds more than {DATA_BYTES_MAX} bytes of data")]
    EventTooLarge,
}

/// Turns bytes into events.
#[derive(Debug, Default)]
pub struct Parser {
    line: Vec<u8>,
    /// The last byte ended a line as a carriage return: a line feed right after it belongs to it.
    after_return: bool,
    after_first_line: bool,
    block: Block,
    last_id: Option<String>,
    events: VecDeque<Event>,
}

#[derive(Debug, Default)]
struct Block {
    id: Option<String>,
    name: String,
    data: Option<String>,
}

impl Parser {
    /// A parser at the start of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes of the stream, cut anywhere.
    ///
    /// # Errors
    /// The stream breaks a bound; events before that can still be taken.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), ParseError> {
        let mut rest = bytes;
        if self.after_return && !rest.is_empty() {
            self.after_return = false;
            rest = rest.strip_prefix(b"\n").unwrap_or(rest);
        }
        while let Some(end) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            self.extend_line(&rest[..end])?;
            self.end_line()?;
            let is_return = rest[end] == b'\r';
            rest = &rest[end + 1..];
            if is_return && rest.is_empty() {
                self.after_return = true;
            } else if is_return {
                rest = rest.strip_prefix(b"\n").unwrap_or(rest);
            }
        }
        self.extend_line(rest)
    }

    /// The next event that is complete.
    pub fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn extend_line(&mut self, bytes: &[u8]) -> Result<(), ParseError> {
        if self.line.len() + bytes.len() > LINE_BYTES_MAX {
            return Err(ParseError::LineTooLong);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn end_line(&mut self) -> Result<(), ParseError> {
        let line = std::mem::take(&mut self.line);
        let mut bytes = line.as_slice();
        if !self.after_first_line {
            self.after_first_line = true;
            bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
        }
        let text = String::from_utf8_lossy(bytes);
        let result = if text.is_empty() {
            self.dispatch();
            Ok(())
        } else {
            let (field, value) = text.split_once(':').unwrap_or((&text, ""));
            self.take_field(field, value.strip_prefix(' ').unwrap_or(value))
        };
        self.line = line;
        self.line.clear();
        result
    }

    fn take_field(&mut self, field: &str, value: &str) -> Result<(), ParseError> {
        match field {
            "data" => match &mut self.block.data {
                Some(data) if data.len() + 1 + value.len() > DATA_BYTES_MAX => return Err(ParseError::EventTooLarge),
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                none => *none = Some(value.to_owned()),
            },
            "event" => value.clone_into(&mut self.block.name),
            "id" if !value.contains('\0') => self.block.id = Some(value.to_owned()),
            // A comment (an empty field name), `retry`, or a field of a later version.
            _ => {}
        }
        Ok(())
    }

    fn dispatch(&mut self) {
        let block = std::mem::take(&mut self.block);
        let moves = block.id.is_some();
        if moves {
            self.last_id = block.id;
        }
        if block.data.is_none() && !moves {
            return;
        }
        let name = if block.name.is_empty() { "message".to_owned() } else { block.name };
        self.events.push_back(Event { id: self.last_id.clone(), name, data: block.data });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(stream: &[u8]) -> Vec<Event> {
        let mut parser = Parser::new();
        parser.push(stream).unwrap();
        std::iter::from_fn(|| parser.next_event()).collect()
    }

    fn event(id: Option<&str>, name: &str, data: Option<&str>) -> Event {
        Event { id: id.map(str::to_owned), name: name.to_owned(), data: data.map(str::to_owned) }
    }

    #[test]
    fn a_change_is_read_with_its_position() {
        assert_eq!(parse(b"id: p-1\nevent: change\ndata: {}\n\n"), [event(Some("p-1"), "change", Some("{}"))]);
    }

    #[test]
    fn comments_unknown_fields_and_retry_are_skipped() {
        assert_eq!(parse(b": heartbeat\n\n:\n\nretry: 5\nwhatever: 1\ndata\n\n"), [event(None, "message", Some(""))]);
    }

    #[test]
    fn data_lines_are_joined_and_lose_one_space() {
        assert_eq!(parse(b"data: a\ndata:  b\ndata:c\n\n"), [event(None, "message", Some("a\n b\nc"))]);
    }

    #[test]
    fn an_id_stays_until_the_next_and_an_id_alone_is_reported() {
        assert_eq!(
            parse(b"id: 1\n\ndata: x\n\nid\ndata: y\n\nid: a\0b\ndata: z\n\n"),
            [
                event(Some("1"), "message", None),
                event(Some("1"), "message", Some("x")),
                event(Some(""), "message", Some("y")),
                event(Some(""), "message", Some("z")),
            ]
        );
    }

    #[test]
    fn lines_end_in_any_of_the_three_ways_and_a_bom_is_skipped() {
        assert_eq!(parse(b"\xEF\xBB\xBFdata: a\r\n\r\ndata: b\r\rdata: c\n\n").len(), 3);
    }

    #[test]
    fn an_event_without_its_blank_line_is_not_dispatched() {
        assert_eq!(parse(b"id: 1\ndata: half"), []);
    }

    #[test]
    fn a_line_beyond_the_bound_is_refused_in_one_piece_or_many() {
        let mut parser = Parser::new();
        assert_eq!(parser.push(&vec![b'x'; LINE_BYTES_MAX + 1]), Err(ParseError::LineTooLong));
        let mut parser = Parser::new();
        parser.push(&vec![b'x'; LINE_BYTES_MAX]).unwrap();
        assert_eq!(parser.push(b"x"), Err(ParseError::LineTooLong));
    }

    #[test]
    fn an_event_beyond_the_bound_is_refused() {
        let mut parser = Parser::new();
        let line = [b"data:".as_slice(), &vec![b'x'; LINE_BYTES_MAX / 2], b"\n"].concat();
        let result = (0..20).try_for_each(|_| parser.push(&line));
        assert_eq!(result, Err(ParseError::EventTooLarge));
    }

    /// Pieces that are likely to meet the parser's edges.
    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            prop::sample::select(vec![
                b"\n".to_vec(),
                b"\r".to_vec(),
                b"\r\n".to_vec(),
                b"data: x".to_vec(),
                b"data".to_vec(),
                b"id: 7\n".to_vec(),
                b"event: change\n".to_vec(),
                b":".to_vec(),
                b"\xEF\xBB\xBF".to_vec(),
                "é\u{1F6A2}".as_bytes().to_vec(),
            ]),
            prop::collection::vec(any::<u8>(), 0..8),
        ];
        prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn how_the_stream_is_cut_does_not_matter(stream in stream(), cuts in prop::collection::vec(0..200_usize, 0..20)) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(stream.len())).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let mut parser = Parser::new();
            let mut events = Vec::new();
            for pair in cuts.windows(2) {
                parser.push(&stream[pair[0]..pair[1]]).unwrap();
                events.extend(std::iter::from_fn(|| parser.next_event()));
            }
            prop_assert_eq!(events, parse(&stream));
        }

        #[test]
        fn what_is_written_is_read(id in "[!-~]{1,20}", lines in prop::collection::vec("[^\\p{Cc}]{0,20}", 1..5)) {
            let mut stream = format!("id: {id}\nevent: change\n");
            for line in &lines {
                stream.push_str(&format!("data: {line}\n"));
            }
            stream.push('\n');
            prop_assert_eq!(parse(stream.as_bytes()), [event(Some(&id), "change", Some(&lines.join("\n")))]);
        }
    }
}
