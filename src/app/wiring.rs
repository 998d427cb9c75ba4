//! From what the operator decided to what the layers below take.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::Error;
use crate::auth::{self, Authenticator, Credential};
use crate::config::{self, PeerRule, RelayAddress as Wanted, Settings, UserCredential};
use crate::net::{self, RelayAddress};
use crate::turn::{self, PeerPolicy, PolicyRule};

/// Random numbers that are drawn once and live as long as the process.
pub(super) struct Keys {
    nonce: [u8; 32],
    tickets: [u8; 32],
    seed: [u64; 4],
}

impl Keys {
    pub(super) fn random() -> Result<Self, Error> {
        let (mut nonce, mut tickets, mut words) = ([0; 32], [0; 32], [0; 32]);
        for bytes in [&mut nonce, &mut tickets, &mut words] {
            getrandom::fill(bytes).map_err(Error::new)?;
        }
        let mut seed = [0; 4];
        for (word, chunk) in seed.iter_mut().zip(words.chunks_exact(8)) {
            *word = chunk.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
        }
        Ok(Self { nonce, tickets, seed })
    }
}

/// The addresses that relay sockets are bound to.
pub(super) fn relay_addresses(settings: &Settings) -> Result<Vec<RelayAddress>, Error> {
    let wanted = settings.relay.addresses.iter().map(|address| match address {
        Wanted::Auto => None,
        Wanted::Ip(ip) => Some(*ip),
    });
    net::relay_addresses(&wanted.collect::<Vec<_>>(), &settings.relay.external).map_err(Error::new)
}

/// Settings of the protocol core.
pub(super) fn turn_settings(
    settings: &Settings,
    relay: &[RelayAddress],
    keys: &Keys,
) -> Result<turn::Settings, Error> {
    Ok(turn::Settings {
        authenticator: Arc::new(authenticator(settings, keys)?),
        policy: Arc::new(policy(settings, relay)?),
        limits: turn::Limits {
            permissions: settings.limits.permissions_per_allocation as usize,
            channels: settings.limits.channels_per_allocation as usize,
            connections: settings.limits.connections_per_allocation as usize,
            max_lifetime: settings.limits.max_lifetime,
        },
        ipv4: relay.iter().any(|address| address.local.is_ipv4()),
        ipv6: relay.iter().any(|address| address.local.is_ipv6()),
        family_default: match settings.relay.family_default {
            config::FamilyDefault::Ipv4 => turn::FamilyDefault::Ipv4,
            config::FamilyDefault::Follow => turn::FamilyDefault::Follow,
        },
        alternates: turn::Alternates {
            servers: settings.redirect.servers.clone(),
            domain: Some(settings.redirect.domain.as_str().into())
                .filter(|domain: &Arc<str>| !domain.is_empty()),
            only_draining: settings.redirect.when == config::RedirectWhen::Draining,
        },
        mobility: settings.relay.mobility,
        discovery: discovery(settings),
        tcp: settings.relay.tcp,
    })
}

/// What the workers are told at the start.
pub(super) fn options(
    settings: &Settings,
    relay: &[RelayAddress],
    keys: &Keys,
) -> Result<net::Options, Error> {
    let workers = match settings.listen.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        workers => workers,
    };
    Ok(net::Options {
        udp: udp_listeners(settings),
        tcp: settings.listen.tcp.clone(),
        tls: settings.listen.tls.clone(),
        tls_config: None,
        web: None,
        challenge: None,
        proxies: settings.listen.proxy_from.clone(),
        dtls: settings.listen.dtls.clone(),
        dtls_identity: None,
        lenient: !settings.listen.explicit,
        workers,
        pin_workers: settings.listen.pin_workers,
        relay_addresses: relay.to_vec(),
        ports: settings.relay.ports.clone(),
        turn: turn_settings(settings, relay, keys)?,
        allocations_per_user: settings.limits.allocations_per_user,
        streams_per_address: settings.limits.streams_per_address,
        seed: keys.seed,
        ticket_key: keys.tickets,
        revoked: Arc::default(),
        witness: None,
    })
}

fn authenticator(settings: &Settings, keys: &Keys) -> Result<Authenticator, Error> {
    let users = settings.auth.users.iter().map(|user| {
        let credential = match &user.credential {
            UserCredential::Password(password) => {
                Credential::Password(Zeroizing::new(password.expose().to_owned()))
            }
            UserCredential::Key(key) => {
                match (<[u8; 16]>::try_from(&key[..]), <[u8; 32]>::try_from(&key[..])) {
                    (Ok(md5), _) => Credential::Md5(md5),
                    (_, Ok(sha256)) => Credential::Sha256(sha256),
                    _ => {
                        return Err(Error(format!(
                            "auth.users: the key of {:?} is neither 16 nor 32 bytes long",
                            user.name
                        )));
                    }
                }
            }
        };
        Ok(auth::User { name: user.name.clone(), credential })
    });
    let secrets = settings.auth.secrets.iter().map(|secret| auth::SharedSecret {
        name: secret.name.clone(),
        secret: Zeroizing::new(secret.secret.expose().as_bytes().to_vec()),
    });
    let settings = auth::Settings {
        realm: settings.auth.realm.clone(),
        nonce_lifetime: settings.auth.nonce_lifetime,
        users: users.collect::<Result<_, _>>()?,
        secrets: secrets.collect(),
        separator: settings.auth.separator,
        expired: settings.auth.expired,
        oauth: settings.auth.oauth.clone(),
        server_name: settings.auth.server_name().to_owned(),
    };
    Authenticator::new(settings, &keys.nonce).map_err(|error| Error(format!("auth: {error}")))
}

