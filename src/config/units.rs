//! Small texts with a form: durations, names, origins, log levels.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use ipnet::IpNet;
use precis_core::profile::PrecisFastInvocation;
use precis_profiles::OpaqueString;

use super::problem::did_you_mean;

/// A problem before it has a place: message and cure.
pub(crate) type Why = (String, String);

const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Reads `"10m"`, `"1h30m"`, `"500ms"`. A bare number is refused: nobody remembers its unit.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest.get(..digits)?.parse().ok()?;
        let tail = rest.get(digits..)?;
        let end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let unit = tail.get(..end)?.trim();
        let (_, millis) = UNITS.iter().find(|(name, _)| *name == unit)?;
        total = total.checked_add(number.checked_mul(*millis)?)?;
        rest = tail.get(end..)?;
    }
    Some(Duration::from_millis(total))
}

/// Shows a duration in the largest unit that holds it exactly.
pub(crate) fn show_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis == 0 {
        return "0s".to_owned();
    }
    UNITS
        .iter()
        .rev()
        .find(|(name, unit)| *name != "d" && millis.is_multiple_of(u128::from(*unit)))
        .map_or_else(|| format!("{millis}ms"), |(name, unit)| format!("{}{name}", millis / u128::from(*unit)))
}

const RATES: [(&str, u64); 4] =
    [("bit/s", 1), ("kbit/s", 1_000), ("Mbit/s", 1_000_000), ("Gbit/s", 1_000_000_000)];

const SIZES: [(&str, u64); 5] =
    [("B", 1), ("kB", 1_000), ("MB", 1_000_000), ("GB", 1_000_000_000), ("TB", 1_000_000_000_000)];

/// A whole number above 0 and one of the units.
fn quantity(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim())?;
    number.parse::<u64>().ok()?.checked_mul(*factor).filter(|value| *value > 0)
}

fn show_quantity(value: u64, units: &[(&str, u64)]) -> String {
    let fitting = units.iter().rev().find(|(_, factor)| value.is_multiple_of(*factor));
    fitting.map_or_else(|| value.to_string(), |(name, factor)| format!("{} {name}", value / factor))
}

/// Reads `"2 Mbit/s"`, in bits a second.
pub(crate) fn rate(text: &str) -> Result<u64, Why> {
    quantity(text, &RATES).ok_or_else(|| {
        (
            format!("`{text}` is not a rate"),
            "write a whole number and bit/s, kbit/s, Mbit/s or Gbit/s".to_owned(),
        )
    })
}

/// Shows bits a second.
pub(crate) fn show_rate(rate: u64) -> String {
    show_quantity(rate, &RATES)
}

/// Reads `"10 GB"`.
pub(crate) fn bytes(text: &str) -> Result<u64, Why> {
    quantity(text, &SIZES).ok_or_else(|| {
        (
            format!("`{text}` is not a number of bytes"),
            "write a whole number and B, kB, MB, GB or TB".to_owned(),
        )
    })
}

/// Shows bytes.
pub(crate) fn show_bytes(bytes: u64) -> String {
    show_quantity(bytes, &SIZES)
}

/// What credentials are for. It travels in the user name, where it is percent-encoded.
pub(crate) fn tag(text: &str) -> Result<String, Why> {
    if !text.is_empty() && text.len() <= 64 && !text.contains(char::is_control) {
        return Ok(text.to_owned());
    }
    Err((
        "a tag has 1 to 64 bytes without control characters".to_owned(),
        "write a word by which credentials can be revoked".to_owned(),
    ))
}

