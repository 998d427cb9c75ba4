//! What is left of the byte budgets of credentials, for all workers. The lock is taken when an allocation begins or ends or
//! has used its share, never for each packet.

use std::collections::{BTreeSet, HashMap};
use std::sync::PoisonError;
#[expect(clippy::disallowed_types, reason = "a budget belongs to all workers")]
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::time::{Now, Timestamp};
use crate::turn::Budget;

/// Credentials that are remembered. One more takes the place of the one that ended longest ago; while none has ended it is not
/// let in: it would have no bounds.
const MOST: usize = 1 << 16;
/// Of those, of one owner.
const MOST_OF_ONE: usize = 64;
/// For how many seconds after its end a credential is remembered: by then its allocations have ended.
const REMEMBERED: u64 = 86_400;
/// For how many seconds its end may be ahead on the monotonic clock: the longest `http.ttl`. A wall clock that was never set
/// would put it off for decades.
const AHEAD: u64 = 172_800;

/// A user name, as the beginning of its SHA-256.
type Name = [u8; 16];

/// See the head of this file.
#[derive(Default)]
pub(super) struct Budgets {
    #[expect(clippy::disallowed_types, reason = "see the head of this file")]
    books: Mutex<Books>,
}

#[derive(Default)]
struct Books {
    left: HashMap<Name, Left>,
    /// Ends and names.
    ends: BTreeSet<(u64, Name)>,
    /// Owners, ends and names.
    owned: BTreeSet<(Name, u64, Name)>,
}

struct Left {
    bytes: u64,
    until: u64,
    /// The same on the monotonic clock, as far off as it was at first. Both have to pass: a wall clock that jumps, and is right
    /// again later, gives no budget twice.
    passes: Timestamp,
    owner: Name,
}

impl Books {
    fn forget(&mut self, name: Name) {
        if let Some(left) = self.left.remove(&name) {
            self.ends.remove(&(left.until, name));
            self.owned.remove(&(left.owner, left.until, name));
        }
    }

    /// Makes room for one more of this owner at `now`. `false`: there is none.
    fn make_room(&mut self, owner: Name, now: Now) -> bool {
        while let Some(&(_, name)) = self.ends.first()
            && self.has_ended(name, REMEMBERED, now)
        {
            self.forget(name);
        }
        let own = self.owned.range((owner, 0, Name::default())..=(owner, u64::MAX, [u8::MAX; 16]));
        if own.clone().count() >= MOST_OF_ONE {
            return self.evict(own.map(|(_, _, name)| *name).next(), now);
        }
        self.left.len() < MOST || self.evict(self.ends.first().map(|(_, name)| *name), now)
    }

    /// Whether it ended `seconds` ago or earlier.
    fn has_ended(&self, name: Name, seconds: u64, now: Now) -> bool {
        self.left.get(&name).is_some_and(|left| {
            left.until.saturating_add(seconds) <= now.unix
                && left.passes + Duration::from_secs(seconds) <= now.mono
        })
    }

    /// Forgets this one, if it has ended.
    fn evict(&mut self, first: Option<Name>, now: Now) -> bool {
        let ended = first.filter(|name| self.has_ended(*name, 0, now));
        ended.map(|name| self.forget(name)).is_some()
    }
}

impl Budgets {
    fn books(&self) -> MutexGuard<'_, Books> {
        // A worker that panicked holding the lock has left numbers.
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes up to `bytes` of what is left. `None`: there is no place for one more.
    pub(super) fn draw(&self, budget: &Budget<'_>, bytes: u64) -> Option<u64> {
        let mut books = self.books();
        let name = name_of(budget.username);
        if !books.left.contains_key(&name) {
            if !budget.begins {
                return Some(0);
            }
            let owner = name_of(budget.owner);
            if !books.make_room(owner, budget.now) {
                return None;
            }
            books.ends.insert((budget.until, name));
            books.owned.insert((owner, budget.until, name));
            let ahead = budget.until.saturating_sub(budget.now.unix).min(AHEAD);
            let passes = budget.now.mono + Duration::from_secs(ahead);
            books.left.insert(name, Left { bytes: budget.total, until: budget.until, passes, owner });
        }
        let left = books.left.get_mut(&name)?;
        let drawn = left.bytes.min(bytes);
        left.bytes -= drawn;
        Some(drawn)
    }

