//! From what a server answered to what to do about it.

use std::io;

use super::super::outcome::Failure;
use super::super::server::Target;
use crate::client::uri::Transport;
use crate::client::{Failure as Refusal, Task};
use crate::probe::{explain, now_unix};

/// Why a task came to nothing. `made`: the allocations that this run had then.
pub(super) fn refused(target: &Target, task: Task, refusal: Refusal, made: u32) -> Failure {
    let server = target.address;
    match refusal {
        Refusal::Silence => silence(target),
        Refusal::Unsigned => Failure::new(
            format!("the answers of {server} are not signed with this password"),
            "the password is not the one that the server knows, or somebody else answers in its place",
        ),
        Refusal::Unusable => Failure::new(
            format!("an answer of {server} to {} lacks what it has to say", name(task)),
            "look at it with `relais probe`",
        ),
        Refusal::Refused { code, alternate } => Failure::new(
            format!("{server} refused {}: {code} {}{}", name(task), explain::name(code), with(made)),
            help(target, task, code, made).unwrap_or_else(|| explain::refused(code, alternate)),
        ),
    }
}

fn help(target: &Target, task: Task, code: u16, made: u32) -> Option<String> {
    match (code, task) {
        (401, _) => Some(explain::unauthenticated(target.credentials.as_ref()?, now_unix())),
        (403, Task::Permit { peer } | Task::BindChannel { peer, .. }) => {
            Some(explain::forbidden_peer(peer, false))
        }
        (486, _) => Some(format!(
            "this user may have no more allocations at once (on a Relais server: limits.allocations_per_user): raise that for \
             the time of the run, or ask for fewer than {made}; those of runs that were broken off end by themselves within \
             10 minutes"
        )),
        (508, Task::Allocate { .. }) => Some(
            "the server has no relay port left (on a Relais server: widen relay.ports, or add relay.addresses), or no \
             descriptor (LimitNOFILE=): ask for fewer, or give it more"
                .to_owned(),
        ),
        _ => None,
    }
}

fn with(made: u32) -> String {
    match made {
        0 => String::new(),
        1 => ", with 1 allocation made".to_owned(),
        _ => format!(", with {made} allocations made"),
    }
}

/// No answer came.
pub(super) fn silence(target: &Target) -> Failure {
    let (server, transport) = (target.address, target.transport());
    let help = match transport {
        Transport::Udp => format!(
            "the server is not running, listens elsewhere, is overloaded, or a firewall drops UDP port {} on the way there \
             or back",
            server.port()
        ),
        Transport::Tcp | Transport::Tls => {
            "something accepts connections there, but it does not answer STUN".to_owned()
        }
    };
    Failure::new(format!("no answer from {server} ({transport})"), help)
}

/// The user has ended the run.
pub(super) fn interrupted() -> Failure {
    Failure::new(
        "interrupted",
        "the allocations were given back, as far as the server answers; there is no result",
    )
}

/// The network's own errors.
pub(super) fn trouble(target: &Target, error: &io::Error) -> Failure {
    if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) {
        return Failure::new(
            "this machine gives no more sockets",
            "raise the hard limit of open files (`ulimit -Hn`), or ask for fewer",
        );
    }
    let (message, help) =
        explain::trouble(error.kind(), &error.to_string(), target.address, target.transport());
    Failure::new(message, help)
}

/// What the RFCs call a request.
pub(super) const fn name(task: Task) -> &'static str {
    match task {
        Task::Bind => "Binding",
        Task::Allocate { .. } => "Allocate",
        Task::Refresh { .. } => "Refresh",
        Task::Permit { .. } => "CreatePermission",
        Task::BindChannel { .. } => "ChannelBind",
    }
}