/// What to write instead of `text`, which is no address with a port.
pub(crate) fn socket_address_cure(text: &str, port: u16) -> String {
    if let Ok(address) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
        return match address {
            IpAddr::V4(v4) => format!("add the port: \"{v4}:{port}\""),
            IpAddr::V6(v6) => {
                // The last group may have been meant as the port.
                let parted = text.rsplit_once(':').filter(|(host, given)| {
                    host.parse::<Ipv6Addr>().is_ok() && given.parse::<u16>().is_ok_and(|port| port > 0)
                });
                let parted =
                    parted.map_or_else(String::new, |(host, given)| format!("\"[{host}]:{given}\" or "));
                format!("brackets around the address, then the port: {parted}\"[{v6}]:{port}\"")
            }
        };
    }
    match text.rsplit_once(':') {
        Some(("" | "*", given)) if given.parse::<u16>().is_ok() => {
            format!("write \"0.0.0.0:{given}\" for IPv4, \"[::]:{given}\" for IPv6, or both")
        }
        Some((host, given)) if given.parse::<u16>().is_err() && host.parse::<IpAddr>().is_ok() => {
            format!("a port is a number up to 65535: \"{host}:{port}\"")
        }
        _ if text.parse::<u16>().is_ok() => {
            format!("write \"0.0.0.0:{text}\" for IPv4, \"[::]:{text}\" for IPv6, or both")
        }
        _ => format!("write an address and a port, not a name: \"0.0.0.0:{port}\" or \"[::]:{port}\""),
    }
}

/// A realm that fits into REALM (RFC 8489 §14.9) and into a quoted string.
pub(crate) fn realm(text: &str) -> Result<String, Why> {
    let why = if text.is_empty() {
        "`realm` is empty".to_owned()
    } else if text.len() > 763 {
        format!("`realm` has {} bytes; REALM holds 763", text.len())
    } else if text.chars().count() > 127 {
        format!("`realm` has {} characters; RFC 8489 §14.9 wants fewer than 128", text.chars().count())
    } else if text.chars().any(|c| c.is_control() || c == '"' || c == '\\') {
        "`realm` has a quote, a backslash or a control character".to_owned()
    } else {
        return Ok(text.to_owned());
    };
    Err((why, "write a short name, such as \"relais\" or your domain".to_owned()))
}

/// The name of this server in access tokens (RFC 7635 §6); may be empty.
pub(crate) fn server_name(text: &str) -> Result<String, Why> {
    let why = if text.len() > 255 {
        format!("the name has {} bytes; a challenge has room for 255", text.len())
    } else if text.chars().any(char::is_control) {
        "the name has a control character".to_owned()
    } else {
        return Ok(text.to_owned());
    };
    Err((
        why,
        "write what the authorization server calls this server, such as \"turn.example.org\"".to_owned(),
    ))
}

/// The one character between expiry and user.
pub(crate) fn separator(text: &str) -> Result<char, Why> {
    let mut characters = text.chars();
    match (characters.next(), characters.next()) {
        (Some(c), None) if c.is_ascii_punctuation() => Ok(c),
        _ => Err((
            format!("`{text}` is not one punctuation character"),
            "write \":\", unless the service that signs credentials uses another".to_owned(),
        )),
    }
}

/// A user name as RFC 8489 §14.3 has it.
pub(crate) fn user_name(text: &str) -> Result<String, Why> {
    if text.len() > 508 {
        return Err((
            format!("the user name has {} bytes; USERNAME holds 508", text.len()),
            "shorten it".to_owned(),
        ));
    }
    opaque(text, "the user name")
}

/// A text that the OpaqueString profile (RFC 8265 §4.2) takes, or nobody could log in with it.
pub(crate) fn opaque(text: &str, what: &str) -> Result<String, Why> {
    if text.is_empty() {
        return Err((format!("{what} is empty"), "write one, or remove the entry".to_owned()));
    }
    match OpaqueString::enforce(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err((
            format!("{what} has a character that RFC 8265 does not allow"),
            "remove control and unassigned characters".to_owned(),
        )),
    }
}

