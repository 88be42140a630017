//! The unix socket. At no moment can another user connect: it is bound within a directory that
//! only we may enter, gets its permissions there, and is then moved into place, which also
//! replaces the socket of a daemon that has died.

use std::fs::Permissions;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

use super::ServeError;

const DIRECTORY_MODE: u32 = 0o700;
const SOCKET_MODE: u32 = 0o600;

/// Removes the socket's file in the end, unless somebody has put another there.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    device_and_inode: (u64, u64),
}

pub(super) async fn bind(path: &Path) -> Result<(UnixListener, SocketFile), ServeError> {
    check_free(path).await?;
    place(path).map_err(|error| ServeError::Socket { path: path.to_owned(), error })
}

/// Whether nobody answers at `path`. Two daemons that start in the same instant are kept apart
/// by the lock on their state.
async fn check_free(path: &Path) -> Result<(), ServeError> {
    let failed = |error| ServeError::Socket { path: path.to_owned(), error };
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(ServeError::NotASocket(path.to_owned()));
        }
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    }
    match UnixStream::connect(path).await {
        // A full backlog is somebody's too.
        Ok(_) => Err(ServeError::InUse(path.to_owned())),
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            Err(ServeError::InUse(path.to_owned()))
        }
        Err(error)
            if [ErrorKind::ConnectionRefused, ErrorKind::NotFound].contains(&error.kind()) =>
        {
            Ok(())
        }
        Err(error) => Err(failed(error)),
    }
}

fn place(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = tempfile::Builder::new()
        .prefix(".")
        .permissions(Permissions::from_mode(DIRECTORY_MODE))
        .tempdir_in(parent.unwrap_or(Path::new(".")))?;
    let unfinished = directory.path().join("s");
    let listener = UnixListener::bind(&unfinished)?;
    std::fs::set_permissions(&unfinished, Permissions::from_mode(SOCKET_MODE))?;
    let device_and_inode = identity(&unfinished)?;
    std::fs::rename(&unfinished, path)?;
    Ok((listener, SocketFile { path: path.to_owned(), device_and_inode }))
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    std::fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|found| found == self.device_and_inode) {
            // A file that stays does no harm: it is found stale.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
