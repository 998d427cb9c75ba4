//! Relais: a STUN and TURN relay server.
//!
//! The lower layers (`wire`, `auth`, `turn`, `client`) are a protocol core without sockets, clocks or randomness; the
//! upper ones, behind the feature `server`, give it all three. `docs/architecture.md` has the picture.

#[cfg(feature = "server")]
pub mod app;
pub mod auth;
#[cfg(feature = "server")]
pub mod bench;
#[cfg(feature = "server")]
pub mod cli;
pub mod client;
#[cfg(feature = "server")]
pub mod config;
#[cfg(feature = "server")]
pub mod http;
#[cfg(feature = "server")]
pub mod net;
#[cfg(feature = "server")]
pub mod observe;
#[cfg(feature = "server")]
pub mod probe;
#[cfg(feature = "server")]
mod sys;
pub mod time;
pub mod turn;
pub mod wire;
