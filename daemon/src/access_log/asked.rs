//! What a line tells of the client's request.

use handoff_protocol::v2::Envelope;
use handoff_protocol::v2::envelope::Octets;

/// Request line, referrer, browser and Apache's id: octets, one after another in one piece of memory, since each stream
/// keeps it to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    octets: Box<[u8]>,
    /// Where each ends, in that order. None of them is there and empty.
    ends: [u32; 4],
}

impl Asked {
    /// That of the request that `envelope` tells of.
    #[must_use]
    pub fn of(envelope: &Envelope) -> Self {
        let bytes =
            |octets: Option<&Octets>| octets.map(|octets| octets.as_bytes().to_vec()).unwrap_or_default();
        let field = |name| bytes(envelope.request_header(name));
        let line = [&envelope.method, &envelope.target, &envelope.protocol].map(Octets::as_bytes).join(&b' ');
        let parts = [line, field("referer"), field("user-agent"), bytes(envelope.id.as_ref())];
        let mut end = 0;
        let ends = [0, 1, 2, 3].map(|part: usize| {
            end += parts[part].len();
            // An envelope is far shorter.
            u32::try_from(end).unwrap_or(u32::MAX)
        });
        Self { octets: parts.concat().into(), ends }
    }

    /// `GET /chat.php?id=7 HTTP/1.1`
    #[must_use]
    pub fn request(&self) -> Option<&[u8]> {
        self.part(0)
    }

    /// `Referer`
    #[must_use]
    pub fn referer(&self) -> Option<&[u8]> {
        self.part(1)
    }

    /// `User-Agent`
    #[must_use]
    pub fn user_agent(&self) -> Option<&[u8]> {
        self.part(2)
    }

    /// Apache's `UNIQUE_ID` (mod_unique_id).
    #[must_use]
    pub fn unique_id(&self) -> Option<&[u8]> {
        self.part(3)
    }

    fn part(&self, index: usize) -> Option<&[u8]> {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        let part = self.octets.get(start as usize..self.ends[index] as usize)?;
        (!part.is_empty()).then_some(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_is_found_and_an_empty_one_is_none() {
        let text = br#"{"method":"GET","target":"/a?b","protocol":"HTTP/1.0","id":"Z1",
            "request_headers":[["user-agent","curl"],["X","y"],["Referer",""]]}"#;
        let asked = Asked::of(&Envelope::decode(text).unwrap());
        assert_eq!(asked.request(), Some(&b"GET /a?b HTTP/1.0"[..]));
        assert_eq!(asked.referer(), None);
        assert_eq!(asked.user_agent(), Some(&b"curl"[..]));
        assert_eq!(asked.unique_id(), Some(&b"Z1"[..]));
    }
}
