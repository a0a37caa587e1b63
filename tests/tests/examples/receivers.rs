//! The receivers, by protocol 1.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use e2e::{Client, PATIENCE, Sandbox, Server, SocketType, open_files, wait_until};
use handoff_protocol::scm::{self, Wait};
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, connect, socket_with};

use crate::{example, run, text_of};

/// Makes three tests of each receiver, which is a function of the same name.
macro_rules! test_receivers {
    ($($receiver:ident),*) => {$(
        mod $receiver {
            #[test]
            fn receives_handoffs() {
                super::receives_handoffs(super::$receiver);
            }
            #[test]
            fn survives_bad_messages() {
                super::survives_bad_messages(super::$receiver);
            }
            #[test]
            fn serves_clients_that_are_slow_or_leave() {
                super::serves_clients_that_are_slow_or_leave(super::$receiver);
            }
        }
    )*};
}

test_receivers! { python, c, go }

pub(crate) fn python(_: &Sandbox) -> Option<Command> {
    let mut command = Command::new("python3");
    command.arg(example("receivers/receiver.py"));
    Some(command)
}

pub(crate) fn c(sandbox: &Sandbox) -> Option<Command> {
    let program = sandbox.path().join("receiver");
    let source = example("receivers/receiver.c");
    run(Command::new("cc").args(["-O2", "-Wall", "-Wextra", "-Werror", "-o"]).arg(&program).arg(source));
    Some(Command::new(program))
}

pub(crate) fn go(sandbox: &Sandbox) -> Option<Command> {
    if Command::new("go").arg("version").output().is_err() {
        println!("There is no Go toolchain here: the Go receiver was not tested.");
        return None;
    }
    let program = sandbox.path().join("receiver");
    let mut build = Command::new("go");
    // It has no dependency, and none is fetched.
    build.current_dir(example("receivers/receiver")).env("GOFLAGS", "-mod=mod").env("GOPROXY", "off");
    run(build.args(["build", "-o"]).arg(&program).arg("."));
    Some(Command::new(program))
}

fn receives_handoffs(command: fn(&Sandbox) -> Option<Command>) {
    let Some(receiver) = RunningReceiver::start(command) else { return };
    let mode = fs::metadata(&receiver.socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);

    assert_eq!(receiver.answer(b"{\"prompt\": \"Gr\xc3\xbc\xc3\x9fe\"}"), "{\"prompt\": \"Grüße\"} ");
    assert_eq!(receiver.answer(b"\0"), "", "one NUL byte stands for no data");
    // A few at once: none waits for the others.
    let clients: Vec<Client> =
        (0..10).map(|i| receiver.hand_off(format!("a b c d {i}").as_bytes())).collect();
    for (i, mut client) in clients.into_iter().enumerate() {
        assert_eq!(text_of(&client.read_response()), format!("a b c d {i} "));
    }
}

fn survives_bad_messages(command: fn(&Sandbox) -> Option<Command>) {
    let Some(receiver) = RunningReceiver::start(command) else { return };
    receiver.answer(b"warm up");
    receiver.wait_until_idle();
    let files = open_files(receiver.server.pid());

    // No message; and one that takes its time, while the others are served.
    drop(receiver.connect());
    let silent = receiver.connect();
    // No descriptor.
    rustix::net::send(receiver.connect(), b"hello", SendFlags::NOSIGNAL).unwrap();
    // A descriptor that is no client.
    let file = fs::File::open("/dev/null").unwrap();
    scm::send(receiver.connect(), b"hello", file.as_fd(), Wait::Yes).unwrap();
    let datagrams =
        socket_with(AddressFamily::UNIX, rustix::net::SocketType::DGRAM, SocketFlags::CLOEXEC, None);
    scm::send(receiver.connect(), b"hello", datagrams.unwrap().as_fd(), Wait::Yes).unwrap();
    // Two clients: neither is kept.
    let (mut one, its_server_side) = tcp_pair();
    let (mut other, others_server_side) = tcp_pair();
    send_two(&receiver.connect(), [&its_server_side, &others_server_side]);
    drop((its_server_side, others_server_side));
    assert_eq!(one.read_to_end().0, b"");
    assert_eq!(other.read_to_end().0, b"");

    assert_eq!(receiver.answer(b"still here"), "still here ");
    drop(silent);
    wait_until(PATIENCE, "every descriptor to be closed", || open_files(receiver.server.pid()) <= files);
    receiver.wait_until_idle();
}

