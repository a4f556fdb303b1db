//! Reading the answer to one request: HTTP/1.1, as a pure function of the bytes that have arrived.
//!
//! Bodies with a `Content-Length` stay where they were read to; chunked ones (a streamed batch answer) are joined in a
//! second buffer. Buffers are kept from answer to answer. What a generator has no use for is refused by name instead of
//! half supported: bodies that end with the connection, other codings, answers nobody asked for.

use std::ops::Range;

/// The largest head accepted: twice what common proxies send.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// The most header fields in a head.
const HEADERS_MAX: usize = 64;
/// The largest body accepted: far above the answer to any batch the generator sends.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The least room offered for one read: an ordinary answer and some.
const READ_BYTES: usize = 4 * 1024;

/// Bytes that are not an answer the generator can read. The connection is of no further use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// The head is no HTTP/1.x head.
    Head,
    /// The head does not end within the bound.
    LongHead,
    /// A `Content-Length` that is not a number, or two that differ.
    ContentLength,
    /// A `Transfer-Encoding` other than `chunked`.
    TransferEncoding,
    /// Neither `Content-Length` nor `chunked`, so the body would end with the connection.
    Unframed,
    /// A chunk's size cannot be read, or its data does not end where it says.
    Chunk,
    /// The body is over the bound.
    LongBody,
    /// More bytes than one answer, though one request was sent.
    Surplus,
    /// An interim (1xx) answer.
    Interim,
}

impl Malformed {
    /// What is wrong, for a report.
    pub(crate) fn describe(self) -> &'static str {
        match self {
            Self::Head => "malformed answer: not an HTTP/1.x head",
            Self::LongHead => "malformed answer: head over 16 KiB",
            Self::ContentLength => "malformed answer: unreadable Content-Length",
            Self::TransferEncoding => "malformed answer: Transfer-Encoding other than chunked",
            Self::Unframed => "malformed answer: neither Content-Length nor chunked",
            Self::Chunk => "malformed answer: broken chunk",
            Self::LongBody => "malformed answer: body over 64 MiB",
            Self::Surplus => "malformed answer: bytes after its end",
            Self::Interim => "malformed answer: interim (1xx) status",
        }
    }
}

/// Whether the answer is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// More bytes are needed.
    Partial,
    /// The answer is whole.
    Whole,
}

/// Whether the connection can carry another request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Persistence {
    /// It can.
    KeepAlive,
    /// The server closes it.
    Close,
}

/// The reader of one answer after another.
#[derive(Debug, Default)]
pub(crate) struct ResponseReader {
    buffer: Vec<u8>,
    filled: usize,
    stage: Stage,
    chunks: Vec<u8>,
}

#[derive(Debug, Clone, Default)]
enum Stage {
    #[default]
    Head,
    Sized(Head, Range<usize>),
    Chunked(Head, usize),
}

#[derive(Debug, Clone, Copy)]
struct Head {
    status: u16,
    persistence: Persistence,
}

enum Framing {
    Bodyless,
    Sized(usize),
    Chunked,
}

impl ResponseReader {
    /// Forgets the last answer.
    pub(crate) fn reset(&mut self) {
        self.filled = 0;
        self.stage = Stage::Head;
        self.chunks.clear();
    }

