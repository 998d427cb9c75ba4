//! What is left of the byte budgets of credentials, for all workers. The lock is taken when an allocation begins or ends or
//! has used its share, never for each packet.

use std::collections::HashMap;
use std::sync::PoisonError;
#[expect(clippy::disallowed_types, reason = "a budget belongs to all workers")]
use std::sync::{Mutex, MutexGuard};

use sha2::{Digest as _, Sha256};

use crate::turn::Budget;

/// Credentials that are remembered. One more is not let in: it would have no bounds.
const MOST: usize = 1 << 16;
/// For how many seconds after its end a credential is remembered: by then its allocations have ended.
const REMEMBERED: u64 = 86_400;

/// A user name, as the beginning of its SHA-256.
type Name = [u8; 16];

/// See the head of this file.
#[derive(Default)]
pub(super) struct Budgets {
    #[expect(clippy::disallowed_types, reason = "see the head of this file")]
    left: Mutex<HashMap<Name, Left>>,
}

struct Left {
    bytes: u64,
    until: u64,
}

impl Budgets {
    fn books(&self) -> MutexGuard<'_, HashMap<Name, Left>> {
        // A worker that panicked holding the lock has left numbers.
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes up to `bytes` of what is left.
    pub(super) fn draw(&self, budget: &Budget<'_>, bytes: u64) -> u64 {
        let mut books = self.books();
        let name = name_of(budget.username);
        if !books.contains_key(&name) {
            if !budget.begins {
                return 0;
            }
            if books.len() >= MOST {
                books.retain(|_, left| left.until.saturating_add(REMEMBERED) > budget.now);
            }
            if books.len() >= MOST {
                return 0;
            }
        }
        let left = books.entry(name).or_insert(Left { bytes: budget.total, until: budget.until });
        let drawn = left.bytes.min(bytes);
        left.bytes -= drawn;
        drawn
    }

    /// Puts back what has not been used.
    pub(super) fn restore(&self, budget: &Budget<'_>, bytes: u64) {
        if let Some(left) = self.books().get_mut(&name_of(budget.username)) {
            left.bytes = left.bytes.saturating_add(bytes).min(budget.total);
        }
    }
}

fn name_of(username: &str) -> Name {
    let mut name = Name::default();
    name.copy_from_slice(&Sha256::digest(username.as_bytes())[..16]);
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn budget(username: &str, now: u64) -> Budget<'_> {
        Budget { username, total: 1000, until: 5000, now, begins: true }
    }

    #[test]
    fn all_draw_from_one_budget() {
        let budgets = Budgets::default();
        let alice = budget("alice", 0);
        assert_eq!(budgets.draw(&Budget { begins: false, ..alice }, 10), 0, "nobody has begun");
        assert_eq!(budgets.draw(&alice, 600), 600);
        assert_eq!(budgets.draw(&alice, 600), 400);
        assert_eq!(budgets.draw(&alice, 1), 0);
        assert_eq!(budgets.draw(&budget("bob", 0), 600), 600);
        budgets.restore(&alice, 50);
        assert_eq!(budgets.draw(&Budget { begins: false, ..alice }, 600), 50);
        budgets.restore(&alice, u64::MAX);
        assert_eq!(budgets.draw(&alice, u64::MAX), 1000, "never more than there was");
    }

    #[test]
    fn the_book_is_bounded_and_forgets_what_has_long_ended() {
        let budgets = Budgets::default();
        for number in 0..MOST {
            assert_eq!(budgets.draw(&budget(&number.to_string(), 5000), 1), 1);
        }
        assert_eq!(budgets.draw(&budget("another", 5000), 1), 0);
        assert_eq!(budgets.draw(&budget("0", 5000), 1), 1, "who is known goes on");
        assert_eq!(budgets.draw(&budget("another", 5000 + REMEMBERED), 1), 1);
        assert_eq!(budgets.books().len(), 1);
    }
}
