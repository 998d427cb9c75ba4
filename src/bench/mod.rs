//! `relais bench`: puts a server under load as many clients do, with every packet verified, and says what it carries and
//! what that costs.

mod args;
mod clock;
mod cpu;
mod crew;
mod engine;
mod explain;
mod lane;
mod link;
mod outcome;
mod pace;
mod payload;
mod progress;
mod search;
mod server;
mod tally;
mod throughput;

use std::process::ExitCode;

pub use args::BenchArgs;
use args::{BenchCommand, ThroughputArgs};
use outcome::Failure;
use progress::{Progress, Silent};

/// Exit code of a finding.
const FOUND: u8 = 1;

/// Exit code of wrong usage.
const USAGE: u8 = 2;

/// Runs the command. The exit code is 0 when there is a result, 1 when there is none or when packets came back wrong, and
/// 2 when the command cannot be run like this.
pub fn run(args: &BenchArgs) -> ExitCode {
    let result = match &args.command {
        BenchCommand::Throughput(args) => throughput(args, &mut Silent),
    };
    match result {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("error: {}\n  = help: {}", failure.message, failure.help);
            ExitCode::from(if failure.is_usage { USAGE } else { FOUND })
        }
    }
}

/// Relays packets, and prints what was found.
fn throughput(args: &ThroughputArgs, progress: &mut dyn Progress) -> Result<ExitCode, Failure> {
    let found = throughput::run(args, progress)?;
    println!("{}", serde_json::to_string(&found).unwrap_or_default());
    let is_wrong = found.corrupt + found.misdelivered > 0 || found.generator_limited;
    Ok(ExitCode::from(if is_wrong { FOUND } else { 0 }))
}
