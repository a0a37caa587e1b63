//! Who may hand off.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use crate::common::process::Process;
use crate::figures::wait_for;

/// Somebody else: `nobody`, on most systems.
const STRANGER: u32 = 65_534;

/// Hands a client off by the protocol that is its second argument, and prints what the client gets first.
const SENDER: &str = r#"
import socket, sys
daemon = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
daemon.connect(sys.argv[1])
client, connection = socket.socketpair()
envelope = b'{"method":"GET","target":"/","protocol":"HTTP/1.1"}'
header = b'\0HO2\0\0\0\0' + len(envelope).to_bytes(4, 'big') + (2).to_bytes(4, 'big') + bytes(4)
message = b'{}' if sys.argv[2] == '1' else header + envelope + b'{}'
try:
    socket.send_fds(daemon, [message], [connection.fileno()])
    if sys.argv[2] == '2' and daemon.recv(300)[:5] != b'\0HO2\x01':
        print('no answer', end='')
        sys.exit()
    connection.close()
    print(client.recv(12).decode() or 'closed', end='')
except OSError as error:
    print('no answer', end='')
"#;

fn hand_off_as(uid: u32, path: &Path, protocol: &str) -> String {
    let output = Command::new("python3")
        .args(["-c", SENDER, path.to_str().unwrap(), protocol])
        .uid(uid)
        .gid(uid)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn users_who_are_not_listed_are_refused_whatever_the_file_mode_says() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("not tested: only root can be somebody else");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("daemon.toml");
    std::fs::write(&config, "[server]\nallowed_users = []\n").unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let environment =
        [("DAEMON_METRICS_ENABLED", "true".to_owned()), ("DAEMON_METRICS_ADDR", free.to_string())];
    let mut command = Command::new(env!("CARGO_BIN_EXE_streaming-daemon"));
    command.arg(&config).args(["--mode", "0666", "--delay", "0"]);
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    let mut daemon = Process::spawn(command);
    let home = daemon.path.parent().unwrap();
    std::fs::set_permissions(home, std::fs::Permissions::from_mode(0o755)).unwrap();

    for protocol in ["1", "2"] {
        assert_eq!(hand_off_as(0, &daemon.path, protocol), "HTTP/1.1 200", "root, protocol {protocol}");
        let refused = hand_off_as(STRANGER, &daemon.path, protocol);
        assert!(refused == "no answer" || refused == "closed", "protocol {protocol}: {refused}");
    }
    let line = daemon.log_line("may not hand off");
    for part in ["WARN", "uid=65534", "pid=", "server.allowed_users", "not_allowed"] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
    wait_for(free, &["daemon_handoff_strangers_total 2", "daemon_handoffs_failed 2"]);

    std::fs::write(&config, format!("[server]\nallowed_users = [\"{STRANGER}\"]\n")).unwrap();
    daemon.signal(Signal::HUP);
    daemon.log_line("in effect from now on: server.allowed_users");
    for protocol in ["1", "2"] {
        assert_eq!(hand_off_as(STRANGER, &daemon.path, protocol), "HTTP/1.1 200", "protocol {protocol}");
    }
}

fn check(list: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("daemon.toml");
    std::fs::write(&config, format!("[server]\nallowed_users = {list}\n")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_streaming-daemon"));
    let output = command.arg("--check-config").arg(config).output().unwrap();
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

#[test]
fn a_user_who_does_not_exist_is_a_mistake_in_the_configuration() {
    let said = check("[\"root\", \"nobody-of-this-name\"]");
    assert!(said.contains("server.allowed_users") && said.contains("\"nobody-of-this-name\""), "{said}");
    let said = check("[\"root\", \"12\"]");
    assert!(said.contains("allowed_users = [\"root\", \"12\"]"), "{said}");
}
