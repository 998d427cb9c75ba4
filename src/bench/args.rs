//! The flags of `relais bench`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::control::args::{ChurnArgs, HoldArgs, StunArgs};
use crate::config::Secret;

/// What stands below the help of all kinds.
const EXAMPLES: &str = "\
Exit codes:
  0  a result to rely on
  1  none, or one with a finding: more lost than --max-loss allows, wrong answers, damaged packets, forgotten allocations, failed cycles, a
     server that stands still, or a generator at its limit
  2  it cannot be run like this

Examples:
  relais bench throughput turn:turn.example.org --user alice --password-file alice.txt --rate 20k
  relais bench throughput turn:turn.example.org --secret-file secret --rate search --report report.html
  relais ice-servers --config relais.toml | relais bench churn --ice-servers - --parallel 32
  relais bench hold turn:127.0.0.1 --secret-file secret --allocations 5000 --server-pid \"$(pidof relais)\"

A server refuses more allocations of one user than its quota allows, and peers with private addresses: docs/operations.md
says what to set for the time of a run.";

/// What to measure.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct BenchArgs {
    #[command(subcommand)]
    pub(super) command: BenchCommand,
}

/// The kinds of load.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum BenchCommand {
    /// Relay packets through allocations, at a rate or as fast as the server can
    Throughput(Box<ThroughputArgs>),
    /// Ask for one's own address, at a rate or as fast as the server can
    Stun(Box<StunArgs>),
    /// Make allocations with permission and channel and give them back, over and over
    Churn(Box<ChurnArgs>),
    /// Hold idle allocations, and see what memory they take
    Hold(Box<HoldArgs>),
}

impl BenchCommand {
    /// The server's processes, as far as they are on this machine.
    pub(super) fn pids(&self) -> &[u32] {
        match self {
            Self::Throughput(args) => &args.server.server_pid,
            Self::Stun(args) => args.server.pids(),
            Self::Churn(args) => &args.server.server_pid,
            Self::Hold(args) => &args.server.server_pid,
        }
    }

    /// Leaves one of each process: named twice, it would count twice.
    pub(super) fn take_each_process_once(&mut self) {
        let pids = match self {
            Self::Throughput(args) => &mut args.server.server_pid,
            Self::Stun(args) => args.server.pids_mut(),
            Self::Churn(args) => &mut args.server.server_pid,
            Self::Hold(args) => &mut args.server.server_pid,
        };
        pids.sort_unstable();
        pids.dedup();
    }
}

/// Which server, and as whom.
#[derive(Args, Clone, Debug)]
pub(super) struct ServerArgs {
    /// Server, such as turn:turn.example.org:3478?transport=udp or turns:turn.example.org; tcp is the other transport
    pub(super) uri: Option<String>,
    /// User to log in as
    #[arg(long, value_name = "NAME")]
    pub(super) user: Option<String>,
    /// Its password; everybody on this machine can see it in the list of processes, so for real users take
    /// --password-file or the variable RELAIS_PASSWORD
    #[arg(long, value_name = "PASSWORD", value_parser = secret, conflicts_with_all = ["password_file", "secret", "secret_file"])]
    pub(super) password: Option<Secret>,
    /// File with the password
    #[arg(long, value_name = "FILE", conflicts_with_all = ["secret", "secret_file"])]
    pub(super) password_file: Option<PathBuf>,
    /// Shared secret to sign a time-limited credential with; everybody on this machine can see it
    #[arg(long, value_name = "SECRET", value_parser = secret, conflicts_with = "secret_file")]
    pub(super) secret: Option<Secret>,
    /// File with a shared secret
    #[arg(long, value_name = "FILE")]
    pub(super) secret_file: Option<PathBuf>,
    /// File with iceServers JSON, as a web page gets it: its first server that fits is taken; "-" reads standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["uri", "user", "password", "password_file", "secret", "secret_file"])]
    pub(super) ice_servers: Option<PathBuf>,
    /// File with certificates in PEM to trust instead of the system's, for turns: and stuns:
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    pub(super) ca: Option<PathBuf>,
    /// Take whatever certificate the server shows; for tests alone
    #[arg(long)]
    pub(super) insecure: bool,
    /// Local address to send from
    #[arg(long, value_name = "IP")]
    pub(super) bind: Option<IpAddr>,
    /// Process or kernel thread of the server on this machine, to tell what the load costs it; can be given several times
    #[arg(long, value_name = "PID")]
    pub(super) server_pid: Vec<u32>,
}

/// What to print.
#[derive(Args, Clone, Debug)]
pub(super) struct OutputArgs {
    /// Print the findings as JSON
    #[arg(long)]
    pub(super) json: bool,
    /// Write a page with charts to this file
    #[arg(long, value_name = "FILE")]
    pub(super) report: Option<PathBuf>,
}