fn serves_clients_that_are_slow_or_leave(command: fn(&Sandbox) -> Option<Command>) {
    let Some(receiver) = RunningReceiver::start(command) else { return };
    receiver.answer(b"warm up");
    receiver.wait_until_idle();
    let files = open_files(receiver.server.pid());

    // More than the socket's buffers hold: whoever writes has to wait, although Apache had set O_NONBLOCK.
    let long = "x".repeat(200_000);
    assert_eq!(receiver.answer(long.as_bytes()), format!("{long} "));

    // An answer of 20 seconds, which nobody waits for.
    let mut leaving = receiver.hand_off("word ".repeat(400).as_bytes());
    leaving.read_until("data: word");
    drop(leaving);
    wait_until(Duration::from_secs(5), "the end of a stream whose client has left", || {
        receiver.server.children().is_empty() && open_files(receiver.server.pid()) <= files
    });

    // Input that nobody reads does not cost the client the end of the answer.
    let mut talking = receiver.hand_off(b"one two");
    talking.send("x".repeat(100_000));
    assert_eq!(text_of(&talking.read_response()), "one two ");
}

/// A receiver as its header comment says to run it.
pub(crate) struct RunningReceiver {
    socket: PathBuf,
    pub(crate) server: Server,
    _sandbox: Sandbox,
}

impl RunningReceiver {
    pub(crate) fn start(command: fn(&Sandbox) -> Option<Command>) -> Option<Self> {
        let sandbox = Sandbox::new();
        let socket = sandbox.socket_path("receiver.sock");
        let log = sandbox.path().join("logs/receiver.log");
        let mut server = Server::spawn("the receiver", command(&sandbox)?.arg(&socket), &log);
        wait_until(PATIENCE, "the receiver to listen", || {
            assert!(server.exit_status().is_none(), "{}", fs::read_to_string(&log).unwrap_or_default());
            server.listens_on_unix_socket()
        });
        Some(Self { socket, server, _sandbox: sandbox })
    }

    pub(crate) fn connect(&self) -> OwnedFd {
        let kind = SocketType::SeqPacket.into();
        let socket = socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap();
        connect(&socket, &SocketAddrUnix::new(&self.socket).unwrap()).unwrap();
        socket
    }

    /// A handoff, as the module does it; returns the client.
    fn hand_off(&self, message: &[u8]) -> Client {
        let (client, server_side) = tcp_pair();
        scm::send(self.connect(), message, server_side.as_fd(), Wait::Yes).unwrap();
        client
    }

    /// The text that the receiver streams to the client of a handoff.
    #[track_caller]
    pub(crate) fn answer(&self, message: &[u8]) -> String {
        text_of(&self.hand_off(message).read_response())
    }

    /// Waits until no process works on a handoff (the receiver in C has one for each).
    #[track_caller]
    fn wait_until_idle(&self) {
        wait_until(PATIENCE, "an idle receiver", || self.server.children().is_empty());
    }
}

/// A client, and Apache's end of its connection in the state in which Apache hands it off.
pub(crate) fn tcp_pair() -> (Client, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = Client::connect(listener.local_addr().unwrap());
    let (server_side, _) = listener.accept().unwrap();
    server_side.set_nonblocking(true).unwrap();
    rustix::net::sockopt::set_socket_send_buffer_size(&server_side, 4096).unwrap();
    (client, server_side)
}

fn send_two(socket: &OwnedFd, fds: [&TcpStream; 2]) {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = rustix::net::SendAncillaryBuffer::new(&mut space);
    let fds = fds.map(AsFd::as_fd);
    assert!(control.push(rustix::net::SendAncillaryMessage::ScmRights(&fds)));
    let message = [std::io::IoSlice::new(b"hello")];
    rustix::net::sendmsg(socket, &message, &mut control, SendFlags::NOSIGNAL).unwrap();
}
