//! TURN over DTLS (RFC 7350, RFC 8656 §2.1): the associations of one worker.
//!
//! ```text
//! datagram -> ClientHello?  -- no cookie --> HelloVerifyRequest; nothing is kept
//!                 | cookie good
//!                 v
//!             handshaking, 5 s -- Finished --> established -- data --> the core
//! ```
//! A client that begins anew on the 5-tuple of a live association (RFC 6347 §4.2.8) has two for a moment. The old one
//! ends when the new handshake is complete, not before: anybody can write a hello.
//!
//! A handshake costs a signature. So a 5-tuple has one in five seconds, whatever becomes of it, as long as it is not
//! complete; and it counts against its client's address and is taken from the budget of the prefix ([`handshakes`]).
//!
//! [`handshakes`]: super::handshakes

#![cfg_attr(not(feature = "dtls"), allow(dead_code, reason = "without the library nobody asks"))]

mod association;
mod cookie;
#[cfg(feature = "dtls")]
mod engine;
#[cfg(not(feature = "dtls"))]
#[path = "dtls/no_engine.rs"]
mod engine;
mod hello;
mod record;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use ahash::RandomState;
use slab::Slab;

use super::clock::Clock;
use super::mail;
use super::report::Reminder;
use super::udp::UdpListener;
use super::worker::Worker;
use crate::time::{Now, Timestamp};
use crate::turn::{ClientRoute, DropReason, FiveTuple, Transport, Verdict};
use crate::wire::{Datagram, Marks, ReplyBuffer};
use association::{Association, HANDSHAKE_DEADLINE, LOGIN_DEADLINE, Stage};
use cookie::Cookies;
use engine::Engine;
pub use engine::Identity;
use hello::ClientHello;

/// The application protocols of this server (RFC 7443 §3). Which of them it is the library cannot say to the client; but
/// who wants others only is turned away, lest it takes this server for another one.
const PROTOCOLS: [&[u8]; 2] = [b"stun.turn", b"stun.nat-discovery"];
/// The alert for that (RFC 7301 §3.2).
const NO_APPLICATION_PROTOCOL: u8 = 120;
/// Handshakes of a worker at once.
const MAX_HANDSHAKES: usize = 4096;
/// How often a handshake is looked at; the library repeats its flight after a second.
const HANDSHAKE_TICK: Duration = Duration::from_millis(250);
/// How often it is looked whether an association still has an allocation.
const IDLE_TICK: Duration = Duration::from_secs(1);
/// Associations that one timer call looks at.
const TIMEOUTS_PER_CALL: usize = 256;
/// The longest message that a record holds (RFC 5246 §6.2.1).
const MAX_MESSAGE: usize = 1 << 14;

/// See the head of this file.
pub(super) struct Dtls {
    /// None when the server does not listen for DTLS.
    identity: Option<Arc<Identity>>,
    cookies: Cookies,
    clock: Clock,
    associations: Slab<Association>,
    established: HashMap<FiveTuple, u32, RandomState>,
    handshaking: HashMap<FiveTuple, u32, RandomState>,
    timers: BTreeSet<(Timestamp, u32)>,
    panics: Reminder,
}

/// How a datagram has come in.
pub(super) struct Arrival {
    /// From whom, and to which address.
    pub(super) tuple: FiveTuple,
    /// By which listener.
    pub(super) listener: u32,
    /// What its IP header said.
    pub(super) marks: Marks,
}

impl Dtls {
    /// No associations. Keys are drawn here.
    pub(super) fn new(identity: Option<Arc<Identity>>, clock: Clock) -> std::io::Result<Self> {
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(std::io::Error::other)?;
        let mut seeds = [0; 4];
        for seed in &mut seeds {
            *seed = getrandom::u64().map_err(std::io::Error::other)?;
        }
        let hasher = RandomState::with_seeds(seeds[0], seeds[1], seeds[2], seeds[3]);
        Ok(Self {
            identity,
            cookies: Cookies::new(&key),
            clock,
            associations: Slab::new(),
            established: HashMap::with_hasher(hasher.clone()),
            handshaking: HashMap::with_hasher(hasher),
            timers: BTreeSet::new(),
            panics: Reminder::default(),
        })
    }

    /// New handshakes show this from now on; running associations go on.
    pub(super) fn set_identity(&mut self, identity: Arc<Identity>) {
        self.identity = Some(identity);
    }

    /// Whether the association of this route is still open, and no other one has its place.
    pub(super) fn is_open(&self, client: &ClientRoute) -> bool {
        let association = self.associations.get(mail::index(client.link) as usize);
        association.is_some_and(|association| association.route == *client)
    }