/// An origin as a browser sends it.
pub(crate) fn origin(text: &str) -> Result<String, Why> {
    let lower = text.to_ascii_lowercase();
    let (scheme, rest) = lower.split_once("://").unwrap_or(("", &lower));
    // What browsers leave out: they would never send what is written.
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let default_port = match scheme {
        "https" => ":443",
        "http" => ":80",
        _ => "",
    };
    let bare = authority.strip_suffix(default_port).unwrap_or(authority);
    let is_host = !bare.is_empty() && !bare.contains(['@', '*', ' ', '"', '\\']);
    if !default_port.is_empty() && is_host && bare == rest {
        return Ok(lower);
    }
    let example = "write scheme and host as the browser sends them: \"https://app.example.org\"";
    let cure = match scheme {
        _ if text == "*" => "to serve pages of all origins, set `open = true` instead".to_owned(),
        _ if lower == "null" => {
            "pages from files and sandboxes send `null`, each of them: serve them from a web server"
                .to_owned()
        }
        _ if bare.contains('*') => "there are no patterns: list each origin".to_owned(),
        "" if is_host && bare.contains(['.', ':']) => {
            format!("write \"https://{bare}\", or \"http://{bare}\" if it is not HTTPS")
        }
        "https" | "http" if is_host => {
            format!("write \"{scheme}://{bare}\": browsers send no path and no default port")
        }
        "ws" | "wss" if is_host => {
            format!("pages have http: or https: origins: write \"http{}://{bare}\"", &scheme[2..])
        }
        _ => example.to_owned(),
    };
    Err((format!("`{text}` is not an origin"), cure))
}

/// The host for URLs: a name or an address, nothing else. Empty is allowed.
pub(crate) fn host(text: &str) -> Result<String, Why> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    if bare.parse::<IpAddr>().is_ok() {
        return Ok(bare.to_owned());
    }
    // Names of containers have underscores, too.
    // An absolute name ends with a dot.
    let name = text.strip_suffix('.').filter(|name| !name.is_empty()).unwrap_or(text);
    if domain(&name.replace('_', "u")).is_ok() {
        return Ok(text.to_owned());
    }
    Err((
        format!("`{text}` is not a host name or an address"),
        "write it without scheme, port and path: \"turn.example.org\"".to_owned(),
    ))
}

/// A DNS name of at most 255 characters, or nothing (RFC 8489 §14.16).
pub(crate) fn domain(text: &str) -> Result<String, Why> {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if text.is_empty()
        || text.len() <= 255 && text.split('.').all(is_label) && text.parse::<IpAddr>().is_err()
    {
        return Ok(text.to_owned());
    }
    Err((
        format!("`{text}` is not a host name"),
        "write the name alone, in ASCII: \"turn2.example.org\"".to_owned(),
    ))
}

/// A network, or one address.
pub(crate) fn network(text: &str) -> Result<IpNet, Why> {
    let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
    match text.parse::<IpNet>().ok().or_else(address) {
        Some(network) if network.prefix_len() == 0 => Err((
            format!("`{text}` is everybody"),
            "name the load balancers, so that nobody else can claim to be somebody else".to_owned(),
        )),
        Some(network) if network.trunc() != network => Err((
            format!("`{text}` is one address within a network"),
            format!(
                "write \"{}\" for the network or \"{}\" for the address",
                network.trunc(),
                network.addr()
            ),
        )),
        Some(network) => Ok(network),
        None => Err((
            format!("`{text}` is not a network"),
            "write address and length, \"10.0.0.0/24\" or \"fd00::/64\", or one address".to_owned(),
        )),
    }
}

