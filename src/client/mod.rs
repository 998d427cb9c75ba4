//! The client's side of STUN and TURN: URIs of servers, and a state machine for one allocation without sockets, clock
//! and randomness.
//!
//! The owner of a [`Client`] asks for things (`allocate`, `bind_channel`, …), sends what [`Client::poll_transmit`] gives
//! whenever [`Client::next_timeout`] has come, shows it each message that arrives, and hears by [`Client::poll_event`]
//! what has become of it all. Data do not pass through the state machine: [`read`] and [`DataHead`] are their framing.

mod account;
mod data;
mod request;
mod state;
pub mod uri;

pub use account::Account;
pub use data::{DataHead, Frame, Incoming, frame, read};
pub use request::Timers;
pub use state::{Client, Event, Failure, Task};
