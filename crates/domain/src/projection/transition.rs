//! A client's intent: parsed, valid, not yet stamped.

use std::fmt;

use thiserror::Error;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::refs::{RefKey, Resolution};
use super::token::{NotAToken, Token};
use crate::id::{ArtifactId, Status, TextRule, TransitionId, check_plain};

/// The most refs one transition may produce (`projections.md`).
pub const PRODUCED_REFS_MAX: usize = 256;

/// The most bytes of a repository's name and of an idempotency key.
const NAME_BYTES_MAX: usize = 256;

/// The most bytes of a ref's URL: what browsers and proxies agree on.
const URL_BYTES_MAX: usize = 2_048;

/// The most bytes of all texts of one transition's refs together, so that a fact fits one value of every engine (sled
/// keeps values up to 192 KiB in its log). 256 refs may have 512 bytes each; ten times what a forge gives.
pub const REFS_TEXT_BYTES_MAX: usize = 128 << 10;

/// The most bytes of a creation time: RFC 3339 with nanoseconds has 35.
const TIME_BYTES_MAX: usize = 64;

/// The greatest number a JSON reader with 64-bit floats can hold exactly (RFC 8259, section 6).
const NUMBER_MAX: u64 = (1 << 53) - 1;

/// One immutable fact in the making: an artifact takes on a status and produces refs.
///
/// Its content is compared as a value: the refs are kept in the order of (`target_repo`, `idempotency_key`), pending
/// before resolved, so that a retry which lists them in another order is the same transition.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Transition {
    /// The artifact.
    pub artifact: ArtifactId,
    /// Names the transition within its tenant.
    pub id: TransitionId,
    /// The status the artifact takes on.
    pub status: Status,
    refs: Vec<ProducedRef>,
}

/// A ref as one transition knows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProducedRef {
    /// Names the ref within its artifact.
    pub key: RefKey,
    /// What the forge answered; `None` while it is pending.
    pub resolution: Option<Resolution>,
}

/// A transition, and the state its emitter last saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// The transition.
    pub transition: Transition,
    /// The token its emitter last saw: the new stamp is to be greater. It is not content.
    pub after: Option<Token>,
}

/// What a client sent, before any rule was checked.
#[derive(Debug, Clone, Default)]
pub struct Draft {
    /// See [`ArtifactId`].
    pub artifact_id: String,
    /// See [`TransitionId`].
    pub transition_id: String,
    /// See [`Status`].
    pub status: String,
    /// At most [`PRODUCED_REFS_MAX`].
    pub produced_refs: Vec<RefDraft>,
    /// See [`Token`].
    pub committed_version: Option<String>,
}

/// A ref a client sent, before any rule was checked.
#[derive(Debug, Clone, Default)]
pub struct RefDraft {
    /// 1 to 256 bytes, no control characters.
    pub target_repo: String,
    /// 1 to 256 bytes, no control characters.
    pub idempotency_key: String,
    /// Number, URL and creation time, of a resolved ref.
    pub resolution: Option<(u64, String, String)>,
}

impl RefDraft {
    fn text_bytes(&self) -> usize {
        let resolution = self.resolution.as_ref();
        let answer = resolution.map_or(0, |(_, url, created_at)| url.len() + created_at.len());
        self.target_repo.len() + self.idempotency_key.len() + answer
    }
}

/// A field of a request breaks its rule.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{field} {rule}")]
pub struct Invalid {
    /// The field, as a path: `produced_refs[3].url`.
    pub field: String,
    /// The rule.
    pub rule: Rule,
}

