//! A client that keeps to RFC 8489 and RFC 8656: it allocates, asks for permissions and channels, sends in both
//! forms, refreshes, retransmits by the RFC's timers, deletes, and begins again.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use super::Micros;
use super::dice::Dice;
use super::reading::{Seen, read, word};
use super::world::*;

const SECOND: Micros = 1_000_000;
/// RFC 8489 §6.2.1: RTO 500 ms, seven sendings, the last waits for 16 RTO. §6.2.2: 39.5 s on streams.
const RTO: Micros = 500_000;
const SENDINGS: u32 = 7;
const STREAM_TIMEOUT: Micros = 39_500_000;

/// What a client wants the network to do.
pub enum Act {
    /// Send this to the server, as a datagram or frame.
    Send(Vec<u8>),
    /// Close the stream if there is one, and begin on another local port.
    Reconnect,
    /// Tell peers the relayed transport address, out of band.
    Tell(SocketAddr),
    /// Go on from another local port or stream, and leave the old one behind.
    Move,
    /// Give a reservation token to somebody.
    Pass(Vec<u8>),
    /// Ask whoever hands them out for credentials that are good now.
    Renew,
}

struct Pending {
    kind: u16,
    attributes: Vec<A>,
    bytes: Vec<u8>,
    tid: [u8; 12],
    signed: bool,
    sendings: u32,
    next: Micros,
    /// How often a nonce has been taken over on the way.
    challenges: u32,
}

/// What has come back since the network healed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Goal {
    pub by_indication: bool,
    pub by_channel: bool,
    pub refreshed: bool,
    pub deleted: bool,
}

impl Goal {
    fn may_delete(&self) -> bool {
        self.by_indication && self.by_channel && self.refreshed
    }
}

pub struct Honest {
    pub kit: Client,
    stream: bool,
    pub v6: bool,
    /// Asks for relayed addresses of both families.
    pub dual: bool,
    /// Asks for an even port and the next one in reserve.
    reserves: bool,
    /// What somebody else has reserved for it.
    pub token: Option<Vec<u8>>,
    /// Asks for leave to move.
    mobile: bool,
    ticket: Option<Vec<u8>>,
    move_at: Micros,
    /// Whom it talks to; the first one of each family echoes.
    pub peers: Vec<SocketAddr>,
    /// Time between two datagrams.
    period: Micros,
    /// How long an allocation is used.
    use_for: Micros,
    ask_lifetime: Option<u32>,
    dice: Dice,
    relayed: Vec<SocketAddr>,
    began: Micros,
    expires: Micros,
    refresh_at: Micros,
    permissions: BTreeMap<IpAddr, Micros>,
    channels: BTreeMap<u16, (SocketAddr, Micros)>,
    no_channel: bool,
    not_before: Micros,
    ask_again: Micros,
    data_at: Micros,
    pending: Option<Pending>,
    pub wake: Micros,
    pub goal: Option<Goal>,
    pub echoes: u64,
    /// What an honest client should never be told.
    pub complaint: Option<String>,
}

impl Honest {
    pub fn new(kit: Client, stream: bool, v6: bool, period: Micros, dice: &mut Dice) -> Self {
        let mut dice = dice.fork();
        let ask_lifetime =
            dice.pick(&[None, None, Some(0), Some(600), Some(777), Some(3600), Some(u32::MAX)]);
        Self {
            kit,
            stream,
            v6,
            dual: !v6 && dice.one_in(4),
            reserves: dice.one_in(5),
            token: None,
            mobile: dice.one_in(3),
            ticket: None,
            move_at: 0,
            peers: Vec::new(),
            period,
            use_for: dice.between(20, 60) * period,
            ask_lifetime,
            relayed: Vec::new(),
            began: 0,
            expires: 0,
            refresh_at: 0,
            permissions: BTreeMap::new(),
            channels: BTreeMap::new(),
            no_channel: false,
            not_before: dice.between(0, 5 * SECOND),
            ask_again: 0,
            data_at: 0,
            pending: None,
            wake: 0,
            goal: None,
            echoes: 0,
            complaint: None,
            dice,
        }
    }

    /// The network is whole from now on: what is due shows within some minutes.
    pub fn heal(&mut self) {
        self.goal = Some(Goal::default());
        self.peers.truncate(if self.dual { 2 } else { 1 });
        self.period = self.period.min(2 * SECOND);
        self.use_for = self.use_for.min(120 * SECOND);
    }

