//! A temporary directory in which servers live, and the user as whom they live there.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// The user of the servers when the tests run as root: Apache refuses to serve as root, and so should the rest.
const SERVICE_USER: &str = "www-data";

/// A temporary directory with `htdocs/`, `logs/`, and `run/` for sockets; gone with this value.
#[derive(Debug)]
pub struct Sandbox {
    dir: TempDir,
}

impl Sandbox {
    /// Makes the directory, readable for the servers' user, and `run/` writable.
    ///
    /// # Panics
    /// When the system's directory for temporary files takes none.
    #[must_use]
    pub fn new() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("handoff-")
            .permissions(fs::Permissions::from_mode(0o755))
            .tempdir()
            .expect("making a temporary directory");
        let sandbox = Self { dir };
        for name in ["htdocs", "logs", "run", "sessions"] {
            fs::create_dir(sandbox.path().join(name)).expect("making a directory of the sandbox");
        }
        for name in ["run", "sessions"] {
            give_to_service_user(&sandbox.path().join(name));
        }
        sandbox
    }

    /// The directory itself: `${ROOT}` in Apache's configuration.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A path below the directory of sockets, `${RUN}` in Apache's configuration.
    #[must_use]
    pub fn socket_path(&self, name: &str) -> PathBuf {
        self.path().join("run").join(name)
    }

    /// A path in the document root.
    #[must_use]
    pub fn document(&self, name: &str) -> PathBuf {
        self.path().join("htdocs").join(name)
    }

    /// Writes a file into the document root, with the folders that it needs. Names that end with `.cgi` become
    /// executable.
    ///
    /// # Panics
    /// When it can't be written.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.document(name);
        fs::create_dir_all(path.parent().expect("a document has a folder"))
            .expect("making a folder for a document");
        fs::write(&path, content).unwrap_or_else(|error| panic!("writing {}: {error}", path.display()));
        if name.ends_with(".cgi") {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
                .expect("making a script executable");
        }
        path
    }

    /// The text of a file in `logs/`; empty when there is none yet.
    #[must_use]
    pub fn log(&self, name: &str) -> String {
        let bytes = fs::read(self.path().join("logs").join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Default for Sandbox {
    fn default() -> Self {
        Self::new()
    }
}

/// Who the servers run as.
#[derive(Clone, Debug)]
pub(crate) struct ServiceUser {
    /// Login name; also the name of its group.
    pub(crate) name: &'static str,
    /// Numeric user.
    pub(crate) uid: u32,
    /// Numeric group.
    pub(crate) gid: u32,
}

/// The user to which servers have to change: `None` when this process is not root, since then they stay who we are.
///
/// # Panics
/// When the machine has no such user.
#[must_use]
pub(crate) fn service_user() -> Option<ServiceUser> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").expect("reading /etc/passwd");
    let fields: Vec<&str> = users
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.first() == Some(&SERVICE_USER))
        .unwrap_or_else(|| panic!("no user {SERVICE_USER} for the servers to run as; run: make setup"));
    let number = |field: usize| fields[field].parse().expect("a number in /etc/passwd");
    Some(ServiceUser { name: SERVICE_USER, uid: number(2), gid: number(3) })
}

/// Makes the servers' user the owner of `path`, where that is another one than ours.
pub(crate) fn give_to_service_user(path: &Path) {
    if let Some(user) = service_user() {
        chown(path, Some(user.uid), Some(user.gid)).expect("changing the owner of a path of the sandbox");
    }
}

/// Whether every user may go through all the directories of `path`.
pub(crate) fn open_to_all(path: &Path) -> bool {
    let may_pass = |dir: &Path| fs::metadata(dir).is_ok_and(|found| found.permissions().mode() & 0o001 != 0);
    path.ancestors().skip(1).all(may_pass)
}

/// As much of a log as is worth reading after a failure: what thousands of requests have left behind is not.
pub(crate) fn last_lines(log: &str) -> &str {
    const MOST: usize = 60;
    let start = log.trim_end().rmatch_indices('\n').nth(MOST).map_or(0, |(at, _)| at + 1);
    &log[start..]
}

/// The directory with what cargo built, such as `target/release`: the one that this program itself is from.
///
/// # Panics
/// When the program's own path can't be told.
#[must_use]
pub fn build_dir() -> PathBuf {
    let program = std::env::current_exe().expect("the path of this program");
    let dir = program.parent().expect("a program is in a directory");
    if dir.ends_with("deps") {
        dir.parent().expect("deps is in a directory").to_path_buf()
    } else {
        dir.to_path_buf()
    }
}

/// A product of the build that a test needs.
///
/// # Panics
/// With what to do when it is missing.
pub(crate) fn built(name: &str) -> PathBuf {
    let path = build_dir().join(name);
    assert!(path.exists(), "{} is missing; run: make build", path.display());
    path
}
