//! One DTLS association: whose it is, how far it has come, and which records it is shown.

use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::engine::Engine;
use super::hello;
use super::record::{kind, records};
use crate::net::ports::Admission;
use crate::time::Timestamp;
use crate::turn::ClientRoute;

/// How long a handshake may take.
pub(super) const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);
/// How long an association may be without an allocation.
pub(super) const LOGIN_DEADLINE: Duration = Duration::from_secs(10);
/// Datagrams of a client that a handshake may take: five flights, repeated and in pieces.
const HANDSHAKE_DATAGRAMS: u8 = 32;
/// The same in bytes.
const HANDSHAKE_BYTES: u16 = 16 * 1024;
/// The same in messages and pieces of messages. What the library does with pieces takes time and memory by the square of
/// their number.
const HANDSHAKE_PIECES: u16 = 64;
/// A protected Finished, whatever the suite; a client has nothing else to say in protected handshake records.
const MAX_FINISHED: usize = 64;
/// How often a client may repeat its last flight because it has missed ours.
const REPETITIONS: u8 = 16;

/// How far an association has come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// No keys yet.
    Handshaking { datagrams: u8, bytes: u16, pieces: u16 },
    /// There will be none. It keeps its place until its time is over, so that nobody has the next one sooner by making
    /// this one fail.
    Failed,
    /// Data flow. `repetitions` of the client's last flight are still answered.
    Established { repetitions: u8 },
}

/// The association cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Broken;

/// What a datagram has brought.
#[derive(Default)]
pub(super) struct Received {
    /// The handshake is complete with it.
    pub(super) established: bool,
    /// Application data, record by record.
    pub(super) data: Vec<BytesMut>,
    /// The client has closed the association, or it is broken.
    pub(super) ended: bool,
}

/// See the head of this file.
pub(super) struct Association {
    pub(super) engine: Engine,
    /// Its link is the number of the association.
    pub(super) route: ClientRoute,
    /// The listener that the client sends to.
    pub(super) listener: u32,
    /// The client's random bytes: a hello with the same ones is the same hello.
    pub(super) random: [u8; 32],
    pub(super) stage: Stage,
    pub(super) began: Timestamp,
    /// When it is to be looked at again.
    pub(super) due: Timestamp,
    /// Since when it has had no allocation; it counts against its client's address meanwhile.
    pub(super) without_allocation: Option<(Timestamp, Admission)>,
}

impl Stage {
    pub(super) const BEGUN: Self = Self::Handshaking {
        datagrams: HANDSHAKE_DATAGRAMS,
        bytes: HANDSHAKE_BYTES,
        pieces: HANDSHAKE_PIECES,
    };
    pub(super) const ESTABLISHED: Self = Self::Established { repetitions: REPETITIONS };

    /// The records of a datagram that an association in this stage is shown.
    ///
    /// Nothing protects epoch 0. So once there are keys, nothing of it is looked at, and before, neither alerts nor
    /// data: whoever can write the client's address must not be able to end the association (RFC 6347 §4.1.2.7).
    fn admit(&mut self, datagram: &[u8]) -> BytesMut {
        let mut admitted = BytesMut::with_capacity(datagram.len());
        match self {
            Self::Handshaking { datagrams, bytes, pieces } => {
                let mut count = 0u16;
                for record in records(datagram) {
                    let of_record = match (record.kind, record.epoch) {
                        (kind::HANDSHAKE, 0) => hello::rest_of_handshake(record.fragment),
                        (kind::HANDSHAKE, 1) => (record.fragment.len() <= MAX_FINISHED).then_some(1),
                        (kind::CHANGE_CIPHER_SPEC, 0) => Some(1),
                        _ => None,
                    };
                    if let Some(of_record) = of_record {
                        count = count.saturating_add(of_record);
                        admitted.extend_from_slice(record.whole);
                    }
                }
                let len = u16::try_from(admitted.len()).unwrap_or(u16::MAX);
                match (datagrams.checked_sub(1), bytes.checked_sub(len), pieces.checked_sub(count)) {
                    (Some(datagrams), Some(bytes), Some(pieces)) => {
                        *self = Self::Handshaking { datagrams, bytes, pieces };
                    }
                    _ => admitted.clear(),
                }
            }
            Self::Failed => {}
            Self::Established { repetitions } => {
                for record in records(datagram).filter(|record| record.epoch == 1) {
                    let fits = match record.kind {
                        kind::ALERT | kind::APPLICATION_DATA => true,
                        kind::HANDSHAKE if record.fragment.len() <= MAX_FINISHED => {
                            let fits = *repetitions > 0;
                            *repetitions = repetitions.saturating_sub(1);
                            fits
                        }
                        _ => false,
                    };
                    if fits {
                        admitted.extend_from_slice(record.whole);
                    }
                }
            }
        }
        admitted
    }
}