    /// Room for the next bytes; tell [`Self::advance`] how many came.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        if self.buffer.len() - self.filled < READ_BYTES {
            let len = (self.buffer.len() * 2).max(self.filled + READ_BYTES);
            self.buffer.resize(len, 0);
        }
        &mut self.buffer[self.filled..]
    }

    /// Takes in `count` bytes that were put into [`Self::room`].
    pub(crate) fn advance(&mut self, count: usize) -> Result<Progress, Malformed> {
        self.filled += count;
        assert!(self.filled <= self.buffer.len(), "{} bytes in a buffer of {}", self.filled, self.buffer.len());
        if matches!(self.stage, Stage::Head) && self.read_head()? == Progress::Partial {
            return Ok(Progress::Partial);
        }
        let end = match &mut self.stage {
            Stage::Head => return Ok(Progress::Partial),
            Stage::Sized(_, body) => (self.filled >= body.end).then_some(body.end),
            Stage::Chunked(_, at) => read_chunks(&self.buffer[..self.filled], at, &mut self.chunks)?,
        };
        match end {
            None => Ok(Progress::Partial),
            Some(end) if end == self.filled => Ok(Progress::Whole),
            Some(_) => Err(Malformed::Surplus),
        }
    }

    /// The status of a whole answer; 0 before its head is read.
    pub(crate) fn status(&self) -> u16 {
        match self.stage {
            Stage::Head => 0,
            Stage::Sized(head, _) | Stage::Chunked(head, _) => head.status,
        }
    }

    /// Whether the connection outlives this answer.
    pub(crate) fn persistence(&self) -> Persistence {
        match self.stage {
            Stage::Head => Persistence::Close,
            Stage::Sized(head, _) | Stage::Chunked(head, _) => head.persistence,
        }
    }

    /// The body of a whole answer.
    pub(crate) fn body(&self) -> &[u8] {
        match &self.stage {
            Stage::Head => &[],
            Stage::Sized(_, body) => &self.buffer[body.clone()],
            Stage::Chunked(..) => &self.chunks,
        }
    }

    /// The bytes of this answer that have arrived, head and all.
    pub(crate) fn received(&self) -> usize {
        self.filled
    }

    fn read_head(&mut self) -> Result<Progress, Malformed> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut headers);
        let parsed = response.parse(&self.buffer[..self.filled]).map_err(|_| Malformed::Head)?;
        let httparse::Status::Complete(end) = parsed else {
            return if self.filled > HEAD_BYTES_MAX { Err(Malformed::LongHead) } else { Ok(Progress::Partial) };
        };
        let status = response.code.unwrap_or_default();
        if (100..200).contains(&status) {
            return Err(Malformed::Interim);
        }
        let head = Head { status, persistence: persistence(&response) };
        self.stage = match framing(status, response.headers)? {
            Framing::Bodyless => Stage::Sized(head, end..end),
            Framing::Sized(len) if len > BODY_BYTES_MAX => return Err(Malformed::LongBody),
            Framing::Sized(len) => Stage::Sized(head, end..end + len),
            Framing::Chunked => Stage::Chunked(head, end),
        };
        Ok(Progress::Whole)
    }
}

fn framing(status: u16, headers: &[httparse::Header<'_>]) -> Result<Framing, Malformed> {
    if status == 204 || status == 304 {
        return Ok(Framing::Bodyless);
    }
    let mut length = None;
    for header in headers {
        if header.name.eq_ignore_ascii_case("transfer-encoding") {
            let chunked = header.value.eq_ignore_ascii_case(b"chunked");
            return if chunked { Ok(Framing::Chunked) } else { Err(Malformed::TransferEncoding) };
        }
        if header.name.eq_ignore_ascii_case("content-length") {
            let value = str::from_utf8(header.value).ok().and_then(|value| value.parse::<usize>().ok());
            let value = value.ok_or(Malformed::ContentLength)?;
            if length.is_some_and(|length| length != value) {
                return Err(Malformed::ContentLength);
            }
            length = Some(value);
        }
    }
    length.map(Framing::Sized).ok_or(Malformed::Unframed)
}

fn persistence(response: &httparse::Response<'_, '_>) -> Persistence {
    let connection = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("connection"));
    match (connection, response.version) {
        (Some(header), _) if header.value.eq_ignore_ascii_case(b"close") => Persistence::Close,
        (Some(header), Some(0)) if header.value.eq_ignore_ascii_case(b"keep-alive") => Persistence::KeepAlive,
        (_, Some(0)) => Persistence::Close,
        _ => Persistence::KeepAlive,
    }
}

/// Moves whole chunks from `at` on into `chunks`; returns the end of the answer once the last one is there.
fn read_chunks(received: &[u8], at: &mut usize, chunks: &mut Vec<u8>) -> Result<Option<usize>, Malformed> {
    loop {
        let rest = &received[*at..];
        let (line, size) = match httparse::parse_chunk_size(rest) {
            Ok(httparse::Status::Complete(parsed)) => parsed,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err(Malformed::Chunk),
        };
        if size == 0 {
            return Ok(trailers_end(&rest[line..]).map(|end| *at + line + end));
        }
        let size = usize::try_from(size).map_err(|_| Malformed::LongBody)?;
        if size > BODY_BYTES_MAX - chunks.len() {
            return Err(Malformed::LongBody);
        }
        let Some(data) = rest.get(line..line + size + 2) else { return Ok(None) };
        let Some(data) = data.strip_suffix(b"\r\n") else { return Err(Malformed::Chunk) };
        chunks.extend_from_slice(data);
        *at += line + size + 2;
    }
}

