//! ClientHello as far as a server has to read it that keeps nothing, and the HelloVerifyRequest that answers it
//! (RFC 6347 §4.2.1).

use super::cookie::COOKIE_LEN;
use super::record::{RECORD_HEADER, Record, kind};

/// Bytes of a handshake message before its body.
const HANDSHAKE_HEADER: usize = 12;
/// The level of an alert that ends the handshake.
const FATAL: u8 = 2;
const CLIENT_HELLO: u8 = 1;
const HELLO_VERIFY_REQUEST: u8 = 3;
/// Certificate, CertificateVerify, ClientKeyExchange.
const REST_OF_HANDSHAKE: [u8; 3] = [11, 15, 16];
/// DTLS 1.0, in records and in the HelloVerifyRequest, whatever will be agreed on (RFC 6347 §4.2.1).
const VERSION_OF_VERIFY: [u8; 2] = [0xFE, 0xFF];
const VERSION_AND_RANDOM: usize = 2 + 32;
const EXTENSION_SERVER_NAME: u16 = 0;
const EXTENSION_ALPN: u16 = 16;

/// Length of the datagram that carries a HelloVerifyRequest: less than any ClientHello has.
#[cfg(test)]
const VERIFY_LEN: usize = RECORD_HEADER + HANDSHAKE_HEADER + 2 + 1 + COOKIE_LEN;

/// Whether a record carries a ClientHello that nothing protects, or a part of one.
pub(super) fn is_client_hello(record: &Record<'_>) -> bool {
    record.kind == kind::HANDSHAKE && record.epoch == 0 && record.fragment.first() == Some(&CLIENT_HELLO)
}

/// How many handshake messages a fragment holds, whole or in pieces. `None`: it holds something else than what a client
/// may send behind its hello.
pub(super) fn rest_of_handshake(fragment: &[u8]) -> Option<u16> {
    let (mut rest, mut pieces) = (fragment, 0u16);
    while let Some((header, after)) = rest.split_first_chunk::<HANDSHAKE_HEADER>() {
        let &[message, l0, l1, l2, _, _, o0, o1, o2, f0, f1, f2] = header;
        let number = |a, b, c| u32::from_be_bytes([0, a, b, c]);
        let (len, offset, piece) = (number(l0, l1, l2), number(o0, o1, o2), number(f0, f1, f2));
        let after = after.get(piece as usize..)?;
        if !REST_OF_HANDSHAKE.contains(&message) || offset + piece > len || piece == 0 {
            return None;
        }
        pieces = pieces.saturating_add(1);
        rest = after;
    }
    rest.is_empty().then_some(pieces)
}

/// A whole ClientHello.
pub(super) struct ClientHello<'a> {
    /// The number of its record.
    pub(super) sequence: u64,
    /// 0, or 1 when it answers a HelloVerifyRequest.
    pub(super) message: u16,
    record: &'a [u8],
    body: &'a [u8],
    /// Version, random and session id.
    before_cookie: &'a [u8],
    cookie: &'a [u8],
    /// Cipher suites and compression methods, both with their lengths.
    suites: &'a [u8],
    extensions: &'a [u8],
}

impl<'a> ClientHello<'a> {
    /// Reads a record. `None` when its ClientHello is malformed or in several fragments, which a server that keeps
    /// nothing cannot put together.
    pub(super) fn parse(record: &Record<'a>) -> Option<Self> {
        let (header, body) = record.fragment.split_first_chunk::<HANDSHAKE_HEADER>()?;
        let &[CLIENT_HELLO, l0, l1, l2, m0, m1, o0, o1, o2, f0, f1, f2] = header else { return None };
        let len = u32::from_be_bytes([0, l0, l1, l2]) as usize;
        if [o0, o1, o2] != [0; 3] || [f0, f1, f2] != [l0, l1, l2] || body.len() != len {
            return None;
        }
        let mut rest = body.get(VERSION_AND_RANDOM..)?;
        let session = vector8(&mut rest)?;
        let before_cookie = body.get(..VERSION_AND_RANDOM + 1 + session.len())?;
        let cookie = vector8(&mut rest)?;
        let from_suites = rest;
        let suites = vector16(&mut rest)?;
        let compressions = vector8(&mut rest)?;
        if session.len() > 32 || suites.len() < 2 || suites.len() % 2 != 0 || compressions.is_empty() {
            return None;
        }
        let suites = from_suites.get(..from_suites.len() - rest.len())?;
        let extensions = if rest.is_empty() { rest } else { vector16(&mut rest)? };
        rest.is_empty().then_some(Self {
            sequence: record.sequence,
            message: u16::from_be_bytes([m0, m1]),
            record: record.whole,
            body,
            before_cookie,
            cookie,
            suites,
            extensions,
        })
    }

