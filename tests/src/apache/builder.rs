//! The configuration of a private Apache, and its start.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::install::install;
use super::{Apache, status};
use crate::mpm::Mpm;
use crate::php::PhpFpm;
use crate::process::Server;
use crate::sandbox::{Sandbox, built, give_to_service_user, service_user};
use crate::wait::{PATIENCE, wait_until};

/// The access log: client, request, status, bytes sent, state of the connection (`X`, `+` or `-`), what the module noted.
pub(super) const ACCESS_LOG_FORMAT: &str = r#"%a \"%r\" %>s %O %X handoff=%{HANDOFF}n"#;

/// Loaded always, where not compiled in. `proxy_http` is not: an upstream is what a test asks for.
const MODULES: [&str; 14] = [
    "unixd",
    "log_config",
    "logio",
    "version",
    "authz_core",
    "mime",
    "dir",
    "env",
    "alias",
    "asis",
    "headers",
    "status",
    "proxy",
    "proxy_fcgi",
];

/// How many ports are tried: another process can take a port between our finding it free and Apache's binding it.
const PORT_ATTEMPTS: usize = 10;

/// An Apache to be: defaults that serve files, and what the test adds.
///
/// In configuration text these are defined: `${ROOT}` the sandbox, `${DOCROOT}`, `${RUN}` the directory of sockets (also
/// the allowed prefix), `${PORT}`, `${TLS_PORT}`, `${PHP_SOCKET}`.
#[derive(Debug)]
pub struct Builder {
    mpm: Mpm,
    workers: u16,
    port: Option<u16>,
    /// File name of the module to load, among what was built.
    socket_handoff: Option<&'static str>,
    modules: Vec<String>,
    server_config: String,
    vhost_config: String,
    php_children: Option<u16>,
    tls: bool,
    profiler: Vec<String>,
    open_files: Option<u32>,
    sandbox: Sandbox,
}

impl Builder {
    pub(super) fn new(mpm: Mpm) -> Self {
        Self {
            mpm,
            workers: 8,
            port: None,
            socket_handoff: Some("libmod_socket_handoff.so"),
            modules: MODULES.iter().map(ToString::to_string).collect(),
            server_config: String::new(),
            vhost_config: String::new(),
            php_children: None,
            tls: false,
            profiler: Vec::new(),
            open_files: None,
            sandbox: Sandbox::new(),
        }
    }

    /// How many requests can be worked on at once; 8 unless told.
    #[must_use]
    pub fn workers(mut self, workers: u16) -> Self {
        self.workers = workers;
        self
    }

    /// Listens on this port of 127.0.0.1 instead of a free one.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Leaves our module out, to compare with plain Apache.
    #[must_use]
    pub fn without_socket_handoff(mut self) -> Self {
        self.socket_handoff = None;
        self
    }

    /// Loads the module with the panic drill in it: a handoff to the path `/panic` panics.
    #[must_use]
    pub fn panic_drill(mut self) -> Self {
        self.socket_handoff = Some("libpanic_drill.so");
        self
    }

    /// Loads a module of httpd: `rewrite` for mod_rewrite.
    #[must_use]
    pub fn load(mut self, module: &str) -> Self {
        if !self.modules.iter().any(|loaded| loaded == module) {
            self.modules.push(module.to_owned());
        }
        self
    }

    /// Adds directives to the server configuration.
    #[must_use]
    pub fn config(mut self, directives: &str) -> Self {
        self.server_config.push_str(directives);
        self.server_config.push('\n');
        self
    }

    /// Declares the daemon at `socket`, a name below `${RUN}`, with `settings` such as `protocol=2 pool=1`.
    #[must_use]
    pub fn daemon(self, socket: &str, settings: &str) -> Self {
        self.config(&format!("SocketHandoffDaemon \"${{RUN}}/{socket}\" {settings}"))
    }

    /// Adds directives to the one virtual host (and to its TLS twin).
    #[must_use]
    pub fn vhost(mut self, directives: &str) -> Self {
        self.vhost_config.push_str(directives);
        self.vhost_config.push('\n');
        self
    }

