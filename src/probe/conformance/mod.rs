//! `relais probe --conformance`: looks clause by clause whether a server obeys the RFCs, from outside and with messages
//! of its own making.
//!
//! Each check is a row of a table: a name, the clause, the requirement in our own words, and a function that trades
//! messages with the server over sockets of its own. Checks share nothing, so they run side by side, but for a few that
//! the others would disturb. Where a clause asks
//! for silence, a Binding is sent behind what must not be answered: once that is answered, silence is proven.

mod client;
mod common;
mod link;
mod outcome;
mod pair;
mod raw;
mod report;
mod rfc5780;
mod rfc6062;
mod rfc7443;
mod rfc7635;
mod rfc8016;
mod rfc8489_attributes;
mod rfc8489_form;
mod rfc8489_login;
mod rfc8489_order;
mod rfc8489_sha256;
mod rfc8656_allocate;
mod rfc8656_channels;
mod rfc8656_data;
mod rfc8656_families;
mod rfc8656_permissions;
mod rfc8656_refresh;
mod streams;
mod survey;

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use link::{Link, Tls};
use outcome::{Check, Finding};
use report::Report;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use survey::Survey;

use super::credentials::{Credentials, Why};
use crate::client::uri::{Service, Transport, Uri};
use crate::config::Secret;

/// Checks that run at the same time. Each has at most three allocations.
const AT_ONCE: usize = 12;

/// All checks, in the order of the RFCs.
const AREAS: [&[Check]; 17] = [
    rfc8489_form::CHECKS,
    rfc8489_attributes::CHECKS,
    rfc8489_login::CHECKS,
    rfc8489_order::CHECKS,
    rfc8489_sha256::CHECKS,
    rfc8656_allocate::CHECKS,
    rfc8656_families::CHECKS,
    rfc8656_refresh::CHECKS,
    rfc8656_permissions::CHECKS,
    rfc8656_data::CHECKS,
    rfc8656_channels::CHECKS,
    streams::CHECKS,
    rfc5780::CHECKS,
    rfc6062::CHECKS,
    rfc7443::CHECKS,
    rfc7635::CHECKS,
    rfc8016::CHECKS,
];

/// Which server is looked at, and how.
struct Probe {
    server: SocketAddr,
    transport: Transport,
    /// Empty for `stun:` URIs.
    username: String,
    password: Secret,
    /// Somebody else that the server knows.
    other_user: Option<(String, Secret)>,
    /// How long to wait for each answer.
    limit: Duration,
    /// For URIs of TLS.
    tls: Option<Tls>,
    survey: Survey,
}

impl Probe {
    /// A new socket to the server.
    fn link(&self, transport: Transport) -> io::Result<Link> {
        match transport {
            Transport::Udp => Link::udp(self.server),
            Transport::Tcp => Link::tcp(self.server, self.limit),
            Transport::Tls => match &self.tls {
                Some(tls) => Link::tls(self.server, self.limit, tls),
                None => Err(io::Error::other("there is no TLS without roots")),
            },
        }
    }
}

/// Runs all checks against the server of `uri` and prints the matrix, as JSON if `json` is set.
///
/// # Errors
/// The server cannot be found, or nothing can be learnt about it at all.
pub(super) fn run(
    text: &str,
    uri: &Uri,
    credentials: Option<Credentials>,
    other_user: Option<Credentials>,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    limit: Duration,
    json: bool,
) -> Result<ExitCode, Why> {
    let server = resolve(uri)?;
    let (username, password) = match (uri.service, credentials) {
        (Service::Turn, Some(credentials)) => (credentials.username, credentials.password),
        _ => (String::new(), Secret::new(String::new())),
    };
    let other_user = other_user.map(|other| (other.username, other.password));
    let tls = tls.map(|(config, name)| Tls { config, name });
    let transport = uri.transport;
    let survey = Survey::default();
    let mut probe = Probe { server, transport, username, password, other_user, limit, tls, survey };
    probe.survey = Survey::of(&probe)?;
    let checks: Vec<&Check> = AREAS.iter().flat_map(|area| area.iter()).collect();
    let mut report = Report::new(text, server, json, checks.len());
    run_all(&probe, &checks, &mut report);
    report.finish();
    Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::from(super::FOUND) })
}

fn resolve(uri: &Uri) -> Result<SocketAddr, Why> {
    let cannot = |why: String| {
        (format!("{} does not resolve: {why}", uri.host), "look at the name and at the resolver".to_owned())
    };
    let mut found =
        (uri.host.as_str(), uri.port).to_socket_addrs().map_err(|error| cannot(error.to_string()))?;
    found.next().ok_or_else(|| cannot("it has no address".to_owned()))
}

fn run_all(probe: &Probe, checks: &[&'static Check], report: &mut Report) {
    let (alone, together): (Vec<_>, Vec<_>) =
        checks.iter().copied().enumerate().partition(|(_, check)| check.alone);
    for (at, check) in alone {
        report.add(at, check, (check.run)(probe));
    }
    let next = AtomicUsize::new(0);
    let (sender, receiver) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(together.len()) {
            let (sender, next, together) = (sender.clone(), &next, &together);
            scope.spawn(move || {
                while let Some((at, check)) = together.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if sender.send((*at, *check, (check.run)(probe))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for (at, check, outcome) in receiver {
            report.add(at, check, outcome);
        }
    });
}

/// A check that needs a login, which `stun:` URIs have not.
fn need_login(probe: &Probe) -> Result<(), Finding> {
    if probe.username.is_empty() {
        return outcome::not_testable("needs a turn: URI and credentials");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::AREAS;

    #[test]
    fn each_check_has_a_name_of_its_own_and_a_clause() {
        let checks: Vec<_> = AREAS.iter().flat_map(|area| area.iter()).collect();
        let names: BTreeSet<_> = checks.iter().map(|check| check.id).collect();
        assert_eq!(names.len(), checks.len());
        assert!(checks.len() > 200, "{}", checks.len());
        for check in checks {
            let (rfc, section) = check.clause.split_once(" §").unwrap();
            assert!(
                rfc.parse::<u16>().is_ok() && !section.is_empty() && !check.text.is_empty(),
                "{}",
                check.id
            );
            assert!(check.id.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'));
        }
    }
}
