//! What stands between the quotes of a string, decoded (RFC 8259, section 7).

use memchr::memchr;

use crate::Malformed;

const BAD_ESCAPE: Malformed = Malformed("a string has a wrong escape");

/// The text of a string. It borrows from the JSON text when it stands there as it is, and is put into `scratch`
/// otherwise.
pub(crate) fn decode<'s>(
    inside: &'s [u8],
    escaped: bool,
    scratch: &'s mut String,
) -> Result<&'s str, Malformed> {
    if !escaped && let Ok(text) = std::str::from_utf8(inside) {
        return Ok(text);
    }
    scratch.clear();
    let mut rest = inside;
    while let Some(backslash) = memchr(b'\\', rest) {
        push_lossy(scratch, &rest[..backslash]);
        rest = push_escape(scratch, &rest[backslash + 1..])?;
    }
    push_lossy(scratch, rest);
    Ok(scratch)
}

fn push_lossy(out: &mut String, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        out.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            out.push(char::REPLACEMENT_CHARACTER);
        }
    }
}

/// Decodes what stands behind a backslash, and gives back what stands behind that.
fn push_escape<'a>(out: &mut String, text: &'a [u8]) -> Result<&'a [u8], Malformed> {
    let (first, rest) = text.split_first().ok_or(BAD_ESCAPE)?;
    out.push(match first {
        b'"' => '"',
        b'\\' => '\\',
        b'/' => '/',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return push_unicode(out, rest),
        _ => return Err(BAD_ESCAPE),
    });
    Ok(rest)
}

/// Decodes the digits behind `\u`, and the second half of a surrogate pair when this is the first.
fn push_unicode<'a>(out: &mut String, text: &'a [u8]) -> Result<&'a [u8], Malformed> {
    let (first, rest) = code_unit(text)?;
    if (0xD800..0xDC00).contains(&first)
        && let Some(second) = rest.strip_prefix(b"\\u")
    {
        let (second, behind) = code_unit(second)?;
        if (0xDC00..0xE000).contains(&second) {
            let pair = 0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00);
            out.push(char::from_u32(pair).unwrap_or(char::REPLACEMENT_CHARACTER));
            return Ok(behind);
        }
    }
    // Half a pair is no character.
    out.push(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER));
    Ok(rest)
}

fn code_unit(text: &[u8]) -> Result<(u32, &[u8]), Malformed> {
    let (digits, rest) = text.split_first_chunk::<4>().ok_or(BAD_ESCAPE)?;
    let unit = digits.iter().try_fold(0, |unit, digit| Some(unit << 4 | char::from(*digit).to_digit(16)?));
    Ok((unit.ok_or(BAD_ESCAPE)?, rest))
}
