//! Projections: what a set of facts says of an artifact.
//!
//! A client's [`Transition`] becomes a [`Fact`] when a node stamps it. Facts are joined and folded; the result, the
//! [`Projection`], depends on the set of facts alone, not on the order or the number of their arrivals. The rules are
//! those of `projections.md`, section *Merge*:
//!
//! 1. The facts of one transition id are one transition; its *effective* stamp is the smallest ([`Fact::join`]).
//! 2. The transition with the greatest effective stamp gives the status.
//! 3. Of one ref, `resolved` beats `pending`; of two resolved, the greater effective stamp wins ([`RefState`]).
//! 4. A tombstone hides every transition with a smaller effective stamp, whenever either arrives.
//! 5. The token carries the greatest stamp ever seen for the artifact, superseded retries included ([`Token`]).
//! 6. Of two contents under one transition id, that of the smaller effective stamp stands ([`Fact::join`]).

mod explain;
mod fact;
mod fingerprint;
mod fold;
mod horizon;
mod key;
pub mod reconcile;
mod refs;
mod submit;
mod token;
mod transition;

pub use explain::{DecidedRef, Decider, Explanation, Why, explain};
pub use fact::{Body, Fact, Joined};
pub use fingerprint::{FactHash, Fingerprint};
pub use fold::{Merge, Merged, Projection, Winner};
pub use horizon::{Ahead, Horizon, ahead, forgotten};
pub use key::FactKey;
pub use refs::{RefKey, RefRows, RefState, RefsDigest, Resolution};
pub use submit::{Expectation, Refusal, Verdict, judge};
pub use token::{NotAToken, Token};
pub use transition::{
    Draft, Invalid, PRODUCED_REFS_MAX, ProducedRef, REFS_TEXT_BYTES_MAX, RefDraft, Rule, Submission, Transition,
};

#[cfg(test)]
mod laws;
