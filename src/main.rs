//! The program `relais`; all of it is in [`relais::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    relais::cli::run()
}
