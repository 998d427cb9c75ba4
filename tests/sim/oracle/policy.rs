//! What the policies of credentials allow: peers, allocations, and what may be relayed in which time. Of the book of budgets
//! the pool of the cluster knows, since whoever owns the sockets keeps it; who draws on it when, is said here.

use relais::turn::Leave;

use super::*;

/// What the server lets run ahead of a rate: a quarter of a second, and four full packets at least.
const BURST_NANOS: u64 = 250_000_000;
const BURST_BYTES: u64 = 6000;
/// With less of a budget than a full packet no allocation begins.
const LEAST: u64 = 1500;

/// What stands behind the mark in a user name.
#[derive(Clone, Default)]
pub(super) struct Terms {
    pub(super) rate: Option<u64>,
    pub(super) bytes: Option<u64>,
    pub(super) allocations: Option<u32>,
    peers: Vec<(IpAddr, u8)>,
}

impl Terms {
    pub(super) fn of(user: &str) -> Self {
        let mut terms = Self::default();
        let Some((_, policy)) = user.split_once("?policy&") else { return terms };
        for field in policy.split('&') {
            match field.split_once('=').expect("the simulation writes whole policies") {
                ("rate", value) => terms.rate = value.parse().ok(),
                ("bytes", value) => terms.bytes = value.parse().ok(),
                ("allocations", value) => terms.allocations = value.parse().ok(),
                ("peers", value) => terms.peers.extend(value.split(',').map(|network| {
                    let (ip, prefix) = network.split_once('/').expect("with a prefix");
                    (ip.parse::<IpAddr>().expect("an address"), prefix.parse().expect("a number"))
                })),
                _ => {}
            }
        }
        terms
    }

    pub(super) fn reaches(&self, ip: IpAddr) -> bool {
        self.peers.is_empty() || self.peers.iter().any(|network| judge::within(network, ip))
    }
}

/// The account of one allocation.
pub(super) struct Account {
    rate: Option<u64>,
    /// When the rate has caught up.
    empty: Micros,
    /// What it has drawn and not used; `None`: it needs no budget.
    share: Option<u64>,
}

/// What is known of a credential's budget.
#[derive(Default)]
pub(super) struct Ledger {
    drawn: u64,
    paid: u64,
    /// What was gone with a worker.
    lost: u64,
}

/// What has to become of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Toll {
    Paid,
    Rate,
    Budget,
}

impl Account {
    pub(super) fn of(terms: &Terms, share: u64) -> Option<Self> {
        let share = terms.bytes.map(|_| share);
        (terms.rate.is_some() || share.is_some()).then_some(Self { rate: terms.rate, empty: 0, share })
    }

    fn burst(rate: u64) -> u64 {
        BURST_NANOS.max(BURST_BYTES * 8_000_000_000 / rate)
    }

    fn is_ahead(&self, at: Micros, empty: Micros) -> bool {
        self.rate.is_some_and(|rate| empty.saturating_sub(at) * 1000 > Self::burst(rate))
    }

    fn empty_after(&self, at: Micros, len: u64) -> Micros {
        self.rate.map_or(0, |rate| self.empty.max(at) + len * 8_000_000_000 / rate / 1000)
    }
}

impl Oracle {
    /// What has been drawn on a budget since somebody looked last.
    fn drawn(&mut self, user: &str, pool: &Pool) -> u64 {
        let ledger = self.ledgers.entry(user.to_owned()).or_default();
        let drawn = pool.book(user).map_or(0, |book| book.drawn);
        drawn - std::mem::replace(&mut ledger.drawn, drawn)
    }

    /// An Allocate has succeeded or failed: what the new allocation begins with, and whether its budget is spent.
    pub(super) fn first_share(&mut self, user: &str, terms: &Terms, made: bool, pool: &Pool) -> (u64, bool) {
        let share = self.drawn(user, pool);
        let Some(total) = terms.bytes else { return (0, false) };
        let left = pool.book(user).map_or(total, |book| book.left);
        let spent = if made { share } else { left } < LEAST.min(total);
        (share, spent)
    }

