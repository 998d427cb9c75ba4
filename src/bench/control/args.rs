//! The flags of `stun`, `churn` and `hold`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;

use crate::bench::args::{OutputArgs, Rate, ServerArgs, duration, share};

/// Which STUN server.
#[derive(Args, Clone, Debug)]
pub(in crate::bench) struct StunServerArgs {
    /// Server, such as stun:stun.example.org:3478 or turn:turn.example.org; over UDP
    #[arg(required_unless_present = "ice_servers")]
    uri: Option<String>,
    /// File with iceServers JSON, as a web page gets it: its first server over UDP is taken; "-" reads standard input
    #[arg(long, value_name = "FILE", conflicts_with = "uri")]
    ice_servers: Option<PathBuf>,
    /// Local address to send from
    #[arg(long, value_name = "IP")]
    bind: Option<IpAddr>,
    /// Process or kernel thread of the server on this machine, to tell what the load costs it; can be given several times
    #[arg(long, value_name = "PID")]
    server_pid: Vec<u32>,
}

impl StunServerArgs {
    /// Processes whose run time is reckoned.
    pub(in crate::bench) fn pids(&self) -> &[u32] {
        &self.server_pid
    }

    pub(in crate::bench) const fn pids_mut(&mut self) -> &mut Vec<u32> {
        &mut self.server_pid
    }

    /// The same, with no login.
    pub(in crate::bench) fn server(&self) -> ServerArgs {
        ServerArgs {
            uri: self.uri.clone(),
            user: None,
            password: None,
            password_file: None,
            secret: None,
            secret_file: None,
            ice_servers: self.ice_servers.clone(),
            ca: None,
            insecure: false,
            bind: self.bind,
            server_pid: self.server_pid.clone(),
        }
    }
}

/// The load of `stun`.
#[derive(Args, Clone, Debug)]
pub(in crate::bench) struct StunArgs {
    #[command(flatten)]
    pub(in crate::bench) server: StunServerArgs,
    #[command(flatten)]
    pub(in crate::bench) output: OutputArgs,
    /// Sockets to ask from, 1 to 1000
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(in crate::bench) clients: u32,
    /// Requests per second of all sockets together, such as 5000, 50k or 0.2M; or "search" for the highest rate at which no
    /// more than --max-loss is lost
    #[arg(long, default_value = "10k")]
    pub(in crate::bench) rate: Rate,
    /// The share that may be lost; more is a finding
    #[arg(long, value_name = "PERCENT", default_value = "0.5%", value_parser = share)]
    pub(in crate::bench) max_loss: f64,
    /// How long to measure, for each rate
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    pub(in crate::bench) duration: Duration,
    /// How long to ask before measuring
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    pub(in crate::bench) warmup: Duration,
}

/// The load of `churn`.
#[derive(Args, Clone, Debug)]
pub(in crate::bench) struct ChurnArgs {
    #[command(flatten)]
    pub(in crate::bench) server: ServerArgs,
    #[command(flatten)]
    pub(in crate::bench) output: OutputArgs,
    /// Clients that go through cycles side by side, 1 to 1000
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(in crate::bench) parallel: u32,
    /// Cycles per second of all clients together, such as 500 or 2k; or "max" for as many as they can
    #[arg(long, default_value = "max")]
    pub(in crate::bench) rate: CycleRate,
    /// Address of the peer that permissions and channels are for; nothing is sent to it [default: each client's own relayed
    /// address]
    #[arg(long, value_name = "IP")]
    pub(in crate::bench) peer_address: Option<IpAddr>,
    /// How long to measure
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    pub(in crate::bench) duration: Duration,
    /// How long to go through cycles before measuring
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    pub(in crate::bench) warmup: Duration,
}

/// The load of `hold`.
#[derive(Args, Clone, Debug)]
pub(in crate::bench) struct HoldArgs {
    #[command(flatten)]
    pub(in crate::bench) server: ServerArgs,
    #[command(flatten)]
    pub(in crate::bench) output: OutputArgs,
    /// Allocations to hold, each from a socket of its own, 1 to 50000
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    pub(in crate::bench) allocations: u32,
    /// How often each is refreshed [default: as clients do, after half of its lifetime and every 4 minutes at least]
    #[arg(long, value_name = "TIME", value_parser = interval)]
    pub(in crate::bench) refresh: Option<Duration>,
    /// How long to hold them all
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub(in crate::bench) duration: Duration,
}

/// How many cycles per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::bench) enum CycleRate {
    /// So many, whatever the server does.
    Fixed(f64),
    /// As many as the clients can: each begins anew when it is done.
    Most,
}

impl FromStr for CycleRate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const FORMS: &str = "write cycles per second, such as 500 or 2k, or max";
        if text == "max" {
            return Ok(Self::Most);
        }
        match text.parse() {
            Ok(Rate::Fixed(rate)) => Ok(Self::Fixed(rate)),
            _ => Err(FORMS.to_owned()),
        }
    }
}

fn interval(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        short if short < Duration::from_millis(100) => Err("at least 100ms".to_owned()),
        time => Ok(time),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_of_cycles_and_times_between_refreshes_are_read() {
        assert_eq!("max".parse(), Ok(CycleRate::Most));
        assert_eq!("2k".parse(), Ok(CycleRate::Fixed(2_000.0)));
        for text in ["search", "", "0", "fast"] {
            assert!(text.parse::<CycleRate>().is_err(), "{text}");
        }
        assert_eq!(interval("2s"), Ok(Duration::from_secs(2)));
        assert!(interval("1ms").is_err());
    }
}
