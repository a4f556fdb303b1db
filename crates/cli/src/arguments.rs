//! The command line.

use std::fmt;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use plimsoll_client::{Client, ConfigError, RetryPolicy};

use crate::bench::BenchArguments;
use crate::dev::DevArguments;
use crate::exit;
use crate::migrate::MigrateArguments;
use crate::printer::{Format, Notices};
use crate::serve::ServeArguments;
use crate::tls::TlsCommand;

/// How far has each artifact come? Ask any node, and move it on from any node.
///
/// A node is named by --url or PLIMSOLL_URL, or several of one store are: then the nearest is asked, and the next nearest
/// where that one fails. The secret they know you by goes into PLIMSOLL_TOKEN.
#[derive(Debug, Parser)]
#[command(name = "plimsoll", version, arg_required_else_help = true, after_help = exit::TABLE, after_long_help = long_help())]
pub(crate) struct Arguments {
    /// What holds for every command.
    #[command(flatten)]
    pub(crate) global: Global,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  Post a transition, then ask where the artifact stands:
    $ plimsoll post transition.json
    $ plimsoll cursor spec-login-flow

  Read your own write from another region, waiting up to 30 seconds for it:
    $ plimsoll --url http://tokyo.example:7171 cursor spec-login-flow --contains T-1 --wait 30

  Ask the nearest of three nodes, and another where that one is down:
    $ export PLIMSOLL_URL=http://tokyo.example:7171,http://paris.example:7171,http://lima.example:7171
    $ plimsoll cursor spec-login-flow

  Which artifacts are in review, for a script:
    $ plimsoll --output json list --all --status in_review | jq -r .artifact_id

  Bring in a year of history, and go on after an interruption:
    $ plimsoll import history.ndjson --resume history.state";

fn long_help() -> String {
    format!("{EXAMPLES}\n\n{}", exit::TABLE)
}

/// What holds for every command.
#[derive(Args)]
pub(crate) struct Global {
    /// The node to talk to, or up to 16 of one store, separated by commas or each with its own --url.
    #[arg(long, global = true, env = "PLIMSOLL_URL", default_value = "http://127.0.0.1:7171", value_name = "URL")]
    #[arg(value_delimiter = ',', help_heading = "Global options")]
    pub(crate) url: Vec<String>,
    /// The secret that names your tenant. Prefer the variable: other users can read command lines.
    #[arg(long, global = true, env = "PLIMSOLL_TOKEN", hide_env_values = true, value_name = "SECRET")]
    #[arg(help_heading = "Global options")]
    pub(crate) token: Option<String>,
    /// How to write answers and errors.
    #[arg(long, global = true, value_enum, default_value_t = Format::Text, help_heading = "Global options")]
    pub(crate) output: Format,
    /// How long one attempt may take. Attempts that fail in passing are repeated for up to a minute.
    #[arg(long, global = true, default_value = "10", value_name = "SECONDS", value_parser = seconds)]
    #[arg(help_heading = "Global options")]
    pub(crate) timeout: Duration,
}

impl fmt::Debug for Global {
    /// Without the secret.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url, token, output, timeout } = self;
        formatter
            .debug_struct("Global")
            .field("url", url)
            .field("token", &token.as_ref().map(|_| "redacted"))
            .field("output", output)
            .field("timeout", timeout)
            .finish()
    }
}

impl Global {
    /// The secret; an empty one is none.
    pub(crate) fn token(&self) -> Option<&str> {
        self.token.as_deref().filter(|token| !token.is_empty())
    }

