//! What a program learns of the request, under the names of CGI (RFC 3875, section 4.1): the envelope of protocol 2 as
//! environment variables.

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use handoff_protocol::v2::Envelope;
use handoff_protocol::v2::envelope::Octets;

/// All names but those of fields. A program that does not find one must not find that of whoever started the daemon.
const NAMES: [&str; 15] = [
    "CONTENT_LENGTH",
    "CONTENT_TYPE",
    "QUERY_STRING",
    "REMOTE_ADDR",
    "REMOTE_PORT",
    "REMOTE_USER",
    "REQUEST_METHOD",
    "REQUEST_SCHEME",
    "REQUEST_URI",
    "SERVER_ADDR",
    "SERVER_NAME",
    "SERVER_PORT",
    "SERVER_PROTOCOL",
    "SERVER_SOFTWARE",
    "UNIQUE_ID",
];

/// Environment variables of one request.
#[derive(Debug, Default)]
pub(super) struct Variables(Vec<(OsString, OsString)>);

impl Variables {
    /// Those that the envelope has values for.
    pub(super) fn new(envelope: &Envelope) -> Self {
        let mut variables = Self::default();
        let target = envelope.target.as_bytes();
        let query = target.iter().position(|byte| *byte == b'?').map_or(&b""[..], |at| &target[at + 1..]);
        variables.add("REQUEST_METHOD", envelope.method.as_bytes());
        variables.add("REQUEST_URI", target);
        variables.add("QUERY_STRING", query);
        variables.add("SERVER_PROTOCOL", envelope.protocol.as_bytes());
        let texts = [
            ("REQUEST_SCHEME", &envelope.scheme),
            ("SERVER_NAME", &envelope.server_name),
            ("REMOTE_USER", &envelope.user),
            ("UNIQUE_ID", &envelope.id),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                variables.add(name, text.as_bytes());
            }
        }
        variables.add_addresses(envelope);
        for (name, value) in &envelope.request_headers {
            variables.add_field(name, value);
        }
        variables
    }

    fn add_addresses(&mut self, envelope: &Envelope) {
        let client = envelope.client;
        let useragent = envelope.useragent.or(client.map(|address| address.ip()));
        if let Some(address) = useragent {
            self.add("REMOTE_ADDR", address.to_canonical().to_string().as_bytes());
            // The port belongs to the connection: a proxy's is not the client's.
            let same = |client: &SocketAddr| client.ip().to_canonical() == address.to_canonical();
            if let Some(client) = client.filter(same) {
                self.add("REMOTE_PORT", client.port().to_string().as_bytes());
            }
        }
        if let Some(local) = envelope.local {
            self.add("SERVER_ADDR", local.ip().to_canonical().to_string().as_bytes());
            self.add("SERVER_PORT", local.port().to_string().as_bytes());
        }
    }

    /// `Accept-Language` becomes `HTTP_ACCEPT_LANGUAGE`; several of a name are one list, cookies too (RFC 9110, section
    /// 5.3, and RFC 6265, section 5.4).
    fn add_field(&mut self, name: &Octets, value: &Octets) {
        let Some(name) = variable(name.as_bytes()) else { return };
        let earlier = self.0.iter_mut().find(|(known, _)| *known == *name);
        match earlier {
            Some((_, list)) => {
                list.push(if name == "HTTP_COOKIE" { "; " } else { ", " });
                list.push(OsStr::from_bytes(value.as_bytes()));
            }
            None => self.add(&name, value.as_bytes()),
        }
    }

    fn add(&mut self, name: &str, value: &[u8]) {
        self.0.push((name.into(), OsString::from_vec(value.to_vec())));
    }

    /// Whether an environment can hold them. A NUL ends a value; HTTP's have none (RFC 9110, section 5.5). A client that
    /// repeats a field, which Apache makes one of, can make it longer than a variable may be.
    pub(super) fn fit(&self) -> bool {
        /// With the name, the sign between and the NUL behind (`MAX_ARG_STRLEN`, execve(2)).
        const LONGEST: usize = 128 * 1024;
        self.0
            .iter()
            .all(|(name, value)| name.len() + value.len() + 2 <= LONGEST && !value.as_bytes().contains(&0))
    }

    /// Puts them into the environment of `command`, in place of those of whoever started the daemon.
    pub(super) fn set(self, command: &mut std::process::Command) {
        let stale = std::env::vars_os().map(|(name, _)| name);
        // HTTP_PROXY is the operator's: the request's field of that name is never passed on (CVE-2016-5385).
        for name in stale.filter(|name| name.as_bytes().starts_with(b"HTTP_") && name != "HTTP_PROXY") {
            command.env_remove(name);
        }
        for name in NAMES {
            command.env_remove(name);
        }
        command.envs(self.0);
    }
}

