//! draft-uberti-behave-turn-rest: time-limited credentials.

use crate::world::*;
use relais::auth::Cause;
use relais::turn::Event;

fn world() -> World {
    World::with(|choice| choice.secrets = vec!["north", "south"])
}

fn holder(expires_in: i64, user: &str, secret: &str) -> Client {
    let expiry = START_UNIX.saturating_add_signed(expires_in);
    Client::rest(&format!("{expiry}:{user}"), secret)
}

#[test]
fn uberti_2_2_password_is_base64_of_hmac_sha1_of_the_username() {
    assert_eq!(
        rest_password("key", "The quick brown fox jumps over the lazy dog"),
        "3nybhbi3iqa8ino29wqQcBydtNk="
    );
    for scheme in [Scheme::Old, Scheme::Md5, Scheme::Sha256] {
        holder(3600, "fred", "north").with(scheme).allocate(&mut world());
    }
}

#[test]
fn uberti_2_2_username_may_be_the_expiry_alone() {
    let name = (START_UNIX + 60).to_string();
    Client::rest(&name, "north").allocate(&mut world());
    Client::rest(&format!("{name}:"), "north").allocate(&mut world());
}

#[test]
fn uberti_2_2_separator_is_a_choice() {
    let mut world = World::with(|choice| (choice.secrets, choice.separator) = (vec!["north"], '-'));
    Client::rest(&format!("{}-fred", START_UNIX + 60), "north").allocate(&mut world);
    let mut colon = Client::rest(&format!("{}:fred", START_UNIX + 60), "north").at("9.9.9.9:2");
    assert_eq!(colon.ask_in_vain(&mut world, ALLOCATE, &[udp()]).code(), 401);
}

#[test]
fn uberti_5_2_two_secrets_hold_at_once() {
    let mut world = world();
    holder(60, "fred", "north").at("9.9.9.9:1").allocate(&mut world);
    holder(60, "fred", "south").at("9.9.9.9:2").allocate(&mut world);
    let mut stranger = holder(60, "fred", "east");
    assert_eq!(stranger.ask_in_vain(&mut world, ALLOCATE, &[udp()]).code(), 401);
}

#[test]
fn uberti_4_2_expired_credential_gets_401_at_allocate() {
    let mut world = world();
    for (expires_in, code) in [(1, 0), (0, 401), (-1, 401)] {
        let mut fred = holder(expires_in, "fred", "north").at(&format!("9.9.9.9:{}", 10 + expires_in));
        fred.challenge(&mut world);
        let request = fred.signed(ALLOCATE, &[udp()]);
        assert_eq!(fred.send(&mut world, &request).code(), code, "{expires_in}");
    }
    let causes: Vec<Cause> = world
        .events()
        .into_iter()
        .filter_map(|event| match event {
            Event::LoginRefused { cause, .. } => Some(cause),
            _ => None,
        })
        .collect();
    assert_eq!(causes, [Cause::Expired, Cause::Expired], "the operator learns why");
}

#[test]
fn uberti_4_2_expiry_does_not_touch_a_live_allocation() {
    let mut world = world();
    let mut fred = holder(60, "fred", "north");
    fred.allocate(&mut world);
    world.pass_secs(120);
    assert_eq!(fred.permit(&mut world, &[peer(1)]), 0);
    assert_eq!(fred.bind(&mut world, 0x4000, peer(2)), 0);
    assert!(fred.reaches(&mut world, peer(1)));
    assert_eq!(fred.refresh(&mut world, &[]).code(), 0, "only Allocate looks at the expiry");
    assert_eq!(fred.refresh(&mut world, &[lifetime(0)]).code(), 0);
    assert_eq!(fred.ask_in_vain(&mut world, ALLOCATE, &[udp()]).code(), 401, "and there it counts");
}

#[test]
fn uberti_4_2_expired_credential_without_allocation_gets_401() {
    let mut world = world();
    let mut fred = holder(-1, "fred", "north");
    for kind in [REFRESH, CREATE_PERMISSION, CHANNEL_BIND] {
        assert_eq!(fred.ask_in_vain(&mut world, kind, &[lifetime(0)]).code(), 401);
    }
}

#[test]
fn uberti_5_1_withdrawn_secret_ends_at_the_next_refresh() {
    let mut world = world();
    let mut fred = holder(3600, "fred", "north");
    fred.allocate(&mut world);
    let choice = Choice { secrets: vec!["south", "east"], ..Choice::default() };
    world.server.reconfigure(choice.settings());
    assert_eq!(fred.ask_in_vain(&mut world, REFRESH, &[]).code(), 401);
}

#[test]
fn uberti_4_2_username_must_stay_the_same() {
    let mut world = world();
    holder(60, "fred", "north").allocate(&mut world);
    let mut renewed = holder(120, "fred", "north");
    assert_eq!(renewed.ask(&mut world, REFRESH, &[]).code(), 441);
}

#[test]
fn uberti_2_quota_counts_the_user_behind_the_expiry() {
    let mut world = world();
    world.sockets.quota = Some(1);
    holder(60, "fred", "north").at("9.9.9.9:1").allocate(&mut world);
    let mut again = holder(120, "fred", "south").at("9.9.9.9:2");
    assert_eq!(again.ask(&mut world, ALLOCATE, &[udp()]).code(), 486);
    holder(60, "ginger", "north").at("9.9.9.9:3").allocate(&mut world);
    let owners: Vec<_> = world.sockets.open.values().map(|socket| socket.2.clone()).collect();
    assert_eq!(owners, ["fred", "ginger"]);
}

#[test]
fn uberti_2_quota_of_a_bare_expiry_is_its_own() {
    let mut world = world();
    world.sockets.quota = Some(1);
    for (port, later) in [(1, 60), (2, 61)] {
        let name = (START_UNIX + later).to_string();
        Client::rest(&name, "north").at(&format!("9.9.9.9:{port}")).allocate(&mut world);
    }
}

#[test]
fn uberti_names_that_are_no_expiry_get_401() {
    let mut world = world();
    for name in
        ["fred", ":fred", "x:fred", "-1:fred", "99999999999999999999999:fred", "1e10:fred", " 1900000000:f"]
    {
        let mut client = Client::rest(name, "north");
        assert_eq!(client.ask_in_vain(&mut world, ALLOCATE, &[udp()]).code(), 401, "{name}");
    }
}

#[test]
fn uberti_far_expiry_is_taken() {
    Client::rest(&format!("{}:fred", u64::MAX), "north").allocate(&mut world());
}

#[test]
fn uberti_users_of_the_list_work_beside() {
    let mut world = world();
    Client::alice().at("9.9.9.9:1").allocate(&mut world);
    holder(60, "alice", "north").at("9.9.9.9:2").allocate(&mut world);
}

#[test]
fn uberti_name_limit_of_508_bytes() {
    let mut world = world();
    let pad = 508 - 11;
    holder(60, &"f".repeat(pad), "north").allocate(&mut world);
    let mut long = holder(60, &"f".repeat(pad + 1), "north").at("9.9.9.9:2");
    assert_eq!(long.ask_in_vain(&mut world, ALLOCATE, &[udp()]).code(), 401);
}
