//! The file of the Unix socket: its permissions, and when it is replaced and removed.
#![allow(clippy::unwrap_used, reason = "a panic is the report")]

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use common::Daemon;
use streaming_daemon::Listener;
use streaming_daemon::config::Server;
use streaming_daemon::listener::Endpoint;
use tempfile::TempDir;

fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("daemon.sock");
    (directory, path)
}

fn bind(path: &Path) -> Result<Listener, String> {
    bind_with(path, 0o660)
}

fn bind_with(path: &Path, mode: u32) -> Result<Listener, String> {
    Listener::bind(&Endpoint::new(path, mode)).map_err(|error| error.to_string())
}

/// Leaves the file of a daemon that was killed.
fn leave_dead_socket(path: &Path) {
    drop(UnixListener::bind(path).unwrap());
}

#[test]
fn the_file_has_the_mode_that_was_asked_for() {
    for mode in [0o600, 0o660, 0o666, 0o000] {
        let (_directory, path) = place();
        let _listener = bind_with(&path, mode).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, mode);
    }
}

#[test]
fn the_file_of_a_dead_daemon_is_replaced() {
    let (_directory, path) = place();
    leave_dead_socket(&path);
    let _listener = bind(&path).unwrap();
    common::connect(&path);
}

#[test]
fn a_living_daemon_is_left_alone_whatever_its_socket_type() {
    let (_directory, path) = place();
    let _first = bind(&path).unwrap();
    assert!(bind(&path).unwrap_err().contains("is listening on"));
    common::connect(&path);

    let (_directory, path) = place();
    let _stream = UnixListener::bind(&path).unwrap();
    let message = bind(&path).unwrap_err();
    assert!(message.contains("stop it first") && message.contains("--socket"), "{message}");
    assert!(std::os::unix::net::UnixStream::connect(&path).is_ok());
}

#[test]
fn what_is_not_a_socket_is_left_alone() {
    let (directory, path) = place();
    fs::write(&path, "precious").unwrap();
    assert!(bind(&path).unwrap_err().contains("is not a socket"));
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");

    let link = directory.path().join("link.sock");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert!(bind(&link).unwrap_err().contains("is not a socket"));
    assert!(bind(directory.path()).unwrap_err().contains("is not a socket"));
}

#[test]
fn a_path_that_cannot_be_is_told_with_a_cure() {
    let (directory, path) = place();
    let message = bind(&path.join("x")).unwrap_err();
    assert!(message.contains("does not exist; create it"), "{message}");
    let message = bind(&directory.path().join("x".repeat(108))).unwrap_err();
    assert!(message.contains("1 to 107 bytes"), "{message}");
    assert!(bind(Path::new("")).unwrap_err().contains("1 to 107 bytes"));
    // /sys takes new files from nobody, root included.
    let message = bind(Path::new("/sys/daemon.sock")).unwrap_err();
    assert!(message.contains("RuntimeDirectory="), "{message}");
}

#[test]
fn the_longest_path_works() {
    let directory = tempfile::tempdir().unwrap();
    let length = 107 - directory.path().as_os_str().len() - 1;
    let path = directory.path().join("x".repeat(length));
    let _listener = bind(&path).unwrap();
    common::connect(&path);
}

#[test]
fn of_many_that_start_at_once_on_a_dead_socket_one_lives() {
    for _ in 0..20 {
        let (_directory, path) = place();
        leave_dead_socket(&path);
        let results: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| bind(&path))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{results:?}");
        common::connect(&path);
    }
}

#[tokio::test]
async fn the_file_goes_with_the_daemon() {
    let mut daemon = Daemon::start(|_| {});
    let path = daemon.path.clone();
    daemon.stop();
    daemon.ended().await;
    assert!(!path.exists());
}

#[test]
fn the_file_of_a_successor_stays() {
    let (_directory, path) = place();
    let old = bind(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let _new = bind(&path).unwrap();
    drop(old);
    common::connect(&path);
}

#[test]
fn a_stream_socket_stands_beside_the_other() {
    let directory = tempfile::tempdir().unwrap();
    let config = Server {
        socket_path: directory.path().join("seqpacket.sock"),
        stream_socket_path: Some(directory.path().join("stream.sock")),
        socket_mode: 0o600,
        ..Server::default()
    };
    let listener = Listener::open(Vec::new(), &config).unwrap();
    common::connect(&config.socket_path);
    let stream = config.stream_socket_path.unwrap();
    std::os::unix::net::UnixStream::connect(&stream).unwrap();
    assert_eq!(fs::metadata(&stream).unwrap().permissions().mode() & 0o7777, 0o600);
    drop(listener);
    assert!(!stream.exists() && !config.socket_path.exists());
}

#[tokio::test]
async fn handoffs_on_both_sockets_are_answered() {
    let directory = tempfile::tempdir().unwrap();
    let stream = directory.path().join("stream.sock");
    let mut daemon = Daemon::start(|config| config.server.stream_socket_path = Some(stream.clone()));
    for _ in 0..3 {
        assert!(daemon.ask("{}").await.is_done());
        let (client, connection) = common::tcp_pair();
        let module = std::os::unix::net::UnixStream::connect(&stream).unwrap();
        common::hand_off_over(module.into(), b"{\"prompt\":\"x\"}", connection);
        client.set_nonblocking(true).unwrap();
        let client = tokio::net::TcpStream::from_std(client).unwrap();
        assert!(common::response::read(client).await.is_done());
    }
    daemon.stop();
    daemon.ended().await;
    assert!(!stream.exists());
}

#[test]
fn when_one_socket_cannot_be_made_none_is_left() {
    let (_directory, path) = place();
    let config = Server {
        socket_path: path.clone(),
        stream_socket_path: Some("/no/such/directory/x.sock".into()),
        ..Server::default()
    };
    assert!(Listener::open(Vec::new(), &config).unwrap_err().to_string().contains("/no/such/directory"));
    assert!(!path.exists());
}

#[test]
fn the_file_has_the_group_that_was_asked_for() {
    let (_directory, path) = place();
    let endpoint =
        |group: &str| Endpoint { group: Some(group.to_owned()), ..Endpoint::new(path.clone(), 0o660) };
    // What everybody may do: the own group.
    let own = rustix::process::getegid().as_raw();
    drop(Listener::bind(&endpoint(&own.to_string())).unwrap());
    let foreign = Listener::bind(&endpoint("12345"));
    match foreign {
        Ok(_) => {
            let metadata = fs::metadata(&path).unwrap();
            assert_eq!((metadata.gid(), metadata.permissions().mode() & 0o7777), (12345, 0o660));
        }
        Err(error) => assert!(error.to_string().contains("add the daemon's user to it"), "{error}"),
    }
    let unknown = Listener::bind(&endpoint("no-such-group")).unwrap_err().to_string();
    assert!(
        unknown.contains("no group \"no-such-group\"") && unknown.contains("server.socket_group"),
        "{unknown}"
    );
}
