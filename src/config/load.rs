//! From the four layers to checked settings.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::checks;
use super::file;
use super::layers::{self, Entry, Overrides};
use super::problem::Problem;
use super::reader::Reader;
use super::secret_file;
use super::settings::{
    Admin, Auth, FamilyDefault, Http, Limits, Listen, Log, LogFormat, NatDiscovery, Peers, Redirect, Relay,
    RelayAddress, Rooms, Settings, Source, Tls,
};
use crate::auth::Expired;

/// Reads the configuration: built-in defaults, then the file at `path`, then `env` (`RELAIS__…` and systemd's
/// `CREDENTIALS_DIRECTORY`, `STATE_DIRECTORY` and `RUNTIME_DIRECTORY`; others are ignored), then `overrides`. Returns the settings with warnings.
///
/// # Errors
/// Everything that is wrong, warnings among it, in reading order. Overridden values are checked as well.
pub fn load(
    path: Option<&Path>,
    env: impl Iterator<Item = (String, String)>,
    overrides: &Overrides,
) -> Result<(Settings, Vec<Problem>), Vec<Problem>> {
    let env: BTreeMap<String, String> = env.collect();
    let mut problems = Vec::new();
    let file = path.map(|path| file::read(path, &mut problems));
    let unreadable = file.as_ref().is_some_and(Option::is_none);
    let file = file.flatten().unwrap_or_default();
    let environment = layers::environment(&env, &mut problems);
    let flags = overrides.entries(&mut problems);
    let lan = overrides.lan_entries(&mut problems);
    let (holding, overridden) = layers::merge(vec![file, lan, environment, flags]);
    built_in(&overridden, &mut problems);
    let mut settings = built_in(&holding, &mut problems);
    if let Some(directory) = env.get("CREDENTIALS_DIRECTORY") {
        secret_file::from_systemd(Path::new(directory), &mut settings.auth.secrets, &mut problems);
    }

    if settings.state.is_none() {
        settings.state = systemd_directory(&env, "STATE_DIRECTORY");
    }
    if settings.admin.socket.is_none() {
        let directory = systemd_directory(&env, "RUNTIME_DIRECTORY");
        settings.admin.socket = directory.map(|directory| directory.join("admin.sock"));
    }

    settings.source.lan = overrides.is_lan();
    settings.source.file = path.map(Path::to_owned);
    settings.source.places = holding.iter().map(|entry| (entry.key.path, entry.node.place.clone())).collect();
    let is_set = |key: &str| settings.source.places.contains_key(key);
    settings.listen.explicit = is_set("listen.udp") || is_set("listen.tcp");
    let nobody = settings.auth.admits_nobody();
    // Entries that were given and are wrong are no reason to complain that there are none.
    let failed = unreadable
        || ["auth.users", "auth.secrets", "auth.oauth"].into_iter().any(is_set)
            && problems.iter().any(Problem::is_error);
    settings.source.zero = path.is_none() && nobody && !failed;
    if settings.source.zero && !is_set("http.rooms") && loopback_only(&settings.http.listen) {
        settings.http.rooms = Rooms::Open;
    }
    if nobody && path.is_some() && !failed {
        problems.push(checks::nobody(&settings));
    }
    checks::check(&settings, &mut problems);
    problems.sort_by_key(Problem::order);
    if problems.iter().any(Problem::is_error) { Err(problems) } else { Ok((settings, problems)) }
}

/// Whether nobody beyond this machine can reach any of `addresses`.
pub(crate) fn loopback_only(addresses: &[SocketAddr]) -> bool {
    addresses.iter().all(|address| address.ip().to_canonical().is_loopback())
}

/// The first of the directories that systemd has made for the service (systemd.exec(5), `StateDirectory=` and
/// `RuntimeDirectory=`).
fn systemd_directory(env: &BTreeMap<String, String>, name: &str) -> Option<PathBuf> {
    let first = env.get(name)?.split(':').next()?;
    first.starts_with('/').then(|| PathBuf::from(first))
}

fn apply(entries: &[Entry], settings: &mut Settings, problems: &mut Vec<Problem>) {
    for Entry { key, node } in entries {
        (key.apply)(&mut Reader { key, problems }, node, settings);
    }
}

/// The built-in defaults with `entries` put over them.
pub(crate) fn built_in(entries: &[Entry], problems: &mut Vec<Problem>) -> Settings {
    let mut settings = Settings::blank();
    apply(&layers::defaults(), &mut settings, &mut Vec::new());
    apply(entries, &mut settings, problems);
    settings
}

impl Settings {
    /// What holds when nothing at all is configured: the built-in defaults, and open rooms on loopback.
    pub fn defaults() -> Self {
        let mut settings = built_in(&[], &mut Vec::new());
        settings.source.zero = true;
        settings.http.rooms = Rooms::Open;
        settings
    }

    /// The shape that values are put into; every field is overwritten by the table's defaults.
    fn blank() -> Self {
        const PORTS: RangeInclusive<u16> = 49_152..=65_535;
        Self {
            listen: Listen {
                udp: Vec::new(),
                tcp: Vec::new(),
                tls: Vec::new(),
                dtls: Vec::new(),
                proxy_from: Vec::new(),
                explicit: false,
                workers: 0,
                pin_workers: false,
            },
            tls: Tls::default(),
            relay: Relay {
                addresses: vec![RelayAddress::Auto],
                external: BTreeMap::new(),
                ports: PORTS,
                family_default: FamilyDefault::Ipv4,
                mobility: false,
                tcp: false,
            },
            auth: Auth {
                realm: String::new(),
                nonce_lifetime: Duration::ZERO,
                users: Vec::new(),
                secrets: Vec::new(),
                separator: ':',
                expired: Expired::default(),
                oauth: Vec::new(),
                oauth_server_name: String::new(),
            },
            peers: Peers::default(),
            limits: Limits {
                allocations_per_user: 0,
                permissions_per_allocation: 0,
                channels_per_allocation: 0,
                connections_per_allocation: 0,
                streams_per_address: 0,
                max_lifetime: Duration::ZERO,
                drain: Duration::ZERO,
            },
            redirect: Redirect::default(),
            nat_discovery: NatDiscovery::default(),
            http: Http {
                listen: Vec::new(),
                origins: Vec::new(),
                rooms: Rooms::Off,
                host: String::new(),
                open: false,
                share_tls: false,
                ttl: Duration::ZERO,
                keys: Vec::new(),
                tokens: Vec::new(),
                dialects: Vec::new(),
            },
            admin: Admin { listen: Vec::new(), socket: None },
            state: None,
            log: Log { format: LogFormat::Text, level: String::new() },
            source: Source::default(),
        }
    }
}
