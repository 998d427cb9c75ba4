//! The state directory: what the server keeps from one run to the next, for its own eyes.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use super::Error;

/// For the owner alone.
const PRIVATE: u32 = 0o700;
/// The rights of everybody else.
const OTHERS: u32 = 0o077;

/// Makes the directory if it is missing, and sees to it that it can be written to and that nobody else looks into it.
/// `dedicated`: it has been made for this service, as systemd does, so that whatever is in it is the service's own.
pub(super) fn open(directory: &Path, dedicated: bool) -> Result<(), Error> {
    let shown = directory.display();
    let cannot = |what: &str, error: io::Error| {
        Error(format!(
            "the state directory {shown} {what}: {error}\n  = help: it must belong to the user that runs relais, as with \
             `install -d -m 700 -o relais {shown}`; or write another one into `state.directory`"
        ))
    };
    // Parents are not for secrets; what makes them decides who may look.
    if let Some(parent) = directory.parent() {
        fs::create_dir_all(parent).map_err(|error| cannot("cannot be made", error))?;
    }
    match DirBuilder::new().mode(PRIVATE).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(cannot("cannot be made", error));
        }
        _ => (),
    }
    let found = fs::metadata(directory).map_err(|error| cannot("cannot be read", error))?;
    if !found.is_dir() {
        return Err(Error(format!(
            "{shown}, the state directory, is a file\n  = help: write a directory into `state.directory`"
        )));
    }
    // A file of ours says who we are. Whoever owns the directory can put anything into it.
    let us = probe(directory).map_err(|error| cannot("cannot be written to", error))?;
    if found.uid() != us {
        return Err(Error(format!(
            "the state directory {shown} belongs to the user {}, but relais runs as {us}\n  = help: `chown {us} {shown}`, if it is \
             relais's alone; else write another one into `state.directory`",
            found.uid()
        )));
    }
    if found.permissions().mode() & OTHERS != 0 {
        // One that holds other things is not ours to close: /tmp may be written here by mistake.
        let is_ours = dedicated || fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_none());
        if !is_ours {
            return Err(Error(format!(
                "others may look into the state directory {shown}, which will hold keys\n  = help: `chmod 700 {shown}`, if it \
                 is relais's alone; else write another one into `state.directory`"
            )));
        }
        fs::set_permissions(directory, Permissions::from_mode(PRIVATE))
            .map_err(|error| cannot("cannot be closed to others", error))?;
    }
    Ok(())
}

/// Writes a file into the directory and removes it again: the user that it belonged to.
fn probe(directory: &Path) -> io::Result<u32> {
    let place = directory.join("writable");
    write(directory, "writable", b"")?;
    let owner = fs::symlink_metadata(&place).map(|found| found.uid());
    fs::remove_file(&place)?;
    owner
}

/// Puts `content` into the file `name`, for the owner alone, in one step: a reader finds the old one or the new one, also
/// after a crash.
pub(super) fn write(directory: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let new = directory.join(format!("{name}.new"));
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    let mut file = options.open(&new)?;
    // What an earlier attempt has left may be open to others.
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&new, directory.join(name))?;
    File::open(directory)?.sync_all()
}

/// What is in the file `name`, which has `most` bytes at most. A link is not followed.
pub(super) fn read(directory: &Path, name: &str, most: u64) -> io::Result<Vec<u8>> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(directory.join(name))?;
    let mut content = Vec::new();
    file.take(most.saturating_add(1)).read_to_end(&mut content)?;
    if content.len() as u64 > most {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is too long"));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("relais-state-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_missing_directory_is_made_and_an_empty_one_closed() {
        let top = Directory::new("made");
        let inner = top.0.join("a/b");
        open(&inner, false).unwrap();
        assert_eq!(mode(&inner), 0o700);
        fs::set_permissions(&inner, Permissions::from_mode(0o755)).unwrap();
        open(&inner, false).unwrap();
        assert_eq!(mode(&inner), 0o700);
        assert_eq!(fs::read_dir(&inner).unwrap().count(), 0, "nothing is left behind");
    }

    #[test]
    fn a_directory_of_others_is_refused_and_left_alone() {
        let top = Directory::new("shared");
        fs::write(top.0.join("theirs"), "").unwrap();
        fs::set_permissions(&top.0, Permissions::from_mode(0o755)).unwrap();
        assert!(open(&top.0, false).unwrap_err().to_string().contains("others may look into"));
        assert_eq!(mode(&top.0), 0o755);
        open(&top.0, true).unwrap();
        assert_eq!(mode(&top.0), 0o700, "systemd has made it for us");
        let file = top.0.join("theirs");
        assert!(open(&file, false).unwrap_err().to_string().contains("is a file"));
        assert!(open(&file.join("below"), false).unwrap_err().to_string().contains("cannot be made"));
    }

    #[test]
    fn what_is_written_is_whole_and_private() {
        let top = Directory::new("written");
        fs::write(top.0.join("key.new"), "half").unwrap();
        fs::set_permissions(top.0.join("key.new"), Permissions::from_mode(0o644)).unwrap();
        for text in ["one", "two"] {
            write(&top.0, "key", text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(top.0.join("key")).unwrap(), text);
        }
        assert_eq!(mode(&top.0.join("key")), 0o600);
        assert_eq!(read(&top.0, "key", 3).unwrap(), b"two");
        assert_eq!(read(&top.0, "key", 2).unwrap_err().kind(), io::ErrorKind::InvalidData);
        let target = top.0.join("key");
        std::os::unix::fs::symlink(&target, top.0.join("link.new")).unwrap();
        assert!(write(&top.0, "link", b"three").is_err() && read(&top.0, "link.new", 9).is_err());
        assert_eq!(fs::read_to_string(&target).unwrap(), "two", "no link leads elsewhere");
        fs::remove_file(top.0.join("link.new")).unwrap();
        assert_eq!(fs::read_dir(&top.0).unwrap().count(), 1);
    }
}
