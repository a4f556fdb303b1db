//! `plimsoll watch`.

use plimsoll_client::{Cause, Client, Error};
use serde_json::json;

use crate::failure::Failure;
use crate::printer::Printer;

/// Prints each change until it is stopped, or the feed is refused. That another node is followed is printed among the
/// changes, for there is a gap at that place, and whoever reads the changes must not miss it.
pub(super) async fn watch(client: &Client, from: Option<String>, printer: &mut Printer) -> Result<(), Failure> {
    let mut changes = client.changes(from);
    loop {
        match changes.next().await {
            Ok(event) => {
                let change = &event.change;
                let value = json!({
                    "position": event.position,
                    "artifact_id": change.artifact_id,
                    "committed_version": change.committed_version,
                });
                printer.answer(&value, || {
                    let token = change.committed_version.as_deref().unwrap_or("retired");
                    format!("{}  {}  {token}", event.position, change.artifact_id)
                })?;
                // Whoever reads a pipe wants the change now.
                printer.flush()?;
            }
            Err(error) if error.is_transient() => {
                printer.remark(&format!("plimsoll: the node cannot be followed now ({error}); still trying"));
            }
            Err(error) => {
                moved(error, printer)?;
                printer.flush()?;
            }
        }
    }
}

fn moved(error: Error, printer: &mut Printer) -> Result<(), Failure> {
    let Cause::FeedMoved { from, to } = error.cause() else {
        return Err(Failure::request("follow the changes")(error));
    };
    printer.answer(&json!({"moved": {"from": from.as_deref(), "to": to.as_ref()}}), || {
        format!("moved to {to}: what changed since the line before is not told; read the listing (plimsoll list --all)")
    })
}
