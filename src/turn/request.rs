//! What a client sent: told apart, checked in the order that RFC 8489 §6.3 and §9.2.4 set, and handed to its method.

use core::net::SocketAddr;

use super::budget::Origin;
use super::mobility::Ticket;
use super::redirect::Redirect;
use super::tcp::waiting_login;
use super::{
    AddressError, ClientRoute, CountedMethod, DropReason, Event, RefusalCause, RelaySockets,
    ReservationToken, Server, Transport, Verdict,
};
use crate::auth::{Login, Stage};
use crate::time::Now;
use crate::wire::{
    AttributeType, Class, Datagram, Error, Message, MessageWriter, Protocol, ReplyBuffer, SendIndication,
    attr, method,
};

/// How many unknown attributes a 420 lists.
const MAX_UNKNOWN: usize = 32;

/// The longest request without an allocation, in bytes.
const MAX_FROM_STRANGERS: usize = 2048;

/// The comprehension-required attributes that are understood. In a method that has no use for one of them it is
/// ignored (RFC 8489 §6.3).
const UNDERSTOOD: &[AttributeType] = &[
    attr::MAPPED_ADDRESS,
    attr::USERNAME,
    attr::MESSAGE_INTEGRITY,
    attr::ERROR_CODE,
    attr::UNKNOWN_ATTRIBUTES,
    attr::CHANNEL_NUMBER,
    attr::LIFETIME,
    attr::XOR_PEER_ADDRESS,
    attr::DATA,
    attr::REALM,
    attr::NONCE,
    attr::XOR_RELAYED_ADDRESS,
    attr::REQUESTED_ADDRESS_FAMILY,
    attr::EVEN_PORT,
    attr::REQUESTED_TRANSPORT,
    attr::DONT_FRAGMENT,
    attr::MESSAGE_INTEGRITY_SHA256,
    attr::PASSWORD_ALGORITHM,
    attr::USERHASH,
    attr::XOR_MAPPED_ADDRESS,
    attr::RESERVATION_TOKEN,
    attr::CONNECTION_ID,
];

/// The same as bits: all of them are below 64.
const UNDERSTOOD_BITS: u64 = {
    let (mut bits, mut at) = (0, 0);
    while at < UNDERSTOOD.len() {
        assert!(UNDERSTOOD[at].0 < 64, "it has a bit");
        bits |= 1 << UNDERSTOOD[at].0;
        at += 1;
    }
    bits
};

/// Whether an attribute must not be ignored and is not understood.
pub(super) const fn is_unknown(kind: AttributeType) -> bool {
    kind.is_comprehension_required() && (kind.0 >= 64 || UNDERSTOOD_BITS >> kind.0 & 1 == 0)
}

/// An authenticated request and what belongs to it.
pub(super) struct Request<'a> {
    pub(super) now: &'a Now,
    pub(super) from: ClientRoute,
    pub(super) message: &'a Message<'a>,
    pub(super) login: Login,
}

/// What a method answers: with which attributes it succeeds, or the code of its error.
pub(super) type Answer = Result<Success, Refused>;

/// The attributes of a success response, all optional.
#[derive(Default)]
pub(super) struct Success {
    pub(super) relayed: [Option<SocketAddr>; 2],
    pub(super) lifetime: Option<u32>,
    pub(super) mapped: Option<SocketAddr>,
    pub(super) reservation: Option<ReservationToken>,
    pub(super) half_refused: Option<AddressError>,
    pub(super) ticket: Option<Ticket>,
}

/// An error response to an authenticated request.
pub(super) struct Refused {
    pub(super) code: u16,
    /// The peer it is about, for the log.
    pub(super) peer: Option<SocketAddr>,
    /// What the code alone does not say, for the log.
    pub(super) cause: Option<RefusalCause>,
    /// The server to go to, with 300.
    pub(super) redirect: Option<Redirect>,
}

impl Refused {
    pub(super) const fn because(code: u16) -> Self {
        Self { code, peer: None, cause: None, redirect: None }
    }

    pub(super) const fn about(code: u16, peer: SocketAddr) -> Self {
        Self { code, peer: Some(peer), cause: None, redirect: None }
    }

    pub(super) const fn told(mut self, cause: RefusalCause) -> Self {
        self.cause = Some(cause);
        self
    }
}