/// A level, or filter directives such as `info,relais::net=debug`.
pub(crate) fn level(text: &str) -> Result<String, Why> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    for part in text.split(',') {
        let level = part.rsplit_once('=').map_or(part, |(_, level)| level).trim().to_ascii_lowercase();
        if !LEVELS.contains(&level.as_str()) {
            let cure = match did_you_mean(&level, LEVELS) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => format!(
                    "write one of {}, or directives such as \"info,relais::net=debug\"",
                    LEVELS.join(", ")
                ),
            };
            return Err((format!("`{level}` is not a log level"), cure));
        }
    }
    match tracing_subscriber::EnvFilter::builder().parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => {
            Err((format!("`{text}` is not a log filter: {error}"), "write for example \"info\"".to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit_and_may_be_sums() {
        assert_eq!(parse_duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse_duration("30s"), Some(Duration::from_secs(30)));
        assert_eq!(parse_duration("1h30m"), Some(Duration::from_secs(5400)));
        assert_eq!(parse_duration("2d"), Some(Duration::from_secs(172_800)));
        for bad in
            ["", "10", "m", "10 minutes", "1.5h", "-1s", "99999999999999999999s", "999999999999999999d"]
        {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
        for text in ["500ms", "90s", "10m", "48h", "0s"] {
            assert_eq!(parse_duration(text).map(show_duration).as_deref(), Some(text));
        }
    }

    #[test]
    fn a_half_address_gets_its_other_half() {
        assert_eq!(socket_address_cure("0.0.0.0", 3478), "add the port: \"0.0.0.0:3478\"");
        assert!(socket_address_cure("::", 3478).contains("\"[::]:3478\""));
        assert!(socket_address_cure(":3479", 3478).contains("\"0.0.0.0:3479\""));
        assert!(socket_address_cure("3479", 3478).contains("\"[::]:3479\""));
        assert!(socket_address_cure("0.0.0.0:70000", 3478).contains("up to 65535"));
        assert!(socket_address_cure("localhost:3478", 3478).contains("not a name"));
    }

    #[test]
    fn realm_names_and_hosts_keep_their_bounds() {
        assert!(realm("relais").is_ok());
        assert!(realm("").is_err());
        assert!(realm("a\"b").is_err());
        assert!(realm("a\nb").is_err());
        assert!(realm(&"x".repeat(128)).is_err());
        assert!(realm(&"\u{10348}".repeat(200)).unwrap_err().0.contains("763"));
        assert!(user_name(&"x".repeat(509)).is_err());
        assert!(user_name("a\u{7}b").is_err());
        assert!(opaque("", "the password").is_err());
        assert_eq!(host("[2001:db8::1]").unwrap(), "2001:db8::1");
        assert!(host("https://turn.example.org").is_err());
        assert!(host("turn.example.org:3478").is_err());
        assert!(host("").is_ok() && host("turn_1").is_ok() && host("turn.example.org").is_ok());
        for wrong in ["a..b", "-x", "x-", ".", "a..", ".a"] {
            assert!(host(wrong).is_err(), "{wrong}");
        }
        assert_eq!(separator("|").unwrap(), '|');
        assert!(separator("::").is_err());
        assert!(separator("1").is_err());
    }

    #[test]
    fn origins_and_levels_are_held_to_their_form() {
        assert_eq!(origin("https://App.example.org:8443").unwrap(), "https://app.example.org:8443");
        assert!(origin("https://app.example.org/").unwrap_err().1.contains("\"https://app.example.org\""));
        let cure = |text: &str| origin(text).unwrap_err().1;
        for (text, wanted) in [
            ("https://app.example.org/call?x=1", "\"https://app.example.org\""),
            ("https://app.example.org:443", "\"https://app.example.org\""),
            ("http://app.example.org:80/", "\"http://app.example.org\""),
            ("App.example.org:8443", "\"https://app.example.org:8443\""),
            ("localhost:3000", "\"http://localhost:3000\""),
            ("wss://app.example.org", "\"https://app.example.org\""),
            ("https://*.example.org", "list each origin"),
            ("null", "web server"),
            ("*", "open = true"),
            ("", "scheme and host"),
            ("https://", "scheme and host"),
            ("https://a@b", "scheme and host"),
        ] {
            assert!(cure(text).contains(wanted), "{text}: {}", cure(text));
        }
        assert_eq!(origin("http://app.example.org:443").unwrap(), "http://app.example.org:443");
        assert_eq!(origin("http://[::1]:3000").unwrap(), "http://[::1]:3000");
        assert!(level("info").is_ok());
        assert!(level("info,relais::net=debug").is_ok());
        assert!(level("inf").unwrap_err().1.contains("\"info\""));
        assert!(level("verbose").is_err());
    }
}
