//! A folder that one process alone works in.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;

/// Takes the folder for this process, until the file that is returned is dropped. Its name is `lock`; it is never renamed
/// or removed, or two processes could each hold one of that name.
///
/// # Errors
/// `WouldBlock` when another process has the folder; what the system says when the file cannot be made.
pub fn lock_folder(folder: &Path) -> io::Result<File> {
    let file = File::create(folder.join("lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(io::Error::new(io::ErrorKind::WouldBlock, "another mdet is running in this folder"))
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}
