//! Instructions for each relayed packet, indications beside ChannelData, counted by callgrind.
//!
//! `cargo bench --bench instructions` prints two tables and fails when an indication costs more than [`MOST`] times what
//! ChannelData does. Counted are the core alone, fed the same bytes again and again, and the whole program between real
//! sockets, without the kernel. Each figure is the difference of two runs of different length, so that what is done once
//! falls out. `cargo bench --bench instructions -- core` leaves out the program. Needs valgrind.
//!
//! An indication with FINGERPRINT is shown, and not held to the bound: its CRC-32, which has a column of its own, grows with
//! the payload, ChannelData have nothing like it, and valgrind knows none of the wide instructions that it is made of
//! elsewhere.

#![allow(clippy::unwrap_used, reason = "a measurement fails by panicking")]
#![allow(missing_docs, reason = "a program, not a library")]

#[path = "instructions/core.rs"]
mod core_alone;
#[path = "instructions/program.rs"]
mod program;
#[path = "instructions/shape.rs"]
mod shape;

use std::path::Path;
use std::process::{Command, ExitCode};

use shape::Shape;

/// What an indication may cost, in units of ChannelData in the same direction with the same payload.
const MOST: f64 = 1.15;
/// Payloads in bytes: a packet of audio, a packet of video.
const PAYLOADS: [usize; 2] = [160, 1200];
/// Packets that the shorter run relays, and how many more the longer one does.
const CORE: (usize, usize) = (1_000, 20_000);
const PROGRAM: (usize, usize) = (640, 6_400);

/// Runs a command under callgrind and returns how many instructions it took.
fn count(file: &Path, command: &[&str], drive: impl FnOnce(&mut std::process::Child)) -> u64 {
    let mut valgrind = Command::new("valgrind");
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

/// One table; says whether all of it is within the bound.
fn table(whole: bool, folder: &Path) -> bool {
    let what = if whole { "Program" } else { "Core" };
    println!("| {what} | payload | ChannelData | indication | of it CRC-32 | ratio without CRC-32 |");
    println!("|---|---|---|---|---|---|");
    let mut good = true;
    for payload in PAYLOADS {
        for (base, others) in [
            (Shape::ChannelToPeer, &[Shape::Send, Shape::SendWithFingerprint][..]),
            (Shape::ChannelToClient, &[Shape::Data]),
        ] {
            let channel = per_packet(whole, base, payload, folder);
            for shape in others {
                let indication = per_packet(whole, *shape, payload, folder);
                let printed = *shape == Shape::SendWithFingerprint;
                let crc = if printed { per_packet(false, Shape::Checksum, payload, folder) } else { 0.0 };
                let ratio = (indication - crc) / channel;
                let name = shape.name();
                println!("| {name} | {payload} | {channel:.0} | {indication:.0} | {crc:.0} | {ratio:.2} |");
                good &= printed || ratio <= MOST;
            }
        }
    }
    println!();
    good
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [what, shape, payload, packets] = &arguments[..] {
        assert_eq!(what, "core");
        core_alone::relay(Shape::named(shape), payload.parse().unwrap(), packets.parse().unwrap());
        return ExitCode::SUCCESS;
    }
    let folder = std::env::temp_dir().join(format!("relais-instructions-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let only = arguments.first().map(String::as_str);
    let mut good = true;
    for (name, whole) in [("core", false), ("program", true)] {
        if only.is_none_or(|only| only == name) {
            good &= table(whole, &folder);
        }
    }
    std::fs::remove_dir_all(&folder).unwrap();
    if !good {
        eprintln!("an indication costs more than {MOST} times what ChannelData does");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
