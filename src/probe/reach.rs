//! The steps before TURN: the name, and Binding.

use std::net::SocketAddr;

use stun::message::METHOD_BINDING;
use tokio::time::timeout;

use super::Plan;
use super::explain;
use super::report::{Report, Step};
use super::session::Session;
use crate::client::uri::Service;

/// The most addresses of one name that are tried.
const MOST: usize = 4;

/// A server with a way to it.
pub(super) struct Reached {
    pub(super) server: SocketAddr,
    pub(super) session: Session,
    /// It answered Binding, with whatever.
    pub(super) has_answered: bool,
}

/// The addresses of the host; none when a step has failed.
pub(super) async fn resolve(plan: &Plan<'_>, report: &mut Report) -> Vec<SocketAddr> {
    const NAME: &str = "resolve";
    let host = &plan.uri.host;
    let found = match timeout(plan.limit, tokio::net::lookup_host((host.as_str(), plan.uri.port))).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => {
            report.push(Step::bad(
                NAME,
                format!("{host} does not resolve: {error}"),
                "look for a typing error, for a missing A or AAAA record, and at this machine's resolver",
            ));
            return Vec::new();
        }
        Err(_) => {
            report.push(Step::bad(
                NAME,
                format!("{host} does not resolve: the resolver does not answer"),
                "look at this machine's resolver (/etc/resolv.conf) and network",
            ));
            return Vec::new();
        }
    };
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in found {
        if !addresses.contains(&address) && addresses.len() < MOST {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        report.push(Step::bad(NAME, format!("{host} has no address"), "add an A or AAAA record"));
    } else {
        let shown: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        report.push(Step::good(NAME, shown.join(", ")));
    }
    addresses
}

/// Binding with each address: a client may come to any of them. The one to go on with.
pub(super) async fn bind(plan: &Plan<'_>, addresses: &[SocketAddr], report: &mut Report) -> Option<Reached> {
    let mut best: Option<Reached> = None;
    for server in addresses {
        let Some(reached) = bind_one(plan, *server, addresses.len() > 1, report).await else { continue };
        match &best {
            Some(best) if best.has_answered || !reached.has_answered => reached.session.close(None).await,
            _ => best = Some(reached),
        }
    }
    best
}

async fn bind_one(
    plan: &Plan<'_>,
    server: SocketAddr,
    has_others: bool,
    report: &mut Report,
) -> Option<Reached> {
    const NAME: &str = "binding";
    let transport = plan.uri.transport;
    let mut session = match timeout(
        plan.limit,
        Session::open(server, transport, plan.tls.as_ref(), plan.credentials),
    )
    .await
    {
        Ok(Ok(session)) => session,
        Ok(Err(error)) if has_others && error.kind() == std::io::ErrorKind::NetworkUnreachable => {
            report.push(Step::skipped(NAME, format!("this machine has no way to {server}")));
            return None;
        }
        other => {
            let (kind, text) = match other {
                Ok(Err(error)) => (error.kind(), error.to_string()),
                _ => (std::io::ErrorKind::TimedOut, String::new()),
            };
            let (detail, help) = explain::trouble(kind, &text, server, transport);
            report.push(Step::bad(NAME, detail, help));
            return None;
        }
    };
    session.begin();
    let client = session.client.clone();
    // What the client makes of it is told by the tap in more detail.
    let _ = session.within(plan.limit, client.send_binding_request()).await;
    let answers = session.answers(METHOD_BINDING);
    let Some(answer) = answers.last() else {
        let (detail, help) = explain::silence(&session, server, "Binding", plan.limit);
        report.push(Step::bad(NAME, detail, help));
        // A server may have STUN switched off; but one that rejects is not there.
        let is_silent = session.trouble().is_none() && !session.has_foreign();
        let may_be_turn = plan.uri.service == Service::Turn && is_silent;
        return may_be_turn.then_some(Reached { server, session, has_answered: false });
    };
    let step = match (answer.code, answer.mapped) {
        (None, Some(mapped)) => {
            let place = if has_others { format!(", seen by {server}") } else { String::new() };
            Step::good(NAME, format!("your address is {mapped} ({transport}){place}"))
        }
        (None, None) if answer.is_ancient => Step::bad(
            NAME,
            "the server answers as RFC 3489 had it in 2003, without XOR-MAPPED-ADDRESS",
            "browsers cannot use it; update it",
        ),
        (None, None) => Step::bad(
            NAME,
            "the answer has no address",
            "this server breaks RFC 8489; another may be listening here",
        ),
        (Some(code), _) => Step::bad(
            NAME,
            format!("{} to Binding", answer.error()),
            match code {
                401 => "the server wants credentials for STUN, which browsers never send".to_owned(),
                _ => explain::refused(code, answer.alternate),
            },
        ),
    };
    report.push(step.code(answer.code).rtt(session.rtt(answer)));
    Some(Reached { server, session, has_answered: true })
}
