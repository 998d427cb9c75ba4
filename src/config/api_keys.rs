//! `http.keys`: keys of applications that fetch `iceServers`. Of a key only its hash is kept.

use ipnet::IpNet;
use sha2::{Digest as _, Sha256};

use super::credentials::Entry;
use super::node::{Node, Value};
use super::problem::did_you_mean;
use super::reader::{Reader, show_list, show_text};
use super::secret_file::name_of;
use super::settings::ApiKey;
use super::units::{self, Why, show_bytes, show_duration, show_rate};
use crate::auth::Network;

/// The shortest key that is not worth trying to guess, in characters.
const LONG_KEY: usize = 16;

/// The longest lifetime of credentials.
const LONGEST: std::time::Duration = std::time::Duration::from_secs(172_800);

/// The most networks in `peers`: they travel in the user name, which has 508 bytes.
const MAX_PEERS: usize = 8;

const FIELDS: [&str; 11] =
    ["name", "key", "key_file", "hash", "ttl", "quota", "origins", "tag", "rate", "bytes", "peers"];

const FORM: &str = "write `{ name = \"shop\", key_file = \"/etc/relais/shop.key\" }`, or `key`, or `hash` as `relais \
                    credentials key` prints it; ttl, quota, origins, tag, rate, bytes and peers may follow";

/// The dialects there are.
pub(crate) const DIALECTS: [&str; 7] =
    ["native", "cloudflare", "twilio", "metered", "xirsys", "uberti", "matrix"];

/// One entry of `http.dialects`.
pub(crate) fn dialect(text: &str) -> Result<String, Why> {
    if DIALECTS.contains(&text) {
        return Ok(text.to_owned());
    }
    let cure = match did_you_mean(text, DIALECTS) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("there are {}", DIALECTS.join(", ")),
    };
    Err((format!("`{text}` is not a dialect"), cure))
}

/// Reads the list.
pub(crate) fn keys(reader: &mut Reader<'_>, node: &Node) -> Option<Vec<ApiKey>> {
    let mut keys: Vec<ApiKey> = Vec::new();
    for node in reader.list(node)? {
        let Some(entry) = Entry::read(reader, node, &FIELDS, FORM) else { continue };
        let errors = reader.problems.len();
        let name = entry.name(reader, "name", |text| name_of(text, "a key", "user names and logs"));
        let hash =
            entry.only_one_of(reader, &["key", "key_file", "hash"], FORM).and_then(|field| {
                match field.name.as_str() {
                    "hash" => reader.checked(&field.node, hash_of_hex),
                    _ => {
                        let key = entry.secret(reader, field, "the key")?;
                        let long = strong_enough(key.expose());
                        long.map_err(|(message, cure)| reader.error(&field.node, message, cure)).ok()?;
                        Some(Sha256::digest(key.expose()).into())
                    }
                }
            });
        let read = scope(reader, &entry);
        let (Some(name), Some(hash)) = (name, hash) else { continue };
        if reader.problems.len() > errors {
            continue;
        }
        if keys.iter().any(|known| known.name == name) {
            entry.twice(reader, "name", &name, "key");
        } else if let Some(same) = keys.iter().find(|known| known.hash == hash) {
            let message = format!("the keys `{}` and `{name}` are the same", same.name);
            reader.error(node, message, "make another: `relais credentials key NAME`");
        } else {
            keys.push(ApiKey { name, hash, ..read });
        }
    }
    Some(keys)
}

/// What the key may do.
fn scope(reader: &mut Reader<'_>, entry: &Entry<'_>) -> ApiKey {
    let ttl = entry.field("ttl").and_then(|field| {
        reader.checked(&field.node, |text| match units::parse_duration(text) {
            Some(ttl) if ttl.as_secs() > 0 && ttl <= LONGEST => Ok(ttl),
            _ => Err((
                format!("`{text}` is not a duration from 1s to 48h"),
                "write for example ttl = \"1h\"".to_owned(),
            )),
        })
    });
    let quota = entry.field("quota").and_then(|field| {
        let quota = match field.node.value {
            Value::Integer(Some(number)) => u32::try_from(number).ok().filter(|quota| *quota > 0),
            _ => None,
        };
        if quota.is_none() {
            reader.error(
                &field.node,
                "`quota` takes a number of allocations, from 1",
                "write for example quota = 4",
            );
        }
        quota
    });
    let rate = entry.field("rate").and_then(|field| reader.checked(&field.node, units::rate));
    let bytes = entry.field("bytes").and_then(|field| reader.checked(&field.node, units::bytes));
    let tag = entry.field("tag").and_then(|field| reader.checked(&field.node, units::tag));
    let origins =
        texts(
            reader,
            entry,
            "origins",
            |text| {
                if text == "*" { Ok(text.to_owned()) } else { units::origin(text) }
            },
        );
    if origins.len() > 1
        && origins.iter().any(|origin| origin == "*")
        && let Some(field) = entry.field("origins")
    {
        reader.error(&field.node, "`*` stands for all origins", "remove the others, or the `*`");
    }
    let peers = texts(reader, entry, "peers", peers);
    if peers.len() > MAX_PEERS
        && let Some(field) = entry.field("peers")
    {
        let message = format!("`peers` has {} networks; the user name holds {MAX_PEERS}", peers.len());
        reader.error(&field.node, message, "put several into one, or use `peers` of the configuration");
    }
    ApiKey { name: String::new(), hash: [0; 32], ttl, quota, origins, tag, rate, bytes, peers }
}

