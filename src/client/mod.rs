//! The client's side of STUN and TURN: URIs of servers, and a state machine for one allocation without sockets, clock
//! and randomness.

pub mod uri;
