//! Questions and answers of anti-entropy.

use plimsoll_domain::projection::reconcile::{Answer, Question, Range};
use plimsoll_domain::projection::{FactKey, Fingerprint};
use serde::{Deserialize, Serialize};

use super::super::{Blob, FRAME_BYTES_MAX, FrameError, decode, encode};
use super::FIRST;
use crate::record::v1::{StoredFact, decode_fact, encode_fact};

/// Depth and index.
type RangeV1 = (u8, u16);

/// Sum and count.
type FingerprintV1 = (u128, u64);

#[derive(Serialize, Deserialize)]
enum QuestionV1 {
    Compare(Vec<RangeV1>),
    Facts { ranges: Vec<RangeV1>, after: Option<[u8; FactKey::BYTES]>, have: Vec<u64> },
}

#[derive(Serialize, Deserialize)]
enum AnswerV1 {
    Children(Vec<[FingerprintV1; Range::CHILDREN]>),
    /// The facts as stored records, one after another with their lengths, compressed by LZ4 after their length in all.
    Facts {
        facts: Blob,
        next: Option<[u8; FactKey::BYTES]>,
    },
}

fn ranges(ranges: &[Range]) -> Vec<RangeV1> {
    ranges.iter().map(|range| (range.depth(), range.index())).collect()
}

fn parse_ranges(ranges: Vec<RangeV1>) -> Result<Vec<Range>, FrameError> {
    let no_range = || FrameError::Field { field: "ranges", rule: "must be ranges of keys".to_owned() };
    ranges.into_iter().map(|(depth, index)| Range::new(depth, index).ok_or_else(no_range)).collect()
}

/// Writes a question, with its length.
#[must_use]
pub fn encode_question(question: &Question) -> Vec<u8> {
    let body = match question {
        Question::Compare(compared) => QuestionV1::Compare(ranges(compared)),
        Question::Facts { ranges: wanted, after, have } => {
            QuestionV1::Facts { ranges: ranges(wanted), after: after.map(FactKey::bytes), have: have.clone() }
        }
    };
    encode(FIRST, &body)
}

/// Reads a question, and checks it.
///
/// # Errors
/// [`FrameError`].
pub fn decode_question(frame: &[u8]) -> Result<Question, FrameError> {
    let question = match decode(FIRST, frame)? {
        QuestionV1::Compare(ranges) => Question::Compare(parse_ranges(ranges)?),
        QuestionV1::Facts { ranges, after, have } => {
            Question::Facts { ranges: parse_ranges(ranges)?, after: after.map(FactKey::new), have }
        }
    };
    question.check().map_err(|rule| FrameError::Field { field: "question", rule: rule.to_string() })?;
    Ok(question)
}

/// Writes an answer, with its length.
#[must_use]
pub fn encode_answer(answer: &Answer) -> Vec<u8> {
    let body = match answer {
        Answer::Children(children) => AnswerV1::Children(
            children.iter().map(|children| children.map(|Fingerprint { sum, count }| (sum, count))).collect(),
        ),
        Answer::Facts { facts, next } => {
            let records: Vec<Blob> = facts.iter().map(|(tenant, fact)| Blob(encode_fact(tenant, fact))).collect();
            let facts = lz4_flex::compress_prepend_size(&super::super::encode_bare(&records));
            AnswerV1::Facts { facts: Blob(facts), next: next.map(FactKey::bytes) }
        }
    };
    encode(FIRST, &body)
}

/// Reads an answer.
///
/// # Errors
/// [`FrameError`].
pub fn decode_answer(frame: &[u8]) -> Result<Answer, FrameError> {
    Ok(match decode(FIRST, frame)? {
        AnswerV1::Children(children) => {
            let fingerprint = |(sum, count): FingerprintV1| Fingerprint { sum, count };
            Answer::Children(children.into_iter().map(|children| children.map(fingerprint)).collect())
        }
        AnswerV1::Facts { facts, next } => {
            let records: Vec<Blob> = super::decompressed(&facts.0)?;
            let broken =
                |error: crate::record::RecordError| FrameError::Field { field: "facts", rule: error.to_string() };
            let read = |Blob(record): Blob| {
                let StoredFact { tenant, fact } = decode_fact(&record).map_err(broken)?;
                Ok((tenant, fact))
            };
            let facts = records.into_iter().map(read).collect::<Result<_, FrameError>>()?;
            Answer::Facts { facts, next: next.map(FactKey::new) }
        }
    })
}

/// Writes the fingerprint of all facts, with its length: asks the other to fetch what it has not.
#[must_use]
pub fn encode_fingerprint(fingerprint: Fingerprint) -> Vec<u8> {
    encode(FIRST, &(fingerprint.sum, fingerprint.count))
}

/// Reads the fingerprint of all facts.
///
/// # Errors
/// [`FrameError`].
pub fn decode_fingerprint(frame: &[u8]) -> Result<Fingerprint, FrameError> {
    let (sum, count): FingerprintV1 = decode(FIRST, frame)?;
    Ok(Fingerprint { sum, count })
}

/// About how many bytes of facts an answer may have.
pub const ANSWER_BYTES_MAX: usize = FRAME_BYTES_MAX / 4;