    /// Protects a datagram for a client and sends it, or says why not.
    pub(super) fn send(
        &mut self,
        now: &Now,
        listeners: &[UdpListener],
        client: &ClientRoute,
        message: &[u8],
        marks: Marks,
    ) -> Result<(), DropReason> {
        if message.len() > MAX_MESSAGE {
            return Err(DropReason::TooLong);
        }
        let Self { associations, clock, .. } = self;
        let association = associations
            .get_mut(mail::index(client.link) as usize)
            .filter(|association| association.route == *client && association.is_established())
            .ok_or(DropReason::Association)?;
        association.engine.send(clock.instant(now.mono), message).map_err(|_| DropReason::SendFailed)?;
        transmit(listeners, association, marks).map_err(|()| DropReason::SendFailed)
    }

    /// The live associations of a 5-tuple: the one that has keys first.
    fn find(&self, tuple: &FiveTuple) -> [Option<u32>; 2] {
        [self.established.get(tuple).copied(), self.handshaking.get(tuple).copied()]
    }

    /// Says that the library has panicked, if it has.
    fn report_panics(&mut self, now: Timestamp) {
        if engine::has_panicked() && self.panics.is_due(now) {
            let associations = engine::take_panics();
            tracing::error!(
                target: "relais::net",
                associations,
                "the DTLS library panicked; associations have ended. Please report the messages above"
            );
        }
    }

    fn get(&mut self, key: u32) -> Option<&mut Association> {
        self.associations.get_mut(key as usize)
    }

    fn schedule(&mut self, key: u32, due: Timestamp) {
        if let Some(association) = self.associations.get_mut(key as usize) {
            self.timers.remove(&(association.due, key));
            association.due = due;
            self.timers.insert((due, key));
        }
    }

    fn remove(&mut self, key: u32) -> Option<Association> {
        let association = self.associations.try_remove(key as usize)?;
        self.timers.remove(&(association.due, key));
        for map in [&mut self.established, &mut self.handshaking] {
            if map.get(&association.route.tuple) == Some(&key) {
                map.remove(&association.route.tuple);
            }
        }
        Some(association)
    }
}

/// Sends what an association has to send. An error says that the kernel refused some of it.
fn transmit(listeners: &[UdpListener], association: &mut Association, marks: Marks) -> Result<(), ()> {
    let mut result = Ok(());
    while let Some(datagram) = association.engine.poll_transmit() {
        let sent = listeners
            .get(association.listener as usize)
            .is_some_and(|listener| listener.send(&datagram, &association.route.tuple, marks).is_ok());
        if !sent {
            result = Err(());
        }
    }
    result
}

impl Worker {
    /// Handles a datagram that may be DTLS.
    pub(super) fn receive_dtls(
        &mut self,
        now: &Now,
        arrival: &Arrival,
        datagram: &[u8],
        reply: &mut ReplyBuffer,
    ) {
        let Some(first) = record::records(datagram).next() else {
            return self.drop_dtls(DropReason::Malformed);
        };
        if hello::is_client_hello(&first) {
            return match ClientHello::parse(&first) {
                Some(hello) => self.receive_hello(now, arrival, &hello),
                None => self.drop_dtls(DropReason::Malformed),
            };
        }
        let keys = self.dtls.find(&arrival.tuple);
        if keys == [None; 2] {
            return self.drop_dtls(DropReason::Association);
        }
        for key in keys.into_iter().flatten() {
            self.receive_records(now, key, arrival.marks, datagram, reply);
        }
    }

    fn drop_dtls(&mut self, reason: DropReason) {
        self.server.count(Transport::Dtls).drop(reason);
    }

    fn receive_hello(&mut self, now: &Now, arrival: &Arrival, hello: &ClientHello<'_>) {
        let Arrival { tuple, listener, .. } = arrival;
        if !self.dtls.cookies.verify(now.mono, tuple, hello) {
            let answer = hello.verify_request(&self.dtls.cookies.make(now.mono, tuple, hello));
            let listener = self.listeners.get(*listener as usize);
            if listener.is_none_or(|listener| listener.send(&answer, tuple, Marks::default()).is_err()) {
                self.drop_dtls(DropReason::SendFailed);
            }
            return;
        }
        // The same hello again: its answer will be repeated by the timer.
        let [established, handshaking] = self.dtls.find(tuple);
        let known = |key: &u32| self.dtls.associations.get(*key as usize).map(|known| known.random);
        if [established, handshaking].iter().flatten().filter_map(known).any(|known| known == hello.random())
        {
            return;
        }
        if handshaking.is_some() {
            return self.drop_dtls(DropReason::Association);
        }
        if hello.is_for_others(&PROTOCOLS) {
            let refusal = hello::alert(hello.sequence, NO_APPLICATION_PROTOCOL);
            if let Some(listener) = self.listeners.get(*listener as usize) {
                // Who does not hear it gives up all the same.
                let _ = listener.send(&refusal, tuple, Marks::default());
            }
            return self.drop_dtls(DropReason::Association);
        }
        if hello.message != 1 || self.dtls.handshaking.len() >= MAX_HANDSHAKES {
            return self.drop_dtls(DropReason::Association);
        }
        self.begin_association(now, arrival, hello);
    }

