//! `relais credentials key`: an API key, and the line by which the server knows it.

use std::fmt::Write as _;
use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Args;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{FAILED, USAGE, fail, print};

#[derive(Args)]
pub(super) struct KeyArgs {
    /// What logs and credentials call it: letters, digits, `-`, `_` and `.`
    #[arg(value_name = "NAME")]
    name: String,
}

pub(super) fn run(args: &KeyArgs) -> ExitCode {
    let name = &args.name;
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.len() > 64 || !name.chars().all(fits) {
        return fail(USAGE, "this cannot name a key", "use 1 to 64 letters, digits, `-`, `_` and `.`");
    }
    let mut random = Zeroizing::new([0; 32]);
    if let Err(error) = getrandom::fill(&mut random[..]) {
        return fail(FAILED, &format!("the system gives no random numbers: {error}"), "try again");
    }
    let key = Zeroizing::new(URL_SAFE_NO_PAD.encode(&random[..]));
    let mut hash = String::new();
    for byte in Sha256::digest(key.as_bytes()) {
        let _ = write!(hash, "{byte:02x}");
    }
    print(&format!(
        "key, for the application alone; it is not shown again:\n{}\n\n\
         in [http] of the server's configuration, then reload it:\n\
         keys = [{{ name = \"{name}\", hash = \"sha256:{hash}\" }}]\n",
        key.as_str()
    ));
    ExitCode::SUCCESS
}
