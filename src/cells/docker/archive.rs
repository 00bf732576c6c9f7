//! The tar file in which files travel to a container. It has no name in any directory and is gone with its last
//! descriptor, however the broker ends.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use tar::{Builder, EntryType, Header};

use super::fault::whole;
use crate::cells::PlacedFile;

/// A file without a name that can be opened by path, by this process only.
pub(super) struct NamelessFile {
    /// Keeps the path alive.
    _file: File,
    path: PathBuf,
}

impl NamelessFile {
    /// Takes over a file made by [`tempfile::tempfile`].
    pub(super) fn new(file: File) -> Self {
        let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        Self { _file: file, path }
    }

    /// Opens at its beginning whenever it is opened.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// An archive of `files`, owned by root, to be unpacked at `/`.
///
/// # Errors
/// When there is no room for it, or a path is none.
pub(super) fn tar(files: &[PlacedFile]) -> io::Result<NamelessFile> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut archive = Builder::new(tempfile::tempfile()?);
    for file in files {
        let content = file.content.expose().as_bytes();
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_size(content.len() as u64);
        header.set_mode(file.mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(now);
        archive.append_data(&mut header, file.path.trim_start_matches('/'), content)?;
    }
    Ok(NamelessFile::new(archive.into_inner()?))
}

/// What to say when there is no archive.
pub(super) fn failed(error: &io::Error) -> String {
    format!("the container's files could not be packed: {}", whole(error))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;

    use super::tar;
    use crate::cells::PlacedFile;
    use crate::model::Secret;

    #[test]
    fn an_archive_holds_paths_and_modes_and_can_be_read_twice() {
        let file = PlacedFile { path: "/etc/a/b".to_owned(), mode: 0o640, content: Secret::new("hunter2") };
        let archive = tar(&[file]).unwrap();
        for _ in 0..2 {
            let mut read = tar::Archive::new(File::open(archive.path()).unwrap());
            let mut entries = read.entries().unwrap();
            let mut entry = entries.next().unwrap().unwrap();
            assert_eq!(entry.path().unwrap().to_str(), Some("etc/a/b"));
            assert_eq!(entry.header().mode().unwrap(), 0o640);
            assert_eq!(entry.header().uid().unwrap(), 0);
            let mut content = String::new();
            entry.read_to_string(&mut content).unwrap();
            assert_eq!(content, "hunter2");
        }
    }

    #[test]
    fn a_path_that_climbs_is_refused() {
        let file = PlacedFile { path: "/a/../../b".to_owned(), mode: 0o640, content: Secret::new("") };
        assert!(tar(&[file]).is_err());
    }
}
