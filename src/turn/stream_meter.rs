//! The same for the data connections of a TCP allocation (RFC 6062). Their bytes do not come by the core, so whoever carries
//! them asks here before each read. Nothing of a stream can be dropped: who is too fast reads later.

use core::time::Duration;
use std::sync::Arc;

use super::Budget;
use super::meter::Meter;
use crate::auth::Login;
use crate::time::{Now, Timestamp};

/// When to ask again while others hold the last of a budget.
const SHORTLY: Duration = Duration::from_millis(10);

/// What a credential's policy leaves an allocation for TCP: one for all directions of all of its connections.
#[derive(Debug)]
pub struct StreamMeter {
    meter: Box<Meter>,
    /// Whose budget it draws on: the user name, what quotas count, and when the credential ends.
    username: Arc<str>,
    owner: Arc<str>,
    until: u64,
    /// Bytes that readers have leave for and have not answered for.
    lent: u64,
    /// The allocation has ended.
    closed: bool,
}

/// Where one direction of a connection stands among those that share a rate. After each read it waits until all that had
/// been read by then has had its time, and then it may read, whatever others have read meanwhile: nobody starves, and each
/// is one piece ahead at most.
#[derive(Clone, Copy, Debug, Default)]
pub struct Turn(Option<Timestamp>);

/// What becomes of a wish to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// So many bytes, at most, may be read now; [`StreamMeter::settle`] has to follow.
    Read(usize),
    /// Not before so much time has passed.
    Wait(Duration),
    /// The budget is used up: the connection is to be closed, as [`ConnectionEnd::BudgetSpent`](super::ConnectionEnd).
    Spent,
}

impl StreamMeter {
    pub(super) fn new(meter: Box<Meter>, login: &Login) -> Self {
        Self {
            meter,
            username: login.user_shared(),
            owner: login.owner_shared(),
            until: login.expires().unwrap_or(0),
            lent: 0,
            closed: false,
        }
    }

