//! `relais credentials token`: an access token as an authorization server makes it (RFC 7635), for trials and for
//! services without a library of their own.

use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use clap::Args;
use serde_json::json;
use zeroize::Zeroizing;

use super::options::{ConfigArgs, now_unix};
use super::{FAILED, USAGE, fail, print};
use crate::auth::{AccessToken, OauthKey};
use crate::config::ice::{Credential, endpoints, rfc3339, with_credential};
use crate::config::{Overrides, Settings};

/// Length of the session keys made here: what RFC 7635 §6.2 says everybody MUST take.
const MAC_KEY: usize = 20;

#[derive(Args)]
pub(super) struct TokenArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Id of the key; default: the first of auth.oauth
    #[arg(long, value_name = "KID")]
    kid: Option<String>,
    /// File with a key in base64, instead of auth.oauth; needs --kid
    #[arg(long, value_name = "FILE", requires = "kid")]
    key_file: Option<String>,
    /// What the key in --key-file is for; default: A256GCM
    #[arg(long, value_name = "NAME", requires = "key_file")]
    algorithm: Option<String>,
    /// The server's name, as its THIRD-PARTY-AUTHORIZATION says; default: auth.oauth_server_name
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
    /// How long the token lasts, such as 10m or 4h; default: http.ttl
    #[arg(long, value_name = "DURATION")]
    lifetime: Option<String>,
    /// Host for the URLs; default: http.host
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl TokenArgs {
    fn settings(&self) -> Result<Settings, ExitCode> {
        let mut overrides = Overrides::default();
        let flags = [
            ("--lifetime", "http.ttl", &self.lifetime),
            ("--host", "http.host", &self.host),
            ("--server-name", "auth.oauth_server_name", &self.server_name),
        ];
        for (flag, key, value) in flags {
            if let Some(value) = value {
                overrides.set(flag, key, value);
            }
        }
        if let (Some(kid), Some(file)) = (&self.kid, &self.key_file) {
            let quoted = |text: &str| serde_json::Value::from(text).to_string();
            let algorithm = self.algorithm.as_deref().unwrap_or("A256GCM");
            let entry = format!(
                "[{{ kid = {}, key_file = {}, algorithm = {} }}]",
                quoted(kid),
                quoted(file),
                quoted(algorithm)
            );
            overrides.set("--key-file", "auth.oauth", entry);
        }
        self.config.load_loudly(overrides)
    }

    fn key<'s>(&self, settings: &'s Settings) -> Result<&'s OauthKey, ExitCode> {
        let keys = &settings.auth.oauth;
        let wanted = |key: &&OauthKey| self.kid.as_ref().is_none_or(|kid| *kid == key.kid);
        keys.iter().find(wanted).ok_or_else(|| {
            let name = self.config.name();
            let known: Vec<&str> = keys.iter().map(|key| key.kid.as_str()).collect();
            if known.is_empty() {
                let cure =
                    "add one to auth.oauth and give `--config FILE`, or give `--kid KID --key-file FILE`";
                fail(FAILED, &format!("{name} has no key to seal tokens with"), cure)
            } else {
                let cure = format!("auth.oauth has {}", known.join(", "));
                fail(FAILED, &format!("{name} has no key with this kid"), &cure)
            }
        })
    }
}

pub(super) fn run(args: &TokenArgs) -> ExitCode {
    match args.settings().and_then(|settings| mint(args, &settings)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(code) => code,
    }
}

/// The `turn:` URLs of this server; none without a host.
fn urls(settings: &Settings, kid: &str) -> Vec<String> {
    if settings.http.host.is_empty() {
        return Vec::new();
    }
    let credential =
        Credential { username: kid.to_owned(), credential: String::new(), ttl: None, expires_at: None };
    let ice = with_credential(&endpoints(settings), &settings.http.host, Some(credential));
    ice.ice_servers
        .into_iter()
        .filter(|server| server.username.is_some())
        .flat_map(|server| server.urls)
        .collect()
}

fn mint(args: &TokenArgs, settings: &Settings) -> Result<(), ExitCode> {
    let key = args.key(settings)?;
    let now = now_unix();
    if key.expires.is_some_and(|expires| expires <= now) {
        let message = format!("the key `{}` has expired: no server takes its tokens any more", key.kid);
        return Err(fail(FAILED, &message, "take another with `--kid`, or remove its `expires`"));
    }
    let mut random = Zeroizing::new([0; MAC_KEY + 12]);
    getrandom::fill(&mut random[..]).map_err(|error| {
        fail(FAILED, &format!("the system gives no random numbers: {error}"), "try again")
    })?;
    let (mac_key, nonce) = random.split_at(MAC_KEY);
    let lifetime = u32::try_from(settings.http.ttl.as_secs()).unwrap_or(u32::MAX);
    let token = AccessToken::new(mac_key.to_vec(), now, lifetime);
    let server_name = settings.auth.server_name();
    let sealed =
        nonce.try_into().ok().and_then(|nonce| token.seal(key, server_name, nonce)).ok_or_else(|| {
            fail(USAGE, "the key does not fit its algorithm", "see `relais config explain auth.oauth`")
        })?;
    let access_token = STANDARD.encode(sealed);
    let ice_server = json!({
        "urls": urls(settings, &key.kid),
        "username": key.kid,
        "credential": {
            // As RTCOAuthCredential has them: one in the alphabet of URLs, the other not.
            "macKey": URL_SAFE_NO_PAD.encode(mac_key),
            "accessToken": access_token,
        },
        "credentialType": "oauth",
    });
    let expires_at = rfc3339(now.saturating_add(u64::from(lifetime)));
    if args.json {
        let shown = json!({
            "kid": key.kid,
            "algorithm": key.algorithm.name(),
            "serverName": server_name,
            "macKey": STANDARD.encode(mac_key),
            "accessToken": access_token,
            "lifetime": lifetime,
            "expiresAt": expires_at,
            "iceServer": ice_server,
        });
        print(&format!("{shown:#}\n"));
    } else {
        print(&format!(
            "username (kid): {}\nmac key:        {}\naccess token:   {access_token}\nserver name:    {server_name}\n\
             lifetime:       {lifetime} seconds, until {expires_at}\nRTCIceServer:\n{ice_server:#}\n",
            key.kid,
            STANDARD.encode(mac_key),
        ));
    }
    if settings.http.host.is_empty() {
        eprintln!(
            "note: no host is known for the URLs; give `--host turn.example.org`, or set `host` in [http]"
        );
    }
    Ok(())
}
