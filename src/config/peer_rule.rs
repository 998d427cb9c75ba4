//! One entry of `peers.allow` or `peers.deny`.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;

use ipnet::IpNet;

/// Peers of a network, optionally only at some ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerRule {
    /// The addresses; host bits are zero, and never an IPv4-mapped IPv6 network.
    pub net: IpNet,
    /// The ports; `None` stands for all.
    pub ports: Option<RangeInclusive<u16>>,
}

/// Why a text is no peer rule, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerRuleError {
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub cure: String,
}

impl fmt::Display for PeerRuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.message, self.cure)
    }
}

impl std::error::Error for PeerRuleError {}

const FORMS: &str = "write a network (`10.0.0.0/8`, `fd00::/8`), an address (`10.1.2.3`) or either with ports \
                     (`10.1.2.3:5000-6000`, `[fd00::/8]:5000-6000`)";

impl FromStr for PeerRule {
    type Err = PeerRuleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (net, ports) = split(text);
        let net = network(net, text)?;
        let ports = ports.map(|ports| port_range(ports, text)).transpose()?;
        Ok(Self { net, ports })
    }
}

/// Parts the network from the ports. A colon separates ports only after a bracket or in an IPv4 form.
fn split(text: &str) -> (&str, Option<&str>) {
    if let Some(inner) = text.strip_prefix('[')
        && let Some((net, rest)) = inner.split_once(']')
    {
        return match rest.strip_prefix(':') {
            Some(ports) => (net, Some(ports)),
            None if rest.is_empty() => (net, None),
            None => (text, None),
        };
    }
    match text.split_once(':') {
        Some((net, ports)) if !ports.contains(':') => (net, Some(ports)),
        _ => (text, None),
    }
}

fn network(net: &str, text: &str) -> Result<IpNet, PeerRuleError> {
    let error = |message: String, cure: String| PeerRuleError { message, cure };
    let parsed = match net.parse::<IpNet>() {
        Ok(parsed) => parsed,
        Err(_) => match net.parse::<IpAddr>() {
            Ok(address) => IpNet::from(address),
            Err(_) => {
                return Err(error(
                    format!("`{text}` is not a network, an address or one of them with ports"),
                    FORMS.to_owned(),
                ));
            }
        },
    };
    if parsed.trunc() != parsed {
        return Err(error(
            format!("`{net}` has bits set behind its prefix"),
            format!("write `{}` for the network or `{}` for the one address", parsed.trunc(), parsed.addr()),
        ));
    }
    if let IpNet::V6(v6) = parsed
        && let Some(v4) = v6.addr().to_ipv4_mapped()
        && v6.prefix_len() >= 96
    {
        return Err(error(
            format!("`{net}` is IPv4 in an IPv6 disguise, which is undone before rules are asked"),
            format!("write `{v4}/{}`", v6.prefix_len() - 96),
        ));
    }
    Ok(parsed)
}

fn port_range(ports: &str, text: &str) -> Result<RangeInclusive<u16>, PeerRuleError> {
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    match (first.parse::<u16>(), last.parse::<u16>()) {
        (Ok(first), Ok(last)) if first > last => Err(PeerRuleError {
            message: format!("the ports of `{text}` run backwards"),
            cure: format!("write `{last}-{first}`"),
        }),
        (Ok(first), Ok(last)) => Ok(first..=last),
        _ => Err(PeerRuleError {
            message: format!("`{ports}` is not a port or a range of ports"),
            cure: "write a port (`5000`) or a range (`5000-6000`), each at most 65535".to_owned(),
        }),
    }
}

impl fmt::Display for PeerRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.ports {
            None => self.net.fmt(f),
            Some(ports) => {
                match self.net {
                    IpNet::V4(net) => write!(f, "{net}:")?,
                    IpNet::V6(net) => write!(f, "[{net}]:")?,
                }
                if ports.start() == ports.end() {
                    write!(f, "{}", ports.start())
                } else {
                    write!(f, "{}-{}", ports.start(), ports.end())
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::PeerRule;

    fn shown(text: &str) -> String {
        match text.parse::<PeerRule>() {
            Ok(rule) => rule.to_string(),
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn every_documented_form_is_read() {
        assert_eq!(shown("10.0.0.0/8"), "10.0.0.0/8");
        assert_eq!(shown("10.1.2.3"), "10.1.2.3/32");
        assert_eq!(shown("10.1.2.3/32:5000-6000"), "10.1.2.3/32:5000-6000");
        assert_eq!(shown("10.1.2.3:53"), "10.1.2.3/32:53");
        assert_eq!(shown("[fd00::/8]:5000-6000"), "[fd00::/8]:5000-6000");
        assert_eq!(shown("fd00::/8"), "fd00::/8");
        assert_eq!(shown("fd00::1"), "fd00::1/128");
        assert_eq!(shown("[fd00::1]"), "fd00::1/128");
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_the_right_form() {
        assert!(shown("10.1.2.3/8").contains("write `10.0.0.0/8` for the network or `10.1.2.3`"));
        assert!(shown("::ffff:10.0.0.0/104").contains("write `10.0.0.0/8`"));
        assert!(shown("10.0.0.0/8:6000-5000").contains("write `5000-6000`"));
        assert!(shown("10.0.0.0/8:70000").contains("is not a port"));
        assert!(shown("10.0.0.0/33").contains("is not a network"));
        assert!(shown("example.org").contains("is not a network"));
        assert!(shown("[fd00::/8]x").contains("is not a network"));
        assert!(shown("").contains("is not a network"));
    }
}
