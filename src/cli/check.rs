//! `relais check FILE`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::options::{count, environment, now_unix};
use super::{FAILED, print};
use crate::config::{self, Overrides, Problem, Severity};
use crate::net;

/// Checks as `serve` would, environment variables included.
#[derive(Args)]
pub(super) struct CheckArgs {
    /// Configuration file
    #[arg(value_name = "FILE", required_unless_present = "config")]
    file: Option<PathBuf>,
    /// The same, as other commands take it
    #[arg(short, long, value_name = "FILE", conflicts_with = "file")]
    config: Option<PathBuf>,
}

pub(super) fn run(args: &CheckArgs) -> ExitCode {
    let file = args.file.as_deref().or(args.config.as_deref()).unwrap_or_else(|| Path::new(""));
    let (problems, code) = match config::load(Some(file), environment(), &Overrides::default()) {
        Ok((settings, mut problems)) => {
            // The file may be for another machine, so an address that this one lacks is worth no more than a word.
            let local = net::local_addresses().unwrap_or_default();
            problems.extend(
                config::check_local(&settings, &local)
                    .into_iter()
                    .map(|problem| Problem { severity: Severity::Warning, ..problem }),
            );
            problems.extend(config::check_state(&settings));
            problems.extend(config::check_paths(&settings));
            problems.extend(config::check_expiry(&settings, now_unix()));
            match config::certificates(&settings, None, None, now_unix()) {
                Ok(found) => problems.extend(found.into_iter().flat_map(|found| found.warnings)),
                Err(found) => problems.extend(found),
            }
            let failed = problems.iter().any(Problem::is_error);
            (problems, if failed { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
        }
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
    out.push_str(&format!("{}: {verdict}\n", file.display()));
    print(&out);
    code
}