    /// Puts back what has not been used.
    pub(super) fn restore(&self, budget: &Budget<'_>, bytes: u64) {
        if let Some(left) = self.books().left.get_mut(&name_of(budget.username)) {
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

    /// Both clocks as they go together.
    fn budget<'a>(username: &'a str, owner: &'a str, now: u64) -> Budget<'a> {
        let now = Now { mono: Timestamp::after_start(Duration::from_secs(now)), unix: now };
        Budget { username, owner, total: 1000, until: 5000, now, begins: true }
    }

    #[test]
    fn all_draw_from_one_budget() {
        let budgets = Budgets::default();
        let alice = budget("alice", "a", 0);
        assert_eq!(budgets.draw(&Budget { begins: false, ..alice }, 10), Some(0), "nobody has begun");
        assert_eq!(budgets.draw(&alice, 600), Some(600));
        assert_eq!(budgets.draw(&alice, 600), Some(400));
        assert_eq!(budgets.draw(&alice, 1), Some(0));
        assert_eq!(budgets.draw(&budget("bob", "b", 0), 600), Some(600));
        budgets.restore(&alice, 50);
        assert_eq!(budgets.draw(&Budget { begins: false, ..alice }, 600), Some(50));
        budgets.restore(&alice, u64::MAX);
        assert_eq!(budgets.draw(&alice, u64::MAX), Some(1000), "never more than there was");
    }

    #[test]
    fn the_book_is_bounded_and_forgets_what_has_long_ended() {
        let budgets = Budgets::default();
        for number in 0..MOST {
            let name = number.to_string();
            let own = Budget { until: if number == 7 { 4500 } else { 5000 }, ..budget(&name, &name, 4000) };
            assert_eq!(budgets.draw(&own, 1), Some(1));
        }
        let another = |now| budgets.draw(&budget("another", "another", now), 1);
        assert_eq!(another(4499), None, "none has ended");
        assert_eq!(budgets.draw(&budget("0", "0", 4499), 1), Some(1), "who is known goes on");
        assert_eq!(another(4500), Some(1));
        assert!(!budgets.books().left.contains_key(&name_of("7")), "what ended longest ago has given way");
        assert_eq!(budgets.draw(&budget("one more", "one", 5000 + REMEMBERED), 1), Some(1));
        let books = budgets.books();
        assert_eq!((books.left.len(), books.ends.len(), books.owned.len()), (1, 1, 1));
    }

    #[test]
    fn a_wall_clock_that_jumps_and_comes_back_gives_no_budget_twice() {
        let budgets = Budgets::default();
        let alice = budget("alice", "a", 1000);
        assert_eq!(budgets.draw(&alice, u64::MAX), Some(1000));
        let jumped = Now { unix: 5000 + REMEMBERED, ..alice.now };
        assert_eq!(budgets.draw(&Budget { now: jumped, ..budget("bob", "b", 0) }, 1), Some(1));
        assert_eq!(budgets.draw(&alice, 1), Some(0), "it is spent");
        // A clock that was never set does not keep it for ever.
        let unset = Now { unix: 0, ..alice.now };
        let far = Budget { now: unset, until: 1 << 40, ..budget("carol", "c", 0) };
        assert_eq!(budgets.draw(&far, 1), Some(1));
        let later = alice.now.mono + Duration::from_secs(AHEAD);
        assert!(budgets.books().has_ended(name_of("carol"), 0, Now { mono: later, unix: 1 << 40 }));
    }

    #[test]
    fn one_owner_has_a_share_of_the_places() {
        let budgets = Budgets::default();
        for number in 0..MOST_OF_ONE {
            assert_eq!(budgets.draw(&budget(&number.to_string(), "alice", 0), 1), Some(1));
        }
        assert_eq!(budgets.draw(&budget("another", "alice", 0), 1), None);
        assert_eq!(budgets.draw(&budget("another", "bob", 0), 1), Some(1));
        assert_eq!(budgets.draw(&budget("one more", "alice", 5000), 1), Some(1), "one has ended");
        assert_eq!(budgets.books().left.len(), MOST_OF_ONE + 1);
    }
}
