//! Which packets of a lane have arrived.

/// What the arrival of a packet means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// In its order.
    New,
    /// Behind one that was sent later.
    Late,
    /// It has been here before.
    Duplicate,
}

/// Remembers the last packets of a lane, a bit for each.
pub(super) struct Tally {
    bits: Box<[u64]>,
    /// One more than the highest sequence that has arrived.
    end: u32,
}

impl Tally {
    /// Remembers at least `packets`.
    pub(super) fn new(packets: usize) -> Self {
        let words = packets.div_ceil(64).next_power_of_two();
        Self { bits: vec![0; words].into_boxed_slice(), end: 0 }
    }

    fn capacity(&self) -> u32 {
        u32::try_from(self.bits.len() * 64).unwrap_or(u32::MAX)
    }

    fn bit(&mut self, sequence: u32) -> (&mut u64, u64) {
        let words = self.bits.len();
        (&mut self.bits[(sequence / 64) as usize % words], 1 << (sequence % 64))
    }

    /// Notes an arrival. What is older than all that is remembered counts as late.
    #[inline]
    pub(super) fn note(&mut self, sequence: u32) -> Arrival {
        if sequence >= self.end {
            self.forget_up_to(sequence);
            let (word, bit) = self.bit(sequence);
            *word |= bit;
            return Arrival::New;
        }
        if self.end - sequence > self.capacity() {
            return Arrival::Late;
        }
        let (word, bit) = self.bit(sequence);
        if *word & bit != 0 {
            return Arrival::Duplicate;
        }
        *word |= bit;
        Arrival::Late
    }

    /// Makes room for all sequences up to this one.
    fn forget_up_to(&mut self, sequence: u32) {
        if sequence - self.end >= self.capacity() {
            self.bits.fill(0);
        } else {
            for passed in self.end..=sequence {
                let (word, bit) = self.bit(passed);
                *word &= !bit;
            }
        }
        self.end = sequence + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_packet_is_new_or_late_once_and_then_a_duplicate() {
        let mut tally = Tally::new(100);
        for sequence in [0, 1, 2, 5] {
            assert_eq!(tally.note(sequence), Arrival::New);
        }
        assert_eq!(tally.note(5), Arrival::Duplicate);
        assert_eq!((tally.note(3), tally.note(3)), (Arrival::Late, Arrival::Duplicate));
        // The window of 128 moves on; the bits of what has left it mean others now.
        assert_eq!(tally.note(140), Arrival::New);
        assert_eq!((tally.note(133), tally.note(133)), (Arrival::Late, Arrival::Duplicate));
        assert_eq!(tally.note(4), Arrival::Late);
        assert_eq!(tally.note(1_000_000), Arrival::New);
        assert_eq!((tally.note(999_999), tally.note(140)), (Arrival::Late, Arrival::Late));
    }
}
