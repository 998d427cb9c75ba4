//! The echo: datagrams of several sizes to a peer that sends them back.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::{LONGEST, Relay, TRIAL_LIMIT};
use crate::probe::report::{Step, milliseconds};
use crate::probe::session::Relayed;

/// The sizes of the echo's datagrams in bytes, in turn, and how many there are in all.
pub(super) const SIZES: [usize; 5] = [32, 160, 500, 1_000, 1_200];
const DATAGRAMS: usize = 20;

/// Between two of them.
pub(super) const PACE: Duration = Duration::from_millis(20);

/// Losses that are no finding: wireless networks have them.
const TOLERATED: usize = 1;

impl Relay<'_> {
    /// Many datagrams of several sizes.
    pub(super) async fn echo(&mut self, peer: SocketAddr, limit: Duration) -> Step {
        self.session.begin();
        let mut sent: Vec<Instant> = Vec::new();
        let mut trips: [Option<Duration>; DATAGRAMS] = [None; DATAGRAMS];
        let mut buffer = [0; LONGEST];
        while sent.len() < DATAGRAMS || trips.contains(&None) {
            let until = match sent.len() {
                DATAGRAMS => sent.last().map_or_else(Instant::now, |last| *last + limit.min(2 * TRIAL_LIMIT)),
                number => {
                    let payload = self.payload(u32::try_from(number).unwrap_or_default(), size(number));
                    sent.push(Instant::now());
                    let relayed = Relayed::clone(&self.relayed);
                    // What cannot be sent counts as lost.
                    let _ = self.session.within(limit, relayed.send_to(&payload, peer)).await;
                    Instant::now() + PACE
                }
            };
            let is_end = sent.len() == DATAGRAMS;
            loop {
                tokio::select! {
                    received = self.relayed.recv_from(&mut buffer) => {
                        let Ok((length, from)) = received else { break };
                        let number = buffer.get(..length).filter(|_| from == peer).and_then(|it| self.number(it));
                        if let Some(number) = number
                            && let (Some(trip), Some(sent)) = (trips.get_mut(number), sent.get(number))
                        {
                            *trip = trip.or(Some(sent.elapsed()));
                        }
                        if is_end && !trips.contains(&None) {
                            break;
                        }
                    }
                    () = sleep_until(until) => break,
                }
            }
            if is_end && Instant::now() >= until {
                break;
            }
        }
        summary(&trips)
    }

    /// The number of an echoed datagram, if it is whole.
    fn number(&self, datagram: &[u8]) -> Option<usize> {
        let number = datagram.strip_prefix(&self.token)?.first_chunk::<4>()?;
        let number = u32::from_be_bytes(*number);
        let index = usize::try_from(number).ok().filter(|index| *index < DATAGRAMS)?;
        (datagram == self.payload(number, size(index))).then_some(index)
    }
}

/// The size of the datagram with this number.
fn size(number: usize) -> usize {
    SIZES[number % SIZES.len()]
}

fn summary(trips: &[Option<Duration>; DATAGRAMS]) -> Step {
    let back: Vec<Duration> = trips.iter().flatten().copied().collect();
    let lost: Vec<usize> =
        trips.iter().enumerate().filter(|(_, trip)| trip.is_none()).map(|(number, _)| size(number)).collect();
    let count = u32::try_from(back.len()).unwrap_or(u32::MAX);
    let mut detail = format!(
        "{count} of {DATAGRAMS} datagrams of {} to {} bytes came back",
        SIZES[0],
        SIZES[SIZES.len() - 1]
    );
    let (Some(min), Some(max)) = (back.iter().min(), back.iter().max()) else {
        return Step::bad("echo", detail, "the path died: try again, and look at the server's log");
    };
    let average = back.iter().sum::<Duration>() / count;
    detail.push_str(&format!(
        ", {}% lost; round trip min/avg/max {}/{}/{} ms",
        lost.len() * 100 / DATAGRAMS,
        milliseconds(*min),
        milliseconds(average),
        milliseconds(*max)
    ));
    if lost.len() <= TOLERATED {
        return Step::good("echo", detail).rtt(Some(average));
    }
    let whole = |wanted: usize| {
        trips.iter().enumerate().all(|(number, trip)| size(number) != wanted || trip.is_none())
    };
    let help = match SIZES.into_iter().find(|size| whole(*size)) {
        Some(size) if lost.iter().all(|lost| *lost >= size) => format!(
            "none of {size} bytes and more came back: a tunnel or link on the way has a small MTU and drops fragments"
        ),
        _ => "the path to the server, or the server, loses packets: try again from another network to tell which"
            .to_owned(),
    };
    Step::bad("echo", detail, help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_is_told_by_its_pattern() {
        let text = |lost: &dyn Fn(usize) -> bool| {
            let mut trips = [Some(Duration::from_millis(2)); DATAGRAMS];
            trips
                .iter_mut()
                .enumerate()
                .filter(|(number, _)| lost(*number))
                .for_each(|(_, trip)| *trip = None);
            format!("{:?}", summary(&trips))
        };
        assert!(text(&|_| false).contains("20 of 20 datagrams of 32 to 1200 bytes came back, 0% lost"));
        assert!(text(&|number| number == 3).contains("outcome: Good"));
        assert!(text(&|number| size(number) >= 1_000).contains("none of 1000 bytes and more"));
        assert!(text(&|number| number < 4).contains("loses packets"));
        assert!(text(&|_| true).contains("the path died"));
    }
}