    /// The record it came in.
    pub(super) const fn record(&self) -> &'a [u8] {
        self.record
    }

    /// The client's random bytes, which no two associations share.
    pub(super) fn random(&self) -> &'a [u8] {
        &self.body[2..VERSION_AND_RANDOM]
    }

    /// The cookie, or nothing.
    pub(super) const fn cookie(&self) -> &'a [u8] {
        self.cookie
    }

    /// What the client must repeat unchanged when it returns the cookie.
    pub(super) const fn parameters(&self) -> [&'a [u8]; 2] {
        [self.before_cookie, self.suites]
    }

    /// Whether a cipher suite is offered.
    pub(super) fn offers(&self, suite: u16) -> bool {
        let mut rest = self.suites;
        let suites = vector16(&mut rest).unwrap_or_default();
        suites.chunks_exact(2).any(|offered| offered == suite.to_be_bytes())
    }

    /// The host name that the client means (RFC 6066 §3).
    pub(super) fn server_name(&self) -> Option<&'a str> {
        let (&kind, mut name) = self.extension(EXTENSION_SERVER_NAME)?.split_first()?;
        if kind == 0 { str::from_utf8(vector16(&mut name)?).ok() } else { None }
    }

    /// Whether the client wants to speak other protocols only (RFC 7301 §3.1).
    pub(super) fn is_for_others(&self, protocols: &[&[u8]]) -> bool {
        let Some(mut offered) = self.extension(EXTENSION_ALPN) else { return false };
        !std::iter::from_fn(|| vector8(&mut offered)).any(|offer| protocols.contains(&offer))
    }

    /// The list that an extension carries.
    fn extension(&self, wanted: u16) -> Option<&'a [u8]> {
        let mut extensions = self.extensions;
        while let Some(id) = number16(&mut extensions) {
            let mut value = vector16(&mut extensions)?;
            if id == wanted {
                return vector16(&mut value);
            }
        }
        None
    }

    /// The record of the same hello as it was before the client had a cookie, numbered 0.
    pub(super) fn without_cookie(&self) -> Vec<u8> {
        let after = &self.body[self.before_cookie.len() + 1 + self.cookie.len()..];
        let body = [self.before_cookie, &[0], after].concat();
        handshake_record([0xFE, 0xFD], 0, CLIENT_HELLO, &body)
    }

    /// The answer that asks the client to come again with `cookie`. Its record has the number of the client's
    /// (RFC 6347 §4.2.1).
    pub(super) fn verify_request(&self, cookie: &[u8; COOKIE_LEN]) -> Vec<u8> {
        #[expect(clippy::cast_possible_truncation, reason = "it is 20")]
        let len = COOKIE_LEN as u8;
        let body = [&VERSION_OF_VERIFY[..], &[len], cookie].concat();
        handshake_record(VERSION_OF_VERIFY, self.sequence, HELLO_VERIFY_REQUEST, &body)
    }
}

/// The record of a fatal alert before there are keys.
pub(super) fn alert(sequence: u64, description: u8) -> Vec<u8> {
    let sequence = sequence.to_be_bytes();
    [&[kind::ALERT, 0xFE, 0xFD, 0, 0][..], &sequence[2..], &[0, 2, FATAL, description]].concat()
}

/// A record of epoch 0 with the whole message number 0 in it.
fn handshake_record(version: [u8; 2], sequence: u64, message: u8, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len()).unwrap_or(0).to_be_bytes();
    let len = &len[1..];
    let fragment = u16::try_from(HANDSHAKE_HEADER + body.len()).unwrap_or(0).to_be_bytes();
    let sequence = sequence.to_be_bytes();
    let mut bytes = Vec::with_capacity(RECORD_HEADER + HANDSHAKE_HEADER + body.len());
    for part in [
        &[kind::HANDSHAKE][..],
        &version,
        &[0, 0],
        &sequence[2..],
        &fragment,
        &[message],
        len,
        &[0, 0],
        &[0; 3],
        len,
        body,
    ] {
        bytes.extend_from_slice(part);
    }
    bytes
}

fn number16(rest: &mut &[u8]) -> Option<u16> {
    let (number, after) = rest.split_first_chunk::<2>()?;
    *rest = after;
    Some(u16::from_be_bytes(*number))
}

/// A vector with its length in one byte in front.
fn vector8<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (&len, after) = rest.split_first()?;
    let (vector, after) = after.split_at_checked(len.into())?;
    *rest = after;
    Some(vector)
}