/// Where the trailer section, usually empty, ends.
fn trailers_end(rest: &[u8]) -> Option<usize> {
    if rest.starts_with(b"\r\n") {
        return Some(2);
    }
    rest.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(reader: &mut ResponseReader, pieces: &[&[u8]]) -> Result<Progress, Malformed> {
        reader.reset();
        let mut progress = Progress::Partial;
        for piece in pieces {
            let mut piece = *piece;
            while !piece.is_empty() {
                assert_eq!(progress, Progress::Partial, "whole before its end");
                let room = reader.room();
                let count = piece.len().min(room.len());
                room[..count].copy_from_slice(&piece[..count]);
                progress = reader.advance(count)?;
                piece = &piece[count..];
            }
        }
        Ok(progress)
    }

    fn split<'a>(bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
    }

    fn refuses(bytes: &str, expected: Malformed) {
        assert_eq!(read(&mut ResponseReader::default(), &[bytes.as_bytes()]), Err(expected), "{bytes:?}");
    }

    proptest! {
        #[test]
        fn a_sized_answer_reads_the_same_however_it_is_cut(
            status in 200_u16..600,
            body in proptest::collection::vec(any::<u8>(), 0..20_000),
            cuts in proptest::collection::vec(any::<usize>(), 0..12),
        ) {
            prop_assume!(status != 204 && status != 304);
            let mut bytes = format!("HTTP/1.1 {status} X\r\ncontent-type: a\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
            bytes.extend(&body);
            let mut reader = ResponseReader::default();
            for _ in 0..2 {
                prop_assert_eq!(read(&mut reader, &split(&bytes, &cuts)), Ok(Progress::Whole));
                prop_assert_eq!((reader.status(), reader.body(), reader.received()), (status, &body[..], bytes.len()));
                prop_assert_eq!(reader.persistence(), Persistence::KeepAlive);
            }
        }

        #[test]
        fn a_chunked_answer_reads_the_same_however_it_is_cut(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..3_000), 0..6),
            cuts in proptest::collection::vec(any::<usize>(), 0..12),
            trailer in prop_oneof![Just(""), Just("digest: abc\r\n")],
        ) {
            let mut bytes = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
            for chunk in &chunks {
                bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
                bytes.extend(chunk);
                bytes.extend(b"\r\n");
            }
            bytes.extend(format!("0\r\n{trailer}\r\n").bytes());
            let mut reader = ResponseReader::default();
            for _ in 0..2 {
                prop_assert_eq!(read(&mut reader, &split(&bytes, &cuts)), Ok(Progress::Whole));
                prop_assert_eq!(reader.body(), &chunks.concat()[..]);
            }
        }

        #[test]
        fn no_bytes_break_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..300), cuts in proptest::collection::vec(any::<usize>(), 0..4)) {
            let mut reader = ResponseReader::default();
            for piece in split(&bytes, &cuts) {
                reader.room()[..piece.len()].copy_from_slice(piece);
                if reader.advance(piece.len()) != Ok(Progress::Partial) {
                    break;
                }
            }
        }
    }

    #[test]
    fn what_it_cannot_read_is_refused_by_name() {
        refuses("SMTP 220 hello\r\n\r\n", Malformed::Head);
        refuses("HTTP/1.1 200 OK\r\n\r\n", Malformed::Unframed);
        refuses("HTTP/1.1 200 OK\r\ncontent-length: ten\r\n\r\n", Malformed::ContentLength);
        refuses("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", Malformed::ContentLength);
        refuses("HTTP/1.1 200 OK\r\ncontent-length: 999999999\r\n\r\n", Malformed::LongBody);
        refuses("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n", Malformed::TransferEncoding);
        refuses("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabcde\r\n", Malformed::Chunk);
        refuses("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nab", Malformed::Surplus);
        refuses("HTTP/1.1 100 Continue\r\n\r\n", Malformed::Interim);
    }

    #[test]
    fn a_head_without_end_is_given_up() {
        let long = format!("HTTP/1.1 200 OK\r\nx: {}", "a".repeat(HEAD_BYTES_MAX + READ_BYTES));
        refuses(&long, Malformed::LongHead);
    }

    #[test]
    fn the_server_says_whether_the_connection_goes_on() {
        for (head, expected) in [
            ("HTTP/1.1 304 X\r\n\r\n", Persistence::KeepAlive),
            ("HTTP/1.1 204 X\r\nConnection: close\r\n\r\n", Persistence::Close),
            ("HTTP/1.0 204 X\r\n\r\n", Persistence::Close),
            ("HTTP/1.0 204 X\r\nconnection: Keep-Alive\r\n\r\n", Persistence::KeepAlive),
        ] {
            let mut reader = ResponseReader::default();
            assert_eq!(read(&mut reader, &[head.as_bytes()]), Ok(Progress::Whole));
            assert_eq!(reader.persistence(), expected, "{head:?}");
        }
    }
}
