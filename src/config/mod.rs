//! Configuration: what an operator writes, checked, layered and typed.

mod peer_rule;
mod place;
mod secret;
mod settings;

pub use peer_rule::{PeerRule, PeerRuleError};
pub use place::{Place, SourceText};
pub use secret::Secret;
pub use settings::{
    Admin, Auth, FamilyDefault, Http, Limits, Listen, Log, LogFormat, Peers, Relay, RelayAddress, Rooms,
    Settings, SharedSecret, Source, User, UserCredential,
};
