//! Who is asking: the long-term credential mechanism (RFC 8489 §9.2), with users of a list, time-limited credentials
//! (draft-uberti-behave-turn-rest) and access tokens of third parties (RFC 7635) side by side. No clock, no randomness,
//! no state per client.

mod aead;
mod authenticator;
mod credentials;
mod key;
mod login;
mod nonce;
mod policy;
mod refusal;
pub mod rest;
mod revocation;
mod third_party;
mod token;

pub use aead::TokenAlgorithm;
pub use authenticator::{Authenticator, Settings};
pub use credentials::{Credential, Credentials, Error, SharedSecret, User};
pub use key::{is_long_term_key, long_term_key, opaque_string, userhash};
pub use login::{Expired, Login, Stage};
pub use nonce::{Features, NONCE_LEN, NonceKey};
pub use policy::{BadPolicy, MARK, Network, Policy};
pub use refusal::{Cause, Refusal};
pub use revocation::{Revocation, Revocations, Revoked};
pub use token::{AccessToken, MAX_ACCESS_TOKEN, MAX_TOKEN, OauthKey};
