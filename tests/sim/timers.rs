//! The long timers, in the simulated clock: each to the second, with the timers of the server never running in between
//! and running all the time.

use relais::turn::Transport;

use super::solo::{Solo, alice};
use super::world::*;

const NUMBER: u16 = 0x4001;

/// Runs a story twice: without the server's timers, and with them each second.
fn both_ways(story: impl Fn(&dyn Fn(&mut Solo, u64))) {
    story(&|solo, seconds| solo.pass(seconds));
    story(&|solo, seconds| {
        for _ in 0..seconds {
            solo.pass(1);
            solo.timers();
        }
    });
}

#[test]
fn a_permission_lives_for_300_seconds() {
    both_ways(|pass| {
        let mut solo = Solo::new(|_| ());
        let mut kit = alice(Transport::Udp);
        let relayed = solo.allocate(&mut kit);
        let permit = |solo: &mut Solo, kit: &mut Client| {
            assert_eq!(solo.insist(kit, CREATE_PERMISSION, &[to(peer(1))]).code(), 0);
        };
        permit(&mut solo, &mut kit);
        pass(&mut solo, 299);
        assert!(solo.reaches(&mut kit, peer(1)) && solo.hears(relayed, peer(1)).is_some());
        // Data do not refresh it, in either direction.
        pass(&mut solo, 1);
        assert!(!solo.reaches(&mut kit, peer(1)) && solo.hears(relayed, peer(1)).is_none());
        permit(&mut solo, &mut kit);
        pass(&mut solo, 200);
        permit(&mut solo, &mut kit);
        pass(&mut solo, 99);
        assert!(solo.reaches(&mut kit, peer(1)), "refreshed");
        solo.timers();
    });
}

#[test]
fn a_channel_lives_for_600_seconds_and_its_permission_for_300() {
    both_ways(|pass| {
        let mut solo = Solo::new(|_| ());
        let mut kit = alice(Transport::Udp);
        let relayed = solo.insist(&mut kit, ALLOCATE, &[udp(), lifetime(3600)]).address(RELAYED);
        let bind = |solo: &mut Solo, kit: &mut Client, number, peer| {
            solo.insist(kit, CHANNEL_BIND, &[channel(number), to(peer)]).code()
        };
        assert_eq!(bind(&mut solo, &mut kit, NUMBER, peer(1)), 0);
        pass(&mut solo, 299);
        assert!(solo.frame_passes(&kit, NUMBER));
        pass(&mut solo, 1);
        assert!(!solo.frame_passes(&kit, NUMBER), "no permission any more");
        assert_eq!(solo.insist(&mut kit, CREATE_PERMISSION, &[to(peer(1))]).code(), 0);
        pass(&mut solo, 299);
        assert!(solo.frame_passes(&kit, NUMBER));
        assert_eq!(solo.hears(relayed, peer(1)), Some(channel_data(NUMBER, b"pong")));
        assert_eq!(bind(&mut solo, &mut kit, NUMBER, peer(2)), 400, "it is still bound");
        assert_eq!(solo.insist(&mut kit, CREATE_PERMISSION, &[to(peer(1))]).code(), 0);
        pass(&mut solo, 1);
        assert!(!solo.frame_passes(&kit, NUMBER) && solo.reaches(&mut kit, peer(1)));
        assert_eq!(solo.hears(relayed, peer(1)).map(|bytes| bytes[..2].to_vec()), Some(vec![0, 0x17]));
        assert_eq!(bind(&mut solo, &mut kit, NUMBER, peer(2)), 0, "the number is free");
        pass(&mut solo, 500);
        assert_eq!(bind(&mut solo, &mut kit, NUMBER, peer(2)), 0);
        pass(&mut solo, 299);
        assert!(solo.frame_passes(&kit, NUMBER), "refreshed, with its permission");
        solo.timers();
    });
}

#[test]
fn an_allocation_lives_for_what_it_was_given() {
    both_ways(|pass| {
        for (asked, given) in [(None, 600), (Some(0), 600), (Some(777), 777), (Some(u32::MAX), 3600)] {
            let mut solo = Solo::new(|_| ());
            let mut kit = alice(Transport::Udp);
            let attributes: Vec<A> = [udp()].into_iter().chain(asked.map(lifetime)).collect();
            let answer = solo.insist(&mut kit, ALLOCATE, &attributes);
            assert_eq!(u64::from(answer.lifetime()), given);
            pass(&mut solo, given - 1);
            assert_eq!(solo.insist(&mut kit, CREATE_PERMISSION, &[to(peer(1))]).code(), 0);
            assert!(solo.reaches(&mut kit, peer(1)));
            pass(&mut solo, 1);
            assert!(!solo.reaches(&mut kit, peer(1)));
            assert_eq!(solo.insist(&mut kit, REFRESH, &[]).code(), 437);
            solo.timers();
            assert_eq!(solo.cluster.pool.open_addresses().count(), 0);
            assert_ne!(solo.allocate(&mut kit).port(), 0);
        }
    });
}

