//! The steps of TURN: Allocate, permission and Send indication, channel, echo.

mod echo;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use stun::message::{METHOD_ALLOCATE, METHOD_CHANNEL_BIND, METHOD_CREATE_PERMISSION};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::Plan;
use super::explain::{self, is_internal, span};
use super::peer::{Kind, Peer, Token};
use super::report::{Report, Step};
use super::session::{Relayed, Session};
use super::tap::{Answer, Seen};

/// How long data is awaited at most, whatever the patience with answers: it comes soon or not at all, and the
/// client gives up a ChannelBind that is held back for longer.
const DATA_LIMIT: Duration = Duration::from_secs(5);

/// The same, for a peer that the server is expected to refuse.
const TRIAL_LIMIT: Duration = Duration::from_millis(1_200);

/// Between two sendings of the same datagram.
const AGAIN: Duration = Duration::from_millis(500);

/// The longest datagram that may come back.
const LONGEST: usize = 2_048;

/// An allocation and who uses it.
struct Relay<'a> {
    plan: &'a Plan<'a>,
    server: SocketAddr,
    session: Session,
    relayed: Relayed,
    address: SocketAddr,
    token: Token,
}

/// What came of talking to a peer.
struct Talk {
    steps: Vec<Step>,
    /// Whether the server's policy refuses this peer.
    is_forbidden: bool,
}

/// Runs all steps of TURN with a client that has a way to `server`. `is_last_try`: Binding was not answered.
pub(super) async fn probe(
    plan: &Plan<'_>,
    server: SocketAddr,
    mut session: Session,
    is_last_try: bool,
    report: &mut Report,
) {
    let (relayed, address) = match allocate(plan, server, &mut session, "allocate").await {
        Ok((relayed, address, step)) => {
            report.push(step);
            (relayed, address)
        }
        Err(_) if is_last_try && session.answers(METHOD_ALLOCATE).is_empty() => {
            report.push(Step::skipped("allocate", "no answer to that either"));
            return;
        }
        Err(step) => {
            report.push(step);
            session.close(None).await;
            return;
        }
    };
    let is_hidden = is_internal(address.ip()) && !is_internal(server.ip());
    if is_hidden || address.ip().is_loopback() && !server.ip().is_loopback() {
        report.push(Step::bad(
            "relayed",
            format!(
                "{} is an internal address, although the server is reached at {}",
                address.ip(),
                server.ip()
            ),
            explain::private_relay(address),
        ));
    }
    let mut token = Token::default();
    if let Err(error) = getrandom::fill(&mut token) {
        report.push(Step::bad("peer", format!("no random numbers: {error}"), "look at this machine"));
        return;
    }
    let mut relay = Relay { plan, server, session, relayed, address, token };
    relay.talk_to_somebody(report).await;
    relay.session.close(Some(&relay.relayed)).await;
}

/// Allocates. The error is the step that failed.
async fn allocate(
    plan: &Plan<'_>,
    server: SocketAddr,
    session: &mut Session,
    name: &'static str,
) -> Result<(Relayed, SocketAddr, Step), Step> {
    session.begin();
    let client = session.client.clone();
    let result = session.within(plan.limit, client.allocate()).await;
    let answers = session.answers(METHOD_ALLOCATE);
    if let (Some(Ok(conn)), Some(answer)) = (result, answers.last())
        && let Some(address) = answer.relayed
        && let Some(lifetime) = answer.lifetime
    {
        // The client would refresh without end.
        if lifetime < 2 {
            return Err(Step::bad(
                name,
                format!("the server allocated {address} for {}", span(lifetime)),
                "no client can hold such an allocation: look at the server's lifetimes",
            ));
        }
        let step = Step::good(name, format!("relayed address {address} for {}", span(lifetime)));
        let conn: Relayed = Arc::new(conn);
        return Ok((conn, address, step.rtt(session.rtt(answer))));
    }
    Err(refused_allocation(plan, server, session, &answers, name))
}

