//! The transaction ids of Data indications.

use chacha20::ChaCha12Rng;
use chacha20::rand_core::{Rng as _, SeedableRng as _};
use sha2::{Digest as _, Sha256};

use crate::wire::TransactionId;

/// Ids that are made at once.
const STOCK: usize = 64;

/// Gives transaction ids that nobody can tell from random ones (RFC 8489 §5): the stream of ChaCha12 under a secret key.
/// The same seed gives the same ids, and they say nothing about the seed.
pub(super) struct TransactionIds {
    generator: ChaCha12Rng,
    stock: [[u8; 12]; STOCK],
    /// How many of the stock have been given out.
    given: usize,
}

impl TransactionIds {
    pub(super) fn new(seed: [u64; 4]) -> Self {
        // The seed also keys the hash tables, which are not made to keep it secret from their answers.
        let mut key = Sha256::new_with_prefix(b"Data indication");
        for word in seed {
            key.update(word.to_be_bytes());
        }
        let generator = ChaCha12Rng::from_seed(key.finalize().into());
        Self { generator, stock: [[0; 12]; STOCK], given: STOCK }
    }

    #[inline]
    pub(super) fn next(&mut self) -> TransactionId {
        if self.given >= STOCK {
            self.refill();
        }
        let id = TransactionId(self.stock[self.given % STOCK]);
        self.given += 1;
        id
    }

    #[cold]
    fn refill(&mut self) {
        self.generator.fill_bytes(self.stock.as_flattened_mut());
        self.given = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_ids_and_none_comes_twice() {
        let many = |seed| {
            let mut ids = TransactionIds::new(seed);
            (0..10 * STOCK).map(|_| ids.next().0).collect::<Vec<_>>()
        };
        let ids = many([1, 2, 3, 4]);
        assert_eq!(ids, many([1, 2, 3, 4]));
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 10 * STOCK);
        assert!(many([1, 2, 3, 5]).iter().all(|other| !ids.contains(other)));
    }
}
