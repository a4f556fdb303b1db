//! The schema-driven fuzz: schemathesis against a real node, from the committed OpenAPI document.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::{Trouble, root, run, tools};

/// A token that may do everything, for the fuzz alone.
const TOKEN: &str = "schema-fuzz";

/// Requests of each kind and operation: about two minutes in all.
const EXAMPLES: &str = "40";

/// Starts a node on an empty store and sends it what the document allows and forbids: no answer may be a 500, nor one
/// the document does not describe.
///
/// # Errors
/// [`Trouble::Failed`], with what schemathesis printed above it.
pub fn run_against_node(mut schemathesis: Command) -> Result<(), Trouble> {
    let data = tools::folder().with_file_name("schema-fuzz-data");
    let _ = fs::remove_dir_all(&data);
    let mut node = Node::start(&data)?;
    let url = node.url()?;
    schemathesis.args(["run", "docs/openapi.json", "--url", &url]);
    schemathesis.args(["--header", &format!("Authorization: Bearer {TOKEN}")]);
    schemathesis.args(["--max-examples", EXAMPLES]);
    run(&mut schemathesis)
}

struct Node(Child);

impl Node {
    fn start(data: &PathBuf) -> Result<Self, Trouble> {
        let binary = tools::folder().with_file_name("debug").join("plimsoll");
        Command::new(binary)
            .current_dir(root())
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(data)
            .env("PLIMSOLL_TOKENS", format!("fuzz:{TOKEN}:read+write+admin"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map(Self)
            .map_err(|error| Trouble::Failed(format!("the node could not be started: {error}")))
    }

    /// The URL the node prints once it listens.
    fn url(&mut self) -> Result<String, Trouble> {
        let output = self.0.stdout.take().map(BufReader::new);
        let lines = output.into_iter().flat_map(BufRead::lines).map_while(Result::ok);
        let mut words = lines.flat_map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        let url = words.find(|word| word.starts_with("http://"));
        url.ok_or_else(|| Trouble::Failed("the node ended before it listened".into()))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
