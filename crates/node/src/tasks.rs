//! Everything of a node that runs beside a request, each with an owner who joins it.
//!
//! | task | runs | joined by |
//! |---|---|---|
//! | `plimsoll-writer` | a thread: the store's writer | [`crate::node::RunningNode::stop`] |
//! | forgetting | forgets what was retired, on a node alone | [`crate::node::RunningNode::stop`] |
//! | server | accepts connections | [`crate::node::RunningNode::stop`] |
//! | connection | serves one connection | the server |

pub(crate) mod connections;
pub(crate) mod forgetting;
pub(crate) mod server;
pub(crate) mod writer;
