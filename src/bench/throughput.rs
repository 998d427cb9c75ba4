//! `relais bench throughput`: packets through allocations, at a fixed rate or at the highest that works.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd as _;

use super::args::{Direction, Form, Peers, Rate, ThroughputArgs};
use super::crew::Crew;
use super::engine::Engine;
use super::explain;
use super::interrupt;
use super::lane::{End, Lane, Lanes};
use super::link::{Link, cannot_bind, cannot_open, datagrams};
use super::outcome::{DIRECT, Failure, Latency, Throughput, VERSION, bars};
use super::payload::Payloads;
use super::progress::{Phase, Progress};
use super::search::search;
use super::server::Target;
use crate::client::uri::Service;
use crate::client::{DataHead, Task};
use crate::sys::{self, Way};
use crate::wire::{AddressFamily, ChannelNumber, TransactionId};

/// Packets that all lanes together remember, to tell duplicates.
const MEMORY: usize = 1 << 22;

/// Bursts go out whole: with fewer of them, what is sent differs too much from what was asked for.
const FEWEST_BURSTS: f64 = 4.0;

/// Makes the allocations, relays packets through them, and gives them back.
///
/// # Errors
/// There is no result, and why.
pub(super) fn run(args: &ThroughputArgs, progress: &mut dyn Progress) -> Result<Throughput, Failure> {
    let plan = Plan::new(args)?;
    interrupt::listen();
    let (server, transport, mut engine, setup) = if args.direct {
        (DIRECT.to_owned(), "udp".to_owned(), direct(args, &plan)?, 0.0)
    } else {
        let target = Target::from_args(&args.server, Service::Turn)?;
        let (engine, setup) = through(args, &plan, &target, progress)?;
        (target.shown.clone(), target.transport().to_string(), engine, setup)
    };
    engine.pids.clone_from(&args.server.server_pid);
    let (warmup, duration) = (args.warmup, args.duration);
    let (trial, rungs) = match args.rate {
        Rate::Fixed(rate) => (engine.trial(rate, warmup, duration, progress)?, Vec::new()),
        Rate::Search => search(args.max_loss, |rate, tried| {
            progress.attempt(rate, tried);
            engine.trial(rate, warmup, duration, progress)
        })?,
    };
    if !args.direct {
        engine.crew.give_back(progress);
    }
    let counts = trial.counts;
    let per_second = rate_of(counts.received, trial.seconds);
    Ok(Throughput {
        version: VERSION,
        kind: "throughput",
        server,
        transport,
        direction: args.direction.name(),
        form: args.form.name(),
        peers: args.peers.name(),
        allocations: args.allocations,
        payload: plan.payload,
        burst: plan.burst,
        flows: engine.lanes.lanes.len(),
        max_loss: args.max_loss,
        sent: trial.total(),
        received: counts.received,
        lost: trial.total().saturating_sub(counts.received),
        corrupt: counts.corrupt,
        duplicate: counts.duplicate,
        reordered: counts.reordered,
        misdelivered: counts.misdelivered,
        blocked: trial.blocked,
        seconds: trial.seconds,
        packets_per_second: per_second,
        sent_per_second: rate_of(trial.total(), trial.seconds),
        offered_per_second: trial.offered,
        payload_bits_per_second: per_second * bits(plan.payload),
        latency_us: Latency::of(&trial.latency),
        lateness_us: trial.lateness.clone(),
        server_cpu_us_per_packet: trial.server_us_per_packet(),
        generator_limited: !trial.limits.is_empty(),
        generator_limits: trial.limits.clone(),
        generator_cpu: trial.generator_cpu,
        setup_seconds: setup,
        latency_bars: bars(&trial.latency),
        samples: trial.samples,
        rungs,
    })
}

/// What the flags mean together.
struct Plan {
    count: usize,
    payload: usize,
    burst: u32,
    /// How many packets of each lane are remembered.
    memory: usize,
    /// Sockets of clients and peers.
    sockets: usize,
}

