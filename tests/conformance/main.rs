//! The conformance suite: what RFC 8489, RFC 8656, RFC 6062 and the draft of time-limited credentials ask of a server, one
//! file for each section. `docs/conformance.md` lists which test stands for which clause.

#![expect(unreachable_pub, reason = "a module of a test binary is public to its siblings only")]
#![expect(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "test code; its numbers are small")]

mod world;

mod bad_input;
mod policy;
mod quirks;
mod rfc5780;
mod rfc6062;
mod rfc7635;
mod rfc8016;
mod rfc8489_05;
mod rfc8489_06;
mod rfc8489_09;
mod rfc8489_14;
mod rfc8656_05;
mod rfc8656_07;
mod rfc8656_07_reserve_and_dual;
mod rfc8656_08;
mod rfc8656_09_10;
mod rfc8656_11;
mod rfc8656_12;
mod rfc8656_13_16;
mod rfc8656_21;
mod safety;
mod uberti;
