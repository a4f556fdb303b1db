//! `plimsoll`: how far each artifact has come, from any region.
//!
//! One binary. The data commands here are a thin face of the client crate: arguments in, one request or a few, text or
//! JSON out, and an exit code a script can act on.

mod arguments;
mod bench;
mod commands;
mod dev;
mod exit;
mod failure;
#[cfg(test)]
mod fake_node;
mod import;
mod migrate;
mod printer;
mod serve;
mod telemetry;
mod tls;

use std::process::ExitCode;

use clap::Parser;

use crate::arguments::Arguments;
use crate::exit::Exit;
use crate::printer::Printer;

/// Writing to a node's store is measured to be 1.3 times as fast with it as with the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut printer = Printer::standard(arguments.global.output);
    let result = commands::run(&arguments, &mut printer);
    match result.and_then(|()| printer.flush()) {
        Ok(()) => Exit::Done.into(),
        Err(failure) => {
            printer.failure(&failure);
            failure.exit().into()
        }
    }
}
