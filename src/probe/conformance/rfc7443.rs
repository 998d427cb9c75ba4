//! RFC 7443, RFC 7301 and RFC 8489 §6.2.3: TLS, on a `turns:` or `stuns:` URI.

use super::client::{Client, expect, udp_allocation};
use super::link::{Handshake, connect};
use super::outcome::{Check, Finding, Outcome, must, need, not_testable, should};
use super::raw::{BINDING, Raw};
use super::{Probe, Transport};

const TURN: &[u8] = b"stun.turn";
const DISCOVERY: &[u8] = b"stun.nat-discovery";

pub(super) const CHECKS: &[Check] = &[
    must("tls-binding", "8489 §6.2.3", "Binding is answered over TLS", |p| {
        secure(p)?;
        expect(&Client::open(p)?.ask(&Raw::request(BINDING))?, 0)
    }),
    must("tls-allocate", "8656 §5", "An allocation can be made over TLS", |p| {
        secure(p)?;
        Client::open(p)?.login()?.wants(udp_allocation(), 0)
    }),
    should("tls-1-3", "8489 §6.2.3", "TLS 1.3 is spoken", |p| {
        let version = handshake(p, &[TURN])?.map_err(Finding::Fail)?.version;
        need(version == "TLSv1_3", format!("it is {version}"))
    }),
    must("tls-forward-secrecy", "8489 §6.2.3", "The cipher suite has forward secrecy", |p| {
        let suite = handshake(p, &[TURN])?.map_err(Finding::Fail)?.suite;
        need(suite.starts_with("TLS13_") || suite.contains("DHE_"), suite)
    }),
    must("alpn-turn", "7443 §2", "`stun.turn` is selected when it is offered", |p| {
        selects(p, &[TURN], Some(TURN))
    }),
    must("alpn-nat-discovery", "7443 §2", "So is `stun.nat-discovery`", |p| {
        selects(p, &[DISCOVERY], Some(DISCOVERY))
    }),
    must("alpn-among-others", "7443 §2", "So is it among names of other protocols", |p| {
        selects(p, &[b"spdy/3", TURN, b"ftp"], Some(TURN))
    }),
    must("alpn-none", "7443 §2", "A client without ALPN is served", |p| selects(p, &[], None)),
    must(
        "alpn-foreign",
        "7443 §2",
        "A client with foreign names alone is refused by alert (RFC 7301 §3.2)",
        |p| match handshake(p, &[b"spdy/3"])? {
            Ok(done) => need(false, format!("the handshake was finished, with {:?}", done.protocol)),
            Err(_) => Ok(()),
        },
    ),
    must("tls-plain-after-hello", "8489 §6.3", "Plain STUN where TLS belongs breaks nothing", |p| {
        secure(p)?;
        let socket = connect(p.server, p.limit).map_err(|error| Finding::Fail(error.to_string()))?;
        let _ = std::io::Write::write_all(&mut &socket, Raw::request(BINDING).bytes());
        drop(socket);
        expect(&Client::open(p)?.ask(&Raw::request(BINDING))?, 0)
    }),
];

fn secure(p: &Probe) -> Outcome {
    if p.transport == Transport::Tls { Ok(()) } else { not_testable("needs a turns: or stuns: URI") }
}

/// One handshake with these names; the inner error is the server's refusal.
fn handshake(p: &Probe, names: &[&[u8]]) -> Result<Result<Handshake, String>, Finding> {
    secure(p)?;
    let Some(tls) = &p.tls else { return not_testable("needs a turns: or stuns: URI") };
    let done = tls.with_names(names).connect(p.server, p.limit);
    Ok(done.map(|(_, done)| done).map_err(|error| error.to_string()))
}

fn selects(p: &Probe, names: &[&[u8]], wanted: Option<&[u8]>) -> Outcome {
    let done = handshake(p, names)?.map_err(Finding::Fail)?;
    let shown = done.protocol.as_deref().map(String::from_utf8_lossy);
    need(done.protocol.as_deref() == wanted, format!("{shown:?} was selected"))
}