/// A rule of one field.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Rule {
    /// A rule of texts.
    #[error(transparent)]
    Text(#[from] TextRule),
    /// More refs than allowed.
    #[error("must have at most {PRODUCED_REFS_MAX} items, and has {actual}")]
    TooMany {
        /// How many there are.
        actual: usize,
    },
    /// More text than allowed.
    #[error("must have at most {REFS_TEXT_BYTES_MAX} bytes of text together, and has {actual}")]
    TooMuchText {
        /// How many bytes there are.
        actual: usize,
    },
    /// A number out of its range.
    #[error("must be 1 to {NUMBER_MAX}, and is {actual}")]
    Number {
        /// What it is.
        actual: u64,
    },
    /// Not a time.
    #[error("must be a time as of RFC 3339")]
    NotATime,
    /// The ref stands in the same request already.
    #[error("repeats produced_refs[{first}]: one transition may hold a ref once as pending and once as resolved")]
    Repeated {
        /// The index of the first.
        first: usize,
    },
    /// Not a token.
    #[error(transparent)]
    Token(#[from] NotAToken),
}

impl Invalid {
    fn new(field: impl fmt::Display, rule: impl Into<Rule>) -> Self {
        Self { field: field.to_string(), rule: rule.into() }
    }
}

impl Submission {
    /// Checks every rule of a draft.
    ///
    /// # Errors
    /// The first field that breaks its rule.
    pub fn parse(draft: Draft) -> Result<Self, Invalid> {
        let after = draft
            .committed_version
            .map(|text| Token::parse(&text).map_err(|error| Invalid::new("committed_version", error)))
            .transpose()?;
        Ok(Self {
            transition: Transition::parse(draft.artifact_id, draft.transition_id, draft.status, draft.produced_refs)?,
            after,
        })
    }
}

impl Transition {
    /// Checks the rules of a transition's content.
    ///
    /// # Errors
    /// The first field that breaks its rule.
    pub fn parse(
        artifact_id: String,
        transition_id: String,
        status: String,
        produced_refs: Vec<RefDraft>,
    ) -> Result<Self, Invalid> {
        let artifact = ArtifactId::parse(artifact_id).map_err(|rule| Invalid::new("artifact_id", rule))?;
        let id = TransitionId::parse(transition_id).map_err(|rule| Invalid::new("transition_id", rule))?;
        let status = Status::parse(status).map_err(|rule| Invalid::new("status", rule))?;
        if produced_refs.len() > PRODUCED_REFS_MAX {
            return Err(Invalid::new("produced_refs", Rule::TooMany { actual: produced_refs.len() }));
        }
        let text_bytes = produced_refs.iter().map(RefDraft::text_bytes).sum();
        if text_bytes > REFS_TEXT_BYTES_MAX {
            return Err(Invalid::new("produced_refs", Rule::TooMuchText { actual: text_bytes }));
        }
        let refs = produced_refs
            .into_iter()
            .enumerate()
            .map(|(index, draft)| ProducedRef::parse(index, draft))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self { artifact, id, status, refs: in_canonical_order(refs)? })
    }

    /// The refs, ordered by key, pending before resolved; of each key at most one of either form.
    #[must_use]
    pub fn refs(&self) -> &[ProducedRef] {
        &self.refs
    }

    /// The bytes of the refs' texts: nearly all that a large transition has.
    #[must_use]
    pub fn refs_text_bytes(&self) -> usize {
        let of_ref = |produced: &ProducedRef| {
            produced.key.text_bytes() + produced.resolution.as_ref().map_or(0, Resolution::text_bytes)
        };
        self.refs.iter().map(of_ref).sum()
    }
}

fn in_canonical_order(refs: Vec<ProducedRef>) -> Result<Vec<ProducedRef>, Invalid> {
    let mut order: Vec<usize> = (0..refs.len()).collect();
    let form = |index: usize| (&refs[index].key, refs[index].resolution.is_some());
    order.sort_by(|left, right| form(*left).cmp(&form(*right)));
    if let Some(pair) = order.windows(2).find(|pair| form(pair[0]) == form(pair[1])) {
        return Err(Invalid::new(format_args!("produced_refs[{}]", pair[1]), Rule::Repeated { first: pair[0] }));
    }
    let mut refs: Vec<Option<ProducedRef>> = refs.into_iter().map(Some).collect();
    Ok(order.into_iter().filter_map(|index| refs[index].take()).collect())
}

