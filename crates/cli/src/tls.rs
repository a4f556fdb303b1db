//! `plimsoll tls`: makes the CA of a cluster and the certificates of its nodes, and tells what is in a TLS directory.

mod new_files;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use plimsoll_node::environment::system_time;
use plimsoll_node::tls::issue::{self, DAYS_MAX, IssueError};
use plimsoll_node::tls::{
    CA_FILE, CA_KEY_FILE, Described, Description, NODE_FILE, NODE_KEY_FILE, Severity, TlsError, describe,
};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::printer::Printer;
use crate::tls::new_files::{NewFile, write_new};

/// What `tls` does.
#[derive(Debug, Subcommand)]
pub(crate) enum TlsCommand {
    /// Make the CA of a cluster
    ///
    /// Writes ca.pem and ca.key. Whoever has ca.key can join the cluster: keep it off the nodes, and a copy of it safe.
    #[command(after_help = "\
Example:
  $ plimsoll tls ca --out ca")]
    Ca(CaArguments),
    /// Make the certificate of a node
    ///
    /// Writes node.pem, node.key and a copy of the CA's ca.pem: the TLS directory of one node, to be moved to its machine.
    /// The certificate never outlives the CA's.
    ///
    /// To renew a certificate, make one in a new directory and move node.pem and node.key over the old ones: a node takes
    /// them up while it runs.
    ///
    /// To replace the CA: make a new one; append its ca.pem to the ca.pem of every node, so that each believes both; then
    /// give every node a certificate of the new CA, leaving its ca.pem; and last take the old certificate out of every
    /// ca.pem. Each step has to be done on all nodes before the next.
    #[command(after_help = "\
Example:
  $ plimsoll tls node --ca ca --out tokyo --host tokyo.example --host 10.0.0.1")]
    Node(NodeArguments),
    /// Tell what is in a TLS directory, and whether a node can use it
    ///
    /// Takes a node's directory or a CA's own. Exit code 2 if a node could not use it as it is.
    #[command(after_help = "\
Example:
  $ plimsoll --output json tls show tokyo | jq '.certificates[].days_left'")]
    Show {
        /// The directory.
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
}

/// What `tls ca` takes.
#[derive(Debug, Args)]
pub(crate) struct CaArguments {
    /// Where to put ca.pem and ca.key. It is made if it is not there; files that are there are never overwritten.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// What to call the CA, for people who look at its certificate.
    #[arg(long, value_name = "NAME", default_value = "plimsoll CA")]
    name: String,
    /// For how many days it is valid, 36500 at most.
    #[arg(long, value_name = "DAYS", default_value = "3650", value_parser = days())]
    days: u32,
}

/// What `tls node` takes.
#[derive(Debug, Args)]
pub(crate) struct NodeArguments {
    /// The directory with the CA's ca.pem and ca.key.
    #[arg(long, value_name = "DIR")]
    ca: PathBuf,
    /// Where to put node.pem, node.key and ca.pem. It is made if it is not there; files that are there are never
    /// overwritten.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// A name or an address its peers reach the node by. Give all there are.
    #[arg(long = "host", value_name = "NAME_OR_IP", required = true, num_args = 1..)]
    hosts: Vec<String>,
    /// For how many days the certificate is valid, 36500 at most.
    #[arg(long, value_name = "DAYS", default_value = "365", value_parser = days())]
    days: u32,
}

fn days() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=i64::from(DAYS_MAX))
}

/// Makes a CA or a certificate, or shows what there is.
pub(crate) fn tls(command: &TlsCommand, printer: &mut Printer) -> Result<(), Failure> {
    match command {
        TlsCommand::Ca(arguments) => ca(arguments, printer),
        TlsCommand::Node(arguments) => node(arguments, printer),
        TlsCommand::Show { directory } => show(directory, printer),
    }
}

fn ca(arguments: &CaArguments, printer: &mut Printer) -> Result<(), Failure> {
    let CaArguments { out, name, days } = arguments;
    let issued = issue::ca(name, *days, system_time()).map_err(|error| refused(&error))?;
    write_new(out, &[NewFile::secret(CA_KEY_FILE, &issued.key_pem), NewFile::open(CA_FILE, &issued.certificate_pem)])?;
    let answer = json!({"directory": out, "files": [CA_FILE, CA_KEY_FILE], "name": name, "not_after": issued.not_after.to_text()});
    printer.answer(&answer, || {
        let until = short(&issued.not_after.to_text());
        format!("made {CA_FILE} and {CA_KEY_FILE} in {}, valid until {until}", out.display())
    })?;
    printer.remark(&format!("Whoever has {CA_KEY_FILE} can join the cluster: keep it off the nodes."));
    Ok(())
}