impl Server {
    /// Handles one datagram, or one frame of a stream, from a client.
    pub fn handle_client(
        &mut self,
        now: &Now,
        from: ClientRoute,
        datagram: &mut Datagram<'_>,
        reply: &mut ReplyBuffer,
        sockets: &mut impl RelaySockets,
    ) -> Verdict {
        let transport = from.tuple.transport;
        self.counters.of(transport).received.add(datagram.len());
        let first = datagram.body().first().copied();
        match first.map(Protocol::of) {
            Some(Protocol::ChannelData) => self.relay_channel_data(now, from, datagram, sockets),
            Some(Protocol::Stun) if datagram.body().starts_with(&SendIndication::TYPE) => {
                self.relay_send(now, from, datagram, sockets)
            }
            Some(Protocol::Stun) => match Message::parse(datagram.body()) {
                // RFC 7350 §3, a MUST; over other transports there is silence (RFC 8489 §6.3).
                Err(Error::NoCookie)
                    if transport == Transport::Dtls && reply.refuse_classic(datagram.body(), 500) =>
                {
                    let counters = self.counters.of(transport);
                    counters.error(500);
                    counters.answered.add(reply.bytes().len());
                    Verdict::Reply
                }
                Err(_) => self.drop(transport, DropReason::Malformed),
                Ok(message) if !message.fingerprint_holds() => self.drop(transport, DropReason::Fingerprint),
                Ok(message) => self.handle_message(now, from, &message, reply, sockets),
            },
            Some(Protocol::Tls | Protocol::Unknown) | None => self.drop(transport, DropReason::NotOurs),
        }
    }

    /// All STUN messages but Send indications.
    fn handle_message(
        &mut self,
        now: &Now,
        from: ClientRoute,
        message: &Message<'_>,
        reply: &mut ReplyBuffer,
        sockets: &mut impl RelaySockets,
    ) -> Verdict {
        let counted = match (message.method(), message.class()) {
            (method::BINDING, Class::Indication) => return Verdict::Consumed,
            (method::BINDING, Class::Request) => return self.answer_binding(now, from, message, reply),
            (method::ALLOCATE, Class::Request) => CountedMethod::Allocate,
            (method::REFRESH, Class::Request) => CountedMethod::Refresh,
            (method::CREATE_PERMISSION, Class::Request) => CountedMethod::CreatePermission,
            (method::CHANNEL_BIND, Class::Request) => CountedMethod::ChannelBind,
            (method::CONNECT, Class::Request) if self.settings.tcp => CountedMethod::Connect,
            (method::CONNECTION_BIND, Class::Request) if self.settings.tcp => CountedMethod::ConnectionBind,
            _ => return self.drop(from.tuple.transport, DropReason::UnknownMethod),
        };
        self.end_if_expired(now, &from.tuple, sockets);
        let login = match self.log_in(now, from, message, reply, sockets) {
            Ok(login) => login,
            Err(verdict) => return verdict,
        };
        let takes_tokens = self.settings.authenticator.takes_tokens();
        let unknown = UnknownAttributes::beyond(message, |kind| kind == attr::ACCESS_TOKEN && takes_tokens);
        if let Some(unknown) = unknown {
            self.events.push(Event::RequestRefused {
                user: login.user_shared(),
                tuple: from.tuple,
                method: counted,
                code: 420,
                peer: None,
                cause: None,
            });
            return self.refuse_unknown(now, from, message, reply, &unknown, Some(&login));
        }
        let request = Request { now, from, message, login };
        if counted == CountedMethod::Refresh
            && let Some(ticket) = message.get(attr::MOBILITY_TICKET)
        {
            if let Some(worker) = self.ticket_elsewhere(ticket) {
                // One 5-tuple, one allocation (RFC 8656 §5): of this one only this worker knows.
                if self.allocations.live_on(now.mono, &from).is_some() {
                    return self.answer(&request, counted, Err(Refused::because(437)), reply);
                }
                return Verdict::Forward { worker };
            }
            let answer = self.refresh_moved(&request, ticket, sockets);
            return self.answer(&request, counted, answer, reply);
        }
        // A request other than Allocate and ConnectionBind needs an allocation that the same user made (RFC 8656 §5).
        if !matches!(counted, CountedMethod::Allocate | CountedMethod::ConnectionBind) {
            // A newer token may go on with what an older one has made (RFC 7635 §9), but not end it.
            let goes_on = counted == CountedMethod::Refresh && message.get(attr::LIFETIME) != Some(&[0; 4]);
            match self.allocations.live_on(now.mono, &from) {
                None => return self.answer(&request, counted, Err(Refused::because(437)), reply),
                Some(allocation) if !request.login.may_use(&allocation.login, goes_on) => {
                    return self.answer(&request, counted, Err(Refused::because(441)), reply);
                }
                Some(_) => {}
            }
        }
        let answer = match counted {
            CountedMethod::Allocate => self.allocate(&request, sockets),
            CountedMethod::Refresh => self.refresh(&request, sockets),
            CountedMethod::CreatePermission => self.create_permission(&request),
            CountedMethod::ChannelBind => self.channel_bind(&request, sockets),
            CountedMethod::Connect => match self.connect(&request, sockets) {
                Ok(()) => return Verdict::Consumed,
                Err(refused) => Err(refused),
            },
            CountedMethod::ConnectionBind => match self.connection_bind(&request, sockets) {
                Ok(connection) => {
                    self.answer(&request, counted, Ok(Success::default()), reply);
                    return Verdict::Bind { connection };
                }
                Err(refused) => Err(refused),
            },
            CountedMethod::Binding => unreachable!("answered above, without a login"),
        };
        self.answer(&request, counted, answer, reply)
    }

