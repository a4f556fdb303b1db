//! A run as a page to look at: one file of HTML that needs nothing else.
//!
//! The page is a template with a recording in it, as JSON that is data and no script: whatever hosts, clients and nodes have
//! said in a run, none of it can end the element it is in, and all of it is shown as text. Only the page's own script and
//! style may act in it, by a content security policy whose nonce is a hash of the data.

mod data;
mod spans;

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::plan::Plan;
use crate::record::Recording;
use crate::verdict::Verdict;

const TEMPLATE: &str = include_str!("timeline/page.html");
const STYLE: &str = include_str!("timeline/page.css");

/// The parts of the script, in order: each leans on those before it.
const SCRIPT: [&str; 4] = [
    include_str!("timeline/model.js"),
    include_str!("timeline/view.js"),
    include_str!("timeline/paint.js"),
    include_str!("timeline/page.js"),
];

/// What stands above a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caption {
    /// The version that ran, and its commit if that is known.
    pub build: String,
    /// The command that runs it again.
    pub replay: String,
}

/// The page of a run. It needs no network, and shows in any browser of the last years from a file. The same run makes the same
/// page.
#[must_use]
pub fn page(caption: &Caption, plan: &Plan, verdict: &Verdict, recording: &Recording) -> String {
    let data = in_script(&data::of(caption, plan, verdict, recording));
    let title = in_text(&format!("{}, seed {}", plan.scenario.name, plan.seed));
    let nonce = nonce_of(&data);
    let script = SCRIPT.concat();
    let mut page = String::with_capacity(data.len() + script.len() + TEMPLATE.len() + STYLE.len());
    // The template alone is looked at for what is to be filled in, never what was filled in.
    for (at, part) in TEMPLATE.split("@@").enumerate() {
        page.push_str(match part {
            "title" if at % 2 == 1 => &title,
            "nonce" if at % 2 == 1 => &nonce,
            "style" if at % 2 == 1 => STYLE,
            "data" if at % 2 == 1 => &data,
            "script" if at % 2 == 1 => &script,
            text => text,
        });
    }
    page
}

/// JSON that can stand in an element of a script.
fn in_script(value: &Value) -> String {
    let text = value.to_string();
    // Outside of its strings JSON has none of these, and in them each may be written by its number.
    text.replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}

/// Text that can stand between tags.
fn in_text(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// What nothing in the data can know.
fn nonce_of(data: &str) -> String {
    let half = |salt: u64| {
        let mut hasher = DefaultHasher::new();
        (salt, data).hash(&mut hasher);
        hasher.finish()
    };
    format!("{:016x}{:016x}", half(1), half(2))
}

#[cfg(test)]
mod tests;