impl Plan {
    fn new(args: &ThroughputArgs) -> Result<Self, Failure> {
        let payload = usize::from(args.payload.unwrap_or_else(|| args.mix.payload()));
        let count = args.allocations as usize;
        if args.peers == Peers::Relay {
            if args.direct {
                return Err(Failure::usage(
                    "--peers relay needs a server, and --direct has none",
                    "leave out one of the two",
                ));
            }
            if !count.is_multiple_of(2) {
                return Err(Failure::usage(
                    format!("with --peers relay, allocations talk in pairs, and {count} is odd"),
                    "give an even number with --allocations",
                ));
            }
        }
        if args.duration.is_zero() {
            return Err(Failure::usage("nothing can be measured in no time", "give a longer --duration"));
        }
        let burst = u32::from(args.burst.unwrap_or_else(|| args.mix.burst()));
        if let Rate::Fixed(rate) = args.rate {
            let bursts = rate * args.duration.as_secs_f64() / f64::from(burst);
            if bursts < FEWEST_BURSTS {
                return Err(Failure::usage(
                    format!(
                        "at {rate} packets per second there are only {} bursts of {burst} in the measured time: too few to say \
                         anything about a rate",
                        super::units::digits(bursts)
                    ),
                    format!(
                        "give a --duration of {:.0}s or more, a higher --rate, or a smaller --burst",
                        (FEWEST_BURSTS * f64::from(burst) / rate).ceil()
                    ),
                ));
            }
        }
        let memory = (MEMORY / (2 * count)).clamp(1_024, 65_536);
        let sockets = match args.peers {
            Peers::Each => 2 * count,
            Peers::One => count + 1,
            Peers::Relay => count,
        };
        Ok(Self { count, payload, burst, memory, sockets })
    }
}

/// A load through the allocations of a server, and how long these took to make.
fn through(
    args: &ThroughputArgs,
    plan: &Plan,
    target: &Target,
    progress: &mut dyn Progress,
) -> Result<(Engine, f64), Failure> {
    raise_limits(plan.sockets)?;
    let mut crew = Crew::of_server(target.address)?;
    let begin = crew.clock.now();
    let peer_ip = match args.peer_address {
        Some(ip) => ip,
        None => local_towards(target.address).map_err(|error| cannot_open(&error))?,
    };
    let family = AddressFamily::of(&peer_ip);
    crew.enter(target, args.server.bind, plan.count, progress, Task::Allocate { family })?;
    let relayed: Vec<SocketAddr> = crew.callers.iter().filter_map(|caller| caller.relayed).collect();
    if relayed.len() != plan.count {
        return Err(Failure::new(
            "the server gave fewer relayed addresses than were asked for",
            "look into its log",
        ));
    }
    let sockets = match args.peers {
        Peers::Each => plan.count,
        Peers::One => 1,
        Peers::Relay => 0,
    };
    let peers = peer_sockets(args.peer_netns.as_deref(), peer_ip, sockets)?;
    let mut addresses = Vec::with_capacity(plan.count);
    for i in 0..plan.count {
        addresses.push(match args.peers {
            Peers::Each => local(&peers[i])?,
            Peers::One => local(&peers[0])?,
            Peers::Relay => relayed[i ^ 1],
        });
    }
    crew.each(Phase::SetUp, progress, |i, _| {
        vec![match args.form {
            Form::Channels => Task::BindChannel { channel: channel(i), peer: addresses[i] },
            Form::Indications => Task::Permit { peer: addresses[i] },
        }]
    })?;
    if args.peers == Peers::Each {
        for (peer, relayed) in peers.iter().zip(&relayed) {
            peer.connect(relayed).map_err(|error| explain::lost_peer(Some(*relayed), &error))?;
        }
    }
    let setup = super::clock::seconds(crew.clock.now() - begin);
    watch(&crew, &peers)?;
    let is_stream = crew.callers.first().is_some_and(|caller| caller.link.is_stream());
    let head = |i: usize| {
        let made = match args.form {
            Form::Channels => DataHead::of_channel(channel(i), plan.payload, is_stream),
            Form::Indications => {
                DataHead::of_indication(addresses[i], plan.payload, TransactionId([0x52; 12]))
            }
        };
        made.ok_or_else(|| {
            Failure::usage("the payload is too long for one message", "give a smaller --payload")
        })
    };
    let (up, down) = directions(args.direction);
    let mut lanes = Vec::new();
    for (i, relayed) in relayed.iter().enumerate() {
        let peer = match args.peers {
            Peers::Each => End::Peer(i),
            Peers::One => End::Peer(0),
            Peers::Relay => End::Client(i ^ 1),
        };
        // Of a pair, the first one's packets go up, and the second one's come down.
        let from_client = if args.peers == Peers::Relay { if i % 2 == 0 { up } else { down } } else { up };
        if from_client {
            let mut lane = Lane::new(End::Client(i), peer, plan.memory);
            lane.head = Some(head(i)?);
            lane.source = (args.peers == Peers::One).then_some(*relayed);
            lanes.push(lane);
        }
        if down && args.peers != Peers::Relay {
            let mut lane = Lane::new(peer, End::Client(i), plan.memory);
            lane.address = (args.peers == Peers::One).then_some(*relayed);
            lanes.push(lane);
        }
    }
    let way = way(args, target.address);
    let lanes = Lanes::new(lanes, payloads(plan));
    let mut engine = Engine::new(crew, peers, lanes, plan.burst, way);
    engine.expected = Some(addresses.iter().enumerate().map(|(i, peer)| (channel(i), *peer)).collect());
    Ok((engine, setup))
}

