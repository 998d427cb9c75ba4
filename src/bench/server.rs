//! The server that is put under load, and as whom.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::args::ServerArgs;
use super::outcome::Failure;
use crate::client::uri::{self, Service, Transport, Uri};
use crate::probe::credentials::{Credentials, Sources};
use crate::probe::tls::Tls;
use crate::probe::{now_unix, paste};

/// How long a credential lasts that is signed here: longer than the longest run, which is a day, and its set-up.
const LASTS: Duration = Duration::from_secs(26 * 3_600);

/// A server and what is needed to use it.
pub(super) struct Target {
    pub(super) uri: Uri,
    /// The URI as it may be printed.
    pub(super) shown: String,
    pub(super) address: SocketAddr,
    /// For TURN.
    pub(super) credentials: Option<Credentials>,
    /// For TLS.
    pub(super) tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

impl Target {
    /// The server that the flags name, to be used as `service`.
    ///
    /// # Errors
    /// There is none, its name leads nowhere, or credentials are missing.
    pub(super) fn from_args(args: &ServerArgs, service: Service) -> Result<Self, Failure> {
        let wrong = |(message, help): (String, String)| Failure::usage(message, help);
        let (text, uri, credentials) = match &args.ice_servers {
            Some(path) => pasted(path, service)?,
            None => {
                let text = args.uri.clone().ok_or_else(|| {
                    Failure::usage(
                        "there is no server",
                        "give a URI such as turn:turn.example.org, or --ice-servers FILE",
                    )
                })?;
                let uri = Uri::parse(&text).map_err(|unusable| {
                    Failure::usage(format!("{}: {}", uri::printable(&text), unusable.message), unusable.help)
                })?;
                let credentials = match service {
                    Service::Stun => None,
                    Service::Turn => {
                        let sources = Sources {
                            user: args.user.as_deref(),
                            password: args.password.as_ref(),
                            password_file: args.password_file.as_deref(),
                            secret: args.secret.as_ref(),
                            secret_file: args.secret_file.as_deref(),
                            lasts: LASTS,
                        };
                        Some(Credentials::from_sources(sources, now_unix()).map_err(wrong)?)
                    }
                };
                (text, uri, credentials)
            }
        };
        if service == Service::Turn && uri.service == Service::Stun {
            return Err(Failure::usage(
                format!("{} is a STUN server, and this needs TURN", uri::printable(&text)),
                "write turn: or turns: instead of stun: or stuns:",
            ));
        }
        let tls = Tls::new(&uri, args.ca.as_deref(), args.insecure).map_err(wrong)?.map(|tls| tls.parts());
        let address = resolve(&uri, args.bind)?;
        Ok(Self { shown: uri::printable(&text), uri, address, credentials, tls })
    }

    /// UDP, TCP or TLS.
    pub(super) const fn transport(&self) -> Transport {
        self.uri.transport
    }
}

/// The first server of a paste that can be used as `service`.
fn pasted(path: &std::path::Path, service: Service) -> Result<(String, Uri, Option<Credentials>), Failure> {
    let entries = paste(path).map_err(|(message, help)| Failure::usage(message, help))?;
    for entry in entries {
        let Ok(uri) = Uri::parse(&entry.url) else { continue };
        match (service, uri.service, entry.username, entry.credential) {
            (Service::Stun, ..) if uri.transport == Transport::Udp => return Ok((entry.url, uri, None)),
            (Service::Stun, ..) => {}
            (Service::Turn, Service::Turn, Some(username), Some(password)) => {
                let credentials = Credentials { username, password, is_signed_here: false };
                return Ok((entry.url, uri, Some(credentials)));
            }
            _ => {}
        }
    }
    Err(Failure::usage(
        "none of the iceServers can be used",
        match service {
            Service::Stun => "there has to be a URL of UDP: stun: or turn: without ?transport=tcp",
            Service::Turn => "there has to be a turn: or turns: URL with `username` and `credential`",
        },
    ))
}

/// The first address of the host, in the family of `bind` if that is given.
fn resolve(uri: &Uri, bind: Option<IpAddr>) -> Result<SocketAddr, Failure> {
    let found = (uri.host.as_str(), uri.port).to_socket_addrs().map_err(|error| {
        Failure::new(
            format!("{} has no address: {error}", uri.host),
            "check the name, and this machine's DNS",
        )
    })?;
    found.into_iter().find(|address| bind.is_none_or(|bind| bind.is_ipv4() == address.is_ipv4())).ok_or_else(
        || {
            Failure::usage(
                format!("{} has no address of the family of --bind", uri.host),
                "give a local address of the other family",
            )
        },
    )
}
