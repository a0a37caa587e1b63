//! What `make demo` runs: the chat page and the PHP endpoints of `examples/` on a private Apache, with the daemon.

use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use crate::apache::{Apache, Builder};
use crate::daemon::Daemon;
use crate::mpm::Mpm;

/// Name of the daemon's socket in the sandbox.
const SOCKET: &str = "streaming-daemon.sock";

/// The servers of the demo, running.
#[derive(Debug)]
pub struct Demo {
    // Dropped in this order: Apache and its directory, in which the daemon's socket is, last.
    daemon: Daemon,
    apache: Apache,
}

impl Demo {
    /// Starts them, with Apache on `port` of 127.0.0.1, or on a free one. Both answer when it returns.
    ///
    /// # Errors
    /// A sentence for the one who started the demo.
    pub fn start(port: Option<u16>) -> Result<Self, String> {
        let builder = port.map_or_else(|| Ok(Apache::builder(Mpm::Event)), on_port)?;
        for folder in ["chat", "php"] {
            copy_example(folder, &builder);
        }
        let apache = builder
            .php_fpm(4)
            .vhost(&format!(
                "SocketHandoffDaemon \"${{RUN}}/{SOCKET}\" protocol=2\n\
                 SetEnv HANDOFF_SOCKET \"${{RUN}}/{SOCKET}\"\n\
                 RedirectMatch \"^/$\" \"/chat/\""
            ))
            .try_start()?;
        let daemon = Daemon::start(apache.socket_path(SOCKET), ["--backend", "mock"]);
        Ok(Self { daemon, apache })
    }

    /// Address of the chat page.
    #[must_use]
    pub fn page(&self) -> String {
        self.apache.url("/chat/")
    }

    /// A command that streams an answer to a terminal.
    #[must_use]
    pub fn curl_command(&self) -> String {
        format!("curl -N '{}'", self.apache.url("/php/stream.php?prompt=Hello+there"))
    }

    /// Its Apache.
    #[must_use]
    pub fn apache(&self) -> &Apache {
        &self.apache
    }

    /// Its daemon.
    #[must_use]
    pub fn daemon(&self) -> &Daemon {
        &self.daemon
    }

    /// Which server has ended by itself, and how, if one has.
    pub fn ended(&mut self) -> Option<String> {
        let servers = [self.apache.server_mut(), self.daemon.server_mut()];
        servers.into_iter().find_map(|server| {
            let status = server.exit_status()?;
            Some(format!("{} ended with {status}:\n{}", server.name(), server.output()))
        })
    }
}

/// An Apache for `port`. It is tried here, where the reason why it can't be had is known.
fn on_port(port: u16) -> Result<Builder, String> {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(_) => Ok(Apache::builder(Mpm::Event).port(port)),
        Err(error) if error.kind() == ErrorKind::AddrInUse => Err(format!(
            "Port {port} of 127.0.0.1 is taken by another program. Choose a free one: make demo DEMO_PORT=8081"
        )),
        Err(error) => Err(format!(
            "Port {port} of 127.0.0.1 can't be used: {error}. Choose another one with DEMO_PORT=."
        )),
    }
}

/// Copies a folder of `examples/` into the document root: Apache's user may not be able to read ours.
fn copy_example(folder: &str, builder: &Builder) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(folder);
    let entries =
        fs::read_dir(&source).unwrap_or_else(|error| panic!("reading {}: {error}", source.display()));
    for path in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()) {
        let name = path.file_name().expect("an entry has a name").to_string_lossy().into_owned();
        let content = fs::read(&path).unwrap_or_else(|error| panic!("reading {}: {error}", path.display()));
        builder.sandbox().write(&format!("{folder}/{name}"), content);
    }
}