    fn begin_association(&mut self, now: &Now, arrival: &Arrival, hello: &ClientHello<'_>) {
        let Arrival { tuple, listener, .. } = *arrival;
        let Some(identity) = self.dtls.identity.clone() else { return };
        let Some(admission) = self.shared.admit_stream(tuple.client.0.ip(), self.streams_per_address) else {
            return self.drop_dtls(DropReason::Association);
        };
        if !self.shared.admit_handshake(now.mono, tuple.client.0.ip(), self.streams_per_address) {
            return self.drop_dtls(DropReason::Association);
        }
        let Ok((engine, goes_on)) = Engine::accept(&identity, self.dtls.clock.instant(now.mono), hello)
        else {
            return self.drop_dtls(DropReason::Malformed);
        };
        let entry = self.dtls.associations.vacant_entry();
        let Ok(key) = u32::try_from(entry.key()) else { return };
        let Some(link) = self.post.link(entry.key()) else { return };
        let mut random = [0; 32];
        random.copy_from_slice(hello.random());
        let due = now.mono + HANDSHAKE_TICK;
        let association = entry.insert(Association {
            engine,
            route: ClientRoute { tuple, link },
            listener,
            random,
            stage: Stage::BEGUN,
            began: now.mono,
            due,
            without_allocation: Some((now.mono, admission)),
        });
        let sent = transmit(&self.listeners, association, Marks::default());
        self.dtls.timers.insert((due, key));
        self.dtls.handshaking.insert(tuple, key);
        self.server.count(Transport::Dtls).streams += 1;
        if sent.is_err() {
            self.drop_dtls(DropReason::SendFailed);
        }
        if !goes_on {
            self.end_association(now, key);
        }
    }

    /// Shows records to one association.
    fn receive_records(
        &mut self,
        now: &Now,
        key: u32,
        marks: Marks,
        datagram: &[u8],
        reply: &mut ReplyBuffer,
    ) {
        let instant = self.dtls.clock.instant(now.mono);
        let Some(association) = self.dtls.get(key) else { return };
        let received = association.receive(instant, datagram);
        if received.established && !association.is_established() {
            self.establish(now, key);
        }
        for message in received.data {
            self.receive_message(now, key, marks, &message, reply);
        }
        let Self { dtls, server, listeners, .. } = self;
        let Some(association) = dtls.associations.get_mut(key as usize) else { return };
        if transmit(listeners, association, Marks::default()).is_err() {
            server.count(Transport::Dtls).drop(DropReason::SendFailed);
        }
        if received.ended {
            self.end_or_fail(now, key);
        } else {
            self.count_against_address(now, key);
        }
    }

    /// The handshake is complete: what the client had before on this 5-tuple is over.
    fn establish(&mut self, now: &Now, key: u32) {
        let Some(association) = self.dtls.get(key) else { return };
        association.stage = Stage::ESTABLISHED;
        let tuple = association.route.tuple;
        if let Some(old) = self.dtls.established.get(&tuple).copied() {
            self.end_association(now, old);
        }
        self.dtls.handshaking.remove(&tuple);
        self.dtls.established.insert(tuple, key);
        self.dtls.schedule(key, now.mono + IDLE_TICK);
    }

    /// Gives one message to the core and does what it says. What is to be sent to the client is left in the engine.
    fn receive_message(
        &mut self,
        now: &Now,
        key: u32,
        marks: Marks,
        message: &[u8],
        reply: &mut ReplyBuffer,
    ) {
        let mut datagram = Datagram::new(message, marks);
        let instant = self.dtls.clock.instant(now.mono);
        let Some(route) = self.dtls.get(key).map(|association| association.route) else { return };
        if let Some(owner) = self.addressee(&route.tuple, datagram.body()) {
            return self.forward(owner, route, datagram.body());
        }
        let Self { server, relays, shared, dtls, .. } = self;
        let Some(association) = dtls.associations.get_mut(key as usize) else { return };
        let failed = match server.handle_client(now, route, &mut datagram, reply, relays) {
            Verdict::Reply => association.engine.send(instant, reply.bytes()).is_err(),
            Verdict::ToPeer { relay, peer } => {
                relays.send(relay, datagram.body(), shared.to_local(peer.0), datagram.marks()).is_err()
            }
            Verdict::Forward { worker } => return self.forward(worker, route, datagram.body()),
            _ => false,
        };
        if failed {
            self.drop_dtls(DropReason::SendFailed);
        }
    }

