//! The records of a datagram (RFC 6347 §4.1), as far as they have to be told apart before anything is decrypted.

/// Bytes of a record before its fragment.
pub(super) const RECORD_HEADER: usize = 13;
/// The longest fragment: 2^14 bytes and what protection adds to it (RFC 5246 §6.2.3).
const MAX_FRAGMENT: usize = (1 << 14) + 2048;

/// Content types (RFC 5246 §6.2.1).
pub(super) mod kind {
    pub(in super::super) const CHANGE_CIPHER_SPEC: u8 = 20;
    pub(in super::super) const ALERT: u8 = 21;
    pub(in super::super) const HANDSHAKE: u8 = 22;
    pub(in super::super) const APPLICATION_DATA: u8 = 23;
}

/// A record, still protected or not.
#[derive(Clone, Copy)]
pub(super) struct Record<'a> {
    /// The content type.
    pub(super) kind: u8,
    /// 0 before keys are agreed on.
    pub(super) epoch: u16,
    /// Its number within the epoch, 48 bits.
    pub(super) sequence: u64,
    /// What the header stands before.
    pub(super) fragment: &'a [u8],
    /// Header and fragment.
    pub(super) whole: &'a [u8],
}

/// The records of a datagram, up to the first thing that is none. What is not well-formed is discarded without a word
/// (RFC 6347 §4.1.2.7).
pub(super) fn records(datagram: &[u8]) -> impl Iterator<Item = Record<'_>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let record = first(rest)?;
        rest = rest.get(record.whole.len()..)?;
        Some(record)
    })
}

fn first(bytes: &[u8]) -> Option<Record<'_>> {
    let (header, _) = bytes.split_first_chunk::<RECORD_HEADER>()?;
    // All versions of DTLS that have records of this form begin so.
    let &[kind, 0xFE, _, e0, e1, s0, s1, s2, s3, s4, s5, l0, l1] = header else { return None };
    let len = usize::from(u16::from_be_bytes([l0, l1]));
    let whole = bytes.get(..RECORD_HEADER + len)?;
    (len > 0 && len <= MAX_FRAGMENT).then_some(Record {
        kind,
        epoch: u16::from_be_bytes([e0, e1]),
        sequence: u64::from_be_bytes([0, 0, s0, s1, s2, s3, s4, s5]),
        fragment: &whole[RECORD_HEADER..],
        whole,
    })
}

/// Adds `offset` to the numbers of all records of epoch 0 in a datagram: nothing protects them there.
pub(super) fn renumber(datagram: &mut [u8], offset: u64) {
    let mut at = 0;
    while let Some(record) = first(&datagram[at..]) {
        let (len, epoch, sequence) = (record.whole.len(), record.epoch, record.sequence);
        if epoch == 0 {
            let number = sequence.wrapping_add(offset).to_be_bytes();
            datagram[at + 5..at + 11].copy_from_slice(&number[2..]);
        }
        at += len;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, epoch: u16, sequence: u8, fragment: &[u8]) -> Vec<u8> {
        let mut bytes = vec![kind, 0xFE, 0xFD];
        bytes.extend_from_slice(&epoch.to_be_bytes());
        bytes.extend_from_slice(&[0, 0, 0, 0, 0, sequence]);
        bytes.extend_from_slice(&u16::try_from(fragment.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(fragment);
        bytes
    }

    #[test]
    fn records_are_read_up_to_the_first_that_is_none() {
        let good = [record(22, 0, 1, b"one"), record(23, 1, 2, b"two")].concat();
        let read = |bytes: &[u8]| records(bytes).map(|record| record.sequence).collect::<Vec<_>>();
        assert_eq!(read(&good), [1, 2]);
        for tail in [&[22][..], &record(22, 0, 3, b"cut")[..14], &[0; 20], &record(22, 0, 3, b"")] {
            assert_eq!(read(&[&good[..], tail].concat()), [1, 2]);
        }
        for len in 0..good.len() {
            assert!(read(&good[..len]).len() <= 1);
        }
    }

    #[test]
    fn only_what_nothing_protects_is_renumbered() {
        let mut bytes = [record(22, 0, 1, b"one"), record(23, 1, 2, b"two"), record(20, 0, 3, b"x")].concat();
        renumber(&mut bytes, 4);
        assert_eq!(records(&bytes).map(|record| record.sequence).collect::<Vec<_>>(), [5, 2, 7]);
        assert_eq!(records(&bytes).map(|record| record.fragment.len()).sum::<usize>(), 7);
    }
}
