//! `relais probe`: uses a server as a client does, with an independent client, and says in plain words what works
//! and what fails.
//!
//! `reach` and `relay` are the steps, `explain` the words. Packets go through the client of the `turn` crate, and
//! `tap` listens on its wire, because the client itself tells little.

mod args;
mod conformance;
pub(crate) mod credentials;
pub(crate) mod explain;
pub(crate) mod ice;
pub(crate) mod out;
mod peer;
mod reach;
mod relay;
mod report;
mod session;
mod tap;
pub(crate) mod tls;

use std::io::Read as _;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;

use crate::client::uri::{self, Service, Uri};
pub use args::ProbeArgs;
use credentials::{Credentials, Why};
use out::print;
use report::{Report, Step};
use tls::Tls;

/// Exit code of a finding.
const FOUND: u8 = 1;

/// Exit code of wrong usage.
const USAGE: u8 = 2;

/// The most of a paste that is read, in bytes.
const LONGEST_PASTE: u64 = 1 << 20;

/// What to find out about one URI.
struct Plan<'a> {
    uri: &'a Uri,
    credentials: Option<&'a Credentials>,
    /// With a URI of TLS.
    tls: Option<Tls>,
    /// An echo server of somebody.
    peer: Option<SocketAddr>,
    /// How long to wait for each answer.
    limit: Duration,
    now_unix: u64,
}

/// Runs the command: probes what `args` name and prints what was found. The exit code is 0 when all is good, 1 when
/// something is not, and 2 when the command cannot be run like this.
pub fn run(args: ProbeArgs) -> ExitCode {
    if args.conformance {
        return check_conformance(&args).unwrap_or_else(|why| usage(&why));
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return usage(&(
                format!("the runtime does not start: {error}"),
                "look at this machine".to_owned(),
            ));
        }
    };
    let code = runtime.block_on(async {
        match &args.ice_servers {
            Some(path) => probe_pasted(&args, path).await,
            None => probe_one(&args).await,
        }
    });
    // A resolver that hangs must not hold up the end.
    runtime.shutdown_background();
    code
}

/// The matrix of clauses for one URI.
fn check_conformance(args: &ProbeArgs) -> Result<ExitCode, Why> {
    let text = args.uri.as_deref().unwrap_or_default();
    let uri = Uri::parse(text)
        .map_err(|unusable| (format!("{}: {}", uri::printable(text), unusable.message), unusable.help))?;
    let now = now_unix();
    let credentials = match uri.service {
        Service::Stun => None,
        Service::Turn => Some(Credentials::from_args(args, now)?),
    };
    let other_user = match args.secret_file {
        Some(_) if uri.service == Service::Turn => Some(Credentials::from_args(
            &ProbeArgs { user: Some("conformance-other".to_owned()), ..args.clone() },
            now,
        )?),
        _ => None,
    };
    let tls = Tls::new(&uri, args.ca.as_deref(), false)?.map(|tls| tls.parts());
    let limit = Duration::from_secs(args.timeout);
    conformance::run(text, &uri, credentials, other_user, tls, limit, args.json).or_else(|(message, help)| {
        eprintln!("error: {message}\n  = help: {help}");
        Ok(ExitCode::from(FOUND))
    })
}

async fn probe_one(args: &ProbeArgs) -> ExitCode {
    let text = args.uri.as_deref().unwrap_or_default();
    let uri = match Uri::parse(text) {
        Ok(uri) => uri,
        Err(unusable) => {
            return usage(&(format!("{}: {}", uri::printable(text), unusable.message), unusable.help));
        }
    };
    let tls = match Tls::new(&uri, args.ca.as_deref(), false) {
        Ok(tls) => tls,
        Err(why) => return usage(&why),
    };
    let now_unix = now_unix();
    let credentials = match uri.service {
        Service::Stun => None,
        Service::Turn => match Credentials::from_args(args, now_unix) {
            Ok(credentials) => Some(credentials),
            Err(why) => return usage(&why),
        },
    };
    let plan = Plan {
        uri: &uri,
        credentials: credentials.as_ref(),
        tls,
        peer: args.peer,
        limit: Duration::from_secs(args.timeout),
        now_unix,
    };
    let mut report = Report::new(text.to_owned(), !args.json);
    probe(&plan, &mut report).await;
    if args.json {
        print(&format!("{:#}\n", report.json()));
    }
    verdict(report.is_good())
}

