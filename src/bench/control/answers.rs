//! What was asked from one socket, and whether an answer is right: a pure bookkeeper of Binding requests.

use std::net::SocketAddr;

use crate::client::{Incoming, read};
use crate::wire::{Class, HEADER_LEN, MAGIC_COOKIE, attr, method};

/// A Binding request is a header and nothing else.
pub(super) const REQUEST: usize = HEADER_LEN;

/// Requests of all sockets that are remembered; those before them are lost.
const REMEMBERED: usize = 1 << 18;

/// What an arrival is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// The right answer, so many nanoseconds after the request.
    Answer(u64),
    /// The answer to a request before the measured time.
    Before,
    /// It has been answered already.
    Duplicate,
    /// It answers a request, but with an error, or with another address than the answers before.
    Wrong,
    /// It answers nothing.
    Foreign,
}

#[derive(Clone, Copy)]
struct Asked {
    sequence: u64,
    at: u64,
    is_open: bool,
}

/// The requests of one socket.
pub(super) struct Answers {
    own: SocketAddr,
    /// What the server calls this socket.
    mapped: Option<SocketAddr>,
    /// Begins each transaction id of the run.
    salt: [u8; 4],
    next: u64,
    /// The first request of the measured time.
    first: u64,
    asked: Box<[Asked]>,
    buffer: Vec<u8>,
}

impl Answers {
    /// Of a socket with this address, one of so many.
    pub(super) fn new(own: SocketAddr, salt: [u8; 4], sockets: u32) -> Self {
        let sockets = usize::try_from(sockets).unwrap_or(usize::MAX).max(1);
        let slots = (REMEMBERED / sockets).max(64);
        let nothing = Asked { sequence: u64::MAX, at: 0, is_open: false };
        Self {
            own,
            mapped: None,
            salt,
            next: 0,
            first: 0,
            asked: vec![nothing; slots].into_boxed_slice(),
            buffer: Vec::new(),
        }
    }

    /// The measured time begins.
    pub(super) const fn begin(&mut self) {
        self.first = self.next;
    }

    /// The server sees another address than this machine: there is a NAT in between.
    pub(super) fn is_translated(&self) -> bool {
        self.mapped.is_some_and(|mapped| mapped != self.own)
    }

    /// The next requests, one behind the other, as of now. Only those that [`Self::keep`] is told of have been sent.
    pub(super) fn ask(&mut self, count: usize, now: u64) -> &[u8] {
        self.buffer.clear();
        for sequence in (self.next..).take(count) {
            let slot = self.slot(sequence);
            *slot = Asked { sequence, at: now, is_open: true };
            self.buffer.extend_from_slice(&[0, 1, 0, 0]);
            self.buffer.extend_from_slice(&MAGIC_COOKIE.to_be_bytes());
            self.buffer.extend_from_slice(&self.salt);
            self.buffer.extend_from_slice(&sequence.to_be_bytes());
        }
        &self.buffer
    }

    /// So many of them have been sent.
    pub(super) fn keep(&mut self, count: usize) {
        self.next += count as u64;
    }

    /// Looks at what has arrived.
    pub(super) fn take(&mut self, bytes: &[u8], now: u64) -> Seen {
        let Incoming::Message(message) = read(bytes) else { return Seen::Foreign };
        let is_answer = matches!(message.class(), Class::SuccessResponse | Class::ErrorResponse);
        let id = message.transaction().0;
        let Some((salt, sequence)) = id.split_first_chunk::<4>() else {
            return Seen::Foreign;
        };
        let sequence = sequence.try_into().map_or(u64::MAX, u64::from_be_bytes);
        if !is_answer || message.method() != method::BINDING || *salt != self.salt || sequence >= self.next {
            return Seen::Foreign;
        }
        let first = self.first;
        let asked = self.slot(sequence);
        if asked.sequence != sequence {
            // So old that it is not remembered any more.
            return if sequence < first { Seen::Before } else { Seen::Duplicate };
        }
        if !asked.is_open {
            return Seen::Duplicate;
        }
        asked.is_open = false;
        let at = asked.at;
        let told = message.get(attr::XOR_MAPPED_ADDRESS).and_then(|value| message.xor_address(value));
        let Some(told) = told.filter(|_| message.class() == Class::SuccessResponse) else {
            return Seen::Wrong;
        };
        if *self.mapped.get_or_insert(told) != told {
            return Seen::Wrong;
        }
        if sequence < first { Seen::Before } else { Seen::Answer(now.saturating_sub(at)) }
    }

