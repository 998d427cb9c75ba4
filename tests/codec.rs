//! The codec against the published vectors, against the `stun` crate, and against itself.

#![allow(unreachable_pub, clippy::unwrap_used, clippy::cast_possible_truncation, reason = "test code")]

#[path = "support/vectors.rs"]
mod vectors;

use std::net::{IpAddr, SocketAddr};

use proptest::prelude::*;
use relais::wire::{
    AttributeType, Class, Integrity, IntegrityKey, Message, MessageWriter, Method, TransactionId, attr,
};
use stun::attributes::AttrType;
use stun::fingerprint::FINGERPRINT;
use stun::integrity::MessageIntegrity;
use stun::message::Setter as _;
use stun::xoraddr::XorMappedAddress;
use vectors::*;

const SHORT_TERM: &[u8] = b"VOkJxbRl1RmTxUk/WvJxBt";

fn text(message: &Message<'_>, kind: AttributeType) -> String {
    String::from_utf8(message.get(kind).unwrap().to_vec()).unwrap()
}

#[test]
fn rfc5769_2_1_sample_request() {
    let message = Message::parse(SAMPLE_REQUEST).unwrap();
    assert_eq!((message.method(), message.class()), (Method(1), Class::Request));
    assert_eq!(text(&message, attr::USERNAME), "evtj:h6vY");
    assert_eq!(text(&message, attr::SOFTWARE), "STUN test client");
    assert!(message.has_fingerprint() && message.fingerprint_holds());
    assert!(message.verify(&IntegrityKey::new(SHORT_TERM)));
    assert!(!message.verify(&IntegrityKey::new(b"another password")));
}

#[test]
fn rfc5769_2_2_sample_ipv4_response() {
    let message = Message::parse(SAMPLE_IPV4_RESPONSE).unwrap();
    assert_eq!(message.class(), Class::SuccessResponse);
    assert_eq!(text(&message, attr::SOFTWARE), "test vector");
    let mapped = message.xor_address(message.get(attr::XOR_MAPPED_ADDRESS).unwrap());
    assert_eq!(mapped, Some("192.0.2.1:32853".parse().unwrap()));
    assert!(message.fingerprint_holds() && message.verify(&IntegrityKey::new(SHORT_TERM)));
}

#[test]
fn rfc5769_2_3_sample_ipv6_response() {
    let message = Message::parse(SAMPLE_IPV6_RESPONSE).unwrap();
    let mapped = message.xor_address(message.get(attr::XOR_MAPPED_ADDRESS).unwrap());
    assert_eq!(mapped, Some("[2001:db8:1234:5678:11:2233:4455:6677]:32853".parse().unwrap()));
    assert!(message.fingerprint_holds() && message.verify(&IntegrityKey::new(SHORT_TERM)));
}

#[test]
fn rfc5769_2_4_sample_request_with_long_term_authentication() {
    use md5::Digest as _;
    let message = Message::parse(SAMPLE_LONG_TERM_REQUEST).unwrap();
    assert_eq!(text(&message, attr::USERNAME), "マトリックス");
    assert_eq!(text(&message, attr::REALM), "example.org");
    assert_eq!(text(&message, attr::NONCE), "f//499k954d6OL34oL9FSTvy64sA");
    assert_eq!(message.integrity(), Some(Integrity::Sha1));
    let key = md5::Md5::digest("マトリックス:example.org:TheMatrIX");
    assert!(message.verify(&IntegrityKey::new(&key)));
}

#[test]
fn rfc8489_b_1_sample_request_with_sha256_and_userhash() {
    use hmac::{KeyInit as _, Mac as _};
    use sha2::Digest as _;
    // The length field of the printed vector, 0x9c, counts the header too: the message as printed is malformed.
    assert!(Message::parse(SAMPLE_SHA256_REQUEST).is_err());
    let mut bytes = SAMPLE_SHA256_REQUEST.to_vec();
    bytes[3] = 0x88;
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(text(&message, attr::NONCE), "obMatJos2AAACf//499k954d6OL34oL9FSTvy64sA");
    assert_eq!(message.integrity(), Some(Integrity::Sha256));
    let hash = relais::auth::userhash("マトリックス".as_bytes(), b"example.org");
    assert_eq!(message.get(attr::USERHASH), Some(&hash[..]));
    // Its HMAC was made over that wrong length, with the SHA-256 key.
    let key = sha2::Sha256::digest("マトリックス:example.org:TheMatrIX");
    let (covered, tail) = SAMPLE_SHA256_REQUEST.split_at(SAMPLE_SHA256_REQUEST.len() - 36);
    let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(&key).unwrap();
    mac.update(covered);
    assert_eq!(mac.finalize().into_bytes()[..], tail[4..]);
    // With the right length it has to be made again; then ours agrees.
    let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(&key).unwrap();
    let start = bytes.len() - 32;
    mac.update(&bytes[..start - 4]);
    let value = mac.finalize().into_bytes();
    bytes[start..].copy_from_slice(&value);
    assert!(Message::parse(&bytes).unwrap().verify(&IntegrityKey::new(&key)));
}

