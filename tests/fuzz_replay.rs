//! The fuzz targets over their committed corpus: what a fuzzer has found once stays found.

#![allow(unreachable_pub, clippy::unwrap_used, clippy::cast_possible_truncation, reason = "shared test code")]

#[path = "../fuzz/bodies.rs"]
mod bodies;

use std::path::Path;

fn replay(target: &str, mut body: impl FnMut(&[u8])) -> usize {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut paths: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in &paths {
        println!("{}", path.display());
        let bytes = std::fs::read(path).unwrap();
        // Also what is left of it when the end is lost.
        for end in 0..=bytes.len() {
            body(&bytes[..end]);
        }
    }
    paths.len()
}

#[test]
fn safety_corpus_of_messages() {
    assert!(replay("message", bodies::message) >= 5);
}

#[test]
fn safety_corpus_of_tokens() {
    let mut good = 0;
    let tokens = replay("token", |bytes| good += u32::from(bodies::token(bytes)));
    assert!(tokens >= 8);
    // The samples of each algorithm open, otherwise they would exercise nothing.
    assert!(good >= 8, "{good}");
}

#[test]
fn safety_corpus_of_sessions() {
    let mut best = bodies::Seen::default();
    let sessions = replay("server", |bytes| {
        let seen = bodies::server(bytes);
        best.answers = best.answers.max(seen.answers);
        best.allocations = best.allocations.max(seen.allocations);
        best.to_peers = best.to_peers.max(seen.to_peers);
        best.to_clients = best.to_clients.max(seen.to_clients);
    });
    assert!(sessions >= 3);
    // The sessions log in and relay; otherwise they would exercise nothing.
    assert!(best.answers >= 6 && best.allocations >= 2, "{best:?}");
    assert!(best.to_peers >= 2 && best.to_clients >= 1, "{best:?}");
}
