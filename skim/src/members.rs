use crate::{Malformed, Value, scan, text};

/// The members of an object in the order in which they are written, also those of the same name.
///
/// An error is the last item.
#[derive(Clone, Debug)]
pub struct Members<'a>(Items<'a>);

/// The elements of an array.
///
/// An error is the last item.
#[derive(Clone, Debug)]
pub struct Elements<'a>(Items<'a>);

/// The name of a member. Compares equal to the text that it stands for, however it is written.
#[derive(Clone, Copy, Debug)]
pub struct Key<'a> {
    /// What stands between the quotes.
    inside: &'a [u8],
    escaped: bool,
}

/// What stands in brackets, with commas between.
#[derive(Clone, Debug)]
struct Items<'a> {
    rest: &'a [u8],
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Behind the opening bracket.
    Opened,
    /// Behind an item.
    Going,
    /// Behind the closing bracket, or an error.
    Over,
}

impl<'a> Members<'a> {
    pub(crate) fn behind_bracket(rest: &'a [u8]) -> Self {
        Self(Items { rest, state: State::Opened })
    }

    #[inline(always)]
    fn member(&mut self) -> Result<Option<(Key<'a>, Value<'a>)>, Malformed> {
        if !self.0.is_there_more(b'}')? {
            return Ok(None);
        }
        let quoted = self.0.rest.strip_prefix(b"\"").ok_or(Malformed("there is no key where one is due"))?;
        let key = scan::string(quoted)?;
        let rest = scan::skip_whitespace(key.behind);
        let rest = rest.strip_prefix(b":").ok_or(Malformed("there is no colon behind a key"))?;
        self.0.rest = scan::skip_whitespace(rest);
        Ok(Some((Key { inside: key.inside, escaped: key.escaped }, self.0.value()?)))
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = Result<(Key<'a>, Value<'a>), Malformed>;

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        let member = self.member();
        self.0.end_at_error(member)
    }
}

impl<'a> Elements<'a> {
    pub(crate) fn behind_bracket(rest: &'a [u8]) -> Self {
        Self(Items { rest, state: State::Opened })
    }

    fn element(&mut self) -> Result<Option<Value<'a>>, Malformed> {
        if !self.0.is_there_more(b']')? {
            return Ok(None);
        }
        self.0.value().map(Some)
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Result<Value<'a>, Malformed>;

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        let element = self.element();
        self.0.end_at_error(element)
    }
}

impl<'a> Items<'a> {
    /// Goes to the next item, over the comma before it; or over the closing bracket.
    #[inline(always)]
    fn is_there_more(&mut self, close: u8) -> Result<bool, Malformed> {
        let rest = scan::skip_whitespace(self.rest);
        let opened = match self.state {
            State::Over => return Ok(false),
            State::Opened => true,
            State::Going => false,
        };
        match rest {
            [first, rest @ ..] if *first == close => {
                self.state = State::Over;
                if !rest.is_empty() {
                    return Err(Malformed("there is something behind a closing bracket"));
                }
                return Ok(false);
            }
            [b',', rest @ ..] if !opened => self.rest = scan::skip_whitespace(rest),
            _ if opened => self.rest = rest,
            _ => return Err(Malformed("there is no comma between two items")),
        }
        self.state = State::Going;
        Ok(true)
    }

    #[inline(always)]
    fn value(&mut self) -> Result<Value<'a>, Malformed> {
        let (value, rest) = scan::value(self.rest)?;
        self.rest = rest;
        Ok(Value::cut(value))
    }

    fn end_at_error<T>(&mut self, item: Result<Option<T>, Malformed>) -> Option<Result<T, Malformed>> {
        if item.is_err() {
            self.state = State::Over;
        }
        item.transpose()
    }
}

impl<'a> Key<'a> {
    /// The name. It borrows from the JSON where it can; where there are escapes, `scratch` is overwritten with it.
    ///
    /// # Errors
    /// There is a wrong escape.
    pub fn as_str<'s>(self, scratch: &'s mut String) -> Result<&'s str, Malformed>
    where
        'a: 's,
    {
        text::decode(self.inside, self.escaped, scratch)
    }
}

impl PartialEq<str> for Key<'_> {
    #[inline]
    fn eq(&self, name: &str) -> bool {
        if self.escaped {
            self.as_str(&mut String::new()) == Ok(name)
        } else {
            self.inside.len() == name.len() && self.inside.iter().eq(name.as_bytes())
        }
    }
}

impl PartialEq<&str> for Key<'_> {
    #[inline]
    fn eq(&self, name: &&str) -> bool {
        *self == **name
    }
}