#[test]
fn a_nonce_lives_as_long_as_it_is_set_to() {
    for life in [60, 600, 3600] {
        let mut solo = Solo::new(|config| config.nonce_lifetime = life);
        let mut kit = alice(Transport::Udp);
        solo.challenge(&mut kit);
        solo.pass(life - 1);
        assert_eq!(solo.ask(&mut kit, ALLOCATE, &[udp(), lifetime(3600)]).code(), 0);
        // Its use does not make it younger, and the wall clock has no say.
        solo.cluster.unix_ahead = -86_400;
        solo.pass(1);
        let stale = solo.ask(&mut kit, REFRESH, &[lifetime(3600)]);
        assert_eq!(stale.code(), 438);
        kit.take(&stale);
        solo.cluster.unix_ahead = 86_400;
        assert_eq!(solo.ask(&mut kit, REFRESH, &[lifetime(3600)]).code(), 0);
        // A nonce of long ago stays one.
        let old = kit.clone();
        for _ in 0..24 {
            solo.pass(3000);
            assert_eq!(solo.insist(&mut kit, REFRESH, &[lifetime(3600)]).code(), 0);
        }
        kit.nonce = old.nonce;
        assert_eq!(solo.ask(&mut kit, REFRESH, &[lifetime(3600)]).code(), 438);
    }
}

#[test]
fn a_call_of_a_day_goes_on() {
    both_ways(|pass| {
        let mut solo = Solo::new(|_| ());
        let mut kit = alice(Transport::Udp);
        let relayed = solo.insist(&mut kit, ALLOCATE, &[udp(), lifetime(3600)]).address(RELAYED);
        for round in 0..24 * 60 / 4 {
            if round % 14 == 0 {
                assert_eq!(solo.insist(&mut kit, REFRESH, &[lifetime(3600)]).code(), 0);
            }
            assert_eq!(solo.insist(&mut kit, CHANNEL_BIND, &[channel(NUMBER), to(peer(1))]).code(), 0);
            assert!(solo.frame_passes(&kit, NUMBER) && solo.hears(relayed, peer(1)).is_some());
            pass(&mut solo, 240);
        }
        solo.timers();
    });
}

#[test]
fn a_reservation_is_held_for_30_seconds() {
    for (wait, code) in [(29, 0), (31, 508)] {
        let mut solo = Solo::new(|_| ());
        let mut kit = alice(Transport::Udp);
        let first = solo.insist(&mut kit, ALLOCATE, &[udp(), A::Raw(EVEN_PORT, vec![0x80])]);
        let token = first.get(RESERVATION).unwrap().to_vec();
        solo.pass(wait);
        let mut other = alice(Transport::Udp).at("9.9.9.10:1");
        let second = solo.insist(&mut other, ALLOCATE, &[udp(), A::Raw(RESERVATION, token)]);
        assert_eq!(second.code(), code);
        if code == 0 {
            assert_eq!(second.address(RELAYED).port(), first.address(RELAYED).port() + 1);
        }
        solo.timers();
    }
}

#[test]
fn a_client_that_can_move_may_stay_away_for_a_minute() {
    for (away, code) in [(59, 0), (61, 437)] {
        let mut solo = Solo::new(|_| ());
        let mut kit = alice(Transport::Tcp);
        let answer = solo.insist(&mut kit, ALLOCATE, &[udp(), A::Raw(TICKET, Vec::new())]);
        let (relayed, ticket) = (answer.address(RELAYED), answer.get(TICKET).unwrap().to_vec());
        assert_eq!(solo.insist(&mut kit, CREATE_PERMISSION, &[to(peer(1))]).code(), 0);
        solo.cluster.closed(solo.now, kit.route);
        solo.timers();
        solo.pass(away);
        let mut there = alice(Transport::Udp).at("9.9.9.11:1");
        assert_eq!(solo.insist(&mut there, REFRESH, &[A::Raw(TICKET, ticket)]).code(), code);
        assert_eq!(solo.hears(relayed, peer(1)).is_some(), code == 0);
        solo.timers();
    }
}
