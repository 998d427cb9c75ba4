//! draft-uberti-behave-turn-rest: time-limited credentials.

use crate::world::*;
use relais::auth::{Cause, Expired};
use relais::turn::{EndReason, Event};

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

fn under(expired: Expired) -> World {
    World::with(|choice| {
        (choice.secrets, choice.expired) = (vec!["north", "south"], expired);
        choice.nonce_lifetime = std::time::Duration::from_secs(3600);
    })
}

#[test]
fn uberti_4_2_expiry_does_not_touch_what_a_live_allocation_does() {
    for expired in [Expired::Grace, Expired::Refresh] {
        let mut world = under(expired);
        let mut fred = holder(60, "fred", "north");
        fred.allocate(&mut world);
        world.pass_secs(120);
        assert_eq!(fred.permit(&mut world, &[peer(1)]), 0);
        assert_eq!(fred.bind(&mut world, 0x4000, peer(2)), 0);
        assert!(fred.reaches(&mut world, peer(1)));
        assert_eq!(fred.refresh(&mut world, &[lifetime(0)]).code(), 0, "it may always be given back");
        assert_eq!(fred.ask_in_vain(&mut world, ALLOCATE, &[udp()]).code(), 401, "and there it counts");
    }
}

#[test]
fn uberti_4_2_grace_lets_an_allocation_be_refreshed() {
    let mut world = under(Expired::Grace);
    let mut fred = holder(60, "fred", "north");
    fred.allocate(&mut world);
    world.pass_secs(500);
    assert_eq!(fred.refresh(&mut world, &[]).lifetime(), 600);
    world.pass_secs(500);
    assert_eq!(fred.refresh(&mut world, &[lifetime(3600)]).lifetime(), 3600);
}

#[test]
fn uberti_expired_credential_is_refused_at_the_next_refresh() {
    let mut world = under(Expired::Refresh);
    let mut fred = holder(60, "fred", "north");
    fred.allocate(&mut world);
    assert_eq!(fred.permit(&mut world, &[peer(1)]), 0);
    world.pass_secs(59);
    assert_eq!(fred.refresh(&mut world, &[]).lifetime(), 600, "the expiry bounds no lifetime");
    world.pass_secs(1);
    assert_eq!(fred.ask_in_vain(&mut world, REFRESH, &[]).code(), 401);
    assert_eq!(fred.ask_in_vain(&mut world, REFRESH, &[lifetime(1)]).code(), 401);
    assert!(fred.reaches(&mut world, peer(1)), "data go on");
    assert_eq!(fred.permit(&mut world, &[peer(1)]), 0);
    world.pass_secs(280);
    assert_eq!(fred.permit(&mut world, &[peer(1)]), 0);
    world.pass_secs(280);
    assert!(fred.reaches(&mut world, peer(1)), "until the lifetime ends that was given");
    world.pass_secs(39);
    assert!(!fred.reaches(&mut world, peer(1)));
    world.timers();
    world.audit();
    assert_eq!(ends(&mut world), [EndReason::Expired]);
}

/// Why allocations ended.
fn ends(world: &mut World) -> Vec<EndReason> {
    let reason = |event| match event {
        Event::AllocationEnded { reason, .. } => Some(reason),
        _ => None,
    };
    world.events().into_iter().filter_map(reason).collect()
}

