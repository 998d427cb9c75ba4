//! The command line. Exit codes: 0 good, 1 a finding or failure, 2 wrong usage.

mod check;
mod config;
mod desk;
mod healthcheck;
mod ice;
mod key;
mod options;
mod serve;
mod show;
mod token;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::bench::{self, BenchArgs};
use crate::probe::{self, ProbeArgs, out};

/// Exit code of a finding or a failure.
const FAILED: u8 = 1;

/// Exit code of wrong usage.
const USAGE: u8 = 2;

#[derive(Parser)]
#[command(
    name = "relais",
    version,
    about = "A STUN and TURN relay server",
    long_about = "A STUN and TURN relay server. Without a command it serves; without a configuration it serves a \
                  trial on this machine and prints the iceServers for it.",
    args_conflicts_with_subcommands = true
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: serve::ServeArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Serve STUN and TURN (the default)
    Serve(Box<serve::ServeArgs>),
    /// Say everything that is wrong with a configuration file
    Check(check::CheckArgs),
    /// Show what can be configured, and what is
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Print iceServers for a web page, as JSON
    IceServers(ice::IceArgs),
    /// Show who uses a running server, or what it refused
    Sessions(desk::SessionsArgs),
    /// Make, explain and revoke credentials
    #[command(subcommand)]
    Credentials(ice::CredentialsCommand),
    /// Ask a running server whether it is ready
    Healthcheck(healthcheck::HealthArgs),
    /// Use a STUN or TURN server as a client does, and say what works and what fails
    Probe(ProbeArgs),
    /// Put a STUN or TURN server under load, and measure it
    Bench(BenchArgs),
}

/// Runs the command that the process was started with.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let printed = error.print();
            return match printed {
                // Nothing is left to do if even this cannot be printed.
                _ if error.use_stderr() => ExitCode::from(USAGE),
                Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => lost(&error.to_string()),
                _ => ExitCode::SUCCESS,
            };
        }
    };
    end(carry_out(cli))
}

/// Runs a command.
fn carry_out(cli: Cli) -> ExitCode {
    match cli.command {
        None => serve::run(&cli.serve),
        Some(Command::Serve(args)) => serve::run(&args),
        Some(Command::Check(args)) => check::run(&args),
        Some(Command::Config(command)) => config::run(command),
        Some(Command::IceServers(args)) => ice::ice_servers(&args),
        Some(Command::Sessions(args)) => desk::sessions(&args),
        Some(Command::Credentials(command)) => ice::credentials(&command),
        Some(Command::Healthcheck(args)) => healthcheck::run(&args),
        Some(Command::Probe(args)) => probe::run(args),
        Some(Command::Bench(args)) => bench::run(args),
    }
}

/// The exit code of a command that ended with `code`: nothing has succeeded whose output was lost.
fn end(code: ExitCode) -> ExitCode {
    out::lost().map_or(code, lost)
}

fn lost(why: &str) -> ExitCode {
    fail(
        FAILED,
        &format!("standard output cannot be written: {why}"),
        "give it a place that takes it, with room; what the command did is done",
    )
}

/// Prints a result.
fn print(text: &str) -> ExitCode {
    out::print(text);
    ExitCode::SUCCESS
}

/// Says on standard error why there is no result, and what to do.
fn fail(code: u8, message: &str, cure: &str) -> ExitCode {
    eprintln!("error: {message}\n  = help: {cure}");
    ExitCode::from(code)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::Cli;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
