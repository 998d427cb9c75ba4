//! The two messages that carry data, read and written without copying these: Send and Data indications (RFC 8656 §11).
//! A client that binds no channels sends and gets nothing else.

use core::net::SocketAddr;
use core::ops::Range;

use super::integrity::fingerprint;
use super::{
    AddressFamily, AttributeType, Class, Datagram, HEADER_LEN, MAGIC_COOKIE, TransactionId, address, attr,
    header, method, padded,
};

/// What a Send indication says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendIndication {
    /// XOR-PEER-ADDRESS.
    pub peer: SocketAddr,
    /// Where in the message the value of DATA is.
    pub data: Range<usize>,
    /// Whether DONT-FRAGMENT is there.
    pub dont_fragment: bool,
}

impl SendIndication {
    /// The first bytes of every Send indication.
    pub const TYPE: [u8; 2] = header::join_type(method::SEND, Class::Indication).to_be_bytes();

    /// Reads the plain form: nothing but XOR-PEER-ADDRESS and DATA, once each, DONT-FRAGMENT and a right FINGERPRINT. `None`
    /// for all else, good or bad: [`Message::parse`](super::Message::parse) is for that.
    #[inline]
    pub fn read_plain(bytes: &[u8]) -> Option<Self> {
        let (&[_, _, l0, l1, c0, c1, c2, c3, ref id @ ..], body) = bytes.split_first_chunk::<HEADER_LEN>()?;
        let len = usize::from(u16::from_be_bytes([l0, l1]));
        let form = bytes.starts_with(&Self::TYPE) && [c0, c1, c2, c3] == MAGIC_COOKIE.to_be_bytes();
        if !form || len != body.len() || len % 4 != 0 {
            return None;
        }
        let (mut peer, mut data, mut dont_fragment) = (None, None, false);
        let mut rest = body;
        while let Some((&[k0, k1, l0, l1], tail)) = rest.split_first_chunk::<4>() {
            let len = usize::from(u16::from_be_bytes([l0, l1]));
            // The value is inside when its padding is.
            let (value, behind) = tail.split_at_checked(padded(len))?;
            match AttributeType(u16::from_be_bytes([k0, k1])) {
                attr::XOR_PEER_ADDRESS if peer.is_none() => peer = Some(value.get(..len)?),
                attr::DATA if data.is_none() => {
                    let start = bytes.len() - tail.len();
                    data = Some(start..start + len);
                }
                attr::DONT_FRAGMENT => dont_fragment = true,
                attr::FINGERPRINT if len == 4 && behind.is_empty() => {
                    let covered = bytes.get(..bytes.len() - rest.len())?;
                    if fingerprint(covered).to_be_bytes() != *value {
                        return None;
                    }
                }
                _ => return None,
            }
            rest = behind;
        }
        let peer = address::decode_xor_address(peer?, TransactionId(*id))?;
        Some(Self { peer, data: data?, dont_fragment })
    }
}

/// Puts the head of a Data indication in front of the data in `datagram` and padding behind them. Returns whether one
/// message can carry them and there was room.
pub fn push_data_head(datagram: &mut Datagram<'_>, peer: SocketAddr, transaction: TransactionId) -> bool {
    match address::xor(peer, transaction) {
        SocketAddr::V4(to) => {
            push::<8, 36>(datagram, transaction, AddressFamily::Ipv4, to.port(), &to.ip().octets())
        }
        SocketAddr::V6(to) => {
            push::<20, 48>(datagram, transaction, AddressFamily::Ipv6, to.port(), &to.ip().octets())
        }
    }
}

/// The same for an address attribute of `ADDRESS` bytes and a head of `HEAD`, so that all lengths are constants: each
/// packet to a client without channels pays for this.
#[inline]
fn push<const ADDRESS: u16, const HEAD: usize>(
    datagram: &mut Datagram<'_>,
    transaction: TransactionId,
    family: AddressFamily,
    port: u16,
    ip: &[u8],
) -> bool {
    let len = datagram.len();
    let (Ok(data), Ok(message)) = (u16::try_from(len), u16::try_from(HEAD - HEADER_LEN + padded(len))) else {
        return false;
    };
    let fields = [
        &header::join_type(method::DATA, Class::Indication).to_be_bytes()[..],
        &message.to_be_bytes(),
        &MAGIC_COOKIE.to_be_bytes(),
        &transaction.0,
        &attr::XOR_PEER_ADDRESS.0.to_be_bytes(),
        &ADDRESS.to_be_bytes(),
        &[0, family.number()],
        &port.to_be_bytes(),
        ip,
        &attr::DATA.0.to_be_bytes(),
        &data.to_be_bytes(),
    ];
    let mut head = [0; HEAD];
    let mut rest = &mut head[..];
    for field in fields {
        let Some((place, behind)) = rest.split_at_mut_checked(field.len()) else { return false };
        place.copy_from_slice(field);
        rest = behind;
    }
    datagram.pad();
    datagram.push(&head)
}