#[test]
fn uberti_cut_ends_an_allocation_with_its_credential() {
    let mut world = under(Expired::Cut);
    let mut fred = holder(900, "fred", "north");
    let answer = fred.ask(&mut world, ALLOCATE, &[udp(), lifetime(3600)]);
    assert_eq!((answer.code(), answer.lifetime()), (0, 900), "the answer tells the truth");
    assert_eq!(fred.permit(&mut world, &[peer(1)]), 0);
    world.pass_secs(200);
    assert_eq!(fred.refresh(&mut world, &[]).lifetime(), 600, "what is left is longer");
    world.pass_secs(290);
    assert_eq!(fred.permit(&mut world, &[peer(1)]), 0);
    assert_eq!(fred.refresh(&mut world, &[lifetime(3600)]).lifetime(), 410);
    world.pass_secs(200);
    assert_eq!(fred.refresh(&mut world, &[]).lifetime(), 210, "also below the default of RFC 8656");
    world.pass_secs(80);
    assert_eq!(fred.permit(&mut world, &[peer(1)]), 0);
    world.pass_secs(129);
    assert!(fred.reaches(&mut world, peer(1)));
    assert_eq!(fred.refresh(&mut world, &[]).lifetime(), 1);
    world.pass_secs(1);
    assert!(!fred.reaches(&mut world, peer(1)));
    world.timers();
    world.audit();
    assert_eq!(ends(&mut world), [EndReason::CredentialExpired]);
    assert_eq!(fred.ask_in_vain(&mut world, ALLOCATE, &[udp()]).code(), 401);
}

#[test]
fn uberti_cut_does_not_move_with_the_wall_clock() {
    for jump in [-5000, 5000] {
        let mut world = under(Expired::Cut);
        let mut fred = holder(300, "fred", "north");
        fred.allocate(&mut world);
        assert_eq!(fred.permit(&mut world, &[peer(1)]), 0);
        world.now.unix = world.now.unix.saturating_add_signed(jump);
        world.pass_secs(299);
        world.timers();
        assert!(fred.reaches(&mut world, peer(1)), "{jump}");
        world.pass_secs(1);
        world.timers();
        assert!(!fred.reaches(&mut world, peer(1)), "{jump}");
        assert_eq!(ends(&mut world), [EndReason::CredentialExpired]);
    }
}

#[test]
fn uberti_cut_leaves_users_of_the_list_alone() {
    let mut world = under(Expired::Cut);
    let answer = Client::alice().ask(&mut world, ALLOCATE, &[udp(), lifetime(3600)]);
    assert_eq!(answer.lifetime(), 3600);
}

#[test]
fn uberti_policy_of_expiry_changes_with_the_configuration() {
    let mut world = under(Expired::Grace);
    let mut fred = holder(60, "fred", "north");
    fred.allocate(&mut world);
    world.pass_secs(90);
    assert_eq!(fred.refresh(&mut world, &[]).code(), 0);
    let choice = Choice { secrets: vec!["north"], expired: Expired::Refresh, ..Choice::default() };
    world.server.reconfigure(choice.settings());
    assert_eq!(fred.ask_in_vain(&mut world, REFRESH, &[]).code(), 401);
}

#[test]
fn uberti_2_2_forms_that_services_in_the_field_make() {
    let expiry = START_UNIX + 600;
    for (at, name, owner) in [
        // Synapse, which puts the whole user id behind the first colon.
        (1, format!("{expiry}:@fred:example.org"), "@fred:example.org".to_owned()),
        // Nextcloud Talk and the button that tests its settings.
        (2, format!("{expiry}:s3cr3tN4me"), "s3cr3tN4me".to_owned()),
        (3, format!("{expiry}:turn-test-user"), "turn-test-user".to_owned()),
        // Prosody and with it Jitsi: the expiry alone, or with a name.
        (4, expiry.to_string(), expiry.to_string()),
        (5, format!("{expiry}:fred@meet.example.org/phone"), "fred@meet.example.org/phone".to_owned()),
        // Services that were written after older drafts.
        (6, format!("fred:{expiry}"), "fred".to_owned()),
        (7, format!("@fred:example.org:{expiry}"), "@fred:example.org".to_owned()),
    ] {
        let mut world = under(Expired::Refresh);
        let mut client = Client::rest(&name, "north").at(&format!("9.9.9.9:{at}"));
        client.allocate(&mut world);
        let owners: Vec<_> = world.sockets.open.values().map(|socket| socket.2.clone()).collect();
        assert_eq!(owners, [owner], "{name}");
        world.pass_secs(600);
        let mut late = Client::rest(&name, "north").at(&format!("9.9.9.8:{at}"));
        assert_eq!(late.ask_in_vain(&mut world, ALLOCATE, &[udp()]).code(), 401, "{name} has expired");
    }
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
