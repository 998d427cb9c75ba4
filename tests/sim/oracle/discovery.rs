//! What RFC 5780 allows: answers from one of four transport addresses, to nobody but the IP address that asked.

use super::*;
use crate::config::DISCOVERY_PORTS;

impl Oracle {
    /// Whether a request came to one of the four transport addresses of NAT discovery.
    pub(super) fn is_corner(&self, route: &ClientRoute) -> bool {
        route.tuple.transport == Transport::Udp && self.config.corners().contains(&route.tuple.server)
    }

    /// A Binding request to one of the four.
    pub(super) fn discovered(
        &mut self,
        at: Micros,
        worker: usize,
        route: ClientRoute,
        seen: &Seen<'_>,
        said: &Said,
    ) {
        let (asker, here) = (route.tuple.client.0, route.tuple.server);
        let change = seen.get(CHANGE_REQUEST);
        let response_port = seen.get(RESPONSE_PORT);
        let malformed = change.is_some_and(|value| value.len() != 4)
            || response_port.is_some_and(|value| ![2, 4].contains(&value.len()) || value[..2] == [0, 0])
            || response_port.is_some() && seen.get(PADDING).is_some();
        let due = match () {
            () if judge::unknown(seen, &judge::DISCOVERY) => 420,
            () if malformed => 400,
            () => 0,
        };
        // Half of the burst is not for these answers: with less there is plain Binding, or silence where it will not do.
        let flags = change.filter(|value| value.len() == 4).map_or(0, |value| value[3]);
        let padding = seen.get(PADDING).map(<[u8]>::len);
        let is_special = flags & 6 != 0 || response_port.is_some() || padding.is_some();
        let (most, least) = {
            let purse = self.purse(at, worker, route.tuple.client.0.ip());
            (purse.answers, purse.at_least)
        };
        let is_short = least < BURST / 2.0 + wire(LONGEST + padding.unwrap_or(0).min(1500));
        let (from, to, bytes) = match said {
            Said::AnswerFrom { server, client, bytes } => (*server, *client, bytes),
            Said::Answer { to, bytes } if *to == route && due == 0 && !is_special && is_short => {
                return self.plain_binding(route, seen, &Answer::read(bytes));
            }
            Said::Answer { to, bytes } if *to == route => (here, asker, bytes),
            Said::Dropped(DropReason::AnswerBudget) if due != 0 => {
                return self.unpaid(at, worker, route, seen.bytes.len());
            }
            Said::Dropped(DropReason::AnswerBudget) if is_special && is_short => return,
            _ => {
                return self
                    .fail("silence", format!("a Binding request met {said:?} with {least} bytes left"));
            }
        };
        let answer = Answer::read(bytes);
        if due == 0 && most < BURST / 2.0 + wire(bytes.len()) - 100.0 {
            self.fail("amplification", format!("{asker} has {most} bytes left, and discovers"));
        }
        self.count(&format!("discovery {}", answer.code()));
        self.pay(at, worker, route, seen.bytes.len(), &answer);
        if answer.code() != due || answer.bytes[8..20] != seen.tid {
            return self.fail("order", format!("{due} was due: {answer:?}"));
        }
        if due != 0 {
            if (from, to) != (here, asker) {
                self.fail("elsewhere", format!("an error goes from {from} to {to}, not back to {asker}"));
            }
            return;
        }
        let corner = |ip: bool, port: bool| {
            let other = |found: &&SocketAddr| {
                (found.ip() != here.ip()) == ip && (found.port() != here.port()) == port
            };
            self.config.corners().iter().find(other).copied()
        };
        let origin = corner(flags & 4 != 0, flags & 2 != 0);
        let mut back = asker;
        if let Some([high, low, ..]) = response_port {
            back.set_port(u16::from_be_bytes([*high, *low]));
        }
        let other = corner(true, true);
        if Some(from) != origin
            || to != back
            || to.ip() != asker.ip()
            || !DISCOVERY_PORTS.contains(&from.port())
        {
            return self.fail("elsewhere", format!("{asker} asked {here}: from {from} to {to}"));
        }
        let padding = answer.get(PADDING).map(<[u8]>::len);
        let asked = seen.get(PADDING).map(|value| value.len().next_multiple_of(4).min(1500));
        let told = |kind| answer.plain_addresses(kind).first().copied();
        if !answer.has(MAPPED)
            || answer.address(MAPPED) != asker
            || told(PLAIN_MAPPED) != Some(asker)
            || told(RESPONSE_ORIGIN) != origin
            || told(OTHER_ADDRESS) != other
            || padding != asked
        {
            self.fail("method", format!("{asker} asked {here} for {flags:x}: {answer:?}"));
        }
    }
}
