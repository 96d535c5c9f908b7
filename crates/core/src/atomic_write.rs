//! Files that are complete or absent: written beside their place, flushed to disk, then renamed into it.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// Writes `bytes` to `path`, replacing what is there only once all of it is on disk. Of a link, what it leads to is
/// replaced; a device or a pipe is written to as it is.
///
/// # Errors
/// What the system says; `path` is then as it was.
pub fn atomic_write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let path = &match std::fs::metadata(path) {
        Ok(found) if !found.is_file() => return std::fs::write(path, bytes),
        Ok(_) => std::fs::canonicalize(path)?,
        Err(_) if path.is_symlink() => return std::fs::write(path, bytes),
        Err(_) => path.to_path_buf(),
    };
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?.to_os_string();
    name.push(".part");
    let neighbour = path.with_file_name(name);
    let written = File::create(&neighbour).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.and_then(|()| std::fs::rename(&neighbour, path)).inspect_err(|_| {
        // The first error is what matters; a neighbour that was never made need not be removed.
        let _ = std::fs::remove_file(&neighbour);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_content_and_no_neighbour() {
        let folder = std::env::temp_dir().join(format!("mdet-atomic-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("file");
        atomic_write(&path, b"one").unwrap();
        atomic_write(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert!(atomic_write(&folder.join("absent").join("file"), b"three").is_err());
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn links_and_devices_stay_what_they_are() {
        let folder = std::env::temp_dir().join(format!("mdet-links-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("file"), b"one").unwrap();
        for (name, target) in [("link", "file"), ("device", "/dev/null"), ("early", "later")] {
            std::os::unix::fs::symlink(target, folder.join(name)).unwrap();
            atomic_write(&folder.join(name), b"two").unwrap();
            assert!(folder.join(name).is_symlink());
        }
        for name in ["file", "later"] {
            assert_eq!(std::fs::read(folder.join(name)).unwrap(), b"two");
        }
        std::fs::remove_dir_all(folder).unwrap();
    }
}
