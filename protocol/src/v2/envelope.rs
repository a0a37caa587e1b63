//! What the module tells of the request and of the application's answer: a JSON object, in ASCII. No IO.
//!
//! HTTP's values are octets (RFC 9110, section 5.5), JSON's strings are Unicode. So each octet is the character of the
//! same number, U+0000 to U+00FF, as in Python's WSGI (PEP 3333): nothing is lost, whatever encoding it is in.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// Octets as they stood in HTTP, in whatever encoding.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Octets(Box<[u8]>);

impl Octets {
    /// The octets.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text, if they are UTF-8.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

impl From<&[u8]> for Octets {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }
}

impl From<&str> for Octets {
    fn from(text: &str) -> Self {
        text.as_bytes().into()
    }
}

impl fmt::Debug for Octets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "\"{}\"", self.0.escape_ascii())
    }
}

impl<'de> Deserialize<'de> for Octets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Latin1;
        impl Visitor<'_> for Latin1 {
            type Value = Octets;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string of the characters U+0000 to U+00FF, one for each octet")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Octets, E> {
                let octet = |character| u8::try_from(u32::from(character)).ok();
                let octets: Option<Box<[u8]>> = text.chars().map(octet).collect();
                octets.map(Octets).ok_or_else(|| E::custom("a character above U+00FF stands for no octet"))
            }
        }
        deserializer.deserialize_str(Latin1)
    }
}

/// Names and values, in their order; a name may stand several times.
pub type Fields = Vec<(Octets, Octets)>;

/// The envelope of a handoff. Members that are not known are ignored: a later module may tell more.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
pub struct Envelope {
    /// The request method (RFC 9110, section 9).
    pub method: Octets,
    /// The request target as the client sent it (RFC 9112, section 3.2).
    pub target: Octets,
    /// The protocol of the request: `HTTP/1.1`, `HTTP/1.0`.
    pub protocol: Octets,
    /// Apache's id of the request (mod_unique_id), if it gives any.
    #[serde(default)]
    pub id: Option<Octets>,
    /// `http` or `https`.
    #[serde(default)]
    pub scheme: Option<Octets>,
    /// The name of the server that was asked (`SERVER_NAME` of RFC 3875).
    #[serde(default)]
    pub server_name: Option<Octets>,
    /// The other end of the connection. None, like the other two, also for an address that is not understood.
    #[serde(default, deserialize_with = "address")]
    pub client: Option<SocketAddr>,
    /// The client behind proxies that are trusted (mod_remoteip); without any that of `client`.
    #[serde(default, deserialize_with = "address")]
    pub useragent: Option<IpAddr>,
    /// This end of the connection.
    #[serde(default, deserialize_with = "address")]
    pub local: Option<SocketAddr>,
    /// The user whom Apache has authenticated.
    #[serde(default)]
    pub user: Option<Octets>,
    /// The request's fields, without `Authorization`, `Proxy-Authorization` and `Proxy`, as for CGI.
    #[serde(default)]
    pub request_headers: Fields,
    /// The application's status, for an answer that succeeds.
    #[serde(default)]
    pub status: Option<u16>,
    /// The application's fields, those that Apache's configuration added among them, each as often as it is to be sent.
    #[serde(default)]
    pub response_headers: Fields,
}

/// An address, without the name of the interface that Apache adds to those of one link (`fe80::1%eth0`, RFC 4007).
fn address<'de, D: Deserializer<'de>, A: std::str::FromStr>(deserializer: D) -> Result<Option<A>, D::Error> {
    let Some(octets) = Option::<Octets>::deserialize(deserializer)? else { return Ok(None) };
    let Some(text) = octets.as_str() else { return Ok(None) };
    let Some((before, zone)) = text.split_once('%') else { return Ok(text.parse().ok()) };
    let after = zone.find(']').map_or("", |end| &zone[end..]);
    Ok(format!("{before}{after}").parse().ok())
}