    /// Asks for a read of `most` bytes, one at least. `draw` takes so many bytes out of the budget, as
    /// [`RelaySockets::draw`](super::RelaySockets::draw) does; it is asked for now and then.
    pub fn ask(
        &mut self,
        now: &Now,
        turn: &mut Turn,
        most: usize,
        draw: impl FnOnce(Budget<'_>, u64) -> Option<u64>,
    ) -> Leave {
        if self.closed {
            return Leave::Wait(SHORTLY);
        }
        let mut most = most as u64;
        if let Some(rate) = &self.meter.rate {
            let wait = rate.wait(now.mono, *turn.0.get_or_insert_with(|| rate.empty_at()));
            if !wait.is_zero() {
                return Leave::Wait(wait);
            }
            most = most.min(rate.piece());
        }
        let total = self.meter.budget;
        if let Some(share) = &mut self.meter.share {
            if *share < Meter::LEAST {
                let (username, owner, until, now) = (&*self.username, &*self.owner, self.until, *now);
                let budget = Budget { username, owner, total, until, now, begins: false };
                *share += draw(budget, Meter::portion(total, 0)).unwrap_or(0);
            }
            most = most.min(*share);
            if most == 0 {
                // What others do not read comes back.
                return if self.lent > 0 { Leave::Wait(SHORTLY) } else { Leave::Spent };
            }
            *share -= most;
            self.lent += most;
        }
        Leave::Read(usize::try_from(most).unwrap_or(usize::MAX))
    }

    /// `read` bytes of those in [`Leave::Read`] have been read.
    pub fn settle(&mut self, now: &Now, turn: &mut Turn, leave: usize, read: usize) {
        let (leave, read) = (leave as u64, read as u64);
        if read > 0
            && let Some(rate) = &mut self.meter.rate
        {
            rate.owe(now.mono, read);
            turn.0 = Some(rate.empty_at());
        }
        if let Some(share) = &mut self.meter.share {
            self.lent = self.lent.saturating_sub(leave);
            *share += leave.saturating_sub(read);
        }
    }

    /// Nobody reads any more. Returns what is left of what has been drawn.
    pub fn close(&mut self) -> u64 {
        self.closed = true;
        self.meter.share.as_mut().map_or(0, core::mem::take)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Policy;

    fn meter(policy: &str, share: u64) -> StreamMeter {
        let meter = Meter::of(Some(&Policy::parse(policy).unwrap()), share).unwrap();
        let (username, owner) = ("5000:alice".into(), "alice".into());
        StreamMeter { meter, username, owner, until: 5000, lent: 0, closed: false }
    }

    fn at(millis: u64) -> Now {
        Now { mono: Timestamp::after_start(Duration::from_millis(millis)), unix: 0 }
    }

    /// What one who always reads all it may reads until then, looking once a millisecond, beginning at the first turn.
    fn read(meter: &mut StreamMeter, turns: &mut [Turn], millis: core::ops::Range<u64>) -> Vec<usize> {
        let mut read = vec![0; turns.len()];
        for now in millis.map(at) {
            for (turn, read) in turns.iter_mut().zip(&mut read) {
                while let Leave::Read(len) = meter.ask(&now, turn, 18_000, |_, _| None) {
                    meter.settle(&now, turn, len, len);
                    *read += len;
                }
            }
        }
        read
    }

    #[test]
    fn the_rate_is_that_of_all_directions_together_and_each_has_its_part() {
        // 1 Mbit/s: 125 bytes in each millisecond, and a burst of 31,250.
        let mut meter = meter("rate=1000000", 0);
        let mut turns = [Turn::default(); 4];
        let all = read(&mut meter, &mut turns, 1000..11_000);
        let sum: usize = all.iter().sum();
        assert!((1_250_000..=1_250_000 + 31_250 + 4 * 8000).contains(&sum), "{sum}");
        assert!(all.iter().all(|one| one.abs_diff(sum / 4) < 50_000), "{all:?}");
    }

    #[test]
    fn a_low_rate_reads_packets_and_not_bytes() {
        let mut meter = meter("rate=8000", 0);
        let mut turn = Turn::default();
        for _ in 0..4 {
            assert_eq!(meter.ask(&at(0), &mut turn, 18_000, |_, _| None), Leave::Read(1500));
            meter.settle(&at(0), &mut turn, 1500, 1500);
        }
        assert_eq!(meter.ask(&at(0), &mut turn, 18_000, |_, _| None), Leave::Read(1500), "one ahead");
        meter.settle(&at(0), &mut turn, 1500, 1500);
        let wait = Duration::from_millis(1500);
        assert_eq!(meter.ask(&at(0), &mut turn, 18_000, |_, _| None), Leave::Wait(wait));
    }

    #[test]
    fn a_new_connection_waits_for_what_others_have_read() {
        let mut meter = meter("rate=1000000", 0);
        let mut sum = 0;
        for round in 0..1000 {
            sum += read(&mut meter, &mut [Turn::default()], round * 10..round * 10 + 1)[0];
        }
        assert!((1_200_000..=1_250_000 + 31_250 + 8000).contains(&sum), "{sum}");
    }

    #[test]
    fn what_is_read_is_paid_and_the_rest_comes_back() {
        let mut meter = meter("bytes=100000", 2000);
        let (mut one, mut two) = (Turn::default(), Turn::default());
        assert_eq!(meter.ask(&at(0), &mut one, 9000, |_, _| None), Leave::Read(2000));
        assert_eq!(
            meter.ask(&at(0), &mut two, 9000, |_, _| Some(0)),
            Leave::Wait(SHORTLY),
            "it is not spent yet"
        );
        meter.settle(&at(0), &mut one, 2000, 300);
        assert_eq!(meter.ask(&at(0), &mut two, 9000, |_, _| Some(0)), Leave::Read(1700));
        meter.settle(&at(0), &mut two, 1700, 1700);
        let drawn = |budget: Budget<'_>, bytes| {
            assert_eq!((budget.username, budget.total, budget.begins), ("5000:alice", 100_000, false));
            assert_eq!(bytes, 6250);
            Some(6250)
        };
        assert_eq!(meter.ask(&at(0), &mut two, 1000, drawn), Leave::Read(1000));
        meter.settle(&at(0), &mut two, 1000, 0);
        assert_eq!(meter.close(), 6250);
        assert_eq!(meter.ask(&at(0), &mut two, 1000, |_, _| Some(1)), Leave::Wait(SHORTLY), "for its end");
    }

    #[test]
    fn a_budget_is_used_to_the_last_byte() {
        let mut meter = meter("bytes=100000", 3);
        let mut turn = Turn::default();
        assert_eq!(meter.ask(&at(0), &mut turn, 9000, |_, _| Some(4)), Leave::Read(7));
        meter.settle(&at(0), &mut turn, 7, 7);
        assert_eq!(meter.ask(&at(0), &mut turn, 9000, |_, _| Some(0)), Leave::Spent);
    }
}
