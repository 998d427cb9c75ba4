//! A map for few entries, packed: what an allocation keeps of its peers.

use core::mem;

/// So many are looked at one after the other, which takes less than halving does.
const FEW: usize = 8;

/// Keys in their order, each with its value, without room to spare for the first of them: most allocations have one peer
/// or two, and a table of hashes costs more than they do. Of 1,024 entries, the most there may be by default, ten are
/// looked at to find one.
pub(super) struct Sorted<K, V> {
    entries: Vec<(K, V)>,
}

impl<K, V> Default for Sorted<K, V> {
    fn default() -> Self {
        Self { entries: Vec::new() }
    }
}

impl<K: Ord, V> Sorted<K, V> {
    fn place(&self, key: &K) -> Result<usize, usize> {
        self.entries.binary_search_by(|(other, _)| other.cmp(key))
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        if self.entries.len() <= FEW {
            return self.entries.iter().find(|(other, _)| other == key).map(|(_, value)| value);
        }
        self.place(key).ok().and_then(|at| self.entries.get(at)).map(|(_, value)| value)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &(K, V)> {
        self.entries.iter()
    }

    pub(super) fn contains(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    /// Returns what the key had before.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self.place(&key) {
            Ok(at) => self.entries.get_mut(at).map(|(_, old)| mem::replace(old, value)),
            Err(at) => {
                let count = self.entries.len();
                if count == self.entries.capacity() {
                    self.entries.reserve_exact(count.max(1));
                }
                self.entries.insert(at, (key, value));
                None
            }
        }
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let at = self.place(key).ok()?;
        let (_, value) = self.entries.remove(at);
        self.shrink();
        Some(value)
    }

    pub(super) fn retain(&mut self, mut keep: impl FnMut(&K, &V) -> bool) {
        self.entries.retain(|(key, value)| keep(key, value));
        self.shrink();
    }

    /// Gives memory back when three quarters of it stand empty.
    fn shrink(&mut self) {
        let count = self.entries.len();
        if count * 4 <= self.entries.capacity() {
            self.entries.shrink_to(count);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_map(steps in proptest::collection::vec((0u8..3, 0u8..40, any::<u16>()), 0..200)) {
            let (mut sorted, mut model) = (Sorted::default(), BTreeMap::new());
            for (what, key, value) in steps {
                match what {
                    0 => prop_assert_eq!(sorted.insert(key, value), model.insert(key, value)),
                    1 => prop_assert_eq!(sorted.remove(&key), model.remove(&key)),
                    _ => {
                        sorted.retain(|other, kept| other % 5 != key % 5 && kept % 2 == 0);
                        model.retain(|other, kept| *other % 5 != key % 5 && *kept % 2 == 0);
                    }
                }
                prop_assert_eq!(sorted.len(), model.len());
                prop_assert!((0..40).all(|key| sorted.get(&key) == model.get(&key)));
            }
        }
    }

    #[test]
    fn it_has_no_room_to_spare_for_one_and_gives_back_what_many_needed() {
        let mut sorted = Sorted::default();
        sorted.insert(0, ());
        assert_eq!(sorted.entries.capacity(), 1);
        for key in 1..1000 {
            sorted.insert(key, ());
        }
        sorted.retain(|key, ()| *key < 10);
        assert_eq!(sorted.entries.capacity(), 10);
        for key in 0..10 {
            sorted.remove(&key);
        }
        assert_eq!(sorted.entries.capacity(), 0);
    }
}
