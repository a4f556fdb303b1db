//! Lines of a body, parsed as they arrive, in bounded memory.

use axum::body::Body;
use bytes::{Buf, BytesMut};
use http_body_util::BodyExt;
use plimsoll_wire::problem::Kind;
use tokio::time::Instant;

use super::{LINE_TIME_MAX, Line};
use crate::http::error::ApiError;
use crate::http::extract::submission;

/// The longest line, as that of a single transition's body.
const LINE_BYTES_MAX: usize = 1 << 20;

/// The most lines of one group: a quarter of what the writer puts into one commit, so that others have a place in it
/// and a batch keeps the writer and the disk busy with different groups.
const GROUP_LINES_MAX: usize = 256;

/// A group ends with the line that reaches so many bytes.
const GROUP_BYTES_MAX: usize = 512 << 10;

/// See the module.
pub(super) struct Lines {
    body: Body,
    /// What has arrived and is not a line of the group yet.
    buffer: BytesMut,
    /// The bytes of the buffer that hold no line feed.
    searched: usize,
    /// When the first byte of the unfinished line came; where there is none, when the last line ended.
    line_began: Instant,
    /// The rest of a line that is too long is on its way.
    skipping: bool,
    state: State,
    group: Vec<Line>,
    group_bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Ended,
    Broken,
}

impl Lines {
    pub(super) fn new(body: Body) -> Self {
        Self {
            body,
            buffer: BytesMut::new(),
            searched: 0,
            line_began: Instant::now(),
            skipping: false,
            state: State::Open,
            group: Vec::new(),
            group_bytes: 0,
        }
    }

    /// Whether the group has no line.
    pub(super) const fn is_empty(&self) -> bool {
        self.group.is_empty()
    }

    /// Whether nothing more will come after the group.
    pub(super) fn at_end(&self) -> bool {
        self.state != State::Open && self.buffer.is_empty()
    }

    /// Whether the body did not come to its end.
    pub(super) fn is_broken(&self) -> bool {
        self.state == State::Broken
    }

    /// When a line that is awaited since `since` has to be there: a whole line, however much of it has come.
    pub(super) fn deadline(&self, since: Instant) -> Instant {
        self.line_began.max(since) + LINE_TIME_MAX
    }

    /// Whether the group takes more lines, and there may be more.
    pub(super) fn has_room(&self) -> bool {
        self.state == State::Open && self.group.len() < GROUP_LINES_MAX && self.group_bytes < GROUP_BYTES_MAX
    }

    /// Takes the group, and begins the next with what has arrived.
    pub(super) fn take(&mut self) -> Vec<Line> {
        let group = std::mem::take(&mut self.group);
        self.group_bytes = 0;
        self.gather();
        group
    }

    /// Reads what arrives next. Cancelling loses nothing.
    pub(super) async fn fill(&mut self) {
        match self.body.frame().await {
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    if self.buffer.is_empty() && !self.skipping {
                        self.line_began = Instant::now();
                    }
                    self.buffer.extend_from_slice(&data);
                }
            }
            Some(Err(_)) => self.state = State::Broken,
            None => self.state = State::Ended,
        }
        self.gather();
    }

    /// Moves lines from the buffer to the group.
    fn gather(&mut self) {
        if self.buffer[self.searched..].contains(&b'\n') {
            self.line_began = Instant::now();
        }
        while self.group.len() < GROUP_LINES_MAX && self.group_bytes < GROUP_BYTES_MAX {
            let unsearched = &self.buffer[self.searched..];
            if let Some(at) = unsearched.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(self.searched + at);
                self.buffer.advance(1);
                self.searched = 0;
                self.push(&line);
                continue;
            }
            self.searched = self.buffer.len();
            if self.searched > LINE_BYTES_MAX {
                self.push_too_long();
                self.skipping = true;
            }
            if self.skipping {
                self.buffer.clear();
                self.searched = 0;
            }
            match self.state {
                State::Open => {}
                // The last line may have no line feed.
                State::Ended => {
                    let line = self.buffer.split();
                    self.push(&line);
                    self.searched = 0;
                }
                // Part of a line is none.
                State::Broken => {
                    self.buffer.clear();
                    self.searched = 0;
                }
            }
            return;
        }
    }

    fn push(&mut self, line: &[u8]) {
        if std::mem::take(&mut self.skipping) {
            return;
        }
        if line.len() > LINE_BYTES_MAX {
            self.push_too_long();
        } else if !line.trim_ascii().is_empty() {
            self.group_bytes += line.len();
            self.group.push(submission(line));
        }
    }

    /// Once for each line: what is left of it is skipped.
    fn push_too_long(&mut self) {
        if !self.skipping {
            let detail = format!("a line may have at most {LINE_BYTES_MAX} bytes");
            self.group.push(Err(ApiError::new(Kind::TooLarge, detail)));
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::stream;

    use super::*;

    fn lines(parts: &[&[u8]]) -> Lines {
        let parts: Vec<_> = parts.iter().map(|part| Ok::<_, std::io::Error>(Bytes::copy_from_slice(part))).collect();
        Lines::new(Body::from_stream(stream::iter(parts)))
    }

    async fn all(mut lines: Lines) -> Vec<String> {
        let mut all = Vec::new();
        loop {
            while lines.is_empty() && !lines.at_end() {
                lines.fill().await;
            }
            let group = lines.take();
            if group.is_empty() {
                return all;
            }
            assert!(group.len() <= GROUP_LINES_MAX);
            all.extend(group.into_iter().map(|line| match line {
                Ok(submission) => submission.transition.id.to_string(),
                Err(error) => error.kind().name().to_owned(),
            }));
        }
    }

    fn line(id: &str) -> String {
        format!(r#"{{"artifact_id":"a","transition_id":"{id}","status":"s","produced_refs":[]}}"#)
    }

    #[tokio::test]
    async fn lines_are_found_however_they_are_cut() {
        let text = format!("{}\r\n\n  \nnonsense\n{}", line("t-1"), line("t-2"));
        for size in [1, 2, 7, 64, 1_000] {
            let parts: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
            assert_eq!(all(lines(&parts)).await, ["t-1", "not-json", "t-2"], "{size}");
        }
        assert!(all(lines(&[])).await.is_empty());
        assert!(all(lines(&[b"\n", b" "])).await.is_empty());
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_fails_alone() {
        let long = vec![b'x'; LINE_BYTES_MAX + 1];
        for size in [100_000, LINE_BYTES_MAX, 3 * LINE_BYTES_MAX] {
            let text = [line("t-1").as_bytes(), &long, &long, line("t-2").as_bytes(), &long].join(&b'\n');
            let parts: Vec<&[u8]> = text.chunks(size).collect();
            assert_eq!(all(lines(&parts)).await, ["t-1", "too-large", "too-large", "t-2", "too-large"], "{size}");
        }
    }

    #[tokio::test]
    async fn a_group_is_bounded() {
        let text: String = (0..2_000).map(|number| line(&number.to_string()) + "\n").collect();
        let expected: Vec<String> = (0..2_000).map(|number| number.to_string()).collect();
        assert_eq!(all(lines(&[text.as_bytes()])).await, expected);
    }

    #[tokio::test]
    async fn part_of_a_line_is_none() {
        let parts =
            [Ok(Bytes::from(line("t-1") + "\n" + &line("t-2"))), Err(std::io::ErrorKind::ConnectionReset.into())];
        let lines = Lines::new(Body::from_stream(stream::iter::<[std::io::Result<Bytes>; 2]>(parts)));
        assert_eq!(all(lines).await, ["t-1"]);
    }
}
