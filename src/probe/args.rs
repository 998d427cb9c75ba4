//! The flags of `relais probe`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

/// What to ask of which server.
#[derive(Args, Clone, Debug)]
pub struct ProbeArgs {
    /// Server, such as turn:turn.example.org:3478?transport=udp, turns:turn.example.org or stun:turn.example.org; tcp is
    /// the other transport
    #[arg(required_unless_present = "ice_servers")]
    pub uri: Option<String>,
    /// User to log in as; its password comes from --password-file or from the variable RELAIS_PASSWORD
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// File with the password
    #[arg(long, value_name = "FILE", conflicts_with = "secret_file")]
    pub password_file: Option<PathBuf>,
    /// File with a shared secret, to sign a time-limited credential with; a --user that begins with an expiry is
    /// signed as it is
    #[arg(long, value_name = "FILE")]
    pub secret_file: Option<PathBuf>,
    /// File with iceServers JSON, as a web page gets it: each URL is probed; "-" reads standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["uri", "user", "password_file", "secret_file"])]
    pub ice_servers: Option<PathBuf>,
    /// File with certificates in PEM to trust instead of the system's, for turns: and stuns:
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Peer that echoes datagrams; default: a second socket of this process, or a second allocation
    #[arg(long, value_name = "ADDR:PORT")]
    pub peer: Option<SocketAddr>,
    /// Seconds to wait for each answer
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=300))]
    pub timeout: u64,
    /// Look clause by clause whether the server obeys the RFCs, and print the matrix
    #[arg(long, conflicts_with_all = ["ice_servers", "peer"])]
    pub conformance: bool,
    /// Print the findings as JSON
    #[arg(long)]
    pub json: bool,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::ProbeArgs;

    #[derive(Parser)]
    struct Probe {
        #[command(flatten)]
        args: ProbeArgs,
    }

    fn parsed(words: &[&str]) -> Option<ProbeArgs> {
        Probe::try_parse_from([&["probe"], words].concat()).ok().map(|probe| probe.args)
    }

    #[test]
    fn a_server_comes_by_uri_or_by_ice_servers_but_not_by_both() {
        assert_eq!(parsed(&["turn:h"]).unwrap().uri.as_deref(), Some("turn:h"));
        assert_eq!(parsed(&["--ice-servers", "-"]).unwrap().timeout, 5);
        assert!(parsed(&[]).is_none());
        assert!(parsed(&["turn:h", "--ice-servers", "-"]).is_none());
        assert!(parsed(&["turn:h", "--timeout", "0"]).is_none());
    }
}