    /// The client these options describe. It leaves a notice when it goes on at another node.
    pub(crate) fn client(&self, retry: RetryPolicy, notices: Notices) -> Result<Client, ConfigError> {
        let mut builder = Client::builder_of(&self.url).timeout(self.timeout).retry(retry);
        builder = builder.on_switch(move |switch| notices.switched(switch));
        // A connection is given less, so that "cannot connect" is told from "does not answer".
        builder = builder.connect_timeout(self.timeout.div_f64(2.0).min(Duration::from_secs(3)));
        if let Some(token) = self.token() {
            builder = builder.token(token);
        }
        builder.build()
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a node
    ///
    /// It serves the HTTP API until SIGTERM or SIGINT, lets requests finish, and leaves everything synced. A flag beats
    /// a variable, a variable the file.
    #[command(after_help = "\
Example:
  $ export PLIMSOLL_TOKENS=default:$(openssl rand -hex 32)
  $ plimsoll serve --data-dir /var/lib/plimsoll")]
    Serve(ServeArguments),
    /// Bring a data directory to the format of this version
    ///
    /// Stop its node first. Doing it again does nothing; interrupted, it has changed nothing.
    #[command(after_help = "\
Example:
  $ plimsoll migrate --data-dir /var/lib/plimsoll --dry-run
  would go from format 1 to 2: 120000 facts to read, 3 rows to write")]
    Migrate(MigrateArguments),
    /// Start a cluster on this machine and see what it does
    ///
    /// Three nodes in three regions take a real trace, each a part of it. It shows a transition, a retry, a refusal and a
    /// cursor with their answers, what each node has of it, and how a node that was cut off becomes equal to the others
    /// again. It stays up until Ctrl-C.
    #[command(after_help = "\
Examples:
  $ plimsoll dev
  $ plimsoll dev --nodes 1
  $ plimsoll dev --data-dir ./plimsoll-dev --engine redb")]
    Dev(DevArguments),
    /// Make the certificates by which nodes know one another, and look at them
    #[command(subcommand)]
    Tls(TlsCommand),
    /// What asks a node.
    #[command(flatten)]
    Data(DataCommand),
    /// Measure how fast a node is, and how fast it could be
    Bench(BenchArguments),
    /// Write completions for a shell
    #[command(after_help = "\
Examples:
  $ plimsoll completions bash > ~/.local/share/bash-completion/completions/plimsoll
  $ plimsoll completions fish > ~/.config/fish/completions/plimsoll.fish")]
    Completions {
        /// The shell.
        #[arg(value_enum)]
        shell: Shell,
    },
}

/// What to ask a node.
#[derive(Debug, Subcommand)]
pub(crate) enum DataCommand {
    /// Post one transition
    ///
    /// Posting the same transition again is harmless: its transition_id names it for ever.
    #[command(after_help = "\
Example:
  $ echo '{\"artifact_id\": \"spec-login-flow\", \"transition_id\": \"T-1\",
           \"status\": \"in_review\", \"produced_refs\": []}' | plimsoll post -
  accepted 2026-04-22T18:04:11.000000001+00:00/00c0ffee00c0ffee/9f86d081884c7d65")]
    Post(PostArguments),
    /// Post a file of transitions, one a line
    ///
    /// The file is NDJSON, of any length. Lines are posted in order. A line that is refused for good is reported and does
    /// not stop the others; one that the node cannot take now stops the import there (exit code 3), once trying again has
    /// not helped. With --resume it then goes on at that line.
    ///
    /// Running it again from the start changes nothing where lines were accepted. But a line that was refused may be
    /// accepted now, after later lines of its artifact, and then decides the status: after refusals, correct and post
    /// those lines by themselves.
    #[command(after_help = "\
Example:
  $ plimsoll import history.ndjson --resume history.state --refused refused.ndjson
  imported 120000 lines in 14.2 s (8450 a second): 119998 accepted, 0 repeated, 2 refused")]
    Import(ImportArguments),
    /// Show an artifact's projection
    Get {
        /// The artifact.
        #[arg(value_name = "ARTIFACT_ID")]
        artifact_id: String,
    },
    /// Show the token that names an artifact's state
    ///
    /// The token changes if and only if the state does.
    #[command(after_help = "\
Examples:
  Wait up to a minute for anything to happen to the artifact:
    $ plimsoll cursor spec-login-flow --if-none-match \"$TOKEN\" --wait 60
  Wait until a transition posted elsewhere is visible here:
    $ plimsoll cursor spec-login-flow --contains T-1 --wait 30")]
    Cursor(CursorArguments),
    /// Show an artifact's transitions, newest first
    History {
        /// The artifact.
        #[arg(value_name = "ARTIFACT_ID")]
        artifact_id: String,
        /// Which part of it.
        #[command(flatten)]
        pages: PageArguments,
    },
    /// Say why an artifact is what it is
    ///
    /// Which transition decided its status and each of its refs on the node that answers, and over what; which conflicts were
    /// decided; and where another member has another state at this moment.
    Explain {
        /// The artifact.
        #[arg(value_name = "ARTIFACT_ID")]
        artifact_id: String,
    },
    /// List all projections
    List {
        /// Only those that have this status.
        #[arg(long)]
        status: Option<String>,
        /// Which part of them.
        #[command(flatten)]
        pages: PageArguments,
    },
    /// Follow the changes as they happen
    ///
    /// One line a change: its position, the artifact, and its token, or "retired". A lost connection is taken up where
    /// it broke, for as long as it takes. With several nodes another one is followed where the first stays away: a line
    /// says so, for what changed in between is not told. Read the listing then.
    #[command(after_help = "\
Example:
  $ plimsoll --output json watch | jq -r .artifact_id")]
    Watch {
        /// Begin after this position, as an earlier watch of the same node printed it.
        #[arg(long, value_name = "POSITION")]
        from: Option<String>,
    },
    /// Retire an artifact
    ///
    /// A later transition brings it back. A delete whose answer is lost is not sent again, for it could retire what was
    /// posted since: look at the artifact first.
    Delete {
        /// The artifact.
        #[arg(value_name = "ARTIFACT_ID")]
        artifact_id: String,
        /// Retire only if this is still the artifact's token on the node. Then it is safe to repeat.
        #[arg(long, value_name = "TOKEN")]
        if_match: Option<String>,
    },
    /// Show a node and its cluster, as the node sees it
    ///
    /// One line for the node, then one for each other member: how much of it is not here yet and how old what is here
    /// is, how far its clock is ahead, and whether its data is equal. It says so every few seconds, so while writes come
    /// in, data differs for a moment. The token needs the scope admin.
    #[command(after_help = "\
Examples:
  $ plimsoll status --watch
  $ plimsoll --output json status | jq -r '.members[] | select(.state != \"alive\") | .node_id'")]
    Status {
        /// Again every second, until Ctrl-C. As JSON, one object a line.
        #[arg(long)]
        watch: bool,
    },
    /// List the members of the cluster, and where they are reached
    ///
    /// The token needs the scope admin.
    Members,
    /// Let a node leave its cluster for good
    ///
    /// It takes no writes any more, waits until another member has all that it has, and tells the others. Then stop it.
    /// It may come back only as a new node, with an empty data directory. The token needs the scope admin.
    #[command(after_help = "\
Example:
  $ plimsoll --url http://lima.example:7171 leave")]
    Leave,
    /// Forget a member that will not come back
    ///
    /// It is not asked or waited for any more, by any member, and what only it had is lost. It may return only as a new
    /// node. The token needs the scope admin.
    Forget {
        /// The member, as `plimsoll members` shows it.
        #[arg(value_name = "NODE")]
        node_id: String,
    },
}

/// What `post` takes.
#[derive(Debug, Args)]
pub(crate) struct PostArguments {
    /// A file that holds one transition as JSON, or - for standard input.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Post only if this is still the artifact's token on the node.
    #[arg(long, value_name = "TOKEN", conflicts_with = "if_not_projected")]
    pub(crate) if_match: Option<String>,
    /// Post only if the artifact is not projected on the node yet.
    #[arg(long)]
    pub(crate) if_not_projected: bool,
    /// Answer only once so many members have it on their disks.
    #[arg(long, value_name = "MEMBERS")]
    pub(crate) ack: Option<NonZeroU32>,
}

/// What `import` takes.
#[derive(Debug, Args)]
pub(crate) struct ImportArguments {
    /// A file of transitions as NDJSON, or - for standard input.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Note progress in this file, and go on from there if it exists, at the same node with the same token, or, of
    /// several nodes, at any of those that answered when the import began. What was imported must not have changed since;
    /// the file may have grown.
    #[arg(long, value_name = "STATE_FILE")]
    pub(crate) resume: Option<PathBuf>,
    /// Write the lines that were refused for good to this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) refused: Option<PathBuf>,
}

/// What `cursor` takes.
#[derive(Debug, Args)]
pub(crate) struct CursorArguments {
    /// The artifact.
    #[arg(value_name = "ARTIFACT_ID")]
    pub(crate) artifact_id: String,
    /// Wait so long for what --if-none-match or --contains asks.
    #[arg(long, value_name = "SECONDS", value_parser = wait)]
    pub(crate) wait: Option<Duration>,
    /// The token you have: answers "unchanged" while it is the artifact's.
    #[arg(long, value_name = "TOKEN")]
    pub(crate) if_none_match: Option<String>,
    /// Answer once this transition is visible on the node.
    #[arg(long, value_name = "TRANSITION_ID")]
    pub(crate) contains: Option<String>,
}

/// Which part of a list.
#[derive(Debug, Args)]
pub(crate) struct PageArguments {
    /// At most so many items a page.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: Option<u32>,
    /// The page to show, as the page before it named it.
    #[arg(long, value_name = "PAGE")]
    pub(crate) page: Option<String>,
    /// All pages from there on. As JSON, one item a line instead of one page.
    #[arg(long)]
    pub(crate) all: bool,
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= 3600.0 => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("a number of seconds above 0, up to 3600".to_owned()),
    }
}

