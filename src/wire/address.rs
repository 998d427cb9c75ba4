//! Transport addresses in attributes, plain and XORed (RFC 8489 §14.1, §14.2).

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{MAGIC_COOKIE, TransactionId};

/// The address families of STUN, with their numbers on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AddressFamily {
    /// 0x01.
    Ipv4,
    /// 0x02.
    Ipv6,
}

impl AddressFamily {
    /// The family of an address.
    pub const fn of(address: &IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::Ipv4,
            IpAddr::V6(_) => Self::Ipv6,
        }
    }

    /// Its number on the wire.
    pub const fn number(self) -> u8 {
        match self {
            Self::Ipv4 => 1,
            Self::Ipv6 => 2,
        }
    }

    /// The family with this number.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Ipv4),
            2 => Some(Self::Ipv6),
            _ => None,
        }
    }
}

/// Reads the value of an address attribute that is not XORed. `None` unless family and length fit exactly.
#[inline]
pub fn decode_address(value: &[u8]) -> Option<SocketAddr> {
    let (&[_, family, p0, p1], address) = value.split_first_chunk::<4>()?;
    let ip = match AddressFamily::from_number(family)? {
        AddressFamily::Ipv4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(address).ok()?)),
        AddressFamily::Ipv6 => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(address).ok()?)),
    };
    Some(SocketAddr::new(ip, u16::from_be_bytes([p0, p1])))
}

/// Reads the value of an XOR-…-ADDRESS attribute. `None` unless family and length fit exactly.
#[inline]
pub fn decode_xor_address(value: &[u8], transaction: TransactionId) -> Option<SocketAddr> {
    Some(xor(decode_address(value)?, transaction))
}

/// XORs an address with the cookie and the transaction id; doing it twice gives the address back.
#[inline]
pub(super) fn xor(address: SocketAddr, transaction: TransactionId) -> SocketAddr {
    let port = address.port() ^ (MAGIC_COOKIE >> 16) as u16;
    let ip = match address.ip() {
        IpAddr::V4(ip) => IpAddr::V4(Ipv4Addr::from(u32::from(ip) ^ MAGIC_COOKIE)),
        IpAddr::V6(ip) => {
            let mut mask = [0; 16];
            let (head, tail) = mask.split_at_mut(4);
            head.copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
            tail.copy_from_slice(&transaction.0);
            IpAddr::V6(Ipv6Addr::from(u128::from(ip) ^ u128::from_be_bytes(mask)))
        }
    };
    SocketAddr::new(ip, port)
}

/// Writes the value of an address attribute, 8 or 20 bytes, and returns its length. `out` must hold 20.
pub(super) fn encode_address(address: SocketAddr, out: &mut [u8; 20]) -> usize {
    let [_, family, p0, p1, ip @ ..] = out;
    *family = AddressFamily::of(&address.ip()).number();
    [*p0, *p1] = address.port().to_be_bytes();
    match address.ip() {
        IpAddr::V4(v4) => {
            for (byte, octet) in ip.iter_mut().zip(v4.octets()) {
                *byte = octet;
            }
            8
        }
        IpAddr::V6(v6) => {
            *ip = v6.octets();
            20
        }
    }
}