/// Why there is no allocation.
fn refused_allocation(
    plan: &Plan<'_>,
    server: SocketAddr,
    session: &Session,
    answers: &[&Answer],
    name: &'static str,
) -> Step {
    let bad = |detail: String, help: String, answer: &Answer| Step::bad(name, detail, help).code(answer.code);
    match answers {
        [] => {
            let (detail, help) = explain::silence(session, server, "Allocate", plan.limit);
            Step::bad(name, detail, help)
        }
        [answer] if answer.code.is_none() => bad(
            "the server gave a relayed address without asking who we are".to_owned(),
            "anybody can relay through it: switch on long-term credentials".to_owned(),
            answer,
        ),
        [answer] if answer.code != Some(401) => {
            bad(answer.error(), explain::refused(answer.code.unwrap_or_default(), answer.alternate), answer)
        }
        [answer] if !(answer.has_realm && answer.has_nonce) => bad(
            "the 401 that asks for credentials has no readable REALM or NONCE".to_owned(),
            "no client can log in: set the server's realm, and long-term credentials (not short-term ones)"
                .to_owned(),
            answer,
        ),
        [_] => Step::bad(
            name,
            "the server asked for credentials, and did not answer when it got them",
            "it may ignore this address after many failed logins: wait a minute; or a firewall drops the longer packet",
        ),
        [.., answer] => match (answer.code, plan.credentials) {
            (None, _) => bad(
                "the server allocated, but its answer lacks the relayed address or the lifetime".to_owned(),
                "the server breaks RFC 8656 §7.3".to_owned(),
                answer,
            ),
            (Some(401), Some(credentials)) => {
                bad(answer.error(), explain::unauthenticated(credentials, plan.now_unix), answer)
            }
            (Some(code), _) => bad(answer.error(), explain::refused(code, answer.alternate), answer),
        },
    }
}

