//! What examples/ has for developers to copy: the receivers, and the PHP endpoints.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use e2e::{Apache, Client, Daemon, Ending, Event, Mpm, PATIENCE, Response, Sandbox, Server, SocketType};
use e2e::{events, open_files, wait_until};
use handoff_protocol::memory;
use handoff_protocol::scm::{self, Wait};
use handoff_protocol::v2::envelope::Writer;
use handoff_protocol::v2::message::Header;
use handoff_protocol::v2::{Answer, Outgoing};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, connect, socket_with};

fn example(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(path)
}

#[track_caller]
fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; run: make setup"));
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&said));
}

// ---- Configuration ----

#[test]
fn the_shipped_configuration_is_valid_with_what_it_has_in_comments() {
    let shipped = fs::read_to_string(example("../conf/socket_handoff.conf")).unwrap();
    let mut everything = shipped.replace("${APACHE_LOG_DIR}", "${ROOT}/logs");
    for directive in ["LogFormat", "CustomLog", "LogLevel"] {
        assert!(everything.contains(&format!("#{directive} ")), "{directive}");
        everything = everything.replace(&format!("#{directive} "), &format!("{directive} "));
    }
    for text in [shipped, everything] {
        let output = Apache::builder(Mpm::Event).config(&text).configtest();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

// ---- Receivers ----

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

fn python(_: &Sandbox) -> Option<Command> {
    let mut command = Command::new("python3");
    command.arg(example("receivers/receiver.py"));
    Some(command)
}

fn c(sandbox: &Sandbox) -> Option<Command> {
    let program = sandbox.path().join("receiver");
    let source = example("receivers/receiver.c");
    run(Command::new("cc").args(["-O2", "-Wall", "-Wextra", "-Werror", "-o"]).arg(&program).arg(source));
    Some(Command::new(program))
}

fn go(sandbox: &Sandbox) -> Option<Command> {
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

fn leaves_offers_alone(command: fn(&Sandbox) -> Option<Command>) {
    let Some(receiver) = RunningReceiver::start(command) else { return };
    let connection = receiver.connect();
    let (mut client, mut server_side) = tcp_pair();
    let get = envelope("GET", &[]);
    Outgoing::new(&get, b"hello", b"").unwrap().send(&connection, server_side.as_fd(), Wait::Yes).unwrap();
    assert_eq!(answer_on(&connection), None);
    std::io::Write::write_all(&mut server_side, b"ours").unwrap();
    drop(server_side);
    assert_eq!(client.read_to_end().0, b"ours");
}

#[test]
fn receivers_of_protocol_1_leave_offers_alone() {
    leaves_offers_alone(c);
    leaves_offers_alone(go);
}

// Protocol 2, which the one in Python speaks as well.

/// The envelope of a request with this method, and with fields of the application.
fn envelope(method: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut memory = Vec::new();
    let mut writer = Writer::new(&mut memory, method.as_bytes(), b"/", b"HTTP/1.1");
    let fields = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    writer.fields("response_headers", fields);
    writer.finish().to_vec()
}

/// The receiver's answer. A connection without one for long is closed by it.
fn answer_on(connection: &OwnedFd) -> Option<Answer> {
    let mut bytes = [0; 300];
    let (length, _) = rustix::net::recv(connection, &mut bytes[..], RecvFlags::empty()).unwrap();
    (length > 0).then(|| Answer::decode(&bytes[..length]).unwrap())
}

/// Offers a client on this connection, as the module does it.
fn offer(connection: &OwnedFd, envelope: &[u8], data: &[u8]) -> Client {
    let (client, server_side) = tcp_pair();
    Outgoing::new(envelope, data, b"").unwrap().send(connection, server_side.as_fd(), Wait::Yes).unwrap();
    client
}

#[test]
fn python_takes_offers_one_after_another_on_one_connection() {
    let receiver = RunningReceiver::start(python).unwrap();
    let connection = receiver.connect();
    let get =
        envelope("GET", &[("Set-Cookie", "a=Größe"), ("Set-Cookie", "b=2"), ("Connection", "keep-alive")]);
    // The second one comes in a file.
    let long = "x".repeat(200_000);
    let mut clients: Vec<Client> = Vec::new();
    for data in ["one two", &long, ""] {
        clients.push(offer(&connection, &get, data.as_bytes()));
        assert_eq!(answer_on(&connection), Some(Answer::Accepted));
    }
    for (mut client, text) in clients.into_iter().zip(["one two ", &format!("{long} "), ""]) {
        let response = client.read_response();
        assert_eq!(text_of(&response), text);
        assert_eq!(response.head.all("set-cookie"), ["a=Größe", "b=2"]);
        assert_eq!(response.head.header("connection"), Some("close"));
    }
    let mut head = offer(&connection, &envelope("HEAD", &[("X-Bad", "a\r\nb")]), b"one two");
    assert_eq!(answer_on(&connection), Some(Answer::Accepted));
    let (bytes, _) = head.read_to_end();
    let bytes = String::from_utf8(bytes).unwrap();
    assert!(bytes.starts_with("HTTP/1.1 200 OK\r\n") && bytes.ends_with("\r\n\r\n"), "{bytes}");
    assert!(!bytes.contains("X-Bad") && !bytes.contains("data:"), "{bytes}");
}

#[test]
fn python_leaves_a_client_alone_whose_sender_has_given_up() {
    let receiver = RunningReceiver::start(python).unwrap();
    let files = open_files(receiver.server.pid());
    let connection = receiver.connect();
    // Its answer comes too late, whenever that is.
    rustix::net::shutdown(&connection, rustix::net::Shutdown::Read).unwrap();
    let (mut client, mut server_side) = tcp_pair();
    let get = envelope("GET", &[]);
    Outgoing::new(&get, b"hello", b"").unwrap().send(&connection, server_side.as_fd(), Wait::Yes).unwrap();
    wait_until(PATIENCE, "the receiver to let go", || open_files(receiver.server.pid()) <= files);
    std::io::Write::write_all(&mut server_side, b"ours").unwrap();
    drop(server_side);
    assert_eq!(client.read_to_end().0, b"ours");
}

#[test]
fn python_refuses_bad_offers_and_goes_on() {
    let receiver = RunningReceiver::start(python).unwrap();
    let files = || open_files(receiver.server.pid());
    let before = files();
    let connection = receiver.connect();

    let get = envelope("GET", &[]);
    let header = |in_file, envelope: &[u8]| Header::new(in_file, envelope.len(), 0, 0).unwrap().encode();
    let inline = |envelope: &[u8]| [&header(false, envelope)[..], envelope].concat();
    let null = || OwnedFd::from(fs::File::open("/dev/null").unwrap());
    let client = || OwnedFd::from(tcp_pair().1);
    let mut later = inline(&get);
    later[3] = b'3';
    let mut flagged = inline(&get);
    flagged[6] = 1;
    let bad = [
        (later, vec![client()]),
        (flagged, vec![client()]),
        (inline(&get)[..30].to_vec(), vec![client()]),
        (b"\0HO2".to_vec(), vec![client()]),
        (inline(b"[]"), vec![client()]),
        (inline(b"{}"), vec![client()]),
        (inline(br#"{"method":"GET","response_headers":[["a"]]}"#), vec![client()]),
        (inline(br#"{"method":"GET","response_headers":[[1,2]]}"#), vec![client()]),
        (inline(&get), vec![]),
        (inline(&get), vec![null()]),
        (inline(&get), vec![client(), client()]),
        (header(true, &get).to_vec(), vec![client()]),
        (header(true, &get).to_vec(), vec![client(), null()]),
        (header(true, &get).to_vec(), vec![client(), memory::sealed(&[&get, b"x"]).unwrap()]),
    ];
    for (message, fds) in bad {
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        scm::send_parts(&connection, &[std::io::IoSlice::new(&message)], &fds, Wait::Yes).unwrap();
        let answer = answer_on(&connection);
        assert!(matches!(answer, Some(Answer::Bad { .. })), "{answer:?}: {}", message.escape_ascii());
    }
    wait_until(PATIENCE, "every descriptor to be closed", || files() <= before + 1);

    let mut good = offer(&connection, &get, b"still here");
    assert_eq!(answer_on(&connection), Some(Answer::Accepted));
    assert_eq!(text_of(&good.read_response()), "still here ");

    // Protocol 1 after protocol 2: neither.
    let (mut stray, server_side) = tcp_pair();
    scm::send(&connection, b"hello", server_side.as_fd(), Wait::Yes).unwrap();
    drop(server_side);
    assert_eq!(stray.read_to_end().0, b"");
    assert_eq!(answer_on(&connection), None);
}

/// A receiver as its header comment says to run it.
struct RunningReceiver {
    socket: PathBuf,
    server: Server,
    _sandbox: Sandbox,
}

impl RunningReceiver {
    fn start(command: fn(&Sandbox) -> Option<Command>) -> Option<Self> {
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

    fn connect(&self) -> OwnedFd {
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
    fn answer(&self, message: &[u8]) -> String {
        text_of(&self.hand_off(message).read_response())
    }

    /// Waits until no process works on a handoff (the receiver in C has one for each).
    #[track_caller]
    fn wait_until_idle(&self) {
        wait_until(PATIENCE, "an idle receiver", || self.server.children().is_empty());
    }
}

/// A client, and Apache's end of its connection in the state in which Apache hands it off.
fn tcp_pair() -> (Client, TcpStream) {
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

/// The text of a complete stream: `done` is its last event, and nothing was lost on the way.
#[track_caller]
fn text_of(response: &Response) -> String {
    assert_eq!(response.status(), 200, "{}", String::from_utf8_lossy(&response.body));
    assert_eq!(response.head.header("content-type"), Some("text/event-stream; charset=utf-8"));
    assert!(matches!(response.ending, Ending::Closed | Ending::Framed), "{:?}", response.ending);
    let mut events = events(response.text());
    let last = events.pop().expect("at least one event");
    assert_eq!(last, Event { name: "done".to_owned(), data: "[DONE]".to_owned(), id: String::new() });
    assert!(events.iter().all(|event| event.name == "message"), "{events:?}");
    events.into_iter().map(|event| event.data).collect()
}

// ---- PHP ----

const SCRIPTS: [&str; 3] = ["stream.php", "chat.php", "login.php"];

#[test]
fn every_php_file_is_free_of_syntax_errors() {
    let mut found: Vec<_> =
        fs::read_dir(example("php")).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    assert_eq!(found.len(), SCRIPTS.len(), "{found:?}");
    for path in found {
        run(Command::new("php").arg("-l").arg(path));
    }
}

/// Apache with the PHP examples at /php/, and the daemon.
struct Site {
    apache: Apache,
    _daemon: Daemon,
}

impl Site {
    fn start() -> Self {
        let mut builder = Apache::builder(Mpm::Event).php_fpm(2);
        for name in SCRIPTS {
            builder = builder.file(&format!("php/{name}"), fs::read(example("php").join(name)).unwrap());
        }
        let apache = builder
            .config(
                "SetEnv HANDOFF_SOCKET ${RUN}/streaming-daemon.sock\n\
                 SocketHandoffDaemon ${RUN}/streaming-daemon.sock protocol=2",
            )
            .start();
        let daemon = Daemon::start(apache.socket_path("streaming-daemon.sock"), ["--delay", "1"]);
        Self { apache, _daemon: daemon }
    }

    fn get(&self, target: &str, cookie: &str) -> Response {
        let mut client = Client::connect(self.apache.addr());
        client.send(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\n\r\n"));
        client.read_response()
    }

    fn post(&self, target: &str, cookie: &str, form: &str) -> Response {
        let mut client = Client::connect(self.apache.addr());
        client.send(format!(
            "POST {target} HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
            form.len()
        ));
        client.read_response()
    }

    /// The session cookie of a user who has signed in.
    fn sign_in(&self) -> String {
        let response = self.post("/php/login.php", "", "");
        assert_eq!((response.status(), response.text()), (200, r#"{"user":"demo"}"#));
        let cookie = response.head.header("set-cookie").expect("a session cookie");
        assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
        cookie.split(';').next().unwrap_or_default().to_owned()
    }
}

#[track_caller]
fn assert_refused(response: &Response, status: u16, message: &str) {
    assert_eq!((response.status(), response.head.header("content-type")), (status, Some("application/json")));
    assert_eq!(response.text(), format!(r#"{{"error":"{message}"}}"#));
    assert!(
        response.head.header("x-socket-handoff").is_none()
            && response.head.header("x-handoff-data").is_none()
    );
}

/// "Größe 😀 & more", with leading and trailing spaces.
const ENCODED: &str = "%20%20Gr%C3%B6%C3%9Fe%20%F0%9F%98%80%20%26%20more%20%20";
const DECODED: &str = "  Größe 😀 & more  ";

#[test]
fn stream_php_streams_the_prompt_back() {
    let site = Site::start();
    let by_get = site.get(&format!("/php/stream.php?prompt={ENCODED}"), "");
    assert_eq!(text_of(&by_get), format!("You said: {DECODED}"));
    assert_eq!(by_get.ending, Ending::Framed, "chunked, since it tells the daemon the client's protocol");
    let by_post = site.post("/php/stream.php", "", &format!("prompt={ENCODED}"));
    assert_eq!(text_of(&by_post), format!("You said: {DECODED}"));
}

#[test]
fn chat_php_streams_to_users_who_have_signed_in() {
    let site = Site::start();
    let cookie = site.sign_in();
    assert_eq!(site.get("/php/login.php", &cookie).text(), r#"{"user":"demo"}"#);
    let by_get = site.get(&format!("/php/chat.php?prompt={ENCODED}"), &cookie);
    assert_eq!(text_of(&by_get), format!("You said: {DECODED}"));
    assert_eq!(by_get.ending, Ending::Framed);
    let by_post = site.post("/php/chat.php", &cookie, &format!("prompt={ENCODED}"));
    assert_eq!(text_of(&by_post), format!("You said: {DECODED}"));
    for request in ["GET /php/chat.php", "POST /php/chat.php"] {
        let line = site.apache.wait_for_access_log(request, PATIENCE);
        assert!(line.ends_with("handoff=handed-off"), "{line}");
    }
}

#[test]
fn chat_php_refuses_strangers_in_json() {
    let site = Site::start();
    assert_refused(&site.get("/php/chat.php?prompt=hello", ""), 401, "Please sign in.");
    assert_refused(&site.post("/php/chat.php", "PHPSESSID=made-up", "prompt=hello"), 401, "Please sign in.");
    assert_eq!(site.get("/php/login.php", "").text(), r#"{"user":null}"#);
}

#[test]
fn chat_php_refuses_bad_prompts_in_json() {
    let site = Site::start();
    let cookie = site.sign_in();
    for target in
        ["/php/chat.php", "/php/chat.php?prompt=", "/php/chat.php?prompt=%20%0A", "/php/chat.php?prompt[]=x"]
    {
        assert_refused(&site.get(target, &cookie), 400, "The prompt is missing.");
    }
    assert_refused(&site.get("/php/chat.php?prompt=%FF", &cookie), 400, "The prompt is not valid UTF-8.");
}

#[test]
fn chat_php_takes_prompts_of_any_length() {
    let site = Site::start();
    let cookie = site.sign_in();
    // The first lengths that one header line cannot hold, and one that is far beyond.
    for length in (8_000..8_200).step_by(20).chain([300_000]) {
        let prompt = "x".repeat(length);
        let streamed = site.post("/php/chat.php", &cookie, &format!("prompt={prompt}"));
        assert_eq!(text_of(&streamed), format!("You said: {prompt}"), "{length} bytes");
    }
}

#[test]
fn line_breaks_and_control_characters_survive_the_header() {
    let site = Site::start();
    let response = site.get("/php/stream.php?prompt=a%0D%0Ab%00%7F%1F%E2%80%A8c", "");
    assert_eq!(text_of(&response), "You said: a\nb\0\u{7f}\u{1f}\u{2028}c");
}
