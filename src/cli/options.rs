//! Flags that several commands share, and the way from them to settings.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::{FAILED, USAGE, fail};
use crate::config::{self, Overrides, Place, Problem, Settings};

/// Where the configuration is.
#[derive(Args)]
pub(super) struct ConfigArgs {
    /// Configuration file
    #[arg(short, long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// File with the secret that signs time-limited credentials; replaces auth.secrets
    #[arg(long, value_name = "FILE")]
    pub(super) secret_file: Option<String>,
    /// Refused: everybody on the machine could read it
    #[arg(long, hide = true)]
    secret: Option<String>,
    /// Refused: everybody on the machine could read it
    #[arg(long, hide = true)]
    password: Option<String>,
}

impl ConfigArgs {
    /// The settings that result, with warnings; errors are printed already.
    pub(super) fn load(&self, overrides: Overrides) -> Result<(Settings, Vec<Problem>), ExitCode> {
        if self.secret.is_some() || self.password.is_some() {
            return Err(fail(
                USAGE,
                "a secret does not go onto the command line, where everybody on the machine can read it",
                "put it into a file of mode 640 and use `--secret-file FILE`",
            ));
        }
        config::load(self.config.as_deref(), environment(), &self.overrides(overrides)).map_err(|problems| {
            for problem in &problems {
                eprintln!("{problem}\n");
            }
            eprintln!("{}", count(&problems));
            // What only the command line has wrong is wrong usage.
            let is_usage = problems
                .iter()
                .filter(|problem| problem.is_error())
                .all(|problem| matches!(problem.place, Place::Flag(_)));
            ExitCode::from(if is_usage { USAGE } else { FAILED })
        })
    }

    /// The flags of a command, and those of this group.
    pub(super) fn overrides(&self, mut overrides: Overrides) -> Overrides {
        if let Some(path) = &self.secret_file {
            overrides.set("--secret-file", "auth.secret_file", path);
        }
        overrides
    }

    /// Like [`load`](Self::load), with warnings printed.
    pub(super) fn load_loudly(&self, overrides: Overrides) -> Result<Settings, ExitCode> {
        let (settings, warnings) = self.load(overrides)?;
        for warning in &warnings {
            eprintln!("{warning}\n");
        }
        Ok(settings)
    }

    /// How messages call the configuration.
    pub(super) fn name(&self) -> String {
        self.config
            .as_deref()
            .map_or_else(|| "the environment".to_owned(), |path| Path::display(path).to_string())
    }
}

/// The environment, without variables that are no text.
pub(super) fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// `1 error, 2 warnings`; empty without either.
pub(super) fn count(problems: &[Problem]) -> String {
    let errors = problems.iter().filter(|problem| problem.is_error()).count();
    let warnings = problems.len() - errors;
    let part = |count: usize, word: &str| match count {
        0 => None,
        1 => Some(format!("1 {word}")),
        _ => Some(format!("{count} {word}s")),
    };
    [part(errors, "error"), part(warnings, "warning")].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Seconds since 1970.
pub(super) fn now_unix() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "a command that runs once asks the clock once")]
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
