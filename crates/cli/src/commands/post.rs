//! `plimsoll post`.

use std::io::Read as _;

use anyhow::Context as _;
use plimsoll_client::wire::http::v1::PostTransition;
use plimsoll_client::wire::problem::{Kind, Problem};
use plimsoll_client::{Client, PostOptions, Posted, Precondition};

use crate::arguments::PostArguments;
use crate::commands::open;
use crate::failure::Failure;
use crate::printer::Printer;

/// A node takes no more.
const BODY_BYTES_MAX: u64 = 1024 * 1024;

pub(super) async fn post(client: &Client, arguments: &PostArguments, printer: &mut Printer) -> Result<(), Failure> {
    let mut text = Vec::new();
    open(&arguments.file)?
        .take(BODY_BYTES_MAX + 1)
        .read_to_end(&mut text)
        .with_context(|| format!("cannot read {}", arguments.file.display()))?;
    let transition = parse(&text).map_err(Failure::Input)?;
    let precondition = match &arguments.if_match {
        Some(token) => Precondition::Token(token.clone()),
        None if arguments.if_not_projected => Precondition::NotProjected,
        None => Precondition::Always,
    };
    let options = PostOptions { precondition, ack: arguments.ack };
    let posted = client
        .post_transition(&transition, &options)
        .await
        .map_err(Failure::request(format!("post {:?}", transition.transition_id)))?;
    printer.answer(posted.body(), || match &posted {
        Posted::Accepted(body) => format!("accepted {}", body.committed_version),
        Posted::Repeated(body) => format!("repeated {}", body.committed_version),
    })
}

/// Reads a transition; what is no transition is refused as the node would.
fn parse(text: &[u8]) -> Result<PostTransition, Problem> {
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > BODY_BYTES_MAX {
        return Err(Problem::new(Kind::TooLarge, "the transition is larger than 1 MiB"));
    }
    serde_json::from_slice(text).map_err(|error| {
        let kind = if error.is_data() { Kind::InvalidField } else { Kind::NotJson };
        Problem::new(kind, format!("the file is not one transition: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_transition_is_refused_as_the_node_would() {
        let kind = |text: &[u8]| parse(text).unwrap_err().known_kind().unwrap();
        assert_eq!(kind(b"{"), Kind::NotJson);
        assert_eq!(kind(b""), Kind::NotJson);
        assert_eq!(kind(b"{}"), Kind::InvalidField);
        assert_eq!(kind(b"{\"artifact_id\": 1}"), Kind::InvalidField);
        assert_eq!(kind(&vec![b' '; 1024 * 1024 + 1]), Kind::TooLarge);
    }
}
