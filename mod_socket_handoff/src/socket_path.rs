//! From the path that an application names to a file that is certainly below the allowed prefix.
//!
//! The application's word is not trusted, and nobody may change the file system between check and connect. So the
//! check yields not a path but an `O_PATH` descriptor, opened by the kernel beneath the prefix (openat2(2),
//! `RESOLVE_BENEATH`), and `connect` goes to that descriptor through `/proc/self/fd`.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// A file below the prefix, held open so that it stays the one that was checked.
#[derive(Debug)]
pub(crate) enum SocketFile {
    /// What openat2 found beneath the prefix.
    Opened(OwnedFd),
    /// Where there is no openat2 (Linux before 5.6, some containers): the resolved path. A local user who may write
    /// below the prefix could still change it before `connect`.
    Resolved(PathBuf),
}

impl SocketFile {
    /// The path to connect to: at most 107 bytes in the first case, however long the application's path was.
    pub(crate) fn connect_path(&self) -> PathBuf {
        match self {
            Self::Opened(fd) => PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd())),
            Self::Resolved(path) => path.clone(),
        }
    }

    /// Whether the file is a socket at all.
    pub(crate) fn is_socket(&self) -> bool {
        let stat = match self {
            Self::Opened(fd) => rustix::fs::fstat(fd),
            Self::Resolved(path) => rustix::fs::stat(path),
        };
        // A file that has gone meanwhile may well have been a socket.
        stat.is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_socket())
            || matches!(stat, Err(Errno::NOENT))
    }
}

/// Why there is no such file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PathError {
    /// The path leads out of the prefix: by its text, by `..`, or by a symbolic link.
    Outside,
    /// It does not exist (yet).
    Missing,
    /// Anything else, such as EACCES.
    Failed(Errno),
}

impl From<Errno> for PathError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::NOENT | Errno::NOTDIR => Self::Missing,
            other => Self::Failed(other),
        }
    }
}

/// Opens `path`, which must be absolute, if it is below the directory `prefix` after all links are followed.
///
/// # Errors
/// [`PathError`]
pub(crate) fn open_below(prefix: &Path, path: &Path) -> Result<SocketFile, PathError> {
    // The usual case: the path begins with the prefix as written, and the kernel does the whole check in one call.
    if let Ok(rest) = path.strip_prefix(prefix)
        && !rest.as_os_str().is_empty()
    {
        match open_beneath(prefix, rest, ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS) {
            Ok(fd) => return Ok(SocketFile::Opened(fd)),
            Err(Errno::NOENT | Errno::NOTDIR) => return Err(PathError::Missing),
            // An absolute link, which may still lead to below the prefix; or a kernel without openat2.
            Err(Errno::XDEV | Errno::NOSYS | Errno::PERM | Errno::LOOP | Errno::AGAIN) => {}
            Err(errno) => return Err(PathError::Failed(errno)),
        }
    }
    open_resolved(prefix, path)
}

