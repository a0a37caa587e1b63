//! What the access log tells of the client's request, and whom the limits mean.

use std::path::PathBuf;
use std::time::Duration;

use handoff_protocol::v2::envelope::Writer;
use streaming_daemon::Config;
use streaming_daemon::config::{AccessLog, AccessLogFormat};

use crate::common::{Daemon, SOON, eventually, hand_off, mock};
use crate::module::{Module, envelope_of, read};

fn tell(writer: &mut Writer<'_>) {
    writer.text("id", b"Z1x-unique");
    writer.address("client", b"192.0.2.1", 40_000);
    writer.text("useragent", b"2001:db8::7");
    let fields: [(&[u8], &[u8]); 2] =
        [(b"User-Agent", b"Browser/1 \"quoted\""), (b"referer", b"https://example.org/?a=b")];
    writer.fields("request_headers", fields.into_iter());
}

fn lines(format: AccessLogFormat) -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    let log = |config: &mut Config, path: PathBuf| {
        config.logging.access_log = AccessLog::File(path);
        config.logging.access_log_format = format;
    };
    let daemon = Daemon::start(|config| log(config, path.clone()));
    assert!(Module::connect(&daemon.path).ask(&envelope_of(b"POST", b"HTTP/1.1", tell), b"{}").is_done());
    assert!(read(hand_off(&daemon.path, b"{}")).is_done());
    let mut text = String::new();
    eventually(SOON, "both lines are there", || {
        text = std::fs::read_to_string(&path).unwrap();
        text.lines().count() == 2
    });
    text.lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_is_apaches_combined() {
    let lines = lines(AccessLogFormat::Combined);
    assert!(lines[0].starts_with("2001:db8::7 - - ["), "{}", lines[0]);
    let middle = "] \"POST /chat.php HTTP/1.1\" 200 ";
    assert!(lines[0].contains(middle), "{}", lines[0]);
    let browser = " \"https://example.org/?a=b\" \"Browser/1 \\\"quoted\\\"\" outcome=done ";
    assert!(lines[0].contains(browser), "{}", lines[0]);
    assert!(lines[0].ends_with(" unique_id=\"Z1x-unique\""), "{}", lines[0]);
    // Protocol 1 tells nothing.
    assert!(lines[1].starts_with("127.0.0.1 - - [") && lines[1].contains("] \"-\" 200 "), "{}", lines[1]);
    assert!(lines[1].ends_with(" unique_id=\"-\""), "{}", lines[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_of_json_has_it_too() {
    let lines = lines(AccessLogFormat::Json);
    let line: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!(line["client"], "2001:db8::7");
    assert_eq!(line["request"], "POST /chat.php HTTP/1.1");
    assert_eq!(line["user_agent"], "Browser/1 \"quoted\"");
    assert_eq!(line["referer"], "https://example.org/?a=b");
    assert_eq!(line["unique_id"], "Z1x-unique");
    let line: serde_json::Value = serde_json::from_str(&lines[1]).unwrap();
    assert!(line["request"].is_null() && line["unique_id"].is_null());
}

/// Behind a proxy all connections come from one address.
#[tokio::test(flavor = "multi_thread")]
async fn the_limit_of_streams_is_that_of_the_client_behind_the_proxy() {
    let daemon = Daemon::start(|config| {
        config.server.max_streams_per_client = Some(1);
        config.backend = mock(Duration::from_secs(3600));
    });
    let module = Module::connect(&daemon.path);
    let from = |address: &'static [u8]| {
        envelope_of(b"POST", b"HTTP/1.1", |writer| {
            writer.address("client", b"127.0.0.1", 1);
            writer.text("useragent", address);
        })
    };
    let status = |client: &mut std::net::TcpStream| {
        use std::io::Read;
        let mut start = [0; 12];
        client.set_read_timeout(Some(SOON)).unwrap();
        client.read_exact(&mut start).unwrap();
        String::from_utf8(start.to_vec()).unwrap()
    };
    let (mut first, _) = module.hand_off(&from(b"192.0.2.1"), b"{}");
    assert_eq!(status(&mut first), "HTTP/1.1 200");
    let (mut other, _) = module.hand_off(&from(b"192.0.2.2"), b"{}");
    assert_eq!(status(&mut other), "HTTP/1.1 200");
    let (mut same, _) = module.hand_off(&from(b"192.0.2.1"), b"{}");
    assert_eq!(status(&mut same), "HTTP/1.1 429");
}
