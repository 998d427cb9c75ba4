//! What the running server is asked besides iceServers: who is there, what was refused, what shall be revoked.

use std::net::IpAddr;

use futures_util::future::BoxFuture;
use serde::Serialize;

pub use crate::auth::Revocation;

/// Looks into the running server and ends what shall end.
pub trait Control: Send + Sync + 'static {
    /// Revokes credentials: refused from now on, and their allocations ended when this returns. `issuer` is the API key that
    /// asks; only what was issued for it is concerned then.
    fn revoke(
        &self,
        what: Revocation,
        issuer: Option<String>,
    ) -> BoxFuture<'static, Result<Revoked, ControlError>>;

    /// Takes a revocation back. `false`: there was none.
    fn lift(
        &self,
        what: Revocation,
        issuer: Option<String>,
    ) -> BoxFuture<'static, Result<bool, ControlError>>;

    /// All revocations in force, oldest first.
    fn revocations(&self) -> BoxFuture<'static, Vec<RevocationEntry>>;

    /// Live allocations, in no order.
    fn sessions(&self, filter: SessionFilter) -> BoxFuture<'static, Result<Vec<Session>, ControlError>>;

    /// What was refused of late, newest first; of one user, if one is named.
    fn refusals(&self, user: Option<String>) -> BoxFuture<'static, Vec<Refused>>;

    /// What a visitor may know of a credential: everything if it verifies, else what was refused to its own address.
    fn view(&self, asked: ViewRequest) -> BoxFuture<'static, Result<View, ControlError>>;
}

/// Why something was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlError {
    /// As many revocations as are kept are in force.
    Full,
    /// The value is empty or longer than any user name.
    BadValue,
    /// The state directory cannot be written. The revocation is in force, but would not survive a restart.
    NotKept,
    /// A worker does not answer.
    Silent,
}

/// What a revocation has done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Revoked {
    /// Allocations that it ended.
    pub allocations_ended: u64,
    /// Until when it is in force, in RFC 3339. `None`: until it is lifted.
    pub until: Option<String>,
}

/// A revocation in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RevocationEntry {
    /// `username`, `user`, `tag` or `key`.
    pub kind: &'static str,
    /// Which one.
    pub value: String,
    /// The API key to whose credentials it is limited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// Since when, in RFC 3339.
    pub at: String,
    /// Until when, in RFC 3339. `None`: until it is lifted.
    pub until: Option<String>,
}

/// Which sessions are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionFilter {
    /// Those of this user alone: what quotas count, or a whole user name.
    pub user: Option<String>,
    /// So many at most.
    pub limit: usize,
}

/// Packets, and their bytes without headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Relayed {
    /// Packets.
    pub packets: u64,
    /// Bytes of payload.
    pub bytes: u64,
}

/// An allocation, live or just ended.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Allocation {
    /// The client's address and port.
    pub client: String,
    /// `udp`, `tcp`, `tls` or `dtls`.
    pub transport: &'static str,
    /// The relayed transport address.
    pub relayed: String,
    /// That of the other family, if it has both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub also_relayed: Option<String>,
    /// When it was made, in RFC 3339.
    pub created: String,
    /// How many seconds ago.
    pub age: f64,
    /// In how many seconds it ends unless it is refreshed; 0 when it has ended.
    pub expires_in: u64,
    /// The addresses of peers that it has permissions for, some of them if there are many.
    pub permissions: Vec<String>,
    /// How many channels are bound.
    pub channels: usize,
    /// When the first packet went to a peer, in seconds after it was made.
    pub first_to_peer: Option<f64>,
    /// When the first packet went to the client, likewise.
    pub first_to_client: Option<f64>,
    /// From the client to its peers.
    pub to_peers: Relayed,
    /// From peers to the client.
    pub to_client: Relayed,
    /// Packets that were dropped, by cause.
    pub drops: Drops,
    /// Why it ended; `None`: it lives.
    pub ended: Option<&'static str>,
}

/// Packets of an allocation that did not pass, in either direction, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Drops {
    /// No permission for the peer, or it has run out.
    pub no_permission: u64,
    /// The rules of the server or the credential forbid the peer.
    pub peer_denied: u64,
    /// Above the bit rate of the credential.
    pub rate: u64,
    /// Beyond the byte budget of the credential.
    pub budget: u64,
}

/// A session as the operator sees it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Session {
    /// What quotas count.
    pub user: String,
    /// The user name.
    pub username: String,
    /// The tag of its credential.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// The API key of its credential.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The rest.
    #[serde(flatten)]
    pub allocation: Allocation,
}

/// Something that was refused, the same within a while folded into one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// The last time, in RFC 3339.
    pub at: String,
    /// The user name as it was presented; `None`: there was none, or it is the visitor's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The client's address and port.
    pub client: String,
    /// `udp`, `tcp`, `tls` or `dtls`.
    pub transport: &'static str,
    /// `allocate`, `refresh`, `create_permission`, `channel_bind`, `connect` or `connection_bind`.
    pub method: &'static str,
    /// The error code that the client got.
    pub code: u16,
    /// Why, in one stable word.
    pub cause: &'static str,
    /// Why, in a sentence.
    pub message: String,
    /// What to do about it.
    pub cure: &'static str,
    /// The peer that it was about.
    pub peer: Option<String>,
    /// How often.
    pub count: u64,
}

/// Who asks for a view.
#[derive(Clone, Debug)]
pub struct ViewRequest {
    /// The user name of the credential.
    pub username: String,
    /// Its password.
    pub credential: String,
    /// The caller's own address.
    pub from: IpAddr,
}

/// Requests that were granted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Requests {
    /// Allocate.
    pub allocate: u64,
    /// Refresh.
    pub refresh: u64,
    /// CreatePermission.
    pub create_permission: u64,
    /// ChannelBind.
    pub channel_bind: u64,
}

/// What a visitor is shown.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct View {
    /// Whether the credential is one of this server, expired or not. All but refusals is empty if not.
    pub verified: bool,
    /// The server's time, in RFC 3339.
    pub now: String,
    /// Its allocations, and those that have just ended.
    pub allocations: Vec<Allocation>,
    /// What it has asked for with success, in these allocations.
    pub requests: Requests,
    /// What it was refused, newest first.
    pub refusals: Vec<Refused>,
}
