//! What went wrong with a server, in words, and what to do about it.

use std::io;
use std::net::SocketAddr;

use super::outcome::Failure;
use crate::client::{Failure as Why, Task};
use crate::probe::explain as probe;

/// A task of the set-up failed, when `done` of `count` clients were through.
pub(super) fn failed(server: SocketAddr, task: Task, why: Why, done: usize, count: usize) -> Failure {
    let mut failure = of(server, task, why, count, "--allocations");
    if done > 0 {
        failure.message += &format!(" ({done} of {count} clients had got all they asked for before)");
    }
    failure
}

/// A task of a cycle failed, with so many cycles side by side.
pub(super) fn failed_cycle(server: SocketAddr, task: Task, why: Why, parallel: usize) -> Failure {
    of(server, task, why, parallel, "--parallel")
}

/// Why a task failed, in one word: the error code if there is one.
pub(super) fn reason(why: Why) -> String {
    match why {
        Why::Refused { code, .. } => code.to_string(),
        Why::Silence => "silence".to_owned(),
        Why::Unsigned => "unsigned".to_owned(),
        Why::Unusable => "unusable".to_owned(),
    }
}

/// `flag` says how many allocations there are at the same time, which are `count`.
fn of(server: SocketAddr, task: Task, why: Why, count: usize, flag: &str) -> Failure {
    let what = name(task);
    let (message, help) = match why {
        Why::Silence => (
            format!("{server} does not answer {what}"),
            "check that the server runs, that the URI names its port and transport, and that no firewall is in between"
                .to_owned(),
        ),
        Why::Unsigned => (
            format!("{server} answers {what}, but signs with another password"),
            "check the password; or something in between answers for the server".to_owned(),
        ),
        Why::Unusable => (
            format!("the answer of {server} to {what} lacks what it has to say"),
            "check that this is a TURN server: relais probe looks closer".to_owned(),
        ),
        Why::Refused { code, alternate } => {
            (format!("{server} refuses {what} with {code} {}", probe::name(code)), refused(task, code, alternate, count, flag))
        }
    };
    Failure::new(message, help)
}

/// What to do about an error code.
fn refused(task: Task, code: u16, alternate: Option<SocketAddr>, count: usize, flag: &str) -> String {
    match (code, task) {
        (300, _) => match alternate {
            Some(other) => format!("the server sends its clients to {other}: measure that one"),
            None => "the server sends its clients elsewhere: ask its operator where".to_owned(),
        },
        (400 | 420, _) => "the server does not understand the request: relais probe looks closer".to_owned(),
        (401, _) => "user name or password are wrong: check --user and --password-file, or --secret-file; a time-limited \
                     credential may have expired"
            .to_owned(),
        (403, Task::BindChannel { peer, .. } | Task::Permit { peer }) => {
            // Cycles have no other peers.
            let relay = if flag == "--allocations" {
                "measure throughput with --peers relay, where allocations talk to each other and nothing has to be opened; or "
            } else {
                ""
            };
            format!(
                "the server does not relay to {}: {relay}let it (peers.allow for relais, --allowed-peer-ip for coturn), or \
                 choose other peers with --peer-address",
                peer.ip()
            )
        }
        (403, _) => "the server forbids it: ask its operator".to_owned(),
        (437, _) => "the server still knows an allocation of this address and port: try again in ten minutes, or from another \
                     address with --bind"
            .to_owned(),
        (438, _) => "the server calls each of its own nonces stale: its clock or its configuration is broken".to_owned(),
        (440, _) => "the server has no relay address of this family: use the other one".to_owned(),
        (441, _) => "an allocation of another user has this address and port: try again".to_owned(),
        (442, _) => "the server relays no UDP".to_owned(),
        (486, _) => format!(
            "the quota is used up: allow this user {count} allocations (limits.allocations_per_user for relais, user-quota for coturn), or \
             ask for fewer with {flag}"
        ),
        (508, _) => format!(
            "the server is out of relay ports or at its limit: give it a range of at least {count} ports (relay.ports for \
             relais, min-port and max-port for coturn), or ask for fewer with {flag}"
        ),
        _ => "look into the server's log".to_owned(),
    }
}

/// Something that was there before the measurement could not be kept.
pub(super) fn not_kept(server: SocketAddr, task: Task, why: Why) -> Failure {
    let what = name(task);
    let detail = match why {
        Why::Refused { code, .. } => format!("refuses it with {code}"),
        Why::Silence => "does not answer".to_owned(),
        Why::Unsigned => "signs with another password".to_owned(),
        Why::Unusable => "answers nonsense".to_owned(),
    };
    Failure::new(
        format!("{what} could not be renewed: {} {detail}", server),
        "the server was restarted, or is overloaded so much that it loses control traffic: try a lower rate",
    )
}

/// The way to the server ended.
pub(super) fn lost_way(server: SocketAddr, error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => super::link::unreachable_server(server, error),
        io::ErrorKind::InvalidData => super::link::no_handshake(server, &error.to_string()),
        io::ErrorKind::Unsupported => Failure::new(
            format!("{server} speaks neither STUN nor TURN"),
            "a port for TLS (5349 by default) is reached by turns:HOST:PORT; else check the port in the URI",
        ),
        _ if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
            super::link::cannot_open(error)
        }
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => Failure::new(
            format!("{server} has closed a connection"),
            "look into the server's log: too many connections from one address \
             (limits.streams_per_address for relais), or it was stopped; a port for TLS is reached by turns:HOST:PORT",
        ),
        _ => {
            Failure::new(format!("the way to {server} is lost: {error}"), "check that the server still runs")
        }
    }
}

/// A peer socket cannot send, to this relayed address or to any.
pub(super) fn lost_peer(relayed: Option<SocketAddr>, error: &io::Error) -> Failure {
    let to = relayed.map_or_else(|| "the relayed addresses".to_owned(), |relayed| relayed.to_string());
    Failure::new(
        format!("the peer sockets do not reach {to}: {error}"),
        "check the peers' own route to the server's relay addresses, in the namespace of --peer-netns if that is given (`ip -n NAME \
         route`), and choose their address with --peer-address",
    )
}

/// The user has ended the run.
pub(super) fn interrupted() -> Failure {
    Failure::new(
        "interrupted",
        "there is no result; allocations were given back, as far as the server answers",
    )
}

const fn name(task: Task) -> &'static str {
    match task {
        Task::Bind => "Binding",
        Task::Allocate { .. } => "Allocate",
        Task::Refresh { .. } => "Refresh",
        Task::Permit { .. } => "CreatePermission",
        Task::BindChannel { .. } => "ChannelBind",
    }
}
