//! Writing Data indications around data that stay where they are (RFC 8656 §11.3).

use core::net::{IpAddr, SocketAddr};

use super::{Class, Datagram, HEADER_LEN, MAGIC_COOKIE, TransactionId, address, attr, header, method, padded};

/// Puts the head of a Data indication in front of the data in `datagram` and padding behind them. Returns whether one
/// message can carry them and there was room.
pub fn push_data_head(datagram: &mut Datagram<'_>, peer: SocketAddr, transaction: TransactionId) -> bool {
    let peer = address::xor(peer, transaction);
    match peer.ip() {
        IpAddr::V4(ip) => push::<8, 36>(datagram, transaction, 1, peer.port(), &ip.octets()),
        IpAddr::V6(ip) => push::<20, 48>(datagram, transaction, 2, peer.port(), &ip.octets()),
    }
}

/// The same for an address attribute of `ADDRESS` bytes and a head of `HEAD`, so that all lengths are constants: each
/// packet to a client without channels pays for this.
#[inline]
fn push<const ADDRESS: u16, const HEAD: usize>(
    datagram: &mut Datagram<'_>,
    transaction: TransactionId,
    family: u8,
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
        &[0, family],
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
    datagram.pad() && datagram.push(&head)
}