    pub fn is_done(&self) -> bool {
        self.goal.is_some_and(|goal| goal.deleted)
    }

    /// Something has broken: begin again, on another port.
    fn begin_anew(&mut self, now: Micros, pause: Micros, acts: &mut Vec<Act>) {
        self.forget(now, pause);
        self.kit.nonce.clear();
        acts.push(Act::Reconnect);
    }

    /// The peers that its relayed addresses can reach.
    fn reachable(&self) -> Vec<SocketAddr> {
        let fits = |peer: &&SocketAddr| self.relayed.iter().any(|own| own.is_ipv6() == peer.is_ipv6());
        self.peers.iter().filter(fits).copied().collect()
    }

    fn forget(&mut self, now: Micros, pause: Micros) {
        self.relayed.clear();
        self.ticket = None;
        self.permissions.clear();
        self.channels.clear();
        self.no_channel = false;
        self.pending = None;
        self.not_before = now + pause;
    }

    /// The stream has ended, from the other side.
    pub fn lost_stream(&mut self, now: Micros, acts: &mut Vec<Act>) {
        let pause = self.dice.between(0, 3 * SECOND);
        self.begin_anew(now, pause, acts);
    }

    fn ask(&mut self, now: Micros, kind: u16, attributes: Vec<A>, challenges: u32, acts: &mut Vec<Act>) {
        let mut tid = [0; 12];
        tid.copy_from_slice(&self.dice.bytes(12));
        let signed = !self.kit.nonce.is_empty();
        let message = Msg::new(kind, tid).all(&attributes);
        let message = match signed {
            true => self.kit.sign(self.kit.identify(message)),
            false if self.kit.fingerprint => message.fingerprint(),
            false => message,
        };
        acts.push(Act::Send(message.0.clone()));
        let next = now + if self.stream { STREAM_TIMEOUT } else { RTO };
        let bytes = message.0;
        self.pending = Some(Pending { kind, attributes, bytes, tid, signed, sendings: 1, next, challenges });
    }

    fn retransmit(&mut self, now: Micros, acts: &mut Vec<Act>) {
        let last = self.stream;
        let Some(pending) = &mut self.pending else { return };
        if pending.next > now {
            return;
        }
        if last || pending.sendings == SENDINGS {
            let pause = self.dice.between(0, 5 * SECOND);
            return self.begin_anew(now, pause, acts);
        }
        pending.sendings += 1;
        let factor = if pending.sendings == SENDINGS { 16 } else { 1 << (pending.sendings - 1) };
        pending.next = now + factor * RTO;
        acts.push(Act::Send(pending.bytes.clone()));
    }

    /// Does what is due, and sets the next time to wake up.
    pub fn act(&mut self, now: Micros) -> Vec<Act> {
        let mut acts = Vec::new();
        self.retransmit(now, &mut acts);
        if !self.relayed.is_empty() && self.expires <= now {
            self.begin_anew(now, 0, &mut acts);
        }
        if self.pending.is_none() && !self.is_done() {
            self.next_request(now, &mut acts);
        }
        if !self.relayed.is_empty() && now >= self.data_at {
            self.data_at = now + self.dice.between(self.period / 2, self.period * 3 / 2);
            self.talk(&mut acts);
        }
        let mut wake = now + 3600 * SECOND;
        match &self.pending {
            Some(pending) => wake = wake.min(pending.next),
            None if self.is_done() => {}
            None if self.relayed.is_empty() => wake = wake.min(self.not_before),
            None => wake = wake.min(self.next_due().max(self.ask_again)),
        }
        if !self.relayed.is_empty() {
            wake = wake.min(self.data_at).min(self.expires);
        }
        self.wake = wake.max(now + 1000);
        acts
    }

    /// When the next request of a running allocation is due.
    fn next_due(&self) -> Micros {
        if self.goal.is_some_and(|goal| !goal.refreshed || goal.may_delete()) {
            return 0;
        }
        let over = if self.goal.is_some() { Micros::MAX } else { self.began + self.use_for };
        let mut due = self.refresh_at.min(over);
        if self.ticket.is_some() {
            due = due.min(self.move_at);
        }
        due = due.min(self.permissions_due()).min(self.channels_due());
        due
    }

