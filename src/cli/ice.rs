//! `relais ice-servers` and `relais credentials`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::options::{ConfigArgs, now_unix};
use super::{FAILED, USAGE, fail, print};
use crate::config::ice::{Credential, endpoints, lasting, time_limited, with_credential};
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

    /// A time-limited credential, or, without secrets, the lasting one of a configured user.
    fn credential(&self, settings: &Settings) -> Result<Credential, ExitCode> {
        let auth = &settings.auth;
        if let Some(credential) = time_limited(auth, &self.user, now_unix(), settings.http.ttl) {
            return Ok(credential);
        }
        if let Some(credential) = lasting(auth, &self.user) {
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
    print(&format!("{value:#}\n"));
    ExitCode::SUCCESS
}
