//! What a protocol 2 daemon is told of the request and of the application's answer.

use handoff_protocol::v2::envelope::Writer;

use crate::httpd::Request;

/// Writes the envelope of `request` into `memory`, in place of what was there. The response's fields are to be final.
pub(crate) fn write(request: Request<'_>, memory: &mut Vec<u8>) {
    let mut writer = Writer::new(memory, request.method(), request.target(), request.protocol());
    for (member, value) in [
        ("id", request.unique_id()),
        ("scheme", request.scheme()),
        ("server_name", request.server_name()),
        ("useragent", request.useragent_address().and_then(ip)),
        ("user", request.user()),
    ] {
        if let Some(value) = value {
            writer.text(member, value);
        }
    }
    for (member, (address, port)) in
        [("client", request.client_address()), ("local", request.local_address())]
    {
        if let Some(address) = ip(address) {
            writer.address(member, address, port);
        }
    }
    writer.fields("request_headers", request_fields(request.headers_in().entries()));
    writer.number("status", request.status());
    let [on_success, always] = request.response_tables();
    writer.fields("response_headers", response_fields(always.entries(), on_success.entries()));
    let _ = writer.finish();
}

/// A name and a value.
type Field<'r> = (&'r [u8], &'r [u8]);

/// An address without its zone. `None` for what is no IP address: a Unix socket has none.
fn ip(text: &[u8]) -> Option<&[u8]> {
    let address = text.split(|byte| *byte == b'%').next().unwrap_or_default();
    let is_part = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
    (!address.is_empty() && address.iter().all(is_part)).then_some(address)
}

/// What a CGI program would be given: no credentials, and no `Proxy`, which many take for their own HTTP_PROXY.
fn request_fields<'r>(fields: impl Iterator<Item = Field<'r>>) -> impl Iterator<Item = Field<'r>> {
    fields.filter(|(name, _)| {
        let withheld: &[u8] = match name.len() {
            5 => b"Proxy",
            13 => b"Authorization",
            19 => b"Proxy-Authorization",
            _ => return true,
        };
        !name.eq_ignore_ascii_case(withheld)
    })
}

/// The fields of both tables, in the order in which Apache would send them. What stands in both in the same words comes
/// once. What fits only the response that it would have been is not there.
fn response_fields<'r>(
    always: impl Iterator<Item = Field<'r>> + Clone,
    on_success: impl Iterator<Item = Field<'r>> + Clone,
) -> impl Iterator<Item = Field<'r>> {
    let options = ConnectionOptions::of(always.clone().chain(on_success.clone()));
    let only_here = {
        let always = always.clone();
        move |(name, value): &Field<'r>| {
            !always.clone().any(|(other, same)| same == *value && other.eq_ignore_ascii_case(name))
        }
    };
    always
        .chain(on_success.filter(only_here))
        .filter(move |(name, _)| !is_withheld(name) && !options.name(name))
}

/// Whether a response's field is about the message or the document in it, and so not for another message: framing and
/// connection (RFC 9110, section 7.6.1), coding, type, validators (section 8). The date is the daemon's to tell.
fn is_withheld(name: &[u8]) -> bool {
    let withheld: &[&[u8]] = match name.len() {
        2 => &[b"TE"],
        4 => &[b"ETag", b"Date"],
        7 => &[b"Trailer", b"Upgrade"],
        10 => &[b"Connection", b"Keep-Alive"],
        11 => &[b"Content-MD5"],
        12 => &[b"Content-Type"],
        13 => &[b"Content-Range", b"Accept-Ranges", b"Last-Modified"],
        14 => &[b"Content-Length"],
        16 => &[b"Content-Encoding", b"Proxy-Connection"],
        17 => &[b"Transfer-Encoding"],
        _ => return false,
    };
    withheld.iter().any(|withheld| name.eq_ignore_ascii_case(withheld))
}

/// The fields that the `Connection` fields name. There are none as a rule, and that costs one look at each name.
struct ConnectionOptions<I>(Option<I>);

impl<'r, I: Iterator<Item = Field<'r>> + Clone> ConnectionOptions<I> {
    fn of(fields: I) -> Self {
        let any = fields.clone().any(|(name, _)| is_connection(name));
        Self(any.then_some(fields))
    }

