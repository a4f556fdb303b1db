//! Reading a [`ProducedRef`] exactly as it is documented.
//!
//! A derived reader of a tagged enum copies each ref before it looks at it, cannot name the field that is wrong, and
//! takes an array for an object. This one does neither.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

use super::ProducedRef;

impl<'de> Deserialize<'de> for ProducedRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(RefVisitor)
    }
}

#[derive(serde::Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Field {
    Kind,
    TargetRepo,
    IdempotencyKey,
    Number,
    Url,
    CreatedAt,
}

const FIELDS_OF_PENDING: &[&str] = &["kind", "target_repo", "idempotency_key"];

enum RefKind {
    Pending,
    Resolved,
}

impl<'de> Deserialize<'de> for RefKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(KindVisitor)
    }
}

struct KindVisitor;

impl Visitor<'_> for KindVisitor {
    type Value = RefKind;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("`pending` or `resolved`")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<RefKind, E> {
        match text {
            "pending" => Ok(RefKind::Pending),
            "resolved" => Ok(RefKind::Resolved),
            other => Err(E::unknown_variant(other, &["pending", "resolved"])),
        }
    }
}

struct RefVisitor;

impl<'de> Visitor<'de> for RefVisitor {
    type Value = ProducedRef;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object that is a produced ref")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ProducedRef, A::Error> {
        let mut kind = None;
        let mut target_repo = None;
        let mut idempotency_key = None;
        let mut number = None;
        let mut url = None;
        let mut created_at = None;
        while let Some(field) = map.next_key()? {
            match field {
                Field::Kind => take(&mut map, &mut kind, "kind")?,
                Field::TargetRepo => take(&mut map, &mut target_repo, "target_repo")?,
                Field::IdempotencyKey => take(&mut map, &mut idempotency_key, "idempotency_key")?,
                Field::Number => take(&mut map, &mut number, "number")?,
                Field::Url => take(&mut map, &mut url, "url")?,
                Field::CreatedAt => take(&mut map, &mut created_at, "created_at")?,
            }
        }
        let kind = required(kind, "kind")?;
        let target_repo = required(target_repo, "target_repo")?;
        let idempotency_key = required(idempotency_key, "idempotency_key")?;
        match kind {
            RefKind::Pending => {
                absent(&number, "number")?;
                absent(&url, "url")?;
                absent(&created_at, "created_at")?;
                Ok(ProducedRef::Pending { target_repo, idempotency_key })
            }
            RefKind::Resolved => Ok(ProducedRef::Resolved {
                target_repo,
                idempotency_key,
                number: required(number, "number")?,
                url: required(url, "url")?,
                created_at: required(created_at, "created_at")?,
            }),
        }
    }
}

fn take<'de, A: MapAccess<'de>, T: Deserialize<'de>>(
    map: &mut A,
    slot: &mut Option<T>,
    name: &'static str,
) -> Result<(), A::Error> {
    if slot.is_some() {
        return Err(A::Error::duplicate_field(name));
    }
    *slot = Some(map.next_value()?);
    Ok(())
}

fn required<T, E: Error>(value: Option<T>, name: &'static str) -> Result<T, E> {
    value.ok_or_else(|| E::missing_field(name))
}

fn absent<T, E: Error>(value: &Option<T>, name: &'static str) -> Result<(), E> {
    match value {
        None => Ok(()),
        Some(_) => Err(E::unknown_field(name, FIELDS_OF_PENDING)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_come_back_as_they_were_written() {
        let pending = ProducedRef::Pending { target_repo: "a".into(), idempotency_key: "k".into() };
        let resolved = ProducedRef::Resolved {
            target_repo: "a".into(),
            idempotency_key: "k".into(),
            number: 1,
            url: "u".into(),
            created_at: "t".into(),
        };
        for produced in [pending, resolved] {
            let text = serde_json::to_string(&produced).unwrap();
            assert_eq!(serde_json::from_str::<ProducedRef>(&text).unwrap(), produced);
        }
    }

    #[test]
    fn whatever_is_not_a_ref_is_refused() {
        for (text, reason) in [
            (r#"["pending","a","k"]"#, "invalid type: sequence"),
            (r#"{"target_repo":"a","idempotency_key":"k"}"#, "missing field `kind`"),
            (r#"{"kind":"open","target_repo":"a","idempotency_key":"k"}"#, "unknown variant `open`"),
            (r#"{"kind":{"pending":null},"target_repo":"a","idempotency_key":"k"}"#, "invalid type: map"),
            (r#"{"kind":"pending","target_repo":"a"}"#, "missing field `idempotency_key`"),
            (r#"{"kind":"pending","target_repo":"a","idempotency_key":"k","number":1}"#, "unknown field `number`"),
            (r#"{"kind":"pending","kind":"pending"}"#, "duplicate field `kind`"),
            (r#"{"kind":"resolved","target_repo":"a","idempotency_key":"k"}"#, "missing field `number`"),
            (r#"{"kind":"pending","target_repo":"a","idempotency_key":"k","extra":1}"#, "unknown field `extra`"),
        ] {
            let error = serde_json::from_str::<ProducedRef>(text).unwrap_err().to_string();
            assert!(error.starts_with(reason), "{text}: {error}");
        }
    }
}
