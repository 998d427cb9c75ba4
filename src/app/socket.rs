//! The Unix socket of the admin API: for the user that runs the server, and root.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

use super::Error;

/// A listening socket, which has its place in the file system as long as this is there.
pub(super) struct Socket {
    pub(super) listener: Option<UnixListener>,
    path: PathBuf,
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
        // It gets its name when nobody else can use it any more.
        let mut new = path.as_os_str().to_owned();
        new.push(".new");
        let new = PathBuf::from(new);
        let _ = fs::remove_file(&new);
        let cure = "its directory must be there and belong to the user that runs relais; a path has 107 bytes at most";
        let listener = UnixListener::bind(&new).map_err(|error| cannot(error, cure))?;
        fs::set_permissions(&new, Permissions::from_mode(0o600)).map_err(|error| cannot(error, cure))?;
        fs::rename(&new, path).map_err(|error| cannot(error, cure))?;
        Ok(Self { listener: Some(listener), path: path.to_owned() })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
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
        assert!(!path.exists());
        fs::write(&path, "").unwrap();
        assert!(refused(&path).contains("something else"));
        fs::remove_file(&path).unwrap();
        assert!(refused(Path::new("/nowhere/to/be/found.sock")).contains("its directory must be there"));
    }
}
