//! The transaction ids of Data indications.

use chacha20::ChaCha12Rng;
use chacha20::rand_core::{Rng as _, SeedableRng as _};
use sha2::{Digest as _, Sha256};

use crate::wire::TransactionId;

/// Ids that are made at once.
const STOCK: usize = 64;
/// Length of an id in bytes.
const LEN: usize = 12;

/// Gives transaction ids that nobody can tell from random ones (RFC 8489 §5): the stream of ChaCha12 under a secret key.
/// The same seed gives the same ids, and they say nothing about the seed.
pub(super) struct TransactionIds {
    generator: ChaCha12Rng,
    stock: [u8; STOCK * LEN],
    /// Where in the stock the next id begins.
    next: usize,
}

impl TransactionIds {
    pub(super) fn new(seed: [u64; 4]) -> Self {
        // The seed also keys the hash tables, which are not made to keep it secret from their answers.
        let mut key = Sha256::new_with_prefix(b"Data indication");
        for word in seed {
            key.update(word.to_be_bytes());
        }
        let generator = ChaCha12Rng::from_seed(key.finalize().into());
        Self { generator, stock: [0; STOCK * LEN], next: STOCK * LEN }
    }

    pub(super) fn next(&mut self) -> TransactionId {
        loop {
            let id = self.stock.get(self.next..).and_then(|rest| rest.first_chunk());
            if let Some(id) = id {
                self.next += LEN;
                return TransactionId(*id);
            }
            self.generator.fill_bytes(&mut self.stock);
            self.next = 0;
        }
    }
}
