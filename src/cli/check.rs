//! `relais check FILE`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::options::{count, environment};
use super::{FAILED, print};
use crate::config::{self, Overrides};

/// Checks as `serve` would, environment variables included.
#[derive(Args)]
pub(super) struct CheckArgs {
    /// Configuration file
    file: PathBuf,
}

pub(super) fn run(args: &CheckArgs) -> ExitCode {
    let (problems, code) = match config::load(Some(&args.file), environment(), &Overrides::default()) {
        Ok((_, warnings)) => (warnings, ExitCode::SUCCESS),
        Err(problems) => (problems, ExitCode::from(FAILED)),
    };
    let mut out = String::new();
    for problem in &problems {
        out.push_str(&format!("{problem}\n\n"));
    }
    let counted = count(&problems);
    let verdict = match (code == ExitCode::SUCCESS, counted.is_empty()) {
        (true, true) => "ok".to_owned(),
        (true, false) => format!("ok, {counted}"),
        (false, _) => counted,
    };
    out.push_str(&format!("{}: {verdict}\n", args.file.display()));
    print(&out);
    code
}
