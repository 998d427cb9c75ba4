//! Whether a server stands still while clients wait for it.

use std::time::Duration;

use super::super::clock::nanoseconds;

/// A request that is older than this is overdue; when none is answered for so long, the server stands still.
pub(super) const OVERDUE: Duration = Duration::from_secs(1);

/// Which clients wait, and since when none of them has heard anything. Times are in nanoseconds.
pub(super) struct Stall {
    /// Of each client, since when it waits for an answer.
    waiting: Vec<Option<u64>>,
    count: usize,
    /// When an answer came last, or when somebody began to wait and nobody else did.
    heard: u64,
    longest: u64,
}

impl Stall {
    /// Of so many clients.
    pub(super) fn new(clients: usize) -> Self {
        Self { waiting: vec![None; clients], count: 0, heard: 0, longest: 0 }
    }

    /// From now on it counts.
    pub(super) const fn begin(&mut self, now: u64) {
        (self.heard, self.longest) = (now, 0);
    }

    /// A client has asked for something.
    pub(super) fn ask(&mut self, client: usize, now: u64) {
        if self.count == 0 {
            self.heard = now;
        }
        if let Some(waiting) = self.waiting.get_mut(client)
            && waiting.replace(now).is_none()
        {
            self.count += 1;
        }
    }

    /// It has been answered, or it waits no more.
    pub(super) fn end(&mut self, client: usize, now: u64, is_answered: bool) {
        self.longest = self.longest(now);
        if is_answered {
            self.heard = now;
        }
        if let Some(waiting) = self.waiting.get_mut(client)
            && waiting.take().is_some()
        {
            self.count -= 1;
        }
    }

    /// The longest time in which somebody waited and nobody was answered.
    pub(super) fn longest(&self, now: u64) -> u64 {
        let current = if self.count > 0 { now.saturating_sub(self.heard) } else { 0 };
        self.longest.max(current)
    }

    /// Clients that wait for longer than an answer takes.
    pub(super) fn overdue(&self, now: u64) -> usize {
        let since = |asked: u64| now.saturating_sub(asked);
        self.waiting.iter().flatten().filter(|asked| since(**asked) > nanoseconds(OVERDUE)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn one_that_waits_while_others_are_answered_is_overdue_and_no_standstill() {
        let mut stall = Stall::new(2);
        stall.begin(0);
        stall.ask(0, 0);
        for half in 1..=6 {
            let now = half * SECOND / 2;
            stall.ask(1, now - 1);
            stall.end(1, now, true);
        }
        assert_eq!((stall.overdue(3 * SECOND), stall.overdue(SECOND)), (1, 0));
        assert_eq!(stall.longest(3 * SECOND), SECOND / 2);
    }

    #[test]
    fn a_standstill_lasts_until_an_answer_comes() {
        let mut stall = Stall::new(2);
        stall.ask(0, SECOND);
        stall.end(0, 2 * SECOND, true);
        // Nobody waits, so nobody is kept waiting.
        stall.ask(0, 10 * SECOND);
        assert_eq!(stall.longest(10 * SECOND), SECOND);
        // What is given up and asked anew waits on.
        stall.ask(1, 11 * SECOND);
        stall.end(0, 13 * SECOND, false);
        stall.ask(0, 13 * SECOND);
        assert_eq!(stall.longest(14 * SECOND), 4 * SECOND);
        stall.end(1, 15 * SECOND, true);
        assert_eq!(stall.longest(15 * SECOND), 5 * SECOND);
        stall.begin(16 * SECOND);
        assert_eq!(stall.longest(17 * SECOND), SECOND);
    }
}