/// The load of `throughput`.
#[derive(Args, Clone, Debug)]
pub(super) struct ThroughputArgs {
    #[command(flatten)]
    pub(super) server: ServerArgs,
    #[command(flatten)]
    pub(super) output: OutputArgs,
    /// Allocations, each with a socket and a peer of its own, 1 to 10000
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(super) allocations: u32,
    /// Packets per second of all allocations and both directions together, such as 50000, 300k or 1.2M, from 1 to 100M; or "search" for
    /// the highest rate at which no more than --max-loss is lost
    #[arg(long, default_value = "10k")]
    pub(super) rate: Rate,
    /// The share that may be lost, from 0 to 50%: with more the exit code is 1, and a search tries lower rates
    #[arg(long, value_name = "PERCENT", default_value = "0.5%", value_parser = share)]
    pub(super) max_loss: f64,
    /// Traffic like that of a call: sets --payload and --burst unless they are given
    #[arg(long, default_value = "video")]
    pub(super) mix: Mix,
    /// Bytes of application data in a packet, 28 to 9000
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u16).range(28..=9_000))]
    pub(super) payload: Option<u16>,
    /// Packets that a flow sends at once, 1 to 50
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=50))]
    pub(super) burst: Option<u16>,
    /// From clients to peers, from peers to clients, or both at once
    #[arg(long, default_value = "both")]
    pub(super) direction: Direction,
    /// What carries data between client and server
    #[arg(long, default_value = "channels")]
    pub(super) form: Form,
    /// A peer socket for every allocation, one for all, or none: allocations that talk to each other in pairs
    #[arg(long, default_value = "each")]
    pub(super) peers: Peers,
    /// Local address of the peer sockets [default: that which leads to the server]
    #[arg(long, value_name = "IP")]
    pub(super) peer_address: Option<IpAddr>,
    /// Open the peer sockets in this network namespace (Linux, as root)
    #[arg(long, value_name = "NAME", requires = "peer_address")]
    pub(super) peer_netns: Option<String>,
    /// No server: clients and peers send straight to each other, to see what the network and this machine carry
    #[arg(long, conflicts_with_all = ["user", "password", "password_file", "secret", "secret_file", "ice_servers", "ca", "insecure"])]
    pub(super) direct: bool,
    /// How bursts are handed to the kernel: as one super-packet each, which costs the load thread less, or packet by packet
    #[arg(long, default_value = "auto")]
    pub(super) gso: Gso,
    /// How long to measure, for each rate
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    pub(super) duration: Duration,
    /// How long to send before measuring
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    pub(super) warmup: Duration,
}

/// How bursts of one flow are handed to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Gso {
    /// Where something on the way cuts them before the server sees them
    Auto,
    /// As one super-packet
    On,
    /// Packet by packet
    Off,
}

/// A rate in packets per second, or the wish to find one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Rate {
    Fixed(f64),
    Search,
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const FORMS: &str = "write packets per second, such as 50000, 300k or 1.2M, or search";
        if text == "search" {
            return Ok(Self::Search);
        }
        let (number, unit) = match text.char_indices().last() {
            Some((at, 'k' | 'K')) => (&text[..at], 1e3),
            Some((at, 'M')) => (&text[..at], 1e6),
            _ => (text, 1.0),
        };
        let rate = number.parse::<f64>().map_err(|_| FORMS.to_owned())? * unit;
        if (1.0..=1e8).contains(&rate) {
            Ok(Self::Fixed(rate))
        } else {
            Err(format!("a rate is between 1 and 100M; {FORMS}"))
        }
    }
}

/// Sizes and bursts of real traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Mix {
    /// One packet of 160 bytes from each flow in turn
    Audio,
    /// Bursts of 8 packets of 1200 bytes from each flow in turn
    Video,
}

impl Mix {
    pub(super) const fn payload(self) -> u16 {
        match self {
            Self::Audio => 160,
            Self::Video => 1_200,
        }
    }

    pub(super) const fn burst(self) -> u16 {
        match self {
            Self::Audio => 1,
            Self::Video => 8,
        }
    }
}

/// Where data go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Direction {
    /// From clients to peers
    Up,
    /// From peers to clients
    Down,
    /// Half of the rate in each direction
    Both,
}

impl Direction {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Both => "both",
        }
    }
}

/// What carries data between client and server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Form {
    /// ChannelData
    Channels,
    /// Send and Data indications
    Indications,
}

impl Form {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Channels => "channels",
            Self::Indications => "indications",
        }
    }
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Peers {
    /// A peer socket for every allocation
    Each,
    /// One peer socket for all
    One,
    /// Allocations talk to each other in pairs
    Relay,
}

impl Peers {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Each => "each",
            Self::One => "one",
            Self::Relay => "relay",
        }
    }
}

fn secret(text: &str) -> Result<Secret, String> {
    if text.is_empty() { Err("it is empty".to_owned()) } else { Ok(Secret::new(text.to_owned())) }
}

/// "0.5%" or "0.5": a share of a hundred.
pub(super) fn share(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim();
    match number.parse::<f64>() {
        Ok(percent) if (0.0..=50.0).contains(&percent) => Ok(percent / 100.0),
        _ => Err("write a percentage from 0 to 50, such as 0.5%".to_owned()),
    }
}

/// "5s", "500ms", "2m" or "5": seconds.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = if let Some(number) = text.strip_suffix("ms") {
        (number, 0.001)
    } else if let Some(number) = text.strip_suffix('s') {
        (number, 1.0)
    } else if let Some(number) = text.strip_suffix('m') {
        (number, 60.0)
    } else {
        (text, 1.0)
    };
    match number.parse::<f64>() {
        Ok(number) if (0.0..=86_400.0).contains(&(number * unit)) => {
            Ok(Duration::from_secs_f64(number * unit))
        }
        _ => Err("write a time of at most a day, such as 500ms, 5s or 2m".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_shares_and_times_are_read() {
        assert_eq!("300k".parse(), Ok(Rate::Fixed(300_000.0)));
        assert_eq!("1.2M".parse(), Ok(Rate::Fixed(1_200_000.0)));
        assert_eq!("50".parse(), Ok(Rate::Fixed(50.0)));
        assert_eq!("search".parse(), Ok(Rate::Search));
        for text in ["", "k", "0", "-1", "fast", "1e9", "NaN", "inf"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
        assert_eq!(share("0.5%"), Ok(0.005));
        assert_eq!(share("1"), Ok(0.01));
        assert!(share("99").is_err());
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("5"), Ok(Duration::from_secs(5)));
        assert!(duration("-1s").is_err() && duration("s").is_err() && duration("inf").is_err());
    }
}