/// A load without a server, straight from clients to peers.
fn direct(args: &ThroughputArgs, plan: &Plan) -> Result<Engine, Failure> {
    raise_limits(plan.sockets)?;
    if args.server.uri.is_some() {
        return Err(Failure::usage(
            "--direct has no server, but a URI was given",
            "leave out one of the two",
        ));
    }
    let peer_ip = args.peer_address.unwrap_or_else(|| match args.server.bind {
        Some(IpAddr::V6(_)) => Ipv6Addr::LOCALHOST.into(),
        _ => Ipv4Addr::LOCALHOST.into(),
    });
    let client_ip = args.server.bind.unwrap_or_else(|| match peer_ip {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    });
    let sockets = if args.peers == Peers::One { 1 } else { plan.count };
    let peers = peer_sockets(args.peer_netns.as_deref(), peer_ip, sockets)?;
    let (up, down) = directions(args.direction);
    let (mut links, mut lanes) = (Vec::new(), Vec::new());
    for i in 0..plan.count {
        let number = if args.peers == Peers::One { 0 } else { i };
        let peer = local(&peers[number])?;
        let failed = |error: io::Error| cannot_bind(client_ip, &error);
        let socket = datagrams(SocketAddr::new(client_ip, 0)).map_err(failed)?;
        socket.connect(peer).map_err(|error| explain::lost_way(peer, &error))?;
        let client = socket.local_addr().map_err(failed)?;
        if args.peers == Peers::Each {
            peers[number].connect(client).map_err(|error| explain::lost_peer(Some(client), &error))?;
        }
        links.push(Link::Datagrams(socket));
        let (client_end, peer_end) = (End::Client(i), End::Peer(number));
        if up {
            let mut lane = Lane::new(client_end, peer_end, plan.memory);
            lane.source = (args.peers == Peers::One).then_some(client);
            lanes.push(lane);
        }
        if down {
            let mut lane = Lane::new(peer_end, client_end, plan.memory);
            lane.address = (args.peers == Peers::One).then_some(client);
            lanes.push(lane);
        }
    }
    let to = local(&peers[0])?;
    let crew = Crew::direct(links, to)?;
    watch(&crew, &peers)?;
    Ok(Engine::new(crew, peers, Lanes::new(lanes, payloads(plan)), plan.burst, way(args, to)))
}