impl Association {
    /// Takes in a datagram.
    pub(super) fn receive(&mut self, now: Instant, datagram: &[u8]) -> Received {
        let admitted = self.stage.admit(datagram);
        if admitted.is_empty() { Received::default() } else { self.engine.receive(now, admitted) }
    }

    /// Whether there are keys.
    pub(super) const fn is_established(&self) -> bool {
        matches!(self.stage, Stage::Established { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, epoch: u8, len: u8) -> Vec<u8> {
        let mut bytes = vec![kind, 0xFE, 0xFD, 0, epoch, 0, 0, 0, 0, 0, 0, 0, len];
        bytes.resize(13 + usize::from(len), 0);
        bytes
    }

    fn admitted(stage: &mut Stage, datagram: &[u8]) -> Vec<(u8, u16)> {
        records(&stage.admit(datagram)).map(|record| (record.kind, record.epoch)).collect()
    }

    #[test]
    fn what_nothing_protects_reaches_no_association_that_has_keys() {
        let kinds = [20, 21, 22, 23, 24];
        let all: Vec<u8> =
            (0..3).flat_map(|epoch| kinds.iter().flat_map(move |kind| record(*kind, epoch, 1))).collect();
        let (mut established, mut begun) = (Stage::ESTABLISHED, Stage::BEGUN);
        assert_eq!(admitted(&mut established, &all), [(21, 1), (22, 1), (23, 1)]);
        assert_eq!(admitted(&mut begun, &all), [(20, 0), (22, 1)]);
        let mut exchange = record(22, 0, 14);
        exchange[13..].copy_from_slice(&[16, 0, 0, 4, 0, 2, 0, 0, 2, 0, 0, 2, 1, 2]);
        assert_eq!(admitted(&mut begun, &exchange), [(22, 0)]);
        for (at, wrong) in [(13, 1), (13, 20), (16, 3), (21, 9), (24, 0), (24, 1), (24, 3)] {
            let mut exchange = exchange.clone();
            exchange[at] = wrong;
            assert_eq!(admitted(&mut begun, &exchange), [], "{wrong} at {at}");
        }
    }

    #[test]
    fn a_handshake_takes_a_bounded_number_of_datagrams_and_bytes() {
        let mut stage = Stage::BEGUN;
        let taken = (0..1000).filter(|_| !stage.admit(&record(20, 0, 1)).is_empty()).count();
        assert_eq!(taken, usize::from(HANDSHAKE_DATAGRAMS));
        let mut stage = Stage::BEGUN;
        let bytes: usize = (0..1000).map(|_| stage.admit(&record(20, 0, 255).repeat(8)).len()).sum();
        assert!(bytes <= usize::from(HANDSHAKE_BYTES) && bytes > 8_000, "{bytes}");
    }

    #[test]
    fn a_handshake_takes_a_bounded_number_of_pieces_however_they_are_packed() {
        // A Certificate of 620 bytes, a byte in each piece.
        let piece = |at: u8| [11, 0, 2, 108, 0, 1, 0, 0, at, 0, 0, 1, 0];
        for pieces_per_record in [1, 10] {
            let body: Vec<u8> = (0..pieces_per_record).flat_map(piece).collect();
            let mut one = record(22, 0, u8::try_from(body.len()).unwrap());
            one[13..].copy_from_slice(&body);
            let (mut stage, mut taken) = (Stage::BEGUN, 0);
            for _ in 0..200 {
                taken += records(&stage.admit(&one.repeat(4))).count() * usize::from(pieces_per_record);
            }
            assert!((24..=usize::from(HANDSHAKE_PIECES)).contains(&taken), "{taken}");
        }
        let mut many = record(22, 0, 0);
        let body: Vec<u8> = (0..100).flat_map(piece).collect();
        many[11..].copy_from_slice(&u16::try_from(body.len()).unwrap().to_be_bytes());
        assert_eq!(Stage::BEGUN.clone().admit(&[many, body].concat()).len(), 0);
    }

    #[test]
    fn a_handshake_that_has_failed_takes_nothing() {
        let mut stage = Stage::Failed;
        for (kind, epoch) in [(20, 0), (21, 1), (22, 0), (22, 1), (23, 1)] {
            assert_eq!(admitted(&mut stage, &record(kind, epoch, 1)), []);
        }
    }

    #[test]
    fn a_client_repeats_its_last_flight_a_bounded_number_of_times() {
        let mut stage = Stage::ESTABLISHED;
        let taken = (0..1000).filter(|_| !stage.admit(&record(22, 1, 30)).is_empty()).count();
        assert_eq!(taken, usize::from(REPETITIONS));
        assert_eq!(admitted(&mut stage, &record(23, 1, 30)), [(23, 1)], "data still pass");
    }
}
