//! Instructions for each relayed packet, indications beside ChannelData, and for requests, counted by callgrind.
//!
//! `cargo bench --bench instructions` prints its tables and fails when an indication costs the program more than [`MOST`]
//! times what ChannelData does, or when anything costs more than 1.05 times what `instructions/baseline.toml` says; with `-- --renew`
//! the figures become the baseline instead. Counted are the core alone, fed the same bytes again and again, and the whole program between real
//! sockets, without the kernel. Each figure is the difference of two runs of different length, so that what is done once
//! falls out. `cargo bench --bench instructions -- core` leaves out the program. Needs valgrind.
//!
//! valgrind's processor is the same everywhere but for AVX2, which it has where the machine does. What the program asks the
//! processor for does not come in wider than 128 bits; the C library is told to do without ([`TUNABLES`]).
//!
//! An indication with FINGERPRINT is shown, and not held to the bound: its CRC-32, which has a column of its own, grows with
//! the payload, ChannelData have nothing like it, and valgrind knows none of the wide instructions that it is made of
//! elsewhere.

#![allow(clippy::unwrap_used, reason = "a measurement fails by panicking")]
#![allow(missing_docs, reason = "a program, not a library")]

#[path = "instructions/baseline.rs"]
mod baseline;
#[path = "instructions/core.rs"]
mod core_alone;
#[path = "instructions/program.rs"]
mod program;
#[path = "instructions/shape.rs"]
mod shape;

use std::path::Path;
use std::process::{Command, ExitCode};

use baseline::Figures;
use shape::Shape;

/// What an indication may cost the program, in units of ChannelData in the same direction with the same payload. Of the core
/// alone, which remembers the last flow, there is too little left for a ratio.
const MOST: f64 = 1.15;
/// Payloads in bytes: a packet of audio, a packet of video.
const PAYLOADS: [usize; 2] = [160, 1200];
/// Packets that the shorter run relays, and how many more the longer one does.
const CORE: (usize, usize) = (1_000, 20_000);
const PROGRAM: (usize, usize) = (640, 6_400);
/// Requests that are counted in the core, and how much fewer of them than of packets.
const REQUESTS: [(Shape, usize); 2] = [(Shape::Binding, 1), (Shape::Cycle, 10)];
/// What the C library copies with does not depend on the machine. Its versions have called the features by two names.
const TUNABLES: &str =
    "glibc.cpu.hwcaps=-AVX2,-AVX2_Usable,-AVX,-AVX_Usable,-AVX_Fast_Unaligned_Load,-ERMS,-FSRM";

/// Runs a command under callgrind and returns how many instructions it took.
fn count(file: &Path, command: &[&str], drive: impl FnOnce(&mut std::process::Child)) -> u64 {
    let mut valgrind = Command::new("valgrind");
    valgrind.env("GLIBC_TUNABLES", TUNABLES);
    valgrind.args(["--tool=callgrind", "--quiet"]).arg(format!("--callgrind-out-file={}", file.display()));
    let mut child = valgrind.args(command).spawn().expect("valgrind: apt-get install valgrind");
    drive(&mut child);
    assert!(child.wait().unwrap().success(), "{command:?}");
    let text = std::fs::read_to_string(file).unwrap();
    let totals = text.lines().find_map(|line| line.strip_prefix("totals: ")).expect("a line of totals");
    totals.trim().parse().unwrap()
}

/// Instructions for each packet of this shape, in the core or in the whole program.
fn per_packet(whole: bool, shape: Shape, payload: usize, folder: &Path) -> f64 {
    let (few, more) = if whole { PROGRAM } else { CORE };
    per_one(whole, shape, payload, folder, few, more)
}

/// Instructions for each one of this shape, from a run of a few and a run of more.
fn per_one(whole: bool, shape: Shape, payload: usize, folder: &Path, few: usize, more: usize) -> f64 {
    let [short, long] = [few, few + more].map(|packets| {
        let file = folder.join("callgrind");
        if whole {
            program::count(&file, folder, shape, payload, packets)
        } else {
            let own = std::env::current_exe().unwrap();
            let (own, payload, packets) =
                (own.display().to_string(), payload.to_string(), packets.to_string());
            count(&file, &[&own, "core", shape.name(), &payload, &packets], |_| ())
        }
    });
    (long - short) as f64 / more as f64
}

/// One table of packets; says whether all of it is within the bound.
fn table(whole: bool, folder: &Path, figures: &mut Figures) -> bool {
    let what = if whole { "Program" } else { "Core" };
    let mut note = |shape: Shape, payload: usize, figure: f64| {
        figures.insert(format!("{}.{}.{payload}", what.to_lowercase(), shape.name()), figure.round());
    };
    println!("| {what} | payload | ChannelData | indication | of it CRC-32 | ratio without CRC-32 |");
    println!("|---|---|---|---|---|---|");
    let mut good = true;
    for payload in PAYLOADS {
        for (base, others) in [
            (Shape::ChannelToPeer, &[Shape::Send, Shape::SendWithFingerprint][..]),
            (Shape::ChannelToClient, &[Shape::Data]),
        ] {
            let channel = per_packet(whole, base, payload, folder);
            note(base, payload, channel);
            for shape in others {
                let indication = per_packet(whole, *shape, payload, folder);
                note(*shape, payload, indication);
                let printed = *shape == Shape::SendWithFingerprint;
                let crc = if printed { per_packet(false, Shape::Checksum, payload, folder) } else { 0.0 };
                let ratio = (indication - crc) / channel;
                let name = shape.name();
                println!("| {name} | {payload} | {channel:.0} | {indication:.0} | {crc:.0} | {ratio:.2} |");
                good &= printed || !whole || ratio <= MOST;
            }
        }
    }
    println!();
    good
}

/// The table of requests.
fn requests(folder: &Path, figures: &mut Figures) {
    println!("| Core | instructions |\n|---|---|");
    for (shape, fewer) in REQUESTS {
        let figure = per_one(false, shape, 0, folder, CORE.0 / fewer, CORE.1 / fewer);
        println!("| {} | {figure:.0} |", shape.name());
        figures.insert(format!("core.{}", shape.name()), figure.round());
    }
    println!();
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [what, shape, payload, packets] = &arguments[..] {
        assert_eq!(what, "core");
        let mut core = core_alone::Core::new(Shape::named(shape), payload.parse().unwrap());
        for _ in 0..packets.parse().unwrap() {
            core.step();
        }
        return ExitCode::SUCCESS;
    }
    let folder = std::env::temp_dir().join(format!("relais-instructions-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let renew = arguments.iter().any(|argument| argument == "--renew");
    let only = arguments.iter().find(|argument| *argument != "--renew").map(String::as_str);
    let mut figures = Figures::new();
    let mut good = true;
    for (name, whole) in [("core", false), ("program", true)] {
        if only.is_none_or(|only| only == name) {
            good &= table(whole, &folder, &mut figures);
        }
    }
    if only.is_none_or(|only| only == "core" || only == "requests") {
        requests(&folder, &mut figures);
    }
    std::fs::remove_dir_all(&folder).unwrap();
    if !good {
        eprintln!("an indication costs more than {MOST} times what ChannelData does");
    }
    if renew {
        baseline::renew(&figures);
    } else {
        good &= baseline::compare(&figures);
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
