//! The ways to misbehave, and how they are asked for: parsed patterns, see the crate's documentation.

use std::str::FromStr;
use std::time::Duration;

/// What an answer is to be like. Made from a pattern: `"echo,abort:3".parse()`; the default is well-behaved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// As it was written: requests are counted by it.
    pub(crate) pattern: String,
    pub(crate) times: Option<usize>,
    pub(crate) content: Content,
    pub(crate) flavour: Flavour,
    pub(crate) instead: Instead,
    pub(crate) before_head: BeforeHead,
    pub(crate) slow_head: Duration,
    pub(crate) within: Vec<(usize, Within)>,
    pub(crate) no_end: bool,
    pub(crate) failed: bool,
    pub(crate) text: Text,
    pub(crate) split: Option<usize>,
    pub(crate) gzip: bool,
    pub(crate) framing: Framing,
}

/// What the answer says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) chunks: Option<usize>,
    pub(crate) delay: Option<Duration>,
    pub(crate) delta: Option<usize>,
    pub(crate) total: Option<usize>,
    pub(crate) echo: bool,
    pub(crate) unicode: bool,
    pub(crate) kind: Kind,
    pub(crate) thinking: bool,
    pub(crate) finish: Finish,
    pub(crate) usage: bool,
    pub(crate) unknown_event: bool,
}

/// What kind of thing is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    #[default]
    Text,
    Tools,
    Refusal,
}

/// Why the answer ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Finish {
    #[default]
    Stop,
    Length,
    Filter,
}

/// Which of the compatible APIs it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Flavour {
    #[default]
    OpenAi,
    OpenRouter,
    Vllm,
    Azure,
}

/// What comes in place of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Instead {
    pub(crate) status: Option<u16>,
    pub(crate) retry_after: Option<usize>,
    pub(crate) html: bool,
    pub(crate) redirect: bool,
}

/// What happens before the head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum BeforeHead {
    #[default]
    Nothing,
    Stall,
    Abort,
    Refuse,
    GoAwayBelow,
    MaxStreams(u32),
}

/// What happens within the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Within {
    /// Before the very first event.
    ErrorFirst,
    StallFirst,
    Error,
    Stall,
    Eof,
    Abort,
    TcpReset,
    Reset(u32),
    GoAway,
}

/// How events and their JSON are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Text {
    pub(crate) line_end: &'static str,
    pub(crate) no_space: bool,
    pub(crate) comments: bool,
    pub(crate) bom: bool,
    pub(crate) multi_line: bool,
    pub(crate) spaces: bool,
    pub(crate) order: bool,
    pub(crate) escapes: bool,
}

impl Default for Text {
    fn default() -> Self {
        Self {
            line_end: "\n",
            no_space: false,
            comments: false,
            bom: false,
            multi_line: false,
            spaces: false,
            order: false,
            escapes: false,
        }
    }
}

/// What becomes of an HTTP/1.1 connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Framing {
    #[default]
    Kept,
    CloseDelimited,
    ConnectionClose,
    Stale,
    CloseSilently,
}

/// A pattern that nobody knows, or whose argument is missing or wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownPattern(String);

impl std::fmt::Display for UnknownPattern {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "mock-llm does not know the pattern \"{}\"; mock-llm --help lists all", self.0)
    }
}

impl std::error::Error for UnknownPattern {}

impl FromStr for Faults {
    type Err = UnknownPattern;

    fn from_str(pattern: &str) -> Result<Self, UnknownPattern> {
        let mut faults = Self { pattern: pattern.into(), ..Self::default() };
        for part in pattern.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            faults.add(part).ok_or_else(|| UnknownPattern(part.into()))?;
        }
        Ok(faults)
    }
}

impl Faults {
    /// One part of a pattern. None: unknown.
    fn add(&mut self, part: &str) -> Option<()> {
        let mut words = part.split(':');
        let name = words.next()?;
        let arguments = words.map(|word| word.parse().ok()).collect::<Option<Vec<usize>>>()?;
        match arguments[..] {
            [] => self.plain(name),
            [number] => self.with_number(name, number),
            [after, code] if name == "reset" => {
                self.within.push((after, Within::Reset(u32::try_from(code).ok()?)));
                Some(())
            }
            _ => None,
        }
    }