    fn permissions_due(&self) -> Micros {
        let reachable = self.reachable();
        let wanted =
            reachable.iter().map(|peer| self.permissions.get(&peer.ip()).map_or(0, |at| at + 240 * SECOND));
        wanted.min().unwrap_or(Micros::MAX)
    }

    fn channels_due(&self) -> Micros {
        if self.no_channel {
            return Micros::MAX;
        }
        if self.channels.is_empty() {
            return 0;
        }
        self.channels.values().map(|channel| channel.1 + 500 * SECOND).min().unwrap_or(0)
    }

    fn next_request(&mut self, now: Micros, acts: &mut Vec<Act>) {
        if self.relayed.is_empty() {
            if now < self.not_before || self.peers.is_empty() {
                self.not_before = self.not_before.max(now);
                return;
            }
            let mut attributes = vec![udp()];
            attributes.extend(self.ask_lifetime.map(lifetime));
            match self.token.take() {
                Some(token) => attributes.push(A::Raw(RESERVATION, token)),
                None if self.dual => {
                    let kind = self.dice.pick(&[ADDITIONAL_FAMILY, DRAFT_ADDITIONAL_FAMILY]);
                    attributes.push(A::Raw(kind, vec![2, 0, 0, 0]));
                }
                None if self.v6 => attributes.push(family(2)),
                None => {}
            }
            let plain = attributes.iter().all(|attribute| !matches!(attribute, A::Raw(RESERVATION, _)));
            if plain && self.reserves && !self.dual && self.goal.is_none() {
                attributes.push(A::Raw(EVEN_PORT, vec![0x80]));
            } else if plain && self.dice.one_in(8) {
                attributes.push(A::Raw(EVEN_PORT, vec![0]));
            }
            if self.mobile {
                attributes.push(A::Raw(TICKET, Vec::new()));
            }
            return self.ask(now, ALLOCATE, attributes, 0, acts);
        }
        if now < self.ask_again {
            return;
        }
        let over = match &self.goal {
            Some(goal) => goal.may_delete(),
            None => now >= self.began + self.use_for,
        };
        if let (Some(ticket), true) = (self.ticket.clone(), now >= self.move_at && !over) {
            self.move_at = Micros::MAX;
            acts.push(Act::Move);
            self.ask(now, REFRESH, vec![A::Raw(TICKET, ticket)], 0, acts);
        } else if over {
            self.ask(now, REFRESH, vec![lifetime(0)], 0, acts);
        } else if now >= self.refresh_at || self.goal.is_some_and(|goal| !goal.refreshed) {
            let attributes = self.ask_lifetime.filter(|asked| *asked > 0).map(lifetime);
            self.ask(now, REFRESH, attributes.into_iter().collect(), 0, acts);
        } else if now >= self.permissions_due() {
            let attributes = self.reachable().into_iter().map(to).collect();
            self.ask(now, CREATE_PERMISSION, attributes, 0, acts);
        } else if now >= self.channels_due() {
            let due = self.channels.iter().find(|(_, channel)| channel.1 + 500 * SECOND <= now);
            let due = due.map(|(number, channel)| (*number, channel.0));
            let fresh = (0x4000 + self.dice.below(0x1000) as u16, self.reachable()[0]);
            let (number, peer) = due.unwrap_or(fresh);
            self.ask(now, CHANNEL_BIND, vec![channel(number), to(peer)], 0, acts);
        }
    }

    /// Sends something to a peer, in one of the two forms.
    fn talk(&mut self, acts: &mut Vec<Act>) {
        let bound: Vec<u16> = self.channels.keys().copied().collect();
        let by_channel = !bound.is_empty() && self.dice.one_in(2);
        let mut payload = vec![b'D', if by_channel { b'c' } else { b'i' }];
        // Whoever may only send so much says more.
        let limited = self.kit.user.contains("?policy&") && self.goal.is_none();
        let len = self.dice.pick(if limited { &[0, 60, 1100, 1100] } else { &[0, 1, 2, 3, 60] });
        payload.extend(self.dice.bytes(len));
        if by_channel {
            let number = self.dice.pick(&bound);
            acts.push(Act::Send(self.frame(number, &payload)));
            return;
        }
        let healed = self.goal.is_some();
        let peers = self.reachable();
        let at = if healed { 0 } else { self.dice.below(peers.len()) };
        acts.push(Act::Send(self.indication(peers[at], &payload)));
    }

