//! The header with which a load balancer says whom a connection is from: PROXY protocol, versions 1 and 2.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The longest header that is read. Version 1 ends within 107 bytes by itself; in version 2 the rest is room for
/// fields that say more about the connection, which are passed over.
pub(super) const MAX_HEADER: usize = 2048;
/// The longest header of version 1, its line end included.
const MAX_LINE: usize = 107;
/// What version 1 begins with.
const WORD: &[u8] = b"PROXY ";
/// What version 2 begins with.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family and protocol, length.
const FIXED: usize = 16;

/// What the beginning of a connection says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Header {
    /// Too few bytes to tell.
    Incomplete,
    /// No header begins like this, or none that is of use for a stream.
    Invalid,
    /// The load balancer speaks for itself (health checks), or does not know for whom: the socket's addresses hold.
    Unknown {
        /// Bytes of the header.
        len: usize,
    },
    /// A client's connection.
    From {
        /// Bytes of the header.
        len: usize,
        /// The client.
        client: SocketAddr,
        /// Where the client has connected to.
        server: SocketAddr,
    },
}

impl Header {
    /// A load balancer that listens for both families on one socket may call a client of IPv4 `::ffff:a.b.c.d`. It is the
    /// client that it is without.
    fn from(len: usize, client: SocketAddr, server: SocketAddr) -> Self {
        let canonical = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
        Self::From { len, client: canonical(client), server: canonical(server) }
    }
}

/// Whether these bytes begin as a header does.
pub(super) fn is_header(bytes: &[u8]) -> bool {
    bytes.starts_with(WORD) || bytes.starts_with(&SIGNATURE)
}

/// Looks at the beginning of a connection.
pub(super) fn parse(bytes: &[u8]) -> Header {
    let seen = bytes.len().min(SIGNATURE.len());
    if SIGNATURE.starts_with(&bytes[..seen]) { binary(bytes) } else { line(bytes) }
}

fn line(bytes: &[u8]) -> Header {
    let seen = bytes.len().min(WORD.len());
    if !WORD.starts_with(&bytes[..seen]) {
        return Header::Invalid;
    }
    let window = &bytes[..bytes.len().min(MAX_LINE)];
    let Some(end) = window.windows(2).position(|pair| pair == b"\r\n") else {
        return if window.len() == MAX_LINE { Header::Invalid } else { Header::Incomplete };
    };
    let len = end + 2;
    let Ok(text) = std::str::from_utf8(&bytes[WORD.len()..end]) else { return Header::Invalid };
    let words: Vec<&str> = text.split(' ').collect();
    match words.as_slice() {
        ["UNKNOWN", ..] => Header::Unknown { len },
        [family, client, server, client_port, server_port] => {
            let address = |ip: &str, port: &str| -> Option<SocketAddr> {
                let ip: IpAddr = match *family {
                    "TCP4" => ip.parse::<Ipv4Addr>().ok()?.into(),
                    "TCP6" => ip.parse::<Ipv6Addr>().ok()?.into(),
                    _ => return None,
                };
                let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
                Some(SocketAddr::new(ip, port.parse().ok().filter(|_| is_number)?))
            };
            match (address(client, client_port), address(server, server_port)) {
                (Some(client), Some(server)) => Header::from(len, client, server),
                _ => Header::Invalid,
            }
        }
        _ => Header::Invalid,
    }
}

fn binary(bytes: &[u8]) -> Header {
    let Some([.., command, kind, high, low]) = bytes.get(..FIXED) else { return Header::Incomplete };
    let len = FIXED + usize::from(u16::from_be_bytes([*high, *low]));
    if command >> 4 != 2 || len > MAX_HEADER {
        return Header::Invalid;
    }
    let Some(body) = bytes.get(FIXED..len) else { return Header::Incomplete };
    match (command & 0x0F, kind) {
        (0, _) | (1, 0x00) => Header::Unknown { len },
        (1, 0x11) => addresses::<4>(body, len),
        (1, 0x21) => addresses::<16>(body, len),
        _ => Header::Invalid,
    }
}

