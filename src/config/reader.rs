//! From values as written to values as meant; everything that does not fit becomes a problem.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use super::keys::{Key, Kind};
use super::node::{Node, Value};
use super::peer_rule::PeerRule;
use super::place::Place;
use super::problem::{Problem, did_you_mean};
use super::settings::RelayAddress;
use super::units;

/// Reads the value of one key and collects what is wrong with it.
pub(crate) struct Reader<'a> {
    pub(crate) key: &'static Key,
    pub(crate) problems: &'a mut Vec<Problem>,
}

impl Reader<'_> {
    pub(crate) fn error(&mut self, node: &Node, message: impl Into<String>, cure: impl Into<String>) {
        self.problems.push(Problem::error(&node.place, message, cure));
    }

    fn wrong_type(&mut self, node: &Node, wanted: &str) {
        let message = format!("`{}` takes {wanted}, not {}", self.key.name, node.value.kind());
        self.error(node, message, format!("write for example `{}`", self.key.example()));
    }

    /// A string.
    pub(crate) fn text<'n>(&mut self, node: &'n Node) -> Option<&'n str> {
        if let Value::Text(text) = &node.value {
            return Some(text);
        }
        self.wrong_type(node, "a string");
        None
    }

    /// A boolean.
    pub(crate) fn flag(&mut self, node: &Node) -> Option<bool> {
        if let Value::Boolean(flag) = node.value {
            return Some(flag);
        }
        self.wrong_type(node, "`true` or `false`");
        None
    }

    /// A whole number within the key's bounds.
    pub(crate) fn count(&mut self, node: &Node) -> Option<u32> {
        let Kind::Count { min, max } = self.key.kind else { return None };
        let Value::Integer(number) = node.value else {
            self.wrong_type(node, "an integer");
            return None;
        };
        let number = number.and_then(|number| u32::try_from(number).ok());
        let fitting = number.filter(|number| (min..=max).contains(number));
        if fitting.is_none() {
            let message = format!("`{}` must be from {min} to {max}", self.key.name);
            self.error(node, message, format!("the default is {}", self.key.default));
        }
        fitting
    }

    /// A duration within the key's bounds.
    pub(crate) fn duration(&mut self, node: &Node) -> Option<Duration> {
        let Kind::Duration { min, max } = self.key.kind else { return None };
        let text = self.text(node)?;
        match units::parse_duration(text) {
            Some(duration) if (min..=max).contains(&duration) => Some(duration),
            Some(_) => {
                let (min, max) = (units::show_duration(min), units::show_duration(max));
                let message = format!("`{}` must be from {min} to {max}", self.key.name);
                self.error(node, message, format!("the default is {}", self.key.default));
                None
            }
            None => {
                let message = format!("`{text}` is not a duration");
                self.error(
                    node,
                    message,
                    "write a number and a unit: \"500ms\", \"30s\", \"10m\", \"1h\", \"1d\"",
                );
                None
            }
        }
    }

    /// One of the words that the key knows.
    pub(crate) fn choice<T: Copy>(&mut self, node: &Node, values: &[(&'static str, T)]) -> Option<T> {
        self.choice_of(self.key.name, node, values)
    }

    /// The same for the field `name` of a table.
    pub(crate) fn choice_of<T: Copy>(
        &mut self,
        name: &str,
        node: &Node,
        values: &[(&'static str, T)],
    ) -> Option<T> {
        let text = self.text(node)?;
        let found = values.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
        if found.is_none() {
            let names: Vec<String> = values.iter().map(|(name, _)| format!("\"{name}\"")).collect();
            let cure = match did_you_mean(text, values.iter().map(|(name, _)| *name)) {
                Some(near) => format!("did you mean \"{near}\"? There are {}", names.join(", ")),
                None => format!("write one of {}", names.join(", ")),
            };
            self.error(node, format!("`{text}` is not a value of `{name}`"), cure);
        }
        found
    }

    /// The elements of a list.
    pub(crate) fn list<'n>(&mut self, node: &'n Node) -> Option<&'n [Node]> {
        match &node.value {
            Value::List(list) => Some(list),
            // In a list of tables it would be wrong, and may be a secret.
            Value::Text(text) if self.key.kind.is_list_of_texts() => {
                let message = format!("`{}` takes a list, not a string", self.key.name);
                self.error(node, message, format!("put it in brackets: `{} = [\"{text}\"]`", self.key.name));
                None
            }
            _ => {
                self.wrong_type(node, "a list");
                None
            }
        }
    }

    /// Every element through `read`, refusing what stands twice. `None` as soon as one is wrong.
    fn each<T: PartialEq>(
        &mut self,
        node: &Node,
        mut read: impl FnMut(&mut Self, &Node) -> Option<T>,
    ) -> Option<Vec<T>> {
        let list = self.list(node)?;
        let mut whole = true;
        let mut values = Vec::with_capacity(list.len());
        for element in list {
            match read(self, element) {
                Some(value) if values.contains(&value) => {
                    whole = false;
                    self.error(
                        element,
                        format!("this stands twice in `{}`", self.key.name),
                        "remove one of them",
                    );
                }
                Some(value) => values.push(value),
                None => whole = false,
            }
        }
        whole.then_some(values)
    }

    /// Addresses with ports.
    pub(crate) fn socket_addresses(&mut self, node: &Node) -> Option<Vec<SocketAddr>> {
        self.each(node, |reader, element| {
            let text = reader.text(element)?;
            match SocketAddr::from_str(text) {
                Ok(address) if address.ip().is_multicast() => {
                    reader.error(
                        element,
                        format!("`{text}` is a multicast address"),
                        "write a local address",
                    );
                    None
                }
                Ok(SocketAddr::V6(address)) if address.ip().to_ipv4_mapped().is_some() => {
                    let plain = SocketAddr::new(address.ip().to_canonical(), address.port());
                    reader.error(
                        element,
                        format!("`{text}` is IPv4 in an IPv6 disguise, and IPv6 sockets here take IPv6 only"),
                        format!("write \"{plain}\""),
                    );
                    None
                }
                Ok(address) => Some(address),
                Err(_) => {
                    let message = format!("`{text}` is not an address with a port");
                    reader.error(
                        element,
                        message,
                        units::socket_address_cure(text, reader.key.default_port()),
                    );
                    None
                }
            }
        })
    }

    /// `redirect.servers`: where clients can go.
    pub(crate) fn other_servers(&mut self, node: &Node) -> Option<Vec<SocketAddr>> {
        self.each(node, |reader, element| {
            const CURE: &str = "write the other server's address and port: \"198.51.100.8:3478\"";
            let text = reader.text(element)?;
            match SocketAddr::from_str(text) {
                Ok(address)
                    if address.ip().to_canonical().is_unspecified()
                        || address.ip().to_canonical().is_multicast()
                        || address.port() == 0 =>
                {
                    reader.error(element, format!("no client can go to `{text}`"), CURE);
                    None
                }
                Ok(address) => Some(address),
                Err(_) => {
                    reader.error(element, format!("`{text}` is not an address with a port"), CURE);
                    None
                }
            }
        })
    }

    /// `relay.addresses`.
    pub(crate) fn relay_addresses(&mut self, node: &Node) -> Option<Vec<RelayAddress>> {
        let addresses = self.each(node, |reader, element| {
            let text = reader.text(element)?;
            if text == "auto" {
                return Some(RelayAddress::Auto);
            }
            reader
                .unicast(element, text, "write an address of this machine, or \"auto\"")
                .map(RelayAddress::Ip)
        })?;
        if addresses.is_empty() {
            self.error(
                node,
                "`addresses` is empty: there is nothing to relay from",
                "write `addresses = [\"auto\"]`",
            );
            return None;
        }
        Some(addresses)
    }

    /// Addresses of this machine.
    pub(crate) fn addresses(&mut self, node: &Node) -> Option<Vec<IpAddr>> {
        self.each(node, |reader, element| {
            let text = reader.text(element)?;
            reader.unicast(element, text, "write an address of this machine")
        })
    }

    /// A list of ports.
    pub(crate) fn port_list(&mut self, node: &Node) -> Option<Vec<u16>> {
        self.each(node, |reader, element| {
            let port = match element.value {
                Value::Integer(number) => number.and_then(|number| u16::try_from(number).ok()),
                _ => None,
            };
            let port = port.filter(|port| *port > 0);
            if port.is_none() {
                let example = format!("write for example `{}`", reader.key.example());
                reader.error(element, "this is not a port: a number from 1 to 65535", example);
            }
            port
        })
    }

    /// An address that a single host can have.
    fn unicast(&mut self, node: &Node, text: &str, cure: &str) -> Option<IpAddr> {
        match text.parse::<IpAddr>() {
            Ok(address) if address.is_unspecified() || address.is_multicast() => {
                self.error(node, format!("`{text}` is not the address of one host"), cure);
                None
            }
            Ok(address) => Some(address.to_canonical()),
            Err(_) => {
                self.error(node, format!("`{text}` is not an IP address"), cure);
                None
            }
        }
    }

    /// `relay.external`.
    pub(crate) fn external(&mut self, node: &Node) -> Option<BTreeMap<IpAddr, IpAddr>> {
        const CURE: &str =
            "write `external = { \"10.0.0.5\" = \"198.51.100.7\" }`: local address, then public one";
        let Value::Table(fields) = &node.value else {
            self.error(node, format!("`external` takes a table, not {}", node.value.kind()), CURE);
            return None;
        };
        let mut whole = true;
        let mut pairs = BTreeMap::new();
        for field in fields {
            let key = Node { place: field.place.clone(), value: Value::Text(field.name.clone()) };
            let local = self.unicast(&key, &field.name, CURE);
            let public = self.text(&field.node).and_then(|text| self.unicast(&field.node, text, CURE));
            match (local, public) {
                (Some(local), Some(public)) if local.is_ipv4() != public.is_ipv4() => {
                    whole = false;
                    self.error(&field.node, format!("{local} and {public} are not of one family"), CURE);
                }
                (Some(local), Some(public)) => {
                    pairs.insert(local, public);
                }
                _ => whole = false,
            }
        }
        whole.then_some(pairs)
    }

    /// `relay.ports`.
    pub(crate) fn ports(&mut self, node: &Node) -> Option<RangeInclusive<u16>> {
        let text = self.text(node)?;
        let ends = text.split_once('-').map(|(first, last)| (first.trim().parse(), last.trim().parse()));
        let (message, cure) = match ends {
            Some((Ok::<u16, _>(first), Ok::<u16, _>(last))) => match (first, last) {
                _ if first > last => {
                    (format!("the ports `{text}` run backwards"), format!("write \"{last}-{first}\""))
                }
                (..1024, _) => (
                    format!("`{text}` holds ports below 1024, which belong to other services"),
                    "start at 1024 or above; the default is \"49152-65535\"".to_owned(),
                ),
                _ if last - first < 1 => (
                    format!("`{text}` is a single port; RFC 8656 hands out pairs too"),
                    "give at least two ports, better a few thousand: each allocation takes one".to_owned(),
                ),
                _ => return Some(first..=last),
            },
            _ => (
                format!("`{text}` is not a range of ports"),
                "write first and last port, each at most 65535: \"49152-65535\"".to_owned(),
            ),
        };
        self.error(node, message, cure);
        None
    }

    /// `peers.allow` and `peers.deny`.
    pub(crate) fn peer_rules(&mut self, node: &Node) -> Option<Vec<PeerRule>> {
        self.each(node, |reader, element| {
            let text = reader.text(element)?;
            match text.parse() {
                Ok(rule) => Some(rule),
                Err(super::PeerRuleError { message, cure }) => {
                    reader.error(element, message, cure);
                    None
                }
            }
        })
    }

    /// Strings that `check` passes or explains (message, cure).
    pub(crate) fn texts<T: PartialEq>(
        &mut self,
        node: &Node,
        check: impl Fn(&str) -> Result<T, (String, String)>,
    ) -> Option<Vec<T>> {
        self.each(node, |reader, element| reader.checked(element, &check))
    }

    /// The name of a file, if it is not empty.
    #[expect(clippy::option_option, reason = "what was read, and whether it could be")]
    pub(crate) fn file(&mut self, node: &Node) -> Option<Option<PathBuf>> {
        let text = self.text(node)?;
        if text.contains('\n') || is_pem(text) {
            let message = format!("`{}` takes the name of a file, not what it holds", self.key.name);
            self.error(node, message, format!("write for example `{}`", self.key.example()));
            return None;
        }
        Some((!text.is_empty()).then(|| beside(&node.place, text)))
    }

    /// A string that `check` passes or explains (message, cure).
    pub(crate) fn checked<T>(
        &mut self,
        node: &Node,
        check: impl Fn(&str) -> Result<T, (String, String)>,
    ) -> Option<T> {
        match check(self.text(node)?) {
            Ok(value) => Some(value),
            Err((message, cure)) => {
                self.error(node, message, cure);
                None
            }
        }
    }
}

/// Whether this is a key or a certificate itself, instead of the name of its file.
pub(crate) fn is_pem(text: &str) -> bool {
    text.contains("-----BEGIN")
}

/// A relative path in a configuration file starts at that file's directory.
pub(crate) fn beside(place: &Place, text: &str) -> PathBuf {
    match place {
        Place::Span { file, .. } => file.path().parent().unwrap_or_else(|| Path::new("")).join(text),
        _ => PathBuf::from(text),
    }
}

/// Shows the name of a file as TOML; empty for none.
pub(crate) fn show_file(file: &Option<PathBuf>) -> String {
    show_text(&file.as_deref().map(Path::display).map(|file| file.to_string()).unwrap_or_default())
}

/// Shows a list as TOML.
pub(crate) fn show_list<T: Display>(values: &[T]) -> String {
    let values: Vec<String> = values.iter().map(|value| show_text(&value.to_string())).collect();
    format!("[{}]", values.join(", "))
}

/// Shows a string as TOML.
pub(crate) fn show_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