    fn plain(&mut self, name: &str) -> Option<()> {
        let (content, text, instead) = (&mut self.content, &mut self.text, &mut self.instead);
        match name {
            "echo" => content.echo = true,
            "unicode" => content.unicode = true,
            "tools" => content.kind = Kind::Tools,
            "refusal" => content.kind = Kind::Refusal,
            "thinking" => content.thinking = true,
            "length" => content.finish = Finish::Length,
            "filter" => content.finish = Finish::Filter,
            "usage" => content.usage = true,
            "unknown-event" => content.unknown_event = true,
            "openrouter" => self.flavour = Flavour::OpenRouter,
            "vllm" => self.flavour = Flavour::Vllm,
            "azure" => self.flavour = Flavour::Azure,
            "html" => instead.html = true,
            "redirect" => instead.redirect = true,
            "gzip" => self.gzip = true,
            "stall-before-head" => self.before_head = BeforeHead::Stall,
            "abort-before-head" => self.before_head = BeforeHead::Abort,
            "refused" => self.before_head = BeforeHead::Refuse,
            "goaway-below" => self.before_head = BeforeHead::GoAwayBelow,
            "stall-after-head" => self.within.push((0, Within::StallFirst)),
            "error-first" => self.within.push((0, Within::ErrorFirst)),
            "no-end" => self.no_end = true,
            "failed" => self.failed = true,
            "cr" => text.line_end = "\r",
            "crlf" => text.line_end = "\r\n",
            "no-space" => text.no_space = true,
            "comments" => text.comments = true,
            "bom" => text.bom = true,
            "multi-line" => text.multi_line = true,
            "json-spaces" => text.spaces = true,
            "json-order" => text.order = true,
            "json-escapes" => text.escapes = true,
            "close-delimited" => self.framing = Framing::CloseDelimited,
            "connection-close" => self.framing = Framing::ConnectionClose,
            "stale" => self.framing = Framing::Stale,
            "close-silently" => self.framing = Framing::CloseSilently,
            _ => return None,
        }
        Some(())
    }

    fn with_number(&mut self, name: &str, number: usize) -> Option<()> {
        let content = &mut self.content;
        match name {
            "times" => self.times = Some(number),
            "chunks" => content.chunks = Some(number),
            "delay" => content.delay = Some(Duration::from_millis(number as u64)),
            "delta" => content.delta = Some(number),
            "total" => content.total = Some(number),
            "status" if (400..=599).contains(&number) => self.instead.status = u16::try_from(number).ok(),
            "retry-after" => self.instead.retry_after = Some(number),
            "slow-head" => self.slow_head = Duration::from_millis(number as u64),
            "max-streams" => self.before_head = BeforeHead::MaxStreams(u32::try_from(number).ok()?),
            "split" if number > 0 => self.split = Some(number),
            "stall" => self.within.push((number, Within::Stall)),
            "error" => self.within.push((number, Within::Error)),
            "eof" => self.within.push((number, Within::Eof)),
            "abort" => self.within.push((number, Within::Abort)),
            "tcp-reset" => self.within.push((number, Within::TcpReset)),
            "goaway" => self.within.push((number, Within::GoAway)),
            _ => return None,
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table is what people read; each pattern in it exists.
    #[test]
    fn the_table_and_the_parser_agree() {
        let mut seen = 0;
        for row in include_str!("../patterns.md").lines().filter(|line| line.starts_with("| `")) {
            let names = row.split('|').nth(1).unwrap();
            for name in names.split('`').filter(|word| !word.trim().is_empty()) {
                let pattern: String = name
                    .split(':')
                    .enumerate()
                    .map(|(index, word)| match (index, word) {
                        (0, name) => name.to_owned(),
                        (_, "CODE") => ":503".into(),
                        _ => ":7".into(),
                    })
                    .collect();
                assert!(pattern.parse::<Faults>().is_ok(), "{pattern}");
                seen += 1;
            }
        }
        assert!(seen > 50, "{seen}");
    }

    #[test]
    fn what_is_unknown_is_refused() {
        for pattern in ["abort", "abort:x", "abort:1:2", "status:200", "split:0", "echo:1", "goawy:1"] {
            let error = format!("ok,{pattern}").replace("ok", "echo").parse::<Faults>().unwrap_err();
            assert!(error.to_string().contains(pattern), "{error}");
        }
        assert_eq!(" ".parse::<Faults>().unwrap().within, []);
    }
}
