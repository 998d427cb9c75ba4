//! `tls.certificates` and `tls.acme`.

use super::credentials::Entry;
use super::node::{Node, Value};
use super::reader::{Reader, show_list, show_text};
use super::settings::{Acme, CertificateFiles};
use super::units::{self, Why};

/// The directory of Let's Encrypt.
const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// Names that one certificate may have; Let's Encrypt takes no more.
const MAX_DOMAINS: usize = 100;

/// `tls.acme`.
pub(crate) fn acme(reader: &mut Reader<'_>, node: &Node) -> Option<Option<Acme>> {
    const FORM: &str = "write `{ domains = [\"turn.example.org\"], contact = \"mailto:admin@example.org\" }`; `directory` and \
                        `ca_file` may follow";
    if matches!(&node.value, Value::Table(fields) if fields.is_empty()) {
        return Some(None);
    }
    let entry = Entry::read(reader, node, &["domains", "contact", "directory", "ca_file"], FORM)?;
    let domains = match entry.field("domains") {
        Some(field) => reader.texts(&field.node, acme_domain)?,
        None => Vec::new(),
    };
    if domains.is_empty() || domains.len() > MAX_DOMAINS {
        let message = format!("`acme` needs `domains`: the names for the certificate, at most {MAX_DOMAINS}");
        reader.error(node, message, FORM);
        return None;
    }
    let contact = match entry.field("contact") {
        Some(field) => Some(reader.checked(&field.node, contact)?),
        None => None,
    };
    let directory = match entry.field("directory") {
        Some(field) => reader.checked(&field.node, directory)?,
        None => LETS_ENCRYPT.to_owned(),
    };
    let ca_file = match entry.field("ca_file") {
        Some(field) => reader.file(&field.node)?,
        None => None,
    };
    Some(Some(Acme { domains, contact, directory, ca_file }))
}

fn acme_domain(text: &str) -> Result<String, Why> {
    if text.starts_with("*.") {
        return Err((
            format!("`{text}` cannot be proven by TLS-ALPN-01, which `acme` uses"),
            "write each name in full; a certificate for all names comes from another client, by its files"
                .to_owned(),
        ));
    }
    let name = units::domain(text)?;
    if name.contains('.') || name == "localhost" {
        Ok(name.to_ascii_lowercase())
    } else {
        Err((
            format!("`{text}` is no name of the public DNS"),
            "write the name in full: \"turn.example.org\"".to_owned(),
        ))
    }
}

fn contact(text: &str) -> Result<String, Why> {
    let is_address = text
        .strip_prefix("mailto:")
        .is_some_and(|address| address.contains('@') && address.chars().all(|c| c.is_ascii_graphic()));
    if is_address {
        Ok(text.to_owned())
    } else {
        Err((format!("`{text}` is no `mailto:` address"), "write \"mailto:admin@example.org\"".to_owned()))
    }
}

fn directory(text: &str) -> Result<String, Why> {
    let host = text.strip_prefix("https://").and_then(|rest| rest.split(['/', ':']).next());
    if host.is_some_and(|host| !host.is_empty()) && text.chars().all(|c| c.is_ascii_graphic()) {
        Ok(text.to_owned())
    } else {
        Err((
            format!("`{text}` is not the URL of a directory"),
            format!("write it in full, with https: \"{LETS_ENCRYPT}\""),
        ))
    }
}

/// Shows it as TOML.
pub(crate) fn show_acme(acme: Option<&Acme>) -> String {
    let Some(Acme { domains, contact, directory, ca_file }) = acme else { return "{}".to_owned() };
    let mut parts = vec![format!("domains = {}", show_list(domains))];
    parts.extend(contact.iter().map(|contact| format!("contact = {}", show_text(contact))));
    parts.push(format!("directory = {}", show_text(directory)));
    parts.extend(ca_file.iter().map(|file| format!("ca_file = {}", show_text(&file.display().to_string()))));
    format!("{{ {} }}", parts.join(", "))
}

/// `tls.certificates`.
pub(crate) fn certificates(reader: &mut Reader<'_>, node: &Node) -> Option<Vec<CertificateFiles>> {
    const FORM: &str = "write `{ certificate = \"/etc/relais/b.crt\", key = \"/etc/relais/b.key\" }`";
    let mut all = Vec::new();
    for entry in reader.list(node)? {
        let Some(entry) = Entry::read(reader, entry, &["certificate", "key"], FORM) else { continue };
        let mut file = |name: &str| match entry.field(name) {
            Some(field) => reader.file(&field.node).flatten(),
            None => {
                reader.error(entry.node, format!("an entry of `certificates` has no `{name}`"), FORM);
                None
            }
        };
        if let (Some(certificate), Some(key)) = (file("certificate"), file("key")) {
            all.push(CertificateFiles { certificate, key });
        }
    }
    Some(all)
}

/// Shows the names of the files.
pub(crate) fn show_certificates(all: &[CertificateFiles]) -> String {
    let shown = all.iter().map(|files| {
        let [certificate, key] =
            [&files.certificate, &files.key].map(|file| show_text(&file.display().to_string()));
        format!("{{ certificate = {certificate}, key = {key} }}")
    });
    format!("[{}]", shown.collect::<Vec<_>>().join(", "))
}