impl Envelope {
    /// Reads an envelope.
    ///
    /// # Errors
    /// It is no JSON object, lacks `method`, `target` or `protocol`, or a member has a wrong type.
    pub fn decode(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// The first value of a field of the request, whatever its letters' case.
    #[must_use]
    pub fn request_header(&self, name: &str) -> Option<&Octets> {
        let is = |(field, _): &&(Octets, Octets)| field.as_bytes().eq_ignore_ascii_case(name.as_bytes());
        self.request_headers.iter().find(is).map(|(_, value)| value)
    }
}

/// Writes an envelope, member by member, into memory that is used again.
#[derive(Debug)]
pub struct Writer<'b> {
    out: &'b mut Vec<u8>,
}

impl<'b> Writer<'b> {
    /// Begins an envelope in `out`, in place of what was there.
    pub fn new(out: &'b mut Vec<u8>, method: &[u8], target: &[u8], protocol: &[u8]) -> Self {
        out.clear();
        let mut writer = Self { out };
        writer.text("method", method);
        writer.text("target", target);
        writer.text("protocol", protocol);
        writer
    }

    /// Adds a string.
    pub fn text(&mut self, name: &'static str, value: &[u8]) {
        self.name(name);
        string(self.out, value);
    }

    /// Adds an address with its port.
    pub fn address(&mut self, name: &'static str, ip: &[u8], port: u16) {
        self.name(name);
        let (open, close) = if ip.contains(&b':') { ("\"[", "]:") } else { ("\"", ":") };
        self.out.extend_from_slice(open.as_bytes());
        escape(self.out, ip);
        self.out.extend_from_slice(close.as_bytes());
        decimal(self.out, port);
        self.out.push(b'"');
    }

    /// Adds a number.
    pub fn number(&mut self, name: &'static str, value: u16) {
        self.name(name);
        decimal(self.out, value);
    }

    /// Adds names and values.
    pub fn fields<'f>(&mut self, name: &'static str, fields: impl Iterator<Item = (&'f [u8], &'f [u8])>) {
        self.name(name);
        self.out.push(b'[');
        let mut first = true;
        for (name, value) in fields {
            self.out.extend_from_slice(if first { b"[" } else { b",[" });
            first = false;
            string(self.out, name);
            self.out.push(b',');
            string(self.out, value);
            self.out.push(b']');
        }
        self.out.push(b']');
    }

    /// Ends the envelope.
    #[must_use]
    pub fn finish(self) -> &'b [u8] {
        self.out.push(b'}');
        self.out
    }

    fn name(&mut self, name: &'static str) {
        self.out.push(if self.out.is_empty() { b'{' } else { b',' });
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }
}

fn string(out: &mut Vec<u8>, value: &[u8]) {
    out.push(b'"');
    escape(out, value);
    out.push(b'"');
}

/// Most values are copied in one piece: only quotes, backslashes, control characters and what is not ASCII are written
/// otherwise.
fn escape(out: &mut Vec<u8>, mut value: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    loop {
        let (plain, rest) = value.split_at(plain_length(value));
        out.extend_from_slice(plain);
        let Some((&byte, rest)) = rest.split_first() else { return };
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            _ => {
                let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
            }
        }
        value = rest;
    }
}

/// How many bytes at the beginning are written as they are.
fn plain_length(value: &[u8]) -> usize {
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~') & !matches!(byte, b'"' | b'\\');
    // Eight at once and without a branch for each: with vector instructions.
    let all_plain = |bytes: &[u8; 8]| bytes.iter().fold(true, |all, byte| all & is_plain(byte));
    let (eights, _) = value.as_chunks();
    let whole = eights.iter().take_while(|eight| all_plain(eight)).count();
    if whole == eights.len() && value.last_chunk().is_some_and(all_plain) {
        return value.len();
    }
    let start = whole * 8;
    start + value[start..].iter().take_while(|byte| is_plain(byte)).count()
}

