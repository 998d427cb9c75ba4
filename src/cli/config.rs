//! `relais config`.

use std::process::ExitCode;

use clap::Subcommand;

use super::options::ConfigArgs;
use super::{FAILED, fail, print};
use crate::config::{self, Overrides};

#[derive(Subcommand)]
pub(super) enum ConfigCommand {
    /// Print a configuration file with every key commented out at its default
    Default,
    /// Print the effective settings, secrets redacted, and what set each of them
    Show(ConfigArgs),
    /// Print a JSON schema of the configuration file, for editors
    Schema,
    /// Explain a key (relay.ports) or a section (relay)
    Explain {
        /// Key or section
        key: String,
    },
}

pub(super) fn run(command: ConfigCommand) -> ExitCode {
    match command {
        ConfigCommand::Default => print(&config::default_file()),
        ConfigCommand::Show(args) => match args.load_loudly(Overrides::default()) {
            Ok(settings) => print(&config::effective(&settings)),
            Err(code) => code,
        },
        ConfigCommand::Schema => print(&format!("{:#}\n", config::schema())),
        ConfigCommand::Explain { key } => match config::explain(&key) {
            Ok(text) => print(&text),
            Err(message) => fail(FAILED, &message, "sections: `relais config explain relay`"),
        },
    }
}
