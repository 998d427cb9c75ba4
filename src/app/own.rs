//! Keeps the peer policy up with the addresses of this machine, which come and go while the server runs.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::wiring::{self, Keys};
use crate::config::Settings;
use crate::net::{self, Handle, RelayAddress};

/// How often the machine is asked for its addresses.
const POLL: Duration = Duration::from_secs(5);

/// The addresses that the workers' policy knows of.
pub(super) struct OwnAddresses {
    known: Vec<IpAddr>,
    ticks: Interval,
}

impl OwnAddresses {
    /// To be called before the workers are told a policy: what changes in between is noticed then.
    pub(super) fn read() -> Self {
        let mut ticks = interval(POLL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Without a list every address is news, and is asked for again.
        Self { known: net::own_addresses().unwrap_or_default(), ticks }
    }

    /// Waits until the addresses have changed, and gives the workers a policy that knows them. Can be given up and called
    /// again: a change that has not reached all workers is found anew.
    pub(super) async fn follow(
        &mut self,
        settings: &watch::Receiver<Arc<Settings>>,
        handle: &Handle,
        keys: &Keys,
        relay: &[RelayAddress],
    ) {
        let now = self.changed(net::own_addresses).await;
        let settings = Arc::clone(&settings.borrow());
        match wiring::turn_settings(&settings, relay, keys) {
            Ok(turn) => {
                let limits = &settings.limits;
                handle.configure(turn, limits.allocations_per_user, limits.streams_per_address).await;
                tracing::info!(
                    target: "relais",
                    came = list(&now, &self.known),
                    went = list(&self.known, &now),
                    "the addresses of this machine have changed; the peer policy knows them"
                );
                self.known = now;
            }
            Err(error) => {
                tracing::error!(target: "relais", %error, "the addresses of this machine have changed, but the peer policy has not");
            }
        }
    }

    /// Asks again and again, until the answer is another one.
    async fn changed<E>(&mut self, ask: impl Fn() -> Result<Vec<IpAddr>, E>) -> Vec<IpAddr> {
        loop {
            self.ticks.tick().await;
            // A machine that does not answer now may do so next time.
            if let Ok(now) = ask()
                && now != self.known
            {
                return now;
            }
        }
    }
}

/// Those of `all` that `others` lacks.
fn list(all: &[IpAddr], others: &[IpAddr]) -> String {
    let missing = all.iter().filter(|ip| !others.contains(ip)).map(ToString::to_string);
    missing.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::convert::Infallible;

    use super::*;

    #[tokio::test]
    async fn an_address_that_appears_later_is_noticed_at_the_next_look() {
        let old: IpAddr = "8.34.2.1".parse().unwrap();
        let new: IpAddr = "8.34.3.9".parse().unwrap();
        let mut own = OwnAddresses { known: vec![old], ticks: interval(Duration::from_millis(1)) };
        let looks = Cell::new(0);
        let ask = || {
            looks.set(looks.get() + 1);
            match looks.get() {
                1 => Ok(vec![old]),
                2 => Err("not now"),
                _ => Ok(vec![old, new]),
            }
        };
        assert_eq!(own.changed(ask).await, [old, new]);
        assert_eq!(looks.get(), 3);
        assert_eq!(
            (list(&[old, new], &[old]), list(&[old], &[old, new])),
            ("8.34.3.9".to_owned(), String::new())
        );
        // Until the workers have been told, it is a change.
        assert_eq!(own.changed(|| Ok::<_, Infallible>(vec![old, new])).await, [old, new]);
    }
}
