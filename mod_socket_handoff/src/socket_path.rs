//! From the path that an application names to a file that is certainly below the allowed prefix.
//!
//! The application's word is not trusted, and nobody may change the file system between check and connect. So the
//! check yields not a path but an `O_PATH` descriptor, opened name by name beneath the prefix with links refused, and
//! `connect` goes to that descriptor through `/proc/self/fd`. (openat2(2) with `RESOLVE_BENEATH` is no shorter for the
//! one name that there usually is, and some kernels and containers do not have it.)

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::path::DecInt;

/// A file below the prefix, held open so that it stays the one that was checked.
#[derive(Debug)]
pub(crate) struct SocketFile {
    fd: OwnedFd,
    kind: FileType,
}

impl SocketFile {
    /// The path to connect to: at most 107 bytes, however long the application's path was.
    pub(crate) fn connect_path(&self) -> String {
        ["/proc/self/fd/", DecInt::from_fd(&self.fd).as_str()].concat()
    }

    /// Whether the file is a socket at all.
    pub(crate) fn is_socket(&self) -> bool {
        self.kind.is_socket()
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
    // The usual case: the path begins with the prefix as written, and no link is on the way from there.
    if is_below(prefix, path)
        && let Walk::Opened(file) = walk(prefix, path)?
    {
        return Ok(file);
    }
    // Both sides resolved first (realpath(3)): links, `..`, and other names for the prefix, `/run` for `/var/run`.
    let prefix = prefix.canonicalize().map_err(error_of)?;
    let path = path.canonicalize().map_err(|error| {
        if existing_part_is_below(&prefix, path) { error_of(error) } else { PathError::Outside }
    })?;
    if is_below(&prefix, &path)
        && let Walk::Opened(file) = walk(&prefix, &path)?
    {
        return Ok(file);
    }
    // It is outside, or somebody put a link where there was none a moment ago.
    Err(PathError::Outside)
}

/// Whether `path` is written as something below `prefix`, or as `prefix` itself.
fn is_below(prefix: &Path, path: &Path) -> bool {
    let rest = path.as_os_str().as_bytes().strip_prefix(prefix.as_os_str().as_bytes());
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
}

enum Walk {
    Opened(SocketFile),
    /// There is a link or a `..` on the way.
    NotPlain,
}

/// Opens `path`, which is written as something below `prefix`: the prefix, where links are the operator's own, together
/// with the first name after it, then each name in the directory that was opened before.
fn walk(prefix: &Path, path: &Path) -> Result<Walk, Errno> {
    let path = path.as_os_str().as_bytes();
    let mut directory: Option<SocketFile> = None;
    let mut end = prefix.as_os_str().len();
    while end < path.len() {
        let start = end + 1;
        end = path[start..].iter().position(|byte| *byte == b'/').map_or(path.len(), |length| start + length);
        let opened = match (&path[start..end], &directory) {
            (b"" | b".", _) => continue,
            (b"..", _) => return Ok(Walk::NotPlain),
            (_, None) => open(CWD, &path[..end])?,
            (name, Some(directory)) => open(directory.fd.as_fd(), name)?,
        };
        if opened.kind == FileType::Symlink {
            return Ok(Walk::NotPlain);
        }
        directory = Some(opened);
    }
    match directory {
        Some(file) => Ok(Walk::Opened(file)),
        // The prefix itself.
        None => open(CWD, path).map(Walk::Opened),
    }
}

/// Opens what `name` in `directory` is, without following a link at its end.
fn open(directory: BorrowedFd<'_>, name: &[u8]) -> Result<SocketFile, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(directory, name, flags, Mode::empty())?;
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode);
    Ok(SocketFile { fd, kind })
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
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;
    use std::path::PathBuf;

    use super::*;

    /// `prefix/d.sock`, `prefix/sub/d.sock`, `prefix-sibling/d.sock`, `outside/d.sock`.
    struct Tree {
        root: tempfile::TempDir,
    }

    impl Tree {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            for directory in ["prefix", "prefix/sub", "prefix-sibling", "outside"] {
                fs::create_dir(root.path().join(directory)).unwrap();
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
        let (opened, expected) = (fs::metadata(file.connect_path()).unwrap(), path.metadata().unwrap());
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
        fs::write(tree.path("prefix/file"), "").unwrap();
        for path in ["prefix", "prefix/", "prefix/sub", "prefix/file"] {
            assert!(!tree.open(path).unwrap().is_socket(), "{path}");
        }
    }
}