fn decimal(out: &mut Vec<u8>, value: u16) {
    let mut digits = [0; 5];
    let mut start = digits.len();
    let mut left = value;
    loop {
        start -= 1;
        digits[start] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_is_read_as_it_was_written() {
        let mut memory = b"old".to_vec();
        let mut writer = Writer::new(&mut memory, b"POST", b"/a?\"b\\", b"HTTP/1.1");
        writer.address("client", b"2001:db8::1", 65_535);
        writer.address("local", b"192.0.2.1", 0);
        writer.text("useragent", b"198.51.100.7");
        writer.text("user", b"J\xfcrgen\0");
        writer.number("status", 201);
        let fields: [(&[u8], &[u8]); 2] = [(b"A", b"1"), (b"a", "ü".as_bytes())];
        writer.fields("request_headers", fields.into_iter());
        writer.fields("response_headers", std::iter::empty());
        let bytes = writer.finish();
        assert!(bytes.is_ascii());
        let envelope = Envelope::decode(bytes).unwrap();
        assert_eq!(envelope.target, "/a?\"b\\".into());
        assert_eq!(envelope.client, "[2001:db8::1]:65535".parse().ok());
        assert_eq!(envelope.local, "192.0.2.1:0".parse().ok());
        assert_eq!(envelope.useragent, "198.51.100.7".parse().ok());
        assert_eq!(envelope.user.unwrap().as_bytes(), b"J\xfcrgen\0");
        assert_eq!(envelope.status, Some(201));
        assert_eq!(envelope.request_headers[1], ("a".into(), "ü".into()));
        assert!(envelope.response_headers.is_empty());
    }

    #[test]
    fn every_octet_comes_back_from_every_place() {
        for length in 0..40 {
            for octet in 0..=255 {
                for at in 0..length {
                    let mut value = vec![b'x'; length];
                    value[at] = octet;
                    let mut memory = Vec::new();
                    let mut writer = Writer::new(&mut memory, b"GET", &value, b"HTTP/1.1");
                    writer.text("id", b"after it");
                    let envelope = Envelope::decode(writer.finish()).unwrap();
                    assert_eq!(envelope.target.as_bytes(), value);
                    assert_eq!(envelope.id, Some("after it".into()));
                }
            }
        }
    }

    #[test]
    fn only_the_request_line_is_required_and_what_is_unknown_is_ignored() {
        let text = br#"{"method":"GET","target":"/","protocol":"HTTP/1.0","later":{"a":[1]}}"#;
        let envelope = Envelope::decode(text).unwrap();
        assert_eq!(envelope.protocol, "HTTP/1.0".into());
        let error = Envelope::decode(br#"{"method":"GET","target":"/"}"#).unwrap_err();
        assert!(error.to_string().contains("missing field `protocol`"), "{error}");
        assert!(Envelope::decode(b"[]").is_err());
        assert!(
            Envelope::decode("{\"method\":\"€\",\"target\":\"/\",\"protocol\":\"\"}".as_bytes()).is_err()
        );
    }

    #[test]
    fn an_address_is_understood_or_unknown_but_no_reason_to_refuse() {
        for (text, client, useragent) in [
            (r#""client":"[fe80::1%eth0]:443","useragent":"fe80::1%eth0""#, "[fe80::1]:443", "fe80::1"),
            (r#""client":"192.0.2.1:80","useragent":null"#, "192.0.2.1:80", ""),
            (r#""client":"/run/front.sock","useragent":"[fe80::1%""#, "", ""),
        ] {
            let text = format!(r#"{{"method":"GET","target":"/","protocol":"HTTP/1.1",{text}}}"#);
            let envelope = Envelope::decode(text.as_bytes()).unwrap();
            assert_eq!(envelope.client, client.parse().ok());
            assert_eq!(envelope.useragent, useragent.parse().ok());
        }
    }

    #[test]
    fn fields_are_found_whatever_their_case() {
        let text = br#"{"method":"GET","target":"/","protocol":"HTTP/1.1","request_headers":[["Last-Event-ID","7"]]}"#;
        let envelope = Envelope::decode(text).unwrap();
        assert_eq!(envelope.request_header("last-event-id"), Some(&"7".into()));
        assert_eq!(envelope.request_header("last"), None);
    }
}
