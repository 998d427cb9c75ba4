//! Every key bites on bad input, every good value arrives, and the layers stand in their order.

mod access;
mod certificates;
mod layers;
mod values;

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::*;

/// A file in a directory of its own, removed with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("relais-config-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

type Loaded = Result<(Settings, Vec<Problem>), Vec<Problem>>;

fn with(path: Option<&Path>, env: &[(&str, &str)], overrides: &Overrides) -> Loaded {
    load(path, env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())), overrides)
}

/// Loads `text` as a file of mode 600, with a good secret unless it has a section `[auth]`.
fn file(text: &str) -> Loaded {
    let name = format!("{:?}", std::thread::current().id()).replace(['(', ')'], "");
    let scratch = Scratch::new(&name);
    let auth = "[auth]\nsecrets = [{ name = \"main\", secret = \"north-wind-and-sun\" }]\n";
    let text = if text.contains("[auth]") { text.to_owned() } else { format!("{text}\n{auth}") };
    with(Some(&scratch.file("relais.toml", &text, 0o600)), &[], &Overrides::default())
}

fn good(text: &str) -> Settings {
    file(text).map(|(settings, _)| settings).map_err(|problems| format!("{problems:#?}")).unwrap()
}

/// The one error of `text`: message and cure in a line.
fn bad(text: &str) -> String {
    let problems = file(text).map(|_| ()).unwrap_err();
    let errors: Vec<&Problem> = problems.iter().filter(|problem| problem.is_error()).collect();
    assert_eq!(errors.len(), 1, "{text}: {problems:#?}");
    format!("{}; {}", errors[0].message, errors[0].cure)
}

/// The one warning of `text`.
fn warning(text: &str) -> String {
    let (_, warnings) = file(text).unwrap();
    assert_eq!(warnings.len(), 1, "{text}: {warnings:#?}");
    warnings[0].message.clone()
}

#[track_caller]
fn has(text: &str, wanted: &str) {
    assert!(text.contains(wanted), "`{wanted}` is not in: {text}");
}

fn addresses<const N: usize>(texts: [&str; N]) -> [SocketAddr; N] {
    texts.map(|text| text.parse().unwrap())
}
