//! `auth.users` and `auth.secrets`; what their entries have in common with others.

use super::node::{Field, Node, Value};
use super::place::Place;
use super::problem::{Problem, did_you_mean};
use super::reader::{Reader, beside};
use super::secret::Secret;
use super::secret_file::{secret_file, secret_name, strong};
use super::settings::{SharedSecret, User, UserCredential};
use super::units::{self, Why};

/// `auth.users`.
pub(crate) fn users(reader: &mut Reader<'_>, node: &Node) -> Option<Vec<User>> {
    const FORM: &str = "write `{ name = \"alice\", password = \"…\" }`, or `key` or `password_file` instead";
    let mut users: Vec<User> = Vec::new();
    for entry in reader.list(node)? {
        let Some(entry) = Entry::read(reader, entry, &["name", "password", "key", "password_file"], FORM)
        else {
            continue;
        };
        let name = entry.name(reader, "name", units::user_name);
        let credential = match entry.only_one_of(reader, &["password", "key", "password_file"], FORM) {
            Some(field) if field.name == "key" => {
                reader.checked(&field.node, key_of_hex).map(UserCredential::Key)
            }
            Some(field) => entry.secret(reader, field, "the password").map(UserCredential::Password),
            None => None,
        };
        let (Some(name), Some(credential)) = (name, credential) else { continue };
        if users.iter().any(|user| user.name == name) {
            entry.twice(reader, "name", &name, "user");
            continue;
        }
        users.push(User { name, credential });
    }
    Some(users)
}

/// `auth.secrets`.
pub(crate) fn secrets(reader: &mut Reader<'_>, node: &Node) -> Option<Vec<SharedSecret>> {
    const FORM: &str = "write `{ name = \"2026-11\", secret = \"…\" }`, or `secret_file` instead";
    let mut secrets: Vec<SharedSecret> = Vec::new();
    for entry in reader.list(node)? {
        let Some(entry) = Entry::read(reader, entry, &["name", "secret", "secret_file"], FORM) else {
            continue;
        };
        let name = entry.name(reader, "name", secret_name);
        let secret = match entry.only_one_of(reader, &["secret", "secret_file"], FORM) {
            Some(field) => entry.secret(reader, field, "the secret"),
            None => None,
        };
        let (Some(name), Some(secret)) = (name, secret) else { continue };
        if secrets.iter().any(|known| known.name == name) {
            entry.twice(reader, "name", &name, "secret");
            continue;
        }
        secrets.push(SharedSecret { name, secret });
    }
    Some(secrets)
}

/// A table of a list, its fields known to be allowed.
pub(super) struct Entry<'n> {
    pub(super) node: &'n Node,
    fields: &'n [Field],
}

impl<'n> Entry<'n> {
    pub(super) fn read(
        reader: &mut Reader<'_>,
        node: &'n Node,
        allowed: &[&'static str],
        form: &str,
    ) -> Option<Self> {
        let Value::Table(fields) = &node.value else {
            let message = format!("an entry of `{}` is a table, not {}", reader.key.name, node.value.kind());
            reader.error(node, message, form);
            return None;
        };
        for field in fields.iter().filter(|field| !allowed.contains(&field.name.as_str())) {
            let cure = match did_you_mean(&field.name, allowed.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => form.to_owned(),
            };
            let message = format!("unknown key `{}` in `{}`", field.name, reader.key.name);
            reader.problems.push(Problem::error(&field.place, message, cure));
        }
        Some(Self { node, fields })
    }

    pub(super) fn field(&self, name: &str) -> Option<&'n Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// What the field `key`, which there has to be, calls the entry.
    pub(super) fn name(
        &self,
        reader: &mut Reader<'_>,
        key: &str,
        check: impl Fn(&str) -> Result<String, Why>,
    ) -> Option<String> {
        match self.field(key) {
            Some(field) => reader.checked(&field.node, check),
            None => {
                let message = format!("an entry of `{}` has no `{key}`", reader.key.name);
                reader.error(self.node, message, format!("add `{key} = \"…\"`"));
                None
            }
        }
    }

    /// The one field of several that stand for the same thing.
    pub(super) fn only_one_of(
        &self,
        reader: &mut Reader<'_>,
        names: &[&str],
        form: &str,
    ) -> Option<&'n Field> {
        let given: Vec<&Field> = names.iter().filter_map(|name| self.field(name)).collect();
        let quoted = |names: &[&str]| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>();
        match given.as_slice() {
            [field] => Some(*field),
            [] => {
                let names = quoted(names).join(", ");
                reader.error(
                    self.node,
                    format!("an entry of `{}` has none of {names}", reader.key.name),
                    form,
                );
                None
            }
            [_, second, ..] => {
                let names = quoted(&given.iter().map(|field| field.name.as_str()).collect::<Vec<_>>());
                let message = format!("only one of {} can hold", names.join(" and "));
                reader.problems.push(Problem::error(&second.place, message, "remove the others"));
                None
            }
        }
    }