impl ProducedRef {
    /// Checks the rules of one ref, the one with this index among those of its transition.
    ///
    /// # Errors
    /// The first field that breaks its rule.
    pub fn parse(index: usize, draft: RefDraft) -> Result<Self, Invalid> {
        let field = |name: &str| format!("produced_refs[{index}].{name}");
        let plain =
            |name: &str, text: &str, max: usize| check_plain(text, max).map_err(|rule| Invalid::new(field(name), rule));
        plain("target_repo", &draft.target_repo, NAME_BYTES_MAX)?;
        plain("idempotency_key", &draft.idempotency_key, NAME_BYTES_MAX)?;
        let resolution = match draft.resolution {
            None => None,
            Some((number, url, created_at)) => {
                if !(1..=NUMBER_MAX).contains(&number) {
                    return Err(Invalid::new(field("number"), Rule::Number { actual: number }));
                }
                plain("url", &url, URL_BYTES_MAX)?;
                plain("created_at", &created_at, TIME_BYTES_MAX)?;
                OffsetDateTime::parse(&created_at, &Rfc3339)
                    .map_err(|_| Invalid::new(field("created_at"), Rule::NotATime))?;
                Some(Resolution { number, url: url.into(), created_at: created_at.into() })
            }
        };
        let key = RefKey { target_repo: draft.target_repo.into(), idempotency_key: draft.idempotency_key.into() };
        Ok(Self { key, resolution })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft() -> Draft {
        Draft {
            artifact_id: "spec".into(),
            transition_id: "t-1".into(),
            status: "in_review".into(),
            ..Draft::default()
        }
    }

    fn pending(key: &str) -> RefDraft {
        RefDraft { target_repo: "acme/web".into(), idempotency_key: key.into(), resolution: None }
    }

    fn resolved(key: &str, number: u64) -> RefDraft {
        let resolution = Some((number, "https://forge.example/1".into(), "2026-04-22T18:04:11Z".into()));
        RefDraft { resolution, ..pending(key) }
    }

    fn field_of(change: impl FnOnce(&mut Draft)) -> String {
        let mut draft = draft();
        change(&mut draft);
        Submission::parse(draft).expect_err("the draft breaks a rule").field
    }

    #[test]
    fn the_order_of_refs_is_no_content() {
        let parse = |refs| Submission::parse(Draft { produced_refs: refs, ..draft() }).unwrap().transition;
        assert_eq!(
            parse(vec![pending("b"), resolved("a", 1), pending("a")]),
            parse(vec![pending("a"), pending("b"), resolved("a", 1)]),
        );
    }

    #[test]
    fn each_broken_rule_names_its_field() {
        assert_eq!(field_of(|draft| draft.artifact_id.clear()), "artifact_id");
        assert_eq!(field_of(|draft| draft.transition_id = "é".into()), "transition_id");
        assert_eq!(field_of(|draft| draft.status = "x".repeat(65)), "status");
        assert_eq!(field_of(|draft| draft.committed_version = Some("x".into())), "committed_version");
        assert_eq!(field_of(|draft| draft.produced_refs = vec![pending("k"); 257]), "produced_refs");
        let url = |at: usize| {
            let mut draft = resolved(&at.to_string(), 1);
            draft.resolution.as_mut().unwrap().1 = "u".repeat(600);
            draft
        };
        assert_eq!(field_of(|draft| draft.produced_refs = (0..256).map(url).collect()), "produced_refs");
        assert_eq!(
            field_of(|draft| draft.produced_refs = vec![pending("a"), pending("b"), pending("a")]),
            "produced_refs[2]",
        );
        assert_eq!(field_of(|draft| draft.produced_refs = vec![pending("")]), "produced_refs[0].idempotency_key");
        assert_eq!(
            field_of(|draft| draft.produced_refs = vec![pending("a"), resolved("b", 0)]),
            "produced_refs[1].number",
        );
        let with = |change: fn(&mut (u64, String, String))| {
            let mut draft = resolved("a", 1);
            draft.resolution.as_mut().map(change).expect("resolved");
            draft
        };
        assert_eq!(
            field_of(|draft| draft.produced_refs = vec![with(|resolution| resolution.1.clear())]),
            "produced_refs[0].url",
        );
        let long_time = format!("2026-04-22T18:04:11.{}Z", "0".repeat(64));
        assert_eq!(
            field_of(|draft| {
                let mut late = resolved("a", 1);
                late.resolution.as_mut().unwrap().2 = long_time.clone();
                draft.produced_refs = vec![late];
            }),
            "produced_refs[0].created_at",
        );
        assert_eq!(
            field_of(|draft| draft.produced_refs = vec![with(|resolution| resolution.2 = "yesterday".into())]),
            "produced_refs[0].created_at",
        );
    }
}