#[test]
fn rfc5769_every_truncation_is_refused() {
    for (name, bytes) in ALL {
        for end in 0..bytes.len() {
            assert!(Message::parse(&bytes[..end]).is_err(), "{name} cut at {end}");
        }
    }
}

#[test]
fn rfc5769_every_change_of_one_byte_is_noticed_and_never_panics() {
    let key = IntegrityKey::new(SHORT_TERM);
    for (name, bytes) in &ALL[..3] {
        for at in 0..bytes.len() {
            for value in 0..=255u8 {
                let mut changed = bytes.to_vec();
                changed[at] = value;
                let Ok(message) = Message::parse(&changed) else { continue };
                for attribute in message.attributes() {
                    message.xor_address(attribute.value);
                }
                let holds = message.fingerprint_holds() && message.has_fingerprint();
                let verified = message.verify(&key);
                assert_eq!(holds && verified, changed == *bytes, "{name} byte {at} = {value}");
            }
        }
    }
    for (_, bytes) in &ALL[3..] {
        for at in 0..bytes.len() {
            for value in 0..=255u8 {
                let mut changed = bytes.to_vec();
                changed[at] = value;
                if let Ok(message) = Message::parse(&changed) {
                    message.verify(&key);
                    assert!(message.attributes().count() < 40);
                }
            }
        }
    }
}

/// Types that end no walk and mean nothing special to either codec.
fn kinds() -> impl Strategy<Value = u16> {
    any::<u16>().prop_filter("plain types", |kind| ![0x0008, 0x001C, 0x8028, 0x8020].contains(kind))
}

fn attributes() -> impl Strategy<Value = Vec<(u16, Vec<u8>)>> {
    prop::collection::vec((kinds(), prop::collection::vec(any::<u8>(), 0..70)), 0..12)
}

fn addresses() -> impl Strategy<Value = SocketAddr> {
    prop_oneof![
        (any::<[u8; 4]>(), any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(IpAddr::from(ip), port)),
        (any::<[u8; 16]>(), any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(IpAddr::from(ip), port)),
    ]
}

fn classes() -> impl Strategy<Value = Class> {
    prop::sample::select(vec![
        Class::Request,
        Class::Indication,
        Class::SuccessResponse,
        Class::ErrorResponse,
    ])
}

