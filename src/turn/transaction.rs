//! The transaction ids of Data indications.

use sha2::{Digest as _, Sha256};

use crate::wire::TransactionId;

/// Gives transaction ids that nobody can tell from random ones (RFC 8489 §5): SHA-256 of a secret seed and a counter,
/// two from each block. The same seed gives the same ids, and they say nothing about the seed.
pub(super) struct TransactionIds {
    seed: [u64; 4],
    blocks: u64,
    spare: Option<TransactionId>,
}

impl TransactionIds {
    pub(super) const fn new(seed: [u64; 4]) -> Self {
        Self { seed, blocks: 0, spare: None }
    }

    pub(super) fn next(&mut self) -> TransactionId {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let mut hash = Sha256::new_with_prefix(b"Data indication");
        for word in self.seed {
            hash.update(word.to_be_bytes());
        }
        hash.update(self.blocks.to_be_bytes());
        self.blocks = self.blocks.wrapping_add(1);
        let block: [u8; 32] = hash.finalize().into();
        let (mut first, mut second) = ([0; 12], [0; 12]);
        first.copy_from_slice(&block[..12]);
        second.copy_from_slice(&block[12..24]);
        self.spare = Some(TransactionId(second));
        TransactionId(first)
    }
}
