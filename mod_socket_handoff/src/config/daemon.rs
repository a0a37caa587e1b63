//! What is known about a daemon: `SocketHandoffDaemon PATH key=value …`.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::number;
use crate::doubt::Doubt;
use crate::pool::Pool;

/// Which protocol a daemon speaks (docs/PROTOCOL.md).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// One connection, one message, no answer.
    #[default]
    One,
    /// Connections are kept, and each handoff is answered.
    Two,
}

/// A user of this system, as whom a daemon must run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    /// As the operator wrote it.
    pub(crate) name: String,
    pub(crate) uid: u32,
}

/// The user id of a name, from the system's user database.
pub(crate) type UserId = fn(&str) -> Option<u32>;

/// A declared daemon.
#[derive(Debug)]
pub(crate) struct Daemon {
    /// First the daemon's own path, then its fallbacks.
    endpoints: Vec<Endpoint>,
    protocol: Protocol,
    ack_timeout: Duration,
    user: Option<User>,
}

/// A path, with the connections to it that are kept on behalf of this declaration.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) path: PathBuf,
    pub(crate) pool: Pool,
    pub(crate) doubt: Doubt,
}

impl Endpoint {
    fn new(path: PathBuf, most_idle: usize) -> Self {
        Self { path, pool: Pool::new(most_idle), doubt: Doubt::default() }
    }
}

impl Daemon {
    /// Reads the words after the directive's name.
    pub(super) fn parse(words: &[&str], user_id: UserId) -> Result<Self, String> {
        let Some((path, settings)) = words.split_first() else {
            return Err(
                "must be followed by the path of a daemon's socket and settings such as protocol=2".into()
            );
        };
        let mut fallbacks = Vec::new();
        let (mut protocol, mut ack_timeout_ms, mut user, mut pool) = (None, None, None, None);
        for setting in settings {
            let Some((key, value)) = setting.split_once('=') else {
                return Err(format!("takes settings {KEYS} after the path, not '{setting}'"));
            };
            match key {
                "protocol" => once(&mut protocol, key, protocol_named(value)?)?,
                "fallback" => {
                    fallbacks.push(socket_path(value).map_err(|problem| format!("fallback= {problem}"))?)
                }
                "ack_timeout_ms" => once(&mut ack_timeout_ms, key, named(key, number(value, 1, 60_000))?)?,
                "user" => once(&mut user, key, user_named(value, user_id)?)?,
                "pool" => once(&mut pool, key, named(key, number(value, 0, 1_000))?)?,
                _ => return Err(format!("takes settings {KEYS}, not '{setting}'")),
            }
        }
        let protocol = protocol.unwrap_or_default();
        if protocol == Protocol::One {
            let needs_answers = [
                ("fallback", !fallbacks.is_empty()),
                ("ack_timeout_ms", ack_timeout_ms.is_some()),
                ("pool", pool.is_some()),
            ];
            if let Some((key, _)) = needs_answers.iter().find(|(_, is_set)| *is_set) {
                return Err(format!("{key}= needs protocol=2: with protocol 1 a daemon does not answer"));
            }
        }
        let mut paths = vec![socket_path(path)?];
        for fallback in fallbacks {
            if paths.contains(&fallback) {
                return Err(format!("names '{}' twice", fallback.display()));
            }
            paths.push(fallback);
        }
        let most_idle = pool.unwrap_or(8) as usize;
        let endpoint = |path| Endpoint::new(path, most_idle);
        Ok(Self {
            endpoints: paths.into_iter().map(endpoint).collect(),
            protocol,
            ack_timeout: Duration::from_millis(ack_timeout_ms.unwrap_or(1000).into()),
            user,
        })
    }

    /// The same declaration with connections of its own.
    fn with_own_pools(&self) -> Self {
        let endpoint = |from: &Endpoint| Endpoint::new(from.path.clone(), from.pool.most_idle());
        Self { endpoints: self.endpoints.iter().map(endpoint).collect(), user: self.user.clone(), ..*self }
    }

