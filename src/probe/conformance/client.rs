//! A TURN client that does what a check tells it to, right or wrong.

use std::net::SocketAddr;
use std::time::Duration;

use md5::{Digest as _, Md5};
use sha2::Sha256;
use tokio::time::Instant;

pub(super) use super::common::{
    ALGORITHM_SHA256, TCP, UDP, binding, expect, holds, lacks, lists_sha256, permission, stranger,
    udp_allocation,
};
use super::link::{Arrival, Link};
use super::outcome::{Finding, Outcome, fail, not_testable};
use super::raw::{self, ALLOCATE, BINDING, Class, DATA, REFRESH, Raw, Received, SEND};
use super::{Probe, Transport};
use crate::wire::attr;

/// How long until a request over UDP is sent again the first time (RFC 8489 §6.2.1).
const RTO: Duration = Duration::from_millis(500);

/// How requests are signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    /// As RFC 5389 has it: MD5 key, MESSAGE-INTEGRITY.
    Sha1,
    /// SHA-256 key, PASSWORD-ALGORITHM(S), MESSAGE-INTEGRITY-SHA256.
    Sha256,
}

/// Data that came from a peer.
#[derive(Clone, Debug)]
pub(super) struct FromPeer {
    /// The frame as it came.
    pub(super) frame: Vec<u8>,
    pub(super) data: Vec<u8>,
    /// The peer of a Data indication; `Err` has the number of the channel instead.
    pub(super) from: Result<SocketAddr, u16>,
}

/// One 5-tuple.
pub(super) struct Client<'a> {
    pub(super) probe: &'a Probe,
    transport: Transport,
    pub(super) link: Link,
    /// What came and was not asked for.
    pub(super) inbox: Vec<Vec<u8>>,
    pub(super) realm: Vec<u8>,
    pub(super) nonce: Vec<u8>,
    pub(super) algorithms: Option<Vec<u8>>,
    pub(super) sign: Sign,
    /// The transaction of the Allocate that succeeded.
    pub(super) allocated: Option<Raw>,
}

impl<'a> Client<'a> {
    /// A new 5-tuple over the transport of the URI.
    pub(super) fn open(probe: &'a Probe) -> Result<Self, Finding> {
        Self::over(probe, probe.transport)
    }

    /// A new 5-tuple over a stream: that of the URI, or TCP on the same port.
    pub(super) fn stream(probe: &'a Probe) -> Result<Self, Finding> {
        match probe.transport {
            Transport::Udp if !probe.survey.has_tcp => {
                Err(Finding::NotOffered("nothing listens on TCP at this port".to_owned()))
            }
            Transport::Udp => Self::over(probe, Transport::Tcp),
            other => Self::over(probe, other),
        }
    }

    pub(super) fn over(probe: &'a Probe, transport: Transport) -> Result<Self, Finding> {
        Ok(Self {
            probe,
            transport,
            link: open_link(probe, transport)?,
            inbox: Vec::new(),
            realm: Vec::new(),
            nonce: Vec::new(),
            algorithms: None,
            sign: Sign::Sha1,
            allocated: None,
        })
    }

    /// With a challenge taken up, so that requests can be signed.
    pub(super) fn login(mut self) -> Result<Self, Finding> {
        super::need_login(self.probe)?;
        let request = || stranger(ALLOCATE).attr(attr::REQUESTED_TRANSPORT, &UDP);
        let mut challenge = self.ask(&request())?;
        // The port may have been another client's just before, whose allocation a slow server still has.
        for _ in 0..2 {
            if challenge.code() == 437 {
                self.link = open_link(self.probe, self.transport)?;
                challenge = self.ask(&request())?;
            }
        }
        expect(&challenge, 401)?;
        self.take(&challenge)?;
        Ok(self)
    }

    /// With an allocation of UDP.
    pub(super) fn allocate(mut self) -> Result<(Self, SocketAddr), Finding> {
        if self.nonce.is_empty() {
            self = self.login()?;
        }
        let answer = self.call(udp_allocation())?;
        expect(&answer, 0)?;
        let relayed = answer
            .xor_address(attr::XOR_RELAYED_ADDRESS)
            .ok_or_else(|| Finding::Fail("the success has no readable XOR-RELAYED-ADDRESS".to_owned()))?;
        Ok((self, relayed))
    }

