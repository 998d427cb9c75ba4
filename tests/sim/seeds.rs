//! The runs: many seeds, each twice; and the oracle against servers that are broken on purpose.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::cluster::Sabotage;
use super::sim::{Outcome, Sim};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

fn run(seed: u64, sabotage: Sabotage, print: bool) -> Outcome {
    let run = || Sim::new(seed, sabotage, print).run();
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Outcome {
            hash: 0,
            violation: Some(format!("panic: {}", text.unwrap_or_default())),
            seen: BTreeMap::new(),
            simulated: 0,
            events: 0,
            echoes: 0,
        }
    })
}

/// Runs seeds, each twice, and adds up what has been seen.
fn run_all(seeds: impl Iterator<Item = u64>) -> BTreeMap<String, u64> {
    let print = std::env::var_os("RELAIS_SIM_TRACE").is_some();
    let mut seen = BTreeMap::new();
    let (mut count, mut events, mut simulated, mut echoes) = (0, 0, 0, 0);
    let mut failed = Vec::new();
    for seed in seeds {
        let first = run(seed, Sabotage::None, print);
        let violation = first.violation.or_else(|| {
            let second = run(seed, Sabotage::None, false);
            (first.hash != second.hash).then(|| "two runs of one seed differ".to_owned())
        });
        if let Some(violation) = violation {
            let seconds = first.simulated / 1_000_000;
            failed.push(format!(
                "{violation}\n  after {} events in {seconds} s; this replays it:\n  \
                 RELAIS_SIM_SEED={seed} RELAIS_SIM_TRACE=1 cargo test --test sim seeds -- --nocapture",
                first.events
            ));
            if failed.len() == 5 {
                break;
            }
        }
        count += 1;
        events += first.events;
        simulated += first.simulated / 1_000_000;
        echoes += first.echoes;
        for (what, times) in first.seen {
            *seen.entry(what).or_default() += times;
        }
    }
    assert!(failed.is_empty(), "\n{}", failed.join("\n"));
    println!("{count} seeds, {events} events in {simulated} simulated seconds, {echoes} echoes: {seen:?}");
    seen
}

/// The seeds of one of four tests, so that they run side by side.
fn quarter(which: u64) {
    if let Some(seed) = number("RELAIS_SIM_SEED") {
        if which == 0 {
            run_all(std::iter::once(seed));
        }
        return;
    }
    let count = number("RELAIS_SIM_SEEDS").unwrap_or(200);
    let seen = run_all((0..count).filter(|seed| seed % 4 == which));
    if count >= 200 {
        for what in [
            "Binding 0",
            "Allocate 0",
            "Allocate 401",
            "Allocate 437",
            "Allocate 438",
            "Allocate 486",
            "Allocate 508",
            "Allocate 400",
            "Allocate 420",
            "Allocate 440",
            "Allocate 442",
            "Allocate 403",
            "Refresh 0",
            "Refresh 401",
            "Refresh 437",
            "CreatePermission 0",
            "CreatePermission 403",
            "CreatePermission 443",
            "CreatePermission 508",
            "ChannelBind 0",
            "ChannelBind 400",
            "ChannelBind 403",
            "to peer",
            "to client",
            "deleted",
            "answer_budget",
            "login_rate",
            "no_permission",
            "no_channel",
            "no_allocation",
            "malformed",
            "fingerprint",
            "unknown_method",
            "forbidden",
            "Allocate 300",
            "cut",
            "discovery 0",
            "discovery 400",
            "discovery 420",
            "icmp to client",
            "icmp_type",
            "classic 500",
            "Allocate for TCP",
            "Connect 0",
            "Connect 446",
            "Connect 447",
            "ConnectionAttempt",
            "ConnectionBind 0",
            "ConnectionBind 400",
            "ConnectionBind 441",
            "connection_limit",
            "tcp_allocation",
            "above the rate",
            "budget spent",
            "carried",
        ] {
            assert!(seen.contains_key(what), "the seeds must reach {what:?}: {seen:?}");
        }
    }
}

#[test]
fn seeds_one_in_four_from_0() {
    quarter(0);
}

#[test]
fn seeds_one_in_four_from_1() {
    quarter(1);
}

#[test]
fn seeds_one_in_four_from_2() {
    quarter(2);
}

#[test]
fn seeds_one_in_four_from_3() {
    quarter(3);
}

/// Each kind of broken server is found out within a few seeds, by the rule it breaks.
#[test]
fn oracle_finds_every_sabotage() {
    std::panic::set_hook(Box::new(|_| ()));
    let mut missed = Vec::new();
    for sabotage in Sabotage::ALL {
        let found = (0..40).find_map(|seed| run(seed, sabotage, false).violation.map(|text| (seed, text)));
        match found {
            Some((seed, text)) => println!("{sabotage:?}, seed {seed}: {:.120}", text),
            None => missed.push(sabotage),
        }
    }
    let _ = std::panic::take_hook();
    assert!(missed.is_empty(), "unnoticed: {missed:?}");
}
