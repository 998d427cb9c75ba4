//! The Unix socket of the admin API: for the user that runs the server, and root.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

use super::Error;

/// A listening socket, which has its place in the file system as long as this is there.
pub(super) struct Socket {
    pub(super) listener: Option<UnixListener>,
    path: PathBuf,
    /// Device and inode: another server may have taken the place.
    own: Option<(u64, u64)>,
}

impl Socket {
    /// Listens at `path`. What a server that was killed has left there is replaced; another server is not.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let shown = path.display();
        let cannot = |error: io::Error, cure: &str| {
            Error(format!("cannot listen on the admin socket {shown}: {error}\n  = help: {cure}"))
        };
        if let Ok(found) = fs::symlink_metadata(path) {
            if !found.file_type().is_socket() {
                return Err(Error(format!(
                    "{shown}, the admin socket, is something else already\n  = help: remove it, or write another path into `admin.socket`"
                )));
            }
            if UnixStream::connect(path).is_ok() {
                return Err(Error(format!(
                    "another server answers on the admin socket {shown}\n  = help: stop it, or write another path into `admin.socket`"
                )));
            }
            fs::remove_file(path).map_err(|error| cannot(error, "remove it by hand"))?;
        }
        // It is made where nobody else can look, and gets its place when nobody else can use it.
        let mut closed = path.as_os_str().to_owned();
        closed.push(".new");
        let closed = PathBuf::from(closed);
        let new = closed.join("s");
        // What a server that was killed has left.
        let _ = fs::remove_file(&new);
        let _ = fs::remove_dir(&closed);
        let cure = "its directory must be there and belong to the user that runs relais; a path has 101 bytes at most";
        DirBuilder::new().mode(0o700).create(&closed).map_err(|error| cannot(error, cure))?;
        let made = make(&new, path);
        let _ = fs::remove_file(&new);
        let _ = fs::remove_dir(&closed);
        let listener = made.map_err(|error| cannot(error, cure))?;
        Ok(Self { listener: Some(listener), path: path.to_owned(), own: identity(path) })
    }
}

/// Listens at `new`, for the owner alone, and moves that to `path`.
fn make(new: &Path, path: &Path) -> io::Result<UnixListener> {
    let listener = UnixListener::bind(new)?;
    fs::set_permissions(new, Permissions::from_mode(0o600))?;
    fs::rename(new, path)?;
    Ok(listener)
}

/// Device and inode of what is at `path`.
fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.own.is_some() && identity(&self.path) == self.own {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_for_its_owner_replaces_what_is_dead_and_nothing_else() {
        let path = std::env::temp_dir().join(format!("relais-{}.sock", std::process::id()));
        let _ = fs::remove_file(&path);
        let socket = Socket::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let refused = |path: &Path| Socket::open(path).err().unwrap().to_string();
        assert!(refused(&path).contains("another server answers"));
        let mut dead = socket;
        dead.listener = None;
        std::mem::forget(dead);
        assert!(path.exists(), "as a killed server leaves it");
        let again = Socket::open(&path).unwrap();
        drop(again);
        assert!(!path.exists() && !path.with_extension("sock.new").exists());
        let socket = Socket::open(&path).unwrap();
        fs::rename(&path, path.with_extension("old")).unwrap();
        fs::write(&path, "another's").unwrap();
        drop(socket);
        assert!(path.exists(), "only what is its own is removed");
        fs::remove_file(path.with_extension("old")).unwrap();
        fs::write(&path, "").unwrap();
        assert!(refused(&path).contains("something else"));
        fs::remove_file(&path).unwrap();
        assert!(refused(Path::new("/nowhere/to/be/found.sock")).contains("its directory must be there"));
    }
}