    /// Signs with SHA-256 from now on, where the server offers it.
    pub(super) fn with_sha256(mut self) -> Result<Self, Finding> {
        match &self.algorithms {
            Some(offered) if lists_sha256(offered) => {
                self.sign = Sign::Sha256;
                Ok(self)
            }
            _ => Err(Finding::NotOffered("the challenge does not offer SHA-256".to_owned())),
        }
    }

    pub(super) fn take(&mut self, challenge: &Received) -> Outcome {
        let get = |kind| challenge.get(kind).map(<[u8]>::to_vec);
        match (get(attr::REALM), get(attr::NONCE)) {
            (Some(realm), Some(nonce)) => (self.realm, self.nonce) = (realm, nonce),
            _ => return fail("the challenge has no REALM or no NONCE"),
        }
        self.algorithms = get(attr::PASSWORD_ALGORITHMS);
        Ok(())
    }

    pub(super) fn user(&self) -> &'a str {
        &self.probe.username
    }

    /// The key of the password; RFC 8489 §18.5.1.
    pub(super) fn key(&self) -> Vec<u8> {
        self.key_of(self.probe.password.expose())
    }

    pub(super) fn key_of(&self, password: &str) -> Vec<u8> {
        let text = [self.user().as_bytes(), b":", &self.realm, b":", password.as_bytes()].concat();
        match self.sign {
            Sign::Sha1 => Md5::digest(&text).to_vec(),
            Sign::Sha256 => Sha256::digest(&text).to_vec(),
        }
    }

    /// USERNAME, REALM, NONCE and what belongs to the algorithm.
    pub(super) fn name(&self, raw: Raw) -> Raw {
        self.algorithm(
            raw.attr(attr::USERNAME, self.user().as_bytes())
                .attr(attr::REALM, &self.realm)
                .attr(attr::NONCE, &self.nonce),
        )
    }

    pub(super) fn algorithm(&self, raw: Raw) -> Raw {
        match (self.sign, &self.algorithms) {
            (Sign::Sha256, Some(offered)) => {
                raw.attr(attr::PASSWORD_ALGORITHMS, offered).attr(attr::PASSWORD_ALGORITHM, &ALGORITHM_SHA256)
            }
            _ => raw,
        }
    }

    /// The integrity attribute.
    pub(super) fn seal(&self, raw: Raw) -> Raw {
        self.seal_with(raw, &self.key())
    }

    pub(super) fn seal_with(&self, raw: Raw, key: &[u8]) -> Raw {
        match self.sign {
            Sign::Sha1 => raw.sha1(key),
            Sign::Sha256 => raw.sha256(key, 32),
        }
    }

    /// A whole login.
    pub(super) fn signed(&self, raw: Raw) -> Raw {
        self.seal(self.name(raw))
    }

    /// A whole login as the other user, who is there when a shared secret is at hand.
    pub(super) fn signed_by_other(&self, raw: Raw) -> Result<Raw, Finding> {
        let Some((name, password)) = &self.probe.other_user else {
            return not_testable("needs a second user: give --secret-file");
        };
        let raw = raw
            .attr(attr::USERNAME, name.as_bytes())
            .attr(attr::REALM, &self.realm)
            .attr(attr::NONCE, &self.nonce);
        let text = [name.as_bytes(), b":", &self.realm, b":", password.expose().as_bytes()].concat();
        Ok(raw.sha1(&Md5::digest(&text)))
    }

    /// Whether an answer has the integrity attribute that belongs to the way of signing, and it is right.
    pub(super) fn is_signed(&self, answer: &Received) -> bool {
        match self.sign {
            Sign::Sha1 => answer.sha1_holds(&self.key()),
            Sign::Sha256 => answer.sha256_holds(&self.key()),
        }
    }

    /// Signs a request, sends it, and once more when the nonce has become stale.
    pub(super) fn call(&mut self, raw: Raw) -> Result<Received, Finding> {
        let request = self.signed(raw.clone());
        let answer = self.ask(&request)?;
        if answer.code() != 438 {
            return Ok(answer);
        }
        self.take(&answer)?;
        let request = self.signed(raw.id(raw::random()));
        self.ask(&request)
    }

    /// Signs a request, sends it, and wants this code; 0 for success.
    pub(super) fn wants(&mut self, raw: Raw, code: u16) -> Outcome {
        expect(&self.call(raw)?, code)
    }

    /// Sends a request, over UDP again and again, and waits for its answer.
    pub(super) fn ask(&mut self, request: &Raw) -> Result<Received, Finding> {
        match self.ask_or_silence(request)? {
            Some(answer) => Ok(answer),
            None => Err(Finding::Fail("no answer".to_owned())),
        }
    }

    /// Like [`ask`](Self::ask), where silence is an answer too.
    pub(super) fn ask_or_silence(&mut self, request: &Raw) -> Result<Option<Received>, Finding> {
        let limit = self.probe.limit;
        let (began, mut rto) = (Instant::now(), RTO);
        loop {
            if self.send(request.bytes()).is_err() {
                return Ok(None);
            }
            let left = limit.saturating_sub(began.elapsed());
            let wait = if self.link.is_stream() { left } else { rto.min(left) };
            if let Some(answer) = self.response(request.transaction(), wait)? {
                if answer.is_success() && answer.is(ALLOCATE, Class::Success) {
                    self.allocated = Some(request.clone());
                }
                return Ok(Some(answer));
            }
            rto *= 2;
            if began.elapsed() >= limit || self.link.is_stream() {
                return Ok(None);
            }
        }
    }

    /// The response of a transaction within `wait`.
    fn response(&mut self, id: [u8; 12], wait: Duration) -> Result<Option<Received>, Finding> {
        let began = Instant::now();
        loop {
            match self.link.receive(wait.saturating_sub(began.elapsed())) {
                Arrival::Frame(frame) if raw::transaction(&frame) == id => {
                    let answer = Received::parse(&frame)
                        .map_err(|fault| Finding::Fail(format!("the answer is {fault}")))?;
                    return Ok(Some(answer));
                }
                Arrival::Frame(frame) => self.inbox.push(frame),
                Arrival::Nothing | Arrival::End => return Ok(None),
            }
        }
    }

    pub(super) fn send(&mut self, bytes: &[u8]) -> Outcome {
        self.link.send(bytes).map_err(|error| Finding::Fail(format!("nothing can be sent: {error}")))
    }

    /// Sends what must not be answered, and then a Binding: once that is answered, silence is proven. A stream may
    /// be closed instead.
    pub(super) fn silence(&mut self, bytes: &[u8]) -> Outcome {
        self.inbox.clear();
        if self.send(bytes).is_err() {
            return if self.link.is_stream() { Ok(()) } else { fail("nothing can be sent") };
        }
        // A server that cannot tell where the next frame of a stream begins need not go on with it.
        let is_alive = self.fence()? || self.link.is_stream();
        if let Some(frame) = self.inbox.first() {
            let what = match Received::parse(frame) {
                Ok(answer) if answer.is_error() => format!("answered {}", answer.code()),
                Ok(answer) => format!("answered with a message of type {:#06x}", answer.kind()),
                Err(_) => format!("answered with {} bytes", frame.len()),
            };
            return fail(what);
        }
        if is_alive { Ok(()) } else { fail("the server does not answer a Binding any more") }
    }

    /// The answer to a request that may also be discarded: a Binding behind it tells when no answer will come.
    pub(super) fn ask_or_silence_behind(&mut self, request: &Raw) -> Result<Option<Received>, Finding> {
        self.inbox.clear();
        if self.send(request.bytes()).is_err() {
            return Ok(None);
        }
        self.fence()?;
        let id = request.transaction();
        let answer =
            self.inbox.iter().find(|frame| raw::transaction(frame) == id).map(|frame| Received::parse(frame));
        answer.transpose().map_err(|fault| Finding::Fail(format!("the answer is {fault}")))
    }

    /// Whether a Binding is answered; a stream that was closed counts as well.
    pub(super) fn fence(&mut self) -> Result<bool, Finding> {
        let fence = Raw::request(BINDING);
        match self.ask_or_silence(&fence)? {
            Some(_) => Ok(true),
            None => Ok(self.link.is_stream() && self.link.receive(Duration::from_millis(1)) == Arrival::End),
        }
    }

    /// Whether the allocation lives, asked by a Refresh.
    pub(super) fn is_allocated(&mut self) -> Result<bool, Finding> {
        Ok(self.call(Raw::request(REFRESH))?.code() == 0)
    }

    pub(super) fn permit(&mut self, peer: SocketAddr) -> Outcome {
        self.wants(permission(&[peer]), 0)
    }

    pub(super) fn bind(&mut self, number: u16, peer: SocketAddr) -> Outcome {
        self.wants(binding(number, peer), 0)
    }

    /// Sends data in a Send indication.
    pub(super) fn say(&mut self, peer: SocketAddr, data: &[u8]) -> Outcome {
        let raw = Raw::indication(SEND).xor_address(attr::XOR_PEER_ADDRESS, peer).attr(attr::DATA, data);
        self.send(raw.bytes())
    }

    /// Sends data in ChannelData, padded where the transport wants it.
    pub(super) fn say_by_channel(&mut self, number: u16, data: &[u8]) -> Outcome {
        let mut frame = raw::channel_data(number, data);
        if self.link.is_stream() {
            frame.resize(frame.len().next_multiple_of(4), 0);
        }
        self.send(&frame)
    }

    /// The next data of a peer.
    pub(super) fn hear(&mut self) -> Result<FromPeer, Finding> {
        let limit = self.probe.limit;
        self.hear_within(limit)?.ok_or_else(|| Finding::Fail("the data did not arrive".to_owned()))
    }

    pub(super) fn hear_within(&mut self, limit: Duration) -> Result<Option<FromPeer>, Finding> {
        let began = Instant::now();
        loop {
            let frame = if self.inbox.is_empty() {
                match self.link.receive(limit.saturating_sub(began.elapsed())) {
                    Arrival::Frame(frame) => frame,
                    Arrival::Nothing | Arrival::End => return Ok(None),
                }
            } else {
                self.inbox.remove(0)
            };
            if let Some(heard) = from_peer(frame)? {
                return Ok(Some(heard));
            }
        }
    }
}

