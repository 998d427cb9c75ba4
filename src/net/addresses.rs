//! Which addresses this machine has, and which of them relay.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use crate::sys::{self, InterfaceAddress};

/// An address that relay sockets are bound to, and what peers see in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayAddress {
    /// The local address.
    pub local: IpAddr,
    /// The address behind which a 1:1 NAT hides it; the same without one.
    pub public: IpAddr,
}

/// Why no relay addresses could be found.
#[derive(Debug)]
pub enum Error {
    /// The addresses of the machine cannot be listed.
    List(io::Error),
    /// An address of the configuration is not one of this machine.
    NotOurs {
        /// The address.
        wanted: IpAddr,
        /// The ones there are.
        have: Vec<IpAddr>,
    },
    /// Two relay addresses would have one public address, and what comes to it is for one of them.
    Twice {
        /// The public address.
        public: IpAddr,
    },
    /// There is no address but loopback, and not even that.
    None,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::List(error) => write!(
                f,
                "cannot list the addresses of this machine: {error}. Peers must not reach its own services, so a sandbox has to \
                 allow this (on Linux netlink sockets; for systemd AF_NETLINK in RestrictAddressFamilies)"
            ),
            Self::NotOurs { wanted, have } => {
                write!(f, "relay.addresses: {wanted} is not an address of this machine; it has ")?;
                for (i, ip) in have.iter().enumerate() {
                    write!(f, "{}{ip}", if i == 0 { "" } else { ", " })?;
                }
                f.write_str(". Take one of these, or \"auto\"; a public address that a 1:1 NAT maps goes to relay.external")
            }
            Self::Twice { public } => write!(
                f,
                "relay.external: {public} would be the public address of two relay addresses; name in relay.addresses the one \
                 that it leads to"
            ),
            Self::None => f.write_str(
                "relay.addresses: \"auto\" found no address to relay from; set relay.addresses to an address of this machine",
            ),
        }
    }
}

impl std::error::Error for Error {}

/// Every address of this machine whose interface is up.
///
/// # Errors
/// When the system cannot list them.
pub fn local() -> Result<Vec<IpAddr>, Error> {
    listed(|address| address.up)
}

/// Every address of this machine, sorted. Those of interfaces that are down are among them: they may be up any moment.
///
/// # Errors
/// When the system cannot list them.
pub fn own() -> Result<Vec<IpAddr>, Error> {
    listed(|_| true)
}

fn listed(wanted: impl Fn(&InterfaceAddress) -> bool) -> Result<Vec<IpAddr>, Error> {
    let addresses = sys::interface_addresses().map_err(Error::List)?;
    let mut ips: Vec<IpAddr> =
        addresses.iter().filter(|address| wanted(address)).map(|address| address.ip).collect();
    ips.sort_unstable();
    ips.dedup();
    Ok(ips)
}

/// Resolves the configured relay addresses; `None` stands for "auto": the addresses of the default routes.
///
/// # Errors
/// When an address is not ours, or none is found.
pub fn relay(
    wanted: &[Option<IpAddr>],
    external: &BTreeMap<IpAddr, IpAddr>,
) -> Result<Vec<RelayAddress>, Error> {
    let have = local()?;
    let mut found = Vec::new();
    for wanted in wanted {
        match wanted {
            Some(ip) if have.contains(ip) => found.push(*ip),
            Some(ip) => return Err(Error::NotOurs { wanted: *ip, have }),
            None => found.extend(automatic(&have)),
        }
    }
    let addresses = mapped(&found, external)?;
    if addresses.is_empty() { Err(Error::None) } else { Ok(addresses) }
}

/// Each local address once, with its public one, which no two have: only now is it known what "auto" stands for.
fn mapped(found: &[IpAddr], external: &BTreeMap<IpAddr, IpAddr>) -> Result<Vec<RelayAddress>, Error> {
    let mut addresses: Vec<RelayAddress> = Vec::new();
    for local in found.iter().copied() {
        if addresses.iter().any(|address| address.local == local) {
            continue;
        }
        let public = external.get(&local).copied().unwrap_or(local);
        if addresses.iter().any(|address| address.public == public) {
            return Err(Error::Twice { public });
        }
        addresses.push(RelayAddress { local, public });
    }
    Ok(addresses)
}

/// The addresses that the default routes of both families leave from; without any, some other address of the
/// machine, and loopback as the last resort.
fn automatic(have: &[IpAddr]) -> Vec<IpAddr> {
    // Connecting a UDP socket sends nothing; it only asks the routing table. Any public address will do.
    let outward = |bind: SocketAddr, to: SocketAddr| {
        let socket = UdpSocket::bind(bind).ok()?;
        socket.connect(to).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    let v4 = outward((Ipv4Addr::UNSPECIFIED, 0).into(), (Ipv4Addr::new(8, 8, 8, 8), 9).into());
    let v6 = outward(
        (Ipv6Addr::UNSPECIFIED, 0).into(),
        (Ipv6Addr::new(0x2001, 0x4860, 0x4860, 0, 0, 0, 0, 0x8888), 9).into(),
    );
    let mut found: Vec<IpAddr> = v4.into_iter().chain(v6).filter(|ip| !is_link_local(*ip)).collect();
    if found.is_empty() {
        let by_rank =
            |rank: fn(&IpAddr) -> bool| have.iter().copied().find(|ip| rank(ip) && !is_link_local(*ip));
        found.extend(
            by_rank(|ip| !ip.is_loopback() && ip.is_ipv4()).or_else(|| by_rank(|ip| !ip.is_loopback())),
        );
    }
    if found.is_empty() {
        found.extend(have.iter().copied().find(|ip| ip.is_loopback() && ip.is_ipv4()));
    }
    found
}

const fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.segments()[0] & 0xffc0 == 0xfe80,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_relay_addresses_have_one_public_address() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let external = BTreeMap::from([(ip("10.0.0.5"), ip("198.51.100.7"))]);
        let good = mapped(&["10.0.0.5", "10.0.0.6", "10.0.0.5"].map(ip), &external).unwrap();
        assert_eq!(
            good.iter().map(|address| address.public).collect::<Vec<_>>(),
            ["198.51.100.7", "10.0.0.6"].map(ip)
        );
        let error = mapped(&["10.0.0.5", "198.51.100.7"].map(ip), &external).unwrap_err();
        assert!(error.to_string().contains("198.51.100.7 would be the public address of two"), "{error}");
    }
}
