//! What the packets carry, so that nothing can happen to them unnoticed.
//!
//! ```text
//! | magic 4 | run 4 | lane 4 | sequence 4 | time 8 | CRC-32 of these 24 | pattern ... |
//! ```
//! The pattern is cut out of one secret of the run, at a place that lane and sequence choose. So any byte that changes is
//! noticed, and so is the head of one packet on the body of another, at the price of a comparison.

/// Bytes in front of the pattern: the shortest payload.
pub(super) const HEAD: usize = 28;

/// What all payloads begin with.
const MAGIC: [u8; 4] = *b"RLB1";

/// How many places the pattern can begin at.
const PLACES: usize = 4096;

/// What stands in the head of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    /// The lane that it was sent in.
    pub(super) lane: u32,
    /// Which packet of the lane it is.
    pub(super) sequence: u32,
    /// When it was sent, in nanoseconds of the run's clock.
    pub(super) time: u64,
}

/// What became of a packet on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// As it was sent.
    Whole(Stamp),
    /// Something was changed, added or cut off.
    Corrupt,
    /// Left over from another run.
    Stale,
}

/// Makes and checks the payloads of one run.
pub(super) struct Payloads {
    run: [u8; 4],
    len: usize,
    pattern: Vec<u8>,
}

impl Payloads {
    /// Payloads of `len` bytes, at least [`HEAD`]. `run` tells this run from others.
    pub(super) fn new(run: u32, len: usize) -> Self {
        // xorshift: anything will do that does not repeat within the pattern.
        let mut state = u64::from(run) << 1 | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        };
        let pattern = (0..PLACES + len).map(|_| next()).collect();
        Self { run: run.to_be_bytes(), len: len.max(HEAD), pattern }
    }

    /// Length of every payload.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    #[inline]
    fn body(&self, lane: u32, sequence: u32) -> &[u8] {
        let place = lane.wrapping_mul(977).wrapping_add(sequence.wrapping_mul(31)) as usize % PLACES;
        self.pattern.get(place..place + self.len - HEAD).unwrap_or_default()
    }

    /// Writes a payload into `out`, which is as long as one.
    #[inline]
    pub(super) fn write(&self, out: &mut [u8], stamp: Stamp) {
        let Some((head, body)) = out.split_first_chunk_mut::<HEAD>() else { return };
        head[..4].copy_from_slice(&MAGIC);
        head[4..8].copy_from_slice(&self.run);
        head[8..12].copy_from_slice(&stamp.lane.to_be_bytes());
        head[12..16].copy_from_slice(&stamp.sequence.to_be_bytes());
        head[16..24].copy_from_slice(&stamp.time.to_be_bytes());
        let crc = crc32fast::hash(&head[..24]);
        head[24..].copy_from_slice(&crc.to_be_bytes());
        body.copy_from_slice(self.body(stamp.lane, stamp.sequence));
    }

    /// Checks a payload.
    #[inline]
    pub(super) fn check(&self, payload: &[u8]) -> Verdict {
        let Some((head, body)) = payload.split_first_chunk::<HEAD>() else { return Verdict::Corrupt };
        let [m0, m1, m2, m3, r0, r1, r2, r3, l0, l1, l2, l3, s0, s1, s2, s3, time @ .., c0, c1, c2, c3] =
            *head;
        if [m0, m1, m2, m3] != MAGIC || crc32fast::hash(&head[..24]).to_be_bytes() != [c0, c1, c2, c3] {
            return Verdict::Corrupt;
        }
        if [r0, r1, r2, r3] != self.run {
            return Verdict::Stale;
        }
        let stamp = Stamp {
            lane: u32::from_be_bytes([l0, l1, l2, l3]),
            sequence: u32::from_be_bytes([s0, s1, s2, s3]),
            time: u64::from_be_bytes(time),
        };
        if payload.len() == self.len && body == self.body(stamp.lane, stamp.sequence) {
            Verdict::Whole(stamp)
        } else {
            Verdict::Corrupt
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp { lane: 7, sequence: 1_000_000, time: 123_456_789_012 };

    #[test]
    fn any_byte_that_changes_is_noticed() {
        for len in [HEAD, HEAD + 1, 160, 1_200] {
            let payloads = Payloads::new(99, len);
            let mut bytes = vec![0; len];
            payloads.write(&mut bytes, STAMP);
            assert_eq!(payloads.check(&bytes), Verdict::Whole(STAMP));
            for i in 0..len {
                for bit in 0..8 {
                    bytes[i] ^= 1 << bit;
                    assert_eq!(payloads.check(&bytes), Verdict::Corrupt, "byte {i} of {len}");
                    bytes[i] ^= 1 << bit;
                }
            }
            assert_eq!(payloads.check(&bytes[..len - 1]), Verdict::Corrupt);
            bytes.push(0);
            assert_eq!(payloads.check(&bytes), Verdict::Corrupt);
        }
    }

    #[test]
    fn the_head_of_one_packet_on_the_body_of_another_is_noticed() {
        let payloads = Payloads::new(99, 200);
        let (mut one, mut other) = (vec![0; 200], vec![0; 200]);
        payloads.write(&mut one, STAMP);
        for stamp in [Stamp { sequence: STAMP.sequence + 1, ..STAMP }, Stamp { lane: 8, ..STAMP }] {
            payloads.write(&mut other, stamp);
            let mixed = [&one[..HEAD], &other[HEAD..]].concat();
            assert_eq!(payloads.check(&mixed), Verdict::Corrupt);
        }
    }

    #[test]
    fn packets_of_other_runs_are_stale() {
        let mut bytes = vec![0; 64];
        Payloads::new(98, 64).write(&mut bytes, STAMP);
        assert_eq!(Payloads::new(99, 64).check(&bytes), Verdict::Stale);
    }
}