    fn slot(&mut self, sequence: u64) -> &mut Asked {
        let slots = self.asked.len() as u64;
        // Below the number of slots.
        let slot = usize::try_from(sequence % slots).unwrap_or_default();
        &mut self.asked[slot]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Message, MessageWriter};

    const SALT: [u8; 4] = [1, 2, 3, 4];

    fn own() -> SocketAddr {
        "192.0.2.1:4000".parse().unwrap()
    }

    fn answer(request: &[u8], class: Class, address: &str) -> Vec<u8> {
        let request = Message::parse(request).unwrap();
        let mut buffer = [0; 128];
        let mut writer = MessageWriter::to(&mut buffer, method::BINDING, class, request.transaction());
        match class {
            Class::SuccessResponse => {
                writer.xor_address(attr::XOR_MAPPED_ADDRESS, address.parse().unwrap());
            }
            _ => {
                writer.error_code(500);
            }
        }
        let len = writer.finish().unwrap();
        buffer[..len].to_vec()
    }

    /// Asks once, at 100.
    fn ask(answers: &mut Answers) -> Vec<u8> {
        let request = answers.ask(1, 100).to_vec();
        answers.keep(1);
        request
    }

    #[test]
    fn a_right_answer_counts_once() {
        let mut answers = Answers::new(own(), SALT, 1);
        let request = ask(&mut answers);
        let right = answer(&request, Class::SuccessResponse, "192.0.2.1:4000");
        assert_eq!(answers.take(&right, 350), Seen::Answer(250));
        assert_eq!(answers.take(&right, 360), Seen::Duplicate);
        assert!(!answers.is_translated());
    }

    #[test]
    fn errors_and_changing_addresses_are_wrong() {
        let mut answers = Answers::new(own(), SALT, 1);
        let mut asked = |address: &str, class| {
            let request = ask(&mut answers);
            answers.take(&answer(&request, class, address), 200)
        };
        // Behind NAT the server sees another address, but always the same.
        assert_eq!(asked("203.0.113.5:77", Class::SuccessResponse), Seen::Answer(100));
        assert_eq!(asked("203.0.113.5:77", Class::SuccessResponse), Seen::Answer(100));
        assert_eq!(asked("203.0.113.5:78", Class::SuccessResponse), Seen::Wrong);
        assert_eq!(asked("", Class::ErrorResponse), Seen::Wrong);
        assert!(answers.is_translated());
    }

    #[test]
    fn what_was_never_asked_is_foreign() {
        let mut answers = Answers::new(own(), SALT, 1);
        let mut other = Answers::new(own(), [9; 4], 1);
        let request = ask(&mut other);
        ask(&mut answers);
        assert_eq!(answers.take(&answer(&request, Class::SuccessResponse, "192.0.2.1:1"), 1), Seen::Foreign);
        // Written, but not sent.
        let unsent = answers.ask(1, 0).to_vec();
        assert_eq!(answers.take(&answer(&unsent, Class::SuccessResponse, "192.0.2.1:1"), 1), Seen::Foreign);
        assert_eq!(answers.take(b"hello", 1), Seen::Foreign);
        assert_eq!(answers.take(&unsent, 1), Seen::Foreign);
    }

    #[test]
    fn answers_of_the_warm_up_and_of_the_forgotten_do_not_count() {
        let mut answers = Answers::new(own(), SALT, u32::MAX);
        let (early, again) = (ask(&mut answers), ask(&mut answers));
        let right = |request: &[u8]| answer(request, Class::SuccessResponse, "192.0.2.1:4000");
        answers.begin();
        assert_eq!(answers.take(&right(&early), 1), Seen::Before);
        let late = ask(&mut answers);
        for _ in 0..64 {
            ask(&mut answers);
        }
        assert_eq!(answers.take(&right(&again), 1), Seen::Before);
        assert_eq!(answers.take(&right(&late), 1), Seen::Duplicate);
    }
}