/// An allocation that is forgotten would count against the user for ten minutes.
impl Drop for Client<'_> {
    fn drop(&mut self) {
        if self.allocated.is_some() {
            let goodbye = self.signed(Raw::request(REFRESH).u32(attr::LIFETIME, 0));
            let _ = self.send(goodbye.bytes());
        }
    }
}

fn open_link(probe: &Probe, transport: Transport) -> Result<Link, Finding> {
    probe.link(transport).map_err(|error| Finding::Fail(format!("no connection: {error}")))
}

/// Reads a frame as data of a peer; `None` for other messages.
fn from_peer(frame: Vec<u8>) -> Result<Option<FromPeer>, Finding> {
    match frame.first().map(|first| first >> 6) {
        Some(1) => {
            let header = frame
                .first_chunk::<4>()
                .ok_or_else(|| Finding::Fail("ChannelData of less than four bytes".to_owned()))?;
            let [n0, n1, l0, l1] = *header;
            let end = 4 + usize::from(u16::from_be_bytes([l0, l1]));
            let data = frame
                .get(4..end)
                .ok_or_else(|| Finding::Fail("ChannelData that are shorter than they say".to_owned()))?
                .to_vec();
            Ok(Some(FromPeer { data, from: Err(u16::from_be_bytes([n0, n1])), frame }))
        }
        _ => {
            let Ok(message) = Received::parse(&frame) else { return Ok(None) };
            if !message.is(DATA, Class::Indication) {
                return Ok(None);
            }
            let Some(data) = message.get(attr::DATA).map(<[u8]>::to_vec) else { return Ok(None) };
            let Some(from) = message.xor_address(attr::XOR_PEER_ADDRESS) else {
                return Err(Finding::Fail(
                    "a Data indication without a readable XOR-PEER-ADDRESS".to_owned(),
                ));
            };
            Ok(Some(FromPeer { data, from: Ok(from), frame }))
        }
    }
}
