//! `plimsoll explain`.

use plimsoll_client::Client;
use plimsoll_client::wire::http::v1::{Conflict, Conflicts, ExplainedRef, Explanation, MemberToken, ProducedRef, Said};
use serde_json::json;

use crate::failure::Failure;
use crate::printer::Printer;

pub(super) async fn explain(client: &Client, artifact_id: &str, printer: &mut Printer) -> Result<(), Failure> {
    let asked = || Failure::request(format!("ask why {artifact_id:?} is what it is"));
    let explanation = client.explanation(artifact_id).await.map_err(asked())?;
    let conflicts = client.conflicts(artifact_id).await.map_err(asked())?;
    let value = json!({"explanation": explanation, "conflicts": conflicts.items});
    printer.answer(&value, || text(&explanation, &conflicts))
}

fn text(explanation: &Explanation, conflicts: &Conflicts) -> String {
    let mut lines = vec![
        format!("artifact  {}", explanation.artifact_id),
        format!("version   {}", explanation.committed_version),
        format!("status    {}", explanation.status),
        format!("          by {}: no visible transition has a greater stamp", who(&explanation.status_by)),
    ];
    explanation.produced_refs.iter().for_each(|explained| lines.extend(ref_lines(explained)));
    if !conflicts.items.is_empty() {
        lines.push(String::new());
        lines.push("conflicts".to_owned());
        lines.extend(conflicts.items.iter().map(|conflict| format!("  {}", conflict_line(conflict))));
    }
    if !explanation.members.is_empty() {
        lines.push(String::new());
        lines.push("members".to_owned());
        lines.extend(explanation.members.iter().map(|member| format!("  {}", member_line(member))));
    }
    lines.join("\n")
}

fn who(said: &Said) -> String {
    format!("{} at {}", said.transition_id, said.stamp)
}

fn ref_lines(explained: &ExplainedRef) -> [String; 2] {
    let why = match explained.why.as_str() {
        "alone" => "nobody said anything else",
        "resolved" => "resolved beats pending",
        "later" => "of two resolutions the greater stamp stands",
        other => other,
    };
    [format!("ref       {}", ref_text(&explained.stands)), format!("          by {}: {why}", who(&explained.by))]
}

fn ref_text(produced: &ProducedRef) -> String {
    match produced {
        ProducedRef::Pending { target_repo, idempotency_key } => format!("{target_repo} {idempotency_key} pending"),
        ProducedRef::Resolved { target_repo, idempotency_key, number, url, .. } => {
            format!("{target_repo} {idempotency_key} #{number} {url}")
        }
    }
}

fn conflict_line(conflict: &Conflict) -> String {
    match conflict {
        Conflict::ResolvedTwice { stands, stands_by, lost, lost_by } => {
            format!("{} stands, by {}; lost: {}, by {}", ref_text(stands), who(stands_by), ref_text(lost), who(lost_by))
        }
        Conflict::IdUsedTwice { lost, lost_by } => format!(
            "the id {} was used twice; lost: {} of {}, stamped {}",
            lost.transition_id, lost.status, lost.artifact_id, lost_by.stamp
        ),
    }
}

fn member_line(member: &MemberToken) -> String {
    let state = match (member.same, &member.committed_version) {
        (None, _) => "did not answer".to_owned(),
        (Some(true), _) => "the same".to_owned(),
        (Some(false), Some(token)) => format!("another state: {token}"),
        (Some(false), None) => "does not have it".to_owned(),
    };
    format!("{} in {}: {state}", member.node_id, member.region)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_lost_is_named_and_so_is_who_differs() {
        let said = |id: &str| Said { transition_id: id.to_owned(), stamp: format!("stamp-{id}") };
        let resolved = |number| ProducedRef::Resolved {
            target_repo: "acme/web".to_owned(),
            idempotency_key: "k".to_owned(),
            number,
            url: format!("u/{number}"),
            created_at: String::new(),
        };
        let member = |region: &str, token: Option<&str>, same| MemberToken {
            node_id: "00".to_owned(),
            region: region.to_owned(),
            committed_version: token.map(str::to_owned),
            same,
        };
        let explanation = Explanation {
            artifact_id: "spec".to_owned(),
            committed_version: "v".to_owned(),
            status: "approved".to_owned(),
            status_by: said("t-2"),
            produced_refs: vec![ExplainedRef { stands: resolved(7), by: said("t-2"), why: "later".to_owned() }],
            members: vec![
                member("us", Some("v"), Some(true)),
                member("ap", Some("w"), Some(false)),
                member("eu", None, None),
            ],
        };
        let lost = Conflict::ResolvedTwice {
            stands: resolved(7),
            stands_by: said("t-2"),
            lost: resolved(6),
            lost_by: said("t-1"),
        };
        let text = text(&explanation, &Conflicts { items: vec![lost] });
        for part in [
            "status    approved\n          by t-2 at stamp-t-2",
            "of two resolutions the greater stamp stands",
            "lost: acme/web k #6 u/6, by t-1",
            "in us: the same",
            "in ap: another state: w",
            "in eu: did not answer",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
    }
}
