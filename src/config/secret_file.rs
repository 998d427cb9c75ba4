//! Secrets in files of their own, which others cannot read.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::place::Place;
use super::problem::Problem;
use super::secret::Secret;
use super::settings::SharedSecret;
use super::units::{self, Why};

/// A name for a secret.
pub(super) fn secret_name(text: &str) -> Result<String, Why> {
    name_of(text, "a secret", "logs and metrics")
}

/// A name for `what`, which shows in `shows`.
pub(super) fn name_of(text: &str, what: &str, shows: &str) -> Result<String, Why> {
    if !text.is_empty()
        && text.len() <= 64
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    {
        return Ok(text.to_owned());
    }
    let better: String = text
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' })
        .take(64)
        .collect();
    let better = better.trim_matches('-');
    let such_as = if better.is_empty() { String::new() } else { format!(", such as \"{better}\"") };
    Err((
        format!("`{text}` cannot name {what}"),
        format!("use 1 to 64 letters, digits, `-`, `_` and `.`{such_as}: the name shows in {shows}"),
    ))
}

/// Refuses what nobody chose: nothing at all, and the samples of manuals.
pub(super) fn strong(text: &str, what: &str) -> Result<String, Why> {
    const SAMPLES: [&str; 4] = ["changeme", "replaceme", "yoursecret", "yourpassword"];
    let plain: String = text.chars().filter(|c| c.is_alphanumeric()).collect::<String>().to_lowercase();
    if SAMPLES.iter().any(|sample| plain.contains(sample)) {
        return Err((
            format!("{what} is a sample that everybody knows"),
            "make a real one: `openssl rand -hex 32`".to_owned(),
        ));
    }
    units::opaque(text, what)
}

/// Reads the secret in the file at `path`; one newline at its end is not part of it.
///
/// # Errors
/// A message and a cure: the file cannot be read, others can read it, or its content is no secret.
pub(super) fn secret_file(path: &Path, what: &str) -> Result<Secret, Why> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| {
        (
            format!("{what} cannot be read from {shown}: {error}"),
            format!("the file must exist, hold text and be readable for the user that runs relais: `ls -l {shown}`"),
        )
    })?;
    private(path, what)?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    strong(text, what).map(Secret::new).map_err(|(message, cure)| (format!("{message} (in {shown})"), cure))
}

/// Fails if others than owner and group can read, write or run the file.
pub(super) fn private(path: &Path, what: &str) -> Result<(), Why> {
    let mode = match std::fs::metadata(path) {
        Ok(metadata) => metadata.permissions().mode() & 0o7777,
        Err(error) => {
            return Err((format!("{}: {error}", path.display()), "check the path".to_owned()));
        }
    };
    if mode & 0o007 == 0 {
        return Ok(());
    }
    let shown = path.display();
    Err((
        format!("{shown} holds {what} and is open to every user of this machine (mode {mode:04o})"),
        format!("chmod 640 {shown}"),
    ))
}

/// The secrets among systemd's credentials: files `relais.secret` and `auth.secrets.NAME` in `directory`.
pub(super) fn from_systemd(directory: &Path, known: &mut Vec<SharedSecret>, problems: &mut Vec<Problem>) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    let mut files: Vec<(String, PathBuf)> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let file = entry.file_name().into_string().ok()?;
            let name = match file.strip_prefix("auth.secrets.") {
                Some(name) => name.to_owned(),
                None if file == "relais.secret" => file,
                None => return None,
            };
            Some((name, entry.path()))
        })
        .collect();
    files.sort();
    for (name, path) in files {
        let secret = secret_name(&name).and_then(|_| secret_file(&path, "the secret"));
        let place = Place::File(path);
        match secret {
            Ok(_) if known.iter().any(|known| known.name == name) => problems.push(Problem::error(
                &place,
                format!("`auth.secrets` has a secret `{name}` already"),
                "rename this credential or remove the other entry",
            )),
            Ok(secret) => known.push(SharedSecret { name, secret }),
            Err((message, cure)) => problems.push(Problem::error(&place, message, cure)),
        }
    }
}