fn open_beneath(directory: &Path, rest: &Path, resolve: ResolveFlags) -> Result<OwnedFd, Errno> {
    let directory = rustix::fs::openat(
        CWD,
        directory,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    rustix::fs::openat2(&directory, rest, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)
}

/// Resolves both sides first (realpath(3)), for paths that reach the prefix by another name, `/run` for `/var/run`.
fn open_resolved(prefix: &Path, path: &Path) -> Result<SocketFile, PathError> {
    let prefix = prefix.canonicalize().map_err(error_of)?;
    let resolved = match path.canonicalize() {
        Ok(resolved) => resolved,
        Err(error) => {
            let error = error_of(error);
            return Err(if existing_part_is_below(&prefix, path) { error } else { PathError::Outside });
        }
    };
    let rest = resolved.strip_prefix(&prefix).map_err(|_| PathError::Outside)?;
    if rest.as_os_str().is_empty() {
        return Ok(SocketFile::Resolved(resolved));
    }
    let flags = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match open_beneath(&prefix, rest, flags) {
        Ok(fd) => Ok(SocketFile::Opened(fd)),
        Err(Errno::NOSYS | Errno::PERM) => Ok(SocketFile::Resolved(resolved)),
        // Somebody put a link where there was none a moment ago.
        Err(Errno::LOOP | Errno::XDEV) => Err(PathError::Outside),
        Err(errno) => Err(errno.into()),
    }
}

/// Whether the part of `path` that exists is below `prefix`: then the rest may come yet, else it never will.
fn existing_part_is_below(prefix: &Path, path: &Path) -> bool {
    path.ancestors()
        .skip(1)
        .find_map(|part| part.canonicalize().ok())
        .is_some_and(|part| part.starts_with(prefix))
}

fn error_of(error: io::Error) -> PathError {
    Errno::from_io_error(&error).unwrap_or(Errno::IO).into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;

    /// `prefix/d.sock`, `prefix/sub/d.sock`, `prefix-sibling/d.sock`, `outside/d.sock`.
    struct Tree {
        root: tempfile::TempDir,
    }

    impl Tree {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            for directory in ["prefix", "prefix/sub", "prefix-sibling", "outside"] {
                std::fs::create_dir(root.path().join(directory)).unwrap();
                drop(UnixListener::bind(root.path().join(directory).join("d.sock")).unwrap());
            }
            Self { root }
        }

        fn path(&self, path: &str) -> PathBuf {
            self.root.path().join(path)
        }

        fn open(&self, path: &str) -> Result<SocketFile, PathError> {
            open_below(&self.path("prefix"), &self.path(path))
        }
    }

    #[track_caller]
    fn assert_same_file(file: &SocketFile, path: &Path) {
        use std::os::unix::fs::MetadataExt;
        let (opened, expected) = (file.connect_path().metadata().unwrap(), path.metadata().unwrap());
        assert_eq!((opened.dev(), opened.ino()), (expected.dev(), expected.ino()));
        assert!(file.is_socket());
    }

    #[test]
    fn a_socket_below_the_prefix_is_opened() {
        let tree = Tree::new();
        assert_same_file(&tree.open("prefix/d.sock").unwrap(), &tree.path("prefix/d.sock"));
        assert_same_file(&tree.open("prefix/./sub//d.sock").unwrap(), &tree.path("prefix/sub/d.sock"));
        assert_same_file(&tree.open("prefix/sub/../d.sock").unwrap(), &tree.path("prefix/d.sock"));
        assert_same_file(&tree.open("outside/../prefix/d.sock").unwrap(), &tree.path("prefix/d.sock"));
    }

    #[test]
    fn a_path_that_leads_out_is_outside() {
        let tree = Tree::new();
        for path in ["outside/d.sock", "prefix/../outside/d.sock", "prefix/sub/../../outside/d.sock"] {
            assert_eq!(tree.open(path).unwrap_err(), PathError::Outside, "{path}");
        }
        assert_eq!(tree.open("outside/missing").unwrap_err(), PathError::Outside);
        assert_eq!(tree.open("prefix/../outside/missing").unwrap_err(), PathError::Outside);
    }

    #[test]
    fn a_sibling_that_begins_with_the_same_letters_is_outside() {
        assert_eq!(Tree::new().open("prefix-sibling/d.sock").unwrap_err(), PathError::Outside);
    }

    #[test]
    fn links_are_followed_and_must_end_below_the_prefix() {
        let tree = Tree::new();
        let link = |target: &Path, name: &str| symlink(target, tree.path(name)).unwrap();
        link(Path::new("sub/d.sock"), "prefix/relative-inside");
        link(&tree.path("prefix/sub/d.sock"), "prefix/absolute-inside");
        link(&tree.path("outside/d.sock"), "prefix/file-outside");
        link(Path::new("../outside/d.sock"), "prefix/relative-outside");
        link(&tree.path("outside"), "prefix/directory-outside");
        link(&tree.path("prefix"), "another-name");
        for path in ["prefix/relative-inside", "prefix/absolute-inside", "another-name/sub/d.sock"] {
            assert_same_file(&tree.open(path).unwrap(), &tree.path("prefix/sub/d.sock"));
        }
        for path in ["prefix/file-outside", "prefix/relative-outside", "prefix/directory-outside/d.sock"] {
            assert_eq!(tree.open(path).unwrap_err(), PathError::Outside, "{path}");
        }
    }

    #[test]
    fn a_prefix_that_is_a_link_counts_as_what_it_points_to() {
        let tree = Tree::new();
        symlink(tree.path("prefix"), tree.path("link")).unwrap();
        for path in ["link/d.sock", "prefix/d.sock"] {
            assert_same_file(
                &open_below(&tree.path("link"), &tree.path(path)).unwrap(),
                &tree.path("prefix/d.sock"),
            );
        }
    }

    #[test]
    fn what_does_not_exist_yet_is_missing() {
        let tree = Tree::new();
        assert_eq!(tree.open("prefix/not-yet").unwrap_err(), PathError::Missing);
        assert_eq!(tree.open("prefix/not/yet").unwrap_err(), PathError::Missing);
        let missing = open_below(&tree.path("no-prefix"), &tree.path("no-prefix/d.sock"));
        assert_eq!(missing.unwrap_err(), PathError::Missing);
    }

    #[test]
    fn directories_and_files_are_not_sockets() {
        let tree = Tree::new();
        std::fs::write(tree.path("prefix/file"), "").unwrap();
        for path in ["prefix", "prefix/", "prefix/sub", "prefix/file"] {
            assert!(!tree.open(path).unwrap().is_socket(), "{path}");
        }
    }
}
