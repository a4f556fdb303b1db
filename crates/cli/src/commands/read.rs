//! `plimsoll get`, `cursor`, `history` and `list`.

use std::time::Duration;

use plimsoll_client::wire::http::v1::{HistoryEntry, ProducedRef, Projection, ProjectionSummary};
use plimsoll_client::{Client, CursorQuery, CursorState, PageQuery};
use serde::Serialize;
use serde_json::json;

use crate::arguments::{CursorArguments, PageArguments};
use crate::failure::Failure;
use crate::printer::{Format, Printer};

pub(super) async fn get(client: &Client, artifact_id: &str, printer: &mut Printer) -> Result<(), Failure> {
    let projection = client.projection(artifact_id).await.map_err(Failure::request(format!("read {artifact_id:?}")))?;
    printer.answer(&projection, || projection_text(&projection))
}

pub(super) async fn cursor(client: &Client, arguments: &CursorArguments, printer: &mut Printer) -> Result<(), Failure> {
    let artifact_id = &arguments.artifact_id;
    let wait = arguments.wait.unwrap_or(Duration::ZERO);
    if !wait.is_zero() && arguments.if_none_match.is_none() && arguments.contains.is_none() {
        return Err(Failure::Config {
            detail: "--wait needs something to wait for: give --if-none-match or --contains".to_owned(),
        });
    }
    let query =
        CursorQuery { wait, if_none_match: arguments.if_none_match.clone(), contains: arguments.contains.clone() };
    let state = client
        .cursor(artifact_id, &query)
        .await
        .map_err(Failure::request(format!("read the cursor of {artifact_id:?}")))?;
    match state {
        CursorState::Current(cursor) => printer.answer(&cursor, || cursor.committed_version.clone()),
        CursorState::Unchanged => {
            printer.answer(&json!({"artifact_id": artifact_id, "unchanged": true}), || "unchanged".to_owned())
        }
    }
}

pub(super) async fn history(
    client: &Client,
    artifact_id: &str,
    pages: &PageArguments,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let mut query = first(pages);
    loop {
        let page = client
            .history(artifact_id, &query)
            .await
            .map_err(Failure::request(format!("read the history of {artifact_id:?}")))?;
        query.page.clone_from(&page.next);
        let shown = Shown { pages, items: &page.items, next: page.next.as_deref(), text: history_line };
        if !shown.print(&page, printer)? {
            return Ok(());
        }
    }
}

pub(super) async fn list(
    client: &Client,
    status: Option<&str>,
    pages: &PageArguments,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let mut query = first(pages);
    loop {
        let page = client.list(status, &query).await.map_err(Failure::request("list the projections"))?;
        query.page.clone_from(&page.next);
        let shown = Shown { pages, items: &page.items, next: page.next.as_deref(), text: summary_line };
        if !shown.print(&page, printer)? {
            return Ok(());
        }
    }
}

fn first(pages: &PageArguments) -> PageQuery {
    PageQuery { limit: pages.limit, page: pages.page.clone() }
}

/// A page on its way to the printer.
struct Shown<'a, T> {
    pages: &'a PageArguments,
    items: &'a [T],
    next: Option<&'a str>,
    text: fn(&T) -> String,
}

impl<T: Serialize> Shown<'_, T> {
    /// Prints the page; tells whether the next one is to be printed too.
    fn print(&self, page: &impl Serialize, printer: &mut Printer) -> Result<bool, Failure> {
        if printer.format() == Format::Json && !self.pages.all {
            printer.answer(page, String::new)?;
            return Ok(false);
        }
        for item in self.items {
            printer.answer(item, || (self.text)(item))?;
        }
        match self.next {
            Some(_) if self.pages.all => Ok(true),
            Some(next) => {
                printer.flush()?;
                printer.remark(&format!("There is more: add --all, or --page {next}"));
                Ok(false)
            }
            None => Ok(false),
        }
    }
}

fn summary_line(summary: &ProjectionSummary) -> String {
    format!("{}  {:<16}  {}", summary.updated_at, summary.status, summary.artifact_id)
}

fn history_line(entry: &HistoryEntry) -> String {
    let refs = match entry.produced_refs.len() {
        0 => String::new(),
        1 => "  1 ref".to_owned(),
        count => format!("  {count} refs"),
    };
    format!("{}  {:<16}  {}{refs}", entry.stamp, entry.status, entry.transition_id)
}

fn projection_text(projection: &Projection) -> String {
    let mut text = format!(
        "artifact    {}\nstatus      {}\ntransition  {}\nversion     {}\nupdated     {}",
        projection.artifact_id,
        projection.status,
        projection.transition_id,
        projection.committed_version,
        projection.updated_at
    );
    for produced in &projection.produced_refs {
        text.push('\n');
        text.push_str(&match produced {
            ProducedRef::Pending { target_repo, idempotency_key } => {
                format!("pending     {target_repo}  {idempotency_key}")
            }
            ProducedRef::Resolved { target_repo, idempotency_key, number, url, created_at } => {
                format!("resolved    {target_repo}  {idempotency_key}  #{number}  {url}  {created_at}")
            }
        });
    }
    text
}