/// A vector with its length in two bytes in front.
fn vector16<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = number16(rest)?;
    let (vector, after) = rest.split_at_checked(len.into())?;
    *rest = after;
    Some(vector)
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::record::records;
    use super::*;

    /// A datagram with a ClientHello, as clients send it.
    pub(in super::super) fn hello(sequence: u64, message: u16, cookie: &[u8], name: Option<&str>) -> Vec<u8> {
        let mut body = vec![0xFE, 0xFD];
        body.extend_from_slice(&[7; 32]);
        body.push(0);
        body.push(u8::try_from(cookie.len()).unwrap());
        body.extend_from_slice(cookie);
        body.extend_from_slice(&[0, 2, 0xC0, 0x2B, 1, 0]);
        let mut extensions = vec![0, 23, 0, 0];
        if let Some(name) = name {
            let len = u16::try_from(name.len()).unwrap();
            extensions.extend_from_slice(&[0, 0]);
            extensions.extend_from_slice(&(len + 5).to_be_bytes());
            extensions.extend_from_slice(&(len + 3).to_be_bytes());
            extensions.push(0);
            extensions.extend_from_slice(&len.to_be_bytes());
            extensions.extend_from_slice(name.as_bytes());
        }
        body.extend_from_slice(&u16::try_from(extensions.len()).unwrap().to_be_bytes());
        body.extend_from_slice(&extensions);
        let mut bytes = handshake_record([0xFE, 0xFF], sequence, CLIENT_HELLO, &body);
        bytes[RECORD_HEADER + 4..RECORD_HEADER + 6].copy_from_slice(&message.to_be_bytes());
        bytes
    }

    fn parse(bytes: &[u8]) -> Option<ClientHello<'_>> {
        ClientHello::parse(&records(bytes).next()?)
    }

    #[test]
    fn a_hello_is_read_and_its_parts_are_found() {
        let bytes = hello(5, 1, b"a cookie", Some("turn.example.org"));
        let read = parse(&bytes).unwrap();
        assert_eq!((read.sequence, read.message, read.cookie()), (5, 1, &b"a cookie"[..]));
        assert_eq!(read.random(), [7; 32]);
        assert_eq!(read.server_name(), Some("turn.example.org"));
        assert_eq!(parse(&hello(0, 0, b"", None)).unwrap().server_name(), None);
        assert_eq!(read.parameters(), parse(&hello(0, 0, b"", None)).unwrap().parameters());
        let first = read.without_cookie();
        let first = parse(&first).unwrap();
        assert_eq!((first.sequence, first.message, first.cookie().len()), (0, 0, 0));
        assert_eq!(first.server_name(), Some("turn.example.org"));
        assert!(!first.is_for_others(&[]), "it has said nothing");
    }

    #[test]
    fn rfc7301_3_1_a_client_may_want_others() {
        let mut bytes = hello(0, 0, b"", None);
        let offer = b"\x00\x10\x00\x16\x00\x14\x09stun.turn\x09http/1.11";
        bytes.truncate(bytes.len() - 4 - 2);
        bytes.extend_from_slice(&u16::try_from(offer.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(offer);
        let len = u16::try_from(bytes.len() - RECORD_HEADER).unwrap();
        bytes[11..13].copy_from_slice(&len.to_be_bytes());
        for at in [15, 23] {
            bytes[at..at + 2].copy_from_slice(&(len - 12).to_be_bytes());
        }
        let read = parse(&bytes).unwrap();
        assert!(!read.is_for_others(&[b"stun.turn"]) && !read.is_for_others(&[b"http/1.11"]));
        assert!(read.is_for_others(&[b"http/1.1", b"stun", b""]) && read.is_for_others(&[]));
    }

    #[test]
    fn a_hello_that_is_cut_or_has_one_byte_wrong_is_never_misread() {
        let bytes = hello(5, 1, b"a cookie", Some("turn.example.org"));
        for len in 0..bytes.len() {
            assert!(parse(&bytes[..len]).is_none());
        }
        for at in 0..bytes.len() {
            let mut wrong = bytes.clone();
            wrong[at] ^= 0xFF;
            if let Some(read) = parse(&wrong) {
                let _ = (read.server_name(), read.without_cookie(), read.verify_request(&[1; COOKIE_LEN]));
            }
        }
    }

    #[test]
    fn rfc6347_4_2_1_the_answer_is_smaller_than_any_hello_and_has_the_number_of_its_record() {
        let bytes = hello(0xABCD, 0, b"", None);
        let answer = parse(&bytes).unwrap().verify_request(&[9; COOKIE_LEN]);
        assert_eq!(answer.len(), VERIFY_LEN);
        // The shortest there is: no session, no cookie, one suite, one compression method, no extensions.
        const { assert!(VERIFY_LEN < RECORD_HEADER + HANDSHAKE_HEADER + VERSION_AND_RANDOM + 1 + 1 + 4 + 2) };
        let record = records(&answer).next().unwrap();
        assert_eq!((record.kind, record.epoch, record.sequence), (kind::HANDSHAKE, 0, 0xABCD));
        assert_eq!(record.fragment[0], HELLO_VERIFY_REQUEST);
        assert_eq!(record.fragment[12..15], [0xFE, 0xFF, 20]);
        assert_eq!(record.fragment[15..], [9; COOKIE_LEN]);
    }
}