    fn frame(&self, number: u16, payload: &[u8]) -> Vec<u8> {
        let mut frame = channel_data(number, payload);
        if self.stream {
            frame.resize(frame.len().next_multiple_of(4), 0);
        }
        frame
    }

    fn indication(&mut self, peer: SocketAddr, payload: &[u8]) -> Vec<u8> {
        let mut tid = [0; 12];
        tid.copy_from_slice(&self.dice.bytes(12));
        let message = Msg::new(SEND, tid).all(&[to(peer), data(payload)]);
        if self.kit.fingerprint { message.fingerprint().0 } else { message.0 }
    }

    /// Something arrived from the server.
    pub fn hear(&mut self, now: Micros, bytes: &[u8]) -> Vec<Act> {
        let mut acts = Vec::new();
        if let [a, b, c, d, rest @ ..] = bytes
            && (0x40..=0x4F).contains(a)
        {
            let number = u16::from_be_bytes([*a, *b]);
            let Some(payload) = rest.get(..usize::from(u16::from_be_bytes([*c, *d]))) else { return acts };
            if let Some(peer) = self.channels.get(&number).map(|channel| channel.0) {
                self.take_data(peer, payload, &mut acts);
            }
            return acts;
        }
        let Some(seen) = read(bytes).filter(|seen| seen.fingerprint != Some(false)) else { return acts };
        if (seen.class, seen.method) == (1, 7) {
            let peer = seen.get(PEER).and_then(|value| seen.address(value));
            if let (Some(peer), Some(payload)) = (peer, seen.get(DATA)) {
                self.take_data(peer, payload, &mut acts);
            }
        } else if seen.class >= 2
            && let Some(pending) = self.pending.take_if(|pending| pending.tid == seen.tid)
        {
            self.response(now, &seen, pending, &mut acts);
        }
        // Whatever it was may have made something due.
        self.wake = now;
        acts
    }

    fn take_data(&mut self, peer: SocketAddr, payload: &[u8], acts: &mut Vec<Act>) {
        // RFC 8656 §11.4: from peers with a permission alone.
        if !self.permissions.contains_key(&peer.ip()) {
            return;
        }
        match payload {
            [b'E', form @ (b'c' | b'i'), ..] => {
                self.echoes += 1;
                if let Some(goal) = &mut self.goal {
                    match form {
                        b'c' => goal.by_channel = true,
                        _ => goal.by_indication = true,
                    }
                }
            }
            [b'D', rest @ ..] => {
                let echo: Vec<u8> = [b'E'].iter().chain(rest).copied().collect();
                acts.push(Act::Send(self.indication(peer, &echo)));
            }
            _ => {}
        }
    }

