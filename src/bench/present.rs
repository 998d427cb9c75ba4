//! How a result reaches its reader: lines of text, JSON, a page.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use serde::Serialize;

use super::args::OutputArgs;
use super::outcome::Failure;
use super::pages::{Circumstances, Shown};
use super::report::Tone;
use crate::config::ice::rfc3339;
use crate::probe::now_unix;
use crate::probe::out::print;

/// Where a result goes.
pub(super) struct Output<'a> {
    args: &'a OutputArgs,
    /// Opened before the run: nobody wants to hear afterwards that it cannot be written.
    report: Option<File>,
    circumstances: Circumstances,
}

impl<'a> Output<'a> {
    /// Opens what will be written, and looks at this machine and at the processes `pids` of the server.
    ///
    /// # Errors
    /// The report cannot be written.
    pub(super) fn open(args: &'a OutputArgs, pids: &[u32]) -> Result<Self, Failure> {
        let report = match &args.report {
            // What was written before stays until there is something new.
            Some(path) => Some(
                File::options()
                    .write(true)
                    .create(true)
                    .truncate(false)
                    .open(path)
                    .map_err(|error| cannot_write(path, &error))?,
            ),
            None => None,
        };
        let circumstances = Circumstances {
            date: date(now_unix()),
            machine: machine(),
            processes: pids.iter().map(|pid| process(*pid)).collect(),
        };
        Ok(Self { args, report, circumstances })
    }

    /// Writes all that was asked for. Returns whether the result is one to rely on.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn present<T: Shown + Serialize>(mut self, found: &T) -> Result<bool, Failure> {
        let page = found.page(&self.circumstances);
        let mut report = Ok(());
        if let (Some(file), Some(path)) = (&mut self.report, &self.args.report) {
            let is_regular = file.metadata().is_ok_and(|data| data.is_file());
            let emptied = if is_regular { file.set_len(0) } else { Ok(()) };
            let written = emptied.and_then(|()| file.write_all(page.html().as_bytes()));
            report = written.map_err(|error| Failure { is_usage: false, ..cannot_write(path, &error) });
        }
        let mut text = match self.args.json {
            true => serde_json::to_string(found).map(|text| text + "\n").map_err(|error| {
                Failure::new(format!("the result cannot be written as JSON: {error}"), "leave --json out")
            })?,
            false => page.text(),
        };
        if let (Some(path), false, Ok(())) = (&self.args.report, self.args.json, &report) {
            text += &format!("\nreport: {}\n", path.display());
        }
        print(&text);
        report.map(|()| page.verdict.0 != Tone::Bad)
    }
}

impl Drop for Output<'_> {
    fn drop(&mut self) {
        let is_empty = self
            .report
            .as_ref()
            .and_then(|file| file.metadata().ok())
            .is_some_and(|file| file.is_file() && file.len() == 0);
        if let (true, Some(path)) = (is_empty, &self.args.report) {
            // There was no result; an empty file is none either.
            let _ = std::fs::remove_file(path);
        }
    }
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Failure {
    Failure::usage(
        format!("the report {} cannot be written: {error}", path.display()),
        "give --report a file in a directory that is there and may be written to",
    )
}

/// `2026-11-21 20:17 UTC`.
fn date(unix: u64) -> String {
    let text = rfc3339(unix);
    match (text.get(..10), text.get(11..16)) {
        (Some(day), Some(minute)) => format!("{day} {minute} UTC"),
        _ => text,
    }
}

/// Versions and processor.
fn machine() -> Vec<(String, String)> {
    let read = |path: &str| std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    let mut rows = vec![("relais".to_owned(), env!("CARGO_PKG_VERSION").to_owned())];
    if let (Some(system), Some(release)) =
        (read("/proc/sys/kernel/ostype"), read("/proc/sys/kernel/osrelease"))
    {
        rows.push(("system".to_owned(), format!("{system} {release}")));
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let model = read("/proc/cpuinfo").and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    let model = model.unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    rows.push(("processor".to_owned(), format!("{model}, {cores} of its cores")));
    rows
}

/// `relais (1234)`.
fn process(pid: u32) -> String {
    match std::fs::read_to_string(format!("/proc/{pid}/comm")) {
        Ok(name) => format!("{} ({pid})", name.trim()),
        Err(_) => pid.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_read_at_a_glance() {
        assert_eq!(date(1_795_292_265), "2026-11-21 20:17 UTC");
    }

    #[test]
    fn circumstances_name_versions_and_processes() {
        assert!(machine().iter().any(|(name, _)| name == "processor"));
        assert!(process(std::process::id()).ends_with(&format!("({})", std::process::id())));
        assert_eq!(process(u32::MAX), u32::MAX.to_string());
    }
}
