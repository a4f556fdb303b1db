//! The schema-driven fuzz: schemathesis against a real node, from the committed OpenAPI document.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::{Trouble, root, run, tools};

/// A token that may do everything, for the fuzz alone.
const TOKEN: &str = "schema-fuzz";

/// Requests of each kind and operation: about two minutes in all.
const EXAMPLES: &str = "500";

/// Which 5xx are no failures of the node, and how long it is asked to wait.
const SETTINGS: &str = "tests/tidy/schemathesis.toml";

/// Seconds for one answer. None has a reason to take one.
const ANSWER_MAX: &str = "10";

/// Operations that schemathesis cannot speak: an answer without end, and bodies of lines.
const EXCLUDED: [&str; 2] = ["/projections/changes", "/projections/transitions/batch"];

/// No check, for there are rules a JSON schema cannot tell, as bounds in bytes of UTF-8: what the document allows may be
/// refused. It may not be a 500, nor an answer the document does not describe; and what it forbids must be refused.
const EXCLUDED_CHECKS: &str = "positive_data_acceptance";

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
    schemathesis.args(["--config-file", SETTINGS, "run", "docs/openapi.json", "--url", &url]);
    schemathesis.args(["--header", &format!("Authorization: Bearer {TOKEN}")]);
    // The same requests each time, so no seed and no memory of earlier runs.
    schemathesis.args(["--generation-deterministic", "--max-examples", EXAMPLES]);
    schemathesis.args(["--request-timeout", ANSWER_MAX, "--exclude-checks", EXCLUDED_CHECKS]);
    schemathesis.args(EXCLUDED.iter().flat_map(|path| ["--exclude-path", path]));
    let ran = run(&mut schemathesis);
    // What it keeps to replay failures from; it prints how to reproduce them, too.
    let _ = fs::remove_dir_all(root().join(".schemathesis"));
    ran
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
