//! Reads any bytes as RFC 8489 §5 and §14 say, for the oracle and for clients. Nothing here comes from the server.

use std::net::{IpAddr, SocketAddr};

use super::world::{FINGERPRINT, MI, MI256, crc32, hmac, sha1, sha256};

/// A well-formed message.
pub struct Seen<'a> {
    pub bytes: &'a [u8],
    pub method: u16,
    /// 0 request, 1 indication, 2 success, 3 error.
    pub class: u16,
    pub tid: [u8; 12],
    /// What stands in front of the integrity.
    pub attributes: Vec<(u16, &'a [u8])>,
    /// Offset and length of the integrity that counts, and which of the two it is.
    pub integrity: Option<(u16, usize, usize)>,
    pub fingerprint: Option<bool>,
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// `None` for what has to meet silence because of its form.
pub fn read(bytes: &[u8]) -> Option<Seen<'_>> {
    if bytes.len() < 20 || bytes[0] & 0xC0 != 0 || bytes[4..8] != [0x21, 0x12, 0xA4, 0x42] {
        return None;
    }
    let len = usize::from(u16_at(bytes, 2));
    if len % 4 != 0 || len + 20 != bytes.len() {
        return None;
    }
    let kind = u16_at(bytes, 0);
    let mut seen = Seen {
        bytes,
        method: kind & 0xF | kind >> 1 & 0x70 | kind >> 2 & 0xF80,
        class: kind >> 4 & 1 | kind >> 7 & 2,
        tid: bytes[8..20].try_into().unwrap(),
        attributes: Vec::new(),
        integrity: None,
        fingerprint: None,
    };
    let mut at = 20;
    let mut open = true;
    while at < bytes.len() {
        if seen.fingerprint.is_some() {
            // §14.7: it must be the last.
            return None;
        }
        let kind = u16_at(bytes, at);
        let len = usize::from(u16_at(bytes, at + 2));
        let value = bytes.get(at + 4..at + 4 + len)?;
        match kind {
            MI if seen.integrity.is_none() => {
                seen.integrity = Some((MI, at, len));
                open = false;
            }
            // With both, the stronger one counts (§9.2.4).
            MI256 if seen.integrity.is_none_or(|(kind, _, _)| kind == MI) => {
                seen.integrity = Some((MI256, at, len));
                open = false;
            }
            FINGERPRINT => {
                let value = <[u8; 4]>::try_from(value).ok()?;
                seen.fingerprint = Some((crc32(&bytes[..at]) ^ 0x5354_554E).to_be_bytes() == value);
                open = false;
            }
            _ if open => seen.attributes.push((kind, value)),
            _ => {}
        }
        at = (at + 4 + len).next_multiple_of(4);
    }
    (at == bytes.len()).then_some(seen)
}

impl<'a> Seen<'a> {
    pub fn get(&self, kind: u16) -> Option<&'a [u8]> {
        self.attributes.iter().find(|found| found.0 == kind).map(|found| found.1)
    }

    pub fn all(&self, kind: u16) -> impl Iterator<Item = &'a [u8]> + '_ {
        self.attributes.iter().filter(move |found| found.0 == kind).map(|found| found.1)
    }

    /// Whether the integrity is right under `key`; a truncated one never is.
    pub fn verifies(&self, key: &[u8]) -> bool {
        let Some((kind, place, len)) = self.integrity else { return false };
        let size = if kind == MI { 20 } else { 32 };
        let hash = if kind == MI { sha1 } else { sha256 };
        if len != size {
            return false;
        }
        let mut covered = self.bytes[..place].to_vec();
        covered[2..4].copy_from_slice(&((place + 4 + size - 20) as u16).to_be_bytes());
        hmac(hash, key, &covered) == self.bytes[place + 4..place + 4 + size]
    }

    /// An XORed address (§14.2); `None` unless family and length fit.
    pub fn address(&self, value: &[u8]) -> Option<SocketAddr> {
        let mask: Vec<u8> = [0x21, 0x12, 0xA4, 0x42].into_iter().chain(self.tid).collect();
        let octets: Vec<u8> = value.get(4..)?.iter().zip(&mask).map(|(octet, mask)| octet ^ mask).collect();
        let ip = match (value[1], value.len()) {
            (1, 8) => IpAddr::from(<[u8; 4]>::try_from(octets).unwrap()),
            (2, 20) => IpAddr::from(<[u8; 16]>::try_from(octets).unwrap()),
            _ => return None,
        };
        Some(SocketAddr::new(ip, u16_at(value, 2) ^ 0x2112))
    }

    /// The number of an error response, 0 without one.
    pub fn code(&self) -> u16 {
        match self.get(0x0009) {
            Some([_, _, class, number, ..]) => u16::from(*class) * 100 + u16::from(*number),
            _ => 0,
        }
    }
}

/// A number of four bytes.
pub fn word(value: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(value.try_into().ok()?))
}