    /// What has to become of a packet that may pass otherwise; if it passes, it has paid.
    fn toll(&mut self, at: Micros, number: u64, len: u64, pool: &Pool) -> Toll {
        let Some(user) = self.allocations.get(&number).map(|held| held.user.clone()) else {
            return Toll::Paid;
        };
        let drawn = self.drawn(&user, pool);
        let left = pool.book(&user).map_or(0, |book| book.left);
        let Some(held) = self.allocations.get_mut(&number) else { return Toll::Paid };
        let Some(account) = &mut held.account else { return Toll::Paid };
        if let Some(share) = &mut account.share {
            *share += drawn;
            if *share < len {
                if left > 0 {
                    self.fail("budget", format!("{user} has drawn too little, {left} bytes are left"));
                }
                return Toll::Budget;
            }
        }
        let empty = account.empty_after(at, len);
        if account.is_ahead(at, empty) {
            return Toll::Rate;
        }
        account.empty = empty;
        if let Some(share) = &mut account.share {
            *share -= len;
            self.ledgers.entry(user).or_default().paid += len;
        }
        Toll::Paid
    }

    /// Compares what became of a packet that may pass otherwise with what its credential allows. `dropped` is why it did not
    /// pass, if it did not. Whether it was the credential.
    pub(super) fn tolled(
        &mut self,
        at: Micros,
        number: u64,
        len: usize,
        dropped: Option<DropReason>,
        pool: &Pool,
    ) -> bool {
        let toll = self.toll(at, number, len as u64, pool);
        let became = match dropped {
            None => Toll::Paid,
            Some(DropReason::Rate) => Toll::Rate,
            Some(DropReason::Budget) => Toll::Budget,
            Some(_) => return false,
        };
        if became != toll {
            self.fail("policy", format!("{toll:?} was due for {len} bytes, not {became:?}"));
        }
        match toll {
            Toll::Paid => return false,
            Toll::Rate => self.count("above the rate"),
            Toll::Budget => {
                self.count("budget spent");
                // Nothing passes from now on, and the next timer closes it.
                let relays = self.allocations.get_mut(&number).into_iter().flat_map(|held| &mut held.relays);
                relays.for_each(|relay| relay.1 = relay.1.min(at));
            }
        }
        true
    }

    /// Somebody who carries bytes of a connection asked for leave to read `most`, and has read as much as it got.
    pub fn carried(&mut self, at: Micros, id: ConnectionId, most: usize, leave: Leave, pool: &Pool) {
        let Some(number) = self.connections.get(&id).map(Connection::of) else { return };
        let Some(user) = self.allocations.get(&number).map(|held| held.user.clone()) else {
            return self.fail("policy", format!("{leave:?} for an allocation that is over"));
        };
        let drawn = self.drawn(&user, pool);
        let left = pool.book(&user).map_or(0, |book| book.left);
        let held = self.allocations.get_mut(&number).expect("it is there");
        let Some(account) = &mut held.account else {
            return self.fail("policy", format!("{user} has nothing that is metered, but {leave:?}"));
        };
        let ahead = account.is_ahead(at, account.empty);
        let share = account.share.map(|share| share + drawn);
        account.share = share;
        let right = match leave {
            Leave::Wait(_) => ahead,
            Leave::Spent => !ahead && share == Some(0) && left == 0,
            Leave::Read(len) => {
                !ahead && (1..=most).contains(&len) && share.is_none_or(|share| share >= len as u64)
            }
        };
        if !right {
            return self
                .fail("policy", format!("{leave:?} for {most} bytes of {user} with {share:?}, {ahead}"));
        }
        match leave {
            Leave::Wait(_) => self.count("a connection waits"),
            Leave::Read(len) => {
                account.empty = account.empty_after(at, len as u64);
                if let Some(share) = &mut account.share {
                    *share -= len as u64;
                    self.ledgers.entry(user).or_default().paid += len as u64;
                }
                self.count("carried");
            }
            Leave::Spent => {
                self.allocations.remove(&number);
                self.count("budget of a connection spent");
            }
        }
    }

    /// The shares of a worker's allocations are gone with it.
    pub(super) fn lose_shares(&mut self, worker: usize) {
        for held in self.allocations.values().filter(|held| held.worker == worker) {
            let share = held.account.as_ref().and_then(|account| account.share).unwrap_or(0);
            self.ledgers.entry(held.user.clone()).or_default().lost += share;
        }
    }

    /// When no timer is due: what has been taken out of a budget was used, or somebody who lives has it.
    pub(super) fn audit_budgets(&mut self, pool: &Pool) {
        for (user, book) in pool.books() {
            let own = self.allocations.values().filter(|held| held.user == user);
            let shares: u64 = own.filter_map(|held| held.account.as_ref()?.share).sum();
            let ledger = self.ledgers.entry(user.clone()).or_default();
            let due = ledger.paid + ledger.lost + shares;
            if book.drawn - book.restored != due {
                let (drawn, restored) = (book.drawn, book.restored);
                self.fail(
                    "budget",
                    format!("of {user} {drawn} were drawn and {restored} restored, for {due}"),
                );
            }
        }
    }
}