    /// Refuses a fallback that does not answer. (One that only a virtual host declares so is found when it is needed.)
    fn can_stand_in_for(&self, daemon: &Self) -> Result<(), String> {
        let is_fallback = daemon.fallbacks().iter().any(|fallback| fallback.path == self.path());
        if is_fallback && self.protocol == Protocol::One {
            let path = self.path().display();
            return Err(format!(
                "names the fallback '{path}', which must be declared with protocol=2 as well"
            ));
        }
        Ok(())
    }

    /// Where the daemon's socket is, as the operator wrote it.
    pub(crate) fn path(&self) -> &Path {
        &self.endpoint().path
    }

    /// The daemon's own path and the connections to it.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoints[0]
    }

    /// Where to go when this daemon does not take a handoff, in this order.
    pub(crate) fn fallbacks(&self) -> &[Endpoint] {
        &self.endpoints[1..]
    }

    pub(crate) fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// How long to wait for the answer to a handoff.
    pub(crate) fn ack_timeout(&self) -> Duration {
        self.ack_timeout
    }

    /// As whom the daemon must run; `None`: anybody whom the socket's permissions let listen.
    pub(crate) fn user(&self) -> Option<&User> {
        self.user.as_ref()
    }
}

/// The daemons that are declared in one server, those of the server around it last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Daemons(Vec<Arc<Daemon>>);

impl Daemons {
    /// Adds a declaration.
    pub(super) fn declare(&mut self, daemon: Daemon) -> Result<(), String> {
        if self.0.iter().any(|known| known.path() == daemon.path()) {
            return Err(format!("is there twice for '{}' in the same server", daemon.path().display()));
        }
        for known in &self.0 {
            known.can_stand_in_for(&daemon)?;
            daemon.can_stand_in_for(known)?;
        }
        self.0.push(Arc::new(daemon));
        Ok(())
    }

    /// Those of a virtual host, then those of the server around it. With `same_prefix` they may share connections: what
    /// one may reach, the other may reach as well.
    pub(super) fn inherit(server: &Self, vhost: &Self, same_prefix: bool) -> Self {
        let inherited = server
            .0
            .iter()
            .map(|daemon| if same_prefix { Arc::clone(daemon) } else { Arc::new(daemon.with_own_pools()) });
        Self(vhost.0.iter().cloned().chain(inherited).collect())
    }

    /// The declaration of the daemon at `path`: as written, else by the directory that is meant (`/run` for `/var/run`).
    pub(super) fn find(&self, path: &Path) -> Option<&Daemon> {
        let as_written = self.0.iter().find(|daemon| daemon.path() == path);
        as_written.or_else(|| self.find_resolved(path)).map(Arc::as_ref)
    }

    fn find_resolved(&self, path: &Path) -> Option<&Arc<Daemon>> {
        let name = path.file_name()?;
        let mut of_this_name =
            self.0.iter().filter(|daemon| daemon.path().file_name() == Some(name)).peekable();
        // Most paths that nobody has declared end here, without a system call.
        of_this_name.peek()?;
        let directory = path.parent()?.canonicalize().ok()?;
        of_this_name.find(|daemon| {
            daemon.path().parent().and_then(|parent| parent.canonicalize().ok()).as_ref() == Some(&directory)
        })
    }
}

/// For sentences.
const KEYS: &str = "protocol=, fallback=, ack_timeout_ms=, user= and pool=";

/// Puts `value` into `place`, which must be empty.
fn once<T>(place: &mut Option<T>, key: &str, value: T) -> Result<(), String> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(format!("has {key}= twice")),
    }
}

/// A problem with a value, in a sentence that names the setting.
fn named<T>(key: &str, value: Result<T, String>) -> Result<T, String> {
    value.map_err(|problem| format!("{key}= {problem}"))
}

fn protocol_named(value: &str) -> Result<Protocol, String> {
    match value {
        "1" => Ok(Protocol::One),
        "2" => Ok(Protocol::Two),
        _ => Err(format!("protocol= must be 1 or 2, not '{value}'")),
    }
}

