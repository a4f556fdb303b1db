//! Looking at a node's cluster, and changing who belongs to it.
//!
//! Each of these requests speaks of one node: with several URLs it goes to the one the client talks to now, and is
//! repeated only there. That a node answers for another one would be a wrong answer at best, and at worst the wrong node
//! leaves.

use std::time::Duration;

use http::{Method, StatusCode};
use plimsoll_wire::http::v1::ClusterStatus;
use plimsoll_wire::problem::Kind;

use crate::call::{Call, Client, decode, unexpected};
use crate::error::{Cause, Error, Outcome};
use crate::history::Repeat;

/// A node that leaves waits 30 s for another one to have all that it has, and then tells the others.
const LEAVING_TIME_MAX: Duration = Duration::from_secs(40);

impl Client {
    /// The node that the client talks to, and its cluster as that node sees it. It needs a token with the scope `admin`,
    /// as all that follows does.
    ///
    /// With several URLs each call may be about another node: [`ClusterStatus::node_id`] tells which one.
    ///
    /// # Errors
    /// `forbidden` without that scope, or the retry policy ended.
    pub async fn cluster(&self) -> Result<ClusterStatus, Error> {
        decode(&self.call_here(Call::get("/cluster".to_owned())).await?, Repeat::Read)
    }

    /// Lets the node that the client talks to leave its cluster for good. It answers once another member has all that it
    /// has, which may take half a minute on top of the timeout. Then it may be stopped.
    ///
    /// To leave twice is to leave once, so it is repeated after whatever may pass, at that node only. Give a client for
    /// this one URL: with several it is the nearest node that leaves.
    ///
    /// # Errors
    /// `under-replicated` where no other member had everything in time: the node has not left, and goes on as before.
    /// `no-such-route` where it is alone; `forbidden`; or the retry policy ended.
    pub async fn leave(&self) -> Result<(), Error> {
        let call = Call { takes: LEAVING_TIME_MAX, ..command(Method::POST, "/cluster/leave".to_owned()) };
        self.command(call).await.map_err(|error| match error.kind() {
            // Of a transition it says that it stands; of this, that nothing is changed.
            Some(Kind::UnderReplicated) => error.with_outcome(Outcome::NotApplied),
            _ => error,
        })
    }

    /// Lets the node that the client talks to forget a member that will not come back; the other members hear it from
    /// there. It is repeated after whatever may pass.
    ///
    /// # Errors
    /// `no-such-member`; `member-connected` where the member is there: let it leave, or stop it first; `forbidden`; the
    /// id is not one, and nothing was sent; or the retry policy ended.
    pub async fn forget(&self, node_id: &str) -> Result<(), Error> {
        if node_id.len() != 16 || !node_id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Error::unsent(Cause::InvalidArgument { argument: "the node id", rule: "it is 16 hex digits" }));
        }
        self.command(command(Method::DELETE, format!("/cluster/members/{node_id}"))).await
    }

    /// Cuts the node that the client talks to off from its peers, or ends that: for tests and shows. Only a node of
    /// `plimsoll dev` takes it. It is repeated after whatever may pass.
    ///
    /// # Errors
    /// `no-such-route` for any other node, `forbidden`, or the retry policy ended.
    pub async fn set_cut(&self, is_cut: bool) -> Result<(), Error> {
        let method = if is_cut { Method::PUT } else { Method::DELETE };
        self.command(command(method, "/cluster/cut".to_owned())).await
    }

    async fn command(&self, call: Call) -> Result<(), Error> {
        let repeat = call.repeat;
        let answer = self.call_here(call).await?;
        match answer.status {
            StatusCode::NO_CONTENT => Ok(()),
            status => Err(unexpected(status, "not 204", repeat)),
        }
    }
}

fn command(method: Method, path: String) -> Call {
    Call { method, repeat: Repeat::Idempotent, ..Call::get(path) }
}