fn node(arguments: &NodeArguments, printer: &mut Printer) -> Result<(), Failure> {
    let NodeArguments { ca, out, hosts, days } = arguments;
    let authorities = read(&ca.join(CA_FILE))?;
    let ca_key = read(&ca.join(CA_KEY_FILE))?;
    let issued = issue::node(&authorities, &ca_key, hosts, *days, system_time()).map_err(|error| refused(&error))?;
    let mut files = vec![
        NewFile::secret(NODE_KEY_FILE, &issued.key_pem),
        NewFile::open(NODE_FILE, &issued.certificate_pem),
        NewFile::open(CA_FILE, &authorities),
    ];
    // Where CA and node share a directory, it is there already.
    if fs::read_to_string(out.join(CA_FILE)).is_ok_and(|there| there == authorities) {
        files.pop();
    }
    write_new(out, &files)?;
    let files = [CA_FILE, NODE_FILE, NODE_KEY_FILE];
    let answer = json!({"directory": out, "files": files, "hosts": hosts, "not_after": issued.not_after.to_text()});
    printer.answer(&answer, || {
        let (hosts, until) = (hosts.join(", "), short(&issued.not_after.to_text()));
        format!("made {NODE_FILE} and {NODE_KEY_FILE} in {} for {hosts}, valid until {until}", out.display())
    })
}

fn show(directory: &Path, printer: &mut Printer) -> Result<(), Failure> {
    let config = |error: &TlsError| Failure::Config { detail: error.to_string() };
    let Description { certificates, problem } = describe(directory, system_time()).map_err(|error| config(&error))?;
    let shown: Vec<Value> = certificates.iter().map(value).collect();
    let answer =
        json!({"directory": directory, "certificates": shown, "problem": problem.as_ref().map(ToString::to_string)});
    printer.answer(&answer, || certificates.iter().map(text).collect::<Vec<_>>().join("\n"))?;
    problem.map_or(Ok(()), |problem| Err(config(&problem)))
}

fn value(described: &Described) -> Value {
    let Described { file, certificate, days_left, warning } = described;
    json!({
        "file": file,
        "subject": certificate.subject,
        "names": certificate.names,
        "is_ca": certificate.is_ca,
        "not_before": certificate.not_before.to_text(),
        "not_after": certificate.not_after.to_text(),
        "days_left": days_left,
        "warning": warning.map(Severity::name),
        "fingerprint_sha256": certificate.fingerprint,
    })
}

fn text(described: &Described) -> String {
    let Described { file, certificate, days_left, warning } = described;
    let mut text = format!("{file:<8}  {}", certificate.subject);
    if !certificate.names.is_empty() {
        text.push_str(&format!("\n  hosts    {}", certificate.names.join(", ")));
    }
    let [from, until] = [certificate.not_before, certificate.not_after].map(|at| short(&at.to_text()));
    text.push_str(&format!("\n  valid    {from} to {until}: {}", left(*days_left, *warning)));
    text.push_str(&format!("\n  sha-256  {}", certificate.fingerprint));
    text
}

fn left(days: i64, warning: Option<Severity>) -> String {
    let days = match days {
        0 => "less than a day left".to_owned(),
        1 => "1 day left".to_owned(),
        days => format!("{days} days left"),
    };
    match warning {
        None => days,
        Some(Severity::Notice) => format!("{days}, renew it soon"),
        Some(Severity::Warning) => format!("{days}, RENEW IT"),
        Some(Severity::Critical) => format!("{days}, RENEW IT NOW"),
        Some(Severity::Expired) => "EXPIRED".to_owned(),
    }
}

/// A time to the second: certificates know no fractions of one.
fn short(text: &str) -> String {
    format!("{}Z", text.split('.').next().unwrap_or(text))
}

fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| Failure::Config {
        detail: format!("cannot read {}: {error}. Make a CA with `plimsoll tls ca`", path.display()),
    })
}

fn refused(error: &IssueError) -> Failure {
    match error {
        IssueError::Failed(_) => Failure::Other(anyhow::Error::msg(error.to_string())),
        _ => Failure::Config { detail: error.to_string() },
    }
}
