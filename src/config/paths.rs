//! Places in the file system that the server is to make things in, looked at without touching them.

use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};

use super::place::Place;
use super::problem::Problem;
use super::settings::Settings;

/// The longest path of `admin.socket` in bytes: the system takes 107, and the socket is made in a directory beside it, whose
/// name is longer by six.
const LONGEST_SOCKET: usize = 101;

/// The rights of everybody but the owner.
const OTHERS: u32 = 0o077;

/// Adds what is wrong on any machine.
pub(super) fn check(settings: &Settings, problems: &mut Vec<Problem>) {
    let length = settings.admin.socket.as_ref().map_or(0, |path| path.as_os_str().len());
    if length > LONGEST_SOCKET {
        problems.push(Problem::error(
            &settings.place("admin.socket"),
            format!("the path of the admin socket has {length} bytes, and the system takes {LONGEST_SOCKET}"),
            "write a shorter one, such as \"/run/relais/admin.sock\"",
        ));
    }
}

/// What is wrong with what is there on this machine already. For `check`: the server finds out by itself when it makes them.
pub fn check_paths(settings: &Settings) -> Vec<Problem> {
    let mut problems = Vec::new();
    if let Some(path) = &settings.admin.socket
        && std::fs::symlink_metadata(path).is_ok_and(|found| !found.file_type().is_socket())
    {
        problems.push(Problem::error(
            &settings.place("admin.socket"),
            format!("{}, the admin socket, is something else already", path.display()),
            "remove it, or write another path into `admin.socket`",
        ));
    }
    let place = settings.place("state.directory");
    let Some((path, found)) =
        settings.state.as_ref().and_then(|path| Some((path, std::fs::metadata(path).ok()?)))
    else {
        return problems;
    };
    let shown = path.display();
    if !found.is_dir() {
        problems.push(Problem::error(
            &place,
            format!("{shown}, the state directory, is a file"),
            "write a directory into `state.directory`",
        ));
        return problems;
    }
    // An empty one is closed by the server, and so is what systemd has made for it, which nobody writes into a file.
    let is_written = place != Place::Default;
    let is_in_use = std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some());
    if is_written && is_in_use && found.permissions().mode() & OTHERS != 0 {
        problems.push(Problem::warning(
            &place,
            format!("others may look into the state directory {shown}, and with such a one the server does not start"),
            format!("`chmod 700 {shown}`, if it is relais's alone; else write another one into `state.directory`"),
        ));
    }
    problems
}