impl Relay<'_> {
    /// Finds a peer that the server lets us reach, and talks to it.
    async fn talk_to_somebody(&mut self, report: &mut Report) {
        if let Some(address) = self.plan.peer {
            report.push(Step::good("peer", format!("{address}, as given by --peer")));
            let talk = self.talk(&Peer::outside(address), self.data_limit()).await;
            talk.steps.into_iter().for_each(|step| report.push(step));
            return;
        }
        let why = match Peer::socket(self.server, self.token, self.plan.limit.min(DATA_LIMIT)).await {
            Err(_) => "the server answers no Binding over UDP, so a socket of this process does not know its public \
                       address"
                .to_owned(),
            Ok(peer) if peer.address.is_ipv4() != self.address.is_ipv4() => {
                format!("{}, a socket of this process, is of another family than the relayed address", peer.address)
            }
            Ok(mut peer) => match self.talk_to_socket(&mut peer, report).await {
                None => return peer.close().await,
                Some(why) => {
                    peer.close().await;
                    why
                }
            },
        };
        self.talk_to_allocation(&why, report).await;
    }

    /// Talks to a socket of this process. What comes back is why the server rightly refuses it.
    async fn talk_to_socket(&mut self, peer: &mut Peer, report: &mut Report) -> Option<String> {
        let ip = peer.address.ip();
        let is_near = is_internal(ip) || ip == self.address.ip() || ip == self.server.ip();
        // What the NAT lets in is decided by what went out before.
        let _ = peer.open_to(self.address, self.plan.limit).await;
        let limit = if is_near { self.data_limit().min(TRIAL_LIMIT) } else { self.data_limit() };
        let talk = self.talk(peer, limit).await;
        if talk.is_forbidden && is_near {
            let kind = if is_internal(ip) { "an internal address" } else { "an address of its own" };
            return Some(format!(
                "the server refuses {}, a socket of this process (403), as it should for {kind}",
                peer.address
            ));
        }
        report.push(Step::good(
            "peer",
            format!("a second socket of this process, which the server sees as {}", peer.address),
        ));
        talk.steps.into_iter().for_each(|step| report.push(step));
        None
    }

    /// Talks to a second allocation; `why` not to a socket.
    async fn talk_to_allocation(&mut self, why: &str, report: &mut Report) {
        let plan = self.plan;
        let opening = Session::open(self.server, self.session.transport, plan.tls.as_ref(), plan.credentials);
        let mut second = match timeout(plan.limit, opening).await {
            Ok(Ok(second)) => second,
            Ok(Err(error)) => {
                let (detail, help) =
                    explain::trouble(error.kind(), &error.to_string(), self.server, self.session.transport);
                return report.push(Step::bad("peer", detail, help));
            }
            Err(_) => {
                return report.push(Step::bad(
                    "peer",
                    "no second connection to the server within the time",
                    "the server may limit connections of one address (on a Relais server: limits.streams_per_address)",
                ));
            }
        };
        let mut peer = match allocate(plan, self.server, &mut second, "peer").await {
            Ok((relayed, address, _)) => Peer::allocation(address, second, relayed, self.token),
            Err(step) => {
                second.close(None).await;
                return report
                    .push(step.because(&format!("{why}; a second allocation as the peer failed: ")));
            }
        };
        report.push(Step::good("peer", format!("{why}; the peer is a second allocation, {}", peer.address)));
        if let Err(refusal) = peer.open_to(self.address, plan.limit).await {
            report.push(
                Step::bad(
                    "permission",
                    format!("the second allocation got no permission for {}", self.address),
                    match refusal.code {
                        Some(403) => {
                            "the server's rules close its own relayed addresses, so two clients of this one \
                                      relay cannot reach each other"
                                .to_owned()
                        }
                        Some(code) => explain::refused(code, None),
                        None => "the server stopped answering".to_owned(),
                    },
                )
                .code(refusal.code),
            );
        } else {
            let talk = self.talk(&peer, self.data_limit()).await;
            talk.steps.into_iter().for_each(|step| report.push(step));
        }
        peer.close().await;
    }

    fn data_limit(&self) -> Duration {
        self.plan.limit.min(DATA_LIMIT)
    }

    fn payload(&self, number: u32, size: usize) -> Vec<u8> {
        let mut payload = [&self.token[..], &number.to_be_bytes()].concat();
        payload.resize(size, 0x5a);
        payload
    }

    /// Permission, indications, channel and echo with one peer.
    async fn talk(&mut self, peer: &Peer, limit: Duration) -> Talk {
        let mut steps = Vec::new();
        let relayed = Relayed::clone(&self.relayed);
        // The client asks for a channel with the first datagram. Held back until indications are tried.
        self.session.begin();
        self.session.tap.hold_binds(true);
        let payload = self.payload(u32::MAX, echo::SIZES[0]);
        let sent = self.session.within(self.plan.limit, relayed.send_to(&payload, peer.address)).await;
        let permission = self.permission(matches!(sent, Some(Ok(_))), peer);
        if permission.is_bad() {
            self.session.tap.hold_binds(false);
            let is_forbidden = permission.code_of() == Some(403);
            steps.push(permission);
            steps.extend(["data", "channel", "echo"].map(|name| Step::skipped(name, "not tried")));
            return Talk { steps, is_forbidden };
        }
        steps.push(permission);
        let by_indication = self.await_echo(peer.address, &payload, limit).await;
        steps.push(match by_indication {
            Some(rtt) => self.heard("data", false).rtt(Some(rtt)),
            None => self.nothing_back("data", "a Send indication", peer),
        });
        let (channel, by_channel) = self.channel(peer, limit).await;
        let is_forbidden = channel.code_of() == Some(403);
        // What is true of the datagram before need not be said twice.
        let is_same = by_indication.is_none() && channel.code_of().is_none();
        steps.push(if is_same { channel.without_help() } else { channel });
        steps.push(if by_indication.is_none() && !by_channel {
            Step::skipped("echo", "not tried, since nothing comes back")
        } else {
            self.echo(peer.address, limit).await
        });
        Talk { steps, is_forbidden }
    }

    /// The answer to CreatePermission.
    fn permission(&self, is_sent: bool, peer: &Peer) -> Step {
        const NAME: &str = "permission";
        let answers = self.session.answers(METHOD_CREATE_PERMISSION);
        let Some(answer) = answers.last() else {
            // The client does not ask twice for one address, whatever the port.
            if is_sent {
                return Step::good(
                    NAME,
                    format!("the server lets {} through, as asked before", peer.address.ip()),
                );
            }
            let (detail, help) =
                explain::silence(&self.session, self.server, "CreatePermission", self.plan.limit);
            return Step::bad(NAME, detail, help);
        };
        match answer.code {
            None if is_sent => Step::good(NAME, format!("the server lets {} through", peer.address.ip()))
                .rtt(self.session.rtt(answer)),
            None => Step::bad(
                NAME,
                "the permission was given, but no datagram could be sent",
                "look at this machine's network",
            ),
            Some(code) => {
                let help = match code {
                    403 => explain::forbidden_peer(peer.address, matches!(peer.kind, Kind::Socket(_))),
                    _ => explain::refused(code, answer.alternate),
                };
                let detail = format!("{} for the peer {}", answer.error(), peer.address);
                Step::bad(NAME, detail, help).code(Some(code))
            }
        }
    }

    /// Lets the client bind its channel, and tries it. `true`: data came back.
    async fn channel(&mut self, peer: &Peer, limit: Duration) -> (Step, bool) {
        const NAME: &str = "channel";
        let tap = Arc::clone(&self.session.tap);
        tap.hold_binds(false);
        let held = self.session.log().iter().rev().find_map(|seen| match seen {
            Seen::Held { request } => Some(request.clone()),
            _ => None,
        });
        if let Some(request) = held {
            tap.resend(&request).await;
        }
        let is_bind =
            |seen: &Seen| matches!(seen, Seen::Answer(answer) if answer.method == METHOD_CHANNEL_BIND);
        self.session.until_seen(self.plan.limit, is_bind).await;
        let answers = self.session.answers(METHOD_CHANNEL_BIND);
        let Some(answer) = answers.last() else {
            let (detail, help) = explain::silence(&self.session, self.server, "ChannelBind", self.plan.limit);
            return (Step::bad(NAME, detail, help), false);
        };
        if let Some(code) = answer.code {
            let help = match code {
                403 => explain::forbidden_peer(peer.address, matches!(peer.kind, Kind::Socket(_))),
                _ => explain::refused(code, answer.alternate),
            };
            let detail = format!("{} for the peer {}", answer.error(), peer.address);
            return (Step::bad(NAME, detail, help).code(Some(code)), false);
        }
        let payload = self.payload(u32::MAX - 1, echo::SIZES[0]);
        if !self.send_by_channel(peer.address, &payload).await {
            return (Step::skipped(NAME, "bound, but the client did not use it"), false);
        }
        match self.await_echo(peer.address, &payload, limit).await {
            Some(rtt) => (self.heard(NAME, true).rtt(Some(rtt)), true),
            None => (self.nothing_back(NAME, "ChannelData", peer), false),
        }
    }

    /// Sends by ChannelData, as soon as the client has heard that the channel is bound.
    async fn send_by_channel(&mut self, peer: SocketAddr, payload: &[u8]) -> bool {
        let relayed = Relayed::clone(&self.relayed);
        for _ in 0..20 {
            self.session.begin();
            let sent = self.session.within(self.plan.limit, relayed.send_to(payload, peer)).await;
            if !matches!(sent, Some(Ok(_))) {
                return false;
            }
            if self.session.log().iter().any(|seen| matches!(seen, Seen::DataOut { by_channel: true, .. })) {
                return true;
            }
            sleep(echo::PACE).await;
        }
        false
    }

    /// The step when data came back: in the form in which it should?
    fn heard(&mut self, name: &'static str, by_channel: bool) -> Step {
        let mut forms = self.session.log().iter().filter_map(|seen| match seen {
            Seen::DataIn { by_channel } => Some(*by_channel),
            _ => None,
        });
        let (there, back) = match by_channel {
            true => ("ChannelData", "ChannelData"),
            false => ("a Send indication", "a Data indication"),
        };
        if forms.any(|form| form == by_channel) {
            Step::good(name, format!("{there} went to the peer, {back} came back"))
        } else {
            Step::bad(
                name,
                format!("{there} went to the peer, but what came back was not {back}"),
                "the server mixes channels and indications (RFC 8656 §11.3 and §12.7)",
            )
        }
    }

    fn nothing_back(&self, name: &'static str, what: &str, peer: &Peer) -> Step {
        let help = match (&peer.kind, peer.was_reached()) {
            (Kind::Allocation(..), reached) => format!(
                "data between two allocations of one server {}; the server's log and its count of dropped packets may \
                 say why",
                if reached == Some(true) { "got there but not back" } else { "did not get there" }
            ),
            (_, reached) => explain::no_data(self.address, self.server, reached),
        };
        Step::bad(name, format!("{what} went out to {}, and nothing came back", peer.address), help)
    }

    /// Awaits `payload` from `peer`, and sends it again now and then.
    async fn await_echo(&mut self, peer: SocketAddr, payload: &[u8], limit: Duration) -> Option<Duration> {
        let begin = Instant::now();
        let mut sent = begin;
        let mut buffer = [0; LONGEST];
        loop {
            let until = (begin + limit).min(sent + AGAIN);
            tokio::select! {
                received = self.relayed.recv_from(&mut buffer) => match received {
                    Ok((length, from)) if from == peer && buffer.get(..length) == Some(payload) => {
                        return Some(sent.elapsed());
                    }
                    Ok(_) => (),
                    Err(_) => return None,
                },
                () = sleep_until(until) => {
                    if begin.elapsed() >= limit {
                        return None;
                    }
                    let packet = self.session.log().iter().rev().find_map(|seen| match seen {
                        Seen::DataOut { packet, .. } => Some(packet.clone()),
                        _ => None,
                    });
                    sent = Instant::now();
                    if let Some(packet) = packet {
                        self.session.tap.resend(&packet).await;
                    }
                }
            }
        }
    }
}