    fn response(&mut self, now: Micros, seen: &Seen<'_>, pending: Pending, acts: &mut Vec<Act>) {
        let code = if seen.class == 2 { 0 } else { seen.code() };
        let trusted = pending.signed
            && seen.integrity.is_some_and(|(kind, _, _)| kind == self.kit.answer_kind())
            && seen.verifies(&self.kit.key());
        if let (401 | 438, Some(realm), Some(nonce)) = (code, seen.get(REALM), seen.get(NONCE)) {
            return self.challenged(now, code, (realm.to_vec(), nonce.to_vec()), pending, acts);
        }
        if !trusted {
            // Damaged or forged on the way: as if it had not come.
            self.pending = Some(pending);
            return;
        }
        let pause = self.dice.between(2, 20) * SECOND;
        match (pending.kind, code) {
            (ALLOCATE, 0) => self.allocated(now, seen, acts),
            (REFRESH, 0) if pending.attributes.iter().any(is_zero_lifetime) => {
                if let Some(goal) = &mut self.goal {
                    goal.deleted = true;
                }
                self.forget(now, pause);
            }
            (REFRESH, 0) => {
                if let Some(goal) = &mut self.goal {
                    goal.refreshed = true;
                }
                self.lives_for(now, seen);
                if let Some(ticket) = seen.get(TICKET) {
                    self.ticket = Some(ticket.to_vec());
                    self.moves_after(now);
                }
            }
            // Its ticket has been replayed by others, or the allocation has ended.
            (REFRESH, 400 | 405 | 441) if has_ticket(&pending) => self.begin_anew(now, SECOND, acts),
            (ALLOCATE, 405) => {
                self.mobile = false;
                self.forget(now, SECOND);
            }
            (CREATE_PERMISSION, 0) => {
                // Those that the request named: others may have been added since.
                let named = pending.attributes.iter().filter_map(|attribute| match attribute {
                    A::Xor(PEER, peer) => Some((peer.ip(), now)),
                    _ => None,
                });
                self.permissions.extend(named);
            }
            (CHANNEL_BIND, 0) => {
                let number = pending.attributes.iter().find_map(|attribute| match attribute {
                    A::Raw(CHANNEL_NUMBER, value) => Some(u16::from_be_bytes([value[0], value[1]])),
                    _ => None,
                });
                let peer = pending.attributes.iter().find_map(|attribute| match attribute {
                    A::Xor(PEER, peer) => Some(*peer),
                    _ => None,
                });
                if let (Some(number), Some(peer)) = (number, peer) {
                    self.channels.insert(number, (peer, now));
                    self.permissions.insert(peer.ip(), now);
                }
            }
            // Somebody else's 5-tuple, or one's own of before: another port.
            (ALLOCATE, 437) | (_, 441) => self.begin_anew(now, SECOND, acts),
            (_, 437) => self.begin_anew(now, 0, acts),
            (ALLOCATE, 300 | 403 | 486 | 508) => {
                if matches!(code, 403 | 486) && self.kit.user.contains("?policy&") {
                    acts.push(Act::Renew);
                }
                self.forget(now, pause);
            }
            // Replays by others may have bound the number or the peer otherwise.
            (CHANNEL_BIND, 400) => self.no_channel = true,
            (CREATE_PERMISSION | CHANNEL_BIND, 403 | 508) => self.ask_again = now + pause,
            (kind, code) => self.complaint = Some(format!("{code} for {kind:#06x}")),
        }
    }

    fn challenged(
        &mut self,
        now: Micros,
        code: u16,
        (realm, nonce): (Vec<u8>, Vec<u8>),
        pending: Pending,
        acts: &mut Vec<Act>,
    ) {
        self.kit.realm = String::from_utf8_lossy(&realm).into_owned();
        self.kit.nonce = nonce;
        if pending.challenges < 3 {
            return self.ask(now, pending.kind, pending.attributes, pending.challenges + 1, acts);
        }
        // Not the nonce, then: the credentials have been withdrawn.
        let pause = self.dice.between(5, 30) * SECOND;
        if code == 401 {
            acts.push(Act::Renew);
        }
        self.begin_anew(now, pause, acts);
    }

    fn allocated(&mut self, now: Micros, seen: &Seen<'_>, acts: &mut Vec<Act>) {
        let relayed: Vec<SocketAddr> = seen.all(RELAYED).filter_map(|value| seen.address(value)).collect();
        self.forget(now, 0);
        acts.extend(relayed.iter().map(|relayed| Act::Tell(*relayed)));
        acts.extend(seen.get(RESERVATION).map(|token| Act::Pass(token.to_vec())));
        self.relayed = relayed;
        self.ticket = seen.get(TICKET).map(<[u8]>::to_vec);
        self.moves_after(now);
        self.began = now;
        self.ask_again = now;
        self.data_at = now + self.dice.between(0, self.period);
        self.lives_for(now, seen);
    }

    fn moves_after(&mut self, now: Micros) {
        self.move_at = now + self.dice.between(5, 30) * self.period;
    }

    fn lives_for(&mut self, now: Micros, seen: &Seen<'_>) {
        let seconds = seen.get(LIFETIME).and_then(word).unwrap_or(0);
        self.expires = now + u64::from(seconds) * SECOND;
        // A minute before its end; of a short life, which the credential cuts, a part.
        self.refresh_at = now + u64::from(seconds.saturating_sub(60).max(seconds / 2)) * SECOND;
    }
}

fn has_ticket(pending: &Pending) -> bool {
    pending.attributes.iter().any(|attribute| matches!(attribute, A::Raw(TICKET, _)))
}

fn is_zero_lifetime(attribute: &A) -> bool {
    matches!(attribute, A::Raw(LIFETIME, value) if value == &[0; 4])
}