    /// An association counts against its client's address as long as it has no allocation.
    fn count_against_address(&mut self, now: &Now, key: u32) {
        let Some(tuple) = self.dtls.get(key).map(|association| association.route.tuple) else { return };
        let has_allocation = self.has_allocation(now, &tuple);
        let Some(association) = self.dtls.get(key) else { return };
        if association.is_established() && has_allocation {
            association.without_allocation = None;
        } else if association.without_allocation.is_none() {
            match self.shared.admit_stream(tuple.client.0.ip(), self.streams_per_address) {
                Some(admission) => association.without_allocation = Some((now.mono, admission)),
                None => self.say_goodbye(now, key),
            }
        }
    }

    /// Ends an association after telling the client.
    fn say_goodbye(&mut self, now: &Now, key: u32) {
        let instant = self.dtls.clock.instant(now.mono);
        let Self { dtls, listeners, .. } = self;
        if let Some(association) = dtls.associations.get_mut(key as usize) {
            association.engine.close(instant);
            // Who does not hear it will notice all the same.
            let _ = transmit(listeners, association, Marks::default());
        }
        self.end_association(now, key);
    }

    /// Ends an association, or its handshake, which keeps its place until its time is over.
    fn end_or_fail(&mut self, now: &Now, key: u32) {
        match self.dtls.get(key) {
            Some(association) if !association.is_established() => association.stage = Stage::Failed,
            _ => self.end_association(now, key),
        }
    }

    /// Forgets an association. Its allocation ends with it.
    fn end_association(&mut self, now: &Now, key: u32) {
        let Some(association) = self.dtls.remove(key) else { return };
        self.server.count(Transport::Dtls).streams -= 1;
        if association.is_established() {
            self.server.handle_closed(now, &association.route, &mut self.relays);
            self.forward_closing(association.route);
        }
    }

    /// Looks after the associations whose time has come, a bounded number of them. Says whether more are due.
    pub(super) fn tick_dtls(&mut self, now: &Now) -> bool {
        self.dtls.report_panics(now.mono);
        for _ in 0..TIMEOUTS_PER_CALL {
            match self.dtls.timers.first() {
                Some((due, key)) if *due <= now.mono => {
                    let key = *key;
                    self.look_after(now, key);
                }
                _ => return false,
            }
        }
        true
    }

    fn look_after(&mut self, now: &Now, key: u32) {
        let instant = self.dtls.clock.instant(now.mono);
        let Self { dtls, listeners, .. } = self;
        let Some(association) = dtls.associations.get_mut(key as usize) else { return };
        if !association.is_established() {
            if association.stage != Stage::Failed {
                let repeated = association.engine.handle_timeout(instant);
                // It is repeated once more anyway.
                let _ = transmit(listeners, association, Marks::default());
                if repeated.is_err() {
                    association.stage = Stage::Failed;
                }
            }
            if now.mono.since(association.began) >= HANDSHAKE_DEADLINE {
                self.end_association(now, key);
            } else {
                self.dtls.schedule(key, now.mono + HANDSHAKE_TICK);
            }
            return;
        }
        self.count_against_address(now, key);
        let Some(association) = self.dtls.get(key) else { return };
        let since = association.without_allocation.as_ref().map(|(since, _)| *since);
        if since.is_some_and(|since| now.mono.since(since) >= LOGIN_DEADLINE) {
            self.say_goodbye(now, key);
        } else {
            self.dtls.schedule(key, now.mono + IDLE_TICK);
        }
    }

    /// Says goodbye to one client.
    pub(super) fn hang_up_dtls(&mut self, now: &Now, route: &ClientRoute) {
        if self.dtls.is_open(route) {
            self.say_goodbye(now, mail::index(route.link));
        }
    }

    /// Says goodbye to all clients.
    pub(super) fn stop_dtls(&mut self, now: &Now) {
        let keys: Vec<usize> = self.dtls.associations.iter().map(|(key, _)| key).collect();
        for key in keys.into_iter().filter_map(|key| u32::try_from(key).ok()) {
            self.say_goodbye(now, key);
        }
    }
}
