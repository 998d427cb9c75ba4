//! Whom the probe logs in as.

use std::path::Path;
use std::time::Duration;

use super::args::ProbeArgs;
use crate::auth::rest;
use crate::config::Secret;

/// The variable with the password.
const PASSWORD_VARIABLE: &str = "RELAIS_PASSWORD";

/// How long a credential lasts that a probe makes.
const LASTS: Duration = Duration::from_secs(600);

/// A user name and its password.
#[derive(Clone, Debug)]
pub(crate) struct Credentials {
    pub(crate) username: String,
    pub(crate) password: Secret,
    /// Signed here with a shared secret.
    pub(crate) is_signed_here: bool,
}

/// A message and a cure.
pub(crate) type Why = (String, String);

/// Where a user name and its password may come from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sources<'a> {
    pub(crate) user: Option<&'a str>,
    pub(crate) password: Option<&'a Secret>,
    pub(crate) password_file: Option<&'a Path>,
    pub(crate) secret: Option<&'a Secret>,
    pub(crate) secret_file: Option<&'a Path>,
    /// How long a credential lasts that a shared secret signs.
    pub(crate) lasts: Duration,
}

impl Credentials {
    /// What the flags and the environment give.
    ///
    /// # Errors
    /// Something is missing or a file cannot be read.
    pub(crate) fn from_args(args: &ProbeArgs, now_unix: u64) -> Result<Self, Why> {
        let sources = Sources {
            user: args.user.as_deref(),
            password: None,
            password_file: args.password_file.as_deref(),
            secret: None,
            secret_file: args.secret_file.as_deref(),
            lasts: LASTS,
        };
        Self::from_sources(sources, now_unix)
    }

    /// What these sources, or the environment, give.
    ///
    /// # Errors
    /// Something is missing or a file cannot be read.
    pub(crate) fn from_sources(sources: Sources<'_>, now_unix: u64) -> Result<Self, Why> {
        let secret = match (sources.secret, sources.secret_file) {
            (Some(secret), _) => Some(secret.clone()),
            (None, Some(path)) => Some(read(path, "the shared secret")?),
            (None, None) => None,
        };
        if let Some(secret) = secret {
            let username = match sources.user {
                Some(user) if expiry(user).is_some() => user.to_owned(),
                Some(user) => format!("{}:{user}", now_unix + sources.lasts.as_secs()),
                None => (now_unix + sources.lasts.as_secs()).to_string(),
            };
            let password = Secret::new(rest::password(secret.expose().as_bytes(), username.as_bytes()));
            return Ok(Self { username, password, is_signed_here: true });
        }
        let Some(username) = sources.user else {
            return Err((
                "TURN needs credentials".to_owned(),
                "give --user NAME with --password-file FILE or with the variable RELAIS_PASSWORD; or --secret-file \
                 FILE to sign a time-limited credential"
                    .to_owned(),
            ));
        };
        let password = match (sources.password, sources.password_file) {
            (Some(password), _) => password.clone(),
            (None, Some(path)) => read(path, "the password")?,
            (None, None) => match std::env::var(PASSWORD_VARIABLE) {
                Ok(password) if !password.is_empty() => Secret::new(password),
                _ => {
                    return Err((
                        "the password of this user is missing".to_owned(),
                        format!("give --password-file FILE, or set the variable {PASSWORD_VARIABLE}"),
                    ));
                }
            },
        };
        Ok(Self { username: username.to_owned(), password, is_signed_here: false })
    }

    /// When the credential ends, in Unix seconds, if its name tells.
    pub(crate) fn expiry(&self) -> Option<u64> {
        expiry(&self.username)
    }
}

fn read(path: &Path, what: &str) -> Result<Secret, Why> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        (
            format!("{what} cannot be read from {}: {error}", path.display()),
            "check the path and its permissions".to_owned(),
        )
    })?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() {
        return Err((
            format!("{} is empty", path.display()),
            format!("put {what} into it, and nothing else"),
        ));
    }
    Ok(Secret::new(text.to_owned()))
}

/// The expiry that a time-limited user name begins with, whatever separates it from the rest: ten digits, which
/// hold for the years 2001 to 2286.
fn expiry(username: &str) -> Option<u64> {
    let digits = username.split(|c: char| !c.is_ascii_digit()).next()?;
    let is_time = digits.len() == 10 && !digits.starts_with('0');
    let is_apart = username.get(digits.len()..).is_some_and(|rest| !rest.starts_with(char::is_alphanumeric));
    if is_time && is_apart { digits.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::expiry;

    #[test]
    fn time_limited_names_are_known_by_their_ten_digits() {
        assert_eq!(expiry("1790000000:alice"), Some(1_790_000_000));
        assert_eq!(expiry("1790000000"), Some(1_790_000_000));
        assert_eq!(expiry("1790000000-alice"), Some(1_790_000_000));
        for name in ["", "alice", "12:alice", "0790000000:a", "1790000000alice", "17900000000000:alice"] {
            assert_eq!(expiry(name), None, "{name}");
        }
    }
}
