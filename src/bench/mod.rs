//! `relais bench`: puts a server under load as many clients do, with every packet verified, and says what it carries and
//! what that costs.

mod args;
mod bars;
mod clock;
mod control;
mod cpu;
mod crew;
mod engine;
mod explain;
mod interrupt;
mod lane;
mod link;
mod outcome;
mod pace;
mod pages;
mod payload;
mod present;
mod progress;
mod report;
mod search;
mod server;
mod share;
mod tally;
mod throughput;
mod units;

use std::process::ExitCode;

pub use args::BenchArgs;
use args::BenchCommand;
use bars::{Bars, Line, Words};
use outcome::{Failure, settle, without_idle};
use present::Output;

/// Exit code of a finding.
const FOUND: u8 = 1;

/// Exit code of wrong usage.
const USAGE: u8 = 2;

/// Runs the command. The exit code is 0 when there is a result, 1 when there is none or one not to rely on, and 2 when the
/// command cannot be run like this.
pub fn run(mut args: BenchArgs) -> ExitCode {
    args.command.take_each_process_once();
    match measure(&args.command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(FOUND),
        Err(failure) => {
            eprintln!("error: {}\n  = help: {}", failure.message, failure.help);
            ExitCode::from(if failure.is_usage { USAGE } else { FOUND })
        }
    }
}

/// Runs a load and presents what was found: whether that is a result to rely on.
fn measure(command: &BenchCommand) -> Result<bool, Failure> {
    cpu::check(command.pids())?;
    match command {
        BenchCommand::Throughput(args) => {
            let output = Output::open(&args.output, &args.server.server_pid)?;
            let mut bars = Bars::new(Words { made: "allocations", counted: "packets", line: Line::Sent });
            let mut found = throughput::run(args, &mut bars)?;
            drop(bars);
            settle(&mut found.samples, found.lost);
            without_idle(&mut found.samples, found.server_cpu_us_per_packet);
            Ok(output.present(&found)? && !found.generator_limited)
        }
        BenchCommand::Stun(args) => {
            let output = Output::open(&args.output, args.server.pids())?;
            let mut bars =
                Bars::new(Words { made: "a first request", counted: "requests", line: Line::Sent });
            let mut found = control::stun::run(args, &mut bars)?;
            drop(bars);
            settle(&mut found.samples, found.lost);
            without_idle(&mut found.samples, found.server_cpu_us_per_request);
            Ok(output.present(&found)? && !found.generator_limited)
        }
        BenchCommand::Churn(args) => {
            let output = Output::open(&args.output, &args.server.server_pid)?;
            let mut bars = Bars::new(Words { made: "clients", counted: "cycles", line: Line::Done });
            let mut found = control::block_on(control::churn::run(args, &mut bars))?;
            drop(bars);
            without_idle(&mut found.samples, found.server_cpu_us_per_cycle);
            Ok(output.present(&found)? && !found.generator_limited)
        }
        BenchCommand::Hold(args) => {
            let output = Output::open(&args.output, &args.server.server_pid)?;
            let mut bars =
                Bars::new(Words { made: "allocations", counted: "allocations held", line: Line::Held });
            let found = control::block_on(control::hold::run(args, &mut bars))?;
            drop(bars);
            output.present(&found)
        }
    }
}