    /// Puts a file into the document root.
    #[must_use]
    pub fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        self.sandbox.write(name, content);
        self
    }

    /// Starts a php-fpm with `children` workers too, and sends `.php` to it by SetHandler.
    #[must_use]
    pub fn php_fpm(mut self, children: u16) -> Self {
        self.php_children = Some(children);
        self.config(
            "<FilesMatch \"\\.php$\">\nSetHandler \"proxy:unix:${PHP_SOCKET}|fcgi://localhost\"\n</FilesMatch>",
        )
    }

    /// Runs `.php` in Apache's own process, as mod_php. Prefork only: Debian's is not thread-safe.
    ///
    /// # Panics
    /// On a threaded MPM.
    #[must_use]
    pub fn mod_php(self) -> Self {
        assert_eq!(self.mpm, Mpm::Prefork, "mod_php is not thread-safe");
        let library = install().mod_php();
        self.config(&format!(
            "LoadModule php_module {}\nAddHandler application/x-httpd-php .php\n\
             php_admin_value session.save_path ${{ROOT}}/sessions",
            library.display()
        ))
    }

    /// Runs files that end with `.cgi`.
    #[must_use]
    pub fn cgi(self) -> Self {
        let on = "AddHandler cgi-script .cgi\n<Directory \"${DOCROOT}\">\nOptions +ExecCGI\n</Directory>";
        match self.mpm {
            Mpm::Prefork => self.load("cgi").config(on),
            Mpm::Event | Mpm::Worker => self.load("cgid").config("ScriptSock ${ROOT}/cgid.sock").config(on),
        }
    }

    /// Serves the virtual host by HTTPS as well, with a certificate of its own making.
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self.load("ssl")
    }

    /// Runs httpd as one process (`-X`), and that below another program: `profiler` is its command line up to where
    /// httpd's begins. The start is then complete when the port is bound, and makes no request.
    #[must_use]
    pub fn profiled_by(mut self, profiler: impl IntoIterator<Item = String>) -> Self {
        self.profiler = profiler.into_iter().collect();
        self
    }

    /// Lets each of its processes have so many open files.
    #[must_use]
    pub fn open_files(mut self, limit: u32) -> Self {
        self.open_files = Some(limit);
        self
    }

    /// Its files, for a test that needs paths before the start.
    #[must_use]
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// A path for a socket below the allowed prefix.
    #[must_use]
    pub fn socket_path(&self, name: &str) -> PathBuf {
        self.sandbox.socket_path(name)
    }

    /// What `apachectl configtest` says.
    ///
    /// # Panics
    /// When httpd can't be run.
    #[must_use]
    pub fn configtest(self) -> Output {
        self.write_config(1, 2);
        self.httpd().arg("-t").output().expect("running httpd -t")
    }

    /// Starts it, and returns when all its workers are up.
    ///
    /// # Panics
    /// When it does not come up; with what it said.
    #[must_use]
    #[track_caller]
    pub fn start(self) -> Apache {
        self.try_start().unwrap_or_else(|error| panic!("{error}"))
    }

    /// Starts it, and returns when all its workers are up.
    ///
    /// # Errors
    /// What httpd said when it did not come up.
    ///
    /// # Panics
    /// When the machine lacks something; with what to do.
    pub fn try_start(self) -> Result<Apache, String> {
        let php = self.php_children.map(|children| PhpFpm::start(&self.sandbox, children));
        for _ in 1..PORT_ATTEMPTS {
            match self.start_once() {
                // A fixed port does not become free by trying another one.
                Err(error) if error.contains("AH00072") && self.port.is_none() => {}
                Err(error) => return Err(error),
                Ok((server, addr, tls_addr)) => {
                    let tls_addr = self.tls.then_some(tls_addr);
                    return Ok(Apache { mpm: self.mpm, addr, tls_addr, server, php, sandbox: self.sandbox });
                }
            }
        }
        Err("no port was free for Apache".to_owned())
    }

    fn start_once(&self) -> Result<(Server, SocketAddr, SocketAddr), String> {
        let (free, tls_port) = two_free_ports();
        let port = self.port.unwrap_or(free);
        self.write_config(port, tls_port);
        let pid_file = self.sandbox.path().join("httpd.pid");
        let output = self.sandbox.path().join("logs/httpd.out");
        let mode: &[&str] = if self.is_profiled() { &["-X"] } else { &["-D", "FOREGROUND"] };
        let mut server = Server::spawn("httpd", self.httpd().args(mode), &output);
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut failure = None;
        wait_until(PATIENCE, "Apache to serve with all its workers", || {
            failure = server.exit_status();
            // The pid file is written after the ports are bound: whoever answers before it exists is somebody else.
            failure.is_some() || (pid_file.exists() && (self.is_profiled() || self.has_all_workers(addr)))
        });
        if let Some(status) = failure {
            let said = self.sandbox.log("httpd.out") + &self.sandbox.log("error.log");
            return Err(format!("httpd ended with {status}:\n{said}"));
        }
        Ok((server, addr, SocketAddr::from((Ipv4Addr::LOCALHOST, tls_port))))
    }

    fn is_profiled(&self) -> bool {
        !self.profiler.is_empty()
    }

    fn has_all_workers(&self, addr: SocketAddr) -> bool {
        status::read(addr).is_some_and(|status| status.busy + status.idle >= usize::from(self.workers))
    }

    fn httpd(&self) -> Command {
        let httpd = &install().httpd;
        let mut command = match (self.profiler.split_first(), self.open_files) {
            (None, None) => Command::new(httpd),
            (None, Some(limit)) => {
                let mut command = Command::new("sh");
                command.args(["-c", &format!("ulimit -n {limit}; exec \"$0\" \"$@\"")]).arg(httpd);
                command
            }
            (Some((profiler, arguments)), _) => {
                let mut command = Command::new(profiler);
                command.args(arguments).arg(httpd);
                command
            }
        };
        command.arg("-d").arg(self.sandbox.path()).arg("-f").arg(self.config_path());
        command
    }

    fn config_path(&self) -> PathBuf {
        self.sandbox.path().join("httpd.conf")
    }

    fn write_config(&self, port: u16, tls_port: u16) {
        let root = self.sandbox.path();
        let text = [
            format!(
                "Define ROOT \"{root}\"\nDefine DOCROOT \"{root}/htdocs\"\nDefine RUN \"{root}/run\"\n\
                 Define PORT {port}\nDefine TLS_PORT {tls_port}\nDefine PHP_SOCKET \"{php}\"\n",
                root = root.display(),
                php = PhpFpm::socket_in(&self.sandbox).display(),
            ),
            self.load_modules(),
            BASE.to_owned(),
            self.mpm.tuning(self.workers),
            service_user().map_or(String::new(), |user| format!("User {0}\nGroup {0}\n", user.name)),
            format!("CustomLog \"${{ROOT}}/logs/access.log\" \"{ACCESS_LOG_FORMAT}\"\n"),
            if self.socket_handoff.is_some() { SOCKET_HANDOFF.to_owned() } else { String::new() },
            self.server_config.clone(),
            format!("<VirtualHost 127.0.0.1:${{PORT}}>\n{}</VirtualHost>\n", self.vhost_config),
            if self.tls { self.tls_vhost() } else { String::new() },
        ]
        .concat();
        fs::write(self.config_path(), text).expect("writing httpd.conf");
        fs::write(root.join("mime.types"), MIME_TYPES).expect("writing mime.types");
    }

    fn load_modules(&self) -> String {
        let install = install();
        let mut lines = String::new();
        let mut load = |name: &str, path: &Path| {
            lines.push_str(&format!("LoadModule {name}_module \"{}\"\n", path.display()));
        };
        for name in std::iter::once(self.mpm.module()).chain(self.modules.iter().map(String::as_str)) {
            // A missing file means that the module is compiled in; if it is not, httpd names the unknown directive.
            if let Some(path) = install.module(name) {
                load(name, &path);
            }
        }
        if let Some(module) = self.socket_handoff {
            load("socket_handoff", &built(module));
        }
        lines
    }

    fn tls_vhost(&self) -> String {
        let (certificate, key) = (self.sandbox.path().join("tls.crt"), self.sandbox.path().join("tls.key"));
        if !certificate.exists() {
            let made = Command::new("openssl")
                .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
                .args(["-days", "2", "-subj", "/CN=localhost", "-keyout"])
                .arg(&key)
                .arg("-out")
                .arg(&certificate)
                .output()
                .expect("running openssl; run: make setup");
            assert!(made.status.success(), "openssl: {}", String::from_utf8_lossy(&made.stderr));
            give_to_service_user(&key);
        }
        format!(
            "Listen 127.0.0.1:${{TLS_PORT}} https\n<VirtualHost 127.0.0.1:${{TLS_PORT}}>\nSSLEngine on\n\
             SSLCertificateFile \"${{ROOT}}/tls.crt\"\nSSLCertificateKeyFile \"${{ROOT}}/tls.key\"\n{}</VirtualHost>\n",
            self.vhost_config
        )
    }
}