/// The 14-bit type by the C snippet of RFC 8489, appendix A.
fn type_by_the_appendix(method: u16, class: Class) -> u16 {
    let class = match class {
        Class::Request => 0u16,
        Class::Indication => 1,
        Class::SuccessResponse => 2,
        Class::ErrorResponse => 3,
    };
    (method & 0x1F80) << 2
        | (method & 0x0070) << 1
        | (method & 0x000F)
        | (class & 0x0002) << 7
        | (class & 0x0001) << 4
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn rfc8489_what_the_stun_crate_writes_is_read_alike(
        tid in any::<[u8; 12]>(), method in 0u16..0x1000, class in classes(), all in attributes(),
        address in addresses(), key in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        let mut theirs = stun::message::Message::new();
        theirs.transaction_id.0 = tid;
        theirs.typ.read_value(type_by_the_appendix(method, class));
        theirs.write_header();
        for (kind, value) in &all {
            theirs.add(AttrType(*kind), value);
        }
        XorMappedAddress { ip: address.ip(), port: address.port() }
            .add_to_as(&mut theirs, AttrType(0x0012)).unwrap();
        MessageIntegrity(key.clone()).add_to(&mut theirs).unwrap();
        FINGERPRINT.add_to(&mut theirs).unwrap();
        let ours = Message::parse(&theirs.raw).unwrap();
        prop_assert_eq!((ours.method(), ours.class(), ours.transaction()), (Method(method), class, TransactionId(tid)));
        let read: Vec<(u16, Vec<u8>)> = ours.attributes().map(|one| (one.kind.0, one.value.to_vec())).collect();
        prop_assert_eq!(&read[..all.len()], &all[..]);
        prop_assert_eq!(ours.xor_address(&read[all.len()].1), Some(address));
        prop_assert!(ours.has_fingerprint() && ours.fingerprint_holds());
        prop_assert!(ours.verify(&IntegrityKey::new(&key)));
    }

    #[test]
    fn rfc8489_what_we_write_the_stun_crate_reads_alike(
        tid in any::<[u8; 12]>(), method in 0u16..0x1000, class in classes(), all in attributes(),
        address in addresses(), key in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        let mut buffer = [0xEE; 4096];
        let mut writer = MessageWriter::to(&mut buffer, Method(method), class, TransactionId(tid));
        for (kind, value) in &all {
            writer.attribute(AttributeType(*kind), value);
        }
        writer.xor_address(AttributeType(0x0020), address);
        writer.message_integrity(&IntegrityKey::new(&key)).fingerprint();
        let len = writer.finish().unwrap();
        let mut theirs = stun::message::Message::new();
        theirs.unmarshal_binary(&buffer[..len]).unwrap();
        prop_assert_eq!(theirs.transaction_id.0, tid);
        prop_assert_eq!(theirs.typ.value(), type_by_the_appendix(method, class));
        let read: Vec<(u16, Vec<u8>)> =
            theirs.attributes.0.iter().map(|one| (one.typ.value(), one.value.clone())).collect();
        prop_assert_eq!(&read[..all.len()], &all[..]);
        if !all.iter().any(|(kind, _)| *kind == 0x0020) {
            let mut mapped = XorMappedAddress::default();
            mapped.get_from_as(&theirs, AttrType(0x0020)).unwrap();
            prop_assert_eq!(SocketAddr::new(mapped.ip, mapped.port), address);
        }
        MessageIntegrity(key).check(&mut theirs).unwrap();
        FINGERPRINT.check(&theirs).unwrap();
    }

    #[test]
    fn rfc8489_what_we_write_we_read(
        tid in any::<[u8; 12]>(), method in 0u16..0x1000, class in classes(), all in attributes(),
        address in addresses(), key in prop::collection::vec(any::<u8>(), 0..80), sha256: bool, printed: bool,
    ) {
        let mut buffer = [0xEE; 4096];
        let mut writer = MessageWriter::to(&mut buffer, Method(method), class, TransactionId(tid));
        for (kind, value) in &all {
            writer.attribute(AttributeType(*kind), value);
        }
        writer.xor_address(attr::XOR_RELAYED_ADDRESS, address);
        let key = IntegrityKey::new(&key);
        if sha256 { writer.message_integrity_sha256(&key) } else { writer.message_integrity(&key) };
        if printed { writer.fingerprint(); }
        let len = writer.finish().unwrap();
        let ours = Message::parse(&buffer[..len]).unwrap();
        let read: Vec<(u16, Vec<u8>)> = ours.attributes().map(|one| (one.kind.0, one.value.to_vec())).collect();
        prop_assert_eq!(&read[..all.len()], &all[..]);
        prop_assert_eq!(ours.xor_address(&read[all.len()].1), Some(address));
        let expected = if sha256 { Integrity::Sha256 } else { Integrity::Sha1 };
        prop_assert_eq!(ours.integrity(), Some(expected));
        prop_assert!(ours.verify(&key));
        prop_assert_eq!(ours.has_fingerprint(), printed);
        prop_assert!(ours.fingerprint_holds());
    }

    #[test]
    fn rfc8489_a_writer_without_room_says_so_and_writes_no_half_attribute(
        all in attributes(), room in 0usize..400,
    ) {
        let mut buffer = vec![0xEE; room];
        let mut writer = MessageWriter::to(&mut buffer, Method(1), Class::Request, TransactionId([7; 12]));
        for (kind, value) in &all {
            writer.attribute(AttributeType(*kind), value);
        }
        let needed: usize = 20 + all.iter().map(|(_, value)| 4 + value.len().next_multiple_of(4)).sum::<usize>();
        match writer.finish() {
            Some(len) => {
                prop_assert_eq!(len, needed);
                prop_assert!(Message::parse(&buffer[..len]).is_ok());
            }
            None => prop_assert!(needed > room),
        }
    }

    #[test]
    fn rfc8489_bytes_of_any_kind_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut bytes = bytes;
        if bytes.len() >= 20 {
            // Past the header, into the attributes.
            let len = (bytes.len() - 20) / 4 * 4;
            bytes.truncate(20 + len);
            bytes[0] &= 0x3F;
            bytes[2..4].copy_from_slice(&(len as u16).to_be_bytes());
            bytes[4..8].copy_from_slice(&[0x21, 0x12, 0xA4, 0x42]);
        }
        if let Ok(message) = Message::parse(&bytes) {
            for one in message.attributes() {
                message.xor_address(one.value);
            }
            message.verify(&IntegrityKey::new(b"key"));
            message.fingerprint_holds();
        }
    }
}