/// A name, or a number after `#` as in httpd's own directive User.
fn user_named(name: &str, user_id: UserId) -> Result<User, String> {
    let uid = match name.strip_prefix('#') {
        Some(number) => number.parse().ok().filter(|_| number.bytes().all(|byte| byte.is_ascii_digit())),
        None => user_id(name),
    };
    let uid = uid.ok_or_else(|| {
        format!("user= must be a user of this system, or # and a user id such as #33, not '{name}'")
    })?;
    Ok(User { name: name.to_owned(), uid })
}

/// The absolute path of a file.
fn socket_path(value: &str) -> Result<PathBuf, String> {
    let path = Path::new(value);
    if !path.is_absolute() {
        return Err(format!(
            "must be an absolute path such as /run/streaming-daemon/daemon.sock, not '{value}'"
        ));
    }
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(format!("must not contain '..', as '{value}' does"));
    }
    if path.file_name().is_none() || value.ends_with('/') {
        return Err(format!("must name a socket, not the directory '{value}'"));
    }
    // Without doubled slashes.
    Ok(path.components().collect())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn parse(line: &str) -> Result<Daemon, String> {
        let words: Vec<_> = line.split_whitespace().collect();
        Daemon::parse(&words, |name| (name == "streamer").then_some(123))
    }

    fn declared(lines: &[&str]) -> Daemons {
        let mut daemons = Daemons::default();
        for line in lines {
            daemons.declare(parse(line).unwrap()).unwrap();
        }
        daemons
    }

    #[test]
    fn a_path_alone_says_protocol_1() {
        let daemon = parse("/run/d.sock").unwrap();
        assert_eq!((daemon.path(), daemon.protocol()), (Path::new("/run/d.sock"), Protocol::One));
        assert!(daemon.user().is_none() && daemon.fallbacks().is_empty());
    }

    #[test]
    fn defaults_are_those_of_the_readme() {
        let daemon = parse("/run/d.sock protocol=2").unwrap();
        assert_eq!(daemon.ack_timeout(), Duration::from_secs(1));
        assert_eq!(daemon.endpoint().pool.most_idle(), 8);
    }

    #[test]
    fn every_setting_is_read() {
        let daemon = parse(
            "/run//d.sock ack_timeout_ms=60000 pool=0 user=streamer fallback=/run/b.sock protocol=2 fallback=/run/a.sock",
        )
        .unwrap();
        assert_eq!(daemon.path().as_os_str(), "/run/d.sock");
        assert_eq!(daemon.protocol(), Protocol::Two);
        assert_eq!(daemon.ack_timeout(), Duration::from_secs(60));
        assert_eq!(daemon.user(), Some(&User { name: "streamer".into(), uid: 123 }));
        let fallbacks: Vec<_> = daemon.fallbacks().iter().map(|endpoint| endpoint.path.to_str()).collect();
        assert_eq!(fallbacks, [Some("/run/b.sock"), Some("/run/a.sock")]);
        assert!(daemon.fallbacks().iter().all(|endpoint| endpoint.pool.most_idle() == 0));
        assert_eq!(parse("/run/d.sock user=#42").unwrap().user().unwrap().uid, 42);
    }

    #[test]
    fn each_mistake_has_a_sentence_that_says_what_is_allowed() {
        for (line, sentence) in [
            ("", "must be followed by the path"),
            ("run/d.sock", "must be an absolute path"),
            ("protocol=2", "must be an absolute path"),
            ("/run/../etc/d.sock", "must not contain '..'"),
            ("/", "must name a socket"),
            ("/run/daemon/", "must name a socket"),
            (
                "/d protocol",
                "takes settings protocol=, fallback=, ack_timeout_ms=, user= and pool= after the path",
            ),
            ("/d /e", "takes settings protocol="),
            ("/d Protocol=2", "takes settings protocol="),
            ("/d protocol=3", "protocol= must be 1 or 2, not '3'"),
            ("/d protocol=", "protocol= must be 1 or 2, not ''"),
            ("/d protocol=2 protocol=2", "has protocol= twice"),
            (
                "/d protocol=2 ack_timeout_ms=0",
                "ack_timeout_ms= must be a whole number from 1 to 60000, not '0'",
            ),
            ("/d protocol=2 ack_timeout_ms=60001", "from 1 to 60000"),
            ("/d protocol=2 pool=1001", "pool= must be a whole number from 0 to 1000, not '1001'"),
            ("/d protocol=2 pool=-1", "from 0 to 1000"),
            ("/d user=nobody-here", "user= must be a user of this system"),
            ("/d user=#", "user= must be a user of this system"),
            ("/d user=#+1", "user= must be a user of this system"),
            ("/d user=streamer user=streamer", "has user= twice"),
            ("/d protocol=2 fallback=e", "fallback= must be an absolute path"),
            ("/d protocol=2 fallback=/e fallback=//e", "names '/e' twice"),
            ("/d protocol=2 fallback=/d", "names '/d' twice"),
            ("/d fallback=/e", "fallback= needs protocol=2"),
            ("/d protocol=1 pool=1", "pool= needs protocol=2"),
            ("/d ack_timeout_ms=5", "ack_timeout_ms= needs protocol=2"),
        ] {
            let error = parse(line).expect_err(line);
            assert!(error.contains(sentence), "{line}: {error}");
        }
    }

    #[test]
    fn a_path_is_declared_once_in_a_server() {
        let mut daemons = declared(&["/run/a.sock", "/run/b.sock"]);
        let error = daemons.declare(parse("/run//a.sock protocol=2").unwrap()).unwrap_err();
        assert!(error.contains("is there twice for '/run/a.sock'"), "{error}");
    }

    #[test]
    fn a_fallback_that_is_declared_speaks_protocol_2() {
        let (with_fallback, fallback) = ("/run/a.sock protocol=2 fallback=/run/b.sock", "/run/b.sock");
        for [first, second] in [[with_fallback, fallback], [fallback, with_fallback]] {
            let error = declared(&[first]).declare(parse(second).unwrap()).unwrap_err();
            assert!(error.contains("names the fallback '/run/b.sock', which must be"), "{error}");
        }
        declared(&[with_fallback, "/run/b.sock protocol=2"]);
    }

    #[test]
    fn a_virtual_hosts_declarations_come_first() {
        let server = declared(&["/run/a.sock protocol=2 pool=1", "/run/b.sock protocol=2 pool=1"]);
        let vhost = declared(&["/run/b.sock protocol=2 pool=2"]);
        let merged = Daemons::inherit(&server, &vhost, true);
        let most_idle = |path| merged.find(Path::new(path)).map(|daemon| daemon.endpoint().pool.most_idle());
        assert_eq!(most_idle("/run/a.sock"), Some(1));
        assert_eq!(most_idle("/run/b.sock"), Some(2));
        assert_eq!(most_idle("/run/c.sock"), None);
    }

    #[test]
    fn connections_are_not_shared_with_whom_another_prefix_binds() {
        let server = declared(&["/run/a.sock protocol=2 fallback=/run/b.sock pool=3"]);
        let of = |same_prefix| Daemons::inherit(&server, &Daemons::default(), same_prefix);
        let (shared, own) = (of(true), of(false));
        assert!(Arc::ptr_eq(&server.0[0], &shared.0[0]));
        assert!(!Arc::ptr_eq(&server.0[0], &own.0[0]));
        assert_eq!(own.0[0].fallbacks()[0].pool.most_idle(), 3);
    }

    #[test]
    fn another_name_for_the_directory_means_the_same_daemon() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("directory");
        std::fs::create_dir(&directory).unwrap();
        symlink(&directory, root.path().join("link")).unwrap();
        let daemons = declared(&[&format!("{}/d.sock", directory.display())]);
        let found = |path: &str| daemons.find(&root.path().join(path)).is_some();
        assert!(found("directory/d.sock") && found("directory/.//d.sock"));
        assert!(found("link/d.sock") && found("link/../directory/d.sock"));
        assert!(!found("d.sock") && !found("link/other.sock") && !found("missing/d.sock"));
    }
}