    /// RFC 8489 §9.2.4. The error is the verdict when the login fails.
    fn log_in(
        &mut self,
        now: &Now,
        from: ClientRoute,
        message: &Message<'_>,
        reply: &mut ReplyBuffer,
        sockets: &impl RelaySockets,
    ) -> Result<Login, Verdict> {
        let client = from.tuple.client.0;
        let server_port = from.tuple.server.port();
        let known = self.allocations.live_on(now.mono, &from).map(|allocation| &allocation.login);
        let authenticator = std::sync::Arc::clone(&self.settings.authenticator);
        let tries = message.integrity().is_some();
        let proven = tries && authenticator.knows_nonce(now, client, server_port, message);
        let origin = if proven { Origin::Proven } else { Origin::Unproven };
        // Whoever goes on with an own allocation does not guess.
        let own = known.is_some_and(|login| message.get(attr::USERNAME) == Some(login.user().as_bytes()));
        if tries && !own && !self.budget.may_log_in(now.mono, client.ip(), origin) {
            return Err(self.drop(from.tuple.transport, DropReason::LoginRate));
        }
        // Long requests cost long HMACs; strangers have no reason to send them.
        if known.is_none() && message.bytes().len() > MAX_FROM_STRANGERS {
            return Err(self.drop(from.tuple.transport, DropReason::TooLong));
        }
        // A ConnectionBind is about an allocation of another 5-tuple.
        let elsewhere = match message.method() {
            method::CONNECTION_BIND if tries && known.is_none() => waiting_login(from, message, sockets),
            _ => None,
        };
        let known = known.or(elsewhere.as_ref());
        let is_refresh = message.method() == method::REFRESH;
        let moves = is_refresh && message.get(attr::MOBILITY_TICKET).is_some();
        let stage = match message.method() {
            _ if !moves && known.is_none() => Stage::Begin,
            method::ALLOCATE => Stage::Begin,
            method::REFRESH if message.get(attr::LIFETIME) != Some(&[0; 4]) => Stage::GoOn,
            _ => Stage::Within,
        };
        let refusal = match authenticator.check(now, message, proven, known, stage, &self.revoked) {
            Ok(login) => return Ok(login),
            Err(refusal) => refusal,
        };
        if tries && matches!(refusal.code, 401 | 420) {
            self.budget.login_failed(now.mono, client.ip(), origin);
        }
        self.login_refused(from.tuple, message, &refusal, proven);
        if refusal.code == 420
            && let Some(unknown) = UnknownAttributes::of(message)
        {
            return Err(self.refuse_unknown(now, from, message, reply, &unknown, None));
        }
        Err(self.answer_stranger(now, from, message, reply, refusal.code, |writer| {
            if refusal.is_challenge() {
                authenticator.challenge(writer, now, client, server_port);
            }
        }))
    }

    /// Answers an authenticated request; every such answer is signed (RFC 8489 §9.2.4).
    fn answer(
        &mut self,
        request: &Request<'_>,
        counted: CountedMethod,
        answer: Answer,
        reply: &mut ReplyBuffer,
    ) -> Verdict {
        let message = request.message;
        let transport = request.from.tuple.transport;
        let class = if answer.is_ok() { Class::SuccessResponse } else { Class::ErrorResponse };
        let mut writer = reply.begin(message.method(), class, message.transaction());
        match answer {
            Ok(success) => {
                self.counters.of(transport).successes[counted as usize] += 1;
                success.write(&mut writer);
            }
            Err(refused) => {
                self.counters.of(transport).error(refused.code);
                writer.error_code(refused.code);
                if let Some(redirect) = &refused.redirect {
                    redirect.write(&mut writer);
                }
                self.events.push(Event::RequestRefused {
                    user: request.login.user_shared(),
                    tuple: request.from.tuple,
                    method: counted,
                    code: refused.code,
                    peer: refused.peer,
                    cause: refused.cause,
                });
            }
        }
        request.login.sign(&mut writer);
        self.finish(request.from, message, writer, None)
    }

