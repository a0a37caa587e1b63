use crate::{Elements, Malformed, Members, scan, text};

/// A value as it was written: the question is asked when it is read. Costs nothing to copy.
#[derive(Clone, Copy, Debug)]
pub struct Value<'a> {
    /// Without whitespace around it.
    raw: &'a [u8],
}

impl<'a> Value<'a> {
    /// The value that a whole text is. Nothing is checked here.
    pub fn of(text: &'a [u8]) -> Self {
        Self { raw: scan::trim(text) }
    }

    /// A value that ends where `raw` ends.
    pub(crate) fn cut(raw: &'a [u8]) -> Self {
        Self { raw }
    }

    /// The JSON text of the value.
    pub fn raw(self) -> &'a [u8] {
        self.raw
    }

    /// The members of an object; None: it is none.
    pub fn as_object(self) -> Option<Members<'a>> {
        self.raw.strip_prefix(b"{").map(Members::behind_bracket)
    }

    /// The elements of an array; None: it is none.
    pub fn as_array(self) -> Option<Elements<'a>> {
        self.raw.strip_prefix(b"[").map(Elements::behind_bracket)
    }

    /// The values of the members with these names, all found in one pass. Of several members with the same name it is
    /// the last. None: there is no such member, or the value is no object.
    ///
    /// # Errors
    /// The members are not written as RFC 8259 has it. Also an object that is cut short.
    pub fn pick<const N: usize>(self, names: [&str; N]) -> Result<[Option<Self>; N], Malformed> {
        let mut picked = [None; N];
        for member in self.as_object().into_iter().flatten() {
            let (key, value) = member?;
            if let Some(place) = names.iter().position(|name| key == *name) {
                picked[place] = Some(value);
            }
        }
        Ok(picked)
    }

    /// The text of a string; None: it is no string. The text borrows from the JSON where it can; where there are
    /// escapes, `scratch` is overwritten with it.
    ///
    /// # Errors
    /// There is a wrong escape, or a quote too few or too many.
    pub fn as_str<'s>(self, scratch: &'s mut String) -> Result<Option<&'s str>, Malformed>
    where
        'a: 's,
    {
        let Some(text) = self.raw.strip_prefix(b"\"") else { return Ok(None) };
        let string = scan::string(text)?;
        if !string.behind.is_empty() {
            return Err(Malformed("there is something behind a string"));
        }
        text::decode(string.inside, string.escaped, scratch).map(Some)
    }

    /// A number that is written without sign, point and exponent, and is at most 2^64 - 1; None: it is something else.
    pub fn as_u64(self) -> Option<u64> {
        match self.raw {
            [b'0'] => Some(0),
            [b'1'..=b'9', rest @ ..] if rest.iter().all(u8::is_ascii_digit) => {
                std::str::from_utf8(self.raw).ok()?.parse().ok()
            }
            _ => None,
        }
    }

    /// Whether it is `null`.
    pub fn is_null(self) -> bool {
        self.raw == b"null"
    }
}
