//! What systemd and the daemon say to each other, and the units that are installed.
#![allow(clippy::unwrap_used, reason = "a panic is the report")]

mod common;

use std::fs;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::process::Process;
use common::{SOON, hand_off, hand_off_connection, hand_off_over, tcp_pair};
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::Signal;

const PROGRAM: &str = env!("CARGO_BIN_EXE_streaming-daemon");

fn conf(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../conf").join(name)
}

fn whole(mut client: impl Read) -> String {
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    answer
}

/// A daemon that is started by its first handoff.
fn activated(directory: &Path, kind: &[&str]) -> (Process, PathBuf) {
    let socket = directory.join("systemd.sock");
    let mut command = Command::new("systemd-socket-activate");
    command.args(kind).arg("--listen").arg(&socket).args([PROGRAM, "--delay", "0"]);
    (Process::spawn_quietly(command), socket)
}

#[test]
fn a_seqpacket_socket_is_taken_over_and_left_in_place() {
    let directory = tempfile::tempdir().unwrap();
    let (mut process, socket) = activated(directory.path(), &["--seqpacket"]);
    process.log_line("Listening on");
    assert!(whole(hand_off(&socket, b"{}")).contains("[DONE]"));
    assert!(process.log_line("listening on").ends_with("systemd.sock from systemd"));
    assert!(!process.path.exists(), "no socket of its own");
    process.signal(Signal::TERM);
    assert!(process.ended().success());
    assert!(socket.exists(), "the file is systemd's");
}

#[test]
fn a_stream_socket_is_told_by_its_type() {
    let directory = tempfile::tempdir().unwrap();
    let (mut process, socket) = activated(directory.path(), &[]);
    process.log_line("Listening on");
    let (client, connection) = tcp_pair();
    hand_off_over(UnixStream::connect(&socket).unwrap().into(), b"{}", connection);
    assert!(whole(client).contains("[DONE]"));
    assert!(process.log_line("listening on").ends_with("systemd.sock (SOCK_STREAM) from systemd"));
}

/// Passes on both types, in an order that tells nothing, or what is no Unix socket.
const PASS_ON: &str = r#"
import os, socket, sys
made = []
for kind in sys.argv[1].split(","):
    if kind == "tcp":
        listener = socket.socket(socket.AF_INET)
        listener.bind(("127.0.0.1", 0))
    else:
        listener = socket.socket(socket.AF_UNIX, getattr(socket, "SOCK_" + kind))
        listener.bind(os.path.join(sys.argv[2], kind))
    listener.listen()
    made.append(listener)
high = [os.dup(listener.detach()) for listener in made]
for index, fd in enumerate([os.dup2(fd, 100 + index) for index, fd in enumerate(high)]):
    os.dup2(fd, 3 + index)
os.environ.update(LISTEN_FDS=str(len(made)), LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[3], sys.argv[3:])
"#;

fn passed_on(kinds: &str, directory: &Path) -> Command {
    let mut command = Command::new("python3");
    command.args(["-c", PASS_ON, kinds]).arg(directory).args([PROGRAM, "--delay", "0"]);
    command
}

#[test]
fn both_types_at_once_are_told_apart_in_any_order() {
    for kinds in ["STREAM,SEQPACKET", "SEQPACKET,STREAM"] {
        let directory = tempfile::tempdir().unwrap();
        let _process = Process::spawn(passed_on(kinds, directory.path()));
        assert!(whole(hand_off(&directory.path().join("SEQPACKET"), b"{}")).contains("[DONE]"));
        let (client, connection) = tcp_pair();
        let stream = UnixStream::connect(directory.path().join("STREAM")).unwrap();
        hand_off_over(stream.into(), b"{}", connection);
        assert!(whole(client).contains("[DONE]"));
    }
}

#[test]
fn what_nobody_can_hand_off_to_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let output = passed_on("SEQPACKET,tcp", directory.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("descriptor 1 from systemd") && text.contains("ListenSequentialPacket="), "{text}");
}

/// A daemon that gets a socket which the test keeps, as systemd does.
fn sharing(socket: &OwnedFd) -> Process {
    let mut command = Command::new("sh");
    let script = "LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" \"$@\" 3<&0 </dev/null";
    command.args(["-c", script, PROGRAM, "--delay", "0"]).stdin(socket.try_clone().unwrap());
    Process::spawn(command)
}