/// A list of strings among the fields of an entry; what is wrong with one is told.
fn texts<T>(
    reader: &mut Reader<'_>,
    entry: &Entry<'_>,
    name: &str,
    check: impl Fn(&str) -> Result<T, Why>,
) -> Vec<T> {
    let Some(field) = entry.field(name) else { return Vec::new() };
    let Value::List(list) = &field.node.value else {
        reader.error(&field.node, format!("`{name}` takes a list"), format!("write {name} = [\"…\", \"…\"]"));
        return Vec::new();
    };
    list.iter().filter_map(|node| reader.checked(node, &check)).collect()
}

/// An address or a network, as `peers` of a key and `--peers` of a credential take it.
pub(crate) fn peers(text: &str) -> Result<Network, Why> {
    text.parse().map_err(|_| match text.parse::<IpNet>() {
        // The one address may have been meant.
        Ok(wide) => (
            format!("`{text}` has bits set behind its prefix"),
            format!("write \"{}\" for the network or \"{}\" for the one address", wide.trunc(), wide.addr()),
        ),
        Err(_) => (
            format!("`{text}` is not an address or a network"),
            "write for example \"198.51.100.7\" or \"198.51.100.0/24\"".to_owned(),
        ),
    })
}

fn strong_enough(key: &str) -> Result<(), Why> {
    let length = key.chars().count();
    if length >= LONG_KEY && !key.contains(char::is_whitespace) {
        return Ok(());
    }
    let message = if length < LONG_KEY {
        format!("the key has {length} characters, so it can be guessed")
    } else {
        "the key has white space, which does not travel in headers".to_owned()
    };
    Err((message, "make one: `relais credentials key NAME`".to_owned()))
}

/// `sha256:` and 64 hex digits.
fn hash_of_hex(text: &str) -> Result<[u8; 32], Why> {
    let why = || {
        (
            "the hash is not `sha256:` and 64 hex digits".to_owned(),
            "`relais credentials key NAME` prints a key with its hash; that of a key at hand: `printf %s KEY | sha256sum`"
                .to_owned(),
        )
    };
    let digits: Vec<u8> = text
        .strip_prefix("sha256:")
        .ok_or_else(why)?
        .chars()
        .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect::<Option<_>>()
        .ok_or_else(why)?;
    let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    if digits.len() != 64 {
        return Err(why());
    }
    bytes.try_into().map_err(|_| why())
}

/// Shows keys without themselves, as hashes: that is all that is left of them.
pub(crate) fn show(keys: &[ApiKey]) -> String {
    let shown = keys.iter().map(|key| {
        let ApiKey { name, hash: _, ttl, quota, origins, tag, rate, bytes, peers } = key;
        let mut fields = vec![format!("name = {}", show_text(name)), "hash = \"<redacted>\"".to_owned()];
        fields.extend(ttl.map(|ttl| format!("ttl = {}", show_text(&show_duration(ttl)))));
        fields.extend(quota.map(|quota| format!("quota = {quota}")));
        fields.extend((!origins.is_empty()).then(|| format!("origins = {}", show_list(origins))));
        fields.extend(tag.as_ref().map(|tag| format!("tag = {}", show_text(tag))));
        fields.extend(rate.map(|rate| format!("rate = {}", show_text(&show_rate(rate)))));
        fields.extend(bytes.map(|bytes| format!("bytes = {}", show_text(&show_bytes(bytes)))));
        fields.extend((!peers.is_empty()).then(|| format!("peers = {}", show_list(peers))));
        format!("{{ {} }}", fields.join(", "))
    });
    format!("[{}]", shown.collect::<Vec<_>>().join(", "))
}