fn wait(text: &str) -> Result<Duration, String> {
    match text.parse::<u64>() {
        Ok(seconds @ 0..=60) => Ok(Duration::from_secs(seconds)),
        _ => Err("a whole number of seconds, up to 60".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_long_help_shows_the_table_of_exit_codes() {
        assert!(Arguments::command().render_long_help().to_string().contains(exit::TABLE));
    }

    #[test]
    fn what_is_printed_for_debugging_holds_no_secret() {
        let arguments = Arguments::try_parse_from(["plimsoll", "list", "--token", "sesame"]).unwrap();
        let printed = format!("{arguments:?}");
        assert!(printed.contains("redacted") && !printed.contains("sesame"), "{printed}");
    }

    #[test]
    fn global_options_stand_before_or_after_the_command() {
        for line in [
            ["plimsoll", "--output", "json", "list", "--timeout", "0.5"],
            ["plimsoll", "list", "--output", "json", "--timeout", "0.5"],
        ] {
            let arguments = Arguments::try_parse_from(line).unwrap();
            assert_eq!(arguments.global.output, Format::Json);
            assert_eq!(arguments.global.timeout, Duration::from_millis(500));
        }
    }

    #[test]
    fn several_nodes_are_named_by_commas_or_by_repetition() {
        for line in [
            &["plimsoll", "list", "--url", "http://a,http://b"][..],
            &["plimsoll", "--url", "http://a", "--url", "http://b", "list"],
        ] {
            assert_eq!(Arguments::try_parse_from(line).unwrap().global.url, ["http://a", "http://b"]);
        }
    }

    #[test]
    fn what_cannot_work_is_refused_with_exit_code_2() {
        for line in [
            &["plimsoll", "cursor", "a", "--wait", "61"][..],
            &["plimsoll", "list", "--timeout", "0"],
            &["plimsoll", "list", "--limit", "0"],
            &["plimsoll", "post", "f", "--if-match", "t", "--if-not-projected"],
            &["plimsoll", "tls"],
            &["plimsoll", "tls", "ca", "--out", "d", "--days", "0"],
            &["plimsoll", "tls", "node", "--ca", "d", "--out", "d"],
            &["plimsoll", "launch"],
        ] {
            assert_eq!(Arguments::try_parse_from(line).unwrap_err().exit_code(), 2, "{line:?}");
        }
    }
}
