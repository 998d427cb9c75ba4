//! The ways that packets take: from whom to whom, and what has become of them.

use std::net::SocketAddr;

use hdrhistogram::Histogram;

use super::outcome::histogram;
use super::payload::{Payloads, Verdict};
use super::tally::{Arrival, Tally};
use crate::client::DataHead;

/// One end of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// A client, by its number.
    Client(usize),
    /// A peer socket, by its number.
    Peer(usize),
}

/// A way from one end to another.
pub(super) struct Lane {
    pub(super) from: End,
    pub(super) to: End,
    /// What stands in front of the payload when a client sends through the server.
    pub(super) head: Option<DataHead>,
    /// Where it is sent to, unless the socket is connected.
    pub(super) address: Option<SocketAddr>,
    /// Where it has to come from, as the receiver sees it, if that can be another one than it should.
    pub(super) source: Option<SocketAddr>,
    /// The sequence of the next packet.
    pub(super) next: u32,
    /// The first sequence that counts.
    first: u32,
    tally: Tally,
}

impl Lane {
    /// A lane that remembers the last `memory` packets.
    pub(super) fn new(from: End, to: End, memory: usize) -> Self {
        Self {
            from,
            to,
            head: None,
            address: None,
            source: None,
            next: 0,
            first: 0,
            tally: Tally::new(memory),
        }
    }
}

/// What was counted within the measured time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) received: u64,
    pub(super) corrupt: u64,
    pub(super) duplicate: u64,
    pub(super) reordered: u64,
    pub(super) misdelivered: u64,
}

/// All lanes, and what arrives in them.
pub(super) struct Lanes {
    pub(super) lanes: Vec<Lane>,
    pub(super) payloads: Payloads,
    pub(super) counts: Counts,
    /// Latencies of what has arrived since it was taken last.
    pub(super) interval: Histogram<u64>,
    /// Whether what is sent and received counts.
    is_measured: bool,
}

impl Lanes {
    pub(super) fn new(lanes: Vec<Lane>, payloads: Payloads) -> Self {
        Self { lanes, payloads, counts: Counts::default(), interval: histogram(), is_measured: false }
    }

    /// From here on it counts.
    pub(super) fn begin(&mut self) {
        for lane in &mut self.lanes {
            lane.first = lane.next;
        }
        self.counts = Counts::default();
        self.interval.reset();
        self.is_measured = true;
    }

    /// Nothing counts any more; the next packets belong to nobody's figures.
    pub(super) fn end(&mut self) {
        self.is_measured = false;
    }

    /// How many were sent since [`Self::begin`].
    pub(super) fn sent(&self) -> u64 {
        self.lanes.iter().map(|lane| u64::from(lane.next - lane.first)).sum()
    }

    /// Takes what has arrived at `end` when it came from where it should (`in_place`, `source`).
    #[inline]
    pub(super) fn arrived(
        &mut self,
        payload: &[u8],
        end: End,
        in_place: bool,
        source: Option<SocketAddr>,
        now: u64,
    ) {
        let stamp = match self.payloads.check(payload) {
            Verdict::Whole(stamp) => stamp,
            Verdict::Stale => return,
            Verdict::Corrupt => return self.corrupt(),
        };
        let Some(lane) = self.lanes.get_mut(stamp.lane as usize) else { return self.corrupt() };
        if !self.is_measured || stamp.sequence < lane.first {
            return;
        }
        if lane.to != end || !in_place || lane.source.is_some() && lane.source != source {
            self.counts.misdelivered += 1;
            return;
        }
        match lane.tally.note(stamp.sequence) {
            Arrival::New => {}
            Arrival::Late => self.counts.reordered += 1,
            Arrival::Duplicate => {
                self.counts.duplicate += 1;
                return;
            }
        }
        self.counts.received += 1;
        self.interval.saturating_record(now.saturating_sub(stamp.time));
    }

    /// Something arrived that nobody has sent like this.
    pub(super) fn corrupt(&mut self) {
        if self.is_measured {
            self.counts.corrupt += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::payload::Stamp;
    use super::*;

    fn lanes() -> Lanes {
        let lanes = vec![
            Lane::new(End::Client(0), End::Peer(0), 64),
            Lane {
                source: Some("192.0.2.1:1".parse().unwrap()),
                ..Lane::new(End::Client(1), End::Peer(1), 64)
            },
        ];
        Lanes::new(lanes, Payloads::new(1, 64))
    }

    fn payload(lanes: &Lanes, lane: u32, sequence: u32) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        lanes.payloads.write(&mut bytes, Stamp { lane, sequence, time: 5 });
        bytes
    }

    #[test]
    fn each_packet_counts_as_what_it_is() {
        let mut lanes = lanes();
        let before = payload(&lanes, 0, 0);
        lanes.arrived(&before, End::Peer(0), true, None, 10);
        assert_eq!(lanes.counts, Counts::default(), "nothing counts before the beginning");
        lanes.lanes[0].next = 1;
        lanes.begin();
        lanes.lanes[0].next = 5;
        lanes.lanes[1].next = 1;
        assert_eq!(lanes.sent(), 5);
        lanes.arrived(&before, End::Peer(0), true, None, 10);
        assert_eq!(lanes.counts, Counts::default(), "sent before the beginning");
        for sequence in [2, 1, 2] {
            let bytes = payload(&lanes, 0, sequence);
            lanes.arrived(&bytes, End::Peer(0), true, None, 10);
        }
        let mut bad = payload(&lanes, 0, 3);
        lanes.arrived(&bad, End::Peer(1), true, None, 10);
        lanes.arrived(&bad, End::Peer(0), false, None, 10);
        bad[40] ^= 1;
        lanes.arrived(&bad, End::Peer(0), true, None, 10);
        let beyond = payload(&lanes, 2, 0);
        lanes.arrived(&beyond, End::Peer(0), true, None, 10);
        let sourced = payload(&lanes, 1, 0);
        lanes.arrived(&sourced, End::Peer(1), true, Some("192.0.2.1:2".parse().unwrap()), 10);
        lanes.arrived(&sourced, End::Peer(1), true, Some("192.0.2.1:1".parse().unwrap()), 10);
        let wanted = Counts { received: 3, corrupt: 2, duplicate: 1, reordered: 1, misdelivered: 3 };
        assert_eq!(lanes.counts, wanted);
        assert_eq!((lanes.interval.len(), lanes.interval.max()), (3, 5));
    }
}