    /// Answers 420 (RFC 8489 §6.3.1).
    pub(super) fn refuse_unknown(
        &mut self,
        now: &Now,
        from: ClientRoute,
        message: &Message<'_>,
        reply: &mut ReplyBuffer,
        unknown: &UnknownAttributes,
        login: Option<&Login>,
    ) -> Verdict {
        let mut writer = reply.begin(message.method(), Class::ErrorResponse, message.transaction());
        unknown.write(&mut writer);
        if let Some(login) = login {
            login.sign(&mut writer);
        }
        let stranger = login.is_none().then_some(now);
        self.finish_error(from, message, writer, 420, stranger)
    }

    /// Answers an error to somebody who has not logged in, within the budget of where it came from.
    pub(super) fn answer_stranger(
        &mut self,
        now: &Now,
        from: ClientRoute,
        message: &Message<'_>,
        reply: &mut ReplyBuffer,
        code: u16,
        more: impl FnOnce(&mut MessageWriter<'_>),
    ) -> Verdict {
        let mut writer = reply.begin(message.method(), Class::ErrorResponse, message.transaction());
        writer.error_code(code);
        more(&mut writer);
        self.finish_error(from, message, writer, code, Some(now))
    }

    /// Ends an error answer and counts it if it goes out.
    fn finish_error(
        &mut self,
        from: ClientRoute,
        message: &Message<'_>,
        writer: MessageWriter<'_>,
        code: u16,
        stranger: Option<&Now>,
    ) -> Verdict {
        let verdict = self.finish(from, message, writer, stranger);
        if verdict == Verdict::Reply {
            self.counters.of(from.tuple.transport).error(code);
        }
        verdict
    }

    /// Ends an answer; FINGERPRINT only for those who use it. An answer to a `stranger`, with the time it asked, is
    /// paid for by the budget; but a stream's other end has proved where it is.
    pub(super) fn finish(
        &mut self,
        from: ClientRoute,
        message: &Message<'_>,
        mut writer: MessageWriter<'_>,
        stranger: Option<&Now>,
    ) -> Verdict {
        let transport = from.tuple.transport;
        if message.has_fingerprint() {
            writer.fingerprint();
        }
        let Some(len) = writer.finish() else { return self.drop(transport, DropReason::TooLong) };
        if let Some(now) = stranger
            && !transport.is_stream()
            && !self.budget.pay(now.mono, from.tuple.client.0.ip(), message.bytes().len(), len)
        {
            return self.drop(transport, DropReason::AnswerBudget);
        }
        self.counters.of(transport).answered.add(len);
        Verdict::Reply
    }
}

impl Success {
    fn write(&self, writer: &mut MessageWriter<'_>) {
        for relayed in self.relayed.into_iter().flatten() {
            writer.xor_address(attr::XOR_RELAYED_ADDRESS, relayed);
        }
        if let Some(lifetime) = self.lifetime {
            writer.u32(attr::LIFETIME, lifetime);
        }
        if let Some(mapped) = self.mapped {
            writer.xor_address(attr::XOR_MAPPED_ADDRESS, mapped);
        }
        if let Some(ReservationToken(token)) = self.reservation {
            writer.attribute(attr::RESERVATION_TOKEN, &token);
        }
        if let Some(AddressError { family, code }) = self.half_refused {
            writer.address_error_code(family, code);
        }
        if let Some(ticket) = &self.ticket {
            writer.attribute(attr::MOBILITY_TICKET, ticket);
        }
    }
}

/// The unknown comprehension-required attributes of a message, each once, as many as a 420 lists.
pub(super) struct UnknownAttributes {
    types: [u8; 2 * MAX_UNKNOWN],
    count: usize,
}

impl UnknownAttributes {
    /// `None` when there are none.
    pub(super) fn of(message: &Message<'_>) -> Option<Self> {
        Self::beyond(message, |_| false)
    }

    /// The same without those that are `understood` for this once.
    pub(super) fn beyond(message: &Message<'_>, understood: impl Fn(AttributeType) -> bool) -> Option<Self> {
        let is_unknown = |kind| is_unknown(kind) && !understood(kind);
        if !message.attributes().any(|attribute| is_unknown(attribute.kind)) {
            return None;
        }
        let mut unknown = Self { types: [0; 2 * MAX_UNKNOWN], count: 0 };
        for attribute in message.attributes().filter(|attribute| is_unknown(attribute.kind)) {
            let kind = attribute.kind.0.to_be_bytes();
            let listed = unknown.types.chunks_exact(2).take(unknown.count).any(|known| known == kind);
            if !listed && unknown.count < MAX_UNKNOWN {
                unknown.types[2 * unknown.count..][..2].copy_from_slice(&kind);
                unknown.count += 1;
            }
        }
        Some(unknown)
    }

    pub(super) fn write(&self, writer: &mut MessageWriter<'_>) {
        writer.error_code(420).attribute(attr::UNKNOWN_ATTRIBUTES, &self.types[..2 * self.count]);
    }
}
