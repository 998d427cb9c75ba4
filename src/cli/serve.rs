//! `relais serve`.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Args;

use super::FAILED;
use super::options::{ConfigArgs, environment, now_unix};
use crate::app::{self, Reload};
use crate::config::{self, Overrides, Problem, Settings};
use crate::net;
use crate::observe::log;

/// Flags win over environment and file.
#[derive(Args)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// A trial for the local network, without a configuration: pages on ports 8080 and 8443 (HTTPS), open rooms
    #[arg(long, conflicts_with = "config")]
    lan: bool,
    /// Addresses with ports for UDP, separated by commas
    #[arg(long, value_name = "ADDR:PORT,…")]
    listen_udp: Option<String>,
    /// Addresses with ports for TCP, separated by commas
    #[arg(long, value_name = "ADDR:PORT,…")]
    listen_tcp: Option<String>,
    /// Number of relay threads; 0: as many as the cgroup grants cores
    #[arg(long, value_name = "N")]
    workers: Option<String>,
    /// Local addresses to relay from, separated by commas, or "auto"
    #[arg(long, value_name = "ADDR,…")]
    relay_addresses: Option<String>,
    /// Public address behind 1:1 NAT
    #[arg(long, value_name = "LOCAL=PUBLIC,…")]
    external: Option<String>,
    /// Ports of relayed addresses
    #[arg(long, value_name = "FIRST-LAST")]
    relay_ports: Option<String>,
    /// Realm of challenges
    #[arg(long)]
    realm: Option<String>,
    /// Addresses with ports of the HTTP server; "" switches it off
    #[arg(long, value_name = "ADDR:PORT,…")]
    http_listen: Option<String>,
    /// Host put into turn: URLs
    #[arg(long, value_name = "HOST")]
    http_host: Option<String>,
    /// Addresses with ports for health and metrics; "" switches them off
    #[arg(long, value_name = "ADDR:PORT,…")]
    admin_listen: Option<String>,
    /// Form of log lines: text or json
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// off, error, warn, info, debug, trace, or filter directives
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
}

impl ServeArgs {
    fn overrides(&self) -> Overrides {
        let flags = [
            ("--listen-udp", "listen.udp", &self.listen_udp),
            ("--listen-tcp", "listen.tcp", &self.listen_tcp),
            ("--workers", "listen.workers", &self.workers),
            ("--relay-addresses", "relay.addresses", &self.relay_addresses),
            ("--external", "relay.external", &self.external),
            ("--relay-ports", "relay.ports", &self.relay_ports),
            ("--realm", "auth.realm", &self.realm),
            ("--http-listen", "http.listen", &self.http_listen),
            ("--http-host", "http.host", &self.http_host),
            ("--admin-listen", "admin.listen", &self.admin_listen),
            ("--log-format", "log.format", &self.log_format),
            ("--log-level", "log.level", &self.log_level),
        ];
        let mut overrides = Overrides::default();
        if self.lan {
            overrides.try_in_lan();
        }
        for (flag, key, value) in flags {
            if let Some(value) = value {
                overrides.set(flag, key, value);
            }
        }
        overrides
    }
}

pub(super) fn run(args: &ServeArgs) -> ExitCode {
    let (settings, warnings) = match args.config.load(args.overrides()) {
        Ok(loaded) => with_expiry(loaded),
        Err(code) => return code,
    };
    if let Err(code) = check_machine(&settings) {
        return code;
    }
    // Flags hold for the life of the process; file and environment are read again on SIGHUP.
    let (path, overrides) = (args.config.config.clone(), args.config.overrides(args.overrides()));
    let reload: Reload =
        Box::new(move || config::load(path.as_deref(), environment(), &overrides).map(with_expiry));
    let served = app::serve(settings, &warnings, &reload);
    log::finish();
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error}"));
            ExitCode::from(FAILED)
        }
    }
}

/// Says something on standard error. A server runs without that too.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Adds what only the clock tells.
fn with_expiry((settings, mut warnings): (Settings, Vec<Problem>)) -> (Settings, Vec<Problem>) {
    warnings.extend(config::check_expiry(&settings, now_unix()));
    (settings, warnings)
}

/// Points at relay addresses that this machine does not have, and at certificates that are of no use.
fn check_machine(settings: &Settings) -> Result<(), ExitCode> {
    let local = net::local_addresses().map_err(|error| {
        say(&format!("error: {error}"));
        ExitCode::from(FAILED)
    })?;
    let mut problems = config::check_local(settings, &local);
    problems.extend(config::certificates(settings, None, None, now_unix()).err().unwrap_or_default());
    for problem in &problems {
        say(&format!("{problem}\n"));
    }
    if problems.iter().any(Problem::is_error) { Err(ExitCode::from(FAILED)) } else { Ok(()) }
}