    /// The text of an inline secret, or of the file named by a field `…_file`.
    pub(super) fn secret(&self, reader: &mut Reader<'_>, field: &Field, what: &str) -> Option<Secret> {
        let text = reader.text(&field.node)?;
        if field.name.ends_with("_file") {
            let path = beside(&field.node.place, text);
            return match secret_file(&path, what) {
                Ok(secret) => Some(secret),
                Err((message, cure)) => {
                    reader.error(&field.node, message, cure);
                    None
                }
            };
        }
        if matches!(field.node.place, Place::Environment(_) | Place::Flag(_)) {
            reader.error(
                &field.node,
                format!(
                    "{what} itself stands in the environment or on the command line, which others can read"
                ),
                format!("put it into a file and write `{}_file`", field.name),
            );
            return None;
        }
        reader.checked(&field.node, |text| strong(text, what)).map(Secret::new)
    }

    /// Refuses an entry whose field `key` says `name`, as an earlier one does.
    pub(super) fn twice(&self, reader: &mut Reader<'_>, key: &str, name: &str, what: &str) {
        let place = self.field(key).map_or(self.node, |field| &field.node);
        reader.error(
            place,
            format!("there are two entries for {what} `{name}`"),
            "rename or remove one of them",
        );
    }
}

fn key_of_hex(text: &str) -> Result<Vec<u8>, Why> {
    // As coturn's turnadmin prints them.
    let text = text.strip_prefix("0x").unwrap_or(text);
    let digits: Option<Vec<u8>> =
        text.chars().map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    match digits {
        Some(digits) if digits.len() == 32 || digits.len() == 64 => {
            Ok(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
        }
        Some(digits) => Err((
            format!("the key has {} hex digits", digits.len()),
            "a key is 32 hex digits (MD5 of `user:realm:password`) or 64 (SHA-256 of it)".to_owned(),
        )),
        None => Err((
            "the key is not hex".to_owned(),
            "a key is 32 hex digits (MD5 of `user:realm:password`) or 64 (SHA-256 of it)".to_owned(),
        )),
    }
}

/// Shows users without what they know.
pub(crate) fn show_users(users: &[User]) -> String {
    let shown = users.iter().map(|user| {
        let kind = match user.credential {
            UserCredential::Password(_) => "password",
            UserCredential::Key(_) => "key",
        };
        entry(&user.name, kind)
    });
    format!("[{}]", shown.collect::<Vec<_>>().join(", "))
}

/// Shows secrets without themselves.
pub(crate) fn show_secrets(secrets: &[SharedSecret]) -> String {
    let shown = secrets.iter().map(|secret| entry(&secret.name, "secret"));
    format!("[{}]", shown.collect::<Vec<_>>().join(", "))
}

fn entry(name: &str, kind: &str) -> String {
    format!("{{ name = {}, {kind} = \"<redacted>\" }}", super::reader::show_text(name))
}

/// Whether the value of a key named `name` may be shown, anywhere in a file.
pub(crate) fn is_secret(section: &str, name: &str) -> bool {
    if name.ends_with("_file") {
        return false;
    }
    let suspicious = ["secret", "pass", "key", "token"].iter().any(|word| name.to_lowercase().contains(word));
    const PLAIN: [&str; 9] = [
        "name",
        "realm",
        "separator",
        "nonce_lifetime",
        "expired",
        "oauth_server_name",
        "kid",
        "algorithm",
        "expires",
    ];
    suspicious || (section == "auth" && !PLAIN.contains(&name))
}
