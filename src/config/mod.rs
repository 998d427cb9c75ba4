//! Configuration: what an operator writes, checked, layered and typed.
//!
//! `keys` is the one table of all keys. `file` and `layers` turn what is written into entries of that table with
//! their places, `reader` turns entries into [`Settings`], `checks` looks at several keys together, `document`
//! tells people what the table says.

mod api_keys;
mod certificates;
mod checks;
mod credentials;
mod document;
mod effect;
mod file;
pub mod ice;
mod keys;
mod layers;
mod listeners;
mod load;
mod node;
pub(crate) mod oauth;
mod paths;
mod peer_rule;
mod place;
mod problem;
mod reader;
mod secret;
mod secret_file;
mod settings;
#[cfg(test)]
mod tests;
mod tls;
mod tokens;
mod units;
mod validity;

pub(crate) use api_keys::peers;
pub use certificates::{Certificates, OwnCertificate, authorities, certificates};
pub use checks::{check_local, check_state};
pub use document::{default_file, effective, explain, schema};
pub use effect::check_expiry;
pub use layers::Overrides;
pub use load::load;
pub use paths::check_paths;
pub use peer_rule::{PeerRule, PeerRuleError};
pub use place::{Place, SourceText};
pub use problem::{Problem, Severity};
pub use secret::Secret;
pub use settings::{
    Acme, Admin, ApiKey, Auth, CertificateFiles, FamilyDefault, Http, Limits, Listen, Log, LogFormat,
    NatDiscovery, Peers, Redirect, RedirectWhen, Relay, RelayAddress, Rooms, Settings, SharedSecret, Source,
    Tls, TokenIssuer, TokenKey, User, UserCredential,
};
