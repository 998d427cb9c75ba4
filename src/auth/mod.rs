//! Who is asking: the long-term credential mechanism (RFC 8489 §9.2), with users of a list and time-limited
//! credentials (draft-uberti-behave-turn-rest) side by side. No clock, no randomness, no state per client.

mod credentials;
mod key;
mod login;
mod nonce;
pub mod rest;

pub use credentials::{Credential, Credentials, Error, SharedSecret, User};
pub use key::{opaque_string, userhash};
pub use login::{Authenticator, Cause, Expiry, Login, Refusal, Settings};
pub use nonce::{NONCE_LEN, NonceKey};
