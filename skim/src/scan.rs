//! Where a string or a value ends. Inlined, since most strings and values are a few bytes long.

use memchr::memchr2;

use crate::Malformed;

const CUT_SHORT: Malformed = Malformed("the text ends too early");

/// A string without its opening quote, and what stands behind its closing one.
pub(crate) struct Quoted<'a> {
    /// What stands between the quotes.
    pub(crate) inside: &'a [u8],
    /// There is a backslash in it.
    pub(crate) escaped: bool,
    pub(crate) behind: &'a [u8],
}

/// Finds the end of a string whose opening quote was left away.
#[inline(always)]
pub(crate) fn string(text: &[u8]) -> Result<Quoted<'_>, Malformed> {
    let mut at = 0;
    loop {
        let rest = text.get(at..).ok_or(CUT_SHORT)?;
        let end = at + memchr2(b'"', b'\\', rest).ok_or(CUT_SHORT)?;
        if text[end] == b'"' {
            return Ok(Quoted { inside: &text[..end], escaped: at > 0, behind: &text[end + 1..] });
        }
        // Behind the backslash and what it escapes.
        at = end + 2;
    }
}

/// Cuts the value at the beginning of the text from what stands behind it. There is no whitespace before it.
#[inline(always)]
pub(crate) fn value(text: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let behind = match text {
        [b'"', rest @ ..] => string(rest)?.behind,
        [b'{' | b'[', rest @ ..] => container(rest)?,
        _ => {
            let ends =
                |byte: &u8| matches!(byte, b',' | b'}' | b']' | b':' | b'"' | b' ' | b'\t' | b'\n' | b'\r');
            match text.iter().position(ends) {
                Some(0) => return Err(Malformed("there is no value where one is due")),
                Some(end) => &text[end..],
                None => return Err(CUT_SHORT),
            }
        }
    };
    Ok((&text[..text.len() - behind.len()], behind))
}

/// What stands behind the bracket that closes the one that was left away. Brackets are counted, not compared.
fn container(text: &[u8]) -> Result<&[u8], Malformed> {
    let mut depth = 1usize;
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        at += 1;
        match byte {
            b'"' => at = text.len() - string(&text[at..])?.behind.len(),
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return Ok(&text[at..]);
                }
            }
            _ => {}
        }
    }
    Err(CUT_SHORT)
}

/// The text from its first byte that is not whitespace on.
#[inline(always)]
pub(crate) fn skip_whitespace(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t' | b'\n' | b'\r', rest @ ..] = text {
        text = rest;
    }
    text
}

/// The text without the whitespace around it.
#[inline(always)]
pub(crate) fn trim(text: &[u8]) -> &[u8] {
    let mut text = skip_whitespace(text);
    while let [rest @ .., b' ' | b'\t' | b'\n' | b'\r'] = text {
        text = rest;
    }
    text
}
