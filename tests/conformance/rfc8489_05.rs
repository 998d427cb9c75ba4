//! RFC 8489 §5: the form of a message. What breaks it meets silence.

use crate::world::*;
use relais::turn::DropReason;

fn binding() -> Vec<u8> {
    Msg::new(BINDING, [7; 12]).0
}

fn feed(bytes: &[u8]) -> Out {
    World::new().feed(Client::alice().route, bytes)
}

#[test]
fn rfc8489_5_binding_request_is_answered() {
    assert_eq!(feed(&binding()).answer().kind, 0x0101);
}

#[test]
fn rfc8489_5_first_two_bits_must_be_zero() {
    for bits in [0x40, 0x80, 0xC0] {
        let mut bytes = binding();
        bytes[0] |= bits;
        assert!(feed(&bytes).is_silent(), "{bits:02x}");
    }
}

#[test]
fn rfc8489_5_magic_cookie_must_be_there() {
    for byte in 4..8 {
        for bit in 0..8 {
            let mut bytes = binding();
            bytes[byte] ^= 1 << bit;
            assert_eq!(feed(&bytes), Out::Dropped(DropReason::Malformed));
        }
    }
}

#[test]
fn rfc8489_5_length_must_be_a_multiple_of_four() {
    for extra in 1..=3u8 {
        let mut bytes = binding();
        bytes.extend(std::iter::repeat_n(0, extra.into()));
        bytes[3] = extra;
        assert_eq!(feed(&bytes), Out::Dropped(DropReason::Malformed));
    }
}

#[test]
fn rfc8489_5_length_must_be_that_of_the_datagram() {
    let whole = Msg::new(BINDING, [7; 12]).raw(SOFTWARE, b"client").0;
    for length in [0u8, 4, 8, 16, 20, 255] {
        let mut bytes = whole.clone();
        bytes[3] = length;
        assert_eq!(feed(&bytes).is_silent(), length != 12, "{length}");
    }
    for cut in 0..whole.len() {
        assert!(feed(&whole[..cut]).is_silent(), "{cut}");
    }
    let mut longer = whole;
    longer.extend_from_slice(&[0; 4]);
    assert!(feed(&longer).is_silent());
}

#[test]
fn rfc8489_5_transaction_id_comes_back_unchanged() {
    for tid in [[0; 12], [0xFF; 12], *b"0123456789ab"] {
        assert_eq!(feed(&Msg::new(BINDING, tid).0).answer().bytes[8..20], tid);
    }
}

#[test]
fn rfc8489_5_rfc3489_request_without_cookie_is_not_answered() {
    let mut bytes = binding();
    bytes[4..8].copy_from_slice(&[1, 2, 3, 4]);
    assert!(feed(&bytes).is_silent());
}

#[test]
fn rfc8489_5_empty_and_one_byte_datagrams_are_dropped() {
    assert_eq!(feed(&[]), Out::Dropped(DropReason::NotOurs));
    for first in 0..=255u8 {
        assert!(feed(&[first]).is_silent(), "{first}");
    }
}

#[test]
fn rfc8489_5_data_indications_have_transaction_ids_of_all_96_bits() {
    let (mut world, _, relayed) = talking();
    let mut seen = std::collections::BTreeSet::new();
    let mut used = [0u8; 12];
    let mut kept = [0xFFu8; 12];
    for _ in 0..256 {
        let Out::ToClient { bytes, .. } = world.arrives(relayed, peer(1), b"x") else { panic!() };
        let tid: [u8; 12] = bytes[8..20].try_into().unwrap();
        assert!(seen.insert(tid), "no transaction id twice");
        for i in 0..12 {
            used[i] |= tid[i];
            kept[i] &= tid[i];
        }
    }
    assert_eq!((used, kept), ([0xFF; 12], [0; 12]), "each bit is now one, now zero");
}

#[test]
fn rfc8489_5_transaction_ids_do_not_follow_from_one_another() {
    let (mut world, _, relayed) = talking();
    let mut heads = Vec::new();
    for _ in 0..64 {
        let Out::ToClient { bytes, .. } = world.arrives(relayed, peer(1), b"x") else { panic!() };
        heads.push(u64::from_be_bytes(bytes[8..16].try_into().unwrap()));
    }
    let steps: std::collections::BTreeSet<u64> =
        heads.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect();
    assert_eq!(steps.len(), 63, "no constant step");
}

#[test]
fn rfc7350_3_request_without_cookie_over_dtls_gets_an_error() {
    use relais::turn::Transport;
    let mut world = World::new();
    let client = Client::alice().over(Transport::Dtls);
    let mut request = binding();
    request[4..20].copy_from_slice(b"a classic number");
    let Out::Answer(answer) = world.feed(client.route, &request) else { panic!("an answer") };
    assert_eq!(answer[..4], [0x01, 0x11, 0, 8], "a Binding error response");
    assert_eq!(answer[4..20], request[4..20], "its transaction id has 16 bytes");
    assert_eq!(answer[20..], [0, 9, 0, 4, 0, 0, 5, 0]);
    // An indication has no answer, and what is not whole is no request.
    let mut indication = request.clone();
    indication[1] |= 0x10;
    assert!(world.feed(client.route, &indication).is_silent());
    assert!(world.feed(client.route, &[&request[..], &[0; 4]].concat()).is_silent());
    for transport in [Transport::Udp, Transport::Tcp, Transport::Tls] {
        let other = Client::alice().over(transport);
        assert!(world.feed(other.route, &request).is_silent(), "{transport:?}");
    }
}
