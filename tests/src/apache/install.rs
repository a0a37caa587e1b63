//! Where httpd is on this machine, as apxs tells.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::sandbox::build_dir;

/// An installed httpd.
#[derive(Debug)]
pub(super) struct Install {
    /// The server program.
    pub(super) httpd: PathBuf,
    /// The directory of its modules.
    pub(super) modules: PathBuf,
}

/// The httpd to which `$APXS`, or else the first apxs on the path, belongs.
///
/// # Panics
/// Without apxs.
pub(super) fn install() -> &'static Install {
    static INSTALL: OnceLock<Install> = OnceLock::new();
    INSTALL.get_or_init(|| {
        let named = std::env::var("APXS").ok().filter(|name| !name.is_empty());
        let candidates = named.map_or_else(|| vec!["apxs".to_owned(), "apxs2".to_owned()], |name| vec![name]);
        let apxs = candidates
            .iter()
            .find(|name| query(name, "LIBEXECDIR").is_some())
            .unwrap_or_else(|| panic!("none of {candidates:?} can be run; run: make setup"));
        let ask = |variable| query(apxs, variable).unwrap_or_else(|| panic!("{apxs} -q {variable} failed"));
        Install { httpd: Path::new(&ask("SBINDIR")).join(ask("PROGNAME")), modules: ask("LIBEXECDIR").into() }
    })
}

impl Install {
    /// The file of a module, such as `headers`; `None` when it is not there, which it also is when compiled in.
    pub(super) fn module(&self, name: &str) -> Option<PathBuf> {
        let path = self.modules.join(format!("mod_{name}.so"));
        path.exists().then_some(path)
    }

    /// mod_php: installed, or unpacked by `make setup`, which does not install it since that would change the MPM of
    /// the system's Apache.
    ///
    /// # Panics
    /// When there is none.
    pub(super) fn mod_php(&self) -> PathBuf {
        let target = build_dir().parent().map(Path::to_path_buf).unwrap_or_default();
        let unpacked = target.join("mod_php").join(self.modules.strip_prefix("/").unwrap_or(&self.modules));
        [&self.modules, &unpacked]
            .iter()
            .filter_map(|dir| std::fs::read_dir(dir).ok())
            .flat_map(|entries| entries.flatten().map(|entry| entry.path()))
            .find(|path| {
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                name.starts_with("libphp") && name.ends_with(".so")
            })
            .expect("mod_php is neither installed nor unpacked below target/; run: make setup")
    }
}

fn query(apxs: &str, variable: &str) -> Option<String> {
    let output = Command::new(apxs).args(["-q", variable]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let text = text.trim();
    (output.status.success() && !text.is_empty()).then(|| text.to_owned())
}