async fn probe_pasted(args: &ProbeArgs, path: &Path) -> ExitCode {
    let entries = match paste(path) {
        Ok(entries) => entries,
        Err(why) => return usage(&why),
    };
    let mut reports = Vec::new();
    for entry in &entries {
        let shown = uri::printable(&entry.url);
        if !args.json {
            print(&format!("{}{shown}\n", if reports.is_empty() { "" } else { "\n" }));
        }
        let mut report = Report::new(shown, !args.json);
        probe_entry(args, entry, &mut report).await;
        reports.push(report);
    }
    // DTLS alone is beyond this command, but then nothing was found good either.
    let is_good = reports.iter().all(|report| report.is_good() || report.is_skipped())
        && reports.iter().any(Report::is_good);
    if args.json {
        let servers: Vec<_> = reports.iter().map(Report::json).collect();
        print(&format!("{:#}\n", json!({ "ok": is_good, "servers": servers })));
    }
    verdict(is_good)
}

async fn probe_entry(args: &ProbeArgs, entry: &ice::Entry, report: &mut Report) {
    const NAME: &str = "url";
    let uri = match Uri::parse(&entry.url) {
        Ok(uri) => uri,
        Err(unusable) if unusable.is_beyond => {
            return report.push(Step::skipped(NAME, unusable.message).help(unusable.help));
        }
        Err(unusable) => return report.push(Step::bad(NAME, unusable.message, unusable.help)),
    };
    let tls = match Tls::new(&uri, args.ca.as_deref(), false) {
        Ok(tls) => tls,
        Err((message, help)) => return report.push(Step::bad(NAME, message, help)),
    };
    let credentials = match (uri.service, &entry.odd_type, &entry.username, &entry.credential) {
        (Service::Stun, ..) => None,
        (Service::Turn, Some(_), ..) => {
            return report.push(Step::bad(
                NAME,
                "`credentialType` is not \"password\"",
                "browsers have dropped all other types",
            ));
        }
        (Service::Turn, None, Some(username), Some(password)) if !username.is_empty() => Some(Credentials {
            username: username.clone(),
            password: password.clone(),
            is_signed_here: false,
        }),
        (Service::Turn, ..) => {
            return report.push(Step::bad(
                NAME,
                "a turn: URL stands without `username` and `credential`, and browsers refuse that",
                "put both beside `urls`",
            ));
        }
    };
    let plan = Plan {
        uri: &uri,
        credentials: credentials.as_ref(),
        tls,
        peer: args.peer,
        limit: Duration::from_secs(args.timeout),
        now_unix: now_unix(),
    };
    probe(&plan, report).await;
}

/// All steps, within a bound.
async fn probe(plan: &Plan<'_>, report: &mut Report) {
    // Each step is bounded already; this is for what nobody thought of.
    let bound = 20 * plan.limit + Duration::from_secs(30);
    let steps = async {
        let addresses = reach::resolve(plan, report).await;
        let Some(reached) = reach::bind(plan, &addresses, report).await else { return };
        match plan.uri.service {
            Service::Stun => reached.session.close(None).await,
            Service::Turn => {
                relay::probe(plan, reached.server, reached.session, !reached.has_answered, report).await;
            }
        }
    };
    if tokio::time::timeout(bound, steps).await.is_err() {
        report.push(Step::bad(
            "end",
            format!("given up after {}", explain::span(bound.as_secs())),
            "the server is very slow, or keeps this command busy",
        ));
    }
}

/// The servers of a pasted `iceServers`, from a file or from standard input.
///
/// # Errors
/// It cannot be read, or is no such JSON.
pub(crate) fn paste(path: &Path) -> Result<Vec<ice::Entry>, Why> {
    let cannot = |error: std::io::Error| {
        (
            format!("{} cannot be read: {error}", path.display()),
            "check the path and its permissions".to_owned(),
        )
    };
    let mut text = String::new();
    if path.as_os_str() == "-" {
        std::io::stdin().take(LONGEST_PASTE).read_to_string(&mut text).map_err(cannot)?;
    } else {
        let file = std::fs::File::open(path).map_err(cannot)?;
        file.take(LONGEST_PASTE).read_to_string(&mut text).map_err(cannot)?;
    }
    ice::parse(&text).map_err(|message| {
        let help =
            "paste what the page gives to RTCPeerConnection, as JSON: {\"iceServers\": [{\"urls\": …}]}";
        (message, help.to_owned())
    })
}

fn verdict(is_good: bool) -> ExitCode {
    if is_good { ExitCode::SUCCESS } else { ExitCode::from(FOUND) }
}

fn usage((message, help): &Why) -> ExitCode {
    eprintln!("error: {message}\n  = help: {help}");
    ExitCode::from(USAGE)
}

/// Any local address of the family of `remote`.
fn any_address(remote: SocketAddr) -> SocketAddr {
    match remote {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

/// Seconds since 1970.
pub(crate) fn now_unix() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "a command that runs once asks the clock once")]
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