/// Two ports that are free now. They are found together, so that they differ.
fn two_free_ports() -> (u16, u16) {
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("binding a free port");
    let port = |listener: &TcpListener| listener.local_addr().expect("the address of a listener").port();
    let (one, other) = (bind(), bind());
    (port(&one), port(&other))
}

const BASE: &str = r#"ServerRoot "${ROOT}"
DefaultRuntimeDir "${ROOT}"
PidFile "${ROOT}/httpd.pid"
ErrorLog "${ROOT}/logs/error.log"
LogLevel info
ServerName localhost
Listen 127.0.0.1:${PORT}
TypesConfig "${ROOT}/mime.types"
Timeout 20
KeepAliveTimeout 5
AddHandler send-as-is .asis
DocumentRoot "${DOCROOT}"
DirectoryIndex index.html index.php
<Directory />
Require all denied
</Directory>
<Directory "${DOCROOT}">
Require all granted
</Directory>
<Location "/server-status">
SetHandler server-status
</Location>
"#;

const SOCKET_HANDOFF: &str = r#"LogLevel info socket_handoff:debug
SocketHandoffAllowedPrefix "${RUN}"
# A test may let the operator hand off everything; the harness still needs an answer.
<Location "/server-status">
SocketHandoffEnabled Off
</Location>
"#;

const MIME_TYPES: &str =
    "text/html html\ntext/plain txt\ntext/css css\ntext/javascript js\nimage/svg+xml svg\n";