/// Peer sockets, where they are wanted.
fn peer_sockets(namespace: Option<&str>, ip: IpAddr, count: usize) -> Result<Vec<UdpSocket>, Failure> {
    let open = || (0..count).map(|_| datagrams(SocketAddr::new(ip, 0))).collect::<io::Result<Vec<_>>>();
    match namespace {
        None => open().map_err(|error| cannot_bind(ip, &error)),
        Some(name) => sys::within(name, open).map_err(|error| match error.kind() {
            // Of a file that is something else, the kernel says EINVAL.
            io::ErrorKind::NotFound | io::ErrorKind::InvalidInput => Failure::usage(
                format!("there is no network namespace {name:?}"),
                "`ip netns list` shows which there are",
            ),
            io::ErrorKind::PermissionDenied => Failure::usage(
                format!("the network namespace {name:?} cannot be entered"),
                "only root may (CAP_SYS_ADMIN)",
            ),
            io::ErrorKind::Unsupported => Failure::usage(error.to_string(), "leave out --peer-netns"),
            _ => cannot_bind(ip, &error),
        }),
    }
}

/// Listens at the peer sockets too.
fn watch(crew: &Crew, peers: &[UdpSocket]) -> Result<(), Failure> {
    for (token, peer) in (crew.callers.len() as u64..).zip(peers) {
        crew.poll.add(peer.as_fd(), token).map_err(|error| cannot_open(&error))?;
    }
    Ok(())
}

/// The address from which `server` is reached.
fn local_towards(server: SocketAddr) -> io::Result<IpAddr> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(server)?;
    Ok(socket.local_addr()?.ip())
}

fn local(socket: &UdpSocket) -> Result<SocketAddr, Failure> {
    socket.local_addr().map_err(|error| cannot_open(&error))
}

/// Each client's own channel; other clients may have the same number.
fn channel(client: usize) -> ChannelNumber {
    let number = 0x4000 + u16::try_from(client % 0x1000).unwrap_or(0);
    match ChannelNumber::new(number) {
        Some(channel) => channel,
        None => unreachable!("0x4000 to 0x4FFF are channels"),
    }
}

const fn directions(direction: Direction) -> (bool, bool) {
    match direction {
        Direction::Up => (true, false),
        Direction::Down => (false, true),
        Direction::Both => (true, true),
    }
}

fn payloads(plan: &Plan) -> Payloads {
    let mut run = [0; 4];
    // Without randomness packets of an earlier run count as corrupt, not as good.
    let _ = getrandom::fill(&mut run);
    Payloads::new(u32::from_be_bytes(run), plan.payload)
}

/// Descriptors beside those of clients and peers.
const OTHERS: u64 = 64;

/// Lets this process open as many files as `sockets` need, and wake up as punctually as the system can.
fn raise_limits(sockets: usize) -> Result<(), Failure> {
    let limit = sys::raise_descriptor_limit();
    if sockets as u64 + OTHERS > limit {
        return Err(Failure::usage(
            format!("{sockets} sockets are needed, and this process may open {limit} files"),
            "raise the limit (ulimit -Hn), ask for fewer --allocations, or take --peers one, which needs half of the sockets",
        ));
    }
    // The usual slack of 50 microseconds would make bursts out of a steady rate. Where it cannot be set, they are told as late.
    let _ = std::fs::write("/proc/self/timerslack_ns", "1000");
    Ok(())
}

/// How bursts leave: not as super-packets to where nothing cuts them, since no client's packets arrive like that.
fn way(args: &ThroughputArgs, to: SocketAddr) -> Way {
    use super::args::Gso;
    match args.gso {
        Gso::On => Way::Whole,
        Gso::Off => Way::Single,
        Gso::Auto => {
            let is_cut = local_towards(to).is_ok_and(|from| from != to.ip() && sys::cuts_bursts(from));
            if is_cut { Way::Whole } else { Way::Single }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
pub(super) fn rate_of(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}

#[expect(clippy::cast_precision_loss, reason = "some thousands")]
fn bits(payload: usize) -> f64 {
    payload as f64 * 8.0
}
