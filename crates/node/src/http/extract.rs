//! What handlers read of a request. Whatever cannot be read is answered with a problem document, never with a text of
//! the framework's own.

mod body;
mod condition;
mod json;
mod preference;
mod query;

pub(crate) use body::{MediaType, check_media_type, read_whole, unreadable};
pub(crate) use condition::{expectation, matches_none};
pub(crate) use json::{from_json, submission};
pub(crate) use preference::{Wait, acknowledgements, preferred_wait};
pub(crate) use query::{Query, artifact_in_path, segment_text};
