use super::*;
use crate::http::Limits;
use futures_util::FutureExt as _;

/// Into the room of these tests, hearing who comes and goes.
async fn join(ticket: &Ticket) -> Inbox {
    let peer = Peer { id: ticket.id.clone(), name: "".into() };
    ticket.join(Joining { room: "r".into(), peer, alias: None, kind: Kind::Own }).await.ok().unwrap().1
}

async fn hear(inbox: &mut Inbox) -> Arc<Notice> {
    inbox.next().await.ok().unwrap().0
}

fn to_all(bytes: usize) -> Act {
    Act::Say(To::All, "x".repeat(bytes).into())
}

#[tokio::test]
async fn who_goes_away_while_entering_keeps_no_place() {
    let (door, keeper) = open(Limits { sockets: 1, ..Limits::default() });
    tokio::spawn(keeper);
    let here = Prefix::of("203.0.113.1".parse().unwrap());
    let mut entering = Box::pin(door.enter(here));
    assert!(entering.as_mut().now_or_never().is_none());
    // The keeper answers now, but nobody takes the answer.
    tokio::task::yield_now().await;
    assert_eq!(door.enter(here).await.err(), Some(Full::Sockets));
    drop(entering);
    tokio::task::yield_now().await;
    assert!(door.enter(here).await.is_ok());
}

#[tokio::test]
async fn one_address_has_its_share_of_sockets() {
    let (door, keeper) = open(Limits { sockets_per_address: 2, ..Limits::default() });
    tokio::spawn(keeper);
    let of = |text: &str| Prefix::of(text.parse().unwrap());
    let one = door.enter(of("2001:db8::1")).await;
    let two = door.enter(of("2001:db8::2")).await;
    assert!(one.is_ok() && two.is_ok());
    assert_eq!(door.enter(of("2001:db8::3")).await.err(), Some(Full::Address));
    assert!(door.enter(of("2001:db8:1::1")).await.is_ok());
    let mut proxied = Vec::new();
    for _ in 0..5 {
        proxied.push(door.enter(of("127.0.0.1")).await);
    }
    assert!(proxied.iter().all(Result::is_ok));
}

#[tokio::test]
async fn what_was_never_read_weighs_nothing_once_its_reader_is_gone() {
    let (door, keeper) = open(Limits { queued_bytes: 10_000, sockets: 100, ..Limits::default() });
    tokio::spawn(keeper);
    let here = Prefix::of("203.0.113.1".parse().unwrap());
    let speaker = door.enter(here).await.ok().unwrap();
    let mut heard = join(&speaker).await;
    for _ in 0..20 {
        // Each reader hoards up to the common limit and then leaves without having read anything.
        let reader = door.enter(here).await.ok().unwrap();
        let inbox = join(&reader).await;
        assert!(matches!(*hear(&mut heard).await, Notice::Joined(_)));
        for _ in 0..4 {
            speaker.act(to_all(2000)).await;
        }
        drop((reader, inbox));
        let left = hear(&mut heard).await;
        assert!(matches!(*left, Notice::Left(_)), "{left:?}");
    }
    let reader = door.enter(here).await.ok().unwrap();
    let mut inbox = join(&reader).await;
    for _ in 0..4 {
        speaker.act(to_all(2000)).await;
    }
    tokio::task::yield_now().await;
    for _ in 0..4 {
        let said = hear(&mut inbox).await;
        assert!(matches!(*said, Notice::Said { .. }), "{said:?}");
    }
}
