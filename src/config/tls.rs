//! `tls.certificates`.

use super::credentials::Entry;
use super::node::Node;
use super::reader::{Reader, show_text};
use super::settings::CertificateFiles;

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
