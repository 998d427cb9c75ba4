//! `relais credentials show`: what a user name says.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::options::{ConfigArgs, now_unix};
use super::{FAILED, fail, print};
use crate::auth::{BadPolicy, Policy, rest};
use crate::config::Overrides;
use crate::config::ice::rfc3339;

#[derive(Args)]
pub(super) struct ShowArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The user name, as it stands in iceServers
    username: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &ShowArgs) -> ExitCode {
    let settings = match args.config.load(Overrides::default()) {
        Ok((settings, _)) => settings,
        Err(code) => return code,
    };
    let name = &args.username;
    let Some(parts) = rest::parts(name, settings.auth.separator) else {
        if settings.auth.users.iter().any(|user| user.name == *name) {
            return print("a lasting user of auth.users: it does not expire and has no policy\n");
        }
        return fail(
            FAILED,
            "this user name is neither time-limited nor in auth.users",
            &format!(
                "time-limited ones begin with the Unix time of their end and `{}` (auth.separator), or are that time alone",
                settings.auth.separator
            ),
        );
    };
    let now = now_unix();
    let expired = parts.expiry <= now;
    let apart = if expired { now - parts.expiry } else { parts.expiry - now };
    if args.json {
        let policy = parts.policy.as_ref().ok().map(describe);
        let shown = json!({
            "user": parts.user, "expires": rfc3339(parts.expiry), "expired": expired,
            "policy": policy, "readable": parts.policy.is_ok(),
        });
        print(&format!("{shown:#}\n"));
    } else {
        let when = if expired { format!("{apart} seconds ago") } else { format!("in {apart} seconds") };
        let state = if expired { "EXPIRED" } else { "good" };
        let mut text =
            format!("user:     {:?}\nexpires:  {}, {when}: {state}\n", parts.user, rfc3339(parts.expiry));
        match &parts.policy {
            Ok(policy) if policy.is_empty() => text.push_str("policy:   none\n"),
            Ok(policy) => {
                text.push_str("policy:\n");
                for (name, value) in describe(policy).as_object().into_iter().flatten() {
                    text.push_str(&format!("  {name}: {value}\n"));
                }
            }
            Err(BadPolicy) => text.push_str("policy:   CANNOT BE READ, so the credential is refused\n"),
        }
        print(&text);
    }
    match parts.policy {
        Err(bad) => fail(FAILED, "the policy in the user name cannot be read", &bad.to_string()),
        Ok(_) if expired => ExitCode::from(FAILED),
        Ok(_) => ExitCode::SUCCESS,
    }
}

/// What a policy says, without what it does not.
fn describe(policy: &Policy) -> serde_json::Value {
    let Policy { tag, key, issued, rate, bytes, allocations, peers } = policy;
    let peers: Vec<String> = peers.iter().map(ToString::to_string).collect();
    let all = json!({
        "tag": tag, "key": key, "issued": issued.map(rfc3339), "rate": rate, "bytes": bytes, "allocations": allocations,
        "peers": if peers.is_empty() { None } else { Some(peers) },
    });
    let fields = all.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    fields.map(|(name, value)| (name.clone(), value.clone())).collect::<serde_json::Map<_, _>>().into()
}
