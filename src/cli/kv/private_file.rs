//! Files with passwords in them: the whole file or none of it, for its owner alone.

use std::fs::File;
use std::io;
use std::path::Path;

use tempfile::NamedTempFile;

use crate::cli::Failure;

/// Makes the file, or puts a new one in its place, of what `write` writes. It has its name only when all of it is on the
/// disk.
pub(super) fn write<T>(
    file: &Path,
    write: impl FnOnce(&mut File) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let cannot = |error: io::Error| Failure::Failed(format!("{} cannot be written: {error}", file.display()));
    if file.exists() && !file.is_file() {
        return Err(cannot(io::Error::other("it is there, and no file")));
    }
    let directory = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    // Made with mode 0600.
    let mut temporary = NamedTempFile::new_in(directory).map_err(cannot)?;
    let written = write(temporary.as_file_mut())?;
    temporary.as_file().sync_all().map_err(cannot)?;
    temporary.persist(file).map_err(|error| cannot(error.error))?;
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(cannot)?;
    Ok(written)
}
