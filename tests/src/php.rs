//! A private php-fpm on a Unix socket.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::Server;
use crate::sandbox::{Sandbox, give_to_service_user, service_user};
use crate::wait::{PATIENCE, wait_until};

/// Name of its socket in the sandbox.
const SOCKET: &str = "php-fpm.sock";

/// A running php-fpm.
#[derive(Debug)]
pub struct PhpFpm {
    socket: PathBuf,
    server: Server,
}

impl PhpFpm {
    /// Starts `children` PHP workers, with log, sessions and socket in `sandbox`.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn start(sandbox: &Sandbox, children: u16) -> Self {
        let socket = Self::socket_in(sandbox);
        let root = sandbox.path().display();
        let user = service_user().map_or(String::new(), |user| {
            format!("user = {0}\ngroup = {0}\nlisten.owner = {0}\nlisten.group = {0}\n", user.name)
        });
        let config = sandbox.path().join("php-fpm.conf");
        let text = format!(
            "[global]\n\
             error_log = {root}/logs/php-fpm.log\n\
             [www]\n\
             listen = {socket}\n\
             {user}\
             pm = static\n\
             pm.max_children = {children}\n\
             clear_env = no\n\
             catch_workers_output = yes\n\
             php_admin_value[session.save_path] = {root}/sessions\n\
             php_admin_value[error_log] = {root}/logs/php.log\n",
            socket = socket.display(),
        );
        fs::write(&config, text).expect("writing php-fpm.conf");
        // Its workers append to it as the servers' user.
        let log = sandbox.path().join("logs/php.log");
        fs::write(&log, "").expect("making php.log");
        give_to_service_user(&log);

        let mut command = Command::new(program());
        command.args(["--nodaemonize", "--fpm-config"]).arg(&config);
        let mut server = Server::spawn("php-fpm", &mut command, &sandbox.path().join("logs/php-fpm.out"));
        wait_until(PATIENCE, "php-fpm to listen", || {
            if let Some(status) = server.exit_status() {
                panic!(
                    "php-fpm ended with {status}: {}{}",
                    sandbox.log("php-fpm.out"),
                    sandbox.log("php-fpm.log")
                );
            }
            socket.exists() && server.listens_on_unix_socket()
        });
        Self { socket, server }
    }

    /// Where php-fpm listens in `sandbox`, running or not.
    #[must_use]
    pub fn socket_in(sandbox: &Sandbox) -> PathBuf {
        sandbox.socket_path(SOCKET)
    }

    /// Where this one listens.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Its master process.
    #[must_use]
    pub fn server(&self) -> &Server {
        &self.server
    }
}

/// The newest php-fpm: Debian has the version in the name, others do not.
fn program() -> PathBuf {
    let mut found: Vec<PathBuf> = ["/usr/sbin", "/usr/local/sbin", "/usr/bin"]
        .iter()
        .filter_map(|dir| fs::read_dir(dir).ok())
        .flat_map(|entries| entries.flatten().map(|entry| entry.path()))
        .filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.strip_prefix("php-fpm")
                .is_some_and(|version| version.chars().all(|c| c.is_ascii_digit() || c == '.'))
        })
        .collect();
    found.sort();
    found.pop().expect("php-fpm is not installed; run: make setup")
}