/// Both addresses, then both ports; what follows are fields of no interest.
fn addresses<const OCTETS: usize>(body: &[u8], len: usize) -> Header
where
    IpAddr: From<[u8; OCTETS]>,
{
    let ip = |at: usize| -> Option<IpAddr> {
        Some(<[u8; OCTETS]>::try_from(body.get(at..at + OCTETS)?).ok()?.into())
    };
    let port =
        |at: usize| -> Option<u16> { Some(u16::from_be_bytes(body.get(at..at + 2)?.try_into().ok()?)) };
    let all = || Some((ip(0)?, ip(OCTETS)?, port(2 * OCTETS)?, port(2 * OCTETS + 2)?));
    match all() {
        Some((client, server, client_port, server_port)) => {
            Header::from(len, SocketAddr::new(client, client_port), SocketAddr::new(server, server_port))
        }
        None => Header::Invalid,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(command: u8, kind: u8, body: &[u8]) -> Vec<u8> {
        let len = u16::try_from(body.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, kind], &len, body].concat()
    }

    fn from(len: usize, client: &str, server: &str) -> Header {
        Header::From { len, client: client.parse().unwrap(), server: server.parse().unwrap() }
    }

    const V4: [u8; 12] = [8, 34, 2, 1, 10, 0, 0, 5, 0xC0, 0x01, 0x0D, 0x96];

    #[test]
    fn version_1_names_client_and_server() {
        let text = b"PROXY TCP4 8.34.2.1 10.0.0.5 49153 3478\r\n";
        assert_eq!(parse(text), from(text.len(), "8.34.2.1:49153", "10.0.0.5:3478"));
        let text = b"PROXY TCP6 2a01:4f8::1 2a01:4f8::2 1 5349\r\n\0\x01";
        assert_eq!(parse(text), from(text.len() - 2, "[2a01:4f8::1]:1", "[2a01:4f8::2]:5349"));
        assert_eq!(parse(b"PROXY UNKNOWN\r\n"), Header::Unknown { len: 15 });
        assert_eq!(parse(b"PROXY UNKNOWN ff::1 ff::2 1 2\r\n"), Header::Unknown { len: 31 });
    }

    #[test]
    fn version_2_names_client_and_server_and_fields_are_passed_over() {
        assert_eq!(parse(&v2(0x21, 0x11, &V4)), from(28, "8.34.2.1:49153", "10.0.0.5:3478"));
        let longer = [&V4[..], &[4, 0, 3, 1, 2, 3]].concat();
        assert_eq!(
            parse(&[v2(0x21, 0x11, &longer), vec![0; 9]].concat()),
            from(34, "8.34.2.1:49153", "10.0.0.5:3478")
        );
        let mut v6 = [0; 36];
        (v6[15], v6[31], v6[33], v6[35]) = (1, 2, 3, 4);
        assert_eq!(parse(&v2(0x21, 0x21, &v6)), from(52, "[::1]:3", "[::2]:4"));
        assert_eq!(parse(&v2(0x20, 0x00, &[])), Header::Unknown { len: 16 });
        assert_eq!(parse(&v2(0x20, 0x11, &V4)), Header::Unknown { len: 28 });
        assert_eq!(parse(&v2(0x21, 0x00, &[1, 2, 3])), Header::Unknown { len: 19 });
    }

    #[test]
    fn a_client_of_ipv4_is_one_however_it_is_written() {
        let text = b"PROXY TCP6 ::ffff:8.34.2.1 ::ffff:10.0.0.5 49153 3478\r\n";
        assert_eq!(parse(text), from(text.len(), "8.34.2.1:49153", "10.0.0.5:3478"));
        let mapped = |v4: [u8; 4]| [&[0; 10][..], &[0xFF, 0xFF], &v4].concat();
        let body = [mapped([8, 34, 2, 1]), mapped([10, 0, 0, 5]), V4[8..].to_vec()].concat();
        assert_eq!(parse(&v2(0x21, 0x21, &body)), from(52, "8.34.2.1:49153", "10.0.0.5:3478"));
    }

    #[test]
    fn every_beginning_of_a_header_is_waited_for() {
        let headers = [b"PROXY TCP4 8.34.2.1 10.0.0.5 49153 3478\r\n".to_vec(), v2(0x21, 0x11, &V4)];
        for header in headers {
            for cut in 0..header.len() {
                assert_eq!(parse(&header[..cut]), Header::Incomplete, "{cut} bytes of {header:?}");
            }
        }
    }

    #[test]
    fn what_is_no_header_is_refused_as_soon_as_it_shows() {
        let long_line = [b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 93]].concat();
        let mut long = v2(0x21, 0x11, &V4);
        long[14..16].copy_from_slice(&2033_u16.to_be_bytes());
        for bytes in [
            &b"GET / HTTP/1.1\r\n"[..],
            &[0, 1, 0, 0],
            &[0x16, 3, 1],
            b"PROXY TCP4 8.34.2.1 10.0.0.5 49153\r\n",
            b"PROXY TCP4 ::1 ::2 1 2\r\n",
            b"PROXY TCP6 8.34.2.1 10.0.0.5 1 2\r\n",
            b"PROXY TCP4 8.34.2.1 10.0.0.5 +1 2\r\n",
            b"PROXY TCP4 8.34.2.1 10.0.0.5 1 65536\r\n",
            b"PROXY UDP4 8.34.2.1 10.0.0.5 1 2\r\n",
            b"PROXY  TCP4 8.34.2.1 10.0.0.5 1 2\r\n",
            &long_line,
            &long,
            &v2(0x11, 0x11, &V4),
            &v2(0x22, 0x11, &V4),
            &v2(0x21, 0x12, &V4),
            &v2(0x21, 0x31, &[0; 216]),
            &v2(0x21, 0x11, &V4[..11]),
            &v2(0x21, 0x21, &V4),
        ] {
            assert_eq!(parse(bytes), Header::Invalid, "{bytes:?}");
        }
    }
}