    fn name(&self, field: &[u8]) -> bool {
        self.0.as_ref().is_some_and(|fields| {
            fields.clone().filter(|(name, _)| is_connection(name)).any(|(_, options)| {
                options
                    .split(|byte| *byte == b',')
                    .any(|option| option.trim_ascii().eq_ignore_ascii_case(field))
            })
        })
    }
}

fn is_connection(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"Connection")
}

#[cfg(test)]
mod tests {
    use super::*;

    type Table = [(&'static str, &'static str)];

    fn fields<'r>(table: &'r Table) -> impl Iterator<Item = Field<'r>> + Clone {
        table.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()))
    }

    fn told<'r>(fields: impl Iterator<Item = Field<'r>>) -> Vec<String> {
        fields.map(|(name, value)| format!("{}: {}", name.escape_ascii(), value.escape_ascii())).collect()
    }

    fn response(always: &Table, on_success: &Table) -> Vec<String> {
        told(response_fields(fields(always), fields(on_success)))
    }

    #[test]
    fn credentials_do_not_travel() {
        let table = [
            ("Host", "a"),
            ("authorization", "Basic eDp5"),
            ("PROXY-AUTHORIZATION", "Basic eDp5"),
            ("Proxy", "http://evil"),
            ("Cookie", "a=b"),
            ("Proxies", "kept"),
            ("Accept", "*/*"),
            ("Accept", "text/html"),
        ];
        assert_eq!(
            told(request_fields(fields(&table))),
            ["Host: a", "Cookie: a=b", "Proxies: kept", "Accept: */*", "Accept: text/html"]
        );
    }

    #[test]
    fn the_applications_fields_travel_each_as_often_as_it_was_set() {
        let always = [
            ("Set-Cookie", "a=1"),
            ("Set-Cookie", "b=2"),
            ("Set-Cookie", "a=1"),
            ("Access-Control-Allow-Origin", "*"),
        ];
        let on_success = [
            ("access-control-allow-origin", "*"),
            ("Vary", "Accept"),
            ("Vary", "Accept"),
            ("Access-Control-Allow-Origin", "https://a"),
        ];
        assert_eq!(
            response(&always, &on_success),
            [
                "Set-Cookie: a=1",
                "Set-Cookie: b=2",
                "Set-Cookie: a=1",
                "Access-Control-Allow-Origin: *",
                "Vary: Accept",
                "Vary: Accept",
                "Access-Control-Allow-Origin: https://a",
            ]
        );
    }

    #[test]
    fn what_belongs_to_another_message_does_not_travel() {
        let withheld = [
            "Connection",
            "Keep-Alive",
            "Proxy-Connection",
            "TE",
            "Trailer",
            "Transfer-Encoding",
            "Upgrade",
            "Content-Length",
            "Content-Encoding",
            "Content-Type",
            "Content-Range",
            "Content-MD5",
            "ETag",
            "Last-Modified",
            "Accept-Ranges",
            "Date",
        ];
        for name in withheld {
            for name in [name.to_owned(), name.to_lowercase(), name.to_uppercase()] {
                assert!(is_withheld(name.as_bytes()), "{name}");
            }
        }
        for name in ["Content-Language", "Content-Security-Policy", "Cache-Control", "X", "", "Link", "Ages"]
        {
            assert!(!is_withheld(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn what_connection_names_belongs_to_the_connection() {
        let always = [("X-Hop", "1"), ("Connection", "close , x-hop"), ("X-Hop-2", "stays")];
        let on_success = [("connection", "X-Other,"), ("x-other", "2"), ("", "a name without letters")];
        assert_eq!(response(&always, &on_success), ["X-Hop-2: stays"]);
        assert_eq!(response(&[("Close", "x")], &[]), ["Close: x"], "without a Connection field");
    }

    #[test]
    fn an_address_has_no_zone_and_a_unix_socket_no_address() {
        assert_eq!(ip(b"192.0.2.1"), Some(&b"192.0.2.1"[..]));
        assert_eq!(ip(b"fe80::1%eth0"), Some(&b"fe80::1"[..]));
        assert_eq!(ip(b""), None);
        assert_eq!(ip(b"/run/a.sock"), None);
    }
}