#[test]
fn what_waits_in_the_socket_of_systemd_is_answered_by_the_successor() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("systemd.sock");
    let socket =
        net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    net::bind(&socket, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    net::listen(&socket, 10).unwrap();

    let first = sharing(&socket);
    assert!(whole(hand_off(&path, b"{}")).contains("[DONE]"));
    first.signal(Signal::TERM);
    assert!(first.ended().success());
    let waiting = hand_off(&path, br#"{"prompt":"between two"}"#);
    let _second = sharing(&socket);
    assert!(whole(waiting).contains("data:  two"));
}

/// Receives until a message contains `text`.
fn told(systemd: &UnixDatagram, text: &str) -> String {
    let mut buffer = [0; 1000];
    loop {
        let length = systemd.recv(&mut buffer).unwrap_or_else(|_| panic!("never told: {text}"));
        let message = String::from_utf8(buffer[..length].to_vec()).unwrap();
        if message.contains(text) {
            return message;
        }
    }
}

#[test]
fn systemd_is_told_of_the_start_the_streams_the_life_and_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let systemd = UnixDatagram::bind(&path).unwrap();
    systemd.set_read_timeout(Some(SOON)).unwrap();
    let mut command = Command::new(PROGRAM);
    command.args(["--delay", "3600000"]).env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "100000");
    let process = Process::spawn(command);
    let ready = told(&systemd, "READY=1");
    assert!(ready.contains("STATUS=listening on ") && ready.contains("daemon.sock"), "{ready}");
    told(&systemd, "WATCHDOG=1");
    told(&systemd, "WATCHDOG=1");
    let (client, connection) = tcp_pair();
    hand_off_connection(&process.path, b"{}", connection);
    told(&systemd, "STATUS=1 streams");
    process.signal(Signal::TERM);
    told(&systemd, "STOPPING=1");
    told(&systemd, "WATCHDOG=1");
    drop(client);
    assert!(process.ended().success());
}

const SERVICES: [&str; 2] = ["streaming-daemon.service", "streaming-daemon-exec@.service"];

/// The units as they are installed, with a program that exists.
fn units() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for name in SERVICES.into_iter().chain(["streaming-daemon.socket"]) {
        let unit = fs::read_to_string(conf(name)).unwrap();
        let unit = unit.replace("/usr/local/bin/streaming-daemon", PROGRAM);
        fs::write(directory.path().join(name), unit).unwrap();
    }
    directory
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    let directory = units();
    let files = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path());
    let output = Command::new("systemd-analyze").arg("verify").args(files).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    let ours: Vec<_> = text.lines().filter(|line| line.contains("streaming-daemon")).collect();
    assert!(output.status.success() && ours.is_empty(), "{text}");
}

#[test]
fn the_services_are_well_confined() {
    let directory = units();
    for name in SERVICES {
        let output = Command::new("systemd-analyze")
            .args(["security", "--offline=true", "--no-pager"])
            .arg(directory.path().join(name))
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let overall = text.lines().find_map(|line| line.split_once("Overall exposure level for ")).unwrap().1;
        let level: f64 = overall.split(' ').nth(1).unwrap().parse().unwrap();
        assert!(level < 2.0, "{overall}");
    }
}

/// In a user namespace SO_PEERCRED says 65534 of each user who is not mapped into it, Apache's too.
#[test]
fn the_services_can_tell_users_apart() {
    for name in SERVICES {
        let unit = fs::read_to_string(conf(name)).unwrap();
        assert!(!unit.lines().any(|line| line.starts_with("PrivateUsers=")), "{name}");
    }
}

#[test]
fn the_units_say_what_the_documents_say() {
    let socket = fs::read_to_string(conf("streaming-daemon.socket")).unwrap();
    for line in
        ["ListenSequentialPacket=/run/streaming-daemon.sock", "SocketGroup=www-data", "SocketMode=0660"]
    {
        assert!(socket.lines().any(|found| found == line), "{line}");
    }
    let service = fs::read_to_string(conf("streaming-daemon.service")).unwrap();
    for line in ["Type=notify", "LimitNOFILE=200000"] {
        assert!(service.lines().any(|found| found == line), "{line}");
    }
    assert!(service.lines().any(|line| line.starts_with("Before=") && line.contains("apache2.service")));
}