fn policy(settings: &Settings, relay: &[RelayAddress]) -> Result<PeerPolicy, Error> {
    let relayed: Vec<IpAddr> = relay.iter().map(|address| address.public).collect();
    let own = net::own_addresses().map_err(Error::new)?;
    let external = &settings.relay.external;
    // What stands for an address of ours in front of a NAT is ours too.
    let own = own.into_iter().chain(external.values().copied());
    let own = own.filter(|ip| !relayed.contains(ip)).collect();
    let Settings { listen, http, admin, .. } = settings;
    let udp = udp_listeners(settings);
    let listeners = [&udp, &listen.dtls, &listen.tcp, &listen.tls, &http.listen, &admin.listen];
    Ok(PeerPolicy {
        allow: settings.peers.allow.iter().map(rule).collect(),
        deny: settings.peers.deny.iter().map(rule).collect(),
        own,
        relayed,
        listeners: listeners.into_iter().flatten().flat_map(|place| in_front(*place, external)).collect(),
    })
}

/// Where a listener can be reached: where it is, and where the NAT maps that to.
fn in_front(
    place: SocketAddr,
    external: &BTreeMap<IpAddr, IpAddr>,
) -> impl Iterator<Item = SocketAddr> + use<'_> {
    let mapped = external.iter().filter(move |(local, _)| {
        place.ip() == **local || place.ip().is_unspecified() && place.is_ipv4() == local.is_ipv4()
    });
    let mapped = mapped.map(move |(_, public)| SocketAddr::new(*public, place.port()));
    std::iter::once(place).chain(mapped)
}

/// The addresses and ports of NAT behavior discovery, one entry for each family.
fn discovery(settings: &Settings) -> Arc<[turn::Discovery]> {
    let discovery = &settings.nat_discovery;
    let &[first, second] = &discovery.ports[..] else { return Arc::new([]) };
    let address = |local: &IpAddr| {
        let public = settings.relay.external.get(local).copied().unwrap_or(*local);
        turn::DiscoveryAddress { local: *local, public }
    };
    let families = [true, false].into_iter().filter_map(|ipv4| {
        let mut addresses =
            discovery.addresses.iter().filter(|address| address.is_ipv4() == ipv4).map(address);
        let addresses = [addresses.next()?, addresses.next()?];
        Some(turn::Discovery { addresses, ports: [first, second] })
    });
    families.collect()
}

/// What is listed, and what NAT behavior discovery needs besides.
fn udp_listeners(settings: &Settings) -> Vec<SocketAddr> {
    let mut listeners = settings.listen.udp.clone();
    for ip in &settings.nat_discovery.addresses {
        for port in &settings.nat_discovery.ports {
            let covers = |listener: &SocketAddr| {
                let wildcard = listener.ip().is_unspecified() && listener.is_ipv4() == ip.is_ipv4();
                listener.port() == *port && (wildcard || listener.ip() == *ip)
            };
            if !listeners.iter().any(covers) {
                listeners.push(SocketAddr::new(*ip, *port));
            }
        }
    }
    listeners
}

fn rule(rule: &PeerRule) -> PolicyRule {
    PolicyRule { network: rule.net.network(), prefix: rule.net.prefix_len(), ports: rule.ports.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_behind_a_nat_is_known_by_its_public_address_too() {
        let external: BTreeMap<IpAddr, IpAddr> = [("10.0.0.5", "8.34.2.1"), ("fd00::5", "2a01:4f8:34::1")]
            .map(|(local, public)| (local.parse().unwrap(), public.parse().unwrap()))
            .into();
        let found = |text: &str| -> Vec<String> {
            in_front(text.parse().unwrap(), &external).map(|place| place.to_string()).collect()
        };
        assert_eq!(found("10.0.0.5:3478"), ["10.0.0.5:3478", "8.34.2.1:3478"]);
        assert_eq!(found("10.0.0.6:3478"), ["10.0.0.6:3478"]);
        assert_eq!(found("0.0.0.0:3478"), ["0.0.0.0:3478", "8.34.2.1:3478"]);
        assert_eq!(found("[::]:3478"), ["[::]:3478", "[2a01:4f8:34::1]:3478"]);
    }
}
