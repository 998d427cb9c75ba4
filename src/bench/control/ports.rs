//! Local ports in turn, each as late as possible after its last use: a server may still know what was there before.

use std::cell::Cell;
use std::ops::RangeInclusive;

/// The range that Linux takes unless told otherwise (ip-sysctl: ip_local_port_range).
const USUAL: RangeInclusive<u16> = 32_768..=60_999;

/// One port after the other, from one that nobody can guess.
pub(super) struct Ports {
    range: RangeInclusive<u16>,
    next: Cell<u16>,
}

impl Ports {
    /// Those that this machine gives to clients.
    pub(super) fn new() -> Self {
        let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
        let mut start = [0; 2];
        // Without randomness, the first ports may be those of the run before.
        let _ = getrandom::fill(&mut start);
        Self::of(parse(&text).unwrap_or(USUAL), u16::from_ne_bytes(start))
    }

    fn of(range: RangeInclusive<u16>, start: u16) -> Self {
        let count = u32::from(range.end() - range.start()) + 1;
        // Below the end of the range.
        let first = u16::try_from(u32::from(*range.start()) + u32::from(start) % count);
        let next = Cell::new(first.unwrap_or_else(|_| *range.start()));
        Self { range, next }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.range.len()
    }

    /// The next one.
    pub(super) fn next(&self) -> u16 {
        let port = self.next.get();
        self.next.set(if port >= *self.range.end() { *self.range.start() } else { port + 1 });
        port
    }
}

fn parse(text: &str) -> Option<RangeInclusive<u16>> {
    let mut words = text.split_whitespace().map(str::parse);
    let (first, last) = (words.next()?.ok()?, words.next()?.ok()?);
    (0 < first && first <= last).then_some(first..=last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_comes_again_before_all_others() {
        let ports = Ports::of(10..=14, u16::MAX);
        let mut seen: Vec<u16> = (0..ports.count()).map(|_| ports.next()).collect();
        assert_eq!((seen[0], ports.next()), (10, 10));
        seen.sort_unstable();
        assert_eq!(seen, [10, 11, 12, 13, 14]);
        let ports = Ports::of(65_533..=65_535, 2);
        assert_eq!([ports.next(), ports.next()], [65_535, 65_533]);
    }

    #[test]
    fn the_range_of_the_machine_is_read() {
        assert_eq!(parse("32768\t60999\n"), Some(USUAL));
        assert!(["", "0 5", "5", "9 8", "x 9", "1 70000"].iter().all(|text| parse(text).is_none()));
        assert!(Ports::new().count() > 0);
    }
}
