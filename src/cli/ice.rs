//! `relais ice-servers` and `relais credentials`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::options::{ConfigArgs, now_unix};
use super::{FAILED, USAGE, fail, print};
use crate::auth::{Network, Policy};
use crate::config::ice::{Credential, endpoints, lasting, signed, with_credential};
use crate::config::{Overrides, Settings};

/// Who asks, and for how long.
#[derive(Args)]
struct GrantArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// User that the credentials name
    #[arg(long, value_name = "NAME", default_value = "")]
    user: String,
    /// How long they last, such as 10m or 4h; default: http.ttl
    #[arg(long, value_name = "DURATION")]
    ttl: Option<String>,
    /// A word to revoke them by
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// Bits a second that each allocation may relay, such as 500k or 2M
    #[arg(long, value_name = "BITS", value_parser = scaled)]
    rate: Option<u64>,
    /// Bytes that may be relayed with them altogether, such as 10G
    #[arg(long, value_name = "BYTES", value_parser = scaled)]
    bytes: Option<u64>,
    /// Allocations at once; a browser makes one for each TURN URL and network interface
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    allocations: Option<u32>,
    /// The only peers that may be reached: addresses or networks
    #[arg(long, value_name = "NETWORK,…", value_delimiter = ',', value_parser = peers)]
    peers: Vec<Network>,
}

/// A number above 0, in thousands with k, M, G or T.
fn scaled(text: &str) -> Result<u64, String> {
    let units = [('k', 1_000), ('M', 1_000_000), ('G', 1_000_000_000), ('T', 1_000_000_000_000)];
    let scaled = units.iter().find_map(|(unit, factor)| Some((text.strip_suffix(*unit)?, *factor)));
    let (digits, factor) = scaled.unwrap_or((text, 1_u64));
    let number = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    number
        .filter(|number| *number > 0)
        .ok_or_else(|| "a whole number above 0, with k, M, G or T behind it if need be".to_owned())
}

/// One of `--peers`.
fn peers(text: &str) -> Result<Network, String> {
    crate::config::peers(text).map_err(|(message, cure)| format!("{message}; {cure}"))
}

#[derive(Args)]
pub(super) struct IceArgs {
    #[command(flatten)]
    grant: GrantArgs,
    /// Host for the URLs; default: http.host
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
}

#[derive(Subcommand)]
pub(super) enum CredentialsCommand {
    /// Make a time-limited credential, as JSON
    New(NewArgs),
    /// Explain a user name: expiry, user, policy; exit code 1 if it has expired
    Show(super::show::ShowArgs),
    /// Revoke credentials on the running server, or take that back
    Revoke(super::desk::RevokeArgs),
    /// Show what is revoked on the running server
    Revocations(super::desk::RevocationsArgs),
    /// Make an access token of third-party authorization (RFC 7635)
    Token(super::token::TokenArgs),
    /// Make an API key that fetches iceServers (http.keys)
    Key(super::key::KeyArgs),
}

#[derive(Args)]
pub(super) struct NewArgs {
    #[command(flatten)]
    grant: GrantArgs,
}

impl GrantArgs {
    fn settings(&self, host: Option<&String>) -> Result<Settings, ExitCode> {
        let mut overrides = Overrides::default();
        if let Some(ttl) = &self.ttl {
            overrides.set("--ttl", "http.ttl", ttl);
        }
        if let Some(host) = host {
            overrides.set("--host", "http.host", host);
        }
        self.config.load_loudly(overrides)
    }

    /// What the credential is to carry; if it carries anything, also when it was issued, so that revocations spare it that
    /// came before.
    fn policy(&self) -> Policy {
        let policy = Policy {
            tag: self.tag.clone(),
            key: None,
            issued: None,
            rate: self.rate,
            bytes: self.bytes,
            allocations: self.allocations,
            peers: self.peers.clone(),
        };
        if policy.is_empty() { policy } else { Policy { issued: Some(now_unix()), ..policy } }
    }

    /// A time-limited credential, or, without secrets, the lasting one of a configured user.
    fn credential(&self, settings: &Settings) -> Result<Credential, ExitCode> {
        let auth = &settings.auth;
        let (policy, now) = (self.policy(), now_unix());
        match signed(auth, &self.user, &policy, now, settings.http.ttl) {
            Ok(Some(credential)) => return Ok(credential),
            Ok(None) => {}
            Err(error) => {
                let cure = "take a shorter user or tag, fewer peers, or a network instead of many addresses";
                return Err(fail(USAGE, &error.to_string(), cure));
            }
        }
        if policy.is_empty()
            && let Some(credential) = lasting(auth, &self.user)
        {
            return Ok(credential);
        }
        let name = self.config.name();
        if auth.users.is_empty() {
            return Err(fail(
                FAILED,
                &format!("{name} has no secret to sign credentials with"),
                "give `--config FILE` or `--secret-file FILE`; the trial without configuration prints its own at start",
            ));
        }
        let users: Vec<&str> = auth.users.iter().map(|user| user.name.as_str()).collect();
        Err(match auth.users.iter().any(|user| user.name == self.user) {
            true => fail(
                FAILED,
                &format!("{name} has only a key of user `{}`, not the password", self.user),
                "store the password, or add a secret to auth.secrets",
            ),
            false => fail(
                FAILED,
                &format!("{name} has users only, and none named `{}`", self.user),
                &format!("give `--user` with one of {}, or add a secret to auth.secrets", users.join(", ")),
            ),
        })
    }
}

pub(super) fn ice_servers(args: &IceArgs) -> ExitCode {
    let settings = match args.grant.settings(args.host.as_ref()) {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    if settings.http.host.is_empty() {
        return fail(
            USAGE,
            "no host is known for the URLs",
            "give `--host turn.example.org`, or set `host` in [http]",
        );
    }
    let credential = match args.grant.credential(&settings) {
        Ok(credential) => credential,
        Err(code) => return code,
    };
    let endpoints = endpoints(&settings);
    if endpoints.is_empty() {
        return fail(
            FAILED,
            "every listener has port 0, so its port is known to the running server only",
            "give the listeners ports, or ask the server: /v1/ice-servers",
        );
    }
    show(&json!(with_credential(&endpoints, &settings.http.host, Some(credential))))
}

pub(super) fn credentials(command: &CredentialsCommand) -> ExitCode {
    let args = match command {
        CredentialsCommand::New(args) => args,
        CredentialsCommand::Token(args) => return super::token::run(args),
        CredentialsCommand::Key(args) => return super::key::run(args),
        CredentialsCommand::Show(args) => return super::show::run(args),
        CredentialsCommand::Revoke(args) => return super::desk::revoke(args),
        CredentialsCommand::Revocations(args) => return super::desk::revocations(args),
    };
    let settings = match args.grant.settings(None) {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    match args.grant.credential(&settings) {
        Ok(credential) => {
            let mut shown = json!(credential);
            // Web pages say `credential`, the REST draft and most tools say `password`.
            shown["password"] = json!(credential.credential);
            shown["realm"] = json!(settings.auth.realm);
            show(&shown)
        }
        Err(code) => code,
    }
}

fn show(value: &serde_json::Value) -> ExitCode {
    print(&format!("{value:#}\n"))
}