/// The variable of a request field. `None`: it has none, as for Apache's CGI. An underscore in a field's name could pass
/// for a hyphen.
fn variable(field: &[u8]) -> Option<String> {
    const SECRET: [&str; 3] = ["AUTHORIZATION", "PROXY_AUTHORIZATION", "PROXY"];
    let mut name = String::from("HTTP_");
    for byte in field {
        match byte {
            b'-' => name.push('_'),
            byte if byte.is_ascii_alphanumeric() => name.push(char::from(byte.to_ascii_uppercase())),
            _ => return None,
        }
    }
    match &name["HTTP_".len()..] {
        "" => None,
        short if SECRET.contains(&short) => None,
        // The body stays with Apache.
        "CONTENT_LENGTH" | "CONTENT_TYPE" | "TRANSFER_ENCODING" => None,
        _ => Some(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(envelope: &str) -> Vec<(String, Vec<u8>)> {
        let envelope = Envelope::decode(envelope.as_bytes()).unwrap();
        let text = |(name, value): (OsString, OsString)| (name.into_string().unwrap(), value.into_vec());
        Variables::new(&envelope).0.into_iter().map(text).collect()
    }

    fn value(envelope: &str, name: &str) -> Option<String> {
        let found = variables(envelope).into_iter().find(|(known, _)| known == name);
        found.map(|(_, value)| String::from_utf8(value).unwrap())
    }

    const REQUEST: &str = r#"{"method":"GET","target":"/a%20b?c=d?e","protocol":"HTTP/1.1","scheme":"http",
        "server_name":"example.org","client":"192.0.2.1:5000","useragent":"192.0.2.1","local":"[::1]:80",
        "user":"J\u00fcrgen","id":"u1","request_headers":[["Accept-Language","de"],["X_Y","1"],
        ["Cookie","a=1"],["cookie","b=2"],["Accept","a"],["ACCEPT","b"],["Proxy","evil"],["Authorization","s"],
        ["Content-Length","5"],["Last-Event-ID","7"]]}"#;

    #[test]
    fn the_request_is_told_in_the_names_of_cgi() {
        for (name, expected) in [
            ("REQUEST_METHOD", "GET"),
            ("REQUEST_URI", "/a%20b?c=d?e"),
            ("QUERY_STRING", "c=d?e"),
            ("SERVER_PROTOCOL", "HTTP/1.1"),
            ("REQUEST_SCHEME", "http"),
            ("SERVER_NAME", "example.org"),
            ("REMOTE_ADDR", "192.0.2.1"),
            ("REMOTE_PORT", "5000"),
            ("SERVER_ADDR", "::1"),
            ("SERVER_PORT", "80"),
            ("UNIQUE_ID", "u1"),
            ("HTTP_ACCEPT_LANGUAGE", "de"),
            ("HTTP_COOKIE", "a=1; b=2"),
            ("HTTP_ACCEPT", "a, b"),
            ("HTTP_LAST_EVENT_ID", "7"),
        ] {
            assert_eq!(value(REQUEST, name).as_deref(), Some(expected), "{name}");
        }
        let user = variables(REQUEST).into_iter().find(|(name, _)| name == "REMOTE_USER").unwrap().1;
        assert_eq!(user, b"J\xfcrgen", "octets as they were");
    }

    #[test]
    fn fields_that_could_deceive_a_program_are_left_out() {
        let names: Vec<_> = variables(REQUEST).into_iter().map(|(name, _)| name).collect();
        for left_out in
            ["HTTP_PROXY", "HTTP_AUTHORIZATION", "HTTP_X_Y", "HTTP_CONTENT_LENGTH", "CONTENT_LENGTH"]
        {
            assert!(!names.iter().any(|name| name == left_out), "{left_out}");
        }
    }

    #[test]
    fn what_no_environment_can_hold_is_told() {
        let fits = |value: &str| {
            let request = format!(
                r#"{{"method":"GET","target":"/","protocol":"HTTP/1.1","request_headers":[["A","{value}"]]}}"#
            );
            Variables::new(&Envelope::decode(request.as_bytes()).unwrap()).fit()
        };
        let longest = 128 * 1024 - "HTTP_A=".len() - 1;
        assert!(fits("x") && fits(&"x".repeat(longest)));
        assert!(!fits("\\u0000") && !fits(&"x".repeat(longest + 1)));
        // The kernel agrees.
        let started = |length| {
            let value = "x".repeat(length);
            std::process::Command::new("/bin/true").env_clear().env("HTTP_A", value).status().is_ok()
        };
        assert!(started(longest) && !started(longest + 1));
    }

    #[test]
    fn behind_a_trusted_proxy_the_port_is_unknown_and_without_a_query_it_is_empty() {
        let request = r#"{"method":"GET","target":"/","protocol":"HTTP/1.0","client":"192.0.2.1:5000",
                          "useragent":"198.51.100.9"}"#;
        assert_eq!(value(request, "REMOTE_ADDR").as_deref(), Some("198.51.100.9"));
        assert_eq!(value(request, "REMOTE_PORT"), None);
        assert_eq!(value(request, "QUERY_STRING").as_deref(), Some(""));
        let alone =
            r#"{"method":"GET","target":"/","protocol":"HTTP/1.0","client":"[::ffff:192.0.2.1]:5000"}"#;
        assert_eq!(value(alone, "REMOTE_ADDR").as_deref(), Some("192.0.2.1"));
    }
}
